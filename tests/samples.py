"""Small interactions for the tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgetcli.config import TrainConfig
from forgetcli.interactions import Interactions

CONFIGS: dict[str, TrainConfig] = {
    "biased": TrainConfig(factors=5, sweeps=4, reg=0.1, dtype="float64"),
    "plain": TrainConfig(factors=5, sweeps=4, reg=0.1, biases=False, dtype="float64"),
    "unscaled": TrainConfig(factors=17, sweeps=3, reg=2.0, reg_scaling="none", dtype="float64"),
    "implicit": TrainConfig.for_objective("implicit", factors=5, sweeps=4, reg=1.5, alpha=3.0, dtype="float64"),
    "weighted": TrainConfig.for_objective(
        "implicit", factors=16, sweeps=3, reg=0.02, reg_scaling="count", unobserved_weight=0.3, dtype="float64"
    ),
    "bare": TrainConfig(factors=5, sweeps=4, reg=0.1, biases=False, global_mean=False, dtype="float64"),
    "baseless": TrainConfig.for_objective(
        "implicit", factors=5, sweeps=4, reg=0.5, alpha=0.7, confidence_base=0.0, dtype="float64"
    ),
}
"""One configuration of each objective, bias and scaling."""


def triples(n_users: int = 40, n_items: int = 25, density: float = 0.3, seed: int = 0) -> tuple[Any, Any, Any]:
    """Users, items (both int64 ids with gaps) and ratings of a random sparse matrix of low rank."""
    rng = np.random.default_rng(seed)
    seen = rng.random((n_users, n_items)) < density
    taste = rng.normal(size=(n_users, 3)) @ rng.normal(size=(3, n_items))
    users, items = np.nonzero(seen)
    ratings = np.clip(np.round(2 * (3 + taste[seen] / 2)) / 2, 0.5, 5).astype(np.float32)
    return users.astype(np.int64) * 7 + 3, items.astype(np.int64) * 11 - 50, ratings


def interactions(**options: Any) -> Interactions:
    return Interactions.from_arrays(*triples(**options))


def dense(data: Interactions) -> NDArray[np.float64]:
    """(users, items), NaN where nothing was observed."""
    matrix = np.full((data.n_users, data.n_items), np.nan)
    matrix[data.by_user.row_numbers(), data.by_user.indices] = data.by_user.values
    return matrix
