"""Sparse matrices: looking entries up, and those that are not to be trusted."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgetcli.csr import Csr
from tests.made import Pair, assert_same_csr, interactions_of, pairs


@given(pairs)
def test_transposing_twice_is_the_identity(rows: list[Pair]) -> None:
    view = interactions_of(rows).by_user
    assert_same_csr(view.transpose().transpose(), view)


@given(pairs, st.lists(st.tuples(st.integers(-2, 15), st.integers(-2, 15)), max_size=30))
def test_entries_are_found_where_they_are(rows: list[Pair], wanted: list[tuple[int, int]]) -> None:
    view = interactions_of(rows).by_user
    where = {pair: n for n, pair in enumerate(zip(view.row_numbers().tolist(), view.indices.tolist(), strict=True))}
    numbers = np.array(wanted, np.int64).reshape(-1, 2)
    assert view.find(numbers[:, 0], numbers[:, 1]).tolist() == [where.get(pair, -1) for pair in wanted]


@given(pairs)
def test_rows_columns_and_counts_agree_with_plain_python(rows: list[Pair]) -> None:
    view = interactions_of(rows).by_user
    row_numbers, columns = view.row_numbers().tolist(), view.indices.tolist()
    assert view.column_counts().tolist() == [columns.count(column) for column in range(view.n_columns)]
    assert view.rows_of(np.arange(view.nnz)).tolist() == row_numbers
    odd = np.arange(1, view.n_rows, 2)
    assert view.entries_of_rows(odd).tolist() == [n for n, row in enumerate(row_numbers) if row % 2]
    even = np.arange(0, view.n_columns, 2)
    assert view.entries_of_columns(even).tolist() == [n for n, column in enumerate(columns) if column % 2 == 0]


# Matrices that are not to be trusted


@given(pairs)
def test_only_some_rows_keep_their_entries_under_their_own_numbers(rows: list[Pair]) -> None:
    view = interactions_of(rows).by_user
    chosen = np.arange(0, view.n_rows, 2)
    only = view.only_rows(chosen)
    assert (only.n_rows, only.n_columns) == (view.n_rows, view.n_columns)
    kept = np.isin(view.row_numbers(), chosen)
    assert only.row_numbers().tolist() == view.row_numbers()[kept].tolist()
    assert only.indices.tolist() == view.indices[kept].tolist()
    assert only.values.tolist() == view.values[kept].tolist()


def csr(indptr: list[int], indices: list[int], values: list[float], n_columns: int) -> Csr:
    return Csr(np.array(indptr, np.int64), np.array(indices, np.int32), np.array(values, np.float32), n_columns)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (csr([0, 3, 1, 2], [0, 1], [1, 1], 2), "indptr decreases"),
        (csr([0, 2**62, 2], [0, 1], [1, 1], 2), "indptr decreases"),
        (csr([0, -(2**62), 2], [0, 1], [1, 1], 2), "indptr decreases"),
        (csr([0, 2], [1, 0], [1, 1], 2), "not strictly increasing"),
        (csr([0, 2], [1, 1], [1, 1], 2), "not strictly increasing"),
        (csr([0, 2], [0, 2], [1, 1], 2), "outside the columns"),
        (csr([0, 2], [-1, 0], [1, 1], 2), "outside the columns"),
        (csr([0, 2], [0, 1], [1, np.nan], 2), "not a finite number"),
        (csr([0, 2], [0, 1], [np.inf, 1], 2), "not a finite number"),
        (csr([0], [], [], -1), "number of columns"),
        (csr([0], [], [], 2**31), "number of columns"),
    ],
)
def test_a_damaged_matrix_is_refused_and_read_in_bounds(matrix: Csr, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        matrix.validate()
    zero = np.zeros(1, np.int64)
    for use in (
        lambda: matrix.transpose(),
        lambda: matrix.column_counts(),
        lambda: matrix.find(zero, zero),
        lambda: matrix.entries_of_columns(zero),
        lambda: matrix.without(zero[:0], zero[:0], zero[:0]),
    ):
        with contextlib.suppress(ValueError, IndexError):  # an answer or a refusal, but no crash
            use()


@pytest.mark.parametrize(
    ("indptr", "indices", "values"), [([], [], []), ([1, 2], [0], [1]), ([0, 3], [0], [1]), ([0, 1], [0], [1, 2])]
)
def test_arrays_that_do_not_make_a_matrix_are_refused(
    indptr: list[int], indices: list[int], values: list[float]
) -> None:
    with pytest.raises(ValueError, match=r"indptr|length"):
        csr(indptr, indices, values, 1)
