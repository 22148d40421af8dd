"""The measurements of whole commands and of growth: what they make of results that are there already."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.program import SAMPLES, environment

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


def benchmark(name: str, *options: object) -> str:
    own = environment(PYTHONSAFEPATH="")  # the program finds the modules beside it
    command = [sys.executable, str(BENCHMARKS / name), *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, env=own, check=True).stdout


def point(millions: int, rank: int) -> dict[str, Any]:
    """Time grows as the ratings and as the square of the rank, memory as the root of the ratings."""
    return {
        "millions": millions,
        "rank": rank,
        "model": {"users": 6502 * millions, "items": 59047, "bytes": 10_000_000 * millions},
        **dict.fromkeys(("sweep", "train", "rest", "forget"), 0.1 * millions * (rank / 64) ** 2),
        **dict.fromkeys(("train_peak", "forget_peak"), 2**28 * millions**0.5),
    }


def test_growth_states_the_slopes_of_lines_on_logarithmic_scales(tmp_path: Path) -> None:
    results, picture = tmp_path / "growth.jsonl", tmp_path / "growth.svg"
    points = [point(1, 64), point(5, 64), point(25, 64), point(25, 32), point(25, 128)]
    results.write_text("".join(json.dumps(each) + "\n" for each in points))
    out = benchmark("growth.py", tmp_path, "--results", results, "--points", "5:64", "--picture", picture)
    assert "| one sweep, time | 1.00 | 2.00 |" in out
    assert "| train, peak memory | 0.50 | 0.00 |" in out
    assert out.count("\n| 25 M |") == 3
    assert results.read_text().count("\n") == len(points)  # what is there is not measured again
    assert picture.read_text().startswith("<svg")
    assert "one sweep: 1.00" in picture.read_text()


def test_whole_commands_are_told_and_drawn_from_the_runs_that_are_there(tmp_path: Path) -> None:
    data, results, picture = SAMPLES / "ratings.parquet", tmp_path / "train.jsonl", tmp_path / "whole.svg"

    def finished(sweeping: float, **document: Any) -> dict[str, Any]:
        seconds = {"reading": 1.0, "sweeping": sweeping, "writing": 0.5, "total": sweeping + 1.5}
        return {"wall": sweeping + 2, "cpu": 3.0, "peak": 2**30, "document": {"seconds": seconds, **document}}

    shape = {"model": {"interactions": 25_000_000, "users": 10, "items": 5, "config": {"factors": 64}}}
    run = {
        "asked": [data.name, 64, 15],
        "load": 0.5,
        "commands": {
            "train": finished(20.0, **shape),
            "forget one user": finished(4.0),
            "forget 1 % of the users": finished(6.0),
            "retrain without those": finished(19.0),
        },
        "start_up": {"forget --help": [0.03, 0.04, 0.05]},
        "model_bytes": 2**28,
    }
    other = {**run, "asked": [data.name, 32, 15]}
    results.write_text(f"{json.dumps(run)}\n{json.dumps(other)}\n")
    out = benchmark("train.py", data, "--runs", 1, "--results", results, "--picture", picture)
    assert "1 runs" in out
    assert "| **wall time, s** | 22.0 | 6.0 | 8.0 | 21.0 |" in out
    assert "`forget train` beyond its sweeps: 10.0 %" in out
    assert "`forget forget` of one user beyond the step itself: 2.00 s" in out
    assert "| `forget --help` | 0.040 |" in out
    assert "forget one user 6.0 s" in picture.read_text()
