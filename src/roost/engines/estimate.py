"""What an engine will hold in each state, read from its arguments: the figure that counts until it has been measured.

Pure: sizes of devices and files come as arguments. Errs to the side of too little where the arguments leave it open,
as what is measured later counts if it is more. Called by `host/footprints.py`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from roost.core.footprint import Footprint, Held, Source
from roost.core.spec import EngineKind, ModelSpec

MIB, GIB = 1 << 20, 1 << 30
CONTEXT_BYTES = 512 * MIB
"""A CUDA context with its kernels and small buffers; it stays while the process lives."""
GROUP_BYTES = GIB
"""What NCCL keeps on each device besides, where several work together."""
PROGRAM_BYTES = GIB
"""Host memory of an engine written in Python, without weights."""
MIN_KV_BYTES = GIB
"""Pages that kvcached maps for an engine that just stands there."""
_VLLM_SHARE, _SGLANG_SHARE = 0.9, 0.88
_CPU_KV_BYTES = 4 * GIB
"""vLLM's own, where VLLM_CPU_KVCACHE_SPACE says nothing."""
_LEAST_CONTEXT = 4096
_CACHE_TYPES = {"f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32, "q5_1": 24 / 32, "q5_0": 22 / 32}
_CACHE_TYPES |= {"q4_1": 20 / 32, "q4_0": 18 / 32, "iq4_nl": 18 / 32}
"""Bytes for each number of the KV cache."""
_ON = frozenset({"1", "true", "yes", "on"})


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufFacts:
    """What the head of a GGUF file says of the model."""

    layers: int
    kv_numbers_per_token: int
    """Of keys and of values each, over all layers."""
    context: int | None = None
    """Tokens that it was trained for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of the machine and of the files."""

    device_size: int | None = None
    """Of the smallest device that it may run on; None: no GPU, or its size is not known."""
    weights: int | None = None
    """Bytes of its weights on disk."""
    gguf: GgufFacts | None = None


def estimate(spec: ModelSpec, known: Known, *, has_gpu: bool) -> Footprint:
    """State by state; a state of which the arguments say nothing has source UNKNOWN."""
    words = _words(spec)
    match _kind(spec, words):
        case EngineKind.VLLM:
            return _vllm(spec, words, known) if has_gpu else _vllm_on_cpu(spec, known)
        case EngineKind.SGLANG if has_gpu:
            return _sglang(spec, words, known)
        case EngineKind.LLAMACPP:
            return _llamacpp(words, known, has_gpu=has_gpu)
        case _:
            return Footprint()


def _words(spec: ModelSpec) -> tuple[str, ...]:
    command = (spec.command,) if isinstance(spec.command, str) else spec.command or ()
    return (*command, *spec.args)


def _kind(spec: ModelSpec, words: Sequence[str]) -> EngineKind | None:
    """A command line of the user's own may well start an engine that we know."""
    if spec.engine is not EngineKind.COMMAND or spec.url is not None:
        return spec.engine
    programs = {word.rpartition("/")[2] for word in words}
    if programs & {"vllm", "vllm.entrypoints.openai.api_server"}:
        return EngineKind.VLLM
    if programs & {"sglang", "sglang.launch_server"}:
        return EngineKind.SGLANG
    return EngineKind.LLAMACPP if "llama-server" in programs else spec.engine


def _vllm(spec: ModelSpec, words: Sequence[str], known: Known) -> Footprint:
    devices = _devices(words)
    fixed = context_bytes(devices)
    weights = None if known.weights is None else known.weights // devices
    if _with_kvcached(spec):
        awake = None if weights is None else weights + fixed + MIN_KV_BYTES
    elif (cache := _size(_option(words, "--kv-cache-memory-bytes"))) is not None:
        awake = None if weights is None else weights + cache + fixed
    else:
        awake = _share(known, _number(_option(words, "--gpu-memory-utilization")) or _VLLM_SHARE)
    return _sleeping(awake, fixed, known)


def _sglang(spec: ModelSpec, words: Sequence[str], known: Known) -> Footprint:
    devices = _devices(words)
    fixed = context_bytes(devices)
    if _with_kvcached(spec):
        awake = None if known.weights is None else known.weights // devices + fixed + MIN_KV_BYTES
    else:
        static = _share(known, _number(_option(words, "--mem-fraction-static")) or _SGLANG_SHARE)
        awake = None if static is None else min(static + fixed, known.device_size or static)
    return _sleeping(awake, fixed, known)


def _sleeping(awake: int | None, fixed: int, known: Known) -> Footprint:
    """Level 1 keeps the weights of all its devices in host memory."""
    host = PROGRAM_BYTES
    if awake is None:
        fixed = 0
    return Footprint(
        awake=Held(awake or 0, host, Source.UNKNOWN if awake is None else Source.ESTIMATED),
        level1=Held(fixed, host + (known.weights or 0), Source.ESTIMATED),
        level2=Held(fixed, host, Source.ESTIMATED),
    )


def _vllm_on_cpu(spec: ModelSpec, known: Known) -> Footprint:
    """Its sleep gives nothing back there."""
    if known.weights is None:
        return Footprint()
    space = _number(spec.env.get("VLLM_CPU_KVCACHE_SPACE"))
    cache = _CPU_KV_BYTES if space is None else round(space * GIB)
    held = Held(0, known.weights + cache + PROGRAM_BYTES, Source.ESTIMATED)
    return Footprint(awake=held, level1=held, level2=held)


def _llamacpp(words: Sequence[str], known: Known, *, has_gpu: bool) -> Footprint:
    """Weights as they are in the file, and the KV cache; of both as much on the device as layers go there."""
    if known.weights is None:
        return Footprint()
    cache = _kv_bytes(words, known.gguf)
    share = _offloaded(words, known.gguf) if has_gpu else 0.0
    cache_share = 0.0 if _has(words, "--no-kv-offload", "-nkvo") else share
    device = round(known.weights * share + cache * cache_share)
    host = round(known.weights * (1 - share) + cache * (1 - cache_share))
    if not share:
        return Footprint(awake=Held(0, host, Source.ESTIMATED))
    device = device // _llama_devices(words) + CONTEXT_BYTES
    if known.device_size is not None and _option(words, "-c", "--ctx-size") is None:
        device = min(device, known.device_size)  # it fits its context to the device then
    return Footprint(awake=Held(device, host, Source.ESTIMATED), level1=Held(CONTEXT_BYTES, 0, Source.ESTIMATED))


def _kv_bytes(words: Sequence[str], facts: GgufFacts | None) -> int:
    """A context that is not written is as long as fits: the least counts until it has been measured."""
    if facts is None:
        return 0
    written = int(_number(_option(words, "-c", "--ctx-size")) or 0)
    tokens = written or min(facts.context or _LEAST_CONTEXT, _LEAST_CONTEXT)
    kinds = (_option(words, "-ctk", "--cache-type-k"), _option(words, "-ctv", "--cache-type-v"))
    return round(sum(_CACHE_TYPES.get(kind or "f16", 2.0) for kind in kinds) * facts.kv_numbers_per_token * tokens)


def _offloaded(words: Sequence[str], facts: GgufFacts | None) -> float:
    """The part of the layers that go to the device; all unless a number says otherwise. The output counts as one."""
    written = _option(words, "-ngl", "--gpu-layers", "--n-gpu-layers")
    if written is None or not written.isdigit():
        return 0.0 if _option(words, "-dev", "--device") == "none" else 1.0
    if int(written) == 0:
        return 0.0
    return 1.0 if facts is None else min(1.0, int(written) / (facts.layers + 1))


def _llama_devices(words: Sequence[str]) -> int:
    """Over how many devices it is spread, where that is written."""
    split = _option(words, "-ts", "--tensor-split")
    return max(1, sum(part not in ("", "0") for part in re.split("[,/]", split))) if split else 1


def context_bytes(devices: int) -> int:
    """What is left on each device while an engine of several sleeps."""
    return CONTEXT_BYTES + (GROUP_BYTES if devices > 1 else 0)


def _devices(words: Sequence[str]) -> int:
    """Tensor-parallel times pipeline-parallel size."""
    tensor = _number(_option(words, "--tensor-parallel-size", "-tp", "--tp-size", "--tp")) or 1
    pipeline = _number(_option(words, "--pipeline-parallel-size", "-pp", "--pp-size")) or 1
    return max(1, int(tensor) * int(pipeline))


def _with_kvcached(spec: ModelSpec) -> bool:
    return spec.env.get("ENABLE_KVCACHED", "").lower() in _ON


def _share(known: Known, share: float) -> int | None:
    return None if known.device_size is None else round(known.device_size * min(share, 1.0))


def _option(words: Sequence[str], *flags: str) -> str | None:
    """The value of the last one of these flags, as `--flag value` or `--flag=value`."""
    found = None
    for at, word in enumerate(words):
        name, equals, value = word.partition("=")
        name = name.replace("_", "-") if name.startswith("--") else name
        if name in flags:
            found = value if equals else words[at + 1] if at + 1 < len(words) else None
    return found


def _has(words: Sequence[str], *flags: str) -> bool:
    return any(word in flags for word in words)


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if 0 < number < 1 << 40 else None


def _size(text: str | None) -> int | None:
    """`20G`, `1024`: as vLLM reads it; capitals are powers of 1024."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmMgGtT]?)(?:i?B)?", text or "")
    if match is None:
        return None
    base, power = 1024 if match[2].isupper() else 1000, "kmgt".find(match[2].lower()) + 1 if match[2] else 0
    return round(float(match[1]) * float(base**power))
