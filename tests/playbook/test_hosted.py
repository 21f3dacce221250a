"""A replica inside a server that someone else runs, on the loop whose clock jumps: what its list means."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from roost import clock
from roost.core.events import Changed
from roost.core.hosted_spec import HostSpec, Preset
from roost.core.lifecycle import State
from roost.core.plan import Drain, Load, Stop
from roost.core.reason import Demand, Evict
from roost.core.request import Address
from roost.core.spec import ModelSpec
from roost.core.view import Goal
from roost.engines.registry import adapter_for
from roost.host.calling import Reach
from roost.host.hosted import HostedServer
from roost.host.keepers.hosted import HostedKeeper
from roost.host.output import Output
from roost.host.replica import Replica
from roost.host.setup import Setup
from roost.host.store import Store
from tests.support import virtual
from tests.support.stage import MACHINE

SPEC = ModelSpec(inside="box", url="http://box:9")
DEMAND = Demand(waiting=1, waited_s=0.0)


@dataclass
class Router:
    """llama-server's router mode on paper."""

    statuses: dict[str, dict[str, Any]] = field(default_factory=lambda: {"a": {"value": "unloaded"}})
    up: bool = True
    load_s: float = 3.0
    fails: bool = False
    sticks: bool = False
    """An unload has no effect."""
    looks: int = 0
    slow_s: float = 0.0

    async def answer(self, request: httpx.Request) -> httpx.Response:
        if not self.up:
            raise httpx.ConnectError("All connection attempts failed")
        await asyncio.sleep(self.slow_s)
        path = request.url.path
        if path == "/v1/models":
            self.looks += 1
            data = [{"id": name, "status": status} for name, status in self.statuses.items()]
            return httpx.Response(200, json={"data": data})
        if path == "/models/load":
            if "a" not in self.statuses:
                return httpx.Response(404, json={"error": {"message": "File Not Found"}})
            self.statuses["a"] = {"value": "loading"}
            asyncio.get_running_loop().call_later(self.load_s, self._loaded)
        elif path == "/models/unload" and not self.sticks:
            self.statuses["a"] = {"value": "unloaded"}
        return httpx.Response(200, json={"choices": [{"text": "eight", "finish_reason": "length"}]})

    def _loaded(self) -> None:
        self.statuses["a"] = {"value": "unloaded", "failed": True} if self.fails else {"value": "loaded"}


class Stage:
    def __init__(self, folder: Path, router: Router, **host: Any) -> None:
        self.router = router
        spec = HostSpec(url="http://box:9", **{"preset": Preset.LLAMA_SERVER, **host})
        self.server = HostedServer("box", spec, httpx.MockTransport(router.answer))
        self.server.caller.reach = self._reach  # type: ignore[method-assign]
        store = Store(folder)
        for name in ("logs", "replicas"):
            (folder / name).mkdir(exist_ok=True)
        self.replica = Replica(
            Setup(
                id="a/0",
                model="a",
                spec=SPEC,
                adapter=adapter_for(SPEC),
                keeper=HostedKeeper(self.server, SPEC, "a"),
                address=Address("box", 9),
                machine=MACHINE,
                store=store,
                output=Output(store.log_path("a/0")),
                cwd="/",
                transport=httpx.MockTransport(router.answer),
                server=self.server,
            )
        )
        self.began = clock.now()
        self.changes: list[Changed] = []
        self.replica.subscribe(self.changes.append)

    async def _reach(self) -> Reach:
        return Reach.ACCEPTS if self.router.up else Reach.REFUSES

    async def until(self, state: State, limit_s: float = 3600.0) -> None:
        moved = asyncio.Event()
        self.replica.subscribe(lambda _: moved.set())
        async with asyncio.timeout(limit_s):
            while self.replica.state is not state:
                moved.clear()
                await moved.wait()

    def load(self) -> None:
        self.replica.obey(Load(replica="a/0", reason=DEMAND))

    @property
    def script(self) -> list[str]:
        return [f"{c.at - self.began:.0f} {c.before} -> {c.after}: {c.event}" for c in self.changes]


