"""Ranking rows: the arithmetic of a selection, on columns of numbers.

NaN is an undefined number: it is in no ranking, neither of the largest nor of the smallest.  Equal
numbers are ranked in file order, so that every result is unique.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from ifdkit.errors import UsageError

Column = NDArray[np.float64]
"""One number per row, shape (rows,); NaN if undefined."""
Places = NDArray[np.int64]
"""Positions in a column."""

_AMOUNT = re.compile(r"(\d+)|(\d+(?:\.\d+)?) ?%")


@dataclass(frozen=True, slots=True)
class Top:
    """How many rows: a number, or a share of all rows of the input."""

    text: str
    """As the user wrote it: `2000` or `5%`."""
    flag: str
    """The flag to name in errors: `--top`."""

    def __post_init__(self) -> None:
        """Raise UsageError unless it is a number of rows or a share of them."""
        matched = _AMOUNT.fullmatch(self.text.strip())
        if matched is None:
            raise UsageError(
                f"{self.flag} {self.text}: give a number of rows, or a share such as 5%"
            )
        if matched[1] is not None and int(matched[1]) < 1:
            raise UsageError(f"{self.flag} {self.text}: must be at least one row")
        if matched[2] is not None and not 0 < Fraction(matched[2]) <= 100:
            raise UsageError(f"{self.flag} {self.text}: a share must be above 0 and at most 100 %")

    def of(self, rows: int) -> int:
        """The number of rows; a share of `rows` is rounded down, as in the published scripts.

        Raises UsageError if that is less than one row.
        """
        text = self.text.strip()
        if not text.endswith("%"):
            return int(text)
        # Exact, because in floats 29 % of 100 rows is 28.
        n = int(Fraction(text.rstrip("% ")) * rows / 100)
        if n < 1:
            raise UsageError(f"{self.flag} {self.text} of {rows:,} rows is less than one row")
        return n


def best_first(values: Column, *, lowest: bool = False) -> Places:
    """Places of the defined values, the largest first, or the smallest; ties by place."""
    defined = np.flatnonzero(np.isfinite(values))
    keys = values[defined] if lowest else -values[defined]
    return defined[np.argsort(keys, kind="stable")]


def drawn(rows: int, n: int, seed: int) -> Places:
    """`n` of `rows` places at random, each set equally likely, ascending."""
    generator = np.random.default_rng(seed)
    return np.sort(generator.choice(rows, min(n, rows), replace=False, shuffle=False))


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Rows of similar length, and how many of them are kept."""

    shortest: float
    longest: float
    """Both ends are in the band."""
    rows: int
    """Rows of the input."""
    candidates: int
    """Rows that can be ranked."""
    taken: int
    """Rows kept."""


def best_within_bands(
    values: Column, lengths: Column, n: int, n_bands: int
) -> tuple[Places, list[Band]]:
    """The `n` largest values, with each band of lengths contributing its share.

    Bands end at the quantiles of all `lengths`, and rows of one length stay together, so that there
    are fewer bands if many rows have the same length.  A band's share of `n` is its share of all
    rows whose length is known.  If a band has too few defined values, the other bands contribute
    the rest in proportion.  The places are in no particular order, and fewer than `n` if there are
    not enough.
    """
    band_of = _bands(lengths, n_bands)
    chosen, counts = best_within(values, band_of, n)
    members = (lengths[band_of == band] for band in range(len(counts)))
    bands = [
        Band(
            shortest=float(inside.min()),
            longest=float(inside.max()),
            rows=rows,
            candidates=candidates,
            taken=taken,
        )
        for inside, (rows, candidates, taken) in zip(members, counts, strict=True)
    ]
    return chosen, bands


def best_within(
    values: Column, parts: Places, n: int, *, equal: bool = False
) -> tuple[Places, list[tuple[int, int, int]]]:
    """The `n` largest values, with each part contributing its share.

    `parts` has the number of each row's part, from 0; −1 for a row in none.  A part's share is its
    share of all rows that are in one, or the same for all if `equal`.  If a part has too few
    defined values, the others contribute the rest.  Returns the places, in no particular order, and
    for each part its rows, those with a value, and those taken.
    """
    ranking = best_first(np.where(parts >= 0, values, np.nan))
    queues = [ranking[parts[ranking] == part] for part in range(int(parts.max(initial=-1)) + 1)]
    rows = np.bincount(parts[parts >= 0], minlength=len(queues)).tolist()
    limits = [len(queue) for queue in queues]
    sizes = [int(limit > 0) for limit in limits] if equal else rows
    shares = apportion(min(n, sum(limits)), sizes, limits)
    chosen = [queue[:share] for queue, share in zip(queues, shares, strict=True)]
    counts = list(zip(rows, limits, shares, strict=True))
    return np.concatenate([np.zeros(0, dtype=np.int64), *chosen]), counts


def _bands(lengths: Column, n_bands: int) -> Places:
    """The number of each row's band, 0 for the shortest; −1 if the length is unknown."""
    found = np.full(len(lengths), -1, dtype=np.int64)
    known = np.isfinite(lengths)
    if known.any():
        edges = np.unique(np.quantile(lengths[known], np.arange(1, n_bands) / n_bands))
        numbers = np.searchsorted(edges, lengths[known], side="right")
        found[known] = np.unique(numbers, return_inverse=True)[1]  # without empty bands
    return found


def apportion(n: int, sizes: Sequence[int], limits: Sequence[int]) -> list[int]:
    """`n` divided in proportion to `sizes`, no part above its limit.

    Largest remainders (Hamilton), ties to the first part; what exceeds the limit of a part goes to
    the others.  `n` must be at most the sum of the limits, and a part of size 0 must have limit 0.
    """
    full: dict[int, int] = {}
    while True:  # a part that is full raises the shares of the others, which may fill them too
        open_parts = [part for part in range(len(sizes)) if part not in full]
        left = n - sum(full.values())
        total = sum(sizes[part] for part in open_parts)
        reached = [p for p in open_parts if left * sizes[p] >= limits[p] * total]
        if not reached:
            break
        full.update({part: limits[part] for part in reached})
    shares = {part: left * sizes[part] // total for part in open_parts}
    by_remainder = sorted(open_parts, key=lambda part: -(left * sizes[part] % total))
    for part in by_remainder[: left - sum(shares.values())]:
        shares[part] += 1
    return [full.get(part, shares.get(part, 0)) for part in range(len(sizes))]
