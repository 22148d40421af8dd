"""Batches of rows from Arrow's own files (Feather) and streams."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial

import pyarrow as pa

from forgetcli.errors import DataError
from forgetcli.tables.batches import Batch, Table
from forgetcli.tables.columns import ColumnOptions, Wanted
from forgetcli.tables.filters import Filter
from forgetcli.tables.parquet import MOST_ROWS, MOST_ROWS_A_BYTE
from forgetcli.tables.partitions import Partitions
from forgetcli.tables.typed import TypedColumns, cut


def arrow_table(
    name: str,
    file: pa.NativeFile,
    options: ColumnOptions,
    wanted: Wanted,
    where: Filter | None = None,
    partitions: Partitions | None = None,
    *,
    is_stream: bool,
) -> Table:
    """The rows of an open Arrow file, only the columns asked for being read, or of a stream, of which all have to be.

    Raises as `TypedColumns.find` does.
    """
    with _sound():
        reader = pa.ipc.open_stream(file) if is_stream else pa.ipc.open_file(file)
        names = reader.schema.names
    columns = TypedColumns.find(name, names, options, wanted, where, partitions or {})
    batches = reader if is_stream else _projected(file, columns)
    return Table(name, columns.found, _pieces(columns, _in_proportion(name, batches)))


@contextmanager
def _sound() -> Iterator[None]:
    """Turns whatever Arrow says of a file that is damaged into the one error for that: sizes beyond all memory too."""
    try:
        yield
    except (UnicodeDecodeError, MemoryError, pa.ArrowException) as error:
        raise pa.ArrowInvalid(str(error)) from error


def _projected(file: pa.NativeFile, columns: TypedColumns) -> Iterator[pa.RecordBatch]:
    file.seek(0)
    reader = pa.ipc.open_file(file, options=pa.ipc.IpcReadOptions(included_fields=columns.in_file()))
    return (reader.get_batch(number) for number in range(reader.num_record_batches))


def _in_proportion(name: str, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The batches, as long as their rows are in proportion to their bytes. Nulls and runs of one value take no room, so
    that a few bytes can say that they are billions of rows; see `parquet.check_rows`. Raises DataError."""
    rows = size = 0
    for records in batches:
        rows, size = rows + records.num_rows, size + records.nbytes
        if rows > MOST_ROWS + MOST_ROWS_A_BYTE * size:
            raise DataError(f"{name} says that it has {rows:,} rows and more, in {size:,} bytes")
        yield records


def _pieces(columns: TypedColumns, batches: Iterator[pa.RecordBatch]) -> Iterator[Callable[[], Batch]]:
    with _sound():
        for first, records in cut(batches):
            yield partial(columns.batch, records, first)
