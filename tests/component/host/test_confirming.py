"""What an engine says of itself against what it answered: sleeps, wakes, pauses, and what was missing at its start."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from roost.core.lifecycle import IllegalMove, State
from roost.core.plan import Drain, Load, Sleep, Wake
from roost.core.spec import EngineKind, ModelSpec
from roost.core.view import Goal
from roost.host import confirming, watching
from tests.component.host.test_replica import FAST, IDLE, TIMES, WANT, Watched, setup
from tests.support.live import live
from tests.support.sim import sim_engine

SIM = (sys.executable, "-m", "roost.sim", "--model=a", "--port", "${PORT}")
VLLM = ModelSpec(engine=EngineKind.VLLM, command=SIM, restart=FAST, timeouts=TIMES, stop_grace=2.0)
SGLANG = replace(VLLM, engine=EngineKind.SGLANG, args=("--kind", "sglang", "--enable-weights-cpu-backup"))
CHAT = {"model": "a", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 8}
LOAD = Load(replica="a/0", reason=WANT)
WAKE = Wake(replica="a/0", reason=WANT)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirming, "CONFIRM_S", 0.3)


class Scene(Watched):
    """A replica, and its engine as others reach it."""

    async def call(self, method: str, path: str, **more: Any) -> httpx.Response:
        address = self.replica.address
        async with httpx.AsyncClient(trust_env=False) as client:
            return await client.request(method, f"http://{address.host}:{address.port}{path}", **more)

    async def set(self, **behaviour: Any) -> None:
        (await self.call("POST", "/sim/set", json=behaviour)).raise_for_status()

    async def calls(self) -> list[str]:
        found: list[str] = (await self.call("GET", "/sim/stats")).json()["calls"]
        return found

    async def said(self) -> str:
        answer = (await self.call("POST", "/v1/chat/completions", json=CHAT)).raise_for_status()
        return str(answer.json()["choices"][0]["message"]["content"])

    async def to_sleep(self, level: int, *ends: State) -> None:
        self.replica.obey(Drain(replica="a/0", goal=Goal.ASLEEP, reason=IDLE))
        self.replica.obey(Sleep(replica="a/0", level=level, reason=IDLE))
        await self.until(*(ends or (State.ASLEEP,)))

    async def look(self) -> None:
        await watching.look_once(self.replica)


@asynccontextmanager
async def scene(folder: Path, *flags: str, spec: ModelSpec = VLLM, port: int | None = None) -> AsyncIterator[Scene]:
    """An engine of roost's own is loaded and ready; one that runs elsewhere has been looked at."""
    one = Scene(setup(folder, replace(spec, args=(*spec.args, *flags)), port))
    await one.replica.recover()
    try:
        if one.replica.owned:
            one.replica.obey(LOAD)
            await one.until(State.READY)
        yield one
    finally:
        await one.replica.close(leave=False)


def elsewhere(port: int, kind: EngineKind = EngineKind.VLLM) -> ModelSpec:
    return ModelSpec(engine=kind, url=f"http://127.0.0.1:{port}", restart=FAST, timeouts=TIMES)


# sleeps and wakes that are only claimed


@live
@pytest.mark.parametrize(
    ("fault", "level", "why"),
    [
        ({"fake_sleep": True}, 1, "it still says it is awake"),
        ({"force_sleep_level": 1}, 2, "its metric vllm:engine_sleep_state shows level 1, not level 2"),
        ({"force_sleep_level": 2}, 1, "its metric vllm:engine_sleep_state shows level 2, not level 1"),
    ],
)
async def test_a_sleep_that_is_not_the_one_ordered_has_failed(
    tmp_path: Path, fault: dict[str, Any], level: int, why: str
) -> None:
    async with scene(tmp_path) as one:
        await one.set(**fault)
        await one.to_sleep(level, State.COLD)
        assert why in one.replica.last_error


@live
async def test_where_the_gauge_is_missing_its_own_word_is_enough(tmp_path: Path) -> None:
    async with scene(tmp_path, "--no-sleep-gauge") as one:
        await one.to_sleep(2)
        assert one.replica.level == 2


@live
async def test_a_wake_that_is_only_claimed_ends_in_a_stop(tmp_path: Path) -> None:
    async with scene(tmp_path, "--fake-wake") as one:
        await one.to_sleep(1)
        one.replica.obey(WAKE)
        await one.until(State.COLD)
        assert "it still says it is asleep" in one.replica.last_error


@live
async def test_the_wake_of_a_release_that_answers_empty_bodies_succeeds(tmp_path: Path) -> None:
    async with scene(tmp_path, "--answer-body", "/reset_prefix_cache=", "/wake_up=") as one:
        before = await one.said()
        await one.to_sleep(2)
        one.replica.obey(WAKE)
        await one.until(State.READY)
        assert await one.said() == before


