"""Stages of the work, clocked by whoever listens; and `--profile`, which shows them."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from forgetcli.profiling import Profile, Stage, listening, stage
from forgetcli.report.tables import profile_table
from forgetcli.system import peak_memory
from tests.program import LONGEST_LINE, SMALL, forget_well, longest_line

MEBIBYTE = 1 << 20


def ticking(step: float = 1.0) -> Profile:
    """A profile whose clock goes on by `step` seconds, and whose gauge by a mebibyte, each time it is read."""
    ticks, levels = itertools.count(0, step), itertools.count(MEBIBYTE, MEBIBYTE)
    return Profile(lambda: float(next(ticks)), lambda: next(levels))


def test_a_stage_without_a_listener_does_nothing() -> None:
    with stage("alone"):
        pass
    profile = ticking()
    with listening(profile):
        pass
    with stage("too late"):
        pass
    assert profile.stages() == []


def test_parts_stand_behind_their_stage_and_repetitions_add_up() -> None:
    profile = ticking()
    with profile.stage("first"), listening(profile):
        for _ in range(2):
            with stage("part"):
                pass
    with profile.stage("second"):
        pass
    with profile.stage("first"), listening(profile), stage("other part"):
        pass
    assert [(found.path, found.times, found.seconds) for found in profile.stages()] == [
        (("first",), 2, 8.0),
        (("first", "part"), 2, 2.0),
        (("first", "other part"), 1, 1.0),
        (("second",), 1, 1.0),
    ]
    assert profile.seconds() == {"first": 8.0, "second": 1.0}


def test_a_step_lasts_until_the_next_and_has_parts() -> None:
    profile = ticking()
    with profile.stage("all"), listening(profile):
        with stage("before"):
            pass
        profile.step("one")
        with stage("part"):
            pass
        profile.step("two")
    assert [found.path for found in profile.stages()] == [
        ("all",), ("all", "before"), ("all", "one"), ("all", "one", "part"), ("all", "two"),
    ]  # fmt: skip
    assert all(found.times == 1 for found in profile.stages())


def test_turning_to_another_stage_clocks_the_rest_of_the_body() -> None:
    profile = ticking()
    with profile.stage("reading"):
        profile.turn_to("encoding")
        profile.turn_to("reading")
    assert profile.seconds() == {"reading": 2.0, "encoding": 1.0}


def test_a_stage_that_ends_in_an_error_is_closed_with_its_parts() -> None:
    profile = ticking()

    def broken() -> None:
        with profile.stage("outer"), listening(profile), stage("inner"):
            profile.step("step")
            raise KeyError

    with pytest.raises(KeyError):
        broken()
    with profile.stage("next"):
        pass
    assert [found.path for found in profile.stages()] == [
        ("outer",), ("outer", "inner"), ("outer", "inner", "step"), ("next",),
    ]  # fmt: skip


def test_shares_are_of_the_whole_and_memory_is_read_at_the_end_of_a_stage() -> None:
    profile = ticking(0.5)
    with profile.stage("only"):
        pass
    (found,) = profile.stages()
    assert (found.seconds, found.share, found.peak_memory_bytes) == (0.5, 0.5 / 1.5, MEBIBYTE)


def test_the_table_has_80_columns_and_what_lies_between_the_stages() -> None:
    stages = [Stage(("reading",), 1, 2.0, 0.5, 700 * MEBIBYTE), Stage(("reading", "x" * 90), 12, 1.0, 0.25, None)]
    text = profile_table(stages, 4.0)
    assert longest_line(text) <= LONGEST_LINE
    lines = [line.split() for line in text.splitlines()]
    assert ["reading", "2.00", "s", "50.0%", "700", "MiB"] in lines
    assert ["between", "them", "2.00", "s", "50.0%"] in lines
    assert any(line[1:] == ["12", "1.00", "s", "25.0%"] for line in lines)


def test_the_peak_memory_counts_what_the_process_holds() -> None:
    before = peak_memory()
    held = bytearray(before)
    held[::4096] = b"x" * len(held[::4096])
    assert peak_memory() > 1.5 * before


def stages_of(document: dict[str, object]) -> dict[str, Stage]:
    listed = document["profile"]
    assert isinstance(listed, list)
    return {"/".join(each["path"]): Stage(**{**each, "path": tuple(each["path"])}) for each in listed}


def test_every_long_command_has_its_profile_in_the_json_object(work: Path) -> None:
    given = {
        "train": ("ratings.parquet", *SMALL, "-o", "new.npz"),
        "forget": ("model.npz", "--user", "42", "--no-retrain", "-o", "left.npz"),
        "retrain": ("model.npz", "--user", "42", "-o", "anew.npz"),
        "recommend": ("left.npz", "--all-users", "-n", "3", "-o", "lists.csv"),
        "compare": ("left.npz", "anew.npz"),
    }
    parts = {
        "train": {"encoding/building rows", "sweeping/users", "sweeping/items", "writing/flushing to the disk"},
        "forget": {"reading/interactions/checking", "sweeping/removing", "writing/checksums"},
        "retrain": {"sweeping/removing", "sweeping/users"},
        "recommend": {"ranking/best items", "ranking/writing"},
        "compare": {"comparing/predictions", "comparing/rankings"},
    }
    for command, arguments in given.items():
        run = forget_well(command, *arguments, "--profile", "--json", "--quiet", cwd=work)
        stages, seconds = stages_of(run.document), run.document["seconds"]
        assert parts[command] <= stages.keys(), command
        assert {name: stage.seconds for name, stage in stages.items() if len(stage.path) == 1} == {
            name: taken for name, taken in seconds.items() if name != "total"
        }
        assert all(stage.peak_memory_bytes for stage in stages.values())
        assert run.err == ""
        if command == "train":
            assert stages["sweeping/users"].times == 3
        if command == "forget":
            assert any("direction 1" in name for name in stages)


def test_without_json_the_profile_is_a_table_on_standard_error(work: Path) -> None:
    run = forget_well("train", "ratings.parquet", *SMALL, "--profile", "--quiet", cwd=work)
    assert run.out == ""
    assert "peak memory" in run.err
    assert longest_line(run.err) <= LONGEST_LINE
    assert "profile" not in forget_well("train", "ratings.parquet", *SMALL, "--json", cwd=work).document
