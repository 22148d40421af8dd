"""A sparse matrix in compressed rows: one view of the interactions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgetcli import _native


@dataclass(frozen=True, eq=False)
class Csr:
    """A sparse matrix in compressed rows; the columns of a row are strictly increasing.

    indptr:    (n_rows + 1,) int64; row i is at indptr[i]:indptr[i + 1] of the others.
    indices:   (nnz,) int32, column numbers.
    values:    (nnz,) float32, finite.
    n_columns: also of columns without an entry.

    An entry is meant by its position, 0 … nnz - 1. Raises ValueError for wrong dtypes or lengths; the contents are
    checked by `validate`, and no method reads out of bounds whatever they are.
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    values: NDArray[np.float32]
    n_columns: int

    def __post_init__(self) -> None:
        for name, dtype in (("indptr", np.int64), ("indices", np.int32), ("values", np.float32)):
            array = getattr(self, name)
            if array.dtype != dtype or array.ndim != 1:
                raise ValueError(f"{name} must be one-dimensional and {np.dtype(dtype)}, not {array.dtype}")
            object.__setattr__(self, name, np.ascontiguousarray(array))
            getattr(self, name).flags.writeable = False
        if len(self.indptr) == 0 or self.indptr[0] != 0 or self.indptr[-1] != len(self.indices):
            raise ValueError("indptr does not begin at 0 and end at the number of entries")
        if len(self.indices) != len(self.values):
            raise ValueError("indices and values differ in length")

    @property
    def n_rows(self) -> int:
        """The number of rows, also of those without an entry."""
        return len(self.indptr) - 1

    @property
    def nnz(self) -> int:
        """The number of entries."""
        return len(self.indices)

    def row_counts(self) -> NDArray[np.int64]:
        """(n_rows,) the number of entries of each row."""
        return np.diff(self.indptr)

    def column_counts(self, threads: int = 0) -> NDArray[np.int64]:
        """(n_columns,) the number of entries of each column."""
        return _native.csr_column_counts(self.indices, self.n_columns, threads)

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
        arrays = _native.csr_transpose(self.indptr, self.indices, self.values, self.n_columns, threads)
        return Csr(*arrays, n_columns=self.n_rows)

    def find(
        self, rows: NDArray[np.integer[Any]], columns: NDArray[np.integer[Any]], threads: int = 0
    ) -> NDArray[np.int64]:
        """(m,) the entries at m pairs of a row and a column, -1 where there is none; the numbers may be any."""
        wanted = np.ascontiguousarray(rows, np.int64), np.ascontiguousarray(columns, np.int64)
        return _native.csr_find(self.indptr, self.indices, *wanted, threads)

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
        return Csr(indptr, self.indices[entries], self.values[entries], self.n_columns)

    def only_rows(self, rows: NDArray[np.int64]) -> Csr:
        """The entries of these rows, strictly increasing, under their own numbers; the other rows are empty."""
        entries = self.entries_of_rows(rows)
        counts = np.zeros(self.n_rows, np.int64)
        counts[rows] = self.indptr[rows + 1] - self.indptr[rows]
        indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        return Csr(indptr, self.indices[entries], self.values[entries], self.n_columns)

    def entries_of_columns(self, columns: NDArray[np.int64], threads: int = 0) -> NDArray[np.int64]:
        """The entries of these columns, increasing."""
        wanted = np.zeros(self.n_columns, np.bool_)
        wanted[columns] = True
        return _native.csr_entries_of_columns(self.indices, wanted, threads)

    def without(
        self,
        entries: NDArray[np.int64],
        empty_rows: NDArray[np.int64],
        empty_columns: NDArray[np.int64],
        threads: int = 0,
    ) -> Csr:
        """What is left when the entries go, and with them the rows and columns that they leave empty; those that stay
        are numbered anew.

        entries:                  (m,) strictly increasing.
        empty_rows, empty_columns: strictly increasing, each without an entry outside `entries`.
        """
        column_map = None
        if len(empty_columns):
            kept = np.ones(self.n_columns, np.bool_)
            kept[empty_columns] = False
            column_map = np.cumsum(kept, dtype=np.int32) - np.int32(1)
        indptr, indices, values = _native.csr_remove(
            self.indptr, self.indices, self.values, entries, column_map, threads
        )
        if len(empty_rows):
            indptr = np.delete(indptr, empty_rows + 1)
        return Csr(indptr, indices, values, self.n_columns - len(empty_columns))

    def validate(self, threads: int = 0) -> None:
        """Raises ValueError saying what is wrong, for a matrix from a file that is not to be trusted: an indptr that
        decreases, columns of a row that do not increase or lie outside [0, n_columns), a value that is not finite."""
        _native.csr_validate(self.indptr, self.indices, self.values, self.n_columns, threads)
