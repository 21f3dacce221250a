"""The kvcached dialect: every key, its default, its problems with their lines."""

from textwrap import dedent

import pytest

from roost.config.load import load
from roost.core.lifecycle import State
from roost.core.plan import Load
from roost.core.spec import EngineKind, ModelSpec, RoostSpec, servings
from roost.core.view import FleetView, ModelView, Policy, ReplicaView
from roost.engines.base import Machine
from roost.engines.registry import adapter_for, validate
from roost.planner.plan import plan
from tests.unit.config.reading import errors_of, model_of, problems_of, read, spec_of

ONE = "instances:\n  - model: org/Llama-3\n    engine: vllm\n"
SHAPE = """
kvcached: {kvcached_gpu_utilization: 0.95, kvcached_sanity_check: false, Pages: 5}
router: {enable_router: true, router_port: 8081}
sleep_manager:
  idle_threshold_seconds: 30
  min_sleep_duration: 80
launch_delay_seconds: 5
memory: {devices: {gpu0: 24GiB}}
instances:
  - name: one
    model: org/a
    engine: vllm
    using_venv: true
    venv_path: ../vllm/.venv
    kvcached_env: ["ENABLE_KVCACHED=true", "X=kvcached"]
    engine_env: ["VLLM_USE_V1=1", "X=engine"]
    engine_args: ["--enable-sleep-mode", "--host=127.0.0.1", "--port=12346", "--gpu-memory-utilization 0.5"]
    footprint: 10GiB
  - name: two
    model: org/b
    engine: sgl
    engine_args: --enable-memory-saver --port 12347
    footprint: 10GiB
"""
MACHINE = Machine(python="/usr/bin/python3")


def argv(spec: ModelSpec, name: str, port: int = 9) -> tuple[str, ...]:
    """The command line of the model's first replica."""
    first = servings(spec)[0]
    return adapter_for(first).launch(name, first, first.port or port, MACHINE).argv


def one(extra: str = "", args: str = "") -> ModelSpec:
    """One vLLM instance with further lines."""
    lines = "".join(f"    {line}\n" for line in ([f"engine_args: {args}"] if args else []) + extra.splitlines())
    return model_of(ONE + lines)


def test_the_defaults() -> None:
    spec = spec_of(ONE)
    assert (spec.server.listen, spec.server.port, spec.server.host, spec.server.open) == (
        False,
        8080,
        "127.0.0.1",
        False,
    )
    assert (spec.server.detach, spec.server.session_prefix) == (True, "kvcached-")
    policy = spec.policy
    assert (policy.idle_threshold, policy.check_interval, policy.auto_sleep) == (300, 60, False)
    assert (policy.launch_delay, policy.max_starts) == (0, 4)
    assert spec.memory.devices == {} and spec.memory.max_resident is None
    model = spec.models["org/Llama-3"]
    assert (model.engine, model.weights, model.preload, model.launcher) == (
        EngineKind.VLLM,
        "org/Llama-3",
        True,
        "auto",
    )
    assert (model.sleep_after, model.unload_after, model.min_sleep_duration) == (300, None, 60)
    assert (model.wake_on_request, model.sleep_mode, model.timeouts.sleep) == (True, "abort", 30)
    assert (model.env, model.venv, model.served_name, model.sleep_level) == ({}, None, None, 1)
    (replica,) = model.replicas
    assert (replica.name, replica.host, replica.port, replica.env) == ("Llama-3", "localhost", None, {})


def test_a_whole_file() -> None:
    spec = spec_of(SHAPE)
    assert (spec.server.listen, spec.server.port) == (True, 8081)
    assert (spec.policy.idle_threshold, spec.policy.launch_delay) == (30, 5)
    first, second = spec.models["org/a"], spec.models["org/b"]
    assert first.venv == "/etc/vllm/.venv"
    assert first.env == {
        "KVCACHED_GPU_UTILIZATION": "0.95",
        "KVCACHED_SANITY_CHECK": "False",
        "PAGES": "5",
        "VLLM_USE_V1": "1",
        "X": "kvcached",
        "ENABLE_KVCACHED": "true",
    }
    assert (first.replicas[0].host, first.replicas[0].port) == ("127.0.0.1", 12346)
    assert (first.min_sleep_duration, first.sleep_after, first.sleep_mode) == (80, 30, "abort")
    assert (second.engine, second.sleep_level, second.timeouts.step) == (EngineKind.SGLANG, 2, 120)
    assert validate(spec) == []


