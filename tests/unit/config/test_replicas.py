"""`replicas` of a native model: what may stand in it, and which of them could not stand side by side."""

import pytest

from roost.config.checks import ports_written
from roost.config.dump import effective_yaml
from roost.config.load import check_further
from roost.config.schema import json_schema
from roost.core.spec import EngineKind, servings
from roost.engines.registry import validate
from roost.engines.simulated import simulate
from tests.unit.config.reading import errors_of, model_of, problems_of, read, spec_of


def test_replicas_are_read_and_shown() -> None:
    text = """
    models:
      a:
        weights: org/a
        env: {A: 1}
        replicas:
          - {name: x, port: 1, env: {CUDA_VISIBLE_DEVICES: 0, HF_TOKEN: geheim, P: "${PORT}"}}
          - {host: 127.0.0.2}
          - {}
    """
    spec = spec_of(text)
    first, second, third = servings(spec.models["a"])
    assert (first.port, first.env["CUDA_VISIBLE_DEVICES"], first.env["A"]) == (1, "0", "1")
    assert (second.host, second.port, third.host) == ("127.0.0.2", None, "127.0.0.1")
    shown = effective_yaml(spec)
    assert "geheim" not in shown and "HF_TOKEN: '***'" in shown and 'CUDA_VISIBLE_DEVICES: "0"' in shown
    assert problems_of(text) == [] and validate(spec) == []


def test_replicas_that_run_already() -> None:
    text = "models: {a: {engine: vllm, replicas: [{url: 'http://h:1'}, {url: 'http://h:2'}]}}"
    assert problems_of(text) == [] and validate(spec_of(text)) == []
    assert model_of("models: {a: {replicas: [{url: 'http://h:1'}]}}").engine is EngineKind.COMMAND
    mixed = "models: {a: {weights: org/a, replicas: [{url: 'http://h:1'}, {port: 2}]}}"
    assert problems_of(mixed) == [] and model_of(mixed).engine is EngineKind.VLLM


def test_what_cannot_start_is_said_of_the_replica_that_has_no_address() -> None:
    (said,) = errors_of("models: {a: {engine: vllm, replicas: [{url: 'http://h:1'}, {port: 2}]}}")
    assert "has nothing to serve" in said
    (said,) = errors_of("models: {a: {replicas: [{url: 'http://h:1'}, {prot: 2}]}}")
    assert 'unknown key "prot"; did you mean "port"?' in said


def test_ports_that_clash() -> None:
    text = """
    models:
      a:
        weights: x
        replicas:
          - {port: 8080}
          - {port: 9000, name: n}
      b: {weights: x, port: 9000}
      c:
        weights: x
        port: 9001
        replicas: [{}, {host: 127.0.0.2}, {}]
    """
    other = "Choose another port, or leave it out to have a free one picked."
    assert errors_of(text) == [
        f"f:5: models.a.replicas.0.port: port 8080 is already that of roost itself (server.port). {other}",
        f'f:7: models.b.port: port 9000 is already that of "n" of model "a". {other}',
        f'f:10: models.c.port: port 9001 is already that of replica 0 of model "c". {other}',
    ]
    assert problems_of("models: {a: {weights: x, replicas: [{}, {}, {}]}}") == []


PAIR = "models:\n  a: {command: x, port: 9000%s}\n  b: {command: y, port: 9000}\n"


@pytest.mark.parametrize(
    ("head", "more", "fine"),
    [
        ("memory: {max_resident: 1}\n", "", True),
        ("memory: {groups: {g: {members: [a, b]}}}\n", "", True),
        ("memory: {groups: {g: {members: [a, b], swap: false}}}\n", "", False),
        ("memory: {max_resident: 2}\n", "", False),
        ("", "", False),
        ("memory: {max_resident: 1}\n", ", engine: vllm", False),  # it keeps its port asleep
        ("memory: {max_resident: 1}\n", ", engine: vllm, can_sleep: false", True),
        ("memory: {max_resident: 1}\n", ", engine: llamacpp, sleep_after: never", True),
        ("memory: {max_resident: 1}\n", ", engine: llamacpp", False),
        ("memory: {max_resident: 1}\n", ", sleep_steps: [{endpoint: /s}], wake_steps: [{endpoint: /w}]", False),
    ],
)
def test_models_of_which_one_runs_at_a_time_may_share_a_port(head: str, more: str, fine: bool) -> None:
    said = problems_of(head + PAIR % more)
    assert any("port 9000 is already that of" in line for line in said) is not fine
    assert (read(head + PAIR % more).spec is not None) is fine


