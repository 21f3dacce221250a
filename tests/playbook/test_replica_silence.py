"""Scripts of engines that say nothing after their sleep, and of what they say that nobody must read."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from roost.core.lifecycle import State
from roost.core.spec import EngineKind, ModelSpec, TimeoutsSpec
from roost.core.step_spec import StepSpec
from tests.playbook.test_replica import DRAIN, LOAD, WAKE, play, ready, sleep
from tests.support.stage import VLLM, Stage

KEY = "sk-verysecret"


def answering(stage: Stage, path: str, answer: Callable[[httpx.Request], Awaitable[httpx.Response]]) -> None:
    """Replace what the engine answers at one path."""
    usual = stage.engine.answer

    async def either(request: httpx.Request) -> httpx.Response:
        return await (answer if request.url.path == path else usual)(request)

    stage.replica.caller._transport = httpx.MockTransport(either)


# silence after a sleep


async def ordered_to_sleep(stage: Stage) -> None:
    await ready(stage)
    stage.replica.obey(DRAIN)
    stage.replica.obey(sleep(1))
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("silence", "said"),
    [
        (None, "it gives GET /is_sleeping no answer"),
        (503, "it answers GET /is_sleeping with 503"),
    ],
)
def test_silence_is_no_confirmation_of_a_sleep(tmp_path: Path, silence: int | None, said: str) -> None:
    async def story(stage: Stage) -> None:
        async def falls_silent(request: httpx.Request) -> httpx.Response:
            if silence is None:
                stage.engine.hang |= {"/is_sleeping", "/metrics", "/is_paused"}
            else:
                stage.engine.refuse["/is_sleeping"] = silence
            return httpx.Response(200)

        answering(stage, "/sleep", falls_silent)
        await ordered_to_sleep(stage)
        await stage.until_any(State.ASLEEP, State.COLD)

    stage = play(tmp_path, story)
    assert stage.replica.state is State.COLD
    assert stage.replica.last_error == f"the sleep failed: {said} 5 s after its sleep"


def test_an_engine_that_answers_late_has_slept_all_the_same(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await ordered_to_sleep(stage)
        stage.engine.refuse["/is_sleeping"] = 503
        await stage.seconds(3)
        assert stage.replica.state is State.SUSPENDING
        stage.engine.refuse.clear()
        await stage.until(State.ASLEEP)

    play(tmp_path, story)


def test_an_engine_without_the_endpoint_cannot_tell_and_is_believed(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        stage.engine.dev_mode = False
        await ordered_to_sleep(stage)
        await stage.until(State.ASLEEP)

    steps = {"sleep_steps": (StepSpec(endpoint="/sleep"),), "wake_steps": (StepSpec(endpoint="/wake_up"),)}
    play(tmp_path, story, replace(VLLM, **steps))  # type: ignore[arg-type]


def test_a_wake_of_llama_server_that_hangs_ends_at_the_limit_of_a_wake(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await ready(stage)
        stage.engine.body["/props"] = {"is_sleeping": True}
        await stage.until(State.ASLEEP)
        stage.engine.hang.add("/v1/chat/completions")
        stage.replica.obey(WAKE)
        woken_at = stage.replica.since
        await stage.until(State.STOPPING)
        assert stage.replica.since - woken_at == 20

    spec = ModelSpec(engine=EngineKind.LLAMACPP, command="serve", timeouts=TimeoutsSpec(wake=20.0))
    assert "got no answer within 20 s" in play(tmp_path, story, spec).replica.last_error


# what nobody must read


@pytest.mark.parametrize("padding", [0, 280])
@pytest.mark.parametrize("status", [401, 200])
def test_a_key_that_the_engine_repeats_to_its_verifying_request_stays_hidden(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, padding: int, status: int
) -> None:
    async def refuse(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, text=f"{'x' * padding}Incorrect: {request.headers['authorization']}")

    async def story(stage: Stage) -> None:
        answering(stage, "/v1/completions", refuse)
        await stage.replica.recover()
        stage.replica.obey(LOAD)
        await stage.until(State.BACKOFF)

    with caplog.at_level(logging.DEBUG, "roost"):
        replica = play(tmp_path, story, replace(VLLM, api_key=KEY)).replica
    said = (replica.last_error, *(record.error for record in replica.steps), *caplog.messages)
    assert "Incorrect: " in replica.last_error
    assert "sk-v" not in "".join(said)


def test_a_key_in_what_the_connection_says_stays_hidden(tmp_path: Path) -> None:
    """A key with a line break in it, which no header can hold."""

    async def illegal(request: httpx.Request) -> httpx.Response:
        raise httpx.LocalProtocolError(f"Illegal header value {request.headers['authorization']!r}")

    async def story(stage: Stage) -> None:
        answering(stage, "/v1/completions", illegal)
        await stage.replica.recover()
        stage.replica.obey(LOAD)
        await stage.until(State.BACKOFF)

    replica = play(tmp_path, story, replace(VLLM, api_key=KEY)).replica
    assert "Illegal header value 'Bearer ***'" in replica.last_error


def test_a_key_in_the_last_lines_of_an_engine_that_ended_stays_hidden(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await ready(stage)
        stage.keeper.die(f"The engine ended with exit status 1. Its last line: Namespace(api_key={KEY!r})")

    assert KEY not in play(tmp_path, story, replace(VLLM, api_key=KEY)).replica.last_error


def test_a_secret_header_of_a_step_that_its_answer_repeats_stays_hidden(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def refuse(request: httpx.Request) -> httpx.Response:
        return httpx.Response(403, text=f"who is {request.headers['x-token']}?")

    async def story(stage: Stage) -> None:
        answering(stage, "/sleep", refuse)
        await ordered_to_sleep(stage)
        await stage.until(State.COLD)

    steps = (StepSpec(endpoint="/sleep", headers={"X-Token": "tok-12345"}),)
    spec = ModelSpec(engine=EngineKind.COMMAND, command="serve", sleep_steps=steps, wake_steps=steps)
    with caplog.at_level(logging.DEBUG, "roost"):
        replica = play(tmp_path, story, spec).replica
    assert "who is ***?" in replica.last_error
    assert "tok-12345" not in "".join(caplog.messages)
