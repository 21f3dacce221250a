"""The state machine of the engine on the jumping clock: what runs, waits, ends and is garbage when."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

import pytest

from roost import clock
from roost.sim import engine as module
from roost.sim import text
from roost.sim.engine import Engine, EngineRefused
from roost.sim.flags import Behaviour
from roost.sim.scheduler import Mode, Run
from roost.tasks import spawn
from tests.support import virtual


def _run(key: str = "k", limit: int = 4) -> Run:
    return Run(id=key, key=key, limit=limit, finish="length")


async def _answer(engine: Engine, run: Run) -> str:
    return "".join([token async for token in engine.produce(run)])


@asynccontextmanager
async def _running(engine: Engine, run: Run) -> AsyncIterator["asyncio.Task[str]"]:
    """An answer under way, begun before the block."""
    task = spawn(_answer(engine, run), "answer")
    await asyncio.sleep(0)
    yield task
    task.cancel()


def play(main: Coroutine[object, object, None]) -> None:
    virtual.run(main)


def test_tokens_come_at_their_times() -> None:
    async def main() -> None:
        engine = Engine(Behaviour(first_token_delay=2.0, token_delay=0.5))
        began = clock.now()
        times = [clock.now() - began async for _ in engine.produce(_run(limit=3))]
        assert times == pytest.approx([2.0, 2.5, 3.0])

    play(main())


@pytest.mark.parametrize("level", [0, 1, 2])
def test_requests_to_a_sleeping_engine_wait_and_run_after_the_wake(level: int) -> None:
    async def main() -> None:
        engine = Engine(Behaviour())
        await engine.sleep(level, Mode.ABORT)
        async with _running(engine, _run()) as answer:
            await asyncio.sleep(100)
            assert not answer.done()
            assert len(engine.scheduler.waiting) == 1
            await engine.wake()
            assert len((await answer).split()) == 4

    play(main())


def test_abort_ends_running_and_waiting_requests() -> None:
    async def main() -> None:
        engine = Engine(Behaviour(token_delay=1.0))
        first, second = _run("a"), _run("b")
        async with _running(engine, first) as running:
            await asyncio.sleep(1.5)
            await engine.sleep(1, Mode.ABORT)
            assert len((await running).split()) == 2
            assert first.finish == "abort"
        async with _running(engine, second) as waiting:
            await engine.sleep(1, Mode.ABORT)
            assert await waiting == ""
            assert second.finish == "abort"

    play(main())


def test_wait_lets_running_requests_end_and_no_new_one_begin() -> None:
    async def main() -> None:
        engine = Engine(Behaviour(token_delay=1.0))
        async with _running(engine, _run("a", limit=5)) as first:
            sleep = spawn(engine.sleep(1, Mode.WAIT), "sleep")
            await asyncio.sleep(0)
            async with _running(engine, _run("b")) as second:
                await sleep
                assert len((await first).split()) == 5
                assert not second.done()
                assert engine.asleep

    play(main())


def test_keep_freezes_and_goes_on_after_the_wake() -> None:
    async def main() -> None:
        engine = Engine(Behaviour(token_delay=1.0))
        run = _run(limit=5)
        async with _running(engine, run) as answer:
            await asyncio.sleep(1.5)
            await engine.sleep(1, Mode.KEEP)
            await asyncio.sleep(60)
            assert run.produced == 2
            await engine.wake()
            assert len((await answer).split()) == 5
            assert run.finish == "length"

    play(main())


def test_level_1_keeps_the_weights() -> None:
    async def main() -> None:
        engine = Engine(Behaviour())
        before = await _answer(engine, _run())
        await engine.sleep(1, Mode.ABORT)
        await engine.wake()
        assert await _answer(engine, _run()) == before

    play(main())


def test_level_2_in_the_right_order_is_sound() -> None:
    async def main() -> None:
        engine = Engine(Behaviour())
        before = await _answer(engine, _run())
        await engine.sleep(2, Mode.ABORT)
        await engine.wake(["weights"])
        assert engine.is_sleeping and engine.is_paused
        engine.reload_weights()
        async with _running(engine, _run()) as queued:
            await engine.wake(["kv_cache"])
            assert await queued == before
        assert not engine.is_sleeping

    play(main())


def test_level_2_without_a_reload_is_garbage_and_its_cache_outlives_the_reload() -> None:
    async def main() -> None:
        engine = Engine(Behaviour())
        before = await _answer(engine, _run())
        await engine.sleep(2, Mode.ABORT)
        await engine.wake()
        assert text.is_garbage(await _answer(engine, _run()))
        engine.reload_weights()
        assert not text.is_garbage(await _answer(engine, _run("other")))
        assert text.is_garbage(await _answer(engine, _run()))
        engine.reset_prefix_cache()
        assert await _answer(engine, _run()) == before

    play(main())


def test_a_reload_into_sleeping_weights_is_refused() -> None:
    async def main() -> None:
        engine = Engine(Behaviour())
        await engine.sleep(2, Mode.ABORT)
        with pytest.raises(EngineRefused, match="wake tag weights first"):
            engine.reload_weights()

    play(main())


def test_a_second_sleep_only_changes_what_it_calls_its_level() -> None:
    async def main() -> None:
        engine = Engine(Behaviour())
        await engine.sleep(1, Mode.ABORT)
        await engine.sleep(2, Mode.ABORT)
        assert (engine.level, engine.sleeps, engine.weights_loaded) == (2, 1, True)

    play(main())


def test_unknown_and_awake_tags_do_nothing() -> None:
    async def main() -> None:
        engine = Engine(Behaviour(wake_delay=5.0))
        await engine.sleep(1, Mode.ABORT)
        began = clock.now()
        await engine.wake(["runes"])
        assert clock.now() == began and engine.asleep == module.TAGS
        await engine.wake(["weights"])
        await engine.wake(["weights"])
        assert clock.now() - began == 5.0 and engine.asleep == {"kv_cache"}

    play(main())


def test_wake_lifts_a_pause_and_weights_alone_do_not() -> None:
    async def main() -> None:
        engine = Engine(Behaviour())
        await engine.pause(Mode.ABORT)
        await engine.wake(["weights"])
        assert engine.is_sleeping
        await engine.wake()
        assert not engine.is_sleeping

    play(main())


def test_a_step_on_memory_given_away_kills(monkeypatch: pytest.MonkeyPatch) -> None:
    class Died(Exception):
        pass

    def die(status: int, why: str) -> None:
        raise Died(why)

    monkeypatch.setattr(module, "die", die)

    async def main() -> None:
        engine = Engine(Behaviour())
        await engine.sleep(1, Mode.ABORT)
        engine.scheduler.resume()
        with pytest.raises(Died, match="illegal memory access"):
            await _answer(engine, _run())

    play(main())


def test_told_to_be_garbage_after_a_wake_no_reload_helps_but_the_order_does() -> None:
    async def main() -> None:
        behaviour = Behaviour(garbage_after_wake=True)
        engine = Engine(behaviour)
        assert engine.is_sound
        await engine.sleep(1, Mode.ABORT)
        await engine.wake()
        engine.reload_weights()
        assert text.is_garbage(await _answer(engine, _run()))
        behaviour.garbage_after_wake = False
        assert engine.is_sound

    play(main())


def test_told_to_refuse_it_refuses() -> None:
    async def main() -> None:
        engine = Engine(Behaviour(refuse_sleep=True, refuse_wake=True))
        with pytest.raises(EngineRefused):
            await engine.sleep(1, Mode.ABORT)
        with pytest.raises(EngineRefused):
            await engine.wake()

    play(main())


def test_one_order_after_the_other() -> None:
    async def main() -> None:
        engine = Engine(Behaviour(sleep_delay=5.0, wake_delay=3.0))
        began = clock.now()
        sleep = spawn(engine.sleep(1, Mode.ABORT), "sleep")
        await asyncio.sleep(1)
        await engine.wake()
        assert sleep.done()
        assert (clock.now() - began, engine.is_sleeping) == (8.0, False)

    play(main())


def test_a_run_whose_reader_leaves_is_forgotten() -> None:
    async def main() -> None:
        engine = Engine(Behaviour(token_delay=1.0))
        async with _running(engine, _run()) as answer:
            await asyncio.sleep(1.5)
            answer.cancel()
            await asyncio.wait([answer])
            assert not engine.scheduler.running and not engine.scheduler.waiting

    play(main())


def test_silence_after_the_token_told_ends_with_an_abort() -> None:
    async def main() -> None:
        engine = Engine(Behaviour(hang_mid_stream=2))
        run = _run()
        async with _running(engine, run) as answer:
            await asyncio.sleep(1000)
            assert run.produced == 2
            assert engine.scheduler.abort(["k"]) == 1
            assert len((await answer).split()) == 2
            assert run.finish == "abort"

    play(main())
