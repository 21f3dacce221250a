"""Every kind has its adapter, and a whole config is validated in its order."""

import pytest

from roost.core.spec import EngineKind, ModelSpec, RoostSpec
from roost.engines.base import Adapter, Machine
from roost.engines.registry import ADAPTERS, adapter_for, validate


@pytest.mark.parametrize("kind", list(EngineKind))
def test_each_kind_is_served_by_its_own_adapter(kind: EngineKind) -> None:
    assert adapter_for(ModelSpec(engine=kind)).kind is kind


def test_problems_come_in_the_order_of_the_config() -> None:
    models = {
        "b": ModelSpec(engine=EngineKind.VLLM),
        "ok": ModelSpec(engine=EngineKind.VLLM, weights="org/m"),
        "a": ModelSpec(engine=EngineKind.COMMAND),
    }
    assert [problem.path[1] for problem in validate(RoostSpec(models=models))] == ["b", "a"]


@pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=str)
def test_every_adapter_keeps_to_the_form(adapter: Adapter) -> None:
    spec = ModelSpec(engine=adapter.kind, weights="/w.gguf", command=("x", "${PORT}"))
    assert not set(adapter.inference_paths) & set(adapter.control_paths)
    assert all(path.startswith("/") for path in (*adapter.inference_paths, *adapter.control_paths))
    query = adapter.sleep_query(spec)
    assert query is None or query.method == "GET"
    assert adapter.is_asleep(503, None) is None
    signs = adapter.signs(spec)
    assert all(step.method == "GET" for step in (*signs.once, *([signs.paused] if signs.paused else [])))
    assert not list(adapter.notices(spec, Machine(python="python"), [None] * len(signs.once)))
    for level in adapter.sleep_levels(spec):
        assert adapter.sleep(spec, level)
        assert adapter.wake(spec, level)
