"""What every form of an overview says: its sentences, headers and cells."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ifdkit.comparison.overview import Compared, Overview
from ifdkit.format import NOTHING, correlation, interval, number, p_value, percent, plural, signed
from ifdkit.report.comparison.wording import finding_title
from ifdkit.stats.paired import MetricChange
from ifdkit.visible import one_line

ALPHA = 0.05
"""Below it a corrected p is marked."""
MAX_OTHERS = 50
"""Datasets that an overview shows; the others are in summary.json."""
_LABEL = 14


def shown_others(overview: Overview) -> tuple[Compared, ...]:
    """The datasets that are shown."""
    return overview.others[:MAX_OTHERS]


def lead(overview: Overview) -> str:
    """How many datasets are compared with what, and how."""
    count = plural(len(overview.others), "dataset")
    how = "pair by pair" if overview.is_paired else "UNPAIRED, as distributions"
    limit = overview.limit
    part = "" if limit is None else f" Limited: only the first {plural(limit, 'row')} of each side."
    return f"{count} compared with the same baseline, {how}.{part}"


def method(overview: Overview) -> str:
    """How changes, intervals and p are made."""
    of = "all datasets" if len(overview.others) > 1 else "the dataset"
    tests = plural(overview.n_tests, "test")
    corrected = f"p is corrected by Holm over {tests}: all metrics of {of}."
    if overview.is_paired:
        return (
            "A change is the median of the paired changes, with its 95 % bootstrap interval and the"
            f" Wilcoxon signed-rank test; {corrected}"
        )
    return (
        "Unpaired: a difference is that of the two medians, with a 95 % interval that combines the"
        " bootstrap intervals of both sides, and a permutation test of the rank sum. Effect is"
        f" Cliff's delta. The rows of the datasets may differ in every respect. {corrected}"
    )


def change_word(overview: Overview) -> str:
    """What a change is called."""
    return "change" if overview.is_paired else "difference, unpaired"


def share_word(overview: Overview) -> str:
    """What `share_rose` is called: of random values if there are no pairs."""
    return "rose" if overview.is_paired else "above a random value"


def short_name(place: int, one: Compared, limit: int = _LABEL) -> str:
    """`2 recycled`, by default short enough for the head of a column."""
    return one_line(f"{place} {Path(one.name).name.split('.')[0]}", limit).rstrip()


def counted(one: Compared) -> str:
    """`400 pairs`, or `400 and 1,200 examples, unpaired`."""
    if one.pairing is not None:
        return f"{plural(one.pairing.n_pairs, 'pair')} by {one_line(one.pairing.by, 20)}"
    return f"{one.n_before:,} and {plural(one.n_after, 'example')}, unpaired"


def is_clear(metric: MetricChange) -> bool:
    """Whether the corrected p is below ALPHA."""
    p = metric.change.p_holm
    return p is not None and p < ALPHA


def marked_change(metric: MetricChange | None) -> str:
    """`+0.20*`; the star marks a corrected p below ALPHA."""
    if metric is None:
        return NOTHING
    return f"{signed(metric.change.median)}{'*' if is_clear(metric) else ''}"


@dataclass(frozen=True, slots=True)
class ChangeCells:
    """One metric of one dataset, as text."""

    before: str
    after: str
    change: str
    ci95: str
    p: str
    effect: str
    share: str
    n: str


def change_cells(metric: MetricChange, *, is_paired: bool) -> ChangeCells:
    """The cells of one line of the long table."""
    old, new, change = metric.before, metric.after, metric.change
    return ChangeCells(
        before=number(old.median),
        after=number(new.median),
        change=marked_change(metric),
        ci95=interval(change.median_ci95),
        p=p_value(change.p_holm),
        effect=correlation(change.effect),
        share=percent(change.share_rose),
        n=f"{old.n:,}" if is_paired else f"{old.n:,} / {new.n:,}",
    )


def finding_counts(overview: Overview) -> list[tuple[str, list[int]]]:
    """Title of a kind of finding → rows of each dataset with it, findings of the baseline aside."""
    others = shown_others(overview)
    kinds = dict.fromkeys(
        finding.kind for one in others for finding in one.findings if finding.side != "before"
    )
    return [
        (
            finding_title(kind),
            [
                max(
                    (f.count for f in one.findings if f.kind == kind and f.side != "before"),
                    default=0,
                )
                for one in others
            ],
        )
        for kind in kinds
    ]
