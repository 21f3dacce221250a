"""The step executor against an engine that answers by a script, on the loop whose clock jumps."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import httpx
import pytest

from roost import clock
from roost.core.errors import StepError
from roost.core.request import Address
from roost.core.step import RETRY_PAUSE_MAX_S, Condition, Expect, Operation, Probe, Step, WaitUntil
from roost.host.calling import Caller
from roost.host.showing import Shower
from roost.host.steps import Executor, Sequence
from tests.support.virtual import run

Rule = int | str | dict[str, Any] | Exception | Callable[[], Awaitable[httpx.Response]]


class Engine:
    """Path -> what it answers, one after another; the last goes on. Unknown paths answer 200."""

    def __init__(self, **rules: list[Rule]) -> None:
        self.rules = {f"/{path}": list(rule) for path, rule in rules.items()}
        self.calls: list[str] = []
        self.times: list[float] = []
        self.running = self.most = 0

    async def answer(self, request: httpx.Request) -> httpx.Response:
        self.calls.append(f"{request.method} {request.url.path}")
        self.times.append(clock.now() - 1000.0)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            return await self._answer(request.url.path)
        finally:
            self.running -= 1

    async def _answer(self, path: str) -> httpx.Response:
        rules = self.rules.get(path, [200])
        rule = rules.pop(0) if len(rules) > 1 else rules[0]
        match rule:
            case int():
                return httpx.Response(rule)
            case str():
                return httpx.Response(200, text=rule)
            case dict():
                return httpx.Response(200, json=rule)
            case Exception():
                raise rule
            case _:
                return await rule()


class Played:
    """What a sequence came to."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.sequence = Sequence(operation=Operation.WAKE, level=2, started_at=0.0)
        self.error: StepError | None = None
        self.took = 0.0

    @property
    def said(self) -> str:
        assert self.error is not None, "it went well"
        return str(self.error)

    @property
    def records(self) -> list[tuple[int | None, int, str]]:
        return [(one.status, one.attempts, one.skipped) for one in self.sequence.records]


def play(engine: Engine, *steps: Step, level: int | None = 2, likely: int | None = 2, key: str | None = None) -> Played:
    played = Played(engine)
    played.sequence.level = level

    async def main() -> None:
        executor = Executor(
            who="a/0",
            caller=Caller(Address("127.0.0.1", 9), key, httpx.MockTransport(engine.answer)),
            probe=Probe(path="/health"),
            shower=Shower(key),
            rng=Random(1),
            likely_level=likely,
        )
        began = clock.now()
        try:
            await executor.perform(steps, played.sequence, 60.0)
        except StepError as error:
            played.error = error
        played.took = clock.now() - began

    run(main())
    return played


def slow(seconds: float, status: int = 200) -> Callable[[], Awaitable[httpx.Response]]:
    async def answer() -> httpx.Response:
        await asyncio.sleep(seconds)
        return httpx.Response(status)

    return answer


A, B, C = Step(path="/a"), Step(path="/b"), Step(path="/c")


# order and success


def test_e2_steps_run_one_after_another_in_the_order_of_the_list() -> None:
    engine = Engine(a=[slow(2)], b=[slow(1)])
    played = play(engine, A, B, C)
    assert (engine.calls, engine.times, engine.most) == (["POST /a", "POST /b", "POST /c"], [0, 2, 3], 1)
    assert [(one.name, one.duration_s) for one in played.sequence.records] == [
        ("POST /a", 2),
        ("POST /b", 1),
        ("POST /c", 0),
    ]


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_e3_any_2xx_is_success(status: int) -> None:
    assert play(Engine(a=[status]), A).error is None


@pytest.mark.parametrize("status", [301, 400, 404, 500, 503])
def test_e3_anything_else_is_an_error_with_operation_status_and_body(status: int) -> None:
    async def refuse() -> httpx.Response:
        return httpx.Response(status, text="no\n  memory " + "x" * 5000)

    said = play(Engine(a=[refuse]), A).said
    assert said.startswith(f"wake step 1 of 1: POST /a answered {status}: no memory xxx")
    assert len(said) < 400


def test_statuses_that_are_named_are_the_only_good_ones() -> None:
    either = Step(path="/a", expect_status=(200, 409))
    assert play(Engine(a=[409]), either).error is None
    assert "answered 204" in play(Engine(a=[204]), either).said


def test_e7_the_first_failing_step_ends_the_sequence() -> None:
    engine = Engine(b=[500])
    played = play(engine, A, B, C)
    assert engine.calls == ["POST /a", "POST /b"]
    assert [record[0] for record in played.records] == [200, 500]


