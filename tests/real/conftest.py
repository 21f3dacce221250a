"""Two real servers of one kind without a GPU behind a real roost: one sleeps at level 1, the other at level 2.

Only one of them may be awake. Collected only by `./check vllm` and `./check sglang`, which install the engine and name
its interpreter.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from roost.host.tiny_model import Shape
from tests.real.fleet import Fleet, started
from tests.support.hf_model import write_hf_model, write_lora
from tests.support.models import free_port

PYTHONS = {name: os.environ.get(f"ROOST_{name.upper()}_PYTHON") for name in ("vllm", "sglang", "litellm")}
collect_ignore = [f"test_{name}.py" for name, python in PYTHONS.items() if python is None]
if "ROOST_LLAMA_SERVER" not in os.environ:
    collect_ignore.append("test_llama_server.py")

CONFIG = """
server: {{port: {port}}}
memory: {{max_resident: 1}}
defaults:
  engine: {engine}
  sleep_after: never
  start_timeout: 5m
  env:
    OMP_NUM_THREADS: 1
    HF_HUB_OFFLINE: 1
    TRANSFORMERS_OFFLINE: 1
    DO_NOT_TRACK: 1
    PATH: {path}
    {env}
models:
  one:
    command: {command} {folder}/one {kept}
    port: {first}
    sleep_level: 1
    sleep_mode: wait
{adapters}
  two:
    command: {command} {folder}/two
    weights: {folder}/two
    port: {second}
    sleep_level: 2
    sleep_mode: abort
"""
CONTEXT = 8192
"""Tokens: room for an answer that only a cut ends."""
COMMANDS = {
    # No --enable-sleep-mode: on a CPU it is refused at start, while the endpoints are there all the same.
    "vllm": "-m vllm.entrypoints.launchers.api_server.entry --host ${HOST} --port ${PORT} --served-model-name ${MODEL} "
    f"--max-model-len {CONTEXT} --enforce-eager --max-num-seqs 16 --dtype float32 --model",
    "sglang": "-m sglang.launch_server --host ${HOST} --port ${PORT} --served-model-name ${MODEL} --device cpu "
    "--attention-backend torch_native --sampling-backend pytorch --dtype float32 --mem-fraction-static 0.1 "
    "--max-total-tokens 4096 --disable-cuda-graph --skip-server-warmup --model-path",
}
KEPT = {"vllm": "", "sglang": "--enable-weights-cpu-backup"}
"""What lets `one` sleep at level 1."""
ADAPTERS = {
    "vllm": "    args: [--enable-lora, --max-loras=1]\n    adapters:\n"
    "      sql: {{path: {folder}/sql}}\n      law: {{path: {folder}/law}}\n      none: {{path: {folder}/none}}",
    "sglang": "",
}
"""Of `one`, which has a place for one of them; nothing is at the path of the last."""
ENV = {
    "vllm": "VLLM_CPU_KVCACHE_SPACE: 1\n    VLLM_CPU_OMP_THREADS_BIND: nobind\n    VLLM_CPU_CI_ENV: 1\n"
    "    VLLM_NO_USAGE_STATS: 1",
    "sglang": "SGLANG_USE_CPU_ENGINE: 1",
}


@pytest.fixture(scope="module")
def fleet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Both have answered once: `one` sleeps since `two` was started."""
    engine = request.path.stem.removeprefix("test_")
    python = PYTHONS[engine]
    assert python is not None
    folder = tmp_path_factory.mktemp(engine)
    for seed, name in enumerate(("one", "two"), 1):
        write_hf_model(folder / name, seed=seed, shape=Shape(context=CONTEXT))
    for seed, name in enumerate(("sql", "law"), 3):
        write_lora(folder / name, seed=seed)
    config = folder / "roost.yaml"
    config.write_text(
        CONFIG.format(
            engine=engine,
            env=ENV[engine],
            command=f"{python} {COMMANDS[engine]}",
            folder=folder,
            kept=KEPT[engine],
            adapters=ADAPTERS[engine].format(folder=folder),
            path=f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}",
            port=free_port(),
            first=free_port(),
            second=free_port(),
        )
    )
    with started(config, sys.executable) as running:
        yield running
