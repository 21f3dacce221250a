"""Steps as log and records may show them: short, one line, without keys. Pure; called by `steps` and `canary`."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from roost.config.masking import MASK, is_secret_name
from roost.core.spec import ModelSpec
from roost.core.step import Step
from roost.host.calling import body_of

ANSWER_SHOWN = 300
BODY_SHOWN = 500
LEAST_SECRET = 4
"""Characters: what is shorter is no secret, and hiding it would tear up every sentence."""
_PAIR = re.compile(r"([?&])([^=&\s]{1,100})=([^&\s]*)")


class Shower:
    """Hides one engine's key and all other `secrets` wherever they turn up, and every value that a name marks as a
    secret. Hides first and cuts then: half a key is too much."""

    def __init__(self, api_key: str | None, secrets: Iterable[str] = ()) -> None:
        known = {secret for secret in (api_key, *secrets) if secret}
        spelt = known | {json.dumps(secret, ensure_ascii=ascii)[1:-1] for secret in known for ascii in (False, True)}
        self._secrets = sorted(spelt, key=len, reverse=True)  # one may begin with another

    def text(self, text: str) -> str:
        """A sentence, with names of calls in it."""
        hidden = _PAIR.sub(lambda m: f"{m[1]}{m[2]}={MASK if is_secret_name(m[2]) else m[3]}", text)
        return self._without_secrets(hidden)

    def _without_secrets(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text

    def answer(self, body: bytes) -> str:
        """The beginning of what an engine answered."""
        return self.text(" ".join(body.decode("utf-8", "replace").split()))[:ANSWER_SHOWN]

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
        shown = self._without_secrets(text)
        return shown if len(shown) <= BODY_SHOWN else f"{shown[:BODY_SHOWN]}... ({len(body)} bytes)"


def shower_of(spec: ModelSpec) -> Shower:
    """What hides all that this model's calls must not show: an engine may repeat in its answer what it was sent."""
    headers = [pair for step in (*spec.sleep_steps, *spec.wake_steps) for pair in step.headers.items()]
    secret = [part for name, value in headers if is_secret_name(name) for part in (value, value.rpartition(" ")[2])]
    return Shower(spec.api_key, [part for part in secret if len(part) >= LEAST_SECRET])


def _hidden(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: MASK if is_secret_name(str(key)) else _hidden(inner) for key, inner in value.items()}
    return [_hidden(inner) for inner in value] if isinstance(value, list) else value
