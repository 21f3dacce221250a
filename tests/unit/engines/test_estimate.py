"""Footprints read from arguments."""

from dataclasses import replace

import pytest

from roost.core.footprint import Footprint, Source
from roost.core.spec import EngineKind, ModelSpec
from roost.engines.estimate import CONTEXT_BYTES, GIB, GROUP_BYTES, GgufFacts, Known, estimate

VLLM = ModelSpec(engine=EngineKind.VLLM, weights="org/model")
SGLANG = ModelSpec(engine=EngineKind.SGLANG, weights="org/model")
LLAMA = ModelSpec(engine=EngineKind.LLAMACPP, weights="/m.gguf")
CARD = Known(device_size=80 * GIB, weights=16 * GIB)
FACTS = GgufFacts(layers=31, kv_numbers_per_token=1024 * 32, context=131072)
GGUF = Known(device_size=24 * GIB, weights=8 * GIB, gguf=FACTS)


def of(spec: ModelSpec, known: Known, *args: str, has_gpu: bool = True) -> Footprint:
    return estimate(replace(spec, args=args), known, has_gpu=has_gpu)


@pytest.mark.parametrize(
    ("args", "share"),
    [
        ((), 0.9),
        (("--gpu-memory-utilization", "0.5"), 0.5),
        (("--gpu_memory_utilization=0.4",), 0.4),
        (("--gpu-memory-utilization", "0.5", "--gpu-memory-utilization", "0.25"), 0.25),
    ],
)
def test_vllm_takes_its_share_of_the_device(args: tuple[str, ...], share: float) -> None:
    found = of(VLLM, CARD, *args)
    assert found.awake.device == round(80 * GIB * share)
    assert found.awake.source is Source.ESTIMATED


def test_vllm_with_a_cache_of_a_written_size_takes_weights_and_that() -> None:
    found = of(VLLM, CARD, "--kv-cache-memory-bytes", "10G", "-tp", "2")
    assert found.awake.device == (8 + 10) * GIB + CONTEXT_BYTES + GROUP_BYTES


def test_asleep_the_context_stays_and_level_1_keeps_the_weights_in_the_host() -> None:
    found = of(VLLM, CARD)
    assert (found.level1.device, found.level2.device) == (CONTEXT_BYTES, CONTEXT_BYTES)
    assert found.level1.host - found.level2.host == 16 * GIB
    assert of(VLLM, CARD, "--tensor-parallel-size", "4").level2.device == CONTEXT_BYTES + GROUP_BYTES


def test_with_kvcached_weights_and_the_least_pages_count() -> None:
    for spec in (VLLM, SGLANG):
        found = estimate(replace(spec, env={"ENABLE_KVCACHED": "True"}), CARD, has_gpu=True)
        assert found.awake.device == (16 + 1) * GIB + CONTEXT_BYTES


def test_sglang_takes_its_static_part_and_what_stands_beside_it() -> None:
    assert of(SGLANG, CARD, "--mem-fraction-static", "0.5").awake.device == 40 * GIB + CONTEXT_BYTES
    assert of(SGLANG, CARD, "--mem-fraction-static", "1.0").awake.device == 80 * GIB


def test_awake_is_unknown_where_no_size_is_known_and_asleep_is_never_more() -> None:
    found = of(VLLM, Known(weights=GIB))
    assert (found.awake.device, found.awake.source, found.level1.device) == (0, Source.UNKNOWN, 0)


def test_vllm_on_a_cpu_lives_in_the_host_and_its_sleep_frees_nothing() -> None:
    spec = replace(VLLM, env={"VLLM_CPU_KVCACHE_SPACE": "2"})
    found = estimate(spec, Known(weights=3 * GIB), has_gpu=False)
    assert found.awake == found.level1 == found.level2
    assert (found.awake.device, found.awake.host) == (0, 6 * GIB)


KV_4096 = 2 * 2 * 1024 * 32 * 4096  # two bytes for each number of keys and values


def test_llamacpp_takes_file_and_cache() -> None:
    assert of(LLAMA, GGUF, "-c", "4096").awake.device == 8 * GIB + KV_4096 + CONTEXT_BYTES
    assert of(LLAMA, GGUF, "--ctx-size=8192").awake.device == 8 * GIB + 2 * KV_4096 + CONTEXT_BYTES
    half = of(LLAMA, GGUF, "-c", "4096", "-ctk", "q8_0", "-ctv", "q8_0").awake.device
    assert half == 8 * GIB + KV_4096 * 34 // 64 + CONTEXT_BYTES
    assert of(LLAMA, GGUF).level1.device == CONTEXT_BYTES


def test_llamacpp_fits_a_context_that_is_not_written_to_its_device() -> None:
    small = replace(GGUF, device_size=6 * GIB)
    assert of(LLAMA, small).awake.device == 6 * GIB
    assert of(LLAMA, small, "-c", "4096").awake.device > 8 * GIB


def test_llamacpp_puts_as_many_layers_on_the_device_as_it_is_told() -> None:
    part = of(LLAMA, GGUF, "-c", "4096", "-ngl", "8").awake
    assert part.device == 2 * GIB + KV_4096 // 4 + CONTEXT_BYTES
    assert part.host == 6 * GIB + KV_4096 * 3 // 4
    kept = of(LLAMA, GGUF, "-c", "4096", "--no-kv-offload").awake
    assert (kept.device, kept.host) == (8 * GIB + CONTEXT_BYTES, KV_4096)
    assert of(LLAMA, GGUF, "-c", "4096", "-ts", "1,1").awake.device == (8 * GIB + KV_4096) // 2 + CONTEXT_BYTES


@pytest.mark.parametrize(("args", "has_gpu"), [((), False), (("-ngl", "0"), True), (("--device", "none"), True)])
def test_llamacpp_without_a_device_lives_in_the_host(args: tuple[str, ...], has_gpu: bool) -> None:
    found = of(LLAMA, GGUF, "-c", "4096", *args, has_gpu=has_gpu).awake
    assert (found.device, found.host) == (0, 8 * GIB + KV_4096)


def test_command_lines_of_ones_own_are_read_too() -> None:
    own = ModelSpec(engine=EngineKind.COMMAND, command=("/opt/bin/vllm", "serve", "--gpu-memory-utilization", "0.5"))
    assert estimate(own, CARD, has_gpu=True).awake.device == 40 * GIB
    llama = ModelSpec(engine=EngineKind.COMMAND, command=("llama-server", "-ngl", "0"))
    assert estimate(llama, GGUF, has_gpu=True).awake.host > 8 * GIB
    other = ModelSpec(engine=EngineKind.COMMAND, command=("my-server",))
    assert estimate(other, CARD, has_gpu=True) == Footprint()