def test_serve_cannot_tell_models_on_one_port_apart() -> None:
    loaded = check_further(read("memory: {max_resident: 1}\n" + PAIR % ""), [ports_written])
    assert loaded.spec is None
    assert 'is at the port of "a", and serve cannot tell' in loaded.problems[0].message


def test_replicas_of_one_model_never_share_a_port() -> None:
    text = "memory: {max_resident: 1}\nmodels: {a: {command: x, replicas: [{port: 9000}, {port: 9000}]}}"
    assert "port 9000 is already that of" in errors_of(text)[0]


def test_addresses() -> None:
    text = """
    models:
      a:
        replicas:
          - {url: "http://h:1", port: 1}
          - {url: "http://h:1"}
          - {url: "ftp://h:3"}
          - {url: "http://127.0.0.1:8080"}
      b:
        url: http://h:9
        replicas: [{port: 7}, {}]
    """
    assert errors_of(text) == [
        "f:4: models.a.replicas.0.port: url and port exclude each other: the address says where a running engine "
        "listens. Remove url or port.",
        "f:5: models.a.replicas.1.url: reaches the same engine as replica 0. Give each its own url.",
        "f:6: models.a.replicas.2.url: the address is not an address of an engine. "
        "Write it like http://127.0.0.1:8000.",
        "f:7: models.a.replicas.3.url: leads back to roost's own port 8080. Write the engine's own address.",
        "f:9: models.b.url: reaches the same engine as replica 0. Give each its own url.",
        "f:10: models.b.replicas.0.port: url and port exclude each other: the address says where a running engine "
        "listens. Remove url or port.",
    ]


def test_names_of_sessions() -> None:
    text = """
    models:
      a: {weights: x, replicas: [{name: b}, {name: n}, {}]}
      b: {weights: x}
      c: {weights: x, replicas: [{name: n}, {name: a-3}, {name: ""}]}
      frontend: {weights: x, launcher: tmux}
      d: {weights: x, replicas: [{name: frontend}]}
    """
    hint = "Give it a name of its own."
    assert errors_of(text) == [
        f'f:2: models.a.replicas.0.name: "b" is also the name of model "b" (line 3). {hint}',
        f'f:4: models.c.replicas.0.name: "n" is also the name of "n" of model "a" (line 2). {hint}',
        f'f:4: models.c.replicas.1.name: "a-3" is also the name of replica 2 of model "a" (line 2). {hint}',
        f"f:4: models.c.replicas.2.name: the name is empty. {hint}",
        f'f:5: models.frontend: "frontend" is the name of the session in which roost itself runs. {hint}',
        f'f:6: models.d.replicas.0.name: "frontend" is also the name of model "frontend" (line 5). {hint}',
    ]
    assert problems_of("models: {frontend: {weights: x}}") == []


def test_a_shared_command_line_must_tell_replicas_apart() -> None:
    text = "models: {a: {command: 'run MORE', replicas: [{port: 1}, {port: 2}]}}"
    (said,) = errors_of(text.replace("MORE", "-x"))
    assert "models.a.command: starts 2 replicas with the same words" in said and "Put ${PORT} where" in said
    assert problems_of(text.replace("MORE", "${PORT}")) == []
    assert problems_of(text.replace("{port: 1}", "{port: 1, env: {P: 1}}")) == []
    assert problems_of("models: {a: {command: run, replicas: [{port: 1}, {url: 'http://h:1'}]}}") == []


