"""A block of text to a batch of Arrow columns: fast where every row is good, row by row where one is not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from forgetcli.tables.batches import Batch, Fault, Mask, convertible
from forgetcli.tables.columns import Column, Role
from forgetcli.tables.layout import Dialect, find_rows

INTEGER = r"^[+-]?\d{1,19}$"
NUMBER = r"^[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|(?i:nan|inf|infinity))$"
DATE = r"^\d{4}-\d\d-\d\d([ T].*)?$"
"""What every integer, number and ISO 8601 date that Arrow reads looks like; a few that it does not read do too."""

TIME_TYPES = (
    (pa.int64(), INTEGER),
    (pa.float64(), NUMBER),
    (pa.timestamp("s"), DATE),
    (pa.timestamp("ns"), DATE),
    (pa.timestamp("ns", "UTC"), DATE),
)
"""What a time in text can be: a number, or ISO 8601 without or with a time zone."""


@dataclass(frozen=True)
class Block:
    """Some whole rows of a text table.

    text: the bytes.
    line: the line of the file on which they begin, from 1.
    """

    text: bytes
    line: int
    dialect: Dialect


@dataclass(frozen=True)
class TextColumns:
    """What is the same for all blocks of a text file.

    source: its name, for messages.
    width:  the number of fields of every row.
    found:  the columns to read.
    tested: those that a filter names; the ones that play no role are read as text.
    """

    source: str
    width: int
    found: Mapping[Role, Column]
    tested: Mapping[str, Column] = field(default_factory=dict)

    def roles(self) -> dict[int, Role | None]:
        """The role of every column to read, by its position."""
        roles: dict[int, Role | None] = {column.position: None for column in self.tested.values()}
        return roles | {column.position: role for role, column in self.found.items()}

    def batch(self, block: Block, values: Mapping[int, pa.Array], length: int, faults: tuple[Fault, ...] = ()) -> Batch:
        """The batch of these columns, by position."""
        return Batch(
            self.source,
            self.found,
            {role: values[column.position] for role, column in self.found.items()},
            length,
            False,
            partial(_line, block),
            faults,
            {name: values[column.position] for name, column in self.tested.items()},
            self.tested,
        )


def parse(block: Block, columns: TextColumns) -> Batch:
    """The rows of the block: ids and titles as large_string, ratings as float64, times as whatever they are."""
    types: dict[int, pa.DataType | None] = {
        position: None if role == "timestamp" else pa.float64() if role == "rating" else pa.large_string()
        for position, role in columns.roles().items()
    }
    try:
        read = _read_csv(block.text, block.dialect, columns.width, types)
    except pa.ArrowInvalid:
        return _parse_carefully(block, columns)
    if "timestamp" in columns.found and not _is_time(read[columns.found["timestamp"].position].type):
        return _parse_carefully(block, columns)
    return columns.batch(block, read, len(next(iter(read.values()))))


def _read_csv(
    text: bytes, dialect: Dialect, width: int, types: Mapping[int, pa.DataType | None]
) -> dict[int, pa.Array]:
    """The columns at these positions by Arrow's parser, each one array; one without a type gets what Arrow finds.

    Raises ArrowInvalid when a row is ragged or a value is not of its column's type.
    """
    if not text:
        return {position: pa.nulls(0, kind or pa.null()) for position, kind in types.items()}
    table = pacsv.read_csv(
        pa.BufferReader(text),
        read_options=pacsv.ReadOptions(
            column_names=[str(i) for i in range(width)], use_threads=False, block_size=len(text) + 1
        ),
        parse_options=pacsv.ParseOptions(
            delimiter=dialect.delimiter.decode(), newlines_in_values=True, quote_char='"' if dialect.quoting else False
        ),
        convert_options=pacsv.ConvertOptions(
            include_columns=[str(position) for position in types],
            null_values=[""],
            column_types={str(position): kind for position, kind in types.items() if kind is not None},
            strings_can_be_null=False,
        ),
    )
    return {position: _one_array(table.column(str(position))) for position in types}


def _parse_carefully(block: Block, columns: TextColumns) -> Batch:
    """The same for a block in which something is wrong, with the faults of its rows."""
    rows = find_rows(block.text, block.dialect)
    whole = rows.fields == columns.width
    faults = [
        Fault(rows.fields == fields, f"{fields} fields where there are {columns.width} columns")
        for fields in np.unique(rows.fields[~whole]).tolist()
    ]
    text = block.text if whole.all() else _kept(block.text, rows.starts[whole], rows.ends[whole])
    roles = columns.roles()
    raw = _read_csv(text, block.dialect, columns.width, dict.fromkeys(roles, pa.large_binary()))
    names = {column.position: column.name for column in columns.tested.values()}
    places = np.where(whole, np.cumsum(whole) - 1, 0)
    parsed: dict[int, pa.Array] = {}
    for position, role in roles.items():
        spread = raw[position].take(pa.array(places, mask=~whole))
        parsed[position], fault = _converted(spread, role)
        if fault is not None:
            faults.append(fault if role is not None else replace(fault, column=names[position]))
    return columns.batch(block, parsed, len(whole), tuple(faults))


def _converted(raw: pa.Array, role: Role | None) -> tuple[pa.Array, Fault | None]:
    """One column from the bytes of its fields, with nulls where they are no such thing, and that as a fault."""
    texts, bad_text = cast_texts(raw, pa.large_string())
    if role not in ("rating", "timestamp"):
        return texts, Fault(bad_text, "not valid UTF-8", role) if bad_text.any() else None
    trimmed = pc.ascii_trim_whitespace(texts)
    given = pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.large_string()), trimmed)
    if role == "rating":
        numbers, bad = cast_texts(given, pa.float64(), NUMBER)
        bad |= bad_text
        return numbers, Fault(bad, "not a number", role) if bad.any() else None
    tried = (cast_texts(given, kind, pattern) for kind, pattern in TIME_TYPES)
    times, bad = min(tried, key=lambda cast: int(cast[1].sum()))
    bad |= bad_text
    return times, Fault(bad, "neither a number nor an ISO 8601 date", role) if bad.any() else None


def cast_texts(values: pa.Array, kind: pa.DataType, pattern: str = "") -> tuple[pa.Array, Mask]:
    """The values as `kind`, null where they are not, and which those are. A few distinct values stand for all."""
    encoded = values.dictionary_encode()
    good = convertible(encoded.dictionary, kind, pattern)
    distinct = encoded.dictionary.filter(pa.array(good)).cast(kind)
    places = pa.array(np.cumsum(good) - 1, mask=~good)
    indices = encoded.indices
    bad = np.zeros(len(values), np.bool_)
    filled = np.asarray(pc.fill_null(indices, -1))
    bad[filled >= 0] = ~good[filled[filled >= 0]]
    return distinct.take(places.take(indices)), bad


def _kept(text: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> bytes:
    """The rows that begin and end there, and nothing between them."""
    return b"".join(text[begin:end] for begin, end in zip(starts.tolist(), ends.tolist(), strict=True))


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    return (
        column.chunk(0)
        if column.num_chunks == 1
        else pa.concat_arrays(column.chunks)
        if column.num_chunks
        else (pa.nulls(0, column.type))
    )


def _is_time(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_int64(kind)
        or pa.types.is_float64(kind)
        or pa.types.is_timestamp(kind)
        or pa.types.is_date(kind)
        or pa.types.is_null(kind)
    )


def _line(block: Block, row: int) -> str:
    return f"line {block.line + int(find_rows(block.text, block.dialect).lines[row])}"
