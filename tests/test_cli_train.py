"""`forget train` and `forget info` as processes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from forgetcli import load
from tests.program import (
    LONGEST_LINE,
    SAMPLES,
    SMALL,
    check_error,
    forget,
    forget_on_terminal,
    forget_well,
    longest_line,
    write_csv,
)

SHARED = {"command", "schema_version", "forgetcli_version", "seconds", "peak_memory_bytes"}
ROWS = [(user, item, (user * item) % 5 + 1) for user in range(1, 13) for item in range(user % 3, 9)]


def test_train_writes_a_model_and_talks_on_standard_error_only(work: Path) -> None:
    run = forget_well("train", "ratings.parquet", *SMALL, "-o", "new.npz", cwd=work)
    assert run.out == ""
    assert "107,660 ratings of 800 items by 2,000 users" in run.err
    assert "new.npz" in run.err
    assert longest_line(run.err) <= LONGEST_LINE
    with np.load(work / "new.npz", allow_pickle=False) as arrays:
        assert arrays["user_factors"].shape == (2000, 8)


def test_train_is_silent_when_asked(work: Path) -> None:
    run = forget_well("train", "ratings.parquet", *SMALL, "--quiet", cwd=work)
    assert (run.out, run.err) == ("", "")


def test_train_json_is_one_object_and_nothing_else(work: Path) -> None:
    document = forget_well("train", "ratings.parquet", *SMALL, "--holdout", "0.1", "--json", cwd=work).document
    assert set(document) == SHARED | {"input", "model", "sweeps"}
    assert (document["command"], document["schema_version"]) == ("train", 1)
    assert set(document["seconds"]) == {"reading", "encoding", "sweeping", "writing", "total"}
    assert [set(sweep) for sweep in document["sweeps"]] == [{"objective", "seconds", "rmse", "mae"}] * 3
    assert document["model"]["config"]["factors"] == 8
    assert document["input"]["rows"] == 107_660
    assert document["input"]["held_out"] + document["model"]["interactions"] == 107_660


def test_a_model_solved_by_conjugate_gradients_says_so(work: Path) -> None:
    forget_well("train", "ratings.parquet", *SMALL, "--solver", "cg", "--cg-steps", "2", "-o", "cg.npz", cwd=work)
    assert "conjugate gradients, 2 steps a row" in forget_well("info", "cg.npz", cwd=work).out
    forget_well("retrain", "cg.npz", "-o", "again.npz", cwd=work)
    assert (work / "again.npz").read_bytes() == (work / "cg.npz").read_bytes()


def test_progress_is_a_line_a_sweep_where_there_is_no_terminal(work: Path) -> None:
    run = forget_well("train", "ratings.parquet", *SMALL, "--progress", cwd=work)
    assert [line.split(",")[0] for line in run.err.splitlines() if "sweep " in line and line.startswith("forget:")] == [
        f"forget: sweep {number}/3" for number in (1, 2, 3)
    ]


def test_csv_from_standard_input_gives_the_model_of_the_parquet_file(work: Path) -> None:
    forget_well("train", "-", *SMALL, "-o", "piped.npz", cwd=work, stdin=(SAMPLES / "ratings.csv").read_bytes())
    assert (work / "piped.npz").read_bytes() == (work / "model.npz").read_bytes()


def test_threads_and_the_order_of_rows_change_no_byte(work: Path) -> None:
    header, *lines = (SAMPLES / "ratings.csv").read_text().splitlines()
    (work / "turned.csv").write_text("\n".join([header, *reversed(lines)]) + "\n")
    forget_well("train", "turned.csv", *SMALL, "--threads", "3", "-o", "turned.npz", cwd=work)
    assert (work / "turned.npz").read_bytes() == (work / "model.npz").read_bytes()


@pytest.mark.parametrize(
    ("header", "given", "objective"),
    [
        (("user", "item", "rating"), (), "explicit"),
        (("user", "item", "other"), (), "implicit"),
        (("user", "item", "rating"), ("--objective", "implicit"), "implicit"),
        (("who", "what", "count"), ("--user-col", "who", "--item-col", "what"), "explicit"),
    ],
)
def test_a_rating_column_makes_the_model_explicit_unless_told_otherwise(
    header: tuple[str, ...], given: tuple[str, ...], objective: str, tmp_path: Path
) -> None:
    write_csv(tmp_path / "data.csv", header, ROWS)
    forget_well("train", "data.csv", *SMALL, *given, cwd=tmp_path)
    assert load(tmp_path / "model.npz").config.objective == objective


def test_files_without_a_header_are_read_by_columns(tmp_path: Path) -> None:
    (tmp_path / "ratings.dat").write_text("".join(f"{u}::{i}::{r}::{u + i}\n" for u, i, r in ROWS))
    write_csv(tmp_path / "ratings.csv", ("userId", "movieId", "rating", "timestamp"), [(*row, 0) for row in ROWS])
    names = ("--columns", "user,item,rating,timestamp", "--delimiter", "::")
    forget_well("train", "ratings.dat", *SMALL, *names, "-o", "dat.npz", cwd=tmp_path)
    forget_well("train", "ratings.csv", *SMALL, "-o", "csv.npz", cwd=tmp_path)
    assert (tmp_path / "dat.npz").read_bytes() == (tmp_path / "csv.npz").read_bytes()


def test_ratings_that_are_all_equal_make_an_implicit_model_and_a_warning(tmp_path: Path) -> None:
    write_csv(tmp_path / "data.csv", ("user", "item", "rating"), [(user, item, 1) for user, item, _ in ROWS])
    chosen = forget_well("train", "data.csv", *SMALL, "--quiet", "--json", cwd=tmp_path)
    assert chosen.document["model"]["config"]["objective"] == "implicit"
    assert "so the model is implicit; --objective explicit insists" in " ".join(chosen.err.split())
    insisted = forget_well("train", "data.csv", *SMALL, "--quiet", "--objective", "explicit", cwd=tmp_path)
    assert "there is nothing to predict" in " ".join(insisted.err.split())
    assert forget_well("train", "data.csv", *SMALL, "-q", "--objective", "implicit", cwd=tmp_path).err == ""


def test_validation_data_is_measured_after_each_sweep(work: Path) -> None:
    write_csv(work / "test.csv", ("user", "item", "rating"), [(1, 2, 4.0), (2, 3, 3.0), (99999, 3, 3.0)])
    run = forget_well("train", "ratings.parquet", *SMALL, "--validation", "test.csv", cwd=work)
    assert "2 ratings; 1 more have an unknown user or item" in run.err
    assert "RMSE" in run.err
    assert [set(entry.metrics) for entry in load(work / "model.npz").history] == [{"rmse", "mae"}] * 3


def test_a_bad_row_stops_training_with_its_line_or_is_dropped_and_counted(tmp_path: Path) -> None:
    write_csv(tmp_path / "data.csv", ("user", "item", "rating"), [*ROWS, (3, 4, "lots")])
    check_error(forget("train", "data.csv", *SMALL, cwd=tmp_path), 3, "data.csv", f"line {len(ROWS) + 2}")
    run = forget_well("train", "data.csv", *SMALL, "--bad-rows", "drop", cwd=tmp_path)
    assert "1 unusable row dropped" in run.err


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [("missing.csv", None, 5), ("empty.csv", "", 3), ("header.csv", "user,item\n", 3), ("words.txt", "a b c\n", 3)],
)
def test_data_that_cannot_be_used_leaves_no_model(name: str, content: str | None, code: int, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    check_error(forget("train", name, cwd=tmp_path), code, name)
    assert not (tmp_path / "model.npz").exists()


def test_a_target_that_cannot_be_written_is_told_before_the_reading(tmp_path: Path) -> None:
    check_error(forget("train", "missing.csv", "-o", "no/model.npz", cwd=tmp_path), 5, "no/model.npz")


def test_training_shows_on_a_terminal_what_goes_on_and_leaves_only_the_summary(work: Path) -> None:
    code, shown = forget_on_terminal("train", "ratings.parquet", "--factors", "64", "--sweeps", "40", cwd=work)
    assert code == 0
    assert "training ..." in shown
    assert shown.rpartition("\x1b[2K")[2].startswith("Trained ")


def test_info_shows_what_the_model_is(trained: Path) -> None:
    run = forget_well("info", "model.npz", cwd=trained)
    assert run.err == ""
    assert longest_line(run.out) <= LONGEST_LINE
    for part in ("explicit with biases", "2,000 (integer ids)", "107,660 interactions", "3 sweeps", "0.07"):
        assert part in run.out


def test_momentum_is_asked_for_shown_and_kept(work: Path) -> None:
    run = forget_well("train", "ratings.parquet", *SMALL, "--acceleration", "momentum", "-o", "fast.npz", cwd=work)
    assert "with momentum" in run.err
    assert "sweeps     with momentum" in forget_well("info", "fast.npz", cwd=work).out
    assert load(work / "fast.npz").config.acceleration == "momentum"
    check_error(forget("train", "ratings.parquet", "--acceleration", "warp", cwd=work), 2, "momentum")


def test_info_json_holds_the_configuration_and_the_history(trained: Path) -> None:
    document = forget_well("info", "model.npz", "--json", cwd=trained).document
    assert set(document) >= SHARED | {"path", "bytes", "users", "items", "interactions", "config", "history"}
    assert document["bytes"] == (trained / "model.npz").stat().st_size
    assert len(document["history"]) == 3


def test_a_file_that_is_no_model_is_refused(work: Path) -> None:
    shutil.copy(work / "ratings.parquet", work / "fake.npz")
    check_error(forget("info", "fake.npz", cwd=work), 3, "fake.npz")
    check_error(forget("info", "gone.npz", cwd=work), 5, "gone.npz")
