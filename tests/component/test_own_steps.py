"""Sleep and wake by a model's own steps: a whole roost, real processes, simulated engines."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import httpx

from roost.core.lifecycle import State
from roost.host.replica import Replica
from tests.support.live import live
from tests.support.roost import SRC, RunningRoost, running_roost
from tests.support.sim import sim_engine

LEVEL_2 = """
    engine: simulated
    sleep_level: 2
    stop_grace: 2s
    sleep_steps:
      - {endpoint: "/sleep?level=2"}
    wake_steps:
      - {endpoint: /wake_up}
      - {endpoint: /collective_rpc, body: '{"method": "reload_weights"}'}
      - {endpoint: /reset_prefix_cache}
"""
LEVEL_1 = """
    engine: simulated
    stop_grace: 2s
    sleep_steps:
      - {endpoint: "/sleep?level=1"}
    wake_steps:
      - {endpoint: /wake_up}
"""
ONE = f"models:\n  a:{LEVEL_2}    sleep_after: never\n"


def owner(roost: RunningRoost, model: str) -> Replica:
    return next(one for one in roost.app.replicas if one.model == model)


def pid_of(roost: RunningRoost, model: str = "a") -> int:
    pid = owner(roost, model).keeper.pid
    assert pid is not None
    return pid


async def at_engine(roost: RunningRoost, model: str, method: str, path: str, **body: Any) -> dict[str, Any]:
    """Past roost, to the engine itself."""
    async with httpx.AsyncClient(base_url=f"http://{owner(roost, model).address}", trust_env=False) as engine:
        answer = (await engine.request(method, path, json=body or None)).raise_for_status()
        found: dict[str, Any] = answer.json()
        return found


async def calls(roost: RunningRoost, model: str) -> list[str]:
    """The orders that reached the engine, in order."""
    seen = (await at_engine(roost, model, "GET", "/sim/stats"))["calls"]
    return [call for call in seen if not call.startswith("GET") and "/v1/" not in call]


async def sleeps(roost: RunningRoost, model: str = "a") -> None:
    answer = await roost.client.post(f"/api/v1/models/{model}/sleep", json={"wait": 20})
    assert answer.status_code == 200, answer.text


def text_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    said: str = answer.json()["choices"][0]["message"]["content"]
    return said


# scenarios


@live
async def test_t1_idle_model_sleeps_and_the_next_request_runs_all_three_steps(tmp_path: Path) -> None:
    text = f"models:\n  a:{LEVEL_2}    sleep_after: 200ms\n"
    async with running_roost(text, tmp_path) as roost:
        before = text_of(await roost.chat("a"))
        pid = pid_of(roost)
        await roost.until("a", State.ASLEEP)
        assert (await at_engine(roost, "a", "GET", "/sim/stats"))["level"] == 2  # the query reached it
        assert text_of(await roost.chat("a")) == before
        assert pid_of(roost) == pid
        last = owner(roost, "a").sequences[-1]
        assert [record.name for record in last.steps][:3] == [
            "POST /wake_up",
            "POST /collective_rpc",
            "POST /reset_prefix_cache",
        ]


@live
async def test_t2_models_of_level_1_and_2_swap_back_and_forth(tmp_path: Path) -> None:
    text = f"memory: {{max_resident: 1}}\nmodels:\n  a:{LEVEL_1}  b:{LEVEL_2}"
    async with running_roost(text, tmp_path) as roost:
        first = {name: text_of(await roost.chat(name)) for name in "ab"}
        pids = {name: pid_of(roost, name) for name in "ab"}
        for name in "abab":
            assert text_of(await roost.chat(name)) == first[name]
        assert {name: pid_of(roost, name) for name in "ab"} == pids
        assert (roost.state("a"), roost.state("b")) == (State.ASLEEP, State.READY)
        assert (owner(roost, "a").level, owner(roost, "b").level) == (1, None)


@live
async def test_t3_the_engine_sees_the_steps_in_order_and_each_once(tmp_path: Path) -> None:
    async with running_roost(ONE, tmp_path) as roost:
        await roost.chat("a")
        for _ in range(2):
            await sleeps(roost)
            await asyncio.gather(*(roost.chat("a") for _ in range(8)))  # one wake serves them all
        cycle = ["POST /sleep", "POST /wake_up", "POST /collective_rpc", "POST /reset_prefix_cache"]
        assert [call.split("?")[0] for call in await calls(roost, "a")] == cycle * 2


@live
async def test_t4_rapid_swaps_lose_no_request_and_need_no_fall_back(tmp_path: Path) -> None:
    text = f"memory: {{max_resident: 1}}\nmodels:\n  a:{LEVEL_1}  b:{LEVEL_2}"
    swaps = 20
    async with running_roost(text, tmp_path) as roost:
        first = {name: text_of(await roost.chat(name)) for name in "ab"}
        pids = {name: pid_of(roost, name) for name in "ab"}
        for number in range(swaps):
            name = "ab"[number % 2]
            assert text_of(await roost.chat(name)) == first[name]
        assert {name: pid_of(roost, name) for name in "ab"} == pids  # no fall-back was ever needed
        wakes = [one for replica in roost.app.replicas for one in replica.sequences if one.operation == "wake"]
        assert len(wakes) >= swaps // 2
        assert not [one.error for one in wakes if one.error]
        stats = [await at_engine(roost, name, "GET", "/sim/stats") for name in "ab"]
        assert [one["wakes"] for one in stats] == [swaps // 2, swaps // 2]


@live
async def test_e10_the_process_is_the_same_before_asleep_and_after(tmp_path: Path) -> None:
    async with running_roost(ONE, tmp_path) as roost:
        await roost.chat("a")
        before = (await at_engine(roost, "a", "GET", "/sim/stats"))["pid"]
        await sleeps(roost)
        asleep = (await at_engine(roost, "a", "GET", "/sim/stats"))["pid"]
        await roost.chat("a")
        after = (await at_engine(roost, "a", "GET", "/sim/stats"))["pid"]
        assert before == asleep == after == pid_of(roost)


# fallbacks


@live
async def test_f1_a_failed_sleep_ends_the_process(tmp_path: Path) -> None:
    async with running_roost(ONE, tmp_path) as roost:
        await roost.chat("a")
        pid = pid_of(roost)
        await at_engine(roost, "a", "POST", "/sim/set", refuse_sleep=True)
        await roost.client.post("/api/v1/models/a/sleep", json={"wait": 20})
        await roost.until("a", State.COLD)
        assert not _runs(pid)
        assert "sleep step 1 of 1: POST /sleep?level=2 answered 500" in owner(roost, "a").last_error
        assert text_of(await roost.chat("a"))  # and a request starts it afresh
        assert pid_of(roost) != pid


@live
async def test_f2_a_failed_wake_is_a_fresh_start_that_serves_all_who_wait(tmp_path: Path) -> None:
    async with running_roost(ONE, tmp_path) as roost:
        before = text_of(await roost.chat("a"))
        pid = pid_of(roost)
        await sleeps(roost)
        await at_engine(roost, "a", "POST", "/sim/set", refuse_wake=True)
        answers = await asyncio.gather(*(roost.chat("a") for _ in range(5)))
        assert [text_of(answer) for answer in answers] == [before] * 5
        assert pid_of(roost) != pid
        assert not _runs(pid)
        path = [str(change.after) for change in owner(roost, "a").history][-5:]
        assert path == ["waking", "stopping", "cold", "starting", "ready"]


@live
async def test_f4_an_engine_killed_while_asleep_is_started_afresh(tmp_path: Path) -> None:
    async with running_roost(ONE, tmp_path) as roost:
        before = text_of(await roost.chat("a"))
        pid = pid_of(roost)
        await sleeps(roost)
        os.kill(pid, signal.SIGKILL)
        assert text_of(await roost.chat("a")) == before
        assert pid_of(roost) != pid


@live
async def test_f5_a_third_step_past_its_own_limit_is_a_fresh_start(tmp_path: Path) -> None:
    staged = """
    wake_steps:
      - {endpoint: "/wake_up?tags=weights", timeout: 20s}
      - {endpoint: /collective_rpc, body: {method: reload_weights}}
      - {endpoint: "/wake_up?tags=kv_cache", timeout: 100ms}
