"""Names of metrics, findings and estimates: the same in every form of the report."""

from __future__ import annotations

from dataclasses import dataclass

from ifdkit.comparison.result import LengthControl, SourceChange, Summary
from ifdkit.diversity.measures import DIVERSITY, DiversityMeasure
from ifdkit.findings import TITLES
from ifdkit.format import percent
from ifdkit.scoring.metric import Metric
from ifdkit.scoring.metrics import METRICS, table_metrics
from ifdkit.stats.columns import Interval
from ifdkit.visible import one_line


def metric_of(name: str) -> Metric:
    """The entry of a metric; a metric that is no longer registered is labelled with its name."""
    unknown = Metric(
        name=name,
        compute=lambda _: None,
        label=name,
        short=name,
        unit="value",
        definition="A metric that is not registered here.",
    )
    return METRICS.get(name, unknown)


def definition(name: str) -> str:
    """What a metric is, with its source."""
    metric = metric_of(name)
    return f"{metric.definition} ({metric.source})" if metric.source else metric.definition


def diversity_measure(name: str) -> DiversityMeasure:
    """The entry of a measure of diversity; one of another version is labelled with its name."""
    unknown = DiversityMeasure(name=name, label=name, short=name, unit="value", definition="")
    return DIVERSITY.get(name, unknown)


def coverage_sentence(summary: Summary) -> str:
    """How much of each side the other covers; empty if that was not measured."""
    found = summary.coverage
    if found is None:
        return ""
    return (
        f"The rows after cover {percent(found.before_by_after)} of the rows before, and the rows"
        f" before {percent(found.after_by_before)} of those after: a row is covered if the other"
        " side has one at least as near as its fifth nearest row of its own side."
    )


def paper_metrics() -> list[str]:
    """The columns of table 6 of 2402.10110, in its order."""
    return [name for name in table_metrics() if METRICS[name].in_paper_table]


def finding_title(kind: str) -> str:
    """`refusal` → `Refusals`; an unknown kind is shown under its own name."""
    title = TITLES.get(kind, kind.replace("_", " "))
    return title[:1].upper() + title[1:]


RAW = "Raw"
"""Name of the estimate in which lengths are free to differ."""


@dataclass(frozen=True, slots=True)
class LengthEstimate:
    """One estimate of a change in IFD, as a row of a small table or figure."""

    name: str
    change: float | None
    ci95: Interval | None
    n: int | None
    """Pairs used; None if the pairs are weighted."""
    meaning: str


def estimates(control: LengthControl) -> tuple[LengthEstimate, ...]:
    """The raw change, then the three with length held fixed."""
    window = f"First {control.window} tokens" if control.window else "First tokens"
    return (
        LengthEstimate(
            RAW,
            control.raw_change,
            control.raw_ci95,
            control.n_pairs,
            "Median paired change, lengths free to differ.",
        ),
        LengthEstimate(
            window,
            control.window_change,
            control.window_ci95,
            control.n_window,
            "IFD over the same number of first response tokens on both sides.",
        ),
        LengthEstimate(
            "Equal length",
            control.common_length_change,
            control.common_length_ci95,
            control.n_common_length,
            "Each pair cut to the length of its shorter response.",
        ),
        LengthEstimate(
            "Matched lengths",
            control.matched_change,
            control.matched_ci95,
            None,
            "Both sides reweighted to the lengths that they share; a difference of weighted"
            " medians.",
        ),
    )


def group_word(summary: Summary) -> str:
    """What the groups of `sources` are: inputs, or values of a column."""
    return one_line(summary.group_by or "input", 40)


MAX_SOURCES = 20
"""Inputs that are shown; the others are in summary.json."""


def shown_sources(summary: Summary) -> list[SourceChange]:
    """The inputs with the most pairs, in their order."""
    ranked = sorted(summary.sources, key=lambda one: -one.n_pairs)[:MAX_SOURCES]
    names = {one.name for one in ranked}
    return [one for one in summary.sources if one.name in names]


def source_fields(summary: Summary) -> list[str]:
    """The metrics that at least one of them has, in the order of the table."""
    return [name for name in summary.metrics if any(name in one.medians for one in summary.sources)]
