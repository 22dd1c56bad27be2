"""What the reports of an audit say of it: one wording for page, Markdown, SARIF and terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from ifdkit.auditing.result import Audit, Interval, Place, RuleResult, TemplateCheck
from ifdkit.report.comparison.wording import NOTHING, effect
from ifdkit.report.format import number, plural
from ifdkit.report.visible import one_line

State = Literal["failed", "warns", "passed", "skipped", "off"]
_MOST_NAMED = 4
"""Rules that a sentence names."""


def state(rule: RuleResult) -> State:
    """What became of a rule, in one word."""
    if rule.skipped is not None:
        return "skipped"
    if rule.severity == "off":
        return "off"
    if rule.passed:
        return "passed"
    return "failed" if rule.severity == "error" else "warns"


def in_state(audit: Audit, *states: State) -> tuple[RuleResult, ...]:
    """The rules of which one of the words holds, in the audit's order."""
    return tuple(rule for rule in audit.rules if state(rule) in states)


def title(rule: RuleResult) -> str:
    """Its title with a capital; its name where it has none."""
    text = one_line(rule.title or rule.name, 80)
    return text[:1].upper() + text[1:]


def headline(audit: Audit) -> str:
    """Whether it passed, and which of how many rules decided it, in one sentence."""
    applied = len(in_state(audit, "failed", "warns", "passed"))
    failed, warns = in_state(audit, "failed"), in_state(audit, "warns")
    if not audit.passed:
        verb = "finds more than it allows" if len(failed) == 1 else "find more than they allow"
        more = f", and {_how_many_warn(warns)}" if warns else ""
        return (
            f"Failed: {len(failed):,} of {plural(applied, 'rule')} {verb} {_names(failed)}{more}."
        )
    if not applied:
        return "Passed: no rule was applied."
    more = f", {_how_many_warn(warns)} {_names(warns)}" if warns else ""
    return f"Passed: none of {plural(applied, 'rule')} fails{more}."


def _how_many_warn(rules: Sequence[RuleResult]) -> str:
    return f"{len(rules):,} {'warns' if len(rules) == 1 else 'warn'}"


def _names(rules: Sequence[RuleResult]) -> str:
    """The first rules in brackets; semicolons, since a title may hold commas."""
    named = [one_line(rule.title or rule.name, 60) for rule in rules[:_MOST_NAMED]]
    left = len(rules) - len(named)
    return f"({'; '.join(named)}{f' and {left:,} more' if left else ''})"


def basis(audit: Audit) -> str:
    """Which rows the verdict rests on, and what that makes of its shares."""
    examples = plural(audit.examples, "example")
    if audit.sample is not None:
        seed = "" if audit.seed is None else f", seed {audit.seed}"
        return (
            f"Drawn at random: {audit.rows:,} of {plural(audit.rows_in_file, 'row')}{seed},"
            f" {examples}. A share is an estimate for the whole file, with a 95 % interval wherever"
            " a sample can tell it."
        )
    if audit.rows < audit.rows_in_file:
        return (
            f"Only the first {audit.rows:,} of {plural(audit.rows_in_file, 'row')} were looked at,"
            f" {examples}: nothing is said of the others."
        )
    return f"All of the file was looked at: {plural(audit.rows, 'row')}, {examples}."


def advice(audit: Audit) -> str:
    """What the verdict asks for."""
    if not audit.passed:
        return (
            "Mend or leave out what the failed rules name before training on it, or allow it in"
            " ifdkit.toml."
        )
    if audit.warnings:
        return "Nothing stops a training run; what warns is worth a look before it."
    return "Nothing that these rules look for stands against training on it."


def rate(share: float | None) -> str:
    """A share with the digits that a threshold needs: `0.04 %`, `1.2 %`, `12.5 %`, `100 %`."""
    if share is None:
        return NOTHING
    per_cent = 100 * share
    if 0 < per_cent < 0.01:
        return "< 0.01 %"
    if per_cent < 10:
        return f"{per_cent:.3g} %"
    # What is not quite all of them must not look like all of them.
    shown = f"{min(per_cent, 99.9) if share < 1 else per_cent:.1f}"
    return f"{shown.removesuffix('.0')} %"


def rate_interval(ci: Interval | None) -> str:
    """`0.7 % to 2.1 %`; empty for None."""
    return "" if ci is None else f"{rate(ci[0])} to {rate(ci[1])}"


def allowed(rule: RuleResult) -> str:
    """The largest share that passes: `none`, `2 %`."""
    return "none" if rule.most <= 0 else rate(rule.most)


def counted(rule: RuleResult) -> str:
    """`12 of 1,000 examples`."""
    return f"{rule.count:,} of {plural(rule.checked, rule.unit)}"


def measured(rule: RuleResult) -> str:
    """Count, share with its interval, what is allowed, and the number that divides."""
    ci = rate_interval(rule.share_ci95)
    share = "" if rule.share is None else f", {rate(rule.share)}"
    parts = [f"{counted(rule)}{share}{f' (95 % interval {ci})' if ci else ''}"]
    parts.append(f"allowed: {allowed(rule)}")
    if rule.threshold is not None:
        parts.append(f"threshold {rule.threshold:g}".replace("-", "−"))
    return "; ".join(parts)


def decimal(x: float) -> str:
    """A score with three significant digits and a true minus sign."""
    return number(x).replace("-", "−")


def where(place: Place) -> str:
    """`row 12, turn 1, line 13`: rows and turns from 0 as in scores files, lines from 1.

    The first turn goes unsaid: in most datasets it is the only one.
    """
    turn = f", turn {place.turn}" if place.turn else ""
    line = "" if place.line is None else f", line {place.line:,}"
    return f"row {place.row:,}{turn}{line}"


def template_sentence(check: TemplateCheck) -> str:
    """How far two templates agree, in a sentence or two."""
    first, second = (f"“{one_line(name, 60)}”" for name in check.templates)
    said = (
        f"{plural(check.n, 'example')} scored under the templates {first} and {second}: IFD is 1 or"
        f" more in {rate(check.above_one[0])} and in {rate(check.above_one[1])} of them."
    )
    if check.agreement is not None:
        said += f" Both put {rate(check.agreement)} on the same side of 1."
    if check.spearman is not None:
        said += f" Rank correlation of the two IFDs: {effect(check.spearman)}."
    return said


def settings(rules: Iterable[RuleResult]) -> str:
    """The lines of ifdkit.toml that say what holds for these rules now."""
    tables = []
    for rule in rules:
        lines = [f"[audit.{one_line(rule.name, 60)}]", f'severity = "{rule.severity}"']
        lines.append(f"most = {rule.most!r}")
        if rule.threshold is not None:
            lines.append(f"threshold = {rule.threshold!r}")
        tables.append("\n".join(lines))
    return "\n\n".join(tables)
