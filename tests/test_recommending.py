"""Recommendations are exactly the head of the full sorted list, however they are computed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from forgetcli import _native
from forgetcli.config import TrainConfig
from forgetcli.errors import DataError, NumericalError, UsageError
from forgetcli.interactions import Csr, Interactions, Vocabulary
from forgetcli.model import Factors, Model, SideFactors
from forgetcli.recommending import Recommendations, recommend, recommend_in_batches

RANKS = [1, 7, 16, 33, 64, 128, 256]
DTYPES = ["float32", "float64"]

TOLERANCE = {"float32": 2e-5, "float64": 1e-13}
"""For scores of about 1: the rounding of a sum of up to 256 products, an order of magnitude above what was seen."""


@pytest.fixture(params=_native.instruction_sets())
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    before = _native.instruction_set()
    _native.use_instruction_set(request.param)
    yield request.param
    _native.use_instruction_set(before)


def make_model(
    n_users: int, n_items: int, rank: int, dtype: str = "float32", *, integers: bool = False, seen: float = 0.2
) -> Model:
    """Random factors and biases, scores of about 1; user 0 has seen everything. Integers make every score exact, so
    that many are equal."""
    rng = np.random.default_rng([n_users, n_items, rank])

    def side(n: int) -> SideFactors:
        factors, bias = rng.normal(0, rank**-0.25, (n, rank)), rng.normal(0, 0.3, n)
        if integers:
            factors, bias = rng.integers(-1, 2, (n, rank)).astype(float), rng.integers(-1, 2, n).astype(float)
        return SideFactors(factors.astype(dtype), bias.astype(dtype))

    marks = rng.random((n_users, n_items)) < seen
    marks[0] = True
    indptr = np.concatenate([[0], np.cumsum(marks.sum(axis=1))]).astype(np.int64)
    indices = np.nonzero(marks)[1].astype(np.int32)
    users, items = Vocabulary(np.arange(n_users, dtype=np.int64)), Vocabulary(np.arange(n_items, dtype=np.int64))
    interactions = Interactions(users, items, Csr(indptr, indices, np.ones(len(indices), np.float32), n_items))
    config = TrainConfig(factors=rank, dtype="float64" if dtype == "float64" else "float32")
    return Model(config, Factors(side(n_users), side(n_items), 3.0), users, items, (), interactions)


def all_rows(model: Model) -> NDArray[np.int64]:
    return np.arange(len(model.users))


def predictions(model: Model) -> NDArray[np.float64]:
    """(users, items), in float64."""
    user, item = model.factors.user, model.factors.item
    products = user.factors.astype(np.float64) @ item.factors.astype(np.float64).T
    return np.asarray(products + user.bias[:, np.newaxis] + item.bias + model.factors.global_mean)


def candidates(model: Model, user: int, exclude_seen: bool) -> NDArray[np.int64]:
    rows = np.arange(len(model.items))
    assert model.interactions is not None
    by_user = model.interactions.by_user
    seen = by_user.indices[by_user.indptr[user] : by_user.indptr[user + 1]]
    return np.setdiff1d(rows, seen) if exclude_seen else rows


def sorted_head(model: Model, user: int, scores: NDArray[np.float64], n: int, exclude_seen: bool) -> list[int]:
    """The first n items by falling score, then by rising row."""
    items = candidates(model, user, exclude_seen)
    return [int(item) for item in items[np.lexsort((items, -scores[items]))][:n]]


def chosen(answer: Recommendations, i: int) -> list[int]:
    return [int(item) for item in answer.items[i] if item >= 0]


def assert_same(a: Recommendations, b: Recommendations) -> None:
    np.testing.assert_array_equal(a.users, b.users)
    np.testing.assert_array_equal(a.items, b.items)
    assert a.scores.tobytes() == b.scores.tobytes()


@pytest.mark.parametrize("n", [1, 10, 1000])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rank", RANKS)
def test_no_item_left_out_beats_one_recommended(rank: int, dtype: str, n: int, instruction_set: str) -> None:
    model = make_model(31, 203, rank, dtype)
    truth = predictions(model)
    answer = recommend(model, all_rows(model), n)
    assert answer.items.shape == (31, min(n, 203))
    for user in range(31):
        items, allowed = chosen(answer, user), candidates(model, user, exclude_seen=True)
        assert len(set(items)) == len(items) == min(n, len(allowed))
        assert set(items) <= set(allowed)
        scores = answer.scores[user, : len(items)]
        np.testing.assert_allclose(scores, truth[user, items], rtol=0, atol=TOLERANCE[dtype])
        assert np.all(np.diff(scores) <= 0)
        others = np.setdiff1d(allowed, items)
        if len(items) and len(others):
            assert truth[user, others].max() <= scores[-1] + TOLERANCE[dtype]


@pytest.mark.parametrize("exclude_seen", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_equal_scores_come_in_the_order_of_the_rows(dtype: str, exclude_seen: bool, instruction_set: str) -> None:
    model = make_model(40, 500, 3, dtype, integers=True)
    truth = predictions(model)
    for n in (1, 2, 10, 64, 499, 500):
        answer = recommend(model, all_rows(model), n, exclude_seen=exclude_seen)
        for user in range(40):
            expected = sorted_head(model, user, truth[user], n, exclude_seen)
            assert chosen(answer, user) == expected
            assert answer.scores[user, : len(expected)].tolist() == truth[user, expected].tolist()


@settings(max_examples=60, deadline=None)
@given(
    n_users=st.integers(1, 30), n_items=st.integers(1, 120), rank=st.integers(1, 20), n=st.integers(1, 130),
    seen=st.sampled_from([0.0, 0.1, 0.9]), dtype=st.sampled_from(DTYPES),
)  # fmt: skip
def test_the_answer_is_the_head_of_the_sorted_list(
    n_users: int, n_items: int, rank: int, n: int, seen: float, dtype: str
) -> None:
    model = make_model(n_users, n_items, rank, dtype, integers=True, seen=seen)
    truth = predictions(model)
    answer = recommend(model, all_rows(model), n)
    assert [chosen(answer, user) for user in range(n_users)] == [
        sorted_head(model, user, truth[user], n, True) for user in range(n_users)
    ]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spread", [0.0, 1.0, 3.0])
def test_items_passed_over_unseen_are_not_missed(spread: float, dtype: str, instruction_set: str) -> None:
    """With norms that differ most items are never scored; the answer is still the sort of all the scores that the
    kernel computes when it must give every item."""
    model = make_model(20, 3000, 33, dtype)
    item, rng = model.factors.item, np.random.default_rng(2)
    lengths = np.exp(spread * rng.standard_normal((3000, 1))).astype(dtype)
    scaled = SideFactors(item.factors * lengths, item.bias)
    model = replace(model, factors=Factors(model.factors.user, scaled, 3.0))
    full = recommend(model, all_rows(model), 3000, exclude_seen=False)
    scores = np.empty((20, 3000))
    np.put_along_axis(scores, full.items.astype(np.int64), full.scores, axis=1)
    for n in (1, 10):
        answer = recommend(model, all_rows(model), n)
        for user in range(20):
            expected = sorted_head(model, user, scores[user], n, True)
            assert chosen(answer, user) == expected
            assert answer.scores[user, : len(expected)].tolist() == scores[user, expected].tolist()


def test_where_the_bound_is_the_score_itself_ties_still_go_to_the_lowest_row() -> None:
    """At rank 1 a product is exactly as large as its norms allow."""
    model = make_model(8, 4000, 1)
    item = SideFactors.without_bias(np.where(np.arange(4000) % 7 == 3, 0.3, 0.2).astype(np.float32)[:, np.newaxis])
    user = SideFactors.without_bias(np.full((8, 1), 0.7, np.float32))
    model = replace(model, factors=Factors(user, item, 0.0))
    answer = recommend(model, all_rows(model), 20, exclude_seen=False)
    assert answer.items.tolist() == [list(range(3, 143, 7))] * 8


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rank", [1, 16, 33, 256])
def test_threads_change_nothing(rank: int, dtype: str, instruction_set: str) -> None:
    model = make_model(301, 203, rank, dtype)
    one = recommend(model, all_rows(model), threads=1)
    for threads in (2, 3, 16):
        assert_same(one, recommend(model, all_rows(model), threads=threads))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_users_answer_does_not_depend_on_who_else_is_asked_about(dtype: str, instruction_set: str) -> None:
    model = make_model(301, 203, 33, dtype)
    everyone = recommend(model, all_rows(model))
    some = np.random.default_rng(1).integers(0, 301, 500)
    answer = recommend(model, some)
    assert_same(answer, Recommendations(some, everyone.items[some].copy(), everyone.scores[some].copy()))
    for user in (0, 5, 300):
        alone = recommend(model, np.array([user]))
        np.testing.assert_array_equal(alone.items[0], everyone.items[user])
        assert alone.scores[0].tobytes() == everyone.scores[user].tobytes()


def test_more_items_than_one_chunk_holds_change_nothing() -> None:
    """At rank 1024 in float64 a chunk of packed items holds about 2,000 of them."""
    model = make_model(15, 5003, 1024, "float64", integers=True)
    truth = predictions(model)
    answer = recommend(model, all_rows(model), 40)
    for user in range(15):
        assert chosen(answer, user) == sorted_head(model, user, truth[user], 40, True)


@pytest.mark.parametrize("batch", [1, 7, 100, 1000])
def test_batches_are_the_parts_of_the_whole(batch: int) -> None:
    model = make_model(100, 60, 8)
    whole = recommend(model, all_rows(model), 5)
    parts = list(recommend_in_batches(model, all_rows(model), 5, batch=batch))
    assert max(len(part) for part in parts) == min(batch, 100)
    assert_same(
        whole,
        Recommendations(
            np.concatenate([part.users for part in parts]),
            np.concatenate([part.items for part in parts]),
            np.concatenate([part.scores for part in parts]),
        ),
    )


def test_who_has_seen_everything_is_recommended_nothing() -> None:
    model = make_model(5, 30, 4)
    answer = recommend(model, np.array([0]), 3)
    assert answer.items.tolist() == [[-1, -1, -1]]
    assert np.isnan(answer.scores).all()


def test_without_padding_every_score_is_a_number() -> None:
    model = make_model(50, 100, 16)
    answer = recommend(model, all_rows(model), 100)
    assert np.array_equal(np.isnan(answer.scores), answer.items < 0)
    assert not np.isnan(recommend(model, all_rows(model), 100, exclude_seen=False).scores).any()


def test_nobody_asked_about_is_an_empty_answer() -> None:
    model = make_model(5, 30, 4)
    assert recommend(model, np.empty(0, np.int64), 3).items.shape == (0, 3)
    assert list(recommend_in_batches(model, np.empty(0, np.int64), 3)) == []


def test_seen_items_of_a_model_without_interactions_are_an_error_that_says_what_to_do() -> None:
    model = replace(make_model(5, 30, 4), interactions=None)
    with pytest.raises(DataError, match="without its interactions") as caught:
        recommend(model, all_rows(model))
    assert caught.value.hint is not None
    assert "`exclude_seen=False`" in caught.value.hint
    assert len(recommend(model, all_rows(model), exclude_seen=False)) == 5


@pytest.mark.parametrize(
    ("users", "options"),
    [
        ([5], {}),
        ([-1], {}),
        ([[0]], {}),
        ([0.5], {}),
        (["a"], {}),
        ([0], {"n": 0}),
        ([0], {"n": 2.5}),
        ([0], {"n": True}),
        ([0], {"threads": -1}),
    ],
)
def test_arguments_that_make_no_sense_are_wrong_use(users: list[Any], options: dict[str, Any]) -> None:
    model = make_model(5, 30, 4)
    with pytest.raises(UsageError):
        recommend(model, np.array(users), **options)
    with pytest.raises(UsageError):
        recommend_in_batches(model, np.array(users), **options)


def test_a_batch_of_nobody_is_wrong_use() -> None:
    model = make_model(5, 30, 4)
    with pytest.raises(UsageError, match="batch"):
        recommend_in_batches(model, all_rows(model), batch=0)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
@pytest.mark.parametrize("side", ["user", "item"])
def test_factors_whose_scores_may_not_be_finite_are_a_numerical_error(side: str, value: float) -> None:
    model = make_model(5, 30, 4)
    user, item = model.factors.user.factors.copy(), model.factors.item.factors.copy()
    (user if side == "user" else item)[3, 2] = value
    (item if side == "user" else user)[2, 2] = 1e9
    factors = Factors(SideFactors.without_bias(user), SideFactors.without_bias(item), 0.0)
    with pytest.raises(NumericalError):
        recommend(replace(model, factors=factors), all_rows(model))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_item_is_written_for_users_who_only_fill_a_group(dtype: str, instruction_set: str) -> None:
    """A score that is infinite reaches every threshold, but who is not there has none."""
    rng = np.random.default_rng(0)
    users, items = rng.normal(size=(3, 4)).astype(dtype), rng.normal(size=(40, 4)).astype(dtype)
    found, scores = _native.top_n(
        user_factors=users, item_factors=items, item_bias=np.full(40, np.inf, dtype), item_norms=np.ones(40),
        item_order=np.arange(40, dtype=np.int32), users=np.arange(3), user_norms=np.ones(3), seen_offsets=None,
        seen_items=None, n=5, threads=1,
    )  # fmt: skip
    assert found.tolist() == [[0, 1, 2, 3, 4]] * 3
    assert np.all(np.isposinf(scores))


def test_ctrl_c_ends_a_long_search() -> None:
    # A shell starts what it puts into the background with the signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    rng = np.random.default_rng(0)
    side = SideFactors.without_bias(rng.standard_normal((60_000, 64), np.float32))
    rows = Vocabulary(np.arange(60_000))
    model = Model(TrainConfig(), Factors(side, side, 0.0), rows, rows, (), None)
    timer = threading.Timer(0.5, signal.raise_signal, [signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        recommend(model, np.tile(np.arange(60_000), 20), 1, exclude_seen=False, threads=2)
    timer.join()
    signal.signal(signal.SIGINT, before)
