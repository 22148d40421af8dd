"""A sweep, linearised: the coupling of the two sides, and the inverses of their rows' normal matrices."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgetcli import _native
from forgetcli.als import row_arguments
from forgetcli.csr import Csr
from forgetcli.model import Array, SideFactors
from forgetcli.moments import mean_matrix
from forgetcli.objective import Objective

CG_TOLERANCE = 0.02
"""Residual of the conjugate gradients in the preconditioner's norm, relative to the first one's. What S is off by goes
with the square of it: far below what the Lanczos process is stopped at."""

ITEM_TOLERANCE = 0.005
"""The same, of B⁻¹ CᵀA⁻¹C q, of which q − B⁻¹ S q may be the small difference that is looked for: a fourth."""

NEWTON_TOLERANCE = 1e-3
"""The same, where the solution itself is used: what the float32 of a model and a retrain's seed leave is more."""

CG_ITERATIONS = 20
"""At most: the shared preconditioner needs two to five for most rows."""


@dataclass(frozen=True)
class Newton:
    """The derivatives of half the objective at some rows' parameters, the other side held.

    gradient: (n, k) or (n, k + 1).
    step:     the inverses of the normal matrices times it: the rows' solution is `step` below them.
    losses:   (n,) float64, the rows' parts of the objective.
    squares:  (n,) float64, the parameters' squares in the norm of the normal matrices.
    """

    gradient: Array
    step: SideFactors
    losses: NDArray[np.float64]
    squares: NDArray[np.float64]


@dataclass(frozen=True)
class NormalInverse:
    """The inverses of one side's normal matrices, by conjugate gradients on each row, with no memory but a row's.

    All rows share one preconditioner: row a's matrix is about n_a M + G + λ s_a I, with M the mean of w x xᵀ over all
    entries and G the unobserved pairs' part, so that one eigen-decomposition makes all of them diagonal.

    vectors:       (d, d), the eigenvectors, each a column.
    slope, offset: (d,) of the diagonals in n_a.
    tolerance:     an upper bound for those above.
    """

    view: Csr
    other: SideFactors
    objective: Objective
    vectors: Array
    slope: Array
    offset: Array
    tolerance: float
    threads: int

    @classmethod
    def of(
        cls,
        view: Csr,
        mirror: Csr,
        other: SideFactors,
        objective: Objective,
        *,
        tolerance: float = 1.0,
        threads: int = 0,
    ) -> NormalInverse:
        """view, mirror: the interactions by the side that is inverted, and by the other one."""
        dtype = other.factors.dtype
        vectors, slope, offset = _shared_pencil(mirror, other, objective, threads)
        return cls(
            view,
            other,
            objective,
            np.ascontiguousarray(vectors, dtype),
            slope.astype(dtype),
            offset.astype(dtype),
            tolerance,
            threads,
        )

    def on(self, view: Csr, other: SideFactors) -> NormalInverse:
        """The same for other interactions that the preconditioner still fits."""
        return dataclasses.replace(self, view=view, other=other)

    def newton(
        self, own: SideFactors, *, rows: NDArray[np.int64] | None = None, tolerance: float = NEWTON_TOLERANCE
    ) -> Newton:
        """At the rows' parameters `own`; rows: None is all of them."""
        gradient, losses, squares, *step = _native.newton_rows(
            **row_arguments(self.view, self.other, self.objective, self.threads),
            factors=own.factors,
            bias=own.bias,
            **self._iteration(tolerance),
            rows=rows,
            threads=self.threads,
        )
        return Newton(gradient, SideFactors(*step), losses, squares)

    def solve(
        self, rhs: Array, *, rows: NDArray[np.int64] | None = None, tolerance: float = NEWTON_TOLERANCE
    ) -> SideFactors:
        """The rows' inverses times their stacked right-hand sides (n, k) or (n, k + 1); rows: None is all of them."""
        arguments = row_arguments(self.view, self.other, self.objective, self.threads)
        for name in ("other_bias", "target"):
            del arguments[name]
        return SideFactors(
            *_native.solve_normal(**arguments, rhs=rhs, **self._iteration(tolerance), rows=rows, threads=self.threads)
        )

    def coupled(
        self, own: SideFactors, direction: SideFactors, *, tolerance: float = CG_TOLERANCE
    ) -> tuple[Array, SideFactors]:
        """How the half gradient at `own` changes, to first order, as `other` moves along a direction: for an entry's
        features φ of the other side and ψ of the own one, weight w and half gradient e of the prediction,
        Σ w (ψ·δ) φ + e δ; and the rows' inverses times that. In float32 models the direction goes through memory in
        16 bits."""
        objective = self.objective
        product, *solution = _native.solve_coupled(
            **row_arguments(self.view, self.other, objective, self.threads),
            factors=own.factors,
            bias=own.bias,
            direction=direction.factors,
            direction_bias=direction.bias if objective.biases else None,
            direction_gram=_direction_gram(self.other, direction, objective, self.threads),
            **self._iteration(tolerance),
            half=True,
            threads=self.threads,
        )
        return product, SideFactors(*solution)

    def _iteration(self, tolerance: float) -> dict[str, Any]:
        return {
            "vectors": self.vectors,
            "slope": self.slope,
            "offset": self.offset,
            "tolerance": min(tolerance, self.tolerance),
            "max_iterations": CG_ITERATIONS,
        }


