from roost.core.hosted_spec import HostSpec
from roost.core.spec import EngineKind, ModelSpec, RoostSpec, Task
from roost.engines.base import Adapter, Machine
from roost.engines.registry import adapter_for
from roost.engines.simulated import SIMULATED, simulate
from roost.sim.flags import parse

MACHINE = Machine(python="/usr/bin/python3")


def test_it_is_an_adapter() -> None:
    adapter: Adapter = SIMULATED
    assert adapter.kind is EngineKind.SIMULATED


def test_the_command_line_is_one_that_the_engine_reads() -> None:
    spec = ModelSpec(
        served_name="org/a",
        also_serves=("lora",),
        api_key="k",
        context_length=512,
        args=("--token-delay", "5ms", "--refuse-wake"),
    )
    launch = SIMULATED.launch("a", spec, 8123, MACHINE)
    assert launch.argv[:3] == (MACHINE.python, "-m", "roost.sim")
    seen = parse(launch.argv[3:])
    assert (seen.model, seen.names, seen.port, seen.host) == ("org/a", ("org/a", "lora"), 8123, "127.0.0.1")
    assert (seen.api_key, seen.max_model_len, seen.token_delay, seen.refuse_wake) == ("k", 512, 0.005, True)


def test_level_2_lets_nobody_in_before_the_weights_are_read() -> None:
    names = [step.name for step in SIMULATED.wake(ModelSpec(), 2)]
    assert names == [
        "POST /wake_up?tags=weights",
        "POST /collective_rpc",
        "POST /wake_up?tags=kv_cache",
        "POST /reset_prefix_cache",
    ]
    assert [step.name for step in SIMULATED.wake(ModelSpec(), 1)] == ["POST /wake_up"]
    assert [step.name for step in SIMULATED.sleep(ModelSpec(), 1)] == ["POST /sleep?level=1&mode=wait"]


def test_an_engine_that_sleeps_by_itself_takes_no_order() -> None:
    spec = ModelSpec(args=("--kind", "llamacpp-idle"))
    assert (SIMULATED.sleep_levels(spec), SIMULATED.wake(spec, None)) == ((), ())
    assert SIMULATED.sleep_levels(ModelSpec()) == (1, 2)


def test_only_a_clear_answer_says_whether_it_sleeps() -> None:
    assert SIMULATED.is_asleep(200, {"is_sleeping": True}) is True
    for status, body in ((500, {"is_sleeping": True}), (200, {}), (200, None), (200, {"is_sleeping": "no"})):
        assert SIMULATED.is_asleep(status, body) is None


def test_a_command_is_a_problem() -> None:
    problems = SIMULATED.validate("a", ModelSpec(command=("vllm", "serve")))
    assert [problem.path for problem in problems] == [("models", "a", "command")]
    assert not SIMULATED.validate("a", ModelSpec(args=("--tokens", "4")))


def test_simulating_keeps_what_clients_and_planner_see_and_drops_how_engines_run() -> None:
    real = ModelSpec(
        engine=EngineKind.VLLM,
        weights="org/big",
        args=("--tp 4",),
        env={"X": "1"},
        venv="/v",
        cwd="/c",
        port=9000,
        host="10.0.0.7",
        stop_command="kill it",
        health_path="/ready",
        aliases=("big",),
        task=Task.EMBED,
        footprint=80 * 2**30,
        sleep_level=2,
    )
    spec = RoostSpec(models={"a": real, "b": ModelSpec(url="http://10.0.0.8:1")})
    made = simulate(spec)
    assert made.models["a"] == ModelSpec(
        engine=EngineKind.SIMULATED, aliases=("big",), task=Task.EMBED, footprint=80 * 2**30, sleep_level=2
    )
    assert made.models["b"] == ModelSpec(engine=EngineKind.SIMULATED)
    assert spec.models["a"] is real


def test_places_in_a_server_stay_without_the_server() -> None:
    hosts = {"h": HostSpec(url="http://gpu:1", max_resident=1), "free": HostSpec(url="http://gpu:2")}
    model = ModelSpec(engine=EngineKind.COMMAND, inside="h", url="http://gpu:1")
    made = simulate(RoostSpec(models={"a": model}, hosts=hosts))
    assert made.hosts == {"h": HostSpec(url="", discover=False, max_resident=1)}
    assert (made.models["a"].inside, made.models["a"].server, made.models["a"].url) == ("h", None, None)
    assert adapter_for(made.models["a"]) is SIMULATED
