"""A change in IFD with response length held fixed: arithmetic on stored NLLs, without a model.

IFD depends on response length.  An instruction helps most with the first tokens of its response;
later tokens are predicted from the response so far, so a longer response dilutes the help, and its
IFD rises towards 1.  A rewrite that only makes responses longer therefore raises IFD.  Four
estimates, each with what it assumes and when it fails:

raw       Median of the paired differences.  Shows what changed, not why.

window    The same over the first k response tokens of both sides.  Assumes that the beginning of a
          response represents all of it.  Fails if one side opens with a phrase that does not depend
          on the instruction ("Here is a new and more detailed answer:"): the phrase fills part of
          the window and moves IFD towards 1.  Leaves out short responses.

common    Each pair cut to the tokens of its shorter side.  Uses every pair, and the whole of the
          shorter response.  Fails as the window does.  Also assumes that the beginning of a long
          response is what a short one would have been; a longer response may come to the point
          later.

matched   Responses of both sides reweighted to the lengths that they share.  Uses whole responses
          and no NLLs of tokens.  Assumes that responses of one length differ between the sides
          only by the rewrite.  Fails if length is a proxy for something else (long originals answer
          other questions than long rewrites do), and if lengths hardly overlap.

If common and matched disagree, trust neither alone.  Everything is a median, because ratios of
perplexities are heavy-tailed: responses of one token once moved a mean from 0.05 to 1.4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ifdkit.comparison.length_control.cutting import (
    Indices,
    ScoredSide,
    ifd_of_first,
    scored_tokens,
)
from ifdkit.comparison.length_control.matching import MIN_OVERLAP, matched_change, resamples
from ifdkit.comparison.length_control.verdict import Lengths, PointEstimate, verdict
from ifdkit.comparison.result import LengthControl
from ifdkit.errors import UsageError
from ifdkit.format import percent, plural, signed
from ifdkit.stats.columns import MIN_PAIRS, Column, Interval, median_ci95, side_by_side, spearman

__all__ = ["MIN_TOKENS", "WINDOW", "ScoredSide", "length_control"]

MIN_TOKENS = 8
"""Shortest response that is used.  The difference of the two NLLs of one token has a standard
deviation of about 1.5 nats, and its mean over n tokens one of 1.5/√n: with one token IFD is
uncertain by a factor of 4, with eight by a factor of 1.7."""
WINDOW = 64
"""Response tokens of the window, unless the scores say otherwise."""
_VALUES_PER_BATCH = 2**20


def length_control(
    before: ScoredSide,
    after: ScoredSide,
    *,
    window: int = WINDOW,
    min_tokens: int = MIN_TOKENS,
    seed: int = 0,
) -> LengthControl:
    """Estimate the change in the four ways that this module describes.

    A pair is used if both responses have `min_tokens` tokens and a finite IFD.  Pairs without the
    NLLs of their tokens are left out of `window` and `common`, and the notes count them.  Intervals
    of medians are those of `stats.median_ci95`; those of the share and of the matched change are
    percentiles of a bootstrap over pairs.  Raises UsageError if `window` or `min_tokens` is below
    2.
    """
    if min(window, min_tokens) < 2:
        raise UsageError(
            f"a window of {window} and a shortest response of {min_tokens} tokens: both must be at"
            " least 2"
        )
    pairs = _usable_pairs(before, after, min_tokens)
    estimates = _estimates(before, after, pairs, window, min_tokens, seed)
    notes = _notes(pairs, estimates, window, min_tokens)
    return _control(pairs, estimates, window, min_tokens, notes)


@dataclass(frozen=True, eq=False)
class _Pairs:
    """The pairs that are used; an axis of length 2 is before, after."""

    rows: Indices
    """(n,), positions in the sides."""
    ifd: Column
    """(2, n)."""
    tokens: Column
    """(2, n), whole response."""
    scored: Indices
    """(n,), first response tokens that all four passes cover; 0 if NLLs are missing."""
    lengths: Lengths


@dataclass(frozen=True, kw_only=True)
class _Estimates:
    """An estimate is None if the data do not allow it."""

    raw: PointEstimate | None
    window: PointEstimate | None = None
    common: PointEstimate | None = None
    raw_of_common: PointEstimate | None = None
    """Raw change of the pairs of `common`: the denominator of the share."""
    share: PointEstimate | None = None
    matched: PointEstimate | None = None
    overlap: float | None = None


def _usable_pairs(before: ScoredSide, after: ScoredSide, min_tokens: int) -> _Pairs:
    ifd = side_by_side(before.ifd, after.ifd)
    tokens = side_by_side(before.response_tokens, after.response_tokens)
    if ifd.shape != tokens.shape:
        raise ValueError(f"{tokens.shape[1]} lengths for {ifd.shape[1]} pairs")
    rows = np.flatnonzero(np.isfinite(ifd).all(axis=0) & (tokens >= min_tokens).all(axis=0))
    ifd, tokens = ifd[:, rows], tokens[:, rows]
    scored = np.minimum(scored_tokens(before, rows), scored_tokens(after, rows))
    return _Pairs(rows, ifd, tokens, scored, _lengths(tokens))


def _lengths(tokens: Column) -> Lengths:
    if not tokens.size:
        return Lengths(0.0, 0.0, 0)
    change = tokens[1] - tokens[0]
    interval = median_ci95(change, seed=0)
    low, high = interval or (0.0, 0.0)
    direction = 1 if low > 0 else -1 if high < 0 else 0
    return Lengths(float(np.median(tokens[0])), float(np.median(tokens[1])), direction)


def _estimates(
    before: ScoredSide,
    after: ScoredSide,
    pairs: _Pairs,
    window: int,
    min_tokens: int,
    seed: int,
) -> _Estimates:
    def cut(counts: Indices) -> Column:
        """IFD of both sides over the first counts[i] tokens of pair i, shape (2, n)."""
        return np.stack([ifd_of_first(side, pairs.rows, counts) for side in (before, after)])

    raw = _median_change(pairs.ifd, seed)
    if raw is None:
        return _Estimates(raw=None)
    matched, overlap = matched_change(pairs.ifd, pairs.tokens, seed)
    windowed = cut(np.where(pairs.scored >= window, window, 0))
    common = cut(np.where(pairs.scored >= min_tokens, pairs.scored, 0))
    has_common = np.isfinite(common).all(axis=0)
    whole = pairs.ifd[:, has_common]
    raw_of_common = raw if has_common.all() else _median_change(whole, seed)
    return _Estimates(
        raw=raw,
        window=_median_change(windowed, seed),
        common=_median_change(common, seed),
        raw_of_common=raw_of_common,
        share=_share(whole, common[:, has_common], raw_of_common, seed),
        matched=matched,
        overlap=overlap,
    )


def _median_change(ifd: Column, seed: int) -> PointEstimate | None:
    """Median of the finite paired differences; None for fewer than MIN_PAIRS."""
    difference = ifd[1] - ifd[0]
    difference = difference[np.isfinite(difference)]
    if len(difference) < MIN_PAIRS:
        return None
    interval = median_ci95(difference, seed=seed)
    return PointEstimate(float(np.median(difference)), interval, len(difference))


def _share(
    whole: Column, common: Column, raw: PointEstimate | None, seed: int
) -> PointEstimate | None:
    """1 − common ÷ raw, with the percentiles of a bootstrap over pairs.

    None if the denominator may be zero: the ratio is then meaningless.
    """
    if raw is None or not raw.is_clear:
        return None
    changes = np.stack([common[1] - common[0], whole[1] - whole[0]])  # (2, n)
    share = 1 - float(np.median(changes[0])) / raw.value
    rng = np.random.default_rng(seed)
    n, times = raw.n, resamples(raw.n)
    batch = max(1, _VALUES_PER_BATCH // n)
    medians = []
    for start in range(0, times, batch):
        drawn = rng.integers(n, size=(min(batch, times - start), n))
        medians.append([np.median(change[drawn], axis=1) for change in changes])
    of_common, of_raw = np.concatenate(medians, axis=1)  # (resamples,) each
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = 1 - of_common / of_raw
    low, high = np.percentile(shares, [2.5, 97.5], method="nearest")
    is_bounded = bool(np.isfinite([low, high]).all())
    return PointEstimate(share, (float(low), float(high)) if is_bounded else None, n)


def _notes(pairs: _Pairs, estimates: _Estimates, window: int, min_tokens: int) -> tuple[str, ...]:
    """Why an estimate is missing, or uses fewer pairs than the others."""
    n = len(pairs.rows)
    if estimates.raw is None:
        return (
            f"{n} pairs have two responses of at least {min_tokens} tokens with an IFD;"
            f" {MIN_PAIRS} are needed",
        )
    return (
        *_notes_on_nlls(pairs, estimates, min_tokens),
        *_notes_on_window(pairs, estimates, window),
        *_notes_on_matching(estimates),
    )


def _notes_on_nlls(pairs: _Pairs, estimates: _Estimates, min_tokens: int) -> list[str]:
    if not pairs.scored.any():
        return [
            "no estimate over the first tokens or at equal length, since the NLLs of the tokens are"
            " not available: score with --token-nll, or with the store that has these rows"
        ]
    notes = []
    n_missing = int((pairs.scored == 0).sum())
    n_short = int(((pairs.scored > 0) & (pairs.scored < min_tokens)).sum())
    for count, why in (
        (n_missing, "without NLLs of their tokens"),
        (n_short, f"with fewer than {min_tokens} scored tokens in common"),
    ):
        if count:
            notes.append(
                f"{plural(count, 'pair')} {why} left out over the first tokens and at equal length"
            )
    common, raw = estimates.common, estimates.raw_of_common
    if common is None or raw is None:
        notes.append(f"fewer than {MIN_PAIRS} pairs are left at equal length")
    elif raw is not estimates.raw:
        notes.append(f"the raw change of the pairs at equal length is {signed(raw.value)}")
    if common is not None and estimates.share is None:
        notes.append("the raw change may be zero, so no share of it is given")
    return notes


def _notes_on_window(pairs: _Pairs, estimates: _Estimates, window: int) -> list[str]:
    if estimates.window is not None or not pairs.scored.any():
        return []
    count = int((pairs.scored >= window).sum())
    return [f"{count} pairs have {window} scored tokens on both sides; {MIN_PAIRS} are needed"]


def _notes_on_matching(estimates: _Estimates) -> list[str]:
    if estimates.matched is not None or estimates.overlap is None:
        return []
    return [
        f"the lengths of the two sides overlap by {percent(estimates.overlap)}; matching needs"
        f" {percent(MIN_OVERLAP)} and {MIN_PAIRS} effective pairs"
    ]


def _control(
    pairs: _Pairs, found: _Estimates, window: int, min_tokens: int, notes: tuple[str, ...]
) -> LengthControl:
    sentence = verdict(found.raw_of_common or found.raw, found.common, found.share, pairs.lengths)
    return LengthControl(
        min_tokens=min_tokens,
        n_pairs=len(pairs.rows),
        raw_change=_value(found.raw),
        raw_ci95=_interval(found.raw),
        window=window,
        window_change=_value(found.window),
        window_ci95=_interval(found.window),
        n_window=found.window.n if found.window else 0,
        common_length_change=_value(found.common),
        common_length_ci95=_interval(found.common),
        n_common_length=found.common.n if found.common else 0,
        matched_change=_value(found.matched),
        matched_ci95=_interval(found.matched),
        overlap=found.overlap,
        share_due_to_length=_value(found.share),
        ci95=_interval(found.share),
        spearman_before=spearman(pairs.ifd[0], pairs.tokens[0]),
        spearman_after=spearman(pairs.ifd[1], pairs.tokens[1]),
        sentence=sentence,
        notes=notes,
    )


def _value(estimate: PointEstimate | None) -> float | None:
    return None if estimate is None else estimate.value


def _interval(estimate: PointEstimate | None) -> Interval | None:
    return None if estimate is None else estimate.ci95
