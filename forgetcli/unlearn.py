"""Forgetting records, and the retraining that it is measured against."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from forgetcli.als import Evaluate, Progress, check_confidences, descend, train
from forgetcli.errors import DataError, UsageError
from forgetcli.gradient import Standing, standing
from forgetcli.interactions import Interactions, Remaining, Removal
from forgetcli.model import Factors, HistoryEntry, Model
from forgetcli.momentum import momentum_weight
from forgetcli.objective import Objective
from forgetcli.records import ForgetRequest, RequestCounts, Resolution
from forgetcli.response import STEP_COST, Options, Path, exact_sweeps, respond

Method = Literal["auto", "response", "sweeps", "retrain"]

DEFAULT_SWEEPS = 5
"""Warm sweeps of `--method sweeps` where none are asked for: the published method's usual number."""

MOST_SHARE = 0.4
"""Beyond this share of the records the second-order step was not found to reach a retrain's level."""

STEP_OVERHEAD = 2e10
"""What a step takes besides STEP_COST, in floating-point operations of a sweep: about 0.2 s, in calls, in passes that
the memory bounds, and in conjugate gradients on short rows. MovieLens-100k, k = 32: 0.11 s where a retrain takes
0.06 s."""

ASSUMED_SWEEPS = 15
"""T of a model whose history is not known: the number that most trainers run by default."""

SETTLING_SWEEPS = 2
"""Exact sweeps on the data before, where what another trainer solved last is not at its solution, since it stops its
solver early. Implicit's conjugate gradients on MovieLens-1M (α = 11, λ = 10; 1 % forgotten), 5 and 15 iterations:
memory 0.052 and 0.021 with two, beside 0.065 ± 0.023 and 0.029 ± 0.019 of its own retrains; −0.013 and 0.002 with one;
−0.105 and a step that was not worth taking with none. This program's own come much closer: there
(15 sweeps, λ = 0.05 explicit, λ = 10 implicit, k = 32) 0.036 and 0.012 with two, 0.032 and 0.014 with none, beside
0.047 ± 0.015 and 0.028 ± 0.012 of retrains."""

CG_RANK = 45
"""A sweep by conjugate gradients costs about this over the rank of an exact one: a million and 25 million ratings, 3
steps, ranks from 64 to 256."""

SETTLED = 1e-3
"""How far they may be from their solutions, relatively, to be taken for solved: above what float32 leaves."""


@dataclass(frozen=True)
class ForgetResult:
    """A model that has forgotten, and what that took.

    model:         the new model, with its data; the given one itself where nothing was found to forget.
    counts:        what was asked for and found.
    erased_users,
    erased_items:  how many users and items had nothing left and vanished from the model.
    method:        the method that was used; None where there was nothing to forget.
    path:          how the response step ended; see `response.Response`.
    sweeps:        the exact sweeps that it took.
    vectors:       the Krylov vectors that it took.
    before, after: the standing on the remaining data of the old factors (those of a response step settled, where an
                   imported model had to be) and of the new ones.
    """

    model: Model
    counts: RequestCounts
    erased_users: int
    erased_items: int
    method: Method | None
    path: Path | None
    sweeps: int
    vectors: int
    before: Standing | None
    after: Standing | None


