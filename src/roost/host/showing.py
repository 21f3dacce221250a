"""Steps as log and records may show them: short, one line, without keys. Pure; called by `steps`."""

import json
import re
from collections.abc import Mapping
from typing import Any

from roost.config.masking import MASK, is_secret_name
from roost.core.step import Step
from roost.host.calling import body_of

ANSWER_SHOWN = 300
BODY_SHOWN = 500
_PAIR = re.compile(r"([?&])([^=&]+)=([^&\s]*)")


class Shower:
    """Hides one engine's key wherever it turns up, and every value that a name marks as a secret."""

    def __init__(self, api_key: str | None) -> None:
        self._key = api_key

    def text(self, text: str) -> str:
        """A sentence, with names of calls in it."""
        hidden = _PAIR.sub(lambda m: f"{m[1]}{m[2]}={MASK if is_secret_name(m[2]) else m[3]}", text)
        return hidden.replace(self._key, MASK) if self._key else hidden

    def answer(self, body: bytes) -> str:
        """The beginning of what an engine answered."""
        return self.text(" ".join(body[:ANSWER_SHOWN].decode("utf-8", "replace").split()))

    def sent(self, step: Step) -> str | None:
        """The body of a step; None where it has none."""
        body = body_of(step)
        if body is None:
            return None
        text = body.decode("utf-8", "replace")
        try:
            text = json.dumps(_hidden(json.loads(text)), ensure_ascii=False, separators=(",", ":"))
        except ValueError:
            text = " ".join(text.split())
        shown = text.replace(self._key, MASK) if self._key else text
        return shown if len(shown) <= BODY_SHOWN else f"{shown[:BODY_SHOWN]}... ({len(body)} bytes)"


def _hidden(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: MASK if is_secret_name(str(key)) else _hidden(inner) for key, inner in value.items()}
    return [_hidden(inner) for inner in value] if isinstance(value, list) else value
