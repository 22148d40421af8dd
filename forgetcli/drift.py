"""The users' drift without the records: what a further sweep would change in users that have lost some.

After T sweeps the users are solved against the items of sweep T − 1, and the items have moved since. So
c = U − users(V) is, to first order in that last movement Δ of the items, A⁻¹ K Δ, with A the users' normal matrices and
K the coupling (see `linearised`). Without the records both are others: a user who never had a record does not drift
toward it. Where a training was stopped early, that is a part of what a record left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forgetcli.interactions import Interactions, Remaining, Removal
from forgetcli.linearised import CG_TOLERANCE, NormalInverse, couple, stacked, unstacked
from forgetcli.model import Array, Factors, SideFactors
from forgetcli.objective import Objective


@dataclass(frozen=True)
class Trained:
    """A model beside the data that it was trained on, and what of that goes.

    objective: of the data before.
    """

    data: Interactions
    removal: Removal
    remaining: Remaining
    factors: Factors
    objective: Objective
    threads: int = 0


def drift_on_forgotten(trained: Trained, touched: NDArray[np.int64], drift: Array, moved: Array) -> float:
    """How far the drift shifts the forgotten predictions, beside what solving their users without them does: both along
    the error, absolute.

    touched: (m,) rows, in the remaining data, of the users that lost records; strictly increasing.
    drift:   (m, d) of these, stacked; moved: (m, d) users(V) with the records less users(V) without.
    """
    view, objective, factors = trained.data.by_user, trained.objective, trained.factors
    own = trained.remaining.user_rows[touched]
    rows = view.rows_of(trained.removal.entries)
    known = np.isin(rows, own)
    rows, entries = rows[known], trained.removal.entries[known]
    slope, offset = objective.target
    shifted = removed = 0.0
    for begin in range(0, len(entries), _BLOCK):
        part = slice(begin, begin + _BLOCK)
        user, item = rows[part], view.indices[entries[part]]
        wanted = slope * view.values[entries[part]].astype(np.float64) + offset + objective.global_mean
        features = stacked(SideFactors(factors.item.factors[item], np.ones_like(factors.item.bias[item])), objective)
        pulls = features * (wanted - factors.predict(user, item))[:, None]
        at = np.searchsorted(own, user)
        shifted += float(np.einsum("nd,nd->", pulls, drift[at]))
        removed += float(np.einsum("nd,nd->", pulls, moved[at]))
    return abs(shifted / removed) if removed != 0 else 0.0


_BLOCK = 1 << 16
"""Forgotten records at a time: what they need is in memory for so many."""


def drift_without_records(
    trained: Trained,
    users: SideFactors,
    items: SideFactors,
    drift: Array,
    touched: NDArray[np.int64],
    *,
    tolerance: float = CG_TOLERANCE,
) -> Array:
    """(m, d): the drift that the touched users would have if their records had never been there, to first order.

    Δ is taken from the sweep that would come next, B⁻¹ Kᵀ c, and scaled to fit the drift with the records. That the two
    differ by a little does no harm: only what the removal changes in A⁻¹ K Δ is taken from it.

    users, items: of the remaining rows, with the touched users solved without their records.
    drift:        (n_users, d) of the remaining users, measured with the records.
    """
    left, objective, rank = trained.remaining.interactions, trained.objective, users.factors.shape[1]
    whole = trained.factors

    def follow(data: Interactions, own: SideFactors, other: SideFactors, direction: SideFactors) -> Array:
        push = couple(data.by_user, own, other, direction, objective, trained.threads)
        inverse = NormalInverse.of(data.by_user, other, objective, tolerance=tolerance, threads=trained.threads)
        return stacked(inverse.solve(push), objective)

    push = couple(left.by_item, items, users, unstacked(drift, rank), objective, trained.threads)
    inverse = NormalInverse.of(left.by_item, users, objective, tolerance=tolerance, threads=trained.threads)
    ahead = inverse.solve(push)
    without = follow(left, users, items, ahead)[touched]
    rows = trained.remaining.item_rows
    factors, bias = np.zeros_like(whole.item.factors), np.zeros_like(whole.item.bias)
    factors[rows], bias[rows] = ahead.factors, ahead.bias
    everywhere = SideFactors(factors, bias)
    with_records = follow(trained.data, whole.user, whole.item, everywhere)[trained.remaining.user_rows[touched]]
    own = drift[touched]
    square = float(np.einsum("nd,nd->", with_records, with_records, dtype=np.float64))
    scale = float(np.einsum("nd,nd->", own, with_records, dtype=np.float64)) / square if square > 0 else 0.0
    return own + own.dtype.type(scale) * (without - with_records)
