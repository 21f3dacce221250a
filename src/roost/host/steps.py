"""Performs the steps of a sleep or wake: in order, each with its tries, its conditions and its proof.

Never decides what to call and never changes a replica: it ends well or raises StepError. What became of every step is
in the `Sequence` that it is given. Called by `host/work.py`.
"""

import asyncio
import logging
from collections.abc import Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass, field, replace
from itertools import groupby
from random import Random

from roost import clock
from roost.core.errors import StepError
from roost.core.events import Performed
from roost.core.step import (
    RETRY_JITTER,
    RETRY_PAUSE_MAX_S,
    Condition,
    Expect,
    Operation,
    Probe,
    Step,
    StepRecord,
    WaitUntil,
)
from roost.core.units import format_duration
from roost.host.answers import Answer, lacks, status_fits
from roost.host.calling import Caller
from roost.host.showing import Shower
from roost.logs import log

LOOK_S = 10.0
"""Longest wait for one answer of a `wait_until`: a look that hangs must not use up all its time."""


@dataclass(slots=True, kw_only=True)
class Sequence:
    """One sleep, wake or load as it goes on. Whoever measures the engine's memory around it fills in the bytes."""

    operation: Operation
    level: int | None = None
    started_at: float = field(default_factory=lambda: clock.now())
    records: list[StepRecord] = field(default_factory=list)
    before_bytes: int | None = None
    after_bytes: int | None = None
    memory: str = ""
    ordered: range = range(0)
    """Which of the records are of steps; what comes before and after them verifies the engine."""

    def ended(self, replica: str, model: str, error: str = "") -> Performed:
        """What it came to."""
        numbered = enumerate(self.records)
        records = (one if at in self.ordered else replace(one, check=True) for at, one in numbered)
        return Performed(
            replica=replica,
            model=model,
            operation=self.operation,
            level=self.level,
            started_at=self.started_at,
            duration_s=clock.now() - self.started_at,
            steps=tuple(records),
            error=error,
            before_bytes=self.before_bytes,
            after_bytes=self.after_bytes,
            memory=self.memory,
        )


@dataclass(frozen=True, slots=True)
class _Outcome:
    record: StepRecord
    answer: Answer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Executor:
    """Performs steps for one replica, `who`. `likely_level` is what a sleeper of unknown level is taken to sleep at
    where a step asks: leaving out what wakes a deep sleeper does more harm than doing it for nothing."""

    who: str
    caller: Caller
    probe: Probe
    shower: Shower
    rng: Random
    likely_level: int | None = None

    async def perform(self, steps: Many[Step], sequence: Sequence, default_s: float) -> None:
        """All steps in order; `default_s` is the limit of those that set none, for the log. Raises StepError at the
        first failure that is not to be passed over; steps after it are not sent."""
        run = _Run(self, tuple(steps), sequence)
        calls = f"{len(steps)} step{'' if len(steps) == 1 else 's'}"
        limit = format_duration(default_s)
        log.info("%s: %s: %s (default timeout %s)", self.who, sequence.operation, calls, limit)
        begun = len(sequence.records)
        for group in _groups(run.steps):
            try:
                await run.together(group)
            finally:
                sequence.ordered = range(begun, len(sequence.records))
        log.info("%s: %s: %d of %s done", self.who, sequence.operation, len(steps), calls)


def _groups(steps: Many[Step]) -> list[tuple[int, ...]]:
    """Numbers from 1 on, those that run together in one tuple."""
    numbered = enumerate(steps, 1)
    runs = groupby(numbered, key=lambda pair: pair[1].group or pair[0])
    return [tuple(number for number, _ in members) for _, members in runs]


