"""`--limit` and `--sample` of several inputs: the same rows of each, and what to say about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ifdkit.data.options import ReadOptions
from ifdkit.errors import InputError
from ifdkit.format import plural


@dataclass(frozen=True, slots=True)
class DrawnRows:
    """A sample of the rows, the same positions of every input."""

    rows: int
    of_rows: int
    seed: int

    @property
    def caveat(self) -> str:
        """What a reader must know."""
        return (
            f"a sample: {self.rows:,} of {self.of_rows:,} rows, drawn at random with seed"
            f" {self.seed}"
        )


@dataclass(frozen=True, slots=True)
class ChosenPart:
    """Which rows of each input are read, at the same positions of all of them."""

    limit: int | None = None
    """Only so many of each, the first; None if that is all of them."""
    drawn: DrawnRows | None = None

    @property
    def sample(self) -> int | None:
        """Rows that were drawn from each input; None if none were."""
        return None if self.drawn is None else self.drawn.rows

    def caveats(self, of_each: str = " of each side") -> list[str]:
        """What a reader must know; `of_each` says what the limit is one of."""
        found = []
        if self.limit is not None:
            rows = plural(self.limit, "row")
            found.append(f"limited: only the first {rows}{of_each} (--limit)")
        if self.drawn is not None:
            found.append(self.drawn.caveat)
        return found


def chosen_part(sizes: Sequence[int], options: ReadOptions) -> ChosenPart:
    """The part that the options choose of inputs with so many rows.

    A sample is drawn within the limit.  Raises InputError if one is to be drawn from inputs with
    different numbers of rows: the same positions would then not be pairs.
    """
    limit = options.limit
    is_limited = limit is not None and any(size > limit for size in sizes)
    return ChosenPart(limit if is_limited else None, _drawn(sizes, options))


def _drawn(sizes: Sequence[int], options: ReadOptions) -> DrawnRows | None:
    """The sample; None if it has all rows, or if there is none."""
    if options.sample is None:
        return None
    first, *others = (len(range(size)[: options.limit]) for size in sizes)
    for other in others:
        if other != first:
            raise InputError(
                f"--sample draws the same positions of both sides, and they have {first:,} and"
                f" {other:,} rows: leave it out"
            )
    if options.sample >= first:
        return None
    return DrawnRows(options.sample, first, options.seed)
