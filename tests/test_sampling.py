"""Intervals of samples contain the number of the whole dataset as often as they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ifdkit.stats.sampling import (
    MeanEstimate,
    cluster_intervals,
    mean_estimate,
    share_ci95,
    wilson,
)
from ifdkit.stats.sequential import ALPHA, next_look, run_until

pytestmark = pytest.mark.long

Floats = NDArray[np.float64]


def conversations(rng: np.random.Generator, n: int) -> tuple[Floats, NDArray[np.int64]]:
    """A skewed number of every example of `n` conversations, alike within each of them."""
    turns = rng.integers(1, 12, size=n)
    rows = np.repeat(np.arange(n), turns)
    shared = rng.gamma(3, 0.2, size=n)
    return shared[rows] + rng.normal(0, 0.1, size=len(rows)), rows


def draw(
    rng: np.random.Generator, values: Floats, rows: NDArray[np.int64], n: int
) -> NDArray[np.bool_]:
    """Which examples are in `n` rows drawn at random."""
    chosen = rng.choice(int(rows.max()) + 1, n, replace=False)
    return np.isin(rows, chosen)


def coverage(hits: list[bool]) -> float:
    return float(np.mean(hits))


def test_intervals_of_conversations_cover_and_those_of_single_turns_do_not() -> None:
    """With 400 samples the coverage is known to ± 2.2 points."""
    rng = np.random.default_rng(1)
    values, rows = conversations(rng, 2_000)
    true = values.mean()
    robust, naive, shares, naive_shares = [], [], [], []
    flags = values > np.quantile(values, 0.9)
    for _ in range(400):
        is_in = draw(rng, values, rows, 150)
        part, of = values[is_in], rows[is_in]
        one = mean_estimate(part, of, 150 / 2_000)
        robust.append(abs(one.mean - true) <= one.half_width)
        wrong = mean_estimate(part, np.arange(len(part)), 150 / 2_000)
        naive.append(abs(wrong.mean - true) <= wrong.half_width)
        low, high = share_ci95(flags[is_in], of, 150 / 2_000)
        shares.append(low <= flags.mean() <= high)
        low, high = wilson(float(flags[is_in].mean()), int(is_in.sum()))
        naive_shares.append(low <= flags.mean() <= high)
    assert coverage(robust) > 0.925
    assert coverage(shares) > 0.915
    assert coverage(naive) < 0.75  # negative control: turns taken for independent
    assert coverage(naive_shares) < 0.85


def test_every_statistic_of_a_sample_has_an_interval_that_covers() -> None:
    """With 150 samples the coverage is known to ± 3.6 points."""
    rng = np.random.default_rng(2)
    values, rows = conversations(rng, 1_500)
    p5, median, p95 = np.percentile(values, [5, 50, 95])
    true = {"mean": values.mean(), "median": median, "sd": values.std(ddof=1), "p5": p5, "p95": p95}
    hits: dict[str, list[bool]] = {name: [] for name in true}
    for seed in range(150):
        is_in = draw(rng, values, rows, 200)
        found = cluster_intervals({"x": (values[is_in], rows[is_in])}, 200 / 1_500, seed)["x"]
        for name, value in true.items():
            low, high = getattr(found, name)
            hits[name].append(low <= value <= high)
    assert {name: coverage(one) for name, one in hits.items() if coverage(one) < 0.88} == {}
    again = cluster_intervals({"x": (values[is_in], rows[is_in])}, 200 / 1_500, 149)["x"]
    assert again == found


@given(st.lists(st.floats(-1e3, 1e3), min_size=12, max_size=40))
def test_a_sample_of_all_rows_has_no_uncertainty(numbers: list[float]) -> None:
    values, rows = np.array(numbers), np.arange(len(numbers))
    one = mean_estimate(values, rows, 1)
    assert one.half_width == 0
    low, high = cluster_intervals({"x": (values, rows)}, 1, 0)["x"].mean
    assert low == high == pytest.approx(values.mean(), abs=1e-6)
    flags = values > 0
    assert share_ci95(flags, rows, 1) == (flags.mean(), flags.mean())


def test_too_few_rows_have_no_interval() -> None:
    assert mean_estimate(np.ones(5), np.arange(5), 0.05).half_width == math.inf
    assert cluster_intervals({"x": (np.ones(5), np.arange(5))}, 0.05, 0) == {}
    low, high = share_ci95(np.zeros(50, dtype=bool), np.arange(50), 0.005)
    assert low == 0
    assert 0.05 < high < 0.09  # none of 50 is no proof of none


@given(st.integers(2, 10**7), st.data())
def test_the_next_look_is_larger_and_narrows_the_interval_by_as_much_as_is_asked(
    n_rows: int, data: st.DataObject
) -> None:
    rows = data.draw(st.integers(1, n_rows - 1))
    ratio = data.draw(st.floats(1.001, 1e6))
    found = next_look(rows, n_rows, ratio)
    assert rows < found <= n_rows

    def width(n: int) -> float:
        return math.sqrt(1 / n - 1 / n_rows)

    assert width(found) <= width(rows) / ratio * (1 + 1e-6)
    assert next_look(rows, n_rows, np.inf) == min(n_rows, 2 * rows)


def simulated(seed: int, half_width: float, *, naive: bool) -> tuple[bool, int]:
    """Whether the interval at the end contains the mean of all rows, and how many were used.

    `naive` looks at a 95 % interval after every ten rows.
    """
    rng = np.random.default_rng(seed)
    values = rng.gamma(2, 0.25, size=20_000)
    true = float(values.mean())
    order = rng.permutation(len(values))

    def estimate(n: int, alpha: float = ALPHA) -> MeanEstimate:
        return mean_estimate(values[order[:n]], order[:n], n / len(values), alpha)

    if not naive:
        found = run_until(half_width, len(values), estimate)
        return abs(found.estimate.mean - true) <= found.estimate.half_width, found.rows
    for rows in range(20, len(values), 10):
        one = estimate(rows, 0.05)
        if one.half_width <= half_width:
            break
    return abs(one.mean - true) <= one.half_width, rows


def test_stopping_covers_and_stopping_when_it_looks_narrow_does_not() -> None:
    """With 600 runs the coverage is known to ± 1.8 points; the nominal one is 95 %."""
    runs = [simulated(seed, 0.03, naive=False) for seed in range(600)]
    assert coverage([hit for hit, _ in runs]) >= 0.95
    # It does not read everything to be safe.
    assert np.median([rows for _, rows in runs]) < 1_000
    # Negative control: a rule that looks at the same interval all the time.
    peeked = [simulated(seed, 0.12, naive=True)[0] for seed in range(600)]
    assert coverage(peeked) < 0.93


def test_a_width_that_cannot_be_reached_uses_all_rows() -> None:
    values = np.random.default_rng(0).normal(size=1_000)

    def estimate(n: int) -> MeanEstimate:
        return mean_estimate(values[:n], np.arange(n), n / len(values), ALPHA)

    found = run_until(1e-9, 1_000, estimate)
    assert found.rows == 1_000
    assert found.reached  # the mean of all rows is known
    assert found.looks == 2  # what cannot be narrow enough is not looked at
