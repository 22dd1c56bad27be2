"""Options of a selection: a field or a published method, and how many rows to keep."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path

from ifdkit.data.dataset import Turns
from ifdkit.errors import UsageError, unknown
from ifdkit.scoring.metrics import METRICS
from ifdkit.scoring.per_row import WORD_FIELDS
from ifdkit.scoring.settings import ModelKeywords
from ifdkit.scoring.where import Where, parse_where
from ifdkit.selection.groups import CLUSTER
from ifdkit.selection.methods import BY_FIELD, FILTER, METHODS, Method
from ifdkit.selection.quality import parse_weights
from ifdkit.selection.ranking import Top

DEFAULT_POOL = "20%"
DEFAULT_BANDS = 10
DEFAULT_QUOTA = "proportional"
QUOTAS = (DEFAULT_QUOTA, "equal")


_ANY = ("by", "weights", "method", "to", "show_diversity")
"""Options that go with every way to select."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectOptions:
    """Which rows to keep."""

    by: str | None = None
    """Field to rank by; exactly one of this, `weights` and `method` is given, or `where` or `ids`
    alone. The method `quality-diverse` takes one of the first two."""
    weights: str | None = None
    """Rank by a weighted sum of z-scores: `ifd=1,coherence=0.5`."""
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
    per: str | None = None
    """`source`, `cluster` or a column: each of its groups contributes its share of `top`."""
    quota: str | None = None
    """`proportional` to the rows of a group (None), or `equal`."""
    show_diversity: bool = False
    """Embed all rows, and describe how diverse the selection is."""
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
        return BY_FIELD if self.is_ranked else FILTER

    @property
    def embeds_all(self) -> bool:
        """Whether all rows are embedded, so that the diversity of the selection is known."""
        return self.show_diversity or self.entry.embeds or self.per == CLUSTER

    @property
    def is_ranked(self) -> bool:
        """Whether `by` or `weights` is given."""
        return not (self.by is None and self.weights is None)

    @property
    def combination(self) -> dict[str, float]:
        """Field → weight; empty without `weights`. Raises UsageError."""
        return {} if self.weights is None else parse_weights(self.weights)

    @property
    def ranked(self) -> tuple[str, ...]:
        """The fields that the rows are ranked by, one or several."""
        return tuple(self.combination) or (() if self.field is None else (self.field,))

    @property
    def field(self) -> str | None:
        """The one field that the rows are ranked by; None if there is none, or several."""
        return (METHODS[self.method].field if self.method else None) or self.by

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
        return tuple(
            dict.fromkeys((*self.ranked, *(self.condition.metrics if self.condition else ())))
        )

    def check_turns(self, turns: Turns) -> None:
        """Raise UsageError if the method does not support these turns."""
        if self.entry.last_turn_only and turns != "last":
            raise UsageError(
                f"{self.method} uses the last turn of a conversation: give --turns last"
            )

    def _check_method(self) -> None:
        is_filter = not (self.where is None and self.ids is None)
        takes_both = self.method in METHODS and METHODS[self.method].ranks_by_choice
        n_given = sum(one is not None for one in (self.by, self.weights, self.method))
        if takes_both and n_given != 2:
            raise UsageError(
                f"--method {self.method} needs one of --by FIELD and --weights FIELD=NUMBER,…"
            )
        if not takes_both and (n_given > 1 or (n_given == 0 and not is_filter)):
            problem = "choose only one of" if n_given else "choose what to keep:"
            raise UsageError(
                f"{problem} --by FIELD, such as --by ifd --top 5%, or --method"
                f" {', '.join(METHODS)}, or --weights ifd=1,coherence=0.5, or --where 'ifd < 1'"
                " alone, or --ids FILE alone"
            )
        if self.method is not None and self.method not in METHODS:
            raise UsageError(f"--method: {unknown('method', self.method, METHODS)}")
        if self.by is not None and self.by not in METRICS:
            raise UsageError(f"--by: {unknown('metric', self.by, METRICS)}")
        _ = self.combination

    def _check_options_apply(self) -> None:
        for name in (one.name for one in fields(self) if one.name not in _ANY):
            value = getattr(self, name)
            if value is None or value is False or name in self.entry.options:
                continue
            entries = {"--by": BY_FIELD, **METHODS}
            supported = ", ".join(how for how, one in entries.items() if name in one.options)
            how = self.method or (
                "--by"
                if self.is_ranked
                else f"--{'where' if self.where is not None else 'ids'} alone"
            )
            raise UsageError(
                f"--{name.replace('_', '-')} does not apply to {how}: it is for {supported}"
            )
        if self.pool is not None and not self.diversity:
            raise UsageError("--pool is what --diversity chooses from: give --diversity too")
        if self.per is not None and self.diversity:
            raise UsageError("--diversity chooses from all groups together: leave --per out")
        if self.per is not None and self.top is None:
            raise UsageError("--per divides the rows of --top among groups: give --top too")
        if self.quota is not None and self.per is None:
            raise UsageError("--quota is how --per divides --top: give --per too")
        if self.quota not in (None, *QUOTAS):
            raise UsageError(f"--quota: {unknown('quota', self.quota, QUOTAS)}")

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


class SelectKeywords(ModelKeywords, total=False):
    """Keywords of `ifdkit.select`: the fields of :class:`SelectOptions`, and of the model."""

    by: str | None
    weights: str | None
    method: str | None
    where: str | None
    ids: str | Path | None
    top: str | int | None
    min: float | None
    max: float | None
    lowest: bool
    keep_misaligned: bool
    diversity: bool
    pool: str | int | None
    bands: int | None
    per: str | None
    quota: str | None
    show_diversity: bool
    to: str | None
    provenance: str | Path | None
