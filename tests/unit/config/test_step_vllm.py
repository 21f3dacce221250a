"""Own steps for vLLM that would fail or harm: wrong method, no body, the wrong list, the wrong order at level 2."""

import pytest

from tests.unit.config.reading import problems_of

RELOAD = "{endpoint: /collective_rpc, body: {method: reload_weights}}"
STAGED = f"{{endpoint: '/wake_up?tags=weights'}}, {RELOAD}, {{endpoint: '/wake_up?tags=kv_cache'}}"


def said_of(wake: str, sleep: str = "{endpoint: '/sleep?level=2'}", more: str = "") -> list[str]:
    """Without `file:line: warning: models.a.`."""
    engine = "" if "engine" in more else "engine: vllm, "
    text = (
        f"models: {{a: {{{engine}weights: x/y, sleep_level: 2, sleep_steps: [{sleep}], wake_steps: [{wake}]{more}}}}}"
    )
    found = problems_of(text)
    assert all(one.startswith("f:1: warning: models.a.") for one in found), found
    return [one.removeprefix("f:1: warning: models.a.") for one in found]


def test_the_staged_wake_is_fine() -> None:
    assert not said_of(STAGED)
    assert not said_of(f"{STAGED}, {{endpoint: /reset_prefix_cache}}")


def test_a_wake_of_everything_before_the_weights_are_read_is_fine() -> None:
    """Nothing is asked of the engine before the last step; it is what llama-swap's users were told to write."""
    assert not said_of(f"{{endpoint: /wake_up}}, {RELOAD}")
    assert not said_of(f"{{endpoint: '/wake_up?tags=weights&tags=kv_cache'}}, {RELOAD}")


@pytest.mark.parametrize(
    ("wake", "where", "what"),
    [
        (
            f"{{endpoint: '/wake_up?tags=kv_cache'}}, {{endpoint: '/wake_up?tags=weights'}}, {RELOAD}",
            0,
            "brings the KV cache back before the weights are there",
        ),
        (
            f"{{endpoint: '/wake_up?tags=weights'}}, {{endpoint: '/wake_up?tags=kv_cache'}}, {RELOAD}",
            1,
            "brings the KV cache back before the weights are there",
        ),
        (f"{RELOAD}, {{endpoint: /wake_up}}", 1, "makes room for the weights after they were read"),
    ],
)
def test_a_wake_from_level_2_out_of_order_is_warned_of(wake: str, where: int, what: str) -> None:
    (said,) = said_of(wake)
    assert said.startswith(f"wake_steps.{where}.endpoint: {what}")
    assert said.endswith(
        "Write /wake_up?tags=weights, then the call that reads the weights, then /wake_up?tags=kv_cache."
    )


def test_the_parts_of_a_wake_must_not_run_together() -> None:
    together = STAGED.replace("}, {", ", parallel: 1}, {").removesuffix("}") + ", parallel: 1}"
    assert [one.partition(": ")[0] for one in said_of(together)] == ["wake_steps.1.parallel", "wake_steps.2.parallel"]


def test_a_step_with_a_condition_may_be_the_way_out() -> None:
    assert not said_of(f"{STAGED}, {{endpoint: /wake_up, if: {{step: 1, status: 404}}}}")
    assert not said_of(f"{{endpoint: /wake_up, if: {{level: 1}}}}, {STAGED}")


def test_other_engines_and_level_1_have_no_such_order() -> None:
    assert not said_of(f"{{endpoint: /wake_up}}, {RELOAD}", more=", engine: sglang")
    one = f"sleep_steps: [{{endpoint: /sleep}}], wake_steps: [{{endpoint: /wake_up}}, {RELOAD}]"
    assert not problems_of(f"models: {{a: {{engine: vllm, weights: x/y, {one}}}}}")


def test_swapped_lists_are_warned_of() -> None:
    swapped = "sleep_steps: [{endpoint: /wake_up}], wake_steps: [{endpoint: '/sleep?level=1'}]"
    first, second = problems_of(f"models: {{a: {{engine: vllm, weights: x/y, {swapped}}}}}")
    assert "sleep_steps.0.endpoint: wakes the engine, and stands in sleep_steps. Move it to wake_steps;" in first
    assert "wake_steps.0.endpoint: sends the engine to sleep, and stands in wake_steps. Move it to sleep" in second


def test_a_get_where_vllm_only_takes_post() -> None:
    (said,) = said_of(STAGED, "{endpoint: '/sleep?level=2', method: get}")
    assert said == (
        "sleep_steps.0.method: vLLM takes /sleep only with POST and answers 405 to GET. "
        "Take method out; POST is the default."
    )
    assert not said_of(f"{STAGED}, {{endpoint: /health, method: GET}}")


def test_collective_rpc_without_its_method() -> None:
    wake = STAGED.replace(", body: {method: reload_weights}", "")
    assert any(one.startswith("wake_steps.1: body is missing: vLLM answers 400") for one in said_of(wake))
    wake = STAGED.replace("body: {method", "body: {methods")
    assert [one.partition(".")[0] for one in said_of(wake)] == ["wake_steps"]


def test_llama_server_knows_no_levels() -> None:
    (said,) = problems_of("models: {a: {weights: ./x.gguf, sleep_level: 2}}")
    assert said.startswith("f:1: warning: models.a.sleep_level: llama-server has one way to sleep and no levels")
    assert not problems_of("defaults: {sleep_level: 2}\nmodels: {a: {weights: ./x.gguf}}")
