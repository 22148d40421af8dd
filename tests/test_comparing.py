from __future__ import annotations

import dataclasses
import json
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from forgetcli import als, comparing
from forgetcli.comparison import CELLS, GROUPS, ROWS, Contrast, Reading, Spread
from forgetcli.errors import DataError, UsageError
from forgetcli.evaluate import held_out_metrics
from forgetcli.gradient import standing
from forgetcli.interactions import Heldout, Interactions, split_holdout
from forgetcli.model import Model, SideFactors
from forgetcli.objective import Objective
from forgetcli.records import ForgetRequest
from forgetcli.unlearn import forget, retrain
from tests.samples import CONFIGS, triples

TOLERANCE = 1e-9
"""For models trained alike in another order of rows, whose sums round differently over a few sweeps."""

ALIGNED = 1e-7
"""An aligned factor's error is the root of a difference of squares, and so holds half of float64's digits."""

USERS, ITEMS, RATINGS = triples()
PAIRS = list(zip(USERS[::17].tolist(), ITEMS[::17].tolist(), strict=True))
REQUEST = ForgetRequest.of(pairs=PAIRS)


@dataclasses.dataclass(frozen=True)
class Case:
    original: Model
    unlearned: Model
    retrained: list[Model]


def case(name: str = "biased", request: ForgetRequest = REQUEST, retrains: int = 3) -> Case:
    original = als.train(Interactions.from_arrays(USERS, ITEMS, RATINGS), CONFIGS[name])
    unlearned = forget(original, request, method="sweeps", sweeps=2).model
    return Case(original, unlearned, [retrain(original, request, seed=seed)[0] for seed in range(1, retrains + 1)])


def contrasts(value: object) -> list[Contrast]:
    """All contrasts anywhere in a result."""
    if isinstance(value, Contrast):
        return [value]
    if dataclasses.is_dataclass(value):
        value = [getattr(value, field.name) for field in dataclasses.fields(value)]
    if isinstance(value, dict):
        value = list(value.values())
    return [found for each in value for found in contrasts(each)] if isinstance(value, list) else []


@pytest.mark.parametrize("name", ["biased", "implicit"])
def test_a_model_does_not_differ_from_itself(name: str) -> None:
    model = case(name).unlearned
    found = comparing.compare(model, [model, model], original=model, request=REQUEST)
    same = Spread(1.0, 0.0, 2)
    for contrast in found.factors.values():
        assert contrast.unlearned.mean == pytest.approx(0, abs=ALIGNED)
    for prediction in found.predictions.values():
        assert prediction.rms.unlearned == prediction.maximum.unlearned == Spread(0.0, 0.0, 2)
    for ranking in found.rankings.values():
        assert ranking.overlap.unlearned == same
        assert ranking.rbo.unlearned.mean == pytest.approx(1)
        assert ranking.divergence.unlearned == Spread(0.0, 0.0, 2)
    assert found.objective.gap == 0


@pytest.mark.parametrize("name", ["biased", "implicit"])
def test_every_difference_stands_beside_that_of_the_retrains(name: str) -> None:
    each = case(name)
    found = comparing.compare(each.unlearned, each.retrained, original=each.original, request=REQUEST)
    rows = [name for name in ROWS if name.removeprefix("users_") in (*found.rankings, "users", "items")]
    cells = [name for name in CELLS if name.removeprefix("kept_") in (*found.rankings, "forgotten", "kept", "random")]
    assert (list(found.factors), list(found.predictions)) == (rows, cells)
    assert len(contrasts(found)) == len(rows) + 2 * len(cells) + 3 * len(found.rankings)
    for contrast in contrasts(found):
        assert contrast.retrained is not None
        assert contrast.original is not None
        assert (contrast.unlearned.count, contrast.retrained.count, contrast.original.count) == (3, 3, 3)


def test_steps_on_what_remains_are_told_from_those_before() -> None:
    each = case()
    swept = comparing.compare(each.unlearned, each.retrained, original=each.original)
    trained = CONFIGS["biased"].sweeps
    assert (swept.sweeps.unlearned, swept.sweeps_without.unlearned, swept.response_steps) == (trained + 2, 2, 0)
    assert swept.sweeps_without.retrained == Spread(trained, 0.0, 3)
    assert (swept.sweeps.original, swept.sweeps_without.original) == (trained, None)
    stepped = forget(each.original, REQUEST, method="response").model
    found = comparing.compare(stepped, each.retrained)
    assert (found.sweeps.unlearned, found.sweeps_without.unlearned, found.response_steps) == (trained, 0, 1)


def test_the_relative_gradient_is_that_on_what_remains() -> None:
    each = case()
    found = comparing.compare(each.unlearned, each.retrained, original=each.original, request=REQUEST)
    data = each.unlearned.interactions
    assert data is not None
    objective = Objective.of(each.unlearned.config, data)
    stands = standing(data, each.original.factors, objective)
    expected = stands.objective, stands.relative_gradient
    assert (found.objective.original, found.gradient.original) == pytest.approx(expected)


