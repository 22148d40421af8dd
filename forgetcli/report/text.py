"""Plain text for people: messages, numbers, summaries of 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from forgetcli.printable import printable

WIDTH = 80
LABEL_WIDTH = 11
SPARKS = "▁▂▃▄▅▆▇█"
SPARKLINE_LENGTH = 24


def error_block(message: str, hint: str | None) -> str:
    """An error as it goes to standard error: what and where, then what to try."""
    lines = [notice("error", message)]
    if hint:
        lines.append(_wrapped(printable(hint), "  ", "  "))
    return "\n".join(lines)


def notice(kind: str, message: str) -> str:
    """An error or a warning."""
    return _wrapped(printable(message), f"forget: {kind}: ", "  ")


def summary(rows: Iterable[tuple[str, str]]) -> str:
    """Labelled lines, the texts aligned and wrapped."""
    return "\n".join(_wrapped(text, f"{label:<{LABEL_WIDTH}}", " " * LABEL_WIDTH) for label, text in rows)


def paragraph(text: str) -> str:
    """Running text."""
    return _wrapped(printable(text), "", "")


def count(number: int, singular: str, plural: str | None = None) -> str:
    """A number of things: "1 user", "2,000 users"."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def size(n_bytes: int) -> str:
    """Bytes in the unit that suits them."""
    amount = float(n_bytes)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "bytes" or amount >= 100 else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:,.1f} TB"


def duration(seconds: float) -> str:
    """A time that passed."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def figure(value: float) -> str:
    """A number of six digits at most, without an exponent where it can do without."""
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:.4e}" if abs(value) >= 1e6 else f"{value:.2e}"


def metrics(values: dict[str, float]) -> str:
    """Validation metrics: "RMSE 0.8612, MAE 0.6711"."""
    return ", ".join(f"{name.upper()} {value:.4f}" for name, value in values.items())


def sparkline(values: Sequence[float]) -> str:
    """The course of some values, the lowest and the highest as the smallest and the tallest bar; at most
    SPARKLINE_LENGTH of them, evenly chosen."""
    if len(values) < 2:
        return ""
    length = min(len(values), SPARKLINE_LENGTH)
    chosen = [values[round(i * (len(values) - 1) / (length - 1))] for i in range(length)]
    low, high = min(chosen), max(chosen)
    step = (high - low) / (len(SPARKS) - 1) or 1.0
    return "".join(SPARKS[round((value - low) / step)] for value in chosen)


def _wrapped(text: str, first: str, following: str) -> str:
    return textwrap.fill(
        text, WIDTH, initial_indent=first, subsequent_indent=following, break_long_words=False, break_on_hyphens=False
    )
