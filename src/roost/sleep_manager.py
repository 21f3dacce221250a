"""Puts models to sleep and wakes them where the engines run already and somebody else forwards the requests.

A thin shell: each model is an ordinary replica under an ordinary controller (`tending.py`); what runs at the engines
is what the traffic monitor says. Readers and `add_`, `remove_`, `update_config` may be called from any thread; what is
awaited runs on the event loop that first awaited it. Used by other programs, not by the server.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from dataclasses import fields, replace
from difflib import get_close_matches
from typing import Any, TypeVar

from roost import clock
from roost.core.events import Changed
from roost.core.spec import EngineKind
from roost.core.view import Goal
from roost.logs import log
from roost.sleep_config import Entry, Rules, SleepConfig, rules_of, spec_of
from roost.tasks import spawn
from roost.tending import NOT_AWAKE, Tended
from roost.traffic_monitor import TrafficMonitor

__all__ = ["SleepConfig", "SleepManager"]

T = TypeVar("T")
ALIVE_S = 1.0
"""A caller on another loop looks this often whether the manager's own loop still runs."""


class SleepManager:
    """Knows who sleeps, and obeys. Only knows of requests what `traffic_monitor` is told: without one no model is a
    candidate and nothing is put to sleep by itself."""

    def __init__(self, config: SleepConfig | None = None, traffic_monitor: TrafficMonitor | None = None) -> None:
        self.config = config or SleepConfig()
        self.traffic_monitor = traffic_monitor
        self._lock = threading.RLock()
        self._tended: dict[str, Tended] = {}
        self._manual: set[str] = set()
        self._watched: set[str] = set()
        self._home: asyncio.AbstractEventLoop | None = None
        self._started = False
        self._ticker: asyncio.Task[None] | None = None
        self._heard: set[str] = set()
        self._watch_models()

    # life

    async def start(self) -> None:
        """Look at every engine, then keep watch; from now on idle models are put to sleep if the config says so."""
        await self._at_home(self._start)

    async def stop(self) -> None:
        """Let go of all engines, asleep or awake as they are. Orders that still wait end as False."""
        await self._at_home(self._stop)

    async def _start(self) -> None:
        if self.config.auto_sleep_enabled and self.traffic_monitor is None:
            log.warning("auto_sleep_enabled has no effect: a SleepManager without a traffic_monitor sees no requests")
        self._started = True
        self._settle()
        if self._ticker is None:
            self._ticker = spawn(self._tick(), "sleep manager")
        await asyncio.gather(*(tended.opened() for tended in self._tended.values()))

    async def _stop(self) -> None:
        self._started = False
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None
        if self.traffic_monitor is not None:
            self.traffic_monitor.unsubscribe(self._hear)
        await asyncio.gather(*(tended.close() for tended in self._tended.values() if not tended.closed))
        with self._lock:
            self._home = None

    async def _tick(self) -> None:
        """Starts that never end are given up also where nothing else is recorded."""
        while True:
            await asyncio.sleep(self.config.check_interval_seconds)
            if self.traffic_monitor is not None:
                self.traffic_monitor.sweep()

    # orders

    async def put_model_to_sleep(self, model_name: str, manual: bool = False) -> bool:
        """Once its requests have ended (a minute at most), to sleep. True when it sleeps, also if it did already; False
        if the model is unknown, still busy or its engine refused: the log says which. `manual` is shown in
        `get_sleeping_models` and keeps no request from waking it."""
        return await self._at_home(lambda: self._put_to_sleep(model_name, manual))

    async def wakeup_model(self, model_name: str) -> bool:
        """Wake it and see that it answers. True when it is awake, also if it was already or someone else's wake was
        under way. Its idle time starts anew."""
        return await self._at_home(lambda: self._bring(model_name, Goal.READY))

    async def handle_model_wakeup_on_request(self, model_name: str) -> bool:
        """Call it before a request is sent on: True when the model is ready for it, at once if it is awake. One wake
        serves all who wait. False if it may not be woken (`wakeup_on_request`) or cannot."""
        return await self._at_home(lambda: self._serve(model_name))

    async def check_model_sleep_status(self, model_name: str) -> bool | None:
        """What the engine itself says; None where it cannot tell (SGLang), does not answer, or is unknown."""
        return await self._at_home(lambda: self._ask(model_name))

    async def _put_to_sleep(self, model: str, manual: bool) -> bool:
        done = await self._bring(model, Goal.ASLEEP)
        with self._lock:
            if done and manual and self.is_model_sleeping(model):
                self._manual.add(model)
        return done

    async def _bring(self, model: str, goal: Goal) -> bool:
        tended = self._engage(model)
        return tended is not None and await tended.bring(goal)

    async def _serve(self, model: str) -> bool:
        tended = self._tended.get(model)
        if tended is None or tended.closed or self._kind(model) is None:
            tended = self._engage(model)
        if tended is None:
            return False
        await tended.opened()
        if tended.not_awake and not self.config.wakeup_on_request:
            log.warning("%s sleeps, and wakeup_on_request is off: wakeup_model(%r) wakes it", model, model)
            return False
        return await tended.serve()

    async def _ask(self, model: str) -> bool | None:
        tended = self._engage(model)
        return None if tended is None else await tended.says_it_sleeps()

    # reading

    @property
    def sleeping_models(self) -> dict[str, float]:
        """Model -> when its sleep began, in Unix seconds."""
        return {name: clock.to_wall(tended.asleep_since) for name, tended in self._sleepers()}

    @property
    def manual_sleep_models(self) -> set[str]:
        """Those of them that were put to sleep with `manual`."""
        with self._lock:
            return set(self._manual)

    def is_model_sleeping(self, model_name: str) -> bool:
        """False only for one that can take requests: from the moment it goes to sleep until it is seen to be awake."""
        tended = self._tended.get(model_name)
        return tended is not None and tended.not_awake and self._kind(model_name) is not None

    def get_sleeping_models(self) -> dict[str, dict[str, Any]]:
        """`{model: {sleep_start_time: Unix seconds, sleep_duration: seconds, manual_sleep: bool}}`."""
        now, manual = clock.now(), self.manual_sleep_models
        return {
            name: {
                "sleep_start_time": clock.to_wall(tended.asleep_since),
                "sleep_duration": max(0.0, now - tended.asleep_since),
                "manual_sleep": name in manual,
            }
            for name, tended in self._sleepers()
        }

    def get_sleep_candidates(self) -> list[str]:
        """Models that could sleep and have been idle for longer than the threshold, also those never used."""
        limit = self.config.idle_threshold_seconds
        return [name for name in self._models() if self._idle_s(name) > limit]

    def _sleepers(self) -> list[tuple[str, Tended]]:
        with self._lock:
            tended = list(self._tended.items())
        return [(name, each) for name, each in tended if each.not_awake and self._kind(name) is not None]

    def _idle_s(self, model: str) -> float:
        """Negative for one that is no candidate at all. An engine not looked at yet is judged by its traffic alone."""
        stats = None if self.traffic_monitor is None else self.traffic_monitor.get_model_stats(model)
        if stats is None:
            return -1.0
        tended = self._tended.get(model)
        if tended is None:
            return stats.get_idle_time()
        since = tended.idle_since()
        return -1.0 if since is None else min(clock.now() - since, stats.get_idle_time())

    # changing

    def update_config(self, **changes: Any) -> None:
        """Set fields of the config, all or none, with effect at once. TypeError for an unknown one, ValueError for a
        value that makes no sense."""
        known = [each.name for each in fields(SleepConfig)]
        for name in changes:
            if name not in known:
                near = get_close_matches(name, known, 1)
                hint = f" Did you mean {near[0]}?" if near else f" Known: {', '.join(known)}."
                raise TypeError(f"SleepConfig has no field {name!r}.{hint}")
        with self._lock:
            checked = replace(self.config, **changes)
            for name in changes:
                setattr(self.config, name, getattr(checked, name))
        self._poke()

    def add_vllm_model(self, model_name: str, host: str = "localhost", port: str | int = "8000", **more: str) -> None:
        """An engine to look after, also while running; in place of an earlier one of this name. `more`: see `Entry`.
        ValueError for what is no address."""
        self._add(EngineKind.VLLM, model_name, {"host": host, "port": str(port), **more})

    def add_sglang_model(self, model_name: str, host: str = "localhost", port: str | int = "8000", **more: str) -> None:
        """As `add_vllm_model`. Its weights come back from `model_path`, by default the model's name."""
        self._add(EngineKind.SGLANG, model_name, {"host": host, "port": str(port), **more})

    def remove_vllm_model(self, model_name: str) -> bool:
        """Look after it no more; its engine stays as it is. False if it was not known."""
        return self._remove(EngineKind.VLLM, model_name)

    def remove_sglang_model(self, model_name: str) -> bool:
        """As `remove_vllm_model`. Whether it sleeps is forgotten: wake it before."""
        return self._remove(EngineKind.SGLANG, model_name)

    def get_vllm_models(self) -> dict[str, Entry]:
        """A copy of the table."""
        with self._lock:
            return {name: dict(entry) for name, entry in self._table(EngineKind.VLLM).items()}

    def get_sglang_models(self) -> dict[str, Entry]:
        """A copy of the table."""
        with self._lock:
            return {name: dict(entry) for name, entry in self._table(EngineKind.SGLANG).items()}

    def _add(self, kind: EngineKind, model: str, entry: Entry) -> None:
        spec_of(kind, model, entry)
        with self._lock:
            for other in _KINDS:
                self._table(other).pop(model, None)
            self._table(kind)[model] = entry
        self._poke()

    def _remove(self, kind: EngineKind, model: str) -> bool:
        with self._lock:
            found = self._table(kind).pop(model, None) is not None
        self._poke()
        return found

    def _table(self, kind: EngineKind) -> dict[str, Entry]:
        config = self.config
        return config.vllm_models_config if kind is EngineKind.VLLM else config.sglang_models_config

    def _kind(self, model: str) -> EngineKind | None:
        """None for a model that nobody has told of. A name in both tables is vLLM's."""
        return next((kind for kind in _KINDS if model in self._table(kind)), None)

    def _models(self) -> list[str]:
        with self._lock:
            return list(dict.fromkeys(name for kind in _KINDS for name in self._table(kind)))

    # the engines

    def _engage(self, model: str) -> Tended | None:
        """The one that tends the model, made at its first use; None if nobody has told of the model."""
        rules, tended = self._rules(model), self._tended.get(model)
        if rules is None:
            log.warning(
                "%r is no model of this SleepManager: tell of it with add_vllm_model or add_sglang_model", model
            )
            return None
        if tended is not None and not tended.closed:
            if tended.is_at(rules):
                tended.adjust(rules)
                return tended
            spawn(tended.close(), f"let go of {model}")
        return self._tend(model, rules, tended)

    def _rules(self, model: str) -> Rules | None:
        with self._lock:
            auto = self._started and self.config.auto_sleep_enabled and self.traffic_monitor is not None
            kind = self._kind(model)
            return None if kind is None else rules_of(self.config, kind, model, auto=auto)

    def _tend(self, model: str, rules: Rules, earlier: Tended | None) -> Tended:
        tended = Tended(model, rules)
        tended.replica.subscribe(self._changed)
        if earlier is not None and earlier.is_at(rules):
            tended.take_over(earlier)
        with self._lock:
            self._tended[model] = tended
        if self.traffic_monitor is not None:
            tended.heed(self.traffic_monitor.in_flight(model), active=False)
        return tended

    def _settle(self) -> None:
        """Bring what is tended in step with the config. On the manager's own loop."""
        known = self._models()
        with self._lock:
            gone = [self._tended.pop(name) for name in list(self._tended) if name not in known]
            self._manual &= self._tended.keys()
        for tended in gone:
            if not tended.closed:
                spawn(tended.close(), f"let go of {tended.model}")
        for name in known:
            if (self._started or name in self._tended) and (engaged := self._engage(name)) is not None:
                spawn(engaged.opened(), f"open {name}")

    def _changed(self, change: Changed) -> None:
        if change.after not in NOT_AWAKE:
            with self._lock:
                self._manual.discard(change.model)

    # traffic

    def _watch_models(self) -> None:
        """The monitor shows our models from the start, also those without a request."""
        if self.traffic_monitor is None:
            return
        with self._lock:
            known = set(self._models())
            for name in known - self._watched:
                self.traffic_monitor.watch(name)
            for name in self._watched - known:
                self.traffic_monitor.unwatch(name)
            self._watched = known

    def _hear(self, model: str) -> None:
        """A request began or ended, on any thread: many are heeded at one go."""
        if model not in self._tended:
            return
        with self._lock:
            first = not self._heard
            self._heard.add(model)
        if first and not self._call_home(self._heed):
            self._heard.clear()

    def _heed(self) -> None:
        with self._lock:
            heard, self._heard = self._heard, set()
        for model in heard:
            tended = self._tended.get(model)
            if tended is not None and self.traffic_monitor is not None:
                tended.heed(self.traffic_monitor.in_flight(model), active=True)

    # the loop

    def _poke(self) -> None:
        """The config changed."""
        self._watch_models()
        self._call_home(self._settle)

    def _call_home(self, work: Callable[[], None]) -> bool:
        """Have it done on the manager's own loop; False if there is none (any more)."""
        home = self._home
        if home is None:
            return False
        with contextlib.suppress(RuntimeError):  # closed
            home.call_soon_threadsafe(work)
            return True
        return False

    def _own_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._home is None:
                self._home = asyncio.get_running_loop()
                self._heard.clear()
                if self.traffic_monitor is not None:
                    self.traffic_monitor.subscribe(self._hear)
            return self._home

    async def _at_home(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do it on the loop that first awaited this manager. RuntimeError if that loop has ended."""
        home = self._own_loop()
        if home is asyncio.get_running_loop():
            return await work()
        _check_runs(home)
        carried = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work(), home))
        try:
            while not (await asyncio.wait([carried], timeout=ALIVE_S))[0]:
                _check_runs(home)
        finally:
            carried.cancel()
        if carried.cancelled():
            _check_runs(home)
            raise RuntimeError(_LOOP_ENDED)
        return carried.result()


_KINDS = (EngineKind.VLLM, EngineKind.SGLANG)
_LOOP_ENDED = (
    "The event loop that this SleepManager works on has ended. Await stop() before its loop ends, keep that loop "
    "running in a thread, or make a new SleepManager for each loop."
)


def _check_runs(home: asyncio.AbstractEventLoop) -> None:
    if not home.is_running():
        raise RuntimeError(_LOOP_ENDED)