def test_e8_the_error_says_operation_step_total_and_cause() -> None:
    played = play(Engine(b=[httpx.ConnectError("Connection refused")]), A, B, C)
    assert played.said == "wake step 2 of 3: POST /b could not connect to 127.0.0.1:9: Connection refused"
    assert played.error is not None
    assert (played.error.step, played.error.restart) == (2, False)
    assert played.records[-1] == (None, 1, "")


def test_e6_each_try_has_the_steps_whole_time() -> None:
    engine = Engine(a=[slow(4), slow(4), slow(2)])
    played = play(engine, Step(path="/a", timeout_s=3, retries=2, retry_delay_s=0))
    assert played.error is None
    assert played.took == pytest.approx(3 + 3 + 2)


def test_f5_a_step_ends_at_its_own_limit_whatever_the_others_have() -> None:
    engine = Engine(c=[slow(1000)])
    long = [Step(path=f"/{name}", timeout_s=300) for name in "ab"]
    played = play(engine, *long, Step(path="/c", timeout_s=7))
    assert played.said == "wake step 3 of 3: POST /c got no answer within 7 s"
    assert played.took == 7


# X1


def test_x1_neighbours_of_one_group_run_together() -> None:
    group = [Step(path=f"/{name}", group="true") for name in "abc"]
    engine = Engine(a=[slow(3)], b=[slow(2)], c=[slow(1)])
    played = play(engine, *group, Step(path="/d"))
    assert engine.most == 3
    assert engine.times == [0, 0, 0, 3]
    assert [one.name for one in played.sequence.records] == ["POST /a", "POST /b", "POST /c", "POST /d"]


def test_x1_groups_of_other_names_and_steps_of_none_stay_in_order() -> None:
    steps = [Step(path=f"/{name}", group=group) for name, group in zip("abcde", ("x", "x", "y", "", ""), strict=True)]
    engine = Engine(a=[slow(1)], b=[slow(1)], c=[slow(1)], d=[slow(1)], e=[slow(1)])
    play(engine, *steps)
    assert engine.times == [0, 0, 1, 2, 3]


def test_x1_all_of_a_group_end_before_one_of_them_fails_the_sequence() -> None:
    group = [Step(path=f"/{name}", group="g") for name in "abc"]
    engine = Engine(a=[slow(5)], b=[500], c=[slow(1, 503)])
    played = play(engine, *group, Step(path="/d"))
    assert played.took == 5
    assert played.said.startswith("wake step 2 of 4: POST /b answered 500")
    assert [record[0] for record in played.records] == [200, 500, 503]
    assert "POST /d" not in engine.calls


# X2


def test_x2_a_failed_call_is_tried_again_with_growing_pauses() -> None:
    engine = Engine(a=[500, httpx.ConnectError("refused"), 500, 200])
    played = play(engine, Step(path="/a", retries=5, retry_delay_s=2))
    assert played.error is None
    assert played.records == [(200, 4, "")]
    pauses = [later - earlier for earlier, later in zip(engine.times, engine.times[1:], strict=False)]
    for pause, wanted in zip(pauses, (2, 4, 8), strict=True):
        assert 0.75 * wanted <= pause <= 1.25 * wanted
    assert len({pause / wanted for pause, wanted in zip(pauses, (2, 4, 8), strict=True)}) == 3  # not all alike


def test_x2_tries_end_and_pauses_stay_within_a_bound() -> None:
    engine = Engine(a=[500])
    played = play(engine, Step(path="/a", retries=12, retry_delay_s=10))
    assert played.records == [(500, 13, "")]
    assert played.said.endswith("(tried 13 times)")
    assert max(b - a for a, b in zip(engine.times, engine.times[1:], strict=False)) <= RETRY_PAUSE_MAX_S * 1.25


def test_no_step_takes_longer_than_it_says_it_may() -> None:
    wait = WaitUntil(path="/models", status=418, timeout_s=30)
    step = Step(path="/a", timeout_s=3, retries=9, retry_delay_s=2, health_check_after=True, wait_until=wait)
    hanging = play(Engine(a=[slow(1000)]), step)
    waiting = play(Engine(a=[*[slow(1000)] * 9, 200], health=[*[503] * 10, 200]), step)
    assert hanging.took < waiting.took <= step.longest_s
    assert Step(path="/a", timeout_s=3).longest_s == 3


# X3


def told(condition: Condition, *, a: Rule = 200, level: int | None = 2, likely: int | None = 2) -> str:
    """Why step 2 was skipped; empty if it was done."""
    engine = Engine(a=[a])
    first = Step(path="/a", on_failure="continue")
    played = play(engine, first, Step(path="/b", condition=condition), C, level=level, likely=likely)
    assert played.error is None
    skipped = played.sequence.records[1].skipped
    assert ("POST /b" in engine.calls) is not bool(skipped)
    assert engine.calls[-1] == "POST /c"  # a skipped step counts as done
    return skipped


