"""Checks of the statistics: their form in both spellings, windows, exact counts, idle and active lists.

Reads before and after the walk's own requests; others' requests in between are told apart by their ids.
Called by `run`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from roost import clock
from roost.selftest.lines import Check
from roost.selftest.shapes import (
    FLAG,
    NUMBER,
    NUMBER_OR_NULL,
    OBJECT,
    TEXTS,
    WHOLE,
    differs,
    lacks,
    lacks_each,
    misses,
)
from roost.selftest.talk import Got
from roost.selftest.visit import Model, Visit

STATS = {
    "total_requests": WHOLE,
    "successful_requests": WHOLE,
    "failed_requests": WHOLE,
    "request_rate": NUMBER,
    "avg_response_time": NUMBER_OR_NULL,
    "last_activity_time": NUMBER_OR_NULL,
    "idle_time_seconds": NUMBER_OR_NULL,
    "is_idle": FLAG,
}
SPELLINGS = ("/traffic/stats", "/model/traffic/stats")
WINDOW_S = 120
BAD = ("0", "-1", "abc")
IDLE_S = 300
TINY_S = 0.0001
SETTLE_S = 2.0
"""A request is counted when it is settled, which may be a moment after its last byte."""
LOOK_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class Before:
    """The counts before the walk's own requests, and when they were read."""

    stats: Mapping[str, Mapping[str, Any]]
    at: float


def before(visit: Visit) -> Before | None:
    """The counts at the beginning; None where they cannot be read. With that, the form of the statistics."""
    found: Before | None = None
    names = [model.name for model in visit.listed]
    for path in SPELLINGS:
        at = clock.now()
        got = visit.talk.get(path)
        check = Check(name="statistics", expected=f"every model at {path}, for 60 s")
        if visit.judge(check, got, _stats_fault(got, 60) or misses(names, got.body["traffic_stats"], "statistics")):
            found = found or Before(got.body["traffic_stats"], at)
    return found


def _stats_fault(got: Got, window: int) -> str | None:
    return (
        got.fault(traffic_stats=OBJECT, window_seconds=NUMBER)
        or lacks_each(got.body["traffic_stats"], STATS, "traffic_stats")
        or differs(got.body, {"window_seconds": window})
    )


def windows(visit: Visit) -> None:
    """Another window is used, one that means nothing is refused."""
    got = visit.talk.get(SPELLINGS[0], window=WINDOW_S)
    visit.judge(
        Check(name="statistics", expected=f"a window of {WINDOW_S} s is used"), got, _stats_fault(got, WINDOW_S)
    )
    for path, option in ((SPELLINGS[0], "window"), ("/models/idle", "threshold"), ("/models/active", "window")):
        answers = [visit.talk.get(path, **{option: bad}) for bad in BAD]
        check = Check(name=f"bad {option}", expected=f"400 at {path} for {', '.join(BAD)}")
        wrong = next((got for got in answers if got.refusal_fault(400)), answers[0])
        visit.judge(check, wrong, wrong.refusal_fault(400))


def counts(visit: Visit, model: Model, earlier: Before) -> None:
    """The model's counts rose by what was sent: all of it, and what was answered with 200."""
    sent, answered = visit.sent[model.name], visit.answered[model.name]
    check = Check(name="counts", expected=f"{sent} more requests, {answered} more successful", model=model.name)
    got, rise = _rise(visit, model, earlier, sent)
    if got.fault(traffic_stats=OBJECT) or rise is None:
        visit.judge(check, got, got.fault(traffic_stats=OBJECT) or f"no statistics of {model.name}")
        return
    total, successful = rise
    others = 0 if (total, successful) == (sent, answered) else _others(visit, model, earlier)
    if others:
        visit.shared.add(model.name)
    good = sent <= total <= sent + others and answered <= successful <= answered + others
    hint = "; does this key have `counts: false`?" if total == 0 and sent else ""
    visit.settle(
        check,
        None if good else f"{total} more, {successful} more successful ({others} of others){hint}",
        f"and {total - sent} of others" if others and good else "",
    )


def _rise(visit: Visit, model: Model, earlier: Before, sent: int) -> tuple[Got, tuple[int, int] | None]:
    """(the last answer, (more requests, more successful ones)), as soon as there are as many as were sent."""
    deadline = clock.now() + SETTLE_S
    while True:
        got = visit.talk.get(SPELLINGS[0])
        stats = None if got.fault(traffic_stats=OBJECT) else got.body["traffic_stats"].get(model.name)
        if stats is None or lacks(stats, STATS):
            return got, None
        then = earlier.stats.get(model.name, {})
        total, successful = (stats[key] - then.get(key, 0) for key in ("total_requests", "successful_requests"))
        if total >= sent or clock.now() > deadline:
            return got, (total, successful)
        visit.pause(LOOK_EVERY_S)


