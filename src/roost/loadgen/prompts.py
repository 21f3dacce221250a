"""What is asked: prompts made to a length, or taken from a file in turn. Pure but for the file's text, which is given.

Used by `run`; the CLI reads the file.
"""

import json
from collections.abc import Sequence
from random import Random

from roost.loadgen.plan import PlanError, Prompt

MAX_FILE = 64 * 1024 * 1024
MAX_PROMPTS = 100_000
_TEXT = "the of and to in is that for it as was with be by on not he his but at are this have from or had an"
_WORDS = _TEXT.split()


def made(random: Random, words: int) -> str:
    """Words that no request before had in this order, so that no prefix cache answers for the engine."""
    number = random.getrandbits(32)
    return " ".join((f"{number:08x}", *random.choices(_WORDS, k=max(words - 1, 0))))


def read(text: str, name: str) -> tuple[Prompt, ...]:
    """Prompts of a file: one a line, or JSON lines with `prompt` or `messages`. PlanError naming the line."""
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise PlanError(f"{name} holds no prompt: write one a line, or JSON lines with prompt or messages.")
    if len(lines) > MAX_PROMPTS:
        raise PlanError(f"{name} holds {len(lines)} prompts; at most {MAX_PROMPTS} are taken.")
    is_json = lines[0][1].lstrip().startswith("{")
    return tuple(_decoded(line, f"{name}:{number}") if is_json else line for number, line in lines)


def _decoded(line: str, place: str) -> Prompt:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise PlanError(f"{place} is not JSON: {error}.") from None
    prompt = value.get("prompt") if isinstance(value, dict) else None
    messages = value.get("messages") if isinstance(value, dict) else None
    if isinstance(prompt, str) and prompt:
        return prompt
    if isinstance(messages, list) and messages and all(isinstance(one, dict) for one in messages):
        return tuple(messages)
    raise PlanError(f'{place} has neither "prompt" (a text) nor "messages" (a list).')


def as_text(prompt: Prompt) -> str:
    """For tasks that take no messages."""
    return prompt if isinstance(prompt, str) else "\n".join(str(one.get("content", "")) for one in prompt)


class Prompts:
    """The next prompt, from the file in turn or made."""

    def __init__(self, given: Sequence[Prompt], words: int, random: Random) -> None:
        self._given, self._words, self._random = given, words, random
        self._taken = 0

    def next(self, words: int | None) -> Prompt:
        """`words`: a length of this one's own."""
        if self._given:
            self._taken += 1
            return self._given[(self._taken - 1) % len(self._given)]
        return made(self._random, self._words if words is None else words)
