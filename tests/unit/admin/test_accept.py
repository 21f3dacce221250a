import pytest

from roost.admin.accept import prefers_text

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "text"),
    [
        ("", False),
        ("*/*", False),
        ("application/json", False),
        ("text/plain", True),
        ("TEXT/Plain", True),
        ("text/*", True),
        ("text/plain, */*", False),
        ("text/plain, */*;q=0.1", True),
        ("text/plain;q=0.5, application/json", False),
        ("text/plain, application/json; q=0.9", True),
        ("text/plain;q=0, */*", False),
        ("application/json;q=0, */*", True),
        ("application/*;q=0.2, text/*;q=0.3", True),
        ("text/plain;charset=utf-8;q=0.4, application/json;q=0.5", False),
        ("text/plain;q=high, */*;q=0.1", False),
        ("text/plain;q=0.5, text/plain;q=1, application/json;q=0.7", True),
        (BROWSER, False),
        (",;,", False),
    ],
)
def test_text_only_where_it_ranks_above_json(accept: str, text: bool) -> None:
    assert prefers_text(accept) is text
