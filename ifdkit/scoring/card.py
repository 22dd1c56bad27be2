"""What a dataset card says about scores: the numbers, and how they were measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ifdkit.errors import InputError
from ifdkit.records import plain
from ifdkit.scoring.dataset import open_scores
from ifdkit.scoring.manifest import Manifest
from ifdkit.scoring.metrics import METRICS, table_metrics
from ifdkit.scoring.table import ScoreTable
from ifdkit.stats.columns import Description, describe, spearman

CARD_SCHEMA = "ifdkit.card/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """The content of a section for a dataset card."""

    name: str
    n_examples: int
    statuses: Mapping[str, int]
    """Status → examples, the most frequent first."""
    metrics: Mapping[str, Description]
    share_misaligned: float | None
    """Share of the examples with IFD ≥ 1, of those with an IFD."""
    length_correlation: float | None
    """Rank correlation of IFD and response tokens."""
    manifest: Manifest
    schema: str = CARD_SCHEMA

    def as_json(self) -> dict[str, Any]:
        """The object of `--json`."""
        return {"schema": self.schema, **plain(self)}


def card_of(path: Path) -> Card:
    """The card of a scores file. Raises InputError if it is none, or has no manifest."""
    if not path.exists():
        raise InputError(f"no such file: {path}")
    scores = open_scores(path)
    if scores is None:
        raise InputError(f"{path} is not a scores file: make one with `ifdkit score {path}`")
    if scores.manifest is None:
        raise InputError(
            f"{path} has no manifest that matches it, so it is unknown how it was scored: score the"
            " dataset again"
        )
    table = scores.scores
    names = [name for name in (*table_metrics(), *METRICS) if name in table.numbers]
    columns = {name: table.numbers[name] for name in dict.fromkeys(names)}
    columns = {name: column[np.isfinite(column)] for name, column in columns.items()}
    counts: dict[str, int] = {}
    for status in table.statuses:
        counts[status] = counts.get(status, 0) + 1
    ifd = table.numbers.get("ifd")
    known = ifd[np.isfinite(ifd)] if ifd is not None else None
    return Card(
        name=scores.manifest.input,
        n_examples=len(table),
        statuses=dict(sorted(counts.items(), key=lambda one: -one[1])),
        metrics={name: describe(column) for name, column in columns.items() if len(column)},
        share_misaligned=float((known >= 1).mean()) if known is not None and len(known) else None,
        length_correlation=_with_length(table),
        manifest=scores.manifest,
    )


def _with_length(table: ScoreTable) -> float | None:
    ifd, tokens = (table.numbers.get(name) for name in ("ifd", "response_tokens"))
    if ifd is None or tokens is None:
        return None
    is_defined = np.isfinite(ifd) & np.isfinite(tokens)
    return spearman(ifd[is_defined], tokens[is_defined])
