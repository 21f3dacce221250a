"""The llama_swap dialect: every key, its default, its problems with their lines; what it recognises in a command."""

from textwrap import dedent

import pytest

from roost.config.dump import config_hash
from roost.core.server_spec import Scope
from roost.core.spec import EngineKind, ModelSpec, Task
from roost.engines.base import Machine
from roost.engines.registry import adapter_for, validate
from tests.unit.config.reading import errors_of, model_of, problems_of, read, spec_of

ONE = "models:\n  a:\n    cmd: serve --port ${PORT}\n"
SLEEPER = """
models:
  a:
    cmd: vllm serve org/a --port ${PORT} --enable-sleep-mode
    sleepEndpoints: [{endpoint: /sleep?level=1}]
    wakeEndpoints: [{endpoint: /wake_up}]
"""
MACHINE = Machine(python="/usr/bin/python3")


def one(extra: str = "", cmd: str = "serve --port ${PORT}", top: str = "") -> ModelSpec:
    lines = "".join(f"    {line}\n" for line in dedent(extra).strip("\n").splitlines())
    return model_of(f"{dedent(top)}models:\n  a:\n    cmd: {cmd}\n{lines}")


def errors(extra: str, top: str = "") -> list[str]:
    lines = "".join(f"    {line}\n" for line in dedent(extra).strip("\n").splitlines())
    return errors_of(f"{dedent(top)}{ONE}{lines}")


def test_the_defaults() -> None:
    spec = spec_of(ONE)
    assert (spec.server.port, spec.server.host, spec.server.keys) == (8080, "127.0.0.1", ())
    assert (spec.memory.max_resident, spec.memory.groups, spec.memory.matrix) == (1, {}, None)
    model = spec.models["a"]
    assert (model.engine, model.command, model.port) == (EngineKind.COMMAND, ("serve", "--port", "${PORT}"), 5800)
    assert (model.host, model.health_path, model.start_timeout, model.stop_grace) == ("127.0.0.1", None, 120, 10)
    assert (model.sleep_after, model.unload_after, model.max_requests) == (None, None, 10)
    assert (model.preload, model.loading_state, model.unlisted, model.aliases) == (False, False, False, ())
    assert validate(spec) == [] and read(ONE).dialect == "llama_swap"


@pytest.mark.parametrize(
    "text",
    [
        "models: {a: {sleepEndpoints: []}}",
        "models: {a: {wakeBody: x}}",
        "models: {a: {checkEndpoint: none}}",
        "peers: {p: {proxy: 'http://h:1', models: [m]}}",
        "healthCheckTimeout: 5\nmodels: {}",
        "matrix: {}",
    ],
)
def test_it_is_known_by_what_only_it_has(text: str) -> None:
    assert read(text).dialect == "llama_swap"


@pytest.mark.parametrize(
    "text", ["defaults: {}\nmodels: {a: {cmd: x}}", "models: {a: {command: x}}", "models: {a: {}}"]
)
def test_what_is_native_stays_native(text: str) -> None:
    assert read(text).dialect == "native"


def test_command_and_stop_command() -> None:
    model = one(
        """
        cmdStop: docker stop -t ${PID} x-${PORT} '${MODEL_ID}'
        env: ["A=b c", "B=${MODEL_ID}-${PORT}"]
        """,
        cmd="|\n      # a note with ${nobody}\n      prog 'a  b' \\\n        --port ${PORT}\n"
        "      # more\n      --name ${MODEL_ID}",
    )
    assert model.command == ("prog", "a  b", "--port", "${PORT}", "--name", "a")
    assert model.stop_command == ("docker", "stop", "-t", "${PID}", "x-${PORT}", "a")
    assert model.env == {"A": "b c", "B": "a-5800"}
    argv = adapter_for(model).launch("a", model, 5800, MACHINE).argv
    assert argv == ("prog", "a  b", "--port", "5800", "--name", "a")


def test_ports_go_in_the_order_of_the_names_to_whoever_wants_one() -> None:
    spec = spec_of("""
        startPort: 9000
        models:
          z: {cmd: "p ${PORT}"}
          fixed: {cmd: "p 7000", proxy: "http://127.0.0.1:7000"}
          b: {cmd: "p ${PORT}", metadata: {at: "${PORT}", text: "p${PORT}"}}
        """)
    assert {name: model.port for name, model in spec.models.items()} == {"z": 9001, "fixed": 7000, "b": 9000}
    assert spec.models["b"].metadata == {"at": 9000, "text": "p9000"}


