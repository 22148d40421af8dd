"""The inexact solver: its kernel against a float64 twin, and the models that it trains."""

from __future__ import annotations

import dataclasses
import importlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import forgetcli as fc
from forgetcli import _native, conjugate, unlearn
from forgetcli.conjugate import RowBasis
from forgetcli.gradient import gradients
from forgetcli.model import SideFactors
from forgetcli.objective import Objective
from tests.made import THREADS
from tests.oracles import RowProblem
from tests.test_row_kernels import arguments, instruction_set, make_problem

__all__ = ["instruction_set"]  # a fixture

Array = NDArray[np.float64]
Setup = tuple[RowProblem, RowBasis, Array, Array]

COUNTS = [5, 0, 1, 40, 299, 16, 0, 130, 900]
"""Of the rows' entries: none, parts of a block, whole ones, and more than a piece."""

TOLERANCE = {np.float32: 2e-4, np.float64: 1e-11}
"""Relative to the largest element, after a few steps: what rounding makes of systems with these ridges."""

EXACT = 1e-10
"""What float64 leaves of the difference from Cholesky's solution once the steps have converged."""

KINDS = ["plain", "biased", "implicit", "implicit by count"]


def made(kind: str, rank: int, counts: list[int] = COUNTS, *, n_other: int = 300) -> Setup:
    """A problem, coordinates that are not trivial, and where its rows start."""
    problem = make_problem(kind.split()[0], rank, counts, n_other=n_other)
    if kind == "implicit by count":
        problem = replace(problem, reg=0.1, reg_by_count=True)
    rng = np.random.default_rng(3)
    start = rng.normal(0, rank**-0.5, (problem.n_rows, rank))
    bias = rng.normal(0, 0.3, problem.n_rows) if problem.with_bias else np.zeros(problem.n_rows)
    d = rank + problem.with_bias
    if problem.background:
        values, rows = _native.symmetric_eigen(problem.dense())
        dense = values
    else:
        rows, dense = np.linalg.qr(rng.normal(size=(d, d)))[0], np.zeros(d)
    slope, offset = rng.uniform(0.5, 2, d) / rank, rng.uniform(1, 2, d)
    return problem, RowBasis(np.ascontiguousarray(rows.T), dense, slope, offset), start, bias


def run(setup: Setup, dtype: type, *, steps: int = 3, threads: int = 2) -> tuple[Array, Array, int]:
    problem, basis, start, bias = setup
    cast = RowBasis(*(np.ascontiguousarray(each, dtype) for each in dataclasses.astuple(basis)))
    own = SideFactors(start.astype(dtype), bias.astype(dtype))
    side, losses, failed = conjugate.conjugate_rows(arguments(problem, dtype), cast, own, steps=steps, threads=threads)
    stacked = np.concatenate([side.factors, side.bias[:, None]], axis=1) if problem.with_bias else side.factors
    if not problem.with_bias:
        assert not side.bias.any()
    return stacked, losses, failed


def stepped(setup: Setup, row: int, steps: int) -> Array:
    """Preconditioned conjugate gradients on a row's normal equations, in the given coordinates."""
    problem, basis, start, bias = setup
    x = np.append(start[row], bias[row]) if problem.with_bias else start[row].copy()
    entries = problem.indptr[row + 1] - problem.indptr[row]
    if entries == 0:
        return np.zeros_like(x)
    lhs, rhs = problem.system(row)
    vectors = basis.vectors.astype(np.float64)
    inverse = vectors @ np.diag(1 / (entries * basis.slope + basis.offset)) @ vectors.T
    residual = rhs - lhs @ x
    z = inverse @ residual
    direction, first = z.copy(), residual @ z
    for _ in range(steps):
        if residual @ z <= 1e-28 * first:  # nothing but rounding is left
            break
        product = lhs @ direction
        length = (residual @ z) / (direction @ product)
        x += length * direction
        before = residual @ z
        residual = residual - length * product
        z = inverse @ residual
        direction = z + (residual @ z) / before * direction
    return x


