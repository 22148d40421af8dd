"""The users' drift without the records: what a further sweep would change in users that have lost some.

After T sweeps the users are solved against the items of sweep T − 1, and the items have moved since. So
c = U − users(V) is, to first order in that last movement Δ of the items, A⁻¹ C Δ, with A the users' normal matrices and
C the coupling (see `linearised`). Without the records both are others: a user who never had a record does not drift
toward it. Where training stopped early, that is a part of what a record left.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forgetcli.krylov import inner
from forgetcli.linearised import LinearisedSweep, NormalInverse, stacked
from forgetcli.model import SideFactors, minus, scaled, still


def drift_change(
    left: LinearisedSweep,
    whole: NormalInverse,
    trained: SideFactors,
    item_rows: NDArray[np.int64],
    drift: SideFactors,
    touched: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> SideFactors:
    """The touched users' drift without their records, less that with them.

    Δ is taken from the sweep that would come next, B⁻¹ Cᵀ c, and scaled to fit the drift with the records. What it does
    not explain of that came from all of a user's records alike, and is left as far as they are; see `_kept_share`.

    left:           at the remaining rows, with the touched users solved without their records.
    whole:          A⁻¹ of the data with the records; trained: the touched users there.
    item_rows:      where the remaining items are in that data.
    drift:          of the remaining users, with the records.
    touched, rows:  the users that lost records, in the remaining data and in the data before.
    """
    users, items = left.item_inverse.other, left.user_inverse.other
    _, ahead = left.item_inverse.coupled(items, drift)
    _, without = left.user_inverse.of_rows(touched).coupled(users.take(touched), ahead)
    known_ahead = still(whole.other).replaced(item_rows, ahead)
    _, with_records = whole.of_rows(rows).coupled(trained, known_ahead)
    stacked_records = stacked(with_records, whole.objective)
    square = inner(with_records, stacked_records)
    scale = inner(drift.take(touched), stacked_records) / square if square > 0 else 0.0
    unexplained = minus(drift.take(touched), scaled(with_records, scale))
    gone = 1 - _kept_share(whole, rows, left.user_inverse.view.row_counts()[touched])
    gone = gone.astype(unexplained.factors.dtype)
    return minus(
        scaled(minus(without, with_records), scale),
        SideFactors(unexplained.factors * gone[:, None], unexplained.bias * gone),
    )


def _kept_share(whole: NormalInverse, rows: NDArray[np.int64], counts_after: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n,) A'⁻¹ A times the share of a row's records that is kept, the matrices taken for multiples of the identity: 1
    where they grow with the records, and about that share where most of them is what all rows have."""
    objective, coordinates = whole.objective, whole.coordinates
    before = whole.view.row_counts()[rows]
    kept = counts_after / before
    entries, dense = before * float(np.mean(coordinates.mean)), float(np.mean(coordinates.dense))
    if not objective.reg_by_count:
        dense += objective.reg
    after = kept * entries + dense
    return np.divide(kept * (entries + dense), after, out=np.zeros_like(kept), where=after > 0)