@pytest.mark.parametrize(
    ("proxy", "host", "port"),
    [
        ("http://localhost:9/", "localhost", 9),
        ("http://10.0.0.7:8000", "10.0.0.7", 8000),
        ("http://h", "h", 80),
        ("http://127.0.0.1:${PORT}", "127.0.0.1", 5800),
    ],
)
def test_proxy_says_where_the_engine_listens(proxy: str, host: str, port: int) -> None:
    model = one(f"proxy: {proxy}")
    assert (model.host, model.port, model.url) == (host, port, None)


def test_an_engine_on_another_machine_is_warned_of() -> None:
    (warning,) = problems_of(ONE + "    proxy: http://container:8000\n")
    assert warning.startswith('f:4: warning: models.a.proxy: "container" must be an address of this machine')
    assert problems_of(ONE + "    proxy: http://localhost:8000\n") == []


@pytest.mark.parametrize("proxy", ["https://h:1", "http://h:1/base", "h:1", "http://u:geheim@h:1", "http://h:x"])
def test_a_proxy_that_cannot_be_is_an_error(proxy: str) -> None:
    (error,) = errors(f"proxy: {proxy}")
    assert "f:4: models.a.proxy" in error and "http://127.0.0.1:5800" in error and "geheim" not in error


def test_a_command_that_says_no_port_is_an_error() -> None:
    (error,) = errors_of("models:\n  a:\n    cmd: serve\n")
    assert "f:3: models.a.cmd: nothing says which port" in error and "${PORT}" in error
    (error,) = errors_of("models:\n  a:\n    cmd: serve\n    proxy: http://h:${PORT}\n")
    assert "f:4: models.a.proxy: ${PORT} means nothing here" in error


@pytest.mark.parametrize(
    "text",
    ["models: {a: {cmd: ''}}", "models: {a: {cmd: }}", "models: {a: {ttl: 5, proxy: 'http://h:1', checkEndpoint: /}}"],
)
def test_a_model_without_a_command_is_an_error(text: str) -> None:
    assert any('"cmd" is missing or empty' in error for error in errors_of(text))


@pytest.mark.parametrize(
    ("cmd", "engine"),
    [
        ("/opt/llama-server -m x.gguf --port ${PORT}", EngineKind.LLAMACPP),
        ("docker run --rm -p ${PORT}:8080 ghcr.io/ggml-org/llama.cpp:server -m x", EngineKind.LLAMACPP),
        ("vllm serve org/m --port ${PORT}", EngineKind.VLLM),
        ("/venv/bin/python -m vllm.entrypoints.openai.api_server --model m --port ${PORT}", EngineKind.VLLM),
        ("docker run -p ${PORT}:8000 vllm/vllm-openai:v1 --model m", EngineKind.VLLM),
        ("bash -c 'exec vllm serve m --port ${PORT}'", EngineKind.VLLM),
        ("python3 -m sglang.launch_server --model-path m --port ${PORT}", EngineKind.SGLANG),
        ("docker run -p ${PORT}:3 lmsysorg/sglang:latest python3 x", EngineKind.SGLANG),
        ("whisper-server --port ${PORT}", EngineKind.COMMAND),
        ("vllm bench --port ${PORT}", EngineKind.COMMAND),
    ],
)
def test_the_engine_is_read_from_the_command(cmd: str, engine: EngineKind) -> None:
    assert one(cmd=f'"{cmd}"').engine is engine
    assert one("engine: sglang", cmd=f'"{cmd}"').engine is EngineKind.SGLANG


@pytest.mark.parametrize(
    ("cmd", "extra", "task"),
    [
        ("llama-server --embeddings", "", Task.EMBED),
        ("llama-server --reranking", "", Task.RERANK),
        ("llama-server", "", Task.GENERATE),
        ("llama-server", "capabilities: {reranker: true}", Task.RERANK),
        ("vllm serve m --task embed", "", Task.EMBED),
        ("vllm serve m", "task: other", Task.OTHER),
    ],
)
def test_the_task_is_read_from_flags_and_capabilities(cmd: str, extra: str, task: Task) -> None:
    assert one(extra, cmd=cmd + " --port ${PORT}").task is task


