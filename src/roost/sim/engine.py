"""The engine proper: weights, prefix cache and sleep tags, as vLLM 0.32 and SGLang 0.5.23 have them on a GPU.

A request to a sleeping engine waits in silence and runs after the wake. Level 2 woken without a reload answers
garbage, and what garbage put into the prefix cache stays there until it is reset. A step on memory that sleep gave
away kills the process. Knows no HTTP. Called by the handlers.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable

from roost.sim import text
from roost.sim.crash import die
from roost.sim.flags import Behaviour
from roost.sim.memory import Claim
from roost.sim.scheduler import Mode, Run, Scheduler

TAGS = frozenset({"weights", "kv_cache"})
_SPOILT_MAX = 4096


class EngineRefused(Exception):
    """A control call that a real engine answers with 500."""


class Broken(Exception):
    """An answer that goes wrong on its way: with an error inside, or `bare` with this text."""

    def __init__(self, bare: str | None = None) -> None:
        super().__init__(bare or "told to fail in the middle of an answer")
        self.bare = bare


class Engine:
    """Single writer of its own state; every method runs on the event loop."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.scheduler = Scheduler(behaviour)
        self.memory = Claim()
        self.asleep: set[str] = set()
        self.level: int | None = None
        self.weights_loaded = True
        self.wakes = 0
        self.sleeps = 0
        self.losses = 0
        """How often its weights, and all adapters with them, were dropped."""
        self.tokens = 0
        self.prompt_tokens = 0
        self._spoilt: set[str] = set()
        self._order = asyncio.Lock()

    @property
    def is_paused(self) -> bool:
        return not self.scheduler.admitting

    @property
    def is_sleeping(self) -> bool:
        """As vLLM says it: also true after a mere pause."""
        return self.is_paused or bool(self.asleep)

    @property
    def is_sound(self) -> bool:
        """False: what it generates now is garbage."""
        return self.weights_loaded and not (self.behaviour.garbage_after_wake and self.wakes)

    def load(self) -> None:
        """Take the memory of the weights, as loading does."""
        self.memory.take(self.behaviour.claim_memory)

    async def produce(self, run: Run) -> AsyncGenerator[str, None]:
        """The tokens of a run; `run.finish` says afterwards how it ended. Close it when the client is gone."""
        try:
            await self.scheduler.admit(run)
            garbage = run.unsound or run.key in self._spoilt
            for index in range(run.length):
                await self.scheduler.pace(run, index)
                self._break_off(run, index)
                if run.aborted:
                    break
                garbage = self._compute(index) or garbage
                run.produced += 1
                yield self._token(run, index, garbage)
            if run.aborted:
                run.finish = "abort"
            elif garbage and len(self._spoilt) < _SPOILT_MAX:
                self._spoilt.add(run.key)
        finally:
            self.scheduler.leave(run)

    def _break_off(self, run: Run, index: int) -> None:
        """Raises Broken where the answer is to go wrong here."""
        behaviour = self.behaviour
        if index == behaviour.abort_mid_stream:
            run.abort()
        if run.cut is not None:
            raise Broken(run.cut)
        if index == behaviour.error_mid_stream:
            raise Broken
        if index == behaviour.end_mid_stream:
            raise Broken(behaviour.bare_text)

    def _compute(self, index: int) -> bool:
        """One forward pass; True if it made garbage."""
        if self.asleep:
            die(1, f"illegal memory access: a step ran while {', '.join(sorted(self.asleep))} slept")
        if index == self.behaviour.crash_mid_stream:
            die(1, f"told to crash after {index} tokens of an answer")
        self.tokens += 1
        return not self.is_sound

    def _token(self, run: Run, index: int, garbage: bool) -> str:
        if run.script is not None and not garbage:
            return run.script[index]
        return text.word(run.key, index, garbage=garbage)

    async def sleep(self, level: int, mode: Mode) -> None:
        """Pause, then give memory away (level 1 and 2). While asleep a second order only changes what it calls
        its level, as in vLLM. EngineRefused when told to."""
        if self._refuses_sleep():
            return
        async with self._order:
            await self.scheduler.pause(mode)
            await asyncio.sleep(self.behaviour.sleep_delay)
            if self.behaviour.force_sleep_level is not None:
                level = self.behaviour.force_sleep_level
            if level > 0 and not self.asleep:
                self._give_away(level)
            self.level = level

    def _refuses_sleep(self) -> bool:
        """True: answer as if it had slept."""
        if self.behaviour.refuse_sleep:
            raise EngineRefused("told to refuse to sleep")
        return self.behaviour.fake_sleep

    def _refuses_wake(self) -> bool:
        """True: answer as if it had woken."""
        if self.behaviour.refuse_wake:
            raise EngineRefused("told to refuse to wake")
        return self.behaviour.fake_wake

    def _let_go(self) -> None:
        """The weights' memory goes back to the system."""
        self.sleeps += 1
        if not self.behaviour.keep_memory:
            self.memory.release()
        if self.behaviour.crash_asleep is not None:
            asyncio.get_running_loop().call_later(self.behaviour.crash_asleep, self._die_asleep, self.sleeps)

    def _die_asleep(self, sleep: int) -> None:
        if "weights" in self.asleep and sleep == self.sleeps:
            die(1, "told to die while asleep")

    def _give_away(self, level: int) -> None:
        self.asleep = set(TAGS)
        self.reset_prefix_cache()
        self._let_go()
        if level == 2:
            self.weights_loaded = False
            self.losses += 1

    async def wake(self, tags: Iterable[str] | None = None) -> None:
        """Bring tags back, all when None; the scheduler goes on as soon as none is asleep. Unknown and already
        awake tags are ignored. EngineRefused when told to."""
        if self._refuses_wake():
            return
        async with self._order:
            wanted = set(TAGS) | {"scheduling"} if tags is None else set(tags)
            back = self.asleep & wanted
            if back:
                await asyncio.sleep(self.behaviour.wake_delay)
            if "weights" in back:
                self.memory.take(self.behaviour.claim_memory)
                self.wakes += 1
            self.asleep -= back
            if not self.asleep and (back or "scheduling" in wanted):
                self.level = None
                self.scheduler.resume()

    async def release(self, tags: Iterable[str]) -> None:
        """SGLang: give tags away at once, asking nobody. A request that runs meanwhile kills the process."""
        if self._refuses_sleep():
            return
        async with self._order:
            if self.scheduler.running:
                die(1, "assertion failed: release_memory_occupation while a request runs")
            await asyncio.sleep(self.behaviour.sleep_delay)
            gone = set(tags) - self.asleep
            self.asleep |= gone
            if "weights" in gone:
                self._let_go()
                self.weights_loaded = self.weights_loaded and self.behaviour.enable_weights_cpu_backup
            if "kv_cache" in gone:
                self.reset_prefix_cache()

    async def restore(self, tags: Iterable[str]) -> None:
        """SGLang: take tags back; one that was not released kills the process."""
        if self._refuses_wake():
            return
        async with self._order:
            wanted = set(tags)
            if wanted - self.asleep:
                die(1, f"KeyError: {min(wanted - self.asleep)!r} was not released")
            await asyncio.sleep(self.behaviour.wake_delay)
            if "weights" in wanted:
                self.memory.take(self.behaviour.claim_memory)
                self.wakes += 1
            self.asleep -= wanted

    async def pause(self, mode: Mode) -> None:
        """Stop scheduling; memory stays."""
        async with self._order:
            await self.scheduler.pause(mode)

    def reload_weights(self) -> None:
        """Read the weights again into awake memory. EngineRefused where that memory is given away."""
        if "weights" in self.asleep:
            raise EngineRefused("reload_weights while the weights sleep: wake tag weights first")
        if self.behaviour.refuse_reload:
            raise EngineRefused("told to fail to read the weights again")
        self.weights_loaded = self.weights_loaded or not self.behaviour.fake_reload

    def reset_prefix_cache(self) -> None:
        """Forget what former answers left behind."""
        self._spoilt.clear()
