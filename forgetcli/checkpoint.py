"""Models as files: one .npz that `numpy.load(path, allow_pickle=False)` opens.

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

They are written in this order, and the same model gives the same bytes. A file with any other array is refused: this
program could neither forget anything in it nor keep it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from forgetcli.config import TrainConfig
from forgetcli.errors import ModelFileError, NumericalError
from forgetcli.files import StrPath, atomic_write
from forgetcli.interactions import Csr, Interactions, Utf8Ids, Vocabulary
from forgetcli.model import Factors, HistoryEntry, Model, SideFactors
from forgetcli.npz import Archive, Member, open_npz, write_npz
from forgetcli.validity import is_finite, require_csr, require_finite, require_increasing, require_text_ids

FORMAT = "forgetcli-model"
FORMAT_VERSION = 1

_MAX_CONFIG = 1 << 14
_MAX_HISTORY = 1 << 24
"""Characters: some 100,000 sweeps. What `inspect` reads stays small whatever a file says."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_@.+-]{0,63}")
"""Of a kind of step or a metric: such names are printed, and nothing in a file may drive a terminal."""

IdKind = Literal["integer", "text"]


@dataclass(frozen=True)
class ModelInfo:
    """What a model file says of itself.

    n_interactions: of the data that it carries, or None when it carries none.
    user_id_kind:   what the users' ids are; likewise item_id_kind.
    file_size:      in bytes.
    """

    format_version: int
    config: TrainConfig
    n_users: int
    n_items: int
    n_interactions: int | None
    user_id_kind: IdKind
    item_id_kind: IdKind
    history: tuple[HistoryEntry, ...]
    file_size: int

    @property
    def sweeps(self) -> int:
        """How many sweeps the model has had, those of forgetting among them."""
        return sum(entry.kind == "sweep" for entry in self.history)


def save(model: Model, path: StrPath, *, interactions: bool = True) -> None:
    """Writes the model in one pass and replaces the file at `path`, all of it or nothing (see `files.atomic_write`).

    interactions: whether the data goes along; without it the file is small, and forgetting needs the data again.

    Raises FileSystemError, and NumericalError for a model with a value that is not finite; the old file stays.
    """
    arrays = _arrays_of(model, interactions)
    with atomic_write(path) as file:
        write_npz(file, arrays)


def save_to(model: Model, file: BinaryIO, *, interactions: bool = True) -> None:
    """Writes to an open binary file what `save` writes; it need not be seekable."""
    write_npz(file, _arrays_of(model, interactions))


def load(path: StrPath) -> Model:
    """The model at `path`, every array checked against all others before anything can compute with it.

    Raises FileSystemError, and ModelFileError that names the file and what is wrong with it.
    """
    with open_npz(path) as archive:
        _, config, history = _read_texts(archive)
        _require_layout(archive.members, config)
        users, items = _read_ids(archive, "user"), _read_ids(archive, "item")
        factors = _read_factors(archive, config)
        interactions = _read_interactions(archive, users, items)
        return Model(config, factors, users, items, history, interactions)


def inspect(path: StrPath) -> ModelInfo:
    """What the model at `path` is, from its headers and its two short texts; the arrays are not read.

    Raises as `load` does, for what can be seen without the arrays' values.
    """
    with open_npz(path) as archive:
        version, config, history = _read_texts(archive)
        _require_layout(archive.members, config)
        indices = archive.members.get("interactions_indices")
        return ModelInfo(
            format_version=version,
            config=config,
            n_users=archive.members["user_factors"].shape[0],
            n_items=archive.members["item_factors"].shape[0],
            n_interactions=None if indices is None else indices.shape[0],
            user_id_kind="integer" if "user_ids" in archive.members else "text",
            item_id_kind="integer" if "item_ids" in archive.members else "text",
            history=history,
            file_size=archive.size,
        )


def _arrays_of(model: Model, interactions: bool) -> dict[str, NDArray[Any]]:
    """By key, in the order of the file."""
    factors, config = model.factors, model.config
    if factors.user.factors.dtype != config.dtype or factors.rank != config.factors:
        raise ValueError(f"factors of {factors.user.factors.dtype} and rank {factors.rank} are not of {config}")
    arrays: dict[str, NDArray[Any]] = {
        "format": np.array(FORMAT),
        "format_version": np.array(FORMAT_VERSION, np.int64),
        "config": np.array(json.dumps(config.to_dict(), allow_nan=False)),
        "history": np.array(_history_text(model.history)),
        **_id_arrays("user", model.users),
        **_id_arrays("item", model.items),
        "user_factors": factors.user.factors,
        "item_factors": factors.item.factors,
    }
    if config.objective == "explicit":
        arrays |= {"user_bias": factors.user.bias, "item_bias": factors.item.bias,
                   "global_mean": np.array(factors.global_mean, np.float64)}
    for key, array in arrays.items():
        if array.dtype.kind == "f" and not is_finite(array):
            raise NumericalError(f"the model's {key} has values that are not finite; it was not written")
    if interactions and model.interactions is not None:
        by_user = model.interactions.by_user
        arrays |= {"interactions_indptr": by_user.indptr, "interactions_indices": by_user.indices,
                   "interactions_values": by_user.values}
    return arrays


def _id_arrays(side: str, vocabulary: Vocabulary) -> dict[str, NDArray[Any]]:
    ids = vocabulary.ids
    if isinstance(ids, Utf8Ids):
        return {f"{side}_id_bytes": ids.data, f"{side}_id_offsets": ids.offsets}
    return {f"{side}_ids": ids}