@pytest.mark.parametrize(
    ("cmd", "extra", "served"),
    [
        ("vllm serve org/m --port ${PORT}", "", "org/m"),
        ("vllm serve org/m --served-model-name x a --port ${PORT}", "", None),
        ("vllm serve org/m --served-model-name=x --port ${PORT}", "", "x"),
        ("vllm serve --model org/m --port ${PORT}", "", "org/m"),
        ("vllm serve org/m --port ${PORT}", "useModelName: y", "y"),
        ("serve --port ${PORT}", "useModelName: y", "y"),
        ("llama-server --model org/m --port ${PORT}", "", None),
    ],
)
def test_the_name_that_the_engine_knows(cmd: str, extra: str, served: str | None) -> None:
    assert one(extra, cmd=cmd).served_name == served


@pytest.mark.parametrize(
    ("cmd", "extra", "key"),
    [
        ("vllm serve m --port ${PORT} --api-key geheim", "", "geheim"),
        ("vllm serve m --port ${PORT} --api_key=geheim", "", "geheim"),
        ("llama-server --port ${PORT} --api-key geheim,zwei", "", "geheim"),
        ("llama-server --port ${PORT} --api-key '${env.K}'", "", "k 1"),
        ("vllm serve m --port ${PORT}", "env: ['VLLM_API_KEY=geheim']", "geheim"),
        ("vllm serve m --port ${PORT} --api-key a", "api_key: b", "b"),
        ("serve --port ${PORT} --api-key geheim", "", None),
        ("vllm serve m --port ${PORT} --api-key", "", None),
    ],
)
def test_the_key_that_the_engine_asks_for(cmd: str, extra: str, key: str | None) -> None:
    loaded = read(f"models:\n  a:\n    cmd: {cmd}\n    {extra}\n", {"K": "k 1"})
    assert loaded.spec is not None and loaded.spec.models["a"].api_key == key


def test_health() -> None:
    assert one("checkEndpoint: /ready").health_path == "/ready"
    assert one("checkEndpoint: none").health_path == "none"
    assert one("checkEndpoint: none", cmd="llama-server --port ${PORT}").health_path is None  # it has one
    assert [one(top=f"healthCheckTimeout: {n}\n").start_timeout for n in (500, 3)] == [500, 15]
    (warning,) = problems_of(ONE + "    healthCheckTimeout: 5\n")
    assert "The one at the top of the file counts" in warning


def test_ttl_puts_a_model_with_steps_to_sleep_and_stops_one_without() -> None:
    rests = {
        "ttl: 60": (60, None),
        "ttl: 60\n    unloadAfter: 600": (60, 600),
        "ttl: 0": (None, None),
        "ttl: -1": (None, None),
        "unloadAfter: 9": (None, 9),
    }
    for lines, (sleeps, ends) in rests.items():
        model = model_of(f"{SLEEPER}    {lines}\n")
        assert (model.sleep_after, model.unload_after) == (sleeps, ends), lines
        plain = model_of(f"{ONE}    {lines}\n")
        assert (plain.sleep_after, plain.unload_after) == (None, sleeps or ends), lines


def test_global_ttl() -> None:
    texts = {"": 30, "ttl: -1": 30, "ttl: 0": None, "ttl: 5": 5}
    for line, seconds in texts.items():
        assert model_of(f"globalTTL: 30\n{ONE}    {line}\n").unload_after == seconds
        assert model_of(f"globalTTL: 30\n{SLEEPER}    {line}\n").sleep_after == seconds


def test_a_llama_server_with_ttl_is_stopped_and_not_told_to_sleep() -> None:
    model = one("ttl: 60", cmd="llama-server -m x.gguf --port ${PORT}")
    assert (model.unload_after, model.sleep_after) == (60, None)
    assert "--sleep-idle-seconds" not in adapter_for(model).launch("a", model, 5800, MACHINE).argv


def test_an_engine_that_could_sleep_does_not_without_steps() -> None:
    assert not one(cmd="vllm serve m --port ${PORT} --enable-sleep-mode").can_sleep
    assert model_of(SLEEPER).can_sleep


