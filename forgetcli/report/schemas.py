"""What `--json` prints, as JSON Schemas (draft 7), one a command.

What a command prints of a dataclass is derived from that dataclass, its members' descriptions from its docstring; the
rest stands here. A member may be added at any time, so readers should pass over those that they do not know. When one
changes its meaning or goes, `documents.SCHEMA_VERSION` rises.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import json
import re
import types
from collections.abc import Callable
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from forgetcli.profiling import Stage
from forgetcli.report.documents import SCHEMA_VERSION

Schema = dict[str, Any]
Shapes = list[dict[str, Schema]]
"""A command's own members; several where its object has one of several shapes."""

DRAFT = "http://json-schema.org/draft-07/schema#"

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": ["number", "null"]}
SECONDS: Schema = {"type": "number", "minimum": 0}
ID: Schema = {"type": ["integer", "string"], "description": "as the training data typed it"}


def schema_text(command: str) -> str:
    """The schema of a command's object, for people too."""
    return json.dumps(schema(command), indent=2, ensure_ascii=False)


def schema(command: str) -> Schema:
    """The schema of the object that a command prints with --json."""
    shared = {
        "command": {"const": command},
        "schema_version": described({"const": SCHEMA_VERSION}, "rises when a member changes its meaning or goes"),
        "forgetcli_version": TEXT,
    }
    last = {
        "seconds": described(_map(SECONDS), "by stage of the work, in order; total is the whole"),
        "peak_memory_bytes": described(
            {"type": ["integer", "null"]}, "the most that the process held; null where the system does not tell"
        ),
    }
    optional = [*_OPTIONAL.get(command, ()), *(["profile"] if command in PROFILED else [])]
    if command in PROFILED:
        last = {"profile": each(derived(Stage), "with --profile: one object a stage, its parts behind it"), **last}
    shapes = [members({**shared, **own, **last}, *optional) for own in _COMMANDS[command]()]
    return {
        "$schema": DRAFT,
        "title": f"forget {command} --json",
        "description": "One line of ASCII. A number that is not finite, which JSON does not have, is null.",
        **(shapes[0] if len(shapes) == 1 else {"anyOf": shapes}),
    }


def commands() -> tuple[str, ...]:
    """The commands that have --json."""
    return tuple(_COMMANDS)


def members(properties: dict[str, Schema], *optional: str) -> Schema:
    """An object with these members; those that are not named optional are always there."""
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
    }


def described(schema: Schema, description: str) -> Schema:
    """The schema with a word on what it means."""
    return {**schema, "description": description}


def maybe(schema: Schema, description: str | None = None) -> Schema:
    """The schema's values, or null."""
    either: Schema = {"anyOf": [schema, {"type": "null"}]}
    return described(either, description) if description else either


def each(schema: Schema, description: str | None = None) -> Schema:
    """A list of the schema's values."""
    items: Schema = {"type": "array", "items": schema}
    return described(items, description) if description else items


def derived(kind: Any) -> Schema:
    """What `dataclasses.asdict` makes of a value of this type, as JSON."""
    origin, arguments = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _of_dataclass(kind)
    if origin in (Union, types.UnionType):
        options = [derived(argument) for argument in arguments if argument is not type(None)]
        return maybe(options[0] if len(options) == 1 else {"anyOf": options})
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is dict:
        return _map(derived(arguments[1]))
    if origin in (tuple, list):
        return each(derived(arguments[0]))
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return {"enum": [member.value for member in kind]}
    plain: dict[Any, Schema] = {bool: FLAG, int: {"type": "integer"}, float: NUMBER, str: TEXT}
    return plain[kind]


def _of_dataclass(kind: Any) -> Schema:
    told = re.sub(r"\bNone\b", "null", inspect.getdoc(kind) or "")
    told = re.sub(r" \(see [A-Z]+\)", "", told)  # names of the package's constants
    hints, meanings = get_type_hints(kind), member_descriptions(told)
    return members(
        {
            field.name: derived(hints[field.name])
            | ({"description": meanings[field.name]} if field.name in meanings else {})
            for field in dataclasses.fields(kind)
        }
    )


