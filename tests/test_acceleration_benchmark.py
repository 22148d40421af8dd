"""The measurement of accelerations, on small made data."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forgetcli import als
from tests.samples import CONFIGS, interactions, triples


@pytest.fixture
def benchmark(benchmark_module: Callable[[str], Any]) -> Any:
    return benchmark_module("acceleration")


def test_its_momentum_is_the_projects(benchmark: Any) -> None:
    data, config = interactions(), dataclasses.replace(CONFIGS["biased"], sweeps=8, acceleration="momentum")
    engine = benchmark.Engine(data, config)
    points = islice(benchmark.METHODS["momentum"](engine, engine.start()), 8)
    expected = [entry.objective for entry in als.train(data, config).history]
    assert [point.objective for point in points] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["plain", "implicit"])
@pytest.mark.parametrize("method", ["Anderson(3)", "NCG"])
def test_the_others_come_lower_than_plain_sweeps(benchmark: Any, method: str, name: str) -> None:
    engine = benchmark.Engine(interactions(), CONFIGS[name])
    *_, plain = islice(benchmark.METHODS["plain"](engine, engine.start()), 12)
    *_, other = islice(benchmark.METHODS[method](engine, engine.start()), 12)
    assert other.objective < plain.objective


@pytest.mark.parametrize("mode", ["--times", "--warm"])
def test_it_prints_a_row_a_method(
    benchmark: Any, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    users, items, ratings = triples(n_users=80)
    pq.write_table(pa.table({"user": users, "item": items, "rating": ratings}), tmp_path / "ml-100k.parquet")
    asked = [str(tmp_path), "--only", "explicit", "--ranks", "16", "--seeds", "1", "--rounds", "1", mode]
    monkeypatch.setattr(sys, "argv", ["acceleration.py", *asked])
    benchmark.main()
    printed = capsys.readouterr().out
    assert "ml-100k, explicit, k = 16" in printed
    assert all(name in printed for name in benchmark.METHODS)
