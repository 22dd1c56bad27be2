"""`ifdkit show`: one example, its numbers, and the NLL of every response token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ifdkit.data.dataset import Dataset
from ifdkit.errors import InputError, UsageError
from ifdkit.format import plural
from ifdkit.prompting.tokens import Tokenizer
from ifdkit.records import NLL, Example, Pass, Passes, Reject
from ifdkit.scoring.rows import ScoreRow, score_columns, score_row
from ifdkit.scoring.scorer import Scorer

if TYPE_CHECKING:
    from ifdkit.engine.tokenizer import HuggingFaceTokenizer


@dataclass(frozen=True, slots=True)
class Token:
    """One response token of a pass and its NLL in nats; None if it is only context."""

    text: str
    nats: float | None


@dataclass(frozen=True, slots=True)
class Inspection:
    """One example with its row of scores and its tokens."""

    example: Example
    row: ScoreRow
    direct: list[Token]
    conditional: list[Token]

    def as_json(self) -> dict[str, Any]:
        """Plain data for `--json`: the example, its row of scores and its tokens."""
        measured = [name for name, value in self.row.numbers.items() if value is not None]
        is_document = self.example.is_document
        names = score_columns(token_nll=True, documents=is_document, optional=measured)
        return {**asdict(self), "row": {name: self.row.column(name) for name in names}}

    @property
    def is_parallel(self) -> bool:
        """Whether both passes cut the response into the same tokens."""
        return [t.text for t in self.direct] == [t.text for t in self.conditional]


def find_example(dataset: Dataset, which: str, turn: int | None = None) -> Example:
    """The example with an id, else at a 0-based row; its last turn unless `turn` is given.

    A number is an id if a row has it, since positions change when rows are removed, and ids do not.
    Raises InputError if there is no such example or its row cannot be read, UsageError if it has no
    such turn.
    """
    position = int(which) if which.isdecimal() and int(which) in dataset.rows else None
    at_position: list[Example] | Reject | None = None
    for found in dataset:
        if isinstance(found, Reject):
            if found.row == position:
                at_position = found
            continue
        if matching := [example for example in found if example.id == which]:
            return _turn(matching, turn)
        if found[0].row == position:
            at_position = found
    if isinstance(at_position, Reject):
        raise InputError(f"row {position} of {dataset.name} is rejected: {at_position.reason}")
    if at_position is None:
        raise InputError(
            f"{dataset.name} has {plural(dataset.n_rows, 'row')}, none with the id or position"
            f" {which!r}"
        )
    return _turn(at_position, turn)


def _turn(examples: list[Example], turn: int | None) -> Example:
    """The example of one turn of a row, by default the last."""
    chosen = [example for example in examples if turn in (None, example.turn)]
    if not chosen:
        raise UsageError(f"--turn {turn}: the row has assistant turns 0 to {examples[-1].turn}")
    return chosen[-1]


def inspect(example: Example, scorer: Scorer) -> Inspection:
    """Score one example, and get the text of each of its tokens."""
    passes, nlls = scorer.token_nlls(example)
    row = score_row(
        example,
        passes,
        nlls,
        coherence=scorer.coherences([example], [passes])[0],
        window=scorer.settings.window,
    )
    return Inspection(example, row, *response_tokens(example, passes, nlls, scorer.tokenizer))


def response_tokens(
    example: Example, passes: Passes, nlls: Mapping[str, NLL], tokenizer: HuggingFaceTokenizer
) -> tuple[list[Token], list[Token]]:
    """The tokens of the direct and of the conditional pass of the response.

    Empty for a pass without NLLs, or with another number of them than it has scored tokens.
    """

    def tokens(one: Pass | None, nll: NLL | None) -> list[Token]:
        """Texts cut from the response if the pass has the same ids, else decoded ids."""
        if one is None or nll is None or len(nll) != len(one.scored_ids):
            return []
        ids = one.scored_ids.tolist()
        texts = _first_texts(example.response, one.skipped, ids, tokenizer)
        context = [Token(text, None) for text in texts[: one.skipped]]
        named = texts[one.skipped :] if texts else tokenizer.decode(ids)
        scored = zip(named, nll.tolist(), strict=True)
        return context + [Token(text, float(nats)) for text, nats in scored]

    return (
        tokens(passes.response_direct, nlls.get("response_direct")),
        tokens(passes.response_conditional, nlls.get("response_conditional")),
    )


def _first_texts(response: str, skipped: int, ids: list[int], tokenizer: Tokenizer) -> list[str]:
    """The texts of the first tokens, up to the last of `ids`; none if they have other ids.

    Of a long response only the beginning is tokenised, which may have ended at the maximum length:
    its offsets take 200 bytes for each character.
    """
    n = skipped + len(ids)
    size = 16 * (n + 16)
    while True:
        part, is_whole = response[:size], size >= len(response)
        found = tokenizer.encode([part], special=False)[0]
        # Where the text is cut, its last tokens are others.
        if found[skipped:n] == ids and (is_whole or len(found) > n):
            return token_texts(part, tokenizer)[:n]
        if is_whole or len(found) > 2 * n:
            return []
        size *= 4


def token_texts(response: str, tokenizer: Tokenizer) -> list[str]:
    """The response cut at its tokens; a character of several tokens belongs to the last one."""
    offsets = tokenizer.offsets(response, special=False)
    texts, begin = [], 0
    for i, (_, end) in enumerate(offsets):
        is_split = i + 1 < len(offsets) and offsets[i + 1][0] < end
        stop = max(begin, begin if is_split else end)
        texts.append(response[begin:stop])
        begin = stop
    return texts
