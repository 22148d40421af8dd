"""Receipts as values and as files; tests/test_cli_receipt.py has the commands."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest

from forgetcli.digests import Digest
from forgetcli.errors import DataError, FileSystemError
from forgetcli.receipt import NAME, Match, Receipt, looks_like_receipt, read_receipt, schema, write_receipt
from forgetcli.report.summaries import receipt_text
from forgetcli.verdict import Finding
from tests.program import LONGEST_LINE, longest_line

A, B, C = (Digest(number, letter * 64) for number, letter in enumerate("abc"))


def receipt_of(before: Digest = A, after: Digest = B) -> dict[str, Any]:
    return {
        "schema": NAME,
        "time": "2026-01-02T03:04:05Z",
        "forgetcli_version": "0.1.0",
        "command": "forget",
        "request": {
            "files": [{"bytes": 12, "sha256": "0" * 64}], "options": 1,
            "pairs": 3, "users": 1, "items": 0, "unknown_pairs": 1, "unknown_users": 0, "unknown_items": 0,
        },
        "forgotten": {"interactions": 40, "users": 1, "items": 0},
        "method": "response",
        "path": "exact",
        "vectors": 4,
        "exact_sweeps": 1,
        "before": {"objective": 12.5, "relative_gradient": 0.1},
        "after": {"objective": 12.25, "relative_gradient": None},
        "verify": {
            "retrains": 3, "finding": "forgotten", "sentence": "Nothing is left.", "by_chance": 0.23,
            "memory": {
                "pairs": 3, "left_out": 1, "unlearned": 0.01, "retrained_mean": 0.0, "retrained_deviation": None
            },
        },
        "seconds": {"reading": 0.5, "writing": 0},
        "model": {
            "before": {"bytes": before.size, "sha256": before.sha256},
            "after": {"bytes": after.size, "sha256": after.sha256},
            "replaced": True,
        },
    }  # fmt: skip


def changed(*path: str | int, to: Any) -> dict[str, Any]:
    """The receipt with one value replaced."""
    document: Any = receipt_of()
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = to
    return document  # type: ignore[no-any-return]


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Where the values of a document are."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [place for key, each in inner for place in places(each, (*path, key))]


def test_a_receipt_is_written_and_read_back(tmp_path: Path) -> None:
    write_receipt(receipt_of(), tmp_path / "receipt.json")
    assert read_receipt(tmp_path / "receipt.json") == Receipt(receipt_of())
    assert looks_like_receipt(tmp_path / "receipt.json")
    text = (tmp_path / "receipt.json").read_text(encoding="ascii")
    assert text == json.dumps(receipt_of(), indent=2) + "\n"


def test_the_schema_itself_is_a_schema_and_the_example_follows_it() -> None:
    fastjsonschema.compile(schema())(receipt_of())
    assert schema()["properties"]["schema"]["const"] == NAME


@pytest.mark.parametrize("place", places(receipt_of()), ids=lambda place: ".".join(map(str, place)))
def test_no_value_may_be_of_another_kind_and_another_validator_agrees(
    place: tuple[str | int, ...], tmp_path: Path
) -> None:
    validator = fastjsonschema.compile(schema())
    for value in ([], {}, "\x1b[2J", -1, 1.5, True, None):
        document = changed(*place, to=value)
        (tmp_path / "receipt.json").write_text(json.dumps(document))
        try:
            validator(copy.deepcopy(document))
        except fastjsonschema.JsonSchemaValueException:
            with pytest.raises(DataError, match="not a receipt: "):
                read_receipt(tmp_path / "receipt.json")
        else:
            text = receipt_text("receipt.json", read_receipt(tmp_path / "receipt.json"), None, None)
            assert longest_line(text) <= LONGEST_LINE
            assert "\x1b" not in text


@pytest.mark.parametrize(
    "place", [("time",), ("request", "files", 0, "sha256"), ("model", "after"), ("verify", "memory")]
)
def test_a_member_more_or_less_is_refused(place: tuple[str | int, ...], tmp_path: Path) -> None:
    more, less = receipt_of(), receipt_of()
    for document in (more, less):
        inner: Any = document
        for key in place[:-1]:
            inner = inner[key]
        if document is more:
            inner["user"] = "42"
        else:
            del inner[place[-1]]
    for document, message in ((more, "user is unknown"), (less, f"{place[-1]} is missing")):
        (tmp_path / "receipt.json").write_text(json.dumps(document))
        with pytest.raises(DataError, match=message):
            read_receipt(tmp_path / "receipt.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not valid JSON"),
        (b"{", "line 1, column"),
        (b"[]", "it should be an object"),
        (b"PK\x03\x04", "not valid"),
        (b'{"schema": 1, "schema": 2}', "schema is there twice"),
        (b'{"schema": "forgetcli/receipt/2"}', "receipt/1"),
        (b" " * ((1 << 24) + 1), "more than 16,777,216 bytes"),
    ],
)
def test_what_is_no_receipt_is_refused_with_the_reason(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "receipt.json").write_bytes(content)
    with pytest.raises(DataError, match=f"receipt.json: not a receipt: .*{message}"):
        read_receipt(tmp_path / "receipt.json")


def test_a_receipt_that_is_not_there_is_the_file_systems_refusal(tmp_path: Path) -> None:
    with pytest.raises(FileSystemError):
        read_receipt(tmp_path / "none.json")
    with pytest.raises(FileSystemError):
        read_receipt(tmp_path)


def test_a_model_is_the_one_after_before_or_another() -> None:
    receipt = Receipt(receipt_of(before=A, after=B))
    assert [receipt.match(digest) for digest in (A, B, C)] == [Match.BEFORE, Match.AFTER, Match.OTHER]
    assert receipt.match(Digest(B.size + 1, B.sha256)) is Match.OTHER
    assert Receipt(receipt_of(before=A, after=A)).match(A) is Match.AFTER


def test_every_finding_can_be_told() -> None:
    for finding in Finding:
        validate_name = fastjsonschema.compile(schema()["definitions"]["name"])
        assert validate_name(finding.value) == finding.value
