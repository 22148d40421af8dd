"""Where factors stand on some data: the objective and its gradient, with which forgetting is held to account."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forgetcli import _native
from forgetcli.als import regularisation, row_arguments
from forgetcli.csr import Csr
from forgetcli.interactions import Interactions
from forgetcli.model import Array, Factors, SideFactors
from forgetcli.objective import Objective
from forgetcli.products import dot


@dataclass(frozen=True)
class Gradients:
    """The gradient of the objective, with the objective.

    user, item: (n, k), or (n, k + 1) with the bias last: the derivative by each row's parameters.
    """

    objective: float
    user: Array
    item: Array


def gradients(interactions: Interactions, factors: Factors, objective: Objective, *, threads: int = 0) -> Gradients:
    """The objective and its gradient at these factors."""
    user, item = (
        half_gradients(view, own, other, objective, None, threads)
        for view, _, own, other in _both_sides(interactions, factors)
    )
    value = float(item[1].sum()) + regularisation(factors.user, interactions.by_user.row_counts(), objective)
    return Gradients(value, 2 * user[0], 2 * item[0])


@dataclass(frozen=True)
class Standing:
    """Where factors stand on some data.

    objective:         its value.
    relative_gradient: the gradient's norm over that of the regularisation's part of it. Where the objective is
                       stationary, the loss pulls exactly as hard as the regularisation, and this is 0. It has no unit
                       and does not depend on the data's size.
    user_gradient,
    item_gradient:     the same of each side.
    item_norm:         the items' norm in that of their normal matrices.
    """

    objective: float
    relative_gradient: float
    user_gradient: float
    item_gradient: float
    item_norm: float


def standing(
    interactions: Interactions,
    factors: Factors,
    objective: Objective,
    *,
    value: float | None = None,
    users: tuple[Array, NDArray[np.float64]] | None = None,
    threads: int = 0,
) -> Standing:
    """Where these factors stand. What has to be summed over a side of more than FEW_ROWS rows is estimated from some of
    them; but not the objective.

    value: the objective, where it is known.
    users: half the gradient by all users and their parts of the objective, where they are known.
    """
    if value is None:
        losses = users[1] if users else _losses(interactions.by_user, factors.user, factors.item, objective, threads)
        value = float(losses.sum()) + regularisation(factors.item, interactions.item_counts, objective)
    slack, pull = [], []
    for view, _, own, other in _both_sides(interactions, factors):
        counts = view.row_counts()
        if users and own is factors.user:
            some, weights, gradient = own, np.ones(len(own)), users[0]
        else:
            rows, weights = _sampled(counts)
            some, counts = own.take(rows), counts[rows]
            gradient, _, squares = half_gradients(view, some, other, objective, rows, threads)
        slack.append(dot(weights, np.einsum("nk,nk->n", gradient, gradient, dtype=np.float64)))
        pull.append(dot(weights, np.square(objective.row_scales(counts)) * some.squares()))
    both = _relative(sum(slack), sum(pull))
    item_norm = float(np.sqrt(max(dot(weights, squares), 0.0)))
    return Standing(value, both, _relative(slack[0], pull[0]), _relative(slack[1], pull[1]), item_norm)


def _relative(slack: float, pull: float) -> float:
    return float(np.sqrt(slack / pull)) if pull > 0 else float(slack > 0)


FEW_ROWS = 8_000
SAMPLED_SHARE = 0.1
"""Of the entries: enough for a sum of squares to be known to a few per cent, as a figure that is reported asks for."""


def _sampled(counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Some rows, and how many each stands for: all of a few, or of many those that a walk along the counts falls on. A
    row's part in a sum of squares grows with its count, so that rows are drawn by that; with the heavy ones among them
    it would be off by a factor of two if all were drawn alike."""
    if len(counts) <= FEW_ROWS:
        return np.arange(len(counts)), np.ones(len(counts))
    sizes, repeats = np.unique(counts, return_counts=True)
    entries = sizes * repeats
    low, high = 0.0, 1.0  # Σ n min(1, c n) is the share asked for at a c between
    for _ in range(40):
        middle = (low + high) / 2
        drawn = float(np.sum(entries * np.minimum(1.0, middle * sizes)))
        low, high = (low, middle) if drawn > SAMPLED_SHARE * entries.sum() else (middle, high)
    chances = np.minimum(1.0, high * counts)
    rows = np.flatnonzero(np.diff(np.floor(np.cumsum(chances) + 0.5), prepend=0.0) > 0)
    return rows, 1 / chances[rows]


def _both_sides(interactions: Interactions, factors: Factors) -> tuple[tuple[Csr, Csr, SideFactors, SideFactors], ...]:
    """The interactions by a side's rows and by the other one's; the side, and the other."""
    by_user, by_item = interactions.by_user, interactions.by_item
    return ((by_user, by_item, factors.user, factors.item), (by_item, by_user, factors.item, factors.user))


def half_gradients(
    view: Csr,
    own: SideFactors,
    other: SideFactors,
    objective: Objective,
    rows: NDArray[np.int64] | None,
    threads: int,
) -> tuple[Array, NDArray[np.float64], NDArray[np.float64]]:
    """Half the gradient by the given rows, whose parameters are `own`; their parts of the objective; and their
    parameters' squares in the norm of their normal matrices."""
    return _native.row_gradients(
        **row_arguments(view, other, objective, threads),
        factors=own.factors,
        bias=own.bias,
        rows=rows,
        threads=threads,
    )


def _losses(view: Csr, own: SideFactors, other: SideFactors, objective: Objective, threads: int) -> NDArray[np.float64]:
    """The rows' parts of the objective."""
    return _native.row_losses(
        **row_arguments(view, other, objective, threads), factors=own.factors, bias=own.bias, threads=threads
    )
