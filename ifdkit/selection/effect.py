"""What a selection did: the input, the selection, and a random choice of the same size.

Every method changes more than it says.  A ranking by IFD takes long responses, and a model trained
on longer responses looks better for that alone, so the first question is what a random choice of as
many rows would look like, and the second whether the longest rows would have done as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ifdkit.findings.near import near_duplicates
from ifdkit.findings.texts import key
from ifdkit.format import fixed, interval, percent, plural
from ifdkit.selection.ranking import Column, Places, best_first
from ifdkit.selection.rows import LENGTH_FIELDS, Rows
from ifdkit.selection.set_diversity import SetDiversity
from ifdkit.selection.sources import Labels
from ifdkit.selection.verdict import Verdict
from ifdkit.stats.columns import Interval, finite, spearman

DRAWS = 200
"""Random choices: the ends of a 95 % range are then those of the 5th and the 195th."""
MAX_SOURCES = 8
"""Sources that have a line of their own: those with the most rows of the input."""
MAX_COMPARED = 10_000
"""Of more rows near duplicates are not looked for: it would take longer than the selection."""
_MUCH_LONGER = 1.25
"""Times the median length of a random choice from which on it is worth a sentence."""
_OWN_STREAM = 1
"""Keeps these draws apart from the one that `--method random` makes of the same seed."""

Unit = Literal["median", "share", "set"]
Statistic = Callable[[Places], float | None]
"""Of the rows at these places."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What to measure."""

    name: str
    unit: Unit
    statistic: Statistic


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One number of the input, of the selection, and of random choices of its size."""

    name: str
    """A field, whose median it is; a source, whose share it is; or `repeated`, the share of rows
    that say what one before them does but for case and whitespace, and `nearly_repeated`, that of
    these and of near duplicates."""
    unit: Unit
    """A share lies in 0…1; a number of the whole set is one of `ifdkit.diversity`."""
    input: float | None
    selection: float | None
    random: float | None
    """Mean over the draws; None if it is undefined in one of them."""
    random_range95: Interval | None
    """From the 2.5th to the 97.5th percentile of the draws."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthEffect:
    """How much of the selection is length."""

    field: str
    """`response_tokens`, or `response_words` where nothing counted tokens."""
    ratio: float | None
    """Median of the selection ÷ mean median of random choices; > 0."""
    spearman: float | None
    """Rank correlation, −1…1, of what was ranked by with length; None without a ranking."""
    share_among_longest: float
    """Share of the rows kept that are among as many longest rows of the input, 0…1."""
    chance_among_longest: float
    """The same of a random choice."""
    sentence: str | None
    """Said where the selection is longer, or shorter, than chance would have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """The table under a selection."""

    draws: int
    seed: int
    measures: tuple[Measure, ...]
    length: LengthEffect
    source_field: str | None
    """Column that says where rows come from; None if there is none."""
    sources: tuple[Measure, ...]
    diversity: tuple[Measure, ...] = ()
    """Empty unless the rows were embedded. The input is measured on as many rows as the selection,
    at most `ifdkit.selection.set_diversity.MAX_MEASURED`, as are the random choices."""

    @property
    def is_none(self) -> bool:
        """Whether every row was kept."""
        return self.length.chance_among_longest == 1


def effect_of(
    rows: Rows,
    verdict: Verdict,
    field: str | None,
    labels: Labels | None,
    seed: int,
    vectors: NDArray[np.float32] | None = None,
) -> Effect:
    """Compare the rows kept, at least one, with the input and with chance.

    `field` is what was ranked by, `labels` say where each row comes from, and `vectors` are the
    embeddings of the rows, shape (rows, dimensions), if diversity is asked for.
    """
    kept = np.flatnonzero(verdict.kept)
    own, shares = list(_statistics(rows, field)), list(_source_shares(labels))
    sets = [] if vectors is None else list(_set_measures(rows, vectors, len(kept), seed))
    measures = _measures([*own, *shares, *sets], len(rows), kept, seed)
    n_others = len(own) + len(shares)
    return Effect(
        draws=DRAWS,
        seed=seed,
        measures=measures[: len(own)],
        length=_length_effect(rows, verdict, kept, measures[0]),
        source_field=labels.field if labels else None,
        sources=measures[len(own) : n_others],
        diversity=measures[n_others:],
    )


def _set_measures(
    rows: Rows, vectors: NDArray[np.float32], n_kept: int, seed: int
) -> Iterator[_Asked]:
    """The measures of diversity of a choice, and how it covers the input."""
    responses = [rows.last(place)[1] for place in range(len(rows))]
    found = SetDiversity(vectors, responses, n_kept, seed)
    for name in found.names:
        yield _Asked(name, "set", found.statistic(name))


def _measures(asked: Sequence[_Asked], rows: int, kept: Places, seed: int) -> tuple[Measure, ...]:
    """The same statistics of all rows, of those kept and of each random choice."""
    generator = np.random.default_rng([seed, _OWN_STREAM])
    drawn: list[list[float | None]] = [[] for _ in asked]
    for _ in range(DRAWS):
        places = generator.choice(rows, len(kept), replace=False, shuffle=False)
        for values, one in zip(drawn, asked, strict=True):
            values.append(one.statistic(places))
    return tuple(
        _measure(one, np.arange(rows), kept, values)
        for one, values in zip(asked, drawn, strict=True)
    )


def _measure(asked: _Asked, rows: Places, kept: Places, drawn: Sequence[float | None]) -> Measure:
    known = [value for value in drawn if value is not None]
    is_known = len(known) == len(drawn)
    low, high = np.percentile(known, [2.5, 97.5]) if is_known else (np.nan, np.nan)
    return Measure(
        name=asked.name,
        unit=asked.unit,
        input=asked.statistic(rows),
        selection=asked.statistic(kept),
        random=finite(np.mean(known)) if is_known else None,
        random_range95=(float(low), float(high)) if is_known else None,
    )


def _statistics(rows: Rows, field: str | None) -> Iterator[_Asked]:
    for name in _fields(rows, field):
        yield _Asked(name, "median", _median_of(rows.column(name)))
    yield from _repetitions(rows)


def _fields(rows: Rows, field: str | None) -> list[str]:
    """What the table has medians of, the response's length first."""
    has_tokens = "response_tokens" in rows.numbers
    lengths = LENGTH_FIELDS[:2] if has_tokens else LENGTH_FIELDS[2:]
    wanted = [lengths[1], lengths[0], "ifd", field, "coherence"]
    return list(dict.fromkeys(name for name in wanted if name is not None and name in rows.numbers))


