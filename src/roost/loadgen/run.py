"""Carries out plans, one or several together, until their end or until told to stop.

Owns the tasks. Arrival times, models and prompts follow from the plan's seed alone. Called by the CLI and benchmarks.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from roost import clock
from roost.loadgen.arrivals import Closed, Moment, Open, moments
from roost.loadgen.ask import ask
from roost.loadgen.plan import LoadPlan, Target, server
from roost.loadgen.prompts import Prompts
from roost.loadgen.report import How, Report, Sample, Tally
from roost.loadgen.wire import CANNOT_CONNECT, Client
from roost.tasks import spawn

_NOBODY_THERE_S = 0.1
"""A closed loop would else try a dead address as fast as the machine can."""


@dataclass(slots=True)
class Watch:
    """Who follows a measurement: `heard` gets each counted sample; `tally` is there once it began."""

    heard: Callable[[Sample], None] = field(default=lambda sample: None)
    tally: Tally | None = None


async def run(*plans: LoadPlan, stop: asyncio.Event | None = None, watch: Watch | None = None) -> Report:
    """Measure all plans together. When `stop` is set, what runs is cut and the report says so. Raises PlanError on a
    plan that makes no sense."""
    for plan in plans:
        plan.check()
    targets = dict.fromkeys(target.name for plan in plans for target in plan.targets)
    tally = Tally(tuple(targets))
    watch = watch or Watch()
    watch.tally = tally
    measured = [_Measurement(plan, Client(server(plan.url), plan.api_key), tally, watch.heard) for plan in plans]
    try:
        cut = await _carry_out(measured, stop or asyncio.Event())
    finally:
        for one in measured:
            one.client.close()
    interrupted = stop is not None and stop.is_set()
    return tally.report(how(plans), cut=cut, interrupted=interrupted)


def how(plans: Sequence[LoadPlan]) -> How:
    """What the plans say to a reader of their report."""
    loads = dict.fromkeys(str(plan.arrivals) for plan in plans)
    load = " and ".join(loads) if len(loads) <= 2 else f"{len(loads)} different loads"
    each = " to each model" if len(plans) > 1 and len(loads) == 1 else ""
    return How(url=plans[0].url, load=load + each, stream=plans[0].stream)


async def _carry_out(measured: "Sequence[_Measurement]", stop: asyncio.Event) -> int:
    """Until all are done or are to stop; how many requests were cut. An error of our own is raised here."""
    work = spawn(_all(measured), "load")
    stopping = spawn(stop.wait(), "stop")
    try:
        await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
        cut = sum(not task.done() for one in measured for task in one.in_flight)
        left = {work, *(task for one in measured for task in one.in_flight)}
        for task in left:
            task.cancel()
        await asyncio.wait(left)
        return cut
    finally:
        stopping.cancel()
        work.cancel()


async def _all(measured: "Sequence[_Measurement]") -> None:
    """Warm-ups first, so that no model is measured while another one is still being brought up for it."""
    await asyncio.gather(*(one.warm_up() for one in measured))
    await asyncio.gather(*(one.work() for one in measured))


class _Measurement:
    """One plan under way."""

    def __init__(self, plan: LoadPlan, client: Client, tally: Tally, heard: Callable[[Sample], None]) -> None:
        self._plan, self.client, self._heard = plan, client, heard
        self._tally = tally
        names = " ".join(target.name for target in plan.targets)
        self._random = random.Random(f"{plan.seed} {names}")
        self._prompts = Prompts(plan.prompts, plan.prompt_words, self._random)
        self._sent = 0
        self.in_flight: set[asyncio.Task[None]] = set()
        self._ends_at = float("inf")

    async def warm_up(self) -> None:
        for target in self._plan.targets:
            for _ in range(self._plan.warm_up):
                await ask(self.client, self._plan, target, self._prompts.next(None))

    async def work(self) -> None:
        plan = self._plan
        if plan.begins_after_s:
            await asyncio.sleep(plan.begins_after_s)
        if plan.duration_s is not None:
            self._ends_at = clock.now() + plan.duration_s
        if isinstance(plan.arrivals, Closed):
            await self._closed_loop(plan.arrivals.concurrency)
        else:
            await self._open_loop(plan.arrivals)

    def _next(self) -> Target | None:
        """The model of the next request; None when the plan is fulfilled."""
        plan = self._plan
        if (plan.requests is not None and self._sent >= plan.requests) or clock.now() >= self._ends_at:
            return None
        self._sent += 1
        (target,) = self._random.choices(plan.targets, [target.weight for target in plan.targets])
        return target

    async def _closed_loop(self, concurrency: int) -> None:
        for index in range(concurrency):
            self._start(self._worker(), f"load {index}")
        await self._all_done()

    async def _worker(self) -> None:
        while (target := self._next()) is not None:
            sample = await ask(self.client, self._plan, target, self._prompts.next(None))
            self._count(sample)
            if sample.error == CANNOT_CONNECT:
                await asyncio.sleep(_NOBODY_THERE_S)

    async def _open_loop(self, arrivals: Open) -> None:
        began = clock.now()
        for moment in moments(arrivals, self._random):
            at = began + moment.at_s
            await asyncio.sleep(min(at, self._ends_at) - clock.now())
            target = self._next()
            if target is None:
                break
            if len(self.in_flight) < self._plan.max_in_flight:
                self._start(self._one(target, moment), "request")
            else:
                now = clock.now()
                self._count(Sample(model=target.name, started_at=now, ended_at=now, error="not sent"))
        await self._all_done()

    async def _one(self, target: Target, moment: Moment) -> None:
        prompt = self._prompts.next(moment.prompt_words)
        self._count(await ask(self.client, self._plan, target, prompt, moment.max_tokens))

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = spawn(work, name)
        self.in_flight.add(task)
        task.add_done_callback(self.in_flight.discard)

    async def _all_done(self) -> None:
        while self.in_flight:
            await asyncio.wait(self.in_flight)

    def _count(self, sample: Sample) -> None:
        self._tally.add(sample)
        self._heard(sample)
