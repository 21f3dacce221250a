"""llama.cpp's HTTP server out of the xllamacpp wheel, as a program: `python -m roost.host.embedded_llamacpp`.

Owns the translation of llama-server's own flags into the wheel's parameters (the wheel parses no command line).
Run as a child by whoever starts an engine of `engines/llamacpp.py`; imports nothing of roost, so that it starts fast.
Exit status: 0 on SIGTERM or SIGINT, 1 where the server cannot start, 2 for a wrong command line.
"""

import argparse
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

PROGRAM = "roost.host.embedded_llamacpp"
LOAD_MODES = {"auto": "AUTO", "none": "NONE", "mmap": "MMAP", "mlock": "MLOCK", "mmap+mlock": "MMAP_MLOCK"}
LOAD_MODES["dio"] = "DIRECT_IO"
FLASH = {"on": "ENABLED", "off": "DISABLED", "auto": "AUTO"}
Parse = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Choice:
    """A word on the command line that stands for a member of one of the wheel's enums."""

    enum: str
    member: str


def _choice(enum: str, prefix: str, words: dict[str, str], text: str) -> Choice:
    if text not in words:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(words)}")
    return Choice(enum, prefix + words[text])


def _same(*words: str) -> dict[str, str]:
    return {word: word.upper() for word in words}


def _layers(text: str) -> int:
    return {"auto": -1, "all": -2}[text] if text in ("auto", "all") else int(text)


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _text_of(text: str) -> str:
    try:
        return Path(text).read_text(encoding="utf-8")
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot read {text!r}: {error.strerror}") from None


