"""The real llama.cpp under the adapter's own command line: answers, refusals, the end of the process."""

import json
import math
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from roost.core.spec import ModelSpec, Task
from roost.engines.llamacpp import EMBEDDED, LLAMACPP
from roost.host.tiny_model import WORDS
from tests.support.models import LlamaProcess, free_port, llama

HELLO = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8, "temperature": 0}


def spec(weights: Path, *args: str, task: Task = Task.GENERATE, api_key: str | None = None) -> ModelSpec:
    return ModelSpec(
        weights=str(weights),
        args=("--ctx-size", "512", "--threads", "1", *args),
        task=task,
        sleep_after=None,
        api_key=api_key,
    )


@pytest.fixture(scope="module")
def engine(tiny_models: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaProcess]:
    log = tmp_path_factory.mktemp("log") / "a.log"
    with llama(spec(tiny_models["tiny-a"]), log, "tiny-a") as running:
        yield running


def chat(engine: LlamaProcess, **more: Any) -> dict[str, Any]:
    answer = engine.client.post("/v1/chat/completions", json={**HELLO, **more})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def text_of(answer: dict[str, Any]) -> str:
    return str(answer["choices"][0]["message"]["content"])


def events(response: httpx.Response) -> list[str]:
    return [line.removeprefix("data: ") for line in response.iter_lines() if line.startswith("data: ")]


def test_chat(engine: LlamaProcess) -> None:
    answer = chat(engine)
    words = text_of(answer).split()
    assert len(words) == 8
    assert set(words) <= set(WORDS)
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 8


def test_completion(engine: LlamaProcess) -> None:
    body = {"prompt": "the river runs", "max_tokens": 4, "temperature": 0}
    answer = engine.client.post("/v1/completions", json=body).json()
    assert len(answer["choices"][0]["text"].split()) == 4
    assert answer["usage"]["prompt_tokens"] >= 3


def test_words_are_single_tokens(engine: LlamaProcess) -> None:
    answer = engine.client.post("/tokenize", json={"content": " river runs under the bridge"}).json()
    assert len(answer["tokens"]) == 5


def test_a_stream_says_the_same_and_ends_with_usage(engine: LlamaProcess) -> None:
    body = {**HELLO, "stream": True, "stream_options": {"include_usage": True}}
    with engine.client.stream("POST", "/v1/chat/completions", json=body) as response:
        *found, end = events(response)
    pieces = [json.loads(event) for event in found]
    said = "".join(choice["delta"].get("content") or "" for piece in pieces for choice in piece["choices"])
    assert end == "[DONE]"
    assert said == text_of(chat(engine))
    assert pieces[-1]["usage"]["completion_tokens"] == 8


def test_each_tiny_model_has_its_own_answer(
    engine: LlamaProcess, tiny_models: Mapping[str, Path], tmp_path: Path
) -> None:
    with llama(spec(tiny_models["tiny-b"]), tmp_path / "b.log") as other:
        assert text_of(chat(other)) != text_of(chat(engine))


def test_it_is_listed_under_the_served_name(engine: LlamaProcess) -> None:
    assert [model["id"] for model in engine.client.get("/v1/models").json()["data"]] == ["tiny-a"]


def test_a_prompt_over_the_context_is_refused(engine: LlamaProcess) -> None:
    body = {**HELLO, "messages": [{"role": "user", "content": "river " * 3000}]}
    answer = engine.client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "exceed_context_size_error"


def test_slots_share_the_whole_context(tiny_models: Mapping[str, Path], tmp_path: Path) -> None:
    wide = ModelSpec(
        weights=str(tiny_models["tiny-a"]),
        args=(
            "--ctx-size",
            "512",
            "--threads",
            "1",
        ),
        concurrency=4,
        sleep_after=None,
    )
    with llama(wide, tmp_path / "log") as engine:
        assert engine.client.get("/props").json()["total_slots"] == 4
        chat(engine, messages=[{"role": "user", "content": "river " * 300}])


