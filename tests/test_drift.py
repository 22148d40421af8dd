"""The users' drift without the records, beside the sweep that it stands for, in float64."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from forgetcli import als
from forgetcli.drift import Trained, drift_on_forgotten, drift_without_records
from forgetcli.interactions import Removal
from forgetcli.linearised import stacked, unstacked
from forgetcli.model import SideFactors
from forgetcli.objective import Objective
from tests.samples import CONFIGS, interactions

Matrix = NDArray[np.float64]


@dataclasses.dataclass
class Case:
    """A model, a removal, and the users solved with and without it.

    trained:     the model and its data; items: those that remain, of the last sweep; earlier: of the sweep before.
    touched:     the users that lost records.
    drift:       (n_users, d) with the records.
    solved:      users(V) of what remains.
    """

    trained: Trained
    items: SideFactors
    earlier: SideFactors
    touched: NDArray[np.int64]
    drift: Matrix
    solved: SideFactors


def make_case(name: str) -> Case:
    data = interactions(n_users=120, n_items=40, density=0.4)
    config = dataclasses.replace(CONFIGS[name], sweeps=8)
    factors = als.train(data, config).factors
    before = als.train(data, dataclasses.replace(config, sweeps=7)).factors.item
    removal = Removal(np.arange(5, len(data), 29))
    remaining = data.without(removal)
    objective = Objective.of(config, data)
    users = als.half_sweep(data.by_user, factors.item, objective).side
    items, earlier = (
        SideFactors(side.factors[remaining.item_rows], side.bias[remaining.item_rows])
        for side in (factors.item, before)
    )
    solved = als.half_sweep(remaining.interactions.by_user, items, objective).side
    drift = (stacked(factors.user, objective) - stacked(users, objective))[remaining.user_rows]
    rows = np.unique(data.by_user.rows_of(removal.entries))
    touched = np.flatnonzero(np.isin(remaining.user_rows, rows))
    trained = Trained(data, removal, remaining, factors, objective)
    return Case(trained, items, earlier, touched, drift, solved)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_drift_without_the_records_is_that_of_the_items_before(name: str) -> None:
    case = make_case(name)
    trained, objective, touched = case.trained, case.trained.objective, case.touched
    left = trained.remaining.interactions
    real = stacked(als.half_sweep(left.by_user, case.earlier, objective).side, objective)
    real = (real - stacked(case.solved, objective))[touched]
    whole, rows = trained.factors.user, trained.remaining.user_rows
    parameters = stacked(SideFactors(whole.factors[rows], whole.bias[rows]), objective).copy()
    parameters[touched] = (stacked(case.solved, objective) + case.drift)[touched]
    users = unstacked(parameters, whole.factors.shape[1])
    found = drift_without_records(trained, users, case.items, case.drift, touched, tolerance=1e-9)
    assert np.linalg.norm(found - real) < 0.5 * np.linalg.norm(case.drift[touched] - real)


@pytest.mark.parametrize("name", CONFIGS)
def test_what_the_drift_does_to_the_forgotten_is_measured_pair_by_pair(name: str) -> None:
    case = make_case(name)
    trained, objective = case.trained, case.trained.objective
    data, remaining = trained.data, trained.remaining
    rng = np.random.default_rng(0)
    drift, moved = rng.normal(size=(2, len(case.touched), case.drift.shape[1]))
    factors, shifted, removed = trained.factors, 0.0, 0.0
    for entry in trained.removal.entries.tolist():
        user, item = int(data.by_user.rows_of(np.array([entry]))[0]), int(data.by_user.indices[entry])
        mine = np.flatnonzero(remaining.user_rows[case.touched] == user)
        if len(mine) == 0:
            continue
        value = objective.target[0] * float(data.by_user.values[entry]) + objective.target[1]
        predicted = factors.user.factors[user] @ factors.item.factors[item]
        predicted += factors.user.bias[user] + factors.item.bias[item]
        features = np.append(factors.item.factors[item], [1.0] * objective.biases)
        shifted += (value - predicted) * float(drift[mine[0]] @ features)
        removed += (value - predicted) * float(moved[mine[0]] @ features)
    found = drift_on_forgotten(trained, case.touched, drift, moved)
    assert found == pytest.approx(abs(shifted / removed), rel=1e-9)
