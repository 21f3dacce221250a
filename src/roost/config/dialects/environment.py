"""The environment alone as a configuration: one server that holds several models, and how many of them at once.

Gives the native text that says the same, so that whoever outgrows the variables goes on from there; secrets stay
variables in it. Pure; called by `cli/environment.py`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from roost.config.addresses import address_of, is_loopback
from roost.config.dump import yaml_text
from roost.core.problems import Problem
from roost.core.units import exact_duration, parse_duration

URL, KEY = "VLLM_BASE_URL", "VLLM_API_KEY"
PORTS, HOST, NAMES, OWN_KEY = ("PORT", "ROUTER_PORT"), "ROOST_HOST", "ROOST_HOSTS", "ROOST_API_KEY"
ALLOW_OPEN = "ROOST_ALLOW_OPEN"
RESIDENT, TIMEOUT = "MAX_RESIDENT", "LOAD_TIMEOUT"
DEFAULT_URL = "http://vllm:8000"
DEFAULT_PORT = 8010
DEFAULT_RESIDENT = 2
DEFAULT_TIMEOUT_S = 20 * 60.0
_HEAD = """\
# What the environment comes to. Saved as a file it does the same: roost up FILE.
"""


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Said:
    """The native text, or what is wrong with the variables."""

    text: str
    problems: tuple[Problem, ...] = ()


def read(env: Mapping[str, str]) -> Said:
    """Every variable that is set and not blank; the others have the defaults of this form."""
    reader = _Reader(env)
    port = next((name for name in PORTS if reader.has(name)), PORTS[0])
    server: dict[str, object] = {
        "host": reader.text(HOST, "127.0.0.1"),
        "port": reader.number(port, DEFAULT_PORT, 0, 65535),
        **_names(reader),
        "models_list": "loaded",
        "health": "text",
    }
    reader.must_be_protected()
    if reader.has(OWN_KEY):
        key = {"name": "environment", "key": f"${{env:{OWN_KEY}}}", "scopes": ["infer", "read", "admin"]}
        server["keys"] = [key]
    hosts = {
        name: {"url": url, "load_timeout": exact_duration(reader.duration(TIMEOUT, DEFAULT_TIMEOUT_S))}
        | ({"api_key": f"${{env:{KEY}}}"} if reader.has(KEY) else {})
        for name, url in reader.addresses(URL, DEFAULT_URL)
    }
    resident = reader.number(RESIDENT, DEFAULT_RESIDENT, 1, 10**6)
    tree = {"server": server, "memory": {"max_resident": resident}, "policy": {"eviction": "lru"}, "hosts": hosts}
    return Said(_HEAD + yaml_text(tree), tuple(reader.problems))


def _names(reader: "_Reader") -> dict[str, object]:
    """In a container nobody can tell by which name its neighbours call it."""
    default = "" if is_loopback(reader.text(HOST, "127.0.0.1")) else "*"
    names = [name.strip() for name in reader.text(NAMES, default).split(",") if name.strip()]
    return {"hosts": names} if names else {}


class _Reader:
    """Variables by name; collects what is wrong with them, and goes on with the default."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self.problems: list[Problem] = []

    def has(self, name: str) -> bool:
        return bool(self._env.get(name, "").strip())

    def text(self, name: str, default: str) -> str:
        return self._env[name].strip() if self.has(name) else default

    def number(self, name: str, default: int, least: int, most: int) -> int:
        def read_one(text: str) -> int:
            value = int(text) if text.isascii() and text.isdigit() else -1
            if not least <= value <= most:
                raise ValueError(f'"{text}" is not a whole number from {least} to {most}')
            return value

        return self._read(name, default, read_one)

    def duration(self, name: str, default: float) -> float:
        def read_one(text: str) -> float:
            value = parse_duration(float(text) if text.isdigit() else text)
            if value is None or value <= 0:
                raise ValueError(f'"{text}" is not a duration above zero, such as 20m')
            return float(value)

        return self._read(name, default, read_one, exact_duration(default))

    def addresses(self, name: str, default: str) -> list[tuple[str, str]]:
        """One server, or several with commas between them, each with a name."""

        def read_all(text: str) -> list[str]:
            found = [part.strip().rstrip("/") for part in text.split(",") if part.strip()]
            for one in found:
                address_of(one)
            return found

        found = self._read(name, [default], read_all)
        return [("vllm" if number == 1 else f"vllm-{number}", url) for number, url in enumerate(found, 1)]

    def must_be_protected(self) -> None:
        """The rule of `server.host`, in the words of this form."""
        host = self.text(HOST, "127.0.0.1")
        if not is_loopback(host) and not self.has(OWN_KEY) and self._env.get(ALLOW_OPEN) != "1":
            message = f'"{host}" can be reached from other machines, and no key protects it'
            hint = f"Set {OWN_KEY}, or {ALLOW_OPEN}=1 if the network itself is trusted."
            self.problems.append(Problem(path=(HOST,), message=message, hint=hint))

    def _read(self, name: str, default: T, read_one: Callable[[str], T], shown: str = "") -> T:
        """`shown`: the default as one writes it."""
        if not self.has(name):
            return default
        text = self._env[name].strip()
        try:
            return read_one(text)
        except ValueError as error:
            usual = shown or (default[0] if isinstance(default, list) else default)
            hint = f"Unset it for the default ({usual})."
            self.problems.append(Problem(path=(name,), message=str(error), hint=hint))
            return default
