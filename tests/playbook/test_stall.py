"""The watchdog over one replica: what it takes for standing still, and what it does not."""

from dataclasses import replace
from pathlib import Path

import pytest

from roost.core.lifecycle import Fact, State
from roost.core.plan import Stop
from roost.core.reason import Stalled
from roost.core.spec import EngineKind, ModelSpec, TimeoutsSpec
from roost.core.view import Goal
from roost.host.watching import WATCH_S
from tests.playbook.test_replica import DRAIN, FOREIGN, LOAD, play, ready
from tests.support.stage import VLLM, Stage

LIMIT = 120.0
SEES_WITHIN = LIMIT + 3 * WATCH_S


def counters(tokens: int) -> dict[str, str]:
    return {"/metrics": f'vllm:generation_tokens_total{{engine="0"}} {tokens}.0\n'}


def stop(stage: Stage) -> None:
    """What the planner orders when the leases are back."""
    reason = Stalled(sentence=stage.replica.stalled)
    stage.replica.obey(Stop(replica="a/0", reason=reason))


def test_an_engine_that_stands_still_drains_and_backs_off_when_it_is_stopped(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await ready(stage)
        stage.engine.text = counters(77)
        stage.answers = {"r1": 5, "r2": 1}
        await stage.seconds(LIMIT - WATCH_S)
        assert stage.replica.state is State.READY
        await stage.until(State.DRAINING)
        assert stage.replica.drain_goal is Goal.RESTARTED
        why = stage.replica.stalled
        assert why == (
            "it stands still: 2 running answers sent nothing for 2m 00s (timeouts.stall_after) and its own counters "
            "stay at 77, though it answers its probe"
        )
        await stage.seconds(SEES_WITHIN)  # it is told once
        stop(stage)
        await stage.until(State.BACKOFF)
        assert stage.replica.last_error == why
        assert stage.replica.failures == 1

    script = [line.partition(" ")[2] for line in play(tmp_path, story).script]
    assert script == [
        "cold -> starting: load",
        "starting -> ready: ready",
        "ready -> draining: stalled",
        "draining -> stopping: stop",
        "stopping -> backoff: gone after failure",
    ]


def test_what_moves_in_time_is_no_stall(tmp_path: Path) -> None:
    """A byte of any answer, a new answer, or the engine's own counters; each just before the time is up."""

    async def story(stage: Stage) -> None:
        await ready(stage)
        stage.engine.text = counters(1)
        stage.answers = {"r1": 5, "r2": 1}
        for answers, tokens in (
            ({"r1": 5, "r2": 2}, 1),
            ({"r1": 5, "r2": 2, "r3": 1}, 1),
            ({"r1": 5, "r2": 2, "r3": 1}, 2),
            ({"r1": 6}, 2),
        ):
            await stage.seconds(LIMIT - 3 * WATCH_S)
            assert stage.replica.state is State.READY, answers
            stage.answers, stage.engine.text = answers, counters(tokens)

    play(tmp_path, story)


def test_an_answer_that_its_client_gave_up_is_no_progress(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await ready(stage)
        stage.answers = {"r1": 5, "r2": 1}
        await stage.seconds(LIMIT / 2)
        stage.answers = {"r2": 1}
        await stage.seconds(LIMIT / 2 + 3 * WATCH_S)
        assert stage.replica.state is State.DRAINING
        assert "its own counters could not be read" in stage.replica.stalled

    play(tmp_path, story)


def test_no_answer_begun_is_no_stall_however_long_it_takes(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await ready(stage)
        await stage.seconds(10 * LIMIT)
        stage.answers = {"r1": 1}  # the first byte: from now on
        await stage.seconds(LIMIT / 2)
        stage.answers = {}
        await stage.seconds(LIMIT)
        assert stage.replica.state is State.READY

    stage = play(tmp_path, story)
    assert stage.engine.calls.count("GET /metrics") < LIMIT / 2 / WATCH_S + 1  # asked only while nothing comes


def test_never_switches_it_off(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await ready(stage)
        stage.answers = {"r1": 1}
        await stage.seconds(SEES_WITHIN)
        assert stage.replica.state is State.READY

    play(tmp_path, story, replace(VLLM, timeouts=TimeoutsSpec(stall_after=None)))


COMMAND = ModelSpec(engine=EngineKind.COMMAND, command="serve", timeouts=TimeoutsSpec(stall_after=30.0))


@pytest.mark.parametrize("spec", [COMMAND, FOREIGN])
def test_silence_of_one_whose_counters_cannot_be_read_is_told_once_and_takes_nothing_down(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, spec: ModelSpec
) -> None:
    """A tool call that computes for minutes, or a server that batches its answers, is silent as well."""

    async def story(stage: Stage) -> None:
        await stage.replica.recover()
        if stage.replica.owned:
            stage.replica.obey(LOAD)
        await stage.until(State.READY)
        stage.answers = {"r1": 1}
        await stage.seconds(3 * SEES_WITHIN)
        assert stage.replica.state is State.READY
        assert len(told()) == 1
        stage.answers = {"r1": 2}
        await stage.seconds(SEES_WITHIN)
        assert len(told()) == 2

    def told() -> list[str]:
        return [line for line in caplog.messages if "it stands still: 1 running answer sent nothing" in line]

    with caplog.at_level("WARNING", "roost"):
        stage = play(tmp_path, story, spec)
    assert ("GET /metrics" in stage.engine.calls) is (spec is FOREIGN)
    assert told()[0].endswith("though it answers its probe; that alone is no reason to take it down")


def test_a_drain_that_stands_still_is_told_too_and_no_longer_ends_in_sleep(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await ready(stage)
        stage.answers = {"r1": 1}
        stage.replica.obey(DRAIN)
        await stage.seconds(SEES_WITHIN)
        assert stage.changes[-1].event is Fact.STALLED
        assert (stage.replica.drain_goal, stage.replica.drain_idle) == (Goal.RESTARTED, False)

    play(tmp_path, story)


def test_one_that_runs_elsewhere_gets_nothing_until_it_answers_a_request_again(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await stage.replica.recover()
        await stage.until(State.READY)
        stage.engine.text = counters(77)
        stage.answers = {"r1": 1}
        stage.engine.refuse = {"/v1/completions": 500}
        await stage.until(State.BACKOFF)
        await stage.seconds(60.0)
        assert stage.replica.state is State.BACKOFF
        stage.engine.refuse = {}
        stage.answers = {}
        await stage.until(State.READY)

    play(tmp_path, story, FOREIGN)
