"""Real models and a real llama.cpp for tests: session fixtures that build or fetch, and one engine as a child process.

Import the fixtures in a `conftest.py`. Nothing here needs a GPU; only `smollm2` may need the network, once.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from roost import clock
from roost.core.errors import RoostError
from roost.core.spec import ModelSpec
from roost.core.step import Step
from roost.engines.base import Machine
from roost.engines.llamacpp import LLAMACPP
from roost.host import fetch
from roost.host.tiny_model import Shape, write_tiny_model

MACHINE = Machine(python=sys.executable, modules=frozenset({"xllamacpp"}))
START_LIMIT_S = 30.0
TINY_SEEDS = {"tiny-a": 1, "tiny-b": 2, "tiny-c": 3}


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """tiny-a, tiny-b, tiny-c: about 1 MB each; each answers the same prompt in its own words."""
    folder = tmp_path_factory.mktemp("tiny")
    return {name: write_tiny_model(folder / f"{name}.gguf", seed=seed, name=name) for name, seed in TINY_SEEDS.items()}


@pytest.fixture(scope="session")
def large_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About 100 MB of random weights: enough that sleeping shows in RSS."""
    path = tmp_path_factory.mktemp("large") / "large.gguf"
    return write_tiny_model(path, seed=1, name="large", shape=Shape(hidden=512, layers=8))


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct, fetched into the user's cache on first use."""
    try:
        return fetch.smollm2(print)
    except RoostError as error:
        pytest.skip(str(error))


def free_port() -> int:
    """A port that nobody listens on right now."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


class LlamaProcess:
    """The embedded llama.cpp under the command line that the adapter gives for `spec`."""

    def __init__(self, spec: ModelSpec, log: Path, name: str = "m") -> None:
        self.spec, self.name, self.log = spec, name, log
        self.port = free_port()
        self.launch = LLAMACPP.launch(name, spec, self.port, MACHINE)
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                self.launch.argv, env={**_clean_environment(), **self.launch.env}, stdout=out, stderr=out
            )
        headers = {"Authorization": f"Bearer {spec.api_key}"} if spec.api_key else {}
        url = f"http://127.0.0.1:{self.port}"
        # llama.cpp promises keep-alive and yet closes after a stream: a kept connection would fail now and then.
        limits = httpx.Limits(max_keepalive_connections=0)
        self.client = httpx.Client(base_url=url, timeout=20.0, headers=headers, limits=limits, trust_env=False)

    def await_ready(self) -> None:
        probe = LLAMACPP.probe(self.spec)
        self.until(lambda: self._status(probe.path) in probe.ok, START_LIMIT_S, "ready")

    def until(self, met: Callable[[], bool], limit_s: float, what: str) -> None:
        """Look often until `met()`; fails at the limit, and at once where the engine has ended."""
        limit = clock.now() + limit_s
        while not met():
            assert clock.now() < limit, f"not {what} within {limit_s} s\n{self.log.read_text()[-2000:]}"
            try:
                status = self.process.wait(0.01)
            except subprocess.TimeoutExpired:
                continue
            raise AssertionError(f"ended with status {status}\n{self.log.read_text()[-2000:]}")

    def _status(self, path: str) -> int | None:
        try:
            return self.client.get(path).status_code
        except httpx.TransportError:
            return None

    def perform(self, step: Step) -> httpx.Response:
        return self.client.request(step.method, step.path, params=list(step.query), json=step.json)

    def asleep(self) -> bool | None:
        query = LLAMACPP.sleep_query(self.spec)
        assert query is not None
        answer = self.perform(query)
        return LLAMACPP.is_asleep(answer.status_code, answer.json())

    @property
    def rss(self) -> int:
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def stop(self, limit_s: float = 10.0) -> tuple[int, float]:
        """SIGTERM; the exit status and how long it took."""
        began = clock.now()
        self.process.terminate()
        return self.process.wait(limit_s), clock.now() - began

    def close(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)


def _clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("LLAMA_")}


@contextmanager
def llama(spec: ModelSpec, log: Path, name: str = "m") -> Iterator[LlamaProcess]:
    """A ready engine; gone afterwards, whatever happens."""
    engine = LlamaProcess(spec, log, name)
    try:
        engine.await_ready()
        yield engine
    finally:
        engine.close()
