"""Options of a selection: a field or a published method, and how many rows to keep."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path

from ifdkit.data.dataset import Turns
from ifdkit.errors import UsageError, unknown
from ifdkit.scoring.metrics import METRICS
from ifdkit.selection.methods import BY_FIELD, METHODS, Method
from ifdkit.selection.ranking import Top
from ifdkit.selection.rows import WORD_FIELDS

DEFAULT_POOL = "20%"
DEFAULT_BANDS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectOptions:
    """Which rows to keep."""

    by: str | None = None
    """Field to rank by; exactly one of this and `method` is given."""
    method: str | None = None
    top: str | int | None = None
    """Rows to keep: a number, or a share of all rows of the input such as `5%`, rounded down."""
    min: float | None = None
    """Smallest value that is kept."""
    max: float | None = None
    """Largest value that is kept."""
    lowest: bool = False
    """Keep the smallest values instead of the largest."""
    keep_misaligned: bool = False
    """Keep rows whose ratio (IFD, r-IFD) is 1 or more when ranking by it."""
    diversity: bool = False
    """Of the best rows, keep those that represent the others (Superfiltering.D)."""
    pool: str | int | None = None
    """The best rows, from which `diversity` chooses; None: 20 % of all rows of the input."""
    bands: int | None = None
    """Bands of response length; None: ten."""
    provenance: str | Path | None = None
    """Provenance file of the dataset; None: the one that `reflect` wrote beside it."""

    def __post_init__(self) -> None:
        """Raise UsageError for invalid values."""
        self._check_method()
        self._check_options_apply()
        self._check_amounts()
        self._check_numbers()

    @property
    def entry(self) -> Method:
        """The entry of the method."""
        return METHODS[self.method] if self.method else BY_FIELD

    @property
    def field(self) -> str | None:
        """What the rows are ranked by; None if they are not ranked."""
        return self.entry.field if self.method else self.by

    @property
    def top_rows(self) -> Top | None:
        """How many rows; None for all that qualify."""
        return None if self.top is None else Top(str(self.top), "--top")

    @property
    def pool_rows(self) -> Top:
        """How many of the best rows `diversity` chooses from."""
        return Top(str(DEFAULT_POOL if self.pool is None else self.pool), "--pool")

    @property
    def n_bands(self) -> int:
        """Bands of response length."""
        return DEFAULT_BANDS if self.bands is None else self.bands

    @property
    def metrics(self) -> tuple[str, ...]:
        """What a model has to measure; empty if texts or their tokens are enough."""
        field = self.field
        return () if field is None or METRICS[field].group is None else (field,)

    @property
    def needs_tokens(self) -> bool:
        """Whether a tokenizer has to count tokens, though no model is used."""
        return not self.metrics and self.field not in (None, *WORD_FIELDS)

    def check_turns(self, turns: Turns) -> None:
        """Raise UsageError if the method does not support these turns."""
        if self.entry.last_turn_only and turns != "last":
            raise UsageError(
                f"{self.method} uses the last turn of a conversation: give --turns last"
            )

    def _check_method(self) -> None:
        if (self.by is None) == (self.method is None):
            problem = "choose only one of" if self.by else "choose what to keep:"
            raise UsageError(
                f"{problem} --by FIELD, such as --by ifd --top 5%, or --method {', '.join(METHODS)}"
            )
        if self.method is not None and self.method not in METHODS:
            raise UsageError(f"--method: {unknown('method', self.method, METHODS)}")
        if self.by is not None and self.by not in METRICS:
            raise UsageError(f"--by: {unknown('metric', self.by, METRICS)}")

    def _check_options_apply(self) -> None:
        for name in (one.name for one in fields(self) if one.name not in ("by", "method")):
            value = getattr(self, name)
            if value is None or value is False or name in self.entry.options:
                continue
            entries = {"--by": BY_FIELD, **METHODS}
            supported = ", ".join(how for how, one in entries.items() if name in one.options)
            raise UsageError(
                f"--{name.replace('_', '-')} does not apply to {self.method or '--by'}: it is for"
                f" {supported}"
            )
        if self.pool is not None and not self.diversity:
            raise UsageError("--pool is what --diversity chooses from: give --diversity too")

    def _check_amounts(self) -> None:
        if "top" not in self.entry.options:
            return
        _ = self.top_rows, self.pool_rows  # which raise for anything but a number of rows
        if self.top is None and (self.method or self.min is self.max is None):
            more = "" if self.method else ", or which: --min X, --max X"
            raise UsageError(f"choose how many rows: --top 5% or --top 2000{more}")

    def _check_numbers(self) -> None:
        for name in ("min", "max"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise UsageError(f"--{name} {value}: must be a finite number")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise UsageError(f"--min {self.min:g} is above --max {self.max:g}: swap them")
        if self.bands is not None and self.bands < 1:
            raise UsageError(f"--bands {self.bands}: must be at least one")
