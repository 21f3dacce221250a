"""What an engine is handed against what the configuration says of devices."""

import pytest

from tests.unit.config.reading import errors_of, problems_of

TWO = "memory: {devices: {gpu0: 80GiB, gpu1: 80GiB}}\n"


def of(model: str, env: dict[str, str] | None = None, head: str = TWO) -> list[str]:
    return problems_of(f"{head}models:\n  a: {{weights: org/m, {model}}}\n", env)


@pytest.mark.parametrize(
    ("engine", "flag", "value"),
    [
        ("vllm", "--gpu-memory-utilization", "1.2"),
        ("vllm", "--gpu_memory_utilization", "0"),
        ("sglang", "--mem-fraction-static", "-0.5"),
    ],
)
def test_a_share_is_above_0_and_at_most_1(engine: str, flag: str, value: str) -> None:
    (said,) = errors_of(f'models:\n  a: {{engine: {engine}, weights: org/m, args: ["{flag} {value}"]}}\n')
    assert said.startswith(f"f:2: models.a.args: {flag.replace('_', '-')} is {value}, and ")
    assert "above 0, at most 1. Write 0.9" in said


@pytest.mark.parametrize("value", ["1", "1.0", "0.35", "much"])
def test_any_other_share_is_the_engines_business(value: str) -> None:
    assert not of(f'engine: vllm, args: ["--gpu-memory-utilization={value}"]')


def test_a_variable_that_contradicts_devices_is_told() -> None:
    (said,) = of('engine: vllm, env: {CUDA_VISIBLE_DEVICES: "0"}, devices: [gpu1]')
    assert said == (
        "f:3: warning: models.a.env.CUDA_VISIBLE_DEVICES: CUDA_VISIBLE_DEVICES puts it on 0, and devices on gpu1, "
        "where its memory is counted. Remove CUDA_VISIBLE_DEVICES: roost sets it by devices."
    )
    assert not of('engine: vllm, env: {CUDA_VISIBLE_DEVICES: "1"}, devices: [gpu1]')
    assert not of('engine: vllm, env: {CUDA_VISIBLE_DEVICES: "0"}, devices: [gpu0, gpu1]')
    assert not of("engine: vllm, env: {CUDA_VISIBLE_DEVICES: GPU-53b0}, devices: [gpu1]")


def test_numbers_are_those_that_roosts_own_variable_leaves() -> None:
    model = 'engine: vllm, env: {CUDA_VISIBLE_DEVICES: "3"}, devices: [gpu1]'
    assert not of(model, {"CUDA_VISIBLE_DEVICES": "2,3"})
    assert len(of(model)) == 1


def test_a_variable_alone_may_mean_another_device_than_the_one_it_is_counted_on() -> None:
    model = 'engine: vllm, env: {CUDA_VISIBLE_DEVICES: "0"}'
    (said,) = of(model)
    assert "its memory may be counted on another device. Write devices instead" in said
    assert not of(model, head="memory: {devices: {gpu0: 80GiB}}\n") and not of(model, head="")
    (own,) = of('engine: vllm, replicas: [{}, {env: {CUDA_VISIBLE_DEVICES: "1"}}]')
    assert "models.a.replicas.1.env.CUDA_VISIBLE_DEVICES" in own


def test_host_memory_is_told_with_its_reserve() -> None:
    model = "models:\n  a: {{weights: org/m, footprints: {{awake: {{host: 7GiB}}}}}}\n"
    text = "memory: {{host: {host}, host_reserve: 4GiB}}\n" + model
    (said,) = errors_of(text.format(host="10GiB"))
    assert said == (
        "f:3: models.a.footprints.awake.host: needs 7.0 GiB of host memory; there are 6.0 GiB (10.0 GiB less the "
        "host_reserve of 4.0 GiB). Raise memory.host, or lower memory.host_reserve."
    )
    assert errors_of(text.format(host="3GiB"))[0] == (
        "f:1: memory.host: 3.0 GiB leaves nothing beside the host_reserve of 4.0 GiB. Raise it, or lower "
        "memory.host_reserve."
    )
