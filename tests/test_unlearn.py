from __future__ import annotations

import dataclasses
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetcli import als, checkpoint, unlearn
from forgetcli.config import Side
from forgetcli.errors import DataError, UsageError
from forgetcli.interactions import Interactions
from forgetcli.model import HistoryEntry, Model
from forgetcli.objective import Objective
from forgetcli.records import ForgetRequest
from forgetcli.response import respond
from tests.samples import CONFIGS, interactions, triples


def some_request() -> ForgetRequest:
    users, items, _ = triples()
    pairs = list(zip(users[::17].tolist(), items[::17].tolist(), strict=True))
    return ForgetRequest.of(pairs=pairs, users=[int(users[0])], items=[int(items[5])])


def remaining_triples(request: ForgetRequest) -> Interactions:
    users, items, ratings = triples()
    pairs = set(zip(np.asarray(request.pair_users).tolist(), np.asarray(request.pair_items).tolist(), strict=True))
    kept = [
        (u, i) not in pairs and u not in np.asarray(request.users) and i not in np.asarray(request.items)
        for u, i in zip(users.tolist(), items.tolist(), strict=True)
    ]
    return Interactions.from_arrays(users[kept], items[kept], ratings[kept])


def assert_same_model(one: Model, other: Model) -> None:
    assert one.config == other.config
    assert one.history == other.history
    for side in ("user", "item"):
        a, b = getattr(one.factors, side), getattr(other.factors, side)
        assert a.factors.tobytes() == b.factors.tobytes()
        assert a.bias.tobytes() == b.bias.tobytes()
    assert np.array_equal(np.asarray(one.users.ids), np.asarray(other.users.ids))
    assert np.array_equal(np.asarray(one.items.ids), np.asarray(other.items.ids))
    assert one.interactions is not None
    assert other.interactions is not None
    assert one.interactions.by_user.values.tobytes() == other.interactions.by_user.values.tobytes()
    assert one.interactions.by_user.indices.tobytes() == other.interactions.by_user.indices.tobytes()


@pytest.mark.parametrize("name", CONFIGS)
def test_a_retrain_is_training_on_data_that_never_held_the_records(name: str) -> None:
    model, request = als.train(interactions(), CONFIGS[name]), some_request()
    retrained, _ = unlearn.retrain(model, request)
    assert_same_model(retrained, als.train(remaining_triples(request), CONFIGS[name]))


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("method", ["response", "sweeps", "retrain"])
@pytest.mark.parametrize("solved_last", ["items", "users"])
def test_in_place_the_same_is_forgotten(name: str, method: unlearn.Method, solved_last: Side, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIGS[name], solved_last=solved_last)
    checkpoint.save(als.train(interactions(), config), tmp_path / "model.npz")
    expected = unlearn.forget(checkpoint.load(tmp_path / "model.npz"), some_request(), method=method)
    model = checkpoint.load(tmp_path / "model.npz")
    assert model.interactions is not None
    memory = model.interactions.by_user.indices, model.factors.user.factors
    found = unlearn.forget(model, some_request(), method=method, in_place=True)
    assert_same_model(found.model, expected.model)
    assert (found.before, found.after, found.counts) == (expected.before, expected.after, expected.counts)
    assert found.model.interactions is not None
    assert np.shares_memory(found.model.interactions.by_user.indices, memory[0])


def test_what_gave_its_memory_away_cannot_be_used_any_more(tmp_path: Path) -> None:
    """A model that was forgotten from in place, or one that shares its data, would else be saved as garbage."""
    checkpoint.save(als.train(interactions(), next(iter(CONFIGS.values()))), tmp_path / "model.npz")
    model = checkpoint.load(tmp_path / "model.npz")
    unlearn.forget(model, some_request(), method="response", in_place=True)
    with pytest.raises(AttributeError):
        checkpoint.save(model, tmp_path / "again.npz")
    assert not (tmp_path / "again.npz").exists()


@pytest.mark.parametrize(("method", "sweeps", "told"), [("respond", 5, "method"), ("sweeps", 0, "sweeps")])
def test_how_to_forget_is_checked_before_anything_is_done(method: Any, sweeps: int, told: str) -> None:
    model = als.train(interactions(), next(iter(CONFIGS.values())))
    with pytest.raises(UsageError, match=told):
        unlearn.forget(model, some_request(), method=method, sweeps=sweeps, in_place=True)
    assert_same_model(model, als.train(interactions(), next(iter(CONFIGS.values()))))


