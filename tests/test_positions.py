"""Curves of IFD and NLL over the position in the response."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ifdkit.comparison.length_control.cutting import ScoredSide
from ifdkit.comparison.positions import FIRST, MIN_PAIRS_PER_POINT, position_points
from ifdkit.report.comparison.position_figures import position_curves

pytestmark = pytest.mark.long


def side(lengths: list[int], *, seed: int = 0, shift: float = 0.0, skipped: int = 0) -> ScoredSide:
    """Random NLLs of responses of so many tokens; the direct pass may lack the first."""
    rng = np.random.default_rng(seed)
    direct = [rng.normal(3, 0.5, n - skipped).astype(np.float32) for n in lengths]
    conditional = [rng.normal(2 + shift, 0.5, n).astype(np.float32) for n in lengths]
    return ScoredSide(
        ifd=np.ones(len(lengths)),
        response_tokens=np.array(lengths, dtype=float),
        token_nll_direct=direct,
        token_nll_conditional=conditional,
        skipped_direct=skipped,
    )


@settings(max_examples=8)
@given(
    st.lists(st.integers(4, 40), min_size=20, max_size=30),
    st.lists(st.integers(4, 40), min_size=20, max_size=30),
    st.integers(0, 1),
)
def test_points_are_those_of_a_slow_reference(a: list[int], b: list[int], skipped: int) -> None:
    n = min(len(a), len(b))
    sides = side(a[:n], seed=1, skipped=skipped), side(b[:n], seed=2, skipped=skipped)
    points = position_points(*sides, n, seed=0)
    used = {stop: [i for i in range(n) if min(a[i], b[i]) >= stop] for stop in (4, 8, 16, 32)}
    kept = {stop for stop, rows in used.items() if len(rows) >= MIN_PAIRS_PER_POINT}
    assert {one.stop for one in points} == kept
    assert len(points) == 6 * len(kept)
    for one in points:
        data = sides[one.side == "after"]
        assert data.token_nll_direct is not None
        assert data.token_nll_conditional is not None
        values = []
        for row in used[one.stop]:
            direct = data.token_nll_direct[row]
            conditional = data.token_nll_conditional[row]
            assert direct is not None
            assert conditional is not None
            if one.quantity == "ifd":
                means = [np.mean(np.asarray(x[:k], float)) for x, k in (
                    (conditional, one.stop), (direct, one.stop - skipped))]  # fmt: skip
                values.append(math.exp(means[0] - means[1]))
            elif one.quantity == "nll_response_direct":
                part = direct[max(0, one.start - skipped) : one.stop - skipped]
                values.append(float(np.mean(np.asarray(part, float))))
            else:
                part = conditional[one.start : one.stop]
                values.append(float(np.mean(np.asarray(part, float))))
        assert one.median == pytest.approx(np.median(values), abs=1e-5)
        assert one.n_pairs == len(values)


def test_a_planted_difference_shows_on_every_position_and_nowhere_else() -> None:
    lengths = [64] * 60
    points = position_points(side(lengths, seed=1), side(lengths, seed=2, shift=1), 60, seed=0)
    ends = {(one.quantity, one.side, one.stop): one.ci95 for one in points}
    for stop in (4, 8, 16, 32, 64):
        for quantity, differs in (
            ("nll_response_conditional", True), ("ifd", True), ("nll_response_direct", False),
        ):  # fmt: skip
            before, after = ends[quantity, "before", stop], ends[quantity, "after", stop]
            assert before is not None
            assert after is not None
            assert (after[0] > before[1]) is differs, (quantity, stop)


def test_without_nlls_or_with_few_pairs_there_is_no_curve() -> None:
    bare = ScoredSide(ifd=np.ones(50), response_tokens=np.full(50, 30.0))
    assert position_points(bare, bare, 50, seed=0) == ()
    few = side([30] * (MIN_PAIRS_PER_POINT - 1))
    assert position_points(few, few, MIN_PAIRS_PER_POINT - 1, seed=0) == ()
    short = side([FIRST] * 30)
    points = position_points(short, short, 30, seed=0)
    assert {one.stop for one in points} == {FIRST}
    assert position_curves(points) == []  # one point is no curve


def test_the_figures_say_their_numbers() -> None:
    points = position_points(side([40] * 30), side([40] * 30, seed=3), 30, seed=0)
    drawings = position_curves(points)
    assert len(drawings) == 3
    for drawing in drawings:
        assert "after, " in drawing.svg
        assert "30 pairs" in drawing.svg
        assert "<script" not in drawing.svg
