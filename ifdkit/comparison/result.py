"""The result of a comparison: `Comparison` and the types it is made of.

`summary.json` is :class:`Summary` field by field (schema "ifdkit.comparison/1"): renaming a field
breaks scripts of users.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ifdkit.data.atomic import json_file
from ifdkit.data.pairing import Pairing
from ifdkit.data.report_folder import encoded, renders, save_report
from ifdkit.data.views import MetricView
from ifdkit.findings.finding import Finding, SideName
from ifdkit.format import plural
from ifdkit.records import plain
from ifdkit.scoring.explored import ExploredSide
from ifdkit.scoring.manifest import Manifest
from ifdkit.stats.columns import Interval
from ifdkit.stats.paired import MetricChange
from ifdkit.visible import one_line

if TYPE_CHECKING:
    import pandas as pd

COMPARISON_SCHEMA = "ifdkit.comparison/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthControl:
    """A change in IFD, raw and with response length held fixed in three ways.

    Every change is a median of paired differences, except `matched_change`, which is a difference
    of weighted medians.  An estimate is None if the data do not allow it; `notes` says why.
    """

    min_tokens: int
    """Shortest response used, in tokens: the ratios of one token can be in the thousands."""
    n_pairs: int
    """Pairs in which both responses have that many tokens and a defined IFD."""
    raw_change: float | None = None
    raw_ci95: Interval | None = None
    window: int | None = None
    window_change: float | None = None
    """IFD over the first `window` response tokens, for pairs in which both sides have them."""
    window_ci95: Interval | None = None
    n_window: int = 0
    common_length_change: float | None = None
    """Each pair cut to the length of its shorter side."""
    common_length_ci95: Interval | None = None
    n_common_length: int = 0
    matched_change: float | None = None
    """Both sides reweighted to the distribution of lengths that they share."""
    matched_ci95: Interval | None = None
    overlap: float | None = None
    """Share of the two length distributions that they have in common, 0…1."""
    share_due_to_length: float | None = None
    """1 − common_length_change ÷ raw_change; None if the raw change may be zero."""
    ci95: Interval | None = None
    """Of the share."""
    spearman_before: float | None = None
    """Rank correlation of IFD and response tokens."""
    spearman_after: float | None = None
    sentence: str = ""
    """The conclusion in one sentence."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthOfMetric:
    """The change of one metric, and what is left of it at equal response length.

    Changes are medians of paired differences, of logarithms if `is_log`.
    """

    n_pairs: int
    """Pairs in which it is defined on both sides."""
    is_log: bool
    raw_change: float
    raw_ci95: Interval | None
    equal_length_change: float
    """The same with what the change of log length predicts taken away."""
    equal_length_ci95: Interval | None
    share_due_to_length: float | None
    """1 − equal_length_change ÷ raw_change; None if the raw change may be zero."""
    is_mostly_length: bool
    """Whether the share is one half or more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceChange:
    """The pairs of which both sides are from the input of one name, or that are in one group."""

    name: str
    n_pairs: int
    medians: Mapping[str, tuple[float, float, float]]
    """Metric → median before, median after, and median of the paired changes."""
    change_ci95: Mapping[str, Interval] = field(default_factory=dict)
    """Metric → 95 % interval of the median change, not corrected for the number of groups."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicChange:
    """What changed in the pairs of one topic: a cluster of the embeddings of the before side."""

    title: str
    """The words that tell it from the others."""
    n_pairs: int
    ifd_before: float | None
    """Median of the pairs with IFD on both sides."""
    ifd_after: float | None
    tokens_before: float | None
    """Median response tokens."""
    tokens_after: float | None
    share_rose: float | None
    """Share of the pairs whose IFD rose, 0…1."""
    is_at_common_length: bool
    """Whether `change` is that at equal length; else it is the raw change in IFD."""
    change: float | None
    """Median paired change in IFD."""
    change_ci95: Interval | None
    n_change: int
    p_holm: float | None
    """Mann-Whitney of the changes of this topic against those of all others, Holm over topics."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionPoint:
    """One point of a curve over the position of the tokens in a response."""

    quantity: str
    """`ifd`: of the first `stop` tokens; an NLL: mean of the tokens from `start` up to `stop`."""
    side: SideName
    start: int
    """Position of the first token, from 0."""
    stop: int
    """Position after the last one."""
    n_pairs: int
    """Pairs of which both responses have `stop` tokens."""
    median: float | None
    ci95: Interval | None
    """Of the median."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiversityChange:
    """One measure of diversity of both sides as sets."""

    n_pairs: int
    """Rows of each set: pairs with stored embeddings on both sides, or a sample of them."""
    before: float
    after: float
    change: float
    change_ci95: Interval | None
    """From halves of the pairs, see :mod:`ifdkit.diversity.spread`."""
    sampling_error: float
    """Standard error of the change if distances were computed for a sample of rows only; else 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetCoverage:
    """How much of each side the other is near to, see :mod:`ifdkit.diversity.coverage`."""

    before_by_after: float
    """Share of the rows before that the side after covers, 0…1."""
    after_by_before: float
    cosine_before_to_after: float
    """Mean cosine of a row before with the nearest row after, −1…1."""
    cosine_after_to_before: float
    n_rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceRow:
    """A row of a published table, for orientation: the numbers are of another model."""

    name: str
    model: str
    source: str
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Everything a report shows except the rows."""

    schema: str
    version: str
    created: str
    command: str
    before: Manifest | None
    """Manifest of the scores of one side; None if a scores file has none that matches."""
    after: Manifest | None
    name_before: str
    name_after: str
    pairing: Pairing
    verdict: str = ""
    """The headline in one short sentence: `Longer, not harder: 89 % of the rise in IFD is length.`
    """
    headline: str
    """What changed, whether it is real, whether it is more than length: two or three sentences."""
    metrics: Mapping[str, MetricChange]
    """In the order of the table; fields of a scores row."""
    length_control: Mapping[str, LengthControl]
    """`ifd` → its length control."""
    length_of_metrics: Mapping[str, LengthOfMetric] = field(default_factory=dict)
    """Every metric of the response → how much of its change goes with length."""
    findings: tuple[Finding, ...] = ()
    reference: tuple[ReferenceRow, ...] = ()
    warnings: tuple[str, ...] = ()
    """Reasons for caution: a forced comparison, few pairs, truncated rows, …"""
    statuses: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """`before` / `after` → status → examples."""
    seed: int = 0
    """Seed of the bootstrap."""
    limit: int | None = None
    """Only so many rows of each side were compared, the first; None for all of them."""
    sources: tuple[SourceChange, ...] = ()
    """One for each input that both sides have, if they have several; or for each group."""
    group_by: str | None = None
    """The column whose values are the groups; None if they are inputs."""
    topics: tuple[TopicChange, ...] = ()
    map_layout: str = ""
    """`umap`; empty for the first two principal components."""
    """The largest first; empty if there are too few pairs, or no stored embeddings."""
    positions: tuple[PositionPoint, ...] = ()
    """Curves over the position in the response; empty without NLLs of tokens, or for few pairs."""
    diversity: Mapping[str, DiversityChange] = field(default_factory=dict)
    """Measure of diversity → its change; empty without stored embeddings."""
    coverage: SetCoverage | None = None
    texts_compared: bool = True
    """Whether the texts of both sides were available; if not, no findings were looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExploredPair:
    """One pair of the explorer, and why it was chosen."""

    before: ExploredSide
    after: ExploredSide
    why: str
    """`largest rise in IFD`, `drawn at random`, …: the first reason."""
    reasons: tuple[str, ...] = ()
    """All of them."""
    findings: tuple[str, ...] = ()
    """Kinds of the findings that name this pair."""


TEXT_WITHHELD = "(text withheld by --no-text)"


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(MetricView):
    """What `ifdkit.compare` returns."""

    summary: Summary
    """Everything a report shows except the rows: the object of `summary.json`."""
    rows: pd.DataFrame = field(repr=False)
    """One row per pair: `rows.parquet`."""
    explored: tuple[ExploredPair, ...] = field(default=(), repr=False)
    """The pairs of the report's explorer."""
    has_text: bool = True
    """Whether `explored` has texts; False if the dataset of a scores file was not found."""

    def __repr__(self) -> str:
        """One line: the names of the sides, the pairs, and the verdict."""
        made = self.summary
        sides = f"{one_line(made.name_before, 60)} → {one_line(made.name_after, 60)}"
        return f"<Comparison {sides}, {plural(made.pairing.n_pairs, 'pair')}: {made.verdict}>"

    def without_text(self) -> Comparison:
        """The same without any text of the datasets: only numbers, ids and ifdkit's sentences."""
        findings = tuple(_without_quotes(one) for one in self.summary.findings)
        explored = tuple(
            replace(pair, before=pair.before.without_text(), after=pair.after.without_text())
            for pair in self.explored
        )
        topics = tuple(
            replace(one, title=f"topic {i}") for i, one in enumerate(self.summary.topics, 1)
        )
        summary = replace(self.summary, findings=findings, topics=topics)
        if summary.group_by is not None:  # values of a column are text of the dataset
            groups = enumerate(summary.sources, 1)
            sources = tuple(replace(one, name=f"group {i}") for i, one in groups)
            summary = replace(summary, sources=sources)
        rows = self.rows
        if "topic" in rows:  # titles are words of the texts
            names = {
                old.title: new.title for old, new in zip(self.summary.topics, topics, strict=True)
            }
            rows = rows.assign(topic=rows["topic"].map(names))
        return Comparison(summary, rows, explored, has_text=False)

    def as_json(self) -> dict[str, Any]:
        """The object of `summary.json`."""
        return plain(self.summary)

    def save(self, folder: str | Path, *, text: bool = True) -> Path:
        """Write the report into `folder`, and return the folder.

        The files are index.html, summary.json, report.md, table.tex and rows.parquet.  With
        `text=False` none of them contains text of the datasets.  Raises OutputError.
        """
        result = self if text and self.has_text else self.without_text()
        return save_report(result, folder, REPORT_FILES)


REPORT_FILES = ("index.html", "summary.json", "report.md", "table.tex", "rows.parquet")


def _without_quotes(finding: Finding) -> Finding:
    text = TEXT_WITHHELD if finding.quotes_text else finding.text
    return replace(finding, text=text, examples=(), quotes_text=False)


@renders(Comparison, "summary.json")
def _summary_json(comparison: Comparison) -> bytes:
    return json_file(comparison.as_json())


@renders(Comparison, "rows.parquet")
def _rows_parquet(comparison: Comparison) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = comparison.rows
    try:
        table = pa.Table.from_pandas(rows, preserve_index=False)
    except UnicodeEncodeError:  # an id with a lone surrogate, which Arrow cannot encode
        ids = [encoded(one).decode() for one in map(str, rows["id"])]
        table = pa.Table.from_pandas(rows.assign(id=ids), preserve_index=False)
    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd")
    return file.getvalue()
