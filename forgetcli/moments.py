"""The mean matrix of one side's normal equations, which shows what all rows have in common."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forgetcli import _native
from forgetcli.csr import Csr
from forgetcli.model import SideFactors
from forgetcli.objective import Objective

MEAN_ROWS = 20_000
"""What the mean is for need not be exact: of a larger side, about so many rows tell enough."""


def mean_matrix(mirror: Csr, other: SideFactors, objective: Objective, threads: int) -> NDArray[np.float64]:
    """(d, d): M = the mean of w x xᵀ over all entries, so that a row of n entries has about n M beside what all rows
    have. x has a constant 1 behind it in a model with biases; w is an entry's weight, less that of an unobserved pair.

    mirror: the interactions by the rows of `other`.
    """
    slope, offset = objective.confidence
    weights = (offset - objective.background) * mirror.row_counts().astype(np.float64)
    if slope:
        weights += slope * mirror.row_sums
    return _weighted_gram(other, weights / max(mirror.nnz, 1), objective, threads)


def _weighted_gram(
    side: SideFactors, weights: NDArray[np.float64], objective: Objective, threads: int
) -> NDArray[np.float64]:
    """Σ w x xᵀ over the rows, x with a constant 1 behind it in a model with biases; in the model's precision, and of a
    side of more than MEAN_ROWS rows from some of them, evenly spaced. Weights below 0 count as 0."""
    weights = np.maximum(weights, 0)
    total = weights.sum()
    every = max(len(side) // MEAN_ROWS, 1)
    x, weights = side.factors[::every], weights[::every]
    if every > 1 and weights.sum() > 0:
        weights = weights * (total / weights.sum())
    roots = np.sqrt(weights).astype(x.dtype)
    rooted = np.ascontiguousarray(x * roots[:, None])
    gram = _native.gram(rooted, threads=threads).astype(np.float64)
    if not objective.biases:
        return gram
    edge = np.einsum("n,nk->k", roots, rooted, dtype=np.float64)
    return np.block([[gram, edge[:, None]], [edge, np.full((1, 1), weights.sum())]])
