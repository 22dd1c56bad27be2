"""The report of an audit as Markdown that fits a comment on a pull request.

As in `markdown`, other people's text stands in code spans and prose of ours is escaped as prose;
only the summaries of the folds, which Markdown leaves alone, are fixed words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ifdkit.auditing.result import Audit, Place, RuleResult
from ifdkit.report.audit.wording import (
    advice,
    allowed,
    basis,
    decimal,
    headline,
    in_state,
    measured,
    rate,
    rate_interval,
    state,
    template_sentence,
    title,
    where,
)
from ifdkit.report.comparison.markdown import code, prose
from ifdkit.report.comparison.wording import NOTHING
from ifdkit.report.format import plural

MOST_CHARACTERS = 60_000
"""A comment on a pull request may have 65,536."""
_MOST_RULES = 40
_MOST_PLACES = 5
_MOST_DETAILS = 5
_NAMES = ("model", "protocol", "template", "dtype")


def render_audit_markdown(audit: Audit) -> str:
    """At most MOST_CHARACTERS characters, ending in a line feed."""
    failed, warns = in_state(audit, "failed"), in_state(audit, "warns")
    head = [_head(audit), _table((*failed, *warns))]
    tail = [_templates(audit), _made_from(audit)]
    room = MOST_CHARACTERS - sum(map(len, (*head, *tail))) - 600
    parts = list(head)
    # What failed comes first into the room there is, then what warns, then the rest.
    for fold, lines in (
        ("<details open><summary>What failed, where, and what to do</summary>", map(_rule, failed)),
        ("<details><summary>What warns, where, and what to do</summary>", map(_rule, warns)),
        ("<details><summary>The other rules</summary>", _others(audit)),
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
            prose(f"{basis(audit)} {advice(audit)}", 600),
        )
    )


def _table(rules: Sequence[RuleResult]) -> str:
    """The rules that fail or warn, one line each."""
    if not rules:
        return ""
    lines = [
        "| rule | verdict | found in | share (95 %) | allowed |\n|:--|:--|--:|--:|--:|",
    ]
    for rule in rules[:_MOST_RULES]:
        verdict = "**failed**" if state(rule) == "failed" else "warns"
        of = f"{rule.count:,} of {rule.checked:,}"
        cells = (prose(title(rule), 80), verdict, of, _share(rule), allowed(rule))
        lines.append(f"| {' | '.join(cells)} |")
    if len(rules) > _MOST_RULES:
        lines.append(f"\n{len(rules) - _MOST_RULES:,} more in audit.json")
    return "\n".join(lines)


def _share(rule: RuleResult) -> str:
    ci = rate_interval(rule.share_ci95)
    shown = f"{rate(rule.share)} ({ci})" if ci else rate(rule.share)
    return shown.replace("<", "&lt;")


def _fold(opening: str, lines: Iterable[str], room: int) -> str:
    """As many of the lines as fit into `room` characters, folded; empty where there are none."""
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
    lines += _details(rule)
    lines += [f"  - {_place(place)}" for place in rule.places[:_MOST_PLACES]]
    left = rule.count - min(_MOST_PLACES, len(rule.places))
    if rule.places and left > 0:
        lines.append(f"  - … and {left:,} more")
    return "\n".join(lines)


def _details(rule: RuleResult) -> Iterator[str]:
    for one in rule.details[:_MOST_DETAILS]:
        text = code(one.text, 160) if rule.quotes_text else prose(one.text, 160)
        yield f"  - {one.count:,} × {text}"


def _place(place: Place) -> str:
    parts = [where(place)]
    if place.id:
        parts.append(code(place.id, 40))
    if place.value is not None:
        parts.append(decimal(place.value))
    said = f": {code(place.quote, 160)}" if place.quote else ""
    return ", ".join(parts) + said


def _others(audit: Audit) -> Iterator[str]:
    for rule in in_state(audit, "passed"):
        yield f"- {prose(title(rule), 80)}: passed ({prose(measured(rule))})"
    for rule in in_state(audit, "skipped", "off"):
        why = prose(rule.skipped or "switched off", 200)
        yield f"- {prose(title(rule), 80)}: not applied, {why}"


def _templates(audit: Audit) -> str:
    return prose(template_sentence(audit.template_check)) if audit.template_check else ""


def _made_from(audit: Audit) -> str:
    scores = audit.manifest.as_json() if audit.manifest else {}
    made = ", ".join(f"{name} {code(str(scores[name]), 80)}" for name in _NAMES if scores.get(name))
    against = ", ".join(code(name, 80) for name in audit.against[:5]) or NOTHING
    compared = f" Compared against {against}" if audit.against else ""
    if compared:
        left = len(audit.against) - 5
        compared += f" and {plural(left, 'more file')}." if left > 0 else "."
    return (
        f"Scores: {made or 'none'}.{compared} Made by ifdkit {prose(audit.version, 40)}:"
        f" {code(audit.command, 300)}"
    )
