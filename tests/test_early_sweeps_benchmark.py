"""The benchmark of training's early sweeps, on small made data."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from forgetcli import als
from forgetcli.config import TrainConfig
from forgetcli.records import ForgetRequest
from tests.samples import interactions, triples

CONFIG = TrainConfig(factors=4, sweeps=4, reg=0.05)


@pytest.fixture
def early(benchmark_module: Callable[[str], Any]) -> Any:
    return benchmark_module("early_sweeps")


@pytest.fixture
def request_of_some() -> ForgetRequest:
    """Single pairs, and all of an item, which then is gone."""
    users, items, _ = triples()
    pairs = list(zip(users[::11].tolist(), items[::11].tolist(), strict=True))
    return ForgetRequest.of(pairs=pairs, items=[int(items[0])])


def test_all_sweeps_with_the_records_leave_all_and_fewer_leave_less(early: Any, request_of_some: ForgetRequest) -> None:
    rows = early.early(interactions(), CONFIG, request_of_some, 2, 1)
    assert [row[0] for row in rows] == ["first 1", "first 3", "all 4"]
    from_chance = [float(row[1].removesuffix(" %")) for row in rows]
    assert from_chance[-1] == 100.0
    assert from_chance[0] < from_chance[1] < 100.0


def test_a_model_that_is_no_end_of_the_table_is_refused(early: Any, request_of_some: ForgetRequest) -> None:
    data = interactions()
    split = early.Split.of(data, request_of_some, explicit=True)
    assert len(split.users) > 0
    model = als.train(data, CONFIG)
    with pytest.raises(SystemExit, match="not the model"):
        early._check_ends(split, model, request_of_some, als.starting_items(data.items, _other_seed()), 1)
    with pytest.raises(SystemExit, match="objective"):
        early._objective(dataclasses.replace(model, history=(*model.history[:-1], model.history[0])), 1)


def test_both_tables_are_written(early: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early, "TRAINED_FOR", (2, 4))
    monkeypatch.setattr(early, "REQUESTS", ("1 %",))
    text = early.measure(interactions(), {"explicit": CONFIG}, 1, 1)
    tables = text.strip().split("\n\n")
    assert len(tables) == 2
    assert re.findall(r"^\| explicit, 1 % \| (\d+) \| [+−][\d.]+ % \| [+−][\d.]+ % \| \d+ \|$", tables[1], re.M) == [
        "2",
        "4",
    ]
    assert np.isfinite([float(each) for each in re.findall(r"([\d.]+) %", tables[0])]).all()


def _other_seed() -> TrainConfig:
    return dataclasses.replace(CONFIG, seed=CONFIG.seed + 1)
