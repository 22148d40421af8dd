"""How a model that has forgotten differs from models retrained without the records."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from forgetcli import differences
from forgetcli.common import CommonGround, ForgottenPairs, Pairs, cautions, forgotten_pairs, remaining_data, still_held
from forgetcli.comparison import (
    GROUPS,
    TOP_N,
    Comparison,
    Contrast,
    PredictionContrast,
    RankingContrast,
    Reading,
    Spread,
    Subject,
)
from forgetcli.errors import UsageError
from forgetcli.evaluate import held_out_metrics
from forgetcli.gradient import standing
from forgetcli.interactions import Heldout, Interactions
from forgetcli.model import Factors, HistoryEntry, Model
from forgetcli.objective import Objective
from forgetcli.profiling import stage
from forgetcli.recommending import recommend
from forgetcli.records import ForgetRequest

SAMPLED_CELLS = 100_000
"""Kept pairs, and random cells, whose predictions are compared: enough for an RMS within 1 % of all pairs'."""

RANKED_USERS = 5_000
"""Users of each group whose recommendations are compared: a mean overlap has a standard error below 0.005 then."""

DIVERGENCE_USERS = 300
"""Users of each group whose scores of all items are compared, at a logarithm for each item and two models."""

_BLOCK_ELEMENTS = 1 << 19
"""Scores made at a time for each model: four megabytes."""

_Pair: TypeAlias = tuple[int, int]
_Rows: TypeAlias = NDArray[np.int64]


def compare(
    unlearned: Model,
    retrained: Sequence[Model],
    *,
    original: Model | None = None,
    request: ForgetRequest | None = None,
    data: Interactions | None = None,
    test: Heldout | None = None,
    seed: int = 0,
    threads: int = 0,
) -> Comparison:
    """Compares an unlearned model with retrained ones, by ids, on the users and items that all have.

    retrained: at least one; two or more, of different seeds, give the yardstick.
    original:  the model before forgetting.
    request:   what was to be forgotten.
    data:      the interactions before forgetting, or those of them that were to go, where the original has none; they
               say which pairs the request's whole users and items mean.
    test:      held-out pairs, in the unlearned model's rows.
    seed:      of the samples of pairs and users.

    Raises UsageError without a retrain or for models of different objectives; DataError when neither the unlearned
    model nor a retrain carries its interactions, or when the models have nothing in common.
    """
    if not retrained:
        raise UsageError("there is no retrained model to compare with")
    models = [unlearned, *retrained, *([original] if original else [])]
    if len({model.config.objective for model in models}) > 1:
        raise UsageError("explicit and implicit models cannot be compared: their predictions mean different things")
    ground = CommonGround.of(models, remaining_data(unlearned, retrained))
    lineup = _Lineup(ground.models, len(retrained), original is not None)
    asked_for = forgotten_pairs(request, original, data) if request else None
    forgotten = ground.pairs(asked_for) if asked_for else None
    rng = np.random.default_rng(seed)
    groups = _groups(ground, asked_for)
    cells = _cells(ground, forgotten, groups, rng)
    with stage("objectives"):
        objective, gradient = _standings(lineup, ground.data, threads)
    with stage("factors"):
        factors = _compare_factors(lineup, groups)
    with stage("predictions"):
        predictions = {name: _compare_predictions(lineup, *pairs) for name, pairs in cells.items()}
    with stage("rankings"):
        rankings = _compare_rankings(lineup, groups, rng, threads)
    with stage("accuracy"):
        accuracy = {} if test is None else _accuracy(lineup, ground.held_out(test, unlearned), groups, threads)
    without = [_since_forgetting(model, "sweep") for model in ground.models]
    roles = ["unlearned", *["retrained"] * len(retrained), "original"]
    return Comparison(
        models=tuple(_subject(role, model) for role, model in zip(roles, models, strict=False)),
        retrains=len(retrained),
        users=len(ground.users),
        items=len(ground.items),
        forgotten=None if forgotten is None else len(forgotten),
        forgotten_left_out=None if forgotten is None else forgotten.left_out,
        still_held=still_held(unlearned, request),
        factors=factors,
        predictions=predictions,
        objective=objective,
        gradient=gradient,
        rankings=rankings,
        accuracy=accuracy,
        sweeps=lineup.reading([_steps(model.history, "sweep") for model in ground.models]),
        sweeps_without=dataclasses.replace(lineup.reading(without), original=None),
        response_steps=_since_forgetting(unlearned, "response"),
        cautions=tuple(cautions(unlearned, retrained, request)),
    )


