"""Checks of sleep and wake, model by model, and putting every model back as it was found.

The only part of the walk that changes a router on purpose. Called by `run`.
"""

from typing import Any

from roost.selftest.answers import again
from roost.selftest.lines import Check
from roost.selftest.shapes import FLAG, NUMBER, OBJECT, TEXT, TEXTS, differs, lacks, lacks_each, shown
from roost.selftest.talk import Got
from roost.selftest.visit import Model, Visit

AWAKE = ("ready", "draining", "starting", "waking")
ORDER = {"model_name": TEXT, "success": FLAG, "message": TEXT, "changed": FLAG}
_SLEEPING = {"sleep_start_time": NUMBER, "sleep_duration": NUMBER, "manual_sleep": FLAG}
_CANDIDATE = {"idle_time_seconds": NUMBER, "total_requests": NUMBER, "can_sleep": FLAG}
_CONFLICT = 409


def status(visit: Visit) -> None:
    """`/sleep/status` and `/sleep/candidates`, in both spellings."""
    for path in ("/sleep/status", "/model/sleep/status"):
        got = visit.talk.get(path)
        visit.judge(Check(name="sleep status", expected=f"who sleeps, at {path}"), got, _status_fault(got))
    for path in ("/sleep/candidates", "/model/sleep/candidates"):
        got = visit.talk.get(path)
        check = Check(name="sleep candidates", expected=f"who could sleep, at {path}")
        visit.judge(check, got, _candidates_fault(got))


def _status_fault(got: Got) -> str | None:
    return got.fault(
        sleeping_models=OBJECT,
        sleep_candidates=TEXTS,
        auto_sleep_enabled=FLAG,
        idle_threshold_seconds=NUMBER,
        wakeup_on_request=FLAG,
    ) or lacks_each(got.body["sleeping_models"], _SLEEPING, "sleeping_models")


def _candidates_fault(got: Got) -> str | None:
    return got.fault(
        sleep_candidates=TEXTS, candidate_details=OBJECT, idle_threshold_seconds=NUMBER, auto_sleep_enabled=FLAG
    ) or lacks_each(got.body["candidate_details"], _CANDIDATE, "candidate_details")


def cycle(visit: Visit, model: Model) -> None:
    """Asleep by order, awake by request; asleep again, awake by order."""
    if not _wake(visit, model, f"/action/wakeup/{model.encoded}", "awake by order", None):
        return
    if not _sleep(visit, model, f"/action/sleep/{model.encoded}", changed=True):
        return
    _seen_asleep(visit, model)
    _sleep(visit, model, f"/model/sleep/{model.encoded}", changed=False)
    _by_request(visit, model)
    if _sleep(visit, model, f"/model/sleep/{model.raw}", changed=True):
        _wake(visit, model, f"/model/wake/{model.raw}", "awake by order", True)
    _wake(visit, model, f"/action/wakeup/{model.encoded}", "awake already", False)
    _seen_awake(visit, model)


def _order_fault(got: Got, model: Model, changed: bool | None) -> str | None:
    wanted = {"model_name": model.name, "success": True}
    return got.fault(**ORDER) or differs(got.body, wanted if changed is None else {**wanted, "changed": changed})


def _sleep(visit: Visit, model: Model, path: str, *, changed: bool) -> bool:
    """A model that cannot be put to sleep says why, and is skipped."""
    name, how = ("sleep", "asleep by order") if changed else ("sleep", "asleep already, changed false")
    check = Check(name=name, expected=f"{how}, at {_shape(path, model)}", model=model.name)
    got = visit.talk.order(path)
    if got.status == _CONFLICT and got.refusal_fault(_CONFLICT) is None:
        return visit.skip(check, got.said)
    return visit.judge(check, got, _order_fault(got, model, changed), f"{got.took_s:.2f} s")


def _wake(visit: Visit, model: Model, path: str, how: str, changed: bool | None) -> bool:
    check = Check(name="wake", expected=f"{how}, at {_shape(path, model)}", model=model.name)
    got = visit.talk.order(path)
    return visit.judge(check, got, _order_fault(got, model, changed), f"{got.took_s:.2f} s")


def _shape(path: str, model: Model) -> str:
    for name in (model.encoded, model.raw):
        if path.endswith(f"/{name}"):
            return path[: -len(name)] + ("{model}" if name == model.encoded else "{model} with a raw slash")
    return path