def _median_of(column: Column) -> Statistic:
    def median(places: Places) -> float | None:
        values = column[places]
        values = values[np.isfinite(values)]
        return finite(np.median(values)) if len(values) else None

    return median


def _repetitions(rows: Rows) -> Iterator[_Asked]:
    """Shares of rows whose texts another row of the same set has before them."""
    keys = np.fromiter((key(rows.text(place)) for place in range(len(rows))), "S16", len(rows))
    _, firsts, numbers = np.unique(keys, return_index=True, return_inverse=True)
    codes = firsts[numbers]
    yield _Asked("repeated", "share", _share_repeated(codes))
    if len(rows) <= MAX_COMPARED:
        for group in near_duplicates([rows.text(place) for place in range(len(rows))]):
            codes[list(group)] = group[0]
        yield _Asked("nearly_repeated", "share", _share_repeated(codes))


def _share_repeated(codes: Places) -> Statistic:
    codes = codes.copy()
    return lambda places: (len(places) - len(np.unique(codes[places]))) / len(places)


def _source_shares(labels: Labels | None) -> Iterator[_Asked]:
    """The share of each frequent source, and of all others together."""
    if labels is None:
        return
    counts = np.bincount(labels.codes, minlength=len(labels.names))
    frequent = best_first(counts.astype(np.float64))[:MAX_SOURCES]
    for code in frequent.tolist():
        yield _Asked(labels.names[code], "share", _share_of(labels.codes == code))
    others = ~np.isin(labels.codes, frequent)
    if others.any():
        n = len(labels.names) - len(frequent)
        yield _Asked(plural(n, "other"), "share", _share_of(others))


def _share_of(marked: NDArray[np.bool_]) -> Statistic:
    return lambda places: float(marked[places].mean())


def _length_effect(rows: Rows, verdict: Verdict, kept: Places, length: Measure) -> LengthEffect:
    lengths = rows.column(length.name)
    longest = best_first(lengths)[: len(kept)]
    among = len(np.intersect1d(kept, longest)) / len(kept)
    chance = len(kept) / len(rows)
    ratio = length.selection / length.random if length.selection and length.random else None
    return LengthEffect(
        field=length.name,
        ratio=ratio,
        spearman=_correlation(verdict.values, lengths),
        share_among_longest=among,
        chance_among_longest=chance,
        sentence=_sentence(length, ratio, among, chance, len(kept)),
    )


def _correlation(values: Column | None, lengths: Column) -> float | None:
    if values is None:
        return None
    known = np.isfinite(values) & np.isfinite(lengths)
    return spearman(values[known], lengths[known])


def _sentence(
    length: Measure, ratio: float | None, among: float, chance: float, n: int
) -> str | None:
    """How the responses kept differ in length from chance; None if they hardly do."""
    if ratio is None or length.random_range95 is None or length.selection is None:
        return None
    low, high = length.random_range95
    is_longer = ratio >= _MUCH_LONGER and length.selection > high
    is_shorter = ratio <= 1 / _MUCH_LONGER and length.selection < low
    if not (is_longer or is_shorter):
        return None
    unit = "tokens" if length.name == "response_tokens" else "words"
    what = "longer" if is_longer else "shorter"
    selected, drawn = fixed(length.selection, 0), fixed(length.random, 0)
    found = (
        f"This selection is mostly {what} answers: a median of {selected} response {unit}, against"
        f" {drawn} ({interval((low, high), lambda end: fixed(end, 0))}) in random selections of the"
        " same size"
    )
    if is_longer:
        found += (
            f"; {percent(among)} of its rows are among the {n:,} longest of the input, against"
            f" {percent(chance)} by chance"
        )
    return found + "."
