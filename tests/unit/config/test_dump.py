"""Writing a spec out: what is shown, what is hidden, and when two configurations are the same."""

from dataclasses import replace

from roost.config.dump import Style, config_hash, effective_yaml
from roost.config.load import load
from tests.unit.config.reading import read, spec_of

FULL = """
server: {host: 0.0.0.0, keys: [{name: n, key: geheim1}], limits: {head_size: 64KiB}}
memory: {max_resident: 2, devices: {gpu0: 80GiB}}
models:
  a:
    weights: ./a.gguf
    args: ["--x '1 2'", "--api-key geheim2", --token=geheim3, "$$ ${PORT} $HOME"]
    env: {HF_TOKEN: geheim4, N: 08, ON: yes, EMPTY: ""}
    api_key: geheim5
    sleep_after: never
    unload_after: 90m
    footprint: 20GB
    metadata: {n: null, t: true, s: "true", nested: [1, 1.5, {a: "~"}]}
    set_params: {seed: 1}
  b: {command: ["run", "a b", "$${PID}"], aliases: ["1", "null"], stop_grace: 0.25}
"""


def test_the_effective_configuration_reads_back_as_the_same_spec() -> None:
    spec = spec_of(FULL)
    for full in (False, True):
        text = effective_yaml(spec, Style(full=full, mask=False))
        again = load(text, file="f", env={}, home="/other", base_dir="/elsewhere")
        assert again.spec == spec, again.problems


def test_secrets_are_masked() -> None:
    text = effective_yaml(spec_of(FULL))
    assert "geheim" not in text
    assert text.count("***") == 5
    assert "name: n" in text


def test_a_secret_from_the_environment_is_masked_wherever_it_stands() -> None:
    text = """
    models:
      a:
        weights: x
        args: [--a b, "--x ${env:MY_SECRET}"]
        env: {PLAIN: "${env:MY_SECRET}"}
        description: ${env:MY_SECRET}
    """
    loaded = read(text, {"MY_SECRET": "geheim"})
    assert loaded.spec is not None
    shown = effective_yaml(loaded.spec, Style(hide=loaded.secrets))
    assert "geheim" not in shown and "--a" in shown and shown.count("***") == 4


def test_values_are_written_as_people_write_them() -> None:
    text = effective_yaml(spec_of(FULL))
    for line in (
        "sleep_after: never",
        "unload_after: 90m",
        "gpu0: 80 GiB",
        "head_size: 64 KiB",
        "footprint: 20 GB",
    ):
        assert line in text
    assert "start_timeout" not in text
    assert "start_timeout: 20m" in effective_yaml(spec_of(FULL), Style(full=True))


def test_the_hash_follows_the_meaning_and_not_the_secrets() -> None:
    spec = spec_of(FULL)
    assert config_hash(spec) == config_hash(spec_of(FULL.replace("geheim", "other")))
    assert config_hash(spec) == config_hash(spec_of(FULL.replace("90m", "5400").replace("never", "NEVER")))
    assert config_hash(spec) != config_hash(spec_of(FULL.replace("90m", "91m")))
    assert config_hash(spec) != config_hash(replace(spec, models={"a": spec.models["a"]}))
    assert len(config_hash(spec)) == 16
