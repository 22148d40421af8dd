"""Recommendations out: CSV, Parquet, JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from forgetcli.errors import UsageError
from forgetcli.files import atomic_write, check_writable
from forgetcli.ids import Vocabulary, take_ids
from forgetcli.printable import printable
from forgetcli.profiling import stage
from forgetcli.tables.ids import ids_to_arrow
from forgetcli.tables.lists import ItemNames
from forgetcli.tables.remote import check_reachable, remote, remote_write

TableFormat: TypeAlias = Literal["csv", "parquet", "jsonl"]

PIECE_ROWS = 1 << 17
"""Rows rendered, or put into one Parquet row group, at a time."""


def table_format(path: str | Path) -> TableFormat:
    """The format that an output's name asks for; "-", standard output, is CSV. Raises UsageError for another ending."""
    place = remote(path)
    suffix = Path(str(path) if place is None else place.uri.partition("?")[0]).suffix.lower()
    if str(path) == "-" or suffix == ".csv":
        return "csv"
    if suffix in (".parquet", ".jsonl"):
        return "parquet" if suffix == ".parquet" else "jsonl"
    raise UsageError(f"cannot tell the format of {place_name(path)!r}", hint="end its name in .csv, .parquet or .jsonl")


def check_output(path: str | Path) -> None:
    """Raises what writing there would raise, as far as that can be seen before; for asking before the work."""
    place = remote(path)
    if place is None:
        check_writable(path)
    else:
        check_reachable(place)


def place_name(path: str | Path) -> str:
    """A table's path to show: of a remote place without the secrets that may stand in its URI."""
    place = remote(path)
    return printable(str(path)) if place is None else place.name


@contextmanager
def open_output(path: str | Path) -> Iterator[BinaryIO]:
    """A binary file to write to, which is at its place when the body ends, all of it or nothing: see
    `files.atomic_write`, and `remote.remote_write` for s3://, gs:// and hdfs://."""
    place = remote(path)
    with atomic_write(path) if place is None else remote_write(place) as file:
        yield file


class RecommendationRows:
    """Recommendations as rows of user, item, rank (from 1), score and, with names, title.

    Ids are typed as in the training data.
    """

    def __init__(self, users: Vocabulary, items: Vocabulary, names: ItemNames | None = None) -> None:
        self._users = users
        self._items = ids_to_arrow(items.ids)
        self._titles = (
            None
            if names is None
            else pa.array([names.title(items.label(row)) for row in range(len(items))], pa.large_string())
        )

    def table(
        self, users: NDArray[np.integer[Any]], items: NDArray[np.integer[Any]], scores: NDArray[np.floating[Any]]
    ) -> pa.Table:
        """Of m users; the arguments are those of `RecommendationWriter.write`."""
        given = items >= 0
        places, ranks = np.nonzero(given)
        chosen = pa.array(items[given])
        columns = {
            "user": ids_to_arrow(take_ids(self._users.ids, users)).take(pa.array(places)),
            "item": self._items.take(chosen),
            "rank": pa.array((ranks + 1).astype(np.int32)),
            "score": pa.array(scores[given]),
        }
        return pa.table(columns if self._titles is None else columns | {"title": self._titles.take(chosen)})

    def join(
        self,
        parts: Iterable[tuple[NDArray[np.integer[Any]], NDArray[np.integer[Any]], NDArray[np.floating[Any]]]],
    ) -> pa.Table:
        """The rows of several parts as one table; without any, one with columns all the same."""
        nobody = np.empty(0, np.int64)
        none = self.table(nobody, nobody.reshape(0, 1), np.empty((0, 1)))
        tables = [self.table(*part) for part in parts]
        return pa.concat_tables(tables) if tables else none