def test_in_place_a_model_stays_of_which_nothing_is_found() -> None:
    model = als.train(interactions(), next(iter(CONFIGS.values())))
    assert unlearn.forget(model, ForgetRequest.of(users=[-1]), in_place=True).model is model


@pytest.mark.parametrize("name", CONFIGS)
def test_sweeps_are_training_sweeps_on_the_remaining_data(name: str) -> None:
    data, config, request = interactions(), CONFIGS[name], some_request()
    model = als.train(data, config)
    result = unlearn.forget(model, request, method="sweeps", sweeps=3)
    left = remaining_triples(request)
    items = model.factors.item
    kept = data.items.find(left.items.ids)
    start = dataclasses.replace(items, factors=items.factors[kept], bias=items.bias[kept])
    expected, _ = als.descend(left, start, Objective.of(config, left), sweeps=3)
    np.testing.assert_array_equal(result.model.factors.item.factors, expected.item.factors)
    np.testing.assert_array_equal(result.model.factors.user.factors, expected.user.factors)
    assert result.model.factors.global_mean == Objective.of(config, left).global_mean


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("method", ["response", "sweeps"])
def test_forgetting_lowers_the_objective_and_the_gradient_on_what_remains(name: str, method: unlearn.Method) -> None:
    result = unlearn.forget(als.train(interactions(), CONFIGS[name]), some_request(), method=method)
    assert result.before is not None
    assert result.after is not None
    assert result.after.objective < result.before.objective
    assert result.after.relative_gradient < result.before.relative_gradient


def test_forgetting_an_unknown_pair_changes_nothing() -> None:
    model = als.train(interactions(), CONFIGS["biased"])
    result = unlearn.forget(model, ForgetRequest.of(pairs=[(-1, -1)], users=[-5]))
    assert result.model is model
    assert result.counts.unknown_pairs == 1
    assert result.counts.unknown_users == 1


def test_forgetting_twice_is_forgetting_once() -> None:
    once = unlearn.forget(als.train(interactions(), CONFIGS["biased"]), some_request()).model
    assert unlearn.forget(once, some_request()).model is once


def test_emptied_users_and_items_vanish_with_their_ids() -> None:
    data = interactions()
    users, items, _ = triples()
    request = ForgetRequest.of(users=[int(users[0])], items=[int(items[5])])
    result = unlearn.forget(als.train(data, CONFIGS["biased"]), request)
    assert users[0] not in np.asarray(result.model.users.ids)
    assert items[5] not in np.asarray(result.model.items.ids)
    assert result.erased_users == 1
    assert result.erased_items == 1
    assert len(result.model.factors.user) == data.n_users - 1


def test_no_figure_of_the_old_data_stays_in_the_history() -> None:
    model = als.train(interactions(), CONFIGS["biased"], evaluate=lambda factors: {"rmse": 1.0})
    history = unlearn.forget(model, some_request(), method="sweeps", sweeps=2).model.history
    assert [entry.objective is None for entry in history] == [True] * 4 + [False] * 2
    assert not any(entry.metrics for entry in history)


def test_a_request_that_leaves_nothing_is_refused() -> None:
    users, _, _ = triples()
    with pytest.raises(DataError, match="leaves nothing"):
        unlearn.forget(als.train(interactions(), CONFIGS["biased"]), ForgetRequest.of(users=np.unique(users).tolist()))


def test_a_request_may_leave_a_single_interaction() -> None:
    users, items, _ = triples()
    pairs = list(zip(users[1:].tolist(), items[1:].tolist(), strict=True))
    model = unlearn.forget(als.train(interactions(), CONFIGS["biased"]), ForgetRequest.of(pairs=pairs)).model
    assert model.interactions is not None
    assert len(model.interactions) == 1


def test_a_step_is_chosen_where_it_costs_less_than_training_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    model = als.train(interactions(), dataclasses.replace(CONFIGS["biased"], sweeps=30))
    assert unlearn.forget(model, some_request()).method == "retrain"
    taken_over = dataclasses.replace(model, history=(*model.history, HistoryEntry("import", None, {"apart": 0.0})))
    assert unlearn.forget(taken_over, some_request()).method == "response"
    monkeypatch.setattr(unlearn, "STEP_OVERHEAD", 0)  # as if the data were large
    assert unlearn.forget(model, some_request()).method == "response"


