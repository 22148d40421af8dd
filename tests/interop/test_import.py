"""Models of other trainers become models of this program, or are refused with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forgetcli import Interactions, Model, TrainConfig, Vocabulary, als, as_ids, forget, train
from forgetcli.errors import DataError, ForgetError, UsageError
from forgetcli.interop import Stated, import_model, read_row_ids
from forgetcli.model import SideFactors
from forgetcli.objective import Objective
from forgetcli.records import ForgetRequest
from forgetcli.unlearn import SETTLING_SWEEPS
from tests.interop.make_fixtures import FIXTURES, RANK, SWEEPS, ratings
from tests.samples import CONFIGS, interactions

FLOAT32 = 2e-5
"""Relative: an exact half-sweep of this size, in float32 on both sides, summed in another order."""

EXPLICIT = Stated(objective="explicit", reg=0.1, reg_scaling="count")


PAIRS = list(zip(*(column.tolist() for column in ratings()[:2]), strict=True))


def data() -> Interactions:
    return Interactions.from_arrays(*ratings())


def distinct_ids() -> dict[str, Any]:
    users, items, _ = ratings()
    return {"user_ids": np.unique(users), "item_ids": np.unique(items)}


def apart(a: SideFactors, b: SideFactors) -> float:
    norm = np.sqrt(np.square(b.factors).sum() + np.square(b.bias).sum())
    return float(np.sqrt(np.square(a.factors - b.factors).sum() + np.square(a.bias - b.bias).sum()) / norm)


def solved_items(model: Model) -> SideFactors:
    assert model.interactions is not None
    objective = Objective.of(model.config, model.interactions)
    return als.half_sweep(model.interactions.by_item, model.factors.user, objective).side


def exported_arrays(model: Model) -> dict[str, Any]:
    """Our own model under the names of the plain format."""
    user, item = model.factors.user, model.factors.item
    arrays: dict[str, Any] = {
        "user_factors": user.factors,
        "item_factors": item.factors,
        "user_ids": model.users.ids,
        "item_ids": model.items.ids,
    }
    if model.config.biases:
        arrays |= {"user_bias": user.bias, "item_bias": item.bias}
    if model.config.objective == "explicit" and model.config.global_mean:
        arrays["global_mean"] = model.factors.global_mean
    return arrays


def stated_of(config: TrainConfig) -> Stated:
    implicit = config.objective == "implicit"
    return Stated(
        objective=config.objective,
        reg=config.reg,
        reg_scaling=config.reg_scaling,
        alpha=config.alpha if implicit else None,
        confidence_base=config.confidence_base if implicit else None,
        unobserved_weight=config.unobserved_weight if implicit else None,
        sweeps=config.sweeps,
    )


def test_implicits_cholesky_solution_is_ours() -> None:
    imported = import_model(FIXTURES / "implicit_chol.npz", "implicit", data(), **distinct_ids())
    assert apart(imported.model.factors.item, solved_items(imported.model)) < FLOAT32
    assert imported.agreement.items < FLOAT32
    assert imported.agreement.users > 100 * FLOAT32  # they are one half-sweep behind: the check can tell


def test_implicits_conjugate_gradients_are_taken_as_they_are() -> None:
    imported = import_model(FIXTURES / "implicit_cg.npz", "implicit", data(), **distinct_ids())
    saved = np.load(FIXTURES / "implicit_cg.npz")
    np.testing.assert_array_equal(imported.model.factors.user.factors, saved["user_factors"])
    np.testing.assert_array_equal(imported.model.factors.item.factors, saved["item_factors"])
    assert FLOAT32 < imported.agreement.items < 0.02


def test_the_configuration_is_the_files() -> None:
    config = import_model(FIXTURES / "implicit_cg.npz", "implicit", data(), **distinct_ids()).model.config
    assert config == TrainConfig.for_objective(
        "implicit", factors=RANK, sweeps=SWEEPS, reg=0.3, alpha=2.5, confidence_base=0.0
    )


def test_another_objective_than_the_trained_one_shows() -> None:
    arrays = exported_arrays(train(interactions(), CONFIGS["implicit"]))
    wrong = import_npz(arrays, stated_of(CONFIGS["implicit"]), interactions(), alpha=30.0)
    right = import_npz(arrays, stated_of(CONFIGS["implicit"]), interactions())
    assert right.agreement.items < 1e-10 < 0.05 < min(wrong.agreement.items, wrong.agreement.users)


def test_a_model_away_from_its_solutions_is_settled_before_a_response_step() -> None:
    exact, inexact = (
        import_model(FIXTURES / f"implicit_{name}.npz", "implicit", data(), **distinct_ids()).model
        for name in ("chol", "cg")
    )
    request = ForgetRequest.of(pairs=[PAIRS[0]])
    once = forget(inexact, request, method="response")
    assert once.sweeps == forget(exact, request, method="response").sweeps + SETTLING_SWEEPS
    assert [entry.kind for entry in once.model.history] == ["sweep"] * SWEEPS + ["import", "response"]
    again = forget(once.model, ForgetRequest.of(pairs=[PAIRS[5]]), method="response")
    assert again.sweeps < SETTLING_SWEEPS + once.sweeps


def test_the_side_that_was_solved_last_is_seen(tmp_path: Path) -> None:
    for last in ("users", "items"):
        config = TrainConfig(factors=3, sweeps=3, reg=0.1, dtype="float64", solved_last=last)  # type: ignore[arg-type]
        arrays = exported_arrays(train(interactions(), config))
        stated = Stated(objective="explicit", reg=0.1, reg_scaling="count", sweeps=3)
        assert import_npz(arrays, stated, interactions()).model.config == config


def import_npz(arrays: dict[str, Any], stated: Stated, on: Interactions, **changed: Any) -> Any:
    import dataclasses
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "plain.npz"
        np.savez(path, **arrays)
        return import_model(path, "npy", on, stated=dataclasses.replace(stated, **changed))


@pytest.mark.parametrize("name", CONFIGS)
def test_our_own_model_comes_back_through_plain_arrays(name: str) -> None:
    config = CONFIGS[name]
    model = train(interactions(), config)
    back = import_npz(exported_arrays(model), stated_of(config), interactions()).model
    assert back.config == config
    for side in ("user", "item"):
        mine, its = getattr(model.factors, side), getattr(back.factors, side)
        np.testing.assert_array_equal(mine.factors, its.factors)
        np.testing.assert_array_equal(mine.bias, its.bias)
    request = ForgetRequest.of(users=[3, 10])
    expected, got = forget(model, request, method="response").model, forget(back, request, method="response").model
    np.testing.assert_array_equal(expected.factors.item.factors, got.factors.item.factors)


def test_rows_follow_their_ids_whatever_their_order() -> None:
    model = train(interactions(), CONFIGS["biased"])
    arrays = exported_arrays(model)
    rng = np.random.default_rng(1)
    for side in ("user", "item"):
        order = rng.permutation(len(arrays[f"{side}_ids"]))
        for part in ("ids", "factors", "bias"):
            arrays[f"{side}_{part}"] = arrays[f"{side}_{part}"][order]
    back = import_npz(arrays, stated_of(CONFIGS["biased"]), interactions()).model
    np.testing.assert_array_equal(back.factors.item.factors, model.factors.item.factors)
    np.testing.assert_array_equal(back.factors.user.bias, model.factors.user.bias)


def test_two_npy_files_are_rows_by_position(tmp_path: Path) -> None:
    users, items, values = ratings()
    rows, columns = (np.unique(ids, return_inverse=True)[1] for ids in (users, items))
    by_position = Interactions.from_arrays(rows, columns, values)
    model = train(by_position, TrainConfig(factors=3, sweeps=2, biases=False, global_mean=False))
    np.save(tmp_path / "u.npy", model.factors.user.factors)
    np.save(tmp_path / "i.npy", np.asfortranarray(model.factors.item.factors))
    imported = import_model(
        [tmp_path / "u.npy", tmp_path / "i.npy"],
        "npy",
        by_position,
        stated=Stated(objective="explicit", reg=0.07, reg_scaling="count"),
    )
    np.testing.assert_array_equal(imported.model.factors.item.factors, model.factors.item.factors)
    assert not imported.model.config.global_mean
    assert imported.agreement.items < FLOAT32


def test_a_row_of_zeros_without_data_is_left_out_and_another_is_not(tmp_path: Path) -> None:
    model = train(interactions(), CONFIGS["plain"])
    arrays = exported_arrays(model)
    arrays["user_ids"] = np.append(arrays["user_ids"], 10_000)
    arrays["user_factors"] = np.vstack([arrays["user_factors"], np.zeros(5)])
    stated = stated_of(CONFIGS["plain"])
    assert import_npz(arrays, stated, interactions()).idle_users == 1
    arrays["user_factors"][-1, 2] = 1
    with pytest.raises(DataError, match="the model has 1 users of 41 that the data does not have"):
        import_npz(arrays, stated, interactions())


def test_what_only_one_of_the_two_has_is_dropped_when_asked(tmp_path: Path) -> None:
    model = train(interactions(), CONFIGS["plain"])
    arrays = exported_arrays(model)
    gone = arrays["item_ids"][4]
    keep = arrays["item_ids"] != gone
    arrays |= {"item_ids": arrays["item_ids"][keep], "item_factors": arrays["item_factors"][keep]}
    np.savez(tmp_path / "m.npz", **arrays)
    stated = stated_of(CONFIGS["plain"])
    with pytest.raises(DataError, match="the data has 1 items of 25 that the model does not have"):
        import_model(tmp_path / "m.npz", "npy", interactions(), stated=stated)
    # without the item the mean is another one, so it is left to the data
    del arrays["global_mean"]
    np.savez(tmp_path / "m.npz", **arrays)
    imported = import_model(tmp_path / "m.npz", "npy", interactions(), stated=stated, on_mismatch="drop")
    assert imported.left_out == interactions().item_counts[4]
    assert imported.model.items.find(as_ids([int(gone)])).tolist() == [-1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"user_factors": np.array([[1, 2]], object)}, "pickled objects"),
        ({"user_factors": np.ones((40, 5), np.int64)}, "factors are float32 or float64"),
        ({"user_factors": np.full((40, 5), np.nan)}, "not finite"),
        ({"user_factors": np.ones((40, 6))}, "6 columns, the item factors 5"),
        ({"user_factors": np.ones((40, 5, 2))}, "plain numbers|shape|says that it is"),
        ({"user_factors": np.ones((39, 5))}, "40 user ids for 39 rows"),
        ({"user_ids": np.zeros(40, np.int64)}, "39 of the model's user ids are there more than once"),
        ({"user_ids": np.zeros(40)}, "whole numbers or of text"),
        ({"user_bias": np.zeros(40)}, "biases of one side only"),
        ({"user_bias": np.ones(3), "item_bias": np.ones(25)}, "3 user biases for 40 rows"),
        ({"global_mean": np.array(2.0)}, "the model's mean is 2, and that of the data"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change: dict[str, Any], message: str) -> None:
    arrays = exported_arrays(train(interactions(), CONFIGS["plain"])) | change
    with pytest.raises(DataError, match=message):
        import_npz(arrays, stated_of(CONFIGS["plain"]), interactions())


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        (Stated(), "does not say the objective"),
        (Stated(objective="explicit"), "`reg`, `reg_scaling`"),
        (Stated(objective="implicit", reg=1.0, reg_scaling="none"), "`alpha`, `confidence_base`"),
        (Stated(objective="explicit", reg=1.0, reg_scaling="none", alpha=2.0), "`alpha` belongs to implicit models"),
    ],
)
def test_what_the_objective_needs_must_be_stated(stated: Stated, message: str) -> None:
    arrays = exported_arrays(train(interactions(), CONFIGS["bare"]))
    with pytest.raises(UsageError, match=message):
        import_npz(arrays, stated, interactions())


def test_the_file_is_not_to_be_contradicted() -> None:
    with pytest.raises(UsageError, match=r"`alpha=40.0` contradicts the model's file, which says 2.5"):
        import_model(FIXTURES / "implicit_cg.npz", "implicit", data(), stated=Stated(alpha=40.0), **distinct_ids())


def test_positions_for_ids_that_are_not_are_refused_with_a_hint() -> None:
    with pytest.raises(DataError, match=r"the data has \d+ users") as caught:
        import_model(FIXTURES / "implicit_cg.npz", "implicit", data())
    assert "`user_ids`" in str(caught.value.hint)


def test_another_of_implicits_models_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "bpr.npz", user_factors=np.ones((2, 2)), item_factors=np.ones((2, 2)), learning_rate=0.1)
    with pytest.raises(DataError, match="BayesianPersonalizedRanking"):
        import_model(tmp_path / "bpr.npz", "implicit", data())


def test_broken_files_are_refused_and_never_unpickled(tmp_path: Path) -> None:
    whole = (FIXTURES / "implicit_cg.npz").read_bytes()
    path = tmp_path / "model.npz"
    for broken in (b"", b"PK\3\4", whole[:1500], b"\x80\x04\x95", whole[:200] + bytes(50) + whole[250:]):
        path.write_bytes(broken)
        with pytest.raises(ForgetError):
            import_model(path, "implicit", data(), **distinct_ids())


def test_a_header_that_promises_more_than_the_file_has_allocates_nothing(tmp_path: Path) -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 1000), }"
    header += b" " * (118 - 1 - len(header)) + b"\n"
    (tmp_path / "u.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(64))
    np.save(tmp_path / "i.npy", np.ones((2, 2)))
    with pytest.raises(DataError, match="says that it is"):
        import_model([tmp_path / "u.npy", tmp_path / "i.npy"], "npy", data(), stated=EXPLICIT)


def test_row_ids_come_from_arrays_lists_and_tables(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array(["x", "y"]))
    (tmp_path / "b.txt").write_text("12\n-3\n")
    (tmp_path / "c.txt").write_text("12\n007\n")
    (tmp_path / "d.csv").write_text("row,userId\n0,5\n1,4\n")
    assert Vocabulary.of(read_row_ids(tmp_path / "a.npy", "user"))[0].label(1) == "y"
    np.testing.assert_array_equal(read_row_ids(tmp_path / "b.txt", "user"), [12, -3])
    assert read_row_ids(tmp_path / "c.txt", "user")[1] == "007"
    np.testing.assert_array_equal(read_row_ids(tmp_path / "d.csv", "user"), [5, 4])
    (tmp_path / "d.txt").write_bytes("a\u2028b\r\nc\x85d\r\n".encode())
    assert list(read_row_ids(tmp_path / "d.txt", "user")) == ["a\u2028b", "c\x85d"]
    (tmp_path / "e.txt").write_text("12\n\n13\n")
    with pytest.raises(DataError, match="empty line"):
        read_row_ids(tmp_path / "e.txt", "user")


@pytest.mark.filterwarnings("ignore")
def test_implicit_itself_solves_the_same_half_sweep() -> None:
    cpu = pytest.importorskip("implicit.cpu.als", reason="implicit is not installed")
    sparse = pytest.importorskip("scipy.sparse")
    imported = import_model(FIXTURES / "implicit_cg.npz", "implicit", data(), **distinct_ids()).model
    assert imported.interactions is not None
    view = imported.interactions.by_user
    confidences = sparse.csr_matrix((2.5 * view.values, view.indices.copy(), view.indptr.copy()))
    theirs = np.zeros_like(imported.factors.user.factors)
    cpu._als.least_squares(confidences, theirs, imported.factors.item.factors.copy(), 0.3, num_threads=1)
    objective = Objective.of(imported.config, imported.interactions)
    ours = als.half_sweep(view, imported.factors.item, objective).side
    assert apart(ours, SideFactors.without_bias(theirs)) < FLOAT32
