"""The demo's tour: an ordinary client of the port, printing what it asks and what comes back.

Talks HTTP only (and reads the engines' memory from the machine); starts and stops nothing. Called by `demo_cmd`.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from roost import clock
from roost.core.units import format_size

CHAT, TINY, EMBED = "smol", "tiny", "embed"
QUESTION = "What is the capital of France?"
SENTENCES = ("The cat sleeps on the sofa.", "A kitten naps on the couch.", "The bank raised its interest rates.")
SLEEP_LIMIT_S = 60.0
POLL_S = 0.2
STYLES = {"ready": "green", "asleep": "blue", "cold": "dim", "failed": "red"}


class UpstreamTrouble(Exception):
    """A request of the tour was answered with an error; the text quotes it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One streamed answer: seconds to its first token and to its end, and the tokens in between."""

    first_s: float
    total_s: float
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tour:
    """One walk through the three models. `wait(seconds)` raises where roost has ended."""

    console: Console
    client: httpx.Client
    wait: Callable[[float], None]

    def run(self) -> None:
        """All steps in order. Raises UpstreamTrouble, and what `wait` raises."""
        self._models()
        self._head("A question, streamed token by token")
        self._ask(CHAT)
        awake = self._memory(CHAT)  # taken at once: on a slow machine it may sleep before the next steps are done
        self._head("The same question to another engine; this request loads it")
        self._ask(TINY)
        self._head("Embeddings, from a third engine, loaded by this request")
        self._embed()
        self._head("Now")
        self._states()
        self._until_asleep(awake)
        self._head("One more question: the request itself wakes the model")
        answer = self._ask(CHAT)
        self.console.print(f"  from asleep to the first token in [bold]{_ms(answer.first_s)}[/bold]")
        self._states()

    def farewell(self, address: str, config: Path, *, staying: bool) -> None:
        """What to type next."""
        body = {"model": CHAT, "stream": True, "messages": [{"role": "user", "content": "Name three birds."}]}
        self._head("Try it yourself" if staying else "In your own program")
        self._plain(f"  curl {address}/v1/models")
        self._plain(f"  curl -N {address}/v1/chat/completions -H 'Content-Type: application/json' \\")
        self._plain(f"    -d '{json.dumps(body)}'")
        self._plain("  python -c 'from openai import OpenAI")
        self._plain(f'  c = OpenAI(base_url="{address}/v1", api_key="none")')
        self._plain(f'  print(c.embeddings.create(model="{EMBED}", input="hello").data[0].embedding[:4])\'')
        if staying:
            self._plain(f"  roost status        roost logs -f {CHAT}        roost unload {TINY}")
        self._plain(f"\n  The config behind it: {config}")
        if staying:
            self.console.print("\nServing until Ctrl-C.")

    def _head(self, text: str) -> None:
        self.console.print(f"\n[bold]{text}[/bold]")

    def _plain(self, text: str) -> None:
        self.console.print(text, style="cyan", markup=False)

    def _models(self) -> None:
        self._head(f"Three models behind one port: {self.client.base_url}/v1")
        for model in _ok(self.client.get("/v1/models"))["data"]:
            self.console.print(f"  [bold]{model['id']:<6}[/bold] {escape(str(model.get('description', '')))}")

    def _ask(self, model: str) -> Answer:
        self.console.print(f"  you: {QUESTION}\n  {model}: ", end="")
        began, first, tokens = clock.now(), None, 0
        for text in self._stream(model):
            first = first or clock.now()
            tokens += 1
            self.console.print(text.lstrip() if tokens == 1 else text, end="", style="green", markup=False)
        ended = clock.now()
        answer = Answer((first or ended) - began, ended - began, tokens)
        detail = f"first token after {_ms(answer.first_s)}, {tokens} tokens in {_ms(answer.total_s)}"
        self.console.print(f"\n  [dim]{detail}[/dim]")
        return answer

    def _stream(self, model: str) -> Iterator[str]:
        """Pieces of text as they come."""
        body = {
            "model": model,
            "messages": [{"role": "user", "content": QUESTION}],
            "stream": True,
            "max_tokens": 24,
            "temperature": 0,
        }
        with self.client.stream("POST", "/v1/chat/completions", json=body) as response:
            if response.status_code != 200:
                response.read()
                _ok(response)
            for line in response.iter_lines():
                if line.startswith("data: {"):
                    event = json.loads(line.removeprefix("data: "))
                    if "error" in event:
                        raise UpstreamTrouble(f"the stream of {model!r} broke: {event['error']}")
                    for choice in event["choices"]:
                        if text := choice["delta"].get("content"):
                            yield text

    def _embed(self) -> None:
        began = clock.now()
        data = _ok(self.client.post("/v1/embeddings", json={"model": EMBED, "input": list(SENTENCES)}))["data"]
        took = clock.now() - began
        vectors = [item["embedding"] for item in data]
        self.console.print(f"  {len(vectors)} vectors of {len(vectors[0])} numbers in {_ms(took)}")
        for at in (1, 2):
            likeness = _cosine(vectors[0], vectors[at])
            self.console.print(f"  {likeness:.2f}  {SENTENCES[0]} ~ {SENTENCES[at]}")

    def _states(self) -> None:
        """Print what every model is and takes."""
        table = Table("model", "state", "pid", "memory", box=None, pad_edge=True, header_style="dim")
        for model in self._view():
            name, state, pid = model["name"], model["state"], model.get("pid")
            used = _rss(pid)
            style = STYLES.get(state, "yellow")
            size = format_size(used) if used else "-"
            table.add_row(f" {name}", f"[{style}]{state}[/{style}]", str(pid or "-"), size)
        self.console.print(table)

    def _view(self) -> list[dict[str, Any]]:
        models: list[dict[str, Any]] = _ok(self.client.get("/api/v1/models"))["models"]
        return models

    def _until_asleep(self, awake: int) -> None:
        self._head(f"{CHAT} has nothing to do: it goes to sleep by itself and gives its memory back")
        began = clock.now()
        with self.console.status("waiting for it to sleep"):
            while self._model(CHAT)["state"] != "asleep":
                if clock.now() - began > SLEEP_LIMIT_S:
                    raise UpstreamTrouble(f"{CHAT} did not go to sleep within {SLEEP_LIMIT_S:.0f} s")
                self.wait(POLL_S)
        self._states()
        asleep = self._memory(CHAT)
        freed = format_size(max(awake - asleep, 0))
        sizes = f"{format_size(awake)} awake, {format_size(asleep)} asleep"
        self.console.print(f"  {CHAT}: {sizes}, [bold]{freed}[/bold] free for others")

    def _model(self, name: str) -> dict[str, Any]:
        return next(model for model in self._view() if model["name"] == name)

    def _memory(self, name: str) -> int:
        return _rss(self._model(name).get("pid"))


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _ok(response: httpx.Response) -> Any:
    if response.status_code != 200:
        request = response.request
        said = response.text[:400]
        raise UpstreamTrouble(f"{request.method} {request.url.path} was answered {response.status_code}: {said}")
    return response.json()


def _rss(pid: int | None) -> int:
    """Resident bytes of the process and its children; 0 where there is none."""
    if pid is None:
        return 0
    try:
        leader = psutil.Process(pid)
        family = [leader, *leader.children(recursive=True)]
        return sum(process.memory_info().rss for process in family)
    except psutil.Error:
        return 0


def _cosine(one: list[float], other: list[float]) -> float:
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    sizes = sum(a * a for a in one) * sum(b * b for b in other)
    return float(dot / sizes**0.5) if sizes else 0.0