@pytest.mark.parametrize(("condition", "a", "why"), [
    (Condition(status=200), 200, ""),
    (Condition(status=500), 500, ""),
    (Condition(status=200), 500, "step 1 answered 500, not 200"),
    (Condition(status=200), httpx.ConnectError("x"), "step 1 has no answer to look at"),
    (Condition(at="s"), {"s": 0}, ""),
    (Condition(at="s", equals="x"), {"s": "x"}, ""),
    (Condition(at="s", equals="x"), {"s": "y"}, 'of step 1, s is "y", not "x"'),
    (Condition(at="s"), {"t": 1}, "of step 1, its body has no s"),
    (Condition(at="s"), "plain", "of step 1, its body is not JSON"),
    (Condition(step=1, status=200), 200, ""),
    (Condition(step=2, status=200), 200, "step 2 has no answer to look at"),
    (Condition(level=2), 200, ""),
    (Condition(level=1), 200, "the sleep level is 2, not 1"),
    (Condition(level=2, status=404), 200, "step 1 answered 200, not 404"),
])  # fmt: skip
def test_x3_a_condition_decides_whether_a_step_is_done(condition: Condition, a: Rule, why: str) -> None:
    assert told(condition, a=a) == why


def test_x3_a_sleep_of_unknown_level_is_taken_for_the_configured_one() -> None:
    assert told(Condition(level=2), level=None, likely=2) == ""
    assert told(Condition(level=2), level=1, likely=2) == "the sleep level is 1, not 2"
    assert told(Condition(level=2), level=None, likely=None) == "the sleep level is unknown, not 2"


def test_x3_what_was_skipped_meets_no_condition() -> None:
    never = Step(path="/b", condition=Condition(status=404))
    played = play(Engine(), A, never, Step(path="/c", condition=Condition(status=200)))
    assert [bool(one.skipped) for one in played.sequence.records] == [False, True, True]
    assert played.sequence.records[1].attempts == 0


def test_x3_conditions_in_a_group_look_at_what_lies_before_it() -> None:
    group = [
        Step(path="/b", group="g"),
        Step(path="/c", group="g", condition=Condition(status=200)),
        Step(path="/d", group="g", condition=Condition(step=2, status=200)),
    ]
    played = play(Engine(b=[404], a=[200]), A, *group[1:], Step(path="/e", condition=Condition(status=200)))
    assert [bool(one.skipped) for one in played.sequence.records] == [False, False, True, True]
    first = play(Engine(), Step(path="/a", condition=Condition(status=200)))
    assert first.sequence.records[0].skipped == "no step comes before it"


# X4


@pytest.mark.parametrize(("body", "expect", "wrong"), [
    ("all fine here", Expect(text="fine"), ""),
    ("all bad", Expect(text="fine"), 'its body does not hold "fine"'),
    ({"a": {"b": [1, 2]}}, Expect(at="a.b[1]", equals=2), ""),
    ({"a": 1}, Expect(at="a", equals=True), "a is 1, not true"),
    ({"a": True}, Expect(at="a", equals=True), ""),
    ({"a": None}, Expect(at="a"), ""),
    ({"a": 1}, Expect(at="b"), "its body has no b"),
    ("x", Expect(at="b"), "its body is not JSON"),
    ({"a": 1, "b": {"c": 2, "d": 3}}, Expect(json={"b": {"c": 2}}), ""),
    ({"a": [{"id": 1, "x": 0}, {"id": 2}]}, Expect(json={"a": [{"id": 2}]}), ""),
    ({"a": [1]}, Expect(json={"a": [2]}), 'its body does not hold {"a": [2]}'),
    ({"a": 1}, Expect(json={"a": {"b": 1}}), 'its body does not hold {"a": {"b": 1}}'),
    ({"a": 1}, Expect(text="a", at="a", equals=1, json={"a": 2}), 'its body does not hold {"a": 2}'),
])  # fmt: skip
def test_x4_the_body_must_hold_what_is_expected(body: Rule, expect: Expect, wrong: str) -> None:
    played = play(Engine(a=[body]), Step(path="/a", expect=expect))
    if not wrong:
        assert played.error is None
    else:
        assert f"POST /a answered 200, but {wrong}: " in played.said


def test_x4_a_wrong_body_is_tried_again_like_a_wrong_status() -> None:
    engine = Engine(a=[{"ok": False}, {"ok": True}])
    played = play(engine, Step(path="/a", expect=Expect(at="ok", equals=True), retries=1))
    assert played.records == [(200, 2, "")]


# X6 and waiting


def test_x6_health_is_asked_after_the_step_until_it_is_good() -> None:
    engine = Engine(health=[503, httpx.ConnectError("x"), 200])
    played = play(engine, Step(path="/a", health_check_after=True), B)
    assert engine.calls == ["POST /a", "GET /health", "GET /health", "GET /health", "POST /b"]
    assert played.sequence.records[0].duration_s == 0.5


