"""What all handlers share: behaviour, engine, counters, and how a request becomes a run.

Owns the checks every generating request needs (known model, limits, context length). Called by the handlers.
"""

import asyncio
import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from roost import clock
from roost.sim import text
from roost.sim.engine import Engine
from roost.sim.exchange import Refused
from roost.sim.faults import Faults
from roost.sim.flags import Behaviour
from roost.sim.idle import IdleTimer
from roost.sim.loras import Loras
from roost.sim.router import Router
from roost.sim.scheduler import Run

_CALLS_KEPT = 256


@dataclass(slots=True)
class Stats:
    """What `/sim/stats` tells."""

    requests: int = 0
    answered: int = 0
    aborted: int = 0
    """Requests whose client left before the answer was complete."""
    connections: int = 0
    health_checks: int = 0
    paths: Counter[str] = field(default_factory=Counter)
    calls: "deque[str]" = field(default_factory=lambda: deque(maxlen=_CALLS_KEPT))
    """The latest control calls with their query, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A checked request that may run."""

    id: str
    model: str
    created: int
    prompt_tokens: int
    run: Run

    def usage(self) -> dict[str, int]:
        total = self.prompt_tokens + self.run.produced
        made = self.run.produced
        return {"prompt_tokens": self.prompt_tokens, "completion_tokens": made, "total_tokens": total}


class Simulation:
    """One simulated engine."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.engine = Engine(behaviour)
        self.idle = IdleTimer(self.engine) if behaviour.kind == "llamacpp-idle" else None
        self.router = Router(self.engine) if behaviour.kind == "llamacpp-router" else None
        self.loras = Loras(self.engine) if behaviour.enable_lora and behaviour.kind == "vllm" else None
        self.faults = Faults(behaviour)
        self.stats = Stats()
        self.errors = random.Random(behaviour.seed)
        self.loaded = False
        self.port = behaviour.port
        self._asked = 0

    async def load(self) -> None:
        """What takes `--start-delay`; until then all is 503."""
        await asyncio.sleep(self.behaviour.start_delay)
        if self.router is None:  # its models come one by one
            self.engine.load()
        self.loaded = True
        if self.idle is not None:
            self.idle.rearm()

    def served(self, asked: Any) -> str:
        """The model's name as asked; Refused for one that is not served: 404, 400 from llama-server's router. A single
        llama-server and SGLang take any name."""
        names = self.behaviour.names
        if asked is None or asked in names:
            return str(asked) if asked is not None else names[0]
        if self.loras is not None and self.loras.find(asked) is not None:
            return str(asked)
        if self.router is not None:
            raise Refused(400, "invalid_request_error", f"model '{asked}' not found")
        if self.behaviour.kind != "vllm":
            return str(asked)
        raise Refused(404, "NotFoundError", f"The model `{asked}` does not exist.", "model")

    def key(self, prompt: str, seed: Any = None, weights: str = "") -> str:
        """What an answer follows from; `weights`: an adapter's, else the model's own."""
        return f"{weights or self.behaviour.model}\x1e{self.behaviour.seed}\x1e{seed}\x1e{prompt}"

    def next_id(self, prefix: str) -> str:
        self._asked += 1
        return f"{prefix}-{self._asked:08x}"

    def ask(
        self, prefix: str, prompt: str, body: Mapping[str, Any], limit: Any, script: Sequence[str] | None = None
    ) -> Ask:
        """Check a generating request. Refused 404 and 400 as vLLM has them."""
        model = self.served(body.get("model"))
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
            raise Refused(400, "BadRequestError", f"max_tokens must be at least 1, got {limit!r}.", "max_tokens")
        tokens = len(text.encode(prompt))
        most = self.behaviour.max_model_len
        if tokens + (limit or 1) > most:
            raise Refused(
                400,
                "BadRequestError",
                f"This model's maximum context length is {most} tokens. However, your prompt has {tokens} tokens"
                f" and you asked for {limit or 1} more. Shorten the prompt or lower max_tokens.",
                "input_tokens",
            )
        lora = self.loras.find(model) if self.loras is not None else None
        run = Run(
            id=self.next_id(prefix),
            key=self.key(prompt, body.get("seed"), "" if lora is None else lora.path),
            unsound=self.loras is not None and lora is not None and not self.loras.use(lora),
            limit=min(limit or self.behaviour.tokens, most - tokens),
            script=script,
            model=model,
            finish="stop" if limit is None or script is not None else "length",
        )
        return Ask(id=run.id, model=model, created=int(clock.wall()), prompt_tokens=tokens, run=run)

    @asynccontextmanager
    async def pieces(self, ask: Ask) -> AsyncIterator[AsyncIterator[str]]:
        """The answer's tokens; the run leaves the engine with the block, however it is left."""
        if self.router is not None:
            await self.router.enter(ask.model)
        elif self.behaviour.refuse_while_paused and self.engine.is_paused and not self.engine.asleep:
            raise Refused(503, "ServiceUnavailableError", "Generation is paused. Please retry after it resumes.")
        self.engine.prompt_tokens += ask.prompt_tokens
        async with aclosing(self.engine.produce(ask.run)) as tokens:
            yield tokens

    async def whole(self, ask: Ask) -> str:
        """The whole answer."""
        async with self.pieces(ask) as tokens:
            return "".join([token async for token in tokens])
