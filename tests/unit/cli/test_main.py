"""The skeleton: commands are known by name and imported only when used."""

import subprocess
import sys

import pytest

from roost.cli import COMMANDS, main
from tests.support.command_line import roost


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "sim-engine"])
def test_every_command_loads_and_explains_itself(name: str) -> None:
    ended = roost(name, "--help")
    assert (ended.code, ended.err) == (0, "")
    assert name in ended.out


def test_the_simulated_engine_takes_the_place_of_its_command() -> None:
    command = [sys.executable, "-m", "roost", "sim-engine", "--help"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "--served-model-name" in ended.stdout


def test_windows_ends_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(SystemExit, match="WSL"):
        main(["status"])
