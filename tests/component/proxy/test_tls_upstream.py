"""A model whose server is reached by https and below a path: a hosted API, or a gateway of another house."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

from roost.core.lifecycle import State
from tests.support.live import live
from tests.support.roost import running_roost

ANSWER = b'{"object":"chat.completion","choices":[]}'


@dataclass
class Hosted:
    """Answers everything and keeps the heads that came."""

    port: int = 0
    heads: list[str] = field(default_factory=list)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.heads.append(head)
                length = [line for line in head.lower().split("\r\n") if line.startswith("content-length:")]
                await reader.readexactly(int(length[0].split(":")[1]) if length else 0)
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
                    % (len(ANSWER), ANSWER)
                )
        writer.close()


@contextlib.asynccontextmanager
async def hosted(authority: trustme.CA) -> AsyncIterator[Hosted]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    server = Hosted()
    listener = await asyncio.start_server(server.talk, "127.0.0.1", 0, ssl=context)
    server.port = listener.sockets[0].getsockname()[1]
    async with listener:
        yield server


def config(port: int, name: str = "localhost") -> str:
    return f"""
models:
  far:
    url: https://{name}:{port}/api
    api_key: sk-far
    health_path: /up
    task: other
"""


@live
async def test_requests_go_by_tls_to_the_path_below_with_the_models_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    async with hosted(authority) as server, running_roost(config(server.port), tmp_path) as roost:
        await roost.until("far", State.READY)
        answers = [await roost.chat("far") for _ in range(3)]
    assert [answer.content for answer in answers] == [ANSWER] * 3
    asked = [head for head in server.heads if head.startswith("POST")]
    assert [head.split(" ")[1] for head in asked] == ["/api/v1/chat/completions"] * 3
    assert any(head.startswith("GET /api/up ") for head in server.heads)
    for line in (f"host: localhost:{server.port}", "authorization: bearer sk-far", "x-api-key: sk-far"):
        assert line in asked[0].lower()


@live
async def test_a_certificate_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    async with hosted(trustme.CA()) as server, running_roost(config(server.port), tmp_path) as roost:
        answer = await roost.client.post(
            "/v1/chat/completions", json={"model": "far", "messages": []}, headers={"x-stainless-read-timeout": "1"}
        )
        facts = (await roost.client.get("/api/v1/models/far")).json()
    assert answer.status_code == 503
    assert facts["state"] == "cold" and server.heads == []
