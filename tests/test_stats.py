"""Statistics of a comparison: against scipy, by hand, and on simulated data with a known truth.

Bounds on simulated rates are binomial: wide enough that one run in ten thousand would fail by
chance.  The seeds are fixed anyway.
"""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from ifdkit.stats import columns as stats
from ifdkit.stats.columns import (
    Distance,
    SideStats,
    distance,
    holm,
    mean_ci95,
    median_ci95,
    side_stats,
)
from ifdkit.stats.paired import (
    Change,
    MetricChange,
    compare_metric,
    finite_pairs,
    paired_change,
    with_holm,
)

Column = NDArray[np.float64]
NUMBERS = st.lists(
    st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=1, max_size=30
).map(lambda pairs: np.array(pairs).T)
NOT_FINITE = [math.nan, math.inf, -math.inf, None]


def pairs_of(n: int, shift: float, seed: int = 0) -> tuple[Column, Column]:
    """Skewed, correlated pairs, the second shifted by `shift`."""
    rng = np.random.default_rng(seed)
    before = rng.lognormal(size=n)
    return before, before + rng.normal(shift, 0.5, n)


def numbers_in(record: Any) -> list[float]:
    """Every number in nested dataclasses and tuples."""
    if record is None:
        return []
    if isinstance(record, tuple):
        return [number for one in record for number in numbers_in(one)]
    if isinstance(record, int | float):
        return [float(record)]
    return [number for f in fields(record) for number in numbers_in(getattr(record, f.name))]


# One side


def test_side_stats_by_hand() -> None:
    found = side_stats([1.0, 2.0, None, 4.0, math.nan, math.inf], geometric=True)
    assert (found.n, found.mean, found.median) == (3, 7 / 3, 2.0)
    assert found.sd == pytest.approx(math.sqrt(7 / 3))
    assert found.geometric_mean == pytest.approx(2.0)
    assert side_stats([1.0, 2.0, 4.0], geometric=False).geometric_mean is None


@pytest.mark.parametrize("values", [[0.0, 1.0], [-1.0, 2.0], []])
def test_no_geometric_mean_unless_all_numbers_are_positive(values: list[float]) -> None:
    assert side_stats(values, geometric=True).geometric_mean is None


def test_the_geometric_mean_is_robust_to_an_outlier() -> None:
    usual = side_stats([2.0] * 99 + [3.0], geometric=True)
    wild = side_stats([2.0] * 99 + [1e300], geometric=True)
    assert wild.mean is not None
    assert wild.mean > 1e297
    assert usual.geometric_mean is not None
    assert wild.geometric_mean == pytest.approx(usual.geometric_mean * (1e300 / 3) ** 0.01)


# Intervals


def test_bca_agrees_with_scipy() -> None:
    values = np.random.default_rng(5).lognormal(size=60)
    for statistic, found in (
        (np.mean, mean_ci95(values, seed=3)),
        (np.median, median_ci95(values, seed=3)),
    ):
        theirs = scipy_stats.bootstrap(
            (values,), statistic, n_resamples=stats.RESAMPLES, method="BCa", random_state=3
        ).confidence_interval
        assert found == pytest.approx(tuple(theirs), rel=0.03), "batches and draws differ"


def test_batches_limit_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(5).lognormal(size=50)
    whole = mean_ci95(values, seed=0)
    monkeypatch.setattr(stats, "_VALUES_PER_BATCH", 500)
    widest = 0

    def mean(sample: Column, axis: int = -1) -> Any:
        nonlocal widest
        widest = max(widest, sample.size)
        return np.mean(sample, axis=axis)

    assert stats._bca_ci95(values, mean, 0) == pytest.approx(whole, rel=0.05)
    assert widest == 500


