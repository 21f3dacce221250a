"""Devices and holds by the API."""

import pytest

from tests.support.console import FakeConsole
from tests.unit.admin.test_api import ADMIN, LIMITED, READ, ask, error, get

GIB = 1 << 30


def hold(console: FakeConsole, **body: object) -> tuple[int, dict[str, object]]:
    answer = ask(console, "POST", "/api/v1/holds", headers=ADMIN, json=body)
    return answer.status_code, answer.json()


def test_a_device_is_held_and_released() -> None:
    console = FakeConsole()
    status, answer = hold(console, device="gpu0", amount="20GiB", reason="training", **{"for": "2h"})
    assert (status, answer["success"]) == (200, True)
    held = {"device": "gpu0", "amount_bytes": 20 * GIB, "until": "in 7200 s", "reason": "training", "by": "api:ops"}
    assert get("/api/v1/holds", READ, console).json() == {"holds": [held]}
    for changed in (True, False):
        answer = ask(console, "DELETE", "/api/v1/holds/gpu0", headers=ADMIN).json()
        assert (answer["success"], answer["changed"]) == (True, changed)


def test_all_of_it_until_it_is_released_is_the_default() -> None:
    console = FakeConsole()
    assert hold(console, device="gpu0")[0] == 200
    assert (console.held["gpu0"]["amount_bytes"], console.held["gpu0"]["until"]) == (None, None)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"device": ""},
        {"device": 3},
        {"device": "gpu0", "amount": "much"},
        {"device": "gpu0", "amount": 0},
        {"device": "gpu0", "amount": True},
        {"device": "gpu0", "for": "never"},
        {"device": "gpu0", "for": "31d"},
        {"device": "gpu0", "for": "soon"},
        {"device": "gpu0", "for": [1]},
        {"device": "gpu0", "reason": "two\nlines"},
        {"device": "gpu0", "reason": "x" * 201},
        {"device": "gpu0", "size": 1},
    ],
)
def test_what_is_no_hold_is_400_and_holds_nothing(body: dict[str, object]) -> None:
    console = FakeConsole()
    answer = ask(console, "POST", "/api/v1/holds", headers=ADMIN, json=body)
    assert (answer.status_code, error(answer)["code"]) == (400, "bad_option")
    assert console.held == {}


def test_a_device_without_a_budget_is_404_with_those_that_have_one() -> None:
    for method, path in (("POST", "/api/v1/holds"), ("DELETE", "/api/v1/holds/gpu7")):
        answer = ask(FakeConsole(), method, path, headers=ADMIN, json={"device": "gpu7"} if method == "POST" else None)
        assert answer.status_code == 404
        assert error(answer)["message"] == "There is no device 'gpu7' with a budget; those that have one: gpu0."


def test_devices_are_for_those_who_may_see_all_models() -> None:
    assert get("/api/v1/devices", READ).json()["devices"][0]["name"] == "gpu0"
    assert get("/api/v1/devices", LIMITED).status_code == 403