def test_the_command_lines_are_those_of_the_controller() -> None:
    spec = spec_of(SHAPE)
    assert argv(spec.models["org/a"], "org/a") == (
        *("python", "-m", "vllm.entrypoints.openai.api_server", "--model", "org/a"),
        *("--enable-sleep-mode", "--host=127.0.0.1", "--port=12346", "--gpu-memory-utilization", "0.5"),
    )
    assert argv(spec.models["org/b"], "org/b") == (
        *("python", "-m", "sglang.launch_server", "--model-path", "org/b"),
        *("--enable-memory-saver", "--port", "12347"),
    )


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("['--a 1', [\"--b '2 3'\", [--c]], 4]", ["--a", "1", "--b", "2 3", "--c", "4"]),
        ("--a 1 --b", ["--a", "1", "--b"]),
        ("", []),
        ("null", []),
        ("[]", []),
        ("['--x $HOME ${HOME} $$ ${ $1']", ["--x", "$HOME", "${HOME}", "$$", "${", "$1"]),
        ("['--json {\"a\":1}']", ["--json", "{a:1}"]),
    ],
)
def test_arguments_stay_verbatim_and_a_port_is_added(args: str, words: list[str]) -> None:
    model = one(args=args)
    assert argv(model, "org/Llama-3", 4242)[5:] == (*words, "--port", "4242")
    assert model.replicas[0].port is None


def test_args_is_another_name_of_engine_args() -> None:
    assert argv(one("args: [--a]"), "m")[5:] == ("--a", "--port", "9")


@pytest.mark.parametrize("args", ["--port 1234", "--port=1234", "['--port', '1234']", "--port 1 --port 1234"])
def test_the_port_is_read_from_the_arguments(args: str) -> None:
    model = one(args=f'"{args}"' if not args.startswith("[") else args)
    assert model.replicas[0].port == 1234
    assert "${PORT}" in " ".join(model.command or ())
    assert argv(model, "m")[-1] in ("1234", "--port=1234")


def test_the_port_may_be_left_to_roost() -> None:
    model = one(args='"--port ${PORT} --name x-${PORT}"')
    assert model.replicas[0].port is None
    assert argv(model, "m", 77)[5:] == ("--port", "77", "--name", "x-77")


@pytest.mark.parametrize("args", ["--host 10.0.0.1", "--host=10.0.0.1"])
def test_the_host_is_read_from_the_arguments(args: str) -> None:
    model = one(args=args)
    assert model.replicas[0].host == "10.0.0.1"
    assert " ".join(argv(model, "m")).startswith(
        f"python -m vllm.entrypoints.openai.api_server --model org/Llama-3 {args}"
    )


@pytest.mark.parametrize(
    ("args", "served"),
    [
        ("--served-model-name a", "a"),
        ("--served-model-name=a", "a"),
        ("--served_model_name a", "a"),
        ("--served-model-name a b c --x", "a"),
        ("--x", None),
        ("--served-model-name --x", None),
    ],
)
def test_the_served_name_is_read_from_the_arguments(args: str, served: str | None) -> None:
    model = one(args=args)
    assert model.served_name == served
    assert argv(model, "m")[5:-2] == tuple(args.split())


def test_a_model_in_the_home_folder_is_served_under_its_written_name() -> None:
    spec = spec_of("instances: [{model: ~/m, engine: vllm}]")
    assert argv(spec.models["~/m"], "~/m")[4:] == ("/home/u/m", "--port", "9", "--served-model-name", "~/m")


