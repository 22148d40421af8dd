"""ALS as a textbook would write it, on a dense matrix in float64: the oracle of the whole program.

`ratings` is (users, items) with NaN where nothing was observed. Users first, then items, each row's ridge regression
solved on its own. The starting item factors are given.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forgetcli.config import TrainConfig

Array = NDArray[np.float64]


@dataclass
class Reference:
    """Factors (users or items, k), biases (users or items,), the mean, the objective after each sweep."""

    p: Array
    q: Array
    b_user: Array
    b_item: Array
    mean: float
    objectives: list[float]


def train(ratings: Array, start: Array, config: TrainConfig) -> Reference:
    mean = float(np.nanmean(ratings)) if config.objective == "explicit" and config.global_mean else 0.0
    n_users, n_items = ratings.shape
    model = Reference(np.zeros((n_users, config.factors)), start.copy(), np.zeros(n_users), np.zeros(n_items), mean, [])
    ends = [(start, np.zeros(n_items))]
    for sweep in range(config.sweeps):
        # Nesterov's weight of step t is (t - 1) / (t + 2); nothing here restarts it.
        carried = (sweep - 1) / (sweep + 2) if config.acceleration == "momentum" and sweep > 1 else 0.0
        q, b_item = (end + carried * (end - before) for end, before in zip(ends[-1], ends[-2:][0], strict=True))
        for u in range(n_users):
            model.p[u], model.b_user[u] = row(ratings[u], q, b_item, mean, config)
        for i in range(n_items):
            model.q[i], model.b_item[i] = row(ratings[:, i], model.p, model.b_user, mean, config)
        ends.append((model.q.copy(), model.b_item.copy()))
        model.objectives.append(objective(ratings, model, config))
    return model


def scale(count: int, config: TrainConfig) -> float:
    return config.reg * (count if config.reg_scaling == "count" else 1)


def row(values: Array, other: Array, other_bias: Array, mean: float, config: TrainConfig) -> tuple[Array, float]:
    seen = ~np.isnan(values)
    x = np.hstack([other, np.ones((len(other), 1))]) if config.biases else other
    if config.objective == "explicit":
        weight, target = seen.astype(float), np.where(seen, values, 0) - mean - other_bias
    else:
        confidence = config.confidence_base + config.alpha * np.where(seen, values, 0)
        weight = np.where(seen, confidence, config.unobserved_weight)
        target = seen.astype(float)
    ridge = scale(int(seen.sum()), config) * np.eye(x.shape[1])
    solution = np.linalg.solve(x.T @ (weight[:, None] * x) + ridge, x.T @ (weight * target))
    return (solution[:-1], float(solution[-1])) if config.biases else (solution, 0.0)


def objective(ratings: Array, model: Reference, config: TrainConfig) -> float:
    seen = ~np.isnan(ratings)
    prediction = model.p @ model.q.T + model.b_user[:, None] + model.b_item[None, :] + model.mean
    if config.objective == "explicit":
        loss = np.sum((ratings[seen] - prediction[seen]) ** 2)
    else:
        confidence = config.confidence_base + config.alpha * ratings[seen]
        loss = np.sum(confidence * (1 - prediction[seen]) ** 2)
        loss += config.unobserved_weight * np.sum(prediction[~seen] ** 2)
    for axis, factors, bias in ((1, model.p, model.b_user), (0, model.q, model.b_item)):
        scales = np.array([scale(int(n), config) for n in seen.sum(axis=axis)])
        loss += float(scales @ (np.sum(factors**2, axis=1) + bias**2))
    return float(loss)
