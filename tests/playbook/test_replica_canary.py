"""Scripts of answers before and after a sleep: an engine that is not what it was never serves."""

import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from roost.core.lifecycle import IllegalMove, State
from roost.core.plan import Load
from roost.core.reason import Ordered
from roost.core.spec import EngineKind, ModelSpec, Task
from roost.core.view import Goal
from tests.playbook.test_replica import DRAIN, FOREIGN, LOAD, WAKE, after_kill, asleep, play, ready, recovered, sleep
from tests.support.stage import VLLM, Stage

DEEP = replace(VLLM, sleep_level=2)
PATH = "POST /v1/completions"
Story = Callable[[Stage], Awaitable[Any]]


def says(text: str, finish: str = "length") -> dict[str, Any]:
    return {"choices": [{"text": text, "finish_reason": finish}]}


def questions(stage: Stage) -> int:
    return stage.engine.calls.count(PATH)


async def woken(stage: Stage, text: str, level: int = 2) -> None:
    """Asleep and woken, with an engine that then says `text`."""
    stage.replica.obey(DRAIN)
    stage.replica.obey(sleep(level))
    await stage.until(State.ASLEEP)
    stage.engine.body["/v1/completions"] = says(text)
    stage.replica.obey(WAKE)
    await stage.until_any(State.READY, State.COLD, State.BACKOFF)


async def fresh(stage: Stage) -> None:
    """A start with the answers that it should have."""
    stage.engine.body.clear()
    stage.engine.asleep = False
    stage.replica.obey(LOAD)
    await stage.until(State.READY)


