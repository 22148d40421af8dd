"""What T sweeps of a linear iteration absorb, by Lanczos: x = f_T(B⁻¹ S) B⁻¹ b.

One sweep of the iteration is x ← B⁻¹ b + (I − B⁻¹ S) x, so that T sweeps from 0 give f_T(s) = (1 − (1 − s)^T) / s at
each eigenvalue s of B⁻¹ S, which is self-adjoint in the B inner product. Sweeps with momentum (see `momentum`) absorb
more, and what they absorb is a polynomial in s as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from forgetcli import _native
from forgetcli.model import Array, SideFactors, scaled

MAX_VECTORS = 8
"""Krylov vectors at most: f_T for T of 8 to 40 is resolved by 2 to 6."""

BRACKET = 0.005
"""Stop when Gauss' and Gauss–Radau's values of bᵀ x, the step's effect on the forgotten predictions, lie within this
fraction of each other: what retrains differ by among themselves is larger on every data set that was measured."""

HALF_WAY = 2.5
"""So much looser the bounds may be where the upper one is that of a vector less, before the users' half of the next has
become an items' half: there the upper bound was found to fall by a factor of 4 to 8."""

_EXHAUSTED = 8.0
"""A new vector's norm, in units of the dtype's rounding of the first one's, below which it holds nothing else."""

_BEYOND, _HALVINGS = 1e6, 30
"""How far to look for what lies between the bounds, and how exactly: neither is worth more."""

_BLOCK_ROWS = 1 << 12
"""Rows that are added up at once: what that takes besides stays in a core's cache."""


class System(Protocol):
    """B, and S = B − Cᵀ A⁻¹ C: the users, with the normal matrices A, are eliminated."""

    def follow(self, direction: SideFactors, expected: float | None) -> tuple[float, SideFactors]:
        """qᵀ Cᵀ A⁻¹ C q; and A⁻¹ C q, by which the users follow the items. expected: about the former, or less, where
        it is known; what hardly counts in it need not be exact."""

    def back(self, follower: SideFactors, expected: float) -> tuple[Array, SideFactors]:
        """Cᵀ times what the users follow by; and B⁻¹ times that. expected: about the product of the two, or less."""


@dataclass(frozen=True)
class Filtered:
    """The solution.

    items:   x, the change of the items' parameters; with momentum after the last sweep, carried on by that.
    norm:    ‖x‖ in the B inner product.
    vectors: how many Krylov vectors it took.
    bracket: how far apart the two values of bᵀ x were at the end, as a fraction.
    """

    items: SideFactors
    norm: float
    vectors: int
    bracket: float
    _followers: list[SideFactors]
    _earlier: NDArray[np.float64]
    _threads: int

    def users_from(self, users: SideFactors) -> SideFactors:
        """The users of the T-th sweep: less A⁻¹ C x', with x' the solution for T − 1, carried on by momentum. Only
        where they were asked for."""
        return _combined([users, *self._followers], np.array([1.0, *-self._earlier]), self._threads)


