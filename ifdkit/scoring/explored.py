"""An example as the row explorer of a report shows it: its texts, its numbers, its tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class ShadedToken:
    """A piece of a response and its NLL in nats in both passes; None if it was not scored."""

    text: str
    nll: float | None
    """Conditional: given the instruction."""
    nll_direct: float | None = None
    """Without the instruction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExploredSide:
    """One example: a row of an audit, or one side of a pair."""

    id: str
    row: int
    turn: int
    status: str
    instruction: str
    response: str
    numbers: Mapping[str, float | None]
    """Metrics of the table."""
    percentiles: Mapping[str, float | None] = field(default_factory=dict)
    """Metric → share of the examples with a smaller value, and half of those with the same, 0…100;
    empty if the report does not show them."""
    tokens: tuple[ShadedToken, ...] = ()
    """Empty if the NLLs of the tokens are not available."""

    def without_text(self) -> ExploredSide:
        """The same without any text of the dataset."""
        return replace(self, instruction="", response="", tokens=())
