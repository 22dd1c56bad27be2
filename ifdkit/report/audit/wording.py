"""The words of an audit: the same on the page, in Markdown, in SARIF and on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from ifdkit.auditing.result import Audit, Cleaned, Interval, Place, RuleResult, TemplateCheck
from ifdkit.format import as_written, correlation, interval, percent, plural
from ifdkit.visible import one_line

State = Literal["failed", "warns", "passed", "skipped", "off"]
LABELS: dict[State, str] = {
    "failed": "failed",
    "warns": "warning",
    "passed": "passed",
    "skipped": "not applied",
    "off": "off",
}
_MAX_INPUTS = 5
"""Inputs that a sentence about a rule names."""
_MAX_NAMED = 4
"""Rules that a sentence names."""


def state(rule: RuleResult) -> State:
    """The result of a rule in one word."""
    if rule.skipped is not None:
        return "skipped"
    if rule.severity == "off":
        return "off"
    if rule.passed:
        return "passed"
    return "failed" if rule.severity == "error" else "warns"


def in_state(audit: Audit, *states: State) -> tuple[RuleResult, ...]:
    """The rules in one of these states, in the order of the audit."""
    return tuple(rule for rule in audit.rules if state(rule) in states)


def title(rule: RuleResult) -> str:
    """Its title, or its name if it has none, with a capital."""
    text = one_line(rule.title or rule.name, 80)
    return text[:1].upper() + text[1:]


def headline(audit: Audit) -> str:
    """How many checks failed or gave a warning, and which: one sentence."""
    applied = len(in_state(audit, "failed", "warns", "passed"))
    failed, warns = in_state(audit, "failed"), in_state(audit, "warns")
    if not applied:
        return f"{'Passed' if audit.passed else 'Failed'}: no check was applied."
    if failed:
        more = f"; {_warnings(warns)}" if warns else ""
        return f"{len(failed):,} of {plural(applied, 'check')} failed ({_names(failed)}){more}."
    more = f"; {_warnings(warns)} ({_names(warns)})" if warns else ""
    return f"Passed: none of {plural(applied, 'check')} failed{more}."


def _warnings(rules: Sequence[RuleResult]) -> str:
    return f"{len(rules):,} gave {'a warning' if len(rules) == 1 else 'warnings'}"


def _names(rules: Sequence[RuleResult]) -> str:
    """The first rules; semicolons, since a title may contain commas."""
    named = [one_line(rule.title or rule.name, 60) for rule in rules[:_MAX_NAMED]]
    left = len(rules) - len(named)
    return f"{'; '.join(named)}{f' and {left:,} more' if left else ''}"


def basis(audit: Audit) -> str:
    """Which rows were checked, and whether the shares are estimates."""
    examples = plural(audit.examples, "example")
    if audit.where is not None:
        drawn = "Random sample of the" if audit.sample is not None else "Only the"
        return (
            f"{drawn} rows that --where chose: {audit.rows:,} of"
            f" {plural(audit.rows_in_file, 'row')} were checked ({examples})."
        )
    if audit.sample is not None:
        seed = "" if audit.seed is None else f", seed {audit.seed}"
        return (
            f"Random sample: {audit.rows:,} of {plural(audit.rows_in_file, 'row')}{seed}"
            f" ({examples}). Each share is an estimate for the whole file, with a 95 % confidence"
            " interval where a sample allows one."
        )
    if audit.rows < audit.rows_in_file:
        return (
            f"Only the first {audit.rows:,} of {plural(audit.rows_in_file, 'row')} were checked"
            f" ({examples})."
        )
    return f"The whole file was checked: {plural(audit.rows, 'row')}, {examples}."


def status_sentence(audit: Audit) -> str:
    """Examples with a status other than `ok`, with reasons; empty if all are `ok`."""
    parts = []
    for one in audit.statuses:
        reasons = "; ".join(one_line(reason, 160) for reason in one.reasons)
        parts.append(f"{one.count:,} {one.status}{f' ({reasons})' if reasons else ''}")
    return f"Status other than ok: {', '.join(parts)}." if parts else ""


def cleaned_sentence(cleaned: Cleaned) -> str:
    """How many rows passed, and where they and the others are."""
    return (
        f"→ {cleaned.output}: {cleaned.kept:,} of {plural(cleaned.rows_in, 'row')} kept,"
        f" {cleaned.dropped:,} dropped (reasons: {cleaned.log})"
    )


def advice(audit: Audit) -> str:
    """What to do next."""
    if not audit.passed:
        return "Fix or remove the rows below before training, or raise the limits in ifdkit.toml."
    if audit.warnings:
        return "Nothing blocks training; review the warnings first."
    return "No check found a reason not to train on this dataset."


def rate(share: float | None) -> str:
    """A share with three digits, since it is compared with a limit: `1.24 %` against `1.2 %`."""
    return percent(share, 3)


def rate_interval(ci: Interval | None) -> str:
    """`0.7 % to 2.1 %`."""
    return interval(ci, rate)


def allowed(rule: RuleResult) -> str:
    """The largest share that passes: `none`, `2 %`."""
    return "none" if rule.most <= 0 else rate(rule.most)


def counted(rule: RuleResult) -> str:
    """`12 of 1,000 examples`."""
    return f"{rule.count:,} of {plural(rule.checked, rule.unit)}"


def measured(rule: RuleResult) -> str:
    """Count, share with its interval, limit and threshold."""
    parts = [counted(rule)]
    if rule.share is not None:
        parts[0] += f", {rate(rule.share)}"
    if rule.share_ci95 is not None:
        parts[0] += f" (95 % CI {rate_interval(rule.share_ci95)})"
    parts.append(f"allowed: {allowed(rule)}")
    if rule.threshold is not None:
        parts.append(f"threshold {as_written(rule.threshold)}")
    return "; ".join(parts)


def where(place: Place) -> str:
    """`row 12, turn 1, line 13`: rows and turns from 0 as in scores files, lines from 1.

    Of several inputs `b.jsonl, row 12, line 3`: the line is that of the input. Turn 0 is left out:
    most datasets have no other.
    """
    turn = f", turn {place.turn}" if place.turn else ""
    line = "" if place.line is None else f", line {place.line:,}"
    source = f"{one_line(place.source, 80)}, " if place.source else ""
    return f"{source}row {place.row:,}{turn}{line}"


def by_input(rule: RuleResult) -> str:
    """In which inputs or groups a rule found how much, the largest first; "" for one input."""
    counts = list(rule.sources.items())
    if not counts:
        return ""
    name, count = counts[0]
    word = one_line(rule.group_by or "input", 40)
    noun = "more group" if rule.group_by else "more input"
    if count == rule.count:
        where = f"{one_line(name, 80)}{f' ({word})' if rule.group_by else ''}"
        return f"{'All are' if count > 1 else 'It is'} in {where}."
    shown = [f"{n:,} in {one_line(source, 80)}" for source, n in counts[:_MAX_INPUTS]]
    left = counts[_MAX_INPUTS:]
    if left:
        shown.append(f"{sum(n for _, n in left):,} in {plural(len(left), noun)}")
    return f"By {word}: {', '.join(shown)}."


def template_sentence(check: TemplateCheck) -> str:
    """How far the results under two templates agree, in two or three sentences."""
    first, second = (f"“{one_line(name, 60)}”" for name in check.templates)
    text = (
        f"{plural(check.n, 'example')} scored under the templates {first} and {second}: IFD is 1 or"
        f" more in {rate(check.above_one[0])} and {rate(check.above_one[1])} of them."
    )
    if check.agreement is not None:
        text += f" In {rate(check.agreement)} it is on the same side of 1 under both."
    if check.spearman is not None:
        text += f" Rank correlation of the two IFDs: {correlation(check.spearman)}."
    return text


def settings(rules: Iterable[RuleResult]) -> str:
    """The lines of ifdkit.toml that set the current limits of these rules."""
    tables = []
    for rule in rules:
        lines = [f"[audit.{one_line(rule.name, 60)}]", f'severity = "{rule.severity}"']
        lines.append(f"most = {rule.most!r}")
        if rule.threshold is not None:
            lines.append(f"threshold = {rule.threshold!r}")
        tables.append("\n".join(lines))
    return "\n\n".join(tables)
