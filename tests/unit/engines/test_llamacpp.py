"""The llama.cpp adapter as values: every flag with its reason, and what may be polled."""

import pytest

from roost.core.errors import StartError
from roost.core.problems import Problem, has_errors
from roost.core.spec import ModelSpec, QueueSpec, Task, TimeoutsSpec
from roost.core.step import Step
from roost.core.step_spec import StepSpec
from roost.engines.base import Adapter, Machine
from roost.engines.llamacpp import LLAMACPP

BINARY = Machine(python="/py", programs={"llama-server": "/bin/llama-server"}, modules=frozenset({"xllamacpp"}))
WHEEL = Machine(python="/py", modules=frozenset({"xllamacpp"}))
SPEC = ModelSpec(weights="/m/a.gguf", sleep_after=None)


def argv(spec: ModelSpec, machine: Machine = BINARY) -> tuple[str, ...]:
    return LLAMACPP.launch("a", spec, 9001, machine).argv


def problems(spec: ModelSpec) -> list[Problem]:
    return list(LLAMACPP.validate("a", spec))


def test_it_is_an_adapter() -> None:
    adapter: Adapter = LLAMACPP
    assert adapter.kind == "llamacpp"


def test_the_binary_comes_before_the_wheel() -> None:
    assert argv(SPEC) == (
        *("/bin/llama-server", "--model", "/m/a.gguf"),
        *("--host", "127.0.0.1", "--port", "9001", "--alias", "a"),
    )


def test_the_wheel_runs_as_a_child_of_this_python() -> None:
    assert argv(SPEC, WHEEL)[:4] == ("/py", "-m", "roost.host.embedded_llamacpp", "--model")


def test_a_machine_with_neither_is_told_what_to_install() -> None:
    with pytest.raises(StartError, match=r"'a'.*pip install xllamacpp.*llama-server on the PATH"):
        argv(SPEC, Machine(python="/py"))


def test_a_venv_names_where_its_llama_server_is() -> None:
    assert argv(ModelSpec(weights="/m/a.gguf", venv="/v"), Machine(python="/py"))[0] == "llama-server"


def test_a_command_of_the_users_own_is_taken_whole() -> None:
    spec = ModelSpec(command=("box", "run", "--port", "${PORT}", "${MODEL}"), args=("-c", "512"), served_name="inner")
    assert argv(spec) == ("box", "run", "--port", "9001", "inner", "-c", "512")


@pytest.mark.parametrize(
    ("task", "flags"),
    [
        (Task.GENERATE, ()),
        (Task.EMBED, ("--embeddings", "--pooling", "mean")),
        (Task.RERANK, ("--reranking",)),
        (Task.OTHER, ()),
    ],
)
def test_the_task_chooses_the_servers_mode(task: Task, flags: tuple[str, ...]) -> None:
    assert argv(ModelSpec(weights="/m/a.gguf", sleep_after=None, task=task)) == argv(SPEC) + flags


@pytest.mark.parametrize(
    ("spec", "seconds"),
    [
        (ModelSpec(weights="a.gguf", sleep_after=300), "300"),
        (ModelSpec(weights="a.gguf", sleep_after=2.2), "3"),
        (ModelSpec(weights="a.gguf", sleep_after=0), "1"),
        (ModelSpec(weights="a.gguf", sleep_after=None), None),
        (ModelSpec(weights="a.gguf", sleep_after=300, pin=True), None),
        (ModelSpec(weights="a.gguf", sleep_after=300, sleep_steps=(StepSpec(endpoint="/models/unload"),)), None),
    ],
)
def test_the_engine_is_given_its_idle_time(spec: ModelSpec, seconds: str | None) -> None:
    line = argv(spec)
    found = line[line.index("--sleep-idle-seconds") + 1] if "--sleep-idle-seconds" in line else None
    assert found == seconds


def test_concurrency_is_slots_that_share_the_context() -> None:
    line = argv(ModelSpec(weights="a.gguf", concurrency=8))
    at = line.index("--parallel")
    assert line[at : at + 3] == ("--parallel", "8", "--kv-unified")


