"""The row kernels against their float64 twins, for every instruction set of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from forgetcli import _native
from tests.oracles import RowProblem

RANKS = [1, 5, 7, 10, 16, 20, 33, 64, 128, 256]
DTYPES = [np.float32, np.float64]

TOLERANCE = {np.float32: 2e-4, np.float64: 1e-11}
"""Relative to the largest element: the systems' condition numbers are below 1e3, by the ridge of `make_problem`."""


@pytest.fixture(params=_native.instruction_sets())
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    before = _native.instruction_set()
    _native.use_instruction_set(request.param)
    yield request.param
    _native.use_instruction_set(before)


def make_problem(kind: str, rank: int, counts: list[int], *, n_other: int = 300, seed: int = 0) -> RowProblem:
    rng = np.random.default_rng(seed)
    indices = [np.sort(rng.choice(n_other, n, replace=n > n_other)).astype(np.int32) for n in counts]
    implicit = kind == "implicit"
    return RowProblem(
        indptr=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        indices=np.concatenate(indices) if indices else np.empty(0, np.int32),
        values=rng.integers(1, 11, sum(counts)).astype(np.float32) / 2,
        other=rng.normal(0, rank**-0.5, (n_other, rank)),
        other_bias=rng.normal(0, 0.3, n_other) if kind == "biased" else None,
        with_bias=kind == "biased",
        confidence=(3.0, 1.0) if implicit else (0.0, 1.0),
        target=(0.0, 1.0) if implicit else (1.0, -3.0),
        background=1.0 if implicit else 0.0,
        reg=2.0 if implicit else 0.1,
        reg_by_count=not implicit,
    )


def view_of(problem: RowProblem) -> _native.View:
    return _native.View(problem.indptr, problem.indices, problem.values, len(problem.other), 1)


def arguments(problem: RowProblem, dtype: type) -> dict[str, Any]:
    bias = problem.other_bias
    other = problem.other.astype(dtype)
    return {
        "view": view_of(problem),
        "other": other,
        "other_bias": None if bias is None else bias.astype(dtype),
        "gram": (problem.background * _native.gram(other, threads=1)).astype(dtype) if problem.background else None,
        "with_bias": problem.with_bias,
        "confidence": problem.confidence,
        "target": problem.target,
        "background": problem.background,
        "reg": problem.reg,
        "reg_by_count": problem.reg_by_count,
    }


def solve(problem: RowProblem, dtype: type, *, rows: Any = None, threads: int = 2) -> tuple[Any, Any, Any, int]:
    factors, bias, losses, _, failed = _native.solve_rows(**arguments(problem, dtype), rows=rows, threads=threads)
    return factors, bias, losses, failed


def assert_close(actual: Any, expected: Any, dtype: type) -> None:
    scale = max(float(np.abs(expected).max()), 1e-300)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE[dtype] * scale)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("kind", ["plain", "biased", "implicit"])
def test_rows_are_solved_as_by_the_oracle(kind: str, rank: int, dtype: type, instruction_set: str) -> None:
    problem = make_problem(kind, rank, [5, 0, 1, 40, 299, 16, 0, 130])
    factors, bias, losses, failed = solve(problem, dtype)
    assert failed == -1
    expected = np.array([problem.solve(row) for row in range(problem.n_rows)])
    actual = np.concatenate([factors, bias[:, None]], axis=1) if problem.with_bias else factors
    assert_close(actual, expected, dtype)
    filled = np.diff(problem.indptr) > 0
    expected_losses = [problem.loss(row, expected[row]) for row in np.flatnonzero(filled)]
    assert_close(losses[filled], np.array(expected_losses), dtype)
    assert not losses[~filled].any()
    if not problem.with_bias:
        assert not bias.any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("kind", ["plain", "biased", "implicit"])
