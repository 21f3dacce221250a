"""Every file of a dialect and its native form come to the same spec; no such file makes the reader raise."""

import shlex
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from roost.config.convert import convert
from roost.config.dialects.instances import DEVICE_VARIABLES, KEYS
from roost.config.dialects.llama_swap_keys import MODEL, OLD_STEPS, TOP
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


# llama-swap's form

SWAP_ENV = {"MY_TOKEN": "geheim 1", "HOST": "10.0.0.1", "WORDS": "--a b", "HOME": "/home/u", "TTL": "60"}
_put = st.sampled_from(
    ["${MODEL_ID}", "${size}", "${dir}", "${TOKEN}", "${env.HOST}", "${env.MY_TOKEN}", "$", "$$", "$x", "${X:-y}", "é"]
)
_plain_words = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]), max_size=6)
_phrases = st.lists(_put | _plain_words, min_size=1, max_size=3).map("".join)
_secrets = _phrases.map("k".__add__)
_programs = st.sampled_from(
    [
        "serve",
        "vllm serve org/m",
        "/opt/llama-server -m '~/x y.gguf'",
        "docker run --rm --name ${MODEL_ID} -e VLLM_SERVER_DEV_MODE=1 vllm/vllm-openai:v1",
        "python -m sglang.launch_server --model-path ${dir}",
        "bash -c 'exec vllm serve m'",
    ]
)
_arguments = st.sampled_from(
    [
        "--x ${env.WORDS}",
        "--api-key k",
        "--api-key=${TOKEN}",
        "--t '1  2'",
        '"a b"',
        "~/x",
        "\\\n",
        "\n# ${no}\n",
        "-n ${size}",
    ]
)
_cmds = st.tuples(_programs, st.lists(_arguments | _phrases.map(shlex.quote), max_size=3)).map(
    lambda parts: " ".join((parts[0], "--port ${PORT}", *parts[1]))
)
_swap_scalars = st.booleans() | st.integers(0, 9) | st.floats(0, 1) | _phrases | st.just("${size}")
_whole = st.integers(0, 999) | st.just("${env.TTL}")
_nested = st.fixed_dictionaries(
    {}, optional={"x": _swap_scalars | st.lists(_swap_scalars, max_size=2), "token": _secrets, "${dir}": _whole}
)
_set = st.fixed_dictionaries({}, optional={"seed": _swap_scalars, "model": _phrases, "api_key": _secrets})
_swap_filters = st.fixed_dictionaries(
    {},
    optional={
        "stripParams": st.sampled_from(["a, b", "model,top_p", ["x", "y,z"]]),
        "setParams": _set,
        "setParamsByID": st.dictionaries(st.sampled_from(["${MODEL_ID}:high", "${MODEL_ID}"]), _set, max_size=2),
    },
)
_step = st.fixed_dictionaries(
    {
        "endpoint": st.sampled_from(
            ["/sleep?level=1", "/sleep", "/wake_up", "/x?y=${size}", "http://127.0.0.1:9/${PORT}"]
        )
    },
    optional={
        "method": st.sampled_from(["POST", "get", "Put"]),
        "body": st.sampled_from(
            ['{"level": 2}', '{"method": "reload_weights"}', "text $ ${dir}", {"tags": ["weights"]}]
        ),
        "timeout": _whole,
        "parallel": st.booleans(),
        "retries": st.integers(0, 3),
        "retryDelay": st.sampled_from([1, "1s", 0.5]),
        "if": st.sampled_from(["level == 1", "level == 2"]),
        "expectedBody": st.sampled_from(['{"ok": true}', "ok ${size}", {"a": [1]}]),
        "healthCheckAfter": st.booleans(),
        "headers": st.dictionaries(st.sampled_from(["X-A", "Authorization"]), _phrases.filter(str.isascii), max_size=2),
    },
)
_lists: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "sleepEndpoints": st.lists(_step, min_size=1, max_size=2),
        "wakeEndpoints": st.lists(_step, min_size=1, max_size=3),
    },
    optional={"sleepMode": st.sampled_from(["enable", "disable"]), "retries": st.integers(0, 2), "unloadAfter": _whole},
) | st.just({})
_swap_model = st.fixed_dictionaries(
    {"cmd": _cmds},
    optional={
        "cmdStop": st.just("docker stop -t 5 '${MODEL_ID}' ${PID} ${PORT} ${dir}"),
        "proxy": st.sampled_from(["http://127.0.0.1:${PORT}", "http://${env.HOST}:99"]),
        "checkEndpoint": st.sampled_from(["/ready", "none", "/${size}"]),
        "env": st.lists(st.tuples(_names, _phrases).map("=".join), max_size=2),
        "ttl": _whole | st.just(-1),
        "unloadTimeout": _whole,
        "concurrencyLimit": _whole,
        "useModelName": _phrases.filter(str.isprintable),
        "name": _phrases,
        "description": _phrases,
        "metadata": _nested,
        "unlisted": st.booleans(),
        "filters": _swap_filters,
        "macros": st.fixed_dictionaries({}, optional={"size": st.integers(1, 9), "own": _phrases}),
        "sendLoadingState": st.booleans(),
        "timeouts": st.fixed_dictionaries(
            {}, optional={"connect": _whole, "responseHeader": _whole, "idleConn": _whole}
        ),
        "capabilities": st.sampled_from(
            [{"in": ["text", "image"], "tools": True}, {"reranker": True, "context": 4096}]
        ),
        "pin": st.booleans(),
        "footprint": st.just("2GiB"),
    },
)
_swap_models = st.dictionaries(
    st.sampled_from(["a", "org/b", "c.d"]), st.tuples(_swap_model, _lists).map(lambda two: two[0] | two[1]), min_size=1
)
_peer = st.fixed_dictionaries(
    {"proxy": st.sampled_from(["http://10.0.0.7:8000", "https://example.org/api"]), "models": st.just(["m", "org/n"])},
    optional={"apiKey": st.sampled_from(["${env.MY_TOKEN}", "k", "x${TOKEN}"]), "filters": _swap_filters},
)
_swap_files: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "macros": st.just({"dir": "${env.HOME}/models", "size": 4, "TOKEN": "t-${env.MY_TOKEN}"}),
        "models": _swap_models,
    },
    optional={
        "healthCheckTimeout": _whole,
        "globalTTL": _whole,
        "startPort": st.just(9000),
        "apiKeys": st.sampled_from([["${env.MY_TOKEN}x"], ["one", "${env.HOST}"]]),
        "peers": st.dictionaries(st.sampled_from(["p", "q"]), _peer, max_size=2),
        "sleepRequestTimeout": _whole,
        "wakeRequestTimeout": _whole,
        "memory": st.just({"max_resident": 2}),
        "server": st.just({"port": "${env.TTL}"}),
        "logLevel": st.just("debug"),
        "hooks": st.just({"on_startup": {"preload": []}}),
        "groups": st.sampled_from([{}, {"g": {"swap": False, "members": []}}]),
    },
)


