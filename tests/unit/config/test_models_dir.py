"""`models_dir`: which files are models, what they are called, whose settings they get, and what is wrong with those."""

from collections.abc import Sequence
from textwrap import dedent

import pytest

from roost.config.convert import convert
from roost.config.dump import Style, effective_yaml
from roost.config.load import Loaded, check_further, load, load_files
from roost.config.models_dir import grouped, valid_name
from roost.core.problems import Problem
from roost.core.spec import EngineKind, RoostSpec
from roost.engines.registry import validate
from roost.engines.simulated import simulate
from tests.unit.config.reading import BASE, HOME, said

TEXT = """
    defaults: {engine: vllm, port: 9000, sleep_after: 1m, args: ["--ctx-size 512"]}
    models:
      written: {weights: org/x, port: 9001, aliases: [other]}
    models_dir:
      path: ./weights
      settings:
        "qwen*": {concurrency: 2, args: ["--temp 0"]}
        "tiny": {aliases: [small]}
"""


def read(text: str, *files: str) -> Loaded:
    asked: list[str] = []

    def look(folder: str) -> Sequence[str]:
        asked.append(folder)
        return files

    loaded = load(dedent(text).lstrip("\n"), file="f", env={}, home=HOME, base_dir=BASE, look=look)
    assert asked in ([], [f"{BASE}/weights"])
    return loaded


def spec_of(loaded: Loaded) -> RoostSpec:
    assert loaded.spec is not None, said(loaded.problems)
    return loaded.spec


def test_which_files_are_models() -> None:
    files = ["a.gguf", "B.GGUF", "sub/c.gguf", "x.txt", ".gguf", ".hidden.gguf", ".cache/d.gguf", "mmproj-a.gguf"]
    files += ["a-mmproj-f16.gguf", "s-00002-of-00002.gguf", "s-00001-of-00002.gguf", "half-00001-of-00002.gguf"]
    assert grouped(files) == {
        "a.gguf": ("a.gguf",),
        "B.GGUF": ("B.GGUF",),
        "sub/c.gguf": ("sub/c.gguf",),
        "s-00001-of-00002.gguf": ("s-00001-of-00002.gguf", "s-00002-of-00002.gguf"),
    }


@pytest.mark.parametrize(
    ("text", "name"), [("a b", "a b"), ("all", "all.gguf"), ("a?#%\n", "a----"), (" x ", "x"), ("", "model")]
)
def test_names_are_made_valid(text: str, name: str) -> None:
    assert valid_name(text) == name
    assert len(valid_name("n" * 300)) == 200


def test_each_file_gets_the_settings_of_the_first_pattern_over_the_defaults() -> None:
    loaded = read(TEXT, "qwen.gguf", "sub/tiny-00001-of-00002.gguf", "z.gguf")
    models = spec_of(loaded).models
    assert list(models) == ["written", "qwen", "tiny", "z"]
    qwen, tiny, rest = models["qwen"], models["tiny"], models["z"]
    assert {model.engine for model in (qwen, tiny, rest)} == {EngineKind.LLAMACPP}
    assert (qwen.concurrency, qwen.args, qwen.sleep_after, qwen.port) == (2, ("--temp", "0"), 60.0, None)
    assert (tiny.weights, tiny.aliases) == (f"{BASE}/weights/sub/tiny-00001-of-00002.gguf", ("small",))
    assert (rest.args, rest.weights) == (("--ctx-size", "512"), f"{BASE}/weights/z.gguf")
    assert loaded.found == {name: models[name].weights for name in ("qwen", "tiny", "z")}
    assert loaded.problems == () and validate(spec_of(loaded)) == []
    assert models["written"].engine is EngineKind.VLLM


def test_written_names_win_and_folders_tell_equal_files_apart() -> None:
    text = TEXT.replace("path: ./weights", "path: ./weights\n      prefix: p/")
    loaded = read(text, "written.gguf", "b/x.gguf", "x.gguf", "a/b/x.gguf")
    assert loaded.found == {
        "p/a/b/x": f"{BASE}/weights/a/b/x.gguf",
        "p/b/x": f"{BASE}/weights/b/x.gguf",
        "p/written": f"{BASE}/weights/written.gguf",
        "p/x": f"{BASE}/weights/x.gguf",
    }
    assert list(read(TEXT, "written.gguf", "other.gguf", "new.gguf").found) == ["new"]
    loaded = read(TEXT, "x?.gguf", "x#.gguf")
    assert list(loaded.found) == ["x-"]
    assert said(loaded.problems) == [
        'f:4: warning: models_dir: x?.gguf is not served: "x-" already names x#.gguf. Rename one of the files.'
    ]


def test_patterns_fit_names_with_and_without_what_stands_before_the_slash() -> None:
    models = spec_of(read(TEXT, "a/qwen.gguf", "qwen.gguf")).models
    assert models["a/qwen"].concurrency == models["qwen"].concurrency == 2


