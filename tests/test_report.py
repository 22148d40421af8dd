"""Text and JSON for results."""

from __future__ import annotations

import json

import pytest

from forgetcli.comparison import Spread
from forgetcli.report import sheet
from forgetcli.report.documents import to_json
from forgetcli.report.text import (
    SPARKLINE_LENGTH,
    WIDTH,
    count,
    duration,
    error_block,
    figure,
    notice,
    size,
    sparkline,
    summary,
)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (count(1, "user"), "1 user"),
        (count(2000, "user"), "2,000 users"),
        (count(0, "entry", "entries"), "0 entries"),
        (size(999), "999 bytes"),
        (size(1_590_000), "1.6 MB"),
        (size(2_500_000_000_000_000), "2,500.0 TB"),
        (duration(0.125), "0.12 s"),
        (duration(61.2), "61.2 s"),
        (duration(754), "12 min 34 s"),
        (duration(7500), "2 h 5 min"),
        (figure(48366.5253), "48,366.5"),
        (figure(1.23456e9), "1.2346e+09"),
        (figure(0.04592), "0.04592"),
        (figure(0.0000123), "1.23e-05"),
        (figure(0.0), "0"),
    ],
)
def test_numbers_are_written_for_people(shown: str, expected: str) -> None:
    assert shown == expected


def test_an_error_block_is_wrapped_and_cannot_drive_a_terminal() -> None:
    block = error_block("a \x1b[31mbad\x07 name " + "and more " * 20, "try\nthis " * 20)
    assert all(len(line) <= WIDTH for line in block.splitlines())
    assert all(line.startswith("  ") for line in block.splitlines()[1:])
    assert block.replace("\n", "").isprintable()


def test_a_long_path_is_not_broken() -> None:
    path = "/very-long" * 12 + ".parquet"
    assert path in notice("warning", f"{path} is empty")


def test_labelled_lines_align_their_texts() -> None:
    lines = summary([("Read", "words " * 30), ("Saved", "x")]).splitlines()
    assert {len(line) - len(line[11:].lstrip()) for line in lines} == {11}


@pytest.mark.parametrize(
    ("values", "line"),
    [([], ""), ([1.0], ""), ([3.0, 2.0, 1.0], "█▅▁"), ([2.0, 2.0], "▁▁")],
)
def test_a_sparkline_goes_from_the_lowest_to_the_highest(values: list[float], line: str) -> None:
    assert sparkline(values) == line


def test_a_long_course_is_thinned_to_its_ends() -> None:
    line = sparkline([float(100 - i) for i in range(100)])
    assert len(line) == SPARKLINE_LENGTH
    assert (line[0], line[-1]) == ("█", "▁")


def test_figures_that_are_not_finite_are_null_in_json() -> None:
    text = to_json({"a": [float("nan"), 1.5], "b": {"c": float("inf")}, "ü": "é"})
    assert json.loads(text) == {"a": [None, 1.5], "b": {"c": None}, "ü": "é"}
    assert text.isascii()


@pytest.mark.parametrize(
    ("spread", "expected"),
    [
        (Spread(0.08464, 0.00871, 3), "0.0846 ± 0.0087"),
        (Spread(47842.6, 2.3, 3), "47,843 ± 2"),
        (Spread(15.0, 0.0, 3), "15"),
        (Spread(0.0000123, None, 1), "0.0000"),
        (Spread(float("inf"), None, 1), "–"),
    ],
)
def test_a_mean_and_its_deviation_end_at_the_same_place(spread: Spread, expected: str) -> None:
    assert sheet.spread_text(spread) == expected
