"""Several files as one configuration: what is put together, what conflicts, and that problems find their way home."""

import pytest

from roost.config.load import Loaded, check_further, load_files
from roost.core.problems import Problem
from roost.core.spec import RoostSpec

A = "models:\n  a:\n    cmd: p ${PORT}\n"
B = "models:\n  b:\n    cmd: p ${PORT}\n"


def read(**texts: str) -> Loaded:
    named = {f"d/{name}.yaml": text for name, text in texts.items()}
    return load_files(named, env={}, home="/home/u", base_dir="/etc/d")


def said(loaded: Loaded) -> list[str]:
    return [problem.render("d") for problem in loaded.problems]


def test_models_come_from_all_files_and_lists_follow_each_other_in_the_order_of_names() -> None:
    loaded = read(two=B + "apiKeys: [y]\nglobalTTL: 5\n", one="apiKeys: [x]\nmacros: {m: 1}\n" + A)
    assert loaded.spec is not None and loaded.dialect == "llama_swap", said(loaded)
    assert list(loaded.spec.models) == ["a", "b"]
    assert [key.key for key in loaded.spec.server.keys] == ["x", "y"]
    assert loaded.spec.models["a"].unload_after == 5


def test_mappings_merge_at_every_depth_and_the_same_value_twice_is_no_conflict() -> None:
    native = "models: {%s: {engine: simulated}}\nserver: {port: 9000, limits: {%s}}\n"
    loaded = read(one=native % ("a", "head_fields: 7"), two=native % ("b", "connections: 8"))
    assert loaded.spec is not None and loaded.dialect == "native", said(loaded)
    assert (loaded.spec.server.port, loaded.spec.server.limits.head_fields) == (9000, 7)
    assert loaded.spec.server.limits.connections == 8


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("globalTTL: 5\n", "\nglobalTTL: 6\n", "d/two.yaml:2: globalTTL: is 6 here, and 5 in d/one.yaml (line 1)"),
        ("\n" + A, A, 'd/two.yaml:2: models.a: "a" is already in d/one.yaml (line 3)'),
        (
            "groups: {g: {members: [a]}}\n",
            "groups: {g: {members: [b]}}\n",
            'd/two.yaml:1: groups.g: "g" is already in d/one.yaml (line 1)',
        ),
        (
            "peers: {p: {proxy: 'http://h:1', models: [m]}}\n",
            "peers: {p: {proxy: 'http://h:1', models: [n]}}\n",
            'd/two.yaml:1: peers.p: "p" is already in d/one.yaml (line 1)',
        ),
        ("macros: {m: 1}\n", "macros: {m: 2}\n", "d/two.yaml:1: macros.m: is 2 here, and 1 in d/one.yaml (line 1)"),
        ("hooks: 1\n", "hooks: {}\n", "d/two.yaml:1: hooks: is a mapping here, and 1 in d/one.yaml (line 1)"),
        ("sendLoadingState: 1\n", "sendLoadingState: true\n", "is true here, and 1 in"),
    ],
)
def test_two_meanings_are_an_error_that_names_both_files(first: str, second: str, message: str) -> None:
    loaded = read(one=first, two=second, zzz=A.replace("a:", "z:"))
    assert loaded.spec is None
    assert any(message in text for text in said(loaded)), said(loaded)


def test_problems_name_their_own_file_and_line() -> None:
    loaded = read(one=A, two="# note\n" + B + "    ttl: x\n", zzz="\n\nlogLevel: debug\n")
    assert said(loaded) == [
        'd/two.yaml:5: models.b.ttl: "x" is not a whole number of -1 or more',
        "d/zzz.yaml:3: warning: logLevel: roost has no use for this key. roost up --log-level says it.",
    ]


def test_a_line_inside_a_message_is_that_of_its_file() -> None:
    rest = "models:\n  c: {cmd: p, proxy: 'http://127.0.0.1:1'}\n"
    loaded = read(one="\n\ngroups: {g: {members: [c]}}\n" + rest, two="matrix: {sets: {s: c}}\n")
    assert any("(line 3 of d/one.yaml)" in text and text.startswith("d/two.yaml:1:") for text in said(loaded))


def test_further_checks_find_the_file_too() -> None:
    def refuse(spec: RoostSpec) -> list[Problem]:
        return [Problem(path=("models", name, "command"), message="is refused") for name in spec.models]

    loaded = check_further(read(one=A, two="\n" + B), [refuse])
    assert said(loaded) == ["d/one.yaml:3: models.a.command: is refused", "d/two.yaml:4: models.b.command: is refused"]


def test_a_file_that_cannot_be_read_keeps_all_from_being_read() -> None:
    loaded = read(one=A, two="models: [", zzz="- x\n")
    assert loaded.spec is None
    first, second = said(loaded)
    assert first.startswith("d/two.yaml:") and "is not valid YAML" in first
    assert second.startswith("d/zzz.yaml:1: is not a mapping")


def test_files_of_comments_are_nothing() -> None:
    assert read(one="# nothing\n", two=A).spec is not None
    (text,) = said(read(one="# nothing\n", two=""))
    assert "has only empty files" in text
