"""What runs cost, from the JSON objects that they printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from forgetcli.comparison import Spread
from forgetcli.errors import DataError, FileSystemError
from forgetcli.runs import Cost, Run, Seconds, read_runs


def document(command: str, path: str | None = "a/model.npz", **seconds: float) -> dict[str, Any]:
    return {"command": command, "model": {"path": path}, "seconds": {"reading": 1.0, "sweeping": 2.0, **seconds}}


def test_a_run_is_read_from_a_file_of_its_own_and_from_a_line_among_others(tmp_path: Path) -> None:
    run = document("retrain", total=3.5)
    (tmp_path / "one.json").write_text(json.dumps(run, indent=2))
    (tmp_path / "many.jsonl").write_text(f"{json.dumps(run)}\n\n{json.dumps(document('train', total=9))}\n")
    expected = Run("retrain", "a/model.npz", 3.5, 2.0)
    assert read_runs([tmp_path / "one.json"]) == [expected]
    assert read_runs([tmp_path / "many.jsonl"]) == [expected, Run("train", "a/model.npz", 9.0, 2.0)]


def test_verifying_is_no_part_of_what_forgetting_costs(tmp_path: Path) -> None:
    (tmp_path / "f.json").write_text(json.dumps(document("forget", verifying=40.0, total=43.5)))
    assert read_runs([tmp_path / "f.json"])[0].whole == 3.5


@pytest.mark.parametrize(
    "text",
    [
        "",
        "seconds: 3",
        "[1, 2]",
        "3",
        '{"command": "train"}',
        json.dumps(document("compare", total=1.0)),
        json.dumps(document("forget", total=1.0) | {"dry_run": True}),
        json.dumps(document("forget", total=-1.0)),
        json.dumps(document("forget")),
        '{"command": "train", "model": {"path": "m"}, "seconds": {"total": true}}',
        '{"command": "train", "model": {"path": "m"}, "seconds": {"total": NaN}}',
        '{"command": ["train"], "model": {"path": "m"}, "seconds": {"total": 1}}',
        "[" * 100_000,
    ],
)
def test_anything_else_is_refused_with_its_name(text: str, tmp_path: Path) -> None:
    (tmp_path / "odd.json").write_text(text)
    with pytest.raises(DataError, match=r"odd\.json"):
        read_runs([tmp_path / "odd.json"])
    with pytest.raises(FileSystemError, match="no such file"):
        read_runs([tmp_path / "none.json"])


def test_forgetting_in_several_steps_adds_up_and_retrains_are_averaged() -> None:
    runs = [
        Run("forget", "x/m.npz", 2.0, 1.0),
        Run("forget", "x/m.npz", 3.0, 1.5),
        Run("retrain", "r1.npz", 10.0, 9.0),
        Run("retrain", "r2.npz", 14.0, 11.0),
    ]
    cost = Cost.of(runs, ["m.npz", "y/r1.npz", "y/r2.npz"])
    assert cost.whole == Seconds(5.0, Spread.of([10.0, 14.0]), None)
    assert cost.sweeping == Seconds(2.5, Spread.of([9.0, 11.0]), None)
    assert cost.runs == {"forget": 2, "retrain": 2, "train": 0}
    assert cost.strangers == ()


def test_timings_of_other_models_are_named() -> None:
    assert Cost.of([Run("retrain", "r9.npz", 1.0, 1.0)], ["m.npz", "r1.npz"]).strangers == ("r9.npz",)


def test_several_trainings_are_refused() -> None:
    with pytest.raises(DataError, match="several runs of train"):
        Cost.of([Run("train", "m.npz", 1.0, 1.0)] * 2, ["m.npz"])
