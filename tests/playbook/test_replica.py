"""Scripts of orders and facts for one replica: each test compares all that happened with what should have."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from roost.core.errors import StartError
from roost.core.lifecycle import IllegalMove, State
from roost.core.plan import Drain, Load, Sleep, Stop, Undrain, Wake
from roost.core.reason import Demand, Idle, Ordered, Wanted
from roost.core.spec import ModelSpec, RestartSpec
from roost.core.view import Goal
from roost.host.keepers.base import PortTaken
from tests.support.stage import VLLM, Stage
from tests.support.virtual import run

WANT = Demand(waiting=1, waited_s=0.0)
IDLE = Idle(idle_s=9.0, after_s=5.0)
ASKED = Ordered(goal=Goal.READY, by="cli")
FOREIGN = replace(VLLM, weights=None, url="http://127.0.0.1:9")

LOAD = Load(replica="a/0", reason=WANT)
WAKE = Wake(replica="a/0", reason=WANT)
STOP = Stop(replica="a/0", reason=IDLE)
DRAIN = Drain(replica="a/0", goal=Goal.ASLEEP, reason=IDLE)
UNDRAIN = Undrain(replica="a/0", reason=Wanted(waiting=1))


def sleep(level: int) -> Sleep:
    return Sleep(replica="a/0", level=level, reason=IDLE)


def play(folder: Path, story: Callable[[Stage], Awaitable[Any]], spec: ModelSpec = VLLM) -> Stage:
    """The stage after its story, everything on it closed."""

    async def main() -> Stage:
        stage = Stage(folder, spec)
        await story(stage)
        await stage.replica.close(leave=True)
        return stage

    return run(main())


async def ready(stage: Stage) -> None:
    await stage.replica.recover()
    stage.replica.obey(LOAD)
    await stage.until(State.READY)


async def asleep(stage: Stage, level: int) -> None:
    await ready(stage)
    stage.replica.obey(DRAIN)
    stage.replica.obey(sleep(level))
    await stage.until(State.ASLEEP)


def test_level_2_wakes_in_stages_and_is_verified(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await asleep(stage, 2)
        assert stage.replica.level == 2
        assert stage.replica.last_sleep_at is not None
        stage.engine.calls.clear()
        stage.replica.obey(WAKE)
        await stage.until(State.READY)

    stage = play(tmp_path, story)
    assert stage.engine.calls == [
        "POST /wake_up?tags=weights",
        "POST /collective_rpc",
        "POST /wake_up?tags=kv_cache",
        "POST /reset_prefix_cache",
        "GET /is_sleeping",
        "POST /v1/completions",
        "GET /metrics",
    ]
    assert stage.replica.manual_wake_at is None


def test_wake_by_hand_is_noted(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await asleep(stage, 1)
        stage.replica.obey(Wake(replica="a/0", reason=ASKED))
        await stage.until(State.READY)

    assert play(tmp_path, story).replica.manual_wake_at is not None


def test_drain_for_idleness_is_taken_back(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await ready(stage)
        since = stage.replica.became_ready_at
        stage.replica.obey(DRAIN)
        assert (stage.replica.drain_goal, stage.replica.drain_idle) == (Goal.ASLEEP, True)
        stage.replica.obey(UNDRAIN)
        assert (stage.replica.drain_goal, stage.replica.drain_idle) == (None, False)
        assert stage.replica.became_ready_at == since

    assert play(tmp_path, story).script[-2:] == [
        "0 ready -> draining: drain",
        "0 draining -> ready: undrain",
    ]


def test_hearers_see_the_level_with_the_change(tmp_path: Path) -> None:
    seen: list[int | None] = []

    async def story(stage: Stage) -> None:
        stage.replica.subscribe(lambda change: seen.append(stage.replica.level))
        await asleep(stage, 2)

    play(tmp_path, story)
    assert seen[-1] == 2


def test_crashes_back_off_doubling_until_failed(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        stage.engine.up = False
        await stage.replica.recover()
        for _ in range(3):
            stage.replica.obey(LOAD)
            await stage.seconds(1)
            stage.keeper.die("The engine ended with exit status 3.")
            waits.append((stage.replica.retry_at or 0) - stage.replica.since)
        assert stage.replica.last_error == "The engine ended with exit status 3."

    waits: list[float] = []
    spec = replace(VLLM, restart=RestartSpec(tries=3, backoff=2, backoff_max=60, retry_failed_after=30))
    stage = play(tmp_path, story, spec)
    assert waits == [2, 4, 30]
    assert stage.script == [
        "0 cold -> starting: load",
        "1 starting -> backoff: gone",
        "1 backoff -> starting: load",
        "2 starting -> backoff: gone",
        "2 backoff -> starting: load",
        "3 starting -> backoff: gone",
        "3 backoff -> failed: tries used up",
    ]


def test_failures_are_forgotten_once_it_was_ready_for_a_minute(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await stage.replica.recover()
        for _ in range(4):
            stage.replica.obey(LOAD)
            await stage.until(State.READY)
            await stage.seconds(61)
            stage.engine.up = False  # silent: probes lost, a stop and not an exit
            await stage.until(State.BACKOFF)
            assert stage.replica.failures == 1
            stage.engine.up = True

    spec = replace(VLLM, restart=RestartSpec(tries=2))
    assert State.FAILED not in [change.after for change in play(tmp_path, story, spec).changes]


def test_order_by_hand_gives_a_failed_model_all_its_tries(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        stage.engine.up = False
        for _ in range(2):
            stage.replica.obey(LOAD)
            await stage.seconds(1)
            stage.keeper.die("crash")
        await stage.until(State.FAILED)
        stage.replica.obey(Load(replica="a/0", reason=ASKED))
        await stage.seconds(1)
        stage.keeper.die("crash")
        assert stage.replica.state is State.BACKOFF

    play(tmp_path, story, replace(VLLM, restart=RestartSpec(tries=2)))


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (StartError("no such program"), State.FAILED),
        (PortTaken("Port 9 is taken"), State.BACKOFF),
        (OSError(28, "No space left on device"), State.BACKOFF),
    ],
)
def test_what_no_retry_can_mend_fails_at_once(tmp_path: Path, error: Exception, state: State) -> None:
    async def story(stage: Stage) -> None:
        stage.keeper.cannot = error
        stage.replica.obey(LOAD)
        await stage.until(state)

    assert str(error) == play(tmp_path, story).replica.last_error


def test_missing_weights_are_named_before_anything_starts(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        stage.replica.obey(LOAD)
        await stage.until(State.FAILED)
        assert not stage.keeper.running

    stage = play(tmp_path, story, replace(VLLM, weights="/no/such/folder"))
    assert "/no/such/folder" in stage.replica.last_error


def test_engine_that_never_answers_is_stopped_at_its_time(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        stage.engine.up = False
        stage.replica.obey(LOAD)
        await stage.until(State.BACKOFF)

    stage = play(tmp_path, story, replace(VLLM, start_timeout=20))
    assert stage.script == [
        "0 cold -> starting: load",
        "20 starting -> stopping: timed out",
        "21 stopping -> backoff: gone after failure",
    ]
    assert "never answered /health" in stage.replica.last_error


def test_engine_that_answers_nonsense_about_itself_still_serves(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        stage.engine.body["/v1/models"] = {"data": ["a", {"meta": 7}, {"meta": {"n_ctx": 4096}}]}
        await ready(stage)

    assert play(tmp_path, story).replica.context_length == 4096


def test_failed_wake_ends_cold_so_that_a_fresh_start_may_serve(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await asleep(stage, 1)
        stage.engine.refuse["/wake_up"] = 500
        stage.replica.obey(WAKE)
        await stage.until(State.COLD)

    stage = play(tmp_path, story)
    assert stage.script[-3:] == [
        "0 asleep -> waking: wake",
        "0 waking -> stopping: failed",
        "1 stopping -> cold: gone",
    ]
    assert "POST /wake_up answered 500: out of memory" in stage.replica.last_error


def test_wake_that_hangs_ends_at_the_step_timeout(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await asleep(stage, 1)
        stage.engine.hang.add("/wake_up")
        stage.replica.obey(WAKE)
        await stage.until(State.COLD)

    assert play(tmp_path, story).script[-2:] == [
        "60 waking -> stopping: failed",
        "61 stopping -> cold: gone",
    ]


def test_sleep_that_is_only_claimed_is_not_believed(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await ready(stage)
        stage.engine.body["/is_sleeping"] = {}
        stage.engine.refuse["/sleep"] = 200
        stage.replica.obey(DRAIN)
        stage.replica.obey(sleep(1))
        await stage.until(State.COLD)

    stage = play(tmp_path, story)
    assert "still says it is awake" in stage.replica.last_error


def test_forced_stop_overtakes_a_wake(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await asleep(stage, 1)
        stage.engine.hang.add("/wake_up")
        stage.replica.obey(WAKE)
        await stage.seconds(5)
        stage.replica.obey(Stop(replica="a/0", reason=IDLE, forced=True))
        await stage.until(State.COLD)
        await stage.seconds(100)

    assert play(tmp_path, story).script[-3:] == [
        "0 asleep -> waking: wake",
        "5 waking -> stopping: stop",
        "6 stopping -> cold: gone",
    ]


def test_stop_given_with_the_load_leaves_nothing_behind(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        stage.replica.obey(LOAD)
        stage.replica.obey(STOP)
        await stage.until(State.COLD)
        await stage.seconds(10)
        assert not stage.keeper.running

    play(tmp_path, story)


def test_survivor_of_sigkill_is_stuck_until_its_keeper_says_it_is_gone(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await ready(stage)
        stage.keeper.immortal = True
        stage.replica.obey(STOP)
        await stage.until(State.STUCK)
        await stage.seconds(5.5)  # between two tries
        stage.keeper.die("The engine was ended by SIGKILL.")
        await stage.seconds(10)

    assert play(tmp_path, story).script[-3:] == [
        "0 ready -> stopping: stop",
        "1 stopping -> stuck: alive after SIGKILL",
        "6 stuck -> cold: gone",
    ]


def test_survivor_that_goes_at_a_later_try(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await ready(stage)
        stage.keeper.immortal = True
        stage.replica.obey(STOP)
        await stage.until(State.STUCK)
        stage.keeper.immortal = False
        await stage.until(State.COLD)
        assert stage.record is None

    play(tmp_path, story)


def test_exit_while_asleep_is_cold_and_while_ready_backs_off(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await asleep(stage, 1)
        stage.keeper.die("The engine ended with exit status 1.")
        stage.engine.asleep = False
        stage.replica.obey(LOAD)
        await stage.until(State.READY)
        stage.keeper.die("The engine was ended by SIGSEGV.")
        assert stage.record is None

    assert play(tmp_path, story).script[-4:] == [
        "0 asleep -> cold: gone",
        "0 cold -> starting: load",
        "0 starting -> ready: ready",
        "0 ready -> backoff: gone",
    ]


def test_silence_counts_only_while_no_byte_comes(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await ready(stage)
        stage.engine.hang.add("/health")
        for _ in range(50):
            await stage.seconds(2)
            stage.last_byte_at = stage.replica.since + 100
        assert stage.replica.state is State.READY
        await stage.until(State.BACKOFF)

    script = play(tmp_path, story).script
    at = int(script[-2].split()[0])
    assert script[-2].endswith("ready -> stopping: probes lost")
    assert 130 <= at <= 136


def test_sleep_and_wake_by_others_are_noticed_and_never_undone(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await ready(stage)
        stage.engine.asleep = True
        await stage.until(State.ASLEEP)
        stage.engine.calls.clear()
        await stage.seconds(600)
        assert set(stage.engine.calls) == {"GET /is_sleeping"}  # nothing that touches its memory
        stage.engine.asleep = False
        await stage.until(State.READY)

    script = play(tmp_path, story).script
    assert [line.split(" ", 1)[1] for line in script[-3:]] == [
        "ready -> asleep: fell asleep",
        "asleep -> waking: found awake",
        "waking -> ready: ready",
    ]


def test_orders_that_cannot_be_are_refused_untouched(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        with pytest.raises(IllegalMove):
            stage.replica.obey(DRAIN)
        assert stage.replica.drain_goal is None
        await ready(stage)
        stage.replica.obey(DRAIN)
        with pytest.raises(IllegalMove, match="its levels: 1, 2"):
            stage.replica.obey(sleep(3))
        assert stage.replica.state is State.DRAINING

    play(tmp_path, story)


def test_fault_in_the_work_never_leaves_it_between_two_states(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await asleep(stage, 1)
        stage.engine.body["/v1/completions"] = object()  # the fake cannot even encode it
        stage.replica.obey(WAKE)
        await stage.until(State.COLD)

    assert "roost's own" in play(tmp_path, story).replica.last_error


# what runs elsewhere


def test_foreign_engine_is_awaited_lost_and_found_again(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        stage.engine.up = False
        await stage.replica.recover()
        await stage.seconds(100)
        stage.engine.up = True
        await stage.until(State.READY)
        stage.engine.up = False
        await stage.until(State.BACKOFF)
        await stage.seconds(1000)
        stage.engine.up = True
        await stage.until(State.READY)

    stage = play(tmp_path, story, replace(FOREIGN, restart=RestartSpec(tries=1)))
    assert [line.split(" ", 1)[1] for line in stage.script] == [
        "cold -> ready: ready",
        "ready -> backoff: gone",
        "backoff -> ready: ready",
    ]


def test_foreign_engine_found_again_asleep_is_not_taken_for_ready(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await stage.replica.recover()
        stage.engine.up = False
        await stage.until(State.BACKOFF)
        stage.engine.up, stage.engine.asleep = True, True
        await stage.until(State.ASLEEP)

    assert [line.split(" ", 1)[1] for line in play(tmp_path, story, FOREIGN).script[-2:]] == [
        "backoff -> cold: stop",
        "cold -> asleep: fell asleep",
    ]


def test_foreign_engine_that_will_not_wake_backs_off_and_must_be_verified(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        stage.engine.asleep = True
        await stage.replica.recover()
        stage.engine.refuse["/v1/completions"] = 500
        stage.replica.obey(WAKE)
        await stage.until(State.BACKOFF)
        await stage.seconds(100)
        assert stage.replica.state is State.BACKOFF
        assert "the verifying request failed" in stage.replica.last_error
        del stage.engine.refuse["/v1/completions"]
        await stage.until(State.READY)

    play(tmp_path, story, FOREIGN)


def test_foreign_engine_is_neither_started_nor_stopped(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await stage.replica.recover()
        with pytest.raises(IllegalMove, match="runs elsewhere"):
            stage.replica.obey(STOP)
        assert stage.replica.state is State.READY

    play(tmp_path, story, FOREIGN)


# one roost after another


def after_kill(
    folder: Path,
    first: Callable[[Stage], Awaitable[None]],
    second: Callable[[Stage], Awaitable[None]],
    spec: ModelSpec = VLLM,
    changed: ModelSpec | None = None,
) -> Stage:
    """The first roost is killed where its story ends; a second one finds the engine alive."""

    async def main() -> Stage:
        before = Stage(folder, spec)
        await first(before)
        await before.replica.close(leave=True)
        after = Stage(folder, changed or spec)
        after.keeper.adoptable = True
        after.engine.asleep = before.engine.asleep
        await second(after)
        await after.replica.close(leave=True)
        return after

    return run(main())


async def recovered(stage: Stage) -> None:
    await stage.replica.recover()


def test_ready_engine_is_adopted_ready(tmp_path: Path) -> None:
    stage = after_kill(tmp_path, ready, recovered)
    assert stage.script == ["0 cold -> ready: ready"]
    assert (stage.record or {})["state"] == "ready"


def test_path_of_the_shell_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def from_another_shell(stage: Stage) -> None:
        monkeypatch.setenv("PATH", "/other/bin")
        await stage.replica.recover()
        assert stage.replica.state is State.READY

    (tmp_path / "v" / "bin").mkdir(parents=True)
    after_kill(tmp_path, ready, from_another_shell, replace(VLLM, venv=str(tmp_path / "v")))


@pytest.mark.parametrize(
    ("allowed", "state"), [((), State.READY), (("gpu0", "gpu1"), State.READY), (("gpu0",), State.COLD)]
)
def test_an_engine_is_adopted_on_its_devices_if_it_may_still_use_them(
    tmp_path: Path, allowed: tuple[str, ...], state: State
) -> None:
    async def on_one(stage: Stage) -> None:
        await stage.replica.recover()
        stage.replica.obey(replace(LOAD, devices=("gpu1",)))
        await stage.until(State.READY)

    stage = after_kill(tmp_path, on_one, recovered, changed=replace(VLLM, devices=allowed))
    assert stage.replica.state is state
    if state is State.READY:
        assert stage.replica.devices == ("gpu1",)


def test_sleeping_engine_is_adopted_with_its_level(tmp_path: Path) -> None:
    stage = after_kill(tmp_path, lambda stage: asleep(stage, 2), recovered)
    assert (stage.replica.state, stage.replica.level) == (State.ASLEEP, 2)


def test_engine_killed_half_asleep_is_woken_as_from_the_deepest(tmp_path: Path) -> None:
    async def half(stage: Stage) -> None:
        await ready(stage)
        stage.engine.hang.add("/sleep")
        stage.replica.obey(DRAIN)
        stage.replica.obey(sleep(1))
        await asyncio.sleep(1)
        stage.engine.asleep = True

    stage = after_kill(tmp_path, half, recovered)
    assert (stage.replica.state, stage.replica.level) == (State.ASLEEP, None)


def test_engine_killed_half_awake_is_verified_before_it_serves(tmp_path: Path) -> None:
    async def half(stage: Stage) -> None:
        await asleep(stage, 2)
        stage.engine.hang.add("/collective_rpc")
        stage.replica.obey(WAKE)
        await asyncio.sleep(1)
        stage.engine.asleep = False

    async def broken(stage: Stage) -> None:
        stage.engine.refuse["/v1/completions"] = 500
        await stage.replica.recover()
        await stage.until(State.BACKOFF)

    stage = after_kill(tmp_path, half, broken)
    assert [line.split(" ", 1)[1] for line in stage.script] == [
        "cold -> starting: load",
        "starting -> stopping: timed out",
        "stopping -> backoff: gone after failure",
    ]


def test_engine_killed_in_its_wake_goes_on_from_the_level_it_slept_at(tmp_path: Path) -> None:
    async def half(stage: Stage) -> None:
        await asleep(stage, 2)
        stage.engine.hang.add("/collective_rpc")
        stage.replica.obey(WAKE)
        await asyncio.sleep(1)

    stage = after_kill(tmp_path, half, recovered)
    assert (stage.replica.state, stage.replica.level) == (State.ASLEEP, 2)


def test_engine_of_a_roost_killed_right_after_its_wake_is_verified_once_more(tmp_path: Path) -> None:
    async def woken(stage: Stage) -> None:
        await asleep(stage, 2)
        stage.replica.obey(WAKE)
        await stage.until(State.READY)

    async def again(stage: Stage) -> None:
        await stage.replica.recover()
        await stage.until(State.READY)
        assert stage.engine.calls[-3:].count("POST /v1/completions") == 1

    after_kill(tmp_path, woken, again)


def test_engine_half_way_that_cannot_tell_is_stopped(tmp_path: Path) -> None:
    async def half(stage: Stage) -> None:
        await ready(stage)
        stage.engine.hang.add("/sleep")
        stage.replica.obey(DRAIN)
        stage.replica.obey(sleep(1))
        await asyncio.sleep(1)

    async def mute(stage: Stage) -> None:
        stage.engine.dev_mode = False
        await stage.replica.recover()
        assert not stage.keeper.running

    stage = after_kill(tmp_path, half, mute)
    assert stage.replica.state is State.COLD
    assert stage.record is None


def test_engine_of_another_config_is_stopped_and_a_survivor_stays_counted(tmp_path: Path) -> None:
    async def stubborn(stage: Stage) -> None:
        stage.keeper.immortal = True
        await stage.replica.recover()
        assert stage.replica.state is State.STUCK
        stage.keeper.immortal = False
        await stage.until(State.COLD)

    stage = after_kill(tmp_path, ready, stubborn, changed=replace(VLLM, env={"X": "1"}))
    assert stage.record is None


def test_start_goes_on_where_the_killed_roost_left_it(tmp_path: Path) -> None:
    async def slow(stage: Stage) -> None:
        stage.engine.up = False
        stage.replica.obey(LOAD)
        await stage.seconds(10)

    async def later(stage: Stage) -> None:
        stage.engine.up = False
        await stage.replica.recover()
        assert stage.replica.state is State.STARTING
        await stage.seconds(30)
        stage.engine.up = True
        await stage.until(State.READY)

    after_kill(tmp_path, slow, later)
