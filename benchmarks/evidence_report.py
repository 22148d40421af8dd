"""What `unlearn_als.py` and `recommender_unlearning.py` found, kept as JSON lines, as Markdown and as a picture."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from evidence import clocked, floor_of, in_band, measure, seconds_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Cell: TypeAlias = dict[str, Any]
Cells: TypeAlias = dict[tuple[str, str], Cell]
"""By data set and request."""

INK, GRID, WARM, STEP, RETRAIN, BAND = "#7d8590", "#7d859055", "#d9822b", "#2f81f7", "#2da44e", "#3fb95055"
"""Of a contrast of at least 3 to white paper and to a dark page alike."""

PICTURED = ("1 % of records", "10 % of records", "1 % of users", "10 % of users")


def measured(options: argparse.Namespace, cases: Callable[..., Iterable[tuple[str, Any]]]) -> Cells:
    """Every chosen cell, measured now or before. cases: yields each request's name and case."""
    cells = read_results(options.results)
    missing = [dataset for dataset in options.datasets if not (options.data / f"{dataset}.parquet").exists()]
    for dataset in options.datasets:
        wanted = [name for name in options.requests if options.times_anew == ((dataset, name) in cells)]
        if dataset in missing or not wanted:
            continue
        for name, case in cases(options.data, dataset, wanted, options.threads):
            if options.times_anew:
                taken, seconds = clocked(seconds_of, case, options.threads)
                cell = cells[dataset, name] | {"seconds": taken}
            else:
                cell, seconds = clocked(measure, case, options.retrains, options.threads)
            cells[dataset, name] = cell
            print(f"{dataset}, {name}: {seconds:.0f} s", file=sys.stderr, flush=True)
            if options.results is not None:
                with options.results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"dataset": dataset, "request": name, **cell}) + "\n")
    chosen = {
        (dataset, name): cells[dataset, name]
        for dataset in options.datasets
        for name in options.requests
        if (dataset, name) in cells
    }
    if not chosen:
        raise SystemExit(f"{options.data} has none of {', '.join(f'{name}.parquet' for name in missing)}")
    return chosen


def read_results(path: Path | None) -> Cells:
    """The cells of earlier runs, of each the last."""
    if path is None or not path.exists():
        return {}
    cells = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {(cell["dataset"], cell["request"]): cell for cell in cells}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose columns but the first are aligned to the right."""
    rule = ["---", *["--:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, rule, *rows])


def plain(cell: Cell, figure: str, value: float) -> str:
    return f"{value:.{_digits(figure)}f}".replace("-", "−")


def marked(cell: Cell, figure: str, value: float) -> str:
    """In bold within the retrains' band."""
    return f"**{plain(cell, figure, value)}**" if in_band(cell, figure, value) else plain(cell, figure, value)


def floor_text(cell: Cell, figure: str) -> str:
    mean, deviation = floor_of(cell, figure)
    digits = _digits(figure)
    return f"{mean:.{digits}f} ± {deviation:.{digits}f}".replace("-", "−")


def _digits(figure: str) -> int:
    return 3 if figure in ("memory", "overlap") else 4


def span(values: Sequence[float]) -> str:
    """Median, lowest and highest."""
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def fill_in(path: Path, mark: str, text: str) -> None:
    """Puts the text between the marks of this name."""
    begin, end = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    old = path.read_text(encoding="utf-8") if path.exists() else f"{begin}\n{end}\n"
    before, found, rest = old.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{path} lacks the marks between which the tables belong: {begin} and {end}")
    path.write_text(f"{before}{begin}\n\n{text}\n{end}{after}", encoding="utf-8")


def has_matplotlib() -> bool:
    return find_spec("matplotlib") is not None


