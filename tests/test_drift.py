"""The users' drift without the records, beside the sweep that it stands for, in float64."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from forgetcli import als
from forgetcli.drift import drift_change
from forgetcli.interactions import Removal
from forgetcli.krylov import inner
from forgetcli.linearised import LinearisedSweep, NormalInverse, stacked
from forgetcli.model import SideFactors, minus, plus
from forgetcli.objective import Objective
from tests.samples import CONFIGS, interactions


@pytest.mark.parametrize("name", CONFIGS)
def test_the_drift_without_the_records_is_that_of_the_items_before(name: str) -> None:
    """A retrain's users are solved against the items of the sweep before: those are known here."""
    data = interactions(n_users=120, n_items=40, density=0.4)
    config = dataclasses.replace(CONFIGS[name], sweeps=8)
    factors = als.train(data, config).factors
    earlier = als.train(data, dataclasses.replace(config, sweeps=7)).factors.item
    removal = Removal(np.arange(5, len(data), 29))
    remaining, objective = data.without(removal), Objective.of(config, data)
    left, kept = remaining.interactions, remaining.user_rows
    lost = np.unique(data.by_user.rows_of(removal.entries))
    touched = np.flatnonzero(np.isin(kept, lost))
    items, before = factors.item.take(remaining.item_rows), earlier.take(remaining.item_rows)

    def solved(side: SideFactors) -> SideFactors:
        return als.half_sweep(left.by_user, side, objective).side

    drift = minus(factors.user, als.half_sweep(data.by_user, factors.item, objective).side).take(kept)
    moved = plus(solved(items).take(touched), drift.take(touched))
    own = factors.user.take(kept).replaced(touched, moved)

    def inverse(*arguments: object) -> NormalInverse:
        return NormalInverse.of(*arguments, objective, tolerance=1e-9)  # type: ignore[arg-type]

    change = drift_change(
        LinearisedSweep(inverse(left.by_user, left.by_item, items), inverse(left.by_item, left.by_user, own)),
        inverse(data.by_user, data.by_item, factors.item),
        factors.user.take(kept[touched]),
        remaining.item_rows,
        drift,
        touched,
        kept[touched],
    )
    real = minus(solved(before), solved(items)).take(touched)
    with_records = drift.take(touched)

    def apart(one: SideFactors) -> float:
        difference = minus(one, real)
        return inner(difference, stacked(difference, objective))

    assert apart(plus(with_records, change)) < 0.25 * apart(with_records)