def _seen_asleep(visit: Visit, model: Model) -> None:
    """The router says so wherever it is asked, and asking wakes nobody."""
    check = Check(name="asleep", expected="state asleep, as told by /v1/models", model=model.name)
    got = visit.talk.get(f"/v1/models/{model.encoded}")
    visit.judge(check, got, got.fault(status=OBJECT) or differs(got.body["status"], {"value": "asleep"}))
    got = visit.talk.get("/sleep/status")
    check = Check(name="asleep", expected="among those that sleep, by hand", model=model.name)
    visit.judge(check, got, _status_fault(got) or _not_sleeping(got.body["sleeping_models"].get(model.name)))
    got = visit.talk.get("/sleep/candidates")
    fault = _candidates_fault(got)
    if fault is None and model.name in got.body["sleep_candidates"]:
        fault = f"{shown(model.name)} among them"
    visit.judge(Check(name="asleep", expected="no candidate for sleep", model=model.name), got, fault)


def _not_sleeping(entry: Any) -> str | None:
    return "nothing of it" if entry is None else lacks(entry, _SLEEPING) or differs(entry, {"manual_sleep": True})


def _by_request(visit: Visit, model: Model) -> None:
    """A request wakes the model; where the config forbids that, the request is told so."""
    allowed = _may_wake(visit.talk.get("/sleep/status"), model)
    got = again(visit, model)
    if got is None:
        visit.skip(Check(name="wake", expected="", model=model.name), "no request is known that fits its task")
    elif allowed:
        check = Check(name="wake", expected="awake by a request, which is answered", model=model.name)
        hint = " (has this key may_wake: false?)" if got.error.get("code") == "model_asleep" else ""
        visit.judge(check, got, None if got.status == 200 else f"{got.said}{hint}", f"{got.took_s:.2f} s")
    else:
        check = Check(name="wake", expected="503 model_asleep, as requests may not wake it", model=model.name)
        fault = got.refusal_fault(503) or differs(got.error, {"code": "model_asleep"})
        visit.judge(check, got, fault)
    if got is None or got.status != 200:
        _wake(visit, model, f"/model/wake/{model.encoded}", "awake by order", True)


def _may_wake(got: Got, model: Model) -> bool:
    """What the router says of the model by itself, else of all."""
    if _status_fault(got):
        return True
    rules = got.body.get("models")
    own = rules.get(model.name) if isinstance(rules, dict) else None
    told = own if isinstance(own, dict) and "wake_on_request" in own else {}
    return bool(told.get("wake_on_request", got.body["wakeup_on_request"]))


def _seen_awake(visit: Visit, model: Model) -> None:
    got = visit.talk.get("/sleep/status")
    fault = _status_fault(got)
    if fault is None and model.name in got.body["sleeping_models"]:
        fault = f"{shown(model.name)} among those that sleep"
    visit.judge(Check(name="awake", expected="not among those that sleep", model=model.name), got, fault)


def put_back(visit: Visit) -> None:
    """Each model as it was found: first down, which makes room, then up."""
    known = dict.fromkeys((*visit.listed, *visit.models))
    changed = [(model, now) for model in known if (now := _state(visit, model)) != model.state]
    for model, now in changed:
        if visit.sent[model.name] and model.state == "asleep" and now in AWAKE:
            _put(visit, model, f"/action/sleep/{model.encoded}")
        elif visit.sent[model.name] and model.state == "cold":
            _put(visit, model, f"/api/v1/models/{model.encoded}/unload")
    for model, now in changed:
        if model.state in AWAKE and now not in AWAKE:
            _put(visit, model, f"/action/wakeup/{model.encoded}")


def _state(visit: Visit, model: Model) -> str:
    got = visit.talk.get(f"/v1/models/{model.encoded}")
    return model.state if got.fault(status=OBJECT) else str(got.body["status"].get("value"))


def _put(visit: Visit, model: Model, path: str) -> None:
    check = Check(name="left as found", expected=model.state, model=model.name)
    got = visit.talk.order(path)
    if got.status == _CONFLICT:
        visit.skip(check, got.said)
    else:
        visit.judge(check, got, got.fault(success=FLAG) or differs(got.body, {"success": True}))
