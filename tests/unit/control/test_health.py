"""Health by outcome: who is avoided, for how long, by what it comes back, and who never is."""

import logging

import pytest

from roost import clock
from roost.control.health import FIRST_S, LONGEST_S, PROBE_S, WINDOW_S, Avoided, avoided
from roost.control.lane import Lease
from roost.core.lifecycle import Fact, State
from roost.core.request import Request
from roost.core.spec import ModelSpec, ReplicaSpec, RoostSpec
from tests.support.fleet import Bench, Client, pause, settle
from tests.support.virtual import run

URLS = tuple(ReplicaSpec(url=f"http://h:{number}") for number in (1, 2, 3))


class Pair:
    """A model with several backends that are ready."""

    def __init__(self, replicas: int = 2, **changes: int) -> None:
        model = ModelSpec(command="x", replicas=URLS[:replicas], **changes)  # type: ignore[arg-type]
        self.bench = Bench(RoostSpec(models={"m": model}), m={"owned": False})
        self.gate = self.bench.control.gate

    async def ready(self) -> None:
        for owner in self.bench.owners.values():
            owner.see(Fact.READY)
        await settle()

    def take(self) -> Lease:
        """A lease as the next request gets it."""
        route = self.gate.resolve("m")
        assert route is not None
        now = clock.now()
        client = Client(0, "m", 1.0, now)
        answer = self.gate.enter(Request("r", now, method="POST"), route, client, now)
        assert isinstance(answer, Lease)
        return answer

    def on(self, replica: str) -> Lease:
        return Lease(self.gate.seat(replica), True, clock.now())

    def fail(self, replica: str, times: int = 1) -> None:
        for _ in range(times):
            lease = self.on(replica)
            lease.failed("its engine answered 500")
            lease.release(clock.now())

    def answer(self, replica: str, times: int = 1) -> None:
        for _ in range(times):
            lease = self.on(replica)
            if lease.watched:
                lease.answered()
            lease.release(clock.now())

    def avoided(self, replica: str) -> Avoided | None:
        return avoided(self.gate.seat(replica), clock.now())

    def goes_to(self, requests: int = 4) -> set[str]:
        """Where requests go that end at once."""
        found = set()
        for _ in range(requests):
            lease = self.take()
            found.add(lease.replica)
            lease.release(clock.now())
        return found


