"""The report of an audit as Markdown that fits a comment on a pull request.

As in `comparison.markdown`, untrusted text is a code span and sentences are escaped as prose.  Only
the summaries of the folds, in which Markdown escapes have no effect, are fixed strings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ifdkit.auditing.result import Audit, Place, RuleResult
from ifdkit.format import number, plural
from ifdkit.report.audit.wording import (
    LABELS,
    advice,
    allowed,
    basis,
    by_input,
    headline,
    in_state,
    measured,
    rate,
    rate_interval,
    state,
    status_sentence,
    template_sentence,
    title,
    where,
)
from ifdkit.report.comparison.markdown import bound, code, prose

MAX_CHARACTERS = 60_000
"""A comment on a pull request may have 65,536."""
_MAX_RULES = 40
_MAX_PLACES = 5
_MAX_DETAILS = 5
_NAMES = ("model", "protocol", "template", "dtype")


def render_audit_markdown(audit: Audit) -> str:
    """The report, at most MAX_CHARACTERS characters, ending in a line feed."""
    failed, warns = in_state(audit, "failed"), in_state(audit, "warns")
    head = [_head(audit), _table((*failed, *warns))]
    check = audit.template_check
    tail = [prose(template_sentence(check)) if check else "", _inputs(audit)]
    room = MAX_CHARACTERS - sum(map(len, (*head, *tail))) - 600
    parts = list(head)
    # What failed gets the room there is first, then the warnings, then the rest.
    for fold, lines in (
        ("<details open><summary>Failed: where, and what to do</summary>", map(_rule, failed)),
        ("<details><summary>Warnings: where, and what to do</summary>", map(_rule, warns)),
        ("<details><summary>Other checks</summary>", _others(audit)),
    ):
        block = _fold(fold, lines, room)
        room -= len(block)
        parts.append(block)
    return "\n\n".join(part for part in (*parts, *tail) if part) + "\n"


def _head(audit: Audit) -> str:
    verdict = "passed" if audit.passed else "failed"
    return "\n\n".join(
        (
            f"## Audit of {code(audit.input, 80)}: {verdict}",
            f"**{prose(headline(audit), 800)}**",
            prose(f"{basis(audit)} {advice(audit)} {status_sentence(audit)}".rstrip(), 1200),
        )
    )


def _table(rules: Sequence[RuleResult]) -> str:
    """The failed rules and the warnings, one line each."""
    if not rules:
        return ""
    lines = [
        "| check | result | found in | share (95 % CI) | allowed |\n|:--|:--|--:|--:|--:|",
    ]
    for rule in rules[:_MAX_RULES]:
        label = LABELS[state(rule)]
        share = rate(rule.share)
        if rule.share_ci95 is not None:
            share += f" ({rate_interval(rule.share_ci95)})"
        cells = (
            prose(title(rule), 80),
            f"**{label}**" if rule.fails else label,
            f"{rule.count:,} of {rule.checked:,}",
            bound(share),
            bound(allowed(rule)),
        )
        lines.append(f"| {' | '.join(cells)} |")
    if len(rules) > _MAX_RULES:
        lines.append(f"\n{len(rules) - _MAX_RULES:,} more in audit.json")
    return "\n".join(lines)


def _fold(opening: str, lines: Iterable[str], room: int) -> str:
    """As many of the lines as fit into `room` characters, folded; empty if there are none."""
    kept: list[str] = []
    left = 0
    used = len(opening) + 60
    for line in lines:
        if left or used + len(line) + 1 > room:
            left += 1
        else:
            kept.append(line)
            used += len(line) + 1
    if left:
        kept.append(f"- {left:,} more in audit.json")
    return "\n".join([opening, "", *kept, "", "</details>"]) if kept else ""


def _rule(rule: RuleResult) -> str:
    found = f" {prose(rule.found, 300)}" if rule.found else ""
    fix = f" *What to do:* {prose(rule.fix, 300)}" if rule.fix else ""
    lines = [f"- **{prose(title(rule), 80)}** ({prose(measured(rule))}).{found}{fix}"]
    if inputs := by_input(rule):
        lines.append(f"  - {prose(inputs, 600)}")
    lines += _details(rule)
    lines += [f"  - {_place(place)}" for place in rule.places[:_MAX_PLACES]]
    left = rule.count - min(_MAX_PLACES, len(rule.places))
    if rule.places and left > 0:
        lines.append(f"  - … and {left:,} more")
    return "\n".join(lines)


def _details(rule: RuleResult) -> Iterator[str]:
    for one in rule.details[:_MAX_DETAILS]:
        text = code(one.text, 160) if rule.quotes_text else prose(one.text, 160)
        yield f"  - {one.count:,} × {text}"


def _place(place: Place) -> str:
    parts = [where(place)]
    if place.id:
        parts.append(code(place.id, 40))
    if place.value is not None:
        parts.append(number(place.value))
    quote = f": {code(place.quote, 160)}" if place.quote else ""
    return ", ".join(parts) + quote


def _others(audit: Audit) -> Iterator[str]:
    for rule in in_state(audit, "passed"):
        yield f"- {prose(title(rule), 80)}: passed ({prose(measured(rule))})"
    for rule in in_state(audit, "skipped", "off"):
        why = prose(rule.skipped or "switched off", 200)
        yield f"- {prose(title(rule), 80)}: not applied, {why}"


def _inputs(audit: Audit) -> str:
    scores = audit.manifest.as_json() if audit.manifest else {}
    made = ", ".join(f"{name} {code(str(scores[name]), 80)}" for name in _NAMES if scores.get(name))
    against = ""
    if audit.against:
        names = ", ".join(code(name, 80) for name in audit.against[:5])
        left = len(audit.against) - 5
        more = f" and {plural(left, 'more file')}" if left > 0 else ""
        against = f" Compared against {names}{more}."
    return (
        f"Scores: {made or 'none'}.{against} Made by ifdkit {prose(audit.version, 40)}:"
        f" {code(audit.command, 300)}"
    )
