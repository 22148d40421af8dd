"""Starting factors that depend on nothing but the seed and the row's own id.

Removing rows, reordering the file or dropping an item changes no other row's start, so that a retrain really is a
training run in which the record was never there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_BLOCK_ELEMENTS = 1 << 20
"""Normal variates made at a time: bounds the temporaries to some tens of megabytes."""


def starting_factors(
    keys: NDArray[np.uint64], rank: int, seed: int, dtype: type[np.floating]
) -> NDArray[np.float32] | NDArray[np.float64]:
    """(n, rank) factors, row i drawn from N(0, 1/rank) by a generator keyed with (seed, keys[i]).

    keys: (n,) a hash of each row's id (`Vocabulary.keys`).

    A counter-based generator: draw j of a row is SplitMix64's output function (Steele, Lea & Flood 2014) of the
    row's state plus j golden ratios; pairs of draws become normal variates by Box & Muller's transform, in float64.
    """
    factors = np.empty((len(keys), rank), dtype)
    # Of an array, since NumPy warns where a scalar wraps around.
    state = _mix(_mix(keys) ^ _mix(np.array([seed], np.uint64) + _GOLDEN))
    pairs = (rank + 1) // 2
    step = max(1, _BLOCK_ELEMENTS // (2 * pairs))
    for begin in range(0, len(keys), step):
        factors[begin : begin + step] = _normals(state[begin : begin + step], pairs)[:, :rank]
    factors *= np.asarray(rank**-0.5, dtype)
    return factors


def _normals(state: NDArray[np.uint64], pairs: int) -> NDArray[np.float64]:
    """(n, 2 · pairs) standard normal variates."""
    counters = np.arange(1, 2 * pairs + 1, dtype=np.uint64) * _GOLDEN
    uniform = ((_mix(state[:, None] + counters) >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    radius = np.sqrt(-2.0 * np.log(uniform[:, :pairs]))
    angle = 2.0 * np.pi * uniform[:, pairs:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _mix(x: NDArray[np.uint64] | np.uint64) -> NDArray[np.uint64]:
    """SplitMix64's output function: a bijection in which every bit of x reaches every bit of the result."""
    z = np.atleast_1d(np.asarray(x, np.uint64))
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
