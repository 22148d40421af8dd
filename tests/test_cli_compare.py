"""`forget compare` as a process."""

from __future__ import annotations

from pathlib import Path

import pytest

from forgetcli.cli import compare as compare_command
from forgetcli.cli.compare import CHECKS, FIGURES
from tests.program import LONGEST_LINE, check_error, forget, forget_well, longest_line

ASKED = ("--records", "deletions.csv", "--original", "model.npz")


@pytest.fixture(scope="module")
def compared(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`trained`, with a model that has forgotten in forgotten.npz."""
    forget_well("forget", "model.npz", "--records", "deletions.csv", "-o", "forgotten.npz", cwd=trained)
    return trained


def test_compare_shows_the_retrains_distance_beside_the_models(compared: Path) -> None:
    run = forget_well("compare", "forgotten.npz", "r1.npz", "r2.npz", *ASKED, cwd=compared)
    assert run.err == ""
    assert longest_line(run.out) <= LONGEST_LINE
    for part in (
        "memory of 943 pairs",
        "48 forgotten ",
        "retrain –",
        "original –",
        "carries none of the records",
        "objective",
    ):
        assert part in run.out


def test_compare_json_holds_every_figure_that_a_limit_can_be_set_on(compared: Path) -> None:
    run = forget_well("compare", "forgotten.npz", "r1.npz", "r2.npz", *ASKED, "--json", cwd=compared)
    document = run.document
    assert document["still_held"] == 0
    assert set(document["figures"]) >= {"still-held", "objective-gap", "prediction-rms", "overlap-loss", "memory"}
    assert all(name in compare_command.FIGURES for name in document["figures"])
    assert compare_command.DEFAULT_FIGURE in document["figures"]


def test_a_limit_that_is_kept_is_success_and_one_that_is_not_is_exit_code_1(compared: Path) -> None:
    ask = ("compare", "forgotten.npz", "r1.npz", "r2.npz", *ASKED)
    kept = forget_well(*ask, "--fail-above", "1000", "--fail-above", "still-held=0", "--json", cwd=compared)
    assert kept.document["exceeded"] == []
    broken = forget(*ask, "--fail-above", "objective-gap=-1", "--json", cwd=compared)
    assert broken.code == 1
    assert broken.document["exceeded"] == ["objective-gap"]
    assert broken.err.startswith("forget: error: the check does not hold: objective-gap is ")


def test_an_original_passed_off_as_unlearned_fails_the_check(compared: Path) -> None:
    run = forget(
        "compare", "model.npz", "r1.npz", "r2.npz", "--records", "deletions.csv", "--fail-above", "still-held=0",
        cwd=compared,
    )  # fmt: skip
    assert run.code == 1
    assert "carries 944 of the records" in " ".join(run.out.split())


def test_one_retrain_cannot_hold_a_ratio_to_retrains(compared: Path) -> None:
    run = forget("compare", "forgotten.npz", "r1.npz", *ASKED, "--fail-above", "prediction-rms=2", cwd=compared)
    check_error(run, 2, "no figure prediction-rms", "two retrains")


def test_compare_on_held_out_data_adds_the_accuracy(compared: Path) -> None:
    run = forget_well("compare", "forgotten.npz", "r1.npz", "--test", "ratings.parquet", cwd=compared)
    assert "RMSE held out, everyone" in run.out


def test_the_seconds_of_runs_stand_in_the_cost(compared: Path, tmp_path: Path) -> None:
    run = forget_well("retrain", "model.npz", "--user", "1", "-o", str(tmp_path / "r1.npz"), "--json", cwd=compared)
    (tmp_path / "runs.jsonl").write_text(run.out)
    found = forget_well("compare", "forgotten.npz", "r1.npz", "--timings", str(tmp_path / "runs.jsonl"), cwd=compared)
    assert "seconds, the whole command" in found.out
    broken = forget("compare", "forgotten.npz", "r1.npz", "--timings", "items.csv", cwd=compared)
    check_error(broken, 3, "items.csv is not JSON")


def test_reports_are_written_beside_what_is_printed(compared: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="reports are drawn by forgetcli[report]")
    reports = [str(tmp_path / name) for name in ("a.html", "a.md")]
    run = forget(
        "compare", "forgotten.npz", "r1.npz", "r2.npz", *ASKED, "--report", reports[0], "--report", reports[1],
        "--fail-above", "objective-gap=-1", "--quiet", cwd=compared,
    )  # fmt: skip
    assert run.code == 1
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [
        "a-agreement.svg", "a-attack.svg", "a-convergence.svg", "a-memory.svg", "a-scores.svg", "a.html", "a.md",
    ]  # fmt: skip
    assert "FAILS" in (tmp_path / "a.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("report", "code", "parts"),
    [
        ("x.pdf", 2, ["cannot tell the format of x.pdf", "something.html"]),
        ("nowhere/x.html", 5, ["cannot write nowhere/x.html"]),
    ],
)
def test_a_report_that_cannot_be_is_refused_before_anything_is_read(
    report: str, code: int, parts: list[str], tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib", reason="reports are drawn by forgetcli[report]")
    check_error(forget("compare", "no.npz", "none.npz", "--report", report, cwd=tmp_path), code, *parts)


def test_a_limit_that_cannot_have_its_figure_is_told_before_the_models_are_read(tmp_path: Path) -> None:
    models = ("compare", "nothing.npz", "nowhere.npz", "--fail-above")
    check_error(forget(*models, "memroy=0.1", cwd=tmp_path), 2, "memory, memory-excess", "not 'memroy'")
    check_error(forget(*models, "0.1", cwd=tmp_path), 2, "no memory without --records and --original")
    check_error(forget(*models, "still-held=0", cwd=tmp_path), 2, "no still-held without --records")


def test_the_figures_that_may_be_limited_are_those_that_a_whole_comparison_has(compared: Path) -> None:
    retrained = [f"r{seed}.npz" for seed in (1, 2, 3)]
    forget_well("retrain", "model.npz", "--records", "deletions.csv", "--seed", "3", "-o", "r3.npz", cwd=compared)
    found = forget_well("compare", "forgotten.npz", *retrained, *ASKED, "--json", cwd=compared).document["figures"]
    assert set(found) == set(FIGURES)
    assert all(f"\n  {name} " in CHECKS or f", {name}\n" in CHECKS or f"  {name}," in CHECKS for name in FIGURES)
