"""How far apart two models' factors, predictions and rankings are: plain functions on arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from forgetcli.model import Array, Factors

Lists = NDArray[np.int32]
"""(m, n) the items recommended to m users, best first; -1 where there are no more."""

RBO_PERSISTENCE = 0.9
"""p: a reader goes on to the next item with this probability, so that the first ten have 86 % of the weight (Webber,
Moffat & Zobel 2010, §4.3)."""

_BLOCK_ROWS = 1 << 13
"""Rows of factors in float64 at a time: a few megabytes."""


def alignment(a: Factors, b: Factors) -> NDArray[np.float64]:
    """(k, k) R, the rotation that brings all factors A of one model nearest to those of another, B.

    Predictions and objective are the same for every rotation, if both sides turn alike: so it is one R, the orthogonal
    Procrustes solution for both sides together (Schönemann 1966).

    Both must have the same users, items and rank.
    """
    u, _, vt = np.linalg.svd(_product(a.user.factors, b.user.factors) + _product(a.item.factors, b.item.factors))
    return np.asarray(u @ vt)


def relative_error(a: Array, b: Array, rotation: NDArray[np.float64], rows: NDArray[np.int64] | None = None) -> float:
    """‖A R - B‖ / ‖B‖ of one side's factors, or of some rows of them. Exact to about 1e-8."""
    if rows is not None:
        a, b = a[rows], b[rows]
    square = _square_sum(a) + _square_sum(b) - 2 * float(np.sum(rotation * _product(a, b)))
    return _ratio(square, _square_sum(b))


def rms(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """The root of the mean squared difference."""
    return float(np.sqrt(np.mean(np.square(a - b))))


def largest(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """The largest absolute difference."""
    return float(np.max(np.abs(a - b)))


def overlap(a: Lists, b: Lists) -> NDArray[np.float64]:
    """(m,) the share of items that two lists have in common, whatever their places; NaN for two empty lists."""
    agreed, depth = _agreement(a, b)
    with np.errstate(invalid="ignore"):
        return np.asarray(agreed[:, -1] / depth)


def rank_biased_overlap(a: Lists, b: Lists, persistence: float = RBO_PERSISTENCE) -> NDArray[np.float64]:
    """(m,) rank-biased overlap, extrapolated beyond the lists' end: 0 for disjoint, 1 for equal ones, NaN for two
    empty ones (Webber, Moffat & Zobel 2010, eq. 32 for lists of one length).

    RBO = (1 - p)/p Σ_d p^d X_d/d + p^k X_k/k, with X_d the number of items common to the first d and k the length.
    """
    agreed, depth = _agreement(a, b)
    places = np.arange(1, a.shape[1] + 1)
    weights = np.where(places <= depth[:, None], persistence**places / places, 0.0)
    with np.errstate(invalid="ignore"):
        tail = persistence**depth * agreed[:, -1] / depth
    return np.asarray((1 - persistence) / persistence * np.sum(weights * agreed, axis=1) + tail)


def softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each row as probabilities proportional to exp(score)."""
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def divergences(
    probabilities: Sequence[NDArray[np.float64]], pairs: Iterable[tuple[int, int]]
) -> dict[tuple[int, int], NDArray[np.float64]]:
    """(m,) for each pair of several models: the Jensen–Shannon divergence of their rows, in bits, from 0 for equal
    ones to 1 for those with nothing in common (Lin 1991).

    probabilities: of each model, (m, n).
    """
    own = [_entropy(each) for each in probabilities]
    return {
        (a, b): np.maximum(_entropy((probabilities[a] + probabilities[b]) / 2) - (own[a] + own[b]) / 2, 0.0)
        for a, b in pairs
    }


def _entropy(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """(m,) the entropy of each row, in bits."""
    logarithms = np.log2(np.maximum(probabilities, np.finfo(float).tiny))
    return np.asarray(-np.einsum("mn,mn->m", probabilities, logarithms))


def _agreement(a: Lists, b: Lists) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(m, n) X_d, the number of items common to the first d of both lists, and (m,) the length of the longer list."""
    n = a.shape[1]
    same = (a[:, :, None] == b[:, None, :]) & (a >= 0)[:, :, None]
    later_place = np.maximum(np.arange(n)[:, None], np.arange(n)[None, :])
    agreed = np.stack([same[:, later_place == d].sum(axis=1) for d in range(n)], axis=1)
    depth = np.maximum(np.count_nonzero(a >= 0, axis=1), np.count_nonzero(b >= 0, axis=1))
    return np.cumsum(agreed, axis=1), depth


def _product(x: Array, y: Array) -> NDArray[np.float64]:
    """(k, k) xᵀ y in float64, a block of rows at a time."""
    product = np.zeros((x.shape[1], y.shape[1]))
    for begin in range(0, len(x), _BLOCK_ROWS):
        block = slice(begin, begin + _BLOCK_ROWS)
        product += x[block].astype(np.float64).T @ y[block].astype(np.float64)
    return product


def _square_sum(array: Array) -> float:
    return float(np.einsum("nk,nk->", array, array, dtype=np.float64))


def _ratio(square: float, whole: float) -> float:
    """The root of a sum of squares over another; 0 for 0 over 0."""
    return float(np.sqrt(max(square, 0.0) / whole)) if whole > 0 else 0.0 if square <= 0 else np.inf
