"""Receipts of forgetting: what was done to which model, without an id. docs/receipt.md says what they mean."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, Literal

from forgetcli.digests import Digest
from forgetcli.errors import DataError
from forgetcli.files import StrPath, atomic_write, file_system_errors
from forgetcli.json_schema import Schema, parse, validate
from forgetcli.system import AT_ONCE

NAME = "forgetcli/receipt/1"

_MOST_BYTES = 1 << 24
"""Room for the digests of 100,000 forget-lists."""

_LONGEST_START = 64
"""Bytes in which a JSON object has begun."""


class Match(Enum):
    """What a model file is to a receipt."""

    AFTER = "after"
    """The model that had forgotten."""
    BEFORE = "before"
    """The one from before, which still holds what was to go."""
    OTHER = "other"
    """Another, or one of these with any byte changed."""


@dataclass(frozen=True)
class Receipt:
    """A receipt that follows `schema()`.

    document: the JSON object.
    """

    document: dict[str, Any]

    def model(self, which: Literal["before", "after"]) -> Digest:
        """The digest of the model file."""
        digest = self.document["model"][which]
        return Digest(digest["bytes"], digest["sha256"])

    def match(self, model: Digest) -> Match:
        """What the model file of this digest is. Where nothing was forgotten before and after are one."""
        if model == self.model("after"):
            return Match.AFTER
        return Match.BEFORE if model == self.model("before") else Match.OTHER


@cache
def schema() -> Schema:
    """The JSON Schema of receipts."""
    text = Path(__file__).with_name("receipt.schema.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def write_receipt(document: dict[str, Any], path: StrPath) -> None:
    """Writes a receipt's JSON object as a file, all of it or nothing. Raises FileSystemError."""
    text = json.dumps(document, indent=2, allow_nan=False) + "\n"
    with atomic_write(path) as file:
        file.write(text.encode("ascii"))


def read_receipt(path: StrPath) -> Receipt:
    """The receipt at `path`, which is not trusted. Raises FileSystemError, and DataError that names the file and what
    is wrong with it."""
    with file_system_errors(path, "read"), open(path, "rb", opener=_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise DataError(f"{os.fspath(path)}: not a receipt, but a pipe or a device")
        text = file.read(_MOST_BYTES + 1)
    try:
        if len(text) > _MOST_BYTES:
            raise DataError(f"it has more than {_MOST_BYTES:,} bytes")
        document = parse(text)
        if isinstance(document, dict) and document.get("schema") != NAME:
            raise DataError(f"its schema is not {NAME}", hint="a receipt of a later version needs a later forgetcli")
        validate(document, schema())
    except DataError as error:
        raise DataError(f"{os.fspath(path)}: not a receipt: {error.message}", error.hint or _hint(text)) from error
    return Receipt(document)


def _without_waiting(path: str, flags: int) -> int:
    """Opens a file; a pipe, too, to which nobody may ever write."""
    return os.open(path, flags | AT_ONCE)


def looks_like_receipt(path: StrPath) -> bool:
    """Whether the file starts as a JSON object does, and no model. Raises FileSystemError."""
    with file_system_errors(path, "read"):
        if not os.path.isfile(path):
            return False
        with open(path, "rb") as file:
            return file.read(_LONGEST_START).lstrip(b" \t\r\n").startswith(b"{")


def _hint(text: bytes) -> str | None:
    return "a model is what `model` names; the receipt comes first" if text.startswith(b"PK") else None
