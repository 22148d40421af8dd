"""Hive's partitions: columns that a file does not hold, because the names of its directories say them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias
from urllib.parse import unquote_to_bytes

from forgetcli.errors import DataError
from forgetcli.printable import printable

Partitions: TypeAlias = Mapping[str, int | str | None]
"""By the column's name, the value that it has in all of a file; None is that it has none."""

NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
"""The directory's name for rows without a value."""

_INTEGER = re.compile(r"0|-?[1-9]\d{0,17}")
"""Canonical, and surely in 64 bits. "0012" stays text, as ids do."""


def partitions_of(files: Sequence[str]) -> dict[str, Partitions]:
    """By file, the columns that its path says: "country=DE/year=2024/part-0.parquet". A column's values are integers
    when they are in all of the files, else text.

    files: the paths from the named directory on, with "/" between their parts.

    Raises DataError for a name or a value that is not UTF-8: several such would come to be the same.
    """
    texts = {file: _texts(file) for file in files}
    names = dict.fromkeys(name for values in texts.values() for name in values)
    whole = {
        name: all(
            value is None or _INTEGER.fullmatch(value) for values in texts.values() for value in (values.get(name),)
        )
        for name in names
    }
    return {
        file: {name: int(value) if value is not None and whole[name] else value for name, value in values.items()}
        for file, values in texts.items()
    }


def _texts(file: str) -> dict[str, str | None]:
    pairs = (directory.partition("=") for directory in file.split("/")[:-1])
    return {
        _spelled(name): None if value == NO_VALUE else _spelled(value) for name, sign, value in pairs if sign and name
    }


def _spelled(part: str) -> str:
    """A part of a directory's name, without its escapes (%2F)."""
    try:
        return unquote_to_bytes(part.encode(errors="surrogateescape")).decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"a directory's name says {printable(part[:80])}, which is not UTF-8", hint="rename the directory"
        ) from error
