"""The demo without engines: its config, its port, its refusals, and that its child never outlives it."""

import socket
import sys
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

from roost.cli import demo_cmd
from roost.core.errors import RoostError
from roost.core.spec import RoostSpec


def test_the_config_fits_the_schema() -> None:
    data = demo_cmd.demo_config(8123, Path("/c/smol.gguf"), Path("/c/tiny.gguf"), own=False)
    spec = TypeAdapter(RoostSpec).validate_python(data)
    assert spec.server.port == 8123
    assert {name: model.task.value for name, model in spec.models.items()} == {
        "smol": "generate",
        "tiny": "generate",
        "embed": "embed",
    }
    assert spec.models["smol"].sleep_after == 4


def test_a_model_of_the_users_own_keeps_its_chat_template(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    config = demo_cmd.write_demo(tmp_path / "demo", 8123, tmp_path / "mine.gguf", print)
    data = yaml.safe_load(config.read_text())
    assert data["models"]["smol"]["weights"] == data["models"]["embed"]["weights"] == str(tmp_path / "mine.gguf")
    assert not any("chat-template" in arg for arg in data["models"]["smol"]["args"])
    assert Path(data["models"]["tiny"]["weights"]).is_file()


def test_a_taken_port_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = int(other.getsockname()[1])
        monkeypatch.setattr(demo_cmd, "PORT", taken)
        assert demo_cmd._free_port() != taken


def test_without_llama_cpp_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(RoostError, match=r"llama-server.*numpy, gguf\. Run: pip install xllamacpp gguf numpy"):
        demo_cmd._need_llamacpp()


def test_a_roost_that_ends_early_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo_cmd, "_command", lambda config: [sys.executable, "-c", "raise SystemExit('no room')"])
    log = tmp_path / "log"
    with (
        demo_cmd.serving(tmp_path / "c.yaml", log) as process,
        pytest.raises(RoostError, match=r"ended with status 1.*\nno room"),
    ):
        demo_cmd._wait(process, log, 20.0)


def test_the_child_ends_with_the_demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo_cmd, "_command", lambda config: ["/bin/sleep", "600"])
    with pytest.raises(KeyboardInterrupt), demo_cmd.serving(tmp_path / "c.yaml", tmp_path / "log") as process:
        raise KeyboardInterrupt
    assert process.returncode == -15