def test_variables_must_be_possible() -> None:
    (said,) = errors_of("models: {a: {weights: x, replicas: [{env: {'A=B': 1}}]}}")
    assert said.startswith("f:1: models.a.replicas.0.env.A=B: cannot be an environment variable")
    (said,) = errors_of("models: {a: {weights: x, replicas: [{host: '${PORT}'}]}}")
    assert "${PORT} is only known when an engine starts" in said


def test_serve_needs_an_address_of_every_replica() -> None:
    text = "models:\n  a:\n    weights: x\n    replicas:\n    - {port: 1}\n    - {}\n    - {url: 'http://h:1'}\n"
    loaded = check_further(read(text), [ports_written])
    assert loaded.spec is None
    (problem,) = loaded.problems
    assert (problem.path, problem.line) == (("models", "a", "replicas", 1), 6)
    assert ports_written(spec_of("models: {a: {weights: x, port: 1, replicas: [{}]}}")) == []


def test_the_host_of_a_replica_stands_in_its_command_line() -> None:
    text = """
    models:
      a:
        engine: vllm
        command: run --host ${HOST} --port ${PORT}
        args: ["--x=${HOST}"]
        replicas: [{host: 127.0.0.2, port: 1}, {port: 2}]
    """
    assert model_of(text).command == ("run", "--host", "${HOST}", "--port", "${PORT}")
    (said,) = errors_of("models: {a: {weights: x, env: {A: '${HOST}'}}}")
    assert "${HOST} is only known when an engine starts" in said and "command, args, sleep_steps and wake_steps" in said


def test_numbers_are_variables_too_says_the_schema() -> None:
    env = json_schema()["$defs"]["ReplicaSpec"]["properties"]["env"]
    assert "number" in str(env)


def test_simulated_replicas_keep_their_names_only() -> None:
    text = "models: {a: {weights: x, replicas: [{name: n, port: 1, env: {A: 1}}, {url: 'http://h:1'}]}}"
    model = simulate(spec_of(text)).models["a"]
    assert [(own.name, own.port, own.url, own.env) for own in model.replicas] == [
        ("n", None, None, {}),
        (None, None, None, {}),
    ]


def test_their_number_alone() -> None:
    text = "models: {a: {weights: org/a, replicas: 3}}"
    spec = spec_of(text)
    assert len(servings(spec.models["a"])) == 3 and problems_of(text) == []
    assert spec == spec_of("models: {a: {weights: org/a, replicas: [{}, {}, {}]}}")
    assert "replicas: 3\n" in effective_yaml(spec)
    assert spec_of(effective_yaml(spec)) == spec
    assert len(model_of("{defaults: {replicas: '${env:N}'}, models: {a: {weights: x}}}", {"N": "2"}).replicas) == 2
    assert len(simulate(spec).models["a"].replicas) == 3


@pytest.mark.parametrize(
    ("model", "place", "message"),
    [
        ("replicas: 0, weights: x", "replicas", "0 is not a whole number from 1 to 64 or a list of settings"),
        ("replicas: 65, weights: x", "replicas", "65 is not a whole number from 1 to 64 or a list of settings"),
        ("replicas: many, weights: x", "replicas", '"many" is not a whole number from 1 to 64 or a list of settings'),
        ("replicas: 2, weights: x, port: 9000", "port", 'port 9000 is already that of replica 0 of model "a". Choose'),
        ("replicas: 2, command: x --fast", "command", "starts 2 replicas with the same words, so all would listen on"),
        ("replicas: 2, url: 'http://h:1'", "url", "reaches the same engine as replica 0"),
    ],
)
def test_a_number_that_cannot_be(model: str, place: str, message: str) -> None:
    (said,) = errors_of(f"models:\n  a:\n    {{{model}}}")
    assert said.startswith(f"f:3: models.a.{place}: {message}")


def test_a_number_and_a_command_with_a_port() -> None:
    assert problems_of("models: {a: {command: 'x --port ${PORT}', replicas: 2}}") == []


def test_the_schema_knows_both_forms() -> None:
    forms = json_schema()["$defs"]["ModelSpec"]["properties"]["replicas"]["anyOf"]
    assert {"type": "integer", "minimum": 1, "maximum": 64} in forms
    assert any(form.get("type") == "array" for form in forms)