def test_times_and_limits() -> None:
    model = one("unloadTimeout: 3\nconcurrencyLimit: 4\nsendLoadingState: true")
    assert (model.stop_grace, model.max_requests, model.loading_state) == (3, 4, True)
    model = one("unloadTimeout: 0\nconcurrencyLimit: 0", top="unloadTimeout: 7\nsendLoadingState: true\n")
    assert (model.stop_grace, model.max_requests, model.loading_state) == (7, 10, True)
    assert not one("sendLoadingState: false", top="sendLoadingState: true\n").loading_state
    model = one("timeouts: {connect: 5, responseHeader: 90, idleConn: 30}")
    assert (model.timeouts.connect, model.timeouts.first_byte, model.timeouts.upstream_idle) == (5, 90, 30)
    model = one("timeouts: {connect: 0, responseHeader: 0, idleConn: 0}")
    assert (model.timeouts.connect, model.timeouts.first_byte, model.timeouts.upstream_idle) == (130, None, 3600)
    (warning,) = problems_of(ONE + "    timeouts: {keepalive: 5, tlsHandshake: 3}\n")
    assert "no use for keepalive, tlsHandshake" in warning


@pytest.mark.parametrize("line", ["ttl: -2", "ttl: soon", "unloadTimeout: -1", "concurrencyLimit: 1.5", "ttl: [1]"])
def test_a_number_that_is_none_is_an_error_with_its_line(line: str) -> None:
    (error,) = errors(line)
    assert error.startswith(f"f:4: models.a.{line.partition(':')[0]}: ") and "is not a whole number" in error


def test_names_and_what_clients_are_told() -> None:
    model = one("""
        aliases: [b, {id: c, name: C, unlisted: true}]
        name: A model
        description: Does things
        unlisted: true
        metadata: {x: {y: [1, true]}}
        capabilities: {in: [text, image], out: [text], tools: true, context: 4096}
        """)
    assert (model.aliases, model.display_name, model.description) == (("b", "c"), "A model", "Does things")
    assert (model.unlisted, model.metadata) == (True, {"x": {"y": [1, True]}})
    assert (model.modalities, model.tools, model.context_length) == (("text", "image"), True, 4096)


def test_filters() -> None:
    model = one("""
        filters:
          stripParams: "temperature, model,  top_p,"
          setParams: {seed: 1, chat: {a: [true]}, model: x}
          setParamsByID:
            "${MODEL_ID}:high": {reasoning_effort: high, model: y}
            other: {x: "${PORT}"}
        """)
    assert model.strip_params == ("temperature", "top_p")
    assert model.set_params == {"seed": 1, "chat": {"a": [True]}}
    assert model.set_params_by_name == {"a:high": {"reasoning_effort": "high"}, "other": {"x": 5800}}
    warnings = problems_of(ONE + "    filters: {stripParams: model, setParams: {model: x}}\n")
    assert len(warnings) == 2 and all("useModelName" in warning for warning in warnings)


def test_native_keys_of_a_model_and_native_sections() -> None:
    spec = spec_of("""
        server: {port: 9999, keys: [{name: k, key: x}]}
        memory: {devices: {gpu0: 24GiB}}
        policy: {residency: 1m}
        models:
          a: {cmd: "p ${PORT}", footprint: 8GiB, pin: true, devices: [gpu0]}
        """)
    assert (spec.server.port, spec.server.keys[0].name, spec.policy.residency) == (9999, "k", 60)
    assert (spec.memory.devices, spec.memory.max_resident) == ({"gpu0": 24 * 1024**3}, None)
    assert spec.models["a"].pin and spec.models["a"].footprint == 8 * 1024**3


def test_api_keys_may_do_everything() -> None:
    loaded = read("apiKeys: [eins, '${env.K}']\n" + ONE, {"K": "zwei"})
    assert loaded.spec is not None
    assert [(key.name, key.key) for key in loaded.spec.server.keys] == [("key-1", "eins"), ("key-2", "zwei")]
    assert {key.scopes for key in loaded.spec.server.keys} == {(Scope.INFER, Scope.READ, Scope.ADMIN)}
    for problem in errors_of("apiKeys: [geheim, geheim]\n" + ONE):
        assert "geheim" not in problem


