"""Defaults: what merges, what replaces, and that a fault in them is said once, at their line."""

from tests.unit.config.reading import errors_of, read, spec_of


def test_mappings_merge_deeply_and_the_rest_replaces() -> None:
    text = """
    defaults:
      engine: simulated
      args: [--x]
      env: {A: 1, B: 1}
      queue: {size: 5, max_wait: 1m}
      metadata: {deep: {a: 1, b: 1}}
      sleep_after: 1m
    models:
      own:
        args: [--y]
        env: {B: 2}
        queue: {size: 6}
        metadata: {deep: {b: 2}}
        sleep_after: never
      plain:
    """
    own, plain = spec_of(text).models.values()
    assert (own.args, plain.args) == (("--y",), ("--x",))
    assert (own.env, plain.env) == ({"A": "1", "B": "2"}, {"A": "1", "B": "1"})
    assert (own.queue.size, own.queue.max_wait, plain.queue.size) == (6, 60.0, 5)
    assert own.metadata == {"deep": {"a": 1, "b": 2}}
    assert (own.sleep_after, plain.sleep_after) == (None, 60.0)


def test_null_takes_a_default_away() -> None:
    models = spec_of("defaults: {command: run}\nmodels: {a: {url: 'http://h:1', command: null}, b: {}}").models
    assert models["a"].command is None and models["b"].command == ("run",)


def test_the_effective_spec_has_used_defaults_and_macros_up() -> None:
    spec = spec_of("macros: {x: 1}\ndefaults: {engine: simulated}\nmodels: {a: {}}")
    assert spec == spec_of("models: {a: {engine: simulated}}")


def test_a_fault_in_a_default_is_said_once_at_its_own_line() -> None:
    text = """
    defaults:
      engine: simulated
      sleep_afer: 5m
      port: 70000
      queue: {sizes: 3}
      args: ["'open"]
    models: {a: {}, b: {}, c: {}}
    """
    assert errors_of(text) == [
        'f:3: defaults.sleep_afer: unknown key "sleep_afer"; did you mean "sleep_after"?',
        "f:4: defaults.port: 70000 is not a port number. Write one from 1 to 65535.",
        'f:5: defaults.queue.sizes: unknown key "sizes"; did you mean "size"?',
        "f:6: defaults.args.0: cannot be split into words: a quote is not closed. "
        "Close it, or put a backslash before a quote or backslash that is meant as text.",
    ]


def test_a_faulty_default_that_every_model_overrides_is_still_said() -> None:
    (said,) = errors_of("defaults: {port: x}\nmodels: {a: {engine: simulated, port: 4000}}")
    assert said.startswith("f:1: defaults.port:")


def test_lines_of_merged_values_lead_to_the_defaults() -> None:
    text = "defaults:\n  args:\n    - --a 1\n    - --b\nmodels:\n  m:\n    engine: simulated\n    port: 4000\n"
    lines = read(text).lines
    assert [lines["models", "m", "args", index] for index in range(3)] == [3, 3, 4]
    assert lines["models", "m", "port"] == 8
