"""The library's monitor: counts, idleness, bounds, threads. The clocks are the test's own."""

import asyncio
import json
import math
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from unittest import mock

import pytest

import roost
from roost import ModelActivityStats, RequestStats, TrafficMonitor, traffic_monitor
from tests.support.sim import SRC
from tests.support.virtual import run

PATH = "/v1/completions"


@dataclass
class Clock:
    """Monotonic and Unix seconds, moved by hand."""

    now: float = 5000.0
    wall: float = 1_700_000_000.0

    def go(self, seconds: float) -> None:
        self.now += seconds
        self.wall += seconds


@pytest.fixture
def clock() -> Iterator[Clock]:
    made = Clock()
    with mock.patch("roost.clock.now", lambda: made.now), mock.patch("roost.clock.wall", lambda: made.wall):
        yield made


def ask(monitor: TrafficMonitor, model: str = "a", *, success: bool = True, response_time: float | None = None) -> None:
    monitor.record_request_end(monitor.record_request_start(model, PATH), success, response_time)


def known(monitor: TrafficMonitor, model: str = "a") -> ModelActivityStats:
    stats = monitor.get_model_stats(model)
    assert stats is not None
    return stats


def test_counts_times_and_the_fields_of_the_server(clock: Clock) -> None:
    monitor = TrafficMonitor()
    request = monitor.record_request_start("a", PATH)
    clock.go(2.0)
    monitor.record_request_end(request)
    ask(monitor, response_time=0.0)
    ask(monitor, success=False, response_time=60.0)
    clock.go(30.0)
    assert monitor.get_traffic_summary(60)["a"] == {
        "total_requests": 3,
        "successful_requests": 2,
        "failed_requests": 1,
        "success_rate": pytest.approx(2 / 3),
        "request_rate": pytest.approx(3 / 60),
        "avg_response_time": pytest.approx(1.0),
        "last_activity_time": 1_700_000_002.0,
        "last_request_time": datetime.fromtimestamp(1_700_000_002, UTC),
        "idle_time_seconds": 30.0,
        "is_idle": False,
        "in_flight": 0,
    }
    assert (request.response_time, request.success, request.error_message) == (2.0, True, None)


@pytest.mark.parametrize("told", [None, math.nan, math.inf, -1.0])
def test_what_is_no_time_is_measured_from_start_to_end(clock: Clock, told: float | None) -> None:
    monitor = TrafficMonitor()
    request = monitor.record_request_start("a", PATH)
    clock.go(1.5)
    monitor.record_request_end(request, response_time=told)
    assert known(monitor).avg_response_time == 1.5


def test_a_failure_is_as_told_and_keeps_its_message(clock: Clock) -> None:
    monitor = TrafficMonitor()
    request = monitor.record_request_start("a", PATH)
    monitor.record_request_end(request, success=False, error_message="refused")
    assert (request.success, request.error_message) == (False, "refused")
    stats = known(monitor)
    assert (stats.total_requests, stats.failed_requests, stats.avg_response_time) == (1, 1, 0.0)


def test_defect_31_a_model_used_just_now_is_not_idle_and_is_later(clock: Clock) -> None:
    monitor = TrafficMonitor(idle_threshold_seconds=300)
    ask(monitor)
    assert (monitor.get_idle_models(idle_threshold_seconds=300), monitor.get_active_models(300)) == ([], ["a"])
    clock.go(300.0)
    assert monitor.get_idle_models() == []  # for longer than the threshold, as it always was
    clock.go(0.1)
    assert (monitor.get_idle_models(), monitor.get_active_models()) == (["a"], [])
    assert monitor.get_idle_models(400) == []


def test_defect_22_a_running_request_is_seen_and_keeps_its_model_active(clock: Clock) -> None:
    monitor = TrafficMonitor()
    request = monitor.record_request_start("a", PATH)
    clock.go(1000.0)
    facts = monitor.get_traffic_summary()["a"]
    assert (facts["in_flight"], facts["idle_time_seconds"], facts["is_idle"]) == (1, 0.0, False)
    assert facts["last_activity_time"] == clock.wall
    assert (monitor.get_idle_models(), monitor.in_flight("a"), known(monitor).in_flight) == ([], 1, 1)
    monitor.record_request_end(request)
    clock.go(1.0)
    assert (monitor.in_flight("a"), known(monitor).get_idle_time()) == (0, 1.0)


def test_defect_22_a_watched_model_is_shown_before_its_first_request(clock: Clock) -> None:
    monitor = TrafficMonitor()
    monitor.watch("a")
    clock.go(10.0)
    assert (monitor.get_active_models(), monitor.get_idle_models()) == (["a"], [])
    clock.go(300.0)
    assert (monitor.get_active_models(), monitor.get_idle_models()) == ([], ["a"])
    facts = monitor.get_traffic_summary()["a"]
    assert (facts["total_requests"], facts["idle_time_seconds"], facts["last_request_time"]) == (0, 310.0, None)


