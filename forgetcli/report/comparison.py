"""A comparison of models, for a person."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

from rich.table import Table

from forgetcli.comparison import CELLS, FACTORS_CAVEAT, GROUPS, TOP_N, Contrast, Reading, Spread
from forgetcli.report.tables import figures_table, rendered
from forgetcli.report.text import count, paragraph

if TYPE_CHECKING:
    from forgetcli.comparison import Comparison
    from forgetcli.verdict import Audit

GROUP_NAMES = dict(zip(GROUPS, ("everyone", "who asked", "sharing items"), strict=True))
SIGNIFICANT_DIGITS = 3
MOST_PLACES = 4
"""Behind the point: what is smaller is as good as zero, and three columns of figures have to fit beside a name."""
NOT_KNOWN = "–"
MILLI = 1000

Value = TypeVar("Value")


def comparison_text(comparison: Comparison, audit: Audit | None = None) -> str:
    """The verdict, what was compared, the tables, and what they cannot tell."""
    cautions = dict.fromkeys((*(audit.cautions if audit else ()), *comparison.cautions, FACTORS_CAVEAT))
    parts = [
        *([paragraph(audit.sentence), "", rendered(_what_is_left(audit))] if audit else []),
        paragraph(_what_was_compared(comparison)),
        "",
        rendered(_distances(comparison)),
        rendered(_agreements(comparison)),
        rendered(_levels(comparison)),
        *(paragraph(f"Note: {caution}") for caution in cautions),
    ]
    return "\n".join(parts)


def _what_was_compared(comparison: Comparison) -> str:
    sentences = [
        f"Compared with {count(comparison.retrains, 'retrain')}, on the {count(comparison.users, 'user')} and "
        f"{count(comparison.items, 'item')} that all models have."
    ]
    if comparison.forgotten is not None:
        sentences.append(f"Of what was to be forgotten, {count(comparison.forgotten, 'pair')} can be looked at")
        sentences[-1] += (
            f"; {comparison.forgotten_left_out:,} went with their user or item."
            if comparison.forgotten_left_out
            else "."
        )
    if comparison.still_held is not None:
        held = f"{comparison.still_held:,}" if comparison.still_held else "none"
        sentences.append(f"The unlearned model carries {held} of the records.")
    return " ".join(sentences)


def _what_is_left(audit: Audit) -> Table:
    table = figures_table("what is left", "unlearned", "retrained", "original")
    if audit.memory is not None:
        retrained = audit.memory.retrained
        table.add_row(
            f"memory of {count(audit.memory.pairs, 'pair')}",
            NOT_KNOWN if audit.memory.unlearned is None else f"{audit.memory.unlearned:.3f}",
            NOT_KNOWN if retrained is None else f"{retrained.mean:.3f} ± {retrained.deviation or 0:.3f}",
            "1",
        )
    if audit.membership is not None:
        attacks = (("an attacker's AUC", audit.membership.blind), ("with the original", audit.membership.informed))
        for name, attack in attacks:
            own = "" if attack.original is None else f"{attack.original:.3f}"
            deviation = f" ± {attack.retrained.deviation:.3f}" if attack.retrained.deviation else ""
            table.add_row(name, f"{attack.unlearned:.3f}", f"{attack.retrained.mean:.3f}{deviation}", own)
    return table


def _distances(comparison: Comparison) -> Table:
    table = _contrast_table("how far apart", comparison)
    cells = {f"{count(each.pairs, f'{name} pair')}": each for name, each in _in_order(comparison.predictions, CELLS)}
    _add_contrasts(table, "predictions, RMS", {name: each.rms for name, each in cells.items()})
    _add_contrasts(table, "predictions, largest", {name: each.maximum for name, each in cells.items()})
    _add_contrasts(table, "factors, aligned, relative", comparison.factors)
    return table


def _agreements(comparison: Comparison) -> Table:
    table = _contrast_table("how alike", comparison)
    groups = {f"{GROUP_NAMES[name]} ({each.users:,})": each for name, each in _in_order(comparison.rankings, GROUPS)}
    _add_contrasts(table, f"share of the top {TOP_N}", {name: each.overlap for name, each in groups.items()})
    _add_contrasts(table, "rank-biased overlap", {name: each.rbo for name, each in groups.items()})
    divergence = {name: each.divergence for name, each in groups.items()}
    _add_contrasts(table, "divergence, millibits", divergence, scale=MILLI)
    return table


def _levels(comparison: Comparison) -> Table:
    old = ["original"] if comparison.objective.original is not None else []
    table = figures_table("how they stand", "unlearned", "retrained", *old)
    _add_reading(table, "objective on what remains", comparison.objective)
    for group, metrics in comparison.accuracy.items():
        for name, reading in metrics.items():
            _add_reading(table, f"{name.upper()} held out, {GROUP_NAMES[group]}", reading)
    _add_reading(table, "sweeps in its life", comparison.sweeps)
    return table


def _contrast_table(heading: str, comparison: Comparison) -> Table:
    """With the columns for which there are models."""
    among = ["retrain –\nretrain"] if comparison.retrains > 1 else []
    old = ["original –\nretrain"] if comparison.objective.original is not None else []
    return figures_table(heading, "unlearned –\nretrain", *among, *old)


def _add_contrasts(table: Table, heading: str, contrasts: Mapping[str, Contrast], scale: float = 1) -> None:
    if contrasts:
        table.add_row(heading)
    for name, contrast in contrasts.items():
        parts = (contrast.unlearned, contrast.retrained, contrast.original)
        table.add_row(f"  {name}", *(_spread(part, scale) for part in parts if part is not None))


def _add_reading(table: Table, name: str, reading: Reading) -> None:
    old = [] if reading.original is None else [_spread(Spread(reading.original, None, 1))]
    table.add_row(name, _spread(Spread(reading.unlearned, None, 1)), _spread(reading.retrained), *old)


def _spread(spread: Spread, scale: float = 1) -> str:
    """A mean of three digits or, if that is more, all before the point; its deviation to the same place."""
    mean, deviation = spread.mean * scale, (spread.deviation or 0.0) * scale
    if not math.isfinite(mean):
        return NOT_KNOWN
    places = _places(mean or deviation)
    return f"{mean:,.{places}f}" + (f" ± {deviation:,.{places}f}" if deviation else "")


def _places(value: float) -> int:
    if value == 0 or float(value).is_integer():
        return 0
    return min(max(0, SIGNIFICANT_DIGITS - 1 - math.floor(math.log10(abs(value)))), MOST_PLACES)


def _in_order(values: Mapping[str, Value], names: tuple[str, ...]) -> list[tuple[str, Value]]:
    return [(name, values[name]) for name in names if name in values]
