"""Idle connections: who gets them, and what becomes of them at the end."""

from dataclasses import dataclass, field
from typing import Any, cast

from roost.core.request import Address
from roost.proxy.pool import MAX_IDLE_PER_ADDRESS, Pool


@dataclass(eq=False)
class FakeTransport:
    aborted: bool = False

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted


@dataclass(eq=False)
class FakeUpstream:
    address: Address = field(default_factory=lambda: Address("127.0.0.1", 1))
    expires_at: float = 100.0
    transport: FakeTransport = field(default_factory=FakeTransport)


def pool_with(*some: FakeUpstream) -> Any:
    pool = cast("Any", Pool(cast("Any", FakeUpstream)))
    for one in some:
        pool.put(one)
    return pool


def test_the_newest_is_used_first_and_none_that_has_outlived_its_time() -> None:
    old, new = FakeUpstream(expires_at=10.0), FakeUpstream()
    pool = pool_with(old, new)
    assert pool.take(new.address, 50.0) is new
    assert pool.take(new.address, 50.0) is None
    assert old.transport.aborted and not new.transport.aborted


def test_no_more_are_kept_than_the_bound() -> None:
    some = [FakeUpstream() for _ in range(MAX_IDLE_PER_ADDRESS + 1)]
    pool_with(*some)
    assert [one.transport.aborted for one in some] == [False] * MAX_IDLE_PER_ADDRESS + [True]


def test_a_connection_that_comes_after_the_end_is_dropped() -> None:
    kept, late = FakeUpstream(), FakeUpstream()
    pool = pool_with(kept)
    pool.close()
    pool.put(late)
    assert kept.transport.aborted and late.transport.aborted
    assert pool.take(late.address, 0.0) is None
