"""The work of a replica that lives inside a server which someone else runs, and what its server's list means for it.

Loaded there by that server's calls, ready once it is listed as loaded and has answered; gone when the list no longer
has it. The server's being down is no failure of its models: they wait for it. Called by `host/work.py` and
`host/replica.py`; the counterpart of `host/watching.py`.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from roost import clock
from roost.core.errors import StepError
from roost.core.lifecycle import Fact, Order, State
from roost.core.step import Operation
from roost.core.units import format_duration
from roost.host import failures, watching, work
from roost.host.base_server import BaseServer
from roost.host.hosted import FIRST_WAIT_S, LONGEST_WAIT_S, HostedServer
from roost.host.steps import Sequence
from roost.logs import log

if TYPE_CHECKING:
    from roost.host.replica import Replica

UNSEEN_S = 5.0
"""How long a model may be neither loaded nor on its way after its load call went well."""
_UP = frozenset({State.READY, State.DRAINING})
_NOT_YET = frozenset({State.COLD, State.BACKOFF, State.FAILED, State.STARTING, State.STOPPING})
_NO_SUCH = 404


class _ServerDown(Exception):
    """It stopped answering while it was needed."""


def hear(replica: "Replica", server: HostedServer) -> Callable[[], None]:
    """Follow the server's list from now on, until what this gives is called."""
    ends = [server.on_look(lambda: follow(replica, server))]
    if isinstance(server, BaseServer):
        ends.append(server.on_leave(lambda: _base_left(replica, server)))

    def leave() -> None:
        while ends:
            ends.pop()()

    return leave


async def join(replica: "Replica", server: HostedServer) -> None:
    """At roost's start: what the server lists now."""
    if isinstance(server, BaseServer):
        await server.start()
    follow(replica, server)


def _base_left(replica: "Replica", server: HostedServer) -> None:
    """The engine that holds it serves no more. What was loaded is cold already by the listing; what was on its way
    comes back to cold, and that is no failure of its own."""
    follow(replica, server)
    if replica.state is State.STARTING:
        replica.fact(Order.STOP, f"{server.place} serves no more")
        replica.begin(lambda: work.stop(replica, after_failure=False), "stop")


# what the list means


def follow(replica: "Replica", server: HostedServer) -> None:
    """After each look at the server. A replica that is being worked on follows its work instead."""
    listing = server.listing
    replica.unlisted = replica.state in _NOT_YET and server.would_refuse(replica.served_name)
    if listing is None:
        _follow_silence(replica, server)
        return
    replica.lost_since = None
    replica.owned = not server.keeps(replica.served_name)
    loaded = server.key(replica.served_name) in listing.loaded
    if loaded:
        replica.absent = ""
    match replica.state:
        case State.READY | State.DRAINING:
            if loaded:
                failures.forget_if_stable(replica)
            else:
                _unloaded(replica, f"{server.place} no longer lists it as loaded")
        case State.COLD if loaded:
            replica.fact(Fact.READY, f"found loaded in {server.place}")
        case State.COLD if not replica.owned:
            replica.absent = _not_there(replica, server)
        case State.BACKOFF if replica.awaits_server:
            replica.awaits_server = False
            if loaded:
                replica.fact(Fact.READY, f"found loaded in {server.place}")
            else:
                replica.fact(Order.STOP, f"{server.place} answers again")
        case _:
            pass


def _unloaded(replica: "Replica", why: str) -> None:
    if replica.state is State.READY:
        replica.fact(Fact.UNLOADED, why)
        return
    replica.fact(Order.STOP, why)
    replica.begin(lambda: work.stop(replica, after_failure=False), "stop")


def _follow_silence(replica: "Replica", server: HostedServer) -> None:
    """A server that is merely slow may be busy with answers."""
    if replica.state in _UP and (server.refuses or watching.silence(replica) >= replica.spec.timeouts.probe_lost):
        _await_server(replica, server.trouble)


def _await_server(replica: "Replica", why: str) -> None:
    """No try is used up: `follow` sees when it answers again."""
    replica.last_error = why
    replica.awaits_server = True
    replica.retry_at = None
    replica.fact(Fact.GONE, why)


def _not_there(replica: "Replica", server: HostedServer) -> str:
    return (
        f'Model "{replica.model}" is not there: the server "{server.name}" at {server.address.url} does not list '
        f'"{replica.served_name}", and has no call that loads it.'
    )


