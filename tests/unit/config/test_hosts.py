"""`hosts` and `inside`: what a host lends its models, and what is wrong with them."""

import re
from pathlib import Path

import pytest

from roost.config.dump import Style, effective_yaml
from roost.config.hosts import may_be_offered, spec_for
from roost.config.load import Loaded, load
from roost.core.hosted_spec import HostSpec
from roost.core.spec import EngineKind, ModelSpec, Task
from tests.unit.config.reading import errors_of

BOX = "hosts:\n  box: {url: http://box:9000, api_key: k3y}\n"


def loaded(text: str) -> Loaded:
    return load(text, file="roost.yaml", env={}, home="/home/u", base_dir="/srv")


def problems(text: str) -> list[str]:
    return [f"{problem.line}: {problem.message}" for problem in loaded(text).problems]


def test_a_model_inside_a_host_has_its_address_and_key() -> None:
    spec = loaded(f"{BOX}models:\n  a: {{inside: box}}\n  b: {{inside: box, api_key: own}}\n").spec
    assert spec is not None
    a, b = spec.models["a"], spec.models["b"]
    assert (a.url, a.api_key, a.engine) == ("http://box:9000", "k3y", EngineKind.COMMAND)
    assert b.api_key == "own"


def test_hosts_alone_are_a_configuration() -> None:
    assert problems(BOX) == []
    assert problems("server: {port: 9}\n") == ["1: there is no model to serve"]


def test_the_model_of_a_name_that_was_found_is_like_a_written_one() -> None:
    written = loaded(f"{BOX}models:\n  a: {{inside: box, served_name: org/a}}\n").spec
    assert written is not None
    found = spec_for("box", written.hosts["box"], "org/a", {})
    assert (found.url, found.api_key, found.inside, found.served_name) == ("http://box:9000", "k3y", "box", "org/a")
    assert found == spec_for("box", HostSpec(url="http://box:9000", api_key="k3y"), "org/a", {"*": ModelSpec()})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{BOX}models: {{a: {{inside: bax}}}}", '"bax" is not an entry of hosts'),
        ("hosts: {box: {url: box}}", "the address is not an address of an engine"),
        ("hosts: {box: {url: http://x:1}, bax: {url: http://x:1/}}", 'is the server of "box", too'),
        (
            "hosts: {box: {url: http://x:1, load_steps: [{endpoint: /up}]}}",
            "unload_steps is required beside",
        ),
        (
            "hosts: {box: {url: http://x:1, load_steps: [{endpoint: up}], unload_steps: [{endpoint: /down}]}}",
            '"up" is neither a path that begins with',
        ),
        ("hosts: {box: {url: http://x:1, list_path: models}}", '"models" is not a path'),
        (f"{BOX}models: {{a: {{inside: box, command: x}}}}", "command is for an engine of its own"),
        (f"{BOX}models: {{a: {{inside: box, url: http://y}}}}", "url and inside exclude each other"),
        (f"{BOX}models: {{a: {{inside: box}}, b: {{inside: box, served_name: a}}}}", 'is the same model of host "box"'),
        (
            "hosts: {box: {url: http://x:1, max_resident: 1}}\n"
            "models: {a: {inside: box, pin: true}, b: {inside: box, pin: true}}",
            "is 1, but 2 models inside it are pinned (a, b)",
        ),
    ],
)
def test_what_is_wrong_is_said(text: str, said: str) -> None:
    found = problems(text)
    assert len(found) == 1, found
    assert said in found[0]


def test_a_fixed_server_has_no_load_steps() -> None:
    steps = "load_steps: [{endpoint: /up}], unload_steps: [{endpoint: /down}]"
    assert "preset fixed means" in problems(f"hosts: {{box: {{url: http://x:1, preset: fixed, {steps}}}}}")[0]


def test_the_page_of_hosts_shows_calls_that_can_be_written() -> None:
    page = (Path(__file__).parents[3] / "docs" / "hosted.md").read_text()
    block = next(block for block in re.findall("```yaml\n(.*?)```", page, re.S) if "load_steps" in block)
    spec = loaded(block).spec
    assert spec is not None, problems(block)
    (step,) = spec.hosts["mine"].load_steps
    assert (step.endpoint, step.body) == ("/admin/models", {"load": "${MODEL}"})
    elsewhere = loaded("hosts: {box: {url: 'http://x:1', list_path: '/${MODEL}'}}").problems[0].hint
    assert elsewhere.endswith("sleep_steps and wake_steps, or a host's load_steps and unload_steps.")
    both = "load_steps: [{endpoint: '/up/${MODEL}'}], unload_steps: [{endpoint: '/down/${PORT}'}]"
    assert (
        "${PORT} is only known when an engine starts" in problems(f"hosts: {{box: {{url: 'http://x:1', {both}}}}}")[0]
    )


FOUND = f"""
{BOX}
defaults: {{concurrency: 3, unload_after: 9m, pin: true, weights: /x.gguf, env: {{A: b}}}}
discovered:
  "bge-*": {{task: embed, pin: true}}
  "qwen*": {{concurrency: 5}}
"""


def test_settings_of_what_is_found_are_those_of_the_first_pattern_over_what_defaults_can_mean() -> None:
    spec = loaded(FOUND).spec
    assert spec is not None
    bge, qwen, other = (spec_for("box", spec.hosts["box"], one, spec.discovered) for one in ("bge-m3", "qwen3", "phi"))
    assert (bge.task, bge.pin, bge.concurrency, bge.unload_after) == (Task.EMBED, True, 3, 540.0)
    assert (qwen.task, qwen.pin, qwen.concurrency) == (Task.OTHER, False, 5)
    assert (other.concurrency, other.unload_after, other.weights, other.env, other.pin) == (3, 540.0, None, {}, False)
    assert {one.url for one in (bge, qwen, other)} == {"http://box:9000"}


def test_settings_of_what_is_found_survive_being_shown() -> None:
    spec = loaded(FOUND).spec
    assert spec is not None
    again = loaded(effective_yaml(spec, Style())).spec
    assert again is not None and again.discovered == spec.discovered


def test_what_is_found_has_nothing_that_only_an_entry_can_have() -> None:
    text = f"{BOX}discovered: {{a: {{aliases: [b], command: x}}}}"
    aliases, command = problems(text)
    assert "aliases is for a model with an entry of its own" in aliases
    assert "command is for a model with an entry of its own" in command
    assert "there are no hosts" in problems("models: {a: {url: http://x:1}}\ndiscovered: {a: {concurrency: 1}}")[0]


@pytest.mark.parametrize(
    ("name", "may"),
    [
        ("qwen3", True),
        ("org/model-7b", True),
        ("hf.co/org/model:Q4", True),
        ("phi4:latest", True),
        ("", False),
        ("all", False),
        ("/srv/adapter", False),
        ("~/adapter", False),
        ("../adapter", False),
        ("org/../../adapter", False),
        ("org//adapter", False),
        ("./adapter", False),
        ("https://example.org/a", False),
        ("a\\b", False),
        ("what?", False),
        ("two\nlines", False),
        ("x" * 201, False),
    ],
)
def test_a_made_up_name_is_offered_only_if_a_model_could_have_it_and_it_is_no_path(name: str, may: bool) -> None:
    assert may_be_offered(name) is may


def test_replicas_of_a_model_inside_a_server_are_one_fault() -> None:
    hosts = "hosts: {h: {url: http://127.0.0.1:9000}}\n"
    (said,) = errors_of(hosts + "models:\n  c: {inside: h, replicas: 2}\n")
    assert "has several replicas, and a server holds a model once" in said
