"""Scripts of programs that nobody described and that sleep by steps of their own: what verifies them is found out."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from roost.core.lifecycle import State
from roost.core.spec import EngineKind, ModelSpec, Task
from roost.core.step_spec import StepSpec
from tests.playbook.test_replica import DRAIN, LOAD, WAKE, after_kill, asleep, play, ready, sleep
from tests.support.stage import Stage

PATH = "/v1/completions"
SHALLOW = ModelSpec(
    engine=EngineKind.COMMAND,
    command=("serve", "${PORT}"),
    sleep_steps=(StepSpec(endpoint="/sleep"),),
    wake_steps=(StepSpec(endpoint="/wake_up"),),
)
DEEP = replace(SHALLOW, sleep_level=2)
ELSEWHERE = replace(SHALLOW, command=None, url="http://127.0.0.1:9")


def says(text: str, finish: str = "length") -> dict[str, Any]:
    return {"choices": [{"text": text, "finish_reason": finish}]}


def asked(stage: Stage) -> int:
    return stage.engine.calls.count(f"POST {PATH}")


async def woken(stage: Stage) -> None:
    stage.replica.obey(WAKE)
    await stage.until_any(State.READY, State.COLD, State.BACKOFF)


def test_the_request_that_fits_its_task_verifies_it_once_it_was_answered(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await asleep(stage, 1)
        stage.engine.calls.clear()
        await woken(stage)
        assert stage.engine.calls == ["POST /wake_up", f"POST {PATH}"]
        stage.replica.obey(DRAIN)
        stage.replica.obey(sleep(1))
        await stage.until(State.ASLEEP)
        stage.engine.body[PATH] = says("x", "abort")
        await woken(stage)
        assert stage.replica.state is State.COLD

    stage = play(tmp_path, story, SHALLOW)
    assert "the answer ends with finish_reason 'abort'" in stage.replica.last_error


def test_at_level_2_the_canary_is_armed_from_it_and_garbage_is_not_served(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await asleep(stage, 2)
        assert stage.replica.canary.said == "armed"
        stage.engine.body[PATH] = says("qq xz")
        await woken(stage)
        assert stage.replica.state is State.COLD

    assert "'eight, nine' then, 'qq xz' now" in play(tmp_path, story, DEEP).replica.last_error


@pytest.mark.parametrize("spec", [SHALLOW, DEEP])
def test_one_that_does_not_answer_it_starts_all_the_same_and_that_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, spec: ModelSpec
) -> None:
    async def story(stage: Stage) -> None:
        stage.engine.refuse[PATH] = 404
        await asleep(stage, spec.sleep_level)
        assert asked(stage) == 1
        await woken(stage)
        assert stage.replica.state is State.READY
        assert asked(stage) == 1
        (notice,) = stage.replica.notices
        assert "its health path alone verifies it" in notice.text
        assert not notice.no_sleep

    with caplog.at_level(logging.WARNING, "roost"):
        play(tmp_path, story, spec)
    said = [line for line in caplog.messages if "the request that fits its task got no sane answer" in line]
    assert len(said) == 1
    assert f"POST {PATH} answered 404: out of memory" in said[0]


@pytest.mark.parametrize("body", [{"ok": True}, says("x", "error")])
def test_an_answer_of_another_form_is_none(tmp_path: Path, body: dict[str, Any]) -> None:
    async def story(stage: Stage) -> None:
        stage.engine.body[PATH] = body
        await ready(stage)
        assert stage.replica.canary.asks is False

    play(tmp_path, story, SHALLOW)


def test_one_that_never_answers_it_is_ready_within_the_time_of_its_start(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        stage.engine.hang.add(PATH)
        await ready(stage)

    assert play(tmp_path, story, replace(SHALLOW, start_timeout=40)).script[-1] == "20 starting -> ready: ready"


@pytest.mark.parametrize("spec", [replace(SHALLOW, task=Task.OTHER), replace(SHALLOW, sleep_steps=(), wake_steps=())])
def test_what_has_no_such_request_or_never_sleeps_is_not_asked(tmp_path: Path, spec: ModelSpec) -> None:
    stage = play(tmp_path, ready, spec)
    assert asked(stage) == 0
    assert stage.replica.notices == ()


def test_a_fresh_start_asks_anew(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        stage.engine.refuse[PATH] = 404
        await ready(stage)
        stage.keeper.die("The engine was ended by SIGSEGV.")
        stage.engine.refuse.clear()
        stage.replica.obey(LOAD)
        await stage.until(State.READY)
        assert stage.replica.canary.asks is True
        assert stage.replica.notices == ()

    play(tmp_path, story, SHALLOW)


@pytest.mark.parametrize("spec", [SHALLOW, ELSEWHERE])
def test_what_verifies_it_is_known_to_the_next_roost(tmp_path: Path, spec: ModelSpec) -> None:
    async def first(stage: Stage) -> None:
        await stage.replica.recover()
        if stage.replica.owned:
            stage.replica.obey(LOAD)
            await stage.until(State.READY)
        stage.replica.obey(DRAIN)
        stage.replica.obey(sleep(1))
        await stage.until(State.ASLEEP)

    async def then(stage: Stage) -> None:
        await stage.replica.recover()
        assert stage.replica.state is State.ASLEEP
        stage.engine.body[PATH] = says("x", "abort")
        await woken(stage)
        assert "the verifying request failed" in stage.replica.last_error

    after_kill(tmp_path, first, then, spec)


def test_one_that_runs_elsewhere_is_asked_when_it_is_found(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await stage.replica.recover()
        assert stage.replica.state is State.READY
        assert (asked(stage), stage.replica.canary.asks) == (1, True)
        stage.replica.obey(DRAIN)
        stage.replica.obey(sleep(1))
        await stage.until(State.ASLEEP)
        assert asked(stage) == 1  # it has served once: no warm-up

    play(tmp_path, story, ELSEWHERE)