def test_gradients_are_those_of_the_oracle(kind: str, rank: int, dtype: type, instruction_set: str) -> None:
    problem = make_problem(kind, rank, [5, 0, 1, 40, 299, 16])
    rng = np.random.default_rng(1)
    factors = rng.normal(0, rank**-0.5, (problem.n_rows, rank))
    bias = rng.normal(0, 0.3, problem.n_rows) if problem.with_bias else np.zeros(problem.n_rows)
    actual, losses, squares = _native.row_gradients(
        **arguments(problem, dtype), factors=factors.astype(dtype), bias=bias.astype(dtype), rows=None, threads=2
    )
    own = np.concatenate([factors, bias[:, None]], axis=1) if problem.with_bias else factors
    assert_close(actual, np.array([problem.half_gradient(r, own[r]) for r in range(problem.n_rows)]), dtype)
    assert_close(losses, np.array([problem.loss(r, own[r]) for r in range(problem.n_rows)]), dtype)
    norms = np.array([own[r] @ problem.system(r)[0] @ own[r] for r in range(problem.n_rows)])
    assert_close(squares, norms, dtype)
    alone = _native.row_losses(
        **arguments(problem, dtype), factors=factors.astype(dtype), bias=bias.astype(dtype), threads=1
    )
    assert_close(alone, losses, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["plain", "biased", "implicit"])
def test_a_heavy_row_is_solved_in_chunks_like_any_other(kind: str, dtype: type, instruction_set: str) -> None:
    problem = make_problem(kind, 16, [3, 200_000, 70, 40_000])
    factors, bias, losses, failed = solve(problem, dtype)
    assert failed == -1
    expected = np.array([problem.solve(row) for row in range(problem.n_rows)])
    actual = np.concatenate([factors, bias[:, None]], axis=1) if problem.with_bias else factors
    assert_close(actual, expected, dtype)
    assert_close(losses, np.array([problem.loss(r, expected[r]) for r in range(problem.n_rows)]), dtype)


def test_rows_of_more_chunks_than_are_held_at_a_time_are_solved_like_any_other() -> None:
    """65 chunks of 32,768 entries are more than are added up at a time: the third row begins before, ends behind."""
    problem = make_problem("biased", 2, [40 * 32_768, 5, 30 * 32_768 - 1, 33_000, 7])
    factors, bias, losses, failed = solve(problem, np.float64, threads=1)
    assert failed == -1
    expected = np.array([problem.solve(row) for row in range(problem.n_rows)])
    assert_close(np.column_stack([factors, bias]), expected, np.float64)
    assert_close(losses, np.array([problem.loss(r, expected[r]) for r in range(problem.n_rows)]), np.float64)
    for one, other in zip((factors, bias, losses), solve(problem, np.float64, threads=3), strict=False):
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("rank", [1, 17, 64])
def test_the_gradient_is_the_objectives_finite_difference(rank: int, instruction_set: str) -> None:
    problem = make_problem("biased", rank, [30, 4])
    rng = np.random.default_rng(2)
    factors, bias = rng.normal(0, 0.3, (2, rank)), rng.normal(0, 0.3, 2)
    step = 1e-6  # the objective is quadratic: central differences are exact up to rounding, about 1e-16 / 1e-6

    def losses(f: Any, b: Any) -> Any:
        return _native.row_gradients(**arguments(problem, np.float64), factors=f, bias=b, rows=None, threads=1)[1]

    gradient, *_ = _native.row_gradients(
        **arguments(problem, np.float64), factors=factors, bias=bias, rows=None, threads=1
    )
    for j in range(rank):
        shift = np.zeros((2, rank))
        shift[:, j] = step
        slope = (losses(factors + shift, bias) - losses(factors - shift, bias)) / (2 * step)
        np.testing.assert_allclose(2 * gradient[:, j], slope, rtol=1e-6, atol=1e-6)
    slope = (losses(factors, bias + step) - losses(factors, bias - step)) / (2 * step)
    np.testing.assert_allclose(2 * gradient[:, rank], slope, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["plain", "biased", "implicit"])
def test_the_number_of_threads_changes_no_bit(kind: str, dtype: type, instruction_set: str) -> None:
    problem = make_problem(kind, 24, [7, 90, 100_000, 0, 33_000, 12] * 3)
    reference = solve(problem, dtype, threads=1)
    for threads in (2, 3, 8):
        for one, other in zip(reference, solve(problem, dtype, threads=threads), strict=True):
            assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


