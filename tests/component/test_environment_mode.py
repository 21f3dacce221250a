"""`roost serve` with nothing but the environment: the first router's behaviour, command by command and line by line."""

import asyncio
import shutil
from pathlib import Path

import pytest

from tests.support.environment import router
from tests.support.fake_loader import FakeLoader
from tests.support.fake_ollama import FakeOllama, listening
from tests.support.live import live

LINES = ("Loading model", "Unloading model", "Failed to load model", "Timed out waiting for model to load")


@live
async def test_two_models_stay_and_the_least_recently_used_one_goes(tmp_path: Path) -> None:
    fake = FakeLoader()
    async with listening(fake), router(tmp_path, fake.url) as one:
        assert await one.loaded() == []
        for name in ("alpha", "beta", "alpha", "gamma"):
            answer = await one.complete(name)
            assert (answer.status_code, answer.json()["model"]) == (200, name)
        assert await one.loaded() == ["alpha", "gamma"]
        assert await one.loaded("?all=true") == ["alpha", "beta", "gamma"]
        chat = {"model": "gamma", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
        headers = {"authorization": "Bearer unused"}
        streamed = await one.client.post("/v1/chat/completions", json=chat, headers=headers)
        assert streamed.text.endswith("data: [DONE]\n\n")
        embedded = await one.client.post("/v1/embeddings", json={"model": "gamma", "input": "x"})
        assert embedded.json()["data"][0]["embedding"] == [0.0, 1.0]
        assert one.said(*LINES) == [
            "Loading model alpha as served name alpha",
            "Loading model beta as served name beta",
            "Unloading model beta",
            "Loading model gamma as served name gamma",
        ]
        reasons = [line for line in one.lines() if line.startswith(("Loading", "Unloading"))]
        assert "1 request waits" in reasons[0] and "'gamma'" in reasons[2]


@live
async def test_health_is_ok_for_the_check_of_its_compose_file(tmp_path: Path) -> None:
    wget = shutil.which("wget")
    if wget is None:
        pytest.skip("there is no wget")
    fake = FakeLoader()
    async with listening(fake), router(tmp_path, fake.url) as one:
        assert (await one.client.get("/health")).text == "OK\n"
        check = await asyncio.create_subprocess_exec(wget, "--spider", "-q", f"{one.client.base_url}/health")
        assert await check.wait() == 0


@live
async def test_one_place_over_ollama_and_a_list_that_is_always_true(tmp_path: Path) -> None:
    fake = FakeOllama()
    async with listening(fake), router(tmp_path, fake.url, MAX_RESIDENT="1") as one:
        for name in ("alpha", "beta:latest"):
            assert (await one.complete(name)).status_code == 200
        assert await one.loaded() == ["beta:latest"]
        fake.loaded[:] = ["alpha:latest"]  # by somebody else
        async with asyncio.timeout(10):
            while await one.loaded() != ["alpha:latest"]:
                pass
        assert (await one.complete("nobody")).status_code == 404


@live
async def test_a_server_without_a_load_call(tmp_path: Path) -> None:
    fake = FakeLoader(can_load=False, loaded=["alpha"])
    async with listening(fake), router(tmp_path, fake.url) as one:
        assert await one.loaded() == ["alpha"]
        assert (await one.complete("alpha")).status_code == 200
        assert (await one.complete("beta")).json()["error"]["code"] == "model_not_found"


@live
async def test_loads_that_fail_or_never_end_are_said(tmp_path: Path) -> None:
    fake = FakeLoader(broken={"alpha"})
    async with listening(fake), router(tmp_path, fake.url, LOAD_TIMEOUT="200ms") as one:
        answer = await one.client.post(
            "/v1/completions", json={"model": "alpha", "prompt": "x"}, headers={"x-stainless-read-timeout": "0.5"}
        )
        assert answer.status_code == 503
        assert one.said("Failed to load model")[0] == "Failed to load model alpha"
        fake.gate = asyncio.Event()
        answer = await one.client.post(
            "/v1/completions", json={"model": "beta", "prompt": "x"}, headers={"x-stainless-read-timeout": "1.5"}
        )
        assert answer.status_code == 503
        assert one.said("Timed out")[0] == "Timed out waiting for model to load: beta is not listed as loaded"
        fake.gate.set()


@live
async def test_several_servers_share_the_models(tmp_path: Path) -> None:
    first, second = FakeLoader(), FakeLoader(knows={"beta", "delta"})
    async with listening(first), listening(second), router(tmp_path, first.url, second.url, VLLM_API_KEY="k") as one:
        assert (await one.complete("alpha")).status_code == 200
        assert (await one.complete("delta")).status_code == 200  # which the first one refuses
        assert sorted(first.loaded + second.loaded) == ["alpha", "delta"]
        assert (await one.complete("beta")).status_code == 200
        assert sorted(first.loaded + second.loaded) == ["beta", "delta"]
        assert (await one.complete("nobody")).status_code == 404
        assert (first.orders.count("load nobody"), second.orders.count("load nobody")) == (1, 1)
        assert set(first.keys + second.keys) == {"Bearer k"}


@live
async def test_who_was_used_last_is_known_after_a_restart(tmp_path: Path) -> None:
    fake = FakeLoader()
    async with listening(fake):
        async with router(tmp_path, fake.url) as one:
            for name in ("alpha", "beta", "alpha"):
                await one.complete(name)
        async with router(tmp_path, fake.url) as one:
            assert await one.loaded() == ["alpha", "beta"]
            await one.complete("gamma")
            assert await one.loaded() == ["alpha", "gamma"]
