"""What a model file says of itself, apart from its arrays' values: its texts, and each array's type and shape.

key                                  shape, dtype
format, format_version               0-d text "forgetcli-model", 0-d int64 1
config                               0-d text, JSON: the fields of `TrainConfig`
history                              0-d text, JSON: a list of {"kind", "objective", "metrics"}, as `HistoryEntry`
user_ids                             (n_users,) int64, increasing, when the ids are integers; otherwise
user_id_bytes, user_id_offsets       (total,) uint8 and (n_users + 1,) int64: UTF-8, sorted bytewise
item_ids | item_id_bytes, _offsets   the same
user_factors, item_factors           (n_users, k), (n_items, k) float32 or float64
user_bias, item_bias, global_mean    (n_users,), (n_items,) as the factors, 0-d float64: explicit models only
interactions_indptr                  (n_users + 1,) int64: each user has some; absent without interactions
interactions_indices, _values        (nnz,) int32, increasing for each user, and (nnz,) float32

They are written in this order, and read in any. A file with another array is refused: this program could neither
forget anything in it nor keep it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgetcli.config import TrainConfig
from forgetcli.errors import ModelFileError, NumericalError
from forgetcli.model import HistoryEntry
from forgetcli.npz import Archive, Member

FORMAT = "forgetcli-model"
FORMAT_VERSION = 1

_TEXTS = ("format", "format_version", "config", "history")

_MAX_CONFIG = 1 << 14
_MAX_HISTORY = 1 << 24
"""Characters: some 100,000 sweeps. What `inspect` reads stays small whatever a file says."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_@.+-]{0,63}")
"""Of a kind of step or a metric: such names are printed, and nothing in a file may drive a terminal."""


def text_arrays(config: TrainConfig, history: tuple[HistoryEntry, ...]) -> dict[str, NDArray[Any]]:
    """The texts, as the first members of a file. Raises NumericalError for a history that is not finite."""
    entries = [{"kind": entry.kind, "objective": entry.objective, "metrics": entry.metrics} for entry in history]
    try:
        history_text = json.dumps(entries, allow_nan=False)
    except ValueError as error:
        raise NumericalError("the model's history has values that are not finite; it was not written") from error
    return {
        "format": np.array(FORMAT),
        "format_version": np.array(FORMAT_VERSION, np.int64),
        "config": np.array(json.dumps(config.to_dict(), allow_nan=False)),
        "history": np.array(history_text),
    }


def read_texts(archive: Archive) -> tuple[TrainConfig, tuple[HistoryEntry, ...]]:
    """The configuration and the history, of a file in the format and version that this program knows.

    Raises ModelFileError for any other, and for a text that is not what `text_arrays` writes.
    """
    if "format" not in archive.members or archive.read_text("format", len(FORMAT)) != FORMAT:
        raise ModelFileError("not a forgetcli model, but another NumPy archive")
    _require(archive.members, "format_version", "<i8", ())
    version = int(archive.read("format_version"))
    if version != FORMAT_VERSION:
        raise ModelFileError(
            f"the model's format has version {version}, and this program knows {FORMAT_VERSION}",
            hint="upgrade forgetcli" if version > FORMAT_VERSION else None,
        )
    config = _read_json(archive, "config", _MAX_CONFIG)
    if not isinstance(config, dict):
        raise ModelFileError("config is not a JSON object")
    entries = _read_json(archive, "history", _MAX_HISTORY)
    if not isinstance(entries, list):
        raise ModelFileError("history is not a JSON list")
    return TrainConfig.from_dict(config), tuple(_history_entry(entry) for entry in entries)


def require_layout(members: Mapping[str, Member], config: TrainConfig) -> None:
    """Raises ModelFileError unless the file has the arrays that the configuration asks for, and no others, in types
    and shapes that fit together."""
    expected = {**_expected_side(members, config, "user"), **_expected_side(members, config, "item")}
    if config.objective == "explicit":
        expected["global_mean"] = "<f8", ()
    if any(key.startswith("interactions_") for key in members):
        n_users, nnz = expected["user_factors"][1][0], _length(members, "interactions_indices")
        expected |= {
            "interactions_indptr": ("<i8", (n_users + 1,)),
            "interactions_indices": ("<i4", (nnz,)),
            "interactions_values": ("<f4", (nnz,)),
        }
    for key, (dtype, shape) in expected.items():
        _require(members, key, dtype, shape)
    unknown = sorted(set(members).difference(expected, _TEXTS))
    if unknown:
        raise ModelFileError(
            f"it has arrays that such a model does not have: {', '.join(unknown)[:200]}",
            hint="what forgetcli does not know it cannot make forget",
        )


def _expected_side(
    members: Mapping[str, Member], config: TrainConfig, side: str
) -> dict[str, tuple[str, tuple[int, ...]]]:
    expected: dict[str, tuple[str, tuple[int, ...]]] = {}
    if f"{side}_id_bytes" in members or f"{side}_id_offsets" in members:
        n = _length(members, f"{side}_id_offsets") - 1
        expected[f"{side}_id_bytes"] = "|u1", (_length(members, f"{side}_id_bytes"),)
        expected[f"{side}_id_offsets"] = "<i8", (n + 1,)
    else:
        n = _length(members, f"{side}_ids")
        expected[f"{side}_ids"] = "<i8", (n,)
    real = {"float32": "<f4", "float64": "<f8"}[config.dtype]
    expected[f"{side}_factors"] = real, (n, config.factors)
    if config.objective == "explicit":
        expected[f"{side}_bias"] = real, (n,)
    return expected


def _length(members: Mapping[str, Member], key: str) -> int:
    if key not in members:
        raise ModelFileError(f"it has no {key}")
    shape = members[key].shape
    if len(shape) != 1:
        raise ModelFileError(f"{key} has {len(shape)} axes and should have one")
    return shape[0]


def _require(members: Mapping[str, Member], key: str, dtype: str, shape: tuple[int, ...]) -> None:
    if key not in members:
        raise ModelFileError(f"it has no {key}")
    found = members[key]
    if (found.dtype, found.shape) != (dtype, shape):
        raise ModelFileError(f"{key} should be {shape} of {dtype}, and is {found.shape} of {found.dtype}")


def _read_json(archive: Archive, key: str, limit: int) -> Any:
    if key not in archive.members:
        raise ModelFileError(f"it has no {key}")
    try:
        return json.loads(archive.read_text(key, limit))
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{key} is not valid JSON") from error


def _history_entry(entry: Any) -> HistoryEntry:
    match entry:
        case {"kind": str(kind), "objective": objective, "metrics": dict(metrics), **others} if not others:
            names, numbers = [kind, *metrics], [*metrics.values(), 0.0 if objective is None else objective]
            if all(map(_NAME.fullmatch, names)) and all(map(_is_finite, numbers)):
                return HistoryEntry(
                    kind,
                    None if objective is None else float(objective),
                    {name: float(value) for name, value in metrics.items()},
                )
    raise ModelFileError("history has an entry that is not of a kind, an objective and metrics")


def _is_finite(value: object) -> bool:
    # math.isfinite fails for an integer that no float can hold.
    return (type(value) is float and math.isfinite(value)) or (type(value) is int and abs(value) < 2**53)
