"""Places in JSON bodies."""

from typing import Any

import pytest

from roost.core.places import find, parse

BODY: dict[str, Any] = {
    "status": "ok",
    "a": {"b": None, "c-d": 1},
    "results": [{"ok": True}, {"ok": False}],
    "grid": [[1, 2], [3, 4]],
    "data": [{"id": "x"}, {"id": "org/llama-3.2", "status": {"value": "loaded"}}, {"id": 7, "n": 1}],
}


@pytest.mark.parametrize(("place", "value"), [
    ("status", "ok"),
    ("a.b", None),
    ("a.c-d", 1),
    ("results[0].ok", True),
    ("results[1]", {"ok": False}),
    ("grid[1][0]", 3),
    ("data[id=org/llama-3.2].status.value", "loaded"),
    ("data[id=7].n", 1),
])  # fmt: skip
def test_a_place_is_found(place: str, value: object) -> None:
    assert find(BODY, place) == (True, value)


@pytest.mark.parametrize("place", [
    "nothing", "status.deeper", "a.b.c", "results[2]", "results.ok", "a[0]", "status[0]", "data[id=y]", "data[name=x]",
])  # fmt: skip
def test_a_place_that_is_not_there_is_not_found(place: str) -> None:
    assert find(BODY, place) == (False, None)


def test_a_body_that_is_a_list_can_be_looked_into() -> None:
    assert find([{"ok": 1}], "[0].ok") == (True, 1)
    assert find("text", "[0]") == (False, None)


@pytest.mark.parametrize(("place", "said"), [
    ("", "names no place"),
    (".a", "no name at character 1"),
    ("a.", "no name at character 3"),
    ("a..b", "no name at character 3"),
    ("a[0", "not closed"),
    ("a]", "lacks a dot"),
    ("a[0]b", 'lacks a dot before "b"'),
    ("a[x]", 'not "x"'),
    ("a[-1]", 'not "-1"'),
    ("a[]", 'not ""'),
    ("a[=x]", 'not "=x"'),
])  # fmt: skip
def test_a_place_that_cannot_be_read_is_a_sentence(place: str, said: str) -> None:
    with pytest.raises(ValueError, match=r"^.+$") as caught:
        parse(place)
    assert said in str(caught.value)
    assert f'"{place}"' in str(caught.value)