def filtered_solution(
    system: System,
    rhs: Array,
    first: SideFactors,
    sweeps: int,
    *,
    momentum: Sequence[float] = (),
    max_vectors: int = MAX_VECTORS,
    bracket: float = BRACKET,
    with_users: bool = True,
    threads: int = 0,
    on_vector: Callable[[int], None] | None = None,
) -> Filtered | None:
    """x for T = `sweeps`, with full re-orthogonalisation; None where x = 0, since T = 0 or b is, as far as this
    precision tells, and where the first product overflows.

    rhs:        b, (n, k) or (n, k + 1) with the biases last.
    first:      B⁻¹ b.
    momentum:   see `absorbed`.
    with_users: whether `users_from` will be called. The last vector's users need not be found out where it is not.
    """
    norm = np.sqrt(max(inner(first, rhs), 0.0))
    if not norm > np.finfo(rhs.dtype).tiny or sweeps <= 0:  # nor can less be scaled to 1
        return None
    basis, b_basis = [scaled(first, 1 / norm)], [_divided(rhs, norm, threads)]
    followers: list[SideFactors] = []
    diagonal: list[float] = []
    off: list[float] = []
    followed: float | None = None
    bounds = _Bounds(lambda s: absorbed(s, sweeps, momentum))
    while True:
        if on_vector:
            on_vector(len(basis))
        followed, follower = system.follow(basis[-1], followed)
        followers.append(follower)
        diagonal.append(inner(basis[-1], b_basis[-1]) - followed)
        if not np.isfinite(diagonal[-1]):  # too large for this precision: the vectors before have to do
            del basis[-1], followers[-1], diagonal[-1]
            break
        bounds.below(diagonal, off)
        several = len(basis) > 1  # the first rule is exact for T = 2, the vector is not
        loose = HALF_WAY if bounds.from_above else 1.0
        if (several and bounds.apart < loose * bracket) or len(basis) >= min(max_vectors, sweeps):
            break
        residual, z = _orthogonal(*system.back(follower, followed**2), basis, b_basis, threads)
        off.append(float(np.sqrt(max(inner(z, residual), 0.0))))
        if not np.isfinite(off[-1]):
            break
        bounds.above(diagonal, off)
        exhausted = off[-1] < _EXHAUSTED * np.finfo(rhs.dtype).eps * abs(diagonal[0])
        if exhausted or (several and bounds.apart < bracket):
            break
        basis.append(scaled(z, 1 / off[-1]))
        if not with_users and bounds.from_above and bounds.apart < 2 * bracket:
            diagonal.append(bounds.midway(diagonal, off))
            break
        b_basis.append(_divided(residual, off[-1], threads))
        del residual, z
    if not basis:
        return None
    ritz, vectors = _tridiagonal(diagonal, off[: len(basis) - 1])
    weights = vectors @ (absorbed(ritz, sweeps, momentum) * vectors[0]) * norm
    earlier = vectors @ (absorbed(ritz, sweeps - 1, momentum[:sweeps]) * vectors[0]) * norm
    norm = float(np.linalg.norm(weights))
    items = _combined(basis, weights, threads)
    return Filtered(items, norm, len(basis), bounds.apart, followers, earlier, threads)


def _orthogonal(
    back: Array, solved: SideFactors, basis: list[SideFactors], b_basis: list[Array], threads: int
) -> tuple[Array, SideFactors]:
    """S q and B⁻¹ S q, q the last of the basis, less their parts along it; from Cᵀ A⁻¹ C q and B⁻¹ times that."""
    residual = np.subtract(b_basis[-1], back, out=back)
    parts = np.zeros(len(basis))
    for _ in range(2):  # twice is enough (Parlett 1998, ch. 6)
        for j, (x, bx) in enumerate(zip(basis, b_basis, strict=True)):
            part = inner(x, residual)
            _add(residual, bx, -part)
            parts[j] += part
    z = _combined([basis[-1], solved, *basis], np.array([1.0, -1.0, *-parts]), threads)
    return residual, z


def absorbed(s: NDArray[np.float64], sweeps: int, momentum: Sequence[float] = ()) -> NDArray[np.float64]:
    """f_T(s) = (1 − (1 − s)^T) / s = Σ_{t<T} (1 − s)^t.

    Negative curvature, which a problem that is not convex and was stopped early may have, is taken for no more than
    −1/f_T(0), which is −1/T: f_T(s) stays below (e − 1) T.

    momentum: the weights β before each of the T sweeps, or else none; the first one's takes up the movement of a sweep
              that was done exactly. One more of them carries on what the last sweep did.
    """
    if sweeps == 0:
        return np.zeros_like(s)
    if momentum:
        return _with_momentum(np.maximum(s, -1.0 / _with_momentum(np.zeros(1), sweeps, momentum)), sweeps, momentum)
    s = np.maximum(s, -1.0 / sweeps)
    small = np.abs(s) < 0.5
    inner_s = np.where(small & (s != 0), s, 0.25)
    outer_s = np.where(small, 0.75, s)
    near = -np.expm1(sweeps * np.log1p(-inner_s)) / inner_s
    far = (1 - (1 - outer_s) ** sweeps) / outer_s
    return np.where(s == 0, float(sweeps), np.where(small, near, far))


