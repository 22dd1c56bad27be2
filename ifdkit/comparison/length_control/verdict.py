"""What length has to do with a change in IFD, in one plain sentence."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ifdkit.stats.columns import Interval


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number, its 95 % interval and the pairs that it rests on."""

    value: float
    ci95: Interval | None
    n: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves zero out."""
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
    raw: Estimate | None, common: Estimate | None, share: Estimate | None, lengths: Lengths
) -> str:
    """The sentence.  `raw` and `common` rest on the same pairs where both are known.

    `raw`: the median change; `common`: the same at common length; `share`: 1 − common ÷ raw,
    None where the raw change may be zero.
    """
    if raw is None:
        return "Too few pairs to tell a change in IFD from a change in length."
    digits = _digits(raw, common or raw)
    if common is None:
        return (
            f"IFD changed by {_full(raw, digits)} in the median; how much of that is length cannot"
            " be said without the NLLs of the tokens of enough pairs."
        )
    if not raw.is_clear:
        return _without_raw_change(raw, common, lengths, digits)
    if not lengths.direction:
        return _without_longer_responses(raw, common, share, lengths, digits)
    whole, part = _signed(raw.value, digits), _length_part(raw, common, digits)
    if common.is_clear and raw.value * common.value < 0:
        return (
            f"The median change of {whole} in IFD turns round at common length, where it is"
            f" {_full(common, digits)}: {lengths.comparative} responses alone would give {part}."
        )
    if share is not None and share.ci95 is not None and share.ci95[1] < 0:
        return (
            f"Length hides part of the change in IFD: {whole} in the median, but"
            f" {_full(common, digits)} at common length; {lengths.comparative} responses alone"
            f" would give {part}."
        )
    percent = f" ({_percent(share)})" if share else ""
    doubt = "" if common.is_clear else f", which may be nothing ({_interval(common, digits)})"
    return (
        f"Of the median change of {whole} in IFD, {part}{percent} is what {lengths.comparative}"
        f" responses alone would give; at common length {_signed(common.value, digits)}"
        f" remains{doubt}."
    )


def _without_raw_change(raw: Estimate, common: Estimate, lengths: Lengths, digits: int) -> str:
    median, at_common_length = _full(raw, digits), _full(common, digits)
    if not common.is_clear:
        return (
            f"The median change in IFD is not clear of zero, neither as it stands, {median}, nor at"
            f" common length, {at_common_length}."
        )
    if lengths.direction:
        return (
            f"IFD looks unchanged in the median, {median}, but {lengths.comparative} responses"
            f" hide a change: at common length it is {at_common_length}."
        )
    return (
        f"IFD shows no clear change in the median, {median}, but one at common length,"
        f" {at_common_length}."
    )


def _without_longer_responses(
    raw: Estimate, common: Estimate, share: Estimate | None, lengths: Lengths, digits: int
) -> str:
    whole, at_common_length = _signed(raw.value, digits), _full(common, digits)
    tokens = f"({lengths.before:.0f} and {lengths.after:.0f} tokens in the median)"
    # Lengths can differ pair by pair and their median stay where it is.
    loses_by_cutting = share is not None and share.ci95 is not None and share.ci95[0] > 0
    if loses_by_cutting or not common.is_clear or raw.value * common.value < 0:
        return (
            f"The median change of {whole} in IFD becomes {at_common_length} at common length,"
            f" though the median pair shows no clear change in length {tokens}."
        )
    return (
        f"The median change of {whole} in IFD does not come from length: the median pair shows no"
        f" clear change in length {tokens}, and at common length {at_common_length} remains."
    )


def _full(estimate: Estimate, digits: int) -> str:
    """`+0.05 (95 % CI +0.02 to +0.08)`."""
    return f"{_signed(estimate.value, digits)} ({_interval(estimate, digits)})"


def _length_part(raw: Estimate, common: Estimate, digits: int) -> str:
    """Raw − common as printed, so that the parts of the sentence add up.

    Its sign is left out where both it and the whole are rises.
    """
    part = round(raw.value, digits) - round(common.value, digits)
    return f"{part:.{digits}f}" if part > 0 and raw.value > 0 else _signed(part, digits)


def _digits(*estimates: Estimate) -> int:
    """Decimals that show two figures of the largest number: 2 from 0.1 on, at most 5."""
    ends = [end for one in estimates for end in one.ci95 or ()]
    largest = max(abs(value) for value in [*ends, *(one.value for one in estimates)])
    return min(5, max(2, 1 - math.floor(math.log10(largest)))) if largest else 2


def _signed(value: float, digits: int) -> str:
    text = f"{value:+.{digits}f}"
    is_zero = not float(text)
    return text[1:] if is_zero else text.replace("-", "−")


def _interval(estimate: Estimate, digits: int) -> str:
    if estimate.ci95 is None:
        return "no interval"
    # One figure of the farther end at least, or a narrow interval would read "0.00 to 0.00".
    farther = max(abs(end) for end in estimate.ci95)
    digits = max(digits, min(5, -math.floor(math.log10(farther)))) if farther else digits
    low, high = (_signed(end, digits) for end in estimate.ci95)
    return f"95 % CI {low} to {high}"


def _percent(share: Estimate) -> str:
    value = f"{_whole_percent(share.value)} %"
    if share.ci95 is None:
        return value
    low, high = (_whole_percent(end) for end in share.ci95)
    return f"{value}, 95 % CI {low}{'–' if share.ci95[0] >= 0 else ' to '}{high} %"


def _whole_percent(share: float) -> str:
    return str(round(share * 100)).replace("-", "−")