def test_predictions_on_the_forgotten_pairs_differ_by_what_they_differ() -> None:
    each = case()
    known = [
        [
            model.factors.predict(model.users.find(np.array([user])), model.items.find(np.array([item])))[0]
            for user, item in PAIRS
        ]
        for model in (each.unlearned, *each.retrained)
    ]
    found = comparing.compare(each.unlearned, each.retrained, request=REQUEST).predictions["forgotten"]
    assert found.pairs == len(PAIRS)
    p, *retrains = np.array(known)
    assert found.rms.unlearned.mean == pytest.approx(np.mean([np.sqrt(np.mean((p - r) ** 2)) for r in retrains]))
    among = [np.max(np.abs(a - b)) for a, b in combinations(retrains, 2)]
    assert found.maximum.retrained == Spread(
        pytest.approx(np.mean(among)), pytest.approx(np.std(among, ddof=1)), len(among)
    )


def renamed(model: Model, seed: int) -> Model:
    """The same model under other ids, so that its rows are in another order."""
    assert model.interactions is not None
    rng = np.random.default_rng(seed)
    data = model.interactions
    user_ids, item_ids = rng.permutation(data.n_users), rng.permutation(data.n_items)
    view = data.by_user
    moved = Interactions.from_arrays(user_ids[view.row_numbers()], item_ids[view.indices], view.values)

    def turn(side: SideFactors, ids: NDArray[np.int64]) -> SideFactors:
        order = np.argsort(ids)
        return SideFactors(side.factors[order], side.bias[order])

    factors = dataclasses.replace(
        model.factors, user=turn(model.factors.user, user_ids), item=turn(model.factors.item, item_ids)
    )
    return Model(model.config, factors, moved.users, moved.items, model.history, moved)


@pytest.mark.parametrize("name", ["plain", "implicit"])
def test_the_order_of_ids_changes_nothing_but_the_samples(name: str) -> None:
    each = case(name)
    one = comparing.compare(each.unlearned, each.retrained)
    other = comparing.compare(renamed(each.unlearned, 5), [renamed(model, 5) for model in each.retrained])
    for side in ("users", "items"):
        assert one.factors[side].unlearned.mean == pytest.approx(other.factors[side].unlearned.mean, abs=ALIGNED)
    assert one.objective.unlearned == pytest.approx(other.objective.unlearned, rel=TOLERANCE)
    # As many are asked for as there are, so that the samples are everyone and every kept pair.
    assert one.predictions["kept"].rms.unlearned.mean == pytest.approx(other.predictions["kept"].rms.unlearned.mean)
    for measure in ("overlap", "rbo", "divergence"):
        a, b = (getattr(found.rankings["everyone"], measure).unlearned.mean for found in (one, other))
        assert a == pytest.approx(b, abs=TOLERANCE)


def test_models_of_different_sizes_are_compared_by_ids() -> None:
    gone = ForgetRequest.of(users=[int(USERS[0])], items=[int(ITEMS[5])]) | REQUEST
    each = case(request=gone)
    assert len(each.unlearned.users) < len(each.original.users)
    found = comparing.compare(each.unlearned, each.retrained, original=each.original, request=gone)
    assert found.users == len(each.unlearned.users)
    assert found.items == len(each.unlearned.items)
    assert found.forgotten_left_out == int(np.sum((USERS[0] == USERS) | (ITEMS[5] == ITEMS)))
    # The original, compared with itself on the users and items that are left, is still itself.
    itself = comparing.compare(each.original, [each.original, each.original], original=each.unlearned)
    assert itself.users == len(each.unlearned.users)
    assert itself.predictions["random"].maximum.unlearned.mean == 0
    assert itself.rankings["everyone"].overlap.unlearned.mean == 1


def test_the_same_comparison_gives_the_same_figures() -> None:
    each = case()
    one, other = (comparing.compare(each.unlearned, each.retrained, request=REQUEST, seed=4) for _ in range(2))
    assert one == other


def test_groups_are_those_who_asked_and_those_who_share_their_items() -> None:
    few = ForgetRequest.of(pairs=PAIRS[:2])
    each = case(request=few)
    found = comparing.compare(each.unlearned, each.retrained, request=few).rankings
    asked = {user for user, _ in PAIRS[:2]}
    items = {item for _, item in PAIRS[:2]}
    sharing = set(USERS[np.isin(ITEMS, list(items))].tolist()) - asked
    assert tuple(found) == GROUPS
    assert [found[name].users for name in GROUPS] == [len(each.unlearned.users), len(asked), len(sharing)]


