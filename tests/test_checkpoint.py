"""A model file holds exactly its model, and nothing that is not one is taken for one."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from forgetcli.checkpoint import IdKind, ModelInfo, inspect, load, save, save_to
from forgetcli.config import TrainConfig
from forgetcli.errors import FileSystemError, ModelFileError, NumericalError
from forgetcli.interactions import Csr, Interactions, Utf8Ids, Vocabulary
from forgetcli.model import Factors, HistoryEntry, Model, SideFactors

Arrays: TypeAlias = dict[str, NDArray[Any]]

HISTORY = (HistoryEntry("sweep", 12.5, {"rmse": 1 / 3, "ndcg@10": 0.25}), HistoryEntry("response", None, {}))


def model(*, text_ids: bool = False, interactions: bool = True, **options: Any) -> Model:
    """A model of three users and four items with random factors of rank 2."""
    config = TrainConfig.for_objective(options.pop("objective", "explicit"), factors=2, **options)
    random = np.random.default_rng(5)

    def side(n: int) -> SideFactors:
        factors = random.standard_normal((n, 2)).astype(config.dtype)
        return SideFactors(factors, factors[:, 0].copy()) if config.biases else SideFactors.without_bias(factors)

    users, items = Vocabulary(np.array([-5, 0, 2**62])), Vocabulary(np.array([1, 2, 3, 10]))
    if text_ids:
        users = Vocabulary(Utf8Ids.from_strings(["0012", "12", "zoë"]))
        items = Vocabulary(Utf8Ids.from_strings(["Amélie", "Psycho", "Zodiac", "七人の侍"]))
    by_user = Csr(
        np.array([0, 2, 3, 6]), np.array([0, 2, 1, 0, 1, 3], np.int32), np.array([1, 2.5, 3, 4, 5, 0.5], np.float32), 4
    )
    global_mean = 3.25 if config.objective == "explicit" else 0.0
    return Model(
        config,
        Factors(side(3), side(4), global_mean),
        users,
        items,
        HISTORY,
        Interactions(users, items, by_user) if interactions else None,
    )


EACH_KIND = [
    model(),
    model(text_ids=True),
    model(dtype="float64"),
    model(biases=False),
    model(objective="implicit"),
    model(objective="implicit", text_ids=True, dtype="float64", interactions=False),
    model(interactions=False),
]


def written(model: Model, **options: bool) -> bytes:
    file = io.BytesIO()
    save_to(model, file, **options)
    return file.getvalue()


@pytest.mark.parametrize("model", EACH_KIND)
def test_a_loaded_model_is_the_saved_one_and_saves_to_the_same_bytes(tmp_path: Path, model: Model) -> None:
    save(model, tmp_path / "model.npz")
    loaded = load(tmp_path / "model.npz")
    assert (tmp_path / "model.npz").read_bytes() == written(model) == written(loaded)
    assert (loaded.config, loaded.history) == (model.config, model.history)
    assert loaded.factors.global_mean == model.factors.global_mean
    for side, other in ((loaded.factors.user, model.factors.user), (loaded.factors.item, model.factors.item)):
        np.testing.assert_array_equal(side.factors, other.factors)
        np.testing.assert_array_equal(side.bias, other.bias)
        assert side.factors.dtype == model.config.dtype


EXPLICIT = ["user_bias", "item_bias", "global_mean"]
INTERACTIONS = ["interactions_indptr", "interactions_indices", "interactions_values"]


@pytest.mark.parametrize(
    ("model", "ids", "more"),
    [
        (model(), ["user_ids", "item_ids"], EXPLICIT + INTERACTIONS),
        (
            model(objective="implicit", text_ids=True),
            ["user_id_bytes", "user_id_offsets", "item_id_bytes", "item_id_offsets"],
            INTERACTIONS,
        ),
        (model(interactions=False), ["user_ids", "item_ids"], EXPLICIT),
    ],
)
def test_numpy_opens_a_model_without_pickles_and_finds_the_documented_keys(
    tmp_path: Path, model: Model, ids: list[str], more: list[str]
) -> None:
    save(model, tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz", allow_pickle=False) as arrays:
        assert list(arrays) == [
            "format",
            "format_version",
            "config",
            "history",
            *ids,
            "user_factors",
            "item_factors",
            *more,
        ]
        assert (str(arrays["format"]), int(arrays["format_version"])) == ("forgetcli-model", 1)
        assert json.loads(str(arrays["config"])) == model.config.to_dict()
        assert json.loads(str(arrays["history"])) == [
            {"kind": "sweep", "objective": 12.5, "metrics": {"rmse": 1 / 3, "ndcg@10": 0.25}},
            {"kind": "response", "objective": None, "metrics": {}},
        ]


def test_interactions_can_be_left_out(tmp_path: Path) -> None:
    save(model(), tmp_path / "model.npz", interactions=False)
    assert (tmp_path / "model.npz").read_bytes() == written(model(interactions=False))
    assert load(tmp_path / "model.npz").interactions is None


def test_what_is_loaded_is_read_only_and_belongs_together(tmp_path: Path) -> None:
    save(model(), tmp_path / "model.npz")
    loaded = load(tmp_path / "model.npz")
    assert loaded.interactions is not None
    assert loaded.interactions.users is loaded.users
    assert loaded.interactions.items is loaded.items
    assert not loaded.factors.user.factors.flags.writeable


@pytest.mark.parametrize("model", EACH_KIND)
def test_inspecting_tells_what_loading_finds(tmp_path: Path, model: Model) -> None:
    path = tmp_path / "model.npz"
    save(model, path)
    kind: IdKind = "text" if isinstance(model.users.ids, Utf8Ids) else "integer"
    info = inspect(path)
    assert info == ModelInfo(
        format_version=1,
        config=model.config,
        n_users=3,
        n_items=4,
        n_interactions=6 if model.interactions else None,
        user_id_kind=kind,
        item_id_kind=kind,
        history=HISTORY,
        file_size=path.stat().st_size,
    )
    assert info.sweeps == 1


def test_inspecting_reads_no_array(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    content = written(model())
    path.write_bytes(content.replace(model().factors.user.factors.tobytes(), bytes(24)))
    assert inspect(path).n_users == 3
    with pytest.raises(ModelFileError, match="user_factors is damaged"):
        load(path)


def test_inspecting_needs_no_heavy_imports() -> None:
    code = "import sys, forgetcli.checkpoint; print(sorted({'pyarrow', 'scipy', 'rich', 'typer'} & sys.modules.keys()))"
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path))
    assert subprocess.check_output([sys.executable, "-c", code], env=environment, text=True) == "[]\n"


@pytest.mark.parametrize("at", ["user_factors", "item_bias", "global_mean", "history"])
def test_a_model_that_is_not_finite_does_not_replace_one_that_is(tmp_path: Path, at: str) -> None:
    save(model(), tmp_path / "model.npz")
    before = (tmp_path / "model.npz").read_bytes()
    good = model()
    factors, history = good.factors, good.history
    if at == "history":
        history = (HistoryEntry("sweep", float("nan"), {}),)
    else:
        bad = np.full((3, 2), np.nan, np.float32)
        user = SideFactors(bad, factors.user.bias) if at == "user_factors" else factors.user
        item = SideFactors(factors.item.factors, np.full(4, np.inf, np.float32)) if at == "item_bias" else factors.item
        factors = Factors(user, item, float("nan") if at == "global_mean" else 3.0)
    with pytest.raises(NumericalError, match=f"{at} has values that are not finite; it was not written"):
        save(Model(good.config, factors, good.users, good.items, history, good.interactions), tmp_path / "model.npz")
    assert (tmp_path / "model.npz").read_bytes() == before


def arrays_of(model: Model) -> Arrays:
    with np.load(io.BytesIO(written(model)), allow_pickle=False) as loaded:
        return dict(loaded)


def refusal(path: Path, arrays: Arrays) -> str:
    """The message with which a file of these arrays is refused, without the path in front."""
    np.savez(path, **arrays)  # type: ignore[arg-type]
    with pytest.raises(ModelFileError) as raised:
        load(path)
    assert raised.value.exit_code == 3
    return raised.value.message.removeprefix(f"{path}: ")


def test_a_model_that_numpy_has_saved_again_is_still_one(tmp_path: Path) -> None:
    np.savez(tmp_path / "model.npz", **arrays_of(model()))  # type: ignore[arg-type]
    assert written(load(tmp_path / "model.npz")) == written(model())


@pytest.mark.parametrize(
    ("text_ids", "key"),
    [
        *((False, key) for key in arrays_of(model())),
        *((True, key) for key in ("user_id_bytes", "user_id_offsets", "item_id_bytes", "item_id_offsets")),
    ],
)
def test_a_model_without_one_of_its_arrays_is_refused(tmp_path: Path, text_ids: bool, key: str) -> None:
    arrays = arrays_of(model(text_ids=text_ids))
    del arrays[key]
    missing = "not a forgetcli model, but another NumPy archive" if key == "format" else f"it has no {key}"
    assert refusal(tmp_path / "model.npz", arrays) == missing


NUMBERS = [key for key in arrays_of(model()) if key not in ("format", "config", "history")]


@pytest.mark.parametrize("key", NUMBERS)
@pytest.mark.parametrize(
    "change",
    [
        lambda array: array.astype(np.float64 if array.dtype == np.float32 else np.float32),
        lambda array: array[None],
        lambda array: array[..., None],
        lambda array: np.concatenate([array, array[-1:]]) if array.ndim else array[None],
        lambda array: array[:-1] if array.ndim else array[None],
        lambda array: array.astype(array.dtype.newbyteorder(">")),
        lambda array: array.astype(object),
        lambda array: np.array("text"),
        lambda array: np.empty((0, 0), array.dtype),
    ],
    ids=["dtype", "axis before", "axis after", "longer", "shorter", "big-endian", "pickled", "text", "empty"],
)
def test_an_array_of_another_type_or_shape_is_refused(
    tmp_path: Path, key: str, change: Callable[[NDArray[Any]], NDArray[Any]]
) -> None:
    arrays = arrays_of(model())
    refusal(tmp_path / "model.npz", arrays | {key: change(arrays[key])})


def text(value: object) -> NDArray[np.str_]:
    return np.array(value if isinstance(value, str) else json.dumps(value))


CONFIG = model().config.to_dict()
ENTRY = {"kind": "sweep", "objective": 1.5, "metrics": {}}
INT, INT32, REAL = np.int64, np.int32, np.float32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": text("another")}, "not a forgetcli model, but another NumPy archive"),
        ({"format_version": np.array(2)}, "the model's format has version 2, and this program knows 1"),
        ({"format_version": np.array(0)}, "the model's format has version 0, and this program knows 1"),
        ({"more": np.zeros(3)}, "it has arrays that such a model does not have: more"),
        ({"user_id_bytes": np.zeros(3, np.uint8)}, "it has no user_id_offsets"),
        ({"config": text("{")}, "config is not valid JSON"),
        ({"config": text("[" * 10_000)}, "config is not valid JSON"),
        ({"config": text([])}, "config is not a JSON object"),
        ({"config": text(" " * 20_000)}, "config has more than 16,384 characters"),
        ({"config": np.zeros(3)}, "config should be one text"),
        ({"config": text(CONFIG | {"verbosity": 3})}, "the model's configuration has unknown options: 'verbosity'"),
        ({"config": text(CONFIG | {"\x1b[2J": 3})}, "the model's configuration has unknown options: '\\x1b[2J'"),
        ({"config": text(CONFIG | {"reg": 0})}, "the model's configuration is not valid: `reg` must be"),
        ({"config": text(CONFIG | {"reg": 10**400})}, "the model's configuration is not valid: `reg` must be"),
        ({"config": text(CONFIG | {"reg": float("nan")})}, "the model's configuration is not valid: `reg` must be"),
        ({"config": text(CONFIG | {"dtype": []})}, "the model's configuration is not valid: `dtype` must be"),
        ({"config": text(CONFIG | {"dtype": "float64"})}, "user_factors should be (3, 2) of <f8"),
        ({"config": text(CONFIG | {"factors": 3})}, "user_factors should be (3, 3) of <f4"),
        (
            {"config": text(CONFIG | {"objective": "implicit", "biases": False})},
            "it has arrays that such a model does not have: global_mean, item_bias, user_bias",
        ),
        ({"config": text(CONFIG | {"biases": False})}, "user_bias should be zero in a model without biases"),
        ({"history": text({})}, "history is not a JSON list"),
        ({"history": text([3])}, "history has an entry that is not"),
        ({"history": text([ENTRY | {"forgotten": [12]}])}, "history has an entry that is not"),
        ({"history": text([ENTRY | {"kind": "\x1b[2J"}])}, "history has an entry that is not"),
        ({"history": text([ENTRY | {"objective": "low"}])}, "history has an entry that is not"),
        ({"history": text([ENTRY | {"objective": True}])}, "history has an entry that is not"),
        ({"history": text('[{"kind": "sweep", "objective": NaN, "metrics": {}}]')}, "history has an entry that is not"),
        ({"history": text([ENTRY | {"objective": 10**400}])}, "history has an entry that is not"),
        ({"history": text([ENTRY | {"metrics": {"\n": 1}}])}, "history has an entry that is not"),
        ({"history": text([ENTRY | {"metrics": {"rmse": None}}])}, "history has an entry that is not"),
        ({"user_ids": np.array([0, -5, 7])}, "user ids: the ids are not strictly increasing"),
        ({"item_ids": np.array([1, 2, 2, 3])}, "item ids: the ids are not strictly increasing"),
        ({"user_factors": np.full((3, 2), np.nan, REAL)}, "user_factors has values that are not finite"),
        ({"item_factors": np.full((4, 2), -np.inf, REAL)}, "item_factors has values that are not finite"),
        ({"item_factors": np.zeros((4, 3), REAL)}, "item_factors should be (4, 2) of <f4, and is (4, 3) of <f4"),
        ({"user_bias": np.full(3, np.inf, REAL)}, "user_bias has values that are not finite"),
        ({"global_mean": np.array(np.nan)}, "global_mean has values that are not finite"),
        ({"interactions_values": np.full(6, np.nan, REAL)}, "interactions: a value is not a finite number"),
        ({"interactions_values": np.ones(5, REAL)}, "interactions_values should be (6,) of <f4"),
        ({"interactions_indptr": np.array([0, 2, 6])}, "interactions_indptr should be (4,) of <i8"),
        ({"interactions_indptr": np.array([0, 2, 3, 7])}, "interactions: indptr does not begin at 0 and end at the"),
        (
            {
                "interactions_indptr": np.array([0, 2, 2, 6]),
                "interactions_indices": np.array([0, 2, 0, 1, 2, 3], INT32),
            },
            "interactions: a user or an item has no interaction",
        ),
        ({"interactions_indptr": np.array([0, 2**62, 3, 6])}, "interactions: indptr decreases"),
        (
            {"interactions_indices": np.array([0, 2, 1, 0, 1, 4], INT32)},
            "interactions: an index is outside the columns",
        ),
        (
            {"interactions_indices": np.array([0, 2, 1, 0, 1, -1], INT32)},
            "interactions: an index is outside the columns",
        ),
        ({"interactions_indices": np.array([2, 0, 1, 0, 1, 3], INT32)}, "interactions: the indices of a row are not"),
        ({"interactions_indices": np.array([0, 0, 1, 0, 2, 3], INT32)}, "interactions: the indices of a row are not"),
        ({"interactions_indices": np.array([0, 2, 1, 0, 1, 2], INT32)}, "interactions: a user or an item has no"),
    ],
)
def test_a_model_that_contradicts_itself_is_refused_with_what_is_wrong(
    tmp_path: Path, changes: Arrays, message: str
) -> None:
    assert refusal(tmp_path / "model.npz", arrays_of(model()) | changes).startswith(message)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["12", "0012", "zoë"], "user ids: the ids are not strictly increasing"),
        (["12", "12", "zoë"], "user ids: the ids are not strictly increasing"),
        (["", "12", "zoë"], "user ids: an id is empty"),
    ],
)
def test_text_ids_out_of_order_are_refused(tmp_path: Path, texts: list[str], message: str) -> None:
    ids = Utf8Ids.from_strings(texts)
    arrays = arrays_of(model(text_ids=True)) | {"user_id_bytes": ids.data, "user_id_offsets": ids.offsets}
    assert refusal(tmp_path / "model.npz", arrays) == message


def test_text_that_is_not_unicode_is_refused(tmp_path: Path) -> None:
    arrays = arrays_of(model())
    surrogate = np.array([0xD800], np.uint32).view("<U1")[0]
    message = refusal(tmp_path / "model.npz", arrays | {"history": np.array(surrogate)})
    assert message == "history is not valid Unicode"


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    content = written(model(text_ids=True))
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ModelFileError):
            load(path)


def assert_refused_or_whole(path: Path, content: bytes, original: bytes) -> None:
    """Damage is refused as such, unless it is where nothing is kept: times, attributes, filling."""
    path.write_bytes(content)
    loaded, message = original, ""
    try:
        loaded = written(load(path))
    except ModelFileError as error:
        message = error.message
    assert loaded == original
    assert message.isprintable()


def test_a_changed_byte_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    content = written(model(text_ids=True))
    random = np.random.default_rng(3)
    for at in range(0, len(content), 3):
        damaged = content[:at] + bytes([content[at] ^ int(random.integers(1, 256))]) + content[at + 1 :]
        assert_refused_or_whole(tmp_path / "model.npz", damaged, content)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_bytes_put_in_taken_out_or_moved_are_refused_or_change_nothing(tmp_path: Path, data: st.DataObject) -> None:
    content = written(model())
    damaged = content
    for _ in range(data.draw(st.integers(1, 3))):
        start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(damaged))] * 2)))
        start = data.draw(st.sampled_from([start, max(0, end - 8)]))
        piece = data.draw(st.one_of(st.binary(max_size=8), st.just(damaged[start:end]), st.just(b"\xff" * 8)))
        damaged = damaged[:start] + piece + damaged[data.draw(st.sampled_from([start, start + len(piece), end])) :]
    assert_refused_or_whole(tmp_path / "model.npz", damaged, content)


def test_a_model_that_is_not_there_is_an_error_of_the_file_system(tmp_path: Path) -> None:
    for read in (load, inspect):
        with pytest.raises(FileSystemError, match="no such file or directory"):
            read(tmp_path / "model.npz")


@pytest.mark.parametrize("different", [1, 256, 257, 40_000])
def test_values_are_the_same_however_many_there_are(tmp_path: Path, different: int) -> None:
    users, items = Vocabulary(np.arange(600)), Vocabulary(np.arange(500))
    values = np.random.default_rng(0).permutation(np.arange(300_000) % different).astype(np.float32)
    by_user = Csr(np.arange(601) * 500, np.tile(np.arange(500, dtype=np.int32), 600), values, 500)
    factors = Factors(
        SideFactors.without_bias(np.ones((600, 2), np.float32)),
        SideFactors.without_bias(np.ones((500, 2), np.float32)),
        0.0,
    )
    data = Interactions(users, items, by_user)
    save(Model(TrainConfig(factors=2), factors, users, items, HISTORY, data), tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz") as arrays:
        assert arrays["interactions_values"].tobytes() == values.tobytes()
    read = load(tmp_path / "model.npz")
    assert read.interactions is not None
    assert read.interactions.by_user.values.tobytes() == values.tobytes()
    assert (read.interactions.by_user.levels is not None) == (different <= 256)
    save(read, tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "model.npz").read_bytes()
