#!/usr/bin/env python3
"""Checks that a proxy is right, before its speed is worth a word: see README.md.

python bench/check.py [--only nginx,roost] [--peers FILE.json]

Owns the list of checks; each compares what comes through the proxy with what comes from the backend directly, or
asks the backend what it saw. Exit status 1 if any check of any proxy fails.
"""

import argparse
import contextlib
import http.client
import json
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from parts import home, machine, peers
from parts.fleet import CHAT, Fleet, Running, call

DISCONNECT_LIMIT_S = 1.0
BIG_BYTES = 3_000_000


def body(content: str, stream: bool, model: str = "m1") -> bytes:
    """A chat request. Its model comes last, and its text names the key too, to try parsers."""
    said = [{"role": "user", "content": content + ' "model": "other"'}]
    return json.dumps({"messages": said, "x_unknown": {"kept": [1, 2.50]}, "stream": stream, "model": model}).encode()


@dataclass(frozen=True, slots=True)
class Seat:
    """What a check is done with."""

    fleet: Fleet
    one: Running

    def both(self, request: bytes) -> tuple[tuple[int, bytes], tuple[int, bytes]]:
        """The answers through the proxy and direct, the time stamps in them masked."""
        through = call(self.one.peer.port, "POST", CHAT, request, timeout_s=30)
        direct = call(self.fleet.backend.port, "POST", CHAT, request, timeout_s=30)
        return _masked(through), _masked(direct)


def _masked(answer: tuple[int, bytes]) -> tuple[int, bytes]:
    return answer[0], re.sub(rb"~\d{19}~", b"~~", answer[1])


def _same(seat: Seat, request: bytes) -> str:
    through, direct = seat.both(request)
    if through == direct:
        return ""
    return f"{through[0]} with {len(through[1])} bytes, direct {direct[0]} with {len(direct[1])} bytes"


def same_json(seat: Seat) -> str:
    """A JSON answer comes through byte for byte."""
    return _same(seat, body("hello", stream=False))


def same_stream(seat: Seat) -> str:
    """An SSE answer comes through byte for byte."""
    seat.fleet.backend.set(chunks=50, gap_us=1000)
    return _same(seat, body("hello", stream=True))


def same_after_big_body(seat: Seat) -> str:
    """A body of 3 MB is taken."""
    return _same(seat, body("x" * BIG_BYTES, stream=False))


def body_unchanged(seat: Seat) -> str:
    """The engine gets the very bytes that the client sent."""
    seen = []
    seat.fleet.backend.set(digest=1)
    for port in (seat.one.peer.port, seat.fleet.backend.port):
        call(port, "POST", CHAT, body("hello", stream=False))
        stats = seat.fleet.backend.stats()
        seen.append((stats["body_bytes"], stats["body_fnv"]))
    return "" if seen[0] == seen[1] else f"{seen[1][0]} bytes sent, {seen[0][0]} bytes arrived, or other ones"


def chunked_body(seat: Seat) -> str:
    """A request body without Content-Length is taken."""
    whole = body("hello", stream=False)
    pieces = (whole[i : i + 40] for i in range(0, len(whole), 40))
    connection = http.client.HTTPConnection("127.0.0.1", seat.one.peer.port, timeout=10)
    with contextlib.closing(connection):
        connection.request("POST", CHAT, pieces, {"Content-Type": "application/json"}, encode_chunked=True)
        status = connection.getresponse().status
    return "" if status == 200 else f"status {status}"


def unknown_model(seat: Seat) -> str:
    """A model that nobody serves is answered 4xx."""
    status, _ = call(seat.one.peer.port, "POST", CHAT, body("hello", stream=False, model="nobody"))
    return "" if 400 <= status < 500 else f"status {status}"


def _leave(seat: Seat, request: bytes, first_bytes: bool) -> str:
    """Sends a request, hangs up while its answer is owed, and waits until the backend has seen it."""
    backend = seat.fleet.backend
    machine.wait_for(backend.idle, 5)
    before = backend.stats()["aborted"]
    fields = f"Host: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(request)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", seat.one.peer.port), timeout=10) as s:
        s.sendall(f"POST {CHAT} HTTP/1.1\r\n{fields}".encode() + request)
        if first_bytes:
            s.recv(100)
        if not machine.wait_for(lambda: not backend.idle(), 5, 0.01):
            return "the request did not reach the backend"
    if machine.wait_for(lambda: backend.stats()["aborted"] > before, DISCONNECT_LIMIT_S, 0.01):
        return ""
    return f"the backend saw nothing within {DISCONNECT_LIMIT_S:g} s"


def leave_stream(seat: Seat) -> str:
    """A client that hangs up in mid-stream is noticed at the backend."""
    seat.fleet.backend.set(chunks=200, gap_us=50_000)
    return _leave(seat, body("hello", stream=True), first_bytes=True)


def leave_before_answer(seat: Seat) -> str:
    """A client that hangs up before the first byte of a JSON answer is noticed at the backend."""
    seat.fleet.backend.set(delay_us=4_000_000)
    return _leave(seat, body("hello", stream=False), first_bytes=False)


CHECKS: dict[str, Callable[[Seat], str]] = {
    "JSON answer the same": same_json,
    "SSE answer the same": same_stream,
    "3 MB body taken": same_after_big_body,
    "request body unchanged": body_unchanged,
    "chunked request taken": chunked_body,
    "unknown model 4xx": unknown_model,
    "hang-up in mid-stream seen": leave_stream,
    "hang-up before answer seen": leave_before_answer,
}


def checked(seat: Seat, check: Callable[[Seat], str]) -> str:
    """What is wrong, or an empty string; the backend's settings are put back."""
    try:
        wrong = check(seat)
    except (OSError, http.client.HTTPException) as e:
        wrong = f"{type(e).__name__}: {e}"
    seat.fleet.backend.set(chunks=100, gap_us=1000, delay_us=0, digest=0)
    machine.wait_for(seat.fleet.backend.idle, 10)
    return wrong


def main() -> None:
    """Checks each chosen proxy in turn."""
    p = argparse.ArgumentParser(description="Check proxies for correctness before the fake backend.")
    p.add_argument("--only", default="nginx,haproxy,vllm-router,sglang-router,litellm,roost")
    p.add_argument("--peers", type=Path, help="JSON file that adds or replaces proxies")
    args = p.parse_args()
    known = peers.makers(args.peers)
    machine.prepare(0)
    failures = 0
    with Fleet(machine.Pinning(None, None), known) as fleet:
        for name in args.only.split(","):
            if name not in known and name != peers.DIRECT:
                raise SystemExit(f"No such proxy: {name}. There are: {', '.join(sorted(known))}.")
            try:
                seat = Seat(fleet, fleet.start(name))
            except home.Unavailable as e:
                print(f"{name}: skipped: {e}", flush=True)
                continue
            for what, check in CHECKS.items():
                wrong = checked(seat, check)
                failures += bool(wrong)
                print(f"{name:14} {what:28} {'FAILED: ' + wrong if wrong else 'ok'}", flush=True)
            fleet.end_proxies()
    raise SystemExit(1 if failures else 0)


if __name__ == "__main__":
    main()
