"""A folder of real GGUF files: each is served by a llama.cpp of its own, as files come and go."""

import asyncio
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import httpx

from roost import clock
from tests.support.live import live
from tests.support.models import free_port
from tests.support.roost import roost_process, until_ready

CHAT = "/v1/chat/completions"


def put(source: Path, to: Path) -> None:
    """A copy that has rested for a minute."""
    shutil.copyfile(source, to)
    moment = clock.wall() - 60
    os.utime(to, (moment, moment))


async def answer(client: httpx.AsyncClient, model: str) -> str:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8, "temperature": 0}
    got = await client.post(CHAT, json=body)
    return str(got.json()["choices"][0]["message"]["content"]) if got.status_code == 200 else str(got.status_code)


async def until_listed(client: httpx.AsyncClient, *names: str) -> None:
    async with asyncio.timeout(30):
        while [model["id"] for model in (await client.get("/v1/models")).json()["data"]] != list(names):
            await asyncio.sleep(0)


@live
async def test_files_that_come_and_go(tmp_path: Path, tiny_models: Mapping[str, Path]) -> None:
    folder, port = tmp_path / "weights", free_port()
    folder.mkdir()
    put(tiny_models["tiny-a"], folder / "tiny-a.gguf")
    config = tmp_path / "roost.yaml"
    config.write_text(
        f"server: {{port: {port}}}\n"
        "models_dir:\n  path: weights\n  rescan: 100ms\n"
        '  settings: {"tiny*": {args: [--threads 1, --ctx-size 512, --no-mmap], sleep_after: never}}\n'
    )
    async with (
        roost_process(config, tmp_path / "state"),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60.0, trust_env=False) as client,
    ):
        await until_ready(client)
        first = await answer(client, "tiny-a")
        put(tiny_models["tiny-b"], folder / "tiny-b.gguf")
        await until_listed(client, "tiny-a", "tiny-b")
        second = await answer(client, "tiny-b")
        assert first and second and first != second and "404" not in (first, second)
        (folder / "tiny-a.gguf").unlink()
        await until_listed(client, "tiny-b")
        assert await answer(client, "tiny-a") == "404" and await answer(client, "tiny-b") == second
        put(tiny_models["tiny-c"], folder / "tiny-b.gguf")
        async with asyncio.timeout(30):
            while (third := await answer(client, "tiny-b")) in (second, "404"):
                await asyncio.sleep(0)
        assert third != second
