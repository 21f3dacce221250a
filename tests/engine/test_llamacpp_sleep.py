"""The real llama.cpp falling asleep by itself: memory falls, looking does not wake it, a request does."""

from collections.abc import Mapping
from pathlib import Path

from roost import clock
from roost.core.spec import ModelSpec
from roost.engines.llamacpp import LLAMACPP
from tests.support.models import llama

MIB = 1024 * 1024


def test_idle_sleep_frees_the_weights_and_a_request_brings_them_back(large_model: Path, tmp_path: Path) -> None:
    spec = ModelSpec(
        weights=str(large_model), args=("--ctx-size", "512", "--threads", "1", "--no-warmup"), sleep_after=0.5
    )
    verify = LLAMACPP.verify(spec, "m")
    with llama(spec, tmp_path / "log") as engine:
        assert engine.perform(verify).status_code == 200
        awake = engine.rss
        engine.until(lambda: engine.asleep() is True, 10.0, "asleep")
        engine.until(lambda: engine.rss < awake - 80 * MIB, 5.0, "smaller by 80 MiB")
        for path in ("/health", "/props", "/v1/models"):
            assert engine.client.get(path).status_code == 200
        assert engine.asleep() is True
        began = clock.now()
        assert engine.perform(verify).status_code == 200
        assert clock.now() - began < 5.0
        assert engine.asleep() is False
        assert engine.rss > awake - 20 * MIB


def test_a_pinned_model_is_given_no_idle_time(tiny_models: Mapping[str, Path], tmp_path: Path) -> None:
    spec = ModelSpec(
        weights=str(tiny_models["tiny-a"]),
        args=(
            "--ctx-size",
            "512",
            "--threads",
            "1",
        ),
        sleep_after=0.5,
        pin=True,
    )
    with llama(spec, tmp_path / "log") as engine:
        assert engine.asleep() is False
        assert "--sleep-idle-seconds" not in engine.launch.argv


def test_it_ends_at_once_while_asleep(tiny_models: Mapping[str, Path], tmp_path: Path) -> None:
    spec = ModelSpec(
        weights=str(tiny_models["tiny-a"]),
        args=(
            "--ctx-size",
            "512",
            "--threads",
            "1",
        ),
        sleep_after=0.5,
    )
    with llama(spec, tmp_path / "log") as engine:
        engine.until(lambda: engine.asleep() is True, 10.0, "asleep")
        status, took = engine.stop()
    assert (status, took < 2.0) == (0, True)
