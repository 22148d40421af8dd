"""What the extension module offers. Arrays are C-contiguous; a wrong shape raises ValueError, a wrong dtype
TypeError."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_Matrix = NDArray[Any]
_Vector = NDArray[Any]

# Instruction sets (variant.cpp)

def instruction_sets() -> list[str]:
    """Those that this machine can run, best first; the last is always "portable"."""

def instruction_set() -> str:
    """The one in use: the best, until `use_instruction_set` says otherwise."""

def use_instruction_set(name: str) -> None:
    """For tests and benchmarks: use this one from now on. Raises ValueError for one that the machine lacks."""

# Rows (bind_rows.cpp)

def solve_rows(
    *,
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    values: NDArray[np.float32],
    other: _Matrix,
    other_bias: _Vector | None,
    gram: _Matrix | None,
    with_bias: bool,
    confidence: tuple[float, float],
    target: tuple[float, float],
    background: float,
    reg: float,
    reg_by_count: bool,
    rows: NDArray[np.int64] | None,
    keep: bool,
    threads: int,
) -> tuple[_Matrix, _Vector, NDArray[np.float64], _Matrix | None, int]:
    """Each row's exact solution: factors (n, k), bias (n,), the rows' parts of the objective (n,), their Cholesky
    factors if they are to be kept, and the first row that has no solution, or -1. What the arguments mean is said in
    rows.h."""

def row_gradients(
    *,
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    values: NDArray[np.float32],
    other: _Matrix,
    other_bias: _Vector | None,
    gram: _Matrix | None,
    with_bias: bool,
    confidence: tuple[float, float],
    target: tuple[float, float],
    background: float,
    reg: float,
    reg_by_count: bool,
    factors: _Matrix,
    bias: _Vector,
    threads: int,
) -> tuple[_Matrix, NDArray[np.float64]]:
    """Half the gradient by each row's parameters (n, k or k + 1) and the rows' parts of the objective (n,)."""

def couple_rows(
    *,
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    values: NDArray[np.float32],
    other: _Matrix,
    other_bias: _Vector | None,
    direction_gram: _Matrix | None,
    with_bias: bool,
    confidence: tuple[float, float],
    target: tuple[float, float],
    background: float,
    factors: _Matrix,
    bias: _Vector,
    direction: _Matrix,
    direction_bias: _Vector | None,
    threads: int,
) -> _Matrix:
    """(n, k or k + 1): how the rows' half gradients change along a direction of the other side's parameters, to
    first order. direction_gram is background · Σ (x δᵀ + δ xᵀ) over the other side's rows."""

def apply_kept(kept: _Matrix, rhs: _Matrix, rank: int, threads: int) -> tuple[_Matrix, _Vector]:
    """Each row's system, solved by its kept factor for another right-hand side (n, k or k + 1): factors (n, k) and
    bias (n,)."""

def gram(x: _Matrix, threads: int) -> _Matrix:
    """(k, k): Σ x xᵀ over the rows of x (n, k)."""
