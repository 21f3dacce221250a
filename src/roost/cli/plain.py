"""Text from outside as plain text for the terminal. Used by all that renders."""

from rich.text import Text


def plain(text: object, style: str = "") -> Text:
    """No markup, one line, no escape codes."""
    return Text(Text.from_ansi(" ".join(str(text).split())).plain, style=style)
