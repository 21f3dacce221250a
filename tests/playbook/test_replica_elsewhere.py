"""Scripts of engines that run elsewhere and of which nobody knows how far they sleep: another process may have taken
their place, and a sleep or wake may have failed on its way.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from roost.core.lifecycle import State
from roost.core.request import Address
from roost.core.spec import EngineKind, ModelSpec
from roost.core.step_spec import StepSpec
from roost.host import adoption
from roost.host.calling import Reach
from roost.host.setup import Setup
from roost.host.watching import AWAIT_FOREIGN_S
from tests.playbook.test_replica import DRAIN, FOREIGN, WAKE, after_kill, play, sleep
from tests.support.stage import Stage
from tests.support.virtual import run

RELEASED = replace(FOREIGN, engine=EngineKind.SGLANG)
RESUME = "POST /resume_memory_occupation"


async def released(stage: Stage) -> None:
    """An SGLang elsewhere, its memory given away."""
    await stage.replica.recover()
    stage.replica.obey(DRAIN)
    stage.replica.obey(sleep(1))
    await stage.until(State.ASLEEP)
    stage.engine.calls.clear()


def test_released_sglang_elsewhere_is_asked_nothing_but_whether_its_port_accepts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(stage: Stage) -> None:
        async def silent() -> Reach:
            return Reach.SILENT

        await released(stage)
        await stage.seconds(300)
        assert stage.engine.calls == []
        monkeypatch.setattr(stage.replica.caller, "reach", silent)
        await stage.seconds(20)
        assert stage.replica.state is State.ASLEEP
        await stage.until(State.COLD)
        assert stage.record is None

    play(tmp_path, story, RELEASED)


def test_one_refused_connection_means_that_a_released_sglang_elsewhere_is_gone(tmp_path: Path) -> None:
    """Its successor has released nothing, and would end at the order to take it back."""

    async def story(stage: Stage) -> None:
        await released(stage)
        stage.engine.up = False
        await stage.seconds(AWAIT_FOREIGN_S)
        stage.engine.up = True
        await stage.until(State.READY)
        assert RESUME not in stage.engine.calls

    stage = play(tmp_path, story, RELEASED)
    assert [line.split(" ", 1)[1] for line in stage.script[-2:]] == ["asleep -> cold: gone", "cold -> ready: ready"]


@pytest.mark.parametrize("seen", ["by a look", "by the wake"])
def test_another_process_in_the_place_of_a_released_sglang_is_not_woken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: str
) -> None:
    """It was restarted so fast that no connection was refused."""
    there = {"pid": 11.0, "started": 5.0}
    monkeypatch.setattr(adoption, "listener", lambda port: list(there.values()))
    monkeypatch.setattr(adoption, "start_time", lambda pid: 5.0 if pid == there["pid"] else None)

    async def story(stage: Stage) -> None:
        await released(stage)
        there["pid"] = 12.0
        if seen == "by the wake":
            stage.replica.obey(WAKE)
        await stage.until(State.READY)
        assert RESUME not in stage.engine.calls

    play(tmp_path, story, RELEASED)


def test_a_listener_that_changed_hands_is_seen_right_before_the_wake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that was put to sleep lives on, and no longer listens."""
    monkeypatch.setattr(adoption, "start_time", lambda pid: 5.0)

    async def story(stage: Stage) -> None:
        monkeypatch.setattr(adoption, "listener", lambda port: [11.0, 5.0])
        await released(stage)
        monkeypatch.setattr(adoption, "listener", lambda port: [12.0, 5.0])
        stage.replica.obey(WAKE)
        await stage.until(State.BACKOFF)
        assert "another process runs at 127.0.0.1:9" in stage.replica.last_error
        await stage.until(State.READY)
        assert RESUME not in stage.engine.calls

    play(tmp_path, story, RELEASED)


@pytest.mark.parametrize(
    ("before", "after", "follows"),
    [
        ([11.0, 5.0], [11.0, 5.0], State.ASLEEP),
        ([11.0, 5.0], None, State.COLD),
        (None, [11.0, 5.0], State.COLD),
        (None, None, State.COLD),
    ],
)
def test_a_released_sglang_that_may_be_another_process_by_now_is_left_alone(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: list[float] | None,
    after: list[float] | None,
    follows: State,
) -> None:
    """Another user's, or a container's: who listens there cannot be seen before or after the restart of roost."""
    monkeypatch.setattr(adoption, "start_time", lambda pid: 5.0)

    async def first(stage: Stage) -> None:
        monkeypatch.setattr(adoption, "listener", lambda port: before)
        await released(stage)
        monkeypatch.setattr(adoption, "listener", lambda port: after)

    async def then(stage: Stage) -> None:
        await stage.replica.recover()
        await stage.seconds(10)
        assert stage.replica.state is follows
        assert bool(stage.replica.doubt) is (follows is State.COLD)
        assert stage.engine.calls == []
        stage.engine.up = False
        await stage.seconds(2)
        stage.engine.up = True
        await stage.until(State.READY)
        assert RESUME not in stage.engine.calls

    after_kill(tmp_path, first, then, RELEASED)


