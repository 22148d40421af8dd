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
    item_norm:         the items' norm in that of their normal matrices.
    """

    objective: float
    relative_gradient: float
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
    """Where these factors stand. What has to be summed over a side of more than SAMPLED_ROWS rows is estimated from so
    many, evenly spaced; but not the objective.

    value: the objective, where it is known.
    users: half the gradient by all users and their parts of the objective, where they are known.
    """
    slack = pull = 0.0
    for view, mirror, own, other in _both_sides(interactions, factors):
        rows = None if own is factors.user and (users or value is None) else _evenly_spaced(len(own))
        some = own if rows is None else own.take(rows)
        if own is factors.user and users:
            gradient, losses = users
        else:
            gradient, losses, squares = half_gradients(view, some, other, objective, rows, threads)
        if value is None:
            value = float(losses.sum()) + regularisation(other, mirror.row_counts(), objective)
        counts = view.row_counts() if rows is None else view.row_counts()[rows]
        weight = len(own) / len(some)
        slack += weight * float(np.einsum("nk,nk->", gradient, gradient, dtype=np.float64))
        pull += weight * float(np.square(objective.row_scales(counts)) @ some.squares())
    assert value is not None
    relative = float(np.sqrt(slack / pull)) if pull > 0 else float(slack > 0)
    return Standing(value, relative, float(np.sqrt(max(weight * squares.sum(), 0.0))))


SAMPLED_ROWS = 8_000
"""Enough rows for a sum of squares to be known to several per cent, as a figure that is reported asks for."""


def _evenly_spaced(n: int) -> NDArray[np.int64] | None:
    """SAMPLED_ROWS of n rows, or None for all of them."""
    return None if n <= SAMPLED_ROWS else np.linspace(0, n - 1, SAMPLED_ROWS).astype(np.int64)


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
