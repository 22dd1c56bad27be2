"""The conclusion of a judgement in one sentence."""

from __future__ import annotations

from ifdkit.format import interval, percent
from ifdkit.judging.result import PositionBias, WinRates
from ifdkit.stats.win_rates import Rate

_MAX_INCONSISTENT = 0.5
"""From this share on, the judge's position bias is part of the conclusion."""


def verdict(first: str, second: str, rates: WinRates, bias: PositionBias | None) -> str:
    """Who is preferred, and whether that is more than length."""
    raw, controlled = rates.raw, rates.length_controlled_characters
    if raw.value is None or raw.ci95 is None:
        sentence = f"Too few pairs for a conclusion: {rates.n:,} in all"
    else:
        numbers = f"{second} wins {_rate(raw)} of the pairs, ties counting half"
        at_equal = f"{_rate(controlled)} at equal length"
        winner, side = _winner(first, second, raw)
        at_equal_winner, equal_side = _winner(first, second, controlled)
        if winner is None and at_equal_winner is not None:
            sentence = (
                f"Neither is shown to be preferred as they are, but {at_equal_winner} is at equal"
                f" length: {numbers}; {at_equal}"
            )
        elif winner is None:
            sentence = f"Neither is shown to be preferred: {numbers}; {at_equal}"
        elif equal_side == side:
            sentence = f"{winner} is preferred, also at equal length: {numbers}; {at_equal}"
        else:
            sentence = (
                f"{winner} is preferred, but not shown to be at equal length: {numbers}; {at_equal}"
            )
    share = bias.inconsistent.value if bias else None
    if bias and share is not None and share >= _MAX_INCONSISTENT:
        sentence += (
            f". The judge chose by position in {percent(share)} of {bias.n:,} pairs, so its"
            " preferences say little"
        )
    return f"{sentence}."


def _winner(first: str, second: str, rate: Rate) -> tuple[str | None, int]:
    """The side that a rate and its interval favour, as a name and as −1 or 1; (None, 0) if none."""
    if rate.ci95 is None or rate.ci95[0] <= 0.5 <= rate.ci95[1]:
        return None, 0
    return (second, 1) if rate.ci95[0] > 0.5 else (first, -1)


def _rate(rate: Rate) -> str:
    return f"{percent(rate.value)} ({interval(rate.ci95, percent)})"
