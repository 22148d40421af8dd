"""Some rows of one file as Arrow columns, and what is wrong with single rows of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from forgetcli.errors import DataError
from forgetcli.tables.columns import Column, Role

BadRows: TypeAlias = Literal["stop", "drop"]
Mask: TypeAlias = NDArray[np.bool_]

DROP_HINT = '`bad_rows="drop"` leaves out rows that cannot be used, and counts them'


@dataclass(frozen=True)
class Fault:
    """Something that makes rows of a batch unusable.

    rows:   (n,) bool, the rows it is true of.
    reason: what is wrong, for a message; it holds nothing of the row's content.
    role:   of the column at fault; None where it is the whole row, or a column that plays no role.
    column: the name of such a column.
    """

    rows: Mask
    reason: str
    role: Role | None = None
    column: str | None = None


@dataclass(frozen=True)
class Batch:
    """Consecutive rows of one file.

    source:  the file, for messages.
    found:   the columns of the file that play the roles, for messages.
    columns: the role's values, each an Arrow array of length n.
    length:  n.
    typed:   whether the file says what type an id has (Parquet), or integers are to be told from the text (CSV).
    place:   the position in the file, as "line 7", of row i in 0..n-1.
    faults:  what reading the rows has found already; the columns hold nulls there.
    tested:  the columns that a filter names, by that name, of whatever type the file gives them (text in text files,
             but for ratings and times), and
    tested_columns: where they are.
    """

    source: str
    found: Mapping[Role, Column]
    columns: Mapping[Role, pa.Array]
    length: int
    typed: bool
    place: Callable[[int], str]
    faults: tuple[Fault, ...] = ()
    tested: Mapping[str, pa.Array] = field(default_factory=dict)
    tested_columns: Mapping[str, Column] = field(default_factory=dict)

    def of_rows(self, kept: Mask, more: Sequence[Fault]) -> Batch:
        """These rows alone, without what a filter tests, which is done then.

        kept: (n,) bool.
        more: faults of these rows that have been found since.
        """
        rows = np.flatnonzero(kept)
        mask = pa.array(kept)
        return Batch(
            self.source,
            self.found,
            {role: column.filter(mask) for role, column in self.columns.items()},
            len(rows),
            self.typed,
            lambda row: self.place(int(rows[row])),
            tuple(replace(fault, rows=fault.rows[kept]) for fault in (*self.faults, *more)),
        )

    def column_error(self, role: Role, reason: str) -> DataError:
        """The error for a column that cannot be used in any row."""
        return DataError(f"{self.source}, column {self.found[role].name}: {reason}")

    def usable_rows(self, faults: Sequence[Fault], bad_rows: BadRows, hint: str | None = DROP_HINT) -> Mask | None:
        """(n,) bool, the rows without a fault, or None where no row has one.

        Raises DataError for the first row at fault when `bad_rows` is "stop"; where it has several faults the first
        in order is told.
        """
        faults = [*self.faults, *faults]
        if not faults:
            return None
        bad: Mask = np.logical_or.reduce([fault.rows for fault in faults])
        if not bad.any():
            return None
        if bad_rows == "stop":
            row = int(bad.argmax())
            fault = next(fault for fault in faults if fault.rows[row])
            where = [self.source, self.place(row)]
            column = fault.column if fault.role is None else self.found[fault.role].name
            if column is not None:
                where.append(f"column {column}")
            raise DataError(f"{', '.join(where)}: {fault.reason}", hint)
        return ~bad


@dataclass(frozen=True)
class Table:
    """One file's rows, to be read once.

    found:  the columns that play the asked roles.
    pieces: functions that each give a batch, in the order of the rows. They parse on call and share nothing, so that
            several threads can call them.
    """

    source: str
    found: Mapping[Role, Column]
    pieces: Iterator[Callable[[], Batch]]


def convertible(values: pa.Array, kind: pa.DataType, pattern: str = "") -> Mask:
    """(n,) bool, which of the values the cast to `kind` takes; nulls it does.

    A failing cast does not say where, so the values are halved until it does; `pattern`, a regular expression that
    every text of this kind matches, keeps that short where thousands are bad.
    """
    try:
        values.cast(kind)
        return np.ones(len(values), np.bool_)
    except pa.ArrowInvalid:
        pass
    if pa.types.is_large_binary(values.type) or pa.types.is_binary(values.type):
        return np.fromiter((value is None or _is_utf8(value) for value in values.to_pylist()), np.bool_, len(values))
    taken = np.ones(len(values), np.bool_)
    if pattern:
        taken = np.asarray(pc.fill_null(pc.match_substring_regex(values, pattern), True))
        values = values.filter(pa.array(taken))
    rest = np.ones(len(values), np.bool_)
    ranges = [(0, len(values))]
    while ranges:
        begin, end = ranges.pop()
        try:
            values.slice(begin, end - begin).cast(kind)
        except pa.ArrowInvalid:
            if end - begin == 1:
                rest[begin] = False
            else:
                middle = (begin + end) // 2
                ranges += [(begin, middle), (middle, end)]
    taken = taken.copy()
    taken[taken] = rest
    return taken


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
