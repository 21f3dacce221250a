"""Engines that someone else puts to sleep while they have requests of ours, or that run already, too many of them."""

import asyncio
from pathlib import Path

import httpx
import pytest

from roost.core.lifecycle import State
from roost.tasks import spawn
from tests.support.live import live
from tests.support.roost import RunningRoost, running_roost
from tests.support.sim import sim_engine


async def put_to_sleep_by_others(roost: RunningRoost) -> None:
    """Past roost, which sees it at its next look and sends a request before that."""
    port = roost.app.replicas[0].address.port
    async with httpx.AsyncClient(trust_env=False) as other:
        answer = await other.post(f"http://127.0.0.1:{port}/sleep?level=1")
    assert answer.status_code == 200


@pytest.mark.parametrize("more", ["", ", pin: true"])
def test_a_request_with_an_engine_that_others_put_to_sleep_is_answered(tmp_path: Path, more: str) -> None:
    """Nobody else asks for the model, and a pin does not keep it from waking."""

    @live
    async def play() -> None:
        async with running_roost(f"models:\n  a: {{engine: simulated{more}}}\n", tmp_path) as roost:
            first = await roost.chat("a")
            await put_to_sleep_by_others(roost)
            asked = spawn(roost.chat("a"), "request")
            await roost.until("a", State.ASLEEP)
            async with asyncio.timeout(20.0):
                answer = await asked
            assert answer.status_code == 200
            assert answer.json()["choices"] == first.json()["choices"]
            history = (await roost.client.get("/api/v1/models/a")).json()["history"]
            wake = next(change for change in history if change["after"] == "waking")
            assert wake["reason_kind"] == "stranded"
            assert wake["reason"].startswith("1 request is still with it, though someone put it to sleep")

    play()


UNDER_RESTART = """
models:
  a:
    engine: simulated
    args: [--ignore-sigterm]
    stop_grace: 300ms
    sleep_steps: [{endpoint: "/sleep?level=1"}]
    wake_steps: [{endpoint: /wake_up}, {endpoint: /nope, on_failure: restart}]
"""


@live
async def test_an_unload_ordered_while_a_restart_stops_the_engine_wins(tmp_path: Path) -> None:
    async with running_roost(UNDER_RESTART, tmp_path) as roost:
        await roost.chat("a")
        assert (await roost.client.post("/api/v1/models/a/sleep")).status_code == 200
        waking = spawn(roost.client.post("/api/v1/models/a/wake?wait=0"), "wake")
        await roost.until("a", State.STOPPING)
        assert roost.app.replicas[0].revive
        answer = await roost.client.post("/api/v1/models/a/unload?wait=20")
        assert (answer.status_code, answer.json()["state"]) == (200, "cold")
        await waking
        rounds = roost.app.controller._loop.rounds
        roost.app.controller.nudge()
        async with asyncio.timeout(10.0):
            while roost.app.controller._loop.rounds <= rounds:
                await asyncio.sleep(0)
        assert roost.state("a") is State.COLD


@live
async def test_of_more_engines_found_running_than_may_be_awake_one_sleeps_and_is_woken_in_its_turn(
    tmp_path: Path,
) -> None:
    async with sim_engine(model="a") as one, sim_engine(model="b") as two:
        models = f"models:\n  a: {{engine: vllm, url: '{one.url}'}}\n  b: {{engine: vllm, url: '{two.url}'}}\n"
        async with running_roost(f"memory: {{max_resident: 1}}\n{models}", tmp_path) as roost:
            asleep, awake = await one_that_yielded(roost)
            assert (await (one if asleep == "a" else two).stats())["level"] == 1
            history = (await roost.client.get(f"/api/v1/models/{asleep}")).json()["history"]
            assert history[-1]["reason_kind"] == "over_budget"
            assert history[-1]["reason"].startswith("2 awake, max_resident 1; least recently used")
            assert (await roost.chat(asleep)).status_code == 200
            assert (roost.state(asleep), roost.state(awake)) == (State.READY, State.ASLEEP)


async def one_that_yielded(roost: RunningRoost) -> tuple[str, str]:
    """Which of `a` and `b` sleeps and which stays: the one found first was used least recently."""
    looks = [spawn(roost.until(name, State.ASLEEP), f"look at {name}") for name in "ab"]
    await asyncio.wait(looks, return_when=asyncio.FIRST_COMPLETED)
    for look in looks:
        look.cancel()
    asleep, awake = ("a", "b") if roost.state("a") is State.ASLEEP else ("b", "a")
    await roost.until(awake, State.READY)
    return asleep, awake


@live
async def test_where_none_of_them_can_yield_the_plan_says_why(tmp_path: Path) -> None:
    async with sim_engine(model="a") as one, sim_engine(model="b") as two:
        both = "".join(
            f"  {name}: {{engine: vllm, url: '{sim.url}', sleep_after: never}}\n"
            for name, sim in (("a", one), ("b", two))
        )
        text = f"memory: {{max_resident: 1}}\npolicy: {{residency: 1h}}\nmodels:\n{both}"
        async with running_roost(text, tmp_path) as roost:
            for name in "ab":
                await roost.until(name, State.READY)
            plan = (await roost.client.get("/api/v1/plan")).json()
            assert (plan["actions"], plan["blocked"]) == ([], [])
            (note,) = plan["notes"]
            assert note.startswith("memory.max_resident is 1, but 2 are awake, and none of them can yield now: ")
            assert '"a" (stays for ' in note
