"""The effective spec: engine, paths, command lines."""

import pytest

from roost.config.finish import split_words
from roost.core.spec import EngineKind
from tests.unit.config.reading import model_of


@pytest.mark.parametrize(
    ("model", "engine"),
    [
        ("weights: x.gguf", EngineKind.LLAMACPP),
        ("weights: X.GGUF", EngineKind.LLAMACPP),
        ("weights: org/model", EngineKind.VLLM),
        ("command: run", EngineKind.COMMAND),
        ("url: http://h:1", EngineKind.COMMAND),
        ("{weights: x.gguf, engine: vllm}", EngineKind.VLLM),
        ("{url: 'http://h:1', engine: sglang}", EngineKind.SGLANG),
    ],
)
def test_the_engine_is_decided(model: str, engine: EngineKind) -> None:
    assert model_of(f"models:\n  a:\n    {model}" if model[0] != "{" else f"models: {{a: {model}}}").engine is engine


@pytest.mark.parametrize(
    ("weights", "absolute"),
    [
        ("./a.gguf", "/etc/roost/a.gguf"),
        ("../m/a.gguf", "/etc/m/a.gguf"),
        ("a.gguf", "/etc/roost/a.gguf"),
        ("~/m/a.gguf", "/home/u/m/a.gguf"),
        ("/x/./y", "/x/y"),
        ("./folder", "/etc/roost/folder"),
        ("org/model", "org/model"),
    ],
)
def test_weights_that_look_like_paths_become_absolute(weights: str, absolute: str) -> None:
    assert model_of(f"models: {{a: {{weights: {weights}}}}}").weights == absolute


def test_folders_become_absolute() -> None:
    model = model_of("models: {a: {weights: x, venv: .venv, cwd: ~/run}}")
    assert (model.venv, model.cwd) == ("/etc/roost/.venv", "/home/u/run")
    assert model_of("models: {a: {weights: x}}").cwd == "/etc/roost"
    assert model_of("models: {a: {url: 'http://h:1'}}").cwd is None


def test_commands_are_split_and_lists_are_not() -> None:
    text = """
    models:
      a:
        command: |
          ~/bin/serve --port ${PORT} \\
            --name 'my model'
        stop_command: [~/bin/stop, "a b"]
        args: ["--x 1", '""', "'--y z'"]
    """
    model = model_of(text)
    assert model.command == ("/home/u/bin/serve", "--port", "${PORT}", "--name", "my model")
    assert model.stop_command == ("/home/u/bin/stop", "a b")
    assert model.args == ("--x", "1", "", "--y z")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a \\\n b", ["a", "b"]),
        ("a \\\r\n b", ["a", "b"]),
        ("'a\\\nb'", ["a\\\nb"]),
        ('"a\\\\" b', ["a\\", "b"]),
        ("a\\ b", ["a b"]),
        ("it\\'s \\\n ok", ["it's", "ok"]),
        ("# no comment", ["#", "no", "comment"]),
        ("", []),
    ],
)
def test_split_words(text: str, words: list[str]) -> None:
    assert split_words(text) == words


@pytest.mark.parametrize("text", ["'a", '"a', "a\\"])
def test_what_cannot_be_split(text: str) -> None:
    with pytest.raises(ValueError, match=r"closing quotation|escaped character"):
        split_words(text)


def test_an_engine_that_sleeps_by_itself_is_given_no_time_where_nothing_is_to_sleep_by_itself() -> None:
    off = "policy: {auto_sleep: false}\nmodels: {a: {weights: %s, sleep_after: 5m}}"
    assert model_of(off % "x.gguf").sleep_after is None
    assert model_of(off % "org/model").sleep_after == 300.0  # roost itself keeps the policy there
    assert model_of("models: {a: {weights: x.gguf, sleep_after: 5m}}").sleep_after == 300.0
