"""The inexact half-sweep: a few conjugate gradient steps for each row, from where the row stands (Takács, Pilászy &
Tikk 2011), preconditioned by what all rows have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgetcli import _native
from forgetcli.csr import Csr
from forgetcli.model import Array, SideFactors
from forgetcli.moments import mean_matrix
from forgetcli.objective import Objective
from forgetcli.products import product


@dataclass(frozen=True)
class RowBasis:
    """Coordinates in which the dense part of all rows' normal matrices is diagonal, and the rest nearly is.

    The matrix of a row of n entries is Σ w x xᵀ + G + λ s I, about n M + G + λ s I with M the mean of w x xᵀ over all
    entries and G the unobserved pairs' part. E is the eigenvectors of G, so that EᵀGE is a diagonal and costs a row no
    more than its ridge; explicit models have no G, and those of M. The diagonal of EᵀME is taken for the whole of it.

    vectors: (d, d) E, each eigenvector a column; d is k, or k + 1 with the bias last.
    dense:   (d,) the diagonal of EᵀGE.
    slope, offset: (d,) n · slope + offset is the diagonal of a row's matrix, about.
    """

    vectors: Array
    dense: Array
    slope: Array
    offset: Array

    @classmethod
    def of(cls, mirror: Csr, other: SideFactors, objective: Objective, gram: Array | None, threads: int) -> RowBasis:
        """mirror: the interactions by the rows of `other`; gram: (k, k) G, None where there is none."""
        mean = mean_matrix(mirror, other, objective, threads)
        values, rows = _native.symmetric_eigen(np.array(mean if gram is None else gram, np.float64))
        dense = np.zeros(len(mean)) if gram is None else np.maximum(values, 0.0)
        slope = np.maximum(np.einsum("jk,jk->j", product(rows, mean), rows), 0.0)
        offset = dense.copy()
        if objective.reg_by_count:
            slope += objective.reg
        else:
            offset += objective.reg
        dtype = other.factors.dtype
        tiny = np.finfo(dtype).tiny  # a padded or empty direction must not divide by 0
        return cls(
            np.ascontiguousarray(rows.T, dtype), dense.astype(dtype), slope.astype(dtype), (offset + tiny).astype(dtype)
        )


def conjugate_rows(
    arguments: dict[str, Any], basis: RowBasis, own: SideFactors, *, steps: int, threads: int = 0
) -> tuple[SideFactors, NDArray[np.float64], int]:
    """All rows after so many steps from `own`, their parts of the objective there, (n,), and the first row whose
    solution is not finite, or -1.

    arguments: what the row kernels are told of the data and the objective; see `als.row_arguments`.
    """
    told = {name: value for name, value in arguments.items() if name != "gram"}
    factors, bias, losses, failed = _native.conjugate_rows(
        **told,
        factors=own.factors,
        bias=own.bias,
        vectors=basis.vectors,
        dense=basis.dense,
        slope=basis.slope,
        offset=basis.offset,
        steps=steps,
        rows=None,
        threads=threads,
    )
    return SideFactors(factors, bias), losses, failed