"""
    text = ONE.partition("    wake_steps")[0] + staged + "    sleep_after: never\n    args: [--wake-delay, 400ms]\n"
    async with running_roost(text, tmp_path) as roost:
        before = text_of(await roost.chat("a"))
        pid = pid_of(roost)
        await sleeps(roost)
        assert text_of(await roost.chat("a")) == before
        assert pid_of(roost) != pid
        failed = next(one for one in owner(roost, "a").sequences if one.error)
        assert "wake step 3 of 3: POST /wake_up?tags=kv_cache got no answer within 0.1 s" in failed.error
        assert failed.steps[0].duration_s > 0.3  # slower than the third step's limit, within its own
        assert [record.status for record in failed.steps] == [200, 200, None]


@live
async def test_f6_a_wrong_reload_fails_at_step_2_and_is_a_fresh_start(tmp_path: Path) -> None:
    text = ONE.replace("reload_weights", "no_such_method")
    async with running_roost(text, tmp_path) as roost:
        before = text_of(await roost.chat("a"))
        pid = pid_of(roost)
        await sleeps(roost)
        assert text_of(await roost.chat("a")) == before
        assert pid_of(roost) != pid
        failed = next(one for one in owner(roost, "a").sequences if one.error)
        assert "wake step 2 of 3: POST /collective_rpc answered 500" in failed.error
        assert len(failed.steps) == 2


# what can be done in steps


@live
async def test_x2_x4_x6_tries_waits_and_proofs_against_a_real_engine(tmp_path: Path) -> None:
    text = """
