"""The second-order unlearning step: what T training sweeps would have made of the data without the records.

Near the trained factors a sweep is a linear iteration. With the normal matrices A_u and B_i of the two half-sweeps and
the coupling C, eliminating the users leaves S = B − Cᵀ A⁻¹ C, a sweep is x ← B⁻¹ b + (I − B⁻¹ S) x, and T of them give

    x = f_T(B⁻¹ S) B⁻¹ b,    f_T(s) = (1 − (1 − s)^T) / s

for a right-hand side b that the removal makes: the step solves for exactly what T sweeps absorb of it, no more and no
less. B⁻¹ S is self-adjoint in the B inner product, so that Lanczos with a few vectors gives f_T of it (Golub & Meurant
2010); f_T is a polynomial, and a slightly negative eigenvalue does it no harm.

The step moves the items. Whoever takes it ends with one exact sweep, users then items: a checkpoint's users were
solved against the items before its last half-sweep, and a model that ends otherwise predicts otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgetcli import _native
from forgetcli.als import half_sweep, row_arguments
from forgetcli.csr import Csr
from forgetcli.errors import NumericalError
from forgetcli.interactions import Interactions, Remaining, Removal
from forgetcli.model import Array, Factors, SideFactors
from forgetcli.objective import Objective

MAX_VECTORS = 12
"""Krylov vectors at most. f_T for T of 8 to 40 is resolved by 3 to 6; more would cost as much as a retrain."""

BRACKET = 0.02
"""Stop when the Gauss and the Gauss–Radau value of bᵀ x are within this fraction: the step's effect on the forgotten
predictions is then known to 2 % of itself, well below what two retrains differ by."""

KEPT_BYTES = 6 << 30
"""Keep the rows' Cholesky factors, about (n_users + n_items) · k²/2 numbers, if they take at most so many bytes. If
not, each use forms and factors the row again: as much arithmetic as a half-sweep, no memory but a few arrays of the
factors' size."""

_DENSE_SHARE = 0.5
"""If the touched users hold more than this share of the entries, the right-hand side goes over all entries, which
needs no view of its own."""


@dataclass(frozen=True)
class ResponseStep:
    """The step, taken.

    items:   the item side of the remaining data, moved.
    vectors: the Krylov vectors that it took; 0 where the request asks nothing of the items.
    bracket: how far the Gauss–Radau value of bᵀ x lay from the Gauss value at the end, as a fraction.
    """

    items: SideFactors
    vectors: int
    bracket: float


def response_step(
    data: Interactions,
    removal: Removal,
    remaining: Remaining,
    factors: Factors,
    objective: Objective,
    *,
    sweeps: int,
    max_vectors: int = MAX_VECTORS,
    bracket: float = BRACKET,
    kept_bytes: int = KEPT_BYTES,
    threads: int = 0,
    on_vector: Callable[[int], None] | None = None,
) -> ResponseStep:
    """Moves the items to where `sweeps` training sweeps on the remaining data would have put them, to first order.

    data, removal, remaining: the interactions before, what goes, and what is left.
    factors:                  of the model that was trained on `data`.
    objective:                that of `data`. Its mean stays for the step; the exact sweep afterwards takes the new
                              one, which the solved side absorbs.
    sweeps:                   T, at least 1, of which the exact sweep that follows is the last.
    max_vectors, bracket:     when to stop; see MAX_VECTORS and BRACKET.
    kept_bytes:               see KEPT_BYTES.
    on_vector:                called with the number of each Krylov vector.

    Raises NumericalError when a system cannot be solved.
    """
    items = _take(factors.item, remaining.item_rows)
    touched = TouchedUsers.of(data, removal, remaining, factors, objective, threads)
    keep = _kept_size(remaining.interactions, items, objective) <= kept_bytes
    users = half_sweep(remaining.interactions.by_user, items, objective, keep=keep, threads=threads)
    after = _replace_rows(touched.untouched_users, touched.kept_rows, _take(users.side, touched.kept_rows))
    rhs = touched.item_pull(remaining.interactions, items, after, objective, threads)
    system = System(
        users=LinearisedSide(remaining.interactions.by_user, after, items, objective, users.kept, threads),
        items=LinearisedSide.formed(remaining.interactions.by_item, items, after, objective, keep, threads),
    )
    solution = filtered_solution(system, rhs, sweeps - 1, max_vectors=max_vectors, bracket=bracket, on_vector=on_vector)
    if solution is None:
        return ResponseStep(items, 0, 0.0)
    direction, vectors, reached = solution
    moved = SideFactors(items.factors + direction.factors, items.bias + direction.bias)
    return ResponseStep(moved, vectors, reached)


