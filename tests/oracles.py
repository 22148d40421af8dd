"""Plain NumPy twins of the kernels, in float64: slow, and short enough to be checked by eye."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RowProblem:
    """One side's rows as the kernels see them; the fields are those of rows.h, in float64."""

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    values: NDArray[np.float32]
    other: Array
    other_bias: Array | None
    with_bias: bool
    confidence: tuple[float, float]
    target: tuple[float, float]
    background: float
    reg: float
    reg_by_count: bool

    @property
    def n_rows(self) -> int:
        return len(self.indptr) - 1

    def entries(self, row: int) -> tuple[Array, Array, Array]:
        """x (n, d), c (n,) and t (n,) of a row."""
        at = slice(self.indptr[row], self.indptr[row + 1])
        index, value = self.indices[at], self.values[at].astype(np.float64)
        x = self.other[index]
        if self.with_bias:
            x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
        c = self.confidence[0] * value + self.confidence[1]
        t = self.target[0] * value + self.target[1]
        if self.other_bias is not None:
            t = t - self.other_bias[index]
        return x, c, t

    def dense(self) -> Array:
        d = self.other.shape[1] + self.with_bias
        return self.background * (self.other.T @ self.other) if self.background else np.zeros((d, d))

    def ridge(self, row: int) -> float:
        n = self.indptr[row + 1] - self.indptr[row]
        return float(self.reg * (n if self.reg_by_count else 1))

    def loss(self, row: int, p: Array) -> float:
        x, c, t = self.entries(row)
        prediction = x @ p
        unobserved = p @ self.dense() @ p - self.background * float(prediction @ prediction)
        return float(c @ (t - prediction) ** 2 + unobserved + self.ridge(row) * p @ p)

    def system(self, row: int) -> tuple[Array, Array]:
        x, c, t = self.entries(row)
        lhs = self.dense() + x.T @ ((c - self.background)[:, None] * x)
        return lhs + self.ridge(row) * np.eye(len(lhs)), x.T @ (c * t)

    def solve(self, row: int) -> Array:
        lhs, rhs = self.system(row)
        if self.indptr[row] == self.indptr[row + 1]:
            return np.zeros(len(lhs))
        return np.linalg.solve(lhs, rhs)

    def half_gradient(self, row: int, p: Array) -> Array:
        lhs, rhs = self.system(row)
        return lhs @ p - rhs

    def half_coupling(self, row: int, p: Array, direction: Array, direction_bias: Array | None) -> Array:
        """How half_gradient(row, p) changes when the other side moves along the direction, to first order."""
        step = 1e-6

        def at(sign: float) -> Array:
            bias = self.other_bias
            if bias is not None and direction_bias is not None:
                bias = bias + sign * step * direction_bias
            return replace(self, other=self.other + sign * step * direction, other_bias=bias).half_gradient(row, p)

        return (at(1) - at(-1)) / (2 * step)
