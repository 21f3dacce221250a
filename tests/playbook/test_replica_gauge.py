"""Scripts of metrics that tell how deep an engine sleeps: what they deny, when they are late, who overtakes them."""

import asyncio
from pathlib import Path

import pytest

from roost.core.lifecycle import State
from roost.host import confirming, watching
from roost.host.replica import Replica
from roost.tasks import spawn
from tests.playbook.test_replica import DRAIN, WAKE, asleep, play, ready, sleep
from tests.support.stage import Stage


def gauge(*awake: int) -> dict[str, str]:
    """The metrics page of several engines behind one port, each awake (1) or at level 1 (0)."""
    series = (
        f'vllm:engine_sleep_state{{engine="{number}",sleep_state="{state}"}} {float(value)}\n'
        for number, one in enumerate(awake)
        for state, value in (("awake", one), ("weights_offloaded", 1 - one))
    )
    return {"/metrics": "".join(series)}


@pytest.mark.parametrize(("shown", "named"), [((0,), "level 1"), ((1, 0), "awake and level 1")])
def test_a_gauge_that_denies_a_wake_fails_it(tmp_path: Path, shown: tuple[int, ...], named: str) -> None:
    """One of two engines that still sleeps: the verifying request reached the other."""

    async def story(stage: Stage) -> None:
        await asleep(stage, 1)
        stage.engine.text = gauge(*shown)
        stage.replica.obey(WAKE)
        await stage.until(State.COLD)

    said = f"its metric vllm:engine_sleep_state shows {named}, not awake alone, 5 s after its wake"
    assert play(tmp_path, story).replica.last_error == f"the wake failed: {said}"


def test_a_gauge_that_is_late_is_waited_for_beside_the_verifying_request(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await asleep(stage, 1)
        stage.engine.text = gauge(0)
        stage.replica.obey(WAKE)
        await stage.seconds(2)
        assert stage.replica.state is State.WAKING
        assert "POST /v1/completions" in stage.engine.calls
        stage.engine.text = gauge(1)
        await stage.until(State.READY)

    assert play(tmp_path, story).script[-1] == "2 waking -> ready: ready"


def test_a_verifying_request_that_fails_ends_the_look_at_the_gauge(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await asleep(stage, 1)
        stage.engine.text = gauge(0)
        stage.engine.refuse["/v1/completions"] = 500
        stage.replica.obey(WAKE)
        await stage.until(State.COLD)
        looked = stage.engine.calls.count("GET /metrics")
        await stage.seconds(10)
        assert stage.engine.calls.count("GET /metrics") == looked

    assert "the verifying request failed" in play(tmp_path, story).replica.last_error


def test_a_look_that_our_own_wake_overtook_says_nothing_of_the_sleep(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(stage: Stage) -> None:
        stage.engine.text = gauge(1)
        await ready(stage)
        stage.replica.obey(DRAIN)
        stage.engine.text = gauge(0)
        stage.replica.obey(sleep(1))
        await stage.until(State.ASLEEP)
        began, go_on = asyncio.Event(), asyncio.Event()
        levels = confirming.levels

        async def late(_: Replica) -> frozenset[int]:
            monkeypatch.setattr(confirming, "levels", levels)
            began.set()
            await go_on.wait()
            return frozenset({0})

        monkeypatch.setattr(confirming, "levels", late)
        look = spawn(watching.look_once(stage.replica), "look")
        await began.wait()
        await stage.seconds(1)
        stage.engine.text = gauge(1)
        stage.replica.obey(WAKE)
        await stage.until(State.READY)
        go_on.set()
        await look

    play(tmp_path, story)
    assert not [line for line in caplog.messages if "someone else" in line]
