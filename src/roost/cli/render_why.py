"""Why a model is as it is, and what its user should know of it, as texts. Pure functions of the API's JSON.

Called by `render`, `render_fleet` and `render_steps`.
"""

import re
from typing import Any

from roost.core.units import format_duration

HELP_PAGE = 'What an error of a sleep or wake means: docs/sleep.md, "Troubleshooting by failing step".'
_BROKEN = re.compile("the (sleep|wake) failed: |someone woke it, and ")
"""How roost begins the reason of a sleep or wake that failed."""
_OUTCOMES = {
    "stopping": "the engine is being stopped",
    "cold": "the engine was stopped; the next request starts it",
    "backoff": "the engine was stopped, and is started afresh after a pause",
    "starting": "the engine was stopped, and is being started afresh",
    "ready": "the engine was stopped and started afresh",
    "failed": "the engine was stopped, and its tries are used up for now; roost load starts it at once",
    "stuck": "the engine survived SIGKILL, and its memory stays taken",
}


def remarks(model: dict[str, Any]) -> list[str]:
    """What its user should know of how its engine was started, and of levels that are given up."""
    canary = [part for part in str(model.get("canary") or "").split("; ") if "given up" in part]
    return [
        *(str(notice) for notice in model.get("notices") or ()),
        *_of_host(model.get("host")),
        *(f"{part[:1].upper()}{part[1:]}." for part in canary),
    ]


def _of_host(host: dict[str, Any] | None) -> list[str]:
    """That the server it lives in does not answer."""
    return [str(host["trouble"])] if host is not None and host.get("trouble") else []


def outcome(state: str, *, owned: bool) -> str:
    """What followed from a sleep or wake that failed, by the state it led to."""
    if not owned:
        again = ", which it does again" if state == "ready" else ""
        return f"it runs elsewhere, and gets no requests until it answers well{again}"
    return _OUTCOMES.get(state, f"it is {state}")


def broken_by(model: dict[str, Any]) -> str:
    """The reason of its state, where that is a sleep or wake that failed."""
    reason = str(_reason(model))
    return reason if model["state"] not in ("ready", "asleep") and _BROKEN.match(reason) else ""


def why(model: dict[str, Any]) -> str:
    """Since when a model is as it is, and the reason."""
    if model["blocked"]:
        return str(model["blocked"])
    since = format_duration(model["since_s"])
    if model["state"] == "ready" and model["idle_s"] is not None:
        return f"for {since}, idle {format_duration(model['idle_s'])}"
    reason = str(_reason(model))
    if not reason:
        return f"for {since}"
    then = f"; {outcome(model['state'], owned=model.get('owned', True))}" if broken_by(model) else ""
    return f"for {since}: {short(reason)}{then}"


def _reason(model: dict[str, Any]) -> str:
    return (model["last_error"] if model["state"] in ("failed", "backoff") else model["reason"]) or ""


def short(reason: str) -> str:
    """The first line, and where it leads on to a log's last lines, the very last of them."""
    lines = [line for line in reason.splitlines() if line.strip()] or [""]
    return f"{lines[0]} {lines[-1].strip()}" if lines[0].endswith(":") and len(lines) > 1 else lines[0]
