"""Everything that a report of a comparison tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forgetcli.comparison import Comparison
    from forgetcli.runs import Cost
    from forgetcli.verdict import Audit


@dataclass(frozen=True)
class Findings:
    """names:   of the models, in the order of `Comparison.models`.
    limits:  the figures that had a limit, with it.
    figures: the figures that a limit can be set on.
    """

    comparison: Comparison
    audit: Audit | None
    cost: Cost | None
    names: tuple[str, ...]
    limits: dict[str, float]
    figures: dict[str, float]
