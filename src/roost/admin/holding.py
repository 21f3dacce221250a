"""Handlers of devices and holds: what may be held where, and a device given back to its owner. They decide nothing."""

from typing import Any, NoReturn

from starlette.responses import Response

from roost.admin.answers import answer_json
from roost.admin.ask import Ask, given_to
from roost.admin.errors import refuse
from roost.core.units import parse_duration, parse_size

LONGEST_S = 30 * 86400.0
MOST_REASON = 200


async def devices(ask: Ask) -> Response:
    ask.caller.must_see_all("The list of devices")
    return answer_json({"devices": ask.console.budgets()})


async def holds(ask: Ask) -> Response:
    return answer_json({"holds": ask.console.holds()})


async def hold(ask: Ask) -> Response:
    given = await given_to(ask, ask.options)
    device = given.get("device")
    if not isinstance(device, str) or not device:
        refuse(400, "bad_option", "'device' is missing; name one of GET /api/v1/devices, such as gpu0.")
    result = ask.console.hold(
        device, amount=_amount(given), for_s=_seconds(given), reason=_reason(given), by=ask.caller.by
    )
    if result is not None and not result["success"]:
        refuse(400, "bad_option", str(result["message"]))
    return _answer(ask, device, result)


async def release(ask: Ask) -> Response:
    device = str(ask.request.path_params["device"])
    return _answer(ask, device, ask.console.release(device, by=ask.caller.by))


def _answer(ask: Ask, device: str, result: dict[str, Any] | None) -> Response:
    if result is None:
        _unknown(ask, device)
    return answer_json(result)


def _unknown(ask: Ask, device: str) -> NoReturn:
    known = ", ".join(str(one["name"]) for one in ask.console.budgets())
    hint = f"those that have one: {known}" if known else "write memory.devices, or memory.discover: true"
    refuse(404, "device_not_found", f"There is no device {device[:80]!r} with a budget; {hint}.")


def _amount(given: dict[str, Any]) -> int | None:
    value = given.get("amount")
    if value is None:
        return None
    try:
        amount = parse_size(value)
    except ValueError:
        amount = None
    if not isinstance(amount, int) or isinstance(amount, bool) or not 0 < amount < 1 << 60:
        refuse(400, "bad_option", f"'amount' must be a size above 0, like 20GiB, not {str(value)[:40]!r}.")
    return amount


def _seconds(given: dict[str, Any]) -> float | None:
    value = given.get("for")
    if value is None:
        return None
    try:
        seconds = parse_duration(value)
    except ValueError:
        seconds = None
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 < seconds <= LONGEST_S:
        refuse(400, "bad_option", f"'for' must be a time above 0 and at most 30d, like 2h, not {str(value)[:40]!r}.")
    return float(seconds)


def _reason(given: dict[str, Any]) -> str:
    reason = str(given.get("reason", ""))
    if len(reason) > MOST_REASON or not (reason.isprintable() or not reason):
        refuse(400, "bad_option", f"'reason' must be one line of at most {MOST_REASON} characters.")
    return reason