def test_variables_of_the_environment() -> None:
    text = """
    instances:
      - model: ${env:MODEL}
        engine: vllm
        engine_args: ["--port=${env:P}", "--x ${env:NONE:-deep}"]
        engine_env: ["HF_TOKEN=${env:HF_TOKEN}", "DOLLAR=a$b${c}$$"]
    """
    loaded = read(text, {"MODEL": "org/m", "P": "99", "HF_TOKEN": "geheim"})
    assert loaded.spec is not None
    model = loaded.spec.models["org/m"]
    assert (model.env["HF_TOKEN"], model.env["DOLLAR"]) == ("geheim", "a$b${c}$$")
    assert model.replicas[0].port == 99
    assert errors_of(text, {"P": "1", "HF_TOKEN": "x"}) == [
        "f:2: instances.0.model: environment variable MODEL is not set. Set it, or write ${env:MODEL:-fallback}.",
        'f:2: instances.0: "model" is missing. Add model: HUB-ID-OR-FOLDER to it.',
    ]


@pytest.mark.parametrize("word", ["vllm", "VLLM", "sgl", "SGLang", "Sgl"])
def test_engines(word: str) -> None:
    kind = EngineKind.VLLM if word.lower() == "vllm" else EngineKind.SGLANG
    assert model_of(f"instances: [{{model: m, engine: {word}}}]").engine is kind


def test_weights_that_sglang_keeps_in_host_memory_need_no_reload() -> None:
    text = "instances: [{model: m, engine: sglang, engine_args: --enable-weights-cpu-backup}]"
    assert model_of(text).sleep_level == 1
    assert model_of("instances: [{model: m, engine: sglang, sleep_level: 1}]").sleep_level == 1


@pytest.mark.parametrize(
    ("word", "used"), [("true", True), ('"true"', True), ("yes", True), ("1", True), ("True", True)]
)
def test_a_venv_is_used_where_it_is_wanted(word: str, used: bool) -> None:
    assert (one(f"using_venv: {word}\nvenv_path: v").venv == "/etc/roost/v") is used


@pytest.mark.parametrize("word", ["false", '"false"', '"False"', "no", "null", "off", "0"])
def test_a_venv_is_left_where_it_is_not(word: str) -> None:
    assert one(f"using_venv: {word}\nvenv_path: v").venv is None


def test_the_home_folder_in_a_venv() -> None:
    assert one("using_venv: true\nvenv_path: ~/v").venv == "/home/u/v"


def test_variables_as_a_mapping_and_device_variables() -> None:
    model = one("engine_env: {A: 08, B: '', CUDA_VISIBLE_DEVICES: 1}\nkvcached_env: null")
    assert model.env == {"A": "08", "B": ""}
    assert model.replicas[0].env == {"CUDA_VISIBLE_DEVICES": "1"}
    assert servings(model)[0].env == {"A": "08", "B": "", "CUDA_VISIBLE_DEVICES": "1"}


def test_the_section_kvcached_is_printed_as_python_does() -> None:
    text = "kvcached: {a: true, b: False, c: 1.50, d: 0x10, e: text, f: null, g: '1', h: '', Mixed_Case: 1}\n"
    assert model_of(text + ONE).env == {
        "A": "True",
        "B": "False",
        "C": "1.5",
        "D": "16",
        "E": "text",
        "G": "1",
        "H": "",
        "MIXED_CASE": "1",
    }


def test_what_native_sections_say_wins() -> None:
    text = """
    router: {router_port: 1111, router_host: 127.0.0.2}
    launch_delay_seconds: 5
    server: {port: 2222, detach: false, session_prefix: x-, keys: null}
    policy: {max_starts: 1, idle_threshold: 1m}
    """
    spec = spec_of(dedent(text) + "instances: [{model: m, engine: vllm}]")
    assert (spec.server.port, spec.server.host, spec.server.detach) == (2222, "127.0.0.2", False)
    assert (spec.policy.max_starts, spec.policy.idle_threshold, spec.policy.launch_delay) == (1, 60, 5)
    assert spec.models["m"].sleep_after == 300


