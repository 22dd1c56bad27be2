"""AUC, partial correlation, calibration: against other code, closed forms and simulation."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import roc_auc_score

from ifdkit.stats.discrimination import (
    Estimate,
    auc,
    auc_difference,
    brier,
    calibration,
    cluster_codes,
    partial_correlation,
    wilson_ci95,
)

pytestmark = pytest.mark.long

Column = NDArray[np.float64]
REPEATS = 200


def brute_force_auc(values: Column, labels: NDArray[np.bool_]) -> float:
    """The share of pairs of a positive and a negative row that are in order, ties half."""
    wins = [(a > b) + (a == b) / 2 for a, b in product(values[labels], values[~labels])]
    return float(np.mean(wins))


def singletons(n: int) -> NDArray[np.int64]:
    return np.arange(n)


@pytest.mark.parametrize("decimals", [0, 1, 8])
def test_the_auc_is_that_of_all_pairs_also_with_ties(decimals: int) -> None:
    rng = np.random.default_rng(decimals)
    labels = rng.random(150) < 0.3
    values = np.round(rng.normal(size=150) + labels, decimals)
    found = auc(values, labels, singletons(150))
    assert found.value == pytest.approx(brute_force_auc(values, labels), abs=1e-12)
    assert found.value == pytest.approx(roc_auc_score(labels, values), abs=1e-12)


def test_the_variance_is_delongs_if_every_row_is_a_cluster() -> None:
    """Reference: the placements of DeLong et al. (1988), computed pair by pair."""
    rng = np.random.default_rng(1)
    labels = rng.random(60) < 0.5
    values = np.round(rng.normal(size=60) + labels, 1)
    wins = (values[labels][:, None] > values[~labels]) + (
        values[labels][:, None] == values[~labels]
    ) / 2
    variance = wins.mean(axis=1).var(ddof=1) / labels.sum()
    variance += wins.mean(axis=0).var(ddof=1) / (~labels).sum()
    found = auc(values, labels, singletons(60))
    assert found.ci95 is not None
    assert found.value is not None
    low, high = (math.log(x / (1 - x)) for x in found.ci95)
    half = (high - low) / 2 * found.value * (1 - found.value)
    assert half == pytest.approx(1.959963984540054 * math.sqrt(variance), rel=1e-9)


def test_copied_rows_in_one_cluster_count_once() -> None:
    rng = np.random.default_rng(2)
    labels = rng.random(80) < 0.5
    values = rng.normal(size=80) + labels
    once = auc(values, labels, singletons(80))
    thrice = auc(np.tile(values, 3), np.tile(labels, 3), np.tile(singletons(80), 3))
    as_new = auc(np.tile(values, 3), np.tile(labels, 3), singletons(240))
    assert thrice.value == pytest.approx(once.value)
    assert thrice.ci95 == pytest.approx(once.ci95, rel=1e-6)
    assert as_new.ci95 is not None
    assert thrice.ci95 is not None
    assert as_new.ci95[0] > thrice.ci95[0]  # negative control: without clusters it is narrower


def test_a_perfect_predictor_has_no_interval_and_one_class_no_auc() -> None:
    labels = np.arange(40) >= 20
    assert auc(np.arange(40.0), labels, singletons(40)).value == 1.0
    assert auc(np.arange(40.0), labels, singletons(40)).ci95 is None
    assert auc(np.arange(40.0), labels | True, singletons(40)) == Estimate(n=40)
    assert auc(np.full(40, np.nan), labels, singletons(40)) == Estimate(n=0)
    with pytest.raises(ValueError, match="shape mismatch"):
        auc(np.arange(3.0), labels, singletons(40))


def test_undefined_values_are_left_out() -> None:
    values, labels = (
        np.array([1.0, 2, 3, np.nan, np.inf]),
        np.array([False, False, True, True, True]),
    )
    assert auc(values, labels, singletons(5)) == Estimate(n=3, value=1.0)


def clustered(
    rng: np.random.Generator, effect: float
) -> tuple[Column, NDArray[np.bool_], NDArray[np.int64]]:
    """Values, labels and clusters of three rows, which share noise in values and in labels.

    Values of the two classes are normal with means `effect` apart and variance 1, so that the AUC
    is Φ(effect ÷ √2).
    """
    clusters = np.repeat(np.arange(70), 3)
    shared = [rng.normal(size=70)[clusters] for _ in range(2)]
    labels = shared[0] + rng.normal(size=210) > 0
    values = (shared[1] + rng.normal(size=210)) / math.sqrt(2) + effect * labels
    return values, labels, clusters


@pytest.mark.parametrize("effect", [0.0, 0.5, 1.2])
def test_intervals_of_clustered_aucs_cover_the_closed_form(effect: float) -> None:
    truth = stats.norm.cdf(effect / math.sqrt(2))
    covered, wrong = 0, 0
    for seed in range(REPEATS):
        found = auc(*clustered(np.random.default_rng(seed), effect))
        assert found.ci95 is not None
        assert found.p is not None
        covered += found.ci95[0] <= truth <= found.ci95[1]
        wrong += found.p < 0.05
    # 95 % ± 4 standard errors of the simulation, and 1 % for small samples.
    assert 0.88 <= covered / REPEATS <= 0.99
    if effect == 0:
        assert wrong / REPEATS <= 0.10


def test_without_clusters_the_intervals_are_too_narrow() -> None:
    """Negative control: labels and values that whole clusters share."""
    covered = {"clusters": 0, "rows": 0}
    for seed in range(200):
        rng = np.random.default_rng(seed)
        clusters = np.repeat(np.arange(60), 4)
        labels = (rng.random(60) < 0.5)[clusters]
        values = rng.normal(size=60)[clusters] + 0.1 * rng.normal(size=240)
        for name, groups in (("clusters", clusters), ("rows", singletons(240))):
            ci95 = auc(values, labels, groups).ci95
            assert ci95 is not None
            covered[name] += ci95[0] <= 0.5 <= ci95[1]
    assert covered["clusters"] >= 180
    assert covered["rows"] <= 150


def test_the_difference_of_two_aucs_has_the_right_level_and_power() -> None:
    level, power = 0, 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        values, labels, clusters = clustered(rng, 0.5)
        other = clustered(rng, 0.0)[0] + 0.5 * labels
        useless = rng.normal(size=len(values))
        same = auc_difference(values, other, labels, clusters)
        better = auc_difference(values + labels, useless, labels, clusters)
        assert same.p is not None
        assert better.p is not None
        level += same.p < 0.05
        power += better.p < 0.05
    assert level <= 22
    assert power >= 190


def controlled(rng: np.random.Generator, direct: float) -> Estimate:
    """A score that follows length, and a label that follows length and `direct` × its own part."""
    length, own = rng.normal(size=(2, 300))
    labels = length + direct * own + rng.normal(size=300) > 0
    return partial_correlation(length + own, labels, [length], singletons(300) // 2)


def test_the_partial_correlation_of_a_score_that_is_length_with_noise_is_zero() -> None:
    found = [controlled(np.random.default_rng(seed), 0.0) for seed in range(REPEATS)]
    covered = sum(one.ci95[0] <= 0 <= one.ci95[1] for one in found if one.ci95)
    assert 0.88 <= covered / REPEATS <= 0.99
    assert abs(np.mean([one.value for one in found if one.value is not None])) < 0.02


def test_the_partial_correlation_finds_what_a_score_says_beyond_length() -> None:
    found = [controlled(np.random.default_rng(seed), 1.0) for seed in range(50)]
    assert all(one.p is not None and one.p < 0.001 for one in found)


def test_the_partial_correlation_equals_that_of_three_correlations() -> None:
    rng = np.random.default_rng(3)
    x, z = rng.normal(size=(2, 90))
    y = rng.random(90) < 0.5

    def r(a: Column, b: Column) -> float:
        return float(np.corrcoef(a, b)[0, 1])

    rx, rz = (stats.norm.ppf(stats.rankdata(one) / 91) for one in (x, z))
    ry = y.astype(float)
    expected = (r(rx, ry) - r(rx, rz) * r(ry, rz)) / math.sqrt(
        (1 - r(rx, rz) ** 2) * (1 - r(ry, rz) ** 2)
    )
    assert partial_correlation(x, y, [z], singletons(90)).value == pytest.approx(expected)


def test_two_controls_are_both_removed() -> None:
    found = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        first, second = rng.normal(size=(2, 400))
        labels = first - second + rng.normal(size=400) > 0
        score = first - second + rng.normal(size=400)
        one = partial_correlation(score, labels, [first], singletons(400))
        assert one.p is not None
        assert one.p < 0.01
        found.append(partial_correlation(score, labels, [first, second], singletons(400)))
    assert abs(np.mean([one.value for one in found if one.value is not None])) < 0.02
    assert sum(one.ci95[0] < 0 < one.ci95[1] for one in found if one.ci95) >= 88


def test_the_partial_correlation_of_a_function_of_length_is_undefined() -> None:
    length = np.random.default_rng(4).normal(size=50)
    labels = length > 0
    assert partial_correlation(np.exp(length), labels, [length], singletons(50)) == Estimate(n=50)
    assert partial_correlation(length[:5], labels[:5], [length[:5]], singletons(5)).value is None


def test_calibrated_probabilities_lie_on_the_diagonal() -> None:
    rng = np.random.default_rng(5)
    predicted = rng.random(4000)
    labels = rng.random(4000) < predicted
    bins = calibration(predicted, labels)
    assert sum(one.n for one in bins) == 4000
    assert len(bins) == 10
    assert sum(one.ci95[0] <= one.predicted <= one.ci95[1] for one in bins) >= 8
    shifted = calibration(np.clip(predicted + 0.3, 0, 1), labels)  # negative control
    assert sum(one.ci95[0] <= one.predicted <= one.ci95[1] for one in shifted) <= 2


def test_small_samples_have_few_bins() -> None:
    assert len(calibration(np.full(12, 0.5), np.arange(12) < 6)) == 1


def test_brier_and_wilson_and_codes() -> None:
    assert brier(np.full(4, 0.5), np.array([True, False, True, False])) == 0.25
    assert wilson_ci95(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert cluster_codes(["b", "a", "b"]).tolist() == [1, 0, 1]
