"""Factors as Parquet: a column of ids, and one of vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from forgetcli.errors import DataError
from forgetcli.ids import Ids, join_ids
from forgetcli.tables.ids import ids_from_arrow, ids_to_arrow
from forgetcli.tables.parquet import check_rows
from forgetcli.tables.sources import Source, file_errors, find_sources, open_file

ListKind: TypeAlias = Literal["fixed", "variable"]
"""Vectors of a type that knows their length (Arrow's fixed-size list, which LanceDB wants), or of lists."""

ROW_GROUP = 1 << 16
"""Rows in one Parquet row group: some 32 MiB at rank 128."""


def read_factor_table(path: str | Path, id_column: str, factor_column: str) -> tuple[Ids, NDArray[Any]]:
    """(n,) ids and (n, k) factors, float32 or float64, of a Parquet file or of all those in a directory.

    Raises FileSystemError, and DataError for other columns than those, another type, a missing value, or vectors of
    different lengths.
    """
    parts = [_read_part(source, id_column, factor_column) for source in find_sources(path)]
    parts = [part for part in parts if len(part[1])] or parts[:1]  # Spark writes files without rows, too
    if len({part[1].shape[1] for part in parts}) > 1:
        raise DataError(f"{path} has vectors of different lengths")
    return join_ids([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _read_part(source: Source, id_column: str, factor_column: str) -> tuple[Ids, NDArray[Any]]:
    assert source.path is not None  # what a model is read from is a local file
    with file_errors(source.name), open_file(source.path) as raw:
        file = pq.ParquetFile(raw, pre_buffer=False, page_checksum_verification=True)
        for column in (id_column, factor_column):
            if (count := file.schema_arrow.names.count(column)) != 1:
                raise DataError(f"{source.name} has {count or 'no'} column{'s' if count else ''} {column!r}")
        check_rows(file, raw.size(), source.name)
        table = file.read([id_column, factor_column])
        table.validate(full=True)  # what the offsets of lists and texts point at, before they are followed
        ids, vectors = table[id_column], table[factor_column]
        if ids.null_count or vectors.null_count:
            raise DataError(f"{source.name} has rows without an id or without a vector")
        return _ids(_whole(ids), source.name), _matrix(_whole(vectors), source.name)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _ids(column: pa.Array, name: str) -> Ids:
    if pa.types.is_integer(column.type):
        return ids_from_arrow(column.cast(pa.int64()))
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return ids_from_arrow(column.cast(pa.large_string()))
    raise DataError(f"{name} has ids of type {column.type}, and ids are integers or text")


def _matrix(column: pa.Array, name: str) -> NDArray[Any]:
    kind = column.type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not is_list or kind.value_type not in (pa.float32(), pa.float64()):
        raise DataError(f"{name} has factors of type {kind}, and factors are lists of float32 or float64")
    values = column.flatten()
    n = len(column)
    k = len(values) // n if n else 0
    lengths = np.asarray(column.value_lengths()) if not pa.types.is_fixed_size_list(kind) else np.full(n, k)
    if values.null_count or (lengths != k).any():
        raise DataError(f"{name} has vectors of different lengths, or with missing values")
    return np.array(values).reshape(n, k)


def write_factor_table(
    file: BinaryIO,
    ids: Ids,
    factors: NDArray[Any],
    *,
    id_column: str = "id",
    factor_column: str = "factors",
    id_type: Literal["int32"] | None = None,
    bias: NDArray[Any] | None = None,
    lists: ListKind = "fixed",
    metadata: dict[str, str] | None = None,
) -> None:
    """Writes (n,) ids and (n, k) factors, one row each, to an open binary file.

    id_type:  "int32" for ids that all fit it; None writes int64 or text, as they are.
    bias:     (n,), a third column.
    metadata: of the file, beside the rows.
    """
    element = pa.field("element", pa.from_numpy_dtype(factors.dtype), nullable=False)
    vectors = pa.list_(element, factors.shape[1]) if lists == "fixed" else pa.list_(element)
    id_array = ids_to_arrow(ids)
    id_array = id_array.cast(pa.int32()) if id_type == "int32" else id_array
    fields = [
        pa.field(id_column, id_array.type, nullable=False),
        pa.field(factor_column, vectors),
    ]
    if bias is not None:
        fields.append(pa.field("bias", pa.from_numpy_dtype(bias.dtype), nullable=False))
    schema = pa.schema(fields, metadata=metadata or None)
    with pq.ParquetWriter(pa.PythonFile(file, mode="w"), schema, compression="snappy") as writer:
        for begin in range(0, max(len(factors), 1), ROW_GROUP):
            part = factors[begin : begin + ROW_GROUP]
            flat = pa.array(np.ascontiguousarray(part).reshape(-1))
            columns = [id_array.slice(begin, len(part)), _lists(flat, len(part), factors.shape[1], vectors, lists)]
            if bias is not None:
                columns.append(pa.array(bias[begin : begin + ROW_GROUP]))
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def _lists(flat: pa.Array, n: int, k: int, kind: pa.DataType, lists: ListKind) -> pa.Array:
    if lists == "fixed":
        return pa.FixedSizeListArray.from_arrays(flat, type=kind)
    return pa.ListArray.from_arrays(pa.array(np.arange(n + 1, dtype=np.int32) * np.int32(k)), flat, type=kind)