def assert_close(actual: Any, expected: Any, tolerance: float) -> None:
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * float(np.abs(expected).max()))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rank", [1, 7, 16, 33, 64, 256])
@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_those_of_the_oracle(kind: str, rank: int, dtype: type, instruction_set: str) -> None:
    setup = made(kind, rank)
    problem = setup[0]
    actual, losses, failed = run(setup, dtype)
    assert failed == -1
    expected = np.array([stepped(setup, row, 3) for row in range(problem.n_rows)])
    assert_close(actual, expected, TOLERANCE[dtype])
    filled = np.diff(problem.indptr) > 0
    assert_close(losses[filled], [problem.loss(r, expected[r]) for r in np.flatnonzero(filled)], TOLERANCE[dtype])
    assert not losses[~filled].any()
    assert not actual[~filled].any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_heavy_row_is_stepped_in_chunks_like_any_other(kind: str, instruction_set: str) -> None:
    setup = made(kind, 20, [3, 200_000, 70, 40_000])
    problem = setup[0]
    actual, losses, _ = run(setup, np.float64)
    expected = np.array([stepped(setup, row, 3) for row in range(4)])
    assert_close(actual, expected, TOLERANCE[np.float64])
    assert_close(losses, [problem.loss(r, expected[r]) for r in range(4)], TOLERANCE[np.float64])


@pytest.mark.parametrize("kind", ["biased", "implicit"])
def test_heavy_rows_meet_in_the_pieces_of_a_large_table(kind: str, instruction_set: str) -> None:
    counts = [300, 3, 900, 1500, 0, 256]  # the table has 24 pieces of 256 rows
    setup = made(kind, 250, counts, n_other=6000)
    problem = setup[0]
    results = [run(setup, np.float64, threads=threads) for threads in (1, 3)]
    assert results[0][0].tobytes() == results[1][0].tobytes()
    expected = np.array([stepped(setup, row, 3) for row in range(len(counts))])
    assert_close(results[0][0], expected, TOLERANCE[np.float64])
    losses = [problem.loss(row, expected[row]) if counts[row] else 0.0 for row in range(len(counts))]
    assert_close(results[0][1], losses, TOLERANCE[np.float64])


@pytest.mark.parametrize("kind", KINDS)
def test_as_many_steps_as_unknowns_are_the_exact_solution(kind: str) -> None:
    setup = made(kind, 20)
    actual, _, _ = run(setup, np.float64, steps=60)
    assert_close(actual, [setup[0].solve(row) for row in range(setup[0].n_rows)], EXACT)


@pytest.mark.parametrize("kind", KINDS)
def test_threads_change_no_bit_of_the_steps(kind: str) -> None:
    setup = made(kind, 33, [3, 70_000, *COUNTS * 30])
    results = [run(setup, np.float32, threads=threads) for threads in THREADS]
    for factors, losses, _ in results[1:]:
        assert factors.tobytes() == results[0][0].tobytes()
        assert losses.tobytes() == results[0][1].tobytes()


def test_a_row_without_a_finite_solution_is_named() -> None:
    setup = made("plain", 8, [2, 2, 0, 2])
    problem = setup[0]
    problem.indices[:] = [0, 1, 0, 1, 1, 2]
    problem.other[2] = np.inf
    with np.errstate(invalid="ignore"):
        assert run(setup, np.float32)[2] == 3


