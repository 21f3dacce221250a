"""The ASGI application: which path leads where, and what is told to go wrong before a handler runs.

Owns the table of paths, keys, loading, hangs, errors and counting. Called by uvicorn, set up by `server`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from enum import Enum, auto

from roost.sim.crash import die
from roost.sim.engine import Broken, EngineRefused
from roost.sim.exchange import ClientLeft, Exchange, Message, Receive, Refused, Send
from roost.sim.handlers import anthropic, control, lora, openai, other, own, responses, router, sglang, status
from roost.sim.simulation import Simulation

Handler = Callable[[Simulation, Exchange], Awaitable[None]]
_STATS_PATHS_MAX = 256


class Kind(Enum):
    """How a path is treated."""

    STATUS = auto()
    INFERENCE = auto()
    CONTROL = auto()
    WAKING = auto()
    """No inference, yet it wakes llama-server."""


_INFERENCE: dict[str, Handler] = {
    "/v1/chat/completions": openai.chat,
    "/v1/completions": openai.completions,
    "/v1/responses": responses.responses,
    "/v1/messages": anthropic.messages,
    "/v1/messages/count_tokens": anthropic.count_tokens,
    "/v1/embeddings": other.embeddings,
    "/v1/rerank": other.rerank,
    "/v2/rerank": other.rerank,
    "/rerank": other.rerank,
    "/score": other.score,
    "/v1/score": other.score,
    "/v1/audio/transcriptions": other.transcriptions,
    "/v1/images/generations": other.images,
}
_CONTROL: dict[tuple[str, str], Handler] = {
    ("POST", "/sleep"): control.sleep,
    ("POST", "/wake_up"): control.wake_up,
    ("GET", "/is_sleeping"): control.is_sleeping,
    ("POST", "/pause"): control.pause,
    ("POST", "/resume"): control.resume,
    ("GET", "/is_paused"): control.is_paused,
    ("POST", "/collective_rpc"): control.collective_rpc,
    ("POST", "/reset_prefix_cache"): control.reset_prefix_cache,
    ("POST", "/abort_requests"): control.abort_requests,
}
_STATUS: dict[tuple[str, str], Handler] = {
    ("GET", "/health"): status.health,
    ("GET", "/ping"): status.ping,
    ("GET", "/version"): status.version,
    ("GET", "/load"): status.load,
    ("GET", "/metrics"): status.metrics,
    ("GET", "/v1/models"): openai.models,
}
_SGLANG: dict[tuple[str, str], Handler] = {
    ("POST", "/pause_generation"): sglang.pause_generation,
    ("POST", "/continue_generation"): sglang.continue_generation,
    ("POST", "/release_memory_occupation"): sglang.release_memory_occupation,
    ("POST", "/resume_memory_occupation"): sglang.resume_memory_occupation,
    ("POST", "/update_weights_from_disk"): sglang.update_weights_from_disk,
    ("POST", "/flush_cache"): sglang.flush_cache,
    ("GET", "/flush_cache"): sglang.flush_cache,
    ("POST", "/abort_request"): sglang.abort_request,
}
_SGLANG_STATUS: dict[tuple[str, str], Handler] = {
    ("GET", "/ready"): sglang.ready,
    ("GET", "/server_info"): sglang.server_info,
    ("GET", "/get_server_info"): sglang.server_info,
}
_WAKING: dict[tuple[str, str], Handler] = {
    ("POST", "/tokenize"): other.tokenize,
    ("POST", "/detokenize"): other.detokenize,
}
_ROUTER: dict[tuple[str, str], Handler] = {
    ("POST", "/models/load"): router.load,
    ("POST", "/models/unload"): router.unload,
}
_ROUTER_STATUS: dict[tuple[str, str], Handler] = {
    ("GET", "/v1/models"): router.models,
    ("GET", "/models"): router.models,
    ("GET", "/props"): status.props,
}
_LORA: dict[tuple[str, str], Handler] = {
    ("POST", "/v1/load_lora_adapter"): lora.load,
    ("POST", "/v1/unload_lora_adapter"): lora.unload,
}
_OWN: dict[str, Handler] = {"/sim/set": own.set_behaviour, "/sim/stats": own.stats}


def _table(kind: str, *, loras: bool) -> dict[tuple[str, str], tuple[Handler, Kind]]:
    """(method, path) to handler: vLLM's development paths, SGLang's, or llama-server's."""
    table = {("POST", path): (handler, Kind.INFERENCE) for path, handler in _INFERENCE.items()}
    table |= {route: (handler, Kind.STATUS) for route, handler in _STATUS.items()}
    table |= {route: (handler, Kind.WAKING) for route, handler in _WAKING.items()}
    if kind == "vllm":
        if loras:
            table |= {route: (handler, Kind.CONTROL) for route, handler in _LORA.items()}
        return table | {route: (handler, Kind.CONTROL) for route, handler in _CONTROL.items()}
    if kind == "sglang":
        table |= {route: (handler, Kind.STATUS) for route, handler in _SGLANG_STATUS.items()}
        return table | {route: (handler, Kind.CONTROL) for route, handler in _SGLANG.items()}
    if kind == "llamacpp-router":
        table |= {route: (handler, Kind.STATUS) for route, handler in _ROUTER_STATUS.items()}
        return table | {route: (handler, Kind.CONTROL) for route, handler in _ROUTER.items()}
    table["GET", "/props"] = (status.props, Kind.STATUS)
    table["GET", "/slots"] = (status.slots, Kind.WAKING)
    return table


