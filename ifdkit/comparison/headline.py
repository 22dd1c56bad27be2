"""A comparison in two or three plain sentences: what changed, is it real, is it more than length.

Made from the numbers of the table, so that it can say no more than they do.
"""

from __future__ import annotations

from collections.abc import Mapping

from ifdkit.comparison.result import LengthControl
from ifdkit.stats.columns import MIN_PAIRS
from ifdkit.stats.paired import Change, MetricChange

_CHANCE = 0.05
_NAMES = {
    "ifd": "IFD",
    "ifd_window": "IFD over the first tokens",
    "ifd_loss": "IFD (loss)",
    "rifd": "r-IFD",
    "ppl_response_conditional": "The perplexity of responses, given their instructions,",
    "ppl_response_direct": "The perplexity of responses",
    "ppl_instruction_direct": "The perplexity of instructions",
    "coherence": "Coherence",
}
"""Metrics that can carry the headline, the best first."""


def headline(
    n_pairs: int,
    metrics: Mapping[str, MetricChange],
    control: LengthControl | None,
    *,
    is_unchanged: bool,
) -> str:
    """The sentences.  `is_unchanged`: every number of every pair is the same on both sides."""
    if is_unchanged:
        return f"Nothing changed: in {_all_of(n_pairs)} every number is the same on both sides."
    name = next((name for name in _NAMES if name in metrics), None)
    lengths = _lengths(metrics.get("response_tokens"))
    if name is None:
        return f"{lengths} No measure of quality was compared.".strip()
    one, what = metrics[name], _NAMES[name]
    if one.before.n < MIN_PAIRS:
        return _too_few(what, one)
    verdict = f"Whether that is more than length was not looked at: {what} is no IFD."
    if name == "ifd":
        verdict = control.sentence if control else ""
    return " ".join(part for part in (lengths, _changed(what, one), verdict) if part)


def _too_few(what: str, metric: MetricChange) -> str:
    """Below ten pairs nothing is said but the number itself."""
    change, n = metric.change.median, metric.before.n
    moved = f", {_signed(change)} in the median" if change is not None else ""
    return (
        f"Too few pairs to tell a change from chance: {what} is defined on both sides of"
        f" {_pairs(n)}{moved}; {MIN_PAIRS} are needed."
    )


def _changed(what: str, metric: MetricChange) -> str:
    """What the metric did, and whether chance alone could have done it."""
    change, n = metric.change, metric.before.n
    doubt = _doubt(metric)
    share = _share_that_rose(change, n)
    if change.median is None:
        return f"{what} has no median change to give."
    interval = ""
    if change.median_ci95 is not None:
        low, high = change.median_ci95
        interval = f" (95 % CI {_signed(low)} to {_signed(high)})"
    is_clear = change.p_holm is not None and change.p_holm < _CHANCE
    if not is_clear:
        return f"Over {_pairs(n)} {what} moved no more than chance would have it ({doubt})."
    if not change.median:
        return f"{what} changed beyond chance ({doubt}), though not in the median pair: {share}."
    moved = "rose" if change.median > 0 else "fell"
    amount = _signed(abs(change.median)).removeprefix("+")
    return f"{what} {moved} by {amount} in the median{interval}; {share}, beyond chance ({doubt})."


def _share_that_rose(change: Change, n: int) -> str:
    """Of the pairs that did rise, which `share_up` is not where some stayed as they were."""
    if change.share_up is None:
        return f"{_percent(None)} of {_pairs(n)} rose"
    unchanged = change.share_unchanged or 0.0
    rose = f"{_percent(change.share_up - unchanged / 2)} of {_pairs(n)} rose"
    return f"{rose} ({_percent(unchanged)} stayed the same)" if unchanged >= 0.005 else rose


def _doubt(metric: MetricChange) -> str:
    p = metric.change.p_holm
    if p is None:
        return "no p can be given"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _lengths(metric: MetricChange | None) -> str:
    """Responses got longer, shorter or neither for sure."""
    if metric is None or metric.before.median is None or metric.after.median is None:
        return ""
    before, after = (f"{side.median:,.0f}" for side in (metric.before, metric.after))
    p = metric.change.p_holm
    if p is None or p >= _CHANCE or not metric.change.effect:
        return (
            f"Responses show no clear change in length ({before} and {after} tokens in the median)."
        )
    moved = "longer" if metric.change.effect > 0 else "shorter"
    if (metric.after.median - metric.before.median) * metric.change.effect <= 0:
        return (
            f"Pair by pair responses tend to be {moved}, though not in the median"
            f" ({before} and {after} tokens)."
        )
    return f"Responses are {moved}: {before} tokens became {after} in the median."


def _signed(value: float) -> str:
    """Two decimals, or two figures of what is smaller; a true minus."""
    if value == 0:
        return "0"
    text = f"{value:+.2f}" if abs(value) >= 0.01 else f"{value:+.1g}"
    text = f"{value:+,.0f}" if abs(value) >= 100 else text
    return text.replace("-", "−")


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}".replace("%", " %")


def _pairs(n: int) -> str:
    return "1 pair" if n == 1 else f"{n:,} pairs"


def _all_of(n: int) -> str:
    return "the one pair" if n == 1 else f"all {n:,} pairs"
