#!/usr/bin/env python3
"""Measures what roost adds to a wake, and that a crowd on a sleeping model makes one wake: see README.md.

python bench/wake.py [--rounds 200] [--wake-delay 50] [--crowd 500]

Two simulated engines of fixed timing sleep under roost, one at level 1, one at level 2; two of the same kind stand
alone. In turn a request wakes one through roost, and a bare client makes the very calls that roost made (steps, its
word on whether it sleeps, the verifying request beside a look at its metrics, then the request) to the one that stands
alone. The difference is what roost adds.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parts.machine import describe, free_port

from roost import clock
from roost.config.load import check_further, load
from roost.core.spec import ModelSpec
from roost.core.step import Step
from roost.engines.questions import question as question_of
from roost.engines.registry import adapter_for, validate

PYTHON = sys.executable
LEVELS = {"l1": 1, "l2": 2}
TARGET_P50_MS, TARGET_P99_MS = 5.0, 15.0
PATIENCE_S = 60.0
REST_S = 0.5


@dataclass(frozen=True)
class Answer:
    """A status, a body, and when the first byte of the answer came, on roost's clock."""

    status: int
    body: bytes
    first_byte_at: float


async def call(port: int, method: str, target: str, body: bytes | None = None) -> Answer:
    """One call on a connection of its own, with nothing between it and the socket."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"{method} {target} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n"
    if body is not None:
        head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
    writer.write(head.encode() + b"\r\n" + (body or b""))
    first = await reader.readexactly(1)
    first_byte_at = clock.now()
    answer = first + await reader.read()
    writer.close()
    before, _, after = answer.partition(b"\r\n\r\n")
    return Answer(int(before.split(b" ", 2)[1]), after, first_byte_at)


def question(model: str) -> bytes:
    """One token of an answer."""
    messages = [{"role": "user", "content": "Hi"}]
    return json.dumps({"model": model, "messages": messages, "max_tokens": 1}).encode()


async def perform(port: int, step: Step) -> None:
    """A step as roost makes it, by the bare client."""
    query = "&".join(f"{key}={value}" for key, value in step.query)
    body = json.dumps(step.json).encode() if step.json is not None else None
    answer = await call(port, step.method, f"{step.path}{'?' + query if query else ''}", body)
    if answer.status >= 300:
        raise SystemExit(f"{step.name} answered {answer.status}: {answer.body[:200]!r}")


@dataclass(frozen=True)
class Alone:
    """An engine of the same kind without roost."""

    port: int
    spec: ModelSpec
    name: str

    async def sleep(self) -> None:
        """As roost would have it."""
        for step in adapter_for(self.spec).sleep(self.spec, self.spec.sleep_level):
            await perform(self.port, step)

    async def wake(self) -> float:
        """Seconds from the first call of the wake to the first byte of the request's answer."""
        steps, proofs = self.calls()
        began = clock.now()
        for step in steps:
            await perform(self.port, step)
        await asyncio.gather(*(perform(self.port, proof) for proof in proofs))
        answer = await call(self.port, "POST", "/v1/chat/completions", question(self.name))
        return answer.first_byte_at - began

    def calls(self) -> tuple[list[Step], list[Step]]:
        """What roost calls before a woken engine serves: the steps and whether it sleeps, one after the other; then,
        side by side, the verifying request (at level 2 the canary's question) and the page with the gauge."""
        adapter = adapter_for(self.spec)
        verify = adapter.verify(self.spec, self.name)
        asked = question_of(verify) if self.spec.sleep_level == 2 else None
        query, gauge = adapter.sleep_query(self.spec), adapter.signs(self.spec).gauge
        assert query is not None and gauge is not None
        steps = [*adapter.wake(self.spec, self.spec.sleep_level), query]
        return steps, [asked or verify, Step(method="GET", path=gauge.path)]


@dataclass(frozen=True)
class Roost:
    """The port of the roost under measurement."""

    port: int

    async def sleep(self, model: str) -> None:
        """Ordered and awaited."""
        answer = await call(self.port, "POST", f"/api/v1/models/{model}/sleep?wait=60", b"{}")
        if answer.status != 200:
            raise SystemExit(f"{model} could not be put to sleep: {answer.body[:300]!r}")

    async def wake(self, model: str) -> float:
        """Seconds from the request's head to the first byte of its answer."""
        began = clock.now()
        answer = await call(self.port, "POST", "/v1/chat/completions", question(model))
        if answer.status != 200:
            raise SystemExit(f"{model} answered {answer.status}: {answer.body[:300]!r}")
        return answer.first_byte_at - began

    async def wakes(self, model: str) -> int:
        """Wakes that succeeded so far."""
        text = (await call(self.port, "GET", "/metrics")).body.decode()
        wanted = f'roost_transitions_total{{model="{model}",transition="wake"}}'
        return next((int(float(line.split()[-1])) for line in text.splitlines() if line.startswith(wanted)), 0)


async def measure(roost: Roost, alone: Alone, rounds: int) -> list[float]:
    """Milliseconds that roost adds, one figure a round; the two sides take turns to be first. The rest before each wake
    is what a sleeping model has: roost's planning is bounded to 20 rounds a second in the long run."""
    added = []
    for number in range(rounds + 1):
        await asyncio.gather(roost.sleep(alone.name), alone.sleep())
        await asyncio.sleep(REST_S)
        if number % 2:
            through, bare = await roost.wake(alone.name), await alone.wake()
        else:
            bare, through = await alone.wake(), await roost.wake(alone.name)
        if number:  # the first one of each pays for what is loaded once
            added.append((through - bare) * 1000)
    return added