@dataclass(frozen=True, slots=True)
class _Run:
    """One list of steps on its way."""

    executor: Executor
    steps: tuple[Step, ...]
    sequence: Sequence
    answers: dict[int, Answer] = field(default_factory=dict)
    """Step number -> its answer, of those that got one."""

    async def together(self, numbers: tuple[int, ...]) -> None:
        """One step, or a group side by side: all of a group end before one of them can fail the sequence."""
        if len(numbers) == 1:
            outcomes = [await self._one(numbers[0], numbers[0])]
        else:
            outcomes = await asyncio.gather(*(self._one(number, numbers[0]) for number in numbers))
        for number, outcome in zip(numbers, outcomes, strict=True):
            self.sequence.records.append(outcome.record)
            if outcome.answer is not None:
                self.answers[number] = outcome.answer
        self._judge({number: outcome.record for number, outcome in zip(numbers, outcomes, strict=True)})

    def _judge(self, records: Mapping[int, StepRecord]) -> None:
        failed = {number: record for number, record in records.items() if record.error}
        for number, record in failed.items():
            if self.steps[number - 1].on_failure == "continue":
                log.warning("%s: %s: %s; going on", self.executor.who, self._called(number), record.error)
        fatal = [number for number in failed if self.steps[number - 1].on_failure != "continue"]
        if fatal:
            first = fatal[0]
            restart = any(self.steps[number - 1].on_failure == "restart" for number in fatal)
            raise StepError(f"{self._called(first)}: {failed[first].error}", step=first, restart=restart)

    def _called(self, number: int) -> str:
        return f"{self.sequence.operation} step {number} of {len(self.steps)}"

    # one step

    async def _one(self, number: int, first: int) -> _Outcome:
        """`first` begins its group: conditions look at what lies before that."""
        step, started = self.steps[number - 1], clock.now()
        name = self.executor.shower.text(step.name)
        if why := self._unmet(step.condition, first):
            self._debug(number, f"{name} is skipped: {why}")
            record = StepRecord(name=name, started_at=started, duration_s=0.0, status=None, attempts=0, skipped=why)
            return _Outcome(record)
        answer, attempts, error = await self._tried(number, step)
        if not error:
            error = await self._proved(step)
        record = StepRecord(
            name=name,
            started_at=started,
            duration_s=clock.now() - started,
            status=None if answer is None else answer.status,
            error=self.executor.shower.text(error),
            attempts=attempts,
        )
        if not error:
            self._debug(number, f"{name} answered {record.status} in {record.duration_s:.3f} s")
        return _Outcome(record, answer)

    async def _tried(self, number: int, step: Step) -> tuple[Answer | None, int, str]:
        """(last answer, calls made, what was wrong with the last of them)."""
        answer, error = None, ""
        for attempt in range(1, step.retries + 2):
            self._announce(number, step)
            answer, error = await self._try(step)
            if not error:
                return answer, attempt, ""
            if attempt <= step.retries:
                pause = self._pause(step, attempt)
                self._debug(number, f"{self.executor.shower.text(error)}; again in {pause:.2f} s")
                await asyncio.sleep(pause)
        tries = f" (tried {step.retries + 1} times)" if step.retries else ""
        return answer, step.retries + 1, error + tries

    async def _try(self, step: Step) -> tuple[Answer | None, str]:
        try:
            answer = Answer(*await self.executor.caller.call(step))
        except StepError as problem:
            return None, str(problem)
        return answer, self._refused(step, answer)

    def _refused(self, step: Step, answer: Answer) -> str:
        if not status_fits(answer.status, step.expect_status):
            text = self.executor.shower.answer(answer.body)
            return f"{step.name} answered {answer.status}" + (f": {text}" if text else "")
        if wrong := lacks(answer, step.expect):
            text = self.executor.shower.answer(answer.body)
            return f"{step.name} answered {answer.status}, but {wrong}: {text or 'its body is empty'}"
        return ""

    def _pause(self, step: Step, failed: int) -> float:
        pause = min(step.retry_delay_s * 2.0 ** min(failed - 1, 30), RETRY_PAUSE_MAX_S)
        return pause * self.executor.rng.uniform(1 - RETRY_JITTER, 1 + RETRY_JITTER)

    # what proves it

    async def _proved(self, step: Step) -> str:
        """Empty once health and the awaited answer are as they should be."""
        if step.health_check_after and (wrong := await self._healthy(step)):
            return wrong
        return await self._awaited(step, step.wait_until) if step.wait_until is not None else ""

    async def _healthy(self, step: Step) -> str:
        probe = self.executor.probe
        try:
            async with asyncio.timeout(step.timeout_s):
                while not await self.executor.caller.answers(probe):
                    await asyncio.sleep(probe.interval_s)
        except TimeoutError:
            return f"{step.name} went well, yet {probe.shown} was not well within {step.timeout_s:g} s after it"
        return ""

    async def _awaited(self, step: Step, wait: WaitUntil) -> str:
        query = Step(
            method="GET", path=wait.path, base=wait.base, query=wait.query, timeout_s=min(LOOK_S, wait.timeout_s)
        )
        statuses = () if wait.status is None else (wait.status,)
        last = "it never answered"
        try:
            async with asyncio.timeout(wait.timeout_s):
                while True:
                    answer, last = await self._look(query, statuses, wait.expect)
                    if answer is not None and not last:
                        return ""
                    await asyncio.sleep(wait.interval_s)
        except TimeoutError:
            limit = f"{wait.timeout_s:g} s"
            return f"{step.name} went well, yet {query.name} was not as awaited within {limit}: {last}"

    async def _look(self, query: Step, statuses: tuple[int, ...], expect: Expect | None) -> tuple[Answer | None, str]:
        try:
            answer = Answer(*await self.executor.caller.call(query))
        except StepError as problem:
            return None, str(problem)
        if not status_fits(answer.status, statuses):
            return answer, f"it answered {answer.status}"
        return answer, lacks(answer, expect)

    # conditions

    def _unmet(self, condition: Condition | None, first: int) -> str:
        """Why a step is not done; empty if it is."""
        if condition is None:
            return ""
        level = self.sequence.level or self.executor.likely_level
        if condition.level is not None and condition.level != level:
            return f"the sleep level is {level or 'unknown'}, not {condition.level}"
        if condition.status is None and condition.at is None:
            return ""
        number = condition.step or first - 1
        answer = self.answers.get(number)
        if answer is None:
            return f"step {number} has no answer to look at" if number else "no step comes before it"
        if condition.status is not None and answer.status != condition.status:
            return f"step {number} answered {answer.status}, not {condition.status}"
        wrong = lacks(answer, Expect(at=condition.at, equals=condition.equals))
        return f"of step {number}, {wrong}" if wrong else ""

    # telling

    def _announce(self, number: int, step: Step) -> None:
        if not log.isEnabledFor(logging.DEBUG):
            return
        self._debug(number, self.executor.shower.text(step.name))
        if (body := self.executor.shower.sent(step)) is not None:
            self._debug(number, f"sends {body}")

    def _debug(self, number: int, what: str) -> None:
        called = self._called(number)
        log.debug("%s: %s: %s", self.executor.who, called, what)