def test_every_key_of_the_sleep_manager() -> None:
    text = """
    sleep_manager:
      idle_threshold_seconds: 11
      check_interval_seconds: 12
      auto_sleep_enabled: yes
      wakeup_on_request: "false"
      min_sleep_duration: 0
      vllm_sleep_mode: wait
      vllm_sleep_timeout_seconds: 13
    instances:
      - {model: a, engine: vllm, args: --enable-sleep-mode}
      - {model: b, engine: sglang, args: --enable-memory-saver}
    """
    assert problems_of(text) == []
    spec = spec_of(text)
    policy = spec.policy
    assert (policy.idle_threshold, policy.check_interval, policy.auto_sleep) == (11, 12, True)
    a, b = spec.models.values()
    for model in (a, b):
        assert (model.sleep_after, model.wake_on_request, model.min_sleep_duration) == (11, False, 0)
    assert (a.sleep_mode, a.timeouts.sleep, b.sleep_mode, b.timeouts.sleep) == ("wait", 13, "wait", None)


def test_null_means_the_default_everywhere() -> None:
    text = """
    kvcached: null
    router: {enable_router: null, router_port: null, router_host: null}
    sleep_manager:
      idle_threshold_seconds: null
      check_interval_seconds: null
      auto_sleep_enabled: null
      wakeup_on_request: null
      min_sleep_duration: null
      vllm_sleep_mode: null
      vllm_sleep_timeout_seconds: null
    launch_delay_seconds: null
    memory: null
    server: {port: null}
    policy: null
    instances:
      - model: org/Llama-3
        engine: vllm
        name: null
        engine_args: null
        args: null
        engine_env: null
        kvcached_env: null
        using_venv: null
        venv_path: null
        footprint: null
        aliases: null
    """
    assert spec_of(text) == spec_of(ONE)


def test_additions_of_roost() -> None:
    model = one(
        "footprint: 2GiB\nfootprint_asleep: 1GiB\naliases: [x]\nalso_serves: [y]\npin: true\nsleep_level: 2\n"
        "task: embed\napi_key: k\nconcurrency: 3\ndescription: d"
    )
    assert (model.footprint, model.footprint_asleep, model.aliases, model.also_serves) == (2**31, 2**30, ("x",), ("y",))
    assert (model.pin, model.sleep_level, model.task, model.api_key) == (True, 2, "embed", "k")
    assert (model.concurrency, model.description) == (3, "d")


# replicas


def test_two_instances_of_a_model_are_two_replicas() -> None:
    text = """
    instances:
      - {model: o/m, engine: vllm, name: x, args: "--a --port 1", engine_env: [CUDA_VISIBLE_DEVICES=0]}
      - {model: o/b, engine: vllm}
      - {model: o/m, engine: VLLM, args: "--port=2 --a --host 127.0.0.1", engine_env: [CUDA_VISIBLE_DEVICES=1]}
    """
    spec = spec_of(text)
    assert list(spec.models) == ["o/m", "o/b"]
    model = spec.models["o/m"]
    assert [(own.name, own.host, own.port) for own in model.replicas] == [("x", "localhost", 1), ("m", "127.0.0.1", 2)]
    assert [own.env["CUDA_VISIBLE_DEVICES"] for own in model.replicas] == ["0", "1"]
    lines = [adapter_for(own).launch("o/m", own, own.port or 0, MACHINE).argv[5:] for own in servings(model)]
    assert lines == [("--port=1", "--a", "--host", "localhost"), ("--port=2", "--a", "--host", "127.0.0.1")]


def test_replicas_that_differ_are_a_problem() -> None:
    text = """
    instances:
      - {model: o/m, engine: vllm, engine_env: [A=1, HF_TOKEN=geheim]}
      - {model: o/m, engine: vllm, args: --b, name: n, engine_env: [A=2], pin: true}
      - {model: o/m, engine: sglang, name: o, engine_env: [A=1, HF_TOKEN=geheim]}
    """
    hint = (
        "Replicas of one model may differ in name, host, port and device variables (CUDA_VISIBLE_DEVICES); "
        "make the rest equal."
    )
    same = 'the instance on line 2 serves "o/m" too, but not with the same'
    assert errors_of(text) == [
        f"f:3: instances.1: {same} engine_args, variable A, variable HF_TOKEN and pin. {hint}",
        f"f:4: instances.2: {same} engine. {hint}",
    ]


