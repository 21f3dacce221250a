"""Models with no entry of their own: what servers of others list or can load."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from roost import trials
from roost.core.lifecycle import State
from roost.tasks import spawn
from tests.support.fake_loader import FakeLoader
from tests.support.fake_ollama import FakeOllama, listening
from tests.support.live import live
from tests.support.roost import RunningRoost, running_roost
from tests.support.sim import sim_engine

ONE = """
memory: {{max_resident: {resident}}}
policy: {{eviction: lru}}
defaults: {{restart: {{backoff: 10ms}}, queue: {{max_wait: 20s}}}}
hosts:
  box: {{url: "{url}", load_timeout: 30s}}
"""
TWO = """
memory: {{max_resident: 4}}
defaults: {{concurrency: 1}}
hosts:
  one: {{url: "{one}"}}
  two: {{url: "{two}"}}
"""


@asynccontextmanager
async def over(fake: Any, folder: Path, *, resident: int = 2, more: str = "") -> AsyncIterator[RunningRoost]:
    async with (
        listening(fake),
        running_roost(ONE.format(url=fake.url, resident=resident) + more, folder) as roost,
    ):
        yield roost


async def listed(roost: RunningRoost, query: str = "") -> list[str]:
    answer = await roost.client.get(f"/v1/models{query}")
    return sorted(model["id"] for model in answer.json()["data"])


async def until_listed(roost: RunningRoost, *names: str) -> None:
    async with asyncio.timeout(20):
        while await listed(roost) != list(names):
            pass


@live
async def test_what_is_listed_is_served_from_the_first_answer_on(tmp_path: Path) -> None:
    async with over(FakeOllama(), tmp_path) as roost:
        assert await listed(roost) == ["alpha:latest", "beta:latest", "nomic:v1"]
        answer = await roost.chat("alpha:latest")
        assert answer.json()["model"] == "alpha:latest"
        assert (await roost.chat("beta")).json()["model"] == "beta:latest"
        assert await listed(roost, "?loaded=true") == ["alpha:latest", "beta:latest"]


@live
async def test_models_come_and_go_with_the_list(tmp_path: Path) -> None:
    fake = FakeOllama(names=("alpha:latest",))
    async with over(fake, tmp_path) as roost:
        await roost.chat("alpha")
        fake.names = ("beta:latest",)
        await until_listed(roost, "alpha:latest", "beta:latest")  # it runs there still
        fake.loaded.clear()
        await until_listed(roost, "beta:latest")
        assert (await roost.chat("alpha")).status_code == 404
        assert (await roost.chat("beta")).status_code == 200
        assert [one.model for one in roost.app.replicas] == ["beta:latest"]


@live
async def test_an_entry_of_its_own_wins_under_whatever_name(tmp_path: Path) -> None:
    more = "models:\n  mine: {inside: box, served_name: alpha}\n  nomic:v1: {inside: box, aliases: [vectors]}\n"
    async with over(FakeOllama(), tmp_path, more=more) as roost:
        assert await listed(roost) == ["beta:latest", "mine", "nomic:v1"]
        assert (await roost.chat("mine")).json()["model"] == "alpha:latest"
        assert (await roost.chat("alpha")).status_code == 404  # else it would be loaded there under a second name


@live
async def test_a_server_that_is_down_is_no_error_and_its_models_come_with_it(tmp_path: Path) -> None:
    fake = FakeOllama()
    async with listening(fake):
        pass
    async with running_roost(ONE.format(url=fake.url, resident=2), tmp_path) as roost:
        assert (await roost.client.get("/ready")).status_code == 200
        assert await listed(roost) == []
        answer = await roost.chat("alpha")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert f'The server "box" at {fake.url} does not answer' in answer.json()["error"]["message"]
        async with listening(fake):
            await until_listed(roost, "alpha:latest", "beta:latest", "nomic:v1")
            assert (await roost.chat("alpha")).status_code == 200
        await roost.until("alpha:latest", State.BACKOFF)
        assert len(await listed(roost)) == 3


@live
async def test_a_server_that_accepts_and_says_nothing_does_not_hold_the_start_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roost.host.hosted.START_S", 0.05)
    silent = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}"
    async with silent, running_roost(ONE.format(url=url, resident=2), tmp_path) as roost:
        assert (await roost.client.get("/ready")).status_code == 200
        assert roost.app.servers["box"]._begun == 1  # and has not come to its end
        assert (await roost.chat("alpha")).status_code == 503


@live
async def test_a_name_that_nobody_lists_is_loaded_once_for_all_who_ask(tmp_path: Path) -> None:
    fake = FakeLoader(gate=asyncio.Event())
    async with over(fake, tmp_path) as roost:
        asked = [spawn(roost.chat("alpha", stream=n % 2 == 0), "ask") for n in range(20)]
        async with asyncio.timeout(20):
            while not fake.orders:
                await asyncio.sleep(0)
        assert await listed(roost) == []
        assert (await roost.client.get("/api/v1/models/alpha")).status_code == 404
        assert fake.gate is not None
        fake.gate.set()
        assert [answer.status_code for answer in await asyncio.gather(*asked)] == [200] * 20
        assert fake.orders == ["load alpha"]
        assert await listed(roost) == ["alpha"]
        assert roost.app.recorder.model("alpha").traffic.total().requests == 20


@live
async def test_capacity_is_kept_and_what_was_unloaded_stays_known(tmp_path: Path) -> None:
    fake = FakeLoader()
    async with over(fake, tmp_path) as roost:
        for name in ("alpha", "beta", "gamma", "beta", "alpha"):
            assert (await roost.chat(name)).json()["model"] == name
        assert fake.orders == ["load alpha", "load beta", "unload alpha", "load gamma", "unload gamma", "load alpha"]
        assert fake.loaded == ["beta", "alpha"]
        assert await listed(roost) == ["alpha", "beta", "gamma"]
        fake.knows.discard("gamma")
        answer = await roost.chat("gamma")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
        await until_listed(roost, "alpha", "beta")


@live
async def test_a_refused_name_is_404_for_all_who_ask_and_forgotten(tmp_path: Path) -> None:
    fake = FakeLoader(gate=asyncio.Event())
    async with over(fake, tmp_path) as roost:
        asked = [spawn(roost.chat("nobody"), "ask") for _ in range(10)]
        async with asyncio.timeout(20):
            while not fake.orders:
                await asyncio.sleep(0)
        assert fake.gate is not None
        fake.gate.set()
        answers = await asyncio.gather(*asked)
        assert {(one.status_code, one.json()["error"]["code"]) for one in answers} == {(404, "model_not_found")}
        await _until_forgotten(roost)
        assert (await roost.chat("nobody")).status_code == 404
        assert fake.orders == ["load nobody"]
        assert "nobody" not in (await roost.client.get("/metrics")).text
        assert not roost.app.controller.gate.refusals


@live
async def test_a_server_that_lists_all_it_has_is_asked_before_room_is_made(tmp_path: Path) -> None:
    fake = FakeOllama()
    async with over(fake, tmp_path, resident=1) as roost:
        await roost.chat("alpha")
        assert (await roost.chat("misspelt")).status_code == 404
        assert fake.orders == ["load alpha:latest"]
        assert fake.loaded == ["alpha:latest"]
        fake.names += ("new:latest",)  # not in the last list
        assert (await roost.chat("new")).status_code == 200
        await roost.until("alpha:latest", State.COLD)


@live
async def test_a_flood_of_names_is_bounded(tmp_path: Path) -> None:
    fake = FakeLoader(gate=asyncio.Event())
    async with over(fake, tmp_path) as roost:
        roost.client.timeout = httpx.Timeout(60.0)
        asked = [spawn(roost.chat(f"made-up-{n}"), "ask") for n in range(80)]
        done, _ = await asyncio.wait(asked, timeout=20, return_when=asyncio.FIRST_COMPLETED)
        assert {task.result().status_code for task in done} == {503}
        assert len(roost.app.controller.gate._lanes) <= trials.AT_ONCE
        assert fake.gate is not None
        fake.gate.set()
        statuses = [answer.status_code for answer in await asyncio.gather(*asked)]
        assert set(statuses) == {404, 503}
        assert statuses.count(404) >= trials.AT_ONCE
        assert len(fake.orders) == statuses.count(404)
        await _until_forgotten(roost)
        roost.app.keeping.recall()
        assert set(roost.app.recorder.models) <= {""}


@live
async def test_a_load_that_fails_is_tried_again_and_is_no_refusal(tmp_path: Path) -> None:
    fake = FakeLoader(broken={"alpha"})
    async with over(fake, tmp_path) as roost:
        asked = spawn(roost.chat("alpha"), "ask")
        async with asyncio.timeout(20):
            while len(fake.orders) < 2:
                await asyncio.sleep(0)
        fake.broken.clear()
        assert (await asked).status_code == 200


@live
async def test_names_that_nobody_waits_for_any_more_are_forgotten(tmp_path: Path) -> None:
    fake = FakeLoader(broken={"alpha"})
    async with over(fake, tmp_path) as roost:
        async with httpx.AsyncClient(base_url=roost.url, trust_env=False) as client:
            asked = spawn(client.post("/v1/chat/completions", json={"model": "alpha", "messages": []}), "ask")
            async with asyncio.timeout(20):
                while not fake.orders:
                    await asyncio.sleep(0)
            asked.cancel()
            await asyncio.wait([asked])
        await _until_forgotten(roost)


@live
async def test_who_may_not_ask_is_told_the_same_and_the_server_is_left_alone(tmp_path: Path) -> None:
    keys = """
