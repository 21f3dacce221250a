"""A roost as a child process with its two engines, as a client and as an operator see it. Used by this folder only."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import psutil
import yaml

from roost import clock
from tests.support.roost import SRC

START_LIMIT_S = 400.0
LOOK_S = 0.05
BOTH = ("one", "two")
LONG = 900
"""Tokens of an answer that takes a second or more."""
ENDLESS = 8000
"""Tokens of an answer that only a cut ends within any test."""


@dataclass(frozen=True)
class Fleet:
    """Everything by HTTP: `client` at roost's port, `engine(model)` past it."""

    client: httpx.Client
    ports: dict[str, int]
    output: Path
    process: subprocess.Popen[bytes]
    expected: dict[str, str]
    """What each model answers to the question, before anything ever slept."""

    def answer(self, model: str, tokens: int = 12) -> str:
        """The greedy answer to one question, through roost."""
        got = self.client.post("/v1/chat/completions", json=question(model, tokens))
        assert got.status_code == 200, got.text
        choice = got.json()["choices"][0]
        assert choice["finish_reason"] == "length", got.text
        return str(choice["message"]["content"])

    def engine(self, model: str) -> httpx.Client:
        """Past roost, to the engine itself."""
        limits = httpx.Limits(max_keepalive_connections=0)
        return httpx.Client(
            base_url=f"http://127.0.0.1:{self.ports[model]}", timeout=60.0, trust_env=False, limits=limits
        )

    def facts(self, model: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"/api/v1/models/{model}").raise_for_status().json()
        return found

    def order(self, model: str, what: str, **options: Any) -> dict[str, Any]:
        """An operator's order, awaited."""
        got = self.client.post(f"/api/v1/models/{model}/{what}", params={"wait": 120, **options})
        assert got.status_code == 200, got.text
        done: dict[str, Any] = got.json()
        return done

    def wakes(self) -> int:
        """Wakes that succeeded, both models together."""
        text = self.client.get("/metrics").text
        lines = [line for line in text.splitlines() if line.startswith("roost_transitions_total{")]
        return sum(int(float(line.split()[-1])) for line in lines if 'transition="wake"' in line)

    def swap(self, swaps: int, clients: int) -> None:
        """So many clients ask both models in turn until that many wakes have been made; every answer must be right."""
        target = self.wakes() + swaps

        def client(number: int) -> int:
            asked = 0
            while self.wakes() < target:
                model = BOTH[(number + asked) % 2]
                assert self.answer(model) == self.expected[model]
                asked += 1
            return asked

        with ThreadPoolExecutor(clients) as pool:
            asked = sum(pool.map(client, range(clients)))
        assert self.wakes() >= target and asked >= swaps
        made = self.wakes() - target + swaps
        print(f"{asked} requests of {clients} clients over {made} swaps: none lost, none wrong")

    def until(self, met: Callable[[], bool], what: str, limit_s: float = 60.0) -> None:
        """Look often until it is so."""
        limit = clock.now() + limit_s
        while not met():
            assert clock.now() < limit, f"not {what} within {limit_s:g} s\n{self.said()}"
            try:
                status = self.process.wait(LOOK_S)
            except subprocess.TimeoutExpired:
                continue
            raise AssertionError(f"roost ended with status {status}\n{self.said()}")

    def said(self) -> str:
        """The end of what roost printed."""
        return self.output.read_text()[-6000:]


def question(model: str, tokens: int = 12, *, stream: bool = False) -> dict[str, Any]:
    """The same question always, answered greedily."""
    messages = [{"role": "user", "content": "Which way is the river?"}]
    return {"model": model, "messages": messages, "max_tokens": tokens, "temperature": 0, "seed": 1, "stream": stream}


def streamed(client: httpx.Client, model: str, tokens: int, begun: Event | None = None) -> list[dict[str, Any]]:
    """All chunks of a streamed answer; the last line was [DONE]. `begun` is set when the first one has come."""
    lines = []
    with client.stream("POST", "/v1/chat/completions", json=question(model, tokens, stream=True)) as answer:
        assert answer.status_code == 200
        for line in answer.iter_lines():
            if line.startswith("data: "):
                lines.append(line[6:])
                if begun is not None:
                    begun.set()
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def finish(chunks: list[dict[str, Any]]) -> str | None:
    """Why the answer ended."""
    reasons = [choice["finish_reason"] for chunk in chunks for choice in chunk.get("choices", ())]
    return next((str(reason) for reason in reversed(reasons) if reason), None)


@contextmanager
def started(config: Path, python: str) -> Iterator[Fleet]:
    """`roost up`, until both models have answered; ended with SIGTERM, and nothing of it is left."""
    spec = yaml.safe_load(config.read_text())
    output = config.with_name("roost.out")
    with output.open("wb") as out:
        process = subprocess.Popen(
            [python, "-m", "roost", "up", str(config), "--plain", "--state-dir", str(config.parent / "state")],
            stdout=out,
            stderr=out,
            env={**os.environ, "PYTHONPATH": SRC},
        )
    url = f"http://127.0.0.1:{spec['server']['port']}"
    ports = {name: model["port"] for name, model in spec["models"].items()}
    with httpx.Client(base_url=url, timeout=START_LIMIT_S, trust_env=False) as client:
        fleet = Fleet(client, ports, output, process, {})
        try:
            fleet.until(lambda: _serves(client), "serving")
            for model in ports:
                fleet.expected[model] = fleet.answer(model)
            yield fleet
        finally:
            children = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGTERM)
            process.wait(60)
            left = [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
            assert not left, f"left behind: {left}"


def _serves(client: httpx.Client) -> bool:
    try:
        return client.get("/ready", timeout=2.0).status_code == 200
    except httpx.TransportError:
        return False
