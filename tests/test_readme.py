"""What the README says is so, and what it tells to type works as it is written."""

from __future__ import annotations

import csv
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from forgetcli import read_records
from forgetcli.cli.program import HELP
from tests.program import SAMPLES, environment

README = (SAMPLES.parent / "README.md").read_text(encoding="utf-8")
SURE_TITLES = 8
"""Of ten: the last bits of scores differ between processors, and near ties may change places."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with every file that the README's commands name."""
    directory = tmp_path_factory.mktemp("readme")
    for name in ("ratings.parquet", "items.csv", "deletions.csv"):
        shutil.copy(SAMPLES / name, directory)
    with (SAMPLES / "ratings.csv").open(newline="") as file:
        rows = list(csv.reader(file))[1:5001]
    for name, delimiter, header in (
        ("ml-100k/u.data", "\t", None),
        ("ml-1m/ratings.dat", "::", None),
        ("ml-25m/ratings.csv", ",", "userId,movieId,rating,timestamp"),
    ):
        (directory / name).parent.mkdir()
        lines = [delimiter.join([*row, "880000000"]) for row in rows]
        (directory / name).write_text("\n".join([*([header] if header else []), *lines]) + "\n")
    return directory


def shell(script: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Runs a script with `forget` on the path."""
    programs = directory / "bin"
    programs.mkdir(exist_ok=True)
    (programs / "forget").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m forgetcli "$@"\n')
    (programs / "forget").chmod(0o755)
    return subprocess.run(
        ["sh", "-euc", script], cwd=directory, env=environment(PATH=f"{programs}{os.pathsep}{os.environ['PATH']}"),
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_first_two_blocks_install_and_run_the_demonstration_and_the_tests() -> None:
    demonstration, tests = blocks("sh")[:2]
    for command in (demonstration, tests):
        assert command.count("\n") == 1
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install ")
    assert "sample_data/demo.sh" in demonstration
    assert tests.endswith("'.[test]' && .venv/bin/pytest\n")


@pytest.mark.parametrize("block", blocks("sh")[2:], ids=lambda block: block.split()[1])
def test_every_other_command_works_as_written(block: str, place: Path) -> None:
    done = shell(block, place)
    assert done.returncode == 0, done.stderr


def test_the_demonstration_shows_the_titles_that_the_readme_shows(place: Path) -> None:
    done = shell(str(SAMPLES / "demo.sh"), place)
    assert done.returncode == 0, done.stderr
    shown = re.findall(r"^42,\d+,\d+,[\d.]+,(.*)$", done.stdout, re.MULTILINE)
    promised = re.findall(r"^\| \d+ \| (.*?) \| (.*?) \|$", README, re.MULTILINE)
    assert (len(shown), len(promised)) == (20, 10)
    before, after = zip(*promised, strict=True)
    assert len(set(before) & {title.strip('"') for title in shown[:10]}) >= SURE_TITLES
    assert len(set(after) & {title.strip('"') for title in shown[10:]}) >= SURE_TITLES


def test_the_forget_list_asks_for_a_pair_a_user_and_an_item(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(blocks("csv")[0])
    request = read_records(tmp_path / "list.csv")
    assert [len(ids) for ids in (request.pair_users, request.users, request.items)] == [1, 1, 1]


@pytest.mark.parametrize("block", blocks("python"))
def test_the_python_example_runs(block: str, place: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", block], cwd=place, env=environment(), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_exit_codes_are_those_of_the_program() -> None:
    told = dict(re.findall(r"^\| (\d+) \| (.*?) \|$", README, re.MULTILINE))
    codes = {code: meaning for code, meaning in told.items() if meaning.replace("`", "") in HELP.replace("`", "")}
    assert set(re.findall(r"^ +(\d+)  ", HELP, re.MULTILINE)) <= set(codes) | {"70"}
