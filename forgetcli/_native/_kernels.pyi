"""What the extension module offers. Arrays are C-contiguous and aligned; a wrong shape raises ValueError, a wrong dtype
TypeError. `threads` changes no result: 0 are as many as there are processors, and more than 1024 as many as that."""

from typing import Any, TypedDict, Unpack, overload

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

# Interactions in compressed sparse rows (csr_build.cpp, csr_change.cpp; the meaning is in csr.h)

_Int32 = NDArray[np.int32]
_Int64 = NDArray[np.int64]
_Floats = NDArray[np.float32]
_Codes = NDArray[np.uint8]
_Keys = NDArray[np.uint64]

class View:
    """A matrix in compressed rows: its arrays, checked once, which nobody may change afterwards. The values are given
    as they are, or as the numbers of at most 256 levels. Raises ValueError saying what is wrong."""

    @overload
    def __init__(self, indptr: _Int64, indices: _Int32, values: _Floats, n_columns: int, threads: int) -> None: ...
    @overload
    def __init__(
        self, indptr: _Int64, indices: _Int32, codes: _Codes, levels: _Floats, n_columns: int, threads: int
    ) -> None: ...

class Coder:
    """Makes codes of values that come piece by piece."""

    def __init__(self) -> None: ...
    def encode(self, values: _Floats, codes: _Codes) -> bool:
        """Writes the values' codes. False when there are more than 256 different values: then they are of no use."""

    def levels(self) -> _Floats:
        """The different values, in the order in which they came."""

def decode_values(codes: _Codes, levels: _Floats, threads: int) -> _Floats:
    """The values (n,) that the codes stand for."""

def code_counts(codes: _Codes, threads: int) -> _Int64:
    """(256,): how often each code occurs."""

def csr_from_pairs(
    rows: _Int32,
    columns: _Int32,
    values: _Floats,
    timestamps: _Int64 | None,
    n_rows: int,
    n_columns: int,
    duplicates: str,
    threads: int,
) -> tuple[_Int64, _Int32, _Floats, _Int64 | None, _Int64 | None]:
    """(indptr, indices, values, kept rows, kept columns); the kept ones are None when no row or column is empty."""

def csr_transpose(view: View, threads: int) -> tuple[_Int64, _Int32, _Floats | _Codes]:
    """(indptr, indices, values or codes) of the transpose."""

def csr_validate(view: View, threads: int) -> None:
    """Raises ValueError for rows that do not increase, and for values that are not finite."""

def csr_find(view: View, rows: _Int64, columns: _Int64, threads: int) -> _Int64:
    """The position of each pair's entry, -1 where there is none."""

def csr_column_counts(view: View, threads: int) -> _Int64:
    """How often each column occurs."""

def csr_entries_of_columns(view: View, wanted: NDArray[np.bool_], threads: int) -> _Int64:
    """The positions, increasing, of the entries whose column is wanted."""

def csr_remove(
    view: View, entries: _Int64, column_map: _Int32 | None, threads: int
) -> tuple[_Int64, _Int32, _Floats | _Codes]:
    """(indptr, indices, values or codes) without the entries at these increasing positions, columns numbered by the
    map."""

def csr_remove_in_place(view: View, entries: _Int64, column_map: _Int32 | None) -> _Int64:
    """The indptr of that, whose other arrays are the first elements of the view's. The view is of no use afterwards."""

def csr_holdout(view: View, row_keys: _Keys, column_keys: _Keys, seed: int, fraction: float) -> _Int64:
    """The positions of about a fraction of the entries, chosen by a hash; never a row's or column's last one."""

# One side's objective, as its rows see it (rows.h)

class _Weighted(TypedDict):
    """The entries, the other side's factors (n, k), and what makes an entry's weight: a row's normal matrix."""

    view: View
    other: _Matrix
    with_bias: bool
    confidence: tuple[float, float]
    background: float
    reg: float
    reg_by_count: bool
    threads: int

class _Objective(_Weighted):
    """The rest of it: the other side's biases (n,), and what the ratings ask predictions to be."""

    other_bias: _Vector | None
    target: tuple[float, float]