async def crowd(roost: Roost, model: str, size: int) -> dict[str, Any]:
    """So many requests at once on a sleeping model: how many were answered, how many wakes that took."""
    await roost.sleep(model)
    before = await roost.wakes(model)
    began = clock.now()
    answers = await asyncio.gather(
        *(call(roost.port, "POST", "/v1/chat/completions", question(model)) for _ in range(size))
    )
    took = clock.now() - began
    ok = sum(answer.status == 200 for answer in answers)
    return {"requests": size, "answered": ok, "wakes": await roost.wakes(model) - before, "seconds": round(took, 3)}


def config(port: int, wake_delay_ms: int, crowd_size: int) -> str:
    """Both models under roost; nothing moves by itself."""
    models = "".join(
        f"  {name}: {{engine: simulated, sleep_level: {level}, sleep_after: never, preload: true, "
        f"args: [--wake-delay, {wake_delay_ms}ms], queue: {{size: {crowd_size}}}}}\n"
        for name, level in LEVELS.items()
    )
    return f"server: {{port: {port}, request_log: false}}\nmodels:\n{models}"


async def until_up(port: int, target: str) -> None:
    """Until it answers 200."""
    limit = clock.now() + PATIENCE_S
    while clock.now() < limit:
        try:
            if (await call(port, "GET", target)).status == 200:
                return
        except (OSError, asyncio.IncompleteReadError):
            pass
        await asyncio.sleep(0.05)
    raise SystemExit(f"nothing answers at port {port} after {PATIENCE_S:g} s")


@dataclass
class Children:
    """What was started, its output in one file."""

    output: Path
    running: list[subprocess.Popen[bytes]]

    def start(self, *words: str) -> None:
        """Python with these words."""
        with self.output.open("ab") as out:
            self.running.append(subprocess.Popen([PYTHON, *words], stdout=out, stderr=out))

    def end(self) -> None:
        """The last one first; all of them gone."""
        for child in reversed(self.running):
            child.terminate()
            child.wait(30)


async def run(args: argparse.Namespace, folder: Path, children: Children) -> dict[str, Any]:
    """Everything under way and measured."""
    port = free_port()
    text = config(port, args.wake_delay, args.crowd)
    file = folder / "roost.yaml"
    file.write_text(text)
    loaded = check_further(load(text, file="roost.yaml", env={}, home="/", base_dir=str(folder)), [validate])
    assert loaded.spec is not None, loaded.problems
    children.start("-m", "roost", "up", str(file), "--plain", "--state-dir", str(folder / "state"))
    alone = []
    for name in LEVELS:
        own = free_port()
        children.start(
            *("-m", "roost.sim", f"--model={name}", "--port", str(own), "--wake-delay", f"{args.wake_delay}ms")
        )
        await until_up(own, "/health")
        alone.append(Alone(own, loaded.spec.models[name], name))
    await until_up(port, "/ready")
    roost = Roost(port)
    figures: dict[str, Any] = {}
    for one in alone:
        await roost.wake(one.name)
        figures[one.name] = await measure(roost, one, args.rounds)
    figures["crowd"] = await crowd(roost, "l2", args.crowd)
    return figures


def percentile(values: list[float], share: float) -> float:
    """Of the sorted values, without interpolation."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def report(args: argparse.Namespace, figures: dict[str, Any]) -> str:
    """The table, as Markdown."""
    lines = [
        f"{describe()}; {args.rounds} wakes of each, {args.wake_delay} ms per wake call of the engine",
        "",
        "| model | added p50, ms | added p99, ms | lowest | target |",
        "|---|---|---|---|---|",
    ]
    for name, level in LEVELS.items():
        added = figures[name]
        p50, p99 = statistics.median(added), percentile(added, 0.99)
        met = "met" if p50 <= TARGET_P50_MS and p99 <= TARGET_P99_MS else "missed"
        lines.append(
            f"| level {level} | {p50:.1f} | {p99:.1f} | {min(added):.1f} | "
            f"≤ {TARGET_P50_MS:g} and ≤ {TARGET_P99_MS:g}: {met} |"
        )
    herd = figures["crowd"]
    lines += [
        "",
        f"{herd['requests']} requests at once on a sleeping model: {herd['answered']} answered in "
        f"{herd['seconds']} s, {herd['wakes']} wake(s).",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, write down."""
    p = argparse.ArgumentParser(description="What roost adds to a wake.")
    p.add_argument("--rounds", type=int, default=200, help="wakes of each model (default 200)")
    p.add_argument("--wake-delay", type=int, default=50, metavar="MS", help="what each wake call takes (default 50)")
    p.add_argument("--crowd", type=int, default=500, help="requests at once on a sleeping model (default 500)")
    args = p.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        children = Children(Path(folder, "out"), [])
        try:
            figures = asyncio.run(run(args, Path(folder), children))
        finally:
            children.end()
    text = report(args, figures)
    print(text)
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    stem = results / f"wake-{time.strftime('%Y-%m-%d-%H%M%S')}"
    stem.with_suffix(".md").write_text(text)
    stem.with_suffix(".json").write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