class _Lineup:
    """The models of a comparison by number: the unlearned one is 0, the retrains follow, the original is the last."""

    def __init__(self, models: tuple[Model, ...], retrains: int, original: bool) -> None:
        self.models = models
        self._retrains = range(1, retrains + 1)
        self._original = retrains + 1 if original else None

    @property
    def factors(self) -> tuple[Factors, ...]:
        return tuple(model.factors for model in self.models)

    def pairs(self) -> list[_Pair]:
        """Those whose difference is wanted."""
        against = [0] if self._original is None else [0, self._original]
        return [(a, b) for a in against for b in self._retrains] + list(combinations(self._retrains, 2))

    def contrast(self, difference: Mapping[_Pair, float]) -> Contrast:
        """difference: of each of `pairs`."""
        among = [difference[pair] for pair in combinations(self._retrains, 2)]
        old = self._original
        return Contrast(
            unlearned=Spread.of([difference[0, retrain] for retrain in self._retrains]),
            retrained=Spread.of(among) if among else None,
            original=None if old is None else Spread.of([difference[old, retrain] for retrain in self._retrains]),
        )

    def reading(self, values: Sequence[float]) -> Reading:
        """values: of each model."""
        return Reading(
            unlearned=values[0],
            retrained=Spread.of([values[retrain] for retrain in self._retrains]),
            original=None if self._original is None else values[self._original],
        )


def _compare_factors(lineup: _Lineup, groups: dict[str, _Rows]) -> dict[str, Contrast]:
    if len({factors.rank for factors in lineup.factors}) > 1:
        return {}
    sides: dict[str, tuple[str, _Rows | None]] = {"users": ("user", None)}
    sides |= {f"users_{name}": ("user", groups[name]) for name in GROUPS[1:] if name in groups}
    sides |= {"items": ("item", None)}
    errors: dict[str, dict[_Pair, float]] = {name: {} for name in sides}
    for a, b in lineup.pairs():
        one, other = lineup.factors[a], lineup.factors[b]
        rotation = differences.alignment(one, other)
        for name, (side, rows) in sides.items():
            x, y = (getattr(factors, side).factors for factors in (one, other))
            errors[name][a, b] = differences.relative_error(x, y, rotation, rows)
    return {name: lineup.contrast(each) for name, each in errors.items()}


def _cells(
    ground: CommonGround, forgotten: Pairs | None, groups: dict[str, _Rows], rng: np.random.Generator
) -> dict[str, tuple[_Rows, _Rows]]:
    """The users and items of the pairs whose predictions are compared, by `comparison.CELLS`."""
    view = ground.data.by_user
    entries = {"kept": np.arange(view.nnz)}
    entries |= {f"kept_{name}": view.entries_of_rows(groups[name]) for name in GROUPS[1:] if name in groups}
    cells = {"forgotten": (forgotten.users, forgotten.items)} if forgotten else {}
    for name, all_of_them in entries.items():
        kept = np.sort(_sample(all_of_them, SAMPLED_CELLS, rng))
        if len(kept):
            cells[name] = view.rows_of(kept), view.indices[kept].astype(np.int64)
    users, items = (np.sort(rng.integers(len(ids), size=SAMPLED_CELLS)) for ids in (ground.users, ground.items))
    cells["random"] = users, rng.permutation(items)
    return cells


def _compare_predictions(lineup: _Lineup, users: _Rows, items: _Rows) -> PredictionContrast:
    predicted = [factors.predict(users, items) for factors in lineup.factors]
    return PredictionContrast(
        pairs=len(users),
        rms=lineup.contrast({(a, b): differences.rms(predicted[a], predicted[b]) for a, b in lineup.pairs()}),
        maximum=lineup.contrast({(a, b): differences.largest(predicted[a], predicted[b]) for a, b in lineup.pairs()}),
    )


def _standings(lineup: _Lineup, data: Interactions, threads: int) -> tuple[Reading, Reading]:
    """The objective and the relative gradient."""
    objective = Objective.of(lineup.models[0].config, data)
    found = [standing(data, factors, objective, threads=threads) for factors in lineup.factors]
    return lineup.reading([each.objective for each in found]), lineup.reading(
        [each.relative_gradient for each in found]
    )


