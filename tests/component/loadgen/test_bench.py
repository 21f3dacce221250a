"""The load generator and `roost bench` against live simulated engines."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from roost.core.spec import Task
from roost.loadgen.arrivals import Closed, Poisson
from roost.loadgen.plan import LoadPlan, Target
from roost.loadgen.report import Sample
from roost.loadgen.run import Watch, run
from tests.support.live import live
from tests.support.sim import SRC, Sim, sim_engine

A = (Target(name="a"),)


def _plan(sim: Sim, **fields: Any) -> LoadPlan:
    plan: dict[str, Any] = {"url": sim.url, "targets": A, "arrivals": Closed(4), "requests": 20, "max_tokens": 5}
    return LoadPlan(**{**plan, **fields})


@live
async def test_a_closed_loop_sends_exactly_so_many_and_measures_them() -> None:
    async with sim_engine("--token-delay", "2ms", "--first-token-delay", "5ms", model="a") as sim:
        report = await run(_plan(sim, warm_up=3))
        stats = await sim.stats()
    figures = report.total
    assert stats["requests"] == 23
    assert (figures.requests, figures.answered, figures.tokens_out) == (20, 20, 100)
    assert figures.ttft_s is not None and figures.itl_s is not None and figures.tpot_s is not None
    assert figures.e2e_s is not None
    assert (figures.ttft_s.count, figures.itl_s.count) == (20, 80)
    assert figures.ttft_s.p50 >= 0.005
    assert figures.itl_s.mean >= 0.0015
    assert figures.e2e_s.p50 >= 0.012
    assert figures.requests_per_s == pytest.approx(20 / report.duration_s)


@live
async def test_connections_are_kept() -> None:
    async with sim_engine(model="a") as sim:
        await run(_plan(sim, arrivals=Closed(4), requests=200, stream=False))
        assert (await sim.stats())["connections"] <= 4 + 1


@live
async def test_an_open_loop_keeps_its_rate_whatever_the_engine_does() -> None:
    async with sim_engine("--first-token-delay", "100ms", model="a") as sim:
        report = await run(_plan(sim, arrivals=Poisson(200.0), requests=60, max_tokens=1))
    assert report.total.answered == 60
    # One after the other would take 6 s; at 200 a second all are out after about 0.3 s.
    assert report.duration_s < 3


@live
async def test_an_open_loop_is_bounded() -> None:
    async with sim_engine("--first-token-delay", "1h", model="a") as sim:
        stop = asyncio.Event()
        unsent = 0

        def heard(sample: Sample) -> None:
            nonlocal unsent
            unsent += sample.error == "not sent"
            if unsent == 10:
                stop.set()

        plan = _plan(sim, arrivals=Poisson(2000.0), requests=None, duration_s=60.0, max_in_flight=5)
        report = await run(plan, stop=stop, watch=Watch(heard))
    assert (report.cut, report.interrupted) == (5, True)
    assert report.total.errors == {"not sent": report.total.requests}


@live
async def test_several_models_get_their_shares_and_tasks() -> None:
    async with sim_engine("--served-model-name", "a", "b", "e", "r", model="m") as sim:
        targets = (
            Target(name="a", weight=3),
            Target(name="b"),
            Target(name="e", task=Task.EMBED),
            Target(name="r", task=Task.RERANK),
        )
        report = await run(_plan(sim, targets=targets, requests=120))
        again = await run(_plan(sim, targets=targets, requests=120))
        paths = (await sim.stats())["paths"]
    counts = {name: figures.answered for name, figures in report.models.items()}
    assert sum(counts.values()) == 120
    assert counts["a"] > 1.5 * counts["b"]
    assert counts == {name: figures.answered for name, figures in again.models.items()}
    assert paths["/v1/embeddings"] == 2 * counts["e"] and paths["/v1/rerank"] == 2 * counts["r"]
    assert report.models["e"].ttft_s is None


@live
async def test_errors_are_counted_by_kind() -> None:
    async with sim_engine("--error-rate", "0.5", model="a") as sim:
        targets = (*A, Target(name="nobody"))
        report = await run(_plan(sim, targets=targets, requests=40, arrivals=Closed(1)))
    assert set(report.total.errors) == {"HTTP 404", "HTTP 500"}
    assert report.total.answered + sum(report.total.errors.values()) == 40
    async with sim_engine("--crash-mid-stream", "3", model="a") as sim:
        report = await run(_plan(sim, requests=2, arrivals=Closed(1)))
    # The second meets a port that is closed, or one that closes under it.
    assert report.total.errors.pop("answer broke off") == 1
    assert report.total.errors in ({"cannot connect": 1}, {"no answer": 1})


@live
async def test_an_answer_that_never_comes_times_out() -> None:
    async with sim_engine("--hang", "inference", model="a") as sim:
        report = await run(_plan(sim, requests=2, timeout_s=0.05))
        assert report.total.errors == {"timed out": 2}
        await sim.until(aborted=2)


@live
async def test_stop_cuts_what_runs_and_reports_what_was() -> None:
    async with sim_engine(model="a") as sim:
        stop = asyncio.Event()
        seen: list[Sample] = []

        def heard(sample: Sample) -> None:
            seen.append(sample)
            if len(seen) == 5:
                stop.set()

        report = await run(_plan(sim, requests=None, duration_s=3600.0), stop=stop, watch=Watch(heard))
        await sim.until(running=0)
    assert report.interrupted and report.total.answered >= 5


@live
async def test_the_duration_ends_the_sending_and_what_runs_may_end() -> None:
    async with sim_engine("--first-token-delay", "20ms", model="a") as sim:
        report = await run(_plan(sim, requests=None, duration_s=0.1))
    assert report.total.answered >= 4 and report.cut == 0 and not report.interrupted
    assert 0.02 < report.duration_s < 5


@pytest.mark.parametrize("wrong", [["--duration", "soon"], ["--rate", "1", "--concurrency", "1", "--model", "a"]])
def test_the_command_says_what_is_wrong_with_its_options(wrong: list[str]) -> None:
    @live
    async def main() -> None:
        async with sim_engine(model="a") as sim:
            process = await _process("--url", sim.url, *wrong)
            said = b"".join(await process.communicate())
            assert process.returncode == 2
            assert b"write it like" in said or b"exclude each other" in said

    main()


@live
async def test_the_command_needs_a_server() -> None:
    process = await _process("--url", "http://127.0.0.1:1", "--requests", "1")
    out, _ = await process.communicate()
    assert process.returncode == 2
    assert b"Cannot measure http://127.0.0.1:1: cannot connect" in out


SCRIPT = "import typer; from roost.cli.bench_cmd import bench; typer.run(bench)"


async def _process(*words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SCRIPT,
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(SRC), "COLUMNS": "100", "NO_COLOR": "1"},
    )


@live
async def test_the_command_finds_the_models_and_prints_a_table_and_json(tmp_path: Path) -> None:
    async with sim_engine("--served-model-name", "a", "b", "--api-key", "k", model="m") as sim:
        file = tmp_path / "report.json"
        words = ("--url", sim.url, "--requests", "10", "--max-tokens", "3", "--api-key", "k", "--json", str(file))
        process = await _process(*words)
        out, errors = await process.communicate()
        assert process.returncode == 0, errors
        report = json.loads(file.read_text())
        assert set(report["models"]) == {"a", "b"} and report["total"]["answered"] == 10
        for word in (b"TTFT", b"req/s", b"all", b"p50/p99"):
            assert word in out
        process = await _process("--url", sim.url, "--model", "a=2", "--requests", "2", "--json", "-")
        out, errors = await process.communicate()
        assert process.returncode == 1
        assert json.loads(out)["total"]["errors"] == {"HTTP 401": 2}


@live
async def test_ctrl_c_prints_what_was_measured_so_far() -> None:
    async with sim_engine(model="a") as sim:
        process = await _process("--url", sim.url, "--duration", "1h", "--json", "-")
        async with asyncio.timeout(30):
            while (await sim.stats())["answered"] < 20:
                pass
        await sim.set(hang="inference")
        process.send_signal(signal.SIGINT)
        out, errors = await process.communicate()
        assert process.returncode == 130
        report = json.loads(out)
        assert report["interrupted"] and report["total"]["answered"] >= 10
        assert b"interrupted" in errors
