"""Every behaviour of the simulated engine, defined once: command-line flag, `/sim/set` field and default.

Owns reading values as people write them. It must stay free of pydantic (and so of `core.units`), because the
engine has to listen a fraction of a second after its start. Called by `__main__`, the CLI and `control`.
"""

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|)")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMG]?)(i?)B?", re.IGNORECASE)
_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3}
_ABOUT = "A real server that behaves like an LLM engine and can be told to be slow, to sleep and to misbehave."
KINDS = ("vllm", "sglang", "llamacpp-idle", "llamacpp-router")
HANGS = ("all", "inference")


def duration(text: str) -> float:
    """Seconds from `250ms`, `2s`, `1m` or `0.5`."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a duration; write it like 250ms, 2s or 0.5")
    return float(match[1]) * _SECONDS[match[2]]


def size(text: str) -> int:
    """Bytes from `200MiB`, `1GB` or `4096`."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size; write it like 200MiB or a number of bytes")
    unit: int = (1024 if match[3] else 1000) ** _POWERS[match[2].upper()]
    return round(float(match[1]) * unit)


def count(text: str) -> int:
    """A whole number from 0 on."""
    if not text.isdecimal():
        raise ValueError(f"{text!r} is not a whole number")
    return int(text)


def share(text: str) -> float:
    """A probability from 0 to 1."""
    number = float(text)
    if not 0 <= number <= 1:
        raise ValueError(f"{text!r} is not between 0 and 1")
    return number


def level(text: str) -> int:
    """A level of sleep."""
    if text not in ("0", "1", "2"):
        raise ValueError(f"{text!r} is no sleep level; the levels are 0, 1 and 2")
    return int(text)


def at_path(read: Callable[[str], Any]) -> Callable[[str], tuple[str, Any]]:
    """A reader of `/path=value`."""

    def pair(text: str) -> tuple[str, Any]:
        path, mark, value = text.partition("=")
        if not mark or not path.startswith("/"):
            raise ValueError(f"{text!r} is not of the form /path=value")
        return path, read(value)

    return pair


def one_of(*allowed: str) -> Callable[[str], str]:
    """A reader that takes only these words."""

    def choice(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"{text!r} is none of: {', '.join(allowed)}")
        return text

    return choice


def _flag(default: Any, help: str, read: Callable[[str], Any] = str, *, fixed: bool = False, bare: Any = None) -> Any:
    """A field; `fixed`: only at start; `bare`: what the flag means without a value; default False makes a switch."""
    return field(default=default, metadata={"help": help, "read": read, "fixed": fixed, "bare": bare})


@dataclass(slots=True, kw_only=True)
class Behaviour:
    """How the engine behaves now. Times in seconds, None: off."""

    model: str = _flag("sim", "name of the weights; answers depend on it", fixed=True)
    served_model_name: tuple[str, ...] = _flag((), "names clients may use (default: --model)", fixed=True)
    host: str = _flag("127.0.0.1", "address to bind", fixed=True)
    port: int = _flag(8000, "port to bind; 0 picks a free one", count, fixed=True)
    kind: str = _flag(
        "vllm",
        "vllm; sglang; llamacpp-idle: sleeps by itself, wakes by request; llamacpp-router: loads and unloads its names",
        one_of(*KINDS),
        fixed=True,
    )
    start_delay: float = _flag(0.0, "answers 503 for this long after the start", duration, fixed=True)
    log_lines: int = _flag(0, "lines written to stderr at start", count, fixed=True)
    crash_at_start: bool = _flag(False, "exit with status 1 instead of listening, after --start-delay", fixed=True)
    api_key: str | None = _flag(None, "key needed for /v1 (and for nothing else, as in vLLM)")
    max_model_len: int = _flag(8192, "context length in tokens", count)
    tokens: int = _flag(16, "tokens of an answer whose request sets no limit", count)
    seed: int = _flag(0, "seed of the texts and of --error-rate", count)
    first_token_delay: float = _flag(0.0, "before the first token", duration)
    token_delay: float = _flag(0.0, "before each later token", duration)
    sleep_delay: float = _flag(0.0, "how long going to sleep takes", duration)
    wake_delay: float = _flag(0.0, "how long waking takes, per call", duration)
    enable_weights_cpu_backup: bool = _flag(False, "kind sglang: released weights come back as they were", fixed=True)
    sleep_idle_seconds: float | None = _flag(None, "kind llamacpp-idle: idle time before it sleeps", duration)
    claim_memory: int = _flag(0, "memory really taken while the weights are awake", size)
    keep_alive_timeout: float = _flag(5.0, "idle connections are closed after this", duration, fixed=True)
    crash_after_requests: int | None = _flag(None, "answer this many, die at the next", count)
    crash_mid_stream: int | None = _flag(None, "die after this many tokens of an answer", count)
    hang: str | None = _flag(None, "never answer: all, or inference only", one_of(*HANGS), bare="all")
    hang_mid_stream: int | None = _flag(None, "fall silent after this many tokens of an answer", count)
    ignore_sigterm: bool = _flag(False, "only SIGKILL ends it")
    refuse_wake: bool = _flag(False, "wake calls answer 500")
    refuse_sleep: bool = _flag(False, "sleep calls answer 500")
    keep_memory: bool = _flag(False, "sleep gives no memory back")
    garbage_after_wake: bool = _flag(False, "answers are garbage after any wake, reload or not")
    fail_health_after: int | None = _flag(None, "this many health checks succeed, later ones answer 503", count)
    error_rate: float = _flag(0.0, "share of requests answered by 500", share)
    fake_sleep: bool = _flag(False, "sleep calls answer 200 and nothing sleeps")
    force_sleep_level: int | None = _flag(None, "asleep at this level, whichever was asked for", level)
    fake_wake: bool = _flag(False, "wake calls answer 200 and nothing wakes")
    refuse_reload: bool = _flag(False, "reading the weights again fails")
    fake_reload: bool = _flag(False, "reading the weights again answers well and changes nothing")
    crash_asleep: float | None = _flag(None, "die this long after falling asleep", duration)
    no_dev_endpoints: bool = _flag(False, "kind vllm: 404 where VLLM_SERVER_DEV_MODE is needed")
    no_sleep_gauge: bool = _flag(False, "kind vllm: /metrics does not tell the sleep state")
    refuse_while_paused: bool = _flag(False, "kind vllm: requests to a paused engine get 503, as from 0.33 on")
    health_generates: bool = _flag(False, "kind sglang: /health makes a token, and answers 503 if none came in 20 s")
    enable_lora: bool = _flag(False, "kind vllm: adapters are loaded and unloaded while it runs", fixed=True)
    max_loras: int = _flag(1, "with --enable-lora: adapters that run at once; more take turns", count, fixed=True)
    lora_missing: tuple[str, ...] = _flag((), "paths where there is no adapter: to load it is 404")
    refuse_lora: bool = _flag(False, "loading an adapter answers 500")
    fake_lora: bool = _flag(False, "loading an adapter answers well and changes nothing")
    keep_lora: bool = _flag(False, "unloading an adapter answers well and changes nothing")
    no_autoload: bool = _flag(False, "kind llamacpp-router: a request does not load its model")
    fail_load: bool = _flag(False, "kind llamacpp-router: loads begin and fail")
    stall: bool = _flag(False, "requests run and no token comes, while health answers 200")
    error_mid_stream: int | None = _flag(None, "an error inside the answer after this many tokens", count)
    abort_mid_stream: int | None = _flag(None, "finish_reason abort after this many tokens", count)
    end_mid_stream: int | None = _flag(None, "the body ends bare after this many tokens: no finish, no [DONE]", count)
    bare_text: str = _flag("", "what a body that ends bare says last")
    slow_endpoint: tuple[tuple[str, float], ...] = _flag((), "PATH=TIME: wait before it is done", at_path(duration))
    fail_first: tuple[tuple[str, int], ...] = _flag((), "PATH=COUNT: so many calls answer 503", at_path(count))
    missing: tuple[str, ...] = _flag((), "paths that answer 404, as in a version without them")
    also_answer: tuple[str, ...] = _flag((), "further paths that answer 200 to any method, with {}")
    answer_body: tuple[tuple[str, str], ...] = _flag((), "PATH=TEXT: the body of its 200", at_path(str))

    @property
    def names(self) -> tuple[str, ...]:
        """What clients may call the model; the first is the one that answers carry."""
        return self.served_model_name or (self.model,)


