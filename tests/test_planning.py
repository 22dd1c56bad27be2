"""Batch plans: which Requests share a sequence, a prefix group, a batch."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifdkit.engine.batching import (
    MIN_SHARED_PREFIX,
    Budget,
    computed_tokens,
    plan,
    prefix_groups,
    sequences,
)
from ifdkit.records import Request


def request(ids: Sequence[int], start: int = 1, stop: int | None = None) -> Request:
    return Request(np.array(ids, np.int32), start, len(ids) if stop is None else stop)


def of_length(length: int, seed: int) -> Request:
    """A Request whose first token no other Request has."""
    return request([seed, *([7] * (length - 1))], start=length - 1)


@st.composite
def some_requests(draw: st.DrawFn) -> list[Request]:
    """Few ids and some long common beginnings, so that prefixes and prefix groups are frequent."""
    heads = [[], [1] * 20, [1] * 20 + [2] * 20]
    requests = []
    for _ in range(draw(st.integers(0, 25))):
        tail = draw(st.lists(st.integers(0, 2), min_size=2, max_size=30))
        ids = draw(st.sampled_from(heads)) + tail
        start = draw(st.integers(1, len(ids) - 1))
        requests.append(request(ids, start, draw(st.integers(start + 1, len(ids)))))
    return requests


BUDGETS = st.builds(
    Budget,
    tokens=st.integers(1, 200),
    scored=st.none() | st.integers(1, 100),
    max_padding=st.floats(0, 0.5),
    packs=st.booleans(),
)


@pytest.mark.long
@given(some_requests(), BUDGETS)
def test_every_request_is_planned_once_within_the_budget(
    requests: list[Request], budget: Budget
) -> None:
    batches = plan(requests, budget)
    assert sorted(i for batch in batches for i in batch) == list(range(len(requests)))
    for batch in batches:
        found = sequences([requests[i] for i in batch])
        if len(found) > 1:
            assert computed_tokens(requests, batch, budget) <= budget.tokens
            assert budget.scored is None or sum(len(s.scored) for s in found) <= budget.scored


@pytest.mark.long
@given(some_requests(), st.floats(0, 0.5))
def test_padding_stays_within_its_share(requests: list[Request], max_padding: float) -> None:
    for batch in plan(requests, Budget(200, max_padding=max_padding)):
        found = sequences([requests[i] for i in batch])
        padded = len(found) * max(map(len, found))
        assert padded - sum(map(len, found)) <= max_padding * padded + 1e-9


@pytest.mark.long
@given(some_requests(), BUDGETS, st.randoms())
def test_the_order_of_requests_does_not_change_the_shapes_of_padded_batches(
    requests: list[Request], budget: Budget, order: random.Random
) -> None:
    shuffled = requests.copy()
    order.shuffle(shuffled)

    def shape(of: list[Request]) -> list[list[int]]:
        """Lengths of the sequences in each batch."""
        return [sorted(len(s) for s in sequences([of[i] for i in b])) for b in plan(of, budget)]

    # Sequences of equal length are planned in the order of the input.  They can differ in their
    # scored tokens and in their prefix group, and so in where a batch ends.
    if not budget.packs and budget.scored is None:
        assert shape(requests) == shape(shuffled)
    assert sum(map(len, plan(requests, budget))) == sum(map(len, plan(shuffled, budget)))


def test_longest_sequences_come_first() -> None:
    requests = [of_length(n, seed) for seed, n in enumerate([5, 9, 5, 9])]
    assert plan(requests, Budget(18)) == [[1, 3], [0, 2]]
    assert plan(requests, Budget(28, packs=True)) == [[1, 3, 0, 2]]


def test_an_unsorted_plan_would_pad_more() -> None:
    """Negative control: without sorting, more than 40 % of the tokens are padding."""
    requests = [of_length(n, seed) for seed, n in enumerate([10, 500] * 50)]
    budget = Budget(1000)
    naive = sum(computed_tokens(requests, [i, i + 1], budget) for i in range(0, 100, 2))
    planned = sum(computed_tokens(requests, batch, budget) for batch in plan(requests, budget))
    assert planned == sum(r.stop for r in requests) < 0.6 * naive


@pytest.mark.long
@given(some_requests())
def test_a_served_request_is_a_prefix_of_its_sequence(requests: list[Request]) -> None:
    found = sequences(requests)
    assert sorted(i for s in found for i in s.requests) == list(range(len(requests)))
    for sequence in found:
        for i in sequence.requests:
            one = requests[i]
            assert sequence.ids[: one.stop].tolist() == one.ids[: one.stop].tolist()
            assert set(range(one.start, one.stop)) <= set(sequence.scored.tolist())
    # Slow reference: no sequence is a prefix of another.
    texts = [tuple(s.ids.tolist()) for s in found]
    assert not any(b[: len(a)] == a for a in texts for b in texts if a is not b)


@given(some_requests())
def test_no_shared_token_is_scored_or_predicts(requests: list[Request]) -> None:
    found = sequences(requests)
    groups = prefix_groups(found)
    assert sorted(i for group in groups for i in group.members) == list(range(len(found)))
    for group in groups:
        assert group.n_shared == 0 or group.n_shared >= MIN_SHARED_PREFIX
        assert len(group.members) > 1 or group.n_shared == 0
        beginnings = {tuple(found[i].ids[: group.n_shared].tolist()) for i in group.members}
        assert len(beginnings) == 1
        assert all(found[i].scored[0] > group.n_shared for i in group.members if group.n_shared)


def test_a_shared_prefix_is_computed_once_per_batch() -> None:
    head = list(range(30))
    requests = [request([*head, 50 + i, 60, 70], start=31) for i in range(4)]
    assert [group.n_shared for group in prefix_groups(sequences(requests))] == [30]
    every = [0, 1, 2, 3]
    assert computed_tokens(requests, every, Budget(512, packs=True)) == 30 + 4 * 3
    assert computed_tokens(requests, every, Budget(512)) == 4 * 33, "only a packed batch shares"
    scored_early = [*requests, request([*head, 99], start=3)]
    assert [group.n_shared for group in prefix_groups(sequences(scored_early))] == [0] * 5


def test_one_sequence_serves_the_instruction_and_its_response() -> None:
    instruction = [1, 5, 6, 7]
    response = [8, 9, 9]
    requests = [request(instruction), request([*instruction, *response], start=4), request([1, 8])]
    first, second = sequences(requests)
    assert (first.requests, second.requests) == ((1, 0), (2,))
    assert first.scored.tolist() == [1, 2, 3, 4, 5, 6]
