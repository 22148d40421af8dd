from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from forgetcli import als
from forgetcli.auditing import audit
from forgetcli.config import TrainConfig
from forgetcli.errors import UsageError
from forgetcli.interactions import Interactions
from forgetcli.model import Factors, Model, SideFactors
from forgetcli.records import ForgetRequest
from forgetcli.unlearn import forget, retrain
from forgetcli.verdict import Finding, outside_by_chance
from forgetcli.verification import SEEDS, verify
from tests.samples import CONFIGS, interactions, triples


def some_pairs() -> ForgetRequest:
    users, items, _ = triples()
    return ForgetRequest.of(pairs=list(zip(users[::13].tolist(), items[::13].tolist(), strict=True)))


@pytest.mark.parametrize("name", CONFIGS)
def test_it_is_the_audit_beside_retrains_of_the_next_seeds(name: str) -> None:
    original, request = als.train(interactions(), CONFIGS[name]), some_pairs()
    unlearned = forget(original, request, method="sweeps", sweeps=2).model
    found = verify(unlearned, original, request, seeds=4)
    retrained = [retrain(original, request, seed=CONFIGS[name].seed + number)[0] for number in (1, 2, 3, 4)]
    assert found.memory == audit(unlearned, retrained, original, request).memory
    assert (found.retrains, found.by_chance) == (4, outside_by_chance(4))


def test_the_original_remembers_everything() -> None:
    original, request = als.train(interactions(), CONFIGS["plain"]), some_pairs()
    left = forget(original, request, method="sweeps", sweeps=1).model
    users, items = (
        side.find(other.ids) for side, other in ((original.users, left.users), (original.items, left.items))
    )
    kept = dataclasses.replace(left, factors=_rows(original, users, items))
    found = verify(kept, original, request)
    assert found.memory is not None
    assert found.memory.unlearned == pytest.approx(1)
    assert found.finding is not Finding.FORGOTTEN


def test_a_whole_user_is_measured_by_what_the_items_keep() -> None:
    data = interactions()
    original = als.train(data, CONFIGS["biased"])
    request = ForgetRequest.of(users=[int(np.asarray(data.users.ids)[0])])
    found = verify(forget(original, request).model, original, request)
    assert found.memory is not None
    assert found.memory.folded_in == found.memory.pairs == data.by_user.row_counts()[0]


def test_the_last_seed_is_followed_by_the_first() -> None:
    config = TrainConfig(factors=2, sweeps=1, seed=SEEDS - 1)
    data = Interactions.from_arrays([1, 1, 2, 2, 3], [1, 2, 1, 2, 1], [1.0, 2.0, 3.0, 4.0, 5.0])
    original, request = als.train(data, config), ForgetRequest.of(pairs=[(1, 1)])
    assert verify(forget(original, request).model, original, request).retrains == 3


def test_each_sweep_of_each_retrain_is_announced() -> None:
    original, request = als.train(interactions(), CONFIGS["plain"]), some_pairs()
    said: list[str] = []
    verify(forget(original, request).model, original, request, on_step=said.append)
    assert len(said) == 3 * CONFIGS["plain"].sweeps
    assert said[0] == "retrain 1 of 3, sweep 1 of 4"


def test_too_few_seeds_and_a_model_without_data_are_refused() -> None:
    original, request = als.train(interactions(), CONFIGS["plain"]), some_pairs()
    unlearned = forget(original, request).model
    with pytest.raises(UsageError, match="at least 3"):
        verify(unlearned, original, request, seeds=2)
    with pytest.raises(UsageError, match="without its interactions"):
        verify(dataclasses.replace(unlearned, interactions=None), original, request)


def _rows(model: Model, users: NDArray[np.int64], items: NDArray[np.int64]) -> Factors:
    user, item = model.factors.user, model.factors.item
    return Factors(
        SideFactors(user.factors[users], user.bias[users]),
        SideFactors(item.factors[items], item.bias[items]),
        model.factors.global_mean,
    )


def test_a_retrain_has_forgotten_wherever_its_seed_lies() -> None:
    """One retrain in four lies outside the band of three others: that is no memory."""
    request = some_pairs()
    findings, measured = set(), set()
    for seed in range(8):
        original = als.train(interactions(), dataclasses.replace(CONFIGS["plain"], seed=seed))
        unlearned = forget(original, request, method="retrain").model
        found = verify(unlearned, original, request, trained_anew=True)
        assert found.sentence.startswith("The model was trained anew")
        findings.add(found.finding)
        measured.add(verify(unlearned, original, request).finding)
    assert findings == {Finding.FORGOTTEN}
    assert measured > {Finding.FORGOTTEN}, "no seed here is one of those"
