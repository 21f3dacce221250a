"""Models that come to a running roost and leave it, over simulated engines; and backends that are judged by what
becomes of their requests."""

import asyncio
import json
import os
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import pytest

from roost import clock
from roost.core.errors import RoostError
from roost.core.lifecycle import State
from roost.core.spec import EngineKind, ModelSpec, TimeoutsSpec
from roost.host.ports import PortPicker
from roost.tasks import spawn
from tests.support.live import live
from tests.support.roost import RunningRoost, roost_process, running_roost, until_ready
from tests.support.sim import sim_engine

ONE = "models:\n  a: {engine: simulated}\n"
SIM = ModelSpec(engine=EngineKind.SIMULATED, cwd="/")


async def listed(client: httpx.AsyncClient) -> list[str]:
    return [model["id"] for model in (await client.get("/v1/models")).json()["data"]]


async def until_listed(client: httpx.AsyncClient, *names: str) -> None:
    async with asyncio.timeout(30):
        while await listed(client) != list(names):
            await asyncio.sleep(0)


@live
async def test_a_model_comes_serves_and_goes(tmp_path: Path) -> None:
    async with running_roost(ONE, tmp_path) as roost:
        assert (await roost.chat("b")).status_code == 404
        heard = roost.app.hub.subscribe()
        await roost.app.add_models({"b": ModelSpec(engine=EngineKind.SIMULATED, cwd="/", aliases=("bee",))})
        assert (await roost.chat("b")).status_code == (await roost.chat("bee")).status_code == 200
        assert (await roost.client.post("/tokenize", json={"model": "b", "prompt": "x"})).status_code == 200
        assert await listed(roost.client) == ["a", "b"]
        with pytest.raises(RoostError, match='"bee" already names the model "b"'):
            await roost.app.add_models({"bee": SIM})
        (replica,) = [one for one in roost.app.replicas if one.model == "b"]
        pid = replica.keeper.pid
        assert pid is not None
        await roost.app.remove_model("b")
        assert not psutil.pid_exists(pid)
        assert (await roost.chat("b")).status_code == (await roost.chat("bee")).status_code == 404
        assert await listed(roost.client) == ["a"]
        status = (await roost.client.get("/api/v1/status")).json()
        assert [model["name"] for model in status["models"]] == ["a"]
        metrics = (await roost.client.get("/metrics")).text
        assert 'roost_requests_total{model="b"' in metrics and 'roost_in_flight{model="b"}' not in metrics
        what = []
        async for event in heard:
            what.append((event["type"], event.get("what")))
            if what[-1] == ("model", "removed"):
                break
        assert ("model", "added") in what
        assert (await roost.chat("a")).status_code == 200
        assert list((tmp_path / "state" / "replicas").glob("b*")) == []


