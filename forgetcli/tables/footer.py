"""The index at the end of a Parquet file, checked before Arrow rules row groups out by it.

Where Arrow reads, it raises for an index that makes no sense; where it looks at statistics alone, it ends the process,
or takes the statistics of one type for those of another. So that part is read here once more: the compact protocol of
Apache Thrift (thrift/doc/specs/thrift-compact-protocol.md), in it the FileMetaData of parquet-format's parquet.thrift.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

Struct: TypeAlias = dict[int, Any]
"""By the number of the field: an integer, a truth value, bytes, a list, or another struct."""

READ_AT_ONCE = 1 << 16
"""Bytes: most indexes are shorter, so that one read is enough."""

ENDING = 8
"""Bytes behind the index: its length, and the file's magic."""

DEEPEST = 16
"""Structs and lists within each other: Parquet's have seven."""

ROW_GROUPS, COLUMNS, COLUMN_METADATA, CHUNK_TYPE, STATISTICS = 4, 1, 3, 1, 12
"""The numbers of the fields, from FileMetaData down."""
EXTREMES = (1, 2, 5, 6)
"""The fields of Statistics that hold a value: max, min, max_value, min_value."""

PHYSICAL_TYPES = {
    "BOOLEAN": (0, 1), "INT32": (1, 4), "INT64": (2, 8), "INT96": (3, 12), "FLOAT": (4, 4), "DOUBLE": (5, 8),
    "BYTE_ARRAY": (6, 0), "FIXED_LEN_BYTE_ARRAY": (7, 0),
}  # fmt: skip
"""Of each, its number and the bytes of a value; 0 where any length will do."""


def read_footer(file: pa.NativeFile) -> bytes:
    """The index of a Parquet file that Arrow has taken, its length and the magic behind it: by itself it opens as a
    file whose rows cannot be read."""
    size = file.size()
    end: bytes = file.read_at(min(size, READ_AT_ONCE), max(0, size - READ_AT_ONCE))
    length = int.from_bytes(end[-ENDING : -ENDING + 4], "little") + ENDING
    return end[-length:] if length <= len(end) else file.read_at(length, size - length)


def check_footer(footer: bytes, size: int, names: Container[str]) -> None:
    """Raises ArrowInvalid, or what Arrow raises, where the index cannot be relied on about the columns of these names,
    which are at the top of the schema.

    size: of the file.
    """
    metadata = pq.ParquetFile(pa.BufferReader(footer)).metadata
    schema = metadata.schema
    columns = [number for number in range(metadata.num_columns) if schema.column(number).path in names]
    try:
        for group in _Compact(footer[:-ENDING]).struct().get(ROW_GROUPS, ()):
            for number in columns:
                _check_chunk(group[COLUMNS][number][COLUMN_METADATA], schema.column(number).physical_type)
    except (IndexError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise pa.ArrowInvalid("the index at its end makes no sense") from error
    _check_by_arrow(metadata, size, [schema.column(number).path for number in columns])


def _check_chunk(chunk: Struct, kind: str) -> None:
    """Raises ValueError where a column chunk has another type than its column, or statistics that are too short."""
    code, width = PHYSICAL_TYPES[kind]
    if chunk[CHUNK_TYPE] != code:
        raise ValueError
    statistics: Struct = chunk.get(STATISTICS, {})
    if any(len(statistics[extreme]) < width for extreme in EXTREMES if extreme in statistics):
        raise ValueError


def _check_by_arrow(metadata: pq.FileMetaData, size: int, names: list[str]) -> None:
    """Lets Arrow open each of the column chunks, for which it raises what else is wrong, and read nothing of them."""
    file = pq.ParquetFile(pa.PythonFile(_NoPages(size), mode="r"), metadata=metadata, pre_buffer=False, buffer_size=1)
    for group in range(file.num_row_groups if names else 0):
        next(file.iter_batches(1, row_groups=[group], columns=names, use_threads=False), None)


class _NoPages:
    """A file of this size that ends wherever it is read: its columns then have no pages. It has what Arrow asks of a
    Python file."""

    closed = False

    def __init__(self, size: int) -> None:
        self._size = size
        self._at = 0

    def seek(self, position: int, whence: int = 0) -> int:
        """From the start, or from the end."""
        self._at = position + (self._size if whence == 2 else 0)
        return self._at

    def tell(self) -> int:
        """Where it is read next."""
        return self._at

    def read(self, size: int) -> bytes:
        """Nothing."""
        return b""

    def close(self) -> None:
        """Nothing to close."""


class _Compact:
    """Reads Thrift's compact protocol. What is no such thing raises IndexError, TypeError or ValueError."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0
        self._depth = 0

    def struct(self) -> Struct:
        """The fields of the struct that begins here. Each is there once: Arrow would lay a second over the first."""
        self._deeper()
        fields: Struct = {}
        number = 0
        while head := self._byte():
            step = head >> 4
            number = number + step if step else self._integer(bits=16)
            if number in fields or not 0 < number < 1 << 15:
                raise ValueError
            kind = head & 15
            fields[number] = kind == 1 if kind in (1, 2) else self._value(kind)
        self._depth -= 1
        return fields

    def _value(self, kind: int) -> Any:
        if kind in (4, 5, 6):
            return self._integer(bits=1 << kind)
        if kind == 8:
            return self._bytes(self._unsigned())
        if kind in (9, 10):
            return self._list()
        if kind == 12:
            return self.struct()
        if kind in (1, 2, 3):  # a truth value in a list has a byte of its own
            return self._byte()
        if kind == 7:
            return self._bytes(8)
        raise ValueError

    def _list(self) -> list[Any]:
        self._deeper()
        head = self._byte()
        length = head >> 4 if head >> 4 < 15 else self._unsigned()
        values = [self._value(head & 15) for _ in range(length)]
        self._depth -= 1
        return values

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > DEEPEST:
            raise ValueError

    def _byte(self) -> int:
        value = self._content[self._at]
        self._at += 1
        return value

    def _bytes(self, length: int) -> bytes:
        value = self._content[self._at : self._at + length]
        if len(value) < length:
            raise ValueError
        self._at += length
        return value

    def _unsigned(self) -> int:
        value = shift = 0
        while (byte := self._byte()) >= 128:
            value |= (byte & 127) << shift
            shift += 7
            if shift > 63:
                raise ValueError
        return value | byte << shift

    def _integer(self, bits: int) -> int:
        """Raises ValueError beyond so many bits, which Arrow would cut off."""
        value = self._unsigned()
        if value >> bits:
            raise ValueError
        return value >> 1 ^ -(value & 1)
