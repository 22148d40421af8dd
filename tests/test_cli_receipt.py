"""`forget forget --receipt`, `forget retrain --receipt` and `forget info` of a receipt, as processes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from forgetcli.cli import main
from forgetcli.errors import FileSystemError
from forgetcli.json_schema import validate
from forgetcli.receipt import schema
from tests.program import (
    LONGEST_LINE,
    SAMPLES,
    SMALL,
    check_error,
    command_line,
    environment,
    forget,
    forget_well,
    longest_line,
    write_csv,
)

DELETIONS = ("--records", "deletions.csv")
RECEIPT = ("--receipt", "receipt.json")


def digest(path: Path) -> dict[str, object]:
    content = path.read_bytes()
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def receipt_in(directory: Path, name: str = "receipt.json") -> Any:
    document = json.loads((directory / name).read_text())
    validate(document, schema())
    return document


def test_a_receipt_says_what_the_json_object_says_and_of_which_files(work: Path) -> None:
    before, began = digest(work / "model.npz"), datetime.now(UTC).replace(microsecond=0)
    run = forget_well("forget", "model.npz", *DELETIONS, "--method", "response", *RECEIPT, "--json", cwd=work)
    told = receipt_in(work)
    assert run.document["receipt"] == "receipt.json"
    assert told["request"] == {**run.document["request"], "files": [digest(work / "deletions.csv")], "options": 0}
    for name in ("forgotten", "method", "path", "vectors", "exact_sweeps", "before", "after", "forgetcli_version"):
        assert told[name] == run.document[name], name
    assert told["model"] == {"before": before, "after": digest(work / "model.npz"), "replaced": True}
    assert began <= datetime.fromisoformat(told["time"]) <= datetime.now(UTC)
    assert (told["command"], told["verify"]) == ("forget", None)
    assert {"reading", "sweeping", "writing"} <= told["seconds"].keys()
    assert "Receipt receipt.json" in " ".join(run.err.split())


def test_a_receipt_changes_nothing_about_the_model(work: Path) -> None:
    forget_well("forget", "model.npz", *DELETIONS, "-o", "plain.npz", cwd=work)
    forget_well("forget", "model.npz", *DELETIONS, *RECEIPT, "-o", "other.npz", cwd=work)
    assert (work / "plain.npz").read_bytes() == (work / "other.npz").read_bytes()
    model = receipt_in(work)["model"]
    assert model == {"before": digest(work / "model.npz"), "after": digest(work / "other.npz"), "replaced": False}


def test_lists_from_standard_input_and_several_files_are_hashed_and_options_counted(work: Path) -> None:
    write_csv(work / "more.csv", ("user",), [("7",)])
    content = (work / "deletions.csv").read_bytes()
    forget_well(
        "forget", "model.npz", "--records", "more.csv", "--records", "-", "--user", "9", "--item", "11", "--item", "12",
        *RECEIPT, cwd=work, stdin=content,
    )  # fmt: skip
    request = receipt_in(work)["request"]
    assert request["files"] == [digest(work / "more.csv"), digest(work / "deletions.csv")]
    assert (request["options"], request["users"], request["items"]) == (3, 3, 3)


def test_options_alone_leave_no_digest_of_what_was_asked(work: Path) -> None:
    forget_well("forget", "model.npz", "--user", "42", *RECEIPT, cwd=work)
    assert receipt_in(work)["request"]["files"] == []


def test_nothing_to_forget_is_a_receipt_of_the_model_as_it_is(work: Path) -> None:
    forget_well("forget", "model.npz", "--user", "123456789", *RECEIPT, cwd=work)
    told = receipt_in(work)
    assert (told["method"], told["forgotten"]["interactions"], told["request"]["unknown_users"]) == (None, 0, 1)
    assert told["model"]["before"] == told["model"]["after"] == digest(work / "model.npz")
    shown = forget_well("info", "receipt.json", "--model", "model.npz", cwd=work).out
    assert "nothing was there to forget" in " ".join(shown.split())


def test_verification_goes_into_the_receipt(work: Path) -> None:
    run = forget_well("forget", "model.npz", *DELETIONS, "--verify", *RECEIPT, "--json", cwd=work)
    told, found = receipt_in(work)["verify"], run.document["verify"]
    for name in ("retrains", "finding", "sentence", "by_chance"):
        assert told[name] == found[name]
    assert told["memory"]["unlearned"] == found["memory"]["unlearned"]
    assert told["memory"]["retrained_mean"] == found["memory"]["retrained"]["mean"]
    shown = " ".join(forget_well("info", "receipt.json", cwd=work).out.split())
    assert found["sentence"] in shown


def test_a_retrain_has_its_receipt(work: Path) -> None:
    run = forget_well("retrain", "model.npz", *DELETIONS, "-o", "r.npz", *RECEIPT, "--json", cwd=work)
    told = receipt_in(work)
    assert (told["command"], told["method"], told["exact_sweeps"]) == ("retrain", "retrain", 3)
    assert told["forgotten"] == run.document["left_out"]
    assert told["after"] == {"objective": run.document["sweeps"][-1]["objective"], "relative_gradient": None}
    assert told["model"] == {"before": digest(work / "model.npz"), "after": digest(work / "r.npz"), "replaced": False}
    forget_well("info", "receipt.json", "--model", "r.npz", cwd=work)


def test_no_receipt_names_what_was_forgotten_or_any_file(tmp_path: Path) -> None:
    rows = [(f"person-{user}", f"thing-{item}", user + item) for user in range(9) for item in range(9)]
    write_csv(tmp_path / "data.csv", ("user", "item", "rating"), rows)
    forget_well("train", "data.csv", *SMALL, "-o", "person-model.npz", cwd=tmp_path)
    gone = [("person-3", ""), ("person-5", "thing-7"), ("", "thing-2"), ("nobody-1", "")]
    write_csv(tmp_path / "person-3.csv", ("user", "item"), gone)
    forget_well(
        "forget", "person-model.npz", "--records", "person-3.csv", "--user", "person-8", "--item", "thing-4",
        "--verify", *RECEIPT, cwd=tmp_path,
    )  # fmt: skip
    text = (tmp_path / "receipt.json").read_text()
    assert receipt_in(tmp_path)["forgotten"]["users"] == 2
    for part in ("person", "thing", "nobody", "data.csv", str(tmp_path), os.uname().nodename):
        assert part not in text, part


def test_info_shows_a_receipt_and_whether_it_is_the_models(work: Path) -> None:
    (work / "copy.npz").write_bytes((work / "model.npz").read_bytes())
    forget_well("forget", "model.npz", *DELETIONS, "--user", "7", *RECEIPT, cwd=work)
    alone = forget_well("info", "receipt.json", cwd=work)
    assert longest_line(alone.out) <= LONGEST_LINE
    told, flat = receipt_in(work), " ".join(alone.out.split())
    for part in (
        told["model"]["after"]["sha256"], told["request"]["files"][0]["sha256"],
        "48 pairs, 2 whole users, 1 whole item", "1 id of them by option", "objective", "--model FILE does that",
        told["time"][:10],
    ):  # fmt: skip
        assert part in flat
    good = forget_well("info", "receipt.json", "--model", "model.npz", cwd=work)
    assert "model.npz is the model of this receipt, byte for byte" in " ".join(good.out.split())
    document = forget_well("info", "receipt.json", "--model", "model.npz", "--json", cwd=work).document
    assert document["receipt"] == told
    assert document["check"] == {"model": "model.npz", "match": "after"}

    old = forget("info", "receipt.json", "--model", "copy.npz", cwd=work)
    assert old.code == 1
    assert "copy.npz is the model from before: it still holds" in " ".join(old.err.split())
    assert longest_line(old.err) <= LONGEST_LINE
    other = forget("info", "receipt.json", "--model", "r1.npz", "--json", cwd=work)
    assert (other.code, other.document["check"]["match"]) == (1, "other")
    assert "r1.npz is not the model of receipt.json" in " ".join(other.err.split())


def test_receipts_form_a_chain(work: Path) -> None:
    forget_well("forget", "model.npz", "--user", "42", "--receipt", "1.json", cwd=work)
    forget_well("forget", "model.npz", "--user", "43", "--receipt", "2.json", cwd=work)
    assert receipt_in(work, "1.json")["model"]["after"] == receipt_in(work, "2.json")["model"]["before"]
    assert forget("info", "1.json", "--model", "model.npz", cwd=work).code == 1
    forget_well("info", "2.json", "--model", "model.npz", cwd=work)


def test_a_receipt_replaces_nothing(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(code: int, part: str, *arguments: str) -> None:
        assert main(["forget", "model.npz", *DELETIONS, *arguments]) == code
        assert part in " ".join(capsys.readouterr().err.split())

    monkeypatch.chdir(work)
    (work / "receipt.json").write_text("kept")
    model = (work / "model.npz").read_bytes()
    os.mkfifo(work / "pipe")
    (work / "dangling").symlink_to("nowhere")
    for path in ("receipt.json", "deletions.csv", "pipe", "dangling", "."):
        refused(2, "is there already, and a receipt replaces nothing", "--receipt", path)
    refused(2, "written to a file", "--receipt", "-")
    refused(2, "model's place", "-o", "a", "--receipt", "./a")
    refused(5, "no/r.json", "--receipt", "no/r.json")
    refused(2, "--dry-run", "--dry-run", "--receipt", "r")
    assert ((work / "model.npz").read_bytes(), (work / "receipt.json").read_bytes()) == (model, b"kept")
    (work / "empty").touch()
    forget_well("forget", "model.npz", *DELETIONS, "--receipt", "empty", cwd=work)
    receipt_in(work, "empty")


def test_a_run_that_fails_leaves_no_receipt(work: Path) -> None:
    before = (work / "model.npz").read_bytes()
    run = forget("forget", "model.npz", "--user", "123456789", "--on-unknown", "fail", *RECEIPT, cwd=work)
    check_error(run, 1)
    assert (work / "model.npz").read_bytes() == before
    assert not (work / "receipt.json").exists()


def test_the_model_is_safe_before_the_receipt_is_written_and_a_repeated_run_says_so(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A crash between the two, and a disk that is full by then."""
    forget_well("forget", "model.npz", *DELETIONS, "-o", "expected.npz", cwd=work)
    monkeypatch.chdir(work)

    def refuse(document: object, path: str) -> None:
        raise FileSystemError(f"cannot write {path}: the disk is full", "free some space")

    with monkeypatch.context() as patched:
        patched.setattr("forgetcli.receipt.write_receipt", refuse)
        assert main(["forget", "model.npz", *DELETIONS, *RECEIPT]) == 5
    told = " ".join(capsys.readouterr().err.split())
    assert "cannot write receipt.json: the disk is full free some space; the model has forgotten" in told
    assert (work / "model.npz").read_bytes() == (work / "expected.npz").read_bytes()
    assert not (work / "receipt.json").exists()
    forget_well("forget", "model.npz", *DELETIONS, *RECEIPT, cwd=work)
    again = receipt_in(work)
    assert again["method"] is None
    assert again["model"]["after"] == again["model"]["before"] == digest(work / "expected.npz")


