"""`forget recommend` as a process."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq

from tests.program import (
    LONGEST_LINE,
    SMALL,
    check_error,
    forget,
    forget_on_terminal,
    forget_well,
    longest_line,
    write_csv,
)


def test_a_pipe_gets_csv_with_the_best_items_first(trained: Path) -> None:
    run = forget_well(
        "recommend", "model.npz", "--user", "42", "-n", "5", "--item-names", "items.csv", cwd=trained
    )  # fmt: skip
    assert run.err == ""
    assert [row["rank"] for row in run.rows] == ["1", "2", "3", "4", "5"]
    assert sorted((float(row["score"]) for row in run.rows), reverse=True) == [float(row["score"]) for row in run.rows]
    with (trained / "items.csv").open(newline="", encoding="utf-8") as file:
        titles = {row["item"]: row["title"] for row in csv.DictReader(file)}
    assert [row["title"] for row in run.rows] == [titles[row["item"]] for row in run.rows]


def test_every_form_of_output_has_the_same_rows(work: Path) -> None:
    ask = ("recommend", "model.npz", "--user", "42", "--user", "7", "-n", "4")
    rows = forget_well(*ask, cwd=work).rows
    for name in ("recs.csv", "recs.parquet", "recs.jsonl"):
        run = forget_well(*ask, "-o", name, cwd=work)
        assert (run.out, run.err) == ("", "")
    code, shown = forget_on_terminal(*ask, "-o", "recs.csv", cwd=work)
    assert code == 0
    assert shown.strip().endswith("Wrote the best 4 for 2 users to recs.csv")
    with (work / "recs.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == rows
    wanted = [(int(row["user"]), int(row["item"]), int(row["rank"])) for row in rows]
    table = pq.read_table(work / "recs.parquet").to_pylist()
    lines = [json.loads(line) for line in (work / "recs.jsonl").read_text().splitlines()]
    document = forget_well(*ask, "--json", cwd=work).document
    listed = [
        (each["user"], item["item"], rank)
        for each in document["recommendations"]
        for rank, item in enumerate(each["items"], start=1)
    ]
    for found in (table, lines):
        assert [(row["user"], row["item"], row["rank"]) for row in found] == wanted
    assert listed == wanted


def test_seen_items_are_left_out_unless_asked_for(trained: Path) -> None:
    everything = ("recommend", "model.npz", "--user", "42", "-n", "800")
    unseen = forget_well(*everything, cwd=trained).rows
    assert len(unseen) < 800
    assert len(forget_well(*everything, "--include-seen", cwd=trained).rows) == 800


def test_an_unknown_user_is_an_error_on_the_command_line_and_counted_in_a_file(work: Path) -> None:
    check_error(forget("recommend", "model.npz", "--user", "nobody", cwd=work), 3, "has no user nobody")
    write_csv(work / "users.csv", ("user",), [("42",), ("999999",), ("7",)])
    run = forget_well("recommend", "model.npz", "--users", "users.csv", "-n", "1", cwd=work)
    assert [row["user"] for row in run.rows] == ["42", "7"]
    assert "1 of the users in users.csv are not in the model" in " ".join(run.err.split())
    run = forget_well("recommend", "model.npz", "--users", "-", "-n", "1", stdin=b"user\n42\n999999\n", cwd=work)
    assert "1 of the users in standard input are not in the model" in " ".join(run.err.split())


def test_all_users_are_those_of_the_model(trained: Path) -> None:
    rows = forget_well("recommend", "model.npz", "--all-users", "-n", "1", cwd=trained).rows
    assert [row["user"] for row in rows] == [str(user) for user in range(1, 2001)]


def test_a_terminal_gets_a_table_that_no_title_can_disturb(tmp_path: Path) -> None:
    write_csv(tmp_path / "data.csv", ("user", "item"), [(user, item) for user in range(5) for item in range(user, 9)])
    forget_well("train", "data.csv", *SMALL, cwd=tmp_path)
    write_csv(
        tmp_path / "names.csv", ("item", "title"), [(i, f"[red]\x1b[31mTitle {i} {'long ' * 40}") for i in range(9)]
    )
    code, shown = forget_on_terminal(
        "recommend", "model.npz", "--user", "4", "-n", "3", "--item-names", "names.csv", cwd=tmp_path
    )
    table = shown.rpartition("\x1b[2K")[2]
    assert code == 0
    assert r"[red]\x1b[31mTitle" in table
    assert "\x1b" not in table
    assert longest_line(table) <= LONGEST_LINE
