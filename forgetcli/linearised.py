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
from forgetcli.products import product

CG_TOLERANCE = 0.04
"""Residual of the conjugate gradients in the preconditioner's norm, relative to the first one's. What S is off by goes
with the square of it: far below what the Lanczos process is stopped at."""

ITEM_TOLERANCE = 0.01
"""The same, of B⁻¹ CᵀA⁻¹C q, of which q − B⁻¹ S q may be the small difference that is looked for: a fourth."""

NEWTON_TOLERANCE = 3e-3
"""The same, where the solution itself is used: what the float32 of a model and a retrain's seed leave is more."""

CG_ITERATIONS = 20
"""At most: the shared preconditioner needs two to five for most rows."""


@dataclass(frozen=True)
class Newton:
    """The derivatives of half the objective at some rows' parameters, the other side held.

    gradient: (n, k) or (n, k + 1).
    step:     the inverses of the normal matrices times it, but for what of it is held: the rows' solution is `step`
              below them.
    losses:   (n,) float64, the rows' parts of the objective.
    squares:  (n,) float64, the parameters' squares in the norm of the normal matrices.
    """

    gradient: Array
    step: SideFactors
    losses: NDArray[np.float64]
    squares: NDArray[np.float64]


@dataclass(frozen=True)
class Coordinates:
    """Coordinates x̃ = Eᵀ x of the factors in which the matrices of all rows of a side are nearly diagonal.

    Row a's normal matrix is about n_a M + G + λ s_a I, with M the mean of w x xᵀ over all entries and G the unobserved
    pairs' part. Where G is 0, E has the eigenvectors of M, and else those of G, which then costs no more than the ridge
    does; the two are much alike. Conjugate gradients are preconditioned by what is diagonal in these coordinates, and
    with biases by their row and column of M.

    vectors: (k, k), E, each eigenvector a column.
    mean:    (d,), the diagonal of M in these coordinates; with biases, the last element is theirs.
    border:  (k,), what M has between the factors and the bias.
    dense:   (k,), the diagonal of G.
    """

    vectors: Array
    mean: Array
    border: Array
    dense: Array

    @classmethod
    def of(cls, mean: NDArray[np.float64], other: SideFactors, objective: Objective, threads: int) -> Coordinates:
        """mean: M, (d, d)."""
        k = other.factors.shape[1]
        inner, edge, dense = mean[:k, :k], np.zeros(k), np.zeros(k)
        if objective.background:
            gram = _native.gram(other.factors, threads=threads).astype(np.float64)
            values, rows = _native.symmetric_eigen(objective.background * gram)
            dense = np.maximum(values, 0)
        else:
            _, rows = _native.symmetric_eigen(np.ascontiguousarray(inner))
        vectors = rows.T
        diagonal = np.einsum("ij,ij->j", vectors, product(inner, vectors))
        if objective.biases:
            diagonal, edge = np.append(diagonal, mean[k, k]), np.einsum("ij,i->j", vectors, mean[:k, k])
        dtype = other.factors.dtype
        return cls(*(np.ascontiguousarray(part, dtype) for part in (vectors, diagonal, edge, dense)))