def denied(replica: "Replica", server: HostedServer, status: int, body: bytes, since: float) -> bool:
    """A request that was sent after `since` got this answer: whether it says that the model is not loaded. What it
    contradicts is looked at anew at once."""
    if server.way is None or not server.way.lacks(status, body):
        return False
    server.doubt()
    known_again = replica.became_ready_at is not None and replica.became_ready_at > since
    if replica.state is State.READY and not known_again:
        replica.fact(Fact.UNLOADED, f"{server.place} answered that it is not loaded (status {status})")
    return True


# loading


async def load(replica: "Replica", server: HostedServer) -> None:
    """Its server's load calls, until it is listed as loaded; then a request that fits its task."""
    name, limit = replica.served_name, server.spec.load_timeout
    log.info("Loading model %s as served name %s in host %s: %s", replica.model, name, server.name, replica.reason)
    replica.canary.begin()
    replica.absent = ""
    try:
        with work.sequence_of(replica, Operation.LOAD) as sequence:
            async with asyncio.timeout(limit):
                await _brought_in(replica, server, sequence)
            await work.verify(replica, sequence)
    except TimeoutError:
        after = f"{format_duration(limit)} after the load call (load_timeout)"
        why = f"not listed as loaded in {server.place} {after}"
        log.error("Timed out waiting for model to load: %s is %s", replica.model, why)
        work.stop_failed(replica, Fact.TIMED_OUT, why)
    except _ServerDown as down:
        _await_server(replica, str(down))
    except StepError as error:
        await _failed(replica, server, f"{error}", sequence)
    else:
        await work.learn(replica)
        replica.fact(Fact.READY)


async def _failed(replica: "Replica", server: HostedServer, why: str, sequence: Sequence) -> None:
    if await server.look() is None:
        _await_server(replica, server.trouble)
        return
    log.error("Failed to load model %s in host %s: %s", replica.model, server.name, why)
    if any(sequence.records[number].status == _NO_SUCH for number in sequence.ordered):
        replica.absent = (
            f'Model "{replica.model}" is not there: the server "{server.name}" at {server.address.url} refuses to load '
            f'"{replica.served_name}" ({why}).'
        )
    work.stop_failed(replica, Fact.TIMED_OUT, f"the load in {server.place} failed: {why}")


async def _brought_in(replica: "Replica", server: HostedServer, sequence: Sequence) -> None:
    """Raises StepError, and _ServerDown where it does not answer."""
    name = replica.served_name
    listing = await server.look()
    if listing is None:
        raise _ServerDown(server.trouble)
    if not listing.holds(server.key(name)):
        await work.perform(replica, lambda: server.load_steps(replica.spec, name), sequence)
        server.brought_in(name)
    await _until_listed(replica, server)


async def _until_listed(replica: "Replica", server: HostedServer) -> None:
    key, wait_s, unseen_since = server.key(replica.served_name), FIRST_WAIT_S, clock.now()
    while True:
        listing = await server.look()
        if listing is None:
            if server.refuses:
                raise _ServerDown(server.trouble)
        elif key in listing.loaded:
            return
        elif key in listing.failed:
            raise StepError(f'the server lists "{replica.served_name}" as failed; its own log says why')
        elif key in listing.busy:
            unseen_since = clock.now()
        elif clock.now() - unseen_since > UNSEEN_S:
            raise StepError(f"{UNSEEN_S:g} s after the load call the server lists it neither as loaded nor as loading")
        await asyncio.sleep(wait_s)
        wait_s = min(wait_s * 1.5, LONGEST_WAIT_S)


# unloading


async def stop(replica: "Replica", server: HostedServer, *, after_failure: bool) -> None:
    """Its server's unload calls, until it is no longer listed as loaded; STUCK if it stays, until it is gone after
    all."""
    log.info("Unloading model %s in host %s: %s", replica.served_name, server.name, replica.reason)
    limit = replica.spec.timeouts.sleep or replica.spec.timeouts.step
    with work.sequence_of(replica, Operation.UNLOAD) as sequence:
        gone = await server.unload(replica.spec, replica.served_name, sequence, limit)
    if not gone:
        why = f"still loaded in {server.place} {format_duration(limit)} after the unload call"
        log.error("%s: %s; its memory stays counted", replica.id, why)
        replica.fact(Fact.SURVIVED_KILL, why)
        await work.until_unstuck(replica)
    elif after_failure:
        replica.failed(Fact.GONE_AFTER_FAILURE, replica.last_error)
    else:
        replica.fact(Fact.GONE)
