"""`hosts` and `inside`: what a host lends its models, and what is wrong with them."""

import pytest

from roost.config.hosts import spec_for
from roost.config.load import Loaded, load
from roost.core.hosted_spec import HostSpec
from roost.core.spec import EngineKind, ModelSpec

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
