"""The verb *show*: one example, its numbers, and every response token's surprise."""

from __future__ import annotations

from dataclasses import dataclass

from ifdkit.errors import InputError, UsageError
from ifdkit.metrics import score_row
from ifdkit.reading import Dataset
from ifdkit.records import NLL, Example, Pass, Reject, ScoreRow
from ifdkit.scorer import Scorer


@dataclass(frozen=True, slots=True)
class Piece:
    """One response token and its NLL in nats, None where a pass does not score it."""

    text: str
    direct: float | None
    conditional: float | None


@dataclass(frozen=True, slots=True)
class Inspection:
    """One example, looked at closely."""

    example: Example
    row: ScoreRow
    pieces: list[Piece]


def find_example(dataset: Dataset, which: str, turn: int | None = None) -> Example:
    """The example at a 0-based row, or with an id; the last turn unless one is named.

    Raises InputError where there is none, or its row cannot be read.
    """
    for number, found in zip((raw.row for raw in dataset.raw_rows()), dataset, strict=True):
        if isinstance(found, Reject):
            if which == str(number):
                raise InputError(f"row {number} of {dataset.name} is rejected: {found.reason}")
            continue
        if which not in (str(number), found[-1].id):
            continue
        chosen = [e for e in found if turn is None or e.turn == turn]
        if not chosen:
            raise UsageError(f"--turn {turn}: row {number} has assistant turns 0…{found[-1].turn}")
        return chosen[-1]
    raise InputError(
        f"{dataset.name} has {dataset.n_rows:,} rows, none with the number or id {which!r}"
    )


def inspect(example: Example, scorer: Scorer) -> Inspection:
    """Score one example and lay its tokens side by side."""
    passes, nlls = scorer.token_nlls(example)
    row = score_row(
        example,
        passes,
        nlls,
        coherence=scorer.coherence(example, passes),
        window=scorer.settings.window,
    )
    direct = _by_token(passes.response_direct, nlls.get("response_direct"))
    conditional = _by_token(passes.response_conditional, nlls.get("response_conditional"))
    pieces = [
        Piece(text, direct.get(i), conditional.get(i))
        for i, text in enumerate(_texts(example.response, scorer))
    ]
    return Inspection(example, row, pieces)


def _by_token(one: Pass | None, nll: NLL | None) -> dict[int, float]:
    if one is None or nll is None:
        return {}
    return {one.skipped + i: float(value) for i, value in enumerate(nll)}


def _texts(response: str, scorer: Scorer) -> list[str]:
    """The response cut at its tokens; a character split over several tokens stays with the last."""
    offsets = scorer.tokenizer.offsets(response, special=False)
    texts, begin = [], 0
    for i, (_, end) in enumerate(offsets):
        is_split = i + 1 < len(offsets) and offsets[i + 1][0] < end
        stop = max(begin, begin if is_split else end)
        texts.append(response[begin:stop])
        begin = stop
    return texts