@pytest.mark.parametrize("name", ["biased", "implicit"])
def test_held_out_metrics_are_each_models_own(name: str) -> None:
    training, heldout = split_holdout(Interactions.from_arrays(USERS, ITEMS, RATINGS), 0.2, seed=3)
    models = [als.train(training, dataclasses.replace(CONFIGS[name], seed=seed)) for seed in range(3)]
    found = comparing.compare(models[0], models[1:], request=REQUEST, test=heldout)
    metrics = [held_out_metrics(model, heldout) for model in models]
    assert set(found.accuracy) == {"everyone", "asked"}
    for metric, reading in found.accuracy["everyone"].items():
        assert reading.unlearned == pytest.approx(metrics[0][metric])
        assert reading.retrained == Spread.of([each[metric] for each in metrics[1:]])


def test_held_out_pairs_of_erased_users_are_left_out() -> None:
    each = case(request=ForgetRequest.of(users=[int(USERS[0])]))
    model = each.original
    heldout = Heldout(np.array([0, 1], np.int32), np.array([1, 1], np.int32), np.ones(2, np.float32), 0)
    theirs = Heldout(np.array([1], np.int32), np.array([1], np.int32), np.ones(1, np.float32), 0)
    found = comparing.compare(model, [each.unlearned], test=heldout).accuracy["everyone"]
    assert found["rmse"].unlearned == held_out_metrics(model, theirs)["rmse"]


def test_a_single_retrain_has_no_yardstick_and_says_so() -> None:
    each = case(retrains=1)
    found = comparing.compare(each.unlearned, each.retrained, request=REQUEST)
    assert all(contrast.retrained is None and contrast.original is None for contrast in contrasts(found))
    assert any("single retrained model" in caution for caution in found.cautions)
    assert set(found.figures()) == {"objective-gap", "still-held"}


def test_what_makes_a_comparison_doubtful_is_said() -> None:
    each = case()
    one, two, _ = each.retrained
    assert comparing.compare(each.unlearned, [one, two], request=REQUEST).cautions == ()
    same_seed = comparing.compare(each.unlearned, [one, one], request=REQUEST)
    assert any("share a seed" in caution for caution in same_seed.cautions)
    never_removed = comparing.compare(each.unlearned, [one, each.original], request=REQUEST)
    assert any("still carries interactions" in caution for caution in never_removed.cautions)
    assert any("do not carry the same" in caution for caution in never_removed.cautions)
    longer = als.train(one.interactions, dataclasses.replace(one.config, sweeps=6, seed=9))
    assert any("different options" in caution for caution in comparing.compare(each.unlearned, [one, longer]).cautions)


def test_what_the_unlearned_model_still_holds_is_counted() -> None:
    each = case()
    assert comparing.compare(each.unlearned, each.retrained, request=REQUEST).still_held == 0
    assert comparing.compare(each.original, each.retrained, request=REQUEST).still_held == len(PAIRS)


def test_models_of_different_rank_are_compared_but_for_their_factors() -> None:
    each = case("plain")
    narrow = als.train(each.unlearned.interactions, dataclasses.replace(CONFIGS["plain"], factors=3))
    found = comparing.compare(narrow, each.retrained)
    assert found.factors == {}
    assert found.predictions["kept"].rms.unlearned.mean > 0


def test_a_model_without_interactions_takes_them_from_a_retrain() -> None:
    each = case()
    bare = dataclasses.replace(each.unlearned, interactions=None)
    found = comparing.compare(bare, each.retrained, request=REQUEST)
    whole = comparing.compare(each.unlearned, each.retrained, request=REQUEST)
    assert found.still_held is None
    assert dataclasses.replace(found, still_held=0, models=whole.models) == whole
    assert found.models[0].interactions is None
    with pytest.raises(DataError, match="carries its interactions"):
        comparing.compare(bare, [bare])


def test_without_the_original_data_a_request_means_the_pairs_that_it_spells_out() -> None:
    each = case()
    spelt = comparing.compare(each.unlearned, each.retrained, request=REQUEST)
    given = comparing.compare(each.unlearned, each.retrained, request=REQUEST, data=each.original.interactions)
    assert spelt == given


def test_what_cannot_be_compared_is_refused() -> None:
    each = case()
    with pytest.raises(UsageError, match="no retrained model"):
        comparing.compare(each.unlearned, [])
    with pytest.raises(UsageError, match="explicit and implicit"):
        comparing.compare(each.unlearned, case("implicit", retrains=1).retrained)
    stranger = als.train(Interactions.from_arrays(["a", "b"], ["x", "y"]), CONFIGS["biased"])
    with pytest.raises(DataError, match="in common"):
        comparing.compare(each.unlearned, [stranger])


def test_a_comparison_is_plain_values() -> None:
    each = case()
    found = comparing.compare(each.unlearned, each.retrained, original=each.original, request=REQUEST)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["retrains"] == 3
    assert Reading(1.1, Spread(1.0, None, 1), None).gap == pytest.approx(0.1)