@live
async def test_no_path_that_vllm_must_never_get_asleep_is_called(tmp_path: Path) -> None:
    async with scene(tmp_path) as one:
        for level in (1, 2):
            await one.to_sleep(level)
            await one.look()
            one.replica.obey(WAKE)
            await one.until(State.READY)
        assert not [call for call in await one.calls() if "/resume" in call]


# what others do


@live
@pytest.mark.parametrize("gauge", [(), ("--no-sleep-gauge",)])
async def test_a_pause_by_others_is_seen_at_the_next_look_and_a_wake_lifts_it(
    tmp_path: Path, gauge: tuple[str, ...]
) -> None:
    async with scene(tmp_path, *gauge) as one:
        await one.call("POST", "/pause?mode=keep")
        await one.look()
        assert (one.replica.state, one.replica.level) == (State.ASLEEP, None if gauge else 0)
        if not gauge:
            assert "someone else paused it" in one.replica.reason
        await one.look()
        assert one.replica.state is State.ASLEEP
        one.replica.obey(WAKE)
        await one.until(State.READY)
        assert await one.said()


@live
async def test_a_pause_lifted_by_others_is_seen_at_the_next_look(tmp_path: Path) -> None:
    async with scene(tmp_path) as one:
        await one.call("POST", "/pause")
        await one.look()
        await one.call("POST", "/wake_up")
        await one.look()
        await one.until(State.READY)
        assert one.path[-3:] == ["asleep", "waking", "ready"]


@live
async def test_a_sleep_and_a_wake_by_others_are_each_seen_at_the_next_look(tmp_path: Path) -> None:
    async with scene(tmp_path) as one:
        before = await one.said()
        await one.call("POST", "/sleep?level=1")
        await one.look()
        assert (one.replica.state, one.replica.level) == (State.ASLEEP, None)
        await one.call("POST", "/wake_up")
        await one.look()
        await one.until(State.READY)
        assert await one.said() == before


@live
async def test_paused_and_then_put_to_sleep_by_others_it_is_woken_as_from_the_deepest(tmp_path: Path) -> None:
    async with scene(tmp_path) as one:
        before = await one.said()
        await one.call("POST", "/pause")
        await one.look()
        await one.call("POST", "/sleep?level=2")
        await one.look()
        assert one.replica.level is None
        one.replica.obey(WAKE)
        await one.until(State.READY)
        assert await one.said() == before


@live
async def test_put_to_sleep_anew_by_others_its_weights_are_read_again(tmp_path: Path) -> None:
    """Roost's own level would now be answered by garbage."""
    async with scene(tmp_path) as one:
        before = await one.said()
        await one.to_sleep(1)
        await one.call("POST", "/wake_up")
        await one.call("POST", "/sleep?level=2")
        await one.look()
        assert one.replica.level is None
        one.replica.obey(WAKE)
        await one.until(State.READY)
        assert await one.said() == before


@live
async def test_asleep_already_when_the_order_comes_it_is_woken_as_from_the_deepest(tmp_path: Path) -> None:
    """Its answer to a second sleep would be 200, and its gauge would show the level that was asked for."""
    async with scene(tmp_path) as one:
        before = await one.said()
        await one.call("POST", "/sleep?level=2")
        await one.to_sleep(1)
        assert one.replica.level is None
        one.replica.obey(WAKE)
        await one.until(State.READY)
        assert await one.said() == before


# what is missing at its start


