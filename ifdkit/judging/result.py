"""The result of `ifdkit judge`.

`OUT.manifest.json` and `--json` are :class:`Judgement` field by field (schema
"ifdkit.judgement/1"): renaming a field breaks scripts of users.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ifdkit.data.pairing import Pairing
from ifdkit.data.views import NotebookView
from ifdkit.scoring.manifest import save_manifest
from ifdkit.stats.win_rates import PublishedRate, Rate

JUDGEMENT_SCHEMA = "ifdkit.judgement/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class WinRates:
    """Win rates of the second answers, 0…1. Intervals are of a bootstrap over instructions."""

    n: int
    """Pairs with a preference, ties included."""
    wins: int
    losses: int
    ties: int
    raw: Rate
    """Mean preference: ties, and pairs without a judgement, count half."""
    decided: Rate
    """Wins ÷ (wins + losses)."""
    length_controlled_characters: Rate
    """`raw` if both answers had the same length, in characters."""
    length_controlled_tokens: Rate
    """`raw` if both answers had the same length, in tokens of the scoring tokenizer."""
    longer_share: float | None
    """Share of the pairs in which the second answer has more characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionBias:
    """How often the judge follows the order in which it is shown two answers."""

    n: int
    """Pairs with a winner in both orders."""
    inconsistent: Rate
    """Share of them that are won by the same position both times, so by different answers."""
    first: Rate
    """Share of all their answers that name the first position; 0.5 without a bias."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement(NotebookView):
    """Which of two files of answers is preferred."""

    schema: str = JUDGEMENT_SCHEMA
    version: str
    created: str
    command: str
    first: str
    """The file of the first answers; with annotations, who wrote them."""
    second: str
    annotations: str | None
    """The file that the preferences came from; None if an oracle was asked."""
    win_rates: WinRates
    published: PublishedRate | None
    """AlpacaEval's own formula over the preferences; None if an oracle was asked."""
    n_missing: int
    """Pairs of the annotations without a preference, which the rates leave out."""
    outcomes: dict[str, int]
    """Outcome of a pair → pairs: `first`, `second`, `tie`, `inconsistent`, `no_judgement`."""
    answers: dict[str, int]
    """Answer to one question → questions; two for each pair."""
    position_bias: PositionBias | None
    """None for annotations."""
    pairing: Pairing | None
    n_different: int
    """Pairs whose instructions differ, which were not asked about."""
    n_rejected: int
    """Rows of either file that could not be read."""
    oracle: str | None
    endpoint: str | None
    prompt_version: str | None
    sampling: dict[str, Any] | None
    prompt_tokens: int
    """Spent by this run; replies from the journal cost nothing."""
    completion_tokens: int
    cost: float | None
    stopped: str | None
    """The cap that ended the run early, or None."""
    tokenizer: str
    """The model whose tokens are the length."""
    seed: int
    output: str | None
    """The annotations that were written: one row per pair, with the judge's words."""
    journal: str | None
    verdict: str
    """The conclusion in one sentence."""
    elapsed_s: float
    limit: int | None = None
    """Only so many rows of each file, the first; None for all of them."""
    sample: int | None = None
    """Rows that were drawn at random; None if none were."""
    warnings: tuple[str, ...] = ()
    """What a reader must know of the limit and the sample."""

    def as_json(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return asdict(self)

    def save(self) -> Path | None:
        """Write `OUT.manifest.json` and return its path; None without an output."""
        if self.output is None:
            return None
        return save_manifest(self.output, self.as_json())
