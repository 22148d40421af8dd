"""The explicit and the implicit objective as a value: what the kernels need to know of them.

Both are instances of

    Σ_Ω c (t − b_u − b_i − p_u·q_i)²  +  w0 Σ_not Ω (p_u·q_i)²
        +  λ Σ_u s_u (|p_u|² + b_u²)  +  λ Σ_i s_i (|q_i|² + b_i²)

with a confidence c and a target t that are linear in the interaction's value:

    explicit:  c = 1,             t = value − μ,  w0 = 0
    implicit:  c = c0 + α value,  t = 1,          no biases     (Hu, Koren & Volinsky 2008, eq. 3: c0 = 1)

and s = the row's number of interactions (ALS-WR, Zhou et al. 2008) or 1. μ is the values' mean, or 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forgetcli.config import TrainConfig
from forgetcli.interactions import Interactions


@dataclass(frozen=True)
class Objective:
    """One objective on one data set.

    confidence:   (slope, offset) of c in the interaction's value.
    target:       (slope, offset) of t in the interaction's value, in rating units.
    background:   w0.
    biases:       whether b_u and b_i are learnt.
    reg:          λ.
    reg_by_count: whether s is the row's number of interactions.
    global_mean:  μ, 0 for implicit models.
    """

    confidence: tuple[float, float]
    target: tuple[float, float]
    background: float
    biases: bool
    reg: float
    reg_by_count: bool
    global_mean: float

    @classmethod
    def of(cls, config: TrainConfig, interactions: Interactions) -> Objective:
        """The objective that `config` asks for on these interactions."""
        by_count = config.reg_scaling == "count"
        if config.objective == "implicit":
            confidence = config.alpha, config.confidence_base
            return cls(confidence, (0.0, 1.0), config.unobserved_weight, False, config.reg, by_count, 0.0)
        mean = interactions.mean_value() if config.global_mean else 0.0
        return cls((0.0, 1.0), (1.0, -mean), 0.0, config.biases, config.reg, by_count, mean)

    def row_scales(self, counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """(n,) λ s of rows with these numbers of interactions."""
        return self.reg * (counts.astype(np.float64) if self.reg_by_count else np.ones(len(counts)))
