"""Results as JSON objects. Their members are a contract: `SCHEMA_VERSION` rises when one changes its meaning."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from forgetcli import __version__
from forgetcli.receipt import NAME as RECEIPT_SCHEMA
from forgetcli.system import peak_memory

if TYPE_CHECKING:
    from forgetcli.checkpoint import ModelInfo
    from forgetcli.digests import Digest
    from forgetcli.gradient import Standing
    from forgetcli.ids import Vocabulary
    from forgetcli.interop import Exported, Imported
    from forgetcli.model import Model
    from forgetcli.profiling import Stage
    from forgetcli.receipt import Match, Receipt
    from forgetcli.recommending import Recommendations
    from forgetcli.records import RequestCounts
    from forgetcli.tables import ItemNames, ReadResult
    from forgetcli.unlearn import ForgetResult

SCHEMA_VERSION = 1

_RECEIPT_MEMBERS = ("forgotten", "method", "path", "vectors", "exact_sweeps", "before", "after")

Document = dict[str, Any]


def envelope(command: str, document: Document, seconds: dict[str, float]) -> Document:
    """A command's object, with what those of all commands have.

    seconds: by stage.
    """
    return {
        "command": command,
        "schema_version": SCHEMA_VERSION,
        "forgetcli_version": __version__,
        **document,
        "seconds": {stage: round(taken, 6) for stage, taken in seconds.items()},
        "peak_memory_bytes": peak_memory(),
    }


def to_json(document: Document) -> str:
    """One line of ASCII. A figure that is not finite, which JSON does not have, is null."""
    return json.dumps(_finite(document), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def model_members(path: str | None, model: Model) -> Document:
    """What a command tells of the model it made.

    path: of its file, or None when it was not written.
    """
    return {
        "path": path,
        "users": len(model.users),
        "items": len(model.items),
        "interactions": None if model.interactions is None else len(model.interactions),
        "config": model.config.to_dict(),
    }


def input_members(read: ReadResult, held_out: int) -> Document:
    """What was read to train on."""
    return {
        "files": read.files,
        "rows": read.rows,
        "dropped_rows": read.dropped_rows,
        "duplicates": read.duplicates,
        "has_ratings": read.has_ratings,
        "held_out": held_out,
    }


def import_members(imported: Imported) -> Document:
    """What did not go into the model, and how far its factors are from their solutions on the data."""
    return {
        "left_out": {
            "interactions": imported.left_out,
            "idle_users": imported.idle_users,
            "idle_items": imported.idle_items,
        },
        "agreement": {"users": imported.agreement.users, "items": imported.agreement.items},
    }


def export_members(exported: Exported) -> Document:
    """What was written."""
    return {
        "users": exported.users,
        "items": exported.items,
        "columns": exported.columns,
        "cautions": list(exported.cautions),
    }


def request_members(counts: RequestCounts) -> Document:
    """What was asked for, and how much of it is not there."""
    return {
        "pairs": counts.pairs,
        "users": counts.users,
        "items": counts.items,
        "unknown_pairs": counts.unknown_pairs,
        "unknown_users": counts.unknown_users,
        "unknown_items": counts.unknown_items,
    }


def removed_members(counts: RequestCounts, erased_users: int, erased_items: int) -> Document:
    """What goes: interactions, and the users and items that have nothing left."""
    return {"interactions": counts.interactions, "users": erased_users, "items": erased_items}


def forget_members(result: ForgetResult) -> Document:
    """What was forgotten, how, and what it reached."""
    return {
        "request": request_members(result.counts),
        "forgotten": removed_members(result.counts, result.erased_users, result.erased_items),
        "method": result.method,
        "path": result.path,
        "vectors": result.vectors,
        "exact_sweeps": result.sweeps,
        "before": _standing(result.before),
        "after": _standing(result.after),
    }


def retrain_members(retrained: Model, request: Document, forgotten: Document) -> Document:
    """A retrain as `forget_members` tells of forgetting, for its receipt.

    request, forgotten: as `request_members` and `removed_members` make them.
    """
    history = retrained.history
    objective = history[-1].objective if history else None
    return {
        "request": request,
        "forgotten": forgotten,
        "method": "retrain",
        "path": None,
        "vectors": 0,
        "exact_sweeps": len(history),
        "before": None,
        "after": {"objective": objective, "relative_gradient": None},
    }


def receipt_document(
    *,
    time: str,
    command: str,
    lists: Sequence[Digest],
    options: int,
    members: Document,
    verify: Document | None,
    seconds: dict[str, float],
    before: Digest,
    after: Digest,
    replaced: bool,
) -> Document:
    """A receipt, as `receipt.schema` has it.

    lists:         of the forget-lists.
    options:       how many ids were given without a list.
    members:       see `forget_members`.
    verify:        see `Verification.to_dict`.
    before, after: of the model files. replaced: whether they are one file.
    """
    document = {
        "schema": RECEIPT_SCHEMA,
        "time": time,
        "forgetcli_version": __version__,
        "command": command,
        "request": {"files": [_digest(each) for each in lists], "options": options, **members["request"]},
        **{name: members[name] for name in _RECEIPT_MEMBERS},
        "verify": None if verify is None else _verified(verify),
        "seconds": {stage: round(taken, 6) for stage, taken in seconds.items()},
        "model": {"before": _digest(before), "after": _digest(after), "replaced": replaced},
    }
    return cast(Document, _finite(document))


def receipt_info_document(path: str, receipt: Receipt, model: str | None, match: Match | None) -> Document:
    """A receipt, and what the model is to it.

    model, match: None where it was not held against a model.
    """
    check = None if match is None else {"model": model, "match": match.value}
    return {"path": path, "receipt": receipt.document, "check": check}


def info_document(path: str, info: ModelInfo) -> Document:
    """What a model file says of itself."""
    return {
        "path": path,
        "format_version": info.format_version,
        "bytes": info.file_size,
        "users": info.n_users,
        "items": info.n_items,
        "interactions": info.n_interactions,
        "user_ids": info.user_id_kind,
        "item_ids": info.item_id_kind,
        "config": info.config.to_dict(),
        "history": [
            {"kind": entry.kind, "objective": entry.objective, "metrics": entry.metrics} for entry in info.history
        ],
    }


def recommendation_members(model: Model, names: ItemNames | None, found: Recommendations) -> list[Document]:
    """One object a user, with items best first."""
    return [
        {
            "user": _typed_id(model.users, user),
            "items": [
                _recommended(model.items, names, item, score)
                for item, score in zip(items, scores, strict=True)
                if item >= 0
            ],
        }
        for user, items, scores in zip(found.users.tolist(), found.items.tolist(), found.scores.tolist(), strict=True)
    ]


def _recommended(items: Vocabulary, names: ItemNames | None, item: int, score: float) -> Document:
    title = {} if names is None else {"title": names.title(items.label(item))}
    return {"item": _typed_id(items, item), **title, "score": score}


def _typed_id(vocabulary: Vocabulary, row: int) -> int | str:
    """An id as the training data typed it."""
    label = vocabulary.label(row)
    return label if vocabulary.is_text else int(label)


def _digest(digest: Digest) -> Document:
    return {"bytes": digest.size, "sha256": digest.sha256}


def _verified(verify: Document) -> Document:
    memory, told = verify["memory"], None
    if memory is not None:
        retrained = memory["retrained"] or {}
        told = {name: memory[name] for name in ("pairs", "left_out", "unlearned")} | {
            f"retrained_{name}": retrained.get(name) for name in ("mean", "deviation")
        }
    return {name: verify[name] for name in ("retrains", "finding", "sentence", "by_chance")} | {"memory": told}


def _standing(standing: Standing | None) -> Document | None:
    if standing is None:
        return None
    return {"objective": standing.objective, "relative_gradient": standing.relative_gradient}


def profile_members(stages: Sequence[Stage]) -> list[Document]:
    """One object a stage."""
    return [{**dataclasses.asdict(stage), "seconds": round(stage.seconds, 6)} for stage in stages]
