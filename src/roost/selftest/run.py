"""The walk: which checks, in which order. Called by the CLI, on a client that is already connected to a URL."""

from collections.abc import Callable, Sequence

import httpx

from roost import clock
from roost.core.errors import RoostError
from roost.selftest import answers, server, sleeping, traffic
from roost.selftest.lines import Check, Line, Report
from roost.selftest.talk import Talk
from roost.selftest.visit import Model, Visit


class Nobody(RoostError):
    """Nothing answers at the URL."""


def run(
    client: httpx.Client,
    *,
    models: Sequence[str],
    limit_s: float,
    hear: Callable[[Line], None],
    pause: Callable[[float], None],
) -> Report:
    """Test the router behind `client`: all its models, or those named. `limit_s` bounds each request to an engine.

    Raises Nobody where nothing answers. However it ends, each model is put back as it was found.
    """
    began = clock.now()
    visit = Visit(talk=Talk(client=client, limit_s=limit_s), hear=hear, pause=pause)
    there = visit.talk.get("/health")
    if there.status is None:
        raise Nobody(f"Nothing answers at {client.base_url}: {there.trouble}.")
    try:
        _walk(visit, models, began)
    finally:
        sleeping.put_back(visit)
    return Report(url=str(client.base_url).rstrip("/"), took_s=clock.now() - began, lines=tuple(visit.lines))


def _walk(visit: Visit, models: Sequence[str], began: float) -> None:
    server.health(visit)
    if not server.find_models(visit, models):
        return
    server.health_of_models(visit)
    server.server_info(visit)
    earlier = traffic.before(visit)
    traffic.windows(visit)
    able = [model for model in visit.models if answers.answers(visit, model)]
    _statistics(visit, earlier, began)
    sleeping.status(visit)
    for model in visit.models:
        _sleep(visit, model, able=model in able)
    server.nobody(visit)


def _statistics(visit: Visit, earlier: traffic.Before | None, began: float) -> None:
    for model in visit.models:
        if earlier is not None:
            traffic.counts(visit, model, earlier)
        traffic.stats_of(visit, model)
    traffic.idle_and_active(visit, clock.now() - began)


def _sleep(visit: Visit, model: Model, *, able: bool) -> None:
    if able:
        sleeping.cycle(visit, model)
    else:
        visit.skip(Check(name="sleep and wake", expected="", model=model.name), "it did not answer")
