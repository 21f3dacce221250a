"""Real vLLM under roost: what the steps promise, seen on the engine they were written for.

Sleep frees no memory on a CPU; states, tags, scheduler and weights reload are the real code. Each test leaves both
engines alive, one of them awake.
"""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import httpx
import psutil
import pytest

from tests.real.fleet import BOTH, ENDLESS, LONG, Fleet, finish, streamed

pytestmark = pytest.mark.timeout(600)


def is_sleeping(fleet: Fleet, model: str) -> bool:
    """The engine's own word."""
    with fleet.engine(model) as engine:
        return bool(engine.get("/is_sleeping").json()["is_sleeping"])


def sleep_gauge(fleet: Fleet, model: str) -> str:
    """Which of vLLM's own sleep states is 1."""
    with fleet.engine(model) as engine:
        lines = engine.get("/metrics").text.splitlines()
    states = [line for line in lines if line.startswith("vllm:engine_sleep_state{") and line.endswith(" 1.0")]
    assert len(states) == 1, states
    return states[0].split('sleep_state="')[1].split('"')[0]


def steps_of(fleet: Fleet, model: str) -> list[str]:
    """Names of the steps done for the model, oldest first."""
    return [step["name"] for step in fleet.facts(model)["steps"]]


def test_the_models_differ_so_that_an_answer_tells_who_gave_it(fleet: Fleet) -> None:
    assert fleet.expected["one"] != fleet.expected["two"]


@pytest.mark.parametrize(("model", "level", "gauge"), [("one", 1, "weights_offloaded"), ("two", 2, "discard_all")])
def test_e10_sleep_and_wake_keep_the_process_and_the_answer(fleet: Fleet, model: str, level: int, gauge: str) -> None:
    assert fleet.answer(model) == fleet.expected[model]
    pid = fleet.facts(model)["pid"]
    fleet.order(model, "sleep")
    facts = fleet.facts(model)
    assert (facts["state"], facts["level"], facts["pid"]) == ("asleep", level, pid)
    assert is_sleeping(fleet, model) and sleep_gauge(fleet, model) == gauge
    assert fleet.answer(model) == fleet.expected[model]
    assert fleet.facts(model)["pid"] == pid and sleep_gauge(fleet, model) == "awake"


def test_t1_level_2_wakes_in_stages_and_is_verified(fleet: Fleet) -> None:
    fleet.answer("two")
    fleet.order("two", "sleep")
    before = len(steps_of(fleet, "two"))
    fleet.answer("two")
    done = steps_of(fleet, "two")
    calls = [name for name in done[before:] if name.startswith("POST")] or [n for n in done if n.startswith("POST")]
    wanted = [
        "POST /wake_up?tags=weights",
        "POST /collective_rpc",
        "POST /wake_up?tags=kv_cache",
        "POST /reset_prefix_cache",
    ]
    places = [max(at for at, name in enumerate(calls) if name == step) for step in wanted]
    assert places == sorted(places)


@pytest.mark.parametrize("model", BOTH)
def test_a_stream_ends_whole_before_its_model_sleeps(fleet: Fleet, model: str) -> None:
    fleet.answer(model)
    with ThreadPoolExecutor(2) as pool:
        begun = Event()
        running = pool.submit(streamed, fleet.client, model, LONG, begun)
        assert begun.wait(60)
        fleet.order(model, "sleep")
        assert running.done()  # the order was obeyed after the answer, not during it
    chunks = running.result()
    assert finish(chunks) == "length"
    assert sum(bool(choice["delta"].get("content")) for chunk in chunks for choice in chunk["choices"]) > LONG / 2


@pytest.mark.parametrize("model", BOTH)
def test_requests_to_a_sleeper_wait_for_one_wake_and_get_the_right_answer(fleet: Fleet, model: str) -> None:
    fleet.answer(model)
    fleet.order(model, "sleep")
    before = fleet.wakes()
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: fleet.answer(model), range(16)))
    assert answers == [fleet.expected[model]] * 16
    assert fleet.wakes() == before + 1


def test_mode_wait_lets_a_request_past_roost_end(fleet: Fleet) -> None:
    fleet.answer("one")
    with fleet.engine("one") as engine, ThreadPoolExecutor(1) as pool:
        begun = Event()
        running = pool.submit(streamed, engine, "one", LONG, begun)
        assert begun.wait(60)
        fleet.order("one", "sleep")
        assert finish(running.result()) == "length"


def test_mode_abort_cuts_a_request_past_roost(fleet: Fleet) -> None:
    fleet.answer("two")
    with fleet.engine("two") as engine, ThreadPoolExecutor(1) as pool:
        begun = Event()
        running = pool.submit(streamed, engine, "two", ENDLESS, begun)
        assert begun.wait(60)
        fleet.order("two", "sleep")
        assert finish(running.result()) == "abort"


