"""`roost bench --config` over a whole roost: side by side, who slept, reports, pictures, sessions."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from tests.support.live import live
from tests.support.roost import RunningRoost, running_roost
from tests.support.sim import SRC
from tests.support.tmux import needs_tmux, own_tmux, tmux

TWO = "models:\n  org/a.1: {{engine: simulated}}\n  b: {{engine: simulated, sleep_after: 300ms}}\n"


def config(roost: RunningRoost, folder: Path, key: str = "") -> Path:
    """The config of the running one, with its port."""
    file = folder / "bench.yaml"
    file.write_text(f"server: {{port: {roost.app.port}{key}}}\n" + TWO.format())
    return file


async def bench(*words: str, env: dict[str, str] | None = None) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "roost", "bench", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(SRC), "COLUMNS": "120", "NO_COLOR": "1", **(env or {})},
    )
    async with asyncio.timeout(60):
        out, errors = await process.communicate()
    return process.returncode, out.decode(), errors.decode()


@live
async def test_every_model_is_loaded_through_the_router_and_its_sleep_is_seen(tmp_path: Path) -> None:
    async with running_roost(TWO.format(), tmp_path) as roost:
        file, report = config(roost, tmp_path), tmp_path / "A.json"
        words = ("--config", str(file), "--fixed-rate", "1", "--requests", "2", "--max-tokens", "3")
        picture = tmp_path / "p.svg"
        status, out, errors = await bench(*words, "--json", str(report), "--plot", str(picture))
        assert status == 0, errors
        facts = json.loads(report.read_text())
        assert {name: figures["answered"] for name, figures in facts["models"].items()} == {"org/a.1": 2, "b": 2}
        sleeper, awake = facts["models"]["b"], facts["models"]["org/a.1"]
        # The second request of b comes a second after the first: it has gone to sleep by then.
        assert sleeper["wakes_met"] >= 1
        assert 0.2 < sleeper["asleep_s"] < 2.0
        assert (awake["wakes_met"], awake["asleep_s"]) == (0, 0.0)  # loaded for the warm-up
        assert facts["plan"]["fixed_rate"] == 1.0
        assert "wakes" in out
        assert picture.read_text().startswith("<?xml")
        status, out, errors = await bench("--compare", str(report), str(report))
        assert status == 0, errors
        assert "1.00" in out


@live
async def test_a_key_of_the_config_is_used_and_never_written(tmp_path: Path) -> None:
    keys = ", keys: [{name: k, key: sesame, scopes: [admin]}]"
    text = f"server: {{{keys[2:]}}}\n" + TWO.format()
    async with running_roost(text, tmp_path) as roost:
        file = config(roost, tmp_path, keys)
        words = ("--config", str(file), "--model", "b", "--requests", "1", "--max-tokens", "1", "--json", "-")
        status, out, errors = await bench(*words)
        assert status == 0, errors
        assert list(json.loads(out)["models"]) == ["b"]
        assert "sesame" not in out + errors


@live
async def test_a_ramp_and_a_trace_send_what_they_say(tmp_path: Path) -> None:
    async with running_roost(TWO.format(), tmp_path) as roost:
        file, trace = config(roost, tmp_path), tmp_path / "t.csv"
        status, out, _ = await bench("--config", str(file), "--ramp", "2", "--max-tokens", "1", "--json", "-")
        assert status == 0
        assert [figures["answered"] for figures in json.loads(out)["models"].values()] == [4, 4]
        begin = "2023-11-16 18:15:46"
        trace.write_text(f"TIMESTAMP,ContextTokens,GeneratedTokens\n{begin}.1,9,2\n{begin}.2,9,5\n{begin}.3,9,3\n")
        status, out, _ = await bench("--config", str(file), "--trace", str(trace), "--json", "-")
        assert status == 0
        assert [figures["tokens_out"] for figures in json.loads(out)["models"].values()] == [5, 5]


@live
async def test_what_cannot_be_done_is_said(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("server: {port: 1}\n" + TWO.format())
    for words, says in (
        (("--config", str(file)), "Cannot measure"),
        (("--config", str(file), "--model", "x"), "Cannot measure"),
        (("--config", str(tmp_path / "no.yaml")), "cannot be read"),
        (("--tmux",), "goes with --config"),
        (("--plot", "p.gif"), "is no picture"),
        (("--compare", str(file), str(file)), "cannot be read as a report"),
    ):
        status, out, errors = await bench(*words)
        assert status == 2
        assert says in out + errors


@live
async def test_pictures_can_be_png(tmp_path: Path) -> None:
    async with running_roost(TWO.format(), tmp_path) as roost:
        picture = tmp_path / "p.png"
        words = ("--url", roost.url, "--requests", "20", "--max-tokens", "2", "--plot", str(picture))
        status, _, errors = await bench(*words)
        assert status == 0, errors
        assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@needs_tmux
@live
async def test_a_session_for_each_model_that_stays_and_can_be_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TMUX", raising=False)
    with own_tmux() as variables:
        monkeypatch.setenv("TMUX_TMPDIR", variables["TMUX_TMPDIR"])
        env = {"XDG_STATE_HOME": str(tmp_path / "state")}
        async with running_roost(TWO.format(), tmp_path) as roost:
            words = ("--config", str(config(roost, tmp_path)), "--requests", "3", "--max-tokens", "2", "--tmux")
            for _ in range(2):
                status, out, errors = await bench(*words, env=env)
                assert status == 0, errors
                names = [line.rpartition(" ")[2] for line in out.splitlines()]
                assert names[1] == "benchmark-b"
                assert names[0].startswith("benchmark-org-a-1-")
                async with asyncio.timeout(30):
                    while tmux("list-panes", "-a", "-F", "#{pane_dead}").split() != ["1", "1"]:
                        await asyncio.sleep(0)
                seen = tmux("capture-pane", "-p", "-S", "-", "-t", "=benchmark-b:")
                assert "TTFT" in seen