def _with_momentum(s: NDArray[np.float64], sweeps: int, weights: Sequence[float]) -> NDArray[np.float64]:
    """x ← 1 + (1 − s) y with y = x + β (x − x before). Before the first sweep x is 0 and came from −1 / (1 − s), whence
    one sweep without momentum leads to 0."""
    x, change = np.full_like(s, 1 + weights[0]), np.full_like(s, 1 + weights[0])
    for t in range(1, sweeps):
        after = 1 + (1 - s) * (x + weights[t] * change)
        x, change = after, after - x
    return x + weights[sweeps] * change if len(weights) > sweeps else x


def inner(side: SideFactors, stacked: Array) -> float:
    """Σ of the products of a direction's elements and those of a stacked one, in float64."""
    return _native.inner_product(factors=side.factors, bias=side.bias, stacked=stacked)


class _Bounds:
    """Gauss' and Gauss–Radau's values of bᵀ x / ‖B⁻¹ b‖²_B.

    e₁ᵀ f_T(T_m) e₁ is the Gauss rule, and T_m extended by a node at 0, where f_T is largest, the Gauss–Radau rule:
    they bound the value from below and from above (Golub & Meurant 2010, ch. 6) while S is positive. Where it is not,
    the change from one vector to the next stands in.

    apart: how far the Gauss value is from the truth at most, as a fraction of it.
    """

    def __init__(self, absorbed: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> None:
        self._absorbed = absorbed
        self._gauss: float | None = None
        self._radau: float | None = None
        self._corner = 0.0
        self.apart = np.inf

    @property
    def from_above(self) -> bool:
        """Whether there is an upper bound."""
        return self._radau is not None

    def below(self, diagonal: list[float], off: list[float]) -> None:
        """A further element of the diagonal is known."""
        ritz, vectors = _tridiagonal(diagonal, off)
        before, self._gauss = self._gauss, float(self._absorbed(ritz) @ vectors[0] ** 2)
        if ritz[0] > 0 and self._radau is not None:
            self.apart = abs(self._radau - self._gauss) / abs(self._gauss)
        else:
            self._radau = None
            self.apart = np.inf if before is None else abs(self._gauss - before) / abs(self._gauss)

    def above(self, diagonal: list[float], off: list[float]) -> None:
        """And a further one beside it."""
        ritz, vectors = _tridiagonal(diagonal, off[:-1])
        if ritz[0] <= 0 or self._gauss is None:
            return
        self._corner = float(off[-1] ** 2 * np.sum(vectors[-1] ** 2 / ritz))
        self._radau = self._value([*diagonal, self._corner], off)
        self.apart = abs(self._radau - self._gauss) / abs(self._gauss)

    def midway(self, diagonal: list[float], off: list[float]) -> float:
        """The next element of the diagonal with which the value is half way between the two, and so no further from the
        truth than half of what they are apart. It is at least Gauss–Radau's; one without bound gives Gauss' value."""
        assert self._gauss is not None
        assert self._radau is not None
        wanted = (self._gauss + self._radau) / 2
        low, step = self._corner, max(abs(self._corner), off[-1], diagonal[-1])
        while step < _BEYOND * diagonal[0] and self._value([*diagonal, low + step], off) > wanted:
            step *= 2
        high = low + step
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if self._value([*diagonal, middle], off) > wanted else (low, middle)
        return high

    def _value(self, diagonal: list[float], off: list[float]) -> float:
        ritz, vectors = _tridiagonal(diagonal, off)
        return float(self._absorbed(ritz) @ vectors[0] ** 2)


def _tridiagonal(diagonal: list[float], off: list[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(off, 1) + np.diag(off, -1))
    return values, vectors


def _divided(stacked: Array, by: float, threads: int) -> Array:
    return _native.combination([stacked], [1 / by], threads)


def _combined(sides: list[SideFactors], weights: NDArray[np.float64], threads: int) -> SideFactors:
    factors = _native.combination([side.factors for side in sides], weights.tolist(), threads)
    bias = np.zeros_like(sides[0].bias)
    for side, weight in zip(sides, weights, strict=True):
        bias += side.bias * bias.dtype.type(weight)
    return SideFactors(factors, bias)


def _add(to: Array, what: Array, weight: float) -> None:
    """to += what · weight, in place."""
    for begin in range(0, len(to), _BLOCK_ROWS):
        to[begin : begin + _BLOCK_ROWS] += what[begin : begin + _BLOCK_ROWS] * to.dtype.type(weight)
