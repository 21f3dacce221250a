"""A model's own steps as a replica lives through them: what follows a failure, what is told, what is remembered."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from roost.core.events import Performed
from roost.core.lifecycle import IllegalMove, State
from roost.core.plan import Drain, Sleep
from roost.core.reason import Idle
from roost.core.spec import EngineKind, ModelSpec, RestartSpec
from roost.core.step import Operation
from roost.core.step_spec import ConditionSpec, StepSpec
from roost.core.view import Goal
from roost.host.replica import SEQUENCES
from tests.playbook.test_replica import DRAIN, LOAD, STOP, WAKE, asleep, play, ready, sleep
from tests.support.stage import VLLM, Stage

SLEEP = (StepSpec(endpoint="/sleep?level=2"),)
WAKE_STEPS = (
    StepSpec(endpoint="/wake_up?tags=weights"),
    StepSpec(endpoint="/collective_rpc", body={"method": "reload_weights"}),
    StepSpec(endpoint="/wake_up"),
)
OWN = replace(VLLM, sleep_level=2, sleep_steps=SLEEP, wake_steps=WAKE_STEPS)


def wake_with(**second: object) -> ModelSpec:
    """The same, its second wake step changed."""
    return replace(OWN, wake_steps=(WAKE_STEPS[0], replace(WAKE_STEPS[1], **second), WAKE_STEPS[2]))  # type: ignore[arg-type]


async def woken(stage: Stage) -> None:
    await asleep(stage, 2)
    stage.engine.calls.clear()
    stage.replica.obey(WAKE)
    await stage.until(State.READY)


def test_own_steps_are_called_in_place_of_the_engines(tmp_path: Path) -> None:
    stage = play(tmp_path, woken, OWN)
    assert stage.engine.calls == [
        "POST /wake_up?tags=weights",
        "POST /collective_rpc",
        "POST /wake_up",
        "GET /is_sleeping",
        "POST /v1/completions",
        "GET /metrics",
    ]


def test_each_sequence_is_told_once_with_all_its_steps(tmp_path: Path) -> None:
    told: list[Performed] = []

    async def story(stage: Stage) -> None:
        stage.replica.subscribe_performed(told.append)
        await woken(stage)

    stage = play(tmp_path, story, OWN)
    assert [(one.operation, one.level, len(one.steps), one.error) for one in told] == [
        (Operation.LOAD, None, 3, ""),  # the verifying request, and the canary's question twice
        (Operation.SLEEP, 2, 1, ""),
        (Operation.WAKE, 2, 4, ""),
    ]
    assert list(stage.replica.sequences) == told
    assert [record.name for record in stage.replica.steps][-1] == "POST /v1/completions"


def test_only_the_last_sequences_are_remembered(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await ready(stage)
        for _ in range(SEQUENCES):
            stage.replica.obey(DRAIN)
            stage.replica.obey(sleep(2))
            await stage.until(State.ASLEEP)
            stage.replica.obey(WAKE)
            await stage.until(State.READY)

    assert len(play(tmp_path, story, OWN).replica.sequences) == SEQUENCES


def test_broken_off_sequence_is_told_too(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await asleep(stage, 2)
        stage.engine.hang.add("/collective_rpc")
        stage.replica.obey(WAKE)
        await stage.seconds(5)
        stage.replica.obey(replace(STOP, forced=True))
        await stage.until(State.COLD)

    last = play(tmp_path, story, OWN).replica.sequences[-1]
    assert (last.operation, last.error, last.duration_s) == (Operation.WAKE, "broken off before its end", 5)
    assert [record.status for record in last.steps] == [200]


# failures


@pytest.mark.parametrize(("own", "limits"), [(5.0, 60), (0.0, 9)])
def test_f5_step_that_hangs_ends_at_its_own_limit_and_the_engine_is_stopped(
    tmp_path: Path, own: float, limits: float
) -> None:
    spec = wake_with(timeout=own)
    spec = replace(spec, timeouts=replace(spec.timeouts, wake=limits))

    async def story(stage: Stage) -> None:
        await asleep(stage, 2)
        stage.engine.hang.add("/collective_rpc")
        stage.replica.obey(WAKE)
        await stage.until(State.COLD)

    stage = play(tmp_path, story, spec)
    limit = own or limits
    assert stage.script[-2:] == [
        f"{limit:.0f} waking -> stopping: failed",
        f"{limit + 1:.0f} stopping -> cold: gone",
    ]
    assert f"wake step 2 of 3: POST /collective_rpc got no answer within {limit:g} s" in stage.replica.last_error


def test_f6_refused_reload_fails_at_step_2_and_nothing_after_it_is_sent(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await asleep(stage, 2)
        stage.engine.refuse["/collective_rpc"] = 500
        stage.engine.calls.clear()
        stage.replica.obey(WAKE)
        await stage.until(State.COLD)

    stage = play(tmp_path, story, OWN)
    assert stage.engine.calls == ["POST /wake_up?tags=weights", "POST /collective_rpc"]
    assert "the wake failed: wake step 2 of 3: POST /collective_rpc answered 500" in stage.replica.last_error


def test_f3_no_state_between_asleep_and_ready_but_waking_is_ever_seen(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await asleep(stage, 2)
        stage.engine.refuse["/collective_rpc"] = 500
        stage.replica.obey(WAKE)
        await stage.until(State.COLD)

    stage = play(tmp_path, story, OWN)
    after_sleep = [str(change.after) for change in stage.changes][-3:]
    assert after_sleep == ["waking", "stopping", "cold"]
    assert stage.replica.level is None
    assert not stage.keeper.running


def test_x8_wake_goes_on_after_a_step_that_may_fail(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        stage.engine.refuse["/collective_rpc"] = 500
        await woken(stage)

    last = play(tmp_path, story, wake_with(on_failure="continue")).replica.sequences[-1]
    assert [record.status for record in last.steps] == [200, 500, 200, 200]
    assert last.error == ""
    assert "answered 500" in last.steps[1].error


def test_x7_restart_stops_the_engine_and_asks_for_a_fresh_start_at_once(tmp_path: Path) -> None:
    seen: list[bool] = []

    async def story(stage: Stage) -> None:
        await asleep(stage, 2)
        stage.engine.refuse["/collective_rpc"] = 500
        stage.replica.obey(WAKE)
        await stage.until(State.COLD)
        seen.append(stage.replica.revive)
        stage.engine.asleep = False  # the fresh one
        stage.replica.obey(LOAD)
        seen.append(stage.replica.revive)
        await stage.until(State.READY)

    stage = play(tmp_path, story, wake_with(on_failure="restart"))
    assert seen == [True, False]
    assert stage.replica.failures == 0


def test_x7_default_asks_for_no_fresh_start_unless_somebody_waits(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await asleep(stage, 2)
        stage.engine.refuse["/collective_rpc"] = 500
        stage.replica.obey(WAKE)
        await stage.until(State.COLD)
        assert not stage.replica.revive

    play(tmp_path, story, OWN)


def test_x7_restarts_after_failing_sleeps_back_off_and_end(tmp_path: Path) -> None:
    step = StepSpec(endpoint="/sleep?level=2", on_failure="restart")
    spec = replace(OWN, sleep_steps=(step,), restart=RestartSpec(tries=2))

    async def story(stage: Stage) -> None:
        await ready(stage)
        stage.engine.refuse["/sleep"] = 500
        for wanted in (State.BACKOFF, State.FAILED):
            stage.replica.obey(DRAIN)
            stage.replica.obey(sleep(2))
            await stage.until(wanted)
            assert stage.replica.revive is (wanted is State.BACKOFF)
            if wanted is State.BACKOFF:
                stage.replica.obey(LOAD)
                await stage.until(State.READY)

    stage = play(tmp_path, story, spec)
    assert stage.replica.failures == 2


def test_operators_stop_is_not_undone_by_a_restart(tmp_path: Path) -> None:
    step = StepSpec(endpoint="/sleep?level=2", on_failure="restart")

    async def story(stage: Stage) -> None:
        await ready(stage)
        stage.engine.refuse["/sleep"] = 500
        stage.replica.obey(DRAIN)
        stage.replica.obey(sleep(2))
        await stage.until(State.BACKOFF)
        stage.replica.obey(STOP)
        assert stage.replica.state is State.COLD
        assert not stage.replica.revive

    play(tmp_path, story, replace(OWN, sleep_steps=(step,)))


def test_step_that_cannot_be_made_stops_the_engine_and_nothing_is_sent(tmp_path: Path) -> None:
    """E11: where a config came past its checks."""

    async def story(stage: Stage) -> None:
        await asleep(stage, 2)
        stage.engine.calls.clear()
        stage.replica.obey(WAKE)
        await stage.until(State.COLD)
        assert stage.engine.calls == []

    spec = replace(OWN, wake_steps=(*WAKE_STEPS, StepSpec(endpoint="no path")))
    assert "wake_steps[3]: the endpoint" in play(tmp_path, story, spec).replica.last_error


def test_sleep_of_unknown_level_is_woken_as_from_the_configured_one(tmp_path: Path) -> None:
    """Somebody else's sleep: leaving the reload out could serve garbage."""

    async def story(stage: Stage) -> None:
        await ready(stage)
        stage.engine.asleep = True
        await stage.until(State.ASLEEP)
        stage.replica.obey(WAKE)
        await stage.until(State.READY)

    stage = play(tmp_path, story, wake_with(condition=ConditionSpec(level=2)))
    last = stage.replica.sequences[-1]
    assert (last.level, [record.skipped for record in last.steps]) == (None, ["", "", "", ""])