def test_implicits_steps_are_these_without_a_preconditioner() -> None:
    native = pytest.importorskip("implicit.cpu._als", reason="needs the library implicit")
    sparse = importlib.import_module("scipy.sparse")
    setup = made("implicit", 16)
    problem, basis, start, bias = setup
    plain = RowBasis(basis.vectors, basis.dense, 0 * basis.slope, 0 * basis.offset + 1)
    confidences = (problem.confidence[0] * problem.values + problem.confidence[1]).astype(np.float32)
    matrix = sparse.csr_matrix((confidences, problem.indices, problem.indptr), (problem.n_rows, len(problem.other)))
    theirs = start.astype(np.float32)
    native.least_squares_cg(matrix, theirs, problem.other.astype(np.float32), problem.reg, num_threads=1, cg_steps=3)
    ours, _, _ = run((problem, plain, start, bias), np.float32)
    assert_close(ours, theirs, TOLERANCE[np.float32])


@pytest.mark.parametrize("n", [1, 2, 3, 17, 64])
@pytest.mark.parametrize("kind", ["any", "low rank", "diagonal", "zero", "alike", "small"])
def test_eigenvectors_make_a_matrix_diagonal(kind: str, n: int) -> None:
    rng = np.random.default_rng(n)
    square = rng.normal(size=(n, n))
    column = square[:, :1]
    matrix = {
        "any": square @ square.T,
        "low rank": column @ column.T,
        "diagonal": np.diag(square[0]),
        "zero": np.zeros((n, n)),
        "alike": np.eye(n) + 1e-14 * (square + square.T),
        "small": 1e-30 * (square + square.T),
    }[kind]
    values, rows = _native.symmetric_eigen(matrix)
    size = max(np.abs(matrix).max(), np.finfo(float).tiny)
    np.testing.assert_allclose(rows @ rows.T, np.eye(n), rtol=0, atol=1e-13)
    np.testing.assert_allclose(rows @ matrix @ rows.T, np.diag(values), rtol=0, atol=1e-13 * n * size)


def test_eigenvectors_are_the_same_bits_on_every_machine(instruction_set: str) -> None:
    square = np.random.default_rng(1).normal(size=(37, 37))
    found = _native.symmetric_eigen(square + square.T)
    before = _native.instruction_set()
    _native.use_instruction_set("portable")
    try:
        portable = _native.symmetric_eigen(square + square.T)
    finally:
        _native.use_instruction_set(before)
    assert [each.tobytes() for each in found] == [each.tobytes() for each in portable]


def test_eigenvalues_of_what_is_not_finite_are_not() -> None:
    assert np.isnan(_native.symmetric_eigen(np.full((5, 5), np.nan))[0]).any()


@pytest.fixture(scope="module")
def interactions() -> fc.Interactions:
    """Ratings of rank 4 with noise: 300 users, 80 items."""
    rng = np.random.default_rng(5)
    users, items = np.divmod(rng.choice(300 * 80, 6000, replace=False), 80)
    ratings = np.einsum("nk,nk->n", rng.normal(size=(300, 4))[users], rng.normal(size=(80, 4))[items])
    values = np.clip(np.round(3 + ratings + rng.normal(0, 0.3, 6000)), 1, 5)
    return fc.Interactions.from_arrays(users, items, values.astype(np.float32))


