"""Training with momentum, and forgetting from a model that was trained with it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from forgetcli import als, krylov, momentum, unlearn
from forgetcli.checkpoint import load, save
from forgetcli.config import TrainConfig
from forgetcli.errors import UsageError
from forgetcli.records import ForgetRequest
from tests import dense_reference
from tests.samples import CONFIGS, dense, interactions

NAMES = ("biased", "unscaled", "implicit")


def accelerated(name: str, **options: object) -> TrainConfig:
    return dataclasses.replace(CONFIGS[name], **{"acceleration": "momentum", "sweeps": 8, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_that_of_the_dense_reference(name: str) -> None:
    data, config = interactions(), accelerated(name)
    model = als.train(data, config)
    reference = dense_reference.train(dense(data), als.starting_items(data.items, config).factors, config)
    np.testing.assert_allclose(model.factors.item.factors, reference.q, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(model.factors.user.factors, reference.p, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(model.factors.item.bias, reference.b_item, rtol=1e-9, atol=1e-9)
    assert [entry.objective for entry in model.history] == pytest.approx(reference.objectives, rel=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_it_ends_below_plain_sweeps_and_never_rises(name: str) -> None:
    data, config = interactions(), accelerated(name, sweeps=15)
    fast, plain = (
        [entry.objective or 0.0 for entry in als.train(data, each).history]
        for each in (config, dataclasses.replace(config, acceleration="none"))
    )
    assert fast[:2] == plain[:2]
    assert fast[-1] < plain[-1]
    assert (np.diff(fast) <= 1e-12 * np.abs(fast[:-1])).all()


def test_what_raises_the_objective_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    data, config = interactions(), accelerated("biased")
    monkeypatch.setattr(momentum, "momentum_weight", lambda sweeps: 1e3)
    wild, plain = als.train(data, config), als.train(data, dataclasses.replace(config, acceleration="none"))
    np.testing.assert_array_equal(wild.factors.item.factors, plain.factors.item.factors)
    assert wild.history == plain.history


def test_the_weights_start_anew_after_a_restart() -> None:
    side = als.starting_items(interactions().items, CONFIGS["plain"])
    ahead = momentum.Momentum()
    assert [ahead.beyond(side) is None for _ in range(3)] == [True, False, False]
    ahead.restart()
    assert [ahead.beyond(side) is None for _ in range(3)] == [True, False, False]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_threads_change_no_bit(dtype: str) -> None:
    config = accelerated("biased", dtype=dtype)
    one, three = (als.train(interactions(), config, threads=n) for n in (1, 3))
    np.testing.assert_array_equal(one.factors.item.factors, three.factors.item.factors)
    np.testing.assert_array_equal(one.factors.user.factors, three.factors.user.factors)


def test_another_acceleration_is_refused() -> None:
    with pytest.raises(UsageError, match="none or momentum"):
        accelerated("biased", acceleration="warp")
    with pytest.raises(UsageError, match="inexact solver"):
        accelerated("biased", solver="cg")


def test_a_file_keeps_it_and_a_retrain_has_it(tmp_path) -> None:  # type: ignore[no-untyped-def]
    model = als.train(interactions(), accelerated("biased"))
    save(model, tmp_path / "model.npz")
    known = load(tmp_path / "model.npz")
    assert known.config == model.config
    request = ForgetRequest.of(users=[3])
    retrained, _ = unlearn.retrain(known, request)
    left = interactions().without(request.resolve(interactions()).removal).interactions
    expected = als.train(left, model.config)
    np.testing.assert_array_equal(retrained.factors.item.factors, expected.factors.item.factors)


def swept(s: float, sweeps: int, plain: int) -> list[float]:
    """x after each of so many scalar sweeps, the first ones plain: relative to x after those, in units of what is left
    there."""
    x, before, course = 0.0, 0.0, []
    for t in range(sweeps):
        carried = momentum.momentum_weight(t) if t >= plain else 0.0
        x, before = 1 + (1 - s) * (x + carried * (x - before)), x
        course.append(x)
    done = course[plain - 1] if plain else 0.0
    return [(each - done) / (1 - s * done) for each in course]


@pytest.mark.parametrize("plain", [0, 1, 3])
@pytest.mark.parametrize("s", [1e-6, 0.02, 0.3, 0.9])
def test_what_sweeps_with_momentum_absorb_is_what_they_do_to_a_number(s: float, plain: int) -> None:
    sweeps = 12
    weights = [momentum.momentum_weight(t) for t in range(plain, sweeps + 1)]
    course, n = swept(s, sweeps, plain), sweeps - plain
    values = np.array([s])
    assert krylov.absorbed(values, n, weights[:n])[0] == pytest.approx(course[-1], rel=1e-9)
    beyond = course[-1] + weights[-1] * (course[-1] - course[-2])
    assert krylov.absorbed(values, n, weights)[0] == pytest.approx(beyond, rel=1e-9)


def test_negative_curvature_is_bounded_with_momentum_too() -> None:
    weights = [momentum.momentum_weight(t) for t in range(15)]
    flat, steep = krylov.absorbed(np.array([0.0, -3.0]), 15, weights)
    assert flat < steep < 3 * flat