server:
  keys:
    - {name: all, key: all-key, scopes: [admin]}
    - {name: some, key: some-key, models: [alpha], scopes: [infer, read]}
    - {name: sleepy, key: sleepy-key, may_wake: false}
"""
    fake = FakeLoader()
    async with over(fake, tmp_path, more=keys) as roost:

        async def ask(key: str, name: str) -> tuple[int, str]:
            headers = {"authorization": f"Bearer {key}"}
            body = {"model": name, "messages": []}
            answer = await roost.client.post("/v1/chat/completions", json=body, headers=headers)
            return answer.status_code, answer.text.replace(name, "NAME").partition('"request_id"')[0]

        await roost.chat("beta")
        fake.orders.clear()
        forbidden, unknown = await ask("some-key", "beta"), await ask("some-key", "nobody")
        assert forbidden[0] == unknown[0] == 404
        assert forbidden[1] == unknown[1]
        assert (await ask("sleepy-key", "gamma"))[0] == 404
        assert (await roost.client.get("/v1/completions?model=gamma")).status_code == 404
        for path in ("/etc/passwd", "../x", "a/../b", "http://x/y", "what?"):
            assert (await ask("all-key", path))[0] == 404
        assert fake.orders == []
        assert (await ask("some-key", "alpha"))[0] == 200


@live
async def test_a_server_without_a_load_call_serves_its_list_and_404s_the_rest_at_once(tmp_path: Path) -> None:
    async with over(FakeLoader(can_load=False, loaded=["alpha"]), tmp_path) as roost:
        assert (await roost.chat("alpha")).status_code == 200
        assert (await roost.chat("beta")).json()["error"]["code"] == "model_not_found"
        assert roost.app.trials._refused == {}


@live
async def test_found_models_are_loaded_again_for_the_request_that_finds_them_gone(tmp_path: Path) -> None:
    fake = FakeLoader()
    async with over(fake, tmp_path) as roost:
        await roost.chat("alpha")
        server = roost.app.servers["box"]
        server._poll.cancel()  # type: ignore[union-attr]  # roost still believes that it is loaded
        fake.loaded.clear()
        assert (await roost.chat("alpha")).status_code == 200
        assert fake.orders == ["load alpha", "load alpha"]


@live
async def test_one_model_in_two_servers_is_one_name_with_two_places(tmp_path: Path) -> None:
    one, two = FakeOllama(), FakeOllama(names=("alpha:latest",))
    async with listening(one):
        async with listening(two):
            pass
        async with running_roost(TWO.format(one=one.url, two=two.url), tmp_path) as roost:
            assert (await roost.chat("alpha")).status_code == 200
            assert [replica.id for replica in roost.app.replicas if replica.model == "alpha:latest"] == [
                "alpha:latest/0"
            ]
            async with listening(two):
                async with asyncio.timeout(20):
                    while len(roost.app.controller.gate.lane("alpha:latest").seats) < 2:
                        await asyncio.sleep(0)
                assert two.loaded == []  # one copy does for now
                await asyncio.gather(*(roost.chat("alpha") for _ in range(40)))
                two.names = ()
                two.loaded.clear()
                async with asyncio.timeout(20):
                    while len(roost.app.controller.gate.lane("alpha:latest").seats) > 1:
                        await asyncio.sleep(0)
                assert (await roost.chat("alpha")).status_code == 200


@live
async def test_a_second_copy_comes_when_the_first_is_not_enough_and_each_server_gets_its_share(tmp_path: Path) -> None:
    async with (
        sim_engine(
            "--kind", "llamacpp-router", "--no-autoload", "--served-model-name", "a", "--served-model-name", "b"
        ) as one,
        sim_engine(
            "--kind", "llamacpp-router", "--no-autoload", "--served-model-name", "a", "--served-model-name", "b"
        ) as two,
        running_roost(TWO.format(one=one.url, two=two.url), tmp_path) as roost,
    ):
        await roost.chat("a")
        await roost.chat("b")
        seats = [seat for name in "ab" for seat in roost.app.controller.gate.lane(name).seats]
        up = sorted(seat.owner.id for seat in seats if seat.state is State.READY)
        assert up == ["a/0", "b/1"]  # where fewer are
        await one.set(token_delay="20ms")
        await asyncio.gather(*(roost.chat("a") for _ in range(12)))
        assert (await two.stats())["requests"] > 1


@live
async def test_the_order_of_last_use_outlives_a_restart(tmp_path: Path) -> None:
    fake = FakeLoader()
    async with listening(fake):
        config = ONE.format(url=fake.url, resident=2)
        async with running_roost(config, tmp_path) as roost:
            for name in ("alpha", "beta", "alpha"):
                await roost.chat(name)
        assert fake.loaded == ["alpha", "beta"]
        async with running_roost(config, tmp_path) as roost:
            assert await listed(roost) == ["alpha", "beta"]
            await roost.chat("gamma")
            assert sorted(fake.loaded) == ["alpha", "gamma"]


async def _until_forgotten(roost: RunningRoost) -> None:
    async with asyncio.timeout(20):
        while roost.app.trials._running or roost.app.controller.gate._lanes:
            await asyncio.sleep(0)
    assert roost.app.replicas == []