def test_names_that_nobody_wrote_are_numbered() -> None:
    text = """
    instances:
      - {model: a/m, engine: vllm}
      - {model: b/m, engine: vllm}
      - {model: a/m, engine: vllm}
      - {model: c/x, engine: vllm, name: m-2}
    """
    names = [own.name for model in spec_of(text).models.values() for own in model.replicas]
    assert names == ["m", "m-4", "m-3", "m-2"]


def test_names_and_ports_that_clash() -> None:
    text = """
    router: {router_port: 1}
    instances:
      - {model: a, engine: vllm, name: n, args: --port 2}
      - {model: b, engine: vllm, name: n, args: --port 2}
      - {model: c, engine: vllm, name: frontend, args: --port 1}
    """
    other = "Choose another port, or leave it out to have a free one picked."
    assert errors_of(text) == [
        f'f:4: instances.1.args: port 2 is already that of model "a". {other}',
        'f:4: instances.1.name: "n" is also the name of model "a" (line 3). Give it a name of its own.',
        f"f:5: instances.2.args: port 1 is already that of roost itself (router.router_port). {other}",
        'f:5: instances.2.name: "frontend" is the name of the session in which roost itself runs. '
        "Give it a name of its own.",
    ]


# problems


def test_many_starts_at_once() -> None:
    many = "".join(f"  - {{model: m{number}, engine: vllm}}\n" for number in range(7))
    assert spec_of(f"instances:\n{many}").policy.max_starts == 7


def test_unknown_keys_at_every_level() -> None:
    text = """
    kvcachd: {}
    models: {}
    router: {router_prot: 1, port: 2}
    sleep_manager: {idle_treshold_seconds: 1}
    server: {prot: 1}
    instances:
      - model: m
        engine: vllm
        engin_args: []
        port: 1
        frobnicate: 2
    """
    keys = (
        "name, model, engine, engine_args, args, engine_env, kvcached_env, using_venv, venv_path, footprint, "
        "footprint_asleep, devices, aliases, also_serves, pin, sleep_level, task, api_key, concurrency, description"
    )
    assert errors_of(text) == [
        'f:1: kvcachd: unknown key "kvcachd"; did you mean "kvcached"?',
        'f:2: models: unknown key "models". In this form each model is an entry of instances; '
        "roost config convert prints the native form.",
        'f:3: router.router_prot: unknown key "router_prot"; did you mean "router_port"?',
        'f:3: router.port: unknown key "port". Did you mean "router_port"?',
        'f:4: sleep_manager.idle_treshold_seconds: unknown key "idle_treshold_seconds"; '
        'did you mean "idle_threshold_seconds"?',
        'f:5: server.prot: unknown key "prot"; did you mean "port"?',
        'f:9: instances.0.engin_args: unknown key "engin_args"; did you mean "engine_args"?',
        'f:10: instances.0.port: unknown key "port". Write it in engine_args: "--port 12346".',
        f'f:11: instances.0.frobnicate: unknown key "frobnicate". Known keys here: {keys}.',
    ]


