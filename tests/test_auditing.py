from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from forgetcli import als, checkpoint
from forgetcli.auditing import SEEMS_A_RETRAIN, audit, memory_left
from forgetcli.comparison import Spread
from forgetcli.config import TrainConfig
from forgetcli.errors import DataError, UsageError
from forgetcli.interactions import Interactions
from forgetcli.model import Model
from forgetcli.records import ForgetRequest
from forgetcli.scores import KINDS
from forgetcli.unlearn import forget, retrain
from forgetcli.verdict import Attack, Finding, Membership, Memory, decide

PROBE = os.environ.get("FORGETCLI_MEMORY_PROBE")
"""The path of a program of its own that computes residual memory from checkpoints."""

PROBE_DIGITS = 1e-5
"""The probe rounds to five decimals."""

TOLERANCE = 1e-9
"""Sums of some hundred float64 products, divided by one another."""

CONFIGS = {
    "explicit": TrainConfig(factors=4, sweeps=15, reg=0.1, seed=3),
    "implicit": TrainConfig.for_objective("implicit", factors=4, sweeps=15, reg=5.0, alpha=5.0, seed=3),
}
NAMES = tuple(CONFIGS)


@dataclasses.dataclass(frozen=True)
class Case:
    """original, unlearned by two sweeps, and four retrains; the forgotten pairs by id, with their ratings."""

    original: Model
    unlearned: Model
    retrained: tuple[Model, ...]
    request: ForgetRequest
    pairs: tuple[tuple[int, int], ...]
    ratings: tuple[float, ...]


