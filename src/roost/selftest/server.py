"""Checks of the router as a whole: health, the lists of models, what it says of itself, names that nobody has.

Asks only; finds out which models there are. Called by `run`.
"""

from collections.abc import Iterable
from typing import Any

from roost.core.spec import Task
from roost.selftest.lines import Check
from roost.selftest.shapes import FLAGS, LIST, NUMBER, OBJECT, TEXT, differs, lacks_each, misses, shown
from roost.selftest.talk import Got
from roost.selftest.visit import Model, Visit

NOBODY = "roost-selftest/nobody"
"""A model that no router has."""


def health(visit: Visit) -> None:
    """`/health` as JSON, and as text to who ranks that higher."""
    got = visit.talk.get("/health")
    check = Check(name="health", expected='status "healthy"')
    visit.judge(check, got, got.fault(status=TEXT) or _unhealthy(got))
    got = visit.talk.get("/health", accept="text/plain, application/json;q=0.5")
    fault = got.fault_of_text()
    visit.judge(Check(name="health as text", expected="text/plain to who prefers it"), got, fault)


def _unhealthy(got: Got) -> str | None:
    if got.body["status"] == "healthy":
        return None
    return f"{shown(got.body['status'])}: {'; '.join(map(str, got.body.get('reasons') or ['no reason']))}"


def find_models(visit: Visit, wanted: Iterable[str]) -> bool:
    """Which models there are, and their states; all further checks need them. `wanted` limits the test to some."""
    got = visit.talk.get("/v1/models")
    check = Check(name="models", expected="OpenAI's list at /v1/models")
    fault = got.fault(object=TEXT, data=LIST) or differs(got.body, {"object": "list"}) or _bad_entry(got.body["data"])
    if got.denied:  # nothing at all can be tested: that is no skipped line
        fault = f"{got.said} Give a key with --api-key or ROOST_API_KEY."
    if not visit.settle(check, fault, came="" if fault else f"{len(got.body['data'])} models"):
        return False
    tasks = _tasks(visit)
    visit.listed = tuple(_model(entry, tasks) for entry in got.body["data"])
    _both_lists(visit)
    visit.models = visit.listed
    names = list(wanted)
    if names:
        visit.models = tuple(model for name in names for model in _named(visit, name, tasks))
    elif not visit.listed:
        visit.settle(Check(name="models", expected="at least one"), "an empty list")
    return bool(visit.models)


def _bad_entry(data: list[Any]) -> str | None:
    return lacks_each({str(index): entry for index, entry in enumerate(data)}, {"id": TEXT}, "data")


def _tasks(visit: Visit) -> dict[str, Task]:
    """What each model is for, where the key may ask."""
    got = visit.talk.get("/api/v1/models")
    if got.fault(models=LIST):
        return {}
    return {str(entry.get("name")): _task(entry) for entry in got.body["models"] if isinstance(entry, dict)}


def _task(entry: dict[str, Any]) -> Task:
    told = entry.get("task")
    return Task(told) if told in list(Task) else Task.GENERATE


def _model(entry: dict[str, Any], tasks: dict[str, Task]) -> Model:
    status = entry.get("status")
    state = str(status.get("value")) if isinstance(status, dict) else "unknown"
    return Model(entry["id"], state, tasks.get(entry["id"]) or _task(entry))


def _named(visit: Visit, name: str, tasks: dict[str, Task]) -> tuple[Model, ...]:
    """A model asked for by name or alias; one that is not listed, too."""
    for model in visit.listed:
        if model.name == name:
            return (model,)
    got = visit.talk.get(f"/v1/models/{Model(name, '', Task.OTHER).encoded}")
    check = Check(name="model asked for", expected="it is there", model=name)
    return (_model(got.body, tasks),) if visit.judge(check, got, got.fault(id=TEXT)) else ()


def _both_lists(visit: Visit) -> None:
    """`/models` is one object for both worlds."""
    got = visit.talk.get("/models")
    names = [model.name for model in visit.listed]
    fault = (
        got.fault(object=TEXT, data=LIST, models=OBJECT)
        or _bad_entry(got.body["data"])
        or misses(names, [entry["id"] for entry in got.body["data"]], "data")
        or misses(names, got.body["models"], "models")
        or lacks_each(got.body["models"], {"endpoint": TEXT}, "models")
    )
    check = Check(name="models, both forms", expected="/models with the list and with {model: {endpoint}}")
    visit.judge(check, got, fault)


def health_of_models(visit: Visit) -> None:
    """`/health/all`, and each model by itself."""
    got = visit.talk.get("/health/all")
    names = [model.name for model in visit.listed]
    fault = got.fault(model=TEXT, health=OBJECT) or misses(names, got.body["health"], "health")
    visit.judge(Check(name="health of all", expected="every model, by engine"), got, fault)
    for model in visit.models:
        got = visit.talk.get(f"/health/{model.encoded}")
        check = Check(name="health", expected="true or false per engine", model=model.name)
        visit.judge(check, got, got.fault(model=TEXT, health=FLAGS) or differs(got.body, {"model": model.name}))


def server_info(visit: Visit) -> None:
    """`/get_server_info`."""
    got = visit.talk.get("/get_server_info")
    fault = got.fault(version=TEXT, uptime_s=NUMBER)
    check = Check(name="server info", expected="version and uptime")
    visit.judge(check, got, fault, came="" if fault else f"roost {got.body['version']}")


def nobody(visit: Visit) -> None:
    """A model that is not there is 404 everywhere, and enters no statistics."""
    name = Model(NOBODY, "", Task.OTHER).encoded
    got = visit.talk.infer("/v1/completions", {"model": NOBODY, "prompt": "Hello", "max_tokens": 1})
    visit.judge(Check(name="unknown model", expected="404 for a request"), got, got.refusal_fault(404))
    for path in (f"/health/{name}", f"/traffic/stats/{name}"):
        got = visit.talk.get(path)
        visit.judge(Check(name="unknown model", expected=f"404 at {_shape(path)}"), got, got.refusal_fault(404))
    for path in (f"/action/sleep/{name}", f"/action/wakeup/{name}"):
        got = visit.talk.order(path)
        visit.judge(Check(name="unknown model", expected=f"404 at {_shape(path)}"), got, got.refusal_fault(404))
    got = visit.talk.get("/traffic/stats")
    fault = got.fault(traffic_stats=OBJECT)
    if fault is None and NOBODY in got.body["traffic_stats"]:
        fault = f"{NOBODY} among them"
    visit.judge(Check(name="unknown model", expected="absent from the statistics"), got, fault)


def _shape(path: str) -> str:
    return path.rpartition("/")[0] + "/{model}"
