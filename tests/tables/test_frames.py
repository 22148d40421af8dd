"""Tables that other libraries hold in memory: read as files are, and not copied."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from forgetcli.errors import DataError, UsageError
from forgetcli.tables import ColumnOptions, read_ids, read_interactions, read_records
from forgetcli.tables.columns import Wanted
from forgetcli.tables.frames import frame_table
from tests.tables.tables_made import as_rows
from tests.test_layers import imported_names, modules

Columns = Mapping[str, Any]


def of_pandas(columns: Columns) -> object:
    return pytest.importorskip("pandas").DataFrame(columns)


def of_polars(columns: Columns) -> object:
    return pytest.importorskip("polars").DataFrame(columns)


def of_duckdb(columns: Columns) -> object:
    connection = pytest.importorskip("duckdb").connect()
    connection.register("t", pa.table(dict(columns)))
    return connection.sql("select * from t where user is not null")


def of_pyarrow(columns: Columns) -> object:
    return pa.table(dict(columns))


def of_batch(columns: Columns) -> object:
    return pa.record_batch(dict(columns))


def of_reader(columns: Columns) -> object:
    return pa.table(dict(columns)).to_reader(max_chunksize=2)


class Interchanged:
    """A data frame of before Arrow's C interface."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __dataframe__(self, *args: Any, **options: Any) -> Any:
        return self._table.__dataframe__(*args, **options)


def of_interchange(columns: Columns) -> object:
    return Interchanged(pa.table(dict(columns)))


KINDS = [of_pandas, of_polars, of_duckdb, of_pyarrow, of_batch, of_reader, of_interchange]
TABLE: Columns = {"junk": [1, 2, 3], "user": ["x", "y", "x"], "item": [1, 2, 3], "rating": [4.0, 2.5, 1.0]}
ROWS = [("x", "1", 4.0), ("x", "3", 1.0), ("y", "2", 2.5)]


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_kind_of_table_in_memory_is_read(make: Callable[[Columns], Any]) -> None:
    assert as_rows(read_interactions(make(TABLE))) == ROWS
    assert as_rows(read_interactions(make(TABLE), where="rating > 2 and junk < 3")) == [ROWS[0], ROWS[2]]
    request = read_records(make({"user": ["x"], "film": [3]}), ColumnOptions(item="film"))
    assert (len(request.pair_users), len(request.users)) == (1, 0)
    assert list(read_ids(make(TABLE), "item")) == [1, 2, 3]


@pytest.mark.parametrize("make", [of_pandas, of_polars, of_pyarrow])
def test_numbers_are_read_where_they_lie(make: Callable[[Columns], Any]) -> None:
    columns = {"user": np.arange(1000), "item": np.arange(1000), "rating": np.arange(1000.0), "junk": np.arange(1000)}
    frame = make(columns)
    table = frame_table("it", frame, ColumnOptions(), Wanted(("user", "item"), ("rating",)))
    batches = [piece() for piece in table.pieces]
    assert sum(batch.length for batch in batches) == 1000
    for name in ("user", "item", "rating"):
        column = frame[name]
        own = column.chunk(0).buffers()[1].address if make is of_pyarrow else _address(column)
        assert batches[0].columns[name].buffers()[1].address == own, name


def _address(series: Any) -> int:
    array = series.to_numpy()
    assert np.shares_memory(array, series.to_numpy())  # else it is no view
    return int(array.__array_interface__["data"][0])


def test_reading_a_large_frame_takes_no_memory_for_a_copy_of_it() -> None:
    n = 3_000_000
    columns = [
        pa.array(np.arange(n) % 1000),
        pa.array(np.arange(n) // 1000),
        pa.array(np.ones(n)),
        pa.array(np.ones(n)),
    ]
    table = pa.table(columns, names=["user", "item", "rating", "timestamp"])
    before = pa.total_allocated_bytes()
    pool_peak = pa.default_memory_pool().max_memory() or 0
    for piece in frame_table("it", table, ColumnOptions(), Wanted(("user", "item"), ("rating", "timestamp"))).pieces:
        piece()
    assert pa.total_allocated_bytes() - before < n
    assert (pa.default_memory_pool().max_memory() or 0) - pool_peak < n


def test_columns_that_nobody_asked_for_may_be_of_no_type_that_arrow_knows() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({**TABLE, "junk": [{1}, "x", 3.0]}, index=["a", "b", "c"])
    assert as_rows(read_interactions(frame)) == ROWS
    with pytest.raises(DataError, match="the pandas DataFrame cannot be read: "):
        read_interactions(frame, where="junk = 3")


def test_faults_of_a_frame_are_told_as_those_of_a_file() -> None:
    frame = of_pandas({"user": [1, None, 3], "item": [1, 2, 3]})
    with pytest.raises(DataError, match="the pandas DataFrame, row 2, column user: no user id"):
        read_interactions(frame)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="the pyarrow Table has no item column; its columns are: user, thing"):
        read_interactions(pa.table({"user": [1], "thing": [1]}))
    with pytest.raises(UsageError, match="no column 'x'"):
        read_interactions(of_polars(TABLE), where="x > 1")  # type: ignore[arg-type]


def test_a_query_that_fails_while_it_runs_is_told() -> None:
    duckdb = pytest.importorskip("duckdb")
    for good in (5000, 0):  # more than is read at once, and none
        query = (
            f"select i as user, case when i > {good} then error('it broke') else 1 end as item from range(9000) t(i)"
        )
        with pytest.raises(DataError, match="the duckdb DuckDBPyRelation cannot be read"):
            read_interactions(duckdb.connect().sql(query))


@pytest.mark.parametrize("kind", ["Categorical", "Enum"])
def test_categories_of_polars_are_text(kind: str) -> None:
    polars = pytest.importorskip("polars")
    category = polars.Categorical if kind == "Categorical" else polars.Enum(["x", "y"])
    frame = polars.DataFrame(dict(TABLE)).with_columns(polars.col("user").cast(category))
    assert as_rows(read_interactions(frame)) == ROWS
    assert as_rows(read_interactions(frame, where="user = 'y'")) == ROWS[2:]
    with_none = frame.with_columns(polars.Series("user", ["x", None, "y"], category))
    with pytest.raises(DataError, match="row 2, column user: no user id"):
        read_interactions(with_none)


def test_what_is_no_table_is_refused() -> None:
    polars = pytest.importorskip("polars")
    with pytest.raises(UsageError, match="has no rows yet") as raised:
        read_interactions(polars.LazyFrame({"user": [1]}))
    assert raised.value.hint == "call its collect()"
    for wrong in (7, [1, 2], None):
        with pytest.raises(UsageError, match="is no table"):
            read_interactions(wrong)  # type: ignore[arg-type]


def test_frames_and_files_are_one_table(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("user,item,rating\nz,1,3\n")
    assert len(as_rows(read_interactions([path, pa.table(dict(TABLE))]))) == 4


def test_no_module_imports_a_library_of_frames() -> None:
    # PyArrow itself looks for pandas where it is installed; this package never does.
    imported = {name.split(".")[0] for _, tree in modules() for name in imported_names(tree)}
    assert "numpy" in imported
    assert not imported & {"pandas", "polars", "duckdb"}