@dataclass(frozen=True)
class TouchedUsers:
    """The users that lose records, solved exactly on the data before: with their solution on what remains, this takes
    the strongly non-linear part of the change exactly, and cancels the drift that any extra solve brings.

    old_rows:        their rows in the data before; `before` are their solutions there.
    kept_rows:       the rows, in what remains, of those that are left, which are old_rows[is_kept].
    users_before:    all users of the data before, the touched ones as in `before`.
    untouched_users: all users of what remains, as they were trained.
    forgotten:       items before × touched users: the records that go.
    """

    old_rows: NDArray[np.int64]
    kept_rows: NDArray[np.int64]
    is_kept: NDArray[np.bool_]
    before: SideFactors
    users_before: SideFactors
    untouched_users: SideFactors
    forgotten: Csr
    items_before: SideFactors
    remaining: Remaining

    @classmethod
    def of(
        cls,
        data: Interactions,
        removal: Removal,
        remaining: Remaining,
        factors: Factors,
        objective: Objective,
        threads: int,
    ) -> TouchedUsers:
        owners = data.by_user.rows_of(removal.entries)
        old_rows = np.unique(owners)
        before = half_sweep(data.by_user, factors.item, objective, rows=old_rows, threads=threads).side
        at = np.searchsorted(remaining.user_rows, old_rows)
        is_kept = remaining.user_rows[np.minimum(at, len(remaining.user_rows) - 1)] == old_rows
        return cls(
            old_rows,
            at[is_kept],
            is_kept,
            before,
            _replace_rows(factors.user, old_rows, before),
            _take(factors.user, remaining.user_rows),
            _entries(data.by_user, removal.entries, np.searchsorted(old_rows, owners), len(old_rows)).transpose(),
            factors.item,
            remaining,
        )

    def item_pull(
        self, left: Interactions, items: SideFactors, after: SideFactors, objective: Objective, threads: int
    ) -> Array:
        """b (n_items, k or k + 1): half of ∇_V f(before) − ∇_V f(after), at the trained items. Entries of untouched
        users are in both and cancel, so that only those of touched ones are gone over."""
        entries = left.by_user.entries_of_rows(self.kept_rows)
        if len(entries) > _DENSE_SHARE * len(left):
            view = left.by_item
            sides = _take(self.users_before, self.remaining.user_rows), after
        else:
            counts = np.diff(left.by_user.indptr)[self.kept_rows]
            owners = np.repeat(np.arange(len(self.kept_rows)), counts)
            view = _entries(left.by_user, entries, owners, len(self.kept_rows)).transpose()
            sides = _take(self.before, np.flatnonzero(self.is_kept)), _take(after, self.kept_rows)
        lossy = replace(objective, reg=0.0)
        pull = _half_gradient(view, items, sides[0], lossy, self.users_before, threads)
        pull -= _half_gradient(view, items, sides[1], lossy, after, threads)
        gone = _half_gradient(self.forgotten, self.items_before, self.before, lossy, None, threads)
        pull += gone[self.remaining.item_rows]
        lost = self.forgotten.row_counts()[self.remaining.item_rows]
        if objective.reg_by_count:
            pull += objective.reg * lost[:, None] * _stacked(items, objective)
        return pull.astype(items.factors.dtype, copy=False)


