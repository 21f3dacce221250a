"""Every kind of wrong value: one sentence with line, value and what to write instead."""

import pytest

from tests.unit.config.reading import errors_of, model_of, read

FIVE = """
server:
  prot: 8080
models:
  a:
    engine: vlm
    weights: x
    sleep_after: 5 parsecs
    args: --ctx-size 4096
  b:
    weights: y
    port: 80800
"""


def test_five_mistakes_are_five_lines() -> None:
    assert errors_of(FIVE) == [
        'f:2: server.prot: unknown key "prot"; did you mean "port"?',
        'f:5: models.a.engine: "vlm" is not one of llamacpp, vllm, sglang, command, simulated. Did you mean "vllm"?',
        'f:7: models.a.sleep_after: "5 parsecs" is not a duration. '
        "Write it like 30s, 5m or 1h30m, or never for no limit.",
        'f:8: models.a.args: "--ctx-size 4096" is not a list of strings. Write it as a list: ["--ctx-size 4096"].',
        "f:11: models.b.port: 80800 is not a port number. Write one from 1 to 65535.",
    ]
    assert [problem.value for problem in read(FIVE).problems] == [
        None,
        '"vlm"',
        '"5 parsecs"',
        '"--ctx-size 4096"',
        "80800",
    ]


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("pin: maybe", '"maybe" is not true or false'),
        ("port: true", "true is not a port number"),
        ("port: 0", "0 is not a port number"),
        ("concurrency: 0", "0 is not a whole number of 1 or more"),
        ("concurrency: 1.5", "1.5 is not a whole number of 1 or more"),
        ("sleep_after: 0", "0 is not a duration above zero. Write it like 30s, 5m or 1h30m, or never for no limit."),
        (
            "start_timeout: never",
            '"never" is not a duration above zero. This wait is always bounded; write a long one, such as 24h.',
        ),
        (
            "timeouts: {sleep: never}",
            "This wait is always bounded; write a long one, such as 24h, or leave it out: timeouts.step counts then.",
        ),
        ("timeouts: {wake: 0s}", '"0s" is not a duration above zero. Write it like 30s, 5m or 1h30m.'),
        ("stop_grace: -1", "-1 is not a duration"),
        ("stop_grace: .inf", '".inf" is not a duration'),
        ("sleep_after: .nan", '".nan" is not a duration'),
        ("footprint: 80 parsecs", '"80 parsecs" is not a size. Write it like 80GiB, 512MB or a number of bytes.'),
        ("footprint: -1", "-1 is not a size"),
        ("footprint: " + "9" * 400 + "GB", "is not a size"),
        ("sleep_level: 3", "3 is not one of 1, 2"),
        ("queue: 5", "5 is not a mapping. Write its keys below it, such as size, max_wait."),
        ("queue: {size: -1}", "models.a.queue.size: -1 is not a whole number of 0 or more"),
        ("env: [A=b]", 'a list is not a mapping of names to strings. Write "NAME: value" lines'),
        ("env: {A: {b: c}}", "models.a.env.A: a mapping is not a string"),
        ("env: {A: }", 'models.a.env.A: has no value. Write a string ("" for an empty one), or remove the key.'),
        ("args:", "models.a.args: has no value. Write a list of strings, or remove the key."),
        ("command: {run: x}", "models.a.command: a mapping is not a string or a list of strings"),
        ("command: [run, [x]]", "models.a.command.1: a list is not a string"),
        ("aliases: {a: b}", "models.a.aliases: a mapping is not a list of strings"),
        ("max_wait: 5m", 'unknown key "max_wait". Write it as models.a.queue.max_wait.'),
        ("sleep-after: 5m", 'unknown key "sleep-after"; did you mean "sleep_after"?'),
        ("base_url: x", 'unknown key "base_url"; did you mean "url"?'),
        ("max_models: 2", 'unknown key "max_models". Write it as memory.max_resident.'),
        ("zzzz: 1", 'unknown key "zzzz". Known keys here: engine, weights,'),
    ],
)
def test_a_wrong_key_of_a_model(key: str, sentence: str) -> None:
    (said,) = errors_of(f"models:\n  a:\n    engine: simulated\n    {key}\n")
    assert said.startswith("f:4: models.a.") and sentence in said


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "f:1: roost.yaml is empty"),
        ("- a", "f:1: roost.yaml is not a mapping of keys to values"),
        ("just text", "f:1: roost.yaml is not a mapping of keys to values"),
        ("server: {}", "f:1: models: there is no model to serve"),
        ("models:", "f:1: models: there is no model to serve"),
        ("models: {}", "f:1: models: there is no model to serve"),
        (
            "models:\n- name: llama\n  weights: x",
            'Make each name a key instead of an entry: "models:", below it "llama:"',
        ),
        ("models: {a: 5}", "f:1: models.a: 5 is not a mapping. Write its keys below it, such as engine, weights"),
        ("models: {a: {weights: x}}\nsleep_after: 5m", "Write it as models.NAME.sleep_after or under defaults."),
        ("models: {a: {weights: x}}\ndefaults: {max_wait: 5m}", "Write it as defaults.queue.max_wait."),
        ("models: {a: {weights: x}}\nport: 1", 'f:2: port: unknown key "port". Write it as server.port.'),
        ("models: {a: {weights: x}}\nmemory: {devices: [g]}", 'Write "gpu0: 80GiB" lines.'),
        ("models: {a: {weights: x}}\nserver: {keys: [{name: k}]}", 'f:2: server.keys.0: "key" is missing. Add key:'),
        ("models: {a: {weights: x}}\nserver: {keys: [{name: k, key: x, scopes: [infr]}]}", 'Did you mean "infer"?'),
    ],
)
def test_a_wrong_file(text: str, sentence: str) -> None:
    (said,) = errors_of(text)
    assert sentence in said


