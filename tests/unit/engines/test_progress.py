"""Engines' own counters, out of the text that they answer."""

import pytest

from roost.core.spec import EngineKind
from roost.engines.progress import progress_query, read_progress

VLLM = """# HELP vllm:generation_tokens_total Number of generation tokens processed.
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{engine="0",model_name="a {b} 7"} 1.5e+02
vllm:generation_tokens_total{engine="1",model_name="a"} 50.0
vllm:prompt_tokens_total{engine="0",model_name="a"} 8
vllm:generation_tokens_created{engine="0"} 1.7e9
vllm:num_requests_running{engine="0"} 3
"""
SGLANG = 'sglang:generation_tokens_total{model_name="a"} 4\nsglang:realtime_tokens_total{mode="decode"} 9\n'
LLAMACPP = "llamacpp:n_decode_total 332\nllamacpp:tokens_predicted_total 24.00\nllamacpp:requests_processing 1\n"


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (EngineKind.VLLM, VLLM, 208.0),
        (EngineKind.SIMULATED, VLLM, 208.0),
        (EngineKind.SGLANG, SGLANG, 13.0),
        (EngineKind.LLAMACPP, LLAMACPP, 356.0),
        (EngineKind.VLLM, SGLANG, None),
        (EngineKind.VLLM, "vllm:generation_tokens_total NaN\nvllm:prompt_tokens_total\n", None),
        (EngineKind.COMMAND, VLLM, None),
    ],
)
def test_the_counters_of_a_kind_are_added_up(kind: EngineKind, text: str, value: float | None) -> None:
    assert read_progress(kind, 200, text.encode()) == value


def test_an_error_is_no_figure() -> None:
    assert read_progress(EngineKind.VLLM, 404, VLLM.encode()) is None


def test_only_kinds_that_have_counters_are_asked() -> None:
    assert [kind for kind in EngineKind if progress_query(kind) is None] == [EngineKind.COMMAND]
