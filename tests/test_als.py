from __future__ import annotations

import dataclasses
import itertools
import time

import numpy as np
import pytest

from forgetcli import als, unlearn
from forgetcli.config import Solver, TrainConfig
from forgetcli.errors import DataError, NumericalError
from forgetcli.gradient import gradients
from forgetcli.interactions import Interactions
from forgetcli.model import Factors, SideFactors
from forgetcli.objective import Objective
from forgetcli.records import ForgetRequest
from tests import dense_reference
from tests.samples import CONFIGS, dense, interactions, triples

EXACT = 1e-8
"""Relative: float64 rounding (1e-16) times the condition numbers of these problems, over a few sweeps."""


def with_bias(side: SideFactors) -> np.ndarray:
    return np.concatenate([side.factors, side.bias[:, None]], axis=1)


@pytest.mark.parametrize("name", CONFIGS)
def test_training_is_that_of_the_dense_reference(name: str) -> None:
    data, config = interactions(), CONFIGS[name]
    model = als.train(data, config)
    reference = dense_reference.train(dense(data), als.starting_items(data.items, config).factors, config)
    np.testing.assert_allclose(model.factors.user.factors, reference.p, rtol=EXACT, atol=EXACT)
    np.testing.assert_allclose(model.factors.item.factors, reference.q, rtol=EXACT, atol=EXACT)
    np.testing.assert_allclose(model.factors.user.bias, reference.b_user, rtol=EXACT, atol=EXACT)
    np.testing.assert_allclose(model.factors.item.bias, reference.b_item, rtol=EXACT, atol=EXACT)
    assert model.factors.global_mean == pytest.approx(reference.mean, rel=1e-12)
    assert [entry.objective for entry in model.history] == pytest.approx(reference.objectives, rel=1e-10)


@pytest.mark.parametrize("name", CONFIGS)
def test_float32_follows_float64(name: str) -> None:
    data, config = interactions(), CONFIGS[name]
    single = als.train(data, dataclasses.replace(config, dtype="float32"))
    double = als.train(data, config)
    assert single.factors.user.factors.dtype == np.float32
    assert [e.objective for e in single.history] == pytest.approx([e.objective for e in double.history], rel=1e-4)


@pytest.mark.parametrize("name", CONFIGS)
def test_each_half_sweep_lowers_the_objective(name: str) -> None:
    data, config = interactions(), dataclasses.replace(CONFIGS[name], sweeps=1)
    objective = Objective.of(config, data)
    factors = als.train(data, config).factors
    value = gradients(data, factors, objective).objective
    for _ in range(6):
        user = als.half_sweep(data.by_user, factors.item, objective).side
        factors = dataclasses.replace(factors, user=user)
        after_users = gradients(data, factors, objective).objective
        item = als.half_sweep(data.by_item, factors.user, objective).side
        factors = dataclasses.replace(factors, item=item)
        after_items = gradients(data, factors, objective).objective
        assert value > after_users > after_items
        value = after_items


