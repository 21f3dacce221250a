"""What an engine says of itself: whether it sleeps, how deep, whether someone paused it, and what is wrong with how it
was started.

Only asks, and never what would wake it; changes no state. An answer with status 200 proves only that the endpoint
answered, so every sleep and wake ends here. Called by `host/work.py` and `host/watching.py`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import TYPE_CHECKING

from roost import clock
from roost.core.errors import StepError
from roost.core.step import Step
from roost.engines.base import Notice
from roost.engines.gauge import levels_shown
from roost.logs import log

if TYPE_CHECKING:
    from roost.host.replica import Replica

CONFIRM_S = 5.0
"""How long a sleep or wake may take to show after its steps answered."""
POLL_S = 0.1
_FAULT = 500


class Seen(StrEnum):
    """What an engine is by its own word."""

    AWAKE = "awake"
    PAUSED = "paused"
    """Its memory is all there, yet it takes no step."""
    ASLEEP = "asleep"
    UNKNOWN = "unknown"


async def says_asleep(replica: "Replica") -> bool | None:
    """What the engine itself says; None where it cannot tell or does not answer."""
    adapter = replica.setup.adapter
    query = adapter.sleep_query(replica.spec)
    answer = await replica.caller.ask(query) if query is not None else None
    return adapter.is_asleep(*answer) if answer is not None else None


async def look(replica: "Replica") -> Seen:
    """Releases differ in whether one that is merely paused says that it sleeps; with the gauge it is told apart, and
    without it taken for asleep, which wakes it as well."""
    asleep = await says_asleep(replica)
    if asleep is None:
        return Seen.UNKNOWN
    paused = await _says_paused(replica)
    if not asleep:
        return Seen.PAUSED if paused else Seen.AWAKE
    return Seen.PAUSED if paused and await levels(replica) == {0} else Seen.ASLEEP


async def _says_paused(replica: "Replica") -> bool:
    query = replica.setup.adapter.signs(replica.spec).paused
    answer = await replica.caller.ask(query) if query is not None else None
    body = answer[1] if answer is not None and answer[0] == 200 else None
    return isinstance(body, dict) and body.get("is_paused") is True


async def levels(replica: "Replica") -> frozenset[int]:
    """The sleep levels that its metrics show, 0 for awake; empty where they do not tell."""
    gauge = replica.setup.adapter.signs(replica.spec).gauge
    if gauge is None:
        return frozenset()
    try:
        status, page = await replica.caller.call(Step(method="GET", path=gauge.path, timeout_s=gauge.timeout_s))
    except StepError:
        return frozenset()
    return levels_shown(gauge, page.decode("utf-8", "replace")) if status == 200 else frozenset()


async def confirm_asleep(replica: "Replica", level: int) -> None:
    """Raises StepError if it says otherwise, or shows another level, after CONFIRM_S."""
    await _until_right(lambda: _not_asleep(replica, level), "its sleep")


async def confirm_awake(replica: "Replica") -> None:
    """Raises StepError if it says otherwise after CONFIRM_S."""
    await _until_right(lambda: _not_awake(replica), "its wake")


async def confirm_gauge(replica: "Replica") -> None:
    """Raises StepError if its metrics show, after CONFIRM_S, that it or one of several engines behind its port is not
    awake: their own word and one answer are those of the engine that was asked."""
    await _until_right(lambda: _not_shown_awake(replica), "its wake")


async def _until_right(wrong: Callable[[], Awaitable[str]], what: str) -> None:
    deadline = clock.now() + CONFIRM_S
    while said := await wrong():
        if clock.now() > deadline:
            raise StepError(f"{said} {CONFIRM_S:g} s after {what}")
        await asyncio.sleep(POLL_S)


async def _not_asleep(replica: "Replica", level: int) -> str:
    asleep, shown = await asyncio.gather(_asked(replica), levels(replica))
    match asleep:
        case False:
            return "it still says it is awake"
        case str() as silence:
            return silence
    if shown and level not in shown:
        return f"{_metric(replica)} shows {_named(shown)}, not level {level},"
    return ""


async def _asked(replica: "Replica") -> bool | str | None:
    """As `says_asleep`, but an engine that is asked and does not answer is not one that cannot tell: then the sentence
    that says so. It has the endpoint unless it answers 404 or something of another form."""
    adapter = replica.setup.adapter
    query = adapter.sleep_query(replica.spec)
    if query is None:
        return None
    answer = await replica.caller.ask(query)
    if answer is None:
        return f"it gives {query.name} no answer"
    return f"it answers {query.name} with {answer[0]}" if answer[0] >= _FAULT else adapter.is_asleep(*answer)


async def _not_shown_awake(replica: "Replica") -> str:
    shown = await levels(replica)
    return f"{_metric(replica)} shows {_named(shown)}, not awake alone," if shown - {0} else ""


async def _not_awake(replica: "Replica") -> str:
    return "it still says it is asleep" if await says_asleep(replica) else ""


def _metric(replica: "Replica") -> str:
    gauge = replica.setup.adapter.signs(replica.spec).gauge
    return f"its metric {gauge.name}" if gauge is not None else "its metrics"


def _named(shown: frozenset[int]) -> str:
    return " and ".join(f"level {level}" if level else "awake" for level in sorted(shown))


async def examine(replica: "Replica") -> None:
    """Once it is ready: what its user should know of how it was started, in the log and in `replica.notices`."""
    if not replica.spec.can_sleep:
        return  # all of it is about sleep
    adapter, before = replica.setup.adapter, replica.notices
    answers = [await replica.caller.ask(step) for step in adapter.signs(replica.spec).once]
    unasked = replica.canary.unasked
    replica.notices = (
        *adapter.notices(replica.spec, replica.setup.machine, answers),
        *((Notice(text=unasked),) if unasked else ()),
    )
    for notice in replica.notices:
        if notice not in before:
            log.warning("%s: %s", replica.id, notice.text)
