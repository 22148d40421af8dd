"""The two published comparisons, on small made data: what they measure, and that they run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from forgetcli import Interactions, TrainConfig, train
from forgetcli.interactions import split_holdout
from tests.conftest import BENCHMARKS
from tests.program import environment
from tests.samples import triples

CONFIG = TrainConfig.for_objective("implicit", factors=4, sweeps=3, alpha=10.0, reg=1.0)


@pytest.fixture
def evidence(benchmark_module: Callable[[str], Any]) -> Any:
    return benchmark_module("evidence")


@pytest.fixture(scope="module")
def data() -> Interactions:
    return Interactions.from_arrays(*triples(n_users=120, n_items=60, density=0.2))


@pytest.fixture
def case(evidence: Any, data: Interactions, request: pytest.FixtureRequest) -> Any:
    """Of 10 % of the records, or of the users."""
    training, test = split_holdout(evidence.liked(data, None), 0.2, seed=0)
    asked = (
        evidence.some_records(training, 0.1, np.random.default_rng(0))
        if request.param == "records"
        else evidence.whole_users(training, np.arange(12))
    )
    return evidence.Case.of(train(training, CONFIG), asked, test, None)


def test_the_auc_is_that_of_another_library(evidence: Any) -> None:
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(0, 20, 500).astype(np.float64), rng.random(500) < 0.3
    assert evidence.auc(scores, positive) == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)


def test_held_out_cells_are_out_of_the_training_data(evidence: Any, data: Interactions) -> None:
    training, cells = evidence.hold_out_cells(data, 0.2, np.random.default_rng(0))
    assert (training.by_user.find(cells.users, cells.items) < 0).all()
    assert 0 < cells.seen.sum() < len(cells.seen)
    assert len(training) + cells.seen.sum() == len(data)
    assert len(cells.seen) == pytest.approx(data.n_users * data.n_items * (1 - np.exp(-0.2)), rel=0.05)


@pytest.mark.parametrize("case", ["records", "users"], indirect=True)
def test_a_forgotten_pair_is_set_against_an_item_that_its_user_never_had(case: Any) -> None:
    probe, data = case.probe, case.original.interactions
    assert len(probe.items) > 0
    assert len(probe.items) + probe.left_out == len(case.removal.entries)
    old_items = data.items.find(case.left.items.ids)
    if probe.known is None:
        owners = data.users.find(case.left.users.ids)[probe.users]
    else:
        owners = np.unique(data.by_user.rows_of(case.removal.entries))[probe.users]
        known = probe.known.find(probe.users, probe.items)
        assert (known < 0).all(), "the attacker is asked for what he was told"
    assert (data.by_user.find(owners, old_items[probe.items]) >= 0).all()
    assert (data.by_user.find(owners, old_items[probe.others]) < 0).all()


@pytest.mark.parametrize("case", ["users"], indirect=True)
def test_half_of_a_forgotten_history_is_known_to_the_attacker(case: Any) -> None:
    assert case.probe.known.nnz + len(case.probe.items) + case.probe.left_out >= len(case.removal.entries)
    assert 0.3 < case.probe.known.nnz / len(case.removal.entries) < 0.7


@pytest.mark.parametrize("case", ["records", "users"], indirect=True)
def test_the_original_remembers_all_and_new_user_rows_leave_the_items(evidence: Any, case: Any) -> None:
    cell = evidence.measure(case, evidence.FEWEST_RETRAINS, threads=1)
    assert cell["ways"]["nothing"]["memory"] == pytest.approx(1, abs=1e-6)
    rows = evidence.new_user_rows(case, threads=1)
    assert np.array_equal(rows.item.factors, case.kept.item.factors)
    if case.probe.known is not None:
        assert cell["ways"]["user rows"]["memory"] == pytest.approx(1, abs=1e-6)
    assert set(cell["seconds"]) == set(evidence.TIMED)
    assert all(len(each) == evidence.TIMED_ROUNDS for each in cell["seconds"].values())
    for figure in ("memory", "attack", "divergence", "overlap", "objective", "ndcg@20", "hr@20"):
        assert np.isfinite([each[figure] for each in cell["floor"]]).all()


def test_a_model_that_lost_others_records_as_well_is_found_out(evidence: Any, data: Interactions) -> None:
    asked = evidence.whole_users(data, np.arange(3))
    other = evidence.whole_users(data, np.arange(4))
    original = train(data, CONFIG)
    none = np.zeros(0, np.int32)
    test = evidence.Heldout(none, none, none.astype(np.float32), 0)
    case = evidence.Case.of(original, asked, test, None)
    for wrong in (original, evidence.Case.of(original, other, test, None)):
        model = wrong if wrong is original else wrong.model(wrong.kept)
        with pytest.raises(SystemExit, match="still carries the records, or has lost others"):
            evidence.require_forgotten(case, model)


@pytest.mark.parametrize(
    ("script", "dataset", "requests", "parts"),
    [
        ("unlearn_als", "ml-100k", ["5 % of records", "5 % of users"], ["| 5 % of records | 5 % of users |", "Memory"]),
        ("recommender_unlearning", "gowalla", ["edge"], ["### gowalla, edge: ", "NDCG@20"]),
    ],
)  # fmt: skip
def test_a_comparison_measures_once_and_fills_its_part_of_a_document(
    script: str, dataset: str, requests: list[str], parts: list[str], tmp_path: Path
) -> None:
    users, items, ratings = triples(n_users=120, n_items=60, density=0.2)
    pq.write_table(pa.table({"user": users, "item": items, "rating": ratings}), tmp_path / f"{dataset}.parquet")
    (tmp_path / "doc.md").write_text(f"Before.\n<!-- {script}: begin -->\nold\n<!-- {script}: end -->\nAfter.\n")
    command = [
        sys.executable, str(BENCHMARKS / f"{script}.py"), str(tmp_path), "--datasets", dataset, "--requests", *requests,
        "--results", str(tmp_path / "cells.jsonl"), "--document", str(tmp_path / "doc.md"), "--threads", "1",
    ]  # fmt: skip
    own = environment(PYTHONSAFEPATH="")  # the program finds the modules beside it
    shown = []
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, env=own, check=False)
        assert done.returncode == 0, done.stderr
        shown.append(done.stdout)
    assert shown[0] == shown[1]
    assert len((tmp_path / "cells.jsonl").read_text().splitlines()) == len(requests)
    cell = json.loads((tmp_path / "cells.jsonl").read_text().splitlines()[0])
    assert cell["ways"]["response"]["memory"] < cell["ways"]["nothing"]["memory"]
    document = (tmp_path / "doc.md").read_text()
    assert document.startswith("Before.\n")
    assert document.endswith("After.\n")
    assert "old" not in document
    assert all(part in document for part in parts)


def test_data_that_are_not_there_are_said_to_be_missing(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "unlearn_als.py"), str(tmp_path)]
    own = environment(PYTHONSAFEPATH="")
    done = subprocess.run(command, capture_output=True, text=True, env=own, check=False)
    assert done.returncode == 1
    assert "ml-100k.parquet" in done.stderr


def test_a_case_is_repeated_for_each_seed_beside_retrains_of_the_same(tmp_path: Path) -> None:
    users, items, ratings = triples(n_users=120, n_items=60, density=0.2)
    pq.write_table(pa.table({"user": users, "item": items, "rating": ratings}), tmp_path / "ml-100k.parquet")
    (tmp_path / "doc.md").write_text("Before.\n<!-- own_seeds: begin -->\n<!-- own_seeds: end -->\nAfter.\n")
    case = "ml-100k, 20 % of records"
    command = [
        sys.executable, str(BENCHMARKS / "own_seeds.py"), str(tmp_path), "--cases", case, "ml-1m, 1 % of records",
        "--seeds", "2", "--retrains", "6", "--document", str(tmp_path / "doc.md"), "--threads", "1",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env=environment(PYTHONSAFEPATH=""), check=False)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith(f"| {case} |")]  # the other has no file
    cells = [cell.strip().replace("−", "-") for cell in line.strip("|").split("|")]
    assert len(cells) == 7
    assert line in (tmp_path / "doc.md").read_text()
    twin, step, difference = (float(cell.split()[0]) for cell in cells[2:5])
    assert difference == pytest.approx(step - twin, abs=0.16)  # of three figures with a place each


def test_the_memory_of_a_retrain_against_itself_is_none(benchmark_module: Callable[[str], Any]) -> None:
    own_seeds = benchmark_module("own_seeds")
    mean, lifted = np.array([0.2, 0.5]), np.array([0.4, 0.5])
    assert own_seeds.memory(mean, mean) == 0
    assert own_seeds.memory(lifted, mean) == pytest.approx(0.2 * 0.8)
