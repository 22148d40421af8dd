"""Files for the tests of tables, and what was read from them in plain Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from forgetcli.tables import ReadResult

Row = tuple[str, str, float]


def as_rows(result: ReadResult) -> list[Row]:
    """(user, item, value) of every interaction, by user, then item, with the ids as text."""
    read = result.interactions
    return [
        (read.users.label(user), read.items.label(item), value)
        for user, item, value in zip(
            read.by_user.row_numbers().tolist(),
            read.by_user.indices.tolist(),
            read.by_user.values.tolist(),
            strict=True,
        )
    ]


def write(path: Path, content: str | bytes) -> Path:
    """The file, made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def write_parquet(path: Path, columns: Mapping[str, Sequence[Any] | pa.Array], **options: Any) -> Path:
    """A Parquet file of these columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(dict(columns)), path, **options)
    return path