@pytest.mark.parametrize(
    ("settings", "files", "expected"),
    [
        ("{prot: 1}", (), 'f:5: models_dir.settings.q*.prot: unknown key "prot"; did you mean "port"?'),
        ("{sleep_after: soon}", ("q.gguf",), 'models_dir.settings.q*.sleep_after: "soon" is not a duration'),
        ("{url: 'http://h:1'}", ("q.gguf",), "models_dir.settings.q*.url: the models of models_dir are served from"),
        ("{weights: x}", (), "models_dir.settings.q*.weights: the models of models_dir are served from their files"),
        ("{engine: vllm}", ("q.gguf",), "engine: models_dir serves GGUF files by llama.cpp, not by vllm"),
        ("{port: 9}", ("q1.gguf", "q2.gguf"), 'f:5: models_dir.settings.q*.port: port 9 is already that of model "q1"'),
        ("{aliases: [z]}", ("q1.gguf", "q2.gguf"), 'f:5: models_dir.settings.q*.aliases.0: "z" already names'),
    ],
)
def test_what_is_wrong_is_said_at_its_line(settings: str, files: tuple[str, ...], expected: str) -> None:
    text = f"""
    models:
      a: {{weights: org/a}}
    models_dir:
      path: ./weights
      settings: {{"q*": {settings}}}
    """
    loaded = read(text, *files)
    assert loaded.spec is None
    (problem,) = [one for one in said(loaded.problems) if "warning" not in one]
    assert expected in problem


def test_a_folder_that_cannot_be_read_or_is_empty() -> None:
    def gone(folder: str) -> Sequence[str]:
        raise FileNotFoundError(2, "No such file or directory")

    text = "models_dir:\n  path: ./weights\n"
    loaded = load(text, file="f", env={}, home=HOME, base_dir=BASE, look=gone)
    assert loaded.spec is None
    assert said(loaded.problems) == [
        f"f:2: models_dir.path: {BASE}/weights cannot be read: no such file or directory. Make the folder, or write "
        "the path of another one."
    ]
    loaded = read(text)
    assert spec_of(loaded).models == {}
    assert said(loaded.problems) == [
        f"f:2: warning: models_dir.path: no GGUF file rests in {BASE}/weights yet. Files that come are noticed."
    ]


def test_groups_and_keys_may_name_a_file() -> None:
    text = TEXT + "    memory: {groups: {g: {members: [qwen, written]}}}\n"
    assert read(text, "qwen.gguf").problems == ()
    (problem,) = said(read(text).problems)[-1:]
    assert '"qwen" is not a model' in problem


def test_the_same_again_with_other_files() -> None:
    text = dedent(TEXT)
    first = read(text, "qwen.gguf")
    assert first.again is not None
    assert list(first.again(lambda _: ["z.gguf"]).found) == ["z"]
    assert first.again(lambda _: ["qwen.gguf"]) == first
    ran: list[int] = []

    def counting(spec: RoostSpec) -> Sequence[Problem]:
        ran.append(len(spec.models))
        return [Problem(path=("models", "z"), message="no")] if "z" in spec.models else []

    checked = check_further(first, [counting])
    assert checked.again is not None and checked.spec is not None
    assert checked.again(lambda _: ["z.gguf"]).spec is None
    assert ran == [2, 2]
    of_files = load_files({"a.yaml": text}, env={}, home=HOME, base_dir=BASE, look=lambda _: ["qwen.gguf"])
    assert of_files.again is not None
    again = of_files.again(lambda _: ["x?.gguf", "x#.gguf"])
    assert [problem.file for problem in again.problems] == ["a.yaml"]


def test_shown_and_converted_it_means_the_same() -> None:
    loaded = read(TEXT, "qwen.gguf", "tiny.gguf")
    assert spec_of(read(effective_yaml(spec_of(loaded), Style(mask=False)), "qwen.gguf", "tiny.gguf")) == loaded.spec
    assert loaded.written is not None
    text = convert(loaded.written).text
    assert "qwen:" not in text and "qwen*" in text
    again = read(text, "qwen.gguf", "tiny.gguf")
    assert (again.spec, again.found) == (loaded.spec, loaded.found)


def test_simulated_files_need_no_engine() -> None:
    model = simulate(spec_of(read(TEXT, "qwen.gguf"))).models["qwen"]
    assert (model.engine, model.weights) == (EngineKind.SIMULATED, None)


def test_a_clash_of_two_files_names_both() -> None:
    text = 'models_dir: {path: ./weights, settings: {"q*": {aliases: [bee]}}}\n'
    (fault,) = said(read(text, "qa.gguf", "qb.gguf").problems)
    assert fault == (
        'f:1: models_dir.settings.q*.aliases.0: "bee" already names something else: aliases of model "qa" '
        "(qa.gguf); qb.gguf gets it, too. Let the pattern fit one file, or rename what it clashes with."
    )
