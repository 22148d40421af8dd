"""Products that wake no other threads.

`@` hands them to BLAS, whose threads, once awake, wait for more in a busy loop: for some 20 ms they take processors
from whatever comes next, and more of them than `threads` allows. Of sweeps of a tenth of a second that was a third.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

_ONE_THREAD = 1 << 18
"""Multiplications: OpenBLAS does a matrix product of so many in the thread that asks for it."""

_Number = TypeVar("_Number", np.float32, np.float64, np.floating[Any])


def dot(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Σ x y, in NumPy's own loop."""
    return float(np.einsum("n,n->", x, y, optimize=False))


def product(a: NDArray[_Number], b: NDArray[_Number]) -> NDArray[_Number]:
    """The product of two matrices, some columns at a time; of large ones in NumPy's own loop."""
    columns = _ONE_THREAD // max(a.size, 1)
    if columns < 2:
        return np.asarray(np.einsum("ij,jk->ik", a, b, optimize=False))
    parts = [a @ b[:, begin : begin + columns] for begin in range(0, b.shape[1], columns)]
    return np.concatenate(parts, axis=1)
