"""llama-server's flags read without the wheel: what each becomes, and what is refused."""

from types import SimpleNamespace
from typing import Any

import pytest

from roost.host.embedded_llamacpp import VALUES, Choice, params, settings

MODEL = ("-m", "a.gguf")


def read(*argv: str) -> dict[str, Any]:
    return settings([*MODEL, *argv])


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLAMA_API_KEY", raising=False)


def test_the_defaults_are_llama_servers() -> None:
    expected = {"model.path": "a.gguf", "hostnames": ["127.0.0.1"], "port": 8080, "n_parallel": -1, "ui": False}
    assert read() == expected


@pytest.mark.parametrize(
    ("argv", "key", "value"),
    [
        (("--host", "127.0.0.2"), "hostnames", ["127.0.0.2"]),
        (("--port", "9001"), "port", 9001),
        (("-a", "x,y"), "model_alias", ["x", "y"]),
        (("-c", "4096"), "n_ctx", 4096),
        (("--ctx-size=4096",), "n_ctx", 4096),
        (("-np", "4"), "n_parallel", 4),
        (("-ngl", "all"), "n_gpu_layers", -2),
        (("-ngl", "99"), "n_gpu_layers", 99),
        (("-fa", "on"), "flash_attn_type", Choice("llama_flash_attn_type", "LLAMA_FLASH_ATTN_TYPE_ENABLED")),
        (("--no-mmap",), "load_mode", Choice("llama_load_mode", "LLAMA_LOAD_MODE_NONE")),
        (("--load-mode", "dio"), "load_mode", Choice("llama_load_mode", "LLAMA_LOAD_MODE_DIRECT_IO")),
        (("--pooling", "cls"), "pooling_type", Choice("llama_pooling_type", "LLAMA_POOLING_TYPE_CLS")),
        (("-ctk", "q8_0"), "cache_type_k", Choice("ggml_type", "GGML_TYPE_Q8_0")),
        (("--no-jinja",), "use_jinja", False),
        (("--metrics",), "endpoint_metrics", True),
        (("--sleep-idle-seconds", "5"), "sleep_idle_seconds", 5),
        (("--api-key", "a,b"), "api_keys", ["a", "b"]),
        (("--lora", "x", "--lora", "y"), "lora_adapters", ["x", "y"]),
        (("-c", "1", "-c", "2"), "n_ctx", 2),
    ],
)
def test_each_flag_lands_where_the_wheel_keeps_it(argv: tuple[str, ...], key: str, value: object) -> None:
    assert read(*argv)[key] == value


def test_reranking_means_rank_pooling_unless_said_otherwise() -> None:
    found = read("--reranking")
    assert (found["embedding"], found["pooling_type"].member) == (True, "LLAMA_POOLING_TYPE_RANK")
    assert read("--reranking", "--pooling", "last")["pooling_type"].member == "LLAMA_POOLING_TYPE_LAST"


def test_threads_count_for_batches_too() -> None:
    assert read("-t", "3")["cpuparams_batch.n_threads"] == 3
    assert read("-t", "3", "-tb", "5")["cpuparams_batch.n_threads"] == 5


def test_the_key_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_API_KEY", "from-env")
    assert read()["api_keys"] == ["from-env"]
    assert read("--api-key", "from-flag")["api_keys"] == ["from-flag"]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--frobnicate", "1"), "--frobnicate"),
        (("--pooling", "sideways"), "none, mean, cls, last, rank"),
        (("--port", "many"), "--port"),
        (("--paralle", "2"), "--paralle"),
        (("--chat-template-file", "/nowhere/t.jinja"), "/nowhere/t.jinja"),
    ],
)
def test_what_it_does_not_know_ends_it_with_status_2(
    argv: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        read(*argv)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_values_are_put_into_the_wheels_own_object() -> None:
    made = SimpleNamespace(model=SimpleNamespace(), sampling=SimpleNamespace())
    wheel = SimpleNamespace(
        CommonParams=lambda: made,
        CommonAdapterLoraInfo=lambda file, scale: (file, scale),
        llama_pooling_type=SimpleNamespace(LLAMA_POOLING_TYPE_MEAN="the mean"),
    )
    out = params(wheel, read("-a", "x", "--temp", "0.5", "--lora", "l.gguf", "--pooling", "mean"))
    assert (out.model.path, out.sampling.temp, out.model_alias) == ("a.gguf", 0.5, {"x"})
    assert (out.lora_adapters, out.pooling_type) == ([("l.gguf", 1.0)], "the mean")


def test_every_place_exists_in_the_installed_wheel() -> None:
    wheel = pytest.importorskip("xllamacpp")
    for path, _ in VALUES.values():
        target = wheel.CommonParams()
        for name in path.split("."):
            target = getattr(target, name)
