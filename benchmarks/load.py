"""What the program does with very many interactions, very many users, one enormous user, and little memory.

    python benchmarks/load.py --directory /somewhere/large      # 100 million interactions: 8 GB of memory, 10 minutes
    python benchmarks/load.py --directory /tmp/load --cases users,heavy --scale 0.1 --factors 8

For each case it makes the data once, runs the commands as processes, and prints lines of a Markdown table: how long
they took, how much memory at most, and how large the model is. `threads` trains and forgets with 1 to 8 threads, and
with two of these again, and says whether the bytes are the same. `limits` lowers the address space until a command has
too little, and says how it ended.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

CASES = ("rows", "users", "heavy", "threads", "limits")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--cases", default=",".join(CASES), help="some of " + ", ".join(CASES))
    parser.add_argument("--scale", type=float, default=1.0, help="of the sizes")
    parser.add_argument("--factors", type=int, default=32)
    parser.add_argument("--sweeps", type=int, default=3)
    arguments = parser.parse_args()
    directory: Path = arguments.directory
    directory.mkdir(parents=True, exist_ok=True)
    options = ["--factors", str(arguments.factors), "--sweeps", str(arguments.sweeps)]
    print("| case | command | seconds | peak MiB | model MiB | exit code |\n|---|---|---|---|---|---|", flush=True)
    for case in arguments.cases.split(","):
        data = directory / f"{case}-{arguments.scale:g}.parquet"
        if not data.exists():
            make(case, arguments.scale, data)
        model = directory / f"{case}.npz"
        {"threads": in_threads, "limits": within_limits}.get(case, in_order)(case, data, model, options)


def make(case: str, scale: float, path: Path) -> None:
    """rows: 100 million by long tails; users: 10 million with one each; heavy: a user with a million, and others."""
    rng = np.random.default_rng(0)
    n = int({"rows": 100e6, "users": 10e6, "heavy": 2e6}.get(case, 1e6) * scale)
    with pq.ParquetWriter(path, SCHEMA) as writer:
        for begin in range(0, n, 1 << 22):
            size = min(1 << 22, n - begin)
            if case == "users":
                users = np.arange(begin, begin + size)
            elif case == "heavy":
                users = np.where(np.arange(begin, begin + size) < n // 2, 0, rng.integers(1, 1 + n // 20, size))
            else:
                users = np.floor(rng.random(size) ** 2 * n / 100).astype(np.int64)
            items = np.floor(rng.random(size) ** 3 * (n if case == "heavy" else n / 200)).astype(np.int64)
            if case == "heavy":
                items = np.where(users == 0, np.arange(begin, begin + size), items)
            ratings = rng.integers(1, 11, size).astype(np.float32) / 2
            writer.write_table(pa.table({"user": users, "item": items, "rating": ratings}, schema=SCHEMA))


SCHEMA = pa.schema([("user", pa.int64()), ("item", pa.int64()), ("rating", pa.float32())])


def run(*arguments: object, limit: int | None = None) -> tuple[int, dict[str, Any], str]:
    """Exit code, the JSON object, and standard error of one command."""
    done = subprocess.run(
        [sys.executable, "-m", "forgetcli", *map(str, arguments), "--json"],
        capture_output=True, text=True, check=False,
        preexec_fn=None if limit is None else partial(resource.setrlimit, resource.RLIMIT_AS, (limit, limit)),
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


def report(case: str, command: str, ended: tuple[int, dict[str, Any], str], model: Path) -> None:
    code, document, error = ended
    seconds, peak = document.get("seconds", {}).get("total", 0.0), document.get("peak_memory_bytes", 0)
    size = model.stat().st_size if model.exists() else 0
    print(f"| {case} | {command} | {seconds:.1f} | {peak >> 20:,} | {size >> 20:,} | {code} |", flush=True)
    if code:
        print(error, file=sys.stderr)


def in_order(case: str, data: Path, model: Path, options: list[str]) -> None:
    """Trains, forgets a user, and ranks for a thousand."""
    report(case, "train", run("train", data, *options, "-o", model), model)
    out, users = model.with_suffix(".forgot.npz"), model.with_suffix(".users.csv")
    report(case, "forget", run("forget", model, "--user", 0, "--no-retrain", "-o", out), out)
    users.write_text("user\n" + "".join(f"{user}\n" for user in range(1, 1001)))
    report(case, "recommend", run("recommend", out, "--users", users, "-o", model.with_suffix(".csv")), out)


def in_threads(case: str, data: Path, model: Path, options: list[str]) -> None:
    """Whether one to eight threads, and a second time, give the same bytes."""
    digests: dict[str, set[str]] = {"train": set(), "forget": set()}
    out = model.with_suffix(".forgot.npz")
    for threads in (*range(1, 9), 1, 8):
        for command, path, given in (
            ("train", model, ("train", data, *options, "-o", model)),
            ("forget", out, ("forget", model, "--user", 1, "--no-retrain", "-o", out)),
        ):
            report(f"{case}: {threads}", command, run(*given, "--threads", threads), path)
            digests[command].add(hashlib.sha256(path.read_bytes()).hexdigest())
    for command, found in digests.items():
        print(f"{command}: {'the same bytes every time' if len(found) == 1 else 'DIFFERENT BYTES'}", flush=True)


def within_limits(case: str, data: Path, model: Path, options: list[str]) -> None:
    """How commands end with less and less address space: exit code 0, or 5 with a message."""
    run("train", data, *options, "-o", model)
    new, table, users = model.with_suffix(".new.npz"), model.with_suffix(".csv"), model.with_suffix(".users.csv")
    users.write_text("user\n" + "".join(f"{user}\n" for user in range(1, 101)))
    for megabytes in (2048, 1024, 768, 512, 384, 256, 128):
        for command, path, given in (
            ("train", new, ("train", data, *options, "-o", new)),
            ("forget", new, ("forget", model, "--user", 1, "--no-retrain", "-o", new)),
            ("recommend", table, ("recommend", model, "--users", users, "-o", table)),
            ("compare", model, ("compare", model, model)),
        ):
            ended = run(*given, limit=megabytes << 20)
            report(f"{case}: {megabytes} MiB", command, ended, path)
            assert ended[0] in (0, 5), ended


if __name__ == "__main__":
    main()
