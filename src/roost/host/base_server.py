"""The engine of a model with adapters as the server that they live in: what is loaded there while the engine serves.

One per replica of such a model. Trusts its list only as far as the weights: an adapter counts as loaded if this roost
loaded it and the engine has kept its weights since; after a level-2 sleep vLLM still lists adapters whose weights are
gone. While the engine does not serve nothing is loaded, and nothing is asked of it. Made by `host/fleet.py`; the
adapters' replicas follow it (`host/inside.py`).
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from roost.config.finish import looks_like_path
from roost.core.events import Changed
from roost.core.hosted_spec import HostSpec, Preset
from roost.core.lifecycle import State
from roost.core.spec import EngineKind, ModelSpec
from roost.core.step import Step
from roost.engines.hosted import Listing
from roost.host.hosted import HostedServer
from roost.host.steps import Sequence
from roost.logs import log

if TYPE_CHECKING:
    from roost.host.replica import Replica

_SERVES = frozenset({State.READY, State.DRAINING})
_KEEPS = frozenset({State.SUSPENDING, State.ASLEEP, State.WAKING})
"""In these the weights may be kept: the level says so."""
_KEPT_AT = (0, 1)
"""Levels of sleep that keep all weights, those of adapters too: vLLM has them in the same pool as the base's."""


class BaseServer(HostedServer):
    """`base`: the replica whose engine it is."""

    def __init__(self, base: "Replica") -> None:
        self.base, spec = base, base.spec
        host = HostSpec(
            url=base.address.url, preset=Preset.VLLM_LORA, api_key=spec.api_key, load_timeout=spec.start_timeout
        )
        super().__init__(base.id, host, base.setup.transport)
        self.guests: list[str] = []
        """The replicas of its adapters."""
        self._whole: set[str] = set()
        """Adapters loaded by this roost whose weights the engine has kept since."""
        self._listed: frozenset[str] = frozenset()
        self._started = False
        self._absences = 0
        """How often the engine ceased to serve: a look that was under way then is worth nothing."""
        self._leave_hearers: list[Callable[[], None]] = []
        base.subscribe(self._base_changed)

    def __str__(self) -> str:
        return f'The engine of model "{self.base.model}" at {self.address.url}'

    @property
    def place(self) -> str:
        return f"the engine of {self.name}"

    @property
    def serves(self) -> bool:
        """Its engine takes calls."""
        return self.base.state in _SERVES

    def would_refuse(self, name: str) -> bool:
        """It lists only what is loaded."""
        return False

    async def start(self) -> None:
        """Look on; a second time changes nothing."""
        if not self._started:
            self._started = True
            await super().start()

    def on_leave(self, hear: Callable[[], None]) -> Callable[[], None]:
        """`hear` is called whenever its engine ceases to serve, until what this gives is called."""
        self._leave_hearers.append(hear)
        return lambda: self._leave_hearers.remove(hear)

    def _base_changed(self, change: Changed) -> None:
        if change.after not in _SERVES and (change.after not in _KEEPS or self._loses()):
            self._whole.clear()
        if change.after in _SERVES:
            if change.before not in _SERVES:
                self._kept()
            self.doubt()
        elif change.before in _SERVES:
            self._absences += 1
            self._listed = frozenset()
            self._note(Listing())
            for hear in tuple(self._leave_hearers):
                hear()

    def _kept(self) -> None:
        """It serves again, with what it kept: that counts before it is asked, so that nobody is loaded beside it."""
        self._note(Listing(loaded=frozenset(self._whole)))
        for hear in tuple(self._look_hearers):
            hear()

    def _loses(self) -> bool:
        """It sleeps, or wakes from a sleep, without having kept its weights."""
        return self.base.state is not State.SUSPENDING and self.base.level not in _KEPT_AT

    async def _asked(self) -> Listing | None:
        absences = self._absences
        if not self.serves:
            return Listing()
        listing = await super()._asked()
        if not self.serves or self._absences != absences:
            return Listing()
        if listing is not None:
            self._listed = listing.loaded
            listing = replace(listing, loaded=listing.loaded & (self._whole | listing.permanent))
        return listing

    def _note(self, listing: Listing | None) -> None:
        """Quieter than for a server of others: the engine's own replica tells how it is."""
        self.listing = listing
        if listing is not None:
            self.trouble = ""

    def load_steps(self, model: ModelSpec, name: str) -> tuple[Step, ...]:
        """One that is listed still is unloaded first: its weights may be gone, and vLLM would refuse it. ValueError for
        a folder that is not there."""
        path, base = model.weights or "", self.base.spec
        local = base.engine is EngineKind.VLLM and base.url is None and base.command is None and looks_like_path(path)
        if local and not Path(path).is_dir():
            raise ValueError(f"there is no folder {path}; correct models.{model.inside}.adapters.{name}.path")
        steps = super().load_steps(model, name)
        assert self.way is not None
        listed = self.key(name) in self._listed
        return (*self.way.unload(name, model.timeouts.step), *steps) if listed else steps

    def brought_in(self, name: str) -> None:
        """Its load calls went well just now."""
        if self.serves:
            self._whole.add(self.key(name))

    async def unload(self, model: ModelSpec, name: str, sequence: Sequence, limit_s: float) -> bool:
        gone = await super().unload(model, name, sequence, limit_s)
        if gone:
            self._whole.discard(self.key(name))
        else:
            log.warning("%s: %s is still listed after its unload", self.base.id, name)
        return gone
