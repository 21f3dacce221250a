"""A real LiteLLM proxy in front of roost, which knows nothing but its environment, in front of a simulated llama-server
that holds two models and has room for one at a time.

Collected only by `./check litellm`, which installs it and names its interpreter.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.support.environment import Router, router
from tests.support.models import free_port
from tests.support.sim import sim_engine

PYTHON = os.environ.get("ROOST_LITELLM_PYTHON", "python")
KEY = "sk-2b7e151628aed2a6abf7158809cf4f3c762e7160f38b4da5"
LIMIT_S = 110.0
START_S = 90.0
NAMES = ("hermes-2-pro-mistral-7b", "nomic")
ENTRY = """\
  - model_name: {name}
    litellm_params: {{model: openai/{served}, api_base: {url}/v1, api_key: unused, max_tokens: 16}}
"""
CONFIG = """\
model_list:
{entries}litellm_settings: {{num_retries: 0, telemetry: false}}
general_settings: {{master_key: {key}}}
"""


@asynccontextmanager
async def litellm(folder: Path, url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Returns once it answers."""
    served = {**{name: name for name in NAMES}, "ghost": "nobody-has-this"}
    entries = "".join(ENTRY.format(name=name, served=one, url=url) for name, one in served.items())
    config, port = folder / "litellm.yaml", free_port()
    config.write_text(CONFIG.format(entries=entries, key=KEY))
    ours = {name: value for name, value in os.environ.items() if "PYTHON" not in name and "PROXY" not in name.upper()}
    with (folder / "litellm.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(str(Path(PYTHON).with_name("litellm")), "--config", str(config)),
            *("--host", "127.0.0.1", "--port", str(port)),
            stdout=log,
            stderr=log,
            cwd=folder,
            env={**ours, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"},
        )
    try:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}",
            timeout=30.0,
            trust_env=False,
            headers={"authorization": f"Bearer {KEY}"},
        ) as client:
            async with asyncio.timeout(START_S):
                while not await _answers(client):
                    assert process.returncode is None, (folder / "litellm.log").read_text()[-4000:]
            yield client
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def _answers(client: httpx.AsyncClient) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return (await client.get("/health/liveliness")).status_code == 200
    await asyncio.sleep(0)
    return False


@asynccontextmanager
async def chain(folder: Path) -> AsyncIterator[tuple[httpx.AsyncClient, Router]]:
    named = [word for name in NAMES for word in ("--served-model-name", name)]
    async with (
        asyncio.timeout(LIMIT_S),
        sim_engine("--kind", "llamacpp-router", "--no-autoload", *named) as sim,
        router(folder, sim.url, MAX_RESIDENT="1") as roost,
        litellm(folder, roost.url) as client,
    ):
        yield client, roost


def chat(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "Hello world"}], **more}


def test_requests_of_every_kind_come_through(tmp_path: Path) -> None:
    """One start for all of them, for it takes LiteLLM half a minute."""

    async def story() -> None:
        async with chain(tmp_path) as (client, roost):
            first = await client.post("/v1/chat/completions", json=chat(NAMES[0]))
            assert first.status_code == 200, first.text
            assert first.json()["choices"][0]["message"]["content"]
            assert await roost.loaded() == [NAMES[0]]
            streamed = await client.post("/v1/chat/completions", json=chat(NAMES[1], stream=True))
            assert streamed.status_code == 200
            assert streamed.text.rstrip().endswith("data: [DONE]")
            assert '"finish_reason":"stop"' in streamed.text.replace(" ", "") or "length" in streamed.text
            assert await roost.loaded() == [NAMES[1]]  # the other one made way for it
            embedded = await client.post("/v1/embeddings", json={"model": NAMES[1], "input": "Hello world"})
            assert embedded.status_code == 200, embedded.text
            assert embedded.json()["data"][0]["embedding"]
            missing = await client.post("/v1/chat/completions", json=chat("ghost"))
            assert missing.status_code == 404
            assert "nobody-has-this" in missing.json()["error"]["message"]
            mixed = [client.post("/v1/chat/completions", json=chat(NAMES[n % 2], stream=n % 3 == 0)) for n in range(24)]
            assert [answer.status_code for answer in await asyncio.gather(*mixed)] == [200] * 24

    asyncio.run(story())