def tasteful_triples() -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Users, items and ratings: who rates what follows the same few tastes as how, so that there is something to
    learn for either objective."""
    rng = np.random.default_rng(2)
    affinity = rng.normal(size=(200, 3)) @ rng.normal(size=(3, 90))
    users, items = np.nonzero(rng.random(affinity.shape) < 1 / (1 + np.exp(2 - affinity)))
    ratings = np.clip(np.round(3 + affinity[users, items] / 2 + rng.normal(size=len(users)) / 2), 1, 5)
    return users * 7 + 3, items * 11 - 50, ratings.astype(np.float32)


@cache
def case(name: str) -> Case:
    users, items, ratings = tasteful_triples()
    original = als.train(Interactions.from_arrays(users, items, ratings), CONFIGS[name])
    chosen = slice(None, None, 23)
    pairs = tuple(zip(users[chosen].tolist(), items[chosen].tolist(), strict=True))
    request = ForgetRequest.of(pairs=pairs)
    return Case(
        original,
        forget(original, request, method="sweeps", sweeps=2).model,
        tuple(retrain(original, request, seed=seed)[0] for seed in (11, 12, 13, 14)),
        request,
        pairs,
        tuple(ratings[chosen].tolist()),
    )


def prediction(model: Model, user: int, item: int) -> float:
    u, i = (int(np.searchsorted(side.ids, each)) for side, each in ((model.users, user), (model.items, item)))
    factors = model.factors
    product = factors.user.factors[u].astype(float) @ factors.item.factors[i].astype(float)
    return float(product + factors.user.bias[u] + factors.item.bias[i] + factors.global_mean)


def naive_memory(model: Model, retrained: list[Model], each: Case, original: Model) -> float:
    """⟨p - p̄, e⟩ / ⟨p_original - p̄, e⟩, pair by pair; the scale is always that of all retrains."""
    pulled = expected = 0.0
    for (user, item), rating in zip(each.pairs, each.ratings, strict=True):
        value = rating if original.config.objective == "explicit" else 1.0
        centre = np.mean([prediction(other, user, item) for other in retrained])
        whole = np.mean([prediction(other, user, item) for other in each.retrained])
        pulled += (prediction(model, user, item) - centre) * (value - centre)
        expected += (prediction(original, user, item) - whole) * (value - whole)
    return float(pulled / expected)


@pytest.mark.parametrize("name", NAMES)
def test_memory_is_the_formula_pair_by_pair(name: str) -> None:
    each = case(name)
    memory = audit(each.unlearned, each.retrained, each.original, each.request).memory
    assert memory is not None
    assert memory.retrained is not None
    assert memory.pairs == len(each.pairs)
    retrained = list(each.retrained)
    expected = naive_memory(each.unlearned, retrained, each, each.original)
    assert memory.unlearned == pytest.approx(expected, abs=TOLERANCE)
    floor = [
        naive_memory(one, [other for other in retrained if other is not one], each, each.original) for one in retrained
    ]
    assert memory.retrained.mean == pytest.approx(np.mean(floor), abs=TOLERANCE)
    assert memory.retrained.deviation == pytest.approx(np.std(floor, ddof=1), abs=TOLERANCE)


@pytest.mark.parametrize("name", NAMES)
def test_memory_is_that_of_the_independent_probe(name: str, tmp_path: Path) -> None:
    if PROBE is None:
        pytest.skip("FORGETCLI_MEMORY_PROBE names no other program to compare with")
    each = case(name)
    for file, model in {"original": each.original, "unlearned": each.unlearned}.items():
        checkpoint.save(model, tmp_path / f"{file}.npz")
    retrains = [tmp_path / f"r{number}.npz" for number in range(len(each.retrained))]
    for path, model in zip(retrains, each.retrained, strict=True):
        checkpoint.save(model, path)
    columns = dict(zip(("user", "item"), map(list, zip(*each.pairs, strict=True)), strict=True))
    pq.write_table(pa.table(columns | {"rating": each.ratings}), tmp_path / "records.parquet")
    command = [
        sys.executable,
        PROBE,
        "--original",
        tmp_path / "original.npz",
        "--unlearned",
        tmp_path / "unlearned.npz",
    ]
    command += ["--retrains", *retrains, "--records", tmp_path / "records.parquet"]
    probed = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    memory = audit(each.unlearned, each.retrained, each.original, each.request).memory
    assert memory is not None
    assert memory.retrained is not None
    key = str(tmp_path / "unlearned.npz")
    assert (memory.pairs, memory.left_out) == (probed["pairs"], probed["left_out"])
    assert memory.unlearned == pytest.approx(probed["memory"][key], abs=PROBE_DIGITS)
    assert memory.retrained.mean == pytest.approx(probed["floor_mean"], abs=PROBE_DIGITS)
    assert memory.retrained.deviation == pytest.approx(probed["floor_sd"], abs=PROBE_DIGITS)
    assert memory.rms_to_retrains == pytest.approx(probed["rms_to_retrains"][key], abs=PROBE_DIGITS)
    assert memory.rms_between_retrains == pytest.approx(probed["rms_between_retrains"], abs=PROBE_DIGITS)


@pytest.mark.parametrize("name", NAMES)
def test_the_original_remembers_everything(name: str) -> None:
    each = case(name)
    found = audit(each.original, each.retrained, each.original, each.request)
    assert found.memory is not None
    assert found.memory.unlearned == pytest.approx(1, abs=TOLERANCE)
    assert found.finding is Finding.REMEMBERS
    assert found.still_held == len(each.pairs)
    # Without its data, the predictions alone give it away.
    bare = dataclasses.replace(each.original, interactions=None)
    found = audit(bare, each.retrained, each.original, each.request)
    assert found.finding is Finding.REMEMBERS
    assert "100.0 %" in found.sentence


@pytest.mark.parametrize("name", NAMES)
def test_a_fresh_retrain_has_forgotten(name: str) -> None:
    each = case(name)
    fresh = [retrain(each.original, each.request, seed=seed)[0] for seed in range(90, 98)]
    findings = [audit(model, each.retrained, each.original, each.request).finding for model in fresh]
    # Beside the band of four retrains, one in six lies outside by chance.
    assert findings.count(Finding.FORGOTTEN) >= 6
    assert Finding.UNDECIDED not in findings


def test_how_rough_the_band_of_few_retrains_is_said() -> None:
    each = case("explicit")
    found = audit(each.unlearned, each.retrained[:3], each.original, each.request)
    assert any("23 % of models that never saw the pairs" in caution for caution in found.cautions)


@pytest.mark.parametrize("name", NAMES)
def test_the_attack_finds_more_in_the_original_than_in_retrains(name: str) -> None:
    each = case(name)
    membership = audit(each.original, each.retrained, each.original, each.request).membership
    assert membership is not None
    assert membership.pairs + membership.unmatched == len(each.pairs)
    assert membership.blind.original == membership.blind.unlearned
    assert membership.blind.succeeds
    assert membership.informed.unlearned == 0.5  # nothing changed, and every score is a tie


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_of_the_attacked_pairs_and_as_many_kept_ones_of_the_same_users(name: str) -> None:
    each = case(name)
    found = audit(each.unlearned, each.retrained, each.original, each.request)
    assert found.scores is not None
    assert found.membership is not None
    for model, kinds in found.scores.models.items():
        times = len(each.retrained) if model == "retrained" else 1
        assert tuple(kinds) == KINDS
        assert all(kind.pairs == times * found.membership.pairs for kind in kinds.values())
        assert all(len(kind.shares) + 1 == len(found.scores.edges) for kind in kinds.values())
        assert all(0.9 < sum(kind.shares) < 1 + TOLERANCE for kind in kinds.values())


@pytest.mark.parametrize("name", NAMES)
def test_the_original_scores_forgotten_pairs_like_kept_ones_and_a_retrain_does_not(name: str) -> None:
    each = case(name)
    scores = audit(each.unlearned, each.retrained, each.original, each.request).scores
    assert scores is not None

    def shift(model: str) -> float:
        kinds = scores.models[model]
        away = kinds["forgotten"].quartiles[1] - kinds["kept"].quartiles[1]
        return away if scores.measure == "distance" else -away

    assert shift("original") < shift("unlearned") < shift("retrained")


def test_the_same_audit_gives_the_same_figures_and_another_seed_others() -> None:
    each = case("explicit")
    one, same, other = (
        audit(each.unlearned, each.retrained, each.original, each.request, seed=seed) for seed in (0, 0, 1)
    )
    assert one == same
    assert one.memory == other.memory
    assert one.membership != other.membership


def test_with_fewer_than_three_retrains_nothing_is_decided() -> None:
    each = case("explicit")
    for n in (1, 2):
        found = audit(each.unlearned, each.retrained[:n], each.original, each.request)
        assert found.finding is Finding.UNDECIDED
        assert "at least 3, of different seeds" in found.sentence
        assert found.memory is not None
        assert found.memory.band is None
        assert "memory" in found.figures()
        assert "memory-excess" not in found.figures()


def test_pairs_of_which_nothing_is_left_cannot_be_measured() -> None:
    each = case("explicit")
    user, item = each.pairs[0]
    request = ForgetRequest.of(users=[user], items=[item])
    unlearned = forget(each.original, request, method="sweeps", sweeps=1).model
    retrained = [retrain(each.original, request, seed=5)[0]]
    found = audit(unlearned, retrained, each.original, request)
    assert found.memory is not None
    assert found.memory.left_out == 1
    assert any(caution.startswith("Of 1 forgotten pair the user or the item") for caution in found.cautions)
    bare = dataclasses.replace(each.original, interactions=None)
    spelt = ForgetRequest.of(pairs=[(-1, -1)])
    found = audit(unlearned, retrained, bare, spelt, data=Interactions.from_arrays([-1], [-1], [3.0]))
    assert (found.memory, found.membership, found.finding) == (None, None, Finding.UNDECIDED)


def test_a_model_of_something_else_has_no_memory_to_measure() -> None:
    each = case("explicit")
    # The "original" is a retrain: relative to the other retrains it is drawn to the pairs no more than noise is.
    away = dataclasses.replace(
        each.original,
        factors=dataclasses.replace(each.original.factors, global_mean=each.original.factors.global_mean + 50),
    )
    found = audit(each.unlearned, each.retrained, away, ForgetRequest.of(pairs=_pairs_rated_low(each)))
    assert found.memory is not None
    assert found.memory.unlearned is None
    assert (found.finding, found.memory.retrained) == (Finding.UNDECIDED, None)
    assert "shows no memory" in found.sentence


def _pairs_rated_low(each: Case) -> list[tuple[int, int]]:
    """Pairs rated below what retrains predict, so that a prediction far above them is the opposite of memory."""
    return [
        pair
        for pair, rating in zip(each.pairs, each.ratings, strict=True)
        if rating < min(prediction(model, *pair) for model in each.retrained)
    ]


def test_the_ratings_come_from_given_data_where_the_original_has_none() -> None:
    each = case("explicit")
    bare = dataclasses.replace(each.original, interactions=None)
    with pytest.raises(DataError, match="ratings are not known"):
        audit(each.unlearned, each.retrained, bare, each.request)
    given = audit(each.unlearned, each.retrained, bare, each.request, data=each.original.interactions)
    assert given == audit(each.unlearned, each.retrained, each.original, each.request)


def test_implicit_pairs_need_no_data() -> None:
    each = case("implicit")
    bare = dataclasses.replace(each.original, interactions=None)
    assert audit(each.unlearned, each.retrained, bare, each.request) == audit(
        each.unlearned, each.retrained, each.original, each.request
    )


def test_an_audit_needs_a_retrain_of_the_same_objective() -> None:
    each = case("explicit")
    with pytest.raises(UsageError, match="no retrained model"):
        audit(each.unlearned, [], each.original, each.request)
    with pytest.raises(UsageError, match="explicit and implicit"):
        audit(each.unlearned, case("implicit").retrained, each.original, each.request)


def test_an_audit_is_plain_values_with_figures_by_name() -> None:
    each = case("explicit")
    found = audit(each.unlearned, each.retrained, each.original, each.request)
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["finding"] == found.finding.value
    assert plain["memory"]["band"] == list(found.memory.band)  # type: ignore[arg-type,union-attr]
    names = {"memory", "memory-excess", "attack-auc", "attack-excess", "informed-auc", "informed-excess", "still-held"}
    assert set(found.figures()) == names


def verdict(memory: float | None, deviation: float = 0.0055, **others: object) -> tuple[Finding, str]:
    measured = Memory(9755, 0, 0, memory, Spread(0.004, deviation, 3), (), 0.1, 0.1)
    options = {"membership": None, "retrains": 3, "still_held": 0, "noun": "ratings"} | others
    return decide(measured, **options)  # type: ignore[arg-type]


def test_the_verdict_in_words() -> None:
    assert verdict(0.001) == (
        Finding.FORGOTTEN,
        "Nothing of the 9,755 forgotten ratings can be found beyond what 3 retrains show among themselves: "
        "0.1 % of their memory, where the retrains' band is −0.7 % to 1.5 %.",
    )
    assert verdict(0.038) == (
        Finding.REMEMBERS,
        "3.8 % of the memory of the 9,755 forgotten ratings is left, more than 3 retrains show among themselves: "
        "−0.7 % to 1.5 %.",
    )
    finding, sentence = verdict(-0.06)
    assert finding is Finding.OVERCORRECTED
    assert "−6.0 %" in sentence
    assert verdict(0.1, deviation=0.2)[0] is Finding.UNDECIDED
    assert verdict(0.9, deviation=0.2)[0] is Finding.REMEMBERS
    assert verdict(None)[0] is Finding.UNDECIDED
    assert verdict(0.001, still_held=12) == (
        Finding.REMEMBERS,
        "The model still carries 12 of the ratings that were to go.",
    )


def test_no_model_has_forgotten_that_an_attacker_sees_through() -> None:
    attack = Attack(0.62, (0.6, 0.64), Spread(0.58, 0.001, 3), (), 0.7, 0.04, (0.03, 0.05))
    blind = Attack(0.58, (0.56, 0.6), Spread(0.58, 0.001, 3), (), 0.7, 0.0, (-0.01, 0.01))
    assert verdict(0.001, membership=Membership(100, 0, attack, blind))[0] is Finding.REMEMBERS
    assert verdict(0.001, membership=Membership(100, 0, blind, attack))[0] is Finding.FORGOTTEN
    single = dataclasses.replace(attack, retrained=Spread(0.58, None, 1))
    assert not single.succeeds
    # Three retrains with a deviation of 0.009 leave room for 0.0447 = 4.303 · 0.009 · √(4/3).
    assert not dataclasses.replace(attack, retrained=Spread(0.58, 0.009, 3)).succeeds
    assert dataclasses.replace(attack, retrained=Spread(0.58, 0.008, 3)).succeeds


def test_a_model_whose_file_says_that_it_is_a_retrain_is_not_accused_without_saying_so() -> None:
    each = case("explicit")
    by_memory = sorted(
        (retrain(each.original, each.request, seed=seed)[0] for seed in range(30, 38)),
        key=lambda model: memory_left(model, each.retrained, each.original, each.request).unlearned,  # type: ignore
    )
    among, far_off = by_memory[:3], by_memory[-1]
    assert audit(far_off, among, each.original, each.request).finding is Finding.REMEMBERS
    assert SEEMS_A_RETRAIN in audit(far_off, among, each.original, each.request).cautions
    assert SEEMS_A_RETRAIN not in audit(among[1], by_memory[::2], each.original, each.request).cautions
    remembers = audit(each.unlearned, each.retrained, each.original, each.request)
    assert remembers.finding is Finding.REMEMBERS
    assert SEEMS_A_RETRAIN not in remembers.cautions
