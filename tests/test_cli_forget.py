"""`forget forget` and `forget retrain` as processes."""

from __future__ import annotations

import csv
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from forgetcli import files, load
from tests.program import (
    LONGEST_LINE,
    SAMPLES,
    SMALL,
    Run,
    check_error,
    command_line,
    environment,
    forget,
    forget_well,
    longest_line,
    write_csv,
)

DELETIONS = ("--records", "deletions.csv")


def test_forget_replaces_the_model_and_says_what_it_did(work: Path) -> None:
    run = forget_well("forget", "model.npz", *DELETIONS, "--method", "response", cwd=work)
    assert run.out == ""
    assert longest_line(run.err) <= LONGEST_LINE
    flat = " ".join(run.err.split())
    for part in (
        "Asked for 48 pairs, 1 whole user, 1 whole item",
        "Found 944 interactions",
        "Erased 1 user, 1 item",
        "a response step",
        "relative gradient",
        "objective",
        "model.npz",
    ):
        assert part in flat
    assert "warning" not in run.err
    model = load(work / "model.npz")
    assert (len(model.users), len(model.items)) == (1999, 799)


def test_info_says_how_often_a_model_was_forgotten_from_and_when_to_train_anew(work: Path) -> None:
    assert "forgotten " not in forget_well("info", "model.npz", cwd=work).out
    for user, times in (("7", "1 time"), ("8", "2 times")):
        forget_well("forget", "model.npz", "--user", user, "--method", "response", cwd=work)
        assert f"forgotten {times} since it was trained; train anew" in flat(forget_well("info", "model.npz", cwd=work))


def flat(run: Run) -> str:
    """Standard output on one line."""
    return " ".join(run.out.split())


def test_forgetting_in_place_and_to_another_file_are_equal(work: Path) -> None:
    before = (work / "model.npz").read_bytes()
    forget_well("forget", "model.npz", *DELETIONS, "-o", "out.npz", cwd=work)
    assert (work / "model.npz").read_bytes() == before
    forget_well("forget", "model.npz", *DELETIONS, cwd=work)
    assert (work / "model.npz").read_bytes() == (work / "out.npz").read_bytes()


def test_forgetting_twice_is_forgetting_once(work: Path) -> None:
    forget_well("forget", "model.npz", *DELETIONS, cwd=work)
    once, when = (work / "model.npz").read_bytes(), (work / "model.npz").stat().st_mtime_ns
    run = forget_well("forget", "model.npz", *DELETIONS, "--json", cwd=work)
    assert "nothing to forget" in " ".join(run.err.split())
    assert run.document["method"] is None
    assert run.document["request"]["unknown_pairs"] == 48
    assert (work / "model.npz").read_bytes() == once
    assert (work / "model.npz").stat().st_mtime_ns == when


def test_nothing_to_forget_still_makes_the_file_that_was_asked_for(work: Path) -> None:
    forget_well("forget", "model.npz", "--user", "123456789", "-o", "out.npz", cwd=work)
    assert (work / "out.npz").read_bytes() == (work / "model.npz").read_bytes()


def test_records_come_from_files_options_and_standard_input_alike(work: Path) -> None:
    forget_well("forget", "model.npz", *DELETIONS, "-o", "file.npz", cwd=work)
    with (work / "deletions.csv").open(newline="") as file:
        pairs = [(row["user"], row["item"]) for row in csv.DictReader(file) if row["user"] and row["item"]]
    write_csv(work / "pairs.csv", ("userId", "movieId"), pairs)
    forget_well(
        "forget", "model.npz", "--user", "1317", "--item", "4", "--records", "-", "-o", "mixed.npz",
        cwd=work, stdin=(work / "pairs.csv").read_bytes(),
    )  # fmt: skip
    assert (work / "mixed.npz").read_bytes() == (work / "file.npz").read_bytes()


def test_forget_json_is_one_object_with_what_it_reached(work: Path) -> None:
    document = forget_well("forget", "model.npz", *DELETIONS, "--method", "response", "--json", cwd=work).document
    assert document["request"] == {
        "pairs": 48, "users": 1, "items": 1, "unknown_pairs": 0, "unknown_users": 0, "unknown_items": 0
    }  # fmt: skip
    assert document["forgotten"] == {"interactions": 944, "users": 1, "items": 1}
    assert (document["method"], document["dry_run"]) == ("response", False)
    assert document["after"]["relative_gradient"] < document["before"]["relative_gradient"]
    assert document["vectors"] > 0
    assert document["model"]["path"] == "model.npz"


def test_where_a_retrain_costs_no_more_it_is_done_and_said(work: Path) -> None:
    run = forget_well("forget", "model.npz", *DELETIONS, "--json", cwd=work)
    assert run.document["method"] == "retrain"
    assert "trained anew" in run.err
    forget_well("retrain", "model.npz", *DELETIONS, "-o", "retrained.npz", cwd=work)  # forgotten already: trains again
    assert (work / "retrained.npz").read_bytes() == (work / "model.npz").read_bytes()


