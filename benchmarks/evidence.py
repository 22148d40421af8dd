"""What the two published comparisons share: ways to forget, and measures of what each leaves and costs.

Records are forgotten from a user who stays, or whole users go. What the model keeps of a user who has gone cannot be
read off the user's own row, which has gone as well; it is in the items. So the attacker there knows half of the
person's history, folds that in (solves the user's row for it, the items as they are), and looks at the other half.
"""

from __future__ import annotations

import dataclasses
import importlib
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.stats import rankdata

from forgetcli import als, unlearn
from forgetcli.auditing import residual_memory
from forgetcli.common import Pairs
from forgetcli.csr import Csr
from forgetcli.differences import divergences, overlap, softmax
from forgetcli.evaluate import held_out_metrics
from forgetcli.gradient import gradients
from forgetcli.ids import take_ids
from forgetcli.interactions import Heldout, Interactions, Removal
from forgetcli.model import Factors, Model, SideFactors
from forgetcli.objective import Objective
from forgetcli.recommending import recommend
from forgetcli.records import ForgetRequest

WARM_SWEEPS = (1, 2, 5, 10, 15)
FEWEST_RETRAINS = 6
FIRST_SEED = 1000
TIMED = ("retrain", "user rows", *(f"{sweeps} warm" for sweeps in WARM_SWEEPS), "response")
TIMED_ROUNDS = 3

SCORED_USERS, LISTED_USERS, LISTED = 200, 1_000, 20
"""Users whose softmax over all items is compared, users whose lists are, and how long those are."""

POPULARITY_WINDOW = 0.02
"""A pair never seen has an item within this fraction of all items in the order of popularity."""

MATCHING_ROUNDS = 20
"""Draws for an item that the user never had; where all fail, the pair is left out."""

AGREEMENT = 1e-6
"""How near two ways to the same figure must be: both sum in float64."""

ROW_AGREEMENT = 1e-3
"""How near a user's row must be to implicit's, relative to the largest: both solve in float32."""

Rows = NDArray[np.int64]
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Cells:
    """Held-out cells of the matrix, seen ones and unseen ones, as the AUC wants them.

    users, items: (n,) row numbers. seen: (n,) bool.
    """

    users: Rows
    items: Rows
    seen: NDArray[np.bool_]

    def auc(self, factors: Factors) -> float:
        """The chance that a seen cell is predicted higher than an unseen one."""
        return auc(factors.predict(self.users, self.items), self.seen)


@dataclass(frozen=True, eq=False)
class Probe:
    """Forgotten pairs and matched pairs that were never there.

    known:         of people who have gone, the half of the history that the attacker knows; None where users stay.
    users:         (n,) rows of the remaining data, or of `known`.
    items, others: (n,) rows of the remaining data: forgotten, and never seen.
    left_out:      pairs whose user or item cannot be looked at any more, or that nothing matches.
    """

    known: Csr | None
    users: Rows
    items: Rows
    others: Rows
    left_out: int

    def people(self, factors: Factors, objective: Objective) -> Factors:
        """The factors, with the people that the attack is on as the users."""
        if self.known is None:
            return factors
        return Factors(als.half_sweep(self.known, factors.item, objective).side, factors.item, factors.global_mean)


