"""Products in NumPy's own loops.

`@` hands them to BLAS, whose threads, once awake, wait for more in a busy loop: for some 20 ms they take processors
from whatever comes next, and more of them than `threads` allows. Of sweeps of a tenth of a second that was a third.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

_Number = TypeVar("_Number", np.float32, np.float64, np.floating[Any])


def dot(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Σ x y."""
    return float(np.einsum("n,n->", x, y, optimize=False))


def product(a: NDArray[_Number], b: NDArray[_Number]) -> NDArray[_Number]:
    """The matrix product of two small matrices."""
    return np.asarray(np.einsum("ij,jk->ik", a, b, optimize=False))
