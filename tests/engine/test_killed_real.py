"""kill -9 of roost over real llama.cpp engines: one awake, one asleep by itself; the next roost takes both up."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from tests.component.test_killed import Place, chat, gone, models
from tests.support.live import live


@live
async def test_real_engines_are_adopted_awake_and_asleep(tmp_path: Path, tiny_models: Mapping[str, Path]) -> None:
    args = "args: ['--threads 1', '--ctx-size 1024']"
    place = Place(
        tmp_path,
        f"  a: {{weights: {tiny_models['tiny-a']}, {args}, sleep_after: never}}\n"
        f"  b: {{weights: {tiny_models['tiny-b']}, {args}, sleep_after: 1s}}\n",
    )
    async with place.up() as (process, client):
        texts = [await chat(client, name) for name in "ab"]
        async with asyncio.timeout(20):
            while (before := await models(client))["b"]["state"] != "asleep":
                await asyncio.sleep(0)
        process.kill()
        await process.wait()
    async with place.up() as (_, client):
        after = await models(client)
        assert [after[name]["pid"] for name in "ab"] == [before[name]["pid"] for name in "ab"]
        assert [after[name]["state"] for name in "ab"] == ["ready", "asleep"]
        assert [await chat(client, name) for name in "ab"] == texts
    assert all(gone(before[name]["pid"]) for name in "ab")
