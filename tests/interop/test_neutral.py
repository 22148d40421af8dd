"""cmfrec's and LensKit's models, which come as the .npz that a few lines on the user's side write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from forgetcli import Interactions, TrainConfig, als, forget
from forgetcli.errors import DataError
from forgetcli.interop import Stated, import_model
from forgetcli.model import SideFactors
from forgetcli.objective import Objective
from forgetcli.records import ForgetRequest
from tests.interop.make_fixtures import FIXTURES, RANK, SWEEPS, ratings
from tests.interop.test_import import FLOAT32, apart, data

EXACT = {
    "cmfrec_explicit": TrainConfig(
        factors=RANK, sweeps=SWEEPS, reg=0.05, reg_scaling="count", solved_last="users", dtype="float64"
    ),
    "cmfrec_unscaled": TrainConfig(
        factors=RANK, sweeps=SWEEPS, reg=1.5, reg_scaling="none", biases=False, global_mean=False, solved_last="users"
    ),
    "cmfrec_implicit": TrainConfig.for_objective(
        "implicit", factors=RANK, sweeps=SWEEPS, reg=0.7, alpha=2.0, solved_last="users", dtype="float64"
    ),
    "lenskit_implicit": TrainConfig.for_objective("implicit", factors=RANK, sweeps=SWEEPS, reg=0.3, alpha=5.0),
    "lenskit_rated": TrainConfig.for_objective("implicit", factors=RANK, sweeps=SWEEPS, reg=0.3, alpha=2.0),
}


def form(name: str) -> Any:
    return name.partition("_")[0]


@pytest.mark.parametrize("name", EXACT)
def test_what_the_trainer_solved_last_is_our_solution(name: str) -> None:
    imported = import_model(FIXTURES / f"{name}.npz", form(name), data())
    assert imported.model.config == EXACT[name]
    agreement = imported.agreement
    last, first = (
        (agreement.users, agreement.items) if EXACT[name].solved_last == "users" else (agreement.items, agreement.users)
    )
    assert last < FLOAT32
    assert first > 100 * FLOAT32


@pytest.mark.parametrize("name", EXACT)
def test_it_forgets(name: str) -> None:
    model = import_model(FIXTURES / f"{name}.npz", form(name), data()).model
    for method in ("response", "sweeps"):
        result = forget(model, ForgetRequest.of(users=[3]), method=method)  # type: ignore[arg-type]
        assert result.erased_users == 1
        assert result.model.config == model.config


def test_lenskit_counts_presence_alone_unless_it_uses_ratings() -> None:
    ones = import_model(FIXTURES / "lenskit_implicit.npz", "lenskit", data()).model.interactions
    rated = import_model(FIXTURES / "lenskit_rated.npz", "lenskit", data()).model.interactions
    assert ones is not None
    assert rated is not None
    assert set(ones.by_user.values.tolist()) == {1.0}
    np.testing.assert_array_equal(rated.by_user.values, data().by_user.values)


def test_fixed_biases_are_refused_with_the_reason() -> None:
    with pytest.raises(DataError, match="damped means fixed before the factors are learnt"):
        import_model(FIXTURES / "lenskit_biased.npz", "lenskit", data())


def damped_means(rows: NDArray[np.int64], values: NDArray[np.float64], damping: float) -> NDArray[np.float64]:
    return np.bincount(rows, values) / (np.bincount(rows) + damping)


def test_the_factors_of_a_model_with_fixed_biases_solve_our_equations_of_its_residuals(tmp_path: Path) -> None:
    saved = dict(np.load(FIXTURES / "lenskit_biased.npz"))
    params = json.loads(str(saved["params"]))
    users, items, values = ratings()
    user, item = (np.unique(ids, return_inverse=True)[1] for ids in (users, items))
    left = values - values.mean(dtype=np.float64)
    left -= damped_means(item, left, params["damping"])[item]
    left -= damped_means(user, left, params["damping"])[user]
    np.savez(tmp_path / "residuals.npz", **{name: saved[name] for name in saved if name not in ("trainer", "params")})
    stated = Stated(objective="explicit", reg=params["regularization"], reg_scaling="count", sweeps=params["epochs"])
    residuals = Interactions.from_arrays(users, items, left)
    imported = import_model(tmp_path / "residuals.npz", "npy", residuals, stated=stated)
    assert imported.agreement.items < FLOAT32 < 100 * FLOAT32 < imported.agreement.users
    assert imported.model.config.solved_last == "items"
    assert (imported.model.config.biases, imported.model.config.global_mean) == (False, False)


def changed(name: str, path: Path, params: dict[str, Any] | None = None, **arrays: Any) -> Path:
    """A copy of a fixture with other parameters or arrays."""
    given = dict(np.load(FIXTURES / f"{name}.npz"))
    given["params"] = np.array(json.dumps(json.loads(str(given["params"])) | (params or {})))
    np.savez(path, **(given | arrays))
    return path


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"nonneg": True}, "nonneg"),
        ({"l1_lambda": [0, 0, 0.1, 0, 0, 0]}, "l1_lambda"),
        ({"add_implicit_features": True}, "add_implicit_features"),
        ({"scale_bias_const": True}, "scale_bias_const"),
        ({"NA_as_zero": True}, "NA_as_zero"),
        ({"k_user": 2}, "k_user"),
        ({"w_main": 0.5}, "w_main = 0.5"),
        ({"method": "lbfgs"}, "not by ALS"),
        ({"lambda_": [0.05, 0.05, 0.05, 0.1, 0, 0]}, "another lambda_ for each matrix"),
        ({"niter": "many"}, "no number 'niter'"),
    ],
)
def test_what_cmfrec_can_and_we_cannot_is_refused(params: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        import_model(changed("cmfrec_explicit", tmp_path / "m.npz", params), "cmfrec", data())


def test_one_lambda_in_six_places_is_one(tmp_path: Path) -> None:
    path = changed("cmfrec_explicit", tmp_path / "m.npz", {"lambda_": [0.05, 0.05, 0.05, 0.05, 9, 9]})
    assert import_model(path, "cmfrec", data()).model.config.reg == 0.05


def test_side_information_biases_of_one_side_and_other_trainers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    with pytest.raises(DataError, match="side information"):
        import_model(changed("cmfrec_explicit", path, side_information=12), "cmfrec", data())
    with pytest.raises(DataError, match="biases of one side only"):
        import_model(changed("cmfrec_explicit", path, user_bias=np.zeros(0)), "cmfrec", data())
    with pytest.raises(DataError, match=r"says that lenskit\.ImplicitMFScorer trained it"):
        import_model(FIXTURES / "lenskit_rated.npz", "cmfrec", data())
    given = {"regularization": {"user": 0.1, "item": 0.2}}
    with pytest.raises(DataError, match="another regularization for users"):
        import_model(changed("lenskit_rated", path, given), "lenskit", data())
    with pytest.raises(DataError, match="params has not what"):
        import_model(changed("lenskit_rated", path, {"weight": None}), "lenskit", data())


def test_other_data_than_the_training_data_shows_by_the_mean() -> None:
    users, items, values = ratings()
    other = Interactions.from_arrays(users, items, values + 1)
    with pytest.raises(DataError, match="the model's mean is"):
        import_model(FIXTURES / "cmfrec_explicit.npz", "cmfrec", other)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["cmfrec_explicit", "cmfrec_implicit"])
def test_cmfrec_itself_solves_the_same_half_sweep(name: str) -> None:
    package = pytest.importorskip("cmfrec", reason="cmfrec is not installed")
    sparse = pytest.importorskip("scipy.sparse")
    model = import_model(FIXTURES / f"{name}.npz", "cmfrec", data()).model
    user, item, config = model.factors.user, model.factors.item, model.config
    if name == "cmfrec_explicit":
        theirs = package.CMF.from_model_matrices(
            user.factors.copy(), item.factors.copy(), model.factors.global_mean, user_bias=user.bias.copy(),
            item_bias=item.bias.copy(), lambda_=config.reg, scale_lam=True, nthreads=1,
        )  # fmt: skip
    else:
        theirs = package.CMF_implicit.from_model_matrices(
            user.factors.copy(), item.factors.copy(), lambda_=config.reg, alpha=config.alpha, nthreads=1
        )
    view = data().by_user
    matrix = sparse.csr_matrix((view.values.astype(np.float64), view.indices, view.indptr), shape=(24, 16))
    solved = theirs.factors_multiple(matrix)
    ours = als.half_sweep(view, item, Objective.of(config, data())).side
    assert apart(SideFactors.without_bias(ours.factors), SideFactors.without_bias(solved)) < FLOAT32


@pytest.mark.filterwarnings("ignore")
def test_lenskit_itself_solves_the_same_row() -> None:
    module = pytest.importorskip("lenskit.als._implicit", reason="lenskit is not installed")
    model = import_model(FIXTURES / "lenskit_rated.npz", "lenskit", data()).model
    scorer = module.ImplicitMFScorer(embedding_size=RANK, regularization=0.3, weight=2.0, use_ratings=True)
    items = model.factors.item.factors
    gram = module._implicit_otor(items, 0.3)
    ours = als.half_sweep(data().by_user, model.factors.item, Objective.of(model.config, data())).side
    view = data().by_user
    for user in range(24):
        row = slice(view.indptr[user], view.indptr[user + 1])
        theirs = scorer._train_new_row(view.indices[row], 2.0 * view.values[row], items, gram)
        np.testing.assert_allclose(ours.factors[user], theirs, rtol=FLOAT32, atol=FLOAT32)