# Rows (bind_rows.cpp). `rows` are the numbers of those to work on, None for all; n is how many they are.

def solve_rows(
    *, gram: _Matrix | None, rows: NDArray[np.int64] | None, **objective: Unpack[_Objective]
) -> tuple[_Matrix, _Vector, NDArray[np.float64], NDArray[np.float64], int]:
    """Each row's exact solution: factors (n, k), bias (n,), the rows' parts of the objective (n,), their right-hand
    sides times the solutions (n,), and the first row that has no solution, or -1."""

def gram(x: _Matrix, threads: int) -> _Matrix:
    """(k, k): Σ x xᵀ over the rows of x (n, k)."""

# Conjugate gradients (bind_conjugate.cpp; the meaning is in conjugate.h)

def conjugate_rows(
    *,
    factors: _Matrix,
    bias: _Vector,
    vectors: _Matrix,
    dense: _Vector,
    slope: _Vector,
    offset: _Vector,
    steps: int,
    rows: NDArray[np.int64] | None,
    **objective: Unpack[_Objective],
) -> tuple[_Matrix, _Vector, NDArray[np.float64], int]:
    """Each row after so many conjugate gradient steps from `factors` (n, k) and `bias` (n,): factors, bias, the rows'
    parts of the objective (n,), and the first row whose solution is not finite, or -1. `vectors` is E (d, d), d = k or
    k + 1; `dense`, `slope`, `offset` (d,) are the diagonals."""