def test_listed_rows_are_solved_in_the_order_of_the_list() -> None:
    problem = make_problem("biased", 8, [7, 90, 40_000, 3])
    factors, bias, losses, _ = solve(problem, np.float32)
    rows = np.array([3, 2, 0], np.int64)
    some = solve(problem, np.float32, rows=rows)
    assert np.array_equal(some[0], factors[rows])
    assert np.array_equal(some[1], bias[rows])
    assert np.array_equal(some[2], losses[rows])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [0, 3, 5000])
def test_a_combination_is_the_weighted_sum(rows: int, dtype: type) -> None:
    rng = np.random.default_rng(0)
    parts, weights = [rng.normal(size=(rows, 70)).astype(dtype) for _ in range(3)], [1.0, -0.25, 3.5]
    found = _native.combination(parts, weights, 2)
    expected = np.sum([w * x for w, x in zip(weights, parts, strict=True)], axis=0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=100 * np.finfo(dtype).eps)
    assert found.tobytes() == _native.combination(parts, weights, 1).tobytes()
    for broken in (([], []), (parts, weights[1:]), ([parts[0], parts[1][:, 1:].copy()], weights[1:])):
        with pytest.raises(ValueError, match=r"weight|shapes"):
            _native.combination(*broken, 1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_whose_equations_are_singular_is_named(dtype: type, instruction_set: str) -> None:
    problem = make_problem("plain", 20, [50, 3, 50])
    *_, failed = solve(replace(problem, reg=1e-30), dtype)
    assert failed == 1


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_row_that_meets_a_value_that_is_not_finite_is_named(poison: float, instruction_set: str) -> None:
    problem = make_problem("plain", 20, [50, 30, 50])
    values = problem.values.copy()
    values[55] = poison
    *_, failed = solve(replace(problem, values=values), np.float32)
    assert failed == 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rank", RANKS)
def test_the_dense_gram_is_the_oracles_for_any_number_of_threads(rank: int, dtype: type, instruction_set: str) -> None:
    x = np.random.default_rng(3).normal(size=(9_000, rank)).astype(dtype)
    actual = _native.gram(x, threads=2)
    assert_close(actual, x.astype(np.float64).T @ x.astype(np.float64), dtype)
    assert np.array_equal(actual, actual.T)
    assert actual.tobytes() == _native.gram(x, threads=1).tobytes()


def test_the_gram_of_two_sides_of_a_high_rank_is_the_products() -> None:
    x = np.random.default_rng(3).normal(size=(2, 4104)).astype(np.float32)
    assert np.allclose(_native.gram(x, threads=2)[:3], x[:, :3].T @ x, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rank", [1, 8, 21])
def test_inner_products_are_summed_in_float64(rank: int, dtype: type) -> None:
    rng = np.random.default_rng(7)
    factors, bias = (rng.normal(1, 0.1, shape).astype(dtype) for shape in ((3_000, rank), 3_000))
    stacked = rng.normal(1, 0.1, (3_000, rank + 1)).astype(dtype)
    whole = np.column_stack([factors, bias]).astype(np.float64)
    actual = _native.inner_product(factors=factors, bias=bias, stacked=stacked)
    assert actual == pytest.approx(np.sum(whole * stacked.astype(np.float64)), rel=1e-14)
    factors_alone = _native.inner_product(factors=factors, bias=bias, stacked=stacked[:, :rank].copy())
    assert factors_alone == pytest.approx(np.sum(whole[:, :rank] * stacked[:, :rank].astype(np.float64)), rel=1e-14)
    with pytest.raises(ValueError, match="stacked"):
        _native.inner_product(factors=factors, bias=bias, stacked=stacked[1:])


@pytest.mark.parametrize("dtype", DTYPES)
def test_room_for_a_matrix_has_its_columns_and_dtype(dtype: type) -> None:
    room = _native.empty(np.zeros((2, 3), dtype), 5)
    assert (room.shape, room.dtype) == ((5, 3), np.dtype(dtype))
    assert room.flags.writeable
    for rows in (2**62, 2**62 - 6, 2**61):  # bytes that a rounding up to whole cache lines would bring to 0, too
        for like in (room, room[:, :1].copy(), room[:, :0].copy()):
            with pytest.raises(MemoryError):
                _native.empty(like, rows)


def test_arrays_that_no_processor_need_be_able_to_read_are_refused() -> None:
    """NumPy makes arrays of any buffer, also where a number begins at an odd address."""
    x = np.frombuffer(b"\0" + np.eye(4).tobytes(), np.float64, offset=1).reshape(4, 4)
    with pytest.raises(TypeError):
        _native.gram(x, 1)
    assert np.array_equal(_native.gram(x.copy(), 1), np.eye(4))


def test_more_threads_than_are_ever_started_need_no_more_memory() -> None:
    problem = make_problem("plain", 8, [1, 2])
    assert solve(problem, np.float32, threads=2**31 - 1)[0].tobytes() == solve(problem, np.float32)[0].tobytes()


def broken(problem: RowProblem, **changes: Any) -> dict[str, Any]:
    return {**arguments(problem, np.float32), **changes}


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("a bias of another length", {"other_bias": np.ones(7, np.float32)}),
        ("a Gram of another rank", {"gram": np.eye(5, dtype=np.float32)}),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(name: str, change: dict[str, Any]) -> None:
    problem = make_problem("plain", 8, [1, 2])
    with pytest.raises(ValueError, match=r"."):
        _native.solve_rows(**broken(problem, **change), rows=None, threads=1)


@pytest.mark.parametrize(
    ("match", "change"),
    [
        ("an index", {"indices": np.array([0, 1, 300], np.int32)}),
        ("an index", {"indices": np.array([-1, 1, 2], np.int32)}),
        ("decreases", {"indptr": np.array([0, 3, 2, 3], np.int64)}),
        ("end at", {"indptr": np.array([0, 2], np.int64)}),
        ("differ in length", {"values": np.ones(4, np.float32)}),
        ("start at 0", {"indptr": np.array([1, 3], np.int64)}),
        ("out of range", {"n_columns": -1}),
    ],
)
def test_a_view_of_arrays_that_lead_astray_is_refused(match: str, change: dict[str, Any]) -> None:
    sound = {
        "indptr": np.array([0, 3], np.int64),
        "indices": np.array([0, 1, 2], np.int32),
        "values": np.ones(3, np.float32),
        "n_columns": 300,
        "threads": 1,
    }
    _native.View(**sound)
    with pytest.raises(ValueError, match=match):
        _native.View(**(sound | change))


def test_other_has_a_row_for_each_column() -> None:
    problem = make_problem("plain", 8, [1, 2])
    view = _native.View(problem.indptr, problem.indices, problem.values, len(problem.other) + 1, 1)
    with pytest.raises(ValueError, match="for each column"):
        _native.solve_rows(**broken(problem, view=view), rows=None, threads=1)


@pytest.mark.parametrize("kind", ["biased", "implicit"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_coded_values_give_the_same_bits(kind: str, dtype: type, instruction_set: str) -> None:
    problem = make_problem(kind, 20, [1, 0, 300, 7])
    levels = np.array([1.0, 2.5, 4.0], np.float32)
    codes = np.random.default_rng(0).integers(0, 3, len(problem.values)).astype(np.uint8)
    whole = _native.View(problem.indptr, problem.indices, levels[codes], len(problem.other), 1)
    coded = _native.View(problem.indptr, problem.indices, codes, levels, len(problem.other), 1)
    rng = np.random.default_rng(1)
    point = {"factors": rng.normal(size=(4, 20)).astype(dtype), "bias": rng.normal(size=4).astype(dtype)}
    told = arguments(problem, dtype)
    inverse = without_gram(problem, dtype) | iteration(problem, dtype) | {"threads": 1}
    all_move = rng.normal(size=problem.other.shape).astype(dtype)
    few_move = all_move * (np.arange(len(all_move)) % 9 == 0)[:, None].astype(dtype)
    conjugate = {
        "vectors": np.eye(20 + problem.with_bias, dtype=dtype),
        **{name: np.ones(20 + problem.with_bias, dtype) for name in ("dense", "slope", "offset")},
    }

    def coupled(solved: dict[str, Any], direction: Any) -> tuple[Any, ...]:
        return _native.solve_coupled(
            **solved,
            **point,
            direction=direction,
            direction_bias=None,
            direction_gram=None,
            expected=None,
            with_change=True,
            half=False,
        )

    def everything(view: _native.View) -> list[Any]:
        mine, solved = told | {"view": view, "threads": 1}, inverse | {"view": view}
        weighted = {name: value for name, value in solved.items() if name not in ("other_bias", "target")}
        entries = {name: value for name, value in mine.items() if name != "gram"}
        return [
            *_native.solve_rows(**mine, rows=None),
            *_native.row_gradients(**mine, **point, rows=None),
            _native.row_losses(**mine, **point),
            *_native.newton_rows(**solved, **point, held=None, rows=None),
            *_native.solve_normal(**weighted, rhs=_native.row_gradients(**mine, **point, rows=None)[0], rows=None),
            *coupled(solved, all_move),
            *coupled(solved, few_move),
            *_native.conjugate_rows(**entries, **conjugate, **point, steps=2, rows=None),
        ]

    for ours, theirs in zip(everything(coded), everything(whole), strict=True):
        assert np.asarray(ours).tobytes() == np.asarray(theirs).tobytes()


def test_a_listed_row_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="does not exist"):
        solve(make_problem("plain", 8, [1, 2]), np.float32, rows=np.array([2], np.int64))


def iteration(problem: RowProblem, dtype: type) -> dict[str, Any]:
    """Conjugate gradients up to the dtype's rounding, with a preconditioner that is as good as none; in the coordinates
    that make the dense part diagonal, or where there is none in some."""
    rank = problem.other.shape[1]
    dense = problem.background * problem.other.T @ problem.other
    values, vectors = np.linalg.eigh(dense if problem.background else np.cov(problem.other.T).reshape(rank, rank))
    return {
        "vectors": np.ascontiguousarray(vectors, dtype),
        "mean": np.ones(rank + problem.with_bias, dtype),
        "border": np.full(rank, 0.5 * rank**-0.5 * problem.with_bias, dtype),
        "dense": (values if problem.background else np.zeros(rank)).astype(dtype),
        "tolerance": 1e-6 if dtype is np.float32 else 1e-14,
        "max_iterations": 10 * rank + 60,
    }


def without_gram(problem: RowProblem, dtype: type) -> dict[str, Any]:
    told = arguments(problem, dtype)
    del told["gram"]
    return told


def couple(
    problem: RowProblem,
    own: Any,
    direction: Any,
    direction_bias: Any,
    dtype: type,
    half: bool,
    expected: float | None = 0.0,
) -> Any:
    """What `solve_coupled` gives: the coupling (n, d), and the solutions (n, d)."""
    rank = problem.other.shape[1]
    coordinates = iteration(problem, dtype)
    vectors = coordinates["vectors"].astype(np.float64)
    cross = problem.background * vectors.T @ (problem.other.T @ direction) @ vectors
    bias = own[:, rank] if problem.with_bias else np.zeros(problem.n_rows)
    change, products, *solution = _native.solve_coupled(
        **without_gram(problem, dtype),
        factors=np.ascontiguousarray(own[:, :rank], dtype),
        bias=np.ascontiguousarray(bias, dtype),
        direction=direction.astype(dtype),
        direction_bias=None if direction_bias is None else direction_bias.astype(dtype),
        direction_gram=(cross + cross.T).astype(dtype) if problem.background else None,
        **coordinates,
        expected=expected,
        with_change=True,
        half=half,
        threads=2,
    )
    solved = side_by_side(problem, *solution)
    np.testing.assert_allclose(products, np.einsum("nd,nd->n", change, solved), rtol=1e-4, atol=1e-5 * products.max())
    return change, solved


def side_by_side(problem: RowProblem, factors: Any, bias: Any) -> Any:
    return np.concatenate([factors, bias[:, None]], axis=1) if problem.with_bias else factors


def assert_solves(problem: RowProblem, actual: Any, rhs: Any, dtype: type, coarse: bool = False) -> None:
    """The rows' inverses times rhs; of a row without entries it is 0."""
    filled = np.flatnonzero(np.diff(problem.indptr))
    expected = np.array([np.linalg.solve(problem.system(row)[0], rhs[row]) for row in filled])
    if coarse:  # 11 bits of x: relative to the solution about 2^-11 times the condition
        np.testing.assert_allclose(actual[filled], expected, rtol=0, atol=0.02 * np.abs(expected).max())
    else:
        assert_close(actual[filled], expected, dtype)
    assert not np.delete(actual, filled, axis=0).any()


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("kind", ["plain", "biased", "implicit"])
def test_the_coupling_is_the_gradients_finite_difference(kind: str, rank: int, instruction_set: str) -> None:
    problem = make_problem(kind, rank, [5, 0, 40, 799])
    rng = np.random.default_rng(4)
    own = rng.normal(0, rank**-0.5, (problem.n_rows, rank + problem.with_bias))
    direction = rng.normal(0, 1, problem.other.shape)
    direction_bias = rng.normal(0, 1, len(direction)) if problem.with_bias else None
    actual, solution = couple(problem, own, direction, direction_bias, np.float64, half=False)
    expected = np.array([problem.half_coupling(r, own[r], direction, direction_bias) for r in range(problem.n_rows)])
    # Central differences of a quadratic are exact up to rounding of about 1e-16 / 1e-6 of the gradient.
    np.testing.assert_allclose(actual, expected, rtol=1e-7, atol=1e-7 * np.abs(expected).max())
    assert_solves(problem, solution, actual, np.float64)


@pytest.mark.parametrize("kind", ["plain", "biased", "implicit"])
@pytest.mark.parametrize("rank", [5, 33, 64, 100])
def test_halves_change_the_coupling_by_their_rounding_alone(kind: str, rank: int, instruction_set: str) -> None:
    problem = make_problem(kind, rank, [5, 40, 299])
    rng = np.random.default_rng(6)
    direction = rng.normal(0, 1e-5, problem.other.shape)
    own = rng.normal(0, 0.2, (3, rank + problem.with_bias))
    bias = np.zeros(len(direction)) if problem.with_bias else None
    whole, _ = couple(problem, own, direction, bias, np.float32, half=False)
    product, solution = couple(problem, own, direction, bias, np.float32, half=True)
    np.testing.assert_allclose(product, whole, rtol=0, atol=2e-3 * np.abs(whole).max())
    assert_solves(problem, solution, product, np.float32, coarse=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rank", [5, 33, 64, 100])
@pytest.mark.parametrize("kind", ["plain", "biased", "implicit"])
def test_a_direction_in_which_few_rows_move_is_as_any_other(
    kind: str, rank: int, dtype: type, instruction_set: str
) -> None:
    problem = make_problem(kind, rank, [5, 0, 40, 799])
    rng = np.random.default_rng(4)
    own = rng.normal(0, rank**-0.5, (problem.n_rows, rank + problem.with_bias))
    direction, direction_bias = np.zeros(problem.other.shape), np.zeros(len(problem.other))
    some = problem.indices[::40]
    direction[some] = rng.normal(0, 1, (len(some), rank))
    if problem.with_bias:
        direction_bias[problem.indices[7]] = 0.5  # this row's bias alone
    given = direction_bias if problem.with_bias else None
    truth = np.array([problem.half_coupling(r, own[r], direction, given) for r in range(problem.n_rows)])
    precision = 1e-7 if dtype is np.float64 else 2e-5  # of central differences, as above; and of float32
    for expected in (0.0, None):
        actual, solution = couple(problem, own, direction, given, dtype, half=False, expected=expected)
        np.testing.assert_allclose(actual, truth, rtol=precision, atol=precision * np.abs(truth).max())
        assert_solves(problem, solution, actual, dtype)


@pytest.mark.parametrize("kind", ["plain", "biased", "implicit"])
def test_rows_that_hardly_count_in_what_is_expected_are_left_unsolved(kind: str, instruction_set: str) -> None:
    problem = make_problem(kind, 20, [5, 40, 299])
    rng = np.random.default_rng(4)
    own = rng.normal(0, 0.2, (3, 20 + problem.with_bias))
    direction = rng.normal(0, 1, problem.other.shape)
    bias = np.zeros(len(direction)) if problem.with_bias else None
    pull, best = couple(problem, own, direction, bias, np.float64, half=False)

    def left_over(floor: float) -> Any:
        """Of each row: bᵀ A⁻¹ b, less what the solution has of it, where `floor` may be left for an entry."""
        expected = floor * len(problem.indices) / iteration(problem, np.float64)["tolerance"] ** 2
        solution = couple(problem, own, direction, bias, np.float64, half=False, expected=expected)[1]
        return np.einsum("nd,nd->n", pull, best - solution)

    assert np.array_equal(left_over(1e9), np.einsum("nd,nd->n", pull, best))  # nothing is worth solving
    less, more = left_over(1e-4), left_over(1e-2)
    assert (less <= more).all()
    assert more.max() > 1e-9 * np.einsum("nd,nd->n", pull, best).max()
    # What is left in the norm of the preconditioner, and in that of the matrix, differ by the preconditioner's quality.
    assert (more < 100 * 1e-2 * np.diff(problem.indptr)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("kind", ["plain", "biased", "implicit"])
def test_conjugate_gradients_solve_for_another_right_hand_side(
    kind: str, rank: int, dtype: type, instruction_set: str
) -> None:
    problem = make_problem(kind, rank, [5, 1, 40, 299, 0])
    rhs = np.random.default_rng(5).normal(size=(problem.n_rows, rank + problem.with_bias))
    told = without_gram(problem, dtype) | iteration(problem, dtype)
    del told["other_bias"], told["target"]
    solution = _native.solve_normal(**told, rhs=rhs.astype(dtype), rows=None, threads=2)
    assert_solves(problem, side_by_side(problem, *solution), rhs, dtype)
    rows = np.array([3, 0], np.int64)
    some = _native.solve_normal(**told, rhs=rhs[rows].astype(dtype), rows=rows, threads=1)
    for all_of_them, listed in zip(solution, some, strict=True):
        assert np.array_equal(all_of_them[rows], listed)


def test_a_right_hand_side_whose_square_is_too_large_has_no_solution_rather_than_none() -> None:
    problem = make_problem("biased", 20, [30, 40])
    told = without_gram(problem, np.float32) | iteration(problem, np.float32)
    for name in ("other_bias", "target"):
        del told[name]
    rhs = np.ones((2, 21), np.float32)
    rhs[1] = 1e25
    solved, _ = _native.solve_normal(**told, rhs=rhs, rows=None, threads=1)
    assert np.isfinite(solved[0]).all()
    assert np.isnan(solved[1]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["plain", "biased", "implicit"])
def test_newtons_step_leads_to_the_rows_solution(kind: str, dtype: type, instruction_set: str) -> None:
    rank = 20
    problem = make_problem(kind, rank, [5, 0, 40, 299])
    d = rank + problem.with_bias
    own = np.random.default_rng(8).normal(0, 0.2, (problem.n_rows, d))
    factors, bias = own[:, :rank], own[:, rank] if problem.with_bias else np.zeros(problem.n_rows)
    point = {"factors": np.ascontiguousarray(factors, dtype), "bias": np.ascontiguousarray(bias, dtype)}
    gradient, losses, squares, *step = _native.newton_rows(
        **without_gram(problem, dtype), **point, **iteration(problem, dtype), held=None, rows=None, threads=2
    )
    same = _native.row_gradients(**arguments(problem, dtype), **point, rows=None, threads=1)
    for one, other in zip((gradient, losses, squares), same, strict=True):
        assert_close(one, other, dtype)
    solved = side_by_side(problem, *solve(problem, dtype)[:2])
    filled = np.flatnonzero(np.diff(problem.indptr))
    assert_close((own - side_by_side(problem, *step))[filled], solved[filled], dtype)
    held = np.random.default_rng(9).normal(0, 1, (problem.n_rows, d)).astype(dtype)
    part, *_, other_step, bias_step = _native.newton_rows(
        **without_gram(problem, dtype), **point, **iteration(problem, dtype), held=held, rows=None, threads=1
    )
    assert part.tobytes() == gradient.tobytes()
    reached = own - side_by_side(problem, other_step, bias_step)
    held_there = _native.row_gradients(
        **arguments(problem, np.float64),
        factors=np.ascontiguousarray(reached[:, :rank], np.float64),
        bias=np.ascontiguousarray(reached[:, rank] if problem.with_bias else np.zeros(problem.n_rows), np.float64),
        rows=None,
        threads=1,
    )[0]
    assert_close(held_there[filled], held[filled], dtype)