def test_a_released_sglang_on_another_machine_is_left_alone_by_the_next_roost(tmp_path: Path) -> None:
    async def then(stage: Stage) -> None:
        await stage.replica.recover()
        assert "cannot be seen whether it is still that process" in stage.replica.doubt

    class Far(Stage):
        def _setup(self, spec: ModelSpec) -> Setup:
            return replace(super()._setup(spec), address=Address("10.0.0.9", 9))

    async def main() -> None:
        one = Far(tmp_path, RELEASED)
        await released(one)
        await one.replica.close(leave=True)
        other = Far(tmp_path, RELEASED)
        await then(other)
        assert other.engine.calls == []
        await other.replica.close(leave=True)

    run(main())


# an engine elsewhere whose sleep or wake failed on its way


SLEEPS_HALF = replace(
    FOREIGN,
    engine=EngineKind.COMMAND,
    sleep_steps=(StepSpec(endpoint="/sleep"), StepSpec(endpoint="/nope")),
    wake_steps=(StepSpec(endpoint="/wake_up"),),
)


def unsure(stage: Stage) -> str:
    return stage.replica.unsure


async def half_asleep(stage: Stage) -> None:
    await stage.replica.recover()
    stage.engine.refuse["/nope"] = 404
    stage.replica.obey(DRAIN)
    stage.replica.obey(sleep(1))
    await stage.until(State.BACKOFF)
    stage.engine.calls.clear()


def test_an_engine_elsewhere_that_may_be_half_asleep_is_woken_and_verified_before_it_serves(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await half_asleep(stage)
        assert stage.engine.asleep
        await stage.until(State.READY)
        assert stage.record is None
        assert unsure(stage) == ""

    stage = play(tmp_path, story, SLEEPS_HALF)
    assert stage.engine.calls == ["GET /health", "POST /wake_up", "POST /v1/completions"]


def test_one_that_will_not_wake_is_tried_again_after_ever_longer_pauses(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await half_asleep(stage)
        stage.engine.refuse["/wake_up"] = 500
        await stage.seconds(20)
        assert stage.engine.calls.count("POST /wake_up") == 4  # 1, 2, 4, 8 seconds between them
        assert stage.replica.state is State.BACKOFF
        assert "could not be woken: wake step 1 of 1: POST /wake_up answered 500" in stage.replica.last_error
        stage.engine.refuse.clear()
        await stage.until(State.READY)

    play(tmp_path, story, SLEEPS_HALF)


def test_a_new_process_in_its_place_needs_no_wake(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await half_asleep(stage)
        stage.engine.up = False
        await stage.seconds(5)
        stage.engine.up = True
        await stage.until(State.READY)
        assert "POST /wake_up" not in stage.engine.calls

    play(tmp_path, story, SLEEPS_HALF)


def test_the_next_roost_wakes_what_the_killed_one_could_not_put_to_sleep(tmp_path: Path) -> None:
    async def then(stage: Stage) -> None:
        await stage.replica.recover()
        assert stage.replica.state is State.READY
        assert stage.engine.calls == ["GET /health", "POST /wake_up", "POST /v1/completions"]

    after_kill(tmp_path, half_asleep, then, SLEEPS_HALF)


def test_the_next_roost_wakes_what_the_killed_one_left_half_asleep(tmp_path: Path) -> None:
    async def first(stage: Stage) -> None:
        await stage.replica.recover()
        stage.engine.hang.add("/nope")
        stage.replica.obey(DRAIN)
        stage.replica.obey(sleep(1))
        await stage.seconds(1)

    async def then(stage: Stage) -> None:
        await stage.replica.recover()
        assert stage.replica.state is State.READY
        assert stage.engine.calls == ["GET /health", "POST /wake_up", "POST /v1/completions"]
        assert stage.record is None

    after_kill(tmp_path, first, then, SLEEPS_HALF)
