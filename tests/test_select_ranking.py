"""The arithmetic of a selection, against slow references and numbers worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifdkit.errors import UsageError
from ifdkit.selection.ranking import Column, Top, apportion, best_first, best_within_bands, drawn

NAN = math.nan


@pytest.mark.parametrize(
    ("text", "rows", "n"),
    [
        ("5%", 1000, 50),
        ("5%", 1019, 50),
        ("5 %", 52002, 2600),
        ("29%", 100, 29),
        ("0.5%", 399, 1),
        ("100%", 7, 7),
        ("2000", 10, 2000),
        (" 3 ", 10, 3),
    ],
)
def test_a_share_of_all_rows_is_rounded_down(text: str, rows: int, n: int) -> None:
    assert Top(text, "--top").of(rows) == n


def test_floats_would_lose_a_row() -> None:
    """Negative control: why the share is computed exactly."""
    assert int(100 * 0.29) == 28


@pytest.mark.parametrize(
    "text", ["", "0", "0%", "0.0%", "101%", "-3", "-5%", "five", "1e3", "1/3%", "5%%", "2.5", "nan"]
)
def test_invalid_numbers_of_rows_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--top"):
        Top(text, "--top")


def test_a_share_of_less_than_one_row_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"--pool 5% of 19 rows is less than one row"):
        Top("5%", "--pool").of(19)


def slow_best(values: Sequence[float], *, lowest: bool) -> list[int]:
    """Slow reference: pick the best remaining one, first place first."""
    left = [i for i, value in enumerate(values) if math.isfinite(value)]
    found = []
    while left:
        best = left[0]
        for i in left:
            if (values[i] < values[best]) if lowest else (values[i] > values[best]):
                best = i
        left.remove(best)
        found.append(best)
    return found


few = st.sampled_from([NAN, math.inf, -math.inf, 0.0, -0.0, 0.1, 0.5, 0.9, 1.0, 7.0])


@given(st.lists(few, max_size=12), st.booleans())
def test_the_best_come_first_and_ties_in_file_order(values: list[float], lowest: bool) -> None:
    found = best_first(np.array(values, dtype=np.float64), lowest=lowest)
    assert found.tolist() == slow_best(values, lowest=lowest)


def test_ties_by_hand() -> None:
    values = np.array([0.5, 0.9, NAN, 0.9, 0.5])
    assert best_first(values).tolist() == [1, 3, 0, 4]
    assert best_first(values, lowest=True).tolist() == [0, 4, 1, 3]


def test_a_draw_depends_on_its_seed() -> None:
    one = drawn(1000, 50, seed=3)
    assert np.array_equal(one, drawn(1000, 50, seed=3))
    assert not np.array_equal(one, drawn(1000, 50, seed=4))
    assert (np.diff(one) > 0).all()
    assert drawn(3, 50, seed=0).tolist() == [0, 1, 2]


def test_every_row_is_equally_likely() -> None:
    counts = np.zeros(20)
    for seed in range(2000):
        counts[drawn(20, 5, seed)] += 1
    # Binomial: 500 ± 19; five standard deviations.
    assert np.abs(counts - 500).max() < 97


@pytest.mark.parametrize(
    ("n", "sizes", "limits", "shares"),
    [
        (10, [5, 3, 2], [9, 9, 9], [5, 3, 2]),
        (10, [6, 6, 2], [9, 9, 9], [4, 4, 2]),  # 4.29, 4.29, 1.43
        (1, [1, 1, 1], [1, 1, 1], [1, 0, 0]),
        (10, [5, 5], [2, 20], [2, 8]),
        (10, [10, 5, 5], [1, 3, 20], [1, 3, 6]),  # 5, then 4.5 each, then the remainder
        (3, [4, 4, 4], [0, 0, 3], [0, 0, 3]),
        (0, [2, 2], [2, 2], [0, 0]),
        (0, [], [], []),
    ],
)
def test_shares_by_hand(n: int, sizes: list[int], limits: list[int], shares: list[int]) -> None:
    assert apportion(n, sizes, limits) == shares


parts = st.lists(st.tuples(st.integers(1, 50), st.integers(0, 50)), min_size=1, max_size=8)


@given(parts, st.integers(0, 10_000))
def test_shares_sum_to_n_within_their_limits(sized: list[tuple[int, int]], n: int) -> None:
    sizes = [size for size, _ in sized]
    limits = [min(limit, size) for size, limit in sized]
    n %= sum(limits) + 1
    shares = apportion(n, sizes, limits)
    assert sum(shares) == n
    assert all(0 <= share <= limit for share, limit in zip(shares, limits, strict=True))
    open_ = apportion(n, sizes, [10_000] * len(sizes))
    for share, size in zip(open_, sizes, strict=True):
        assert abs(share - n * size / sum(sizes)) < 1


def test_each_band_contributes_its_best() -> None:
    generator = np.random.default_rng(0)
    values = np.where(generator.random(500) < 0.2, NAN, generator.random(500))
    lengths: Column = generator.integers(1, 400, 500).astype(np.float64)
    chosen, bands = best_within_bands(values, lengths, 100, 5)
    assert len(chosen) == len(set(chosen.tolist())) == 100
    for band in bands:
        inside = (lengths >= band.shortest) & (lengths <= band.longest)
        assert (int(inside.sum()), int(np.isfinite(values[inside]).sum())) == (
            band.rows, band.candidates)  # fmt: skip
        best = slow_best(np.where(inside, values, NAN).tolist(), lowest=False)[: band.taken]
        assert set(best) == {i for i in chosen.tolist() if inside[i]}
    assert [band.taken for band in bands] == [20] * 5
    assert sum(band.rows for band in bands) == 500
    assert all(a.longest < b.shortest for a, b in pairwise(bands))


def test_other_bands_make_up_for_a_short_one() -> None:
    lengths = np.array([1.0, 1, 1, 1, 9, 9, 9, 9])
    values = np.array([NAN, NAN, NAN, 0.1, 0.4, 0.3, 0.2, 0.1])
    chosen, bands = best_within_bands(values, lengths, 4, 2)
    assert set(chosen.tolist()) == {3, 4, 5, 6}
    assert [(band.rows, band.candidates, band.taken) for band in bands] == [(4, 1, 1), (4, 4, 3)]


def test_equal_lengths_are_one_band_and_unknown_ones_are_in_none() -> None:
    same = np.full(6, 7.0)
    chosen, bands = best_within_bands(np.arange(6.0), same, 2, 10)
    assert set(chosen.tolist()) == {5, 4}
    assert len(bands) == 1
    chosen, bands = best_within_bands(np.arange(6.0), np.full(6, NAN), 2, 10)
    assert (chosen.tolist(), bands) == ([], [])