def test_defect_24_a_rate_has_no_cap(clock: Clock) -> None:
    monitor = TrafficMonitor()
    for _ in range(10):
        for _ in range(5000):
            ask(monitor, response_time=0.01)
        clock.go(1.0)
    assert monitor.get_traffic_summary(10)["a"]["request_rate"] == pytest.approx(5000.0)
    stats = known(monitor)
    assert stats.get_request_rate(10) == pytest.approx(5000.0)
    assert (stats.total_requests, len(stats.request_timestamps)) == (50_000, 1000)


def test_defect_24_a_wall_clock_that_jumps_does_no_harm(clock: Clock) -> None:
    monitor = TrafficMonitor()
    request = monitor.record_request_start("a", PATH)
    clock.wall -= 86_400.0
    clock.now += 3.0
    monitor.record_request_end(request)
    clock.now += 4.0
    assert (known(monitor).avg_response_time, known(monitor).get_idle_time()) == (3.0, 4.0)


def test_defect_24_an_end_told_twice_counts_once(clock: Clock) -> None:
    monitor = TrafficMonitor()
    request = monitor.record_request_start("a", PATH)
    monitor.record_request_end(request)
    monitor.record_request_end(request, success=False, error_message="late")
    assert (known(monitor).total_requests, known(monitor).failed_requests, monitor.in_flight("a")) == (1, 0, 0)
    assert (request.success, request.error_message) == (True, None)


def test_defect_24_nothing_told_is_infinite(clock: Clock) -> None:
    monitor = TrafficMonitor()
    monitor.watch("never")
    ask(monitor)
    json.dumps(monitor.get_traffic_summary(), allow_nan=False, default=str)
    json.dumps(monitor.history("never"), allow_nan=False)


def test_defect_19_names_that_clients_make_up_are_bounded_and_watched_ones_stay(clock: Clock) -> None:
    monitor = TrafficMonitor()
    monitor.watch("ours")
    with mock.patch.object(traffic_monitor, "MAX_MODELS", 3):
        for name in ("a", "b", "c", "a", "d"):
            ask(monitor, name)
        assert list(monitor.get_all_model_stats()) == ["ours", "c", "a", "d"]
        left = monitor.record_request_start("e", PATH)
        for name in ("f", "g", "h"):
            ask(monitor, name)
        monitor.record_request_end(left)
        assert (known(monitor, "e").total_requests, monitor.in_flight("e")) == (1, 0)
        monitor.unwatch("ours")
        assert len(monitor.get_all_model_stats()) == 3


def test_defect_19_long_names_are_cut() -> None:
    monitor = TrafficMonitor()
    ask(monitor, "x" * 1_000_000)
    assert list(monitor.get_all_model_stats()) == ["x" * 200]
    assert known(monitor, "x" * 300).total_requests == 1


def test_what_two_watch_stays_until_both_have_left() -> None:
    monitor = TrafficMonitor()
    monitor.watch("a")
    monitor.watch("a")
    monitor.unwatch("a")
    with mock.patch.object(traffic_monitor, "MAX_MODELS", 1):
        ask(monitor, "b")
        ask(monitor, "c")
        assert list(monitor.get_all_model_stats()) == ["a", "c"]
        monitor.unwatch("a")
        ask(monitor, "d")
        assert list(monitor.get_all_model_stats()) == ["d"]


def test_a_start_that_never_ends_is_given_up_and_its_end_counts_after_all(clock: Clock) -> None:
    monitor = TrafficMonitor(lost_after_seconds=100.0)
    heard: list[str] = []
    request = monitor.record_request_start("a", PATH)
    monitor.subscribe(heard.append)
    clock.go(101.0)
    monitor.sweep()
    assert (monitor.in_flight("a"), known(monitor).lost_requests, heard) == (0, 1, ["a"])
    monitor.record_request_end(request)
    assert (monitor.in_flight("a"), known(monitor).total_requests) == (0, 1)
    assert known(monitor).avg_response_time == 101.0


def test_starts_are_bounded_in_number(clock: Clock) -> None:
    monitor = TrafficMonitor()
    with mock.patch.object(traffic_monitor, "MAX_OPEN", 10):
        for number in range(25):
            monitor.record_request_start(f"m{number % 2}", PATH)
    assert (monitor.in_flight("m0"), monitor.in_flight("m1")) == (5, 5)
    assert known(monitor, "m0").lost_requests + known(monitor, "m1").lost_requests == 15


def test_a_started_monitor_sweeps_by_itself_until_it_is_stopped() -> None:
    async def main() -> None:
        monitor = TrafficMonitor(lost_after_seconds=100.0)
        await monitor.start()
        await monitor.start()
        monitor.record_request_start("a", PATH)
        await asyncio.sleep(200.0)
        assert monitor.in_flight("a") == 0
        await monitor.stop()
        monitor.record_request_start("a", PATH)
        await asyncio.sleep(200.0)
        assert monitor.in_flight("a") == 1
        assert len(asyncio.all_tasks()) == 1

    run(main())