models:
  a:
    engine: simulated
    sleep_after: never
    sleep_level: 2
    step_retry_delay: 10ms
    sleep_steps:
      - endpoint: "/sleep?level=${env:NONE:-2}"
        expect: {at: level, equals: 2}
        wait_until: {endpoint: /is_sleeping, expect: {at: is_sleeping, equals: true}, interval: 10ms}
      - {endpoint: /nothing/here, retries: 2, on_failure: continue}
    wake_steps:
      - {endpoint: "http://127.0.0.1:${PORT}/wake_up", expect: {json: {status: awake}}, health_check_after: true}
      - {endpoint: /collective_rpc, body: {method: reload_weights}, if: {status: 200, level: 2}, parallel: true}
      - {endpoint: /reset_prefix_cache, parallel: true}
      - {endpoint: /never, if: {level: 1}}
"""
    async with running_roost(text, tmp_path) as roost:
        before = text_of(await roost.chat("a"))
        await sleeps(roost)
        assert text_of(await roost.chat("a")) == before
        _, sleep, wake = owner(roost, "a").sequences
        assert [(record.status, record.attempts) for record in sleep.steps] == [(200, 1), (404, 3)]
        port = owner(roost, "a").address.port
        assert [(record.name, record.status) for record in wake.steps[:4]] == [
            (f"POST http://127.0.0.1:{port}/wake_up", 200),
            ("POST /collective_rpc", 200),
            ("POST /reset_prefix_cache", 200),
            ("POST /never", None),
        ]
        assert wake.steps[3].skipped == "the sleep level is 2, not 1"


# what is told


@live
async def test_x5_steps_are_in_api_metrics_and_events(tmp_path: Path) -> None:
    async with running_roost(ONE, tmp_path) as roost:
        await roost.chat("a")
        hub = roost.app.hub.subscribe()
        await sleeps(roost)
        await roost.chat("a")
        found = (await roost.client.get("/api/v1/models/a")).json()
        assert [one["operation"] for one in found["sequences"]] == ["load", "sleep", "wake"]
        wake = found["sequences"][-1]
        assert wake["error"] is None
        assert wake["slowest"] in [step["name"] for step in wake["steps"]]
        assert [step["status"] for step in wake["steps"]] == [200] * 4
        assert len(found["steps"]) == 8  # with the canary's question, asked twice at the start
        metrics = (await roost.client.get("/metrics")).text
        labels = 'roost_step_duration_seconds_count{model="a",operation="wake",step="POST /collective_rpc"} 1.0'
        assert labels in metrics
        hub.end()
        events = [event async for event in hub]
        told = [event for event in events if event["type"] == "sequence"]
        assert [(event["operation"], event["model"]) for event in told] == [("sleep", "a"), ("wake", "a")]
        assert json.dumps(told)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@live
async def test_an_engine_elsewhere_left_half_asleep_serves_again_once_it_was_woken(tmp_path: Path) -> None:
    """Its health path says yes all the time; a request to it would hang."""
    async with sim_engine(model="a") as sim:
        text = f"""
models:
  a:
    url: {sim.url}
    sleep_after: never
    restart: {{backoff: 100ms}}
    sleep_steps: [{{endpoint: "/sleep?level=1"}}, {{endpoint: /nope}}]
    wake_steps: [{{endpoint: /wake_up}}]
"""
        async with running_roost(text, tmp_path) as roost:
            await roost.until("a", State.READY)
            said = await roost.client.post("/api/v1/models/a/sleep?wait=10")
            assert "/nope answered 404" in said.text
            await roost.until("a", State.READY)
            assert (await roost.chat("a")).status_code == 200
            assert (await sim.stats())["calls"] == ["POST /sleep?level=1", "POST /wake_up"]


@live
async def test_a_program_that_nobody_described_serves_no_garbage_after_its_sleep(tmp_path: Path) -> None:
    text = f"""
models:
  a:
    engine: command
    command: [{sys.executable}, -m, roost.sim, --model=a, --port, "${{PORT}}"]
    env: {{PYTHONPATH: {SRC}}}
    sleep_level: 2
    sleep_steps: [{{endpoint: "/sleep?level=2"}}]
    wake_steps: [{{endpoint: /wake_up}}, {{endpoint: /collective_rpc, body: {{method: check_health}}}}]
"""
    async with running_roost(text, tmp_path) as roost:
        before = (await roost.chat("a")).json()["choices"][0]["message"]["content"]
        assert (await roost.client.post("/api/v1/models/a/sleep")).status_code == 200
        assert (await roost.chat("a")).json()["choices"][0]["message"]["content"] == before
        facts = (await roost.client.get("/api/v1/models/a")).json()
        assert [change["after"] for change in facts["history"]][-5:-2] == ["waking", "stopping", "cold"]
