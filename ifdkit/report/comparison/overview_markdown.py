"""The overview of several comparisons as Markdown that fits a comment on a pull request."""

from __future__ import annotations

from ifdkit.comparison.overview import Overview
from ifdkit.format import interval, signed
from ifdkit.report.comparison.markdown import bound, code, prose
from ifdkit.report.comparison.overview import (
    ALPHA,
    change_cells,
    change_word,
    counted,
    finding_counts,
    lead,
    method,
    share_word,
    short_name,
    shown_others,
)
from ifdkit.report.comparison.wording import estimates, metric_of

_MAX_OTHERS = 12
"""Of 13 metrics each: about 30,000 characters."""


def render_overview_markdown(overview: Overview) -> str:
    """The report, ending in a line feed."""
    sections = (_head(overview), _table(overview), _lengths(overview), _findings(overview))
    tail = (
        f"Seed {overview.seed}. Made by ifdkit {prose(overview.version, 40)}:"
        f" {code(overview.command, 300)}"
    )
    return "\n\n".join(part for part in (*sections, tail) if part) + "\n"


def _head(overview: Overview) -> str:
    mark = "" if overview.is_paired else " (unpaired)"
    title = f"## {code(overview.baseline, 80)} compared with others{mark}"
    lines = [title, f"**{lead(overview)}**"]
    items = []
    for i, one in enumerate(shown_others(overview)[:_MAX_OTHERS], 1):
        caveats = f" {len(one.warnings)} caveats in summary.json." if one.warnings else ""
        items.append(
            f"{i}. {code(one.name, 80)}, {counted(one)}: {prose(one.verdict, 400)}{caveats}"
        )
    left = len(overview.others) - len(items)
    more = [f"{left:,} more in summary.json."] if left else []
    return "\n\n".join([*lines, "\n".join(items), *more])


def _table(overview: Overview) -> str:
    word, share = change_word(overview), share_word(overview)
    lines = [
        f"| metric | dataset | baseline | dataset | median {word} (95 % CI) | p, Holm | effect |"
        f" {share} | n |",
        "|:--|:--|--:|--:|--:|--:|--:|--:|--:|",
    ]
    others = list(enumerate(shown_others(overview)[:_MAX_OTHERS], 1))
    for field in overview.fields:
        for i, one in others:
            if field not in one.metrics:
                continue
            cells = change_cells(one.metrics[field], is_paired=overview.is_paired)
            shown = (
                prose(metric_of(field).label, 60),
                prose(short_name(i, one), 40),
                cells.before,
                cells.after,
                f"{cells.change.replace('*', ' ✱')} ({cells.ci95})",
                bound(cells.p),
                cells.effect,
                bound(cells.share),
                cells.n,
            )
            lines.append(f"| {' | '.join(shown)} |")
    return "\n".join(lines) + f"\n\n✱ corrected p below {ALPHA:g}. {prose(method(overview))}"


def _lengths(overview: Overview) -> str:
    lines = []
    for i, one in enumerate(shown_others(overview)[:_MAX_OTHERS], 1):
        for control in one.length_control.values():
            lines += [
                f"| {prose(short_name(i, one), 40)} | {estimate.name} | {signed(estimate.change)}"
                f" ({interval(estimate.ci95)}) |"
                for estimate in estimates(control)
                if estimate.change is not None
            ]
    if not lines:
        return ""
    head = ["### IFD with length held fixed", "", "| dataset | estimate | change (95 % CI) |"]
    return "\n".join([*head, "|:--|:--|--:|", *lines])


def _findings(overview: Overview) -> str:
    counts = finding_counts(overview)
    if not counts:
        return ""
    others = list(enumerate(shown_others(overview)[:_MAX_OTHERS], 1))
    head = " | ".join(prose(short_name(i, one), 40) for i, one in others)
    lines = [
        f"| {prose(title, 60)} | {' | '.join(f'{n:,}' for n in row[: len(others)])} |"
        for title, row in counts
    ]
    return "\n".join(
        ["### Issues found in the text", "", f"| issue | {head} |",
         f"|:--|{'--:|' * len(others)}", *lines]
    )  # fmt: skip
