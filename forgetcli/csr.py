"""A sparse matrix in compressed rows: one view of the interactions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgetcli import _native

_PIECE = 1 << 18
"""Values that are coded or decoded at once: they stay in a core's cache."""


@dataclass(frozen=True, eq=False)
class Csr:
    """A sparse matrix in compressed rows; the columns of a row are strictly increasing.

    indptr:    (n_rows + 1,) int64; row i is at indptr[i]:indptr[i + 1] of the others.
    indices:   (nnz,) int32, column numbers.
    stored:    (nnz,) float32, the values, finite; or uint8, their numbers among the levels.
    n_columns: also of columns without an entry.
    levels:    (at most 256,) float32: the different values, each once; None where they are stored as they are.

    An entry is meant by its position, 0 … nnz - 1. Raises ValueError for wrong dtypes or lengths; the contents are
    checked by `validate`, and no method reads out of bounds whatever they are.
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    stored: NDArray[Any]
    n_columns: int
    levels: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        stored = np.float32 if self.levels is None else np.uint8
        wanted: dict[str, type[np.generic]] = {"indptr": np.int64, "indices": np.int32, "stored": stored}
        if self.levels is not None:
            wanted["levels"] = np.float32
        for name, dtype in wanted.items():
            array = getattr(self, name)
            if array.dtype != dtype or array.ndim != 1:
                raise ValueError(f"{name} must be one-dimensional and {np.dtype(dtype)}, not {array.dtype}")
            object.__setattr__(self, name, np.ascontiguousarray(array))
            getattr(self, name).flags.writeable = False
        if len(self.indptr) == 0 or self.indptr[0] != 0 or self.indptr[-1] != len(self.indices):
            raise ValueError("indptr does not begin at 0 and end at the number of entries")
        if len(self.indices) != len(self.stored):
            raise ValueError("indices and values differ in length")

    @cached_property
    def native(self) -> _native.View:
        """What the kernels read. Raises ValueError where an index or indptr would lead them astray."""
        if self.levels is None:
            return _native.View(self.indptr, self.indices, self.stored, self.n_columns, 0)
        return _native.View(self.indptr, self.indices, self.stored, self.levels, self.n_columns, 0)

    @property
    def n_rows(self) -> int:
        """The number of rows, also of those without an entry."""
        return len(self.indptr) - 1

    @property
    def nnz(self) -> int:
        """The number of entries."""
        return len(self.indices)

    @property
    def values(self) -> NDArray[np.float32]:
        """(nnz,) float32, the values; a fresh array where they are coded."""
        values = self._decoded(self.stored)
        values.flags.writeable = False
        return values

    def values_at(self, entries: NDArray[np.int64]) -> NDArray[np.float32]:
        """(m,) float32, the values of m entries."""
        return self._decoded(self.stored[entries])

    def value_pieces(self) -> Iterator[NDArray[np.float32]]:
        """All values, piece by piece."""
        for begin in range(0, self.nnz, _PIECE):
            yield self._decoded(self.stored[begin : begin + _PIECE])

    def _decoded(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        return stored if self.levels is None else _native.decode_values(np.ascontiguousarray(stored), self.levels, 0)

    @cached_property
    def _level_counts(self) -> NDArray[np.int64]:
        """How often each level occurs."""
        assert self.levels is not None
        return _native.code_counts(self.stored, 0)[: len(self.levels)]

    def value_sum(self) -> float:
        """The sum of the values, in float64; of coded ones rounded once, whatever their order."""
        if self.levels is None:
            return float(self.stored.sum(dtype=np.float64))
        levels, (high, low) = self.levels.astype(np.float64), np.divmod(self._level_counts, 1 << 24)
        return math.fsum(np.concatenate([levels * high * 2.0**24, levels * low]))

    def value_range(self) -> tuple[float, float]:
        """The lowest and the highest value of at least one."""
        present = self.stored if self.levels is None else self.levels[self._level_counts > 0]
        return float(present.min()), float(present.max())

    def compact(self) -> Csr:
        """The same, its values coded if they can be; a matrix is stored in the same way whatever led to it."""
        if self.levels is not None:
            return self
        coded = coded_values(self.nnz, self.value_pieces())
        return self if coded is None else Csr(self.indptr, self.indices, coded[0], self.n_columns, coded[1])

    def row_counts(self) -> NDArray[np.int64]:
        """(n_rows,) the number of entries of each row."""
        return np.diff(self.indptr)

    def column_counts(self, threads: int = 0) -> NDArray[np.int64]:
        """(n_columns,) the number of entries of each column."""
        return _native.csr_column_counts(self.native, threads)

    @cached_property
    def row_sums(self) -> NDArray[np.float64]:
        """(n_rows,) the sum of each row's values."""
        begins, filled = self.indptr[:-1], self.row_counts() > 0
        sums = np.zeros(self.n_rows)
        if filled.any():
            sums[filled] = np.add.reduceat(self.values, begins[filled], dtype=np.float64)
        return sums

    def row_numbers(self) -> NDArray[np.int32]:
        """(nnz,) the row of each entry."""
        return np.repeat(np.arange(self.n_rows, dtype=np.int32), self.row_counts())

    def transpose(self, threads: int = 0) -> Csr:
        """The same entries by column."""
        arrays = _native.csr_transpose(self.native, threads)
        return Csr(*arrays, n_columns=self.n_rows, levels=self.levels)

    def find(
        self, rows: NDArray[np.integer[Any]], columns: NDArray[np.integer[Any]], threads: int = 0
    ) -> NDArray[np.int64]:
        """(m,) the entries at m pairs of a row and a column, -1 where there is none; the numbers may be any."""
        wanted = np.ascontiguousarray(rows, np.int64), np.ascontiguousarray(columns, np.int64)
        return _native.csr_find(self.native, *wanted, threads)

    def rows_of(self, entries: NDArray[np.int64]) -> NDArray[np.int64]:
        """(m,) the rows of m entries."""
        return np.searchsorted(self.indptr, entries, side="right") - 1

    def entries_of_rows(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The entries of these rows, row by row."""
        begins, counts = self.indptr[rows], self.indptr[rows + 1] - self.indptr[rows]
        skipped = begins - (np.cumsum(counts) - counts)
        return np.repeat(skipped, counts) + np.arange(counts.sum())

    def take_rows(self, rows: NDArray[np.int64]) -> Csr:
        """These rows, in this order."""
        entries = self.entries_of_rows(rows)
        indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(self.indptr[rows + 1] - self.indptr[rows])])
        return Csr(indptr, self.indices[entries], self.stored[entries], self.n_columns, self.levels)

    def only_rows(self, rows: NDArray[np.int64]) -> Csr:
        """The entries of these rows, strictly increasing, under their own numbers; the other rows are empty."""
        entries = self.entries_of_rows(rows)
        counts = np.zeros(self.n_rows, np.int64)
        counts[rows] = self.indptr[rows + 1] - self.indptr[rows]
        indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        return Csr(indptr, self.indices[entries], self.stored[entries], self.n_columns, self.levels)

    def entries_of_columns(self, columns: NDArray[np.int64], threads: int = 0) -> NDArray[np.int64]:
        """The entries of these columns, increasing."""
        wanted = np.zeros(self.n_columns, np.bool_)
        wanted[columns] = True
        return _native.csr_entries_of_columns(self.native, wanted, threads)

    def without(
        self,
        entries: NDArray[np.int64],
        empty_rows: NDArray[np.int64],
        empty_columns: NDArray[np.int64],
        *,
        in_place: bool = False,
        threads: int = 0,
    ) -> Csr:
        """What is left when the entries go, and with them the rows and columns that they leave empty; those that stay
        are numbered anew.

        entries:                  (m,) strictly increasing.
        empty_rows, empty_columns: strictly increasing, each without an entry outside `entries`.
        in_place:                 in the memory of this one, if that can be written to; it is of no use afterwards.
        """
        column_map = None
        if len(empty_columns):
            kept = np.ones(self.n_columns, np.bool_)
            kept[empty_columns] = False
            column_map = np.cumsum(kept, dtype=np.int32) - np.int32(1)
        n_columns, levels = self.n_columns - len(empty_columns), self.levels
        if in_place and made_writeable(self.indices, self.stored):
            view, indices, stored = self.native, self.indices, self.stored
            vars(self).clear()  # whoever still holds it shall get an error, not what is left of it
            indptr = _native.csr_remove_in_place(view, entries, column_map)
            indices, stored = indices[: indptr[-1]], stored[: indptr[-1]]
        else:
            indptr, indices, stored = _native.csr_remove(self.native, entries, column_map, threads)
        if len(empty_rows):
            indptr = np.delete(indptr, empty_rows + 1)
        return Csr(indptr, indices, stored, n_columns, levels).compact()

    def validate(self, threads: int = 0) -> None:
        """Raises ValueError saying what is wrong, for a matrix from a file that is not to be trusted: an indptr that
        decreases, columns of a row that do not increase or lie outside [0, n_columns), a value that is not finite."""
        _native.csr_validate(self.native, threads)


def made_writeable(*arrays: NDArray[Any]) -> bool:
    """Whether all of them have become that, or else none: what maps a file, or belongs to a kernel, does not."""
    for number, array in enumerate(arrays):
        try:
            array.flags.writeable = True
        except ValueError:
            for changed in arrays[:number]:
                changed.flags.writeable = False
            return False
    return True


def coded_values(n: int, pieces: Iterable[NDArray[np.float32]]) -> tuple[NDArray[np.uint8], NDArray[np.float32]] | None:
    """The numbers (n,) of n values among their levels, and the levels; None for more than 256 different values. A byte
    a value is a third less memory for the whole, and for what passes over it."""
    coder, codes, at = _native.Coder(), np.empty(n, np.uint8), 0
    for piece in pieces:
        if not coder.encode(piece, codes[at : at + len(piece)]):
            return None
        at += len(piece)
    return codes, coder.levels()
