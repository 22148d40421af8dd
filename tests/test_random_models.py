"""Random small models and requests of every kind: the response step always ends, finite and not far worse than it
began. Thousands of them found what the tests of the step had not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from forgetcli import als, unlearn
from forgetcli.config import TrainConfig
from forgetcli.errors import NumericalError
from forgetcli.interactions import Interactions
from forgetcli.model import Model
from forgetcli.records import ForgetRequest
from forgetcli.response import FAR_WORSE

MODELS = 60


def some_data(rng: np.random.Generator, *, implicit: bool) -> Interactions:
    """Up to 200 users and 100 items, the items of like or of very different popularity."""
    n_users, n_items = int(rng.integers(3, 200)), int(rng.integers(3, 100))
    n = max(10, int(n_users * n_items * rng.uniform(0.02, 0.5)))
    popularity = (1 + np.arange(n_items)) ** -rng.uniform(0, 1.5)
    values = rng.gamma(2, 2, n) if implicit else np.clip(np.round(3 + rng.standard_normal(n)), 1, 5)
    items = rng.choice(n_items, n, p=popularity / popularity.sum())
    return Interactions.from_arrays(rng.integers(0, n_users, n), items, values * rng.choice([1, 20]))


def some_config(rng: np.random.Generator, *, implicit: bool) -> TrainConfig:
    def one(*choices: Any) -> Any:
        return choices[rng.integers(len(choices))]

    common = {
        "factors": one(1, 2, 5, 16, 33), "sweeps": one(1, 2, 3, 5, 15, 40), "dtype": one("float32", "float64"),
        "acceleration": one("none", "momentum"), "solved_last": one("items", "users"),
    }  # fmt: skip
    if implicit:
        return TrainConfig.for_objective("implicit", alpha=one(1.0, 10.0, 40.0), reg=one(0.1, 1.0, 10.0), **common)
    return TrainConfig(reg=one(0.02, 0.07, 0.3), biases=one(True, False), **common)


def some_entries(rng: np.random.Generator, data: Interactions) -> NDArray[np.int64]:
    """A record, records at random, users' histories but for a few, or items' records but for a few."""
    kind, keep = rng.integers(4), int(rng.integers(4))
    if kind == 0:
        return rng.integers(len(data), size=1)
    if kind == 1:
        return np.flatnonzero(rng.random(len(data)) < rng.choice([0.003, 0.02, 0.1]))
    if kind == 2:
        return data.by_user.entries_of_rows(rng.permutation(data.n_users)[: rng.integers(1, 4)])[keep:]
    return data.by_user.entries_of_columns(np.sort(rng.permutation(data.n_items)[: rng.integers(1, 3)]))[keep:]


def trained(data: Interactions, config: TrainConfig) -> Model | None:
    """None where the equations have no solution at this precision."""
    try:
        return als.train(data, config)
    except NumericalError:
        return None


@pytest.mark.parametrize("seed", range(4))
def test_the_step_ends_finite_and_not_far_worse_than_it_began(seed: int) -> None:
    rng = np.random.default_rng(seed)
    followed = 0
    for number in range(MODELS):
        implicit = bool(number % 2)
        data = some_data(rng, implicit=implicit)
        model, entries = trained(data, some_config(rng, implicit=implicit)), some_entries(rng, data)
        if model is None or not 0 < len(entries) < len(data):
            continue
        users, items = data.by_user.rows_of(entries), data.by_user.indices[entries]
        request = ForgetRequest(data.users.ids[users], data.items.ids[items], data.users.ids[:0], data.items.ids[:0])
        result = unlearn.forget(model, request, method="response")
        factors = result.model.factors
        for array in (factors.user.factors, factors.user.bias, factors.item.factors, factors.item.bias):
            assert np.isfinite(array).all()
        assert result.before is not None
        assert result.after is not None
        assert result.after.objective <= result.before.objective * (1 + FAR_WORSE)
        followed += 1
    assert followed > MODELS / 2