def play(folder: Path, router: Router, story: Callable[[Stage], Awaitable[None]], **host: Any) -> Stage:
    async def whole() -> Stage:
        stage = Stage(folder, router, **host)
        await stage.server.start()
        await stage.replica.recover()
        await story(stage)
        await stage.replica.close(leave=True)
        await stage.server.close()
        return stage

    return virtual.run(whole())


def test_loaded_there_then_ready_then_unloaded(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        stage.load()
        await stage.until(State.READY)
        stage.replica.obey(Drain(replica="a/0", goal=Goal.STOPPED, reason=DEMAND))
        stage.replica.obey(Stop(replica="a/0", reason=Evict(for_model="b", idle_s=1)))
        await stage.until(State.COLD)

    stage = play(tmp_path, Router(), story)
    assert stage.script == [
        "0 cold -> starting: load",
        "3 starting -> ready: ready",
        "3 ready -> draining: drain",
        "3 draining -> stopping: stop",
        "3 stopping -> cold: gone",
    ]
    assert [str(done.operation) for done in stage.replica.sequences] == ["load", "unload"]


def test_one_that_is_loaded_at_the_start_is_ready(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await stage.until(State.READY, 1)

    assert play(tmp_path, Router({"a": {"value": "sleeping"}}), story).script == ["0 cold -> ready: ready"]


def test_unloaded_by_others_while_it_drains_ends_the_drain(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        stage.replica.obey(Drain(replica="a/0", goal=Goal.STOPPED, reason=DEMAND))
        stage.router.statuses["a"] = {"value": "unloaded"}
        await stage.until(State.COLD)

    stage = play(tmp_path, Router({"a": {"value": "loaded"}}), story)
    assert stage.script[1:] == [
        "0 ready -> draining: drain",
        "1 draining -> stopping: stop",
        "1 stopping -> cold: gone",
    ]


def test_a_replica_that_is_let_go_hears_of_no_further_look(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        await stage.replica.close(leave=True)
        stage.router.statuses["a"] = {"value": "loaded"}
        await stage.server.look()

    stage = play(tmp_path, Router(), story)
    assert stage.script == []


def test_a_load_that_the_list_calls_failed_backs_off(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        stage.load()
        await stage.until(State.BACKOFF)
        assert stage.replica.failures == 1
        assert 'lists "a" as failed' in stage.replica.last_error
        assert stage.replica.retry_at is not None

    play(tmp_path, Router(fails=True), story)


def test_a_load_that_does_not_end_is_given_up_and_undone(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        stage.load()
        await stage.until(State.BACKOFF)
        assert stage.router.statuses["a"] == {"value": "unloaded"}

    stage = play(tmp_path, Router(load_s=1e6), story, load_timeout=20.0)
    assert stage.script == [
        "0 cold -> starting: load",
        "20 starting -> stopping: timed out",
        "20 stopping -> backoff: gone after failure",
    ]
    assert "load_timeout" in stage.replica.last_error


def test_an_unload_without_effect_leaves_it_stuck_until_it_is_gone_after_all(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        stage.router.sticks = True
        stage.replica.obey(Stop(replica="a/0", reason=Evict(for_model="b", idle_s=1)))
        await stage.until(State.STUCK)
        stage.router.statuses["a"] = {"value": "unloaded"}
        await stage.until(State.COLD)

    stage = play(tmp_path, Router({"a": {"value": "loaded"}}), story)
    assert stage.script[2].startswith("60 stopping -> stuck")
    assert "still loaded in host" in stage.changes[2].reason


def test_a_server_that_is_down_uses_up_no_try(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        stage.router.up = False
        stage.load()
        await stage.until(State.BACKOFF)
        await asyncio.sleep(3600)
        assert stage.replica.state is State.BACKOFF
        assert stage.replica.failures == 0
        assert 'The server "box" at http://box:9 does not answer' in stage.replica.last_error
        stage.router.up = True
        await stage.until(State.COLD, 1)

    play(tmp_path, Router(), story)


def test_what_is_wrong_is_said_once_with_what_comes_next(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story(stage: Stage) -> None:
        await asyncio.sleep(5)
        stage.router.up = True
        await asyncio.sleep(2)
        stage.router.up = False
        await asyncio.sleep(5)

    play(tmp_path, Router(up=False), story)
    said = [record.getMessage() for record in caplog.records if "does not answer" in record.getMessage()]
    assert len(said) == 2
    assert said[0].endswith("until then requests for its models wait, each up to its queue.max_wait.")


def test_a_server_that_leaves_one_question_open_is_not_taken_for_another_kind() -> None:
    """It hung while it was asked, and went on in the middle."""
    open_s = [20.0]

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/props" and open_s:
            await asyncio.sleep(open_s.pop())
            raise httpx.ReadTimeout("")
        if request.url.path == "/props":
            return httpx.Response(200, json={"role": "router"})
        if request.url.path == "/v1/models":
            return httpx.Response(200, json={"data": [{"id": "a", "status": {"value": "unloaded"}}]})
        return httpx.Response(404)

    async def reach() -> Reach:
        return Reach.ACCEPTS

    async def main() -> None:
        server = HostedServer("box", HostSpec(url="http://box:9"), httpx.MockTransport(answer))
        server.caller.reach = reach  # type: ignore[method-assign]
        assert await server.look() is None
        listing = await server.look()
        assert listing is not None
        assert not listing.loaded
        assert server.way is not None
        assert server.way.preset is Preset.LLAMA_SERVER
        await server.close()

    virtual.run(main())


def test_a_server_that_dies_takes_its_models_with_it_and_comes_back_with_them(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        stage.router.up = False
        await stage.until(State.BACKOFF, 2)
        stage.router.up = True
        await stage.until(State.READY, 2)

    play(tmp_path, Router({"a": {"value": "loaded"}}), story)


def test_a_silent_server_is_given_the_time_of_lost_probes(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        stage.router.slow_s = 1e6
        await asyncio.sleep(20)
        assert stage.replica.state is State.READY
        await stage.until(State.BACKOFF)

    stage = play(tmp_path, Router({"a": {"value": "loaded"}}), story)
    assert 30 <= stage.changes[-1].at - stage.began < 50


def test_the_listing_is_never_older_than_a_second_and_asked_once_for_many(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        before = stage.router.looks
        await asyncio.sleep(10)
        assert 10 <= stage.router.looks - before <= 12
        looks = stage.router.looks
        await asyncio.gather(*(stage.server.look() for _ in range(20)))
        assert stage.router.looks == looks + 2  # the first one's, which was under way as the others came, and theirs

    play(tmp_path, Router(), story)


@pytest.mark.parametrize("since", [0.0, 1e9])
def test_an_answer_to_a_request_from_before_the_last_load_changes_nothing(tmp_path: Path, since: float) -> None:
    async def story(stage: Stage) -> None:
        assert stage.replica.denies(400, b'{"error": {"message": "model is not loaded"}}', since)
        assert stage.replica.state is (State.READY if since == 0.0 else State.COLD)
        assert not stage.replica.denies(400, b'{"error": {"message": "bad prompt"}}', since)

    play(tmp_path, Router({"a": {"value": "loaded"}}), story)


def test_an_unknown_name_says_so_and_is_tried_again_later(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        stage.load()
        await stage.until(State.BACKOFF)
        assert 'refuses to load "a"' in stage.replica.absent
        stage.router.statuses["a"] = {"value": "unloaded"}
        stage.load()
        await stage.until(State.READY)
        assert stage.replica.absent == ""

    play(tmp_path, Router({}), story)


def test_what_its_server_will_most_likely_refuse_is_known_from_the_list(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        told = []
        for names, up in ((), True), (("a",), True), (("b",), True), ((), False):
            stage.router.statuses, stage.router.up = {name: {"value": "unloaded"} for name in names}, up
            await stage.server.look()
            told.append(stage.replica.unlisted)
        assert told == [True, False, True, False]

    play(tmp_path, Router({}), story)


def test_a_list_of_what_is_loaded_says_nothing_of_what_could_be(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        assert stage.server.listing is not None
        assert not stage.replica.unlisted

    play(tmp_path, Router({}), story, preset=Preset.VLLM_LORA)


def test_a_fixed_server_is_only_looked_at(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        assert not stage.replica.owned
        assert 'does not list "a"' in stage.replica.absent
        stage.router.statuses["a"] = {}
        await stage.until(State.READY, 2)
        assert not stage.replica.owned

    play(tmp_path, Router({}), story, preset=Preset.FIXED)
