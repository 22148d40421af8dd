"""Batches of rows from Parquet files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import groupby

import pyarrow as pa
import pyarrow.parquet as pq

from forgetcli.errors import DataError
from forgetcli.tables.batches import Batch, Table
from forgetcli.tables.columns import ColumnOptions, Wanted
from forgetcli.tables.filters import Filter
from forgetcli.tables.footer import check_footer, read_footer
from forgetcli.tables.partitions import Partitions
from forgetcli.tables.typed import BATCH_ROWS, TypedColumns

READ_BUFFER = 1 << 20
"""Bytes read ahead in a column; without it Arrow loads a row group's whole column, and some writers make only one."""

MOST_ROWS, MOST_ROWS_A_BYTE = 1 << 24, 1000
"""Of a file: so many rows, and so many more for each of its bytes. Runs of one value take no room in Parquet, so that a
file of a few bytes can say that it has billions of rows; no interactions that anybody had come near this."""


def check_rows(parquet: pq.ParquetFile, size: int, name: str) -> None:
    """Raises DataError where a Parquet file of `size` bytes says that it has more rows than such a one may have."""
    rows = parquet.metadata.num_rows
    if rows > MOST_ROWS + MOST_ROWS_A_BYTE * size:
        raise DataError(f"{name} says that it has {rows:,} rows, in {size:,} bytes")


def parquet_table(
    name: str,
    file: pa.NativeFile,
    options: ColumnOptions,
    wanted: Wanted,
    threads: int,
    where: Filter | None = None,
    partitions: Partitions | None = None,
    *,
    remote: bool = False,
) -> Table:
    """The rows of an open Parquet file, only the columns asked for being read, and only the row groups in which the
    file's statistics do not rule the filter out.

    remote: whether each read costs a round trip, so that few large ones are better than many small ones.

    Raises as `TypedColumns.find` does.
    """
    # Pre-buffering holds the raw bytes of all row groups at once that are read at once.
    buffer = 0 if remote else READ_BUFFER
    parquet = pq.ParquetFile(file, pre_buffer=remote, buffer_size=buffer, page_checksum_verification=True)
    check_rows(parquet, file.size(), name)
    columns = TypedColumns.find(name, parquet.schema_arrow.names, options, wanted, where, partitions or {})
    if where is None:
        groups: range | list[int] = range(parquet.num_row_groups)
    else:
        footer = read_footer(file)
        check_footer(footer, file.size(), columns.tested_in_file())
        groups = _groups_to_read(footer, where, columns.partitions)
    runs = _runs(parquet, groups, longest=1 if remote else None)
    return Table(name, columns.found, _pieces(parquet, columns, runs, threads))


def _pieces(
    file: pq.ParquetFile, columns: TypedColumns, runs: Iterator[tuple[int, list[int]]], threads: int
) -> Iterator[Callable[[], Batch]]:
    names = [columns.names[position] for position in columns.in_file()]
    for first, run in runs:
        for records in file.iter_batches(BATCH_ROWS, row_groups=run, columns=names, use_threads=threads != 1):
            yield partial(columns.batch, records, first)
            first += records.num_rows


def _runs(
    file: pq.ParquetFile, groups: range | list[int], longest: int | None = None
) -> Iterator[tuple[int, list[int]]]:
    """The row groups in runs of neighbours, each with its first row, counted from 1.

    longest: how many row groups a run may have, at most.
    """
    firsts = [1]
    for group in range(file.num_row_groups):
        firsts.append(firsts[-1] + file.metadata.row_group(group).num_rows)
    for _, run in groupby(enumerate(groups), key=lambda each: each[1] - each[0]):
        members = [group for _, group in run]
        for begin in range(0, len(members), longest or len(members)):
            part = members[begin : begin + (longest or len(members))]
            yield firsts[part[0]], part


def _groups_to_read(footer: bytes, where: Filter, partitions: Partitions) -> list[int]:
    """The row groups that may hold a row that the filter lets through."""
    import pyarrow.dataset as ds

    from forgetcli.tables.matching import pruning

    fragment = ds.ParquetFileFormat().make_fragment(pa.BufferReader(footer))
    schema = fragment.physical_schema
    stored = pa.schema([field for field in schema if field.name not in partitions])
    kept = fragment.subset(filter=pruning(where, stored), schema=schema)
    return [group.id for group in kept.row_groups]
