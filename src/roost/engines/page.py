"""The table of built-in steps in docs/sleep.md, made from the adapters.

`python -m roost.engines.page` prints it; a test holds the page in step. Pure.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from urllib.parse import urlencode

from roost.core.spec import EngineKind, ModelSpec
from roost.core.step import Step
from roost.engines.registry import ADAPTERS

MARKS = (
    "<!-- built-in steps: `python -m roost.engines.page` prints this table -->",
    "<!-- end of the built-in steps -->",
)
_SHOWN = (
    ("vLLM", EngineKind.VLLM, 1),
    ("vLLM", EngineKind.VLLM, 2),
    ("SGLang", EngineKind.SGLANG, 1),
    ("SGLang", EngineKind.SGLANG, 2),
)


def builtin_steps_markdown() -> str:
    """The table with its two marks, ending in a newline."""
    head = ("| engine | level | to sleep | to wake |", "|---|---|---|---|")
    return "\n".join((MARKS[0], "", *head, *_rows(), "", MARKS[1], ""))


def _rows() -> Iterator[str]:
    for name, kind, level in _SHOWN:
        adapter = ADAPTERS[kind]
        model = ModelSpec(weights="WEIGHTS", sleep_level=2 if level == 2 else 1)
        yield f"| {name} | {level} | {_calls(adapter.sleep(model, level))} | {_calls(adapter.wake(model, level))} |"


def _calls(steps: Sequence[Step]) -> str:
    return "<br>".join(f"{number}. {_call(step)}" for number, step in enumerate(steps, 1))


def _call(step: Step) -> str:
    target = step.path + ("?" + urlencode(step.query) if step.query else "")
    body = step.text if step.json is None else json.dumps(step.json)
    return f"`{step.method} {target}`" + (f" with `{body}`" if body is not None else "")


if __name__ == "__main__":
    sys.stdout.write(builtin_steps_markdown())
