"""Time whole commands on 25 million ratings, as processes: train, forget, retrain, info and the start-up.

    python benchmarks/synthetic.py --csv -o /tmp/synth25m.parquet
    python benchmarks/train.py /tmp/synth25m.parquet --results train.jsonl --picture docs/figures/whole.svg
    python benchmarks/train.py /tmp/synth25m.csv --runs 5 --factors 128

Each run trains, then forgets one user (`--user`) and then 1 % of the users (`--records`) from that model, and retrains
without those, each into a file of its own. Prints Markdown: the wall time, the part of each stage as `--json` tells it,
processor time, and the most memory that the process held. A run that was disturbed shows in a processor time well below
the wall time times the processors. Before each command memory is touched and freed (see `touch_memory`). A run counts
only when its answers have been checked: the objective falls with each sweep, the models load, and who was to be
forgotten is gone.

--results keeps each run as a line of JSON, so that an interrupted measurement goes on: of --runs only those that the
file does not have are done. --picture draws the commands' median times by stage, as SVG, and needs matplotlib.

Needs 2 GB of memory and 1 GB in --work; a minute and a half a run on two idle cores.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

FORGET = (sys.executable, "-m", "forgetcli")
MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024
FORGOTTEN_SHARE = 0.01
FORGOTTEN_SEED = 20261122
START_UP_RUNS = 11
TOUCHED = 4 << 30
"""Bytes touched and freed before a command is timed, where so much is free: see `touch_memory`."""

TRAIN, ONE, MANY, RETRAIN = "train", "forget one user", "forget 1 % of the users", "retrain without those"
BARS = {ONE: "forget one user", MANY: "forget 1 %", RETRAIN: "retrain"}
STAGES = ("start and end", "reading", "encoding", "sweeping", "writing")
SHADES = (0.25, 0.45, 0.55, 1.0, 0.75)
"""By STAGES, of a bar's parts: the opacity."""


@dataclass(frozen=True)
class Finished:
    """One process that has ended.

    wall, cpu: seconds; cpu is the user's and the system's, over all threads.
    peak:      the most resident memory, bytes.
    document:  what --json printed; empty without.
    """

    wall: float
    cpu: float
    peak: int
    document: dict[str, Any]

    def part(self, stage: str) -> float:
        """The seconds of a stage, or of the process before and after the command's own clock: "start and end"."""
        seconds: dict[str, float] = self.document["seconds"]
        return self.wall - seconds["total"] if stage == "start and end" else seconds.get(stage, 0.0)


def run(*arguments: str) -> Finished:
    """Runs one forget command to its end. Raises SystemExit when it fails."""
    with tempfile.TemporaryFile() as output:
        begin = time.perf_counter()
        process = subprocess.Popen((*FORGET, *arguments), stdout=output)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"forget {' '.join(arguments)} ended with {process.returncode}")
        output.seek(0)
        text = output.read()
    document = json.loads(text) if "--json" in arguments else {}
    # The system's record of a process's memory begins with its parent's; what the process itself says does not.
    peak = document.get("peak_memory_bytes") or usage.ru_maxrss * MAXRSS_UNIT
    return Finished(wall, usage.ru_utime + usage.ru_stime, peak, document)


