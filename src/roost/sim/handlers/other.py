"""Embeddings, rerank, score, tokenizer, transcriptions and images: one short computation each.

Like generation they wait while the engine sleeps and are garbage after a bad wake: each is a run of one token.
"""

import struct
import zlib
from base64 import b64encode
from hashlib import sha256
from typing import Any

from roost import clock
from roost.sim import text
from roost.sim.exchange import Exchange, Refused
from roost.sim.simulation import Ask, Simulation


async def _computed(sim: Simulation, exchange: Exchange, ask: Ask) -> str:
    """Run one step; the key its result follows from, another one where the weights are not sound."""
    async with exchange.ended_with_the_client():
        garbage = text.is_garbage(await sim.whole(ask))
    if ask.run.finish == "abort":
        raise Refused(500, "InternalServerError", "the request was aborted")
    return f"{ask.run.key}\x1egarbage" if garbage else ask.run.key


def _texts(value: Any, param: str) -> list[str]:
    """One or several texts, also as lists of tokens or `{text}` objects."""
    if isinstance(value, (str, dict)) or (isinstance(value, list) and value and isinstance(value[0], int)):
        value = [value]
    if not isinstance(value, list) or not value:
        raise Refused(400, "BadRequestError", f"{param} must be a text or a list of texts.", param)
    return [_text(entry) for entry in value]


def _text(entry: Any) -> str:
    if isinstance(entry, list):
        return text.decode([token for token in entry if isinstance(token, int)])
    return str(entry.get("text", "")) if isinstance(entry, dict) else str(entry)


async def embeddings(sim: Simulation, exchange: Exchange) -> None:
    body = await exchange.json()
    texts = _texts(body.get("input"), "input")
    size = body.get("dimensions")
    if size is not None and not (isinstance(size, int) and 0 < size <= 4096):
        raise Refused(400, "BadRequestError", f"dimensions must be from 1 to 4096, got {size!r}.", "dimensions")
    ask = sim.ask("embd", "\n".join(texts), body, 1)
    garbage = await _computed(sim, exchange, ask) != ask.run.key
    vectors = [text.vector(sim.key(one) + ("garbage" if garbage else ""), size) for one in texts]
    as_text = body.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": text.as_base64(numbers) if as_text else numbers}
        for index, numbers in enumerate(vectors)
    ]
    usage = {"prompt_tokens": ask.prompt_tokens, "total_tokens": ask.prompt_tokens}
    envelope = {"id": ask.id, "object": "list", "created": ask.created, "model": ask.model}
    await exchange.answer(200, {**envelope, "data": data, "usage": usage})


async def rerank(sim: Simulation, exchange: Exchange) -> None:
    body = await exchange.json()
    query, documents = str(body.get("query", "")), _texts(body.get("documents"), "documents")
    ask = sim.ask("rerank", "\n".join((query, *documents)), body, 1)
    garbage = await _computed(sim, exchange, ask) != ask.run.key
    key = sim.key("score") + ("garbage" if garbage else "")
    results: list[dict[str, Any]] = [
        {"index": index, "document": {"text": one}, "relevance_score": text.score(key, query, one)}
        for index, one in enumerate(documents)
    ]
    results.sort(key=lambda result: -result["relevance_score"])
    most = body.get("top_n") or len(results)
    usage = {"total_tokens": ask.prompt_tokens}
    await exchange.answer(200, {"id": ask.id, "model": ask.model, "usage": usage, "results": results[:most]})


async def score(sim: Simulation, exchange: Exchange) -> None:
    body = await exchange.json()
    first = _texts(body.get("text_1", body.get("queries")), "text_1")
    second = _texts(body.get("text_2", body.get("documents")), "text_2")
    if len(first) not in (1, len(second)):
        raise Refused(400, "BadRequestError", "text_1 must be one text or as many as text_2.", "text_1")
    ask = sim.ask("score", "\n".join((*first, *second)), body, 1)
    await _computed(sim, exchange, ask)
    pairs = zip(first * len(second) if len(first) == 1 else first, second, strict=True)
    key = sim.key("score")
    data = [{"index": at, "object": "score", "score": text.score(key, *pair)} for at, pair in enumerate(pairs)]
    envelope = {"id": ask.id, "object": "list", "created": ask.created, "model": ask.model}
    await exchange.answer(200, {**envelope, "data": data, "usage": {"total_tokens": ask.prompt_tokens}})


async def tokenize(sim: Simulation, exchange: Exchange) -> None:
    body = await exchange.json()
    sim.served(body.get("model"))
    tokens = text.encode(str(body.get("prompt", "")))
    answer = {"count": len(tokens), "max_model_len": sim.behaviour.max_model_len, "tokens": tokens}
    await exchange.answer(200, answer)


async def detokenize(sim: Simulation, exchange: Exchange) -> None:
    body = await exchange.json()
    sim.served(body.get("model"))
    tokens = body.get("tokens")
    if not isinstance(tokens, list) or not all(isinstance(token, int) for token in tokens):
        raise Refused(400, "BadRequestError", "tokens must be a list of whole numbers.", "tokens")
    await exchange.answer(200, {"prompt": text.decode(tokens)})


async def transcriptions(sim: Simulation, exchange: Exchange) -> None:
    raw = await exchange.body()
    fields = _form(exchange.header("content-type") or "", raw)
    if "file" not in fields:
        raise Refused(400, "BadRequestError", "the form has no field `file`.", "file")
    model = fields.get("model", b"").decode("utf-8", "replace") or None
    ask = sim.ask("trsc", sha256(fields["file"]).hexdigest(), {"model": model}, None)
    async with exchange.ended_with_the_client():
        said = await sim.whole(ask)
    await exchange.answer(200, {"text": said, "usage": {"type": "duration", "seconds": 1}})


def _form(content_type: str, raw: bytes) -> dict[str, bytes]:
    """Fields of a multipart form; imported here because only this path needs the parser."""
    from email import message_from_bytes

    message = message_from_bytes(b"Content-Type: " + content_type.encode("latin-1") + b"\r\n\r\n" + raw)
    if not message.is_multipart():
        raise Refused(400, "BadRequestError", "the body is not a multipart form.")
    fields: dict[str, bytes] = {}
    for part in message.walk():
        name = part.get_param("name", header="content-disposition")
        if isinstance(name, str):
            content = part.get_payload(decode=True)
            fields[name] = content if isinstance(content, bytes) else b""
    return fields


async def images(sim: Simulation, exchange: Exchange) -> None:
    body = await exchange.json()
    ask = sim.ask("img", str(body.get("prompt", "")), body, 1)
    key = await _computed(sim, exchange, ask)
    number = body.get("n") or 1
    picture = b64encode(_dot(sha256(key.encode()).digest()[:3])).decode()
    data = [{"b64_json": picture, "revised_prompt": None, "url": None}] * min(int(number), 10)
    await exchange.answer(200, {"created": int(clock.wall()), "data": data})


def _dot(colour: bytes) -> bytes:
    """A PNG of one pixel."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" + colour))
        + chunk(b"IEND", b"")
    )