class RecommendationWriter:
    """Writes recommendations to an open binary file; see `RecommendationRows`.

    A context manager: what is buffered is written at the end of the block,
    unless it ends in an error. The file is not closed; what the file system says goes through as OSError.

    CSV follows RFC 4180, with LF for line ends and quotes only where they are needed. Ids and titles are written as
    they are, even those that a spreadsheet would take for a formula ("=1+1"): ids must match again when they are read.
    JSON lines hold one object a row, in ASCII.
    """

    def __init__(
        self, file: BinaryIO, form: TableFormat, users: Vocabulary, items: Vocabulary, names: ItemNames | None = None
    ) -> None:
        self._rows = RecommendationRows(users, items, names)
        self._sink = _ParquetSink(file) if form == "parquet" else _TextSink(file, form)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()

    def write(
        self, users: NDArray[np.integer[Any]], items: NDArray[np.integer[Any]], scores: NDArray[np.floating[Any]]
    ) -> None:
        """The recommendations of m more users.

        users:  (m,) row numbers.
        items:  (m, n) row numbers, best first; -1 stands for none.
        scores: (m, n), of one dtype in every call.
        """
        step = max(1, PIECE_ROWS // max(1, items.shape[1]))
        with stage("writing"):
            for begin in range(0, len(users), step):
                part = slice(begin, begin + step)
                self._sink.write(self._rows.table(users[part], items[part], scores[part]))

    def close(self) -> None:
        """Writes what is buffered; without any rows, a table with columns all the same."""
        nobody = np.empty(0, np.int64)
        self._sink.close(self._rows.table(nobody, nobody.reshape(0, 1), np.empty((0, 1), np.float32)))


class _ParquetSink:
    """Row groups of about PIECE_ROWS; the writer is made when the type of the scores is known."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = pa.PythonFile(file, mode="w")
        self._writer: pq.ParquetWriter | None = None
        self._waiting: list[pa.Table] = []

    def write(self, rows: pa.Table) -> None:
        self._waiting.append(rows)
        if sum(len(table) for table in self._waiting) >= PIECE_ROWS:
            self._flush()

    def close(self, nothing: pa.Table) -> None:
        if self._writer is None and not self._waiting:
            self._waiting.append(nothing)
        self._flush()
        if self._writer is not None:
            self._writer.close()

    def _flush(self) -> None:
        if self._waiting:
            rows = pa.concat_tables(self._waiting)
            if self._writer is None:
                self._writer = pq.ParquetWriter(self._file, rows.schema, compression="zstd")
            self._writer.write_table(rows)
            self._waiting = []


class _TextSink:
    """CSV or JSON lines, put together by Arrow a column at a time."""

    def __init__(self, file: BinaryIO, form: Literal["csv", "jsonl"]) -> None:
        self._file = file
        self._form = form
        self._has_header = form == "jsonl"

    def write(self, rows: pa.Table) -> None:
        if not self._has_header:
            self._file.write((",".join(rows.column_names) + "\n").encode())
            self._has_header = True
        columns = [(name, rows.column(name).combine_chunks()) for name in rows.column_names]
        lines = _csv_lines(columns) if self._form == "csv" else _json_lines(columns)
        if len(lines):
            _, offsets, characters = lines.buffers()
            self._file.write(memoryview(characters)[: np.frombuffer(offsets, np.int64)[len(lines)]])

    def close(self, nothing: pa.Table) -> None:
        self.write(nothing)


def _csv_lines(columns: list[tuple[str, pa.Array]]) -> pa.Array:
    return _joined(*_interleaved([_csv_fields(values) for _, values in columns], ","), "\n")


def _csv_fields(values: pa.Array) -> pa.Array:
    fields = pc.fill_null(values.cast(pa.large_string()), "")
    if not pa.types.is_large_string(values.type):
        return fields
    quoted = _joined('"', pc.replace_substring(fields, '"', '""'), '"')
    return pc.if_else(pc.match_substring_regex(fields, '[",\r\n]'), quoted, fields)


def _json_lines(columns: list[tuple[str, pa.Array]]) -> pa.Array:
    members = [_joined(f'"{name}": ', _json_values(values)) for name, values in columns]
    return _joined("{", *_interleaved(members, ", "), "}\n")


def _json_values(values: pa.Array) -> pa.Array:
    if not pa.types.is_large_string(values.type):
        return values.cast(pa.large_string())
    encoded = values.dictionary_encode(null_encoding="encode")
    spelled = [json.dumps(value) for value in encoded.dictionary.to_pylist()]
    return pa.array(spelled, pa.large_string()).take(encoded.indices)


def _interleaved(parts: list[pa.Array], between: str) -> list[pa.Array | str]:
    return [part for value in parts for part in (between, value)][1:]


def _joined(*parts: pa.Array | str) -> pa.Array:
    """Row by row, the parts end to end; a str is the same in every row."""
    texts = [pa.scalar(part, pa.large_string()) if isinstance(part, str) else part for part in parts]
    return pc.binary_join_element_wise(*texts, pa.scalar("", pa.large_string()))
