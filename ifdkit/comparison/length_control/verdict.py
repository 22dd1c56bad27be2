"""How much of a change in IFD is due to length, in one sentence."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ifdkit.format import fixed, interval, percent, signed
from ifdkit.stats.columns import Interval

_MAX_DECIMALS = 5


@dataclass(frozen=True, slots=True)
class PointEstimate:
    """A number, its 95 % interval and the number of pairs behind it."""

    value: float
    ci95: Interval | None
    n: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes zero."""
        return self.ci95 is not None and (self.ci95[0] > 0 or self.ci95[1] < 0)


@dataclass(frozen=True, slots=True)
class Lengths:
    """Median response tokens of both sides, and whether the pairs changed in length."""

    before: float
    after: float
    direction: int
    """1 longer, −1 shorter, 0 no clear change of the median pair."""

    @property
    def comparative(self) -> str:
        """`longer`, `shorter` or ``."""
        return {1: "longer", -1: "shorter", 0: ""}[self.direction]


def verdict(
    raw: PointEstimate | None,
    common: PointEstimate | None,
    share: PointEstimate | None,
    lengths: Lengths,
) -> str:
    """The sentence.  `raw` and `common` are of the same pairs if both are known.

    `raw`: the median change; `common`: the same at equal length; `share`: 1 − common ÷ raw, None
    if the raw change may be zero.
    """
    if raw is None:
        return "Too few pairs to tell a change in IFD from a change in length."
    digits = _decimals(raw, common or raw)
    if common is None:
        return (
            f"The median change in IFD is {_full(raw, digits)}; how much of it is due to length is"
            " unknown, since too few pairs have the NLLs of their tokens."
        )
    if not raw.is_clear:
        return _without_raw_change(raw, common, lengths, digits)
    if not lengths.direction:
        return _without_longer_responses(raw, common, share, lengths, digits)
    whole, part = signed(raw.value, digits), _length_part(raw, common, digits)
    if common.is_clear and raw.value * common.value < 0:
        return (
            f"The median change of {whole} in IFD reverses at equal length, to"
            f" {_full(common, digits)}: {lengths.comparative} responses alone account for {part}."
        )
    if share is not None and share.ci95 is not None and share.ci95[1] < 0:
        return (
            f"Length hides part of the change in IFD: the median is {whole}, but"
            f" {_full(common, digits)} at equal length; {lengths.comparative} responses alone"
            f" account for {part}."
        )
    of_it = f" ({_percent(share)})" if share else ""
    doubt = ""
    if not common.is_clear:
        doubt = f", not distinguishable from zero ({_interval(common, digits)})"
    return (
        f"Of the median change of {whole} in IFD, {lengths.comparative} responses alone account for"
        f" {part}{of_it}; {signed(common.value, digits)} remains at equal length{doubt}."
    )


def _without_raw_change(
    raw: PointEstimate, common: PointEstimate, lengths: Lengths, digits: int
) -> str:
    median, at_equal_length = _full(raw, digits), _full(common, digits)
    if not common.is_clear:
        return (
            f"The median change in IFD is not distinguishable from zero: {median} raw,"
            f" {at_equal_length} at equal length."
        )
    if lengths.direction:
        return (
            f"The median IFD looks unchanged, {median}, but {lengths.comparative} responses hide a"
            f" change: {at_equal_length} at equal length."
        )
    return (
        f"The median change in IFD is not distinguishable from zero, {median}, but it is at equal"
        f" length: {at_equal_length}."
    )


def _without_longer_responses(
    raw: PointEstimate,
    common: PointEstimate,
    share: PointEstimate | None,
    lengths: Lengths,
    digits: int,
) -> str:
    whole, at_equal_length = signed(raw.value, digits), _full(common, digits)
    tokens = f"(medians {fixed(lengths.before, 0)} and {fixed(lengths.after, 0)} tokens)"
    # Lengths can differ pair by pair and their median stay where it is.
    loses_by_cutting = share is not None and share.ci95 is not None and share.ci95[0] > 0
    if loses_by_cutting or not common.is_clear or raw.value * common.value < 0:
        return (
            f"The median change of {whole} in IFD becomes {at_equal_length} at equal length,"
            f" although the median pair shows no clear change in length {tokens}."
        )
    return (
        f"The median change of {whole} in IFD does not come from length: the median pair shows no"
        f" clear change in length {tokens}, and {at_equal_length} remains at equal length."
    )


def _full(estimate: PointEstimate, decimals: int) -> str:
    """`+0.05 (95 % CI +0.02 to +0.08)`."""
    return f"{signed(estimate.value, decimals)} ({_interval(estimate, decimals)})"


def _length_part(raw: PointEstimate, common: PointEstimate, decimals: int) -> str:
    """Raw − common as printed, so that the parts of the sentence add up.

    Its sign is left out if both it and the whole are rises.
    """
    part = round(raw.value, decimals) - round(common.value, decimals)
    return fixed(part, decimals) if part > 0 and raw.value > 0 else signed(part, decimals)


def _decimals(*estimates: PointEstimate) -> int:
    """Decimals that show two digits of the largest number: 2 from 0.1 on, at most 5."""
    ends = [end for one in estimates for end in one.ci95 or ()]
    largest = max(abs(value) for value in [*ends, *(one.value for one in estimates)])
    if not largest:
        return 2
    return min(_MAX_DECIMALS, max(2, 1 - math.floor(math.log10(largest))))


def _interval(estimate: PointEstimate, decimals: int) -> str:
    if estimate.ci95 is None:
        return "no interval"
    # An interval that excludes zero must not read as if it touched it, nor any as "0.00 to 0.00".
    end = (min if estimate.is_clear else max)(map(abs, estimate.ci95))
    needed = -math.floor(math.log10(end)) if end else 0
    decimals = max(decimals, needed) if needed <= _MAX_DECIMALS else decimals
    return f"95 % CI {interval(estimate.ci95, lambda x: signed(x, decimals))}"


def _percent(share: PointEstimate) -> str:
    if share.ci95 is None:
        return percent(share.value)
    return f"{percent(share.value)}, 95 % CI {interval(share.ci95, percent)}"
