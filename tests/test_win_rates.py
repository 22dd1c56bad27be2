"""Win rates: the published formula, the interval over instructions, length held fixed."""

from __future__ import annotations

from unittest.mock import Mock

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit

from ifdkit.stats import win_rates
from ifdkit.stats.win_rates import (
    length_controlled_rate,
    mean_rate,
    published_win_rate,
)

pytestmark = pytest.mark.long

Column = NDArray[np.float64]


def test_the_published_formula_on_wins_ties_and_probabilities() -> None:
    """By hand, as AlpacaEval: mean of preference − 1, in percent."""
    found = published_win_rate(np.array([0.0, 1.0, 0.5, 0.83]))
    assert found.win_rate == pytest.approx(58.25)
    assert found.discrete_win_rate == 62.5
    assert found.standard_error == pytest.approx(22.0165, abs=1e-3)
    counts = (found.n_wins, found.n_wins_base, found.n_draws, found.n_total)
    assert counts == (2, 1, 1, 4)
    assert published_win_rate(np.array([1.0])).standard_error is None
    with pytest.raises(ValueError, match="no preferences"):
        published_win_rate(np.array([]))


def simulated(
    seed: int, *, skill: float, taste: float, mean: float = 1.0, n: int = 400
) -> tuple[Column, Column]:
    """Preferences and length differences: log-odds are skill + taste · tanh(d ÷ sd)."""
    rng = np.random.default_rng(seed)
    difference = 100 * rng.normal(mean, 1, size=n)
    odds = skill + taste * np.tanh(difference / difference.std())
    return (rng.random(n) < expit(odds)).astype(np.float64), difference


def test_the_length_controlled_rate_is_that_of_equal_lengths() -> None:
    for skill in (-0.8, 0.0, 0.8):
        rates = [
            length_controlled_rate(*simulated(seed, skill=skill, taste=1.5), np.arange(400), seed=0)
            for seed in range(20)
        ]
        found = np.mean([one.value for one in rates if one.value is not None])
        assert found == pytest.approx(expit(skill), abs=0.03)
        covered = sum(one.ci95[0] <= expit(skill) <= one.ci95[1] for one in rates if one.ci95)
        assert covered >= 16


def test_a_judge_that_only_sees_length_has_no_winner_at_equal_length() -> None:
    difference = 100 * np.random.default_rng(1).normal(0.8, 1, size=400)
    preferences = (difference > 0).astype(np.float64)
    raw = mean_rate(preferences, np.arange(400), seed=0)
    controlled = length_controlled_rate(preferences, difference, np.arange(400), seed=0)
    assert raw.value is not None
    assert raw.value > 0.75
    assert controlled.value == pytest.approx(0.5, abs=0.1)
    assert controlled.ci95 is not None
    assert controlled.ci95[0] < 0.5 < controlled.ci95[1]


def test_equal_lengths_and_few_pairs() -> None:
    preferences = np.array([1.0] * 9 + [0.0] * 3)
    same = length_controlled_rate(preferences, np.zeros(12), np.arange(12), seed=0)
    assert same.value == pytest.approx(0.75)
    few = length_controlled_rate(preferences[:9], np.zeros(9), np.arange(9), seed=0)
    assert few.value is None
    assert mean_rate(preferences[:3], np.arange(3), seed=0).ci95 is None
    assert mean_rate(np.array([]), np.array([], dtype=np.int64), seed=0).value is None


def test_the_interval_of_a_mean_covers_it_with_clusters() -> None:
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        clusters = np.repeat(np.arange(60), 3)
        chance = expit(rng.normal(size=60))[clusters]
        found = mean_rate((rng.random(180) < chance).astype(np.float64), clusters, seed=seed)
        assert found.ci95 is not None
        covered += found.ci95[0] <= 0.5 <= found.ci95[1]
    assert covered >= 180


def test_the_same_seed_gives_the_same_interval() -> None:
    values, clusters = simulated(0, skill=0.3, taste=0.0)[0], np.arange(400)
    assert mean_rate(values, clusters, seed=3) == mean_rate(values, clusters, seed=3)
    assert len({mean_rate(values, clusters, seed=seed).ci95 for seed in range(5)}) > 1


def test_resamples_in_batches_are_those_of_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    preferences, difference = simulated(3, skill=0.3, taste=1.0)
    clusters = np.arange(400) // 2
    found = []
    for size in (2**40, 400 * 7):
        monkeypatch.setattr(win_rates, "_WEIGHTS_PER_BATCH", size)
        found.append(
            (
                mean_rate(preferences, clusters, seed=1).ci95,
                length_controlled_rate(preferences, difference, clusters, seed=1).ci95,
            )
        )
    for one, other in zip(*found, strict=True):
        assert one == pytest.approx(other, abs=1e-7)
    assert found[0][0] != mean_rate(preferences, clusters, seed=2).ci95


@pytest.mark.parametrize(
    ("pairs_per_cluster", "taste", "takes_one_step"),
    [(1, 0.0, True), (1, 1.5, True), (1, -3.0, True), (2, 1.5, True), (3, 1.5, False)],
)
def test_one_step_fits_a_resample_of_many_pairs(
    pairs_per_cluster: int, taste: float, takes_one_step: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    preferences, difference = simulated(5, skill=0.4, taste=taste, n=40_000)
    clusters = np.arange(40_000) // pairs_per_cluster
    monkeypatch.setattr(win_rates, "RESAMPLES", 200)
    fitted = Mock(wraps=win_rates._fitted)
    monkeypatch.setattr(win_rates, "_fitted", fitted)
    found = []
    for limit in (win_rates._ONE_STEP_FROM, 10**9):
        monkeypatch.setattr(win_rates, "_ONE_STEP_FROM", limit)
        fitted.reset_mock()
        found.append(length_controlled_rate(preferences, difference, clusters, seed=1).ci95)
        if limit < 10**9:
            assert (fitted.call_count == 1) == takes_one_step
    assert found[0] is not None
    width = found[0][1] - found[0][0]
    assert width > 0.01
    assert found[0] == pytest.approx(found[1], abs=0.015 * width)


def test_many_pairs_that_tell_little_are_fitted_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """A judge that always prefers the longer answer: only pairs of nearly equal length count."""
    difference = 100 * np.random.default_rng(1).normal(0.0, 1, size=25_000)
    preferences, clusters = (difference > 0).astype(np.float64), np.arange(25_000)
    monkeypatch.setattr(win_rates, "RESAMPLES", 100)
    found = length_controlled_rate(preferences, difference, clusters, seed=1).ci95
    monkeypatch.setattr(win_rates, "_ONE_STEP_FROM", 10**9)
    assert found == length_controlled_rate(preferences, difference, clusters, seed=1).ci95
