"""Tables that other Python libraries hold in memory, taken over Arrow's C interface: nothing is copied that they keep
as Arrow does, and none of them is imported."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol, TypeGuard, runtime_checkable

import pyarrow as pa

from forgetcli.errors import DataError
from forgetcli.printable import printable
from forgetcli.tables.batches import Batch, Table
from forgetcli.tables.columns import ColumnOptions, Wanted, find_columns, find_tested
from forgetcli.tables.filters import Filter
from forgetcli.tables.typed import TypedColumns, cut


@runtime_checkable
class ArrowTable(Protocol):
    """What hands out its rows over Arrow's C interface: data frames of pandas (2.2 or later) and Polars, relations of
    DuckDB, tables, datasets and readers of PyArrow, and whatever else has this method."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """A PyCapsule with an ArrowArrayStream."""


def is_frame(value: object) -> TypeGuard[ArrowTable]:
    """Whether a value is a table in memory, rather than a path or several."""
    return (
        hasattr(value, "__arrow_c_stream__") or hasattr(value, "__arrow_c_array__") or hasattr(value, "__dataframe__")
    )


def frame_name(frame: object) -> str:
    """What to call it in messages: "the pandas DataFrame"."""
    kind = type(frame)
    return f"the {kind.__module__.partition('.')[0].lstrip('_')} {kind.__name__}"


def frame_table(name: str, frame: object, options: ColumnOptions, wanted: Wanted, where: Filter | None = None) -> Table:
    """The rows of a table in memory. Of data frames the columns asked for alone are looked at.

    Raises DataError for columns that Arrow cannot hold, and as `TypedColumns.find` does.
    """
    try:
        reader = _reader(_columns_alone(name, frame, options, wanted, where))
        columns = TypedColumns.find(name, reader.schema.names, options, wanted, where, {})
    except (pa.ArrowException, TypeError, UnicodeError) as error:
        raise _unusable(name, error) from error
    return Table(name, columns.found, _pieces(name, columns, reader))


def _pieces(name: str, columns: TypedColumns, reader: pa.RecordBatchReader) -> Iterator[Callable[[], Batch]]:
    try:
        for first, records in cut(reader):
            yield partial(columns.batch, records, first)
    except (pa.ArrowException, OSError) as error:  # a query that fails while it runs
        raise _unusable(name, error) from error


def _unusable(name: str, error: Exception) -> DataError:
    said = next(iter(str(error).splitlines()), type(error).__name__)
    return DataError(f"{name} cannot be read: {printable(said[:200])}")


def _reader(frame: object) -> pa.RecordBatchReader:
    if hasattr(frame, "__arrow_c_stream__"):
        try:
            return pa.RecordBatchReader.from_stream(frame)
        except MemoryError:
            raise
        except Exception as error:  # of the library that made it: DuckDB begins with the query here
            raise pa.ArrowInvalid(str(error)) from error
    if hasattr(frame, "__arrow_c_array__"):
        return pa.table(pa.record_batch(frame)).to_reader()
    from pyarrow.interchange import from_dataframe

    return from_dataframe(frame).to_reader()


def _columns_alone(name: str, frame: Any, options: ColumnOptions, wanted: Wanted, where: Filter | None) -> object:
    """A data frame's columns that are asked for, each taken by itself: others may be of no type that Arrow knows, and
    pandas copies when it cuts columns out. What is no data frame stays as it is."""
    keys = _keys(frame)
    if keys is None:
        return frame
    names = [str(key) for key in keys]
    found = find_columns(name, names, options, wanted)
    tested = find_tested(name, names, where)
    places = sorted({column.position for column in (*found.values(), *tested.values())})
    series = {names[place]: frame[keys[place]] for place in places}
    if not all(hasattr(each, "__arrow_c_stream__") for each in series.values()):
        return frame
    return pa.table({key: pa.chunked_array(each) for key, each in series.items()})


def _keys(frame: Any) -> list[Any] | None:
    """The columns of a data frame as it names them; None for what is not like one of pandas or Polars."""
    if isinstance(frame, (pa.Table, pa.RecordBatch)) or not hasattr(frame, "__array__"):
        return None
    return list(frame.columns) if hasattr(frame, "columns") and hasattr(frame, "__getitem__") else None
