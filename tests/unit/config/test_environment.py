"""The environment alone as a configuration."""

import pytest

from roost.config.dialects.environment import read
from roost.config.load import load
from roost.core.hosted_spec import HostSpec
from roost.core.spec import RoostSpec


def spec_of(env: dict[str, str]) -> RoostSpec:
    said = read(env)
    assert not said.problems
    loaded = load(said.text, file="environment", env=env, home="/home/u", base_dir="/srv")
    assert loaded.spec is not None, loaded.problems
    return loaded.spec


def faults_of(env: dict[str, str]) -> list[str]:
    return [problem.render("the environment") for problem in read(env).problems]


def test_nothing_set_is_the_first_routers_defaults() -> None:
    spec = spec_of({})
    assert (spec.server.host, spec.server.port, spec.memory.max_resident) == ("127.0.0.1", 8010, 2)
    assert (spec.server.models_list, spec.server.health, spec.policy.eviction) == ("loaded", "text", "lru")
    assert spec.hosts == {"vllm": HostSpec(url="http://vllm:8000", load_timeout=1200.0)}
    assert spec.server.hosts == () and not spec.server.keys and not spec.models


def test_port_comes_before_router_port() -> None:
    assert spec_of({"PORT": "9000", "ROUTER_PORT": "9001"}).server.port == 9000
    assert spec_of({"PORT": " ", "ROUTER_PORT": "9001"}).server.port == 9001


def test_every_variable_has_its_key() -> None:
    env = {"MAX_RESIDENT": "5", "LOAD_TIMEOUT": "45m", "VLLM_BASE_URL": "http://gpu:1/", "VLLM_API_KEY": "s3"}
    spec = spec_of(env | {"ROOST_API_KEY": "k1"})
    assert spec.memory.max_resident == 5
    assert spec.hosts["vllm"] == HostSpec(url="http://gpu:1", load_timeout=2700.0, api_key="s3")
    assert [key.key for key in spec.server.keys] == ["k1"]


def test_several_servers_each_have_a_name() -> None:
    spec = spec_of({"VLLM_BASE_URL": "http://a:8000, http://b:8000"})
    assert {name: host.url for name, host in spec.hosts.items()} == {"vllm": "http://a:8000", "vllm-2": "http://b:8000"}


def test_an_address_that_others_reach_answers_to_any_name_unless_they_are_listed() -> None:
    env = {"ROOST_HOST": "0.0.0.0", "ROOST_ALLOW_OPEN": "1"}
    assert spec_of(env).server.hosts == ("*",)
    assert spec_of(env | {"ROOST_HOSTS": "vllm-router,roost"}).server.hosts == ("vllm-router", "roost")


def test_secrets_stay_variables_in_the_text() -> None:
    text = read({"VLLM_API_KEY": "s3cret", "ROOST_API_KEY": "k3y"}).text
    assert "s3cret" not in text and "k3y" not in text and "${env:VLLM_API_KEY}" in text


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PORT", "9x", '"9x" is not a whole number from 0 to 65535'),
        ("PORT", "70000", '"70000" is not a whole number from 0 to 65535'),
        ("MAX_RESIDENT", "0", '"0" is not a whole number from 1'),
        ("LOAD_TIMEOUT", "soon", "'soon' is not a duration"),
        ("LOAD_TIMEOUT", "0", '"0" is not a duration above zero'),
        ("VLLM_BASE_URL", "vllm:8000", "is not an address of an engine"),
    ],
)
def test_a_variable_that_makes_no_sense_is_named_with_its_default(name: str, value: str, said: str) -> None:
    (fault,) = faults_of({name: value})
    assert fault.startswith(f"the environment: {name}: ") and said in fault and "Unset it for the default" in fault


def test_all_faults_are_told_at_once() -> None:
    assert len(faults_of({"PORT": "x", "MAX_RESIDENT": "-1", "LOAD_TIMEOUT": "x"})) == 3


def test_a_default_is_told_as_one_writes_it() -> None:
    (fault,) = faults_of({"LOAD_TIMEOUT": "soon"})
    assert fault.endswith("Unset it for the default (20m).")


def test_an_open_door_is_told_in_the_words_of_this_form() -> None:
    (fault,) = faults_of({"ROOST_HOST": "0.0.0.0"})
    assert fault == (
        'the environment: ROOST_HOST: "0.0.0.0" can be reached from other machines, and no key protects it. '
        "Set ROOST_API_KEY, or ROOST_ALLOW_OPEN=1 if the network itself is trusted."
    )
    assert not faults_of({"ROOST_HOST": "0.0.0.0", "ROOST_API_KEY": "k"})