CONFIGS = {
    "biased": fc.TrainConfig(factors=8, sweeps=6, solver="cg"),
    "plain": fc.TrainConfig(factors=8, sweeps=6, biases=False, reg=3.0, reg_scaling="none", solver="cg"),
    "implicit": fc.TrainConfig.for_objective("implicit", factors=8, sweeps=6, solver="cg"),
    "implicit by count": fc.TrainConfig.for_objective(
        "implicit", factors=8, sweeps=6, reg=0.2, reg_scaling="count", solver="cg"
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_inexact_sweeps_reach_what_exact_ones_do(name: str, interactions: fc.Interactions) -> None:
    config = CONFIGS[name]
    inexact = fc.train(interactions, config).history[-1].objective
    exact = fc.train(interactions, replace(config, solver="exact")).history[-1].objective
    assert inexact == pytest.approx(exact, rel=5e-3)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_objective_in_the_history_is_that_of_the_factors(name: str, interactions: fc.Interactions) -> None:
    config = replace(CONFIGS[name], dtype="float64")
    model = fc.train(interactions, config)
    value = gradients(interactions, model.factors, Objective.of(config, interactions)).objective
    assert model.history[-1].objective == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("name", CONFIGS)
def test_many_steps_are_exact_sweeps(name: str, interactions: fc.Interactions) -> None:
    config = replace(CONFIGS[name], sweeps=2, dtype="float64", cg_steps=40)
    inexact = fc.train(interactions, config).factors
    exact = fc.train(interactions, replace(config, solver="exact")).factors
    assert_close(inexact.user.factors, exact.user.factors, EXACT)
    assert_close(inexact.item.factors, exact.item.factors, EXACT)
    np.testing.assert_allclose(inexact.item.bias, exact.item.bias, rtol=0, atol=EXACT)


def test_threads_change_no_bit_of_an_inexact_model(interactions: fc.Interactions) -> None:
    models = [fc.train(interactions, CONFIGS["biased"], threads=threads) for threads in THREADS]
    for model in models[1:]:
        assert model.factors.user.factors.tobytes() == models[0].factors.user.factors.tobytes()
        assert model.factors.item.bias.tobytes() == models[0].factors.item.bias.tobytes()


@pytest.mark.parametrize("last", ["users", "items"])
def test_a_retrain_takes_the_models_own_solver(last: Any, interactions: fc.Interactions) -> None:
    config = replace(CONFIGS["implicit"], solved_last=last)
    request = fc.ForgetRequest.of(users=[3, 4], items=[7])
    retrained, _ = fc.retrain(fc.train(interactions, config), request)
    kept = interactions.without(request.resolve(interactions).removal).interactions
    trained = fc.train(kept, config)
    assert retrained.config == config
    assert retrained.factors.user.factors.tobytes() == trained.factors.user.factors.tobytes()


def test_the_last_inexact_sweep_is_settled_before_a_response_step(interactions: fc.Interactions) -> None:
    request, other = fc.ForgetRequest.of(users=[3]), fc.ForgetRequest.of(users=[9])
    steps = {}
    for solver in ("exact", "cg"):
        model = fc.train(interactions, replace(CONFIGS["biased"], solver=solver, sweeps=20))
        first = fc.forget(model, request, method="response")
        again = fc.forget(first.model, other, method="response")
        steps[solver] = [first.sweeps, again.sweeps]
    assert steps["cg"][0] == steps["exact"][0] + unlearn.SETTLING_SWEEPS
    assert steps["cg"][1] == steps["exact"][1], "what a step left is settled"


def test_warm_sweeps_take_the_models_own_solver(interactions: fc.Interactions) -> None:
    model = fc.train(interactions, CONFIGS["biased"])
    request = fc.ForgetRequest.of(users=[3])
    swept = fc.forget(model, request, method="sweeps", sweeps=2)
    exact = fc.forget(replace(model, config=replace(model.config, solver="exact")), request, method="sweeps", sweeps=2)
    assert swept.after is not None
    assert exact.after is not None
    assert swept.after.objective != exact.after.objective
    assert swept.after.objective == pytest.approx(exact.after.objective, rel=1e-3)


@pytest.mark.parametrize(("solver", "method"), [("exact", "response"), ("cg", "retrain")])
def test_training_anew_costs_less_where_sweeps_do(
    solver: Any, method: str, interactions: fc.Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unlearn, "STEP_OVERHEAD", 0)  # as if the data were large
    model = fc.train(interactions, fc.TrainConfig(factors=256, sweeps=20, solver=solver))
    assert fc.forget(model, fc.ForgetRequest.of(users=[3])).method == method


@pytest.mark.parametrize("wrong", [{"solver": "qr"}, {"cg_steps": 0}, {"cg_steps": 1.5}, {"cg_steps": 2**31}])
def test_an_unknown_solver_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(fc.UsageError):
        fc.TrainConfig(**wrong)
