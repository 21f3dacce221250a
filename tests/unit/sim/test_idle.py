import asyncio

from roost import clock
from roost.sim.engine import Engine
from roost.sim.flags import Behaviour
from roost.sim.idle import IdleTimer
from tests.support import virtual


def _timer(after: float | None = 10.0, wake: float = 2.0) -> tuple[Engine, IdleTimer]:
    engine = Engine(Behaviour(kind="llamacpp-idle", sleep_idle_seconds=after, wake_delay=wake))
    return engine, IdleTimer(engine)


def test_it_sleeps_when_nobody_came_for_so_long() -> None:
    async def main() -> None:
        engine, timer = _timer()
        timer.rearm()
        await asyncio.sleep(9)
        assert not engine.asleep
        await asyncio.sleep(2)
        assert engine.asleep

    virtual.run(main())


def test_a_long_request_keeps_it_awake_and_its_end_starts_the_clock() -> None:
    async def main() -> None:
        engine, timer = _timer()
        await timer.enter()
        await asyncio.sleep(100)
        assert not engine.asleep
        timer.leave()
        await asyncio.sleep(9)
        assert not engine.asleep
        await asyncio.sleep(2)
        assert engine.asleep

    virtual.run(main())


def test_one_wake_serves_all_who_come() -> None:
    async def main() -> None:
        engine, timer = _timer()
        timer.rearm()
        await asyncio.sleep(11)
        began = clock.now()
        await asyncio.gather(*(timer.enter() for _ in range(8)))
        assert (engine.wakes, clock.now() - began) == (1, 2.0)

    virtual.run(main())


def test_without_a_time_it_never_sleeps() -> None:
    async def main() -> None:
        engine, timer = _timer(after=None)
        timer.rearm()
        await asyncio.sleep(10_000)
        assert not engine.asleep

    virtual.run(main())
