"""The second-order step against dense linear algebra on small problems, in float64."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from forgetcli import als, krylov, linearised, response, unlearn
from forgetcli.config import TrainConfig
from forgetcli.errors import NumericalError
from forgetcli.gradient import gradients, half_gradients
from forgetcli.interactions import Interactions
from forgetcli.model import Factors, Model, SideFactors, minus, plus, scaled, still
from forgetcli.momentum import momentum_weight
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

    def system(self) -> linearised.LinearisedSweep:
        by_user, by_item = self.data.by_user, self.data.by_item
        return linearised.LinearisedSweep(
            linearised.NormalInverse.of(by_user, by_item, self.items, self.objective, tolerance=1e-15),
            linearised.NormalInverse.of(by_item, by_user, self.users, self.objective, tolerance=1e-15),
        )

    def solve(
        self, sweeps: int, *, vectors: int = 100, bracket: float = 0.0, with_users: bool = True
    ) -> krylov.Filtered:
        system = self.system()
        solution = krylov.filtered_solution(
            system,
            self.rhs,
            system.item_inverse.solve(self.rhs),
            sweeps,
            max_vectors=vectors,
            bracket=bracket,
            with_users=with_users,
        )
        assert solution is not None
        return solution


def make_problem(name: str) -> Problem:
    data = interactions(n_users=14, n_items=9, density=0.5)
    # Regularised so that S is positive: where it is not, the filter is bounded on purpose.
    config = dataclasses.replace(CONFIGS[name], factors=3, sweeps=50, reg=4 * CONFIGS[name].reg)
    factors = als.train(data, config).factors
    objective = Objective.of(config, data)
    users = als.half_sweep(data.by_user, factors.item, objective).side
    rhs = np.random.default_rng(0).normal(size=(data.n_items, 3 + objective.biases))
    return Problem(data, users, factors.item, objective, rhs)


@pytest.mark.parametrize("sweeps", [1, 2, 15, 40])
@pytest.mark.parametrize("name", CONFIGS)
def test_the_step_equals_so_many_linearised_sweeps(name: str, sweeps: int) -> None:
    problem = make_problem(name)
    matrices = second_derivatives(problem.data, problem.users, problem.items, problem.objective)
    b = problem.rhs.ravel()
    expected = np.zeros_like(b)
    for _ in range(sweeps):
        one_less = expected
        expected = expected + np.linalg.solve(matrices.b, b - matrices.schur @ expected)
    solution = problem.solve(sweeps)
    np.testing.assert_allclose(
        flat(solution.items, problem.objective), expected, rtol=0, atol=1e-10 * np.abs(expected).max()
    )
    moved = solution.users_from(still(problem.users))
    follows = np.linalg.solve(matrices.a, matrices.c @ one_less)
    np.testing.assert_allclose(-flat(moved, problem.objective), follows, rtol=0, atol=1e-10 * np.abs(expected).max())
    assert solution.norm == pytest.approx(np.sqrt(expected @ matrices.b @ expected), rel=1e-9)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_filter_is_the_matrix_function(name: str) -> None:
    problem, sweeps = make_problem(name), 15
    matrices = second_derivatives(problem.data, problem.users, problem.items, problem.objective)
    root = np.linalg.cholesky(matrices.b)
    symmetric = np.linalg.solve(root, np.linalg.solve(root, matrices.schur).T)
    s, vectors = np.linalg.eigh((symmetric + symmetric.T) / 2)
    filtered = np.array([sum((1 - x) ** t for t in range(sweeps)) for x in s])
    expected = np.linalg.solve(root.T, vectors @ (filtered * (vectors.T @ np.linalg.solve(root, problem.rhs.ravel()))))
    solution = problem.solve(sweeps)
    np.testing.assert_allclose(
        flat(solution.items, problem.objective), expected, rtol=0, atol=1e-10 * np.abs(expected).max()
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_few_vectors_are_enough_and_the_bracket_says_so(name: str) -> None:
    problem = make_problem(name)
    exact, few = problem.solve(15), problem.solve(15, vectors=krylov.MAX_VECTORS, bracket=krylov.BRACKET)
    effect = [float(flat(s.items, problem.objective) @ problem.rhs.ravel()) for s in (few, exact)]
    assert few.vectors <= exact.vectors
    assert few.bracket < krylov.HALF_WAY * krylov.BRACKET or few.vectors == krylov.MAX_VECTORS
    assert effect[0] == pytest.approx(effect[1], rel=2 * krylov.BRACKET)


@pytest.mark.parametrize("bracket", [0.1, 0.02, 0.01])
def test_without_the_users_the_step_lies_half_way_between_its_bounds(bracket: float) -> None:
    spared = 0
    for name in CONFIGS:
        problem = make_problem(name)
        exact, with_users = problem.solve(15), problem.solve(15, bracket=bracket)
        step = problem.solve(15, bracket=bracket, with_users=False)
        effects = [float(flat(each.items, problem.objective) @ problem.rhs.ravel()) for each in (exact, step)]
        last_followed = len(step._followers) == step.vectors
        apart = step.bracket if last_followed else step.bracket / 2
        assert effects[1] == pytest.approx(effects[0], rel=apart + 1e-9)
        assert step.bracket < (krylov.HALF_WAY if last_followed else 2) * bracket
        assert len(step._followers) <= len(with_users._followers)
        spared += len(with_users._followers) - len(step._followers)
    assert spared > 0


@pytest.mark.parametrize("name", CONFIGS)
def test_two_sweeps_need_no_more_than_one_vector_followed(name: str) -> None:
    problem = make_problem(name)
    exact, items_alone = problem.solve(2), problem.solve(2, bracket=krylov.BRACKET, with_users=False)
    assert len(items_alone._followers) == 1
    expected = flat(exact.items, problem.objective)
    found = flat(items_alone.items, problem.objective)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


def test_no_pull_means_no_step() -> None:
    problem = make_problem("biased")
    system, nothing = problem.system(), np.zeros_like(problem.rhs)
    assert krylov.filtered_solution(system, nothing, system.item_inverse.solve(nothing), 15) is None


def test_the_absorbed_share_is_the_sum_of_the_powers() -> None:
    s = np.array([-0.02, 0.0, 1e-9, 1e-3, 0.3, 0.7, 1.0])
    expected = [sum((1 - x) ** t for t in range(15)) for x in s]
    np.testing.assert_allclose(krylov.absorbed(s, 15), expected, rtol=1e-12)


def test_strong_negative_curvature_is_bounded() -> None:
    assert krylov.absorbed(np.array([-3.0]), 40)[0] == pytest.approx(40 * (1.025**40 - 1))


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


def drift_free_sweeps(model: Model, request: ForgetRequest, sweeps: int) -> Factors:
    """The map that the step linearises, iterated: sweeps on what remains that hold the gradient the users have."""
    assert model.interactions is not None
    data = model.interactions
    remaining = data.without(request.resolve(data).removal)
    left, rows = remaining.interactions, remaining.user_rows
    before, after = Objective.of(model.config, data), Objective.of(model.config, left)
    users = model.factors.user
    solved = als.half_sweep(data.by_user, model.factors.item, before).side
    drift = SideFactors((users.factors - solved.factors)[rows], (users.bias - solved.bias)[rows])
    items = model.factors.item
    items = last = SideFactors(items.factors[remaining.item_rows], items.bias[remaining.item_rows])
    trained = dataclasses.replace(after, target=before.target)
    own = plus(als.half_sweep(left.by_user, items, trained).side, drift)
    held, *_ = half_gradients(left.by_user, own, items, trained, None, 0)
    for number in range(sweeps):
        objective = after if number == sweeps - 1 else trained
        carried = momentum_weight(number) if model.config.acceleration == "momentum" else 0.0
        start = plus(items, scaled(minus(items, last), carried))
        inverse = linearised.NormalInverse.of(left.by_user, left.by_item, start, objective, tolerance=1e-12)
        users = plus(als.half_sweep(left.by_user, start, objective).side, inverse.solve(held))
        items, last = als.half_sweep(left.by_item, users, objective).side, items
    return Factors(users, items, after.global_mean)


FOLLOWED = CONFIGS | {
    f"{name} with momentum": dataclasses.replace(CONFIGS[name], acceleration="momentum")
    for name in ("biased", "baseless")
}
FIRST_ORDER = 0.2
"""What first order may leave out of a change: terms of the step's size, of the mean's shift for one record, and of the
drift, which is large in models that were trained for so few sweeps."""


def respond(model: Model, request: ForgetRequest) -> response.Response:
    """The step with as many Krylov vectors as it can use."""
    assert model.interactions is not None
    data = model.interactions
    removal = request.resolve(data).removal
    remaining = data.without(removal)
    return response.respond(
        data,
        removal,
        remaining,
        model.factors,
        Objective.of(model.config, data),
        Objective.of(model.config, remaining.interactions),
        sweeps=unlearn.trained_sweeps(model),
        momentum=[momentum_weight(t) for t in range(10)] if model.config.acceleration == "momentum" else (),
        options=response.Options(max_vectors=60, bracket=1e-9),
    )


def predictions(factors: Factors) -> Matrix:
    return np.asarray(
        factors.user.factors @ factors.item.factors.T + factors.user.bias[:, None] + factors.item.bias[None, :]
    )


@pytest.mark.parametrize("name", FOLLOWED)
def test_the_step_is_what_so_many_sweeps_without_drift_lead_to(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(response, "DRIFT", np.inf)  # the sweeps hold the gradient that the model has
    data = interactions(n_users=300, n_items=60, density=0.4)
    model = als.train(data, dataclasses.replace(FOLLOWED[name], sweeps=10))
    some = data.by_user.row_numbers()[5::71], data.by_user.indices[5::71]
    request = ForgetRequest.of(
        pairs=zip(
            np.asarray(data.users.ids)[some[0]].tolist(), np.asarray(data.items.ids)[some[1]].tolist(), strict=True
        )
    )
    result = respond(model, request)
    assert result.path == "exact"
    expected = predictions(drift_free_sweeps(model, request, 10))
    moved = np.linalg.norm(expected - predictions(model.factors))
    assert np.linalg.norm(predictions(result.factors) - expected) < FIRST_ORDER * moved


@pytest.mark.parametrize("name", FOLLOWED)
def test_a_single_record_is_followed_linearly(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(response, "DRIFT", np.inf)  # as above
    data = interactions(n_users=300, n_items=60, density=0.4)
    model = als.train(data, dataclasses.replace(FOLLOWED[name], sweeps=10))
    request = ForgetRequest.of(pairs=[(int(np.asarray(data.users.ids)[7]), _an_item(data, 7))])
    result = respond(model, request)
    assert result.path == "linear"
    expected = predictions(drift_free_sweeps(model, request, 10))
    moved = np.linalg.norm(expected - predictions(model.factors))
    assert np.linalg.norm(predictions(result.factors) - expected) < FIRST_ORDER * moved


def test_items_that_are_far_from_solved_are_not_left_so_again() -> None:
    data = interactions(n_users=300, n_items=60, density=0.4)
    model = als.train(data, dataclasses.replace(CONFIGS["plain"], sweeps=10))
    request = ForgetRequest.of(pairs=[(int(np.asarray(data.users.ids)[7]), _an_item(data, 7))])
    assert respond(model, request).path == "linear"
    item = model.factors.item
    elsewhere = SideFactors(1.05 * item.factors, item.bias)
    factors = dataclasses.replace(model.factors, item=elsewhere)
    result = respond(dataclasses.replace(model, factors=factors), request)
    assert result.path == "exact"
    assert result.before.item_gradient > response.UNSOLVED[0] * result.before.user_gradient


def test_who_keeps_next_to_nothing_does_not_drift_as_with_all(monkeypatch: pytest.MonkeyPatch) -> None:
    data = interactions(n_users=300, n_items=60, density=0.4)
    model = als.train(data, dataclasses.replace(CONFIGS["implicit"], sweeps=8))
    entries = data.by_user.entries_of_rows(np.array([7]))[3:]
    rows, columns = data.by_user.rows_of(entries), data.by_user.indices[entries]
    request = ForgetRequest(data.users.ids[rows], data.items.ids[columns], data.users.ids[:0], data.items.ids[:0])
    never_saw = predictions(unlearn.retrain(model, request)[0].factors)[rows, columns]
    known = predictions(model.factors)[rows, columns] - never_saw

    def left_over() -> float:
        """Of what the model knew of the records, 1."""
        difference = predictions(respond(model, request).factors)[rows, columns] - never_saw
        return abs(float(difference @ known)) / float(known @ known)

    without_records = left_over()
    monkeypatch.setattr(response, "DRIFT", np.inf)
    assert without_records < 0.3 * left_over()


def tenth(data: Interactions) -> ForgetRequest:
    """Enough of the records for exact sweeps to come first."""
    view = data.by_user
    rows, columns = view.row_numbers()[::10], view.indices[::10]
    return ForgetRequest.of(
        pairs=zip(np.asarray(data.users.ids)[rows].tolist(), np.asarray(data.items.ids)[columns].tolist(), strict=True)
    )


def scale_steps(monkeypatch: pytest.MonkeyPatch, by: float) -> None:
    """Every step from here on is this many times what it should be."""
    right = response._filtered

    def wrong(*arguments: Any, **options: Any) -> krylov.Filtered | None:
        step = right(*arguments, **options)
        assert step is not None
        factor = step.items.factors.dtype.type(by)
        return dataclasses.replace(step, items=SideFactors(step.items.factors * factor, step.items.bias * factor))

    monkeypatch.setattr(response, "_filtered", wrong)


@pytest.mark.parametrize(("name", "by"), [*((name, np.nan) for name in CONFIGS), ("implicit", -1.0)])
def test_a_step_worse_than_its_own_exact_sweeps_is_not_taken(
    name: str, by: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = interactions(n_users=300, n_items=60, density=0.4)
    model = als.train(data, dataclasses.replace(CONFIGS[name], sweeps=10))
    request = tenth(data)
    assert respond(model, request).path == "exact"
    scale_steps(monkeypatch, by)
    result = respond(model, request)
    assert (result.path, result.sweeps) == ("fallback", 4 + response.FALLBACK_SWEEPS)
    left = data.without(request.resolve(data).removal).interactions
    reached = gradients(left, drift_free_sweeps(model, request, 4), Objective.of(model.config, left)).objective
    assert result.objective is not None
    assert result.objective <= reached * (1 + 1e-6)


def one_record() -> tuple[Model, ForgetRequest]:
    """A request that is followed linearly."""
    data = interactions(n_users=300, n_items=60, density=0.4)
    model = als.train(data, dataclasses.replace(CONFIGS["plain"], sweeps=10))
    request = ForgetRequest.of(pairs=[(int(np.asarray(data.users.ids)[7]), _an_item(data, 7))])
    assert respond(model, request).path == "linear"
    return model, request


def test_a_linear_step_that_ends_worse_than_it_began_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    model, request = one_record()
    before = respond(model, request).before.objective
    scale_steps(monkeypatch, 1e4)
    result = respond(model, request)
    assert result.path == "fallback"
    assert result.objective is not None
    assert result.objective <= before * (1 + response.WORSE)


def test_a_step_that_leads_where_no_row_can_be_solved_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    model, request = one_record()

    def unsolvable(*arguments: Any, **options: Any) -> als.HalfSweep:
        raise NumericalError("no finite solution")

    monkeypatch.setattr(response, "half_sweep", unsolvable)
    monkeypatch.setattr(response, "SMALL_SHARE", 0.0)  # small requests solve none
    assert respond(model, request).path == "fallback"


def _an_item(data: Interactions, user: int) -> int:
    return int(np.asarray(data.items.ids)[data.by_user.indices[data.by_user.indptr[user]]])


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
    """With T = 1 the step has nothing to add: one sweep is the whole of it, but for the touched users' drift."""
    config = dataclasses.replace(CONFIGS[name], sweeps=1)
    model = als.train(interactions(), config)
    users, items, _ = triples()
    request = ForgetRequest.of(pairs=zip(users[::41].tolist(), items[::41].tolist(), strict=True))
    result = unlearn.forget(model, request, method="response")
    assert result.vectors == 0
    expected = drift_free_sweeps(model, request, 1)
    atol = 3 * response.DRIFT_TOLERANCE * np.abs(expected.item.factors).max()
    np.testing.assert_allclose(result.model.factors.item.factors, expected.item.factors, rtol=0, atol=atol)


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
