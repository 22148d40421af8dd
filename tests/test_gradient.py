"""Where factors stand, beside the whole gradient."""

import numpy as np
import pytest

from forgetcli import als, gradient
from forgetcli.config import TrainConfig
from forgetcli.interactions import Interactions
from forgetcli.objective import Objective
from tests.samples import CONFIGS, interactions


def long_tailed() -> Interactions:
    """10,000 users and 400 items, some of whom have hundreds of times as many interactions as others."""
    rng = np.random.default_rng(3)
    counts = np.minimum(400, 1 + rng.pareto(0.8, 10_000)).astype(int)
    popularity = rng.permutation(1 / np.arange(1, 401))
    users = np.repeat(np.arange(10_000), counts)
    items = np.concatenate([rng.choice(400, count, replace=False, p=popularity / popularity.sum()) for count in counts])
    return Interactions.from_arrays(users, items, rng.integers(1, 6, len(users)).astype(np.float32))


@pytest.mark.parametrize("name", CONFIGS)
def test_all_rows_of_a_few_are_counted(name: str) -> None:
    data = interactions()
    config = CONFIGS[name]
    factors, objective = als.train(data, config).factors, Objective.of(config, data)
    whole = gradient.gradients(data, factors, objective)
    slack = np.sum(whole.user**2) + np.sum(whole.item**2)
    pull = sum(
        4 * np.sum(np.square(objective.row_scales(view.row_counts())) * side.squares())
        for view, side in ((data.by_user, factors.user), (data.by_item, factors.item))
    )
    stands = gradient.standing(data, factors, objective)
    assert stands.objective == pytest.approx(whole.objective, rel=1e-9)
    assert stands.relative_gradient == pytest.approx(np.sqrt(slack / pull), rel=1e-6)


def test_of_many_rows_the_heavy_ones_are_among_those_that_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    data = long_tailed()
    config = TrainConfig(factors=6, sweeps=3, reg=0.05)
    factors, objective = als.train(data, config).factors, Objective.of(config, data)
    exact = gradient.standing(data, factors, objective)
    monkeypatch.setattr(gradient, "FEW_ROWS", 100)
    monkeypatch.setattr(gradient, "SAMPLED_SHARE", 0.3)  # of so little data
    drawn = gradient.standing(data, factors, objective)
    assert drawn.objective == exact.objective
    assert drawn.relative_gradient == pytest.approx(exact.relative_gradient, rel=0.1)
    assert drawn.item_norm == pytest.approx(exact.item_norm, rel=0.1)


def test_rows_drawn_by_their_counts_stand_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = long_tailed().by_user.row_counts()
    monkeypatch.setattr(gradient, "FEW_ROWS", 100)
    monkeypatch.setattr(gradient, "SAMPLED_SHARE", 0.3)  # of so little data
    rows, weights = gradient._sampled(counts)
    assert counts[rows].sum() == pytest.approx(gradient.SAMPLED_SHARE * counts.sum(), rel=0.05)
    assert weights @ counts[rows] == pytest.approx(counts.sum(), rel=0.02)
    assert (weights >= 1).all()
    assert (np.diff(rows) > 0).all()
    everyone, alike = gradient._sampled(counts[:100])
    assert np.array_equal(everyone, np.arange(100))
    assert (alike == 1).all()
