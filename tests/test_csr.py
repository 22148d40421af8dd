"""Sparse matrices: looking entries up, and those that are not to be trusted."""

from __future__ import annotations

import contextlib
import math
import random

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


# Values in a byte each


def row_of(values: list[float]) -> Csr:
    n = len(values)
    return Csr(np.array([0, n]), np.arange(n, dtype=np.int32), np.array(values, np.float32), n)


numbers = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=40)


@given(numbers)
def test_coded_values_are_the_same_values(values: list[float]) -> None:
    plain = row_of(values)
    coded = plain.compact()
    assert coded.levels is not None
    assert coded.values.tobytes() == plain.values.tobytes()
    assert b"".join(piece.tobytes() for piece in coded.value_pieces()) == plain.values.tobytes()
    entries = np.arange(0, len(values), 3)
    assert coded.values_at(entries).tobytes() == plain.values_at(entries).tobytes()
    assert coded.compact() is coded
    assert_same_csr(coded.transpose(), plain.transpose())
    assert coded.row_sums.tolist() == plain.row_sums.tolist()
    if values:
        assert coded.value_range() == plain.value_range()
        scale = float(np.abs(plain.values).sum(dtype=np.float64))
        assert coded.value_sum() == pytest.approx(plain.value_sum(), rel=1e-12, abs=1e-12 * scale)


@given(numbers, st.randoms())
def test_the_sum_of_coded_values_is_exact_whatever_came_first(values: list[float], chance: random.Random) -> None:
    shuffled = chance.sample(values, len(values))
    assert row_of(shuffled).compact().value_sum() == math.fsum(row_of(values).values.astype(np.float64))


def test_the_sum_is_that_of_the_values_that_are_left() -> None:
    kept = row_of([1.0, 1e16, -1e16, 1.0, 1e-3]).compact()
    left = kept.without(np.array([0, 4]), np.array([], np.int64), np.array([], np.int64))
    assert left.value_sum() == 1.0


def test_a_byte_tells_256_values_apart() -> None:
    most = row_of([*range(256), 7.0, 255.0, -0.0])
    assert most.compact().levels is None  # -0 is a value of its own
    assert row_of([*range(256), 7.0, 255.0]).compact().levels is not None


def test_no_value_that_has_gone_is_in_the_range() -> None:
    left = row_of([9.0, 1.0, 2.0]).compact().without(np.array([0]), np.array([], np.int64), np.array([0]))
    assert left.value_range() == (1.0, 2.0)
    assert left.value_sum() == 3.0


def test_what_is_left_is_stored_as_if_there_had_never_been_more() -> None:
    left = row_of(list(range(300))).without(np.arange(200), np.array([], np.int64), np.arange(200))
    assert left.levels is not None


@pytest.mark.parametrize("compact", [False, True])
@given(rows=pairs, data=st.data())
def test_in_place_is_left_what_is_left(compact: bool, rows: list[Pair], data: st.DataObject) -> None:
    view = interactions_of(rows).by_user
    values = view.values.copy()
    mine = Csr(view.indptr.copy(), view.indices.copy(), values, view.n_columns)
    mine = mine.compact() if compact else mine
    gone = np.array(sorted(data.draw(st.sets(st.integers(0, view.nnz - 1)))) if view.nnz else [], np.int64)
    counts, columns = view.row_counts(), view.column_counts()
    lost, lost_columns = (
        np.bincount(numbers, minlength=n)
        for numbers, n in ((view.rows_of(gone), view.n_rows), (view.indices[gone], view.n_columns))
    )
    empty = (
        np.flatnonzero((lost > 0) & (lost == counts)),
        np.flatnonzero((lost_columns > 0) & (lost_columns == columns)),
    )
    expected = view.without(gone, *empty)
    memory = mine.indices
    found = mine.without(gone, *empty, in_place=True)
    assert_same_csr(found, expected)
    assert found.nnz == 0 or np.shares_memory(found.indices, memory)
    with pytest.raises(AttributeError):  # rather than what is left of it
        _ = mine.indices


def test_memory_that_must_not_be_written_to_is_not() -> None:
    plain = row_of([1.0, 2.0, 3.0])
    borrowed = np.frombuffer(plain.indices.tobytes(), np.int32)
    kept = Csr(plain.indptr, borrowed, plain.values.copy(), 3)
    left = kept.without(np.array([0]), np.array([], np.int64), np.array([], np.int64), in_place=True)
    assert left.indices.tolist() == [1, 2]
    assert borrowed.tolist() == [0, 1, 2]
    values = np.frombuffer(plain.values.tobytes(), np.float32)
    half = Csr(plain.indptr, plain.indices.copy(), values, 3)
    half.without(np.array([0]), np.array([], np.int64), np.array([], np.int64), in_place=True)
    assert not half.indices.flags.writeable
    assert half.indices.tolist() == [0, 1, 2]
