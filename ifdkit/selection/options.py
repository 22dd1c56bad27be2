"""Options of a selection: a field or a published method, and how many rows to keep."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path

from ifdkit.data.dataset import Turns
from ifdkit.errors import UsageError, unknown
from ifdkit.scoring.metrics import METRICS
from ifdkit.scoring.per_row import WORD_FIELDS
from ifdkit.scoring.where import Where, parse_where
from ifdkit.selection.methods import BY_FIELD, FILTER, METHODS, Method
from ifdkit.selection.ranking import Top

DEFAULT_POOL = "20%"
DEFAULT_BANDS = 10


_ANY = ("by", "method", "to")
"""Options that go with every way to select."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectOptions:
    """Which rows to keep."""

    by: str | None = None
    """Field to rank by; exactly one of this and `method` is given, or `where` or `ids` alone."""
    method: str | None = None
    where: str | None = None
    """Select only from the rows for which this expression is true."""
    ids: str | Path | None = None
    """Select only from the rows that this list of ids, or file of marks, keeps."""
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
    to: str | None = None
    """`alpaca`, `trl` or `llamafactory`: the form of the output; None: that of the input."""
    provenance: str | Path | None = None
    """Provenance file of the dataset; None: the one that `reflect` wrote beside it."""

    def __post_init__(self) -> None:
        """Raise UsageError for invalid values."""
        _ = self.condition
        self._check_method()
        self._check_options_apply()
        self._check_amounts()
        self._check_numbers()

    @property
    def entry(self) -> Method:
        """The entry of the method."""
        if self.method:
            return METHODS[self.method]
        return BY_FIELD if self.by else FILTER

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
        found = tuple(name for name in self.needed if METRICS[name].group is not None)
        is_status_needed = self.condition is not None and self.condition.needs_status
        return found or (("ifd",) if is_status_needed else ())

    @property
    def needs_tokens(self) -> bool:
        """Whether a tokenizer has to count tokens, though no model is used."""
        return not self.metrics and not set(self.needed) <= set(WORD_FIELDS)

    @property
    def condition(self) -> Where | None:
        """The expression of `where`. Raises UsageError."""
        return None if self.where is None else parse_where(self.where)

    @property
    def needed(self) -> tuple[str, ...]:
        """The metrics that the method and `where` need, whether or not a model measures them."""
        ranked = () if self.field is None else (self.field,)
        return tuple(dict.fromkeys((*ranked, *(self.condition.metrics if self.condition else ()))))

    def check_turns(self, turns: Turns) -> None:
        """Raise UsageError if the method does not support these turns."""
        if self.entry.last_turn_only and turns != "last":
            raise UsageError(
                f"{self.method} uses the last turn of a conversation: give --turns last"
            )

    def _check_method(self) -> None:
        is_filter = self.by is None and not (self.where is None and self.ids is None)
        if (self.by is None) == (self.method is None) and not is_filter:
            problem = "choose only one of" if self.by else "choose what to keep:"
            raise UsageError(
                f"{problem} --by FIELD, such as --by ifd --top 5%, or --method"
                f" {', '.join(METHODS)}, or --where 'ifd < 1' alone, or --ids FILE alone"
            )
        if self.method is not None and self.method not in METHODS:
            raise UsageError(f"--method: {unknown('method', self.method, METHODS)}")
        if self.by is not None and self.by not in METRICS:
            raise UsageError(f"--by: {unknown('metric', self.by, METRICS)}")

    def _check_options_apply(self) -> None:
        for name in (one.name for one in fields(self) if one.name not in _ANY):
            value = getattr(self, name)
            if value is None or value is False or name in self.entry.options:
                continue
            entries = {"--by": BY_FIELD, **METHODS}
            supported = ", ".join(how for how, one in entries.items() if name in one.options)
            how = self.method or (
                "--by" if self.by else f"--{'where' if self.where is not None else 'ids'} alone"
            )
            raise UsageError(
                f"--{name.replace('_', '-')} does not apply to {how}: it is for {supported}"
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
