"""Text from outside as plain text for the terminal, and moments as people read them. Used by all that renders."""

from datetime import datetime

from rich.text import Text


def plain(text: object, style: str = "") -> Text:
    """No markup, one line, no escape codes."""
    return Text(Text.from_ansi(" ".join(str(text).split())).plain, style=style)


def moment(iso: str, *, dated: bool = False) -> str:
    """`Fri 18:00`, or `Fri 20 Nov 18:00`: in the time zone of whoever reads it."""
    return datetime.fromisoformat(iso).astimezone().strftime("%a %d %b %H:%M" if dated else "%a %H:%M")
