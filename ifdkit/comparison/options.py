"""Options of a comparison, apart from those of scoring and reading."""

from __future__ import annotations

from dataclasses import dataclass

from ifdkit.comparison.length_control import MIN_TOKENS
from ifdkit.data.pairing import BYS, By
from ifdkit.errors import UsageError
from ifdkit.topics.layouts import LayoutName, check_layout


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    """How to compare two sides, however they were scored."""

    pair_by: By | None = None
    """Key that pairs the rows; None: the best one available."""
    force: bool = False
    """Compare sides even if they were scored differently."""
    min_tokens: int = MIN_TOKENS
    """Shortest response that length control uses, in tokens."""
    seed: int = 0
    """Seed of the bootstrap."""
    unpaired: bool = False
    """Compare the distributions of datasets whose rows do not belong together."""
    group_by: str | None = None
    """Column of the rows for a table of changes by its values; `source`: the input of a row."""
    map_layout: LayoutName = "pca"
    """How the map of the topics is laid out."""
    needed: tuple[str, ...] = ()
    """Metrics that must be measured, checked before anything is scored."""

    def __post_init__(self) -> None:
        """Raise UsageError for invalid values."""
        if self.pair_by is not None and self.pair_by not in BYS:
            raise UsageError(f"--pair-by {self.pair_by}: choose {', '.join(BYS)}")
        if self.unpaired and self.pair_by is not None:
            raise UsageError("--pair-by pairs rows, and --unpaired does not: give one of them")
        if self.unpaired and self.group_by is not None:
            raise UsageError("--group-by is about pairs, which --unpaired has none of")
        if self.min_tokens < 2:
            raise UsageError(f"--min-tokens {self.min_tokens}: must be at least two")
        check_layout(self.map_layout)
        if self.unpaired and self.map_layout != "pca":
            raise UsageError("--map is about pairs, which --unpaired has none of")
        if self.seed < 0:
            raise UsageError(f"--seed {self.seed}: must not be negative")