def touch_memory() -> None:
    """Touches memory, in a process of its own, and frees it: the next process gets what this machine has at hand.

    A virtual machine's host takes back what lies free for a second or two. Where it does, the first touch of a GiB was
    found to take 2.4 s, fifty times as long as otherwise, which would be all that a table of short commands shows.
    """
    script = "import sys, numpy; numpy.ones(int(sys.argv[1]), numpy.uint8)"
    is_told = "SC_AVPHYS_PAGES" in getattr(os, "sysconf_names", ())
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if is_told else 2 * TOUCHED
    subprocess.run((sys.executable, "-c", script, str(min(TOUCHED, free // 2))), check=True)


def write_requests(data: Path, one: Path, many: Path) -> None:
    """Two forget-lists, of a user with the median number of ratings and of FORGOTTEN_SHARE of the users.

    In a process of its own: the whole column of users is read for it.

    data: Parquet, or CSV with a column `user`.
    """
    script = """if True:
        import sys
        import numpy as np
        import pyarrow.dataset as ds
        data, one, many, share, seed = sys.argv[1:]
        table = ds.dataset(data, format="csv" if data.endswith(".csv") else "parquet").to_table(columns=["user"])
        users, counts = np.unique(table["user"].to_numpy(), return_counts=True)
        median = users[np.argsort(counts, kind="stable")[len(users) // 2]]
        chosen = np.random.default_rng(int(seed)).choice(users, max(1, int(float(share) * len(users))), replace=False)
        for path, leaving in ((one, [median]), (many, chosen)):
            with open(path, "w") as file:
                print("user", *leaving, sep="\\n", file=file)
    """
    arguments = (data, one, many, FORGOTTEN_SHARE, FORGOTTEN_SEED)
    subprocess.run((sys.executable, "-c", script, *map(str, arguments)), check=True)


def check(training: Finished, original: Path, unlearned: Sequence[tuple[Path, Path]]) -> None:
    """Raises SystemExit unless the answers are right."""
    import forgetcli as fc

    objectives = [sweep["objective"] for sweep in training.document["sweeps"]]
    if not all(later < earlier for earlier, later in pairwise(objectives)):
        raise SystemExit(f"the objective does not fall with each sweep: {objectives}")
    model = fc.load(original)
    rows = training.document["input"]["rows"]
    if model.interactions is None or len(model.interactions) != rows:
        raise SystemExit(f"the model does not hold the {rows} interactions that were read")
    for request, path in unlearned:
        left = fc.load(path)
        leaving = fc.as_ids([int(line) for line in request.read_text().split()[1:]])
        if (left.users.find(leaving) >= 0).any() or len(left.users) != len(model.users) - len(leaving):
            raise SystemExit(f"{path} does not lack exactly the users of {request}")


def spread(values: Sequence[float], digits: int = 1) -> str:
    median = f"{statistics.median(values):.{digits}f}"
    return median if len(values) < 2 else f"{median} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def print_table(commands: dict[str, list[Finished]]) -> None:
    """One column a command, medians over its runs with the lowest and the highest."""
    print("| | " + " | ".join(commands) + " |\n" + "|---" * (len(commands) + 1) + "|")
    print("| **wall time, s** | " + " | ".join(spread([r.wall for r in runs]) for runs in commands.values()) + " |")
    for stage in STAGES:
        parts = ([r.part(stage) for r in runs] for runs in commands.values())
        cells = (spread(part, 2) if any(part) else "" for part in parts)
        print(f"| {stage}, s | " + " | ".join(cells) + " |")
    print("| processor time, s | " + " | ".join(spread([r.cpu for r in runs]) for runs in commands.values()) + " |")
    cells = (spread([r.peak / 2**20 for r in runs], 0) for runs in commands.values())
    print("| peak memory, MiB | " + " | ".join(cells) + " |")


def picture(commands: dict[str, list[Finished]], shape: dict[str, Any]) -> bytes:
    """A bar a command, its stages side by side: median seconds, the least work on top."""
    from forgetcli.report.drawing import INK, RETRAINED, UNLEARNED, Panel, lone_svg

    shown = [name for name in BARS if name in commands]
    walls = {name: statistics.median(run.wall for run in commands[name]) for name in shown}

    def draw(axes: Any) -> None:
        for place, name in enumerate(shown):
            colour, left = RETRAINED if name == RETRAIN else UNLEARNED, 0.0
            for stage, shade in zip(STAGES, SHADES, strict=True):
                width = statistics.median(run.part(stage) for run in commands[name])
                axes.barh(place, width, left=left, height=0.6, color=colour, alpha=shade, linewidth=0)
                left += width
            label = f"{walls[name]:.1f} s"  # which medians of the stages need not add up to
            axes.annotate(label, (left, place), (4, 0), textcoords="offset points", va="center", ha="left", color=INK)
        axes.set_yticks(range(len(shown)), [BARS[name] for name in shown])
        axes.invert_yaxis()
        axes.margins(x=0.14)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("seconds, the whole command; dark: sweeping")
        axes.set_title(f"{shape['interactions'] / 1e6:.0f} million ratings, k = {shape['config']['factors']}")

    told = ", ".join(f"{name} {walls[name]:.1f} s" for name in shown)
    return lone_svg([Panel(draw, height=0.8)], "whole", f"Whole commands: {told}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", type=Path, metavar="DATA", help="Parquet or CSV, as benchmarks/synthetic.py makes it")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--sweeps", type=int, default=15)
    parser.add_argument("--work", type=Path, help="where the models go for the time being (default: the system's)")
    parser.add_argument("--results", type=Path, metavar="FILE", help="JSON lines of earlier runs, and of these")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="SVG; needs matplotlib")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    if options.picture:
        from forgetcli.report.drawing import check_available

        check_available()
    if not options.data.exists():
        raise SystemExit(f"{options.data} is missing: python benchmarks/synthetic.py -o {options.data}")
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        measure(options, Path(work))


def measure(options: argparse.Namespace, work: Path) -> None:
    runs = earlier_runs(options)
    while len(runs) < options.runs:
        runs.append(one_run(options, work))
        if options.results:
            with options.results.open("a") as file:
                print(json.dumps(runs[-1]), file=file)
    commands = {name: [Finished(**run["commands"][name]) for run in runs] for name in runs[0]["commands"]}
    shape = commands[TRAIN][-1].document["model"]
    loads = ", ".join(f"{run['load']:.1f}" for run in runs)
    print(
        f"{shape['interactions']:,} ratings, {shape['users']:,} users × {shape['items']:,} items, "
        f"k = {options.factors}, {options.sweeps} sweeps; model {runs[-1]['model_bytes'] / 2**20:.0f} MiB; "
        f"{len(runs)} runs, median (lowest to highest); load before each: {loads}\n"
    )
    print_table(commands)
    beyond = [r.wall / r.part("sweeping") - 1 for r in commands[TRAIN]]
    around = [r.wall - r.part("sweeping") for r in commands[ONE]]
    print(f"\n`forget train` beyond its sweeps: {spread([100 * share for share in beyond])} %")
    print(f"\n`forget forget` of one user beyond the step itself: {spread(around, 2)} s\n")
    print("| start-up | wall time, s |\n|---|---|")
    for name in runs[0]["start_up"]:
        print(f"| `{name}` | {spread([statistics.median(run['start_up'][name]) for run in runs], 3)} |")
    if options.picture:
        options.picture.write_bytes(picture(commands, shape))


def earlier_runs(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Those in --results that were asked for in the same way."""
    if not options.results or not options.results.exists():
        return []
    runs = [json.loads(line) for line in options.results.read_text().splitlines()]
    return [run for run in runs if run["asked"] == asked(options)]


def asked(options: argparse.Namespace) -> list[Any]:
    return [options.data.name, options.factors, options.sweeps]


def one_run(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """All commands once, and the start-ups; the answers checked."""
    model, left, fewer, anew = (work / name for name in ("model.npz", "left.npz", "fewer.npz", "anew.npz"))
    one, many = work / "one.csv", work / "many.csv"
    write_requests(options.data, one, many)
    plan = {
        TRAIN: ("train", options.data, "-o", model, "--factors", options.factors, "--sweeps", options.sweeps),
        ONE: ("forget", model, "--user", one.read_text().split()[1], "-o", left),
        MANY: ("forget", model, "--records", many, "-o", fewer),
        RETRAIN: ("retrain", model, "--records", many, "-o", anew),
    }
    load = os.getloadavg()[0]
    finished = {}
    for name, command in plan.items():
        touch_memory()
        finished[name] = run(*map(str, command), "--json", "--quiet")
    start_up = {
        " ".join(("forget", *command)).replace(str(model), "MODEL"): [run(*command).wall for _ in range(START_UP_RUNS)]
        for command in (("--help",), ("--version",), ("train", "--help"), ("info", str(model)))
    }
    model_bytes = model.stat().st_size
    check(finished[TRAIN], model, ((one, left), (many, fewer), (many, anew)))
    return {
        "asked": asked(options),
        "load": load,
        "commands": {name: dataclasses.asdict(each) for name, each in finished.items()},
        "start_up": start_up,
        "model_bytes": model_bytes,
    }


if __name__ == "__main__":
    main()
