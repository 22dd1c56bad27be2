"""The summary of a run of `ifdkit score`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ifdkit.records import Status
from ifdkit.scoring.manifest import Manifest, ScoringSetup
from ifdkit.scoring.reasons import StatusReason
from ifdkit.scoring.sampled import SampleSummary, UntilSummary
from ifdkit.scoring.sources import SourceSummary
from ifdkit.stats.columns import Description
from ifdkit.tracking import TrackedRun, flat_numbers, flat_settings

_TRACKED_NUMBERS = (
    *("rows_in", "rows_scored", "rows_rejected", "rows_left_out", "examples", "tokens_scored"),
    *("requests", "requests_from_store", "elapsed_s", "model_load_s", "scoring_s", "tokens_per_s"),
)
_TRACKED_SETTINGS = (
    *(one.name for one in fields(ScoringSetup)),
    *("version", "command", "input", "input_sha256", "columns", "turns", "reasoning", "lines"),
    *("limit", "sample", "seed", "where", "metrics", "device", "threads", "output", "until"),
)
"""Fields of the manifest."""

FOLLOWS_LENGTH = 0.3
"""From this rank correlation on, users are told that IFD follows response length."""


@dataclass(frozen=True, slots=True)
class ScoreSummary:
    """What `ifdkit score` reports at the end of a run."""

    metrics: dict[str, Description]
    """Metric → its description over the rows in which it is defined."""
    ifd_length_spearman: float | None
    """Rank correlation of IFD and response tokens: how much a ranking by IFD follows length."""
    status_counts: dict[str, int]
    reasons: tuple[StatusReason, ...]
    """Why rows are not ok, the most frequent reason first."""
    manifest: Manifest
    output: Path | None
    sources: tuple[SourceSummary, ...] = ()
    """One per input, if there are several."""
    sample: SampleSummary | None = None
    """What the numbers say about all rows; None if all were scored."""
    until: UntilSummary | None = None
    """Where `--until` stopped."""
    rank_surprisal: float | None = None
    """Of the dataset, ranks per nat; None if it was not asked for."""

    @property
    def has_scores(self) -> bool:
        """Whether the response of any example was scored."""
        return any(Status(status).has_scores for status in self.status_counts)

    def tracked(self) -> TrackedRun:
        """What `--log` logs."""
        made = self.manifest.as_json()
        return TrackedRun(
            command="score",
            name=self.manifest.input,
            settings=flat_settings({name: made.get(name) for name in _TRACKED_SETTINGS}),
            numbers=flat_numbers(
                {
                    **{name: asdict(one) for name, one in self.metrics.items()},
                    "ifd_length_spearman": self.ifd_length_spearman,
                    "rank_surprisal": self.rank_surprisal,
                    "status": self.status_counts,
                    "run": {name: made.get(name) for name in _TRACKED_NUMBERS},
                }
            ),
        )

    def as_json(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return {
            "metrics": {name: asdict(one) for name, one in self.metrics.items()},
            "ifd_length_spearman": self.ifd_length_spearman,
            "status_counts": self.status_counts,
            "reasons": [asdict(one) for one in self.reasons],
            **({"sources": [asdict(one) for one in self.sources]} if self.sources else {}),
            **({"sample": asdict(self.sample)} if self.sample else {}),
            **({"until": asdict(self.until)} if self.until else {}),
            **({"rank_surprisal": ratio} if (ratio := self.rank_surprisal) else {}),
            "output": str(self.output) if self.output else None,
            "manifest": self.manifest.as_json(),
        }