@live
async def test_without_development_endpoints_it_serves_and_is_never_put_to_sleep(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with scene(tmp_path, "--no-dev-endpoints") as one:
        assert one.replica.sleep_levels == ()
        assert "VLLM_SERVER_DEV_MODE=1" in one.replica.no_sleep
        assert sum("VLLM_SERVER_DEV_MODE=1" in line for line in caplog.messages) == 1
        one.replica.obey(Drain(replica="a/0", goal=Goal.ASLEEP, reason=IDLE))
        with pytest.raises(IllegalMove, match="VLLM_SERVER_DEV_MODE=1"):
            one.replica.obey(Sleep(replica="a/0", level=1, reason=IDLE))


@live
async def test_one_that_runs_elsewhere_is_told_of_too(tmp_path: Path) -> None:
    async with (
        sim_engine("--no-dev-endpoints", model="a") as sim,
        scene(tmp_path, spec=elsewhere(sim.port), port=sim.port) as one,
    ):
        await one.until(State.READY)
        assert one.replica.sleep_levels == ()


@live
async def test_what_was_found_ready_serves_once_before_its_first_sleep(tmp_path: Path) -> None:
    async with sim_engine(model="a") as sim, scene(tmp_path, spec=elsewhere(sim.port), port=sim.port) as one:
        await one.until(State.READY)
        assert (await sim.stats())["requests"] == 0
        await one.to_sleep(1)
        assert (await sim.stats())["requests"] == 1
        one.replica.obey(WAKE)
        await one.until(State.READY)
        await one.to_sleep(1)
        assert (await sim.stats())["requests"] == 2  # the second verified the wake


@live
async def test_an_engine_of_its_own_was_verified_and_needs_no_warm_up(tmp_path: Path) -> None:
    async with scene(tmp_path) as one:
        await one.to_sleep(1)
        assert (await one.call("GET", "/sim/stats")).json()["requests"] == 1


# SGLang


@live
@pytest.mark.parametrize("missing", [(), ("--missing", "/ready")])
async def test_sglang_sleeps_and_wakes_whether_or_not_it_has_ready(tmp_path: Path, missing: tuple[str, ...]) -> None:
    async with scene(tmp_path, *missing, spec=SGLANG) as one:
        before = await one.said()
        await one.to_sleep(1)
        one.replica.obey(WAKE)
        await one.until(State.READY)
        assert await one.said() == before
        assert await one.calls() == [
            "POST /pause_generation",
            "POST /flush_cache",
            "POST /release_memory_occupation",
            "POST /resume_memory_occupation",
            "POST /flush_cache",
            "POST /continue_generation",
        ]


@live
async def test_sglang_that_was_renamed_by_reading_its_weights_still_answers_to_its_name(tmp_path: Path) -> None:
    spec = replace(SGLANG, weights="/models/a", args=("--kind", "sglang"))
    async with scene(tmp_path, spec=spec) as one:
        before = await one.said()
        await one.to_sleep(1)
        one.replica.obey(WAKE)
        await one.until(State.READY)
        assert [entry["id"] for entry in (await one.call("GET", "/v1/models")).json()["data"]] == ["/models/a"]
        assert await one.said() == before


@live
async def test_sglang_elsewhere_that_was_on_its_way_is_left_alone_until_another_runs_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with sim_engine("--kind", "sglang", "--missing", "/ready", model="a") as sim:
        spec = elsewhere(sim.port, EngineKind.SGLANG)
        async with scene(tmp_path, spec=spec, port=sim.port) as one:
            await one.until(State.READY)
            await one.set(slow_endpoint={"/flush_cache": "1h"})
            one.replica.obey(Drain(replica="a/0", goal=Goal.ASLEEP, reason=IDLE))
            one.replica.obey(Sleep(replica="a/0", level=1, reason=IDLE))
            await sim.until(paused=True)
        await sim.set(slow_endpoint=[])
        async with scene(tmp_path, spec=spec, port=sim.port) as one:
            for _ in range(3):
                await one.look()
            assert one.replica.state is State.COLD
            assert "it was suspending when the earlier roost ended. Restart it." in one.replica.last_error
            seen = (await sim.stats())["paths"]
            assert "/resume_memory_occupation" not in seen
            sim.process.kill()
            await sim.wait()
            await one.look()
            assert one.replica.doubt == ""
    assert sum("does not guess" in line for line in caplog.messages) == 1


@live
async def test_sglang_elsewhere_whose_sleep_failed_is_left_alone(tmp_path: Path) -> None:
    async with (
        sim_engine("--kind", "sglang", "--refuse-sleep", model="a") as sim,
        scene(tmp_path, spec=elsewhere(sim.port, EngineKind.SGLANG), port=sim.port) as one,
    ):
        await one.until(State.READY)
        await one.to_sleep(1, State.BACKOFF)
        before = (await sim.stats())["requests"]
        await one.call("POST", "/continue_generation", json={})
        for _ in range(3):
            await one.look()
        assert one.replica.state is State.BACKOFF
        assert (await sim.stats())["requests"] == before


@live
async def test_sglang_elsewhere_that_someone_paused_is_spoken_of_and_not_touched(tmp_path: Path) -> None:
    async with sim_engine("--kind", "sglang", model="a") as sim:
        await sim.client.post("/pause_generation", json={})
        async with scene(tmp_path, spec=elsewhere(sim.port, EngineKind.SGLANG), port=sim.port) as one:
            await one.look()
            assert one.replica.state is State.COLD
            assert "takes back no memory that it did not release" in one.replica.last_error
            await sim.client.post("/continue_generation", json={})
            await one.look()
            await one.until(State.READY)


@live
async def test_sglang_elsewhere_that_was_restarted_asleep_is_another_process_and_not_woken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has released nothing, and would end at the order to take it back."""
    monkeypatch.setattr(watching, "AWAIT_FOREIGN_S", 60.0)  # no look comes between
    flags = ("--kind", "sglang", "--enable-weights-cpu-backup")
    async with sim_engine(*flags, model="a") as sim:
        port = sim.port
        async with scene(tmp_path, spec=elsewhere(port, EngineKind.SGLANG), port=port) as one:
            await one.until(State.READY)
            await one.to_sleep(1)
            sim.process.kill()
            await sim.wait()
            async with sim_engine(*flags, "--port", str(port), model="a") as other:
                one.replica.obey(WAKE)
                await one.until(State.BACKOFF)
                assert "another process runs at" in one.replica.last_error
                one.replica.retry_at = None
                await one.look()
                assert one.replica.state is State.READY
                assert await one.said()
                assert "/resume_memory_occupation" not in (await other.stats())["paths"]
                assert other.process.returncode is None
