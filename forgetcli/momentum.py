"""Nesterov's momentum over ALS sweeps: each starts a little beyond where the last one ended, in the direction it went.

Of accelerations of ALS (Anderson's, nonlinear conjugate gradients: De Sterck & Winlaw 2015) the one with least to do:
no inner product, no pass over the data, one more copy of the items, which makes it deterministic as well (Mitchell, Ye
& De Sterck 2020, "Nesterov acceleration of alternating least squares for canonical tensor decomposition").
"""

from __future__ import annotations

from forgetcli.model import SideFactors, minus, plus, scaled


def momentum_weight(sweeps: int) -> float:
    """β, how far beyond its end the movement of the last of so many sweeps is carried on: (t − 1) / (t + 2)."""
    return max(sweeps - 1, 0) / (sweeps + 2)


class Momentum:
    """What the items of one sweep after another suggest the next to start from."""

    def __init__(self) -> None:
        self._last: SideFactors | None = None
        self._sweeps = 0

    def beyond(self, items: SideFactors) -> SideFactors | None:
        """Where the next sweep should start; None where at the items themselves. items: where the last one ended."""
        last, self._last = self._last, items
        self._sweeps += 1
        weight = momentum_weight(self._sweeps)
        return None if last is None or weight == 0 else plus(items, scaled(minus(items, last), weight))

    def restart(self) -> None:
        """Begins anew, without momentum: what was suggested was worse."""
        self._sweeps = 0