@dataclass(frozen=True)
class LinearisedSide:
    """One half of the linearised sweep: the coupling into this side's rows, and their normal matrices' inverses.

    kept: the rows' Cholesky factors, or None where they are formed anew at each use.
    """

    view: Csr
    own: SideFactors
    other: SideFactors
    objective: Objective
    kept: Array | None
    threads: int

    @classmethod
    def formed(
        cls, view: Csr, own: SideFactors, other: SideFactors, objective: Objective, keep: bool, threads: int
    ) -> LinearisedSide:
        kept = half_sweep(view, other, objective, keep=True, threads=threads).kept if keep else None
        return cls(view, own, other, objective, kept, threads)

    def coupled(self, direction: SideFactors) -> Array:
        """(n, k or k + 1): how this side's half gradient changes along a direction of the other side."""
        arguments = row_arguments(self.view, self.other, self.objective, self.threads)
        for name in ("gram", "reg", "reg_by_count"):
            del arguments[name]
        return _native.couple_rows(
            **arguments,
            direction_gram=self._direction_gram(direction),
            factors=self.own.factors,
            bias=self.own.bias,
            direction=direction.factors,
            direction_bias=direction.bias if self.objective.biases else None,
            threads=self.threads,
        )

    def solved(self, rhs: Array) -> SideFactors:
        """Each row's normal matrix, inverted, times its right-hand side."""
        if self.kept is None:
            return half_sweep(self.view, self.other, self.objective, rhs=rhs, threads=self.threads).side
        return SideFactors(*_native.apply_kept(self.kept, rhs, self.own.factors.shape[1], threads=self.threads))

    def _direction_gram(self, direction: SideFactors) -> Array | None:
        """w0 Σ (x δᵀ + δ xᵀ) over the other side's rows: the corner of the Gram matrix of [x δ]."""
        if self.objective.background == 0:
            return None
        k = direction.factors.shape[1]
        both = _native.gram(np.concatenate([self.other.factors, direction.factors], axis=1), threads=self.threads)
        cross = both[:k, k:] * both.dtype.type(self.objective.background)
        return np.ascontiguousarray(cross + cross.T)


@dataclass(frozen=True)
class System:
    """The second derivatives at the touched users' solutions, users to be eliminated."""

    users: LinearisedSide
    items: LinearisedSide

    def schur(self, direction: SideFactors, with_b: Array) -> Array:
        """S q, given q and B q."""
        response = self.users.solved(self.users.coupled(direction))
        return with_b - self.items.coupled(response)


def filtered_solution(
    system: System,
    rhs: Array,
    sweeps: int,
    *,
    max_vectors: int,
    bracket: float,
    on_vector: Callable[[int], None] | None = None,
) -> tuple[SideFactors, int, float] | None:
    """x = f_T(B⁻¹ S) B⁻¹ b for T = `sweeps`, by Lanczos in the B inner product with full re-orthogonalisation; with
    the number of vectors and the bracket at the end. None where x = 0: b = 0, or T = 0."""
    q = system.items.solved(rhs)
    norm = np.sqrt(max(_inner(q, rhs), 0.0))
    if norm == 0 or sweeps == 0:
        return None
    basis = [_scaled(q, 1 / norm)]
    b_basis = [rhs / rhs.dtype.type(norm)]
    diagonal: list[float] = []
    off: list[float] = []
    while True:
        if on_vector:
            on_vector(len(basis))
        image = system.schur(basis[-1], b_basis[-1])
        diagonal.append(_inner(basis[-1], image))
        residual = image
        for x, bx in zip(basis, b_basis, strict=True):
            residual = residual - bx * bx.dtype.type(_inner(x, residual))
        z = system.items.solved(residual)
        off.append(float(np.sqrt(max(_inner(z, residual), 0.0))))
        weights, reached = _filter(np.array(diagonal), np.array(off), sweeps)
        exhausted = off[-1] <= np.finfo(residual.dtype).eps * abs(diagonal[0])
        if reached < bracket or exhausted or len(basis) == max_vectors:
            return _combined(basis, weights * norm), len(basis), reached
        basis.append(_scaled(z, 1 / off[-1]))
        b_basis.append(residual / residual.dtype.type(off[-1]))


def _filter(diagonal: NDArray[np.float64], off: NDArray[np.float64], sweeps: int) -> tuple[NDArray[np.float64], float]:
    """The weights of the Lanczos vectors, f_T(T_m) e₁, and how far f_T's Gauss and Gauss–Radau values lie apart.

    e₁ᵀ f_T(T_m) e₁ is the Gauss rule for bᵀ x / ‖B⁻¹ b‖²_B, and T_m extended by a node at 0, where f_T = T is
    largest, the Gauss–Radau rule: the two bound it from below and from above (Golub & Meurant 2010, ch. 6).
    """
    ritz, vectors = _tridiagonal(diagonal, off[:-1])
    weights = vectors @ (_absorbed(ritz, sweeps) * vectors[0])
    gauss = float(weights[0])
    # The last diagonal element that gives the extended matrix the eigenvalue 0: off² · (T_m⁻¹)_mm.
    with np.errstate(divide="ignore", invalid="ignore"):
        corner = float(off[-1] ** 2 * np.sum(vectors[-1] ** 2 / ritz))
    if not np.isfinite(corner) or not np.isfinite(gauss):
        return weights, np.inf
    extended, extended_vectors = _tridiagonal(np.append(diagonal, corner), off)
    radau = float(np.sum(_absorbed(extended, sweeps) * extended_vectors[0] ** 2))
    return weights, abs(radau - gauss) / abs(gauss) if gauss else np.inf


