"""The ids of a model's rows, in their order, from a file beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from forgetcli.errors import DataError
from forgetcli.files import file_system_errors
from forgetcli.ids import Ids, as_ids
from forgetcli.interop.arrays import ids_of_array, read_array
from forgetcli.tables import ColumnOptions, read_ids

_MOST_DIGITS = 19
"""Of a number of 64 bits."""


def read_row_ids(path: str | Path, side: Literal["user", "item"], columns: ColumnOptions | None = None) -> Ids:
    """The ids in a .npy array of numbers or text, in a .txt file with one id a line, or in a table's column of that
    side (found as in data), one a row.

    Ids of a .txt file are numbers when all of them are, as Python would print them. Raises FileSystemError, and
    DataError for what is not ids.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".npy":
        return ids_of_array(read_array(path), str(path))
    if suffix != ".txt":
        return read_ids(path, side, columns)
    with file_system_errors(path, "read"):
        try:
            # Not splitlines: it ends lines at characters that an id may have.
            lines = Path(path).read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is not text in UTF-8") from error
    if not all(lines):
        raise DataError(f"{path} has an empty line, and every row needs an id")
    return as_ids([int(line) for line in lines]) if all(map(_is_number, lines)) else as_ids(lines)


def _is_number(line: str) -> bool:
    digits = line.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS and str(int(line)) == line