def parser() -> argparse.ArgumentParser:
    """The flags of `python -m roost.sim`."""
    result = argparse.ArgumentParser(prog="roost sim-engine", description=_ABOUT)
    for item in fields(Behaviour):
        _add(result, item)
    return result


def _add(result: argparse.ArgumentParser, item: "Field[Any]") -> None:
    name, text = "--" + item.name.replace("_", "-"), item.metadata["help"]
    if item.default is False:
        result.add_argument(name, action="store_true", help=text)
    elif item.default == ():
        read = _for_argparse(item.metadata["read"])
        result.add_argument(name, action="extend", nargs="+", type=read, metavar="VALUE", help=text)
    else:
        bare = item.metadata["bare"]
        shown = "" if item.default in (None, "") else f" (default {item.default})"
        result.add_argument(
            name,
            type=_for_argparse(item.metadata["read"]),
            default=item.default,
            metavar="VALUE",
            help=text + shown,
            **({"nargs": "?", "const": bare} if bare else {}),
        )


def _for_argparse(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """argparse shows the sentence only of its own error."""

    def reader(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return reader


def parse(argv: Sequence[str]) -> Behaviour:
    """Flags to behaviour; ends the program with status 2 and a sentence on a wrong one."""
    values = vars(parser().parse_args(argv))
    several = {item.name: tuple(values[item.name] or ()) for item in fields(Behaviour) if item.default == ()}
    return Behaviour(**{**values, **several})


def change(behaviour: Behaviour, wanted: Mapping[str, Any]) -> frozenset[str]:
    """Set fields at run time, all or none; returns their names. Dashes and underscores are the same. ValueError with
    a sentence."""
    known = {item.name: item for item in fields(Behaviour)}
    read: dict[str, Any] = {}
    for key, value in wanted.items():
        item = known.get(key.replace("-", "_"))
        if item is None:
            raise ValueError(f"{key!r} is not a behaviour; known: {', '.join(known)}")
        if item.metadata["fixed"]:
            raise ValueError(f"{key!r} can only be given at start")
        read[item.name] = _value(item, value)
    for name, value in read.items():
        setattr(behaviour, name, value)
    return frozenset(read)


def _value(item: "Field[Any]", value: Any) -> Any:
    if item.default is False:
        if not isinstance(value, bool):
            raise ValueError(f"{item.name} is true or false, not {value!r}")
        return value
    if value is None:
        return None if item.default is MISSING else item.default
    if item.default == ():
        return tuple(item.metadata["read"](entry) for entry in _entries(value))
    return item.metadata["read"](str(value))


def _entries(value: Any) -> list[str]:
    """`{"/sleep": "1s"}`, `["/sleep=1s"]` or `"/sleep=1s"`."""
    if isinstance(value, Mapping):
        return [f"{path}={entry}" for path, entry in value.items()]
    return [str(entry) for entry in value] if isinstance(value, (list, tuple)) else [str(value)]