def _absorbed(s: NDArray[np.float64], sweeps: int) -> NDArray[np.float64]:
    """f_T(s) = (1 − (1 − s)^T) / s, which is T at 0; by expm1 and log1p where s is small, so as to keep digits."""
    small = np.abs(s) < 0.5
    inner = np.where(small & (s != 0), s, 0.25)
    outer = np.where(small, 0.75, s)
    near = -np.expm1(sweeps * np.log1p(-inner)) / inner
    far = (1 - (1 - outer) ** sweeps) / outer
    return np.where(s == 0, float(sweeps), np.where(small, near, far))


def _tridiagonal(
    diagonal: NDArray[np.float64], off: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(off, 1) + np.diag(off, -1))
    return values, vectors


def _half_gradient(
    view: Csr, own: SideFactors, other: SideFactors, objective: Objective, everyone: SideFactors | None, threads: int
) -> Array:
    """Half the loss's gradient by `own` over the entries of `view`; the unobserved pairs' part is that with
    `everyone` on the other side, or none."""
    arguments: dict[str, Any] = row_arguments(view, other, objective, threads)
    if objective.background > 0:
        arguments["gram"] = None
        if everyone is not None:
            gram = _native.gram(everyone.factors, threads=threads)
            arguments["gram"] = gram * gram.dtype.type(objective.background)
    gradient, _ = _native.row_gradients(**arguments, factors=own.factors, bias=own.bias, threads=threads)
    return gradient


def _entries(view: Csr, entries: NDArray[np.int64], owners: NDArray[np.int64], n_rows: int) -> Csr:
    """The given entries of a view as a matrix of their own, entry j in row owners[j]; the columns stay."""
    indptr = np.searchsorted(owners, np.arange(n_rows + 1)).astype(np.int64)
    return Csr(indptr, view.indices[entries], view.values[entries], view.n_columns)


def _take(side: SideFactors, rows: NDArray[np.int64]) -> SideFactors:
    return side if len(rows) == len(side) else SideFactors(side.factors[rows], side.bias[rows])


def _replace_rows(side: SideFactors, rows: NDArray[np.int64], by: SideFactors) -> SideFactors:
    factors, bias = side.factors.copy(), side.bias.copy()
    factors[rows], bias[rows] = by.factors, by.bias
    return SideFactors(factors, bias)


def _stacked(side: SideFactors, objective: Objective) -> Array:
    """(n, k), or (n, k + 1) with the bias last."""
    return np.concatenate([side.factors, side.bias[:, None]], axis=1) if objective.biases else side.factors


def _inner(side: SideFactors, stacked: Array) -> float:
    """Σ of the products of a direction's elements and those of a stacked one, in float64."""
    k = side.factors.shape[1]
    total = float(np.einsum("nk,nk->", side.factors, stacked[:, :k], dtype=np.float64))
    if stacked.shape[1] > k:
        total += float(np.einsum("n,n->", side.bias, stacked[:, k], dtype=np.float64))
    return total


def _scaled(side: SideFactors, factor: float) -> SideFactors:
    scale = side.factors.dtype.type(factor)
    return SideFactors(side.factors * scale, side.bias * scale)


def _combined(basis: list[SideFactors], weights: NDArray[np.float64]) -> SideFactors:
    factors, bias = np.zeros_like(basis[0].factors), np.zeros_like(basis[0].bias)
    for side, weight in zip(basis, weights, strict=True):
        scale = factors.dtype.type(weight)
        factors += side.factors * scale
        bias += side.bias * scale
    if not (np.isfinite(factors).all() and np.isfinite(bias).all()):
        raise NumericalError("the second-order step is not finite", hint="use --method sweeps")
    return SideFactors(factors, bias)


def _kept_size(left: Interactions, items: SideFactors, objective: Objective) -> int:
    """Bytes of the Cholesky factors of all rows, about d²/2 numbers each."""
    d = items.factors.shape[1] + objective.biases
    return int((left.n_users + left.n_items) * d * (d + 16) // 2 * items.factors.dtype.itemsize)
