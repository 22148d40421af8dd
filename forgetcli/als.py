"""Alternating least squares: half-sweeps, the objective, its gradient, and the training loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgetcli import _native
from forgetcli.config import TrainConfig
from forgetcli.errors import DataError, NumericalError
from forgetcli.interactions import Csr, Interactions, Vocabulary
from forgetcli.model import Array, Factors, HistoryEntry, Model, SideFactors
from forgetcli.objective import Objective
from forgetcli.seeding import starting_factors


@dataclass(frozen=True)
class SweepReport:
    """What is known after a sweep.

    sweep, sweeps: the number of this one, from 1, and of those planned.
    objective:     on the training data, after the sweep.
    metrics:       validation metrics by name; empty without validation.
    """

    sweep: int
    sweeps: int
    objective: float
    metrics: dict[str, float]


Progress = Callable[[SweepReport], None]
Evaluate = Callable[[Factors], dict[str, float]]


@dataclass(frozen=True)
class HalfSweep:
    """One side, solved.

    side:     the rows that were asked for, in that order.
    losses:   (n,) float64, each row's part of the objective: its entries' loss, its share of the unobserved pairs'
              and its own regularisation.
    products: (n,) float64, each row's right-hand side times its solution: Σ of them is the side's square in the norm
              of the normal matrices.
    kept:     the rows' Cholesky factors, for `_native.apply_kept`; None unless asked for.
    """

    side: SideFactors
    losses: NDArray[np.float64]
    products: NDArray[np.float64]
    kept: Array | None


@dataclass(frozen=True)
class Gradients:
    """The gradient of the objective, with the objective.

    user, item: (n, k), or (n, k + 1) with the bias last: the derivative by each row's parameters.
    relative:   the gradient's norm over that of the regularisation's part of it. Where the objective is stationary,
                the loss pulls exactly as hard as the regularisation: this is 0. It has no unit and does not depend
                on the data's size.
    """

    objective: float
    user: Array
    item: Array
    relative: float


def half_sweep(
    view: Csr,
    other: SideFactors,
    objective: Objective,
    *,
    rows: NDArray[np.int64] | None = None,
    rhs: Array | None = None,
    keep: bool = False,
    threads: int = 0,
) -> HalfSweep:
    """Solves one side's rows exactly, given the other side: each row's normal equations, by Cholesky.

    view:  the interactions by the side that is solved; its columns are the rows of `other`.
    rows:  the rows to solve, in this order; None is all of them.
    rhs:   (n, k or k + 1), right-hand sides in place of the rows' own; the losses then mean nothing.
    keep:  whether to keep the Cholesky factors: about d²/2 numbers a row, d = k or k + 1.

    Raises NumericalError when a row's system is singular at this precision or not finite.
    """
    factors, bias, losses, products, kept, failed = _native.solve_rows(
        **row_arguments(view, other, objective, threads), rows=rows, rhs=rhs, keep=keep, threads=threads
    )
    if failed >= 0:
        raise NumericalError(
            f"the equations of a row with {view.indptr[failed + 1] - view.indptr[failed]} interactions have no "
            f"finite solution in {other.factors.dtype}",
            hint="raise --reg, use --dtype float64, or look for extreme values in the data",
        )
    return HalfSweep(SideFactors(factors, bias), losses, products, kept)


def gradients(interactions: Interactions, factors: Factors, objective: Objective, *, threads: int = 0) -> Gradients:
    """The objective and its gradient at these factors."""
    parts = [
        _native.row_gradients(
            **row_arguments(view, other, objective, threads),
            factors=own.factors,
            bias=own.bias,
            rows=None,
            threads=threads,
        )
        for view, own, other in (
            (interactions.by_user, factors.user, factors.item),
            (interactions.by_item, factors.item, factors.user),
        )
    ]
    (user, _), (item, losses) = parts
    value = float(losses.sum()) + regularisation(factors.user, interactions.by_user.row_counts(), objective)
    # The kernel gives half the gradient; the regularisation's half is λ s times the parameters.
    pull = _reg_pull(factors.user, interactions.by_user, objective) + _reg_pull(
        factors.item, interactions.by_item, objective
    )
    norm = np.sqrt(_square_sum(user) + _square_sum(item))
    user *= 2
    item *= 2
    return Gradients(value, user, item, float(norm / np.sqrt(pull)) if pull > 0 else float(norm > 0))


def regularisation(side: SideFactors, counts: NDArray[np.int64], objective: Objective) -> float:
    """λ Σ s (|p|² + b²) over one side's rows, summed in float64."""
    return float(objective.row_scales(counts) @ _row_squares(side))