def member_descriptions(docstring: str) -> dict[str, str]:
    """What a class's docstring says of its members: lines that begin with their names and a colon, at the margin; what
    is indented below belongs to them. Several names may stand before one colon."""
    found: dict[str, str] = {}
    for names, text in re.findall(r"^([a-z]\w*(?:, [a-z]\w*)*): +(.*(?:\n +.*)*)", docstring, re.MULTILINE):
        for name in names.split(", "):
            found[name] = " ".join(text.split())
    return found


def _map(values: Schema) -> Schema:
    return {"type": "object", "additionalProperties": values}


def _model() -> Schema:
    from forgetcli.config import TrainConfig

    return members(
        {
            "path": maybe(TEXT, "of the file; null where none was written"),
            "users": COUNT,
            "items": COUNT,
            "interactions": maybe(COUNT, "null where the model does not carry them"),
            "config": derived(TrainConfig),
        }
    )


def _sweeps() -> Schema:
    sweep = {
        **members({"objective": NUMBER, "seconds": SECONDS}),
        "additionalProperties": described(NUMBER, "held-out metrics by name: rmse, mae, ndcg@10, ..."),
    }
    return each(sweep, "one object a sweep")


def _request() -> Schema:
    names = ("pairs", "users", "items", "unknown_pairs", "unknown_users", "unknown_items")
    return described(members(dict.fromkeys(names, COUNT)), "what was asked for, and how much of it is not there")


def _removed() -> Schema:
    counts = members(dict.fromkeys(("interactions", "users", "items"), COUNT))
    return described(counts, "what goes, and the users and items that have nothing left")


def _receipt() -> Schema:
    return maybe(TEXT, "the receipt's path; null without --receipt")


def _measured(kind: Any) -> Schema:
    """A verification's or an audit's object: the dataclass's, and the band of the memory."""
    found = derived(kind)
    for option in found["properties"]["memory"]["anyOf"]:
        if option.get("type") == "object":
            option["properties"]["band"] = maybe(each(NUMBER), "the retrains' mean ± 2 standard deviations")
            option["required"].append("band")
    return found


def _input() -> Schema:
    return members(
        {
            "files": COUNT,
            "rows": COUNT,
            "dropped_rows": described(COUNT, "by --bad-rows drop"),
            "duplicates": described(COUNT, "rows that were merged into others of their pair"),
            "has_ratings": FLAG,
            "held_out": described(COUNT, "interactions to measure on"),
        }
    )


def _train() -> Shapes:
    return [{"input": _input(), "model": _model(), "sweeps": _sweeps()}]


def _forget() -> Shapes:
    from forgetcli.gradient import Standing
    from forgetcli.response import Path
    from forgetcli.unlearn import Method
    from forgetcli.verification import Verification

    meanings = member_descriptions(inspect.getdoc(Standing) or "")
    standing = maybe(
        members({name: described(NUMBER, meanings.get(name, "")) for name in ("objective", "relative_gradient")}),
        "on what remains; null where nothing was forgotten",
    )
    return [
        {
            "dry_run": FLAG,
            "asked_method": {"enum": list(get_args(Method))},
            "request": _request(),
            "forgotten": _removed(),
            "method": maybe(
                {"enum": [each for each in get_args(Method) if each != "auto"]},
                "that was used; null where nothing was to be forgotten",
            ),
            "path": maybe({"enum": list(get_args(Path))}, "how a response step ended"),
            "vectors": described(COUNT, "Krylov vectors that a response step took"),
            "exact_sweeps": described(COUNT, "sweeps in the normal sense"),
            "before": standing,
            "after": standing,
            "model": _model(),
            "sweeps": _sweeps(),
            "verify": maybe(_measured(Verification), "null without --verify"),
            "receipt": _receipt(),
        }
    ]


