"""Facility location against plain greedy on the whole matrix, and properties of any choice."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ifdkit.errors import InputError, UsageError
from ifdkit.selection import facility
from ifdkit.selection.facility import Vectors, facility_location

pytestmark = pytest.mark.long

Make = Callable[[int, int, int], Vectors]


def unit(vectors: NDArray[np.float64]) -> Vectors:
    """Each row of length 1; rows of zeros stay."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: NDArray[np.float64] = vectors / np.where(norms > 0, norms, 1)
    return scaled.astype(np.float32)


def clustered(n: int, dims: int, seed: int, n_topics: int = 20) -> Vectors:
    rng = np.random.default_rng(seed)
    topics = rng.normal(size=(n_topics, dims)) + rng.normal(size=dims)
    return unit(topics[rng.integers(n_topics, size=n)] + 0.7 * rng.normal(size=(n, dims)))


def uniform(n: int, dims: int, seed: int) -> Vectors:
    return unit(np.random.default_rng(seed).normal(size=(n, dims)))


# The slow reference: every similarity in float64, every gain at every step.


def similarities(vectors: Vectors) -> NDArray[np.float64]:
    wide = vectors.astype(np.float64)
    return np.clip(wide @ wide.T, 0, None)


def objective(matrix: NDArray[np.float64], chosen: list[int]) -> float:
    return float(matrix[:, chosen].max(axis=1).sum()) if chosen else 0.0


def slow_choice(matrix: NDArray[np.float64], n: int) -> list[int]:
    covered = np.zeros(len(matrix))
    chosen: list[int] = []
    for _ in range(n):
        gains = np.maximum(matrix - covered[:, None], 0).sum(axis=0)
        gains[chosen] = -1
        chosen.append(int(np.argmax(gains)))
        covered = np.maximum(covered, matrix[:, chosen[-1]])
    return chosen


@pytest.mark.parametrize("n", [1, 7, 50, 200])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("make", [clustered, uniform])
def test_as_good_as_plain_greedy(make: Make, seed: int, n: int) -> None:
    vectors = make(500, 24, seed)
    matrix = similarities(vectors)
    chosen = facility_location(vectors, n)
    slow = slow_choice(matrix, n)
    # float32 may break a tie differently; the objective must be the same.
    assert objective(matrix, chosen) == pytest.approx(objective(matrix, slow), rel=1e-4)
    assert chosen[:20] == slow[:20]


def test_a_random_choice_is_much_worse() -> None:
    """Negative control: the objective distinguishes a good choice from a random one."""
    vectors = clustered(500, 24, 0)
    matrix = similarities(vectors)
    best = objective(matrix, facility_location(vectors, 20))
    rng = np.random.default_rng(0)
    others = [objective(matrix, rng.choice(500, 20, replace=False).tolist()) for _ in range(20)]
    assert max(others) < 0.97 * best


