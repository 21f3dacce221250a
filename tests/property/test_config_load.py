"""Loading holds for every text: it never raises, it reads its own output, defaults follow their law."""

from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from roost.config.dialects.native import merge
from roost.config.dump import Style, config_hash, effective_yaml
from roost.config.load import Loaded, load
from roost.config.tree import Node
from roost.config.validate import to_data
from roost.config.yamltext import parse

_WORDS = [
    "models",
    "instances",
    "replicas",
    "defaults",
    "server",
    "macros",
    "memory",
    "devices",
    "keys",
    "key",
    "name",
    "args",
    "env",
    "queue",
    "url",
    "engine",
    "simulated",
    "all",
    "pin",
    "never",
    "5m",
    "80GiB",
    "a",
    ":",
    "-",
    "[",
    "]",
    "{",
    "}",
    ",",
    "&a",
    "*a",
    "<<",
    "!!int",
    "!x",
    "'",
    '"',
    "#",
    "${",
    "$$",
    "${PORT}",
    "${m}",
    "${env:X}",
    "-1",
    ".nan",
    "0x",
    "true",
    "~",
    "|",
    ">",
    "---",
    "?",
    "\\",
    "1e999",
]
_PIECES = [*_WORDS, " ", "\n", "\n  ", "\n    ", ": ", "- ", "\t", "%YAML 9.9\n", "\x00", "\ufeff", "\U0001f600"]


def read(text: str, env: dict[str, str] | None = None) -> Loaded:
    return load(text, file="f", env=env or {}, home="/home/u", base_dir="/etc/roost")


@given(st.one_of(st.text(), st.lists(st.sampled_from(_PIECES), max_size=40).map("".join)))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_load_never_raises(text: str) -> None:
    loaded = read(text, {"X": "1"})
    assert (loaded.spec is None) == any(problem.severity == "error" for problem in loaded.problems)
    assert all(problem.line is None or problem.line >= 1 for problem in loaded.problems)
    for problem in loaded.problems:
        problem.render("f")


_words = st.text(max_size=12) | st.sampled_from(
    ["$", "$$", "${PORT}", "$${PORT}", "it's", "a b", "~/x", "1", "yes", "null"]
)
_scalars = _words | st.integers(-5, 100_000) | st.booleans() | st.none() | st.floats(0, 1e6)
_json: st.SearchStrategy[Any] = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words, inner, max_size=3), max_leaves=8
)
_wild = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("models", "server", "defaults", "memory", "macros", "policy", "x"), _json)
)


@given(_wild)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_load_never_raises_on_any_structure(document: dict[str, Any]) -> None:
    read(yaml.safe_dump(document))


_durations = st.sampled_from(["never", "5m", "1h30m", 90, 0.25]) | st.floats(1e-6, 1e9)
_place = st.sampled_from(["status", "a.b", "results[0].ok", "data[id=${MODEL}].status.value"])
_path = st.sampled_from(
    ["/x", "/sleep?level=1&mode=wait", "/${MODEL}/$$", "http://127.0.0.1:${PORT}/x", "https://h/x?y=1"]
)
_statuses = st.integers(200, 599)
_expected = st.fixed_dictionaries({"text": _words.filter(bool)}, optional={"json": _json}) | st.fixed_dictionaries(
    {"at": _place}, optional={"equals": _json.filter(lambda value: value is not None), "text": _words}
)
_step = st.fixed_dictionaries(
    {"endpoint": _path},
    optional={
        "method": st.sampled_from(["GET", "post", "Put", "PATCH"]),
        "body": _words | st.dictionaries(_words, _json, max_size=3),
        "headers": st.dictionaries(st.sampled_from(["Authorization", "X-A", "accept"]), st.sampled_from(["1", "$$b"])),
        "timeout": st.sampled_from([0, "5m", 0.25]),
        "status": st.lists(_statuses, max_size=2),
        "expect": _expected,
        "retries": st.integers(0, 20),
        "retry_delay": st.floats(0, 1e3),
        "if": st.fixed_dictionaries({"level": st.sampled_from([1, 2])}),
        "parallel": st.booleans() | st.sampled_from(["a", "true", "1"]),
        "health_check_after": st.booleans(),
        "wait_until": st.fixed_dictionaries(
            {"endpoint": _path},
            optional={
                "status": _statuses,
                "expect": _expected,
                "timeout": st.floats(1e-3, 1e3),
                "interval": st.just(1),
            },
        ),
        "on_failure": st.sampled_from(["fail", "continue", "restart"]),
    },
)
_looking = st.fixed_dictionaries(
    {
        "endpoint": _path,
        "if": st.fixed_dictionaries(
            {"step": st.sampled_from([1, "previous"]), "at": _place},
            optional={"status": _statuses, "equals": _json.filter(lambda value: value is not None)},
        ),
    }
)
_steps = st.tuples(st.lists(_step, min_size=1, max_size=3), st.lists(_looking, max_size=1)).map(
    lambda two: two[0] + two[1]
)
_model = st.fixed_dictionaries(
    {"weights": st.sampled_from(["./a.gguf", "org/model", "~/x", "b.gguf"])},
    optional={
        "args": st.lists(_words, max_size=4),
        "env": st.dictionaries(st.from_regex(r"\A[A-Z_]{1,8}\Z"), _words, max_size=3),
        "command": st.lists(_words.filter(bool), min_size=1, max_size=4),
        "description": _words,
        "metadata": st.dictionaries(_words, _json, max_size=3),
        "set_params": st.dictionaries(_words, _json, max_size=3),
        "sleep_after": _durations,
        "unload_after": _durations,
        "stop_grace": st.floats(0, 1e9),
        "footprint": st.sampled_from(["80GiB", "1.5 GB", 512]) | st.integers(0, 2**60),
        "queue": st.fixed_dictionaries({}, optional={"size": st.integers(0, 1000)}),
        "pin": st.booleans(),
        "cwd": st.sampled_from(["x", "../y", "~/z"]),
        "api_key": _words,
        "tools": st.booleans() | st.none(),
        "step_retries": st.integers(0, 20),
        "step_retry_delay": st.floats(0, 1e3),
        "canary": st.booleans() | st.none(),
        "max_requests": st.integers(1, 9),
        "loading_state": st.booleans(),
        "display_name": _words,
        "timeouts": st.fixed_dictionaries({}, optional={"wake": _durations, "stall_after": _durations}),
    },
)
_stepping = st.tuples(_model, st.fixed_dictionaries({"sleep_steps": _steps, "wake_steps": _steps})).map(
    lambda two: two[0] | two[1]
)
_names = st.from_regex(r"\A[a-z0-9./_-]{1,12}\Z").filter(lambda name: name != "all")
_server = st.fixed_dictionaries(
    {}, optional={"keys": st.just([{"name": "n", "key": "k"}]), "port": st.integers(0, 65535)}
)
_memory = st.fixed_dictionaries({}, optional={"max_resident": st.integers(3, 9), "devices": st.just({"g": 2**62})})


