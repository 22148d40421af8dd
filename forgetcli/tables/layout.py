"""Where the rows of delimited text begin and end, by the grammar that Arrow's CSV parser follows.

A field that begins with a quote runs to the next quote that is not doubled, and after it to the next delimiter; a
quote anywhere else is an ordinary character. A row ends at LF, CR LF or CR outside quotes, and empty rows do not count.
Arrow reads faster than this, but says neither on which line a row stands nor that the last quote never closed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

QUOTE, CR, LF = b'"\r\n'


@dataclass(frozen=True)
class Dialect:
    """How the fields of a text table are separated.

    delimiter: the one byte between two fields.
    quoting:   whether quotes can enclose a field.
    """

    delimiter: bytes
    quoting: bool = True


@dataclass(frozen=True)
class Rows:
    """The rows of a piece of text, without the empty ones; all arrays (n,).

    starts, ends: int64, the bytes of the rows, line ends included.
    lines:        int64, the line that each row begins on, from 0.
    fields:       int64, the number of its fields.
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    lines: NDArray[np.int64]
    fields: NDArray[np.int64]


def quote_toggles(text: bytes, dialect: Dialect) -> NDArray[np.int64]:
    """The increasing positions of the quotes at which the text passes into a quoted field or out of it, (n,); an
    odd number of them means that the last quoted field does not end here. `text` begins with a row."""
    if not dialect.quoting or b'"' not in text:
        return np.empty(0, np.int64)
    characters = np.frombuffer(text, np.uint8)
    quotes = np.flatnonzero(characters == QUOTE)
    # Where every quote encloses or is doubled, each one toggles. Then each that opens stands at the start of a field
    # or right behind the one that closed: a doubled quote.
    opening = quotes[::2]
    before = characters[opening - 1]
    at_start = (opening == 0) | (before == dialect.delimiter[0]) | (before == CR) | (before == LF)
    if np.all(at_start | (before == QUOTE)):
        return quotes
    delimiter = re.escape(dialect.delimiter)
    quoted = re.compile(rb"(?<![^" + delimiter + rb'\r\n])"[^"]*(?:""[^"]*)*("|\Z)')
    toggles = [
        position
        for match in quoted.finditer(text)
        for position in ((match.start(), match.end() - 1) if match[1] else (match.start(),))
    ]
    return np.array(toggles, np.int64)


def last_row_end(text: bytes, dialect: Dialect) -> int:
    """The end of the last row that surely ends inside the text, its line end included; 0 where none does."""
    toggles = quote_toggles(text, dialect)
    line_end = b"\n" if b"\n" in text else b"\r"
    # A CR at the very end may be the first half of a CR LF.
    end = len(text) if line_end == b"\n" else len(text) - 1
    while (end := text.rfind(line_end, 0, end)) >= 0:
        if not _inside(toggles, np.array([end]))[0]:
            return end + 1
        end = int(toggles[np.searchsorted(toggles, end) - 1])
    return 0


def count_lines(text: bytes) -> int:
    """The number of line ends, those inside quotes too."""
    if b"\r" not in text:
        return text.count(b"\n")
    return text.count(b"\n") + text.count(b"\r") - text.count(b"\r\n")


def find_rows(text: bytes, dialect: Dialect) -> Rows:
    """All rows of a text that begins with a row; one that does not end at the end of the text counts as a row."""
    characters = np.frombuffer(text, np.uint8)
    toggles = quote_toggles(text, dialect)
    line_ends = np.flatnonzero((characters == LF) | (characters == CR) & (np.append(characters[1:], 0) != LF))
    row_ends = line_ends[~_inside(toggles, line_ends)] + 1
    if len(text) and (len(row_ends) == 0 or row_ends[-1] < len(text)):
        row_ends = np.append(row_ends, len(text))
    starts = np.concatenate(([0], row_ends[:-1])).astype(np.int64) if len(row_ends) else row_ends
    delimiters = np.flatnonzero(characters == dialect.delimiter[0])
    delimiters = delimiters[~_inside(toggles, delimiters)]
    fields = np.searchsorted(delimiters, row_ends) - np.searchsorted(delimiters, starts) + 1
    lines = np.searchsorted(line_ends, starts)
    # A row is empty when its first character belongs to its line end.
    filled = (characters[starts] != LF) & (characters[starts] != CR) if len(starts) else np.empty(0, bool)
    return Rows(starts[filled], row_ends[filled], lines[filled], fields[filled])


def _inside(toggles: NDArray[np.int64], positions: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.searchsorted(toggles, positions) % 2 == 1  # type: ignore[no-any-return]
