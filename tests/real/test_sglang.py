"""Real SGLang under roost, as far as it runs without a GPU: pause, release, resume, weights from disk, continue.

Release frees no memory here, yet its order is checked by the engine itself: a release while a request runs, or a resume
of what was not released, ends the server.
"""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import psutil
import pytest

from tests.real.fleet import BOTH, LONG, Fleet, finish, streamed

pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize(("model", "level"), [("one", 1), ("two", 2)])
def test_sleep_and_wake_keep_the_process_and_the_answer(fleet: Fleet, model: str, level: int) -> None:
    assert fleet.answer(model) == fleet.expected[model]
    pid = fleet.facts(model)["pid"]
    fleet.order(model, "sleep")
    facts = fleet.facts(model)
    assert (facts["state"], facts["level"], facts["pid"]) == ("asleep", level, pid)
    assert fleet.answer(model) == fleet.expected[model]
    assert fleet.facts(model)["pid"] == pid


@pytest.mark.parametrize("model", BOTH)
def test_a_stream_ends_whole_before_its_memory_is_released(fleet: Fleet, model: str) -> None:
    fleet.answer(model)
    with ThreadPoolExecutor(1) as pool:
        begun = Event()
        running = pool.submit(streamed, fleet.client, model, LONG, begun)
        assert begun.wait(60)
        fleet.order(model, "sleep")
        assert finish(running.result()) == "length"


@pytest.mark.parametrize("model", BOTH)
def test_requests_to_a_sleeper_wait_for_one_wake_and_get_the_right_answer(fleet: Fleet, model: str) -> None:
    fleet.answer(model)
    fleet.order(model, "sleep")
    before = fleet.wakes()
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: fleet.answer(model), range(16)))
    assert answers == [fleet.expected[model]] * 16
    assert fleet.wakes() == before + 1


def test_twenty_swaps_with_four_clients_lose_nothing(fleet: Fleet) -> None:
    fleet.swap(20, clients=4)


def test_a_killed_sleeper_is_started_afresh(fleet: Fleet) -> None:
    fleet.answer("two")
    fleet.order("two", "sleep")
    pid = fleet.facts("two")["pid"]
    psutil.Process(pid).kill()
    assert fleet.answer("two") == fleet.expected["two"]
    assert fleet.facts("two")["pid"] != pid
