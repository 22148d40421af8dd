"""What tables whose columns have types have in common: Parquet, Arrow, and whatever hands out Arrow's batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from forgetcli.errors import UsageError
from forgetcli.tables.batches import Batch
from forgetcli.tables.columns import Column, ColumnOptions, Role, Wanted, find_columns, find_tested
from forgetcli.tables.filters import Filter
from forgetcli.tables.ids import plain_values
from forgetcli.tables.partitions import Partitions

BATCH_ROWS = 1 << 19
"""A batch of ids and ratings is about 12 MiB then: large beside the cost of a call, small beside the whole."""


@dataclass(frozen=True)
class TypedColumns:
    """Which columns of a file are wanted, and where each comes from.

    source:     the file's name, for messages.
    names:      of all its columns, those of its path at the end.
    found:      the columns that play a role, and
    tested:     those that a filter names.
    partitions: the values that the path says; they win over a column of the same name.
    """

    source: str
    names: Sequence[str]
    found: Mapping[Role, Column]
    tested: Mapping[str, Column]
    partitions: Partitions

    @classmethod
    def find(
        cls,
        source: str,
        names: Sequence[str],
        options: ColumnOptions,
        wanted: Wanted,
        where: Filter | None,
        partitions: Partitions,
    ) -> TypedColumns:
        """Of a file with columns of these names. Raises as `find_columns` and `find_tested` do, and UsageError when the
        options name columns by position."""
        if options.columns is not None:
            raise UsageError(f"`columns` is for text files without a header; {source} has types and names its columns")
        names = [*names, *(name for name in partitions if name not in names)]
        found = find_columns(source, names, options, wanted)
        return cls(source, names, found, find_tested(source, names, where), partitions)

    def in_file(self) -> list[int]:
        """The positions of the columns to read from the file, in its order."""
        positions = {column.position for column in (*self.found.values(), *self.tested.values())}
        return sorted(position for position in positions if self.names[position] not in self.partitions)

    def tested_in_file(self) -> list[str]:
        """The names of the columns in the file that a filter looks at."""
        return [
            self.names[column.position]
            for column in self.tested.values()
            if self.names[column.position] not in self.partitions
        ]

    def batch(self, records: pa.RecordBatch, first: int) -> Batch:
        """The batch of records that begin with this row of the file, counted from 1.

        Raises ArrowInvalid where what the file says would make Arrow read outside its memory, or is no text.
        """
        for position in self.in_file():
            records.column(self.names[position]).validate(full=True)

        def values(column: Column) -> pa.Array:
            name = self.names[column.position]
            if name not in self.partitions:
                return plain_values(records.column(name))
            value = self.partitions[name]
            return pa.nulls(records.num_rows) if value is None else pa.repeat(value, records.num_rows)

        return Batch(
            self.source,
            self.found,
            {role: values(column) for role, column in self.found.items()},
            records.num_rows,
            True,
            partial(_row, first),
            tested={name: values(column) for name, column in self.tested.items()},
            tested_columns=self.tested,
        )


def cut(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The records in batches of at most BATCH_ROWS, each with its first row, counted from 1."""
    first = 1
    for records in batches:
        for begin in range(0, records.num_rows, BATCH_ROWS):
            part = records.slice(begin, BATCH_ROWS)
            yield first, part
            first += part.num_rows


def _row(first: int, row: int) -> str:
    return f"row {first + row}"