@pytest.mark.parametrize("model", BOTH)
def test_a_pause_by_others_is_noticed_and_lifted_for_the_next_request(fleet: Fleet, model: str) -> None:
    fleet.answer(model)
    with fleet.engine(model) as engine:
        engine.post("/pause").raise_for_status()
    fleet.until(lambda: fleet.facts(model)["state"] == "asleep", "seen to be paused")
    assert fleet.answer(model) == fleet.expected[model]
    with fleet.engine(model) as engine:
        assert engine.get("/is_paused").json()["is_paused"] is False


@pytest.mark.parametrize("model", BOTH)
@pytest.mark.parametrize("level", [1, 2])
def test_a_sleep_by_others_is_noticed_and_the_next_request_wakes(fleet: Fleet, model: str, level: int) -> None:
    fleet.answer(model)
    with fleet.engine(model) as engine:
        engine.post(f"/sleep?level={level}").raise_for_status()
    fleet.until(lambda: fleet.facts(model)["state"] == "asleep", "seen to sleep")
    assert fleet.answer(model) == fleet.expected[model]


@pytest.mark.parametrize("way", ["/sleep?level=1", "/pause?mode=keep"])
def test_a_request_that_reaches_what_others_just_put_to_sleep_is_answered(fleet: Fleet, way: str) -> None:
    fleet.answer("one")
    with fleet.engine("one") as engine:
        engine.post(way).raise_for_status()
    assert fleet.answer("one") == fleet.expected["one"]  # long before anybody looked at the engine


def test_a_sleep_by_force_cuts_what_runs_and_keeps_the_process(fleet: Fleet) -> None:
    fleet.answer("one")
    pid = fleet.facts("one")["pid"]
    with ThreadPoolExecutor(1) as pool:
        begun = Event()
        running = pool.submit(streamed, fleet.client, "one", ENDLESS, begun)
        assert begun.wait(60)
        fleet.order("one", "sleep", force=1)
        with pytest.raises(httpx.RemoteProtocolError):
            running.result()
    facts = fleet.facts("one")
    assert (facts["state"], facts["pid"]) == ("asleep", pid)
    assert fleet.answer("one") == fleet.expected["one"]


def test_a_wake_by_others_is_noticed_and_verified(fleet: Fleet) -> None:
    fleet.answer("one")
    fleet.order("one", "sleep")
    with fleet.engine("one") as engine:
        engine.post("/wake_up").raise_for_status()
    fleet.until(lambda: fleet.facts("one")["state"] == "ready", "seen to be awake")
    assert fleet.answer("one") == fleet.expected["one"]


def test_x5_no_memory_falls_on_a_cpu_and_the_record_says_so(fleet: Fleet) -> None:
    fleet.answer("one")
    fleet.order("one", "sleep")
    slept = [done for done in fleet.facts("one")["sequences"] if done["operation"] == "sleep"][-1]
    assert slept["freed_bytes"] is None and "not measured" in slept["memory"]


def test_t4_fifty_swaps_with_eight_clients_lose_nothing(fleet: Fleet) -> None:
    fleet.swap(50, clients=8)


def test_f4_a_worker_killed_while_asleep_leads_to_a_fresh_start(fleet: Fleet) -> None:
    fleet.answer("two")
    fleet.order("two", "sleep")
    pid = fleet.facts("two")["pid"]
    workers = [child for child in psutil.Process(pid).children(recursive=True) if "VLLM::" in child.name()]
    assert workers, [child.name() for child in psutil.Process(pid).children(recursive=True)]
    workers[-1].kill()
    assert fleet.answer("two") == fleet.expected["two"]
    assert fleet.facts("two")["pid"] != pid


def _loaded_adapters(fleet: Fleet) -> list[str]:
    """What vLLM itself lists beside its base."""
    with fleet.engine("one") as engine:
        return [entry["id"] for entry in engine.get("/v1/models").json()["data"] if entry["parent"] is not None]


def test_adapters_are_models_that_take_turns_in_their_base(fleet: Fleet) -> None:
    said = {name: fleet.answer(name) for name in ("sql", "law", "one")}
    assert len(set(said.values())) == 3
    assert said["one"] == fleet.expected["one"]
    assert _loaded_adapters(fleet) == ["law"]
    assert fleet.answer("sql") == said["sql"]
    assert _loaded_adapters(fleet) == ["sql"]


@pytest.mark.parametrize("level", [1, 2])
def test_adapters_come_back_after_a_sleep_of_their_base(fleet: Fleet, level: int) -> None:
    before = fleet.answer("sql")
    fleet.order("one", "sleep", level=level)
    assert fleet.facts("sql")["state"] == "cold"
    assert fleet.answer("sql") == before
    assert [fleet.facts(name)["state"] for name in ("one", "sql", "law")] == ["ready", "ready", "cold"]


def test_an_adapter_that_is_not_there_is_404_and_its_base_serves_on(fleet: Fleet) -> None:
    got = fleet.client.post("/v1/completions", json={"model": "none", "prompt": "Hi", "max_tokens": 1})
    assert got.status_code == 404, got.text
    assert fleet.answer("one") == fleet.expected["one"]