@st.composite
def _files(draw: st.DrawFn) -> dict[str, Any]:
    """A file; its groups and its matrix speak of its own models."""
    models = draw(st.dictionaries(_names, _model | _stepping, min_size=1, max_size=2))
    document: dict[str, Any] = {"models": models}
    document |= draw(st.fixed_dictionaries({}, optional={"defaults": _model | _stepping, "server": _server}))
    if draw(st.booleans()):
        flags = st.fixed_dictionaries({}, optional=dict.fromkeys(("swap", "exclusive", "persistent"), st.booleans()))
        groups = {"g": {"members": sorted(models), **draw(flags)}}
        names = {f"m{index}": name for index, name in enumerate(models)}
        costs = dict.fromkeys(names, draw(st.integers(1, 9)))
        matrix = {"names": names, "sets": {"s": " & ".join(names)}, "evict_costs": costs}
        document["memory"] = draw(_memory) | draw(st.sampled_from([{}, {"groups": groups}, {"matrix": matrix}]))
    return document


@given(_files())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_the_effective_configuration_loads_as_the_same_spec(document: dict[str, Any]) -> None:
    spec = read(yaml.safe_dump(document, allow_unicode=True)).spec
    if spec is None:
        return
    for full in (False, True):
        again = load(effective_yaml(spec, Style(full=full, mask=False)), file="f", env={}, home="/h", base_dir="/b")
        assert again.spec == spec
        assert again.spec is not None and config_hash(again.spec) == config_hash(spec)


_trees = st.recursive(
    st.integers(0, 9),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
)
_mappings = st.dictionaries(st.sampled_from("abc"), _trees, max_size=3)


def node(value: Any) -> Node:
    root, problems = parse(yaml.safe_dump(value))
    assert root is not None and not problems
    return root


def plain_merge(defaults: Any, own: Any) -> Any:
    """The law: key by key where both are mappings, else the own value."""
    if not (isinstance(defaults, dict) and isinstance(own, dict)):
        return own
    shared = {key: plain_merge(value, own[key]) if key in own else value for key, value in defaults.items()}
    return {**own, **shared}


@given(_mappings, _mappings)
def test_defaults_merge_by_their_law(defaults: dict[str, Any], own: dict[str, Any]) -> None:
    assert to_data(merge(node(defaults), node(own)), None) == plain_merge(defaults, own)


@given(_mappings)
def test_merging_with_itself_or_nothing_changes_nothing(own: dict[str, Any]) -> None:
    assert to_data(merge(node(own), node(own)), None) == own
    assert to_data(merge(node({}), node(own)), None) == own
    assert to_data(merge(node(own), node({})), None) == own
