"""What the predecessor's router got wrong on the request path, one test per defect of the migration list.

Those of its statistics, sleeping, launcher and Python API are tested where these parts are; see docs/migrating.md.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx

from roost.core.lifecycle import State
from tests.support.live import live
from tests.support.plane import Engine, engine, read_request
from tests.support.roost import RunningRoost, running_roost

JSON = b"content-type: application/json\r\n"


def answer(status: str, body: bytes, fields: bytes = JSON) -> bytes:
    return b"HTTP/1.1 %s\r\n%scontent-length: %d\r\n\r\n%s" % (status.encode(), fields, len(body), body)


class Script:
    """An engine that is healthy and gives one raw answer to everything else, then closes if told to."""

    def __init__(self, raw: bytes, *, close: bool = False) -> None:
        self.raw = raw
        self.close = close
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.left = asyncio.Event()

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, body = await read_request(reader)
            if head.startswith(b"GET "):  # health, and whether it sleeps
                writer.write(answer("200 OK", b"{}"))
                continue
            self.heads.append(head)
            self.bodies.append(body)
            writer.write(self.raw)
            await writer.drain()
            if self.close:
                writer.close()
                return
            if not self.raw:  # says nothing: waits for its client to leave
                await reader.read()
                self.left.set()


@contextlib.asynccontextmanager
async def behind(script: Script, folder: Path, more: str = "") -> AsyncIterator[tuple[RunningRoost, Engine]]:
    async with engine(script.play) as made:
        text = f"models:\n  org/a: {{engine: vllm, url: 'http://127.0.0.1:{made.port}'{more}}}\n"
        async with running_roost(text, folder) as roost:
            await roost.until("org/a", State.READY)
            yield roost, made


async def stats(roost: RunningRoost) -> dict[str, object]:
    facts = (await roost.client.get("/traffic/stats/org%2Fa")).json()["model_stats"]
    assert isinstance(facts, dict)
    return facts


CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = b'19\r\ndata: {"choices": [{}]}\n\n\r\n'


@live
async def test_defect_01_02_a_broken_stream_counts_as_failed_and_has_no_second_answer_in_it(tmp_path: Path) -> None:
    async with behind(Script(CHUNKED + EVENT, close=True), tmp_path) as (roost, _):
        got = b""
        with contextlib.suppress(httpx.RemoteProtocolError):
            async with roost.client.stream(
                "POST", "/v1/chat/completions", json={"model": "org/a", "messages": [], "stream": True}
            ) as response:
                async for piece in response.aiter_raw():
                    got += piece
        assert b"data: {" in got
        assert b"HTTP/1.1" not in got
        facts = await stats(roost)
        assert (facts["total_requests"], facts["successful_requests"], facts["failed_requests"]) == (1, 0, 1)


@live
async def test_defect_01_a_whole_stream_counts_when_it_ends_with_its_full_time(tmp_path: Path) -> None:
    async with running_roost("models:\n  org/a: {engine: simulated, args: [--token-delay 20ms]}\n", tmp_path) as roost:
        async with roost.client.stream(
            "POST", "/v1/completions", json={"model": "org/a", "prompt": "x", "max_tokens": 10, "stream": True}
        ) as response:
            pieces = response.aiter_raw()
            await anext(pieces)
            during = await stats(roost)
            async for _ in pieces:
                pass
        after = await stats(roost)
        assert (during["total_requests"], during["in_flight"]) == (0, 1)
        assert (after["successful_requests"], after["in_flight"]) == (1, 0)
        assert isinstance(after["avg_response_time"], float)
        assert isinstance(after["avg_ttft"], float)
        assert after["avg_response_time"] > 0.15 > 0.0 < after["avg_ttft"] < after["avg_response_time"]


@live
async def test_defect_03_an_engines_own_refusal_passes_with_status_body_and_fields(tmp_path: Path) -> None:
    body = '{"error": {"message": "zu früh"}}'.encode()
    raw = answer("429 Too Many Requests", body, JSON + b"retry-after: 7\r\n")
    async with behind(Script(raw), tmp_path) as (roost, _):
        got = await roost.chat("org/a")
        assert (got.status_code, got.content, got.headers["retry-after"]) == (429, body, "7")
        assert (await stats(roost))["failed_requests"] == 1


@live
async def test_defect_04_05_bad_requests_are_the_clients_with_openais_error_object(tmp_path: Path) -> None:
    async with behind(Script(answer("200 OK", b"{}")), tmp_path) as (roost, _):
        post, url = roost.client.post, "/v1/completions"
        unknown = await post(url, json={"model": "nobody", "prompt": "x"})
        broken = await post(url, content=b'{"model": ', headers={"content-type": "application/json"})
        a_list = await post(url, json=["org/a"])
        assert [unknown.status_code, broken.status_code, a_list.status_code] == [404, 400, 400]
        for refused in (unknown, broken, a_list):
            assert {"message", "type", "param", "code"} <= set(refused.json()["error"])
        large = await post(url, json={"model": "org/a", "prompt": "x" * (3 << 20)})
        assert large.status_code == 200


@live
async def test_defect_06_fields_and_bytes_pass_unchanged_both_ways(tmp_path: Path) -> None:
    body = '{"text":  "Grüße"}'.encode()
    script = Script(answer("200 OK", body, JSON + b"x-engine: yes\r\n"))
    async with behind(script, tmp_path, ", api_key: sesame") as (roost, _):
        sent = json.dumps({"prompt": "Größe", "model": "org/a"}, ensure_ascii=False).encode()
        fields = {"content-type": "application/json", "x-request-id": "mine-1", "traceparent": "00-1-2-01"}
        got = await roost.client.post("/v1/completions", content=sent, headers=fields)
        assert (got.content, got.headers["x-engine"], got.headers["x-request-id"]) == (body, "yes", "mine-1")
        assert script.bodies == [sent]
        head = script.heads[0].lower()
        assert b"traceparent: 00-1-2-01" in head
        assert b"authorization: bearer sesame" in head


@live
async def test_defect_07_an_engine_that_is_away_or_silent_is_told_apart(tmp_path: Path) -> None:
    script = Script(b"")
    async with behind(script, tmp_path, ", timeouts: {first_byte: 200ms}") as (roost, _):
        assert (await roost.chat("org/a")).status_code == 504
    script = Script(b"", close=True)
    async with behind(script, tmp_path) as (roost, _):
        assert (await roost.chat("org/a")).status_code == 502


@live
async def test_defect_08_a_client_that_leaves_ends_the_work_and_is_no_success(tmp_path: Path) -> None:
    script = Script(b"")
    async with behind(script, tmp_path) as (roost, _):
        with contextlib.suppress(httpx.ReadTimeout):
            body = {"model": "org/a", "prompt": "x"}
            await roost.client.post("/v1/completions", json=body, timeout=0.2)
        async with asyncio.timeout(5):
            await script.left.wait()
        facts = await stats(roost)
        assert (facts["total_requests"], facts["successful_requests"], facts["cancelled_requests"]) == (1, 0, 1)


@live
async def test_defect_09_both_lists_of_models_and_every_openai_path(tmp_path: Path) -> None:
    script = Script(answer("200 OK", b'{"data": []}'))
    async with behind(script, tmp_path) as (roost, made):
        both = (await roost.client.get("/models")).json()
        assert both["object"] == "list"
        assert [model["id"] for model in both["data"]] == ["org/a"]
        assert both["models"]["org/a"]["endpoint"] == f"http://127.0.0.1:{made.port}"
        assert (await roost.client.get("/v1/models")).json()["data"][0]["id"] == "org/a"
        for path in ("/v1/embeddings", "/v1/responses", "/v1/rerank", "/v1/audio/speech"):
            assert (await roost.client.post(path, json={"model": "org/a"})).status_code == 200


@live
async def test_defect_23_health_tells_the_truth_about_one_and_all(tmp_path: Path) -> None:
    bad = "{command: 'false ${PORT}', restart: {tries: 1, retry_failed_after: never}}"
    text = f"models:\n  a: {{engine: simulated}}\n  bad: {bad}\n"
    async with running_roost(text, tmp_path) as roost:
        assert (await roost.client.get("/health")).json() == {"status": "healthy"}
        await roost.chat("bad")
        await roost.until("bad", State.FAILED)
        degraded = (await roost.client.get("/health")).json()
        assert degraded["status"] == "degraded"
        assert "bad" in degraded["reasons"][0]
        assert (await roost.client.get("/health/nobody")).status_code == 404
        assert (await roost.client.get("/health/a")).json()["state"] == "cold"
        info = (await roost.client.get("/get_server_info")).json()
        assert info["models"]
        assert info["version"]