def test_no_retrain_takes_the_step_where_a_retrain_would_cost_no_more(work: Path) -> None:
    run = forget_well("forget", "model.npz", *DELETIONS, "--no-retrain", "--json", cwd=work)
    assert (run.document["asked_method"], run.document["method"]) == ("auto", "response")
    assert "trained anew" not in run.err
    check_error(forget("forget", "model.npz", *DELETIONS, "--no-retrain", "--method", "retrain", cwd=work), 2)


def test_verify_measures_what_is_left_beside_retrains(work: Path) -> None:
    plain = forget_well("forget", "model.npz", *DELETIONS, "-o", "plain.npz", "--json", cwd=work)
    assert plain.document["verify"] is None
    run = forget_well("forget", "model.npz", *DELETIONS, "--verify", "--verify-seeds", "4", "--json", cwd=work)
    assert (work / "model.npz").read_bytes() == (work / "plain.npz").read_bytes()
    assert longest_line(run.err) <= LONGEST_LINE
    found = run.document["verify"]
    assert found["retrains"] == 4
    assert (found["memory"]["pairs"], found["memory"]["left_out"]) == (943, 1)
    flat = " ".join(run.err.split())
    assert found["sentence"] in flat
    for figure in (found["memory"]["unlearned"], *(found["memory"]["retrained"][key] for key in ("mean", "deviation"))):
        assert f"{figure:.4f}" in flat
    assert len(run.document["sweeps"]) == len(plain.document["sweeps"])


def test_verifying_a_dry_run_and_where_there_is_nothing_to_forget(work: Path) -> None:
    before = (work / "model.npz").read_bytes()
    dry = forget_well("forget", "model.npz", *DELETIONS, "--verify", "--dry-run", "--json", cwd=work)
    assert dry.document["verify"]["memory"]["pairs"] == 943
    nothing = forget_well("forget", "model.npz", "--user", "123456789", "--verify", "--json", cwd=work)
    assert nothing.document["verify"] is None
    assert (work / "model.npz").read_bytes() == before


def test_a_model_without_its_data_is_verified_with_it(work: Path) -> None:
    forget_well("train", "ratings.parquet", *SMALL, "--no-interactions", "-o", "small.npz", cwd=work)
    given = ("--data", "ratings.parquet", "--verify", "--json")
    small = forget_well("forget", "small.npz", *DELETIONS, *given, cwd=work).document["verify"]
    assert small == forget_well("forget", "model.npz", *DELETIONS, "--verify", "--json", cwd=work).document["verify"]


@pytest.mark.parametrize("options", [("--verify-seeds", "3"), ("--verify", "--verify-seeds", "2")])
def test_a_verification_that_would_tell_nothing_is_refused(options: tuple[str, ...], work: Path) -> None:
    before = (work / "model.npz").read_bytes()
    check_error(forget("forget", "model.npz", *DELETIONS, *options, cwd=work), 2, "--verify-seeds")
    assert (work / "model.npz").read_bytes() == before


def test_forgetting_by_sweeps_reports_each_of_them(work: Path) -> None:
    run = forget_well("forget", "model.npz", *DELETIONS, "--method", "sweeps", "--sweeps", "4", "--json", cwd=work)
    assert [set(sweep) for sweep in run.document["sweeps"]] == [{"objective", "seconds"}] * 4
    assert "by 4 sweeps" in run.err


def test_a_dry_run_does_everything_but_write(work: Path) -> None:
    before = (work / "model.npz").read_bytes()
    dry = forget_well("forget", "model.npz", *DELETIONS, "--dry-run", "--json", cwd=work)
    assert (work / "model.npz").read_bytes() == before
    wet = forget_well("forget", "model.npz", *DELETIONS, "--json", cwd=work)
    assert dry.document["after"] == wet.document["after"]
    assert dry.document["model"]["path"] is None
    assert "dry run" in dry.err


def test_unknown_records_are_warned_of_ignored_or_refused(work: Path) -> None:
    unknown = ("--user", "42", "--user", "123456789")
    before = (work / "model.npz").read_bytes()
    check_error(
        forget("forget", "model.npz", *unknown, "--on-unknown", "fail", cwd=work), 1, "not in the model: 1 user"
    )
    assert (work / "model.npz").read_bytes() == before
    warned = forget_well("forget", "model.npz", *unknown, "-o", "a.npz", cwd=work)
    assert "forget: warning: not in the model: 1 user" in warned.err
    ignored = forget_well("forget", "model.npz", *unknown, "-o", "b.npz", "--on-unknown", "ignore", cwd=work)
    assert "warning" not in ignored.err
    assert (work / "a.npz").read_bytes() == (work / "b.npz").read_bytes()


def test_a_request_for_everything_is_refused(tmp_path: Path) -> None:
    write_csv(tmp_path / "data.csv", ("user", "item"), [("a", "x"), ("b", "x"), ("b", "y")])
    forget_well("train", "data.csv", *SMALL, cwd=tmp_path)
    before = (tmp_path / "model.npz").read_bytes()
    check_error(forget("forget", "model.npz", "--user", "a", "--user", "b", cwd=tmp_path), 3, "leaves nothing")
    assert (tmp_path / "model.npz").read_bytes() == before


