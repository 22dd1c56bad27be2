"""What a metric is, and what it is computed from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from ifdkit.records import DOCUMENT_PASSES, NLL, Example, Passes, TokenStatistics
from ifdkit.scoring.arithmetic import total_nll

Scale = Literal["linear", "log"]
AppliesTo = Literal["pairs", "documents", "both"]
Value = float | int | None
DEMONSTRATED = "response_demonstrated"
"""The conditional pass with the nearest other example before it, as a demonstration."""
REFERENCE = "response_reference"
"""The conditional pass of the reference model."""
NOISY_DIRECT, NOISY_CONDITIONAL = "response_direct_noisy", "response_conditional_noisy"
"""Copies of the two passes with noise on the embeddings; of shape (copies, tokens)."""
FURTHER_PASSES = (DEMONSTRATED, REFERENCE, NOISY_DIRECT, NOISY_CONDITIONAL)
"""Passes over the response, besides those of `ifdkit.records.PASSES`."""
INFORMATIVE_NATS = 0.125
"""Default of `--informative-nats`, one of the two shares of 2506.01317: about half of the tokens of
real rows are above it. Their median is 0.1245 over 3,338 tokens of 24 rows of Alpaca, with the
embedded model."""


@dataclass(frozen=True, slots=True)
class Measured:
    """All that was measured of one example: the input of every metric."""

    example: Example
    passes: Passes
    nlls: Mapping[str, NLL]
    """Pass → NLL of each scored token, nats, float32 of shape (tokens,) or, of noisy passes,
    (copies, tokens)."""
    coherence: float | None = None
    """Cosine of the two sentence embeddings; None if it was not asked for."""
    window: int = 64
    """Response tokens of `ifd_window`."""
    statistics: Mapping[str, TokenStatistics] = field(default_factory=dict)
    """Pass → rank, entropy and spread of each scored token, if a metric asked for them."""
    informative_nats: float = INFORMATIVE_NATS
    """Tokens whose NLL the instruction changes by more are informative."""
    vocabulary: int | None = None
    """Tokens of the vocabulary."""
    _means: dict[str, float | None] = field(default_factory=dict)
    _totals: dict[str, float | None] = field(default_factory=dict)

    def nll(self, name: str) -> NLL | None:
        """NLLs of the tokens of one pass; None if it was not run."""
        return self.nlls.get(name)

    def mean(self, name: str) -> float | None:
        """Mean NLL of one pass, nats per scored token."""
        if name not in self._means:
            nll, total = self.nlls.get(name), self.total(name)
            if nll is None or total is None or not len(nll):
                self._means[name] = None
            else:
                self._means[name] = total / len(nll)
        return self._means[name]

    def total(self, name: str) -> float | None:
        """Sum of the NLLs of one pass, nats; None if it was not run."""
        if name not in self._totals:
            nll = self.nlls.get(name)
            self._totals[name] = None if nll is None else total_nll(nll)
        return self._totals[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One column of a scores file."""

    name: str
    compute: Callable[[Measured], Value]
    """None if undefined for the example.  A NaN or an infinity counts as undefined."""
    label: str
    """For tables and figures: `Response perplexity, direct`."""
    short: str
    """At most 18 characters, for a terminal."""
    unit: str
    definition: str
    """One sentence."""
    passes: tuple[str, ...] = ()
    """Passes of `PASSES` or `FURTHER_PASSES` that it needs."""
    statistics: tuple[str, ...] = ()
    """Passes whose tokens' statistics it needs."""
    needs_embedder: bool = False
    is_optional: bool = False
    """Whether it is computed, and has a column, only if it is asked for."""
    formula: str = ""
    """How it is computed, in the notation of docs/metrics.md."""
    low: float | None = None
    """Its smallest possible value; None if it has none."""
    high: float | None = None
    higher_means: str = ""
    """What a larger number says, if not that the example is harder."""
    group: str | None = None
    """The name of `--metrics` that includes it; None if it costs no model."""
    source: str = ""
    """The paper, or where the convention comes from."""
    is_integer: bool = False
    scale: Scale = "linear"
    """Axis of its figures."""
    is_multiplicative: bool = False
    """Positive, and compared by factors: its geometric mean is meaningful."""
    is_ratio: bool = False
    """Conditional ÷ direct: 1 or more means that the context does not help."""
    higher_is_harder: bool | None = None
    """Whether a larger number means a harder example; None if it says nothing about difficulty."""
    in_summary: bool = True
    """Whether `ifdkit score` describes it at the end of a run."""
    table_order: int | None = None
    """Position in the table of `compare`; None leaves it out."""
    in_paper_table: bool = False
    """Whether it is a column of table 6 of 2402.10110."""
    headline_order: int | None = None
    """Preference for the headline of `compare`, smallest first; None never leads it."""
    subject: str = ""
    """How the headline names it."""
    applies_to: AppliesTo = "both"
    """Instruction–response pairs, text documents, or both as far as the passes are those of both.
    A metric of documents has a column only if there are documents."""

    @property
    def cost(self) -> str:
        """What it takes besides reading the rows."""
        if REFERENCE in self.passes:
            return "a pass of the reference model"
        if DEMONSTRATED in self.passes:
            return "the embedder, and a longer pass"
        if NOISY_CONDITIONAL in self.passes:
            return "its passes once more for each of `--noise-copies`"
        if self.statistics:
            return "token statistics"
        return "the embedder" if self.needs_embedder else "its passes" if self.passes else "none"

    @property
    def is_for_documents(self) -> bool:
        """Whether a document can have it."""
        return self.applies_to != "pairs" and DOCUMENT_PASSES.issuperset(self.passes)

    def is_for(self, example: Example) -> bool:
        """Whether an example can have it."""
        return self.is_for_documents if example.is_document else self.applies_to != "documents"