@live
async def test_a_stream_goes_on_to_its_end_while_its_model_is_removed(tmp_path: Path) -> None:
    text = "models:\n  a: {engine: simulated, concurrency: 1, args: [--token-delay 30ms]}\n"
    async with running_roost(text, tmp_path) as roost:
        body = {"model": "a", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 20, "stream": True}
        async with roost.client.stream("POST", "/v1/chat/completions", json=body) as answer:
            lines = answer.aiter_lines()
            await anext(lines)
            waiting = spawn(roost.chat("a"), "waits")
            async with asyncio.timeout(20):
                while not roost.app.controller.gate.lane("a").depth:
                    await asyncio.sleep(0)
            leaving = spawn(roost.app.remove_model("a"), "remove")
            refused = await waiting
            assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_removed")
            model = (await roost.client.get("/api/v1/models")).json()["models"][0]
            assert model["leaving"] and await listed(roost.client) == []
            rest = [line async for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        await leaving
        assert (await roost.client.get("/api/v1/models")).json()["models"] == []


@live
async def test_what_outlasts_the_drain_deadline_is_cut(tmp_path: Path) -> None:
    async with running_roost(ONE, tmp_path) as roost:
        args = ("--token-delay", "5s", "--ignore-sigterm")
        slow = replace(SIM, args=args, stop_grace=0.1, timeouts=TimeoutsSpec(drain=0.2))
        await roost.app.add_models({"slow": slow})
        body = {"model": "slow", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
        async with roost.client.stream("POST", "/v1/chat/completions", json=body) as answer:
            lines = answer.aiter_lines()
            await anext(lines)
            await roost.app.remove_model("slow")
            with pytest.raises(httpx.RemoteProtocolError):
                async for _ in lines:
                    pass
        assert [one.model for one in roost.app.replicas] == ["a"]
        assert roost.app.controller.gate.in_flight == 0


@live
async def test_many_come_and_go_under_traffic(tmp_path: Path) -> None:
    async with running_roost(ONE, tmp_path) as roost:

        async def life(name: str) -> list[int]:
            await roost.app.add_models({name: SIM})
            answers = await asyncio.gather(*(roost.chat(name) for _ in range(5)))
            await roost.app.remove_model(name)
            return [answer.status_code for answer in answers]

        codes, others = await asyncio.gather(
            asyncio.gather(*(life(f"m{number}") for number in range(3))),
            asyncio.gather(*(roost.chat("a") for _ in range(10))),
        )
        assert codes == [[200] * 5] * 3 and {answer.status_code for answer in others} == {200}
        assert len(roost.app.replicas) == 1


def put(path: Path, age_s: float = 60.0) -> None:
    path.write_text("GGUF")
    moment = clock.wall() - age_s
    os.utime(path, (moment, moment))


@live
async def test_a_folder_of_models_under_up(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    put(folder / "one.gguf")
    put(folder / "two-00001-of-00002.gguf")
    put(folder / "two-00002-of-00002.gguf")
    port = PortPicker().pick("127.0.0.1")
    config = tmp_path / "roost.yaml"
    config.write_text(
        f"server: {{port: {port}}}\n"
        "models:\n  a: {engine: simulated}\n"
        "models_dir:\n  path: weights\n  prefix: my/\n  rescan: 50ms\n"
        '  settings: {"*": {engine: simulated, description: from a file}}\n'
    )
    async with (
        roost_process(config, tmp_path / "state"),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30.0, trust_env=False) as client,
    ):
        await until_ready(client)
        await until_listed(client, "a", "my/one", "my/two")
        body = {"model": "my/two", "messages": [{"role": "user", "content": "Hi"}]}
        assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
        put(folder / "three.gguf")
        await until_listed(client, "a", "my/one", "my/two", "my/three")
        body["model"] = "my/three"
        assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
        for part in folder.glob("two-*"):
            part.unlink()
        await until_listed(client, "a", "my/one", "my/three")
        put(folder / "one.gguf", age_s=30.0)  # replaced: the same name, at the end of the list
        await until_listed(client, "a", "my/three", "my/one")


TWO_BACKENDS = """
models:
  a: {{replicas: [{{url: '{}'}}, {{url: '{}'}}], task: other}}
"""
CHAT = "/v1/chat/completions"


@live
async def test_a_backend_that_keeps_failing_is_avoided_and_comes_back(tmp_path: Path) -> None:
    async with sim_engine(model="a") as bad, sim_engine(model="a") as good:  # noqa: SIM117
        async with running_roost(TWO_BACKENDS.format(bad.url, good.url), tmp_path) as roost:
            await roost.until("a", State.READY)
            await until_all_ready(roost)
            await bad.set(fail_first={CHAT: 3})
            codes = [(await roost.chat("a")).status_code for _ in range(8)]
            assert codes == [503] * 3 + [200] * 5
            model = (await roost.client.get("/api/v1/models/a")).json()
            first, second = model["endpoints"]
            assert first["failures"] == 3 and 0 < first["avoided_s"] <= 5.0
            assert second["failures"] == 0 and second["avoided_s"] is None
            (notice,) = model["notices"]
            assert "a/0 is avoided for another" in notice and "3 requests in a row failed" in notice
            assert "its engine answered 503" in notice
            metrics = (await roost.client.get("/metrics")).text
            assert 'roost_replica_failures_total{model="a",replica="a/0"} 3.0' in metrics
            assert 'roost_replica_avoided{model="a",replica="a/0"} 1.0' in metrics
            assert 'roost_replica_avoided{model="a",replica="a/1"} 0.0' in metrics
            roost.app.controller.gate.sweep(clock.now() + 5.0)
            assert (await roost.chat("a")).status_code == 200
            recent = (await roost.client.get("/api/v1/requests/recent")).json()["requests"]
            assert [one["replica"] for one in recent[:3]] == ["a/0", "a/1", "a/1"]
            assert (await roost.client.get("/api/v1/models/a")).json()["notices"] == []


async def until_all_ready(roost: RunningRoost) -> None:
    async with asyncio.timeout(20):
        while any(one.state is not State.READY for one in roost.app.replicas):
            await asyncio.sleep(0)


@live
async def test_a_backend_that_says_nothing_is_avoided_too(tmp_path: Path) -> None:
    async with sim_engine(model="a") as bad, sim_engine(model="a") as good:
        text = TWO_BACKENDS.format(bad.url, good.url).replace("task: other", "timeouts: {first_byte: 100ms}")
        async with running_roost(text, tmp_path) as roost:
            await until_all_ready(roost)
            await bad.set(slow_endpoint={CHAT: "30s"})
            answers = [await roost.chat("a") for _ in range(5)]
            assert [answer.status_code for answer in answers] == [504] * 3 + [200] * 2
            (notice,) = (await roost.client.get("/api/v1/models/a")).json()["notices"]
            assert "(timeouts.first_byte)" in notice
            assert json.loads(answers[0].content)["error"]["code"] == "engine_silent"


@live
async def test_three_replicas_by_their_number(tmp_path: Path) -> None:
    text = "models:\n  a: {engine: simulated, replicas: 3, preload: true, concurrency: 1, args: [--token-delay 20ms]}\n"
    async with running_roost(text, tmp_path) as roost:
        await until_all_ready(roost)
        assert len({one.address.port for one in roost.app.replicas}) == 3
        assert {answer.status_code for answer in await asyncio.gather(*(roost.chat("a") for _ in range(9)))} == {200}
        recent = (await roost.client.get("/api/v1/requests/recent")).json()["requests"]
        assert {one["replica"] for one in recent} == {"a/0", "a/1", "a/2"}
