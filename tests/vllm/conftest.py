"""Two real vLLM servers without a GPU behind a real roost: one sleeps at level 1, the other at level 2.

Only one of them may be awake. Collected only by `./check vllm`, which installs vLLM and names its interpreter.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hf_model import write_hf_model
from tests.support.models import free_port
from tests.vllm.fleet import Fleet, started

PYTHON = os.environ.get("ROOST_VLLM_PYTHON")
collect_ignore_glob = [] if PYTHON else ["test_*.py"]

CONFIG = """
server: {{port: {port}}}
memory: {{max_resident: 1}}
defaults:
  engine: vllm
  sleep_after: never
  start_timeout: 5m
  env:
    VLLM_CPU_KVCACHE_SPACE: 1
    VLLM_CPU_OMP_THREADS_BIND: nobind
    VLLM_CPU_CI_ENV: 1
    OMP_NUM_THREADS: 1
    HF_HUB_OFFLINE: 1
    TRANSFORMERS_OFFLINE: 1
    VLLM_NO_USAGE_STATS: 1
    DO_NOT_TRACK: 1
    PATH: {path}
models:
  one:
    command: {command} --model {folder}/one --port ${{PORT}} --served-model-name one
    port: {first}
    sleep_level: 1
    sleep_mode: wait
  two:
    command: {command} --model {folder}/two --port ${{PORT}} --served-model-name two
    port: {second}
    sleep_level: 2
    sleep_mode: abort
"""
MODULE = "vllm.entrypoints.launchers.api_server.entry"
FLAGS = "--host 127.0.0.1 --max-model-len 1024 --enforce-eager --max-num-seqs 16 --dtype float32"


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Both have answered once: `one` sleeps since `two` was started. No `--enable-sleep-mode`: a CPU refuses it."""
    assert PYTHON is not None
    folder = tmp_path_factory.mktemp("vllm")
    for seed, name in enumerate(("one", "two"), 1):
        write_hf_model(folder / name, seed=seed)
    config = folder / "roost.yaml"
    text = CONFIG.format(
        command=f"{PYTHON} -m {MODULE} {FLAGS}",
        folder=folder,
        path=f"{Path(PYTHON).parent}{os.pathsep}{os.environ['PATH']}",
        port=free_port(),
        first=free_port(),
        second=free_port(),
    )
    config.write_text(text)
    with started(config, sys.executable) as running:
        yield running
