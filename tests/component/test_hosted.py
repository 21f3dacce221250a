"""Models inside servers that someone else runs: roost over a simulated llama-server router and a fake Ollama."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from roost.core.hosted_spec import Preset
from roost.core.lifecycle import State
from roost.tasks import spawn
from tests.support.fake_ollama import FakeOllama, listening
from tests.support.live import live
from tests.support.roost import RunningRoost, running_roost
from tests.support.sim import Sim, sim_engine

NAMES = ("alpha", "beta", "gamma")
CONFIG = """
memory: {{max_resident: {resident}}}
hosts:
  box: {{url: "{url}", preset: {preset}, load_timeout: 30s}}
models:
  alpha: {{inside: box, unload_after: never, restart: {{backoff: 10ms}}}}
  beta: {{inside: box, queue: {{max_wait: 20s}}}}
  gamma: {{inside: box}}
"""


@asynccontextmanager
async def routed(
    folder: Path, *flags: str, resident: int = 1, preset: str = "auto"
) -> AsyncIterator[tuple[RunningRoost, Sim]]:
    """A roost in front of a router that loads nothing by itself."""
    named = [word for name in NAMES for word in ("--served-model-name", name)]
    async with (
        sim_engine("--kind", "llamacpp-router", "--no-autoload", *named, *flags) as sim,
        running_roost(CONFIG.format(url=sim.url, resident=resident, preset=preset), folder) as roost,
    ):
        yield roost, sim


async def statuses(sim: Sim) -> dict[str, str]:
    data = (await sim.client.get("/v1/models")).json()["data"]
    return {entry["id"]: entry["status"]["value"] for entry in data}


async def loaded(sim: Sim) -> set[str]:
    return {name for name, value in (await statuses(sim)).items() if value == "loaded"}


@live
async def test_a_model_is_loaded_on_demand_and_another_makes_way_for_it(tmp_path: Path) -> None:
    async with routed(tmp_path) as (roost, sim):
        assert roost.app.servers["box"].way is not None
        assert roost.app.servers["box"].way.preset is Preset.LLAMA_SERVER
        assert (await roost.chat("alpha")).status_code == 200
        assert await loaded(sim) == {"alpha"}
        assert (await roost.chat("beta")).status_code == 200
        assert await loaded(sim) == {"beta"}
        assert roost.state("alpha") is State.COLD


@live
async def test_what_is_loaded_already_is_ready_at_once_and_stays_when_roost_ends(tmp_path: Path) -> None:
    async with sim_engine("--kind", "llamacpp-router", "--no-autoload", "--served-model-name", "alpha") as sim:
        await sim.client.post("/models/load", json={"model": "alpha"})
        while await loaded(sim) != {"alpha"}:
            pass
        only = f'hosts: {{box: {{url: "{sim.url}"}}}}\nmodels: {{alpha: {{inside: box}}}}\n'
        async with running_roost(only, tmp_path) as roost:
            assert roost.state("alpha") is State.READY
            assert (await sim.stats())["requests"] == 0
        assert await loaded(sim) == {"alpha"}


@live
async def test_a_model_unloaded_by_others_is_loaded_again_for_the_request_that_finds_it_gone(tmp_path: Path) -> None:
    async with routed(tmp_path) as (roost, sim):
        await roost.chat("alpha")
        server = roost.app.servers["box"]
        server._poll.cancel()  # type: ignore[union-attr]  # roost still believes that it is loaded
        await sim.client.post("/models/unload", json={"model": "alpha"})
        while await loaded(sim):
            pass
        assert roost.state("alpha") is State.READY
        answer = await roost.chat("alpha")
        assert answer.status_code == 200
        assert await loaded(sim) == {"alpha"}


@live
async def test_the_list_is_followed_without_any_request(tmp_path: Path) -> None:
    async with routed(tmp_path) as (roost, sim):
        await roost.chat("alpha")
        await sim.client.post("/models/unload", json={"model": "alpha"})
        await roost.until("alpha", State.COLD)
        await sim.client.post("/models/load", json={"model": "beta"})
        await roost.until("beta", State.READY)


@live
async def test_a_server_that_is_down_is_waited_for_and_named(tmp_path: Path) -> None:
    fake = FakeOllama()
    async with listening(fake):
        url = fake.url
    async with running_roost(CONFIG.format(url=url, resident=1, preset="auto"), tmp_path) as roost:
        asked = spawn(roost.chat("alpha"), "test")
        await roost.until("alpha", State.BACKOFF)
        short = await roost.client.post(
            "/v1/chat/completions",
            json={"model": "alpha", "messages": []},
            headers={"x-stainless-read-timeout": "0.1"},
        )
        assert short.status_code == 503
        assert f'The server "box" at {url} does not answer' in short.json()["error"]["message"]
        async with listening(fake):
            assert (await asked).status_code == 200
            assert fake.loaded == ["alpha:latest"]


@live
async def test_ollama_is_recognised_and_names_need_no_tag(tmp_path: Path) -> None:
    async with (
        listening(FakeOllama()) as fake,
        running_roost(CONFIG.format(url=fake.url, resident=1, preset="auto"), tmp_path) as roost,
    ):
        server = roost.app.servers["box"]
        assert server.way is not None
        assert server.way.preset is Preset.OLLAMA
        assert server.offers() == fake.names
        assert (await roost.chat("alpha")).status_code == 200
        assert (await roost.chat("beta", stream=True)).text.endswith("data: [DONE]\n\n")
        assert fake.orders == ["load alpha:latest", "unload alpha:latest", "load beta:latest"]
        assert fake.loaded == ["beta:latest"]


@live
async def test_a_restart_of_the_server_is_seen_and_its_models_are_loaded_again(tmp_path: Path) -> None:
    fake = FakeOllama()
    async with listening(fake):
        config = CONFIG.format(url=fake.url, resident=2, preset="auto")
        roosts = running_roost(config, tmp_path)
        roost = await roosts.__aenter__()
        await roost.chat("alpha")
    try:
        await roost.until("alpha", State.BACKOFF)
        fake.loaded.clear()
        async with listening(fake):
            await roost.until("alpha", State.COLD)
            assert (await roost.chat("alpha")).status_code == 200
    finally:
        await roosts.__aexit__(None, None, None)


@live
async def test_a_name_that_the_server_refuses_to_load_is_404(tmp_path: Path) -> None:
    async with (
        listening(FakeOllama()) as fake,
        running_roost(CONFIG.format(url=fake.url, resident=1, preset="auto"), tmp_path) as roost,
    ):
        answer = await roost.chat("gamma")
        assert answer.status_code == 404
        error = answer.json()["error"]
        assert error["code"] == "model_not_found"
        assert 'the server "box"' in error["message"]
        assert "model 'gamma' not found" in error["message"]


@live
async def test_a_name_that_its_server_does_not_list_costs_nobody_his_place(tmp_path: Path) -> None:
    config = CONFIG.replace("models:\n", "models:\n  zeta: {{inside: box, restart: {{backoff: 10ms}}}}\n")
    named = [word for name in NAMES for word in ("--served-model-name", name)]
    async with (
        sim_engine("--kind", "llamacpp-router", "--no-autoload", *named) as sim,
        running_roost(config.format(url=sim.url, resident=1, preset="auto"), tmp_path) as roost,
    ):
        assert (await roost.chat("alpha")).status_code == 200
        for _ in range(2):
            answer = await roost.chat("zeta")
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
        assert await loaded(sim) == {"alpha"}
        assert roost.state("alpha") is State.READY
        (alpha,) = (replica for replica in roost.app.replicas if replica.model == "alpha")
        assert State.DRAINING not in [change.after for change in alpha.history]


@live
async def test_a_load_that_fails_is_tried_again(tmp_path: Path) -> None:
    async with (
        listening(FakeOllama(broken="alpha:latest")) as fake,
        running_roost(CONFIG.format(url=fake.url, resident=1, preset="auto"), tmp_path) as roost,
    ):
        asked = spawn(roost.chat("alpha"), "test")
        await roost.until("alpha", State.BACKOFF)
        fake.broken = ""
        assert (await asked).status_code == 200


@live
async def test_the_answer_no_such_model_is_not_retried_for_ever(tmp_path: Path) -> None:
    async with (
        listening(FakeOllama()) as fake,
        running_roost(CONFIG.format(url=fake.url, resident=1, preset="auto"), tmp_path) as roost,
    ):
        await roost.chat("alpha")
        fake.denied = frozenset({"/v1/chat/completions"})
        fake.asked.clear()
        answer = await roost.chat("alpha")
        assert answer.status_code == 404
        assert answer.json()["error"]["message"] == "model 'alpha' not found"
        assert fake.asked.count("/v1/chat/completions") == 2


@live
async def test_a_fixed_server_serves_what_it_lists_and_404s_the_rest(tmp_path: Path) -> None:
    async with (
        sim_engine("--served-model-name", "alpha") as sim,
        running_roost(CONFIG.format(url=sim.url, resident=1, preset="auto"), tmp_path) as roost,
    ):
        server = roost.app.servers["box"]
        assert server.way is not None
        assert server.way.preset is Preset.FIXED
        assert (await roost.chat("alpha")).status_code == 200
        missing = await roost.chat("beta")
        assert missing.status_code == 404
        assert 'does not list "beta"' in missing.json()["error"]["message"]


@live
async def test_many_requests_for_three_models_in_one_place_all_get_whole_answers(tmp_path: Path) -> None:
    async with routed(tmp_path, "--token-delay", "1ms") as (roost, sim):
        most = 0
        done = asyncio.Event()

        async def watch() -> None:
            nonlocal most
            async with httpx.AsyncClient(base_url=sim.url, trust_env=False) as own:
                while not done.is_set():
                    data = (await own.get("/v1/models")).json()["data"]
                    most = max(most, sum(entry["status"]["value"] != "unloaded" for entry in data))

        watching = spawn(watch(), "test")
        answers = await asyncio.gather(*(roost.chat(NAMES[n % 3], stream=n % 2 == 0) for n in range(60)))
        done.set()
        await watching
        assert [answer.status_code for answer in answers] == [200] * 60
        assert all(answer.text.endswith("data: [DONE]\n\n") for answer in answers[::2])
        assert most == 1
