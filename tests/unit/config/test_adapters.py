"""`adapters`: what is wrong with them, and the models that they come to."""

import pytest

from roost.config.adapters import with_adapters
from roost.config.dump import Style, effective_yaml
from roost.config.load import Loaded, load


def loaded(text: str) -> Loaded:
    return load(text, file="roost.yaml", env={}, home="/home/u", base_dir="/srv")


def problems(text: str) -> list[str]:
    return [f"{problem.line}: {problem.message}" for problem in loaded(text).problems]


BASE = """models:
  base:
    weights: org/base
    concurrency: 4
    unlisted: true
    sleep_after: 1m
    args: [--x]
    aliases: [b]
    replicas: 2
    adapters:
      sql: {path: ./loras/sql, aliases: [sql-v2]}
      law: {path: org/law, preload: true}
  other: {weights: org/other, fallback: [sql-v2, law]}
"""


def test_each_adapter_is_a_model_behind_its_base() -> None:
    spec = loaded(BASE).spec
    assert spec is not None
    models = with_adapters(spec).models
    assert list(models) == ["base", "sql", "law", "other"]
    sql, law = models["sql"], models["law"]
    assert (sql.inside, sql.weights, sql.aliases, sql.preload) == ("base", "/srv/loras/sql", ("sql-v2",), False)
    assert (law.weights, law.preload) == ("org/law", True)
    assert (sql.concurrency, sql.unlisted, sql.sleep_after, sql.args, sql.adapters) == (4, False, None, (), {})
    assert len(sql.replicas) == 2
    assert (sql.footprint, sql.footprints.awake.host) == (0, 0)


def test_without_adapters_the_spec_is_the_same() -> None:
    spec = loaded("models: {a: {weights: x.gguf}}\n").spec
    assert spec is not None
    assert with_adapters(spec) is spec


def test_a_dump_loads_as_the_same() -> None:
    spec = loaded(BASE).spec
    assert spec is not None
    assert loaded(effective_yaml(spec, Style(mask=False))).spec == spec


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("{weights: a.gguf, adapters: {x: {path: p}}}", "roost cannot load adapters into engine llamacpp"),
        ("{weights: o/m, adapters: {a: {path: p}}}", '"a" already names the model "a" itself'),
        ("{weights: o/m, adapters: {x: {path: p, aliases: [a]}}}", '"a" already names the model "a" itself'),
        ("{weights: o/m, adapters: {x: {path: p}, y: {path: p, aliases: [x]}}}", '"x" already names adapter "x"'),
        ("{weights: o/m, served_name: x, adapters: {x: {path: p}}}", '"x" already names model "a" in its engine'),
        ("{weights: o/m, adapters: {all: {path: p}}}", '"all" is reserved'),
        (
            "{weights: o/m, max_loras: 2, args: [--max-loras 1], adapters: {x: {path: p}}}",
            "is 2, but the engine's own --max-loras is 1",
        ),
        (
            "{engine: vllm, command: vllm serve x --enable-lora --max-loras=1, max_loras: 2, adapters: {x: {path: p}}}",
            "is 2, but the engine's own --max-loras is 1",
        ),
        ("{engine: vllm, command: vllm serve x, adapters: {x: {path: p}}}", "has no --enable-lora"),
        ("{weights: o/m, max_loras: 3}", "does nothing: the model has no adapters"),
        ("{inside: box, adapters: {x: {path: p}}}", "has no adapters of its own"),
        ("{weights: o/m, fallback: [x], adapters: {x: {path: p}}}", '"x" is the model itself'),
    ],
)
def test_what_is_wrong(model: str, said: str) -> None:
    found = problems(f"hosts: {{box: {{url: 'http://box:1'}}}}\nmodels:\n  a: {model}\n")
    assert len(found) == 1, found
    assert said in found[0]


def test_a_base_is_no_host_of_the_same_name() -> None:
    text = "hosts: {a: {url: 'http://box:1'}}\nmodels: {a: {weights: o/m, adapters: {x: {path: p}}}}\n"
    assert [one for one in problems(text) if "is the name of an entry of hosts, too" in one]


def test_keys_may_name_adapters() -> None:
    keys = "server: {keys: [{name: k, key: s3cret, models: [sql, sql-v2]}]}\n"
    assert problems(keys + BASE) == []
