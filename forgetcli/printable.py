"""Text from elsewhere, made harmless for a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text with everything that is not a visible character escaped, so that a name in a file or an id cannot drive
    a terminal, break a line or turn the direction of writing."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shorten(text: str, length: int) -> str:
    """The text, or as many of its first characters as make it `length` long together with an ellipsis."""
    return text if len(text) <= length else f"{text[: length - 1]}…"
