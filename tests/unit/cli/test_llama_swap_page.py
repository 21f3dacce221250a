"""docs/llama-swap.md names every key of the form, and only keys, commands and routes that there are."""

import re
from pathlib import Path

import pytest

from roost.admin.routes import ROWS
from roost.cli import COMMANDS
from roost.cli.config_cmd import idle_lines
from roost.config.dialects.llama_swap_keys import ADDITIONS, MODEL, TOP
from tests.unit.cli.test_migrating import native_keys
from tests.unit.config.reading import errors_of, problems_of, read, spec_of

PAGE = (Path(__file__).parents[3] / "docs" / "llama-swap.md").read_text()
ONE = "models:\n  a:\n    cmd: p ${PORT}\n"


def section(title: str) -> str:
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


def words(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def rows(title: str) -> list[list[str]]:
    return [line.split("|")[1:-1] for line in section(title).splitlines() if line.startswith("| `")]


def test_the_tables_have_every_key() -> None:
    assert {key for row in rows("Keys of the file") for key in words(row[0])} == set(TOP)
    assert {key for row in rows("Keys of a model") for key in words(row[0])} == set(MODEL) - set(ADDITIONS)
    sentence = section("Keys of a model").partition("as they are:")[2].partition("\n[")[0]
    assert set(words(sentence)) == set(ADDITIONS)


def test_what_they_become_are_native_keys() -> None:
    named = {key for title in ("Keys of the file", "Keys of a model") for row in rows(title) for key in words(row[1])}
    assert len(named) > 25
    assert {key.rpartition(".")[2] for key in named} <= native_keys()


def test_every_command_and_route_is_one() -> None:
    named = set(re.findall(r"(?:^    |`)roost ([a-z]+)", PAGE, re.MULTILINE))
    assert {"config", "up"} <= named <= set(COMMANDS)
    routes = {row.plain_path for row in ROWS}
    asked = [path for path in words(section("Endpoints").partition("answer as there")[0]) if "upstream" not in path]
    assert len(asked) == 7
    assert [path for path in asked if path not in routes] == []


def test_the_shown_output_is_what_check_prints() -> None:
    lists = "sleepEndpoints: [{endpoint: /sleep}], wakeEndpoints: [{endpoint: /wake_up}]"
    spec = spec_of(f"""
        models:
          chat: {{cmd: "p ${{PORT}}", ttl: 60}}
          code: {{cmd: "p ${{PORT}}", ttl: 30, unloadAfter: 600, {lists}}}
          embed: {{cmd: "p ${{PORT}}"}}
        """)
    for line in idle_lines(spec):
        assert f"    {line}\n" in PAGE


def test_what_is_of_no_use_warns() -> None:
    top, _, rest = section("What is of no use here").partition("; of a model")
    for key in words(top):
        assert [" warning: " in one for one in problems_of(f"{key}: x\n{ONE}")] == [True], key
    assert words(rest)[:2] == ["compat", "healthCheckTimeout"]
    for key in words(rest)[:2]:
        assert [" warning: " in one for one in problems_of(f"{ONE}    {key}: 5\n")] == [True], key


@pytest.mark.parametrize("keys", [words(row[0])[0] for row in rows("What is an error")])
def test_what_is_an_error_is_one(keys: str) -> None:
    if keys == "sleepEndpoint":
        assert "docs/sleep.md" in errors_of(f"{ONE}    {keys}: /sleep\n")[0]
        return
    *above, last = keys.split(".")
    text = "".join(f"{'  ' * depth}{key}:\n" for depth, key in enumerate(above)) + f"{'  ' * len(above)}{last}: "
    (error,) = errors_of(f"{text}{'{a: 1}' if last == 'priority' else '[x]' if 'Paths' in last else 'x'}\n{ONE}")
    assert keys.rpartition(".")[2] in error


def test_it_listens_where_the_page_says() -> None:
    assert spec_of(ONE).server.host == "127.0.0.1" and spec_of(ONE).server.port == 8080
    assert spec_of(ONE).models["a"].cwd == "/etc/roost"
    everywhere = "server: {host: 0.0.0.0}\n" + ONE
    assert any("no key protects it" in error for error in errors_of(everywhere))
    assert spec_of("apiKeys: [k]\n" + everywhere).server.host == "0.0.0.0"
    two = ONE + "    proxy: http://127.0.0.1:99\n  b: {cmd: p, proxy: 'http://127.0.0.1:99'}\n"
    assert read(two).spec is not None  # one runs at a time
    assert any("port 99 is already" in error for error in errors_of("memory: {max_resident: 2}\n" + two))


def test_the_forms_of_a_condition_are_those() -> None:
    forms = words(section("Sleep and wake").partition("fixed forms:")[2].partition("\n\n")[0])
    forms = [form.replace("PLACE", "a.b").replace("VALUE", "1") for form in forms if "==" in form]
    assert len(forms) == 3
    for form in forms:
        entry = f'{{endpoint: /wake_up, if: "{form}"}}'
        lists = f"    sleepEndpoints: [{{endpoint: /sleep}}]\n    wakeEndpoints: [{{endpoint: /x}}, {entry}]\n"
        assert read(ONE + lists).spec is not None, form
