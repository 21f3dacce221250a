"""One request to the API with what handlers need of it: console, caller, and options checked by name and bounds.

Options come from the query or a JSON body, the body first. Used by all handlers; knows no route.
"""

import re
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request

from roost.admin.caller import Caller
from roost.admin.errors import refuse, refuse_model
from roost.admin.ports import Console
from roost.core.units import parse_duration

MAX_BODY = 64 * 1024
MAX_WAIT_S = 1200.0
DEFAULT_WAIT_S = 600.0
"""As long as the OpenAI clients wait."""
_NUMBER = re.compile(r"(\d+\.?\d*|\.\d+)(e[-+]?\d{1,3})?", re.ASCII | re.IGNORECASE)
_WORDS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": True}


@dataclass(frozen=True, slots=True)
class Ask:
    """A request, who sent it and the running roost."""

    request: Request
    caller: Caller
    console: Console
    started: int
    """Unix seconds at which this API was made."""
    options: tuple[str, ...] = ()
    """The options that the route takes."""

    @property
    def name(self) -> str:
        """The model name in the path as it was written, percent-decoded."""
        return str(self.request.path_params["name"])

    def model(self, name: str | None = None) -> dict[str, Any]:
        """The model in the path, by name or alias; 404 if unknown or hidden from this caller."""
        asked = self.name if name is None else name
        found = self.console.model(asked)
        if found is None or not self.caller.sees(found["name"]):
            refuse_model(asked)
        return found

    def whole_number(self, key: str, default: int, most: int) -> int:
        """A number from 1 to `most` in the query."""
        text = self.request.query_params.get(key)
        if text is None:
            return default
        if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= most:
            refuse(400, "bad_option", f"{key!r} must be a whole number from 1 to {most}, not {text[:40]!r}.")
        return int(text)

    def seconds(self, key: str, default: float, most: float = float("inf")) -> float:
        """A number above zero in the query; a whole one comes as an int, so that it is shown as it was asked."""
        text = self.request.query_params.get(key)
        if text is None:
            return plain(default)
        number = float(text) if _NUMBER.fullmatch(text) else 0.0
        if not 0 < number <= most or number == float("inf"):
            bound = "" if most == float("inf") else f" and at most {most:g}"
            refuse(400, "bad_option", f"{key!r} must be a number of seconds above 0{bound}, not {text[:40]!r}.")
        return plain(number)

    def duration(self, key: str, default: int) -> int:
        """Whole seconds in the query, as `90`, `5m` or `24h`."""
        text = self.request.query_params.get(key)
        if text is None:
            return default
        try:
            seconds = parse_duration(text)
        except ValueError:
            seconds = None
        if seconds is None or not 0 < seconds < 2**31 or seconds != int(seconds):
            refuse(400, "bad_option", f"{key!r} must be whole seconds, like 90, 5m or 24h, not {text[:40]!r}.")
        return int(seconds)

    def flag(self, key: str) -> bool:
        """A yes or no in the query; the bare word means yes."""
        text = self.request.query_params.get(key)
        return False if text is None else _flag(key, text)


def plain(seconds: float) -> float:
    """60.0 as 60."""
    return int(seconds) if seconds < 2**53 and seconds == int(seconds) else seconds


@dataclass(frozen=True, slots=True)
class Options:
    """What an order may say."""

    wait_s: float = DEFAULT_WAIT_S
    force: bool = False
    level: int | None = None


async def options_of(ask: Ask, allowed: tuple[str, ...]) -> Options:
    """The options of an order from query and JSON body; 400 for an unknown one or a value out of bounds.
    Null is the same as left out."""
    return _checked(await given_to(ask, allowed), allowed)


async def given_to(ask: Ask, allowed: tuple[str, ...]) -> dict[str, Any]:
    """Query and JSON body together, as they were given; 400 for what the order does not take."""
    body = {key: value for key, value in (await _body(ask.request)).items() if value is not None}
    given = dict(ask.request.query_params) | body
    _only(given, allowed)
    return given


def query_options_of(ask: Ask, allowed: tuple[str, ...]) -> Options:
    """The same from the query alone; the body is not looked at."""
    return _checked(dict(ask.request.query_params), allowed)


def _only(given: dict[str, Any], allowed: tuple[str, ...]) -> None:
    for key in given:
        if key not in allowed:
            refuse(400, "bad_option", f"Unknown option {key[:40]!r}; this order takes: {', '.join(allowed) or 'none'}.")


def _checked(given: dict[str, Any], allowed: tuple[str, ...]) -> Options:
    _only(given, allowed)
    return Options(
        wait_s=_seconds(given.get("wait", DEFAULT_WAIT_S)),
        force=_flag("force", given.get("force", False)),
        level=_level(given.get("level")),
    )


async def _body(request: Request) -> dict[str, Any]:
    data = b""
    async for piece in request.stream():
        data += piece
        if len(data) > MAX_BODY:
            refuse(413, "body_too_large", f"An order's body may have {MAX_BODY} bytes.")
    if not data.strip():
        return {}
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        refuse(400, "bad_json", f"The body must be a JSON object: {error}.")


def _seconds(value: object) -> float:
    try:
        seconds = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else -1.0
    except (ValueError, OverflowError):
        seconds = -1.0
    if not 0 <= seconds <= MAX_WAIT_S:
        refuse(400, "bad_option", f"'wait' must be 0 to {MAX_WAIT_S:.0f} seconds, not {str(value)[:40]!r}.")
    return seconds


def _flag(key: str, value: object) -> bool:
    found = value if isinstance(value, bool) else _WORDS.get(value.lower()) if isinstance(value, str) else None
    if found is None:
        refuse(400, "bad_option", f"{key!r} must be true or false, not {str(value)[:40]!r}.")
    return found


def _level(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or str(value) not in ("1", "2"):
        refuse(400, "bad_option", f"'level' must be 1 or 2, not {str(value)[:40]!r}.")
    return int(str(value))