def test_preload_by_any_name() -> None:
    spec = spec_of("""
        hooks: {on_startup: {preload: [b, other]}}
        memory: {max_resident: 3}
        models:
          a: {cmd: "p ${PORT}", aliases: [b]}
          c: {cmd: "p ${PORT}", filters: {setParamsByID: {other: {x: 1}}}}
          d: {cmd: "p ${PORT}"}
        """)
    assert [name for name, model in spec.models.items() if model.preload] == ["a", "c"]
    (error,) = errors("", top="hooks: {on_startup: {preload: [x]}}\n")
    assert 'f:1: hooks.on_startup.preload.0: "x" is not a model. Models are: a.' in error
    (error,) = errors("", top="hooks: {on_startup: {profile: x}}\n")
    assert "no profiles" in error


# groups, matrix, peers

TWO = "models: {a: {cmd: 'p ${PORT}'}, b: {cmd: 'p ${PORT}'}}\n"


@pytest.mark.parametrize(
    "head",
    [
        "groups: {g: {swap: false, exclusive: false, persistent: true, members: [a, b]}, h: {members: []}}",
        "routing: {router: {settings: {groups: {g: {swap: no, exclusive: no, persistent: yes, members: [a, b]}, "
        "h: {members: []}}}}}",
    ],
)
def test_groups_at_either_place(head: str) -> None:
    memory = spec_of(f"{head}\n{TWO}").memory
    group = memory.groups["g"]
    assert (group.swap, group.exclusive, group.persistent, group.members) == (False, False, True, ("a", "b"))
    assert (memory.groups["h"].swap, memory.groups["h"].exclusive, memory.max_resident) == (True, True, None)


@pytest.mark.parametrize(
    "head",
    [
        "matrix: {vars: {x: a}, sets: {s: x & b}, evict_costs: {x: 5}}",
        "routing: {router: {use: matrix, settings: {matrix: {vars: {x: a}, sets: {s: x & b}, evict_costs: {x: 5}}}}}",
    ],
)
def test_matrix_at_either_place(head: str) -> None:
    memory = spec_of(f"{head}\n{TWO}").memory
    assert memory.matrix is not None and memory.max_resident is None
    assert (memory.matrix.names, memory.matrix.sets, memory.matrix.evict_costs) == (
        {"x": "a"},
        {"s": "x & b"},
        {"x": 5},
    )


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("groups: {g: {members: [a, nobody]}}", 'groups.g.members.1: "nobody" is not a model'),
        ("groups: {g: {}}", '"members" is missing'),
        ("groups: {g: {members: [a]}}\nmatrix: {sets: {s: a & b}}", "exclude each other"),
        ("groups: {g: {members: [a]}}\nrouting: {router: {settings: {groups: {h: {members: [b]}}}}}", "exclude"),
        ("matrix: {sets: {s: a & (b}}", "matrix.sets.s"),
        ("matrix: {set: {}}", 'did you mean "sets"?'),
        ("routing: {router: {use: budget}}", "memory: devices"),
        ("routing: {scheduler: {use: lottery}}", "fifo"),
        ("routing: {scheduler: {use: fifo, settings: {fifo: {priority: {a: 5}}}}}", "no priorities"),
    ],
)
def test_what_cannot_be_routed_is_an_error_with_its_line(head: str, said: str) -> None:
    found = errors_of(f"{head}\n{TWO}")
    assert any(said in error for error in found), found
    assert all(error.startswith(("f:1:", "f:2:")) for error in found)


def test_the_default_scheduler_is_fine() -> None:
    assert problems_of("routing: {scheduler: {use: fifo, settings: {fifo: {priority: {}}}}}\n" + TWO) == []


PEERS = """
peers:
  far:
    proxy: https://example.org/api
    apiKey: ${env.FAR}
    models: [org/m, shared, a]
    filters: {stripParams: seed, setParams: {provider: {zdr: true}}}
    timeouts: {connect: 3, responseHeader: 9}
  near:
    proxy: http://10.0.0.7:8000
    models: [shared]
models:
  a: {cmd: "p ${PORT}"}
"""