def test_it_may_be_started_on_one_loop_and_again_on_the_next() -> None:
    monitor = TrafficMonitor()
    asyncio.run(monitor.start())
    asyncio.run(monitor.start())
    asyncio.run(monitor.stop())


def test_history_tells_what_ended_when(clock: Clock) -> None:
    monitor = TrafficMonitor()
    ask(monitor, response_time=0.5)
    ask(monitor, success=False)
    clock.go(60.0)
    ask(monitor, response_time=1.5)
    buckets = monitor.history("a", span_s=120, bucket_s=60)
    assert [(b["requests"], b["successful"], b["failed"], b["avg_response_time"]) for b in buckets] == [
        (2, 1, 1, 0.5),
        (1, 1, 0, 1.5),
    ]
    assert buckets[1]["start_unix"] == pytest.approx(clock.wall - clock.now % 60, abs=0.01)
    assert buckets[1]["requests_per_s"] == pytest.approx(1 / 60)
    assert monitor.history("unknown") == []
    with pytest.raises(ValueError, match="86400"):
        monitor.history("a", span_s=100_000)


@pytest.mark.parametrize("window", [0, -1, 86_401, math.nan])
def test_a_window_that_makes_no_sense_is_refused(window: float) -> None:
    monitor = TrafficMonitor()
    ask(monitor)
    with pytest.raises(ValueError, match="window"):
        monitor.get_traffic_summary(window)


@pytest.mark.parametrize("threshold", [-1, math.inf, math.nan])
def test_a_threshold_that_makes_no_sense_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold"):
        TrafficMonitor(threshold)
    with pytest.raises(ValueError, match="threshold"):
        TrafficMonitor().get_idle_models(threshold)


def test_what_is_given_out_is_a_copy_of_one_moment(clock: Clock) -> None:
    monitor = TrafficMonitor()
    ask(monitor)
    copy, everything = known(monitor), monitor.get_all_model_stats()
    for _ in range(9):
        ask(monitor)
    clock.go(1.0)
    ask(monitor)
    assert (copy.total_requests, len(copy.request_timestamps), copy.get_request_rate(60)) == (1, 1, 1 / 60)
    assert everything["a"] == copy
    assert known(monitor).get_request_rate(60) == pytest.approx(11 / 60)


def test_statistics_made_by_hand_work_alone(clock: Clock) -> None:
    stats = ModelActivityStats()
    assert (stats.get_idle_time(), stats.is_idle(), stats.last_activity_time) == (math.inf, True, 0.0)
    stats.add_request(RequestStats(clock.wall, "a", PATH, response_time=0.25))
    assert (stats.total_requests, stats.avg_response_time, stats.last_activity_time) == (1, 0.25, clock.wall)
    assert not stats.is_idle(300)
    assert list(stats.request_timestamps) == [clock.wall]


def test_a_request_made_by_hand_counts_at_its_end(clock: Clock) -> None:
    monitor = TrafficMonitor()
    request = RequestStats(clock.wall, "a", PATH)
    monitor.record_request_end(request, response_time=0.1)
    monitor.record_request_end(request)
    assert (known(monitor).total_requests, monitor.in_flight("a")) == (1, 0)


def test_many_threads_lose_nothing() -> None:
    monitor = TrafficMonitor()
    barrier = threading.Barrier(5)
    readings: list[int] = []

    def record() -> None:
        barrier.wait()
        for number in range(1000):
            ask(monitor, f"m{number % 3}", success=number % 10 != 0)

    def read() -> None:
        barrier.wait()
        for _ in range(50):
            monitor.get_traffic_summary()
            stats = monitor.get_all_model_stats().values()
            assert all(each.total_requests == each.successful_requests + each.failed_requests for each in stats)
            readings.append(sum(each.total_requests for each in stats))

    threads = [threading.Thread(target=work) for work in (record, record, record, record, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30.0)
    everything = monitor.get_all_model_stats().values()
    assert sum(each.total_requests for each in everything) == 4000
    assert sum(each.failed_requests for each in everything) == 400
    assert sum(each.in_flight for each in everything) == 0
    assert readings == sorted(readings)
    assert len(readings) == 50


def test_a_listener_hears_starts_and_ends_until_it_leaves() -> None:
    monitor = TrafficMonitor()
    heard: list[str] = []
    monitor.subscribe(heard.append)
    ask(monitor)
    assert heard == ["a", "a"]
    monitor.unsubscribe(heard.append)
    ask(monitor)
    assert heard == ["a", "a"]


def test_defect_30_the_package_gives_the_names_and_loads_nothing_before() -> None:
    code = (
        "import sys, roost; assert not [m for m in sys.modules if m.startswith('roost.')], sys.modules;"
        "from roost import TrafficMonitor; assert 'roost.sleep_manager' not in sys.modules;"
        "from roost import SleepManager, SleepConfig; import roost.sleep_manager as m;"
        "assert m.SleepConfig is SleepConfig and m.SleepManager is SleepManager"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env={**os.environ, "PYTHONPATH": str(SRC)})
    assert set(roost.__all__) <= set(dir(roost))
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = getattr(roost, "Nonsense")  # noqa: B009