pooling = partial(_choice, "llama_pooling_type", "LLAMA_POOLING_TYPE_", _same("none", "mean", "cls", "last", "rank"))
load_mode = partial(_choice, "llama_load_mode", "LLAMA_LOAD_MODE_", LOAD_MODES)
flash = partial(_choice, "llama_flash_attn_type", "LLAMA_FLASH_ATTN_TYPE_", FLASH)
split = partial(_choice, "llama_split_mode", "LLAMA_SPLIT_MODE_", _same("none", "layer", "row"))
reasoning = partial(_choice, "common_reasoning_format", "COMMON_REASONING_FORMAT_", _same("none", "auto", "deepseek"))
cache_type = partial(
    _choice, "ggml_type", "GGML_TYPE_", _same("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
)

# Flags that take a value: names as llama-server spells them -> (where the wheel keeps it, how the text is read).
VALUES: dict[tuple[str, ...], tuple[str, Parse]] = {
    ("-m", "--model"): ("model.path", str),
    ("--host",): ("hostnames", _names),
    ("--port",): ("port", int),
    ("-a", "--alias"): ("model_alias", _names),
    ("-c", "--ctx-size"): ("n_ctx", int),
    ("-np", "--parallel"): ("n_parallel", int),
    ("-t", "--threads"): ("cpuparams.n_threads", int),
    ("-tb", "--threads-batch"): ("cpuparams_batch.n_threads", int),
    ("--threads-http",): ("n_threads_http", int),
    ("-b", "--batch-size"): ("n_batch", int),
    ("-ub", "--ubatch-size"): ("n_ubatch", int),
    ("-n", "--predict", "--n-predict"): ("n_predict", int),
    ("-ngl", "--gpu-layers", "--n-gpu-layers"): ("n_gpu_layers", _layers),
    ("-mg", "--main-gpu"): ("main_gpu", int),
    ("-sm", "--split-mode"): ("split_mode", split),
    ("-fa", "--flash-attn"): ("flash_attn_type", flash),
    ("-ctk", "--cache-type-k"): ("cache_type_k", cache_type),
    ("-ctv", "--cache-type-v"): ("cache_type_v", cache_type),
    ("-cram", "--cache-ram"): ("cache_ram_mib", int),
    ("--cache-reuse",): ("n_cache_reuse", int),
    ("--load-mode",): ("load_mode", load_mode),
    ("--pooling",): ("pooling_type", pooling),
    ("--embd-normalize",): ("embd_normalize", int),
    ("--sleep-idle-seconds",): ("sleep_idle_seconds", int),
    ("--api-key",): ("api_keys", _names),
    ("--api-prefix",): ("api_prefix", str),
    ("-to", "--timeout"): ("timeout_read", int),
    ("--sse-ping-interval",): ("sse_ping_interval", int),
    ("--chat-template",): ("chat_template", str),
    ("--chat-template-file",): ("chat_template", _text_of),
    ("--reasoning-format",): ("reasoning_format", reasoning),
    ("-mm", "--mmproj"): ("mmproj.path", str),
    ("--rope-freq-base",): ("rope_freq_base", float),
    ("--rope-freq-scale",): ("rope_freq_scale", float),
    ("-s", "--seed"): ("sampling.seed", int),
    ("--temp", "--temperature"): ("sampling.temp", float),
    ("--top-k",): ("sampling.top_k", int),
    ("--top-p",): ("sampling.top_p", float),
    ("--min-p",): ("sampling.min_p", float),
    ("--repeat-penalty",): ("sampling.penalty_repeat", float),
    ("-lv", "--verbosity", "--log-verbosity"): ("verbosity", int),
}

# Flags without a value: names -> (where the wheel keeps it, what they set).
SWITCHES: dict[tuple[str, ...], tuple[str, Any]] = {
    ("--embeddings", "--embedding"): ("embedding", True),
    ("--reranking", "--rerank"): ("reranking", True),
    ("--mmap",): ("load_mode", load_mode("mmap")),
    ("--no-mmap",): ("load_mode", load_mode("none")),
    ("--mlock",): ("load_mode", load_mode("mmap+mlock")),
    ("--jinja",): ("use_jinja", True),
    ("--no-jinja",): ("use_jinja", False),
    ("--metrics",): ("endpoint_metrics", True),
    ("--slots",): ("endpoint_slots", True),
    ("--no-slots",): ("endpoint_slots", False),
    ("--props",): ("endpoint_props", True),
    ("--warmup",): ("warmup", True),
    ("--no-warmup",): ("warmup", False),
    ("-cb", "--cont-batching"): ("cont_batching", True),
    ("-nocb", "--no-cont-batching"): ("cont_batching", False),
    ("-kvu", "--kv-unified"): ("kv_unified", True),
    ("-no-kvu", "--no-kv-unified"): ("kv_unified", False),
    ("--context-shift",): ("ctx_shift", True),
    ("--no-context-shift",): ("ctx_shift", False),
    ("--cache-prompt",): ("cache_prompt", True),
    ("--no-cache-prompt",): ("cache_prompt", False),
    ("-nkvo", "--no-kv-offload"): ("no_kv_offload", True),
    ("--swa-full",): ("swa_full", True),
    ("--offline",): ("offline", True),
    ("--ui", "--webui"): ("ui", True),
    ("--no-ui", "--no-webui"): ("ui", False),
}


def parser() -> argparse.ArgumentParser:
    """Knows exactly the flags of the two tables; an unknown one ends the program with status 2."""
    out = argparse.ArgumentParser(
        PROGRAM,
        usage="%(prog)s -m FILE [llama-server's flags; --help lists those it knows]",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        description="llama.cpp's server out of the xllamacpp wheel, with llama-server's own flags.",
    )
    for names, (target, read) in VALUES.items():
        out.add_argument(*names, dest=target, type=read, required="--model" in names, metavar="VALUE")
    for names, (target, value) in SWITCHES.items():
        out.add_argument(*names, dest=target, action="store_const", const=value)
    out.add_argument("--lora", dest="lora_adapters", action="append", metavar="FILE")
    return out


def settings(argv: list[str]) -> dict[str, Any]:
    """Parameter path -> value, with llama-server's rules: reranking means rank pooling, four slots by default, the
    key from LLAMA_API_KEY where no flag gives one.

    The context is shared by the slots unless a number of slots is given: then each gets ctx-size / parallel.
    """
    found = vars(parser().parse_args(argv))
    if found.pop("reranking", False):
        found["embedding"] = True
        found.setdefault("pooling_type", pooling("rank"))
    threads = found.get("cpuparams.n_threads")
    if threads is not None:
        found.setdefault("cpuparams_batch.n_threads", threads)
    if key := os.environ.get("LLAMA_API_KEY"):
        found.setdefault("api_keys", _names(key))
    return {"n_parallel": -1, "hostnames": ["127.0.0.1"], "port": 8080, "ui": False, **found}


def complaint(values: dict[str, Any]) -> str | None:
    """What would keep the server from starting, as a sentence; None if nothing is seen."""
    for key in ("model.path", "mmproj.path"):
        if key in values and (fault := _file_fault(Path(values[key]))):
            return fault
    host, port = values["hostnames"][0], values["port"]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except OSError as error:
            return f"cannot listen on {host}:{port}: {error.strerror}"
    return None


def _file_fault(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        return f"cannot read the model file {path}: {error.strerror}"
    return None if magic == b"GGUF" else f"{path} is not a GGUF file (it begins with {magic!r})"


def params(wheel: Any, values: dict[str, Any]) -> Any:
    """The wheel's parameter object with `values` put in."""
    out = wheel.CommonParams()
    for path, value in values.items():
        *owners, name = path.split(".")
        target = out
        for owner in owners:
            target = getattr(target, owner)
        setattr(target, name, _for_wheel(wheel, name, value))
    return out


def _for_wheel(wheel: Any, name: str, value: Any) -> Any:
    if isinstance(value, Choice):
        return getattr(getattr(wheel, value.enum), value.member)
    if name == "model_alias":
        return set(value)
    if name == "lora_adapters":
        return [wheel.CommonAdapterLoraInfo(file, 1.0) for file in value]
    return value


def _end(signum: int, frame: FrameType | None) -> NoReturn:
    # The server's threads hold nothing that needs saving, and its orderly end waits for open streams.
    os._exit(0)


def main(argv: list[str]) -> int:
    """Serve until a signal ends the process; returns only where the server cannot start."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)  # loading holds the interpreter: let the kernel end it meanwhile
    values = settings(argv)
    if (fault := complaint(values)) is not None:
        sys.stderr.write(f"{PROGRAM}: {fault}\n")
        return 1
    try:
        import xllamacpp
    except ImportError:
        sys.stderr.write(f"{PROGRAM}: xllamacpp is not installed; run: pip install xllamacpp\n")
        return 1
    try:
        server = xllamacpp.Server(params(xllamacpp, values))
    except RuntimeError as error:
        sys.stderr.write(f"{PROGRAM}: llama.cpp did not start ({error}); its own lines beside this one say why\n")
        return 1
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    sys.stdout.write(f"listening on {server.listening_address}\n")
    sys.stdout.flush()
    while True:
        signal.pause()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