@dataclass(frozen=True)
class NormalInverse:
    """The inverses of one side's normal matrices, by conjugate gradients on each row, with no memory but a row's.

    mean:      (d, d), M of `coordinates`.
    tolerance: an upper bound for those above.
    """

    view: Csr
    other: SideFactors
    objective: Objective
    mean: NDArray[np.float64]
    coordinates: Coordinates
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
        mean = mean_matrix(mirror, other, objective, threads)
        coordinates = Coordinates.of(mean, other, objective, threads)
        return cls(view, other, objective, mean, coordinates, tolerance, threads)

    def on(self, view: Csr, other: SideFactors) -> NormalInverse:
        """The same for other interactions, and factors, that M still fits."""
        coordinates = self.coordinates
        if self.objective.background:  # they are those of G
            coordinates = Coordinates.of(self.mean, other, self.objective, self.threads)
        return dataclasses.replace(self, view=view, other=other, coordinates=coordinates)

    def of_rows(self, rows: NDArray[np.int64]) -> NormalInverse:
        """The same for some rows alone."""
        return dataclasses.replace(self, view=self.view.take_rows(rows))

    def newton(
        self,
        own: SideFactors,
        *,
        held: Array | None = None,
        rows: NDArray[np.int64] | None = None,
        tolerance: float = NEWTON_TOLERANCE,
    ) -> Newton:
        """At the rows' parameters `own`; rows: None is all of them. held: the half gradient (n, d) that the solution is
        to have, instead of none."""
        gradient, losses, squares, *step = _native.newton_rows(
            **self._arguments(),
            factors=own.factors,
            bias=own.bias,
            **self._iteration(tolerance),
            held=held,
            rows=rows,
            threads=self.threads,
        )
        return Newton(gradient, SideFactors(*step), losses, squares)

    def solve(
        self, rhs: Array, *, rows: NDArray[np.int64] | None = None, tolerance: float = NEWTON_TOLERANCE
    ) -> SideFactors:
        """The rows' inverses times their stacked right-hand sides (n, k) or (n, k + 1); rows: None is all of them."""
        arguments = self._arguments()
        for name in ("other_bias", "target"):
            del arguments[name]
        return SideFactors(
            *_native.solve_normal(**arguments, rhs=rhs, **self._iteration(tolerance), rows=rows, threads=self.threads)
        )

    def coupled(
        self,
        own: SideFactors,
        direction: SideFactors,
        *,
        tolerance: float = CG_TOLERANCE,
        expected: float = 0.0,
    ) -> tuple[Array, SideFactors]:
        """How the half gradient at `own` changes, to first order, as `other` moves along a direction: for an entry's
        features φ of the other side and ψ of the own one, weight w and half gradient e of the prediction,
        Σ w (ψ·δ) φ + e δ; and the rows' inverses times that. In float32 models the direction goes through memory in
        16 bits.

        expected: about the product of the two, or less: rows that hardly count in it are not solved as well.
        """
        change, _, *solution = self._solved(own, direction, tolerance, expected, with_change=True)
        assert change is not None
        return change, SideFactors(*solution)

    def followed(
        self, own: SideFactors, direction: SideFactors, *, tolerance: float, expected: float | None
    ) -> tuple[float, SideFactors]:
        """As `coupled`, but in place of the change its product with the solution. expected: None is found out first
        where that is cheap."""
        _, products, *solution = self._solved(own, direction, tolerance, expected, with_change=False)
        return float(products.sum()), SideFactors(*solution)

    def _solved(
        self, own: SideFactors, direction: SideFactors, tolerance: float, expected: float | None, *, with_change: bool
    ) -> tuple[Array | None, NDArray[np.float64], Array, Array]:
        objective = self.objective
        return _native.solve_coupled(
            **self._arguments(),
            factors=own.factors,
            bias=own.bias,
            direction=direction.factors,
            direction_bias=direction.bias if objective.biases else None,
            direction_gram=self._direction_gram(direction),
            **self._iteration(tolerance),
            expected=expected,
            with_change=with_change,
            half=True,
            threads=self.threads,
        )

    def _arguments(self) -> dict[str, Any]:
        arguments = row_arguments(self.view, self.other, self.objective, self.threads)
        del arguments["gram"]
        return arguments

    def _direction_gram(self, direction: SideFactors) -> Array | None:
        """w0 Σ (x δᵀ + δ xᵀ) over the other side's rows, in the coordinates: from the corner of the Gram matrix of
        [x δ]."""
        if self.objective.background == 0:
            return None
        k, vectors = direction.factors.shape[1], self.coordinates.vectors
        both = _native.gram(np.concatenate([self.other.factors, direction.factors], axis=1), threads=self.threads)
        cross = both[:k, k:] * both.dtype.type(self.objective.background)
        return np.ascontiguousarray(product(vectors.T, product(cross + cross.T, vectors)))

    def _iteration(self, tolerance: float) -> dict[str, Any]:
        coordinates = self.coordinates
        return {
            "vectors": coordinates.vectors,
            "mean": coordinates.mean,
            "border": coordinates.border,
            "dense": coordinates.dense,
            "tolerance": min(tolerance, self.tolerance),
            "max_iterations": CG_ITERATIONS,
        }


@dataclass(frozen=True)
class LinearisedSweep:
    """The second derivatives of half the objective at `users` and `items`, with the users to be eliminated: A and B
    are block diagonal, the rows' normal matrices, and C = ∂²/∂users ∂items.

    user_inverse: A⁻¹, which knows the items; item_inverse: B⁻¹, which knows the users.
    loose:        how many times the tolerances are wider.
    """

    user_inverse: NormalInverse
    item_inverse: NormalInverse
    loose: float = 1.0

    def follow(self, direction: SideFactors, expected: float | None) -> tuple[float, SideFactors]:
        """qᵀ Cᵀ A⁻¹ C q, which is about as expected, and A⁻¹ C q."""
        return self.user_inverse.followed(
            self.item_inverse.other, direction, tolerance=CG_TOLERANCE * self.loose, expected=expected
        )

    def back(self, follower: SideFactors, expected: float) -> tuple[Array, SideFactors]:
        """Cᵀ p and B⁻¹ Cᵀ p, whose product is about as expected, or more."""
        return self.item_inverse.coupled(
            self.user_inverse.other, follower, tolerance=ITEM_TOLERANCE * self.loose, expected=expected
        )


def stacked(side: SideFactors, objective: Objective) -> Array:
    """(n, k), or (n, k + 1) with the bias last in a model with biases."""
    return np.concatenate([side.factors, side.bias[:, None]], axis=1) if objective.biases else side.factors
