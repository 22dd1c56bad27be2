"""The report of a comparison as Markdown that fits a comment on a pull request.

Text of the datasets and names (files, models) are code spans, in which Markdown, HTML, mentions and
links have no effect.  Sentences are escaped as prose.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ifdkit.comparison.result import LengthControl, Summary
from ifdkit.findings.finding import Finding
from ifdkit.format import (
    NOTHING,
    as_written,
    correlation,
    interval,
    number,
    p_value,
    percent,
    plural,
    signed,
)
from ifdkit.report.comparison.wording import (
    MAX_SOURCES,
    coverage_sentence,
    diversity_measure,
    estimates,
    finding_title,
    group_word,
    metric_of,
    paper_metrics,
    shown_sources,
    source_fields,
)
from ifdkit.visible import one_line, sentence

MAX_CHARACTERS = 65_000
_MAX_FINDINGS_CHARACTERS = 45_000
_MAX_FINDINGS = 20
_ALWAYS = re.compile(r"([\\`*_{}\[\]#|<>&~$^])")
_AT_THE_START = re.compile(r"^(\d*)([-+=.):])")  # lists and underlines of headings
_LINKS = re.compile(r":(?=//)|:(?=[\w+-]+:)|(?<=www)\.", re.IGNORECASE)  # and :emoji:
_LINKED_BY_FORGES = re.compile(r"@|#(?=\d)")


def prose(text: str, limit: int = 600) -> str:
    """`text` escaped so that Markdown shows it as it is."""
    shown = one_line(text, limit)
    # Forges link `@name` and `#12` after escapes are gone, so these need a code span.
    marks = [*_LINKED_BY_FORGES.findall(shown), ""]
    parts = map(_escaped, _LINKED_BY_FORGES.split(shown))
    return "".join(
        part + (f"`{mark}`" if mark else "") for part, mark in zip(parts, marks, strict=True)
    )


def _escaped(text: str) -> str:
    text = _AT_THE_START.sub(r"\1\\\2", _ALWAYS.sub(r"\\\1", text))
    return _LINKS.sub(r"\\\g<0>", text)


def code(text: str, limit: int = 160) -> str:
    """Untrusted text as a code span in one line. Not for table cells, which end at a pipe."""
    shown = one_line(text, limit) or " "
    longest = max((len(run) for run in re.findall("`+", shown)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if shown[0] in "` " or shown[-1] in "` " or longest else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def bound(text: str) -> str:
    """A formatted number that may be a bound, `< 0.001`."""
    return text.replace("<", "&lt;").replace(">", "&gt;")


def render_markdown(summary: Summary) -> str:
    """The report, at most MAX_CHARACTERS characters, ending in a line feed."""
    sections = (
        _head(summary),
        _table(summary),
        _sources(summary),
        *(_length(field, one) for field, one in summary.length_control.items()),
        _diversity(summary),
        _reference(summary),
    )
    tail = _inputs(summary)
    room = min(_MAX_FINDINGS_CHARACTERS, MAX_CHARACTERS - len(tail) - sum(map(len, sections)) - 100)
    return "\n\n".join(part for part in (*sections, _findings(summary, room), tail) if part) + "\n"


def _head(summary: Summary) -> str:
    names = (code(summary.name_before, 80), code(summary.name_after, 80))
    told = [f"**{prose(one, 1500)}**" for one in (summary.verdict, summary.headline) if one]
    lines = [f"## {names[0]} → {names[1]}", *told]
    lines += [
        f"With length held fixed: {prose(one.sentence)}"
        for one in summary.length_control.values()
        if one.sentence and one.sentence not in summary.headline
    ]
    lines += [f"> ⚠ {prose(warning, 300)}" for warning in summary.warnings[:20]]
    return "\n\n".join(lines)


def _table(summary: Summary) -> str:
    head = (
        "| metric | before | after | median change (95 % CI) | mean change (95 % CI) | p, Holm"
        " | effect | rose | pairs |\n|:--|--:|--:|--:|--:|--:|--:|--:|--:|"
    )
    lines = []
    for field, one in summary.metrics.items():
        change = one.change
        cells = (
            prose(metric_of(field).label, 60),
            f"{number(one.before.median)} ({number(one.before.mean)})",
            f"{number(one.after.median)} ({number(one.after.mean)})",
            f"{signed(change.median)} ({interval(change.median_ci95)})",
            f"{signed(change.mean)} ({interval(change.mean_ci95)})",
            bound(p_value(change.p_holm)),
            correlation(change.effect),
            bound(percent(change.share_rose)),
            f"{one.before.n:,}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    note = (
        "Median, with the mean in brackets. Changes are paired, after − before. Rose: share of the"
        " pairs that rose; unchanged pairs did not."
    )
    geometric = _geometric_means(summary)
    return "\n".join([head, *lines]) + f"\n\n{note}{geometric}"


def _sources(summary: Summary) -> str:
    """The changes of the main metrics, one line for each input."""
    if not summary.sources:
        return ""
    fields, word = source_fields(summary), group_word(summary)
    labels = " | ".join(prose(metric_of(field).label, 60) for field in fields)
    lines = [f"| {prose(word, 40)} | pairs | {labels} |", f"|:--|--:|{'--:|' * len(fields)}"]
    for one in shown_sources(summary):
        medians = (one.medians.get(field) for field in fields)
        cells = (NOTHING if found is None else signed(found[2]) for found in medians)
        lines.append(f"| {prose(one.name, 80)} | {one.n_pairs:,} | {' | '.join(cells)} |")
    left = len(summary.sources) - MAX_SOURCES
    noun = "more group" if summary.group_by else "more input"
    more = f" {plural(left, noun)} in summary.json." if left > 0 else ""
    return "\n".join(lines) + f"\n\nMedian change by {prose(word, 40)}.{more}"


def _geometric_means(summary: Summary) -> str:
    found = [
        f"{prose(metric_of(field).label, 60)} {number(one.before.geometric_mean)} →"
        f" {number(one.after.geometric_mean)}"
        for field, one in summary.metrics.items()
        if one.before.geometric_mean is not None and one.after.geometric_mean is not None
    ]
    return f" Geometric means: {'; '.join(found)}." if found else ""


def _length(field: str, control: LengthControl) -> str:
    lines = [
        f"### {prose(metric_of(field).label, 60)} with length held fixed",
        "",
        "| estimate | change (95 % CI) | pairs |",
        "|:--|--:|--:|",
    ]
    for one in estimates(control):
        pairs = NOTHING if one.n is None else f"{one.n:,}"
        lines.append(f"| {one.name} | {signed(one.change)} ({interval(one.ci95)}) | {pairs} |")
    lines += [""] + [prose(sentence(note)) for note in control.notes[:10]]
    return "\n".join(lines).rstrip()


def _diversity(summary: Summary) -> str:
    """Both sides as sets: a line for each measure of diversity."""
    if not summary.diversity:
        return ""
    lines = [
        "### Diversity",
        "",
        "| measure | before | after | change (95 % CI) | more diverse if |",
        "|:--|--:|--:|--:|:--|",
    ]
    for name, one in summary.diversity.items():
        entry = diversity_measure(name)
        cells = (
            prose(entry.label, 60),
            number(one.before),
            number(one.after),
            f"{signed(one.change)} ({interval(one.change_ci95)})",
            "larger" if entry.higher_is_more_diverse else "smaller",
        )
        lines.append(f"| {' | '.join(cells)} |")
    note = coverage_sentence(summary)
    return "\n".join(lines) + (f"\n\n{prose(note)}" if note else "")


def _reference(summary: Summary) -> str:
    if not summary.reference:
        return ""
    fields = [
        field for field in paper_metrics() if any(field in row.values for row in summary.reference)
    ]
    head = " | ".join(metric_of(field).short.replace("|", "\\|") for field in fields)
    lines = [
        "<details><summary>Published results for reference: another model's numbers</summary>",
        "",
        f"| dataset | {head} |",
        "|:--|" + "--:|" * len(fields),
    ]
    for row in summary.reference[:20]:
        cells = " | ".join(as_written(row.values.get(field)) for field in fields)
        lines.append(f"| {prose(f'{row.name} ({row.model}, {row.source})', 200)} | {cells} |")
    return "\n".join([*lines, "", "</details>"])


def _findings(summary: Summary, room: int) -> str:
    """As many findings as fit into `room` characters."""
    if not summary.findings:
        return ""
    lines = ["### Issues found in the text", ""]
    kept = 0
    for line in map(_finding, summary.findings[:_MAX_FINDINGS]):
        if sum(map(len, lines)) + len(line) > room:
            break
        lines.append(line)
        kept += 1
    if left := len(summary.findings) - kept:
        lines.append(f"- {left:,} more in summary.json")
    return "\n".join(lines)


def _finding(finding: Finding) -> str:
    return "".join(_finding_parts(finding))


def _finding_parts(finding: Finding) -> Iterator[str]:
    side = "" if finding.side == "both" else f", {finding.side}"
    yield f"- **{prose(finding_title(finding.kind), 60)}**{side}: "
    yield f"{plural(finding.count, 'row')} ({bound(percent(finding.share))})"
    if finding.other_count is not None:
        yield f", {finding.other_count:,} on the other side"
    yield f". {code(finding.text) if finding.quotes_text else prose(finding.text, 300)}"
    if finding.row_ids:
        yield f" Rows {', '.join(code(one, 40) for one in finding.row_ids[:5])}"
        yield " …" if finding.count > 5 else ""


def _inputs(summary: Summary) -> str:
    pairing, before = summary.pairing, summary.before
    names = ("model", "protocol", "template", "dtype") if before else ()
    made = ", ".join(f"{name} {code(str(getattr(before, name)), 80)}" for name in names)
    return (
        f"{plural(pairing.n_pairs, 'pair')} by {prose(pairing.by, 40)}; unmatched:"
        f" {pairing.unmatched_before:,} before, {pairing.unmatched_after:,} after; ambiguous:"
        f" {pairing.ambiguous:,}. {made[:1].upper()}{made[1:]}."
        f" Seed {summary.seed}. Made by ifdkit {prose(summary.version, 40)}:"
        f" {code(summary.command, 300)}"
    )