@given(_swap_files, st.booleans())
@settings(max_examples=200, deadline=None, derandomize=True)
def test_the_native_form_of_a_llama_swap_file_comes_to_the_same(document: dict[str, Any], show_secrets: bool) -> None:
    loaded = read(yaml.safe_dump(document, allow_unicode=True, sort_keys=False), SWAP_ENV)
    if loaded.spec is None or loaded.written is None:
        assert loaded.problems
        return
    assert loaded.dialect == "llama_swap"
    made = convert(loaded.written, show_secrets=show_secrets)
    again = read(made.text, {**SWAP_ENV, **{left.variable: left.value for left in made.left_out}})
    assert again.spec == loaded.spec, (again.problems, made.text)
    assert again.spec is not None and config_hash(again.spec) == config_hash(loaded.spec)
    assert again.dialect == "native" and not (show_secrets and made.left_out)
    assert show_secrets or "geheim" not in made.text


_wild_model = (
    st.fixed_dictionaries({"cmd": _json}, optional=dict.fromkeys((*MODEL[1:], *OLD_STEPS, "x"), _json)) | _json
)
_wild_entry = st.fixed_dictionaries({"endpoint": _json}, optional=dict.fromkeys(("body", "if", "retries"), _json))


@given(
    st.fixed_dictionaries(
        {"models": st.dictionaries(_texts, _wild_model | _swap_model, max_size=3) | _json},
        optional={
            **dict.fromkeys((*TOP[1:], "selectors", "upstream", "x-y"), _json),
            "macros": st.dictionaries(st.sampled_from(["a", "b", "PORT"]), _json | st.just("${a}${a}${b}"), max_size=3),
            "peers": st.dictionaries(_texts, _json | st.fixed_dictionaries({"models": _json, "proxy": _json})) | _json,
        },
    ),
    st.lists(_wild_entry | _step, max_size=2),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_the_reader_of_llama_swap_files_never_raises(document: dict[str, Any], entries: list[Any]) -> None:
    sleeper = {"cmd": "vllm serve m --port ${PORT}", "sleepEndpoints": entries, "wakeEndpoints": entries}
    if isinstance(document["models"], dict):
        document["models"]["sleeper"] = sleeper
    loaded = read(yaml.safe_dump({"startPort": 9000, **document}, allow_unicode=True))
    assert loaded.dialect == "llama_swap"
    assert (loaded.spec is None) == any(problem.severity == "error" for problem in loaded.problems)
    for problem in loaded.problems:
        assert problem.line is None or problem.line >= 1
        problem.render("f")
