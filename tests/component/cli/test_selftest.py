"""`roost selftest` against a real router over simulated engines: it passes, tells what breaks, leaves no trace."""

import asyncio
from pathlib import Path

import pytest

from roost.core.lifecycle import State
from tests.support.command_line import Ended, beside
from tests.support.live import live
from tests.support.roost import RunningRoost, running_roost

KEYS = """
server:
  keys:
    - {name: all, key: k-all, scopes: [admin]}
    - {name: look, key: k-look, scopes: [infer, read]}
    - {name: ask, key: k-ask, scopes: [infer]}
    - {name: part, key: k-part, scopes: [admin], models: [b]}
"""
MODELS = """
models:
  org/a: {engine: simulated, sleep_after: never, preload: true}
  b: {engine: simulated, task: embed}
"""


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ROOST_URL", "ROOST_API_KEY"):
        monkeypatch.delenv(name, raising=False)


async def selftest(roost: RunningRoost, *more: str) -> Ended:
    return await beside("selftest", roost.url, *more)


def marked(ended: Ended, mark: str) -> list[str]:
    return [line for line in ended.out.splitlines() if line.startswith(f"{mark} ")]


@live
async def test_a_state_directory_names_the_router_and_goes_before_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROOST_URL", "http://127.0.0.1:1")
    async with running_roost("models: {a: {engine: simulated}}", tmp_path):
        ended = await beside("selftest", "--state-dir", str(tmp_path / "state"))
        assert ended.code == 0, ended.out + ended.err
    gone = await beside("selftest", "--state-dir", str(tmp_path / "state"))
    assert (gone.code, "No roost runs on" in gone.err) == (2, True)


@live
async def test_it_passes_and_leaves_each_model_as_it_was(tmp_path: Path) -> None:
    more = "  r: {engine: simulated, task: rerank}\n  s: {engine: simulated}\n"
    async with running_roost(MODELS + more, tmp_path) as roost:
        await roost.until("org/a", State.READY)
        await roost.chat("s")
        assert (await roost.client.post("/api/v1/models/s/sleep")).status_code == 200
        before = {name: roost.state(name) for name in ("org/a", "b", "r", "s")}
        assert list(before.values()) == [State.READY, State.COLD, State.COLD, State.ASLEEP]
        ended = await selftest(roost)
        assert (ended.code, marked(ended, "✗"), marked(ended, "-")) == (0, [], []), ended.out
        assert {name: roost.state(name) for name in before} == before
        again = await selftest(roost)
        assert (again.code, marked(again, "✗")) == (0, []), again.out


@live
async def test_models_that_must_take_turns_end_as_they_began(tmp_path: Path) -> None:
    text = "memory: {max_resident: 1}" + MODELS
    async with running_roost(text, tmp_path) as roost:
        await roost.until("org/a", State.READY)
        ended = await selftest(roost)
        assert (ended.code, marked(ended, "✗")) == (0, []), ended.out
        assert (roost.state("org/a"), roost.state("b")) == (State.READY, State.COLD)


@live
async def test_an_engine_that_will_not_sleep_is_no_failure_but_one_that_breaks_is(tmp_path: Path) -> None:
    text = """
models:
  idle: {engine: simulated, args: ["--kind llamacpp-idle"], preload: true}
  deaf: {engine: simulated, args: ["--refuse-sleep"], preload: true}
"""
    async with running_roost(text, tmp_path) as roost:
        ended = await selftest(roost, "--model", "idle")
        assert (ended.code, marked(ended, "✗")) == (0, []), ended.out
        (skipped,) = marked(ended, "-")
        assert skipped.startswith("- idle: sleep: skipped: HTTP 409: ")
        ended = await selftest(roost, "--model", "deaf")
        assert ended.code == 1
        assert "✗ deaf: sleep: expected asleep by order" in ended.out
        assert not any("idle" in line for line in marked(ended, "✗"))


@pytest.mark.parametrize(
    ("key", "skipped"),
    [
        ("k-all", set()),
        ("k-look", {"org/a: wake", "b: wake", "unknown model"}),
        ("k-ask", {"statistics", "sleep status", "org/a: wake"}),
    ],
)
def test_a_key_tests_what_it_may(tmp_path: Path, key: str, skipped: set[str]) -> None:
    @live
    async def run() -> None:
        async with running_roost(KEYS + MODELS, tmp_path) as roost:
            await roost.until("org/a", State.READY)
            ended = await selftest(roost, "--api-key", key)
            assert (ended.code, marked(ended, "✗")) == (0, []), ended.out
            told = {line[2:].partition(": skipped:")[0] for line in marked(ended, "-")}
            assert skipped <= told if skipped else told == set()

    run()


@live
async def test_a_wrong_key_is_a_failure_that_says_what_to_give(tmp_path: Path) -> None:
    async with running_roost(KEYS + MODELS, tmp_path) as roost:
        ended = await selftest(roost, "--api-key", "wrong")
        assert ended.code == 1
        (line,) = marked(ended, "✗")
        assert "HTTP 401" in line
        assert "--api-key" in line


@live
async def test_a_key_of_one_model_tests_that_one(tmp_path: Path) -> None:
    async with running_roost(KEYS + MODELS, tmp_path) as roost:
        ended = await selftest(roost, "--api-key", "k-part")
        assert (ended.code, marked(ended, "✗")) == (0, []), ended.out
        assert "org/a" not in ended.out


@live
async def test_requests_of_others_do_not_spoil_the_counts(tmp_path: Path) -> None:
    async with running_roost(MODELS, tmp_path) as roost:
        await roost.until("org/a", State.READY)
        done = asyncio.Event()

        async def others() -> None:
            while not done.is_set():
                assert (await roost.chat("org/a")).status_code == 200

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(others())
            ended = await selftest(roost, "--model", "org/a")
            done.set()
        (counts,) = [line for line in ended.out.splitlines() if "org/a: counts" in line]
        assert counts.startswith("✓ ")
        assert "of others" in counts


@live
async def test_what_answers_but_is_no_roost_fails(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        ended = await beside("selftest", f"http://127.0.0.1:{port}")
    assert ended.code == 1
    assert "✗ health: expected status" in ended.out
    assert "✗ models: expected" in ended.out