def _others(visit: Visit, model: Model, earlier: Before) -> int:
    """Requests of other clients that may have been counted since then, as far as the router remembers them: those that
    had begun shortly before, too."""
    got = visit.talk.get("/api/v1/requests/recent")
    rows = got.body.get("requests") if isinstance(got.body, dict) else None
    return sum(
        isinstance(row, dict)
        and row.get("model") == model.name
        and not str(row.get("id")).startswith(visit.talk.prefix)
        and float(row.get("age_s") or 0) <= clock.now() - earlier.at + SETTLE_S
        for row in (rows if isinstance(rows, list) else ())
    )


def stats_of(visit: Visit, model: Model) -> None:
    """One model's statistics, its name encoded and with raw slashes, in both spellings."""
    names = {"encoded": model.encoded} | ({"with a raw slash": model.raw} if "/" in model.name else {})
    for path in SPELLINGS:
        for how, name in names.items():
            got = visit.talk.get(f"{path}/{name}", window=WINDOW_S)
            fault = (
                got.fault(model_stats=OBJECT, window_seconds=NUMBER)
                or lacks(got.body["model_stats"], STATS, "model_stats")
                or differs(got.body["model_stats"], {"model_name": model.name})
                or differs(got.body, {"window_seconds": WINDOW_S})
            )
            check = Check(name="its statistics", expected=f"{path}/{{model}}, {how}", model=model.name)
            visit.judge(check, got, fault)


def idle_and_active(visit: Visit, elapsed_s: float) -> None:
    """Each model is in one of the lists; who was asked in this walk is active; a tiny threshold makes all idle."""
    threshold = IDLE_S + ceil(elapsed_s)
    _lists(visit, "/models", threshold)
    _lists(visit, "/model/traffic", threshold)
    got = visit.talk.get("/models/idle", threshold=TINY_S)
    used = [model.name for model in visit.models if visit.answered[model.name] and model.name not in visit.shared]
    fault = _idle_fault(got) or misses(used, got.body["idle_models"], "idle_models")
    visit.judge(Check(name="idle", expected=f"who was just asked, for a threshold of {TINY_S} s"), got, fault)
    got = visit.talk.get("/models/idle")
    visit.judge(Check(name="idle", expected="/models/idle with the configured threshold"), got, _idle_fault(got))
    got = visit.talk.get("/models/active")
    visit.judge(Check(name="active", expected="/models/active with the configured threshold"), got, _active_fault(got))


def _lists(visit: Visit, base: str, threshold: int) -> None:
    """Both lists: together they have every model once."""
    told = {"idle_threshold_seconds": threshold}
    used = [model.name for model in visit.models if visit.answered[model.name]]
    active = visit.talk.get(f"{base}/active", threshold=threshold, window=WINDOW_S)
    fault = (
        _active_fault(active)
        or differs(active.body, {**told, "window_seconds": WINDOW_S})
        or misses(used, active.body["active_models"], "active_models")
    )
    check = Check(name="active", expected=f"who was just asked, at {base}/active")
    if not visit.judge(check, active, fault):
        return
    idle = visit.talk.get(f"{base}/idle", threshold=threshold)
    fault = _idle_fault(idle) or differs(idle.body, told) or _not_once(visit, active, idle)
    visit.judge(Check(name="idle", expected=f"all others, at {base}/idle"), idle, fault)


def _not_once(visit: Visit, active: Got, idle: Got) -> str | None:
    both = [*active.body["active_models"], *idle.body["idle_models"]]
    twice = sorted({name for name in both if both.count(name) > 1})
    missing = misses([model.name for model in visit.listed], both, "both lists together")
    return missing or (f"{', '.join(twice)} in both lists" if twice else None)


def _idle_fault(got: Got) -> str | None:
    details = {"idle_time_seconds": NUMBER_OR_NULL, "total_requests": WHOLE, "last_activity_time": NUMBER_OR_NULL}
    return (
        got.fault(idle_models=TEXTS, idle_threshold_seconds=NUMBER, idle_model_details=OBJECT, idle_models_count=WHOLE)
        or lacks_each(got.body["idle_model_details"], details, "idle_model_details")
        or misses(got.body["idle_models"], got.body["idle_model_details"], "idle_model_details")
        or differs(got.body, {"idle_models_count": len(got.body["idle_models"])})
    )


def _active_fault(got: Got) -> str | None:
    details = {
        "request_rate": NUMBER,
        "total_requests": WHOLE,
        "avg_response_time": NUMBER_OR_NULL,
        "last_activity_time": NUMBER_OR_NULL,
    }
    return (
        got.fault(
            active_models=TEXTS,
            idle_threshold_seconds=NUMBER,
            window_seconds=NUMBER,
            active_model_details=OBJECT,
            active_models_count=WHOLE,
        )
        or lacks_each(got.body["active_model_details"], details, "active_model_details")
        or misses(got.body["active_models"], got.body["active_model_details"], "active_model_details")
        or differs(got.body, {"active_models_count": len(got.body["active_models"])})
    )
