"""Plans as pure integers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ifdkit.planning import Budget, padding_share, plan

LENGTHS = st.lists(st.integers(1, 3000), max_size=200)
BUDGETS = st.builds(Budget, tokens=st.integers(1, 4096), max_padding=st.floats(0, 0.5))


@given(LENGTHS, BUDGETS)
def test_every_position_once_within_the_budget(lengths: list[int], budget: Budget) -> None:
    batches = plan(lengths, budget)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        padded = len(batch) * max(lengths[i] for i in batch)
        assert padded <= budget.tokens or len(batch) == 1


@given(LENGTHS, BUDGETS)
def test_padding_stays_below_its_share(lengths: list[int], budget: Budget) -> None:
    assert padding_share(lengths, plan(lengths, budget)) <= budget.max_padding + 1e-12


@given(LENGTHS, st.randoms())
def test_the_plan_depends_on_lengths_not_on_order(lengths: list[int], random: object) -> None:
    shuffled = lengths.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    budget = Budget(512)

    def shape(of: list[int]) -> list[list[int]]:
        return [[of[i] for i in batch] for batch in plan(of, budget)]

    assert shape(lengths) == shape(shuffled)


def test_longest_first() -> None:
    assert plan([5, 9, 5, 9], Budget(18)) == [[1, 3], [0, 2]]


def test_an_unsorted_plan_would_pad_more() -> None:
    """Negative control: the share that sorting saves is measurable."""
    lengths = [10, 500] * 50
    naive = [[i, i + 1] for i in range(0, 100, 2)]
    assert padding_share(lengths, naive) > 0.4
    assert padding_share(lengths, plan(lengths, Budget(1000))) == 0