def starting_items(items: Vocabulary, config: TrainConfig) -> SideFactors:
    """The item side that training starts from: keyed by seed and id, biases 0."""
    dtype = np.float32 if config.dtype == "float32" else np.float64
    return SideFactors.without_bias(starting_factors(items.keys(), config.factors, config.seed, dtype))


def sweep(
    interactions: Interactions, items: SideFactors, objective: Objective, *, threads: int = 0
) -> tuple[Factors, float]:
    """One sweep, users then items, from the given item side; returns the factors and the objective there."""
    users = half_sweep(interactions.by_user, items, objective, threads=threads).side
    solved = half_sweep(interactions.by_item, users, objective, threads=threads)
    value = float(solved.losses.sum()) + regularisation(users, interactions.by_user.row_counts(), objective)
    return Factors(users, solved.side, objective.global_mean), value


def descend(
    interactions: Interactions,
    items: SideFactors,
    objective: Objective,
    *,
    sweeps: int,
    tol: float = 0.0,
    evaluate: Evaluate | None = None,
    threads: int = 0,
    on_progress: Progress | None = None,
) -> tuple[Factors, tuple[HistoryEntry, ...]]:
    """Up to `sweeps` sweeps from the given item side, with one history entry each.

    Stops early when a sweep lowers the objective by less than the fraction `tol`, if that is above 0.
    """
    history: list[HistoryEntry] = []
    for number in range(1, sweeps + 1):
        factors, value = sweep(interactions, items, objective, threads=threads)
        items = factors.item
        metrics = evaluate(factors) if evaluate else {}
        history.append(HistoryEntry("sweep", value, metrics))
        if on_progress:
            on_progress(SweepReport(number, sweeps, value, metrics))
        before = history[-2].objective if len(history) > 1 else None
        if tol > 0 and before is not None and before - value < tol * abs(before):
            break
    return factors, tuple(history)


def train(
    interactions: Interactions,
    config: TrainConfig,
    *,
    evaluate: Evaluate | None = None,
    threads: int = 0,
    on_progress: Progress | None = None,
) -> Model:
    """Trains a model from keyed starting factors: the same data and configuration give the same bits, whatever the
    order of the rows and the number of threads.

    evaluate:    called with the factors after each sweep; its metrics go into the history.
    threads:     0 is one for each processor.
    on_progress: called after each sweep.

    Raises DataError when there is nothing to train on, NumericalError when the equations cannot be solved.
    """
    if len(interactions) == 0:
        raise DataError("there are no interactions to train on")
    objective = Objective.of(config, interactions)
    check_confidences(interactions, config)
    factors, history = descend(
        interactions,
        starting_items(interactions.items, config),
        objective,
        sweeps=config.sweeps,
        tol=config.tol,
        evaluate=evaluate,
        threads=threads,
        on_progress=on_progress,
    )
    return Model(config, factors, interactions.users, interactions.items, history, interactions)


def check_confidences(interactions: Interactions, config: TrainConfig) -> None:
    """Raises DataError when an implicit model is asked to learn from values below 0: a confidence of less than an
    unobserved pair's says nothing, and the equations may have no solution."""
    if config.objective == "implicit" and len(interactions) and float(interactions.by_user.values.min()) < 0:
        raise DataError(
            "an implicit model needs values of at least 0, and the data has values below",
            hint="drop those rows, shift the values, or train with --objective explicit",
        )


def row_arguments(view: Csr, other: SideFactors, objective: Objective, threads: int) -> dict[str, Any]:
    """What both row kernels are told of the data and the objective."""
    gram = None
    if objective.background > 0:
        gram = _native.gram(other.factors, threads=threads)
        gram *= other.factors.dtype.type(objective.background)
    return {
        "indptr": view.indptr,
        "indices": view.indices,
        "values": view.values,
        "other": other.factors,
        "other_bias": other.bias if objective.biases else None,
        "gram": gram,
        "with_bias": objective.biases,
        "confidence": objective.confidence,
        "target": objective.target,
        "background": objective.background,
        "reg": objective.reg,
        "reg_by_count": objective.reg_by_count,
    }


def _row_squares(side: SideFactors) -> NDArray[np.float64]:
    squares = np.einsum("nk,nk->n", side.factors, side.factors, dtype=np.float64)
    return np.asarray(squares + np.square(side.bias, dtype=np.float64))


def _reg_pull(side: SideFactors, view: Csr, objective: Objective) -> float:
    return float(np.square(objective.row_scales(view.row_counts())) @ _row_squares(side))


def _square_sum(array: Array) -> float:
    return float(np.einsum("nk,nk->", array, array, dtype=np.float64))
