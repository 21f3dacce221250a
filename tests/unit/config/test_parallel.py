"""How many devices an engine's own arguments take."""

import pytest

from roost.config.parallel import devices_taken
from roost.core.spec import EngineKind, ModelSpec
from tests.unit.config.reading import read


@pytest.mark.parametrize(
    ("engine", "args", "taken"),
    [
        (EngineKind.VLLM, "", None),
        (EngineKind.VLLM, "--tensor-parallel-size 4", 4),
        (EngineKind.VLLM, "--tensor_parallel_size=4", 4),
        (EngineKind.VLLM, "-tp 2 --pipeline-parallel-size=2", 4),
        (EngineKind.VLLM, "-tp 2 -tp 8", 8),
        (EngineKind.VLLM, "-tp 2 -dp 3", 6),
        (EngineKind.VLLM, "-tp ${WHAT}", None),
        (EngineKind.VLLM, "-tp 0", None),
        (EngineKind.VLLM, "-tp", None),
        (EngineKind.SGLANG, "--tp 2", 2),
        (EngineKind.SGLANG, "--tp-size 2 --pp-size 2", 4),
        (EngineKind.COMMAND, "docker run x --tensor-parallel-size 2", 2),
        (EngineKind.COMMAND, "srv -tp 2", None),
        (EngineKind.LLAMACPP, "", None),
        (EngineKind.LLAMACPP, "-ts 3,1", 2),
        (EngineKind.LLAMACPP, "--tensor-split 3,1 --split-mode none", 1),
        (EngineKind.SIMULATED, "--tensor-parallel-size 2", None),
    ],
)
def test_what_the_arguments_say(engine: EngineKind, args: str, taken: int | None) -> None:
    assert devices_taken(ModelSpec(engine=engine, args=tuple(args.split()))) == taken
    assert devices_taken(ModelSpec(engine=engine, command=tuple(args.split()))) == taken


def test_it_is_part_of_the_effective_spec_and_what_is_written_wins() -> None:
    def count(more: str) -> int | None:
        spec = read("models: {a: {weights: o/m, args: [--tensor-parallel-size 2]" + more + "}}").spec
        assert spec is not None
        return spec.models["a"].device_count

    assert count("") == 2
    assert count(", device_count: 4") == 4