def _history_text(history: tuple[HistoryEntry, ...]) -> str:
    entries = [{"kind": entry.kind, "objective": entry.objective, "metrics": entry.metrics} for entry in history]
    try:
        return json.dumps(entries, allow_nan=False)
    except ValueError as error:
        raise NumericalError("the model's history has values that are not finite; it was not written") from error


def _read_texts(archive: Archive) -> tuple[int, TrainConfig, tuple[HistoryEntry, ...]]:
    """The format's version, the configuration and the history."""
    if "format" not in archive.members or archive.read_text("format", len(FORMAT)) != FORMAT:
        raise ModelFileError("not a forgetcli model, but another NumPy archive")
    _require(archive.members, "format_version", "<i8", ())
    version = int(archive.read("format_version"))
    if version != FORMAT_VERSION:
        raise ModelFileError(f"the model's format has version {version}, and this program knows {FORMAT_VERSION}",
                             hint="upgrade forgetcli" if version > FORMAT_VERSION else None)
    config = _read_json(archive, "config", _MAX_CONFIG)
    if not isinstance(config, dict):
        raise ModelFileError("config is not a JSON object")
    entries = _read_json(archive, "history", _MAX_HISTORY)
    if not isinstance(entries, list):
        raise ModelFileError("history is not a JSON list")
    return version, TrainConfig.from_dict(config), tuple(_history_entry(entry) for entry in entries)


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
                return HistoryEntry(kind, None if objective is None else float(objective),
                                    {name: float(value) for name, value in metrics.items()})
    raise ModelFileError("history has an entry that is not of a kind, an objective and metrics")


def _is_finite(value: object) -> bool:
    try:
        return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]
    except OverflowError:
        return False


def _require_layout(members: Mapping[str, Member], config: TrainConfig) -> None:
    """That the archive has the arrays that the configuration asks for, in types and shapes that fit together, and no
    others."""
    real = {"float32": "<f4", "float64": "<f8"}[config.dtype]
    expected: dict[str, tuple[str, tuple[int, ...]]] = {}
    for side in ("user", "item"):
        if f"{side}_id_bytes" in members or f"{side}_id_offsets" in members:
            n = _length(members, f"{side}_id_offsets") - 1
            expected[f"{side}_id_bytes"] = "|u1", (_length(members, f"{side}_id_bytes"),)
            expected[f"{side}_id_offsets"] = "<i8", (n + 1,)
        else:
            n = _length(members, f"{side}_ids")
            expected[f"{side}_ids"] = "<i8", (n,)
        expected[f"{side}_factors"] = real, (n, config.factors)
        if config.objective == "explicit":
            expected[f"{side}_bias"] = real, (n,)
    if config.objective == "explicit":
        expected["global_mean"] = "<f8", ()
    if any(key.startswith("interactions_") for key in members):
        n_users, nnz = expected["user_factors"][1][0], _length(members, "interactions_indices")
        expected |= {"interactions_indptr": ("<i8", (n_users + 1,)), "interactions_indices": ("<i4", (nnz,)),
                     "interactions_values": ("<f4", (nnz,))}
    for key, (dtype, shape) in expected.items():
        _require(members, key, dtype, shape)
    unknown = sorted(set(members) - set(expected) - {"format", "format_version", "config", "history"})
    if unknown:
        raise ModelFileError(f"it has arrays that such a model does not have: {', '.join(unknown)[:200]}",
                             hint="what forgetcli does not know it cannot make forget")


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
        raise ModelFileError(f"{key} should be {shape} of {np.dtype(dtype)}, and is {found.shape} of {found.dtype}")


def _read_ids(archive: Archive, side: str) -> Vocabulary:
    if f"{side}_ids" in archive.members:
        ids = archive.read(f"{side}_ids")
        require_increasing(f"{side}_ids", ids)
        return Vocabulary(ids)
    data, offsets = archive.read(f"{side}_id_bytes"), archive.read(f"{side}_id_offsets")
    require_text_ids(f"{side}_id", data, offsets)
    return Vocabulary(Utf8Ids(data, offsets))


def _read_factors(archive: Archive, config: TrainConfig) -> Factors:
    users, items = _read_side(archive, "user", config), _read_side(archive, "item", config)
    if config.objective == "implicit":
        return Factors(users, items, 0.0)
    global_mean = archive.read("global_mean")
    require_finite("global_mean", global_mean)
    return Factors(users, items, float(global_mean))


def _read_side(archive: Archive, side: str, config: TrainConfig) -> SideFactors:
    factors = archive.read(f"{side}_factors")
    require_finite(f"{side}_factors", factors)
    if config.objective == "implicit":
        return SideFactors.without_bias(factors)
    bias = archive.read(f"{side}_bias")
    require_finite(f"{side}_bias", bias)
    if not config.biases and bias.any():
        raise ModelFileError(f"{side}_bias should be zero in a model without biases")
    return SideFactors(factors, bias)


def _read_interactions(archive: Archive, users: Vocabulary, items: Vocabulary) -> Interactions | None:
    if "interactions_indptr" not in archive.members:
        return None
    indptr, indices, values = (archive.read(f"interactions_{part}") for part in ("indptr", "indices", "values"))
    require_csr(indptr, indices, len(items))
    require_finite("interactions_values", values)
    return Interactions(users, items, Csr(indptr, indices, values, len(items)))