def test_a_model_without_data_forgets_with_the_data_given_to_it() -> None:
    data = interactions()
    model = als.train(data, CONFIGS["biased"])
    bare = dataclasses.replace(model, interactions=None)
    with pytest.raises(DataError, match="without its interactions"):
        unlearn.forget(bare, some_request())
    with pytest.raises(DataError, match="does not have the model's"):
        unlearn.forget(bare, some_request(), interactions=interactions(n_users=30))
    given_data = unlearn.forget(bare, some_request(), interactions=data).model
    assert_same_model(given_data, unlearn.forget(model, some_request()).model)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_step_needs_of_the_data_before_no_more_than_the_records_of_users_who_lose_some(name: str) -> None:
    data = interactions()
    model = als.train(data, CONFIGS[name])
    removal = some_request().resolve(data).removal
    remaining = data.without(removal)
    objectives = Objective.of(model.config, data), Objective.of(model.config, remaining.interactions)
    whole, around = (
        respond(*given, remaining, model.factors, *objectives, sweeps=len(model.history))
        for given in ((data, removal), data.around(removal))
    )
    for side in ("user", "item"):
        a, b = getattr(whole.factors, side), getattr(around.factors, side)
        assert (a.factors.tobytes(), a.bias.tobytes()) == (b.factors.tobytes(), b.bias.tobytes())
    assert (whole.before, whole.objective, whole.vectors) == (around.before, around.objective, around.vectors)


def test_data_that_nobody_else_holds_is_let_go_before_the_step() -> None:
    model = als.train(interactions(), CONFIGS["biased"])
    bare = dataclasses.replace(model, interactions=None)
    data = [interactions()]
    before = weakref.ref(data[0].by_user)
    held: list[bool] = []
    unlearn.forget(
        bare,
        some_request(),
        method="response",
        interactions=data.pop(),
        on_step=lambda _: held.append(before() is not None),
    )
    assert held
    assert not any(held)


def test_a_model_without_data_of_which_nothing_is_forgotten_comes_back_with_the_data() -> None:
    data = interactions()
    for config in (CONFIGS["biased"], dataclasses.replace(CONFIGS["biased"], solved_last="users")):
        model = als.train(data, config)
        bare = dataclasses.replace(model, interactions=None)
        result = unlearn.forget(bare, ForgetRequest.of(users=[999_999]), interactions=data)
        assert_same_model(result.model, model)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_the_order_of_a_request_changes_no_bit(data: st.DataObject) -> None:
    users, items, _ = triples()
    pairs = list(zip(users[::9].tolist(), items[::9].tolist(), strict=True))
    shuffled = data.draw(st.permutations(pairs + pairs[:3]))
    model = als.train(interactions(), CONFIGS["plain"])
    assert_same_model(
        unlearn.forget(model, ForgetRequest.of(pairs=pairs)).model,
        unlearn.forget(model, ForgetRequest.of(pairs=shuffled)).model,
    )


@pytest.mark.parametrize("name", ["biased", "implicit"])
def test_a_model_that_ends_its_sweeps_with_the_users_is_the_other_one_transposed(name: str) -> None:
    config, data = dataclasses.replace(CONFIGS[name], solved_last="users"), interactions()
    model, turned = als.train(data, config), als.train(data.transposed(), CONFIGS[name])
    assert_same_model(model, turned.transposed())
    objective = Objective.of(config, data)
    solved = als.half_sweep(data.by_user, model.factors.item, objective).side
    np.testing.assert_allclose(model.factors.user.factors, solved.factors, rtol=1e-9, atol=1e-12)
    request = some_request()
    for method in ("response", "sweeps", "retrain"):
        result = unlearn.forget(model, request, method=method)  # type: ignore[arg-type]
        expected = unlearn.forget(turned, request.transposed(), method=method)  # type: ignore[arg-type]
        assert_same_model(result.model, expected.model.transposed())
        assert (result.erased_users, result.erased_items) == (expected.erased_items, expected.erased_users)
        assert (result.counts.users, result.counts.items) == (1, 1)
    assert_same_model(unlearn.retrain(model, request)[0], als.train(remaining_triples(request), config))
    assert unlearn.forget(model, ForgetRequest.of(users=[999_999])).model is model
