"""A comparison of models, for a person at a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from forgetcli.comparison import FACTORS_CAVEAT
from forgetcli.report import sheet
from forgetcli.report.tables import figures_table, rendered
from forgetcli.report.text import count, paragraph

if TYPE_CHECKING:
    from forgetcli.comparison import Comparison
    from forgetcli.runs import Cost
    from forgetcli.verdict import Audit

SIGNS = "Figures are means ± one standard deviation over models; [ ] holds 95 % of a bootstrap over users."


def comparison_text(comparison: Comparison, audit: Audit | None = None, cost: Cost | None = None) -> str:
    """The verdict, what was compared, the tables, and what they cannot tell."""
    parts = [
        *([paragraph(audit.sentence), "", _drawn(sheet.what_is_left(audit))] if audit and audit.memory else []),
        *([paragraph(audit.sentence), ""] if audit and not audit.memory else []),
        paragraph(what_was_compared(comparison)),
        "",
        _drawn(sheet.distances(comparison)),
        _drawn(sheet.agreements(comparison)),
        _drawn(sheet.levels(comparison)),
        _drawn(sheet.costs(comparison, cost)),
        *(paragraph(f"Note: {note}") for note in notes(comparison, audit, cost)),
    ]
    return "\n".join(parts)


def what_was_compared(comparison: Comparison) -> str:
    """How many models, on how much common ground."""
    sentences = [
        f"Compared with {count(comparison.retrains, 'retrain')}, on the {count(comparison.users, 'user')} and "
        f"{count(comparison.items, 'item')} that all models have."
    ]
    if comparison.forgotten == 0 and comparison.forgotten_left_out:
        sentences.append(f"The {count(comparison.forgotten_left_out, 'forgotten pair')} went with their user or item.")
    elif comparison.forgotten is not None:
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


def notes(comparison: Comparison, audit: Audit | None, cost: Cost | None) -> list[str]:
    """What the figures cannot tell, and how they are written."""
    found = [*(audit.cautions if audit else ()), *comparison.cautions]
    if cost is not None and cost.strangers:
        found.append(
            f"There are timings of {', '.join(cost.strangers)}, which is none of the models compared, by its name."
        )
    return list(dict.fromkeys([*found, FACTORS_CAVEAT, SIGNS]))


def _drawn(figures: sheet.Sheet) -> str:
    headings = (heading.replace(" – ", " –\n") for heading in figures.headings)
    table: Table = figures_table(figures.title, *headings)
    for row in figures.rows:
        table.add_row(f"  {row.name}" if row.indented else row.name, *(Text(cell) for cell in row.cells))
    return rendered(table)
