"""How much of the change of any metric is length: simulations in which the truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from ifdkit.comparison.length_control.residuals import length_of_metrics, mostly_length
from ifdkit.comparison.result import LengthOfMetric

NAME, RATIO = "mean_entropy", "compression_ratio"


def simulated(*, by_length: float, own: float, longer: float, n: int = 600) -> LengthOfMetric:
    """A metric = by_length × log(length) + noise, plus `own` after; lengths grow by `longer`."""
    generator = np.random.default_rng(0)
    before = np.exp(generator.normal(4, 0.6, n))
    after = before * np.exp(generator.normal(np.log(longer), 0.2, n))
    old, new = (
        by_length * np.log(lengths) + generator.normal(0, 0.1, n) for lengths in (before, after)
    )
    values = {"response_tokens": (before, after), NAME: (old, new + own)}
    return length_of_metrics(values, seed=0)[NAME]


def test_a_change_that_is_all_length() -> None:
    found = simulated(by_length=0.5, own=0.0, longer=2.0)
    assert found.raw_change == pytest.approx(0.5 * np.log(2), abs=0.03)
    assert found.equal_length_change == pytest.approx(0, abs=0.02)
    assert found.share_due_to_length == pytest.approx(1, abs=0.08)
    assert found.is_mostly_length
    assert "Mean entropy" in mostly_length({NAME: found})[0]


def test_a_change_that_is_not_length() -> None:
    """Negative control: lengths grow, but the metric does not depend on them."""
    found = simulated(by_length=0.0, own=0.4, longer=2.0)
    assert found.equal_length_change == pytest.approx(0.4, abs=0.03)
    assert not found.is_mostly_length
    assert mostly_length({NAME: found}) == []


def test_half_and_half() -> None:
    found = simulated(by_length=0.5, own=0.5 * np.log(2), longer=2.0)
    assert found.share_due_to_length == pytest.approx(0.5, abs=0.06)


def test_lengths_that_stay_explain_nothing() -> None:
    found = simulated(by_length=0.5, own=0.3, longer=1.0)
    assert found.equal_length_change == pytest.approx(0.3, abs=0.03)
    assert not found.is_mostly_length


def test_no_change_has_no_share() -> None:
    found = simulated(by_length=0.0, own=0.0, longer=2.0)
    assert found.share_due_to_length is None
    assert not found.is_mostly_length


def test_factors_are_compared_as_logarithms() -> None:
    lengths = np.geomspace(10, 1000, 50)
    sides = (lengths**0.5, (3 * lengths) ** 0.5)
    values = {"response_tokens": (lengths, 3 * lengths), RATIO: sides}
    found = length_of_metrics(values, seed=0)[RATIO]
    assert found.is_log
    assert found.raw_change == pytest.approx(0.5 * np.log(3))
    assert found.equal_length_change == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("n", [0, 9])
def test_too_few_pairs_are_left_out(n: int) -> None:
    column = np.arange(1.0, n + 1)
    values = {"response_tokens": (column, column), NAME: (column, column + 1)}
    assert length_of_metrics(values, seed=0) == {}
    assert length_of_metrics({NAME: (column, column)}, seed=0) == {}


def test_equal_lengths_have_no_slope() -> None:
    length, values = np.full(20, 7.0), np.arange(20.0)
    found = length_of_metrics({"response_tokens": (length, length), NAME: (values, values + 1)}, 0)
    assert found[NAME].equal_length_change == 1.0
