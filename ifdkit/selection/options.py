"""What a selection is asked for: a field or a published method, and how many rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from ifdkit.errors import UsageError, unknown
from ifdkit.scoring.metrics import METRICS
from ifdkit.selection.ranking import Top

WORD_FIELDS = ("instruction_words", "response_words")
LENGTH_FIELDS = ("instruction_tokens", "response_tokens", *WORD_FIELDS)
MISFIT_FROM = 1.0
"""From here on a ratio says that one half does not help with the other (2308.12032)."""
DEFAULT_POOL = "20%"
DEFAULT_BANDS = 10


@dataclass(frozen=True, slots=True)
class Method:
    """One way to select, by name."""

    field: str | None
    """What it ranks by; None where it ranks nothing."""
    source: str
    """The paper, or whose idea it is."""


METHODS = {
    "cherry": Method("ifd_loss", "arXiv 2308.12032"),
    "superfiltering": Method("ifd", "arXiv 2402.00530"),
    "selective": Method(None, "arXiv 2402.10110"),
    "length-controlled": Method("ifd", "ifdkit"),
    "random": Method(None, "the baseline"),
}
_RANKING = ("--by", "cherry", "superfiltering", "length-controlled")
_FITS = {
    "top": (*_RANKING, "random"),
    "min": _RANKING,
    "max": _RANKING,
    "lowest": ("--by",),
    "keep_misaligned": _RANKING,
    "diversity": ("superfiltering",),
    "pool": ("superfiltering",),
    "bands": ("length-controlled",),
    "provenance": ("selective",),
}
"""Option → what it goes with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectOptions:
    """Which rows to keep."""

    by: str | None = None
    """Field to rank by; one of this and `method`."""
    method: str | None = None
    top: str | int | None = None
    """Rows to keep: a number, or a share of all rows of the input such as `5%`, rounded down."""
    min: float | None = None
    """Smallest number that is kept."""
    max: float | None = None
    """Largest number that is kept."""
    lowest: bool = False
    """Take the smallest numbers in place of the largest."""
    keep_misaligned: bool = False
    """Keep rows whose IFD, or r-IFD, is 1 or more, where that is what is ranked by."""
    diversity: bool = False
    """Of the best, those that stand for the others (Superfiltering.D)."""
    pool: str | int | None = None
    """The best, of which `diversity` chooses; None: 20 % of all rows of the input."""
    bands: int | None = None
    """Bands of response length; None: ten."""
    provenance: str | Path | None = None
    """Where a dataset comes from; None: the file that `reflect` has left beside it."""

    def __post_init__(self) -> None:
        """Raise UsageError for what cannot be meant."""
        self._check_what()
        self._check_company()
        self._check_how_many()
        self._check_numbers()

    @property
    def how(self) -> str:
        """The method, or `--by`."""
        return self.method or "--by"

    @property
    def field(self) -> str | None:
        """What the rows are ranked by; None where they are not."""
        return METHODS[self.method].field if self.method else self.by

    @property
    def top_rows(self) -> Top | None:
        """How many rows; None for all that qualify."""
        return None if self.top is None else Top(str(self.top), "--top")

    @property
    def pool_rows(self) -> Top:
        """Of how many of the best `diversity` chooses."""
        return Top(str(DEFAULT_POOL if self.pool is None else self.pool), "--pool")

    @property
    def n_bands(self) -> int:
        """Bands of response length."""
        return DEFAULT_BANDS if self.bands is None else self.bands

    @property
    def metrics(self) -> tuple[str, ...]:
        """What has to be measured by a model; empty where texts or their tokens are enough."""
        field = self.field
        return () if field is None or METRICS[field].group is None else (field,)

    @property
    def needs_tokens(self) -> bool:
        """Whether a tokenizer has to count, though no model is asked."""
        return not self.metrics and self.field not in (None, *WORD_FIELDS)

    def _check_what(self) -> None:
        if (self.by is None) == (self.method is None):
            what = "one of both" if self.by else "what to keep"
            raise UsageError(
                f"say {what}: --by FIELD, such as --by ifd --top 5%, or --method"
                f" {', '.join(METHODS)}"
            )
        if self.method is not None and self.method not in METHODS:
            raise UsageError(f"--method: {unknown('method', self.method, METHODS)}")
        if self.by is not None and self.by not in METRICS:
            raise UsageError(f"--by: {unknown('metric', self.by, METRICS)}")

    def _check_company(self) -> None:
        for name, fitting in _FITS.items():
            value = getattr(self, name)
            is_given = value is not None and value is not False
            if is_given and self.how not in fitting:
                flag = "--" + name.replace("_", "-")
                raise UsageError(f"{flag} does not go with {self.how}: it is for"
                                 f" {', '.join(fitting)}")  # fmt: skip
        if self.pool is not None and not self.diversity:
            raise UsageError("--pool is what --diversity chooses from: give that too")

    def _check_how_many(self) -> None:
        if self.method == "selective":
            return
        _ = self.top_rows, self.pool_rows  # which raise for what is no number of rows
        if self.top is None and (self.method or self.min is self.max is None):
            more = "" if self.method else ", or which: --min X, --max X"
            raise UsageError(f"say how many rows: --top 5% or --top 2000{more}")

    def _check_numbers(self) -> None:
        for name in ("min", "max"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise UsageError(f"--{name} {value}: write a number")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise UsageError(f"--min {self.min:g} lies above --max {self.max:g}: swap them")
        if self.bands is not None and self.bands < 1:
            raise UsageError(f"--bands {self.bands}: at least one")
