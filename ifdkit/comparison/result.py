"""What a comparison of two datasets says: the nouns between `comparison` and the reports.

`comparison` fills them; `report` draws them and computes nothing.  `summary.json` is
:class:`Summary` as it stands here (schema "ifdkit.comparison/1"), so renaming a field is breaking
a user's script.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ifdkit.findings.finding import Finding
from ifdkit.stats.columns import Interval
from ifdkit.stats.paired import MetricChange

COMPARISON_SCHEMA = "ifdkit.comparison/1"


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
