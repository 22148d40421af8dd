"""A sweep, linearised: the coupling of the two sides, and the inverses of their rows' normal matrices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forgetcli import _native
from forgetcli.als import row_arguments
from forgetcli.csr import Csr
from forgetcli.interactions import Interactions
from forgetcli.model import Array, SideFactors
from forgetcli.objective import Objective

CG_TOLERANCE = 0.02
"""Residual of the conjugate gradients in the preconditioner's norm, relative to the first one's. What S is off by goes
with the square of it: far below what the Lanczos process is stopped at."""

CG_ITERATIONS = 12
"""At most: the shared preconditioner needs two or three for most rows."""


@dataclass(frozen=True)
class NormalInverse:
    """The inverses of one side's normal matrices, by conjugate gradients on each row, with no memory but a row's.

    All rows share one preconditioner: row a's matrix is about n_a M + G + λ s_a I, with M the mean of w x xᵀ over all
    entries and G the unobserved pairs' part, so that one eigen-decomposition makes all of them diagonal.

    vectors:       (d, d), the eigenvectors, each a column.
    slope, offset: (d,) of the diagonals in n_a.
    tolerance:     see CG_TOLERANCE.
    """

    view: Csr
    other: SideFactors
    objective: Objective
    vectors: Array
    slope: Array
    offset: Array
    tolerance: float
    iterations: int
    threads: int

    @classmethod
    def of(
        cls,
        view: Csr,
        other: SideFactors,
        objective: Objective,
        *,
        tolerance: float = CG_TOLERANCE,
        iterations: int = CG_ITERATIONS,
        threads: int = 0,
    ) -> NormalInverse:
        """view: by the side that is inverted; its columns are the rows of `other`."""
        vectors, slope, offset = _shared_pencil(view, other, objective)
        dtype = other.factors.dtype
        return cls(
            view,
            other,
            objective,
            np.ascontiguousarray(vectors, dtype),
            slope.astype(dtype),
            offset.astype(dtype),
            tolerance,
            iterations,
            threads,
        )

    def solve(self, rhs: Array) -> SideFactors:
        """Each row's inverse times its stacked right-hand side (n, k) or (n, k + 1)."""
        arguments = row_arguments(self.view, self.other, self.objective, self.threads)
        for name in ("other_bias", "target"):
            del arguments[name]
        return SideFactors(
            *_native.solve_normal(
                **arguments,
                rhs=rhs,
                vectors=self.vectors,
                slope=self.slope,
                offset=self.offset,
                tolerance=self.tolerance,
                max_iterations=self.iterations,
                half=True,
                threads=self.threads,
            )
        )


@dataclass(frozen=True)
class LinearisedSweep:
    """The second derivatives of half the objective at `users` and `items`, with the users to be eliminated: A and B
    are block diagonal, the rows' normal matrices, and C = ∂²/∂users ∂items.

    user_inverse: A⁻¹; item_inverse: B⁻¹.
    """

    interactions: Interactions
    users: SideFactors
    items: SideFactors
    objective: Objective
    user_inverse: NormalInverse
    item_inverse: NormalInverse
    threads: int = 0

    def schur(self, direction: SideFactors, b_direction: Array) -> tuple[Array, SideFactors]:
        """S q = B q − Cᵀ A⁻¹ C q, given q and B q; and A⁻¹ C q."""
        by_user, by_item = self.interactions.by_user, self.interactions.by_item
        push = couple(by_user, self.users, self.items, direction, self.objective, self.threads)
        follower = self.user_inverse.solve(push)
        return b_direction - couple(by_item, self.items, self.users, follower, self.objective, self.threads), follower

    def solve(self, rhs: Array) -> SideFactors:
        """B⁻¹ times a stacked right-hand side."""
        return self.item_inverse.solve(rhs)


def couple(
    view: Csr, own: SideFactors, other: SideFactors, direction: SideFactors, objective: Objective, threads: int
) -> Array:
    """(n, k) or (n, k + 1): how the half gradient by `own` changes, to first order, as `other` moves along a
    direction: for an entry's features φ of the other side and ψ of the own one, weight w and half gradient e of the
    prediction, Σ w (ψ·δ) φ + e δ. In float32 models the direction goes through memory in 16 bits."""
    arguments = row_arguments(view, other, objective, threads)
    for name in ("gram", "reg", "reg_by_count"):
        del arguments[name]
    return _native.couple_rows(
        **arguments,
        direction_gram=_direction_gram(other, direction, objective, threads),
        factors=own.factors,
        bias=own.bias,
        direction=direction.factors,
        direction_bias=direction.bias if objective.biases else None,
        half=True,
        threads=threads,
    )


def stacked(side: SideFactors, objective: Objective) -> Array:
    """(n, k), or (n, k + 1) with the bias last in a model with biases."""
    return np.concatenate([side.factors, side.bias[:, None]], axis=1) if objective.biases else side.factors


def unstacked(matrix: Array, rank: int) -> SideFactors:
    """The reverse of `stacked`; without a column for them, the biases are 0."""
    bias = matrix[:, rank] if matrix.shape[1] > rank else np.zeros(len(matrix), matrix.dtype)
    return SideFactors(np.ascontiguousarray(matrix[:, :rank]), np.ascontiguousarray(bias))


def _direction_gram(other: SideFactors, direction: SideFactors, objective: Objective, threads: int) -> Array | None:
    """w0 Σ (x δᵀ + δ xᵀ) over the other side's rows: the corner of the Gram matrix of [x δ]."""
    if objective.background == 0:
        return None
    k = direction.factors.shape[1]
    both = _native.gram(np.concatenate([other.factors, direction.factors], axis=1), threads=threads)
    cross = both[:k, k:] * both.dtype.type(objective.background)
    return np.ascontiguousarray(cross + cross.T)


def _shared_pencil(
    view: Csr, other: SideFactors, objective: Objective
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """E, slope and offset: the mean matrix of a row of n entries is E⁻ᵀ (n · slope + offset) E⁻¹."""
    x = np.concatenate([other.factors, np.ones((len(other), 1))], axis=1) if objective.biases else other.factors
    slope, offset = objective.confidence
    weights = (offset - objective.background) * view.column_counts().astype(np.float64)
    if slope:
        weights += slope * np.bincount(view.indices, weights=view.values, minlength=view.n_columns)
    x = x.astype(np.float64)
    mean = (x * weights[:, None]).T @ x / max(view.nnz, 1)
    dense, ridge = objective.background * (x.T @ x), objective.reg * np.eye(x.shape[1])
    ones = np.ones(len(mean))
    if objective.reg_by_count:  # n (M + λ I) + G
        base, moving = mean + ridge, dense
    else:  # n M + (G + λ I)
        base, moving = dense + ridge, mean
    try:
        values, vectors = _pencil(moving, base)
    except np.linalg.LinAlgError:  # confidences below the unobserved pairs' weight: the diagonal has to do
        diagonal = np.maximum(np.diag(mean) + np.diag(dense), 0) + objective.reg
        return np.eye(len(mean)), diagonal, 0 * ones + objective.reg
    values = np.maximum(values, 0)
    return (vectors, ones, values) if objective.reg_by_count else (vectors, values, ones)


def _pencil(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Eigenvalues and eigenvectors E of a E = b E diag(values), Eᵀ b E = I; b is positive definite."""
    root = np.linalg.cholesky(b)
    half = np.linalg.solve(root, np.linalg.solve(root, a).T)
    values, vectors = np.linalg.eigh((half + half.T) / 2)
    return values, np.linalg.solve(root.T, vectors)