def test_the_key_is_asked_for(tiny_models: Mapping[str, Path], tmp_path: Path) -> None:
    with llama(spec(tiny_models["tiny-a"], api_key="k-1"), tmp_path / "log") as engine:
        chat(engine)
        url = f"http://127.0.0.1:{engine.port}/v1/chat/completions"
        assert httpx.post(url, json=HELLO, trust_env=False).status_code == 401


def test_embeddings(tiny_models: Mapping[str, Path], tmp_path: Path) -> None:
    with llama(spec(tiny_models["tiny-a"], task=Task.EMBED), tmp_path / "log") as engine:
        assert engine.perform(LLAMACPP.verify(engine.spec, "m")).status_code == 200
        inputs = ["the red fox", "the red fox", "snow falls"]
        data = engine.client.post("/v1/embeddings", json={"input": inputs}).json()["data"]
    fox, again, snow = (item["embedding"] for item in data)
    assert len(fox) == 64
    assert math.sqrt(sum(value * value for value in fox)) == pytest.approx(1.0, abs=1e-3)
    assert fox == pytest.approx(again, abs=1e-4)
    assert fox != pytest.approx(snow, abs=1e-2)


def test_rerank(tiny_models: Mapping[str, Path], tmp_path: Path) -> None:
    with llama(spec(tiny_models["tiny-a"], task=Task.RERANK), tmp_path / "log") as engine:
        assert engine.perform(LLAMACPP.verify(engine.spec, "m")).status_code == 200
        body = {"query": "birds", "documents": ["an owl", "a stone", "the sea"], "top_n": 3}
        results = engine.client.post("/v1/rerank", json=body).json()["results"]
    assert sorted(result["index"] for result in results) == [0, 1, 2]


def test_sigterm_ends_it_at_once_in_the_middle_of_a_stream(large_model: Path, tmp_path: Path) -> None:
    with llama(spec(large_model, "--no-warmup"), tmp_path / "log") as engine:
        body = {**HELLO, "stream": True, "max_tokens": 400}
        with engine.client.stream("POST", "/v1/chat/completions", json=body) as response:
            assert next(response.iter_lines()).startswith("data: ")
            status, took = engine.stop()
    assert (status, took < 2.0) == (0, True)


def refused(*argv: str) -> tuple[int, str]:
    """Exit status and stderr of a start that must fail."""
    command = [sys.executable, "-m", EMBEDDED, *argv]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return done.returncode, done.stderr


def test_a_missing_file_is_one_line() -> None:
    status, said = refused("--model", "/nowhere/m.gguf")
    assert status == 1
    assert said == f"{EMBEDDED}: cannot read the model file /nowhere/m.gguf: No such file or directory\n"


def test_a_file_that_is_no_model_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_text("hello")
    status, said = refused("--model", str(tmp_path / "m.gguf"))
    assert (status, len(said.splitlines())) == (1, 1)
    assert "is not a GGUF file" in said


def test_a_broken_model_says_where_to_look(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF" + bytes(100))
    status, said = refused("--model", str(tmp_path / "m.gguf"), "--port", str(free_port()))
    assert status == 1
    assert f"{EMBEDDED}: llama.cpp did not start" in said


def test_a_taken_port_is_one_line(engine: LlamaProcess, tiny_models: Mapping[str, Path]) -> None:
    status, said = refused("--model", str(tiny_models["tiny-b"]), "--port", str(engine.port))
    assert (status, len(said.splitlines())) == (1, 1)
    assert f"cannot listen on 127.0.0.1:{engine.port}" in said


def test_a_real_chat_model_answers_sensibly(smollm2: Path, tmp_path: Path) -> None:
    with llama(spec(smollm2, "--chat-template", "chatml", "--no-warmup"), tmp_path / "log") as engine:
        question = [{"role": "user", "content": "What is the capital of France?"}]
        answer = chat(engine, messages=question, max_tokens=16)
    assert "Paris" in text_of(answer)
    assert answer["choices"][0]["finish_reason"] == "stop"