def test_the_same_answer_as_before_is_served(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await ready(stage)
        assert questions(stage) == 3  # the verifying request, and the question twice
        assert stage.replica.canary.said == "armed"
        await woken(stage, "eight, nine")
        assert questions(stage) == 4  # the question verifies as well
        assert stage.replica.state is State.READY

    play(tmp_path, story, DEEP)


def test_another_answer_fails_the_wake_and_both_are_shown(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await ready(stage)
        await woken(stage, "qq xz")
        await fresh(stage)
        assert stage.replica.sleep_levels == (1, 2)

    stage = play(tmp_path, story, DEEP)
    assert [line.split(" ", 1)[1] for line in stage.script[-5:]] == [
        "asleep -> waking: wake",
        "waking -> stopping: failed",
        "stopping -> cold: gone",
        "cold -> starting: load",
        "starting -> ready: ready",
    ]
    said = "the wake failed: its answers are not what they were before its sleep: 'eight, nine' then, 'qq xz' now"
    assert stage.replica.last_error == said


def test_a_second_wake_with_another_answer_gives_the_level_up(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await ready(stage)
        await woken(stage, "qq")
        await fresh(stage)
        await woken(stage, "qq")
        assert stage.replica.sleep_levels == (1,)
        assert "sleep level 2 is given up" in stage.replica.last_error
        await fresh(stage)
        assert stage.replica.canary.said == "armed; sleep level 2 given up: its answers were not the same after it"
        stage.replica.obey(DRAIN)
        with pytest.raises(IllegalMove, match="its levels: 1"):
            stage.replica.obey(sleep(2))

    play(tmp_path, story, DEEP)


def test_what_sleeps_at_one_level_only_is_stopped_instead(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await ready(stage)
        for _ in range(2):
            await woken(stage, "qq")
            await fresh(stage)
        assert stage.replica.sleep_levels == ()

    stage = play(tmp_path, story, replace(DEEP, engine=EngineKind.SGLANG))
    assert "it is stopped instead of put to sleep" in stage.replica.last_error


def test_a_good_wake_between_two_bad_ones_gives_nothing_up(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await ready(stage)
        await woken(stage, "qq")
        await fresh(stage)
        await woken(stage, "eight, nine")
        await woken(stage, "qq")
        assert stage.replica.sleep_levels == (1, 2)

    play(tmp_path, story, DEEP)


def test_load_by_hand_allows_the_level_again(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await ready(stage)
        for _ in range(2):
            await woken(stage, "qq")
            stage.engine.body.clear()
            stage.engine.asleep = False
            stage.replica.obey(Load(replica="a/0", reason=Ordered(goal=Goal.READY, by="cli")))
            await stage.until(State.READY)
        assert stage.replica.sleep_levels == (1, 2)

    play(tmp_path, story, DEEP)


def test_one_answer_that_differs_is_asked_again_before_it_is_believed(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await ready(stage)
        stage.engine.once["/v1/completions"] = [says("eight nine")]
        await woken(stage, "eight, nine")
        assert stage.replica.state is State.READY

    play(tmp_path, story, DEEP)


@pytest.mark.parametrize(
    ("spec", "asked"),
    [
        (VLLM, 1),  # level 1: weights come back as they were
        (DEEP, 3),
        (replace(DEEP, canary=False), 1),
        (replace(VLLM, canary=True), 3),
    ],
)
def test_the_question_is_asked_where_it_is_wanted(tmp_path: Path, spec: ModelSpec, asked: int) -> None:
    assert questions(play(tmp_path, ready, spec)) == asked


def test_a_deeper_sleep_than_configured_takes_the_baseline_before_it(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await ready(stage)
        assert stage.replica.canary.baseline is None
        await woken(stage, "qq", level=2)
        assert stage.replica.state is State.COLD

    play(tmp_path, story, VLLM)


def test_an_engine_that_has_slept_gives_no_baseline(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story(stage: Stage) -> None:
        await ready(stage)
        await woken(stage, "eight, nine", level=1)
        with caplog.at_level(logging.WARNING, "roost"):
            await woken(stage, "qq", level=2)
        assert stage.replica.state is State.READY
        assert stage.replica.canary.said == "off: it had slept before roost could ask it"

    play(tmp_path, story, VLLM)
    assert "verified by a sane answer alone" in caplog.text


def test_two_answers_that_differ_arm_nothing(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        stage.engine.once["/v1/completions"] = [says("verified"), says("eight"), says("nine")]
        await ready(stage)
        assert stage.replica.canary.said.startswith(
            "off: it answered the same question twice and not the same: 'eight'"
        )
        await woken(stage, "qq")
        assert stage.replica.state is State.READY

    play(tmp_path, story, DEEP)


def test_question_that_is_refused_does_not_fail_the_load(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        stage.engine.once["/v1/completions"] = [says("verified"), None]
        await ready(stage)
        assert stage.replica.canary.said == "off: POST /v1/completions answered 400: refused once"

    play(tmp_path, story, DEEP)


def test_an_empty_answer_proves_nothing(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        stage.engine.body["/v1/completions"] = says("")
        await ready(stage)
        assert stage.replica.canary.said == "off: its answer is empty"

    play(tmp_path, story, DEEP)


def test_unknown_programs_are_asked_only_when_told_to(tmp_path: Path) -> None:
    spec = ModelSpec(engine=EngineKind.COMMAND, command=("sh", "${PORT}"), sleep_level=2)

    async def unasked(stage: Stage) -> None:
        await ready(stage)
        assert questions(stage) == 0
        assert "nothing is known to ask" in stage.replica.canary.said

    async def told(stage: Stage) -> None:
        await ready(stage)
        assert stage.replica.canary.said == "armed"

    play(tmp_path, unasked, spec)
    play(tmp_path, told, replace(spec, canary=True))


def test_vectors_are_compared_too(tmp_path: Path) -> None:
    def vector(*numbers: float) -> dict[str, Any]:
        return {"data": [{"embedding": list(numbers)}]}

    async def story(stage: Stage) -> None:
        stage.engine.body["/v1/embeddings"] = vector(0.6, 0.8)
        await ready(stage)
        stage.replica.obey(DRAIN)
        stage.replica.obey(sleep(2))
        await stage.until(State.ASLEEP)
        stage.engine.body["/v1/embeddings"] = vector(0.8, -0.6)
        stage.replica.obey(WAKE)
        await stage.until(State.COLD)

    stage = play(tmp_path, story, replace(DEEP, task=Task.EMBED))
    assert "[0.6, 0.8] then, [0.8, -0.6] now" in stage.replica.last_error


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (says("x", "abort"), "yet not with a completion: the answer ends with finish_reason 'abort'"),
        ({"ok": True}, "yet not with a completion: there are no choices"),
    ],
)
def test_status_200_alone_is_no_verification(tmp_path: Path, body: dict[str, Any], why: str) -> None:
    async def story(stage: Stage) -> None:
        await asleep(stage, 1)
        stage.engine.body["/v1/completions"] = body
        stage.replica.obey(WAKE)
        await stage.until(State.COLD)

    stage = play(tmp_path, story)
    assert why in stage.replica.last_error
    assert "the verifying request failed" in stage.replica.last_error


# one roost after another, and engines that run elsewhere


def test_the_baseline_survives_a_killed_roost(tmp_path: Path) -> None:
    async def found(stage: Stage) -> None:
        await stage.replica.recover()
        assert stage.replica.canary.said == "armed"
        stage.engine.body["/v1/completions"] = says("qq")
        stage.replica.obey(WAKE)
        await stage.until(State.COLD)

    stage = after_kill(tmp_path, lambda stage: asleep(stage, 2), found, DEEP)
    assert "'eight, nine' then, 'qq' now" in stage.replica.last_error


def test_engine_killed_half_awake_is_compared_and_never_the_baseline(tmp_path: Path) -> None:
    async def half(stage: Stage) -> None:
        await asleep(stage, 2)
        stage.engine.hang.add("/collective_rpc")
        stage.replica.obey(WAKE)
        await stage.seconds(1)
        stage.engine.asleep = False

    async def found(stage: Stage) -> None:
        stage.engine.body["/v1/completions"] = says("qq")
        await stage.replica.recover()
        await stage.until(State.BACKOFF)
        assert "'eight, nine' then, 'qq' now" in stage.replica.last_error

    after_kill(tmp_path, half, found, DEEP)


def test_record_without_a_baseline_makes_none_up(tmp_path: Path) -> None:
    async def found(stage: Stage) -> None:
        record = stage.record or {}
        del record["canary"]
        stage.store.write("a/0", json.loads(json.dumps(record)))
        await stage.replica.recover()
        await woken(stage, "qq")
        assert stage.replica.canary.said == "off: it had slept before roost could ask it"

    after_kill(tmp_path, ready, found, DEEP)


def test_engine_elsewhere_gives_its_baseline_when_it_is_found_ready(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await recovered(stage)
        assert stage.replica.canary.said == "armed"
        await woken(stage, "qq")
        assert stage.replica.state is State.BACKOFF
        assert "restart that engine" in stage.replica.last_error
        await stage.seconds(300)
        assert stage.replica.state is State.BACKOFF  # it answers, and still not as it did
        stage.engine.body.clear()
        await stage.until(State.READY)

    play(tmp_path, story, replace(FOREIGN, sleep_level=2))


def test_engine_elsewhere_that_was_restarted_may_hold_other_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(stage: Stage) -> None:
        async def connects() -> bool:
            return stage.engine.up

        monkeypatch.setattr(stage.replica.caller, "connects", connects)
        await recovered(stage)
        stage.engine.up = False
        await stage.until(State.BACKOFF)
        await stage.seconds(5)
        stage.engine.up = True
        stage.engine.body["/v1/completions"] = says("other weights")
        await stage.until(State.READY)
        await woken(stage, "other weights")
        assert stage.replica.state is State.READY

    play(tmp_path, story, replace(FOREIGN, sleep_level=2))
