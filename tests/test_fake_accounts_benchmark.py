"""The benchmark of fake accounts, on small made data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from forgetcli.config import TrainConfig
from tests.samples import interactions

CONFIG = TrainConfig(factors=4, sweeps=8, reg=0.1)


@pytest.fixture
def fakes(benchmark_module: Callable[[str], Any]) -> Any:
    return benchmark_module("fake_accounts")


def test_accounts_push_one_item_and_are_all_that_is_forgotten(fakes: Any) -> None:
    data = interactions(n_users=80, n_items=40)
    together, request = fakes.pushed(data, 5, 3, best=5.0)
    assert together.n_users == data.n_users + 5
    assert together.item_counts[3] == data.item_counts[3] + 5
    left = together.without(request.resolve(together).removal).interactions
    assert np.array_equal(left.by_user.indices, data.by_user.indices)
    assert np.array_equal(left.by_user.values, data.by_user.values)


def test_the_push_is_taken_back(fakes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fakes, "LEAST_PUSH", 0.0)
    line = fakes.row(interactions(n_users=80, n_items=40), CONFIG, 12, 20, 1)
    step, own = (float(cell.replace("−", "-")) for cell in line[5:7])
    assert abs(step - own) < 0.15


def test_a_push_that_cannot_be_told_from_chance_is_passed_over(fakes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fakes, "LEAST_PUSH", 1e9)
    assert fakes.row(interactions(), CONFIG, 2, 20, 1) is None
