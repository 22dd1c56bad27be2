"""The examples of the report's explorer, and the numbers of its figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from ifdkit.auditing.checking import AuditedDataset, CheckResult
from ifdkit.auditing.result import AuditedColumn, ExploredExample, Place, RuleResult
from ifdkit.auditing.shading import Shading
from ifdkit.findings.masking import masked
from ifdkit.scoring.explored import ExploredSide, ShadedToken
from ifdkit.scoring.metrics import METRICS
from ifdkit.scoring.per_row import word_counts
from ifdkit.stats.columns import finite

MAX_NAMED = 400
"""Examples that are chosen because rules name them; the others get the rules as tags only."""
_N_EXTREME = 10
_N_DRAWN = 40
_MAX_CHARS = 20_000
"""Of each text; a page shows fewer."""
_FIGURE_FIELDS = ("ifd", "response_tokens", "words", "response_words")
_MAX_FIGURES = 2
Columns = Mapping[str, NDArray[np.float64]]
"""Metric → values of the examples, shape (examples,); NaN if undefined."""
Found = Mapping[str, tuple[RuleResult, CheckResult]]
"""Rule → its result with places that have lines, and what its check found."""


def columns_of(data: AuditedDataset) -> Columns:
    """Every metric of which some value is defined; without scores, the numbers of words."""
    numbers = data.scored.scores.numbers or word_counts(data.scored)
    known = [name for name in METRICS if name in numbers]
    others = [name for name in numbers if name not in METRICS]
    return {name: numbers[name] for name in (*known, *others) if np.isfinite(numbers[name]).any()}


def measure(data: AuditedDataset, columns: Columns, found: Found) -> tuple[AuditedColumn, ...]:
    """The columns of the figures, and which of their examples a rule to fix names."""
    is_found = np.zeros(len(data), dtype=bool)
    for result, check in found.values():
        if result.fails or result.warns:
            is_found[list(check.indices)] = True
    fields = [name for name in _FIGURE_FIELDS if name in columns][:_MAX_FIGURES]
    measured = []
    for name in fields:
        is_known = np.isfinite(columns[name])
        measured.append(
            AuditedColumn(field=name, values=columns[name][is_known], is_found=is_found[is_known])
        )
    return tuple(measured)


def explore(
    data: AuditedDataset,
    columns: Columns,
    found: Found,
    seed: int,
    shading: Shading | None = None,
) -> tuple[ExploredExample, ...]:
    """Examples that rules name, then those with extreme numbers, then some drawn at random.

    `shading` finds the NLLs of their tokens; without it they have none.
    """
    places: dict[int, Place] = {}
    words: dict[tuple[str, int], str] = {}
    unread: list[ExploredExample] = []
    for name, place, index in _in_turn(found):
        if index is None:
            unread.append(_unread(name, place))
            continue
        words[name, index] = place.quote
        if index in places or len(places) < MAX_NAMED:
            places.setdefault(index, place)
    reasons: dict[int, list[str]] = {index: [] for index in places}
    for why, values in _extremes(columns):
        known = np.flatnonzero(np.isfinite(values))
        for index in known[np.argsort(-values[known], kind="stable")][:_N_EXTREME].tolist():
            reasons.setdefault(index, []).append(why)
    left = np.setdiff1d(np.arange(len(data)), list(reasons))
    drawn = np.random.default_rng(seed).choice(left, min(_N_DRAWN, len(left)), replace=False)
    reasons |= {index: ["drawn at random"] for index in np.sort(drawn).tolist()}
    chosen = np.fromiter(reasons, dtype=np.int64, count=len(reasons))
    tags = {
        name: set(chosen[np.isin(chosen, np.array(check.indices, dtype=np.int64))].tolist())
        for name, (_, check) in found.items()
    }
    ranks = {name: _percentiles(column, chosen) for name, column in columns.items()}
    tokens = shading.tokens(chosen.tolist()) if shading else {}
    return (
        *unread,
        *(
            ExploredExample(
                side=_side(
                    data,
                    index,
                    columns,
                    {name: finite(rank[i]) for name, rank in ranks.items()},
                    tokens.get(index, ()),
                ),
                reasons=tuple(whys),
                findings={
                    name: words.get((name, index), "") for name, of in tags.items() if index in of
                },
                line=places[index].line if index in places else None,
                source=data.scored.dataset.source_of(int(data.scored.scores.rows[index])),
            )
            for i, (index, whys) in enumerate(reasons.items())
        ),
    )


def _in_turn(found: Found) -> Iterator[tuple[str, Place, int | None]]:
    """The places of all rules, one of each in turn, so that no rule takes all the room.

    The position of a place in the corpus is None if its row could not be read.
    """

    def of_rule(name: str) -> Iterator[tuple[str, Place, int | None]]:
        result, check = found[name]
        for i, place in enumerate(result.places):
            yield name, place, check.indices[i] if check.indices else None

    for line in zip_longest(*map(of_rule, found)):
        yield from (one for one in line if one is not None)


def _extremes(columns: Columns) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Reasons, each with a number per example: the largest are chosen."""
    if "ifd" in columns:
        yield "highest IFD", columns["ifd"]
        yield "lowest IFD", -columns["ifd"]
    length = next((name for name in _FIGURE_FIELDS[1:] if name in columns), None)
    if length is not None:
        yield "longest", columns[length]


def _percentiles(column: NDArray[np.float64], chosen: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mid-rank of each chosen value among all defined ones, 0…100, shape (chosen,)."""
    ordered = np.sort(column[np.isfinite(column)])
    values = column[chosen]
    ends = [np.searchsorted(ordered, values, side) for side in ("left", "right")]
    ranks: NDArray[np.float64] = 50.0 * (ends[0] + ends[1]) / len(ordered)
    return np.where(np.isfinite(values), ranks, np.nan)


def _side(
    data: AuditedDataset,
    index: int,
    columns: Columns,
    ranks: Mapping[str, float | None],
    tokens: tuple[ShadedToken, ...],
) -> ExploredSide:
    scores, texts = data.scored.scores, data.scored.texts
    return ExploredSide(
        id=scores.ids[index],
        row=int(scores.rows[index]),
        turn=int(scores.turns[index]),
        status=str(scores.statuses[index]),
        # As in the places: secrets and personal data stay hidden.
        instruction=masked(texts.instructions[index])[:_MAX_CHARS],
        response=masked(texts.responses[index])[:_MAX_CHARS],
        numbers={name: finite(column[index]) for name, column in columns.items()},
        percentiles=ranks,
        tokens=tokens,
    )


def _unread(name: str, place: Place) -> ExploredExample:
    side = ExploredSide(
        id="",
        row=place.row,
        turn=0,
        status="unreadable",
        instruction="",
        response="",
        numbers={},
    )
    return ExploredExample(
        side=side, findings={name: place.quote}, line=place.line, source=place.source
    )
