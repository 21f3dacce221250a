"""vLLM's LoRA adapters: loaded and unloaded by name while the base serves.

As in vLLM, the list is the server's and the weights are the engine's: a level-2 sleep drops the weights and leaves the
list, unloading forgets a name, and an adapter beyond `--max-loras` takes another one's slot for each of its requests.
Owns names and slots. Called by the handlers and the simulation.
"""

from dataclasses import dataclass

from roost.sim.crash import die
from roost.sim.engine import Engine, EngineRefused
from roost.sim.exchange import Refused


@dataclass(frozen=True, slots=True)
class Lora:
    """One loaded adapter. `losses`: how often the engine had lost its weights by then."""

    name: str
    path: str
    losses: int


class Loras:
    """Single writer of its names and slots."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._behaviour = engine.behaviour
        self._loaded: dict[str, Lora] = {}
        self._slots: list[str] = []
        """The names whose weights are in place, the least recently used first."""
        self.swaps = 0
        """Requests whose adapter had to be brought into a slot first."""

    def loaded(self) -> tuple[Lora, ...]:
        """In the order in which they came."""
        return tuple(self._loaded.values())

    def find(self, name: object) -> Lora | None:
        """The adapter of that name; None if it is not loaded."""
        return self._loaded.get(name) if isinstance(name, str) else None

    def load(self, name: object, path: object) -> None:
        """Refused 400 for what cannot be loaded and 404 for a path without adapter. A sleeping engine dies of it."""
        if not isinstance(name, str) or not isinstance(path, str) or not name or not path:
            raise Refused(400, "InvalidUserInput", "Both 'lora_name' and 'lora_path' must be provided.")
        if name in self._behaviour.names:
            raise Refused(400, "InvalidUserInput", f"The lora adapter '{name}' conflicts with a served base model.")
        if name in self._loaded:
            raise Refused(400, "InvalidUserInput", f"The lora adapter '{name}' has already been loaded.")
        if path in self._behaviour.lora_missing:
            raise Refused(404, "NotFoundError", f"Loading lora {name} failed: No adapter found for {path}")
        if self._behaviour.refuse_lora:
            raise EngineRefused(f"told to fail to load the adapter {name!r}")
        if self._engine.asleep:
            die(1, "illegal memory access: an adapter was loaded into memory that sleeps")
        if not self._behaviour.fake_lora:
            self._loaded[name] = Lora(name, path, self._engine.losses)
            self._touch(name)

    def unload(self, name: object) -> None:
        """Refused 404 for one that is not loaded."""
        if not isinstance(name, str) or name not in self._loaded:
            raise Refused(404, "NotFoundError", f"The lora adapter '{name}' cannot be found.")
        if not self._behaviour.keep_lora:
            del self._loaded[name]
            if name in self._slots:
                self._slots.remove(name)

    def use(self, lora: Lora) -> bool:
        """A request of it begins; False if its weights are lost and it answers garbage."""
        self.swaps += lora.name not in self._slots
        self._touch(lora.name)
        return lora.losses == self._engine.losses

    def _touch(self, name: str) -> None:
        if name in self._slots:
            self._slots.remove(name)
        self._slots.append(name)
        del self._slots[: -max(1, self._behaviour.max_loras)]
