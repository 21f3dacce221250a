"""Carries out a plan: closed loop or open loop, until its end or until told to stop.

Owns the tasks. Arrival times, models and prompts follow from the plan's seed alone. Called by the CLI and benchmarks.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

from roost import clock
from roost.loadgen.ask import ask
from roost.loadgen.plan import LoadPlan, Target, server
from roost.loadgen.report import Report, Sample, Tally
from roost.loadgen.wire import CANNOT_CONNECT, Client
from roost.tasks import spawn

_TEXT = "the of and to in is that for it as was with be by on not he his but at are this have from or had an"
_WORDS = _TEXT.split()
_NOBODY_THERE_S = 0.1
"""A closed loop would else try a dead address as fast as the machine can."""


async def run(
    plan: LoadPlan, *, stop: asyncio.Event | None = None, heard: Callable[[Sample], None] | None = None
) -> Report:
    """Measure. When `stop` is set, what runs is cut and the report says so; `heard` gets each counted sample.
    Raises PlanError on a plan that makes no sense."""
    plan.check()
    client = Client(server(plan.url), plan.api_key)
    try:
        return await _Measurement(plan, client, heard).carry_out(stop or asyncio.Event())
    finally:
        client.close()


class _Measurement:
    def __init__(self, plan: LoadPlan, client: Client, heard: Callable[[Sample], None] | None) -> None:
        self._plan, self._client, self._heard = plan, client, heard
        self._tally = Tally(tuple(target.name for target in plan.targets))
        self._random = random.Random(plan.seed)
        self._sent = 0
        self._in_flight: set[asyncio.Task[None]] = set()
        self._ends_at = float("inf")

    async def carry_out(self, stop: asyncio.Event) -> Report:
        work = spawn(self._work(), "load")
        stopping = spawn(stop.wait(), "stop")
        try:
            await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
            cut = await self._cut(work)
        finally:
            stopping.cancel()
            work.cancel()
        plan = self._plan
        load = f"{plan.concurrency} at once" if plan.concurrency is not None else f"{plan.rate:g} requests/s"
        return self._tally.report(url=plan.url, load=load, stream=plan.stream, cut=cut, interrupted=stop.is_set())

    async def _cut(self, work: "asyncio.Task[None]") -> int:
        """End what still runs; how many requests that were. An error of our own is raised here."""
        if work.done():
            work.result()
        cut = sum(not task.done() for task in self._in_flight)
        left = {work, *self._in_flight}
        for task in left:
            task.cancel()
        await asyncio.wait(left)
        return cut

    async def _work(self) -> None:
        await self._warm_up()
        if self._plan.duration_s is not None:
            self._ends_at = clock.now() + self._plan.duration_s
        if self._plan.rate is not None:
            await self._open_loop(self._plan.rate)
        else:
            await self._closed_loop(self._plan.concurrency or 1)

    async def _warm_up(self) -> None:
        for target in self._plan.targets:
            for _ in range(self._plan.warm_up):
                await ask(self._client, self._plan, target, self._prompt())

    def _next(self) -> tuple[Target, str] | None:
        """Model and prompt of the next request; None when the plan is fulfilled."""
        plan = self._plan
        if (plan.requests is not None and self._sent >= plan.requests) or clock.now() >= self._ends_at:
            return None
        self._sent += 1
        (target,) = self._random.choices(plan.targets, [target.weight for target in plan.targets])
        return target, self._prompt()

    def _prompt(self) -> str:
        """Words that no request before had in this order, so that no prefix cache answers for the engine."""
        number = self._random.getrandbits(32)
        return " ".join((f"{number:08x}", *self._random.choices(_WORDS, k=self._plan.prompt_words - 1)))

    async def _closed_loop(self, concurrency: int) -> None:
        for index in range(concurrency):
            self._start(self._worker(), f"load {index}")
        await self._all_done()

    async def _worker(self) -> None:
        while (request := self._next()) is not None:
            sample = await ask(self._client, self._plan, *request)
            self._count(sample)
            if sample.error == CANNOT_CONNECT:
                await asyncio.sleep(_NOBODY_THERE_S)

    async def _open_loop(self, rate: float) -> None:
        at = clock.now()
        while True:
            at += self._random.expovariate(rate)
            await asyncio.sleep(min(at, self._ends_at) - clock.now())
            request = self._next()
            if request is None:
                break
            if len(self._in_flight) < self._plan.max_in_flight:
                self._start(self._one(*request), "request")
            else:
                now = clock.now()
                self._count(Sample(model=request[0].name, started_at=now, ended_at=now, error="not sent"))
        await self._all_done()

    async def _one(self, target: Target, prompt: str) -> None:
        self._count(await ask(self._client, self._plan, target, prompt))

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = spawn(work, name)
        self._in_flight.add(task)
        task.add_done_callback(self._in_flight.discard)

    async def _all_done(self) -> None:
        while self._in_flight:
            await asyncio.wait(self._in_flight)

    def _count(self, sample: Sample) -> None:
        self._tally.add(sample)
        if self._heard is not None:
            self._heard(sample)