def test_all_problems_of_instances_at_once() -> None:
    text = """
    instances:
      - engine: vllm
      - model: a
      - {model: b, engine: vlm, footprint: 5 parsecs}
      - {model: c, engine: vllm, args: [], engine_args: []}
      - {model: d, engine: vllm, using_venv: true}
      - {model: e, engine: vllm, using_venv: perhaps}
      - {model: f, engine: vllm, engine_env: [HF_TOKEN geheim]}
      - {model: g, engine: vllm, engine_env: "A=1", kvcached_env: {X: [1]}}
      - {model: h, engine: vllm, args: ["--x '"]}
      - {model: i, engine: vllm, args: [--port]}
      - {model: j, engine: vllm, args: "--port abc"}
      - {model: k, engine: vllm, args: [{--port: 1}, null]}
      - {model: [l], engine: vllm}
      - {model: m, engine: {}, name: ""}
      - text
      - {model: n, engine: llamacpp}
      - {model: a?b, engine: vllm}
    """
    expected = [
        (2, '0: "model" is missing.'),
        (3, '1: "engine" is missing.'),
        (4, '2.engine: "vlm" is not one of vllm, sgl, sglang. Did you mean "vllm"?'),
        (4, '2.footprint: "5 parsecs" is not a size.'),
        (5, "3.args: args and engine_args (line 5) are two names of one key. Keep one of them."),
        (6, '4.using_venv: "venv_path" is missing.'),
        (7, '5.using_venv: "perhaps" is not true or false'),
        (8, '6.engine_env.0: has no "=": it is not a variable. Write it as NAME=value.'),
        (9, "7.engine_env: is not a list."),
        (9, "7.kvcached_env.X: is not a single value."),
        (10, "8.args.0: cannot be split into words: a quote is not closed."),
        (11, "9.args.0: --port has no value."),
        (12, '10.args: "abc" is not a port number.'),
        (13, "11.args.0: is not a text."),
        (13, "11.args.1: has no value."),
        (14, "12.model: a list is not a string"),
        (15, "13.engine: a mapping is not a string"),
        (15, "13.name: is empty."),
        (16, "14: is not a mapping."),
        (17, '15.engine: "llamacpp" is not one of vllm, sgl, sglang. roost config convert'),
        (18, "16: the name holds '?', which cannot stand in a URL path."),
    ]
    said = errors_of(text)
    assert not any("geheim" in sentence for sentence in said)
    for line, sentence in expected:
        wanted = f"f:{line}: instances.{sentence}"
        assert any(found.startswith(wanted) for found in said), (wanted, said)
    assert len(said) == len(expected), said


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("router: {enable_router: perhaps}", 'router.enable_router: "perhaps" is not true or false'),
        ("router: {router_port: 99999}", "router.router_port: 99999 is not a port number"),
        ("router: {router_host: [x]}", "router.router_host: a list is not a string"),
        ("router: 5", "router: 5 is not a mapping"),
        ("kvcached: [a]", "kvcached: a list is not a mapping"),
        ("kvcached: {a: [1]}", "kvcached.a: is not a single value"),
        ("sleep_manager: {idle_threshold_seconds: soon}", 'idle_threshold_seconds: "soon" is not a duration'),
        ("sleep_manager: {idle_threshold_seconds: 0}", "idle_threshold_seconds: 0 is not a duration above zero"),
        ("sleep_manager: {check_interval_seconds: -1}", "check_interval_seconds: -1 is not a duration above zero"),
        ("sleep_manager: {auto_sleep_enabled: 7}", "sleep_manager.auto_sleep_enabled: 7 is not true or false"),
        ("sleep_manager: {wakeup_on_request: {}}", "sleep_manager.wakeup_on_request: a mapping is not true or false"),
        ("sleep_manager: {min_sleep_duration: -1}", "sleep_manager.min_sleep_duration: -1 is not a duration"),
        ("sleep_manager: {vllm_sleep_mode: abrt}", '"abrt" is not one of wait, abort. Did you mean "abort"?'),
        ("sleep_manager: {vllm_sleep_timeout_seconds: x}", 'vllm_sleep_timeout_seconds: "x" is not a duration'),
        ("launch_delay_seconds: [1]", "launch_delay_seconds: a list is not a duration"),
        ("server: 5", "server: 5 is not a mapping"),
        ("memory: {devices: 3}", "memory.devices: 3 is not a mapping"),
    ],
)
def test_wrong_values_are_said_once_at_their_place(text: str, sentence: str) -> None:
    (said,) = errors_of(f"{text}\n{ONE}")
    assert said.startswith("f:1: ") and sentence in said


def test_settings_of_vllm_are_judged_also_without_a_vllm_model() -> None:
    text = "sleep_manager: {vllm_sleep_mode: x}\ninstances: [{model: m, engine: sglang}]"
    assert len(errors_of(text)) == 1


