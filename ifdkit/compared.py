"""What a comparison of two datasets says: the nouns between `comparison` and the reports.

`comparison` fills them; `report` draws them and computes nothing.  `summary.json` is
:class:`Summary` as it stands here (schema "ifdkit.comparison/1"), so renaming a field is breaking
a user's script.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

COMPARISON_SCHEMA = "ifdkit.comparison/1"

Interval = tuple[float, float]
"""Lower and upper end of a 95 % confidence interval."""
SideName = Literal["before", "after", "both"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """Which row of one side stands against which of the other."""

    by: str
    """`id`, `row` or `instruction`."""
    n_pairs: int
    unmatched_before: int
    unmatched_after: int
    ambiguous: int = 0
    """Rows left out because their key occurs on one side more often than on the other."""
    ids_unmatched_before: tuple[str, ...] = ()
    """The first of them, for a person to look at."""
    ids_unmatched_after: tuple[str, ...] = ()
    ids_ambiguous: tuple[str, ...] = ()
    note: str = ""
    """One sentence: why these keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SideStats:
    """One metric on one side, over the pairs in which it is defined on both."""

    n: int
    mean: float | None = None
    median: float | None = None
    sd: float | None = None
    geometric_mean: float | None = None
    """For perplexities and their ratios: the mean that one outlier does not carry away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The paired change after − before of one metric. None: too few pairs to say."""

    mean: float | None = None
    mean_ci95: Interval | None = None
    """BCa bootstrap over pairs."""
    median: float | None = None
    """Median of the paired differences, which is not the difference of the medians."""
    median_ci95: Interval | None = None
    p: float | None = None
    """Wilcoxon signed-rank, two-sided."""
    p_holm: float | None = None
    """p after Holm's correction over the metrics of the table."""
    effect: float | None = None
    """Matched-pairs rank-biserial correlation, −1…1."""
    share_up: float | None = None
    """Share of the pairs that rose, 0…1; ties count half."""
    share_unchanged: float | None = None
    """Share of the pairs that are equal on both sides, 0…1: the ties."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distance:
    """How far the two distributions lie apart, pairs ignored."""

    ks: float | None = None
    """Kolmogorov–Smirnov: largest gap between the two cumulative shares, 0…1."""
    wasserstein: float | None = None
    """Mean distance a value has to move, in the metric's own unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricChange:
    """All that is said of one metric."""

    before: SideStats
    after: SideStats
    change: Change
    distance: Distance


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthControl:
    """A change in IFD, raw and with the response's length held fixed in three ways.

    Every change is a median of paired differences but `matched_change`, which is a difference of
    weighted medians.  None: the data do not allow that estimate, and `notes` says why.
    """

    min_tokens: int
    """Shortest response admitted, tokens: perplexity ratios of one token can be thousands."""
    n_pairs: int
    """Pairs in which both responses are that long and IFD is defined."""
    raw_change: float | None = None
    raw_ci95: Interval | None = None
    window: int | None = None
    window_change: float | None = None
    """IFD over the first `window` response tokens, pairs in which both sides have them."""
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
    """Share of the two distributions of length that they have in common, 0…1."""
    share_due_to_length: float | None = None
    """1 − common_length_change ÷ raw_change; None where the raw change may be zero."""
    ci95: Interval | None = None
    """Of the share."""
    spearman_before: float | None = None
    """Rank correlation of IFD and response tokens."""
    spearman_after: float | None = None
    sentence: str = ""
    """The verdict, in plain words."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that many numbers would hide."""

    kind: str
    """`shared_opening`, `shared_closing`, `refusal`, `duplicate_response`, …"""
    side: SideName
    count: int
    """Rows that show it."""
    share: float
    """Of the rows of that side (or of the pairs), 0…1."""
    text: str
    """What was found: the opening, or one sentence."""
    row_ids: tuple[str, ...] = ()
    """The first of the rows."""
    other_count: int | None = None
    """Rows of the other side that show it too, where that is a question."""
    examples: tuple[str, ...] = ()
    """Short quotations; dropped by `--no-text`."""
    quotes_text: bool = False
    """Whether `text` holds words of the dataset, which `--no-text` must not show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceRow:
    """A row of a published table, for orientation: another model's numbers."""

    name: str
    model: str
    source: str
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Everything a report shows but the rows. Plain data: strings, numbers, None, lists."""

    schema: str
    version: str
    created: str
    command: str
    before: Mapping[str, Any]
    """Manifest of the scores of one side."""
    after: Mapping[str, Any]
    name_before: str
    name_after: str
    pairing: Pairing
    headline: str
    """What changed, whether it is real, whether it is more than length: two or three sentences."""
    metrics: Mapping[str, MetricChange]
    """In the order of the table; fields of a scores row."""
    length_control: Mapping[str, LengthControl]
    """`ifd` → its length control."""
    findings: tuple[Finding, ...] = ()
    reference: tuple[ReferenceRow, ...] = ()
    warnings: tuple[str, ...] = ()
    """What a reader must know before the numbers: forced comparison, few pairs, rows cut, …"""
    statuses: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """`before` / `after` → status → examples."""
    seed: int = 0
    """Of the bootstrap."""
    texts_compared: bool = True
    """Whether the texts of both sides were to be had: else no finding means nobody looked."""


@dataclass(frozen=True, slots=True)
class ShadedToken:
    """A piece of a response and its conditional NLL in nats; None where it was not scored."""

    text: str
    nll: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExploredSide:
    """One side of one pair, for a person to read."""

    id: str
    row: int
    turn: int
    status: str
    instruction: str
    response: str
    numbers: Mapping[str, float | None]
    """Fields of the table."""
    tokens: tuple[ShadedToken, ...] = ()
    """Empty where the tokens' NLLs are not to be had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExploredPair:
    """One pair of the explorer, and why it was chosen."""

    before: ExploredSide
    after: ExploredSide
    why: str
    """`largest rise in IFD`, `random`, …"""
