"""A sweep, linearised: the coupling of the two sides, and the inverses of their rows' normal matrices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from forgetcli import _native
from forgetcli.als import half_sweep, row_arguments
from forgetcli.csr import Csr
from forgetcli.interactions import Interactions
from forgetcli.model import Array, SideFactors
from forgetcli.objective import Objective


class Inverse(Protocol):
    """The inverses of all normal matrices of one side."""

    def solve(self, rhs: Array) -> SideFactors:
        """Each row's inverse times its stacked right-hand side (n, k) or (n, k + 1)."""


@dataclass(frozen=True)
class KeptInverse:
    """Cholesky factors that a half-sweep kept: `kept_bytes` of memory, and no arithmetic to speak of."""

    kept: Array
    rank: int
    threads: int

    def solve(self, rhs: Array) -> SideFactors:
        return SideFactors(*_native.apply_kept(self.kept, rhs, self.rank, threads=self.threads))


@dataclass(frozen=True)
class FormedInverse:
    """Normal matrices that are formed and factored anew at each use: no memory, the arithmetic of a half-sweep."""

    view: Csr
    other: SideFactors
    objective: Objective
    threads: int

    def solve(self, rhs: Array) -> SideFactors:
        return half_sweep(self.view, self.other, self.objective, rhs=rhs, threads=self.threads).side


@dataclass(frozen=True)
class SharedInverse:
    """One eigen-decomposition for all rows: row a's matrix is taken for n_a · M + G + λ s_a I, with M the mean of
    w x xᵀ over all entries and G the unobserved pairs' part. In the eigenvectors of the pencil it is diagonal.

    vectors: (d, d), each a column.
    inverse: (n, d), the inverses of each row's diagonal.
    rank:    k.
    """

    vectors: NDArray[np.float64]
    inverse: NDArray[np.float64]
    rank: int

    def solve(self, rhs: Array) -> SideFactors:
        dtype = rhs.dtype.type
        solved = ((rhs @ self.vectors.astype(dtype)) * self.inverse.astype(dtype)) @ self.vectors.T.astype(dtype)
        return unstacked(solved, self.rank)

    @classmethod
    def of(cls, view: Csr, other: SideFactors, objective: Objective) -> SharedInverse | None:
        """view: by the side that is inverted; its columns are the rows of `other`. None where the shared matrix is
        not positive definite, as confidences below the unobserved pairs' weight may make it."""
        x = stacked(other, objective, constant=True).astype(np.float64)
        slope, offset = objective.confidence
        columns = np.bincount(view.indices, weights=view.values, minlength=view.n_columns)
        weights = slope * columns + (offset - objective.background) * view.column_counts()
        mean = (x * weights[:, None]).T @ x / max(view.nnz, 1)
        counts = view.row_counts().astype(np.float64)[:, None]
        ridge = objective.reg * np.eye(len(mean))
        dense = objective.background * (x.T @ x)
        try:
            if objective.reg_by_count:  # n (M + λ I) + G
                values, vectors = _pencil(dense, mean + ridge)
                diagonal = counts + values
            else:  # n M + (G + λ I)
                values, vectors = _pencil(mean, dense + ridge)
                diagonal = counts * values + 1.0
        except np.linalg.LinAlgError:
            return None
        if diagonal.min() <= 0:
            return None
        return cls(vectors, 1 / diagonal, other.factors.shape[1])


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
    user_inverse: Inverse
    item_inverse: Inverse
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
        exactly=False,
        half=True,
        threads=threads,
    )


def stacked(side: SideFactors, objective: Objective, *, constant: bool = False) -> Array:
    """(n, k), or (n, k + 1) with the bias last in a model with biases; `constant` puts 1 in the bias' place: what the
    other side's parameters are multiplied with."""
    if not objective.biases:
        return side.factors
    last = np.ones_like(side.bias) if constant else side.bias
    return np.concatenate([side.factors, last[:, None]], axis=1)


def unstacked(matrix: Array, rank: int) -> SideFactors:
    """The reverse of `stacked`: (n, k) or (n, k + 1) as factors of k columns and biases, zero without a column."""
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


def _pencil(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Eigenvalues and eigenvectors E of a E = b E diag(values), Eᵀ b E = I; b is positive definite."""
    root = np.linalg.cholesky(b)
    half = np.linalg.solve(root, np.linalg.solve(root, a).T)
    values, vectors = np.linalg.eigh((half + half.T) / 2)
    return values, np.linalg.solve(root.T, vectors)
