from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.distance import jensenshannon
from scipy.stats import ortho_group

from forgetcli.differences import alignment, divergences, overlap, rank_biased_overlap, relative_error, softmax
from forgetcli.model import Factors, SideFactors

ALIGNED = 1e-7
"""The error is the root of a difference of squares, and so holds half of float64's digits."""

TOLERANCE = 1e-12
"""A few operations on numbers of about 1."""


def random_factors(seed: int, rank: int = 6) -> Factors:
    rng = np.random.default_rng(seed)
    user, item = (SideFactors.without_bias(rng.normal(size=(n, rank))) for n in (30, 20))
    return Factors(user, item, 0.0)


def turned(factors: Factors, user_turn: NDArray[np.float64], item_turn: NDArray[np.float64]) -> Factors:
    return Factors(
        SideFactors.without_bias(factors.user.factors @ user_turn),
        SideFactors.without_bias(factors.item.factors @ item_turn),
        0.0,
    )


def factor_errors(a: Factors, b: Factors) -> tuple[float, float]:
    """The users' and the items' error."""
    rotation = alignment(a, b)
    return (
        relative_error(a.user.factors, b.user.factors, rotation),
        relative_error(a.item.factors, b.item.factors, rotation),
    )


def test_rotated_factors_align() -> None:
    factors, rotation = random_factors(0), ortho_group.rvs(6, random_state=1)
    assert factor_errors(turned(factors, rotation, rotation), factors) == pytest.approx((0, 0), abs=ALIGNED)


def test_factors_whose_sides_turn_differently_do_not_align() -> None:
    factors = random_factors(0)
    one, other = (ortho_group.rvs(6, random_state=seed) for seed in (1, 2))
    assert min(factor_errors(turned(factors, one, other), factors)) > 0.1


def test_alignment_finds_the_best_rotation_of_both_sides_together() -> None:
    a, b = random_factors(3), random_factors(4)
    user, item = factor_errors(a, b)
    together = np.concatenate([a.user.factors, a.item.factors]), np.concatenate([b.user.factors, b.item.factors])
    u, _, vt = np.linalg.svd(together[0].T @ together[1])
    for error, x, y in ((user, a.user, b.user), (item, a.item, b.item)):
        expected = np.linalg.norm(x.factors @ u @ vt - y.factors) / np.linalg.norm(y.factors)
        assert error == pytest.approx(expected, abs=ALIGNED)


def test_the_error_of_some_rows_is_theirs_after_the_alignment_of_all() -> None:
    a, b, rows = random_factors(3), random_factors(4), np.array([2, 5, 11])
    rotation = alignment(a, b)
    expected = np.linalg.norm(a.user.factors[rows] @ rotation - b.user.factors[rows])
    expected /= np.linalg.norm(b.user.factors[rows])
    assert relative_error(a.user.factors, b.user.factors, rotation, rows) == pytest.approx(expected, abs=ALIGNED)


LISTS = np.array([[0, 1, 2], [0, 1, 2], [0, 1, 2], [7, 3, -1], [-1, -1, -1]], np.int32)
OTHERS = np.array([[0, 1, 2], [3, 4, 5], [2, 0, 9], [3, 8, -1], [-1, -1, -1]], np.int32)


def test_overlap_counts_common_items_whatever_their_place() -> None:
    assert overlap(LISTS, OTHERS) == pytest.approx([1, 0, 2 / 3, 1 / 2, np.nan], nan_ok=True)


def test_rank_biased_overlap_is_that_computed_by_hand() -> None:
    p = 0.9
    # Row 2: X = 0, 1, 2 at depths 1, 2, 3. Row 3, of length 2: X = 0, 1.
    row2 = (1 - p) / p * (0 + p**2 / 2 + p**3 * 2 / 3) + p**3 * 2 / 3
    row3 = (1 - p) / p * (p**2 / 2) + p**2 / 2
    assert rank_biased_overlap(LISTS, OTHERS, p) == pytest.approx([1, 0, row2, row3, np.nan], nan_ok=True)


@given(st.permutations(range(8)), st.permutations(range(8)), st.floats(0.05, 0.99))
def test_rank_biased_overlap_is_the_sum_over_prefixes_of_sets(one: list[int], two: list[int], p: float) -> None:
    k = 5
    common = [len({*one[:depth]} & {*two[:depth]}) for depth in range(1, k + 1)]
    expected = (1 - p) / p * sum(x / d * p**d for d, x in enumerate(common, start=1)) + p**k * common[-1] / k
    found = rank_biased_overlap(np.array([one[:k]], np.int32), np.array([two[:k]], np.int32), p)
    assert found[0] == pytest.approx(expected, abs=TOLERANCE)


def test_divergence_is_that_computed_by_hand() -> None:
    p = np.array([[1.0, 0.0], [0.5, 0.5], [0.2, 0.8]])
    q = np.array([[0.0, 1.0], [1.0, 0.0], [0.2, 0.8]])
    mixed = -(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25)) - 0.5
    assert divergences([p, q], [(0, 1)])[0, 1] == pytest.approx([1, mixed, 0], abs=TOLERANCE)


@given(st.integers(0, 100))
def test_divergence_of_scores_is_the_square_of_scipys_distance(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(2, 3, 12)) * 4
    p, q = softmax(scores[0]), softmax(scores[1])
    assert p.sum(axis=1) == pytest.approx(np.ones(3))
    expected = jensenshannon(p, q, base=2, axis=1) ** 2
    assert divergences([p, q], [(0, 1)])[0, 1] == pytest.approx(expected, abs=1e-9)  # SciPy's root loses digits


def test_softmax_takes_scores_of_any_size() -> None:
    assert softmax(np.array([[1000.0, 1000.0], [-1000.0, 0.0]])) == pytest.approx(np.array([[0.5, 0.5], [0.0, 1.0]]))
