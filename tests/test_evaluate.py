from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from forgetcli import als, checkpoint, evaluate
from forgetcli.errors import DataError
from forgetcli.evaluate import Relevant, evaluator, held_out_metrics
from forgetcli.interactions import Heldout, Interactions, split_holdout
from forgetcli.model import HistoryEntry, Model
from tests.samples import CONFIGS, interactions

TOLERANCE = 1e-12
"""Means of at most some hundred numbers of about 1, summed in another order."""


def trained(name: str, **options: int) -> tuple[Model, Heldout]:
    training, heldout = split_holdout(interactions(**options), 0.3, seed=1)
    return als.train(training, CONFIGS[name]), heldout


def scores_without_seen(model: Model) -> NDArray[np.float64]:
    """(users, items) predictions, -infinity where the training data has the pair."""
    assert model.interactions is not None
    view = model.interactions.by_user
    scores = model.factors.user.factors @ model.factors.item.factors.T + model.factors.item.bias
    scores[view.row_numbers(), view.indices] = -np.inf
    return np.asarray(scores)


def naive_ranking(model: Model, heldout: Heldout, n: int) -> dict[str, float]:
    """The definitions, user by user."""
    scores = scores_without_seen(model)
    ndcg, recall, precision, hit = [], [], [], []
    for user in np.unique(heldout.user_rows):
        relevant = set(heldout.item_rows[heldout.user_rows == user].tolist())
        relevant = {item for item in relevant if np.isfinite(scores[user, item])}
        if not relevant:
            continue
        known = np.flatnonzero(np.isfinite(scores[user]))
        ranked = known[np.lexsort([known, -scores[user, known]])].tolist()
        gains = [1 / np.log2(place + 1) for place, item in enumerate(ranked[:n], start=1) if item in relevant]
        ndcg.append(sum(gains) / sum(1 / np.log2(place + 1) for place in range(1, min(n, len(relevant)) + 1)))
        recall.append(len(gains) / len(relevant))
        precision.append(len(gains) / n)
        hit.append(float(len(gains) > 0))
    means = {"ndcg": ndcg, "recall": recall, "precision": precision, "hr": hit}
    return {f"{name}@{n}": float(np.mean(values)) for name, values in means.items()}


@pytest.mark.parametrize("name", ["implicit", "weighted"])
@given(seed=st.integers(0, 50), n_items=st.sampled_from([8, 15, 60]))
@settings(max_examples=15, deadline=None)
def test_ranking_metrics_are_the_definitions_user_by_user(name: str, seed: int, n_items: int) -> None:
    model, heldout = trained(name, seed=seed, n_items=n_items)
    found = held_out_metrics(model, heldout)
    expected = naive_ranking(model, heldout, 10) | naive_ranking(model, heldout, 20)
    assert set(found) == set(evaluate.RANKING_METRICS)
    assert found == pytest.approx({metric: expected[metric] for metric in found}, abs=TOLERANCE)


def test_ndcg_is_that_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    model, heldout = trained("implicit", n_items=60)
    scores = scores_without_seen(model)
    relevant = np.zeros_like(scores)
    relevant[heldout.user_rows, heldout.item_rows] = 1
    users = relevant.any(axis=1)
    scores[np.isinf(scores)] = scores[np.isfinite(scores)].min() - 1
    found = held_out_metrics(model, heldout)
    for n in (10, 20):
        expected = metrics.ndcg_score(relevant[users], scores[users], k=n, ignore_ties=True)
        assert found[f"ndcg@{n}"] == pytest.approx(expected, abs=TOLERANCE)


def test_precision_and_recall_are_those_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    model, heldout = trained("implicit", n_items=60)
    scores = scores_without_seen(model)
    relevant = np.zeros(scores.shape, int)
    relevant[heldout.user_rows, heldout.item_rows] = 1
    users = relevant.any(axis=1)
    found = held_out_metrics(model, heldout)
    for name, n in (("precision", 10), ("precision", 20), ("recall", 20)):
        listed = np.zeros_like(relevant)
        np.put_along_axis(listed, np.argsort(-scores, axis=1)[:, :n], 1, axis=1)
        score = getattr(metrics, f"{name}_score")(relevant[users], listed[users], average="samples")
        assert found[f"{name}@{n}"] == pytest.approx(score, abs=TOLERANCE)


def test_a_ranking_computed_by_hand() -> None:
    # Three relevant items; hits at the first and the third place.
    relevant = Relevant(np.array([0]), np.array([3]), np.array([2, 5, 9]), n_items=10)
    hits = relevant.hits(np.array([[5, 0, 2, 1]], np.int32))
    assert hits.tolist() == [[True, False, True, False]]
    assert evaluate._ndcg(hits, relevant.counts, 4)[0] == pytest.approx((1 + 0.5) / (1 + 1 / np.log2(3) + 0.5))
    assert evaluate._recall(hits, relevant.counts, 4)[0] == pytest.approx(2 / 3)
    assert evaluate._precision(hits, relevant.counts, 4)[0] == pytest.approx(2 / 4)
    assert evaluate._hit_rate(hits, relevant.counts, 4)[0] == 1


