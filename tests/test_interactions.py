"""Building interactions, removing some and holding some out, against SciPy and plain Python."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from forgetcli.errors import DataError, UsageError
from forgetcli.interactions import Csr, Duplicates, Interactions, Removal, Vocabulary, split_holdout
from tests.made import (
    THREADS,
    Pair,
    any_float,
    as_dict,
    assert_same,
    assert_same_csr,
    integer_ids,
    interactions_of,
    many_pairs,
    numbered,
    pairs,
)

tame_float = st.floats(-1e6, 1e6, width=32)
id_number = st.integers(-(2**63), 2**63 - 1)


# Building


@given(pairs)
def test_the_last_of_duplicates_is_kept(rows: list[Pair]) -> None:
    assert as_dict(interactions_of(rows)) == {(str(u), str(i)): v for u, i, v in rows}


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), any_float, st.integers(-3, 3)), max_size=40))
def test_the_latest_timestamp_is_kept_and_of_equal_ones_the_later_row(rows: list[tuple[int, int, float, int]]) -> None:
    expected = {(str(u), str(i)): v for u, i, v, _ in sorted(rows, key=lambda row: row[3])}
    built = interactions_of([row[:3] for row in rows], timestamps=np.array([row[3] for row in rows], np.int64))
    assert as_dict(built) == expected


REDUCTIONS: dict[Duplicates, Callable[[list[float]], float]] = {
    "sum": lambda values: float(np.float32(sum(sorted(values)))),
    "mean": lambda values: float(np.float32(sum(sorted(values)) / len(values))),
    "max": max,
}


@pytest.mark.parametrize("duplicates", REDUCTIONS)
@given(rows=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), tame_float), max_size=40))
def test_duplicates_are_reduced_in_float64(duplicates: Duplicates, rows: list[Pair]) -> None:
    groups: dict[tuple[str, str], list[float]] = {}
    for u, i, v in rows:
        groups.setdefault((str(u), str(i)), []).append(v)
    expected = {pair: REDUCTIONS[duplicates](values) for pair, values in groups.items()}
    assert as_dict(interactions_of(rows, duplicates=duplicates)) == expected


@pytest.mark.parametrize("duplicates", ["sum", "mean", "max"])
@given(data=st.data())
def test_the_order_of_rows_and_duplicates_changes_nothing(duplicates: Duplicates, data: st.DataObject) -> None:
    small = st.floats(-(2.0**100), 2.0**100, width=32)
    rows = data.draw(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), small), max_size=40))
    shuffled = data.draw(st.permutations(rows))
    assert_same(interactions_of(rows, duplicates=duplicates), interactions_of(shuffled, duplicates=duplicates))


@given(st.data())
def test_row_order_changes_nothing_without_duplicates(data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.tuples(id_number, id_number, any_float), unique_by=lambda row: row[:2], max_size=40))
    assert_same(interactions_of(rows), interactions_of(data.draw(st.permutations(rows))))


@pytest.mark.parametrize(
    ("n", "n_rows", "n_columns"),
    [(1, 1, 1), (1000, 1, 7), (1000, 7, 1), (300_000, 5000, 900), (300_000, 40, 3), (200_000, 300_000, 70_000)],
)
@pytest.mark.parametrize("threads", THREADS)
def test_building_and_transposing_agree_with_scipy(n: int, n_rows: int, n_columns: int, threads: int) -> None:
    rows, columns = many_pairs(n, n_rows, n_columns)
    values = np.random.default_rng(1).integers(1, 11, n).astype(np.float32)  # sums are exact
    built = Interactions.from_pairs(
        *numbered(n_rows, n_columns), rows, columns, values, duplicates="sum", threads=threads
    )
    used_rows, used_columns = np.unique(rows), np.unique(columns)
    assert np.array_equal(integer_ids(built.users), used_rows)
    assert np.array_equal(integer_ids(built.items), used_columns)
    whole = scipy.sparse.coo_array((values, (rows, columns)), (n_rows, n_columns)).tocsr()
    expected = whole[used_rows][:, used_columns]
    expected.sort_indices()
    for mine, its in ((built.by_user, expected), (built.by_user.transpose(threads), expected.T.tocsr())):
        assert np.array_equal(mine.indptr, its.indptr)
        assert np.array_equal(mine.indices, its.indices)
        assert np.array_equal(mine.values, its.data)


@pytest.mark.parametrize("duplicates", ["last", "sum", "mean", "max"])
def test_the_number_of_threads_changes_nothing(duplicates: Duplicates) -> None:
    n = 400_000
    rows, columns = many_pairs(n, 3000, 800)
    rng = np.random.default_rng(2)
    values, times = rng.normal(size=n).astype(np.float32), rng.integers(0, 50, n)
    built = [
        Interactions.from_pairs(
            *numbered(3000, 800), rows, columns, values, duplicates=duplicates, timestamps=times, threads=threads
        )
        for threads in THREADS
    ]
    for other in built[1:]:
        assert_same(built[0], other)
        assert built[0].mean_value() == other.mean_value()
        assert_same_csr(built[0].by_user.transpose(1), built[0].by_user.transpose(THREADS[-1]))


def test_pairs_that_are_sorted_already_come_out_as_they_are() -> None:
    rows, columns = many_pairs(300_000, 2000, 500)
    values = np.arange(len(rows), dtype=np.float32)
    once = Interactions.from_pairs(*numbered(2000, 500), rows, columns, values)
    view = once.by_user
    again = Interactions.from_pairs(once.users, once.items, view.row_numbers(), view.indices, view.values)
    assert_same(once, again)


def test_a_sum_that_float32_cannot_hold_is_refused() -> None:
    largest = float(np.finfo(np.float32).max)
    with pytest.raises(DataError, match="too large for float32"):
        interactions_of([(1, 1, largest), (1, 1, largest)], duplicates="sum")
    assert as_dict(interactions_of([(1, 1, largest), (1, 1, largest)], duplicates="mean")) == {("1", "1"): largest}


def test_without_values_each_is_one() -> None:
    assert as_dict(Interactions.from_arrays(["a", "b"], [1, 1])) == {("a", "1"): 1.0, ("b", "1"): 1.0}


def test_no_pairs_make_no_interactions() -> None:
    empty = interactions_of([])
    assert (empty.n_users, empty.n_items, len(empty), empty.mean_value()) == (0, 0, 0, 0.0)
    assert empty.by_item.n_rows == 0
    empty.validate()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_values_that_are_not_finite_in_float32_are_refused(value: float) -> None:
    with pytest.raises(DataError, match="not a finite number"):
        Interactions.from_arrays([1, 2], [1, 1], [1.0, value])


@pytest.mark.parametrize(("row", "column"), [(-1, 0), (2, 0), (0, -1), (0, 3), (2**31 - 1, 0), (-(2**31), 0)])
def test_rows_out_of_range_are_refused(row: int, column: int) -> None:
    pair = np.array([row], np.int32), np.array([column], np.int32)
    with pytest.raises(DataError, match="out of range"):
        Interactions.from_pairs(*numbered(2, 3), *pair, np.ones(1, np.float32))


def test_columns_that_differ_in_length_or_dtype_are_refused() -> None:
    two, three = np.zeros(2, np.int32), np.zeros(3, np.int32)
    ones = np.ones(2, np.float32)
    with pytest.raises(DataError, match="differ in length"):
        Interactions.from_pairs(*numbered(1, 1), two, three, ones)
    with pytest.raises(DataError, match="differ in length"):
        Interactions.from_pairs(*numbered(1, 1), two, two, ones, timestamps=np.zeros(3, np.int64))
    with pytest.raises(DataError, match="int32, not int64"):
        Interactions.from_pairs(*numbered(1, 1), two.astype(np.int64), two, ones)
    with pytest.raises(DataError, match="must be numbers"):
        Interactions.from_arrays([1], [1], ["good"])


def test_arrays_are_read_only() -> None:
    view = interactions_of([(1, 2, 3.0)]).by_user
    for array in (view.indptr, view.indices, view.values):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_an_empty_text_is_refused() -> None:
    with pytest.raises(DataError, match="empty"):
        Interactions.from_arrays(["a", ""], [1, 2])


# Removing


@given(pairs, st.data())
def test_removing_equals_building_from_what_is_left(rows: list[Pair], data: st.DataObject) -> None:
    everything = interactions_of(rows)
    if data.draw(st.booleans()):
        assert everything.by_item.nnz == len(everything)  # made before, it is changed instead of made anew
    gone = data.draw(st.sets(st.integers(0, len(everything) - 1))) if len(everything) else set()
    remaining = everything.without(Removal(np.array(sorted(gone), np.int64)))
    view, user_ids, item_ids = everything.by_user, integer_ids(everything.users), integer_ids(everything.items)
    kept = [
        (int(user_ids[u]), int(item_ids[i]), float(v))
        for n, (u, i, v) in enumerate(zip(view.row_numbers(), view.indices, view.values, strict=True))
        if n not in gone
    ]
    assert_same(remaining.interactions, interactions_of(kept))
    assert np.array_equal(user_ids[remaining.user_rows], integer_ids(remaining.interactions.users))
    assert np.array_equal(item_ids[remaining.item_rows], integer_ids(remaining.interactions.items))
    remaining.interactions.validate()


@pytest.mark.parametrize("threads", THREADS)
def test_removing_from_many_agrees_with_a_mask(threads: int) -> None:
    rows, columns = many_pairs(900_000, 3000, 5000)
    values = np.arange(len(rows), dtype=np.float32)
    everything = Interactions.from_pairs(*numbered(3000, 5000), rows, columns, values)
    view = everything.by_user
    rng = np.random.default_rng(3)
    mask = (rng.random(view.nnz) < 0.4) | (view.row_numbers() == 17) | (view.indices == 4711)
    left = everything.without(Removal(np.flatnonzero(mask)), threads).interactions
    built = Interactions.from_pairs(
        everything.users, everything.items, view.row_numbers()[~mask], view.indices[~mask], view.values[~mask]
    )
    assert_same(left, built)


@pytest.mark.parametrize("threads", THREADS)
def test_removing_in_place_leaves_the_same(threads: int) -> None:
    rows, columns = many_pairs(300_000, 3000, 5000)
    ratings = np.random.default_rng(1).integers(1, 6, len(rows)).astype(np.float32)

    def everything() -> Interactions:
        made = Interactions.from_pairs(*numbered(3000, 5000), rows, columns, ratings)
        view = made.by_user  # in memory of its own, as a file is read to
        own = Csr(view.indptr.copy(), view.indices.copy(), view.values.copy(), view.n_columns).compact()
        return Interactions(made.users, made.items, own)

    view = everything().by_user
    mask = (np.random.default_rng(3).random(view.nnz) < 0.4) | (view.row_numbers() == 17) | (view.indices == 4711)
    removal = Removal(np.flatnonzero(mask))
    expected = everything().without(removal, threads).interactions
    both_views = everything()
    assert both_views.by_item.nnz == len(both_views)
    for given_up in (everything(), both_views):
        left = given_up.without(removal, threads, in_place=True).interactions
        assert_same(left, expected)
        assert_same_csr(left.by_item, expected.by_user.transpose())
        left.validate()


def test_removing_nothing_is_the_identity() -> None:
    everything = interactions_of([(1, 2, 3.0), (2, 2, 1.0)])
    assert everything.without(Removal(np.zeros(0, np.int64))).interactions is everything


@pytest.mark.parametrize("entries", [[1, 0], [0, 0], [-1], [2]])
def test_entries_that_cannot_be_removed_are_refused(entries: list[int]) -> None:
    with pytest.raises((ValueError, IndexError)):
        interactions_of([(1, 2, 3.0), (2, 2, 1.0)]).without(Removal(np.array(entries, np.int64)))


def matrix(indptr: list[int], indices: list[int], values: list[float], n_columns: int) -> Csr:
    return Csr(np.array(indptr, np.int64), np.array(indices, np.int32), np.array(values, np.float32), n_columns)


def test_users_and_items_without_interactions_are_not_valid() -> None:
    ids = Vocabulary(np.arange(2))
    with pytest.raises(ValueError, match="no interaction"):
        Interactions(ids, ids, matrix([0, 2, 2], [0, 1], [1, 1], 2)).validate()
    with pytest.raises(ValueError, match="no interaction"):
        Interactions(ids, ids, matrix([0, 1, 2], [0, 0], [1, 1], 2)).validate()
    with pytest.raises(ValueError, match="differ in size"):
        Interactions(ids, Vocabulary(np.arange(3)), matrix([0, 1, 2], [0, 0], [1, 1], 2))


# Holding out


def catalogue(seed: int = 5) -> list[Pair]:
    rows, columns = many_pairs(4000, 200, 150, seed)
    distinct = sorted(set(zip(rows.tolist(), columns.tolist(), strict=True)))
    return [(u, i, float(n % 9)) for n, (u, i) in enumerate(distinct)]


@pytest.mark.parametrize("as_text", [False, True])
def test_holding_out_splits_and_leaves_everyone_something(as_text: bool) -> None:
    rows = catalogue()
    everything = interactions_of([(f"u{u}", f"i{i}", v) for u, i, v in rows] if as_text else rows)
    training, heldout = split_holdout(everything, 0.2, seed=7)
    assert (training.n_users, training.n_items) == (everything.n_users, everything.n_items)
    assert len(training) + len(heldout) == len(everything)
    # Six standard deviations of a binomial, and what stays because it is the last of its user or item.
    assert abs(len(heldout) - 0.2 * len(rows)) < 6 * (0.16 * len(rows)) ** 0.5 + 0.05 * len(rows)
    held = {
        (everything.users.label(int(u)), everything.items.label(int(i))): float(v)
        for u, i, v in zip(heldout.user_rows, heldout.item_rows, heldout.values, strict=True)
    }
    assert as_dict(training) | held == as_dict(everything)
    order = list(zip(heldout.user_rows.tolist(), heldout.item_rows.tolist(), strict=True))
    assert order == sorted(order)
    training.validate()


def test_row_order_changes_nothing_about_what_is_held_out() -> None:
    rows = catalogue()
    forwards, backwards = (split_holdout(interactions_of(each), 0.3, seed=1) for each in (rows, rows[::-1]))
    assert_same(forwards[0], backwards[0])
    for name in ("user_rows", "item_rows", "values"):
        assert np.array_equal(getattr(forwards[1], name), getattr(backwards[1], name))


def test_another_seed_holds_out_others() -> None:
    held = [split_holdout(interactions_of(catalogue()), 0.3, seed=seed)[1] for seed in range(3)]
    for a, b in itertools.combinations(held, 2):
        shared = set(zip(a.user_rows, a.item_rows, strict=True)) & set(zip(b.user_rows, b.item_rows, strict=True))
        assert len(shared) < 0.5 * len(a)  # three in ten are expected


def test_a_lone_interaction_is_never_held_out() -> None:
    everything = interactions_of([(u, u, 1.0) for u in range(50)])
    assert len(split_holdout(everything, 0.99, seed=0)[1]) == 0


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_a_fraction_that_is_none_is_refused(fraction: float) -> None:
    with pytest.raises(UsageError, match="`fraction`"):
        split_holdout(interactions_of([(1, 1, 1.0)]), fraction, seed=0)


@pytest.mark.parametrize("form", ["csr", "csc", "bsr"])
def test_a_matrix_whose_indices_lead_outside_it_is_refused_before_they_are_followed(form: str) -> None:
    matrix = scipy.sparse.coo_array(([1.0, 2.0, 3.0, 4.0], ([0, 0, 1, 1], [0, 1, 0, 1]))).asformat(form)
    assert len(Interactions.from_sparse(matrix)) == 4
    matrix.indptr[1] = 99
    with pytest.raises(DataError, match="the matrix is not sound"):
        Interactions.from_sparse(matrix)