def forget(
    model: Model,
    request: ForgetRequest,
    *,
    method: Method = "auto",
    sweeps: int = DEFAULT_SWEEPS,
    interactions: Interactions | None = None,
    in_place: bool = False,
    threads: int = 0,
    on_progress: Progress | None = None,
    on_step: Callable[[str], None] | None = None,
) -> ForgetResult:
    """Removes the requested records from the model and its data, and moves the factors to where the remaining data
    would have put them.

    method "auto":     "response", or "retrain" where that costs no more or the request is too large for it.
    method "response": the second-order step of `response`, then one exact sweep: to the level of a retrain.
    method "sweeps":   so many warm ALS sweeps on what remains (Unlearn-ALS: Xu et al. 2023).
    method "retrain":  see `retrain`, with the model's own seed.
    interactions:      the training data of a model that was saved without it.
    in_place:          in the memory of the model and its data, where that is possible: neither is of any use
                       afterwards, unless nothing of the request was found.

    A request of which nothing is found changes nothing. Raises DataError when the model has no data and none is
    given, and when the request leaves nothing; UsageError for another method, and for no sweeps.
    """
    _check_how(method, sweeps)
    data = training_data(model, interactions)
    if model.config.solved_last == "users":
        return _forget_transposed(model, data, request, method, sweeps, in_place, threads, on_progress, on_step)
    resolution = request.resolve(data)
    if resolution.counts.interactions == 0:
        return _unchanged(model, data, resolution)
    if method == "auto":
        method = _cheaper(len(resolution.removal.entries) / len(data), model, data)
    trained_objective, settling = Objective.of(model.config, data), _settling_sweeps(model)
    # Unless it is to be swept, no more is needed of the data before than what surrounds the records.
    before = _Before(data, resolution.removal) if settling else _Before(*data.around(resolution.removal))
    in_place = in_place and not settling
    remaining = _remaining(data, resolution, in_place)
    del data, interactions
    left = remaining.interactions
    objective = Objective.of(model.config, left)
    factors = model.factors
    if in_place:
        factors = dataclasses.replace(factors, user=factors.user.take(remaining.user_rows, in_place=True))
    if method == "response":
        options = Options(threads=threads, on_step=on_step)
        step = _response(model, factors, before, remaining, trained_objective, objective, options)
    else:
        kept = _kept_factors(factors, remaining)
        stood = standing(left, kept, trained_objective, threads=threads)
        if method == "retrain":
            trained = train(left, model.config, threads=threads, on_progress=on_progress)
            factors, history = trained.factors, trained.history
        else:
            factors, history = descend(
                left,
                kept.item,
                objective,
                sweeps=sweeps,
                cg_steps=model.config.inexact_steps,
                users=kept.user,
                threads=threads,
                on_progress=on_progress,
            )
        step = _Step(factors, history, stood, len(history))
    past = () if method == "retrain" else _blank(model.history)
    return ForgetResult(
        model=Model(model.config, step.factors, left.users, left.items, past + step.history, left),
        counts=resolution.counts,
        erased_users=resolution.erased_users,
        erased_items=resolution.erased_items,
        method=method,
        path=step.path,
        sweeps=step.sweeps,
        vectors=step.vectors,
        before=step.before,
        after=step.after or standing(left, step.factors, objective, value=step.history[-1].objective, threads=threads),
    )


def _check_how(method: str, sweeps: int) -> None:
    if method not in get_args(Method):
        raise UsageError(f"`method` must be one of {', '.join(get_args(Method))}, not {method!r}")
    if sweeps < 1:
        raise UsageError(f"`sweeps` must be at least 1, not {sweeps!r}")


@dataclass(frozen=True)
class _Step:
    """What a method made of the factors; see `ForgetResult`. history: the entries that it adds."""

    factors: Factors
    history: tuple[HistoryEntry, ...]
    before: Standing
    sweeps: int
    vectors: int = 0
    path: Path | None = None
    after: Standing | None = None


@dataclass(frozen=True)
class _Before:
    """The data before, of the users that lose some at least, and what goes of it."""

    data: Interactions
    removal: Removal


def _response(
    model: Model,
    start: Factors,
    known: _Before,
    remaining: Remaining,
    before: Objective,
    after: Objective,
    options: Options,
) -> _Step:
    """The second-order step, from factors that are settled first where they need it; all of the data is known then."""
    settling, sweeps = _settling_sweeps(model), trained_sweeps(model)
    if settling:
        start, _ = descend(known.data, start.item, before, sweeps=settling, threads=options.threads)
    response = respond(
        known.data,
        known.removal,
        remaining,
        start,
        before,
        after,
        sweeps=sweeps,
        momentum=_momentum(model),
        options=options,
    )
    return _Step(
        response.factors,
        (HistoryEntry("response", response.objective, {}),),
        response.before,
        response.sweeps + settling,
        response.vectors,
        response.path,
        response.after,
    )


def _forget_transposed(
    model: Model,
    data: Interactions,
    request: ForgetRequest,
    method: Method,
    sweeps: int,
    in_place: bool,
    threads: int,
    on_progress: Progress | None,
    on_step: Callable[[str], None] | None,
) -> ForgetResult:
    """What `forget` does, for a model whose sweeps end with the users: items take their place, and afterwards users.

    The phase matters: on MovieLens-1M (k = 32, λ = 0.1, 10 sweeps, no mean) retrains that end with the items differ
    from those that end with the users as if they remembered a third of what they never saw.
    """
    turned = Model(model.config, model.factors, model.users, model.items, model.history, data).transposed()
    result = forget(
        turned,
        request.transposed(),
        method=method,
        sweeps=sweeps,
        in_place=in_place,
        threads=threads,
        on_progress=on_progress,
        on_step=on_step,
    )
    counts = result.counts
    return dataclasses.replace(
        result,
        model=model if result.model is turned and model.interactions is not None else result.model.transposed(),
        counts=dataclasses.replace(
            counts,
            users=counts.items,
            items=counts.users,
            unknown_users=counts.unknown_items,
            unknown_items=counts.unknown_users,
        ),
        erased_users=result.erased_items,
        erased_items=result.erased_users,
    )