def test_three_failures_in_a_row_and_the_other_one_serves(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def main() -> None:
        pair = Pair()
        await pair.ready()
        pair.fail("m/0", 2)
        pair.answer("m/0")
        pair.fail("m/0", 2)
        assert pair.avoided("m/0") is None and pair.goes_to() == {"m/0"}
        pair.fail("m/0")
        known = pair.avoided("m/0")
        assert known is not None and (known.in_a_row, known.failed, known.answered) == (3, 5, 1)
        assert known.sentence == (
            "m/0 is avoided for another 5.0 s: 3 requests in a row failed; its engine answered 500"
        )
        assert pair.goes_to() == {"m/1"}
        held = [pair.take() for _ in range(5)]
        assert {lease.replica for lease in held} == {"m/1"}  # though the other one has nothing to do

    run(main())
    assert "m/0 is avoided for 5.0 s, time 1: 3 requests in a row failed; its engine answered 500" in caplog.text


def test_one_probing_request_at_the_end_of_the_while() -> None:
    async def main() -> None:
        pair = Pair()
        await pair.ready()
        pair.fail("m/0", 3)
        pair.gate.sweep(clock.now() + FIRST_S - 0.1)
        assert pair.goes_to() == {"m/1"}
        await pause(FIRST_S)
        pair.gate.sweep(clock.now())
        probe = pair.take()
        assert probe.replica == "m/0"
        assert pair.goes_to() == {"m/1"}  # the others wait for what it shows
        probe.answered()
        assert pair.avoided("m/0") is None
        probe.release(clock.now())
        assert pair.goes_to() == {"m/0"}

    run(main())


def test_each_while_is_twice_as_long_up_to_a_bound() -> None:
    async def main() -> None:
        pair = Pair()
        await pair.ready()
        pair.fail("m/0", 3)
        lengths = []
        for _ in range(9):
            known = pair.avoided("m/0")
            assert known is not None
            lengths.append(known.for_s)
            await pause(known.for_s)
            pair.gate.sweep(clock.now())
            probe = pair.take()
            assert probe.replica == "m/0"
            probe.failed("its port did not take the connection")
            probe.release(clock.now())
        assert lengths == [min(FIRST_S * 2**number, LONGEST_S) for number in range(9)]

    run(main())


def test_a_probe_that_tells_nothing_is_followed_by_another() -> None:
    async def main() -> None:
        pair = Pair()
        await pair.ready()
        pair.fail("m/0", 3)
        await pause(FIRST_S)
        pair.gate.sweep(clock.now())
        pair.take().release(clock.now())  # its client left
        assert pair.goes_to() == {"m/1"}
        await pause(PROBE_S)
        pair.gate.sweep(clock.now())
        assert pair.take().replica == "m/0"

    run(main())


def test_a_share_of_a_window_counts_too() -> None:
    async def main() -> None:
        pair = Pair()
        await pair.ready()
        for _ in range(5):
            pair.fail("m/0", 2)
            pair.answer("m/0")
            if pair.avoided("m/0") is not None:
                break
        known = pair.avoided("m/0")
        assert known is not None and known.failed + known.answered >= 10
        assert "of its last 1" in known.sentence

    run(main())


def test_failures_far_apart_are_forgotten() -> None:
    async def main() -> None:
        pair = Pair()
        await pair.ready()
        for _ in range(20):
            pair.fail("m/0")
            pair.answer("m/0")
            await pause(WINDOW_S * 3)
            pair.gate.sweep(clock.now())
        assert pair.gate.seat("m/0").ailing is None and pair.gate.seat("m/0").failures == 20

    run(main())


def test_the_only_one_is_never_avoided() -> None:
    async def main() -> None:
        pair = Pair(replicas=1)
        await pair.ready()
        pair.fail("m/0", 50)
        assert pair.avoided("m/0") is None and pair.goes_to() == {"m/0"}
        pair = Pair()
        await pair.ready()
        pair.fail("m/0", 3)
        pair.bench.owners["m/1"].see(Fact.GONE)
        assert pair.avoided("m/0") is not None and pair.goes_to() == {"m/0"}  # the other one is not ready

    run(main())


def test_where_the_other_one_is_full_it_serves_and_where_all_fail_they_share() -> None:
    async def main() -> None:
        pair = Pair(concurrency=2)
        await pair.ready()
        pair.fail("m/0", 3)
        held = [pair.take() for _ in range(3)]
        assert [lease.replica for lease in held] == ["m/1", "m/1", "m/0"]
        for lease in held:
            lease.release(clock.now())
        pair.fail("m/1", 3)
        held = [pair.take() for _ in range(4)]
        assert sorted(lease.replica for lease in held) == ["m/0", "m/0", "m/1", "m/1"]

    run(main())


def test_a_new_process_begins_anew_and_what_is_down_is_not_counted() -> None:
    async def main() -> None:
        pair = Pair()
        await pair.ready()
        pair.fail("m/0", 3)
        owner = pair.bench.owners["m"]
        owner.see(Fact.GONE)
        assert owner.state is State.BACKOFF
        pair.fail("m/0", 3)
        owner.see(Fact.READY)
        assert pair.avoided("m/0") is None and pair.goes_to() == {"m/0"}
        assert pair.gate.seat("m/0").failures == 3

    run(main())


def test_after_a_refused_connect_another_replica_is_not_the_avoided_one() -> None:
    async def main() -> None:
        pair = Pair(replicas=3)
        await pair.ready()
        pair.fail("m/1", 3)
        first = pair.on("m/0")
        first.failed("its port did not take the connection")
        second = pair.gate.another(first, clock.now())
        assert second is not None and second.replica == "m/2"

    run(main())
