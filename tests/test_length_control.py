"""Length control: against slow references, and on simulated tokens with a known truth.

The simulated instruction helps with the first tokens and less and less with later ones, so that IFD
rises with length even if nothing else differs.  A true effect adds the same number of nats to every
conditional NLL: it multiplies IFD by exp(effect) at any length.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ifdkit.comparison import length_control as module
from ifdkit.comparison.length_control import (
    ScoredSide,
    cutting,
    length_control,
    matching,
)
from ifdkit.comparison.length_control.cutting import ifd_of_first, scored_tokens, tokens_skipped
from ifdkit.comparison.length_control.verdict import Lengths, PointEstimate, verdict
from ifdkit.comparison.result import LengthControl
from ifdkit.errors import UsageError
from ifdkit.records import NLL
from ifdkit.scoring.arithmetic import first_tokens, mean_nll, perplexity_ratio
from ifdkit.stats.columns import Column, median_ci95

pytestmark = pytest.mark.long

Counts = NDArray[np.int64]
DECAY = 30.0
"""Tokens over which the help of the instruction decays to 1/e."""


def lengths_of(rng: np.random.Generator, n: int, median: float) -> Counts:
    return np.maximum(10, rng.lognormal(math.log(median), 0.7, n)).astype(np.int64)


def simulated(
    rng: np.random.Generator,
    lengths: Counts,
    help_nats: Column,
    *,
    effect: float = 0.0,
    preamble: int = 0,
) -> ScoredSide:
    """One side: the help of the instruction decays from `help_nats` with position.

    The first `preamble` tokens are a phrase that does not depend on the instruction.
    """
    total = int(lengths.sum())
    position = np.arange(total) - np.repeat(np.cumsum(lengths) - lengths, lengths) - preamble
    direct = rng.gamma(4, 0.75, total)
    helped = np.repeat(help_nats, lengths) * np.exp(-np.maximum(position, 0) / DECAY) - effect
    conditional = direct - np.where(position >= 0, helped, 0.0) + rng.normal(0, 0.3, total)
    cuts = np.cumsum(lengths)[:-1]
    d, c = (np.split(nll.astype(np.float32), cuts) for nll in (direct, conditional))
    ifd = [perplexity_ratio(mean_nll(y), mean_nll(x)) for x, y in zip(d, c, strict=True)]
    return ScoredSide(
        ifd=np.array(ifd, dtype=np.float64),
        response_tokens=lengths,
        token_nll_direct=d,
        token_nll_conditional=c,
    )


def dataset(
    medians: tuple[float, float],
    *,
    effect: float = 0.0,
    n: int = 500,
    seed: int = 0,
    preamble: int = 0,
) -> tuple[ScoredSide, ScoredSide]:
    """Before and after with these median lengths; equal medians give equal lengths per pair."""
    rng = np.random.default_rng(seed)
    help_nats = rng.gamma(9, 0.1, n) + 0.3
    before = lengths_of(rng, n, medians[0])
    after = before if medians[0] == medians[1] else lengths_of(rng, n, medians[1])
    return (
        simulated(rng, before, help_nats),
        simulated(rng, after, help_nats, effect=effect, preamble=preamble),
    )


def covers(interval: tuple[float, float] | None, truth: float) -> bool:
    assert interval is not None
    return interval[0] <= truth <= interval[1]


def column(side: ScoredSide) -> Column:
    return np.asarray(side.ifd, dtype=np.float64)


# Simulations


@pytest.mark.parametrize(
    ("medians", "word"), [((80.0, 250.0), "longer"), ((250.0, 80.0), "shorter")]
)
def test_length_alone(medians: tuple[float, float], word: str) -> None:
    """(a) The same process with other lengths: a clear raw change, of which nothing remains."""
    found = length_control(*dataset(medians))
    sign = 1 if word == "longer" else -1
    assert sign * (found.raw_change or 0.0) > 0.12
    assert found.raw_ci95 is not None
    assert min(sign * end for end in found.raw_ci95) > 0
    for change, interval in (
        (found.common_length_change, found.common_length_ci95),
        (found.window_change, found.window_ci95),
        (found.matched_change, found.matched_ci95),
    ):
        assert change == pytest.approx(0.0, abs=0.02)
        assert covers(interval, 0.0)
    assert found.share_due_to_length == pytest.approx(1.0, abs=0.05)
    assert covers(found.ci95, 1.0)
    assert (found.spearman_before or 0.0) > 0.7
    assert f"{word} responses alone account for" in found.sentence
    assert "not distinguishable from zero" in found.sentence
    assert found.notes == ()


def test_a_true_effect_at_equal_lengths() -> None:
    """(b) Nothing is attributed to length."""
    before, after = dataset((150.0, 150.0), effect=0.1)
    found = length_control(before, after)
    truth = float(np.median(column(before) * math.expm1(0.1)))
    assert found.raw_change == pytest.approx(truth, abs=0.01)
    assert found.common_length_change == pytest.approx(found.raw_change, abs=1e-9)
    assert found.matched_change == pytest.approx(truth, abs=0.02)
    assert found.overlap == 1.0
    assert found.share_due_to_length == pytest.approx(0.0, abs=1e-9)
    assert "does not come from length: the median pair shows no clear" in found.sentence


def test_length_and_a_true_effect() -> None:
    """(c) The effect at common length is recovered."""
    before, after = dataset((80.0, 200.0), effect=0.06, n=2_000)
    found = length_control(before, after)
    rows = np.arange(2_000)
    common = np.minimum(scored_tokens(before, rows), scored_tokens(after, rows))
    without_effect = ifd_of_first(before, rows, common)
    truth = float(np.median(without_effect) * math.expm1(0.06))
    assert found.common_length_change == pytest.approx(truth, abs=0.005)
    share = 1 - truth / (found.raw_change or math.nan)
    assert 0.5 < share < 0.9
    assert found.share_due_to_length == pytest.approx(share, abs=0.03)
    assert covers(found.ci95, share)
    assert (found.raw_change or 0.0) > 3 * truth, "negative control: the raw change is far larger"


def test_matching_recovers_the_effect_if_length_is_the_only_confounder() -> None:
    """(d) Without NLLs of tokens; at any length the effect multiplies IFD by exp(0.1)."""
    before, after = dataset((100.0, 180.0), effect=0.1, n=4_000, seed=3)
    bare = [replace(s, token_nll_direct=None, token_nll_conditional=None) for s in (before, after)]
    found = length_control(bare[0], bare[1])
    middle = np.abs(np.log(np.asarray(before.response_tokens) / math.sqrt(100 * 180))) < 0.3
    truth = float(np.median(column(before)[middle]) * math.expm1(0.1))
    assert found.matched_change == pytest.approx(truth, abs=0.012)
    assert covers(found.matched_ci95, truth)
    assert (found.raw_change or 0.0) > truth + 0.05, "negative control"
    assert found.overlap is not None
    assert 0.5 < found.overlap < 0.8


@pytest.mark.parametrize("preamble", [0, 20])
def test_a_preamble_misleads_window_and_common_length_as_documented(preamble: int) -> None:
    """The same responses after some tokens of boilerplate, which no cutting can detect."""
    rng = np.random.default_rng(5)
    help_nats, lengths = rng.gamma(9, 0.1, 400) + 0.3, lengths_of(rng, 400, 50)
    before = simulated(rng, lengths, help_nats)
    after = simulated(rng, lengths + preamble, help_nats, preamble=preamble)
    found = length_control(before, after, window=32)
    for change in (found.window_change, found.common_length_change):
        assert change is not None
        assert (change > 0.04) if preamble else (abs(change) < 0.01)


def test_matching_is_misled_if_length_is_a_proxy() -> None:
    """As documented: before, only instructions that help a lot have long responses.

    After, both kinds have long responses, and nothing but length has changed.
    """
    rng = np.random.default_rng(0)
    helps_much = np.arange(600) % 2 == 0
    help_nats = np.where(helps_much, 2.0, 0.5)
    short, long, also_long = (lengths_of(rng, 600, median) for median in (40, 200, 200))
    found = length_control(
        simulated(rng, np.where(helps_much, long, short), help_nats),
        simulated(rng, also_long, help_nats),
    )
    assert covers(found.common_length_ci95, 0.0)
    assert found.matched_ci95 is not None
    assert found.matched_ci95[0] > 0.02


def test_shorter_responses_can_hide_a_rise() -> None:
    before, after = dataset((150.0, 88.0), effect=0.11, n=400, seed=2)
    found = length_control(before, after)
    assert found.common_length_change is not None
    assert found.common_length_change > 0.04
    assert found.raw_change is not None
    assert found.raw_change < found.common_length_change - 0.03


@pytest.mark.long
def test_the_false_positive_rate_at_common_length_is_5_percent() -> None:
    """300 datasets in which only length changed: 15 false positives ± 4 errors of 3.8."""
    false_positives = 0
    rows = np.arange(50)
    for seed in range(300):
        before, after = dataset((60.0, 120.0), n=50, seed=seed)
        common = np.minimum(scored_tokens(before, rows), scored_tokens(after, rows))
        change = ifd_of_first(after, rows, common) - ifd_of_first(before, rows, common)
        false_positives += not covers(median_ci95(change, seed=seed), 0.0)
    assert 1 <= false_positives <= 33, false_positives


@pytest.mark.long
def test_the_interval_of_the_share_covers_the_truth_in_95_of_100_datasets() -> None:
    """Correlated normal changes with medians 0.3 and 0.06: the share is 0.8."""
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(300):
        common = rng.normal(0.06, 0.1, 80)
        raw = common + rng.normal(0.24, 0.15, 80)
        estimate = PointEstimate(float(np.median(raw)), median_ci95(raw, seed=seed), 80)
        zero = np.zeros(80)
        share = module._share(np.stack([zero, raw]), np.stack([zero, common]), estimate, seed)
        assert share is not None
        covered += covers(share.ci95, 0.8)
    assert 0.89 <= covered / 300 <= 0.995, covered


# Cutting


def slow_ifd(side: ScoredSide, row: int, count: int) -> float | None:
    """Slow reference: one response at a time, with the arithmetic of the metrics."""
    assert side.token_nll_direct is not None
    assert side.token_nll_conditional is not None
    direct, conditional = (
        np.array(nlls[row], dtype=np.float32)
        for nlls in (side.token_nll_direct, side.token_nll_conditional)
    )
    return perplexity_ratio(
        mean_nll(first_tokens(conditional, side.skipped_conditional, count)),
        mean_nll(first_tokens(direct, side.skipped_direct, count)),
    )


@pytest.mark.parametrize(
    "skipped", [(0, 0), (1, 0), (1, 1)], ids=["aligned", "joined", "anchorless"]
)
@pytest.mark.parametrize("chunk", [3, 4096])
@pytest.mark.parametrize("as_lists", [False, True])
def test_cutting_agrees_with_the_arithmetic_of_the_metrics(
    skipped: tuple[int, int], chunk: int, as_lists: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cutting, "_CHUNK", chunk)
    rng = np.random.default_rng(1)
    n_tokens = rng.integers(2, 40, size=25)

    def nlls(missing: int) -> list[NLL | list[float]]:
        arrays = [rng.gamma(4, 1, n - missing).astype(np.float32) for n in n_tokens]
        return [[float(str(x)) for x in nll] if as_lists else nll for nll in arrays]

    side = ScoredSide(
        ifd=np.ones(25),
        response_tokens=n_tokens,
        token_nll_direct=nlls(skipped[0]),
        token_nll_conditional=nlls(skipped[1]),
        skipped_direct=skipped[0],
        skipped_conditional=skipped[1],
    )
    rows = rng.permutation(25)
    assert (scored_tokens(side, rows) == n_tokens[rows]).all()
    for counts in (n_tokens[rows], (n_tokens[rows] + 2) // 2):
        expected = [slow_ifd(side, row, count) for row, count in zip(rows, counts, strict=True)]
        assert ifd_of_first(side, rows, counts) == pytest.approx(expected, rel=1e-12)


def test_ifd_is_undefined_if_nothing_is_scored() -> None:
    side = ScoredSide(
        ifd=[1.0, 1.0, 1.0],
        response_tokens=[1, 9, 9],
        token_nll_direct=[np.zeros(0, np.float32), None, [1.0, 2.0]],
        token_nll_conditional=[[1.0], [1.0], [800.0, math.inf]],
        skipped_direct=1,
    )
    rows = np.arange(3)
    assert scored_tokens(side, rows).tolist() == [0, 0, 2]
    assert np.isnan(ifd_of_first(side, rows, np.array([0, 0, 2]))).all()


def test_the_median_row_decides_whether_a_pass_skips_a_token() -> None:
    n_tokens = np.array([5.0, 8.0, 3.0, 9.0, 7.0])
    assert tokens_skipped(n_tokens, np.array([5, 8, 2, 9, 7])) == 0
    assert tokens_skipped(n_tokens, np.array([4, 7, 3, 8, 6])) == 1
    assert tokens_skipped(n_tokens, np.array([0, 0, 0, 8, 6])) == 1, "rows without NLLs are ignored"
    assert tokens_skipped(n_tokens, np.zeros(5, dtype=np.int64)) == 0
    assert tokens_skipped(np.zeros(0), np.zeros(0, dtype=np.int64)) == 0


def test_a_protocol_that_skips_a_token_gives_exact_ifd() -> None:
    """With `skipped_direct` set, IFD at full length is that of the whole response."""
    sides = []
    for side in dataset((80.0, 200.0), n=60):
        assert side.token_nll_direct is not None
        assert side.token_nll_conditional is not None
        direct = [np.asarray(nll)[1:] for nll in side.token_nll_direct]
        ifd = [
            perplexity_ratio(mean_nll(np.asarray(c)), mean_nll(d))
            for c, d in zip(side.token_nll_conditional, direct, strict=True)
        ]
        sides.append(replace(side, ifd=ifd, token_nll_direct=direct, skipped_direct=1))
        rows = np.arange(60)
        whole = ifd_of_first(sides[-1], rows, np.asarray(side.response_tokens))
        assert whole == pytest.approx(ifd, rel=1e-12)
    assert length_control(*sides).n_common_length == 60


# Matching


def test_weighted_medians_by_hand() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0])
    assert matching._weighted_median(values, np.array([1.0, 1.0, 1.0, 1.0])) == 2.5
    assert matching._weighted_median(values, np.array([1.0, 1.0, 0.0, 2.0])) == 3.0
    assert matching._weighted_median(values, np.array([3.0, 1.0, 1.0, 0.0])) == 1.0
    assert matching._weighted_median(values, np.array([0.0, 0.0, 0.0, 2.0])) == 4.0


@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(0, 4)), min_size=1, max_size=30))
def test_a_weighted_median_is_the_median_of_copies(pairs: list[tuple[int, int]]) -> None:
    values, times = np.array(sorted(pairs), dtype=np.float64).T
    if times.any():
        copies = np.repeat(values, times.astype(int))
        assert matching._weighted_median(values, times) == np.median(copies)


def test_equal_lengths_need_no_matching() -> None:
    rng = np.random.default_rng(0)
    ifd, tokens = rng.normal(size=(2, 200)), np.tile(rng.integers(8, 300, 200), (2, 1))
    estimate, overlap = matching.matched_change(ifd, tokens.astype(np.float64), 0)
    assert overlap == 1.0
    assert estimate is not None
    assert estimate.value == pytest.approx(np.median(ifd[1]) - np.median(ifd[0]))


def test_lengths_that_do_not_overlap_are_not_matched() -> None:
    before, after = dataset((20.0, 20_000.0), n=40)
    bare = [replace(s, token_nll_direct=None, token_nll_conditional=None) for s in (before, after)]
    found = length_control(*bare)
    assert found.matched_change is None
    assert found.overlap == 0.0
    assert any("overlap by 0 %" in note for note in found.notes)


def test_many_pairs_have_fewer_resamples() -> None:
    assert [matching.resamples(n) for n in (10, 25_000, 100_000, 10**7)] == [2000, 2000, 500, 200]


def test_a_change_in_length_that_may_be_zero_has_no_direction() -> None:
    """The interval of the median change ends at zero, as it does if many rows are unchanged."""
    from ifdkit.comparison.length_control import _lengths

    before = np.full(40, 100.0)
    after = before + np.where(np.arange(40) < 20, 0.0, 5.0)
    assert _lengths(np.stack([before, after])).direction == 0
    assert _lengths(np.stack([after, before])).direction == 0
    assert _lengths(np.stack([before, before + 5])).direction == 1
    assert _lengths(np.stack([before + 5, before])).direction == -1


# Missing numbers, and which pairs are used


def test_without_nlls_only_raw_and_matched_are_estimated() -> None:
    before, after = dataset((80.0, 200.0), n=60)
    found = length_control(replace(before, token_nll_conditional=None), after)
    assert found.raw_change is not None
    assert found.matched_change is not None
    assert (found.window_change, found.common_length_change) == (None, None)
    assert (found.n_window, found.n_common_length) == (0, 0)
    assert (found.share_due_to_length, found.ci95) == (None, None)
    assert "--token-nll" in found.notes[0]
    assert "is unknown, since too few pairs have the NLLs" in found.sentence


def test_pairs_without_nlls_are_left_out_and_counted() -> None:
    before, after = dataset((80.0, 200.0), n=60)
    assert before.token_nll_direct is not None
    gappy = replace(before, token_nll_direct=[None] * 20 + list(before.token_nll_direct[20:]))
    found = length_control(gappy, after)
    assert (found.n_pairs, found.n_common_length) == (60, 40)
    assert found.notes[0].startswith("20 pairs without NLLs of their tokens")
    assert found.notes[1].startswith("the raw change of the pairs at equal length is +0.")
    alone = length_control(*(cut(side, slice(20, None)) for side in (before, after)))
    assert found.share_due_to_length == alone.share_due_to_length
    assert found.sentence == alone.sentence, "both numbers of the sentence are of the same pairs"


def cut(side: ScoredSide, rows: slice) -> ScoredSide:
    return replace(
        side,
        ifd=column(side)[rows],
        response_tokens=np.asarray(side.response_tokens)[rows],
        token_nll_direct=side.token_nll_direct and side.token_nll_direct[rows],
        token_nll_conditional=side.token_nll_conditional and side.token_nll_conditional[rows],
    )


def joined(side: ScoredSide, other: ScoredSide) -> ScoredSide:
    assert side.token_nll_direct is not None
    assert side.token_nll_conditional is not None
    assert other.token_nll_direct is not None
    assert other.token_nll_conditional is not None
    return ScoredSide(
        ifd=np.concatenate([column(side), column(other)]),
        response_tokens=np.concatenate(
            [np.asarray(side.response_tokens), np.asarray(other.response_tokens)]
        ),
        token_nll_direct=[*side.token_nll_direct, *other.token_nll_direct],
        token_nll_conditional=[*side.token_nll_conditional, *other.token_nll_conditional],
    )


def test_responses_of_one_token_are_not_used() -> None:
    """Their ratios, in the hundreds, would dominate a mean."""
    sides = dataset((80.0, 200.0), n=60)
    one = [np.array([0.1], np.float32)]
    tiny = ScoredSide(
        ifd=[900.0], response_tokens=[1], token_nll_direct=one, token_nll_conditional=one
    )
    assert length_control(joined(sides[0], tiny), joined(sides[1], tiny)) == length_control(*sides)


def test_too_few_pairs() -> None:
    before, after = (cut(side, slice(9)) for side in dataset((80.0, 200.0), n=60))
    found = length_control(before, after)
    assert found == LengthControl(
        min_tokens=8,
        n_pairs=9,
        window=64,
        sentence="Too few pairs to tell a change in IFD from a change in length.",
        notes=("9 pairs have two responses of at least 8 tokens with an IFD; 10 are needed",),
    )
    empty = ScoredSide(ifd=[], response_tokens=[])
    assert length_control(empty, empty).n_pairs == 0


def test_too_few_long_pairs_give_no_window_change() -> None:
    sides = dataset((20.0, 30.0), n=40)
    found = length_control(*sides, window=1_000)
    assert found.window_change is None
    assert found.notes[-1] == "0 pairs have 1000 scored tokens on both sides; 10 are needed"
    assert length_control(*sides, window=12).window_change is not None


def test_invalid_arguments_are_refused() -> None:
    sides = dataset((20.0, 30.0), n=12)
    with pytest.raises(UsageError, match="both must be at least 2"):
        length_control(*sides, min_tokens=1)
    with pytest.raises(ValueError, match="shape mismatch"):
        length_control(sides[0], cut(sides[1], slice(3)))
    with pytest.raises(ValueError, match="lengths for 12 pairs"):
        length_control(*(replace(side, response_tokens=[9, 9]) for side in sides))


def test_a_side_against_itself_has_not_changed() -> None:
    """Negative control."""
    side, _ = dataset((80.0, 200.0), n=60)
    found = length_control(side, side)
    assert (found.raw_change, found.common_length_change, found.matched_change) == (0.0, 0.0, 0.0)
    assert found.share_due_to_length is None
    assert found.sentence == (
        "The median change in IFD is not distinguishable from zero: 0.00 (95 % CI 0.00 to 0.00)"
        " raw, 0.00 (95 % CI 0.00 to 0.00) at equal length."
    )
    assert found.notes == ("the raw change may be zero, so no share of it is given",)


@given(st.integers(0, 1_000))
@settings(max_examples=5, deadline=None)
def test_swapping_the_sides_reverses_the_changes(seed: int) -> None:
    before, after = dataset((60.0, 120.0), n=40, seed=seed)
    forth, back = length_control(before, after), length_control(after, before)
    for name in ("raw_change", "window_change", "common_length_change", "matched_change"):
        value, reversed_ = getattr(forth, name), getattr(back, name)
        assert value == pytest.approx(-reversed_) if value is not None else reversed_ is None
    assert forth.overlap == pytest.approx(back.overlap)


@given(st.sampled_from([math.nan, math.inf, None]), st.booleans())
@settings(max_examples=6, deadline=None)
def test_a_pair_without_a_number_changes_nothing(gap: float | None, is_before: bool) -> None:
    sides = dataset((60.0, 120.0), n=30)
    gappy = [
        joined(side, replace(cut(side, slice(1)), ifd=[gap if is_before == (i == 0) else 1.0]))
        for i, side in enumerate(sides)
    ]
    assert length_control(*gappy) == length_control(*sides)


# The sentence

LONGER, SHORTER, SAME = Lengths(80, 300, 1), Lengths(300, 80, -1), Lengths(80, 80, 0)
SENTENCES = [
    (
        (0.294, 0.27, 0.31),
        (0.046, 0.02, 0.08),  # 0.248 apart, but 0.29 and 0.05 are what a reader subtracts
        (0.83, 0.71, 0.95),
        LONGER,
        "Of the median change of +0.29 in IFD, longer responses alone account for 0.24 (83 %, 95 %"
        " CI 71 % to 95 %); +0.05 remains at equal length.",
    ),
    (
        (-0.29, -0.31, -0.27),
        (-0.05, -0.08, -0.02),
        (0.83, 0.71, 0.95),
        SHORTER,
        "Of the median change of −0.29 in IFD, shorter responses alone account for −0.24 (83 %,"
        " 95 % CI 71 % to 95 %); −0.05 remains at equal length.",
    ),
    (
        (0.29, 0.27, 0.31),
        (-0.004, -0.01, 0.002),
        (1.01, 0.99, 1.03),
        LONGER,
        "Of the median change of +0.29 in IFD, longer responses alone account for 0.29 (101 %, 95 %"
        " CI 99 % to 103 %); 0.00 remains at equal length, not distinguishable from zero (95 % CI"
        " −0.01 to 0.00).",
    ),
    (
        (0.1, 0.08, 0.12),
        (0.101, 0.08, 0.13),
        (-0.01, -0.3, 0.2),
        LONGER,
        "Of the median change of +0.10 in IFD, longer responses alone account for 0.00 (−1 %, 95 %"
        " CI −30 % to 20 %); +0.10 remains at equal length.",
    ),
    (
        (0.29, 0.27, 0.31),
        (-0.05, -0.08, -0.02),
        (1.17, 1.1, 1.3),
        LONGER,
        "The median change of +0.29 in IFD reverses at equal length, to −0.05 (95 % CI −0.08 to"
        " −0.02): longer responses alone account for 0.34.",
    ),
    (
        (0.1, 0.08, 0.12),
        (0.25, 0.2, 0.3),
        (-1.5, -2.0, -1.2),
        SHORTER,
        "Length hides part of the change in IFD: the median is +0.10, but +0.25 (95 % CI +0.20 to"
        " +0.30) at equal length; shorter responses alone account for −0.15.",
    ),
    (
        (0.001, -0.01, 0.012),
        (0.05, 0.02, 0.08),
        None,
        SHORTER,
        "The median IFD looks unchanged, +0.001 (95 % CI −0.010 to +0.012), but shorter responses"
        " hide a change: +0.050 (95 % CI +0.020 to +0.080) at equal length.",
    ),
    (
        (0.001, -0.01, 0.012),
        (0.05, 0.02, 0.08),
        None,
        SAME,
        "The median change in IFD is not distinguishable from zero, +0.001 (95 % CI −0.010 to"
        " +0.012), but it is at equal length: +0.050 (95 % CI +0.020 to +0.080).",
    ),
    (
        (0.001, -0.01, 0.012),
        (0.002, -0.02, 0.08),
        None,
        LONGER,
        "The median change in IFD is not distinguishable from zero: +0.001 (95 % CI −0.010 to"
        " +0.012) raw, +0.002 (95 % CI −0.020 to +0.080) at equal length.",
    ),
    (
        (0.2, 0.19, 0.21),
        (0.0002, -0.0038, 0.0043),
        None,
        LONGER,
        "Of the median change of +0.20 in IFD, longer responses alone account for 0.20; 0.00"
        " remains at equal length, not distinguishable from zero (95 % CI −0.004 to +0.004).",
    ),
    (  # an interval that excludes zero does not read as if it touched it
        (0.29, 0.27, 0.31),
        (0.05, 0.002, 0.08),
        (0.83, 0.71, 0.95),
        SAME,
        "The median change of +0.29 in IFD becomes +0.05 (95 % CI +0.002 to +0.080) at equal"
        " length, although the median pair shows no clear change in length (medians 80 and 80"
        " tokens).",
    ),
    (
        (0.1, 0.08, 0.12),
        (0.1, 0.08, 0.12),
        (0.0, 0.0, 0.0),
        SAME,
        "The median change of +0.10 in IFD does not come from length: the median pair shows no"
        " clear change in length (medians 80 and 80 tokens), and +0.10 (95 % CI +0.08 to +0.12)"
        " remains at equal length.",
    ),
    (  # lengths differ pair by pair, and nothing is left once they do not
        (0.1, 0.08, 0.12),
        (0.01, -0.02, 0.04),
        (0.9, 0.6, 1.2),
        SAME,
        "The median change of +0.10 in IFD becomes +0.01 (95 % CI −0.02 to +0.04) at equal length,"
        " although the median pair shows no clear change in length (medians 80 and 80 tokens).",
    ),
    (  # the same, where part of it is left
        (0.1, 0.08, 0.12),
        (0.05, 0.03, 0.07),
        (0.5, 0.3, 0.7),
        SAME,
        "The median change of +0.10 in IFD becomes +0.05 (95 % CI +0.03 to +0.07) at equal length,"
        " although the median pair shows no clear change in length (medians 80 and 80 tokens).",
    ),
    (
        (0.29, 0.27, 0.31),
        None,
        None,
        LONGER,
        "The median change in IFD is +0.29 (95 % CI +0.27 to +0.31); how much of it is due to"
        " length is unknown, since too few pairs have the NLLs of their tokens.",
    ),
]
Numbers = tuple[float, float, float]


def estimate(numbers: Numbers | None) -> PointEstimate | None:
    return numbers and PointEstimate(numbers[0], numbers[1:], 40)


@pytest.mark.parametrize(("raw", "common", "share", "lengths", "sentence"), SENTENCES)
def test_the_sentence(
    raw: Numbers, common: Numbers | None, share: Numbers | None, lengths: Lengths, sentence: str
) -> None:
    assert verdict(estimate(raw), estimate(common), estimate(share), lengths) == sentence
