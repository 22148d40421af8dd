"""Time whole commands on 25 million ratings, as processes: train, forget, info and the start-up.

    python benchmarks/synthetic.py -o /tmp/synth25m.parquet
    python benchmarks/train.py /tmp/synth25m.parquet
    python benchmarks/train.py /tmp/synth25m.parquet --runs 5 --factors 128

Each run trains, then forgets one user and then 1 % of the users from that model, each into a file of its own. Prints
Markdown: the wall time, the part of each stage as `--json` tells it, processor time, and the most memory that the
process held, as the system tells it. A run that was disturbed shows in a processor time well below the wall time times
the processors. Nothing is printed before the last run's answers have been checked: the objective falls with each sweep,
the models load, and who was to be forgotten is gone.

Needs 2 GB of memory and 1 GB in --work; under 3 minutes a run on two idle cores.
"""

from __future__ import annotations

import argparse
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
    """Runs one forget command to its end. Raises SystemExit when it fails.

    The system's record of a process's memory begins with its parent's: nothing large may be held here while it runs.
    """
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
    return Finished(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * MAXRSS_UNIT, document)


def write_requests(data: Path, one: Path, many: Path) -> None:
    """Two forget-lists, of a user with the median number of ratings and of FORGOTTEN_SHARE of the users.

    In a process of its own: the whole column of users is read for it.
    """
    script = """if True:
        import sys
        import numpy as np
        import pyarrow.parquet as pq
        data, one, many, share, seed = sys.argv[1:]
        users, counts = np.unique(pq.read_table(data, columns=["user"])["user"].to_numpy(), return_counts=True)
        median = users[np.argsort(counts, kind="stable")[len(users) // 2]]
        chosen = np.random.default_rng(int(seed)).choice(users, max(1, int(float(share) * len(users))), replace=False)
        for path, leaving in ((one, [median]), (many, chosen)):
            with open(path, "w") as file:
                print("user", *leaving, sep="\\n", file=file)
    """
    arguments = (data, one, many, FORGOTTEN_SHARE, FORGOTTEN_SEED)
    subprocess.run((sys.executable, "-c", script, *map(str, arguments)), check=True)


def check(training: Finished, original: Path, unlearned: Sequence[tuple[Path, Path]]) -> None:
    """Raises SystemExit unless the answers are right; holds the models, and so comes after all measuring."""
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
    documents = [runs[0].document["seconds"] for runs in commands.values()]
    stages = ("start and end", *dict.fromkeys(stage for seconds in documents for stage in seconds if stage != "total"))
    print("| | " + " | ".join(commands) + " |\n" + "|---" * (len(commands) + 1) + "|")
    print("| **wall time, s** | " + " | ".join(spread([r.wall for r in runs]) for runs in commands.values()) + " |")
    for stage in stages:
        cells = (spread([r.part(stage) for r in runs], 2) for runs in commands.values())
        print(f"| {stage}, s | " + " | ".join(cells) + " |")
    print("| processor time, s | " + " | ".join(spread([r.cpu for r in runs]) for runs in commands.values()) + " |")
    cells = (spread([r.peak / 2**20 for r in runs], 0) for runs in commands.values())
    print("| peak memory, MiB | " + " | ".join(cells) + " |")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", type=Path, metavar="DATA", help="Parquet, as benchmarks/synthetic.py makes it")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--sweeps", type=int, default=15)
    parser.add_argument("--work", type=Path, help="where the models go for the time being (default: the system's)")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    if not options.data.exists():
        raise SystemExit(f"{options.data} is missing: python benchmarks/synthetic.py -o {options.data}")
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        measure(options, Path(work))


def measure(options: argparse.Namespace, work: Path) -> None:
    model, left, fewer = (work / name for name in ("model.npz", "left.npz", "fewer.npz"))
    one, many = work / "one.csv", work / "many.csv"
    write_requests(options.data, one, many)
    plan = {
        "train": ("train", options.data, "-o", model, "--factors", options.factors, "--sweeps", options.sweeps),
        "forget one user": ("forget", model, "--records", one, "-o", left),
        "forget 1 % of the users": ("forget", model, "--records", many, "-o", fewer),
    }
    commands: dict[str, list[Finished]] = {name: [] for name in plan}
    loads = []
    for _ in range(options.runs):
        loads.append(os.getloadavg()[0])
        for name, command in plan.items():
            commands[name].append(run(*map(str, command), "--json", "--quiet"))
    start_ups = {
        f"`forget {' '.join(command)}`": [run(*command) for _ in range(START_UP_RUNS)]
        for command in (("--help",), ("--version",), ("train", "--help"))
    }
    start_ups["`forget info MODEL`"] = [run("info", str(model)) for _ in range(START_UP_RUNS)]
    training = commands["train"][-1]
    bytes_written = model.stat().st_size
    check(training, model, ((one, left), (many, fewer)))

    shape = training.document["model"]
    print(
        f"{shape['interactions']:,} ratings, {shape['users']:,} users × {shape['items']:,} items, "
        f"k = {options.factors}, {options.sweeps} sweeps; model {bytes_written / 2**20:.0f} MiB; "
        f"{options.runs} runs, median (lowest to highest); load before each: {', '.join(f'{x:.1f}' for x in loads)}\n"
    )
    print_table(commands)
    beyond = [r.wall / r.part("sweeping") - 1 for r in commands["train"]]
    print(f"\n`forget train` beyond its sweeps: {spread([100 * share for share in beyond])} %\n")
    print("| start-up | wall time, s |\n|---|---|")
    for name, runs in start_ups.items():
        print(f"| {name} | {spread([r.wall for r in runs], 3)} |")


if __name__ == "__main__":
    main()