class Application:
    """Callable by an ASGI server; HTTP only."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self._table = _table(sim.behaviour.kind, loras=sim.loras is not None)
        self._paths = {path for _, path in self._table}
        self.stopping = False

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send)
        try:
            await self._treat(exchange)
        except Refused as error:
            await exchange.answer(error.status, _error(error.status, error.kind, str(error), error.param))
        except EngineRefused as error:
            await exchange.answer(500, _error(500, "InternalServerError", str(error)))
        except Broken as error:
            await _break(exchange, error)
        except ClientLeft:
            self._sim.stats.aborted += 1
        except asyncio.CancelledError:
            self._cancelled(exchange)

    def _cancelled(self, exchange: Exchange) -> None:
        """By the client that left, or at shutdown; anything else is none of ours."""
        task = asyncio.current_task()
        if exchange.client_left and task is not None:
            task.uncancel()
            self._sim.stats.aborted += 1
        elif not self.stopping:
            raise asyncio.CancelledError

    async def _treat(self, exchange: Exchange) -> None:
        own_handler = self._own(exchange.path)
        if own_handler is not None:
            await own_handler(self._sim, exchange)
            return
        self._note(exchange)
        if self._sim.behaviour.hang == "all":
            await self._hang(exchange)
        if not self._sim.loaded:
            raise Refused(503, "ServiceUnavailableError", "Loading model")
        handler, kind = self._find(exchange)
        self._authorise(exchange)
        await self._sim.faults.meet(exchange)
        match kind:
            case Kind.INFERENCE:
                await self._infer(handler, exchange)
            case Kind.WAKING:
                await self._awake(handler, exchange)
            case Kind.CONTROL:
                self._sim.stats.calls.append(_call(exchange))
                await handler(self._sim, exchange)
            case Kind.STATUS:
                await handler(self._sim, exchange)

    def _own(self, path: str) -> Handler | None:
        if path.startswith(("/sim/echo", "/v1/sim/echo")):
            return own.echo
        return _OWN.get(path)

    def _note(self, exchange: Exchange) -> None:
        paths = self._sim.stats.paths
        if exchange.path in paths or len(paths) < _STATS_PATHS_MAX:
            paths[exchange.path] += 1

    def _find(self, exchange: Exchange) -> tuple[Handler, Kind]:
        method = "GET" if exchange.method == "HEAD" else exchange.method
        found = self._table.get((method, exchange.path))
        hidden = exchange.path in self._sim.behaviour.missing or (
            found is not None and found[1] is Kind.CONTROL and self._sim.behaviour.no_dev_endpoints
        )
        if found is not None and not hidden:
            return found
        if exchange.path in self._paths and not hidden:
            raise Refused(405, "MethodNotAllowedError", "Method Not Allowed")
        if exchange.path in self._sim.behaviour.also_answer and not hidden:
            return own.ok, Kind.CONTROL
        raise Refused(404, "NotFoundError", "Not Found")

    def _authorise(self, exchange: Exchange) -> None:
        """As in vLLM the key guards only the versioned paths: sleep and metrics stay open."""
        key = self._sim.behaviour.api_key
        if key is None or not exchange.path.startswith(("/v1", "/v2")):
            return
        given = exchange.header("authorization")
        if given != f"Bearer {key}" and exchange.header("x-api-key") != key:
            raise Refused(401, "AuthenticationError", "Unauthorized")

    async def _infer(self, handler: Handler, exchange: Exchange) -> None:
        sim = self._sim
        if sim.behaviour.crash_after_requests is not None and sim.stats.requests >= sim.behaviour.crash_after_requests:
            die(1, f"told to crash after {sim.stats.requests} requests")
        sim.stats.requests += 1
        if sim.behaviour.hang == "inference":
            await self._hang(exchange)
        if sim.errors.random() < sim.behaviour.error_rate:
            raise Refused(500, "InternalServerError", "told to answer this request with an error")
        await self._awake(handler, exchange)
        sim.stats.answered += exchange.complete

    async def _awake(self, handler: Handler, exchange: Exchange) -> None:
        """Kind llamacpp-idle: the request wakes the engine and keeps it awake."""
        if self._sim.idle is None:
            await handler(self._sim, exchange)
            return
        await self._sim.idle.enter()
        try:
            await handler(self._sim, exchange)
        finally:
            self._sim.idle.leave()

    async def _hang(self, exchange: Exchange) -> None:
        await exchange.departure()
        raise ClientLeft


async def _break(exchange: Exchange, error: Broken) -> None:
    """In the middle of a stream the status is out already: the error goes into the body, as vLLM does it."""
    said = _error(500, "InternalServerError", str(error) or "the connection to the model was lost")
    if not exchange.begun:
        await exchange.answer(500, said)
    elif error.bare is not None:
        await exchange.end(error.bare)
    elif exchange.path == "/v1/messages":
        await exchange.event({"type": "error", **said}, "error")
        await exchange.end()
    else:
        await exchange.event(said)
        await exchange.event("[DONE]")
        await exchange.end()


def _call(exchange: Exchange) -> str:
    query = f"?{exchange.query_string}" if exchange.query_string else ""
    return f"{exchange.method} {exchange.path}{query}"


def _error(status: int, kind: str, message: str, param: str | None = None) -> dict[str, object]:
    return {"error": {"message": message, "type": kind, "param": param, "code": status}}
