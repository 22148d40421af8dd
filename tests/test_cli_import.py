"""`forget import` as a process."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from forgetcli import load
from tests.interop.make_fixtures import FIXTURES, ratings
from tests.program import check_error, forget, forget_well, write_csv


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with implicit's model, its data and its ids."""
    users, items, values = ratings()
    shutil.copy(FIXTURES / "implicit_cg.npz", tmp_path / "als.npz")
    write_csv(tmp_path / "plays.csv", ["user", "item", "plays"], list(zip(users, items, values, strict=True)))
    write_csv(tmp_path / "users.csv", ["user"], [[each] for each in np.unique(users)])
    (tmp_path / "items.txt").write_text("".join(f"{each}\n" for each in np.unique(items)))
    return tmp_path


IMPORT = (
    "import", "als.npz", "--format", "implicit", "--data", "plays.csv", "--user-ids", "users.csv",
    "--item-ids", "items.txt",
)  # fmt: skip


def test_import_then_forget(place: Path) -> None:
    run = forget_well(*IMPORT, "--json", cwd=place)
    document = run.document
    assert document["format"] == "implicit"
    assert document["left_out"] == {"interactions": 0, "idle_users": 0, "idle_items": 0}
    assert document["agreement"]["items"] < 0.02
    assert document["model"]["users"] == 24
    for method in ("response", "sweeps"):
        forget_well("forget", "model.npz", "--user", "3", "--method", method, "-o", f"{method}.npz", cwd=place)
        model = load(place / f"{method}.npz")
        assert len(model.users) == 23
        assert model.config.confidence_base == 0


def test_data_that_repeats_a_pair_needs_a_word_on_it(place: Path) -> None:
    with (place / "plays.csv").open("a") as file:
        csv.writer(file).writerow([3, 5, 1.0])
        csv.writer(file).writerow([3, 5, 1.0])
    run = forget(*IMPORT, cwd=place)
    check_error(run, 3, "rows of the data repeat a pair", "--duplicates")
    assert not (place / "model.npz").exists()


def test_a_wrong_objective_is_warned_of(place: Path) -> None:
    values = np.load(place / "als.npz")
    np.savez(place / "als.npz", **{**values, "regularization": 30.0})
    run = forget_well(*IMPORT, "--quiet", cwd=place)
    assert "neither side is near its solution" in " ".join(run.err.split())


def test_an_output_that_is_the_source_is_refused(place: Path) -> None:
    check_error(forget(*IMPORT, "-o", "als.npz", cwd=place), 2, "cannot be the output too")