def test_e9_orders_that_cannot_be_obeyed_are_errors(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        with pytest.raises(IllegalMove, match="cold cannot take 'sleep'"):
            stage.replica.obey(sleep(2))
        with pytest.raises(IllegalMove, match="cold cannot take 'wake'"):
            stage.replica.obey(WAKE)
        await ready(stage)
        stage.replica.obey(Drain(replica="a/0", goal=Goal.ASLEEP, reason=Idle(idle_s=1, after_s=1)))
        with pytest.raises(IllegalMove, match="its levels: none"):
            stage.replica.obey(Sleep(replica="a/0", level=1, reason=Idle(idle_s=1, after_s=1)))
        assert stage.replica.state is State.DRAINING

    play(tmp_path, story, ModelSpec(engine=EngineKind.COMMAND, command=("python", "serve")))


def test_e9_wake_of_an_engine_that_died_unseen_ends_in_a_stop(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await asleep(stage, 2)
        stage.engine.up = False
        stage.replica.obey(WAKE)
        await stage.until(State.COLD)

    assert "wake step 1 of 3: POST /wake_up?tags=weights could not connect to 127.0.0.1:9" in (
        play(tmp_path, story, OWN).replica.last_error
    )


# the log


def lines(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == level]


def test_g6_the_log_tells_how_long_it_took_and_which_step_was_slowest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="roost")
    play(tmp_path, woken, OWN)
    said = lines(caplog, logging.INFO)
    assert any(line.startswith("a/0: sleep took 0.00 s; not measured: ") for line in said)
    assert any(line.startswith("a/0: wake took 0.00 s; slowest: POST ") for line in said)
    assert not any("load took" in line for line in said)


@pytest.mark.parametrize(("spec", "follows"), [
    (OWN, "full restart: the engine is stopped, and started afresh for whoever waits"),
    (wake_with(on_failure="restart"), "full restart: the engine is stopped and started afresh at once"),
])  # fmt: skip
def test_g7_a_failed_wake_says_step_cause_and_full_restart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, spec: ModelSpec, follows: str
) -> None:
    async def story(stage: Stage) -> None:
        await asleep(stage, 2)
        stage.engine.refuse["/collective_rpc"] = 500
        stage.replica.obey(WAKE)
        await stage.until(State.COLD)

    play(tmp_path, story, spec)
    cause = "wake step 2 of 3: POST /collective_rpc answered 500: out of memory"
    assert lines(caplog, logging.ERROR) == [f"a/0: the wake failed: {cause}; {follows}"]


def test_g7_a_failed_sleep_says_step_cause_and_stop(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story(stage: Stage) -> None:
        await ready(stage)
        stage.engine.refuse["/sleep"] = 503
        stage.replica.obey(DRAIN)
        stage.replica.obey(sleep(2))
        await stage.until(State.COLD)

    play(tmp_path, story, OWN)
    (said,) = lines(caplog, logging.ERROR)
    assert "sleep step 1 of 1: POST /sleep?level=2 answered 503" in said
    assert said.endswith("the engine is stopped, so that its memory comes free")