def draw_courses(cells: dict[str, Cell], title: str, path: Path) -> None:
    """Objective, held-out AUC and memory against passes: a figure a row, a request a column."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    shown = {name: cell for name, cell in cells.items() if name in PICTURED} or cells
    style: dict[Any, Any] = {
        "svg.fonttype": "none", "svg.hashsalt": "evidence", "font.size": 9, "font.family": "sans-serif",
    }  # fmt: skip
    inks = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    with plt.rc_context(style | dict.fromkeys(inks, INK)):
        figure, grid = plt.subplots(
            3, len(shown), figsize=(2.3 * len(shown) + 0.8, 5.6), sharex=True, sharey="row", squeeze=False,
            layout="constrained",
        )  # fmt: skip
        for column, (name, cell) in enumerate(shown.items()):
            grid[0][column].set_title(name, fontsize=9)
            _draw_objective(grid[0][column], cell)
            _draw_auc(grid[1][column], cell)
            _draw_memory(grid[2][column], cell)
        labels = ("objective above\nretrains', %", "held-out AUC", "memory left")
        for axes, label in zip(grid[:, 0], labels, strict=True):
            axes.set_ylabel(label)
        figure.supxlabel("passes over the data since forgetting, or from scratch", fontsize=9)
        legends = [grid[row][0].get_legend_handles_labels() for row in (0, 2)]
        named = {label: handle for handles, labels in legends for handle, label in zip(handles, labels, strict=True)}
        figure.legend(named.values(), named.keys(), loc="outside upper center", ncols=4, frameon=False)
        figure.savefig(path, transparent=True, metadata={"Date": None, "Title": title})
        plt.close(figure)
    _describe(path, title)


def _describe(path: Path, title: str) -> None:
    """Gives the drawing a title for those who cannot see it."""
    head, tag, rest = path.read_text(encoding="utf-8").partition("<svg ")
    opening, _, body = rest.partition(">")
    lines = "\n".join(line.rstrip() for line in body.splitlines())
    named = f'role="img" aria-labelledby="title" {opening}>\n <title id="title">{title}</title>'
    path.write_text(f"{head}{tag}{named}{lines}\n", encoding="utf-8")


def _draw_objective(axes: Axes, cell: Cell) -> None:
    final = statistics.mean(each["objective"] for each in cell["floor"])
    runs = [each["objective"] for each in cell["courses"]["retrain"]]
    mean = [statistics.mean(values) for values in zip(*runs, strict=True)]
    _line(axes, [100 * (value / final - 1) for value in mean], RETRAIN, "retrain, mean")
    warm = [cell["ways"]["nothing"]["objective"], *cell["courses"]["warm"]["objective"]]
    _line(axes, [100 * (value / final - 1) for value in warm], WARM, "warm sweeps", first=0)
    _dot(axes, cell, 100 * (cell["ways"]["response"]["objective"] / final - 1))
    axes.set_ylim(-2, 12)
    _plain(axes)


def _draw_auc(axes: Axes, cell: Cell) -> None:
    runs = [each["auc"] for each in cell["courses"]["retrain"]]
    _line(axes, [statistics.mean(values) for values in zip(*runs, strict=True)], RETRAIN, "retrain, mean")
    _line(axes, [cell["ways"]["nothing"]["auc"], *cell["courses"]["warm"]["auc"]], WARM, "warm sweeps", first=0)
    _dot(axes, cell, cell["ways"]["response"]["auc"])
    _plain(axes)


def _draw_memory(axes: Axes, cell: Cell) -> None:
    mean, deviation = floor_of(cell, "memory")
    axes.axhspan(mean - 2 * deviation, mean + 2 * deviation, color=BAND, linewidth=0, label="retrains' band, ± 2 sd")
    _line(axes, [1.0, *cell["courses"]["warm_memory"]], WARM, "warm sweeps", first=0)
    _dot(axes, cell, cell["ways"]["response"]["memory"])
    axes.set_ylim(-0.1, 0.5)
    axes.set_xticks((0, 5, 10, 15))
    _plain(axes)


def _line(axes: Axes, values: Sequence[float], ink: str, label: str, first: int = 1) -> None:
    axes.plot(range(first, first + len(values)), values, color=ink, marker=".", markersize=4, linewidth=1, label=label)


def _dot(axes: Axes, cell: Cell, value: float) -> None:
    passes = statistics.median(cell["seconds"]["response"]) / statistics.median(cell["seconds"]["retrain"])
    place = passes * len(cell["courses"]["retrain"][0]["objective"])
    axes.plot([place], [value], color=STEP, marker="D", markersize=5, linewidth=0, label="response step, by the clock")


def _plain(axes: Axes) -> None:
    axes.patch.set_visible(False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=0, labelsize=8)
    axes.set_axisbelow(True)
    axes.grid(visible=True, axis="y", color=GRID, linewidth=0.5)