@dataclass(frozen=True)
class LinearisedSweep:
    """The second derivatives of half the objective at `users` and `items`, with the users to be eliminated: A and B
    are block diagonal, the rows' normal matrices, and C = ∂²/∂users ∂items.

    user_inverse: A⁻¹, which knows the items; item_inverse: B⁻¹, which knows the users.
    """

    user_inverse: NormalInverse
    item_inverse: NormalInverse

    def follow(self, direction: SideFactors) -> tuple[Array, SideFactors]:
        """C q and A⁻¹ C q."""
        return self.user_inverse.coupled(self.item_inverse.other, direction)

    def back(self, follower: SideFactors) -> tuple[Array, SideFactors]:
        """Cᵀ p and B⁻¹ Cᵀ p."""
        return self.item_inverse.coupled(self.user_inverse.other, follower, tolerance=ITEM_TOLERANCE)


def stacked(side: SideFactors, objective: Objective) -> Array:
    """(n, k), or (n, k + 1) with the bias last in a model with biases."""
    return np.concatenate([side.factors, side.bias[:, None]], axis=1) if objective.biases else side.factors


def _direction_gram(other: SideFactors, direction: SideFactors, objective: Objective, threads: int) -> Array | None:
    """w0 Σ (x δᵀ + δ xᵀ) over the other side's rows: the corner of the Gram matrix of [x δ]."""
    if objective.background == 0:
        return None
    k = direction.factors.shape[1]
    both = _native.gram(np.concatenate([other.factors, direction.factors], axis=1), threads=threads)
    cross = both[:k, k:] * both.dtype.type(objective.background)
    return np.ascontiguousarray(cross + cross.T)


def _shared_pencil(
    mirror: Csr, other: SideFactors, objective: Objective, threads: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """E, slope and offset: the mean matrix of a row of n entries is E⁻ᵀ (n · slope + offset) E⁻¹.

    mirror: the interactions by the rows of `other`.
    """
    mean = mean_matrix(mirror, other, objective, threads)
    d = len(mean)
    dense, ridge, ones = np.zeros((d, d)), objective.reg * np.eye(d), np.ones(d)
    if objective.background:
        dense += objective.background * _native.gram(other.factors, threads=threads)
    if objective.reg_by_count:  # n (M + λ I) + G
        base, moving = mean + ridge, dense
    else:  # n M + (G + λ I)
        base, moving = dense + ridge, mean
    try:
        values, vectors = _pencil(moving, base)
    except np.linalg.LinAlgError:  # confidences below the unobserved pairs' weight: the diagonal has to do
        diagonal = np.maximum(np.diag(mean) + np.diag(dense), 0) + objective.reg
        return np.eye(d), diagonal, 0 * ones + objective.reg
    values = np.maximum(values, 0)
    return (vectors, ones, values) if objective.reg_by_count else (vectors, values, ones)


def _pencil(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Eigenvalues and eigenvectors E of a E = b E diag(values), Eᵀ b E = I; b is positive definite."""
    root = np.linalg.cholesky(b)
    half = np.linalg.solve(root, np.linalg.solve(root, a).T)
    values, vectors = np.linalg.eigh((half + half.T) / 2)
    return values, np.linalg.solve(root.T, vectors)