@dataclass(frozen=True, eq=False)
class Case:
    """A model and a request.

    left: what remains. kept: the original's rows of that. test, cells: held out, in its rows; cells may be None.
    """

    original: Model
    request: ForgetRequest
    removal: Removal
    left: Interactions
    kept: Factors
    objective: Objective
    test: Heldout
    cells: Cells | None
    probe: Probe

    @classmethod
    def of(cls, original: Model, request: ForgetRequest, test: Heldout, cells: Cells | None) -> Case:
        data = original.interactions
        assert data is not None
        removal = request.resolve(data).removal
        remaining = data.without(removal)
        users, items = inverse(remaining.user_rows, data.n_users), inverse(remaining.item_rows, data.n_items)
        kept = Factors(
            SideFactors.without_bias(original.factors.user.factors[remaining.user_rows]),
            SideFactors.without_bias(original.factors.item.factors[remaining.item_rows]),
            0.0,
        )
        stay = (users[test.user_rows] >= 0) & (items[test.item_rows] >= 0)
        moved = Heldout(
            users[test.user_rows][stay].astype(np.int32), items[test.item_rows][stay].astype(np.int32),
            test.values[stay], int((~stay).sum()),
        )  # fmt: skip
        if cells is not None:
            stay = (users[cells.users] >= 0) & (items[cells.items] >= 0)
            cells = Cells(users[cells.users][stay], items[cells.items][stay], cells.seen[stay])
        rng = np.random.default_rng(0)
        return cls(
            original, request, removal, remaining.interactions, kept,
            Objective.of(original.config, remaining.interactions), moved, cells,
            probe_of(data, removal, users, items, remaining.interactions, rng),
        )  # fmt: skip

    def model(self, factors: Factors) -> Model:
        """The factors with the remaining data's ids."""
        return Model(self.original.config, factors, self.left.users, self.left.items, (), self.left)


def inverse(kept: Rows, n: int) -> Rows:
    """(n,) the new number of each old row, -1 where it has gone."""
    numbers = np.full(n, -1, np.int64)
    numbers[kept] = np.arange(len(kept))
    return numbers


def probe_of(
    data: Interactions, removal: Removal, users: Rows, items: Rows, left: Interactions, rng: np.random.Generator
) -> Probe:
    """users, items: the rows of the remaining data, by those of the data; -1 for what has gone."""
    view = data.by_user
    old_users = view.rows_of(removal.entries)
    new_users, new_items = users[old_users], items[view.indices[removal.entries]]
    gone = new_users < 0
    known = None
    if gone.all():
        names, people = np.unique(old_users, return_inverse=True)
        secret = rng.random(len(people)) < 0.5
        told = ~secret & (new_items >= 0)
        order = np.lexsort((new_items[told], people[told]))
        indptr = np.concatenate([[0], np.cumsum(np.bincount(people[told], minlength=len(names)))])
        known = Csr(
            indptr.astype(np.int64), new_items[told][order].astype(np.int32),
            np.ones(int(told.sum()), np.float32), left.n_items,
        )  # fmt: skip
        asked, rows = secret & (new_items >= 0), people
    else:
        asked, rows = ~gone & (new_items >= 0), new_users
    chosen = np.flatnonzero(asked)
    others = match(data, old_users[chosen], items, new_items[chosen], left.item_counts, rng)
    good = others >= 0
    return Probe(
        known, rows[chosen][good], new_items[chosen][good], others[good], len(removal.entries) - int(good.sum())
    )


def match(
    data: Interactions, old_users: Rows, items: Rows, new_items: Rows, counts: Rows, rng: np.random.Generator
) -> Rows:
    """(n,) for each pair an item of like popularity that the user never had, -1 where none was found."""
    by_popularity = np.argsort(counts, kind="stable")
    place = inverse(by_popularity, len(counts))
    old_item = np.flatnonzero(items >= 0)
    reach = max(2, round(POPULARITY_WINDOW * len(counts)))
    found = np.full(len(new_items), -1, np.int64)
    for _ in range(MATCHING_ROUNDS):
        open_ = np.flatnonzero(found < 0)
        drawn = place[new_items[open_]] + rng.integers(-reach, reach + 1, len(open_))
        candidates = by_popularity[np.clip(drawn, 0, len(counts) - 1)]
        new = data.by_user.find(old_users[open_], old_item[candidates]) < 0
        found[open_[new]] = candidates[new]
    return found


def auc(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """The area under the ROC curve, by the ranks of the positive ones; ties count half (Mann & Whitney 1947)."""
    n = int(positive.sum())
    ranks = rankdata(scores)
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(scores) - n)))


def clocked(function: Callable[..., T], *arguments: object, **options: object) -> tuple[T, float]:
    """A call's result, and the seconds it took."""
    begin = time.perf_counter()
    result = function(*arguments, **options)
    return result, time.perf_counter() - begin


# Ways to forget. Each returns factors in the remaining data's rows.