@pytest.mark.parametrize("name", CONFIGS)
def test_the_gradient_is_the_objectives_finite_difference(name: str) -> None:
    data, config = interactions(n_users=9, n_items=7, density=0.5), CONFIGS[name]
    objective = Objective.of(config, data)
    factors = als.train(data, dataclasses.replace(config, sweeps=1)).factors
    at = gradients(data, factors, objective)
    step = 1e-6

    def value(side: str, row: int, column: int, shift: float) -> float:
        old: SideFactors = getattr(factors, side)
        matrix = with_bias(old)
        matrix[row, column] += shift
        new = SideFactors(np.ascontiguousarray(matrix[:, :-1]), np.ascontiguousarray(matrix[:, -1]))
        return gradients(data, dataclasses.replace(factors, **{side: new}), objective).objective

    for side, gradient in (("user", at.user), ("item", at.item)):
        for row in range(0, len(gradient), 3):
            for column in range(gradient.shape[1]):
                slope = (value(side, row, column, step) - value(side, row, column, -step)) / (2 * step)
                assert gradient[row, column] == pytest.approx(slope, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_gradient_of_the_side_solved_last_is_zero(name: str) -> None:
    data, config = interactions(), CONFIGS[name]
    at = gradients(data, als.train(data, config).factors, Objective.of(config, data))
    assert np.abs(at.item).max() < 1e-10 * np.abs(at.user).max() + 1e-9
    assert at.objective == pytest.approx(als.train(data, config).history[-1].objective, rel=1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CONFIGS)
def test_neither_row_order_nor_threads_change_a_bit(name: str, dtype: str) -> None:
    config = dataclasses.replace(CONFIGS[name], dtype=dtype)
    users, items, ratings = triples()
    order = np.random.default_rng(1).permutation(len(users))
    one = als.train(Interactions.from_arrays(users, items, ratings), config, threads=1)
    other = als.train(Interactions.from_arrays(users[order], items[order], ratings[order]), config, threads=3)
    assert one.history == other.history
    for side in ("user", "item"):
        a, b = getattr(one.factors, side), getattr(other.factors, side)
        assert a.factors.tobytes() == b.factors.tobytes()
        assert a.bias.tobytes() == b.bias.tobytes()


def test_a_rows_start_depends_on_the_seed_and_its_own_id_alone() -> None:
    config = TrainConfig(factors=7)
    every = als.starting_items(interactions(n_items=25).items, config).factors
    some_data = Interactions.from_arrays([1, 2], [-50, 27])  # the items of rows 0 and 7 of the others
    assert np.array_equal(als.starting_items(some_data.items, config).factors, every[[0, 7]])
    other_seed = als.starting_items(some_data.items, dataclasses.replace(config, seed=1)).factors
    assert not np.isclose(other_seed, every[[0, 7]]).any()


def test_starting_factors_are_normal_with_variance_one_over_k() -> None:
    data = Interactions.from_arrays(np.zeros(20_000, np.int64), np.arange(20_000))
    start = als.starting_items(data.items, TrainConfig(factors=9, dtype="float64")).factors * 3
    n = start.size  # standard errors: 1/√n of the mean, √(2/n) of the variance, √(24/n) of the kurtosis
    assert abs(start.mean()) < 5 / np.sqrt(n)
    assert abs(start.var() - 1) < 5 * np.sqrt(2 / n)
    assert abs(np.mean(start**4) - 3) < 5 * np.sqrt(96 / n)
    assert abs(np.corrcoef(start.T) - np.eye(9)).max() < 5 / np.sqrt(len(start))


def test_tol_stops_early_and_keeps_a_history_entry_a_sweep() -> None:
    data = interactions()
    config = dataclasses.replace(CONFIGS["biased"], sweeps=200, tol=1e-3)
    history = als.train(data, config).history
    objectives = [entry.objective for entry in history]
    drops = [(a - b) / a for a, b in itertools.pairwise(objectives) if a and b]
    assert len(history) < 200
    assert drops[-1] < 1e-3
    assert all(drop >= 1e-3 for drop in drops[:-1])


def test_progress_and_validation_metrics_come_with_every_sweep() -> None:
    seen: list[als.SweepReport] = []

    def evaluate(factors: Factors) -> dict[str, float]:
        return {"norm": float(np.linalg.norm(factors.user.factors))}

    model = als.train(interactions(), CONFIGS["plain"], evaluate=evaluate, on_progress=seen.append)
    assert [report.sweep for report in seen] == [1, 2, 3, 4]
    assert [report.metrics for report in seen] == [entry.metrics for entry in model.history]
    assert [report.objective for report in seen] == [entry.objective for entry in model.history]


@pytest.mark.parametrize("factors", [3, 60])
def test_more_factors_than_users_or_items_train(factors: int) -> None:
    data = Interactions.from_arrays([1, 1, 2], [5, 6, 5], [3.0, 1.0, 4.0])
    model = als.train(data, TrainConfig(factors=factors, sweeps=3, dtype="float64"))
    assert np.isfinite(model.factors.user.factors).all()


def test_one_interaction_trains() -> None:
    model = als.train(Interactions.from_arrays([1], [2], [4.0]), TrainConfig(factors=2, sweeps=2))
    assert model.factors.predict(np.array([0]), np.array([0])) == pytest.approx([4.0], abs=1e-5)


def test_no_interactions_are_refused() -> None:
    with pytest.raises(DataError, match="no interactions"):
        als.train(Interactions.from_arrays([], []), TrainConfig())


def test_values_below_zero_are_refused_by_an_implicit_model() -> None:
    data = Interactions.from_arrays([1, 2], [1, 2], [1.0, -1.0])
    with pytest.raises(DataError, match="at least 0"):
        als.train(data, TrainConfig.for_objective("implicit"))


@pytest.mark.parametrize("solver", ["exact", "cg"])
@pytest.mark.parametrize("large", [3e38, 3e19])  # whose squares float32 cannot hold
def test_equations_that_cannot_be_solved_are_a_numerical_error(large: float, solver: Solver) -> None:
    data = Interactions.from_arrays([1, 1, 2], [1, 2, 2], [large, -large, large])
    with pytest.raises(NumericalError, match="no finite solution"):
        als.train(data, TrainConfig(factors=2, sweeps=3, solver=solver))


def test_the_largest_seed_starts_training_like_any_other() -> None:
    config = dataclasses.replace(CONFIGS["plain"], sweeps=1, seed=2**63 - 1)
    assert np.isfinite(als.train(interactions(), config).factors.item.factors).all()


@pytest.mark.parametrize("biases", [False, True])
def test_one_thread_keeps_to_one_processor(biases: bool) -> None:
    rng = np.random.default_rng(0)
    data = Interactions.from_arrays(
        np.repeat(np.arange(20_000), 10), rng.integers(0, 300, 200_000), rng.integers(1, 6, 200_000).astype(np.float32)
    )
    config = TrainConfig(factors=72, sweeps=3, biases=biases)
    time.sleep(0.2)  # what waits in a loop since the tests before has given up
    began, busy = time.perf_counter(), time.process_time()
    model = als.train(data, config, threads=1)
    unlearn.forget(model, ForgetRequest.of(users=[7]), method="response", threads=1)
    unlearn.forget(model, ForgetRequest.of(users=range(500)), method="response", threads=1)
    assert time.process_time() - busy < 1.2 * (time.perf_counter() - began)
