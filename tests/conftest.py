"""Fixtures of the tests that run the program, or import a benchmark."""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.program import SAMPLES, SMALL, forget_well

os.environ["PYTHONSAFEPATH"] = "1"
"""Processes that tests start shall find the package that the tests found, not the source tree they are started in."""

os.environ["FORGET_CONFIG"] = ""
"""Settings of the person who runs the tests shall not change them."""


BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture
def benchmark_module(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Imports a benchmark by its name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the sample data, a small model.npz of it, and two retrains. Not to be changed."""
    directory = tmp_path_factory.mktemp("trained")
    for name in ("ratings.parquet", "items.csv", "deletions.csv"):
        shutil.copy(SAMPLES / name, directory)
    forget_well("train", "ratings.parquet", *SMALL, cwd=directory)
    for seed in ("1", "2"):
        forget_well(
            "retrain", "model.npz", "--records", "deletions.csv", "--seed", seed, "-o", f"r{seed}.npz", cwd=directory
        )
    return directory


@pytest.fixture
def work(trained: Path, tmp_path: Path) -> Path:
    """A copy of `trained` to work in."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return tmp_path