def test_a_held_out_pair_that_training_has_is_neither_ranked_nor_missed() -> None:
    model, heldout = trained("implicit")
    assert model.interactions is not None
    view = model.interactions.by_user
    more = Heldout(
        np.concatenate([heldout.user_rows, view.row_numbers()]),
        np.concatenate([heldout.item_rows, view.indices]),
        np.concatenate([heldout.values, view.values]),
        0,
    )
    assert held_out_metrics(model, more) == held_out_metrics(model, heldout)


def test_a_pair_held_out_twice_counts_once() -> None:
    model, heldout = trained("implicit")
    twice = Heldout(*(np.repeat(each, 2) for each in (heldout.user_rows, heldout.item_rows, heldout.values)), 0)
    assert held_out_metrics(model, twice) == held_out_metrics(model, heldout)


@pytest.mark.parametrize("name", ["biased", "plain"])
def test_rating_metrics_are_those_of_the_errors(name: str) -> None:
    model, heldout = trained(name)
    factors = model.factors
    dense = factors.user.factors @ factors.item.factors.T + factors.user.bias[:, None] + factors.item.bias
    predictions = dense[heldout.user_rows, heldout.item_rows] + factors.global_mean
    errors, clipped = predictions - heldout.values, np.clip(predictions, 2, 3) - heldout.values
    expected = {"rmse": np.sqrt(np.mean(errors**2)), "mae": np.mean(np.abs(errors))}
    assert held_out_metrics(model, heldout) == pytest.approx(expected, abs=TOLERANCE)
    expected = {"rmse": np.sqrt(np.mean(clipped**2)), "mae": np.mean(np.abs(clipped))}
    assert held_out_metrics(model, heldout, clip=(2, 3)) == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.parametrize("name", ["biased", "implicit"])
def test_only_the_users_asked_for_count(name: str) -> None:
    model, heldout = trained(name)
    users = np.array([3, 8, 21])
    kept = np.isin(heldout.user_rows, users)
    theirs = Heldout(heldout.user_rows[kept], heldout.item_rows[kept], heldout.values[kept], 0)
    assert held_out_metrics(model, heldout, users=users) == held_out_metrics(model, theirs)


@pytest.mark.parametrize("name", ["biased", "implicit"])
def test_nothing_held_out_gives_no_metric(name: str) -> None:
    model, heldout = trained(name)
    assert held_out_metrics(model, heldout, users=np.zeros(0, np.int64)) == {}


@pytest.mark.parametrize("name", ["biased", "implicit"])
def test_training_reports_the_metrics_of_its_factors(name: str) -> None:
    training, heldout = split_holdout(interactions(), 0.3, seed=1)
    model = als.train(training, CONFIGS[name], evaluate=evaluator(CONFIGS[name], training, heldout))
    last = model.history[-1].metrics
    everything = held_out_metrics(model, heldout)
    assert last == {metric: everything[metric] for metric in last}
    expected = evaluate.RATING_METRICS if name == "biased" else evaluate.SWEEP_RANKING_METRICS
    assert tuple(last) == expected


@pytest.mark.parametrize("name", ["biased", "implicit"])
def test_a_checkpoint_takes_every_metric(name: str, tmp_path: Path) -> None:
    model, heldout = trained(name)
    entry = HistoryEntry("sweep", 1.0, held_out_metrics(model, heldout))
    checkpoint.save(dataclasses.replace(model, history=(entry,)), tmp_path / "model.npz")
    assert checkpoint.load(tmp_path / "model.npz").history == (entry,)


def test_a_sweep_ranks_the_same_users_whoever_else_is_in_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "SWEEP_RANKED_USERS", 7)
    model, heldout = trained("implicit")
    assert model.interactions is not None
    keys = model.users.keys()
    held = np.unique(heldout.user_rows)
    chosen = held[np.argsort(keys[held])[:7]]
    found = evaluator(model.config, model.interactions, heldout)(model.factors)
    expected = held_out_metrics(model, heldout, users=chosen)
    assert found == {metric: expected[metric] for metric in evaluate.SWEEP_RANKING_METRICS}


def test_ranking_without_the_training_data_is_refused() -> None:
    model, heldout = trained("implicit")
    with pytest.raises(DataError, match="without its interactions"):
        held_out_metrics(dataclasses.replace(model, interactions=None), heldout)


def test_fewer_items_than_are_ranked_change_no_definition() -> None:
    data = Interactions.from_arrays([1, 1, 2, 2, 3], [10, 20, 20, 30, 10])
    model = als.train(data, CONFIGS["implicit"])
    heldout = Heldout(np.array([0, 2], np.int32), np.array([2, 1], np.int32), np.ones(2, np.float32), 0)
    found = held_out_metrics(model, heldout)
    assert found["recall@20"] == 1
    assert found["precision@10"] == pytest.approx(0.1)
    assert found["ndcg@20"] == pytest.approx(naive_ranking(model, heldout, 20)["ndcg@20"])
