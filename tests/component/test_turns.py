"""Three simulated engines share one place under mixed load, over real sockets: nobody is lost, cut or forgotten."""

import asyncio
import random
from collections import Counter
from pathlib import Path

from roost.core.lifecycle import State
from roost.tasks import spawn
from tests.support.live import live
from tests.support.roost import RunningRoost, running_roost

NAMES = ("a", "b", "c")
CONFIG = """
defaults: {engine: simulated, sleep_after: never, concurrency: 4}
memory: {max_resident: 1}
policy: {turn: 1s}
models: {a: {}, b: {}, c: {priority: high}}
"""


async def one(roost: RunningRoost, name: str, tokens: int) -> str:
    body = {"model": name, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": tokens, "stream": True}
    async with roost.client.stream("POST", "/v1/chat/completions", json=body) as answer:
        text = (await answer.aread()).decode()
    return "whole" if answer.status_code == 200 and text.endswith("data: [DONE]\n\n") else text[-300:]


@live
async def test_mixed_streams_over_one_place(tmp_path: Path) -> None:
    dice = random.Random(5)
    async with running_roost(CONFIG, tmp_path) as roost:
        swaps = Counter[str]()
        for replica in roost.app.replicas:
            replica.subscribe(lambda change: swaps.update([change.model] if change.after is State.READY else []))
        asked = [spawn(one(roost, dice.choice(NAMES), dice.randint(1, 12)), f"ask {n}") for n in range(90)]
        shown = (await roost.client.get("/api/v1/status")).json()["models"]
        assert all(set(model["queue"]["by_class"]) == {"high", "normal", "low"} for model in shown)
        ended = Counter(await asyncio.gather(*asked))
        assert ended == {"whole": 90}
        assert set(swaps) == set(NAMES)
        assert max(swaps.values()) <= 6, swaps
        facts = (await roost.client.get("/api/v1/models/a")).json()
        assert facts["queue"]["depth"] == 0
        assert facts["turn"] is None
