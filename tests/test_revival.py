"""Erased users and items, folded back in."""

from __future__ import annotations

import numpy as np
import pytest

from forgetcli import als
from forgetcli.auditing import audit
from forgetcli.common import CommonGround, ForgottenPairs
from forgetcli.interactions import Interactions
from forgetcli.model import Model
from forgetcli.records import ForgetRequest
from forgetcli.revival import revive
from forgetcli.unlearn import forget, retrain
from forgetcli.verdict import Finding
from tests.samples import CONFIGS, interactions
from tests.test_auditing import CONFIGS as TASTEFUL
from tests.test_auditing import tasteful_triples

TOLERANCE = 1e-9
"""Systems of at most 20 unknowns, solved in float64."""


def solved(model: Model, rows: list[int], values: list[float], side: str) -> tuple[np.ndarray, float]:
    """Factors and bias of a user (or an item) with these interactions, by the normal equations as they are written in
    the literature."""
    config, factors = model.config, model.factors
    other = factors.item if side == "user" else factors.user
    x, r = other.factors[rows], np.array(values)
    ridge = config.reg * (len(rows) if config.reg_scaling == "count" else 1)
    if config.objective == "explicit":
        target = r - factors.global_mean - other.bias[rows]
        if config.biases:
            x = np.hstack([x, np.ones((len(rows), 1))])
        both = np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1]), x.T @ target)
        return (both[:-1], both[-1]) if config.biases else (both, 0.0)
    confidence = config.confidence_base + config.alpha * r
    whole = config.unobserved_weight * other.factors.T @ other.factors
    left = whole + x.T @ (x * (confidence - config.unobserved_weight)[:, None]) + ridge * np.eye(x.shape[1])
    return np.linalg.solve(left, x.T @ confidence), 0.0


@pytest.mark.parametrize("side", ["user", "item"])
@pytest.mark.parametrize("name", CONFIGS)
def test_what_was_erased_comes_back_as_its_records_make_it(name: str, side: str) -> None:
    data = interactions()
    ids = (data.users if side == "user" else data.items).ids[[4, 9]]
    request = ForgetRequest.of(**{f"{side}s": ids.tolist()})
    original = als.train(data, CONFIGS[name])
    left = retrain(original, request, seed=1)[0]
    assert left.interactions is not None
    ground = CommonGround.of([left, original], left.interactions)
    forgotten = ForgottenPairs.of(request, data)
    scene = revive(ground, forgotten)
    assert (len(scene.pairs), scene.folded_in, scene.pairs.left_out) == (len(forgotten),) * 2 + (0,)
    assert scene.pairs.values is not None
    for model, factors in zip(ground.models, scene.factors, strict=True):
        own = factors.user if side == "user" else factors.item
        mine, theirs = (scene.pairs.users, scene.pairs.items)[:: 1 if side == "user" else -1]
        for number in range(2):
            row = len(own) - 2 + number
            of_it = mine == row
            expected, bias = solved(model, theirs[of_it].tolist(), scene.pairs.values[of_it].tolist(), side)
            assert own.factors[row] == pytest.approx(expected, abs=TOLERANCE)
            assert own.bias[row] == pytest.approx(bias, abs=TOLERANCE)


def test_pairs_that_are_there_are_measured_as_they_are() -> None:
    data = interactions()
    view = data.by_user
    users, items = data.users.ids[view.row_numbers()[::40]], data.items.ids[view.indices[::40]]
    pairs = list(zip(users.tolist(), items.tolist(), strict=True))
    request = ForgetRequest.of(pairs=pairs)
    left = retrain(als.train(data, CONFIGS["biased"]), request, seed=1)[0]
    assert left.interactions is not None
    ground = CommonGround.of([left], left.interactions)
    scene = revive(ground, ForgottenPairs.of(request, data))
    assert scene.folded_in == 0
    assert scene.factors[0] is ground.models[0].factors


def test_pairs_whose_user_and_item_are_gone_are_left_out() -> None:
    data = interactions()
    view = data.by_user
    user, item = int(view.row_numbers()[0]), int(view.indices[0])
    request = ForgetRequest.of(users=[data.users.ids[user]], items=[data.items.ids[item]])
    left = retrain(als.train(data, CONFIGS["biased"]), request, seed=1)[0]
    assert left.interactions is not None
    forgotten = ForgottenPairs.of(request, data)
    scene = revive(CommonGround.of([left], left.interactions), forgotten)
    assert (scene.pairs.left_out, scene.folded_in) == (1, len(forgotten) - 1)
    assert scene.seen.n_rows == len(scene.factors[0].user)
    assert scene.seen.n_columns == len(scene.factors[0].item)


def test_without_their_values_nothing_comes_back() -> None:
    data = interactions()
    request = ForgetRequest.of(pairs=[(int(data.users.ids[0]), int(item)) for item in data.items.ids])
    left = retrain(als.train(data, CONFIGS["biased"]), request, seed=1)[0]
    assert left.interactions is not None
    scene = revive(CommonGround.of([left], left.interactions), ForgottenPairs.of(request, None))
    assert (len(scene.pairs), scene.folded_in) == (0, 0)


@pytest.mark.parametrize("name", TASTEFUL)
def test_erased_users_are_remembered_by_the_items_until_they_are_forgotten(name: str) -> None:
    users, items, ratings = tasteful_triples()
    data = Interactions.from_arrays(users, items, ratings)
    request = ForgetRequest.of(users=data.users.ids[::12].tolist())
    original = als.train(data, TASTEFUL[name])
    retrained = [retrain(original, request, seed=seed)[0] for seed in range(1, 7)]
    bare = forget(original, request, method="sweeps", sweeps=1).model
    rows = original.users.find(bare.users.ids)
    cut = type(original.factors.user)(original.factors.user.factors[rows], original.factors.user.bias[rows])
    # As if deleting the users' rows were all there is to do.
    dropped = Model(
        original.config,
        type(original.factors)(cut, original.factors.item, original.factors.global_mean),
        bare.users,
        bare.items,
        original.history,
        bare.interactions,
    )
    found = audit(dropped, retrained[1:], original, request)
    assert found.memory is not None
    assert found.memory.unlearned == pytest.approx(1, abs=1e-6)
    assert found.finding is Finding.REMEMBERS
    assert found.membership is not None
    assert found.membership.pairs > 0
    fresh = audit(retrained[0], retrained[1:], original, request)
    assert fresh.memory is not None
    assert fresh.memory.unlearned is not None
    assert abs(fresh.memory.unlearned) < 0.4
