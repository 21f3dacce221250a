"""`roost config`: what it prints where, and its exit status."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from roost.cli.config_cmd import build_config_app
from roost.core.problems import Problem
from roost.core.spec import RoostSpec

GOOD = "models:\n  a:\n    engine: simulated\n    api_key: geheim\n"


def refuse_a(spec: RoostSpec) -> list[Problem]:
    return (
        [Problem(path=("models", "a", "args", 3), message="is refused", severity="error")] if "a" in spec.models else []
    )


def run(*words: str, stdin: str | bytes | None = None, strict: bool = False) -> Result:
    app = build_config_app(refuse_a) if strict else build_config_app()
    return CliRunner().invoke(app, list(words), input=stdin)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "roost.yaml"
    path.write_text(GOOD)
    return path


def test_check_of_a_good_file(file: Path) -> None:
    result = run("check", str(file))
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{file}: fine; 1 model: a\n", "")


def test_check_prints_every_problem_to_stderr(file: Path) -> None:
    file.write_text("server: {prot: 1}\nmodels: {a: {engine: x, weights: y}}\n")
    result = run("check", str(file))
    assert (result.exit_code, result.stdout) == (2, "")
    first, second, last = result.stderr.splitlines()
    assert first.startswith(f"{file}:1: server.prot:") and second.startswith(f"{file}:2: models.a.engine:")
    assert last == f"{file}: 2 errors"


def test_warnings_are_no_failure(file: Path) -> None:
    file.write_text("models: {a: {engine: simulated, sleep_after: 5m, unload_after: 1m}}\n")
    result = run("check", str(file))
    assert (result.exit_code, result.stdout) == (0, f"{file}: fine (1 warning); 1 model: a\n")
    assert "warning: models.a.sleep_after" in result.stderr


def test_further_validators_are_asked_and_get_lines(file: Path) -> None:
    result = run("check", str(file), strict=True)
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [f"{file}:2: models.a.args.3: is refused", f"{file}: 1 error"]


def test_standard_input() -> None:
    assert run("check", "-", stdin=GOOD).stdout == "standard input: fine; 1 model: a\n"
    assert run("check", "-", stdin=b"a: \xff\n").stderr.startswith("standard input:1: is not UTF-8 text")


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    result = run("check", str(tmp_path / "none.yaml"))
    assert (result.exit_code, result.stderr) == (
        2,
        f"{tmp_path / 'none.yaml'}: cannot be read: no such file or directory\n",
    )


def test_show_masks_secrets_and_completes_paths(file: Path) -> None:
    shown = run("show", str(file)).stdout
    assert "geheim" not in shown and "api_key: '***'" in shown and f"cwd: {file.parent}" in shown
    assert "sleep_after: 5m" not in shown and "sleep_after: 5m" in run("show", "--all", str(file)).stdout
    file.write_text("models: 5")
    assert run("show", str(file)).exit_code == 2


KVCACHED = "instances:\n- model: org/a\n  engine: vllm\n  using_venv: true\n  venv_path: v\n"


def test_check_names_the_dialect(file: Path) -> None:
    file.write_text(KVCACHED)
    assert run("check", str(file)).stdout == f"{file}: fine in the kvcached dialect; 1 model: org/a\n"
    assert f"venv: {file.parent}/v" in run("show", str(file)).stdout


def test_convert_prints_the_native_form(file: Path) -> None:
    file.write_text(KVCACHED)
    result = run("convert", str(file))
    assert (result.exit_code, result.stderr) == (0, "")
    assert "venv: v\n" in result.stdout and "name: a\n" in result.stdout
    native = file.with_name("native.yaml")
    native.write_text(result.stdout)
    assert run("show", "--all", str(native)).stdout == run("show", "--all", str(file)).stdout


def test_convert_says_which_secrets_it_left_out(file: Path) -> None:
    result = run("convert", str(file))
    assert result.exit_code == 0 and "geheim" not in result.output
    assert result.stderr == f"{file}: models.a.api_key is a secret and not printed: set ROOST_A_API_KEY to it\n"
    assert "api_key: ${env:ROOST_A_API_KEY}\n" in result.stdout
    shown = run("convert", "--show-secrets", str(file))
    assert (shown.stderr, "api_key: geheim\n" in shown.stdout) == ("", True)


def test_convert_prints_nothing_that_would_mean_something_else(file: Path) -> None:
    file.write_text("models: {a: {engine: simulated, metadata: {secrets: [1]}}}")
    result = run("convert", str(file))
    assert (result.exit_code, result.stdout) == (2, "") and "add --show-secrets" in result.stderr
    assert run("convert", "--show-secrets", str(file)).exit_code == 0
    file.write_text("models: 5")
    assert run("convert", str(file)).exit_code == 2


def test_schema_and_reference() -> None:
    assert json.loads(run("schema").stdout)["title"] == "roost configuration"
    assert run("reference").stdout.startswith("# Configuration")


SWAP = "models:\n  {0}: {{cmd: 'p ${{PORT}}', ttl: {1}}}\n"


def test_check_of_a_llama_swap_file_says_what_becomes_of_idle_models(file: Path) -> None:
    file.write_text(SWAP.format("a", 90))
    result = run("check", str(file))
    first, second = result.stdout.splitlines()
    assert (first, second) == (f"{file}: fine in the llama_swap dialect; 1 model: a", "  a  is stopped after 90s idle")


def test_a_folder_of_files_is_one_configuration(tmp_path: Path) -> None:
    (tmp_path / "b.yml").write_text(SWAP.format("b", 60))
    (tmp_path / "a.yaml").write_text(SWAP.format("a", 60))
    (tmp_path / "note.txt").write_text("no: [")
    result = run("check", "--config-dir", str(tmp_path))
    assert result.exit_code == 0 and "2 models: a, b" in result.stdout
    assert "  a:" in run("show", "--config-dir", str(tmp_path)).stdout
    assert "unload_after: 1m" in run("convert", "--config-dir", str(tmp_path)).stdout
    (tmp_path / "c.yaml").write_text(SWAP.format("a", 60))
    result = run("check", "--config-dir", str(tmp_path))
    assert result.exit_code == 2
    assert result.stderr.startswith(f'{tmp_path}/c.yaml:2: models.a: "a" is already in {tmp_path}/a.yaml (line 2)')


def test_a_folder_and_a_file_are_told_apart(file: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    cases = {
        ("check",): "Which configuration?",
        ("check", str(file), "--config-dir", str(empty)): "Which configuration?",
        ("check", "--config-dir", str(file)): "is not a folder",
        ("check", "--config-dir", str(empty)): "has no file of configuration",
    }
    for words, said in cases.items():
        result = run(*words)
        assert result.exit_code == 2 and said in result.stderr, words
