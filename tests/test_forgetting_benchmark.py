"""The measurement of what forgetting leaves, on the sample data in place of real ones."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.program import SAMPLES, environment

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "forgetting.py"


def benchmark(data: Path, *options: str) -> subprocess.CompletedProcess[str]:
    own = environment(PYTHONSAFEPATH="")  # the program finds the modules beside it
    command = [sys.executable, str(SCRIPT), "--data", str(data), "--datasets", "gowalla", *options]
    return subprocess.run(command, capture_output=True, text=True, env=own, check=False)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    shutil.copy(SAMPLES / "ratings.parquet", tmp_path / "gowalla.parquet")
    return tmp_path


def test_it_measures_once_and_fills_its_part_of_a_document(data: Path) -> None:
    document, results = data / "doc.md", data / "cells.jsonl"
    begin, end = "<!-- measured by benchmarks/forgetting.py: begin -->", "<!-- end -->"
    document.write_text(f"Before.\n{begin}\nOld figures.\n{end}\nAfter.\n")
    files = ("--results", str(results), "--table", str(document))
    run = benchmark(data, "--quick", *files)
    assert run.returncode == 0, run.stderr
    first = document.read_text()
    assert first.startswith(f"Before.\n{begin}\n")
    assert first.endswith(f"{end}\nAfter.\n")
    assert "Old figures" not in first
    assert run.stdout.strip() in first
    cells = [json.loads(line) for line in results.read_text().splitlines()]
    assert [cell["request"] for cell in cells] == ["60 half histories", "1 %"]
    for cell in cells:
        assert cell["warm"]["1"]["memory"] > cell["response"]["memory"]
        left = f"{cell['response']['memory']:.3f}".replace("-", "−")
        in_band = abs(cell["response"]["memory"] - cell["mean"]) <= 2 * cell["deviation"]
        assert f" **{left}** " in run.stdout if in_band else f" {left} " in run.stdout
    again = benchmark(data, "--quick", *files)
    assert again.stdout == run.stdout
    assert document.read_text() == first


def test_fewer_retrains_than_know_their_deviation_are_refused(data: Path) -> None:
    run = benchmark(data, "--retrains", "5")
    assert run.returncode == 2
    assert "at least 6" in run.stderr


@pytest.mark.skipif(find_spec("matplotlib") is not None, reason="matplotlib is installed here")
def test_a_picture_without_matplotlib_is_refused_before_anything_is_measured(data: Path) -> None:
    run = benchmark(data, "--picture", str(data / "picture.svg"))
    assert run.returncode == 2
    assert "forgetcli[report]" in run.stderr


def test_data_that_are_not_there_are_said_to_be_missing(tmp_path: Path) -> None:
    run = benchmark(tmp_path)
    assert run.returncode == 1
    assert "gowalla.parquet" in run.stderr