def _groups(ground: CommonGround, asked_for: ForgottenPairs | None) -> dict[str, _Rows]:
    """The users of each of `comparison.GROUPS` that has any. Those who share items share those of erased users too."""
    groups = {"everyone": np.arange(len(ground.users))}
    if asked_for:
        users, items = ground.users.find(asked_for.users), ground.items.find(asked_for.items)
        asked, items = np.unique(users[users >= 0]), np.unique(items[items >= 0])
        view = ground.data.by_user
        having = view.rows_of(view.entries_of_columns(items))
        groups |= {"asked": asked, "sharing": np.setdiff1d(having, asked)}
    return {name: users for name, users in groups.items() if len(users)}


def _compare_rankings(
    lineup: _Lineup, groups: dict[str, _Rows], rng: np.random.Generator, threads: int
) -> dict[str, RankingContrast]:
    samples = {name: _sample(users, RANKED_USERS, rng) for name, users in groups.items()}
    return {name: _compare_group(lineup, users, threads) for name, users in samples.items()}


def _compare_group(lineup: _Lineup, users: _Rows, threads: int) -> RankingContrast:
    """users: in random order, so that the first of them are a sample."""
    listed = [recommend(model, users, TOP_N, threads=threads).items for model in lineup.models]

    def agreement(measure: Callable[[differences.Lists, differences.Lists], NDArray[np.float64]]) -> Contrast:
        return lineup.contrast({(a, b): _mean_of_known(measure(listed[a], listed[b])) for a, b in lineup.pairs()})

    return RankingContrast(
        users=len(users),
        overlap=agreement(differences.overlap),
        rbo=agreement(differences.rank_biased_overlap),
        divergence=lineup.contrast(_divergences(lineup, users[:DIVERGENCE_USERS])),
    )


def _divergences(lineup: _Lineup, users: _Rows) -> dict[_Pair, float]:
    """Each pair of models' mean Jensen–Shannon divergence of these users' scores."""
    totals = dict.fromkeys(lineup.pairs(), 0.0)
    n_items = len(lineup.models[0].items)
    for block in _blocks(users, max(1, _BLOCK_ELEMENTS // n_items)):
        chances = [differences.softmax(_scores(factors, block)) for factors in lineup.factors]
        for pair, divergence in differences.divergences(chances, totals).items():
            totals[pair] += float(divergence.sum())
    return {pair: total / len(users) for pair, total in totals.items()}


def _scores(factors: Factors, users: _Rows) -> NDArray[np.float64]:
    """(m, n_items) predictions, but for what is the same for all items of a user."""
    products = factors.user.factors[users] @ factors.item.factors.T
    return np.asarray(products + factors.item.bias, np.float64)


def _accuracy(lineup: _Lineup, test: Heldout, groups: dict[str, _Rows], threads: int) -> dict[str, dict[str, Reading]]:
    accuracy: dict[str, dict[str, Reading]] = {}
    for name in ("everyone", "asked"):
        if name not in groups:
            continue
        metrics = [held_out_metrics(model, test, users=groups[name], threads=threads) for model in lineup.models]
        accuracy[name] = {metric: lineup.reading([each[metric] for each in metrics]) for metric in metrics[0]}
    return accuracy


def _subject(role: str, model: Model) -> Subject:
    return Subject(
        role=role,
        seed=model.config.seed,
        users=len(model.users),
        items=len(model.items),
        interactions=None if model.interactions is None else len(model.interactions),
        steps=tuple(entry.kind for entry in model.history),
        objectives=tuple(entry.objective for entry in model.history),
    )


def _steps(history: Sequence[HistoryEntry], kind: str) -> int:
    return sum(entry.kind == kind for entry in history)


def _since_forgetting(model: Model, kind: str) -> int:
    """The steps on the data of now: forgetting leaves those before it without their figures."""
    blank = [place for place, entry in enumerate(model.history) if entry.objective is None]
    return _steps(model.history[blank[-1] + 1 if blank else 0 :], kind)


def _sample(rows: _Rows, size: int, rng: np.random.Generator) -> _Rows:
    """At most `size` of the rows, in random order."""
    return rng.choice(rows, min(size, len(rows)), replace=False)


def _blocks(rows: _Rows, size: int) -> Iterator[_Rows]:
    return (rows[begin : begin + size] for begin in range(0, len(rows), size))


def _mean_of_known(values: NDArray[np.float64]) -> float:
    """The mean without NaN; 1 where there is nothing else: users without recommendations agree."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else 1.0
