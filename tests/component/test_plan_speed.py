"""The benchmark of one round of the control plane still fits the parts that it joins."""

import asyncio
import sys
from pathlib import Path

from tests.support.live import live

BENCH = Path(__file__).parents[2] / "bench" / "plan_speed.py"
SMALL = ("--models", "12", "--devices", "4", "--awake", "4", "--asleep", "2", "--rounds", "3")


@live
async def test_a_small_fleet_is_measured() -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, str(BENCH), *SMALL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await child.communicate()
    assert b"12 models, 4 awake, 2 asleep, 4 devices" in said, said.decode()
