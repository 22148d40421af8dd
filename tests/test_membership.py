from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgetcli import als, membership
from forgetcli.common import CommonGround, ForgottenPairs
from forgetcli.interactions import Interactions
from forgetcli.membership import AttackScores, MatchedPairs, attack_scores, auc, bootstrap_aucs, match_pairs
from forgetcli.records import ForgetRequest
from tests.samples import CONFIGS, interactions

SCORES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30)


def scores_of(pairs: list[tuple[int, int]]) -> AttackScores:
    forgotten, others = np.array(pairs, np.float64).T
    return AttackScores(forgotten, others)


@given(SCORES)
def test_auc_is_the_share_of_combinations_won_with_ties_as_halves(pairs: list[tuple[int, int]]) -> None:
    scores = scores_of(pairs)
    won = scores.forgotten[:, None] > scores.others
    tied = scores.forgotten[:, None] == scores.others
    assert auc(scores) == pytest.approx(float(np.mean(won + tied / 2)))


def test_auc_is_that_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(5)
    scores = AttackScores(rng.integers(0, 30, 200) + 4.0, rng.integers(0, 30, 200) + 0.0)
    labels = np.repeat([1, 0], 200)
    expected = metrics.roc_auc_score(labels, np.concatenate([scores.forgotten, scores.others]))
    assert auc(scores) == pytest.approx(expected)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30))
def test_auc_of_equal_score_sets_is_a_half(values: list[int]) -> None:
    assert auc(AttackScores(np.array(values, float), np.array(values[::-1], float))) == pytest.approx(0.5)


def test_auc_of_perfect_separation_is_one_and_of_the_reverse_zero() -> None:
    low, high = np.arange(5.0), np.arange(5.0) + 10
    assert auc(AttackScores(high, low)) == 1
    assert auc(AttackScores(low, high)) == 0


def test_a_replicate_is_the_auc_of_the_pairs_of_users_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "REPLICATES", 20)
    rng = np.random.default_rng(0)
    users = rng.integers(0, 6, 40)
    attacks = [AttackScores(rng.integers(0, 9, 40) + shift, rng.integers(0, 9, 40)) for shift in (0.0, 2.0)]
    found = bootstrap_aucs(attacks, users, np.random.default_rng(1))
    again = np.random.default_rng(1)
    people = np.unique(users)
    for replicate in range(20):
        drawn = people[again.integers(len(people), size=len(people))]
        places = np.concatenate([np.flatnonzero(users == user) for user in drawn])
        expected = [auc(AttackScores(each.forgotten[places], each.others[places])) for each in attacks]
        assert found[replicate] == pytest.approx(expected)


def test_the_bootstrap_interval_covers_as_often_as_it_says() -> None:
    """Two normal distributions one standard deviation apart: AUC Φ(1/√2) = 0.7602."""
    covered = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        scores = AttackScores(rng.normal(size=200) + 1, rng.normal(size=200))
        low, high = np.percentile(bootstrap_aucs([scores], np.arange(200), rng), (2.5, 97.5))
        covered += low < 0.7602 < high
    assert covered >= 52  # 57 expected; fewer than 52 of 60 happens once in 100 times, and the seeds are fixed


def ground_with_forgotten(seed: int, density: float = 0.3) -> tuple[CommonGround, ForgottenPairs, Interactions]:
    data = interactions(seed=seed, density=density)
    entries = np.arange(0, len(data), 7)
    view = data.by_user
    users, items = data.users.ids[view.rows_of(entries)], data.items.ids[view.indices[entries]]
    request = ForgetRequest.of(pairs=list(zip(users.tolist(), items.tolist(), strict=True)))
    left = data.without(request.resolve(data).removal).interactions
    model = als.train(left, CONFIGS["plain"])
    return CommonGround.of([model], left), ForgottenPairs.of(request, data), data


def matched(seed: int, density: float = 0.3) -> tuple[MatchedPairs, CommonGround, Interactions, int]:
    ground, forgotten, data = ground_with_forgotten(seed, density)
    pairs = ground.pairs(forgotten)
    assert pairs.values is not None
    return match_pairs(ground.data.by_user, pairs, pairs.values, np.random.default_rng(0)), ground, data, len(pairs)


@given(st.integers(0, 20), st.sampled_from([0.1, 0.3, 0.8]))
def test_matches_were_never_seen_and_none_comes_twice(seed: int, density: float) -> None:
    found, ground, data, asked = matched(seed, density)
    assert len(found) + found.unmatched == asked
    users = data.users.find(ground.users.ids)[found.users]
    assert (data.by_user.find(users, data.items.find(ground.items.ids)[found.others]) < 0).all()
    assert len(set(zip(found.users.tolist(), found.others.tolist(), strict=True))) == len(found)


def test_matches_are_of_like_popularity() -> None:
    rng = np.random.default_rng(0)
    popularity = 0.5 / np.arange(1, 401) ** 0.7
    seen = rng.random((200, 400)) < popularity
    seen[0], seen[:, 0] = True, True
    users, items = np.nonzero(seen)
    data = Interactions.from_arrays(users, items)
    entries = np.sort(rng.choice(len(data), 300, replace=False))
    view = data.by_user
    kept = data.by_user.row_numbers()[entries] > 0
    request = ForgetRequest.of(
        pairs=list(zip(view.rows_of(entries)[kept].tolist(), view.indices[entries][kept].tolist(), strict=True))
    )
    left = data.without(request.resolve(data).removal).interactions
    ground = CommonGround.of([als.train(left, CONFIGS["implicit"])], left)
    pairs = ground.pairs(ForgottenPairs.of(request, data))
    found = match_pairs(ground.data.by_user, pairs, np.ones(len(pairs)), rng)
    counts = np.log(data.item_counts[data.items.find(ground.items.ids)])
    assert np.corrcoef(counts[found.items], counts[found.others])[0, 1] > 0.9


def test_a_user_who_has_seen_everything_is_left_out() -> None:
    users, items = np.nonzero(np.ones((3, 5)))
    data = Interactions.from_arrays(users, items)
    request = ForgetRequest.of(pairs=[(0, 0)])
    left = data.without(request.resolve(data).removal).interactions
    ground = CommonGround.of([als.train(left, CONFIGS["implicit"])], left)
    pairs = ground.pairs(ForgottenPairs.of(request, data))
    found = match_pairs(left.by_user, pairs, np.ones(1), np.random.default_rng(0))
    assert (len(found), found.unmatched) == (0, 1)


def test_the_attacker_claims_the_rating_of_an_explicit_pair_for_its_match_too() -> None:
    found, ground, _, _ = matched(0)
    factors = ground.models[0].factors
    scores = attack_scores(factors, found, explicit=True)
    claimed = [found.values - factors.predict(found.users, items) for items in (found.items, found.others)]
    assert scores.forgotten == pytest.approx(-np.abs(claimed[0]))
    assert scores.others == pytest.approx(-np.abs(claimed[1]))
    implicit = attack_scores(factors, found, explicit=False)
    assert implicit.forgotten == pytest.approx(factors.predict(found.users, found.items))
    assert (implicit - implicit).forgotten == pytest.approx(np.zeros(len(found)))