def test_peers_are_models_with_a_url() -> None:
    loaded = read(PEERS, {"FAR": "geheim"})
    assert loaded.spec is not None, loaded.problems
    models = loaded.spec.models
    assert list(models) == ["a", "far/org/m", "far/shared", "far/a", "near/shared"]
    far = models["far/org/m"]
    assert (far.url, far.api_key, far.served_name) == ("https://example.org/api", "geheim", "org/m")
    assert (far.engine, far.task, far.health_path) == (EngineKind.COMMAND, Task.OTHER, "none")
    assert (far.strip_params, far.set_params) == (("seed",), {"provider": {"zdr": True}})
    assert (far.timeouts.connect, far.timeouts.first_byte) == (3, 9)
    near = models["near/shared"].timeouts
    assert (near.connect, near.first_byte) == (30, 60)
    assert loaded.spec.memory.max_resident == 1 and validate(loaded.spec) == []


def test_a_bare_name_of_a_peer_where_it_is_free() -> None:
    models = spec_of(PEERS, {"FAR": "x"}).models
    assert {name: model.aliases for name, model in models.items()} == {
        "a": (),
        "far/org/m": ("org/m",),
        "far/shared": (),
        "far/a": (),
        "near/shared": (),
    }


def test_two_models_of_peers_cannot_come_to_one_name() -> None:
    peers = "peers: {p: {proxy: 'http://h:1', models: [x/m]}, p/x: {proxy: 'http://h:2', models: [m]}}\n"
    (error,) = errors_of(peers + ONE)
    assert 'peers.p/x.models.0: "p/x/m" is already the name of a model' in error


def test_peers_that_cannot_be_reached() -> None:
    found = errors_of("peers: {t: {proxy: 'tailcat://x', models: [m]}, u: {models: [m]}}\n" + ONE)
    assert any("tailcat is not supported" in error for error in found)
    assert any('"proxy" is missing' in error for error in found)
    (error,) = errors_of("peers: {u: {proxy: 'ftp://x', models: [m]}}\n" + ONE)
    assert "peers.u.proxy" in error


# keys


@pytest.mark.parametrize(
    "line",
    [
        "logLevel: debug",
        "logTimeFormat: rfc3339",
        "logToStdout: both",
        "metricsMaxInMemory: 5",
        "captureBuffer: 5",
        "store: {path: x}",
        "ui: {activity: {session_id: [x]}}",
        "performance: {every: 15s}",
        "logRequests: true",
        "includeAliasesInList: true",
    ],
)
def test_what_is_of_no_use_warns_once(line: str) -> None:
    (warning,) = problems_of(f"{line}\n{ONE}")
    assert warning.startswith(f"f:1: warning: {line.partition(':')[0]}: ")


@pytest.mark.parametrize(
    "line",
    [
        "profiles: {p: {pins: {a: a}}}",
        "selectors: {s: {strategy: warm, targets: [a]}}",
        "tailcat: {allow: true}",
        "upstream: {ignorePaths: ['x']}",
    ],
)
def test_what_changes_behaviour_and_is_missing_is_an_error(line: str) -> None:
    (error,) = errors("", top=f"{line}\n")
    assert error.startswith(f"f:1: {line.partition(':')[0]}") and "warning" not in error
    key = line.partition(":")[0]
    assert problems_of(f"{key}: {{}}\n{ONE}") == []


def test_unknown_keys_get_the_nearest_one() -> None:
    assert (
        'unknown key "healthchecktimeout"; did you mean "healthCheckTimeout"?'
        in errors("", top="healthchecktimeout: 5\n")[0]
    )
    assert 'did you mean "cmdStop"?' in errors("cmdstop: x")[0]
    assert "Write it as ttl" in errors("sleep_after: 5m")[0]
    assert "Write it as cmd" in errors("command: x")[0]


def test_sections_that_hold_anchors_are_nobodys() -> None:
    model = model_of(
        "x-common: &c {ttl: 9, cmd: 'p ${PORT}', env: ['A=${env.NONE}']}\nmodels: {a: {<<: *c, env: [B=c]}}\n"
    )
    assert (model.unload_after, model.env) == (9, {"B": "c"})


def test_one_meaning_has_one_hash() -> None:
    assert config_hash(spec_of(ONE)) == config_hash(spec_of(ONE.replace("serve", "serve  ") + "    ttl: 0\n"))
