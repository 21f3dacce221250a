"""docs/migrating.md names only commands, routes and keys that there are."""

import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from roost.admin.routes import ROWS
from roost.cli import COMMANDS
from roost.core.spec import RoostSpec
from tests.support.command_line import roost

PAGE = (Path(__file__).parents[3] / "docs" / "migrating.md").read_text()


def section(title: str) -> str:
    return PAGE.partition(f"### {title}\n")[2].partition("\n### ")[0]


def test_every_command_is_one() -> None:
    named = set(re.findall(r"(?:^    |`)roost ([a-z]+)", PAGE, re.MULTILINE))
    assert {"up", "down", "serve", "status", "bench", "selftest", "config", "logs"} <= named
    assert named <= set(COMMANDS)


@pytest.mark.parametrize("command", ["up", "serve", "selftest", "bench", "logs"])
def test_every_option_of_a_command_is_one(command: str) -> None:
    named = {
        option for line in re.findall(rf"roost {command}([^`#\n]*)", PAGE) for option in re.findall(r"--[a-z-]+", line)
    }
    known = set(re.findall(r"--[a-z-]+", roost(command, "--help").out))
    assert named <= known


def test_every_path_is_a_route() -> None:
    routes = {(row.method, re.sub(r"\{.*?\}", "{}", row.plain_path)) for row in ROWS}
    table = "\n".join(line for line in section("Endpoints").splitlines() if re.match(r"\| `(GET|POST) ", line))
    named = [
        (method, re.sub(r"\{.*?\}", "{}", path))
        for cell in re.findall(r"`(?:GET|POST) [^|]*`", table)
        for method in re.findall(r"GET|POST", cell)[:1]
        for path in re.findall(r"(/[^`, ]+)", cell)
    ]
    assert len(named) > 20
    assert [one for one in named if not one[1].startswith("/v1/") and one not in routes] == []


def native_keys() -> set[str]:
    found: set[str] = set()

    def walk(spec: Any, prefix: str) -> None:
        hints = get_type_hints(spec)
        for one in fields(spec):
            inner = [part for part in (hints[one.name], *get_args(hints[one.name])) if is_dataclass(part)]
            path = f"{prefix}{one.name}" + (".*" if one.name == "models" else "")
            found.update((path, one.name))
            for part in inner:
                walk(part, f"{path}." if one.name != "replicas" else "replicas[].")

    walk(RoostSpec, "")
    return found


def test_every_native_key_is_one() -> None:
    rows = [line.split("|") for line in section("Keys").splitlines() if line.startswith("| `")]
    named = {key for row in rows for key in re.findall(r"`([^`]+)`", row[2])}
    assert len(named) > 15
    assert named <= native_keys()
