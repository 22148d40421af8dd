"""Batches of rows from Parquet files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq

from forgetcli.errors import UsageError
from forgetcli.tables.batches import Batch, Table
from forgetcli.tables.columns import Column, ColumnOptions, Role, Wanted, find_columns

BATCH_ROWS = 1 << 19
"""A batch of ids and ratings is about 12 MiB then: large beside the cost of a call, small beside the whole."""

READ_BUFFER = 1 << 20
"""Bytes read ahead in a column; without it Arrow loads a row group's whole column, and some writers make only one."""


def parquet_table(name: str, file: pa.NativeFile, options: ColumnOptions, wanted: Wanted, threads: int) -> Table:
    """The rows of an open Parquet file, only the columns asked for being read.

    Raises UsageError when the options name columns by position, and as `find_columns` does.
    """
    if options.columns is not None:
        raise UsageError(f"--columns is for text files without a header; {name} is Parquet and names its columns")
    # Pre-buffering holds the raw bytes of all row groups at once.
    parquet = pq.ParquetFile(file, pre_buffer=False, buffer_size=READ_BUFFER, page_checksum_verification=True)
    found = find_columns(name, parquet.schema_arrow.names, options, wanted)
    return Table(name, found, _pieces(parquet, name, found, threads))


def _pieces(
    file: pq.ParquetFile, source: str, found: Mapping[Role, Column], threads: int
) -> Iterator[Callable[[], Batch]]:
    names = [file.schema_arrow.names[column.position] for column in found.values()]
    first = 1
    for records in file.iter_batches(BATCH_ROWS, columns=names, use_threads=threads != 1):
        columns = {role: records.column(name) for role, name in zip(found, names, strict=True)}
        yield partial(Batch, source, found, columns, records.num_rows, True, partial(_row, first))
        first += records.num_rows


def _row(first: int, row: int) -> str:
    return f"row {first + row}"
