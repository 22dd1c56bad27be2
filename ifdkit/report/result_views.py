"""Results in notebooks as small tables."""

from __future__ import annotations

from ifdkit.auditing.result import Audit
from ifdkit.comparison.result import Comparison
from ifdkit.format import interval, number, p_value, percent, plural, signed
from ifdkit.report.audit.wording import allowed, headline, rate, title
from ifdkit.report.comparison.wording import finding_title, metric_of
from ifdkit.report.notebook_html import items, paragraph, table, view
from ifdkit.scoring.frames import FrameSummary
from ifdkit.selection.result import Selected
from ifdkit.visible import one_line

_MAX_FINDINGS = 8
_MAX_PLACES = 40


def scores_view(summary: FrameSummary) -> str:
    """Metrics of a DataFrame of scores."""
    counts = ", ".join(f"{n:,} {one_line(name, 40)}" for name, n in summary.statuses.items())
    rows = [
        (metric_of(name).label, f"{one.n:,}",
         *map(number, (one.mean, one.median, one.sd, one.p5, one.p95)))
        for name, one in summary.metrics.items()
    ]  # fmt: skip
    head = ("Metric", "n", "Mean", "Median", "SD", "5 %", "95 %")
    return view(f"{plural(summary.n_examples, 'example')}: {counts}", [table(head, rows)])


def comparison_view(result: Comparison) -> str:
    """The verdict, the table of metrics, and the findings."""
    made = result.summary
    rows = [
        (metric_of(name).label, number(one.before.median), number(one.after.median),
         f"{signed(one.change.median)} ({interval(one.change.median_ci95)})",
         p_value(one.change.p_holm), percent(one.change.share_rose), f"{one.before.n:,}")
        for name, one in made.metrics.items()
    ]  # fmt: skip
    head = ("Median", "Before", "After", "Change (95 % CI)", "p, Holm", "Rose", "Pairs")
    found = [
        f"{finding_title(one.kind)}: {plural(one.count, 'row')} ({percent(one.share)})"
        + ("" if one.side == "both" else f" {one.side}")
        for one in made.findings[:_MAX_FINDINGS]
    ]
    names = f"{one_line(made.name_before, 80)} → {one_line(made.name_after, 80)}"
    lead = f"{names}: {made.verdict or made.headline}"
    told = made.headline if made.verdict else ""
    return view(lead, [paragraph(told), table(head, rows), items(found)])


def audit_view(result: Audit) -> str:
    """The verdict, and every rule that found something."""
    shown = [rule for rule in result.rules if rule.skipped is None and (rule.count or rule.fails)]
    rows = [
        (title(rule), "fails" if rule.fails else "warns" if rule.warns else "passes",
         f"{rule.count:,}", rate(rule.share), allowed(rule))
        for rule in shown[:_MAX_PLACES]
    ]  # fmt: skip
    head = ("Check", "Result", "Found in", "Share", "Allowed")
    return view(headline(result), [table(head, rows)])


def selection_view(result: Selected) -> str:
    """What was kept, and how it differs from the input."""
    lead = f"{result.kept:,} of {plural(result.rows_in, 'row')} kept, in {result.output}"
    dropped = [f"{reason}: {plural(n, 'row')} dropped" for reason, n in result.dropped.items()]
    rows = [
        (one_line(one.name, 60), *(_of(one.unit, x) for x in (one.input, one.selection)),
         "–" if one.random_range95 is None else _range(one.unit, one.random_range95))
        for one in (*result.effect.measures, *result.effect.diversity)
    ]  # fmt: skip
    head = ("Measure", "Input", "Selected", "Random choice (95 %)")
    tuned = result.tuning
    found = [] if tuned is None else [f"tuned {tuned.text}, against random: {tuned.verdict}"]
    return view(lead, [table(head, rows), items([*dropped, *found])])


def _of(unit: str, x: float | None) -> str:
    return percent(x) if unit == "share" else number(x)


def _range(unit: str, ends: tuple[float, float]) -> str:
    return interval(ends, percent if unit == "share" else number)