def _retrain() -> Shapes:
    return [
        {"request": _request(), "left_out": _removed(), "model": _model(), "sweeps": _sweeps(), "receipt": _receipt()}
    ]


def _compare() -> Shapes:
    from forgetcli.comparison import Comparison
    from forgetcli.runs import Cost
    from forgetcli.verdict import Audit

    return [
        {
            "unlearned": described(TEXT, "the model's path"),
            "retrained": each(TEXT),
            "original": maybe(TEXT),
            "audit": maybe(_measured(Audit), "null without --records and --original"),
            **derived(Comparison)["properties"],
            "cost": maybe(derived(Cost), "null without --timings"),
            "figures": described(_map(NUMBER), "those that --fail-above may limit"),
            "limits": described(_map(NUMBER), "those that were given"),
            "exceeded": each(TEXT, "the figures above their limits; exit code 1 where there are any"),
        }
    ]


def _recommend() -> Shapes:
    recommended = members({"item": ID, "title": maybe(TEXT), "score": NUMBER}, "title")
    return [
        {
            "users": COUNT,
            "unknown_users": COUNT,
            "n": COUNT,
            "output": described(TEXT, "the file, with -o"),
            "recommendations": each(members({"user": ID, "items": each(recommended, "best first")}), "without -o"),
        }
    ]


def _info() -> Shapes:
    from forgetcli.config import TrainConfig
    from forgetcli.receipt import Match

    kind = {"enum": ["integer", "text"]}
    entry = members({"kind": TEXT, "objective": NUMBER, "metrics": _map(NUMBER)})
    model: dict[str, Schema] = {
        "path": TEXT,
        "format_version": COUNT,
        "bytes": COUNT,
        "users": COUNT,
        "items": COUNT,
        "interactions": maybe(COUNT, "null where the model does not carry them"),
        "user_ids": kind,
        "item_ids": kind,
        "config": derived(TrainConfig),
        "history": each(entry, "one object a step of its making: a sweep, a response step, an import"),
    }
    check = members({"model": TEXT, "match": {"enum": [match.value for match in Match]}})
    receipt: dict[str, Schema] = {
        "path": TEXT,
        "receipt": {"type": "object", "description": "the receipt itself, which has a schema of its own"},
        "check": maybe(check, "null without --model"),
    }
    return [model, receipt]


def _import() -> Shapes:
    from forgetcli.interop import IMPORT_FORMATS, Agreement

    left_out = members(dict.fromkeys(("interactions", "idle_users", "idle_items"), COUNT))
    return [
        {
            "format": {"enum": list(IMPORT_FORMATS)},
            "input": _input(),
            "left_out": described(left_out, "what only the data, or only the other trainer's model, has"),
            "agreement": described(derived(Agreement), "how far each side is from its exact solution, relatively"),
            "model": _model(),
        }
    ]


def _export() -> Shapes:
    from forgetcli.interop import EXPORT_FORMATS, Exported

    return [
        {
            "format": {"enum": list(EXPORT_FORMATS)},
            "model": described(TEXT, "the model's path"),
            "output": TEXT,
            **derived(Exported)["properties"],
            "folded": described(FLAG, "--fold-biases"),
            "augmented": described(FLAG, "--augment"),
        }
    ]


PROFILED = ("train", "forget", "retrain", "compare", "recommend")
"""The commands that have --profile."""

_OPTIONAL = {"recommend": ("output", "recommendations")}
"""Members that depend on where the result goes."""

_COMMANDS: dict[str, Callable[[], Shapes]] = {
    "train": _train,
    "forget": _forget,
    "retrain": _retrain,
    "compare": _compare,
    "recommend": _recommend,
    "info": _info,
    "import": _import,
    "export": _export,
}
