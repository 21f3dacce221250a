"""Every file of a dialect and its native form come to the same spec; no such file makes the reader raise."""

import shlex
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from roost.config.convert import convert
from roost.config.dialects.instances import DEVICE_VARIABLES, KEYS
from roost.config.dump import config_hash
from roost.config.load import Loaded, load

ENV = {"NAME": "org/named", "HOST": "10.0.0.1", "MY_TOKEN": "geheim 1", "PORT_B": "4000", "WORDS": "--a b"}


def read(text: str, env: dict[str, str] = ENV) -> Loaded:
    return load(text, file="f", env=env, home="/home/u", base_dir="/etc/roost")


_texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=8) | st.sampled_from(
    ["$", "$$", "${PORT}", "${MODEL}", "${env:NAME}", "${env:MY_TOKEN}", "${env:NONE:-x}", "$${env:NAME}", "${x}", "${"]
)
_words = st.lists(_texts, min_size=1, max_size=2).map("".join) | st.sampled_from(
    ["~/x", "--x=1", "--enable-sleep-mode"]
)
_flags = st.sampled_from(
    ["--host 10.0.0.9", "--host=${env:HOST}", "--served-model-name s t", "--api-key k", "--x ${env:WORDS}", "--t '1 2'"]
)
_entries = _words.map(shlex.quote) | _flags | st.integers(0, 99)
_names = st.sampled_from(["A", "HF_TOKEN", "NAME_KEY", *sorted(DEVICE_VARIABLES)[:2]])
_pairs = st.tuples(_names, _texts).map("=".join)
_scalars = st.booleans() | st.integers(0, 9) | st.floats(0, 1) | st.none() | _texts
_seconds = st.integers(1, 999) | st.none() | st.sampled_from(["5m", 0.5])
_instance = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["org/a", "b", "./c", "~/d", "e.gguf", "${env:NAME}"]),
        "engine": st.sampled_from(["vllm", "VLLM", "sgl", "sglang"]),
    },
    optional={
        "engine_args": st.lists(_entries, max_size=4) | _flags | st.none(),
        "engine_env": st.lists(_pairs, max_size=3) | st.dictionaries(_names, _texts | st.integers(0, 9), max_size=2),
        "kvcached_env": st.lists(_pairs, max_size=2),
        "using_venv": st.sampled_from([True, False, "yes", "false"]),
        "venv_path": st.sampled_from(["v", "../v", "~/v", "/v", "${env:NAME}"]),
        "footprint": st.sampled_from(["2GiB", 512]),
        "pin": st.booleans(),
        "sleep_level": st.sampled_from([1, 2]),
        "description": _texts,
        "api_key": _texts.filter(bool),
    },
)
_sleep = st.fixed_dictionaries(
    {},
    optional={
        "idle_threshold_seconds": _seconds,
        "check_interval_seconds": _seconds,
        "auto_sleep_enabled": st.booleans(),
        "wakeup_on_request": st.booleans(),
        "min_sleep_duration": _seconds,
        "vllm_sleep_mode": st.sampled_from(["abort", "wait"]),
        "vllm_sleep_timeout_seconds": _seconds,
    },
)
_router = st.fixed_dictionaries(
    {},
    optional={
        "enable_router": st.booleans(),
        "router_port": st.integers(1, 65535) | st.just("${env:PORT_B}"),
        "router_host": st.sampled_from(["127.0.0.1", "localhost", "0.0.0.0", "${env:HOST}"]),
    },
)
_files = st.fixed_dictionaries(
    {"instances": st.lists(_instance, min_size=1, max_size=3)},
    optional={
        "kvcached": st.dictionaries(st.sampled_from(["a", "hf_token", "B"]), _scalars, max_size=3),
        "router": _router,
        "sleep_manager": _sleep,
        "launch_delay_seconds": _seconds,
        "memory": st.just({"devices": {"gpu0": "80GiB"}}),
        "policy": st.just({"residency": "1m"}),
    },
)


@given(_files, st.booleans())
@settings(max_examples=200, deadline=None, derandomize=True)
def test_the_native_form_comes_to_the_same(document: dict[str, Any], show_secrets: bool) -> None:
    loaded = read(yaml.safe_dump(document, allow_unicode=True, sort_keys=False))
    if loaded.spec is None or loaded.written is None:
        assert loaded.problems
        return
    made = convert(loaded.written, show_secrets=show_secrets)
    again = read(made.text, {**ENV, **{left.variable: left.value for left in made.left_out}})
    assert again.spec == loaded.spec, (again.problems, made.text)
    assert again.spec is not None and config_hash(again.spec) == config_hash(loaded.spec)
    assert again.dialect == "native" and not (show_secrets and made.left_out)


_json: st.SearchStrategy[Any] = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3), max_leaves=8
)
_wild_instance = st.fixed_dictionaries({}, optional=dict.fromkeys((*KEYS, "x"), _json)) | _json


@given(
    st.fixed_dictionaries(
        {"instances": st.lists(_wild_instance | _instance, max_size=3) | _json},
        optional=dict.fromkeys(
            ("kvcached", "router", "sleep_manager", "launch_delay_seconds", "memory", "server"), _json
        ),
    )
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_the_reader_never_raises(document: dict[str, Any]) -> None:
    loaded = read(yaml.safe_dump(document, allow_unicode=True))
    assert (loaded.spec is None) == any(problem.severity == "error" for problem in loaded.problems)
    for problem in loaded.problems:
        assert problem.line is None or problem.line >= 1
        problem.render("f")
