"""Tables for people, drawn by rich."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from forgetcli.printable import printable
from forgetcli.report.text import WIDTH, duration

if TYPE_CHECKING:
    from forgetcli.model import Model
    from forgetcli.profiling import Stage
    from forgetcli.recommending import Recommendations
    from forgetcli.tables import ItemNames


def recommendation_tables(model: Model, names: ItemNames | None, found: Recommendations) -> str:
    """A table for each user: rank, title, item, score."""
    return "".join(f"{_recommendations(model, names, found, place)}\n" for place in range(len(found)))


def profile_table(stages: Sequence[Stage], total: float) -> str:
    """A line a stage, its parts indented below it: how often, how long, which part of the whole, and the most memory
    by then.

    total: seconds of the whole, to show what lies between the stages.
    """
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("stage", no_wrap=True, overflow="ellipsis", max_width=WIDTH // 2)
    for heading in ("times", "time", "share", "peak memory"):
        table.add_column(heading, justify="right", no_wrap=True)
    for stage in stages:
        peak = "" if stage.peak_memory_bytes is None else f"{stage.peak_memory_bytes / 2**20:,.0f} MiB"
        times = str(stage.times) if stage.times > 1 else ""
        name = "  " * (len(stage.path) - 1) + printable(stage.path[-1])
        table.add_row(Text(name), times, duration(stage.seconds), f"{stage.share:.1%}", peak)
    between = max(0.0, total - sum(stage.seconds for stage in stages if len(stage.path) == 1))
    table.add_row("between them", "", duration(between), f"{between / total:.1%}" if total > 0 else "", "")
    table.add_row("all", "", duration(total), "", "")
    return rendered(table)


def figures_table(*headings: str) -> Table:
    """An empty table of names, on the left, and figures."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place else "left", vertical="bottom", no_wrap=True)
    return table


def rendered(table: Table) -> str:
    """The table as text of at most WIDTH columns."""
    text = io.StringIO()
    Console(file=text, width=WIDTH, color_system=None).print(table)
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    return "\n".join(lines).strip("\n") + "\n"  # rich puts an empty line above and below


def _recommendations(model: Model, names: ItemNames | None, found: Recommendations, place: int) -> str:
    table = Table(
        box=SIMPLE_HEAD,
        title=Text(f"user {printable(model.users.label(int(found.users[place])))}"),
        title_justify="left",
        title_style="",
    )
    table.add_column("", justify="right")
    if names is not None:
        table.add_column("title", no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column("item", no_wrap=True, overflow="ellipsis")
    table.add_column("score", justify="right", no_wrap=True)
    for rank, (item, score) in enumerate(zip(found.items[place], found.scores[place], strict=True), start=1):
        if item < 0:
            break
        label = model.items.label(int(item))
        title = [] if names is None else [Text(printable(names.title(label) or ""))]
        table.add_row(str(rank), *title, Text(printable(label)), f"{score:.3f}")
    return rendered(table)