@pytest.mark.parametrize("sizes", [(1, 1, 1), (7, 2, 3), (10_000, 10_000, 10_000)])
def test_block_sizes_change_nothing(
    sizes: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = clustered(120, 8, 1)
    expected = facility_location(vectors, 30)
    for name, size in zip(
        ("_ROWS_PER_BLOCK", "_MIN_CANDIDATES", "_MAX_CANDIDATES"), sizes, strict=True
    ):
        monkeypatch.setattr(facility, name, size)
    assert facility_location(vectors, 30) == expected


def test_bounds_are_never_below_the_gains(monkeypatch: pytest.MonkeyPatch) -> None:
    """For uniform vectors most steps lower all bounds at once; they must remain bounds."""
    vectors = uniform(400, 16, 2)
    matrix = similarities(vectors)
    lowered = []
    plain = facility._GreedyChoice._lower_bounds

    def spied(choice: facility._GreedyChoice, rows: facility.Places, covered: Vectors) -> None:
        plain(choice, rows, covered)
        after = choice._covered.copy()
        after[rows] = covered
        gains = np.maximum(matrix - after[:, None], 0).sum(axis=0)
        assert (choice._bounds >= gains - 1e-3)[np.isfinite(choice._bounds)].all()
        lowered.append(len(rows))

    monkeypatch.setattr(facility._GreedyChoice, "_lower_bounds", spied)
    facility_location(vectors, 100)
    assert len(lowered) > 20


@pytest.mark.parametrize("make", [clustered, uniform])
def test_the_work_is_bounded(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts similarities, not seconds, in units of all pairs."""
    n, rows = 100, 1_500
    vectors = make(rows, 16, 3)
    computed = 0
    gains, lower = facility._GreedyChoice._gains, facility._GreedyChoice._lower_bounds

    def counted_gains(choice: facility._GreedyChoice, candidates: facility.Places) -> object:
        nonlocal computed
        computed += len(candidates) * rows
        return gains(choice, candidates)

    def counted_lower(
        choice: facility._GreedyChoice, some: facility.Places, covered: Vectors
    ) -> None:
        nonlocal computed
        computed += len(some) * rows
        lower(choice, some, covered)

    monkeypatch.setattr(facility._GreedyChoice, "_gains", counted_gains)
    monkeypatch.setattr(facility._GreedyChoice, "_lower_bounds", counted_lower)
    facility_location(vectors, n)
    # Plain greedy computes all pairs a hundred times.
    assert rows**2 <= computed < 20 * rows**2


# Properties


@given(
    n_rows=st.integers(1, 40),
    dims=st.integers(1, 6),
    seed=st.integers(0, 10_000),
    copies=st.integers(0, 10),
    zeros=st.integers(0, 5),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_any_choice(
    n_rows: int, dims: int, seed: int, copies: int, zeros: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    plain = uniform(n_rows, dims, seed)
    stacked = np.concatenate(
        [plain, plain[rng.integers(n_rows, size=copies)], np.zeros((zeros, dims), np.float32)]
    )
    vectors = stacked[rng.permutation(len(stacked))]
    n = data.draw(st.integers(0, len(vectors)))
    chosen = facility_location(vectors, n)
    assert len(chosen) == len(set(chosen)) == n
    assert all(0 <= place < len(vectors) for place in chosen)
    assert facility_location(vectors, n) == chosen
    matrix = similarities(vectors)
    assert objective(matrix, chosen) == pytest.approx(
        objective(matrix, slow_choice(matrix, n)), rel=1e-3
    )
    # Gains never rise, and a shorter choice is a prefix of a longer one.
    values = [objective(matrix, chosen[:k]) for k in range(n + 1)]
    assert (np.diff(values, 2) <= 1e-4).all()
    assert facility_location(vectors, n // 2) == chosen[: n // 2]


def test_all_rows_and_none() -> None:
    vectors = clustered(50, 8, 0)
    assert sorted(facility_location(vectors, 50)) == list(range(50))
    assert facility_location(vectors, 0) == []
    assert facility_location(np.zeros((0, 8), dtype=np.float32), 0) == []


def test_one_row_is_the_best_single_one() -> None:
    vectors = clustered(200, 8, 4)
    assert facility_location(vectors, 1) == [int(similarities(vectors).sum(axis=0).argmax())]


def test_copies_are_chosen_last_in_file_order() -> None:
    vectors = uniform(6, 8, 0)[[0, 1, 0, 2, 1, 0]]
    chosen = facility_location(vectors, 6)
    assert set(chosen[:3]) == {0, 1, 3}
    assert chosen[3:] == [2, 4, 5]


def test_rows_without_a_direction_are_chosen_last() -> None:
    vectors = np.concatenate([np.zeros((3, 8), dtype=np.float32), uniform(4, 8, 0)])
    chosen = facility_location(vectors, 7)
    assert set(chosen[:4]) == {3, 4, 5, 6}
    assert chosen[4:] == [0, 1, 2]


def test_of_equal_gains_the_earlier_place_wins() -> None:
    vectors = np.eye(5, dtype=np.float32)
    assert facility_location(vectors, 5) == [0, 1, 2, 3, 4]


def test_negative_similarities_do_not_reduce_a_gain() -> None:
    """Three rows point one way, five partly the opposite way: signed sums would choose these."""
    axes = np.eye(8)
    alike = [axes[0], axes[0] + 0.05 * axes[6], axes[0] + 0.05 * axes[7]]
    opposed = [-0.6 * axes[0] + 0.8 * axes[k] for k in range(1, 6)]
    vectors = unit(np.array([*opposed, *alike]))
    assert (vectors.astype(np.float64) @ vectors.T.astype(np.float64)).sum(axis=0).argmax() < 5
    assert facility_location(vectors, 1) == [5]


@pytest.mark.parametrize("n", [4, -1])
def test_an_impossible_number_of_rows_is_an_error(n: int) -> None:
    with pytest.raises(UsageError, match=f"^{n} rows cannot be chosen"):
        facility_location(uniform(3, 4, 0), n)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_the_error_on_a_vector_that_is_not_finite_names_its_row(value: float) -> None:
    vectors = uniform(5, 4, 0)
    vectors[3, 2] = value
    with pytest.raises(InputError, match="row 3 "):
        facility_location(vectors, 2)
