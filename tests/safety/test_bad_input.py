"""What people really feed to a program: each case with its exit code and what is said, or what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from forgetcli.checkpoint import load
from tests.program import LONGEST_LINE, longest_line
from tests.safety.conftest import Inside

SMALL = ("--factors", "4", "--sweeps", "2", "--threads", "2")
HEADER = "user,item,rating\n"
GOOD = HEADER + "".join(f"u{u},{i},{(u * i) % 5 + 1}\n" for u in range(12) for i in range(8) if (u + i) % 3)
ALL_EQUAL = HEADER + "".join(f"{u},{i},3\n" for u in range(5) for i in range(4))
LARGEST, SMALLEST = 2**63 - 1, -(2**63)
MEGABYTE = "x" * (1 << 20)


@dataclass(frozen=True)
class Case:
    """Training data, the options of `train`, and how that ends.

    text:  that standard error holds, line breaks taken for spaces.
    users, items: of the model, where there is one.
    """

    data: str | bytes
    code: int
    text: str = ""
    options: tuple[str, ...] = ()
    users: int | None = None
    items: int | None = None
    others: dict[str, str] = field(default_factory=dict)


IMPLICIT = ("--objective", "implicit")

TRAINING = {
    "empty file": Case("", 3, "data.csv is empty"),
    "blank lines only": Case("\n\n", 3, "data.csv is empty: it has blank lines only"),
    "header only": Case(HEADER, 3, "no rows to use in data.csv"),
    "one row": Case(HEADER + "1,2,3\n", 0, "warning: all ratings are equal", users=1, items=1),
    "one user": Case(HEADER + "1,2,3\n1,3,4\n1,5,1\n", 0, "3 items by 1 user", users=1, items=3),
    "one item": Case(HEADER + "1,2,3\n2,2,4\n3,2,1\n", 0, "1 item by 3 users", users=3, items=1),
    "all ratings equal": Case(ALL_EQUAL, 0, "warning: all ratings are equal", users=5, items=4),
    "zero in implicit data": Case(HEADER + "1,2,0\n2,3,1\n", 0, options=IMPLICIT, users=2, items=2),
    "only zeros in implicit data": Case(HEADER + "1,2,0\n2,3,0\n", 0, options=IMPLICIT, users=2, items=2),
    "negative in implicit data": Case(
        HEADER + "1,2,-1\n2,3,1\n", 3, "an implicit model needs values of at least 0", IMPLICIT
    ),
    "1e308": Case(HEADER + "1,2,1e308\n", 3, "line 2, column rating: the rating is too large for float32"),
    "1e999": Case(HEADER + "1,2,1e999\n", 3, "line 2, column rating: the rating is not finite"),
    "the largest float32": Case(HEADER + "1,2,3e38\n1,3,-3e38\n2,2,3e38\n", 4, "no finite solution in float32"),
    "the largest float32, implicit": Case(
        HEADER + "1,2,3e38\n1,3,3e38\n2,2,3e38\n", 4, "no finite solution in float32", IMPLICIT
    ),
    "denormals": Case(HEADER + "1,2,1e-45\n1,3,1e-40\n2,2,1e-320\n", 0, "3 ratings", users=2, items=2),
    "NaN": Case(HEADER + "1,2,NaN\n", 3, "line 2, column rating: the rating is not finite"),
    "ids at the ends of int64": Case(
        HEADER + f"{LARGEST},{SMALLEST},3\n{SMALLEST},{LARGEST},4\n", 0, "2 ratings", users=2, items=2
    ),
    "ids beyond int64": Case(HEADER + f"{LARGEST + 1},2,3\n1,2,4\n", 0, "2 ratings", users=2, items=1),
    "ids of a megabyte": Case(HEADER + f"{MEGABYTE},2,3\n{MEGABYTE}y,3,4\nz,3,1\n", 0, "3 users", users=3, items=2),
    "integers here, text there": Case(
        HEADER + "1,2,3\n",
        0,
        "2 ratings of 1 item by 2 users",
        ("other.csv",),
        users=2,
        items=1,
        others={"other.csv": HEADER + "x,2,4\n"},
    ),
    "ratings here, none there": Case(
        HEADER + "1,2,3\n",
        3,
        "data.csv has a rating column, other.csv has none",
        ("other.csv",),
        others={"other.csv": "user,item\n1,2\n"},
    ),
    "Latin-1": Case(HEADER.encode() + b"1,1,1\ncaf\xe9,2,3\n", 3, "line 3, column user: not valid UTF-8"),
    "Latin-1 in the header": Case(b"us\xe9r,item\n1,2\n", 3, "line 1: not valid UTF-8"),
    "byte order mark": Case(b"\xef\xbb\xbf" + GOOD.encode(), 0, "64 ratings", users=12, items=8),
    "UTF-16": Case(GOOD.encode("utf-16"), 3, "data.csv is UTF-16 text"),
    "CR LF": Case(GOOD.replace("\n", "\r\n"), 0, "64 ratings", users=12, items=8),
    "line breaks in quotes": Case(HEADER + '"a\nb",2,3\n"a\r\nb",3,4\nc,2,1\n', 0, "by 3 users", users=3, items=2),
    "a quote that never closes": Case(HEADER + '1,2,3\n"a,2,3\n', 3, "line 3: a quote opens a field"),
    "a row too short": Case(HEADER + "1,2,3\n1,2\n", 3, "line 3: 2 fields where there are 3 columns"),
    "a row too long": Case(HEADER + "1,2,3\n1,2,3,4\n", 3, "line 3: 4 fields where there are 3 columns"),
    "a million duplicates of a pair": Case(
        HEADER + "1,2,3\n" * 10**6 + "2,2,1\n", 0, "999,999 duplicates merged", users=2, items=1
    ),
    "more factors than users or items": Case(GOOD, 0, "64 factors", ("--factors", "64"), users=12, items=8),
    "more factors than there may be": Case(GOOD, 2, "--factors must be a whole number from 1", ("--factors", "5000")),
    "no regularisation": Case(GOOD, 2, "--reg must be a number above 0", ("--reg", "0")),
    "next to no regularisation of rank-deficient rows": Case(
        GOOD,
        4,
        "have no finite solution in float32 raise --reg, use --dtype float64",
        ("--factors", "64", "--reg", "1e-300"),
    ),
    "the same in float64": Case(
        GOOD,
        4,
        "no finite solution in float64 raise --reg",
        ("--factors", "64", "--reg", "1e-300", "--dtype", "float64"),
    ),
    "not text at all": Case(bytes(range(256)) * 100, 3, "data.csv has no user column"),
    "an id with a zero byte": Case(HEADER + "a\0b,2,3\nc,2,1\n", 0, "by 2 users", users=2, items=1),
}

FORGETTING = {
    "an empty list": ("", 3, "gone.csv is empty"),
    "a list of nothing": ("user,item\n", 0, "there is nothing to forget"),
    "everything": ("user\n" + "".join(f"u{u}\n" for u in range(12)), 3, "the request leaves nothing"),
    "the training file itself": (GOOD, 3, "the request leaves nothing"),
    "an id of a megabyte": (f"user\n{MEGABYTE}\n", 0, "there is nothing to forget"),
    "a byte order mark and CR LF": ("\ufeffuser,item\r\nu1,\r\n", 0, "1 user with nothing left"),
    "neither a user nor an item": ("user,item\nu1,\n,\n", 3, "gone.csv, line 3: no user and no item id"),
    "Latin-1": (b"user\ncaf\xe9\n", 3, "gone.csv, line 2, column user: not valid UTF-8"),
    "all but one user": ("user\n" + "".join(f"u{u}\n" for u in range(11)), 0, "11 users"),
}


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("case", TRAINING.values(), ids=TRAINING)
def test_training_on_such_data_gives_a_model_or_says_why_not(case: Case, inside: Inside, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_bytes(case.data if isinstance(case.data, bytes) else case.data.encode())
    for name, content in case.others.items():
        (tmp_path / name).write_text(content)
    before = sorted(tmp_path.iterdir())
    run = inside("train", "data.csv", *SMALL, *case.options)
    assert run.code == case.code, run.err
    assert case.text in flat(run.err)
    assert run.out == ""
    assert longest_line(run.err) <= LONGEST_LINE
    if case.code:
        assert "forget: error: " in run.err
        assert sorted(tmp_path.iterdir()) == before
    else:
        model = load(tmp_path / "model.npz")
        assert (len(model.users), len(model.items)) == (case.users, case.items)
        assert np.isfinite(model.factors.user.factors).all()
        assert inside("recommend", "model.npz", "--all-users", "-n", "1000", "--include-seen").code == 0


@pytest.mark.parametrize("case", FORGETTING)
def test_forgetting_such_a_list_forgets_or_leaves_the_model_alone(case: str, inside: Inside, tmp_path: Path) -> None:
    content, code, text = FORGETTING[case]
    (tmp_path / "data.csv").write_text(GOOD)
    assert inside("train", "data.csv", *SMALL).code == 0
    before = (tmp_path / "model.npz").read_bytes()
    (tmp_path / "gone.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    run = inside("forget", "model.npz", "--records", "gone.csv")
    assert run.code == code, run.err
    assert text in flat(run.err)
    if code or "nothing to forget" in text:
        assert (tmp_path / "model.npz").read_bytes() == before
    else:
        assert inside("recommend", "model.npz", "--all-users").code == 0


def test_a_list_that_names_everything_twice_forgets_it_once(inside: Inside, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text(GOOD)
    assert inside("train", "data.csv", *SMALL).code == 0
    once = "u1,\nu2,4\n,7\n"
    (tmp_path / "once.csv").write_text("user,item\n" + once)
    (tmp_path / "twice.csv").write_text("user,item\n" + once * 2)
    runs = [
        inside("forget", "model.npz", "--records", f"{n}.csv", "-o", f"{n}.npz", "--json") for n in ("once", "twice")
    ]
    assert runs[0].document["forgotten"] == runs[1].document["forgotten"]
    assert (tmp_path / "once.npz").read_bytes() == (tmp_path / "twice.npz").read_bytes()


def test_the_model_itself_is_no_forget_list(inside: Inside, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text(GOOD)
    assert inside("train", "data.csv", *SMALL).code == 0
    before = (tmp_path / "model.npz").read_bytes()
    assert inside("forget", "model.npz", "--records", "model.npz").code == 2
    assert inside("forget", "model.npz", "--records", "model.npz", "-o", "other.npz").code == 3
    assert (tmp_path / "model.npz").read_bytes() == before


def test_an_id_of_any_length_is_cut_short_in_a_message(inside: Inside, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text(GOOD)
    assert inside("train", "data.csv", *SMALL).code == 0
    run = inside("recommend", "model.npz", "--user", "z" * 100_000)
    assert run.code == 3
    assert "model.npz has no user zzz" in flat(run.err)
    assert len(run.err) < 1000
