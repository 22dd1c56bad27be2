"""A comparison in two or three sentences: what changed, is it real, is it more than length.

Made from the numbers of the table, so that it claims no more than they do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ifdkit.comparison.result import LengthControl
from ifdkit.data.pairing import Pairing
from ifdkit.format import fixed, interval, p_value, percent, plural, signed
from ifdkit.scoring.metrics import METRICS
from ifdkit.stats.columns import MIN_PAIRS
from ifdkit.stats.paired import Change, MetricChange

_ALPHA = 0.05


def headline(
    pairing: Pairing,
    metrics: Mapping[str, MetricChange],
    control: LengthControl | None,
    *,
    is_unchanged: bool,
    controlled: MetricChange | None = None,
) -> str:
    """The sentences.  `is_unchanged`: every number of every pair is the same on both sides.

    `controlled` is the change in IFD over the pairs that length control uses.  If they are fewer
    than those of the table, the sentences about IFD are about them alone: two medians of one
    metric, over 39 and over 35 pairs, read as a contradiction.
    """
    if pairing.is_unrelated:
        told = _headline(metrics, control, controlled)
        return f"Check the pairing: the pairs look unrelated. {told}"
    if is_unchanged:
        n = pairing.n_pairs
        pairs = "the one pair" if n == 1 else f"all {n:,} pairs"
        return f"Nothing changed: in {pairs} every number is the same on both sides."
    return _headline(metrics, control, controlled)


def _headline(
    metrics: Mapping[str, MetricChange],
    control: LengthControl | None,
    controlled: MetricChange | None,
) -> str:
    field = _subject(metrics)
    lengths = _lengths(metrics.get("response_tokens"))
    if field is None:
        return f"{lengths} No quality metric was compared.".strip()
    metric, name = metrics[field], METRICS[field].subject
    if metric.before.n < MIN_PAIRS:
        return _too_few(name, metric)
    verdict = "The effect of length was not estimated: that needs IFD."
    if field == "ifd":
        verdict = control.sentence if control else ""
        is_part = controlled and MIN_PAIRS <= controlled.before.n < metric.before.n
        if control and controlled and is_part and _is_clear(metric):
            changed = _changed_in_part(name, controlled, control.min_tokens)
            return " ".join(part for part in (lengths, changed, verdict) if part)
    return " ".join(part for part in (lengths, _changed(name, metric), verdict) if part)


def _is_clear(metric: MetricChange) -> bool:
    return metric.change.p_holm is not None and metric.change.p_holm < _ALPHA


def _changed_in_part(name: str, metric: MetricChange, min_tokens: int) -> str:
    """The change over the pairs of length control, which has no p-value of its own."""
    change, n = metric.change, metric.before.n
    pairs = f"in the {plural(n, 'pair')} of which both responses have {min_tokens} tokens or more"
    if not change.median:
        return f"The median change in {name} is zero {pairs}."
    direction = "rose" if change.median > 0 else "fell"
    amount = signed(abs(change.median)).removeprefix("+")
    ci = "" if change.median_ci95 is None else f" (95 % CI {interval(change.median_ci95)})"
    return f"{name} {direction} by a median of {amount}{ci} {pairs}; {_rose(change, 'of them')}."


def _subject(metrics: Collection[str]) -> str | None:
    """The compared metric that the headline is about; None if none can lead it."""
    order = {name: METRICS[name].headline_order for name in metrics if name in METRICS}
    ranked = [(rank, name) for name, rank in order.items() if rank is not None]
    return min(ranked)[1] if ranked else None


def _too_few(name: str, metric: MetricChange) -> str:
    """Below ten pairs no claim but the number itself."""
    change, n = metric.change.median, metric.before.n
    median = f" (median change {signed(change)})" if change is not None else ""
    return (
        f"Too few pairs to tell a change from chance: {name} is defined on both sides of"
        f" {plural(n, 'pair')}{median}; {MIN_PAIRS} are needed."
    )


def _changed(name: str, metric: MetricChange) -> str:
    """How the metric changed, and whether chance alone explains it."""
    change, n = metric.change, metric.before.n
    if change.median is None:
        return f"The median change in {name} is undefined."
    p = "no p-value" if change.p_holm is None else f"p {_relation(p_value(change.p_holm))}"
    if change.p_holm is None or change.p_holm >= _ALPHA:
        return f"{name} shows no change beyond chance in {plural(n, 'pair')} ({p})."
    share = _rose(change, f"of {plural(n, 'pair')}")
    if not change.median:
        return f"{name} changed ({p}), but not in the median pair: {share}."
    direction = "rose" if change.median > 0 else "fell"
    amount = signed(abs(change.median)).removeprefix("+")
    ci = f"95 % CI {interval(change.median_ci95)}, " if change.median_ci95 is not None else ""
    return f"{name} {direction} by a median of {amount} ({ci}{p}); {share}."


def _relation(p: str) -> str:
    return p if p.startswith("<") else f"= {p}"


def _rose(change: Change, of_which: str) -> str:
    """Of the pairs that did rise: `share_up` counts half of those that stayed the same."""
    rose = f"{percent(change.share_rose)} {of_which} rose"
    unchanged = change.share_unchanged or 0.0
    return f"{rose}, {percent(unchanged)} stayed the same" if unchanged >= 0.005 else rose


def _lengths(metric: MetricChange | None) -> str:
    """Whether responses got longer, shorter or neither."""
    if metric is None or metric.before.median is None or metric.after.median is None:
        return ""
    before, after = fixed(metric.before.median, 0), fixed(metric.after.median, 0)
    change = metric.change
    if change.p_holm is None or change.p_holm >= _ALPHA or not change.effect:
        return (
            f"Response length shows no clear change (median {before} tokens before, {after} after)."
        )
    is_longer = change.effect > 0
    if (metric.after.median - metric.before.median) * change.effect <= 0:
        return (
            f"Responses tend to be {'longer' if is_longer else 'shorter'} pair by pair, but not in"
            f" the median ({before} tokens before, {after} after)."
        )
    moved = "rose" if is_longer else "fell"
    return f"Median response length {moved} from {before} to {after} tokens."
