"""The official `openai` and `anthropic` clients against roost, as their users hold them."""

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
import websockets

from roost.core.lifecycle import State
from tests.support.live import live
from tests.support.roost import RunningRoost, running_roost

KEYED = """
server:
  keys: [{name: all, key: k-all, scopes: [admin]}]
models:
  sim: {engine: simulated, args: ['--max-model-len 4096']}
  slow: {engine: simulated, args: ['--start-delay 60s'], queue: {size: 1, max_wait: 1s}}
  asks: {engine: simulated, task: embed}
"""
WEATHER: Any = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
HELLO: Any = [{"role": "user", "content": "Hello"}]


def async_client(roost: RunningRoost, key: str = "k-all", retries: int = 0) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{roost.url}/v1", api_key=key, max_retries=retries)


@live
async def test_openai_async(tmp_path: Path) -> None:
    async with running_roost(KEYED, tmp_path) as roost, async_client(roost) as client:
        models = [model.id async for model in client.models.list()]
        assert models == ["sim", "slow", "asks"]
        whole = await client.chat.completions.create(model="sim", messages=HELLO, max_tokens=5)
        assert whole.choices[0].finish_reason == "length"
        assert whole.usage is not None
        assert whole.usage.completion_tokens == 5
        stream = await client.chat.completions.create(
            model="sim", messages=HELLO, max_tokens=5, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text == whole.choices[0].message.content
        assert chunks[-1].usage is not None
        completion = await client.completions.create(model="sim", prompt="Hello", max_tokens=3)
        assert completion.choices[0].text
        vectors = await client.embeddings.create(model="asks", input=["one", "two"])
        assert len(vectors.data) == 2
        assert isinstance(vectors.data[0].embedding[0], float)


@live
async def test_openai_tools_and_structured_output_pass_through(tmp_path: Path) -> None:
    async with running_roost(KEYED, tmp_path) as roost, async_client(roost) as client:
        called = await client.chat.completions.create(
            model="sim", messages=HELLO, tools=[WEATHER], tool_choice="required"
        )
        calls: Any = called.choices[0].message.tool_calls
        assert calls[0].function.name == "get_weather"
        form: Any = {
            "type": "json_schema",
            "json_schema": {"name": "p", "schema": {"type": "object", "properties": {"age": {"type": "integer"}}}},
        }
        structured = await client.chat.completions.create(model="sim", messages=HELLO, response_format=form)
        assert (structured.choices[0].message.content or "").startswith("{")


@live
async def test_openai_error_classes(tmp_path: Path) -> None:
    async with running_roost(KEYED, tmp_path) as roost, async_client(roost) as client:
        with pytest.raises(openai.NotFoundError) as unknown:
            await client.chat.completions.create(model="nope", messages=HELLO)
        assert unknown.value.code == "model_not_found"
        async with async_client(roost, key="wrong") as stranger:
            with pytest.raises(openai.AuthenticationError):
                await stranger.models.list()
        with pytest.raises(openai.BadRequestError):
            await client.chat.completions.create(model="sim", messages=[], max_tokens=-1)

        async def ask() -> object:
            return await client.chat.completions.create(model="slow", messages=HELLO)

        results = await asyncio.gather(*(ask() for _ in range(3)), return_exceptions=True)
        kinds = sorted(type(result).__name__ for result in results)
        assert kinds == ["InternalServerError", "RateLimitError", "RateLimitError"]


@live
async def test_openai_client_retries_a_503_that_says_when(tmp_path: Path) -> None:
    text = "models:\n  a: {engine: simulated, args: ['--start-delay 900ms'], queue: {max_wait: 400ms}}\n"
    async with running_roost(text, tmp_path) as roost, async_client(roost, retries=5) as client:
        await roost.client.post("/api/v1/models/a/load")  # now roost knows how long a start takes
        await roost.client.post("/api/v1/models/a/unload")
        answer = await client.chat.completions.create(model="a", messages=HELLO, max_tokens=2)
        assert answer.choices[0].message.content
        recent = (await roost.client.get("/api/v1/requests/recent")).json()["requests"]
        assert 503 in [request["status"] for request in recent]


@live
async def test_openai_sync_against_a_real_engine(tmp_path: Path, tiny_models: Mapping[str, Path]) -> None:
    text = f"models:\n  a: {{weights: {tiny_models['tiny-a']}, args: ['--threads 1'], sleep_after: never}}\n"
    async with running_roost(text, tmp_path) as roost:

        def use() -> tuple[str, str]:
            with openai.OpenAI(base_url=f"{roost.url}/v1", api_key="none", max_retries=0) as client:
                whole = client.chat.completions.create(model="a", messages=HELLO, max_tokens=6, temperature=0)
                stream = client.chat.completions.create(
                    model="a", messages=HELLO, max_tokens=6, temperature=0, stream=True
                )
                pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
                cut = client.chat.completions.create(model="a", messages=HELLO, max_tokens=400, stream=True)
                next(iter(cut))
                cut.close()
            return whole.choices[0].message.content or "", "".join(pieces)

        whole, streamed = await asyncio.to_thread(use)
        assert whole
        assert whole == streamed
        assert threading.active_count() >= 1


@live
async def test_anthropic_against_a_real_engine(tmp_path: Path, tiny_models: Mapping[str, Path]) -> None:
    text = f"models:\n  a: {{weights: {tiny_models['tiny-a']}, args: ['--threads 1'], sleep_after: never}}\n"
    async with (
        running_roost(text, tmp_path) as roost,
        anthropic.AsyncAnthropic(base_url=roost.url, api_key="none", max_retries=0) as client,
    ):
        message = await client.messages.create(model="a", max_tokens=6, messages=HELLO)
        assert message.usage.output_tokens == 6
        async with client.messages.stream(model="a", max_tokens=6, messages=HELLO) as stream:
            assert "".join([text async for text in stream.text_stream])
        with pytest.raises(anthropic.NotFoundError) as unknown:
            await client.messages.create(model="nope", max_tokens=6, messages=HELLO)
        assert "nope" in str(unknown.value)


@live
async def test_websocket_reaches_the_model_it_names(tmp_path: Path) -> None:
    async with running_roost("models:\n  a: {engine: simulated, preload: true}\n", tmp_path) as roost:
        await roost.until("a", State.READY)
        url = f"{roost.url.replace('http', 'ws')}/v1/realtime?model=a"
        async with websockets.connect(url) as socket:
            await socket.send("hello")
            assert await socket.recv() == "hello"


@live
async def test_openai_reads_the_wait_for_a_model_as_reasoning(tmp_path: Path) -> None:
    text = (
        "models:\n"
        "  a: {engine: simulated, loading_state: true, args: ['--start-delay 1500ms']}\n"
        "  late: {engine: simulated, loading_state: true, args: ['--start-delay 60s'], queue: {max_wait: 2s}}\n"
    )
    async with running_roost(text, tmp_path) as roost, async_client(roost) as client:
        stream = await client.chat.completions.create(model="a", messages=HELLO, max_tokens=5, stream=True)
        told, content = "", ""
        async for chunk in stream:
            delta: Any = chunk.choices[0].delta if chunk.choices else None
            reasoning = getattr(delta, "reasoning_content", None) or ""
            assert not (reasoning and content)
            told += reasoning
            content += (delta.content if delta is not None else "") or ""
        assert "it is being loaded" in told
        assert "Ready after" in told
        whole = await client.chat.completions.create(model="a", messages=HELLO, max_tokens=5)
        assert content == whole.choices[0].message.content
        with pytest.raises(openai.APIError, match="No replica was free within"):
            async for _ in await client.chat.completions.create(model="late", messages=HELLO, stream=True):
                pass
