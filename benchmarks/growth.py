"""How training grows with the ratings and with the rank: time and peak memory, as processes, on a log–log plot.

    python benchmarks/growth.py /tmp/load --results growth.jsonl --picture docs/figures/growth.svg
    python benchmarks/growth.py /tmp/load --results growth.jsonl --points 100:64

A point is a number of ratings in millions and a rank: 1, 5, 25 and 100 million at rank 64, and 25 million at ranks from
16 to 256. Each is one `forget train` of three sweeps and one `forget forget` of a user of median size from that model.
The data are made in DIRECTORY where they are not there yet (`synthetic.py`: users in proportion to the ratings, always
59,047 items; 100 million rows take 0.5 GB of memory and some minutes).

Prints Markdown: a sweep's median time, everything else that training took, forgetting, and the peak memory of both. A
slope is that of a straight line through the logarithms: 1 is proportional. With --results, points that the file has are
not measured again, and each is written when it is done. 100 million ratings at rank 64 need 6 GB of memory and 4 GB of
disk.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from train import run, touch_memory, write_requests

MILLIONS, RANKS = (1, 5, 25, 100), (16, 32, 64, 128, 256)
USUAL_MILLIONS, USUAL_RANK = 25, 64
SWEEPS = 3

Point = dict[str, Any]
"""millions, rank; model: users, items, bytes; sweep, train, rest, forget: seconds; train_peak, forget_peak: bytes."""

SERIES = {
    "sweep": ("one sweep", "o-"),
    "rest": ("train, but its sweeps", "s--"),
    "forget": ("forget one user", "^-"),
    "train_peak": ("train", "o-"),
    "forget_peak": ("forget one user", "^-"),
}
"""By figure: what the plot calls it, its marker and its line."""


def table_of(directory: Path, millions: int) -> Path:
    """The data, made where they are missing."""
    path = directory / f"ratings-{millions}m.parquet"
    if not path.exists():
        print(f"making {path}", file=sys.stderr, flush=True)
        part = path.with_suffix(".part")
        script = Path(__file__).with_name("synthetic.py")
        subprocess.run([sys.executable, script, "--ratings", f"{millions}e6", "-o", part], check=True)
        part.rename(path)
    return path


def measure(directory: Path, millions: int, rank: int) -> Point:
    """One point; the model goes into the directory for the time being."""
    data = table_of(directory, millions)
    with tempfile.TemporaryDirectory(dir=directory) as work:
        model, left, one, many = (Path(work) / name for name in ("model.npz", "left.npz", "one.csv", "many.csv"))
        write_requests(data, one, many)
        user = one.read_text().split()[1]
        options = ("--factors", str(rank), "--sweeps", str(SWEEPS), "--json", "--quiet")
        touch_memory()
        trained = run("train", str(data), "-o", str(model), *options)
        # A response step however short the training was: that is what the plot is about.
        touch_memory()
        forgot = run("forget", str(model), "--user", user, "--no-retrain", "-o", str(left), "--json", "--quiet")
        size = model.stat().st_size
    told = trained.document["model"]
    if forgot.document["forgotten"]["users"] != 1 or told["interactions"] != millions * 10**6:
        raise SystemExit(f"{millions} million, k = {rank}: not the rows that were asked for")
    return {
        "millions": millions,
        "rank": rank,
        "model": {"users": told["users"], "items": told["items"], "bytes": size},
        "sweep": statistics.median(sweep["seconds"] for sweep in trained.document["sweeps"]),
        "train": trained.wall,
        "rest": trained.wall - sum(sweep["seconds"] for sweep in trained.document["sweeps"]),
        "forget": forgot.wall,
        "train_peak": trained.peak,
        "forget_peak": forgot.peak,
    }


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Of the least-squares line through the logarithms."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def along(points: Sequence[Point], varied: str) -> list[Point]:
    """Those that differ in one thing only, in its order."""
    fixed, usual = ("rank", USUAL_RANK) if varied == "millions" else ("millions", USUAL_MILLIONS)
    return sorted((point for point in points if point[fixed] == usual), key=lambda point: point[varied])


def print_table(points: Sequence[Point]) -> None:
    print("| ratings | rank | users × items | s a sweep | train beside its sweeps, s | train, peak MiB "
          "| forget one user, s | peak MiB | model, MiB |\n" + "|---" * 9 + "|")  # fmt: skip
    for point in sorted(points, key=lambda point: (point["millions"], point["rank"])):
        model = point["model"]
        cells = (
            f"{point['millions']} M",
            f"k = {point['rank']}",
            f"{model['users']:,} × {model['items']:,}",
            f"{point['sweep']:.3g}",
            f"{point['rest']:.3g}",
            f"{point['train_peak'] / 2**20:,.0f}",
            f"{point['forget']:.3g}",
            f"{point['forget_peak'] / 2**20:,.0f}",
            f"{model['bytes'] / 2**20:,.0f}",
        )
        print("| " + " | ".join(cells) + " |")
    print("\n| slope | by ratings | by rank |\n|---|---|---|")
    for figure, (name, _) in SERIES.items():
        what = f"{name}, peak memory" if figure.endswith("_peak") else f"{name}, time"
        print(f"| {what} | {' | '.join(told_slope(points, varied, figure) for varied in ('millions', 'rank'))} |")


def told_slope(points: Sequence[Point], varied: str, figure: str) -> str:
    line = along(points, varied)
    if len(line) < 2:
        return "–"
    return f"{slope([point[varied] for point in line], [point[figure] for point in line]):.2f}"


def draw(points: Sequence[Point], path: Path) -> None:
    """Four panels, two by two: time and memory, by ratings and by rank."""
    from matplotlib.ticker import LogLocator, NullLocator

    from forgetcli.report.drawing import KEPT, ORIGINAL, UNLEARNED, Panel, lone_svg

    colours = {"sweep": UNLEARNED, "rest": KEPT, "forget": ORIGINAL, "train_peak": UNLEARNED, "forget_peak": ORIGINAL}

    def panel(varied: str, figures: Sequence[str], unit: float, title: str, label: str) -> Callable[[Any], None]:
        def on(axes: Any) -> None:
            line = along(points, varied)
            for figure in figures:
                name, style = SERIES[figure]
                x, y = [point[varied] for point in line], [point[figure] / unit for point in line]
                axes.plot(x, y, style, color=colours[figure], label=f"{name}: {told_slope(points, varied, figure)}")
            ticks = [point[varied] for point in line]
            axes.set(xscale="log", yscale="log", xlabel=label, title=title)
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axes.set_xticks([], minor=True)
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.yaxis.set_minor_locator(NullLocator())
            axes.legend(title="slope", fontsize=9)

        return on

    times, peaks = ("sweep", "rest", "forget"), ("train_peak", "forget_peak")
    sides = (("millions", f"million ratings, k = {USUAL_RANK}"), ("rank", f"rank k, {USUAL_MILLIONS} million ratings"))
    panels = [Panel(panel(varied, times, 1, "seconds", label)) for varied, label in sides]
    panels += [Panel(panel(varied, peaks, 2**30, "peak memory, GiB", label)) for varied, label in sides]
    told = ", ".join(f"{name} {told_slope(points, 'millions', figure)}" for figure, (name, _) in SERIES.items())
    path.write_bytes(lone_svg(panels, "growth", f"Growth with ratings and rank; slopes by ratings: {told}", columns=2))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("directory", type=Path, metavar="DIRECTORY", help="of the data, and of models in the meantime")
    parser.add_argument("--results", type=Path, metavar="FILE", help="JSON lines of earlier points, and of these")
    parser.add_argument("--points", nargs="*", type=point, metavar="MILLIONS:RANK", help="only these (default: all)")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="SVG; needs matplotlib")
    return parser.parse_args()


def point(text: str) -> tuple[int, int]:
    millions, _, rank = text.partition(":")
    return int(millions), int(rank)


def main() -> None:
    options = arguments()
    wanted = options.points
    if wanted is None:
        wanted = [(millions, USUAL_RANK) for millions in MILLIONS] + [(USUAL_MILLIONS, rank) for rank in RANKS]
    points: list[Point] = []
    if options.results and options.results.exists():
        points = [json.loads(line) for line in options.results.read_text().splitlines()]
    for millions, rank in dict.fromkeys(wanted):
        if any((known["millions"], known["rank"]) == (millions, rank) for known in points):
            continue
        points.append(measure(options.directory, millions, rank))
        if options.results:
            with options.results.open("a") as file:
                print(json.dumps(points[-1]), file=file)
    print_table(points)
    if options.picture:
        draw(points, options.picture)


if __name__ == "__main__":
    main()
