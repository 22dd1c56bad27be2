"""The headline in one short sentence, for the first line of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ifdkit.comparison.result import LengthControl
from ifdkit.data.pairing import Pairing
from ifdkit.findings import TITLES
from ifdkit.findings.finding import Finding
from ifdkit.format import percent, plural
from ifdkit.scoring.metrics import METRICS
from ifdkit.stats.columns import MIN_PAIRS, Interval
from ifdkit.stats.paired import MetricChange

_ALPHA = 0.05
_MOSTLY = 0.5
_NAMED = {"prompt_leak", "shared_opening", "refusal", "ai_disclaimer", "empty_response", "cut_off"}
"""Kinds of findings that the sentence names; they come in the order of report."""
_MAX_NAMED = 2


def short_verdict(
    pairing: Pairing,
    metrics: Mapping[str, MetricChange],
    control: LengthControl | None,
    findings: Sequence[Finding],
    *,
    is_unchanged: bool,
) -> str:
    """What to remember of a comparison. It claims no more than the headline does."""
    if pairing.is_unrelated:
        return "Check the pairing: the pairs look unrelated."
    if is_unchanged:
        return "Nothing changed."
    return " ".join([_of_ifd(metrics, control), *_new_problems(findings)])


def _of_ifd(metrics: Mapping[str, MetricChange], control: LengthControl | None) -> str:
    ranked = [
        (rank, name)
        for name in metrics
        if name in METRICS and (rank := METRICS[name].headline_order) is not None
    ]
    if not ranked:
        return "No quality metric was compared."
    field = min(ranked)[1]
    metric, name = metrics[field], METRICS[field].subject
    change = metric.change
    if metric.before.n < MIN_PAIRS:
        return "Too few pairs to tell a change from chance."
    if change.p_holm is None or change.p_holm >= _ALPHA or not change.median:
        return f"{name} shows no clear change in the median pair."
    noun = "rise" if change.median > 0 else "fall"
    told = _with_length(control, noun) if field == "ifd" and control else ""
    return told or f"{name} {'rose' if change.median > 0 else 'fell'}."


def _with_length(control: LengthControl, noun: str) -> str:
    """How much of the change is length; empty if that is not known."""
    share, common = control.share_due_to_length, control.common_length_change
    raw = control.raw_change
    if share is None or common is None or raw is None:
        return ""
    is_clear = _excludes_zero(control.common_length_ci95)
    part = f"{percent(min(max(share, 0.0), 1.0))} of the {noun} in IFD is length."
    opening = "Longer, not harder" if noun == "rise" else "Shorter, not easier"
    if is_clear and raw * common < 0:
        return f"The {noun} in IFD is length: at equal length IFD changes the other way."
    if not is_clear:
        return f"{opening}: {part}" if share >= _MOSTLY else f"{part} The rest may be chance."
    if share >= _MOSTLY:
        return f"Mostly length: {part}"
    rest = percent(min(1.0, 1 - share))
    return f"More than length: {rest} of the {noun} in IFD remains at equal length."


def _excludes_zero(ci95: Interval | None) -> bool:
    return ci95 is not None and (ci95[0] > 0 or ci95[1] < 0)


def _new_problems(findings: Sequence[Finding]) -> list[str]:
    """`Leaked prompts in 3 rows.` for what is in the new side, and not as often in the old one."""
    found = [
        one
        for one in findings
        if one.kind in _NAMED and one.side == "after" and one.count > (one.other_count or 0)
    ]
    kinds = list(dict.fromkeys(one.kind for one in found))[:_MAX_NAMED]
    counts = {kind: max(one.count for one in found if one.kind == kind) for kind in kinds}
    return [
        f"{TITLES[kind][:1].upper()}{TITLES[kind][1:]} in {plural(n, 'row')}."
        for kind, n in counts.items()
    ]