def test_no_output_names_what_was_forgotten(tmp_path: Path) -> None:
    rows = [(f"person-{user}", f"thing-{item}", user + item) for user in range(9) for item in range(9)]
    write_csv(tmp_path / "data.csv", ("user", "item", "rating"), rows)
    forget_well("train", "data.csv", *SMALL, cwd=tmp_path)
    write_csv(tmp_path / "gone.csv", ("user", "item"), [("person-3", ""), ("person-5", "thing-7"), ("nobody-1", "")])
    run = forget_well("forget", "model.npz", "--records", "gone.csv", "--json", "--progress", cwd=tmp_path)
    assert "person-" not in run.out + run.err
    assert "nobody-" not in run.out + run.err
    content = (tmp_path / "model.npz").read_bytes()
    assert b"person-3" not in content
    assert b"person-5" in content


def test_a_model_without_its_data_forgets_with_it_and_stays_without(work: Path) -> None:
    forget_well("train", "ratings.parquet", *SMALL, "--no-interactions", "-o", "small.npz", cwd=work)
    check_error(forget("forget", "small.npz", "--user", "42", cwd=work), 3, "--data")
    run = forget_well("forget", "small.npz", "--user", "42", "--data", "ratings.parquet", cwd=work)
    assert "the --data files still hold what was forgotten" in " ".join(run.err.split())
    forget_well("forget", "model.npz", "--user", "42", cwd=work)
    small, whole = load(work / "small.npz"), load(work / "model.npz")
    assert small.interactions is None
    assert np.array_equal(small.factors.user.factors, whole.factors.user.factors)


def test_other_hard_links_are_warned_of(work: Path) -> None:
    os.link(work / "model.npz", work / "copy.npz")
    run = forget_well("forget", "model.npz", "--user", "42", "--quiet", cwd=work)
    assert "1 other name (hard links)" in " ".join(run.err.split())


def test_a_locked_model_is_refused_after_the_timeout(work: Path) -> None:
    with files.lock(work / "model.npz"):
        run = forget("forget", "model.npz", "--user", "42", "--lock-timeout", "0", cwd=work)
    check_error(run, 5, "model.npz", "--lock-timeout")


def test_runs_at_the_same_time_lose_no_request(work: Path) -> None:
    users = [str(user) for user in range(101, 106)]
    running = [
        subprocess.Popen(
            command_line("forget", "model.npz", "--user", user, "--quiet", "--threads", "1"),
            cwd=work, env=environment(),
        )
        for user in users
    ]  # fmt: skip
    assert [process.wait(timeout=60) for process in running] == [0] * len(users)
    assert set(load(work / "model.npz").users.find(np.array(users, np.int64)).tolist()) == {-1}


def test_retrain_is_training_on_what_remains_byte_for_byte(work: Path) -> None:
    forget_well("retrain", "model.npz", *DELETIONS, "-o", "retrained.npz", cwd=work)
    with (work / "deletions.csv").open(newline="") as file:
        asked = [(row["user"], row["item"]) for row in csv.DictReader(file)]
    header, *lines = (SAMPLES / "ratings.csv").read_text().splitlines()

    def is_gone(line: str) -> bool:
        user, item, _ = line.split(",")
        return bool({(user, item), (user, ""), ("", item)} & set(asked))

    (work / "rest.csv").write_text("\n".join([header, *(line for line in lines if not is_gone(line))]) + "\n")
    forget_well("train", "rest.csv", *SMALL, "-o", "rest.npz", cwd=work)
    assert (work / "retrained.npz").read_bytes() == (work / "rest.npz").read_bytes()


def test_a_model_that_has_forgotten_retrains_to_the_same_bytes(work: Path) -> None:
    forget_well("forget", "model.npz", *DELETIONS, "-o", "forgotten.npz", cwd=work)
    forget_well("retrain", "forgotten.npz", "--seed", "1", "-o", "again.npz", cwd=work)
    assert (work / "again.npz").read_bytes() == (work / "r1.npz").read_bytes()


def test_retrain_tells_what_it_left_out(work: Path) -> None:
    run = forget_well("retrain", "model.npz", *DELETIONS, "-o", "retrained.npz", "--json", cwd=work)
    assert run.document["left_out"] == {"interactions": 944, "users": 1, "items": 1}
    assert len(run.document["sweeps"]) == 3
    assert "944 interactions" in run.err


@pytest.mark.parametrize(
    ("content", "parts"),
    [("user,item\n1,2\n,\n", ["gone.csv", "line 3"]), ("when,why\n1,2\n", ["gone.csv", "column"])],
)
def test_a_forget_list_that_cannot_be_read_stops_everything(content: str, parts: list[str], work: Path) -> None:
    (work / "gone.csv").write_text(content)
    before = (work / "model.npz").read_bytes()
    check_error(forget("forget", "model.npz", "--records", "gone.csv", cwd=work), 3, *parts)
    assert (work / "model.npz").read_bytes() == before