def test_the_users_arguments_come_last() -> None:
    spec = ModelSpec(weights="a.gguf", task=Task.EMBED, args=("--pooling", "cls", "--chat-template-file", "a b.jinja"))
    assert argv(spec)[-4:] == ("--pooling", "cls", "--chat-template-file", "a b.jinja")


def test_the_engines_key_travels_in_the_environment() -> None:
    launch = LLAMACPP.launch("a", ModelSpec(weights="a.gguf", api_key="k1"), 9001, BINARY)
    assert launch.env == {"LLAMA_API_KEY": "k1"}
    assert "k1" not in launch.argv


def test_only_paths_that_do_not_wake_it_are_polled() -> None:
    query = LLAMACPP.sleep_query(SPEC)
    assert query is not None
    assert (LLAMACPP.probe(SPEC).path, query.method, query.path) == ("/health", "GET", "/props")
    assert LLAMACPP.probe(ModelSpec(health_path="/up")).path == "/up"


@pytest.mark.parametrize(
    ("status", "body", "asleep"),
    [
        (200, {"is_sleeping": True}, True),
        (200, {"is_sleeping": False}, False),
        (200, {}, None),
        (200, {"is_sleeping": "yes"}, None),
        (200, ["is_sleeping"], None),
        (503, {"is_sleeping": True}, None),
    ],
)
def test_props_tells_whether_it_sleeps(status: int, body: object, asleep: bool | None) -> None:
    assert LLAMACPP.is_asleep(status, body) is asleep


def test_it_sleeps_by_itself_and_wakes_by_a_request() -> None:
    assert (LLAMACPP.sleep_levels(SPEC), LLAMACPP.sleep(SPEC, 1), LLAMACPP.wake(SPEC, None)) == ((), (), ())


@pytest.mark.parametrize(
    ("task", "path"),
    [
        (Task.GENERATE, "/v1/chat/completions"),
        (Task.EMBED, "/v1/embeddings"),
        (Task.RERANK, "/v1/rerank"),
    ],
)
def test_the_verifying_request_fits_the_task(task: Task, path: str) -> None:
    step = LLAMACPP.verify(ModelSpec(task=task), "inner")
    assert (step.path, step.json["model"]) == (path, "inner")


@pytest.mark.parametrize(
    ("wake", "start", "max_wait", "limit"),
    [
        (20.0, 1200.0, 600.0, 20.0),
        (None, 77.0, 600.0, 77.0),
        (None, 1200.0, 600.0, 300.0),  # a fresh start must still serve those who wait
        (None, 1200.0, 0.0, 1.0),
    ],
)
def test_the_verifying_request_is_the_wake_and_has_its_limit(
    wake: float | None, start: float, max_wait: float, limit: float
) -> None:
    limits, queue = TimeoutsSpec(wake=wake), QueueSpec(max_wait=max_wait)
    step = LLAMACPP.verify(ModelSpec(start_timeout=start, timeouts=limits, queue=queue), "a")
    assert step.timeout_s == limit


def test_an_unknown_task_is_verified_by_its_health_path() -> None:
    step = LLAMACPP.verify(ModelSpec(task=Task.OTHER, health_path="/up"), "a")
    assert step == Step(method="GET", path="/up")


def test_weights_are_needed() -> None:
    found = problems(ModelSpec())
    assert has_errors(found)
    assert found[0].path == ("models", "a")
    assert "weights" in found[0].message


@pytest.mark.parametrize(
    "spec",
    [
        ModelSpec(weights="A.GGUF"),
        ModelSpec(url="http://127.0.0.1:1"),
        ModelSpec(command="llama-server --port ${PORT}"),
        ModelSpec(args=("-hf", "org/name")),
        ModelSpec(args=("--model=x.gguf",)),
    ],
)
def test_other_ways_to_name_the_weights_are_fine(spec: ModelSpec) -> None:
    assert problems(spec) == []


def test_weights_that_are_no_gguf_are_only_warned_about() -> None:
    (problem,) = problems(ModelSpec(weights="org/name"))
    assert (problem.severity, problem.value, problem.path) == ("warning", "org/name", ("models", "a", "weights"))
