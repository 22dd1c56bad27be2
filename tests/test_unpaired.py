"""Statistics of two samples that are not paired: hand-worked, invariant, and calibrated."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ifdkit.comparison.length_control.matching import matched_difference
from ifdkit.stats import unpaired
from ifdkit.stats.columns import MIN_PAIRS, Column, Interval, mean_ci95, median_ci95
from ifdkit.stats.unpaired import compare_unpaired, probability_higher, unpaired_change

pytestmark = pytest.mark.long

VALUES = st.lists(st.integers(-4, 4), min_size=1, max_size=40)


def skewed(rng: np.random.Generator, n: int, factor: float = 1.0) -> Column:
    """Values like IFD: positive, with a long right tail."""
    return rng.lognormal(0.0, 0.5, n) * factor


@given(VALUES, VALUES)
def test_the_probability_is_the_share_of_all_pairs(before: list[int], after: list[int]) -> None:
    pairs = list(itertools.product(before, after))
    expected = sum((b < a) + (b == a) / 2 for b, a in pairs) / len(pairs)
    found = probability_higher(np.array(before, float), np.array(after, float))
    assert found == pytest.approx(expected)


@settings(max_examples=25)
@given(VALUES, VALUES, st.integers(0, 3))
def test_swapping_the_sides_turns_every_sign(
    before: list[int], after: list[int], seed: int
) -> None:
    one = unpaired_change(before, after, seed=seed)
    other = unpaired_change(after, before, seed=seed)
    assert one.median == -(other.median or 0)
    assert one.mean == pytest.approx(-(other.mean or 0))
    assert one.share_up == pytest.approx(1 - (other.share_up or 0))
    assert one.share_unchanged is None
    assert (one.p is None) == (min(len(before), len(after)) < MIN_PAIRS)


def test_a_hand_worked_difference() -> None:
    before = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]
    found = unpaired_change(before, [x + 20 for x in before], seed=0)
    assert (found.median, found.mean, found.share_up, found.effect) == (20, 20, 1, 1)
    # Of 184,756 assignments 2 are as extreme; 9,999 random ones rarely have one.
    assert found.p is not None
    assert 1e-4 <= found.p <= 5e-4


def test_missing_values_are_dropped_on_each_side_alone() -> None:
    before, after = np.arange(15.0), np.arange(40.0)
    holes = np.r_[before, np.nan, np.inf], np.r_[np.nan, after]
    assert unpaired_change(*holes, seed=1) == unpaired_change(before, after, seed=1)
    made = compare_unpaired(*holes, geometric=False, seed=1)
    assert (made.before.n, made.after.n) == (15, 40)
    assert unpaired_change([], after, seed=1).median is None


def test_equal_constants_are_no_evidence() -> None:
    found = unpaired_change([2.0] * 20, [2.0] * 30, seed=0)
    assert (found.p, found.effect, found.median, found.median_ci95) == (1, 0, 0, (0, 0))


def test_the_permutations_agree_with_their_normal_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    before, after = skewed(rng, 300), skewed(rng, 500, 1.08)
    exact = unpaired_change(before, after, seed=0).p
    monkeypatch.setattr(unpaired, "MAX_BCA_VALUES", 100)
    limit = unpaired_change(before, after, seed=0).p
    assert exact is not None
    assert limit is not None
    assert exact == pytest.approx(limit, abs=0.015)


def test_shuffled_data_are_called_different_as_rarely_as_promised() -> None:
    """Negative control: 200 draws of one distribution with ties; 5 % and 3 standard errors."""
    rng = np.random.default_rng(4)
    ps = []
    for seed in range(200):
        pooled = np.round(skewed(rng, 70), 1)
        ps.append(unpaired._rank_sum_p(pooled[:25], pooled[25:], seed))
    share = float(np.mean(np.array(ps) < 0.05))
    assert share <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)
    assert share > 0.01  # it is a test, not a constant


def test_a_planted_shift_is_found() -> None:
    rng = np.random.default_rng(5)
    ps = [unpaired._rank_sum_p(skewed(rng, 60), skewed(rng, 90, 1.4), seed) for seed in range(60)]
    assert np.mean(np.array(ps) < 0.05) > 0.8


@pytest.mark.parametrize(("interval", "center"), [(median_ci95, 1.0), (mean_ci95, math.exp(0.125))])
def test_the_intervals_cover_the_true_difference(
    interval: Callable[..., Interval | None], center: float
) -> None:
    """Of 100 intervals for samples of unlike size; BCa of 40 skewed values covers about 92 %."""
    rng = np.random.default_rng(6)
    estimate: Callable[[Column], float] = np.median if interval is median_ci95 else np.mean
    covered = 0
    for seed in range(100):
        sides = skewed(rng, 40), skewed(rng, 90, 1.3)
        ends = unpaired._combined(
            (estimate(sides[0]), estimate(sides[1])),
            (interval(sides[0], seed=seed), interval(sides[1], seed=seed + 1)),
        )
        assert ends is not None
        covered += ends[0] <= 0.3 * center <= ends[1]
    assert covered >= 88


def test_the_intervals_are_those_of_the_change() -> None:
    rng = np.random.default_rng(8)
    sides = skewed(rng, 40), skewed(rng, 90)
    found = unpaired_change(*sides, seed=2)
    ends = median_ci95(sides[0], seed=2), median_ci95(sides[1], seed=3)
    medians = float(np.median(sides[0])), float(np.median(sides[1]))
    assert found.median_ci95 == unpaired._combined(medians, ends)


def test_matched_lengths_remove_a_difference_that_is_length_alone() -> None:
    """IFD follows length, and only the lengths differ: raw it differs, at matched lengths not."""
    rng = np.random.default_rng(7)
    tokens = rng.integers(20, 200, 900).astype(float), rng.integers(60, 260, 1400).astype(float)
    ifd = [0.3 + 0.002 * one + rng.normal(0, 0.05, len(one)) for one in tokens]
    raw = float(np.median(ifd[1]) - np.median(ifd[0]))
    found, overlap = matched_difference(ifd, tokens, seed=0)
    assert raw > 0.08
    assert found is not None
    assert abs(found.value) < 0.02
    assert found.ci95 is not None
    assert 0.4 < overlap < 0.9
    # Negative control: a difference beyond length stays.
    ifd[1] = ifd[1] + 0.1
    moved, _ = matched_difference(ifd, tokens, seed=0)
    assert moved is not None
    assert moved.value == pytest.approx(0.1, abs=0.02)
    assert moved.is_clear


def test_lengths_without_overlap_give_no_estimate() -> None:
    tokens = np.full(50, 10.0), np.full(70, 90.0)
    found, overlap = matched_difference([np.ones(50), np.ones(70)], tokens, seed=0)
    assert found is None
    assert overlap == 0