def symmetric_eigen(matrix: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Eigenvalues (n,), in no order, and eigenvectors (n, n), one a row: the same bits whatever the threads."""

# Passes over the entries that form no row's matrix (bind_coupling.cpp, hot_coupling.cpp; the meaning is in coupling.h)

class _Inverse(TypedDict):
    """How the inverses of the rows' normal matrices are applied: by at most so many conjugate gradient steps, up to a
    residual of `tolerance`, in the coordinates x̃ = Eᵀ x. `vectors` is E (k, k), orthogonal; `mean` (d,), d = k or k + 1
    with a bias, and `border` (k,) make the preconditioner, and `dense` (k,) is the diagonal part of all rows'
    matrices."""

    vectors: _Matrix
    mean: _Vector
    border: _Vector
    dense: _Vector
    tolerance: float
    max_iterations: int

class _Normal(_Weighted, _Inverse): ...
class _Solved(_Objective, _Inverse): ...

def inner_product(*, factors: _Matrix, bias: _Vector, stacked: _Matrix) -> float:
    """Σ of the products of a side's elements and those of a stacked one, (n, k) or (n, k + 1), in float64."""

def combination(parts: list[_Matrix], weights: list[float], threads: int) -> _Matrix:
    """Σ of the weights times the matrices, at least one, of one shape."""

def row_gradients(
    *,
    gram: _Matrix | None,
    factors: _Matrix,
    bias: _Vector,
    rows: NDArray[np.int64] | None,
    **objective: Unpack[_Objective],
) -> tuple[_Matrix, NDArray[np.float64], NDArray[np.float64]]:
    """Half the gradient (n, d) of the rows' parts of the objective at these parameters, those parts (n,), and the
    parameters' squares in the norms of the rows' normal matrices (n,)."""

def row_losses(
    *, gram: _Matrix | None, factors: _Matrix, bias: _Vector, **objective: Unpack[_Objective]
) -> NDArray[np.float64]:
    """The rows' parts (n,) of the objective at these parameters."""

def newton_rows(
    *,
    factors: _Matrix,
    bias: _Vector,
    held: _Matrix | None,
    rows: NDArray[np.int64] | None,
    **solved: Unpack[_Solved],
) -> tuple[_Matrix, NDArray[np.float64], NDArray[np.float64], _Matrix, _Vector]:
    """What `row_gradients` gives, and the inverses of the rows' normal matrices times the half gradients, less those
    (n, d) that are held: factors (n, k) and bias (n,)."""

def solve_coupled(
    *,
    factors: _Matrix,
    bias: _Vector,
    direction: _Matrix,
    direction_bias: _Vector | None,
    direction_gram: _Matrix | None,
    expected: float | None,
    with_change: bool,
    half: bool,
    **solved: Unpack[_Solved],
) -> tuple[_Matrix | None, NDArray[np.float64], _Matrix, _Vector]:
    """(n, d), if asked for: how the rows' half gradients change along a direction δ of the other side's parameters, to
    first order. And the inverses of the rows' normal matrices times that: (n,), each row's product of the two; factors
    (n, k) and bias (n,). direction_gram is background · Σ (x̃ δ̃ᵀ + δ̃ x̃ᵀ) over the other side's rows.

    expected: about the sum of the products, or less: rows that hardly count in it are not solved as well. None: it is
              found out first, where few rows of the other side move, or else taken for 0.
    half:     go through memory in 16-bit floats, if the arrays are float32 and the machine has the instructions.
    """

def solve_normal(*, rhs: _Matrix, rows: NDArray[np.int64] | None, **normal: Unpack[_Normal]) -> tuple[_Matrix, _Vector]:
    """The inverses of the rows' normal matrices times a right-hand side for each (n, d): factors (n, k) and bias
    (n,)."""

# Memory (bind_buffers.cpp)

def empty(like: _Matrix, rows: int) -> _Matrix:
    """An uninitialised array of so many rows like those of `like`, in memory that has been used before, if there is
    some."""

# Ids (text.cpp, text_index.cpp; the meaning is in text.h)

_Bytes = NDArray[np.uint8]

def text_take(data: _Bytes, offsets: _Int64, positions: _Int64, threads: int) -> tuple[_Bytes, _Int64]:
    """(data, offsets) of the ids at these positions. Raises IndexError for one outside."""

def text_find(data: _Bytes, offsets: _Int64, query_data: _Bytes, query_offsets: _Int64, threads: int) -> _Int64:
    """Each query's position in a sorted vocabulary, -1 where unknown."""

def text_distinct(data: _Bytes, offsets: _Int64, threads: int) -> tuple[_Int64, _Int32]:
    """Where the distinct ids stand, in bytewise order, and each id's number among them."""

def text_validate(data: _Bytes, offsets: _Int64, sorted: bool, threads: int) -> None:
    """Raises ValueError saying what is wrong."""

def text_parse_integers(data: _Bytes, offsets: _Int64, threads: int) -> tuple[_Int64, NDArray[np.bool_]]:
    """Each id's value, and whether it is the canonical decimal text of that value."""

def text_from_integers(values: _Int64) -> tuple[_Bytes, _Int64]:
    """(data, offsets) of the canonical decimal texts."""

def text_keys(data: _Bytes, offsets: _Int64, threads: int) -> _Keys:
    """A 64-bit hash of each id, the same on every machine."""

def integer_find(ids: _Int64, queries: _Int64, threads: int) -> _Int64:
    """Each query's position among increasing integer ids, -1 where unknown."""

def integer_keys(values: _Int64) -> _Keys:
    """The same for integer ids."""

# Top-n (bind_topn.cpp)

def top_n(
    *,
    user_factors: _Matrix,
    item_factors: _Matrix,
    item_bias: _Vector,
    item_norms: NDArray[np.float64],
    item_order: NDArray[np.int32],
    users: NDArray[np.int64],
    user_norms: NDArray[np.float64],
    seen_offsets: NDArray[np.int64] | None,
    seen_items: NDArray[np.int32] | None,
    n: int,
    threads: int,
) -> tuple[NDArray[np.int32], _Matrix]:
    """The items (m, n) with the highest item_bias + user · item of the m users, best first, equal scores by rising
    row, and these scores; -1 and -infinity where there are no more. Items of user u at
    seen_items[seen_offsets[u]:seen_offsets[u + 1]], increasing, are left out.

    item_norms and user_norms (m,) are Euclidean norms of the factors; item_order holds each item once, and is fastest
    when likely ones come first. n is from 1 to the number of items; all values must be finite, and neither the scores
    nor the norms may overflow."""