def trained_sweeps(model: Model) -> int:
    """T: how many sweeps the model's data has had to leave its mark; a second-order step adds none."""
    return sum(entry.kind == "sweep" for entry in model.history) or ASSUMED_SWEEPS


def retrain(
    model: Model,
    request: ForgetRequest,
    *,
    seed: int | None = None,
    interactions: Interactions | None = None,
    evaluate: Evaluate | None = None,
    threads: int = 0,
    on_progress: Progress | None = None,
) -> tuple[Model, Resolution]:
    """Trains anew on what the request leaves, with the model's configuration: the same bits as training on data that
    never held the records.

    seed: of the starting factors; None is the model's own.
    """
    data = training_data(model, interactions)
    resolution = request.resolve(data)
    kept = _remaining(data, resolution).interactions if resolution.counts.interactions else data
    config = model.config if seed is None else dataclasses.replace(model.config, seed=seed)
    return train(kept, config, evaluate=evaluate, threads=threads, on_progress=on_progress), resolution


def training_data(model: Model, interactions: Interactions | None) -> Interactions:
    """The interactions that the model was fitted to: its own, or those given for a model without.

    Raises DataError when there are none, or when the given ones are not of the model's users and items.
    """
    if model.interactions is not None:
        return model.interactions
    if interactions is None:
        raise DataError(
            "the model was saved without its interactions",
            hint="give the data that it was trained on as `interactions`",
        )
    for name, side, own in (("users", interactions.users, model.users), ("items", interactions.items, model.items)):
        if side is own:
            continue
        if len(side) != len(own) or not np.array_equal(own.find(side.ids), np.arange(len(own))):
            raise DataError(
                f"the given data does not have the model's {name}",
                hint="give exactly the data that the model was trained on, read with the same options",
            )
    check_confidences(interactions, model.config)
    return interactions


def _unchanged(model: Model, data: Interactions, resolution: Resolution) -> ForgetResult:
    if model.interactions is None:
        model = dataclasses.replace(model, interactions=data)
    return ForgetResult(model, resolution.counts, 0, 0, None, None, 0, 0, None, None)


def _remaining(data: Interactions, resolution: Resolution, in_place: bool = False) -> Remaining:
    if resolution.counts.interactions == len(data):
        raise DataError(
            "the request leaves nothing: every interaction of the model would be forgotten",
            hint="delete the model file instead",
        )
    return data.without(resolution.removal, in_place=in_place)


def _kept_factors(factors: Factors, remaining: Remaining) -> Factors:
    """The old factors of the users and items that remain."""
    users, items = factors.user.take(remaining.user_rows), factors.item.take(remaining.item_rows)
    return Factors(users, items, factors.global_mean)


def _settling_sweeps(model: Model) -> int:
    """SETTLING_SWEEPS where the model's last step left factors away from their solutions, since it was an inexact sweep
    or another trainer's, else none."""
    last = model.history[-1] if model.history else None
    if last is None or last.kind == "response":
        return 0
    if last.kind == "sweep":
        return 0 if model.config.inexact_steps is None else SETTLING_SWEEPS
    return 0 if last.metrics.get("apart", 1.0) <= SETTLED else SETTLING_SWEEPS


def _momentum(model: Model) -> list[float]:
    """The weights before each of the sweeps that it was trained with; none without momentum. That a weight started anew
    where a sweep had been worse is not known any more, and rare."""
    accelerated = model.config.acceleration == "momentum"
    return [momentum_weight(t) for t in range(trained_sweeps(model))] if accelerated else []


def _cheaper(share: float, model: Model, data: Interactions) -> Method:
    """The second-order step, unless training anew costs no more or the request is too large; share: of the records."""
    sweeps, k = trained_sweeps(model), model.config.factors
    cost = STEP_COST + exact_sweeps(0.0, share, sweeps, _momentum(model)) + _settling_sweeps(model)
    if all(entry.kind != "import" for entry in model.history):  # another trainer's factors are not given up for speed
        cost += STEP_OVERHEAD / (2 * len(data) * k * (k + 1) + (data.n_users + data.n_items) * k**3 / 3)
    own_sweep = 1.0 if model.config.inexact_steps is None else min(1.0, CG_RANK / k)
    return "retrain" if share > MOST_SHARE or cost >= sweeps * own_sweep else "response"


def _blank(history: tuple[HistoryEntry, ...]) -> tuple[HistoryEntry, ...]:
    """The history with its length, but not its figures: an objective or metric of that time depends on what is now
    forgotten."""
    return tuple(HistoryEntry(entry.kind, None, {}) for entry in history)