@pytest.mark.parametrize("shape", ["normal", "skewed"])
def test_analytic_intervals_agree_with_bca(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Around the size at which the method changes, both give the same interval."""
    rng = np.random.default_rng(2)
    values = rng.normal(size=1_500) if shape == "normal" else rng.lognormal(size=1_500)
    bca = mean_ci95(values, seed=0), median_ci95(values, seed=0)
    monkeypatch.setattr(stats, "MAX_BCA_VALUES", 1_499)
    for (low, high), analytic in zip(
        [interval for interval in bca if interval],
        [mean_ci95(values, seed=0), median_ci95(values, seed=0)],
        strict=True,
    ):
        assert analytic == pytest.approx((low, high), abs=0.12 * (high - low))


def test_abc_is_asymmetric_for_skewed_values() -> None:
    """Negative control: the normal interval would be symmetric."""
    values = np.random.default_rng(2).lognormal(sigma=1.5, size=3_000)
    low, high = mean_ci95(values, seed=0) or (0.0, 0.0)
    assert high - values.mean() > 1.1 * (values.mean() - low)


def test_the_order_statistic_interval_by_hand() -> None:
    """For 100 values the 40th and the 61st: P(Bin(100, ½) ≤ 39) = 0.0176, ≤ 40 = 0.0284."""
    values = np.random.default_rng(0).permutation(np.arange(1.0, 101.0))
    assert stats._order_median_ci95(values) == (40.0, 61.0)


def test_order_statistics_are_used_if_ties_leave_bca_undefined() -> None:
    values = np.array([0.0] * 40 + [1.0] * 3 + [2.0] * 2)
    assert median_ci95(values, seed=0) == (0.0, 0.0)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_interval_depends_on_the_seed(seed: int) -> None:
    values = np.random.default_rng(9).normal(size=40)
    assert mean_ci95(values, seed=seed) == mean_ci95(values, seed=seed)
    assert mean_ci95(values, seed=seed) != mean_ci95(values, seed=seed + 2)


@pytest.mark.long
@pytest.mark.parametrize("n", [60, 2_100], ids=["bca", "analytic"])
def test_intervals_cover_the_truth_in_95_of_100_datasets(n: int) -> None:
    """400 datasets, Gamma(4): 95 % ± 3 standard errors of 1.1 %."""
    rng = np.random.default_rng(11)
    truths = 4.0, float(scipy_stats.gamma(4).median())
    covered = np.zeros(2)
    for i in range(400):
        values = rng.gamma(4, size=n)
        intervals = mean_ci95(values, seed=i), median_ci95(values, seed=i)
        for k, (interval, truth) in enumerate(zip(intervals, truths, strict=True)):
            assert interval is not None
            covered[k] += interval[0] <= truth <= interval[1]
    assert ((covered / 400 > 0.917) & (covered / 400 < 0.983)).all(), covered / 400


# The paired change


def test_a_planted_shift_is_found() -> None:
    before, after = pairs_of(300, shift=0.25)
    change = paired_change(before, after, seed=0)
    assert change.mean == pytest.approx(0.25, abs=0.1)
    for interval in (change.mean_ci95, change.median_ci95):
        assert interval is not None
        assert 0 < interval[0] < 0.25 < interval[1] < 0.4
    assert change.p is not None
    assert change.p < 1e-8
    assert change.effect is not None
    assert 0.3 < change.effect < 0.8
    assert change.share_up == pytest.approx((after > before).mean())


def test_a_column_against_itself_has_not_changed() -> None:
    """Negative control."""
    column = np.random.default_rng(0).lognormal(size=200)
    found = compare_metric(column, column, geometric=True, seed=0)
    assert found.before == found.after
    assert found.distance == Distance(ks=0.0, wasserstein=0.0)
    assert found.change == Change(
        mean=0.0,
        mean_ci95=(0.0, 0.0),
        median=0.0,
        median_ci95=(0.0, 0.0),
        p=1.0,
        effect=0.0,
        share_up=0.5,
        share_unchanged=1.0,
    )


def test_a_column_against_itself_shuffled_has_not_changed() -> None:
    """Negative control: every pair differs, the distribution does not."""
    rng = np.random.default_rng(1)
    column = rng.lognormal(size=400)
    found = compare_metric(column, rng.permutation(column), geometric=True, seed=0)
    assert found.distance.ks == 0.0
    assert found.distance.wasserstein == pytest.approx(0.0, abs=1e-12)
    assert found.change.mean == pytest.approx(0.0, abs=1e-12)
    assert found.change.p is not None
    assert found.change.p > 0.05
    for interval in (found.change.mean_ci95, found.change.median_ci95):
        assert interval is not None
        assert interval[0] < 0 < interval[1]


@pytest.mark.long
def test_the_false_positive_rate_of_p_is_5_percent() -> None:
    """1,500 datasets without a change: 75 false positives ± 4 standard errors of 8.4."""
    rng = np.random.default_rng(4)
    ps = [paired_p(rng.normal(size=30)) for _ in range(1_500)]
    assert 41 < sum(p < 0.05 for p in ps) < 109


def paired_p(difference: Column) -> float:
    from ifdkit.stats.paired import _signed_rank_p

    return _signed_rank_p(difference)


def test_p_agrees_with_scipy() -> None:
    before, after = pairs_of(80, shift=0.1)
    after[:20] = before[:20]
    theirs = scipy_stats.wilcoxon(after, before, zero_method="pratt").pvalue
    assert paired_change(before, after, seed=0).p == pytest.approx(theirs, rel=1e-12)


def test_the_effect_by_hand() -> None:
    """Differences 1…10, the two smallest negative: (55 − 3 − 3) ÷ 55."""
    difference = np.arange(1.0, 11.0)
    difference[:2] *= -1
    change = paired_change(np.zeros(10), difference, seed=0)
    assert change.effect == pytest.approx(49 / 55)
    assert change.share_up == 0.8


def test_unchanged_pairs_weaken_p_and_effect() -> None:
    """Ten rises among a thousand unchanged rows are not a rise everywhere."""
    risen = np.arange(1.0, 11.0)
    few = paired_change(np.zeros(10), risen, seed=0)
    many = paired_change(np.zeros(1_000), np.concatenate([risen, np.zeros(990)]), seed=0)
    assert few.effect == 1.0
    assert many.effect == pytest.approx(0.02, abs=0.001)
    assert (many.share_up, many.share_unchanged) == (0.505, 0.99)
    assert many.median_ci95 == (0.0, 0.0)


def test_a_constant_change_has_no_uncertainty() -> None:
    change = paired_change(np.arange(20.0), np.arange(20.0) + 2, seed=0)
    assert (change.mean, change.mean_ci95, change.median_ci95) == (2.0, (2.0, 2.0), (2.0, 2.0))
    assert (change.effect, change.share_up) == (1.0, 1.0)
    assert change.p is not None
    assert change.p < 0.001


def test_too_few_pairs_give_no_interval() -> None:
    assert paired_change([], [], seed=0) == Change()
    assert paired_change([None], [1.0], seed=0) == Change()
    assert paired_change([1.0], [3.0], seed=0) == Change(
        mean=2.0, median=2.0, share_up=1.0, share_unchanged=0.0
    )
    nine, ten = np.arange(9.0), np.arange(10.0)
    assert paired_change(nine, nine * 2, seed=0).p is None
    assert paired_change(ten, ten * 2, seed=0).p is not None
    assert distance(nine, nine * 2) == Distance()
    assert mean_ci95(nine, seed=0) is None
    empty = compare_metric([], [], geometric=True, seed=0)
    assert empty == MetricChange(
        before=SideStats(n=0), after=SideStats(n=0), change=Change(), distance=Distance()
    )


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape mismatch: before \(1,\), after \(2,\)"):
        finite_pairs([1.0], [1.0, 2.0])


@pytest.mark.parametrize(
    "values",
    [
        [1e308] * 10 + [1e307] * 10,
        [5e-324] * 10 + [1e-323] * 10,
        [0.0] * 19 + [1e300],
        [1.0] * 19 + [1.0 + 1e-15],
    ],
    ids=["overflow", "denormal", "outlier", "rounding"],
)
def test_extreme_numbers_give_finite_statistics(values: list[float]) -> None:
    for before, after in (([0.0] * 20, values), (values, values[::-1])):
        found = compare_metric(before, after, geometric=True, seed=0)
        assert np.isfinite(numbers_in(found)).all()
    many = np.array(values * 110)  # too many for BCa
    assert np.isfinite(numbers_in((mean_ci95(many, seed=0), median_ci95(many, seed=0)))).all()


@given(NUMBERS)
@settings(max_examples=12, deadline=None)
def test_swapping_the_sides_reverses_the_change(pairs: Column) -> None:
    forth, back = paired_change(*pairs, seed=0), paired_change(*pairs[::-1], seed=0)
    assert forth.mean == -(back.mean or 0.0)
    assert forth.median == -(back.median or 0.0)
    assert forth.p == back.p
    assert forth.effect is None or forth.effect == -(back.effect or 0.0)
    assert forth.share_up == pytest.approx(1 - (back.share_up or 0.0))
    assert distance(*pairs) == distance(*pairs[::-1])


@given(NUMBERS, st.sampled_from(NOT_FINITE), st.booleans())
@settings(max_examples=12, deadline=None)
def test_a_pair_without_numbers_changes_nothing(
    pairs: Column, gap: float | None, is_before: bool
) -> None:
    old, new = pairs.tolist()
    broken = ([*old, gap], [*new, 1.0]) if is_before else ([*old, 1.0], [*new, gap])
    assert compare_metric(*broken, geometric=True, seed=0) == compare_metric(
        old, new, geometric=True, seed=0
    )


# Distances and correction


def test_distances_of_a_shift() -> None:
    before, after = np.arange(100.0), np.arange(100.0) + 30
    found = distance(before, after)
    assert found.ks == pytest.approx(0.3)
    assert found.wasserstein == pytest.approx(30.0)


def test_holm_by_hand() -> None:
    """Four tests, one of them undefined: 3 × 0.01, 2 × 0.03, then no lower than that."""
    ps = {"a": 0.04, "b": 0.01, "c": None, "d": 0.03}
    assert holm(ps) == pytest.approx({"a": 0.06, "b": 0.03, "c": None, "d": 0.06})
    assert list(holm(ps)) == list(ps)
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


@given(st.dictionaries(st.text(max_size=3), st.none() | st.floats(0, 1), max_size=12))
def test_holm_is_between_p_and_bonferroni(ps: dict[str, float | None]) -> None:
    adjusted = holm(ps)
    known = [p for p in ps.values() if p is not None]
    for name, p in ps.items():
        if p is None:
            assert adjusted[name] is None
        else:
            assert p <= (adjusted[name] or 0.0) <= min(1.0, p * len(known)) + 1e-15


def test_holm_controls_the_family_wise_error_rate() -> None:
    """2,000 families of ten tests without an effect: 100 errors ± 4 standard errors of 9.7."""
    families = np.random.default_rng(0).uniform(size=(2_000, 10))
    errors = sum(
        min(p for p in holm({str(i): p for i, p in enumerate(ps)}).values() if p is not None) < 0.05
        for ps in families.tolist()
    )
    assert 60 < errors < 140
    assert (families.min(axis=1) < 0.05).sum() > 600, "negative control: uncorrected"


def test_with_holm_fills_in_every_metric() -> None:
    shifted = compare_metric(*pairs_of(50, 0.2), geometric=False, seed=0)
    still = compare_metric(*pairs_of(50, 0.0), geometric=False, seed=0)
    few = compare_metric([1.0], [2.0], geometric=False, seed=0)
    found = with_holm({"shifted": shifted, "still": still, "few": few})
    assert list(found) == ["shifted", "still", "few"]
    assert found["shifted"].change.p_holm == pytest.approx(2 * (shifted.change.p or 0.0))
    assert found["few"].change.p_holm is None
    assert found["still"].before is still.before