def test_secrets_are_not_repeated() -> None:
    text = """
    server:
      keys:
        - geheim1
        - {name: n, key: [geheim2]}
        - {name: n, key: k, geheim3: x}
    models:
      a:
        engine: simulated
        api_key: [geheim4]
        env: {HF_TOKEN: [geheim5], MY_PASSWORD: {a: geheim6}}
        set_params: {api_key: geheim7}
        port: ok
    """
    loaded = read(text)
    said = "".join(problem.render("f") + (problem.value or "") for problem in loaded.problems)
    assert len(loaded.problems) == 7
    assert [number for number in range(1, 8) if f"geheim{number}" in said] == [3]  # a key's name is no secret


def test_numbers_and_words_are_taken_as_they_stand_where_a_string_is_wanted() -> None:
    model = model_of("models: {a: {engine: simulated, args: [--n, 007, true], env: {A: 0x1, B: yes}, served_name: 7}}")
    assert model.args == ("--n", "007", "true")
    assert (model.env, model.served_name) == ({"A": "0x1", "B": "yes"}, "7")


def test_an_empty_section_is_an_empty_mapping() -> None:
    text = (
        "server:\nmemory:\n  devices:\npolicy:\nmacros:\ndefaults:\nmodels:\n  a:\n    engine: simulated\n    queue:\n"
    )
    assert model_of(text).queue.size == 256


def test_errors_and_checks_of_meaning_come_together() -> None:
    text = """
    server: {host: 0.0.0.0, port: x}
    models:
      a: {weights: x, pin: perhaps}
      b: {aliases: [a], engine: simulated}
    """
    places = sorted(said.split(": ")[1] for said in errors_of(text))
    assert places == ["models.a.pin", "models.b.aliases.0", "server.host", "server.port"]


def test_what_is_faulty_does_not_count_as_missing() -> None:
    for line in ("weights: [x]", "wieghts: x", "weights: ${env:NOPE}", "url: []"):
        (said,) = errors_of(f"models:\n  a:\n    {line}\n")
        assert "nothing to serve" not in said


def test_the_number_of_problems_is_bounded() -> None:
    models = "\n".join(f"  m{n}: {{engine: x, weights: y}}" for n in range(500))
    said = errors_of(f"models:\n{models}\n")
    assert len(said) == 201
    assert said[-1] == "f: 300 more problems are not shown"


def test_an_adapter_is_spoken_of_as_one() -> None:
    adapters = "models:\n  v: {engine: vllm, weights: org/x, adapters: {a: {weights: /tmp/lo}, q: /tmp/foo}}\n"
    assert errors_of(adapters) == [
        'f:2: models.v.adapters.a.weights: unknown key "weights"; did you mean "path"?',
        'f:2: models.v.adapters.q: "/tmp/foo" is not a mapping. Write it as {path: "/tmp/foo"}.',
    ]


def test_what_is_no_secret_of_a_key_is_shown() -> None:
    keys = "server: {keys: [{name: n, key: geheim, priority: urgent, weight: 0}]}\nmodels: {a: {weights: x.gguf}}\n"
    assert errors_of(keys) == [
        'f:1: server.keys.0.priority: "urgent" is not one of high, normal, low',
        "f:1: server.keys.0.weight: 0 is not a number above zero",
    ]