@pytest.mark.parametrize("written", ["[]", "null", "5", "{a: 1}"])
def test_instances_must_be_a_list_with_something_in_it(written: str) -> None:
    (said,) = errors_of(f"instances: {written}")
    assert said.startswith("f:1: instances: is ") and "- model: NAME" in said


def test_a_native_file_may_not_hold_instances() -> None:
    (said,) = errors_of("models: {a: {engine: simulated}}\ninstances: {}")
    assert 'unknown key "instances"' in said


# who may connect


def test_a_written_host_counts_as_leave_to_bind_it() -> None:
    text = f"router: {{router_host: 0.0.0.0}}\n{ONE}"
    assert (spec_of(text).server.host, spec_of(text).server.open) == ("0.0.0.0", True)
    (said,) = problems_of(text)
    assert said.startswith('f:1: warning: router.router_host: "0.0.0.0" can be reached from other machines')


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_a_loopback_host_is_no_matter(host: str) -> None:
    text = f'router: {{router_host: "{host}"}}\n{ONE}'
    assert (spec_of(text).server.host, spec_of(text).server.open, problems_of(text)) == (host, False, [])


def test_keys_or_a_refusal_decide_instead() -> None:
    keys = f"router: {{router_host: 0.0.0.0}}\nserver: {{keys: [{{name: n, key: k}}]}}\n{ONE}"
    assert problems_of(keys) == [] and not spec_of(keys).server.open
    (said,) = errors_of(f"router: {{router_host: 0.0.0.0}}\nserver: {{open: false}}\n{ONE}")
    assert "router.router_host" in said and "no key protects it" in said


def test_an_engine_that_cannot_sleep_is_warned_of_where_it_should() -> None:
    text = """
    sleep_manager: {auto_sleep_enabled: AUTO}
    instances:
      - {model: a, engine: vllm, args: [--x]}
      - {model: b, engine: sglang}
    """
    assert problems_of(text.replace("AUTO", "false")) == []
    first, second = problems_of(text.replace("AUTO", "true"))
    assert first.startswith("f:3: warning: instances.0.args: has no --enable-sleep-mode")
    assert second.startswith("f:4: warning: instances.1: has no --enable-memory-saver")


# what it comes to


def fleet(spec: RoostSpec, state: State, *, waiting: bool) -> FleetView:
    models = tuple(
        ModelView(
            name=name,
            spec=model,
            replicas=(
                ReplicaView(id=f"{name}/0", model=name, state=state, since=0.0, sleep_levels=(1, 2), idle_since=0.0),
            ),
            waiting=int(waiting),
            oldest_wait_at=990.0 if waiting else None,
        )
        for name, model in spec.models.items()
    )
    return FleetView(now=1000.0, models=models, memory=spec.memory, started_at=0.0)


def test_both_engines_of_the_example_are_awake_together() -> None:
    spec = spec_of(SHAPE)
    wanted = plan(fleet(spec, State.COLD, waiting=True), Policy(spec=spec.policy))
    assert [(type(action), action.replica) for action in wanted.actions] == [(Load, "org/a/0"), (Load, "org/b/0")]
    ready = plan(fleet(spec, State.READY, waiting=False), Policy(spec=spec.policy))
    assert not ready.blocked and not [action for action in ready.actions if "evict" in action.reason.kind]


def test_without_a_memory_section_nothing_is_evicted() -> None:
    spec = spec_of(SHAPE.replace("memory: {devices: {gpu0: 24GiB}}", ""))
    assert spec.memory.devices == {}
    wanted = plan(fleet(spec, State.COLD, waiting=True), Policy(spec=spec.policy))
    assert len(wanted.actions) == 2


def test_problems_of_further_checks_get_the_lines_of_the_file() -> None:
    loaded = load(ONE + "    engine_args: [--a]\n", file="f", env={}, home="/h", base_dir="/b")
    model = ("models", "org/Llama-3")
    assert [
        loaded.lines[path] for path in (model, (*model, "weights"), (*model, "replicas", 0), ("server", "port"))
    ] == [
        2,
        2,
        2,
        1,
    ]
    assert loaded.lines[(*model, "command", 5)] == 4
    assert loaded.dialect == "kvcached"