def new_user_rows(case: Case, threads: int) -> Factors:
    """What `partial_fit_users` of the library implicit does: the users who lost records are solved anew, the items
    stay; a user with nothing left has a row of zeros there, and none here."""
    rows = touched_users(case)
    if not len(rows):
        return case.kept
    solved = als.half_sweep(case.left.by_user, case.kept.item, case.objective, rows=rows, threads=threads).side
    factors = case.kept.user.factors.copy()
    factors[rows] = solved.factors
    return Factors(SideFactors.without_bias(factors), case.kept.item, 0.0)


def touched_users(case: Case) -> Rows:
    """The rows of those who lost records and have some left."""
    data = case.original.interactions
    assert data is not None
    touched = np.unique(data.by_user.rows_of(case.removal.entries))
    rows = case.left.users.find(take_ids(data.users.ids, touched))
    return np.sort(rows[rows >= 0])


def require_like_implicit(case: Case, found: Factors) -> None:
    """Raises SystemExit when implicit, where it is installed, finds other rows than `new_user_rows`."""
    rows = touched_users(case)
    if not len(rows):
        return
    solved = found.user.factors[rows]
    try:
        implicit = importlib.import_module("implicit.cpu.als")
    except ImportError:
        return
    config = case.original.config
    seen = csr_matrix(
        (case.left.by_user.values * np.float32(1 + config.alpha), case.left.by_user.indices, case.left.by_user.indptr),
        shape=(case.left.n_users, case.left.n_items),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the BLAS threads that are beside the point here
        peer = implicit.AlternatingLeastSquares(factors=config.factors, regularization=config.reg, use_cg=False)
    peer.user_factors, peer.item_factors = case.kept.user.factors.copy(), case.kept.item.factors.copy()
    peer.partial_fit_users(rows, seen[rows])
    gap = float(np.abs(peer.user_factors[rows] - solved).max() / np.abs(solved).max())
    if not gap <= ROW_AGREEMENT:
        raise SystemExit(f"implicit's rows differ from ours by {gap:.1e}")


@dataclass(frozen=True, eq=False)
class Course:
    """A descent: the factors after each sweep, the objective there, and the seconds from the start."""

    factors: list[Factors]
    objectives: list[float]
    seconds: list[float]


def descent(left: Interactions, items: SideFactors, objective: Objective, sweeps: int, threads: int) -> Course:
    """So many sweeps from the given items."""
    course = Course([], [], [])
    begin = time.perf_counter()
    for _ in range(sweeps):
        factors, value = als.sweep(left, items, objective, threads=threads)
        items = factors.item
        course.factors.append(factors)
        course.objectives.append(value)
        course.seconds.append(time.perf_counter() - begin)
    return course


# Measures.


@dataclass(frozen=True, eq=False)
class Yardstick:
    """What the retrains look like, for other models to be set beside.

    people, before: of the retrains and of the original, those that the attack is on.
    listed:         the users whose lists are compared; the first of them are scored as well.
    """

    case: Case
    retrained: list[Factors]
    people: list[Factors]
    before: Factors
    listed: Rows
    probabilities: list[NDArray[np.float64]]
    lists: list[NDArray[np.int32]]

    @classmethod
    def of(cls, case: Case, retrained: list[Factors]) -> Yardstick:
        users = np.random.default_rng(1).permutation(case.left.n_users)[:LISTED_USERS]
        return cls(
            case=case,
            retrained=retrained,
            people=[case.probe.people(each, case.objective) for each in retrained],
            before=case.probe.people(case.kept, case.objective),
            listed=users,
            probabilities=[probabilities(each, users[:SCORED_USERS]) for each in retrained],
            lists=[lists(case, each, users) for each in retrained],
        )

    def measure(self, factors: Factors, without: int | None = None) -> dict[str, float | None]:
        """Every figure of one model. without: it is this one of the retrains, and set against the others."""
        case, probe = self.case, self.case.probe
        people = probe.people(factors, case.objective)
        scores = people.predict(probe.users, probe.items), people.predict(probe.users, probe.others)
        own = probabilities(factors, self.listed[:SCORED_USERS])
        pairs = self._others(without)
        apart = divergences([*self.probabilities, own], [(number, len(self.retrained)) for number in pairs])
        listed = lists(case, factors, self.listed)
        model = case.model(factors)
        held_out = held_out_metrics(model, case.test) if len(case.test) else {}
        return {
            "memory": self.memory(people, without),
            "attack": auc(np.concatenate(scores), np.arange(2 * len(scores[0])) < len(scores[0])),
            "divergence": float(np.mean([each.mean() for each in apart.values()])),
            "overlap": float(np.mean([np.nanmean(overlap(listed, self.lists[number])) for number in pairs])),
            "objective": gradients(case.left, factors, case.objective).objective,
            "ndcg@20": held_out.get("ndcg@20"),
            "hr@20": held_out.get("hr@20"),
            "auc": None if case.cells is None else case.cells.auc(factors),
        }

    def memory(self, people: Factors, without: int | None = None) -> float:
        """See `forgetcli.verdict.Memory`, held against the formula before it is believed.

        people: as `Probe.people` makes them.
        """
        probe = self.case.probe
        models = [people, *(self.people[number] for number in self._others(without)), self.before]
        values = np.ones(len(probe.items))
        memory = residual_memory(models, Pairs(probe.users, probe.items, values, probe.left_out), values)
        assert memory is not None
        assert memory.unlearned is not None
        own, *rest, before = (
            np.sum(each.user.factors[probe.users].astype(np.float64) * each.item.factors[probe.items], axis=1)
            for each in models
        )
        mean = sum(rest) / len(rest)
        formula = float((own - mean) @ (1 - mean)) / float((before - mean) @ (1 - mean))
        if not abs(formula - memory.unlearned) <= AGREEMENT:
            raise SystemExit(f"the memory {memory.unlearned} is not that of the formula, {formula}")
        return memory.unlearned

    def _others(self, without: int | None) -> list[int]:
        return [number for number in range(len(self.retrained)) if number != without]


def probabilities(factors: Factors, users: Rows) -> NDArray[np.float64]:
    """(m, items) each user's softmax over all items."""
    return softmax(factors.user.factors[users].astype(np.float64) @ factors.item.factors.T.astype(np.float64))


def lists(case: Case, factors: Factors, users: Rows) -> NDArray[np.int32]:
    """(m, LISTED) what is recommended to each user."""
    return recommend(case.model(factors), users, LISTED).items


def measure(case: Case, retrains: int, threads: int) -> dict[str, Any]:
    """Every way to forget: its figures and its seconds, the retrains' figures, and the courses pass by pass."""
    config, sweeps = case.original.config, case.original.config.sweeps
    starts = [dataclasses.replace(config, seed=FIRST_SEED + number) for number in range(retrains)]
    courses = [
        descent(case.left, als.starting_items(case.left.items, start), case.objective, sweeps, threads)
        for start in starts
    ]
    result = unlearn.forget(case.original, case.request, method="response", threads=threads)
    require_forgotten(case, result.model)
    require_retrain(case, courses[0], threads)
    warm = descent(case.left, case.kept.item, case.objective, max(WARM_SWEEPS), threads)
    rows = new_user_rows(case, threads)
    require_like_implicit(case, rows)
    yardstick = Yardstick.of(case, [course.factors[-1] for course in courses])
    ways = {
        "nothing": case.kept,
        "user rows": rows,
        **{f"{number} warm": warm.factors[number - 1] for number in WARM_SWEEPS},
        "response": result.model.factors,
    }
    return {
        "records": len(case.removal.entries),
        "probed": len(case.probe.items),
        "path": result.path,
        "vectors": result.vectors,
        "exact_sweeps": result.sweeps,
        "floor": [yardstick.measure(course.factors[-1], number) for number, course in enumerate(courses)],
        "ways": {name: yardstick.measure(factors) for name, factors in ways.items()},
        "courses": {
            "retrain": [curve(case, course) for course in courses],
            "warm": curve(case, warm),
            "warm_memory": [yardstick.memory(case.probe.people(each, case.objective)) for each in warm.factors],
        },
        "seconds": seconds_of(case, threads),
    }


def seconds_of(case: Case, threads: int) -> dict[str, list[float]]:
    """How long each way takes, in turns; the models are the same each time."""
    seconds: dict[str, list[float]] = {name: [] for name in TIMED}
    for number in range(TIMED_ROUNDS):
        seed = dataclasses.replace(case.original.config, seed=FIRST_SEED + number)
        start = als.starting_items(case.left.items, seed)
        seconds["retrain"] += descent(case.left, start, case.objective, seed.sweeps, threads).seconds[-1:]
        warm = descent(case.left, case.kept.item, case.objective, max(WARM_SWEEPS), threads)
        for sweeps in WARM_SWEEPS:
            seconds[f"{sweeps} warm"].append(warm.seconds[sweeps - 1])
        seconds["user rows"].append(clocked(new_user_rows, case, threads)[1])
        request = case.request
        seconds["response"].append(
            clocked(unlearn.forget, case.original, request, method="response", threads=threads)[1]
        )
    return seconds


def curve(case: Case, course: Course) -> dict[str, Any]:
    """A descent's figures after each sweep."""
    aucs = None if case.cells is None else [case.cells.auc(each) for each in course.factors]
    return {"objective": course.objectives, "auc": aucs}


def require_forgotten(case: Case, model: Model) -> None:
    """Raises SystemExit unless the records have gone from the model's data and nothing else has."""
    held = model.interactions
    assert held is not None
    if len(case.request.resolve(held).removal.entries) or len(held) != len(case.left):
        raise SystemExit("the unlearned model still carries the records, or has lost others")


def require_retrain(case: Case, course: Course, threads: int) -> None:
    """Raises SystemExit unless the first descent is what `retrain` makes, to the last bit."""
    model, _ = unlearn.retrain(case.original, case.request, seed=1000, threads=threads)
    if not np.array_equal(model.factors.item.factors, course.factors[-1].item.factors):
        raise SystemExit("the retrain is not what training on the remaining data gives")


# Requests and data.


def liked(data: Interactions, least: float | None) -> Interactions:
    """Only interactions of at least this value, each as 1; None keeps all."""
    view = data.by_user
    kept = view.values >= (-np.inf if least is None else least)
    return Interactions.from_pairs(
        data.users, data.items, view.row_numbers()[kept], view.indices[kept], np.ones(int(kept.sum()), np.float32)
    )


def hold_out_cells(data: Interactions, fraction: float, rng: np.random.Generator) -> tuple[Interactions, Cells]:
    """Training data without a fraction of all cells of the matrix, seen or not, and those cells."""
    n = data.n_users * data.n_items
    cells = np.unique(rng.integers(0, n, round(fraction * n)))
    users, items = np.divmod(cells, data.n_items)
    entries = data.by_user.find(users, items)
    remaining = data.without(Removal(np.sort(entries[entries >= 0])))
    new_users, new_items = inverse(remaining.user_rows, data.n_users), inverse(remaining.item_rows, data.n_items)
    stay = (new_users[users] >= 0) & (new_items[items] >= 0)
    return remaining.interactions, Cells(new_users[users][stay], new_items[items][stay], (entries >= 0)[stay])


def some_records(data: Interactions, share: float, rng: np.random.Generator) -> ForgetRequest:
    """So many records at random."""
    view = data.by_user
    entries = np.sort(rng.choice(len(data), round(share * len(data)), replace=False))
    users, items = take_ids(data.users.ids, view.rows_of(entries)), take_ids(data.items.ids, view.indices[entries])
    nobody = ForgetRequest.of()
    return ForgetRequest(users, items, nobody.users, nobody.items)


def whole_users(data: Interactions, rows: Rows) -> ForgetRequest:
    """These users, whole."""
    return ForgetRequest.of(users=take_ids(data.users.ids, np.sort(rows)))


def summary(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation."""
    return statistics.mean(values), statistics.stdev(values)


def floor_of(cell: dict[str, Any], figure: str) -> tuple[float, float]:
    """The retrains' mean and standard deviation of a figure."""
    return summary([each[figure] for each in cell["floor"]])


def in_band(cell: dict[str, Any], figure: str, value: float) -> bool:
    """Whether a value is within the retrains' mean ± 2 standard deviations."""
    mean, deviation = floor_of(cell, figure)
    return abs(value - mean) <= 2 * deviation
