"""Documentation as something to run: the blocks of a page, and the place where they work."""

from __future__ import annotations

import csv
import datetime
import gzip
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.interop.make_fixtures import FIXTURES, ratings
from tests.program import SAMPLES, environment

ROOT = SAMPLES.parent
FENCE = re.compile(r"^( *)```(\{?\w*)([^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
NEEDS = re.compile(r"^ *\*Needs ([^*]+?)\.\*\n+\Z", re.MULTILINE)

PROGRAMS = {"Java": "java", "jq": "jq"}
"""What a block may need that is no Python package."""

PSQL = '#!/bin/sh\nprintf "user,item\\n42,11\\n42,15\\n"\n'
"""Stands for a database that lists what was withdrawn."""

JQ = """#!/bin/sh
exec {python} -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1].split(".")[1]])' "$@"
"""
"""Stands for jq where it is missing; knows the first member of a path."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    language:  the word after the fence.
    is_output: whether "output" follows that word.
    line:      of its first line of text in the page, from 1.
    needs:     the names on the line *Needs a, b and c.* before the fence.
    """

    language: str
    is_output: bool
    text: str
    line: int
    needs: tuple[str, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """What it needs and is not here."""
        return tuple(name for name in self.needs if not is_here(name))


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a Markdown text, in order, without the site generator's directives."""
    found = []
    for match in FENCE.finditer(page):
        if match[2].startswith("{"):
            continue
        needs = NEEDS.search(page[: match.start()])
        names = tuple(re.split(r", (?:and )?| and ", needs[1])) if needs else ()
        text = re.sub(f"^{match[1]}", "", match[4], flags=re.MULTILINE)
        found.append(Block(match[2], "output" in match[3], text, page.count("\n", 0, match.start(4)) + 1, names))
    return found


def is_here(name: str) -> bool:
    """Whether a program or a package is installed. What is neither, such as a running server, never is."""
    if name in PROGRAMS:
        return shutil.which(PROGRAMS[name]) is not None
    return name.isidentifier() and importlib.util.find_spec(name) is not None


def _furnish_foreign_models(directory: Path) -> None:
    """Models that other trainers left, their ids, and what they were trained on."""
    for name, copy in (
        ("implicit_cg.npz", "als.npz"),
        ("cmfrec_explicit.npz", "cmfrec.npz"),
        ("lenskit_rated.npz", "lenskit.npz"),
    ):
        shutil.copy(FIXTURES / name, directory / copy)
    for name, copy in (("spark_explicit", "als-model"), ("spark_explicit_als", "als")):
        shutil.copytree(FIXTURES / name, directory / copy)
    users, items, values = ratings()
    for side, ids in (("user", users), ("item", items)):
        (directory / f"{side}s.txt").write_text("".join(f"{each}\n" for each in np.unique(ids)))
    with (directory / "listened.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("user", "item", "rating"), *zip(users, items, values, strict=True)])
    factors = np.load(FIXTURES / "implicit_cg.npz")
    np.savez(
        directory / "factors.npz",
        user_factors=factors["user_factors"],
        item_factors=factors["item_factors"],
        user_ids=np.unique(users),
        item_ids=np.unique(items),
    )


def furnish(directory: Path) -> None:
    """Puts every file there that pages and examples name, the program, and stand-ins for other programs."""
    _furnish_foreign_models(directory)
    for name in ("ratings.parquet", "items.csv", "deletions.csv"):
        shutil.copy(SAMPLES / name, directory)
    with (SAMPLES / "ratings.csv").open(newline="") as file:
        rows = list(csv.reader(file))[1:5001]
    for name, delimiter, header in (
        ("ml-100k/u.data", "\t", None),
        ("ml-1m/ratings.dat", "::", None),
        ("ml-25m/ratings.csv", ",", "userId,movieId,rating,timestamp"),
        ("plays.csv", ",", "user,item,plays,timestamp"),
    ):
        (directory / name).parent.mkdir(exist_ok=True)
        lines = [delimiter.join([*row, "880000000"]) for row in rows]
        (directory / name).write_text("\n".join([*([header] if header else []), *lines]) + "\n")
    (directory / "active.csv").write_text("user\n1\n42\n")
    table = pq.read_table(SAMPLES / "ratings.parquet")
    pq.write_table(table.take(list(range(0, len(table), 50))), directory / "held-out.parquet")
    (directory / "logs").mkdir()
    with gzip.open(directory / "logs" / "monday.csv.gz", "wt") as log:
        log.write("\n".join(["user,item,rating", *map(",".join, rows)]) + "\n")
    users, items, plays = zip(*rows, strict=True)
    for country, month in (("DE", 7), ("FR", 7), ("DE", 5)):
        part = directory / "plays" / f"country={country}" / f"{month}.parquet"
        part.parent.mkdir(parents=True, exist_ok=True)
        day = [datetime.date(2024, month, 1)] * len(rows)
        columns = {"user": users, "item": items, "plays": list(map(float, plays)), "day": day}
        pq.write_table(pa.table(columns), part)
    programs = directory / "bin"
    programs.mkdir()
    python = shlex.quote(sys.executable)
    scripts = {
        "forget": f'#!/bin/sh\nexec {python} -m forgetcli "$@"\n',
        "python": f'#!/bin/sh\nexec {python} "$@"\n',
        "psql": PSQL,
    }
    if shutil.which("jq") is None:
        scripts["jq"] = JQ.format(python=python)
    for name, script in scripts.items():
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)


def shell(script: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Runs a script in a furnished directory, to the first command that fails."""
    path = f"{directory / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["sh", "-euc", script], cwd=directory, env=environment(PATH=path, HOME=str(directory)),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