def test_a_receipt_is_there_before_the_verification_begins(work: Path) -> None:
    with subprocess.Popen(
        command_line("forget", "model.npz", "--user", "42", "--verify", "--verify-seeds", "5000", *RECEIPT),
        cwd=work, env=environment(), stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        assert any(line.startswith(b"Receipt") for line in process.stderr)
        process.kill()
    told = receipt_in(work)
    assert told["verify"] is None
    assert told["model"]["after"] == digest(work / "model.npz")


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b'{"schema": "forgetcli/receipt/1"}', ["receipt.json: not a receipt: time is missing"]),
        (b'{"schema": "forgetcli/receipt/9"}', ["its schema is not forgetcli/receipt/1", "a later forgetcli"]),
        (b'{"\\u001b[2J": 1, "\\u001b[2J": 2}', [r"the member \x1b[2J is there twice"]),
        (b'{"a":' + b"[" * 200_000, ["nested too deeply"]),
        (b'{"schema": "forgetcli/rec', ["not valid JSON"]),
        (b"\n\n {\xff", ["not valid UTF-8"]),
    ],
)
def test_a_receipt_that_cannot_be_trusted_is_an_error_and_no_traceback(
    content: bytes, parts: list[str], tmp_path: Path
) -> None:
    (tmp_path / "receipt.json").write_bytes(content)
    check_error(forget("info", "receipt.json", cwd=tmp_path), 3, *parts)


def test_the_receipt_comes_first_and_the_model_must_be_there(work: Path) -> None:
    forget_well("forget", "model.npz", "--user", "42", *RECEIPT, cwd=work)
    swapped = forget("info", "model.npz", "--model", "receipt.json", cwd=work)
    check_error(swapped, 3, "model.npz: not a receipt", "the receipt comes first")
    check_error(forget("info", "receipt.json", "--model", "none.npz", cwd=work), 5, "none.npz")
    check_error(forget("info", "receipt.json", "--model", ".", cwd=work), 5)


def test_the_documents_example_is_a_receipt() -> None:
    page = SAMPLES.parent / "docs" / "receipt.md"
    _, _, rest = page.read_text(encoding="utf-8").partition("```json\n")
    validate(json.loads(rest.partition("```")[0]), schema())