def test_x6_health_that_does_not_come_fails_the_step_at_its_own_limit() -> None:
    engine = Engine(health=[503])
    played = play(engine, Step(path="/a", health_check_after=True, timeout_s=5), B)
    assert played.said == "wake step 1 of 2: POST /a went well, yet /health was not well within 5 s after it"
    assert played.took == 5


def test_a_wait_asks_until_the_answer_is_as_it_should_be() -> None:
    loaded = Expect(at="data[id=m].status.value", equals="loaded")
    models: list[Rule] = [{"data": []}, {"data": [{"id": "m", "status": {"value": "loading"}}]}]
    engine = Engine(models=[503, *models, {"data": [{"id": "m", "status": {"value": "loaded"}}]}])
    wait = WaitUntil(path="/models", expect=loaded, timeout_s=60, interval_s=2)
    played = play(engine, Step(path="/load", wait_until=wait), B)
    assert engine.calls == ["POST /load", *["GET /models"] * 4, "POST /b"]
    assert played.sequence.records[0].duration_s == 6
    assert played.records[0] == (200, 1, "")


@pytest.mark.parametrize(("rule", "said"), [
    ({"s": 1}, "s is 1, not 2"),
    (503, "it answered 503"),
    (httpx.ConnectError("refused"), "GET /models could not connect to 127.0.0.1:9: refused"),
    (slow(1000), "GET /models got no answer within 10 s"),
])  # fmt: skip
def test_a_wait_in_vain_ends_at_its_own_limit_and_says_what_it_saw_last(rule: Rule, said: str) -> None:
    wait = WaitUntil(path="/models", expect=Expect(at="s", equals=2), timeout_s=30)
    played = play(Engine(models=[rule]), Step(path="/load", wait_until=wait, timeout_s=5, retries=3))
    assert played.took == pytest.approx(30)
    assert (
        played.said == f"wake step 1 of 1: POST /load went well, yet GET /models was not as awaited within 30 s: {said}"
    )
    assert played.records[0] == (200, 1, "")  # the call went well: it is not made again


# X7, X8


def test_x8_a_step_that_may_fail_does_not_end_the_sequence(caplog: pytest.LogCaptureFixture) -> None:
    engine = Engine(a=[500])
    played = play(engine, Step(path="/a", on_failure="continue"), B)
    assert played.error is None
    assert engine.calls == ["POST /a", "POST /b"]
    assert played.sequence.records[0].error == "POST /a answered 500"
    assert "going on" in caplog.text


@pytest.mark.parametrize(("on_failure", "restart"), [("fail", False), ("restart", True)])
def test_x7_a_failing_step_says_what_is_to_follow(on_failure: Any, restart: bool) -> None:
    played = play(Engine(a=[500]), Step(path="/a", on_failure=on_failure), B)
    assert played.error is not None
    assert played.error.restart is restart


# what the log says


def test_g1_to_g5_the_log_tells_each_step(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="roost")
    play(Engine(), Step(path="/a?b=1"), Step(path="/c", method="PUT", json={"method": "reload"}))
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "a/0: wake: 2 steps (default timeout 60 s)"),
        ("DEBUG", "a/0: wake step 1 of 2: POST /a?b=1"),
        ("DEBUG", "a/0: wake step 1 of 2: POST /a?b=1 answered 200 in 0.000 s"),
        ("DEBUG", "a/0: wake step 2 of 2: PUT /c"),
        ("DEBUG", 'a/0: wake step 2 of 2: sends {"method":"reload"}'),
        ("DEBUG", "a/0: wake step 2 of 2: PUT /c answered 200 in 0.000 s"),
        ("INFO", "a/0: wake: 2 of 2 steps done"),
    ]


def test_keys_are_never_logged_nor_kept(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="roost")

    async def echo() -> httpx.Response:
        return httpx.Response(500, text="bad key sk-123")

    steps = (
        Step(path="/a?api_key=hush1&x=1", headers=(("X-Api-Key", "hush2"),), json={"token": "hush3", "k": "sk-123"}),
        Step(path="/b", text="sk-123 as text"),
        Step(path="/c"),
    )
    played = play(Engine(c=[echo]), *steps, key="sk-123")
    kept = f"{caplog.text} {played.said} {played.sequence.records}"
    assert "***" in kept
    assert "x=1" in kept
    for secret in ("hush1", "hush2", "hush3", "sk-123"):
        assert secret not in kept


def test_long_bodies_are_logged_short(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="roost")
    play(Engine(), Step(path="/a", text="x" * 10_000))
    assert "(10000 bytes)" in caplog.text
    assert len(caplog.text) < 2000
