"""What official clients and plain HTTP get from the simulated engine as a real process."""

import base64
import hashlib
import json
import struct
from typing import Any

import anthropic
import httpx
import openai
import pytest

from roost.sim.text import is_garbage
from tests.support.live import live
from tests.support.sim import Sim, sim_engine

CHAT = {"model": "a", "messages": [{"role": "user", "content": "hi"}]}


def _client(sim: Sim, key: str = "none") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{sim.url}/v1", api_key=key, max_retries=0)


async def _chat(sim: Sim, **extra: Any) -> dict[str, Any]:
    answer = await sim.client.post("/v1/chat/completions", json={**CHAT, **extra})
    found: dict[str, Any] = answer.raise_for_status().json()
    return found


@live
async def test_chat_whole_and_streamed_say_the_same() -> None:
    async with sim_engine(model="a") as sim, _client(sim) as client:
        messages: Any = [{"role": "user", "content": "hi"}]
        whole = await client.chat.completions.create(model="a", messages=messages, max_tokens=5)
        stream = await client.chat.completions.create(
            model="a", messages=messages, max_tokens=5, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert said == whole.choices[0].message.content
        assert len(said.split()) == 5
        assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason == "length"
        assert chunks[-1].usage == whole.usage
        assert whole.usage is not None and whole.usage.completion_tokens == 5


@live
async def test_the_answer_tells_which_engine_gave_it() -> None:
    async with sim_engine(model="a") as first, sim_engine("--served-model-name", "a", model="b") as second:
        said = [(await _chat(sim))["choices"][0]["message"]["content"] for sim in (first, second, first)]
        assert said[0] == said[2] != said[1]
        assert not is_garbage(said[0])


@live
async def test_seeds_change_answers() -> None:
    async with sim_engine(model="a") as sim:
        answers = [await _chat(sim), await _chat(sim, seed=1), await _chat(sim, seed=1)]
        said = [answer["choices"][0]["message"]["content"] for answer in answers]
        assert said[0] != said[1] == said[2]


@live
async def test_tool_calls_name_the_first_tool_and_fit_its_parameters() -> None:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": parameters}}]
    async with sim_engine(model="a") as sim, _client(sim) as client:
        messages: Any = CHAT["messages"]
        whole = await client.chat.completions.create(model="a", messages=messages, tools=tools, tool_choice="required")
        assert whole.choices[0].finish_reason == "tool_calls"
        calls = whole.choices[0].message.tool_calls
        assert calls is not None and calls[0].type == "function" and calls[0].function.name == "weather"
        assert set(json.loads(calls[0].function.arguments)) == {"city", "days"}
        stream = await client.chat.completions.create(
            model="a", messages=messages, tools=tools, tool_choice="required", stream=True
        )
        parts: list[Any] = []
        async for chunk in stream:
            parts += chunk.choices[0].delta.tool_calls or []
        arguments = "".join(part.function.arguments or "" for part in parts if part.function)
        assert arguments == calls[0].function.arguments


@live
async def test_structured_output_fits_its_schema() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    async with sim_engine(model="a") as sim:
        said = (await _chat(sim, response_format=form, max_tokens=1))["choices"][0]["message"]["content"]
        assert json.loads(said) == {"n": 1}
        said = (await _chat(sim, response_format={"type": "json_object"}))["choices"][0]["message"]["content"]
        assert isinstance(json.loads(said), dict)


@live
async def test_completions_of_text_and_of_tokens_agree() -> None:
    async with sim_engine(model="a") as sim, _client(sim) as client:
        tokens = (await sim.client.post("/tokenize", json={"model": "a", "prompt": "hello there"})).json()
        whole = await client.completions.create(model="a", prompt="hello there", max_tokens=4)
        same = await client.completions.create(model="a", prompt=tokens["tokens"], max_tokens=4)
        assert whole.choices[0].text == same.choices[0].text
        assert whole.usage is not None and whole.usage.prompt_tokens == tokens["count"]
        stream = await client.completions.create(model="a", prompt="hello there", max_tokens=4, stream=True)
        assert "".join([chunk.choices[0].text async for chunk in stream]) == whole.choices[0].text
        back = await sim.client.post("/detokenize", json={"tokens": tokens["tokens"]})
        assert back.json() == {"prompt": "hello there"}


@live
async def test_embeddings_as_the_client_asks_for_them() -> None:
    async with sim_engine(model="a") as sim, _client(sim) as client:
        both = await client.embeddings.create(model="a", input=["x", "y"])
        plain = (await sim.client.post("/v1/embeddings", json={"model": "a", "input": "x"})).json()
        assert both.data[0].embedding == pytest.approx(plain["data"][0]["embedding"])
        assert both.data[0].embedding != both.data[1].embedding
        raw = {"model": "a", "input": "x", "encoding_format": "base64", "dimensions": 8}
        packed = base64.b64decode((await sim.client.post("/v1/embeddings", json=raw)).json()["data"][0]["embedding"])
        assert len(struct.unpack("<8f", packed)) == 8


@live
async def test_rerank_and_score() -> None:
    async with sim_engine(model="a") as sim:
        body = {"model": "a", "query": "red apple", "documents": ["blue pear", "a red apple"], "top_n": 1}
        for path in ("/v1/rerank", "/rerank", "/v2/rerank"):
            (best,) = (await sim.client.post(path, json=body)).raise_for_status().json()["results"]
            assert (best["index"], best["document"]) == (1, {"text": "a red apple"})
        pairs = {"model": "a", "text_1": "red apple", "text_2": ["blue pear", "a red apple"]}
        scores = [one["score"] for one in (await sim.client.post("/score", json=pairs)).json()["data"]]
        assert scores[0] < scores[1] == best["relevance_score"]


@live
async def test_responses_whole_and_streamed() -> None:
    async with sim_engine(model="a") as sim, _client(sim) as client:
        whole = await client.responses.create(model="a", input="hi", max_output_tokens=4)
        assert whole.status == "incomplete"
        deltas, last = [], None
        async for event in await client.responses.create(model="a", input="hi", stream=True):
            last = event
            if event.type == "response.output_text.delta":
                deltas.append(event.delta)
        assert last is not None and last.type == "response.completed"
        assert "".join(deltas) == last.response.output_text
        assert last.response.output_text.startswith(whole.output_text)


@live
async def test_messages_whole_and_streamed() -> None:
    messages: Any = [{"role": "user", "content": "hi"}]
    async with sim_engine(model="a") as sim, anthropic.AsyncAnthropic(base_url=sim.url, api_key="none") as client:
        whole = await client.messages.create(model="a", max_tokens=4, messages=messages, system="be brief")
        block = whole.content[0]
        assert block.type == "text" and whole.stop_reason == "max_tokens"
        async with client.messages.stream(model="a", max_tokens=4, messages=messages, system="be brief") as stream:
            assert "".join([piece async for piece in stream.text_stream]) == block.text
        counted = await client.messages.count_tokens(model="a", messages=messages, system="be brief")
        assert counted.input_tokens == whole.usage.input_tokens


@live
async def test_audio_and_images() -> None:
    async with sim_engine(model="a") as sim, _client(sim) as client:
        first = await client.audio.transcriptions.create(model="a", file=("x.wav", b"RIFF\r\n\x00\xff"))
        again = await client.audio.transcriptions.create(model="a", file=("y.wav", b"RIFF\r\n\x00\xff"))
        other = await client.audio.transcriptions.create(model="a", file=("x.wav", b"another"))
        assert first.text == again.text != other.text
        image = (await sim.client.post("/v1/images/generations", json={"model": "a", "prompt": "x"})).json()
        assert base64.b64decode(image["data"][0]["b64_json"]).startswith(b"\x89PNG")
        wrong = await sim.client.post("/v1/audio/transcriptions", data={"model": "b"}, files={"file": b"x"})
        assert wrong.status_code == 404


@live
async def test_errors_are_those_of_vllm() -> None:
    async with sim_engine("--max-model-len", "100", model="a") as sim, _client(sim) as client:
        messages: Any = CHAT["messages"]
        with pytest.raises(openai.NotFoundError, match="`b` does not exist"):
            await client.chat.completions.create(model="b", messages=messages)
        with pytest.raises(openai.BadRequestError, match="maximum context length is 100 tokens"):
            await client.chat.completions.create(model="a", messages=messages, max_tokens=99)
        with pytest.raises(openai.BadRequestError, match="at least 1"):
            await client.chat.completions.create(model="a", messages=messages, max_tokens=0)
        broken = await sim.client.post("/v1/chat/completions", content=b"{")
        assert (broken.status_code, broken.json()["error"]["type"]) == (400, "BadRequestError")
        empty = await sim.client.post("/v1/chat/completions", json={"model": "a"})
        assert (empty.status_code, empty.json()["error"]["param"]) == (400, "messages")
        assert (await sim.client.get("/v1/chat/completions")).status_code == 405
        assert (await sim.client.get("/nowhere")).status_code == 404


@live
async def test_the_key_guards_v1_and_nothing_else() -> None:
    async with sim_engine("--api-key", "k", model="a") as sim, _client(sim, "k") as good, _client(sim, "bad") as bad:
        assert [model.id async for model in good.models.list()] == ["a"]
        with pytest.raises(openai.AuthenticationError):
            await bad.models.list()
        for path in ("/health", "/metrics", "/is_sleeping"):
            assert (await sim.client.get(path)).status_code == 200
        assert (await sim.client.post("/sleep")).status_code == 200


@live
async def test_small_paths_and_metrics() -> None:
    async with sim_engine(model="a") as sim:
        assert (await sim.client.get("/ping")).status_code == 200
        assert (await sim.client.head("/health")).status_code == 200
        assert "version" in (await sim.client.get("/version")).json()
        assert (await sim.client.get("/load")).json() == {"server_load": 0}
        text = (await sim.client.get("/metrics")).text
        assert 'vllm:engine_sleep_state{engine="0",model_name="a",sleep_state="awake"} 1.0' in text
        await sim.client.post("/sleep?level=2")
        text = (await sim.client.get("/metrics")).text
        assert 'sleep_state="discard_all"} 1.0' in text and 'sleep_state="awake"} 0.0' in text


@live
async def test_echo_tells_what_arrived() -> None:
    async with sim_engine(model="a") as sim:
        body = bytes(range(256)) * 1000
        for path in ("/sim/echo/deep", "/v1/sim/echo"):
            answer = await sim.client.put(f"{path}?x=1&x=%20", content=body, headers={"x-mine": "yes"})
            seen = answer.json()
            assert (seen["method"], seen["path"], seen["query"]) == ("PUT", path, "x=1&x=%20")
            assert ["x-mine", "yes"] in seen["headers"]
            assert (seen["body_length"], seen["body_sha256"]) == (len(body), hashlib.sha256(body).hexdigest())
            assert seen["engine"] == "a"


@live
async def test_served_names_hide_the_weights_name() -> None:
    async with sim_engine("--served-model-name", "x", "y", model="weights") as sim:
        listed = (await sim.client.get("/v1/models")).json()["data"]
        assert [(one["id"], one["root"]) for one in listed] == [("x", "weights"), ("y", "weights")]
        answers = [await sim.client.post("/v1/chat/completions", json={**CHAT, "model": name}) for name in ("y", "a")]
        assert [answer.status_code for answer in answers] == [200, 404]
        assert answers[0].json()["model"] == "y"


@live
async def test_a_request_without_a_model_gets_the_only_one() -> None:
    async with sim_engine(model="a") as sim, httpx.AsyncClient(base_url=sim.url) as client:
        answer = await client.post("/v1/chat/completions", json={"messages": CHAT["messages"]})
        assert answer.json()["model"] == "a"
