"""The second-order step against dense linear algebra on small problems, in float64."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from forgetcli import als, response, unlearn
from forgetcli.config import TrainConfig
from forgetcli.interactions import Interactions
from forgetcli.model import SideFactors
from forgetcli.objective import Objective
from forgetcli.records import ForgetRequest
from tests.samples import CONFIGS, dense, interactions, triples

Matrix = NDArray[np.float64]


@dataclasses.dataclass
class Dense:
    """The second derivatives of half the objective: A (users), B (items) block diagonal, C = ∂²/∂user ∂item."""

    a: Matrix
    b: Matrix
    c: Matrix

    @property
    def schur(self) -> Matrix:
        return self.b - self.c.T @ np.linalg.solve(self.a, self.c)


def second_derivatives(data: Interactions, users: SideFactors, items: SideFactors, objective: Objective) -> Dense:
    ratings = dense(data)
    seen = ~np.isnan(ratings)
    values = np.where(seen, ratings, 0)
    weight = np.where(seen, objective.confidence[0] * values + objective.confidence[1], objective.background)
    target = np.where(seen, objective.target[0] * values + objective.target[1], 0)
    error = weight * (users.factors @ items.factors.T + users.bias[:, None] + items.bias[None, :] - target)

    def features(side: SideFactors) -> Matrix:
        return np.hstack([side.factors, np.ones((len(side), 1))]) if objective.biases else side.factors

    phi, psi = features(items), features(users)
    d, k = phi.shape[1], items.factors.shape[1]
    shared = np.diag([1.0] * k + [0.0] * (d - k))  # a bias multiplies nothing of the other side
    blocks = np.einsum("ui,ia,ub->uaib", weight, phi, psi) + np.einsum("ui,ab->uaib", error, shared)

    def diagonal(own: Matrix, x: Matrix, counts: NDArray[np.int64]) -> Matrix:
        n = len(own)
        out = np.zeros((n * d, n * d))
        for row, scale in enumerate(objective.row_scales(counts)):
            at = slice(row * d, (row + 1) * d)
            out[at, at] = x.T @ (own[row][:, None] * x) + scale * np.eye(d)
        return out

    return Dense(
        diagonal(weight, phi, seen.sum(axis=1)),
        diagonal(weight.T, psi, seen.sum(axis=0)),
        blocks.reshape(len(users) * d, len(items) * d),
    )


def flat(side: SideFactors, objective: Objective) -> Matrix:
    parts = [side.factors, side.bias[:, None]] if objective.biases else [side.factors]
    return np.hstack(parts).ravel()


@dataclasses.dataclass
class Problem:
    data: Interactions
    users: SideFactors
    items: SideFactors
    objective: Objective
    rhs: Matrix

    def system(self, *, keep: bool) -> response.System:
        kept = als.half_sweep(self.data.by_user, self.items, self.objective, keep=keep).kept
        return response.System(
            response.LinearisedSide(self.data.by_user, self.users, self.items, self.objective, kept, 0),
            response.LinearisedSide.formed(self.data.by_item, self.items, self.users, self.objective, keep, 0),
        )


def make_problem(name: str) -> Problem:
    data = interactions(n_users=14, n_items=9, density=0.5)
    config = dataclasses.replace(CONFIGS[name], factors=3, sweeps=6)
    factors = als.train(data, config).factors
    objective = Objective.of(config, data)
    users = als.half_sweep(data.by_user, factors.item, objective).side
    rhs = np.random.default_rng(0).normal(size=(data.n_items, 3 + objective.biases))
    return Problem(data, users, factors.item, objective, rhs)


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("sweeps", [1, 2, 15, 40])
@pytest.mark.parametrize("name", CONFIGS)
def test_the_step_equals_so_many_linearised_sweeps(name: str, sweeps: int, keep: bool) -> None:
    problem = make_problem(name)
    matrices = second_derivatives(problem.data, problem.users, problem.items, problem.objective)
    b = problem.rhs.ravel()
    expected = np.zeros_like(b)
    for _ in range(sweeps):
        expected = expected + np.linalg.solve(matrices.b, b - matrices.schur @ expected)
    solution = response.filtered_solution(
        problem.system(keep=keep), problem.rhs, sweeps, max_vectors=len(b), bracket=0.0
    )
    assert solution is not None
    np.testing.assert_allclose(
        flat(solution[0], problem.objective), expected, rtol=0, atol=1e-10 * np.abs(expected).max()
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_the_filter_is_the_matrix_function(name: str) -> None:
    problem, sweeps = make_problem(name), 15
    matrices = second_derivatives(problem.data, problem.users, problem.items, problem.objective)
    root = np.linalg.cholesky(matrices.b)
    symmetric = np.linalg.solve(root, np.linalg.solve(root, matrices.schur).T)
    s, vectors = np.linalg.eigh((symmetric + symmetric.T) / 2)
    filtered = np.array([sum((1 - x) ** t for t in range(sweeps)) for x in s])
    expected = np.linalg.solve(root.T, vectors @ (filtered * (vectors.T @ np.linalg.solve(root, problem.rhs.ravel()))))
    solution = response.filtered_solution(problem.system(keep=True), problem.rhs, sweeps, max_vectors=100, bracket=0.0)
    assert solution is not None
    np.testing.assert_allclose(
        flat(solution[0], problem.objective), expected, rtol=0, atol=1e-10 * np.abs(expected).max()
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_few_vectors_are_enough_and_the_bracket_says_so(name: str) -> None:
    problem = make_problem(name)
    system = problem.system(keep=True)
    exact = response.filtered_solution(system, problem.rhs, 15, max_vectors=100, bracket=0.0)
    few = response.filtered_solution(
        system, problem.rhs, 15, max_vectors=response.MAX_VECTORS, bracket=response.BRACKET
    )
    assert exact is not None
    assert few is not None
    effect = [float(flat(s[0], problem.objective) @ problem.rhs.ravel()) for s in (few, exact)]
    assert few[1] <= exact[1]
    assert few[2] < response.BRACKET or few[1] == response.MAX_VECTORS
    assert effect[0] == pytest.approx(effect[1], rel=2 * response.BRACKET)


def test_no_pull_means_no_step() -> None:
    problem = make_problem("biased")
    nothing = np.zeros_like(problem.rhs)
    assert response.filtered_solution(problem.system(keep=True), nothing, 15, max_vectors=5, bracket=0.0) is None


def request_of(kind: str) -> ForgetRequest:
    users, items, _ = triples()
    pairs = list(zip(users.tolist(), items.tolist(), strict=True))
    return {
        "pairs": ForgetRequest.of(pairs=pairs[::23]),
        "user": ForgetRequest.of(users=[int(users[0])]),
        "item": ForgetRequest.of(items=[int(items[0])]),
        "most": ForgetRequest.of(pairs=pairs[::2]),
        "mixed": ForgetRequest.of(pairs=pairs[::31], users=[int(users[3])], items=[int(items[9])]),
    }[kind]


@pytest.mark.parametrize("kind", ["pairs", "user", "item", "most", "mixed"])
@pytest.mark.parametrize("name", CONFIGS)
def test_the_pull_on_the_items_is_the_difference_of_the_gradients(name: str, kind: str) -> None:
    data, config = interactions(), CONFIGS[name]
    model = als.train(data, config)
    objective = Objective.of(config, data)
    resolution = request_of(kind).resolve(data)
    remaining = data.without(resolution.removal)
    left = remaining.interactions
    items = dataclasses.replace(
        model.factors.item,
        factors=model.factors.item.factors[remaining.item_rows],
        bias=model.factors.item.bias[remaining.item_rows],
    )
    touched = response.TouchedUsers.of(data, resolution.removal, remaining, model.factors, objective, 0)
    solved = als.half_sweep(left.by_user, items, objective).side
    factors, bias = touched.untouched_users.factors.copy(), touched.untouched_users.bias.copy()
    factors[touched.kept_rows] = solved.factors[touched.kept_rows]
    bias[touched.kept_rows] = solved.bias[touched.kept_rows]
    after = SideFactors(factors, bias)

    def item_gradient(on: Interactions, users: SideFactors, own: SideFactors) -> Matrix:
        both = dataclasses.replace(model.factors, user=users, item=own)
        return np.asarray(als.gradients(on, both, objective).item) / 2

    expected = item_gradient(data, touched.users_before, model.factors.item)[remaining.item_rows]
    expected = expected - item_gradient(left, after, items)
    actual = touched.item_pull(left, items, after, objective, 0)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-11 * np.abs(expected).max())


@pytest.mark.parametrize("kind", ["pairs", "user", "item", "most", "mixed"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CONFIGS)
def test_forgetting_gives_finite_factors_for_every_kind_of_request(name: str, dtype: str, kind: str) -> None:
    config = dataclasses.replace(CONFIGS[name], dtype=dtype)
    result = unlearn.forget(als.train(interactions(), config), request_of(kind), method="response")
    assert np.isfinite(result.model.factors.user.factors).all()
    assert np.isfinite(result.model.factors.item.factors).all()
    assert result.model.factors.user.factors.dtype == np.dtype(dtype)


@pytest.mark.parametrize("name", CONFIGS)
def test_one_training_sweep_is_repeated_exactly(name: str) -> None:
    """With T = 1 the step has nothing to add: the exact sweep is the whole of it."""
    config = dataclasses.replace(CONFIGS[name], sweeps=1)
    model = als.train(interactions(), config)
    result = unlearn.forget(model, request_of("pairs"), method="response")
    once = unlearn.forget(model, request_of("pairs"), method="sweeps", sweeps=1)
    assert result.vectors == 0
    np.testing.assert_array_equal(result.model.factors.item.factors, once.model.factors.item.factors)


def test_everything_but_one_interaction_can_go() -> None:
    users, items, _ = triples()
    pairs = list(zip(users[1:].tolist(), items[1:].tolist(), strict=True))
    model = als.train(interactions(), CONFIGS["biased"])
    left = unlearn.forget(model, ForgetRequest.of(pairs=pairs), method="response").model
    assert np.isfinite(left.factors.user.factors).all()
    assert len(left.users) == len(left.items) == 1


def test_neither_threads_nor_the_order_of_the_request_change_a_bit() -> None:
    config = TrainConfig(factors=6, sweeps=5)
    model = als.train(interactions(), config)
    users, items, _ = triples()
    pairs = list(zip(users[::13].tolist(), items[::13].tolist(), strict=True))
    one = unlearn.forget(model, ForgetRequest.of(pairs=pairs), threads=1).model
    other = unlearn.forget(model, ForgetRequest.of(pairs=pairs[::-1]), threads=3).model
    assert one.factors.item.factors.tobytes() == other.factors.item.factors.tobytes()
    assert one.factors.user.factors.tobytes() == other.factors.user.factors.tobytes()
