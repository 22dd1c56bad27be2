"""From examples to rows to train on: the Requests that the protocol scores, and what ends them.

A row is the Request of the conditional response pass, or of the direct pass for a document, which
has no instruction.  Its span is the loss mask: what is scored is what is trained.  One thing is
added to it, so that the model learns to stop: the tokens that end a response.  For a chat template
these are what it writes after a response, up to the first special token (`<|im_end|>`); otherwise
EOS.  A truncated response does not end where it is cut, so it gets none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from ifdkit.data.dataset import Dataset
from ifdkit.data.read_log import ReadLog
from ifdkit.errors import InputError
from ifdkit.format import plural
from ifdkit.prompting.omissions import omission_notes
from ifdkit.records import Example, Passes, Request, Status
from ifdkit.scoring.progress import Progress
from ifdkit.scoring.run import blocks, note_reading
from ifdkit.scoring.scorer import Scorer


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One example to train on."""

    row: int
    """0-based position of its row in the input."""
    request: Request
    """Ids, and the span of them that has a loss, end included."""
    n_end: int
    """Tokens at the end of the span that end the response; 0 if it was truncated."""

    @property
    def n_trained(self) -> int:
        """Tokens with a loss."""
        return self.request.n_scored


@dataclass(slots=True)
class TrainingRows:
    """All rows of a dataset to train on, and what became of the others."""

    rows: list[TrainingRow] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    """Status → examples without a token to train on, and `rejected` → unreadable rows."""
    truncated: int = 0
    """Examples whose response is cut at the maximum length, and which are trained without end."""
    unended: int = 0
    """Examples without end for another reason: none exists, or it exceeds the maximum length."""
    merged: int = 0
    """Examples in which a token straddles the end of the prompt, as the joined protocols allow.
    The trained context then differs from the one that a model answers from."""

    @property
    def requests(self) -> list[Request]:
        """The Requests of the rows."""
        return [row.request for row in self.rows]

    @property
    def tokens_prompt(self) -> int:
        """Tokens without a loss, over all rows."""
        return sum(row.request.start for row in self.rows)

    @property
    def tokens_trained(self) -> int:
        """Tokens with a loss, over all rows."""
        return sum(row.n_trained for row in self.rows)


def training_rows(dataset: Dataset, scorer: Scorer, progress: Progress) -> TrainingRows:
    """The rows of a dataset under the scorer's protocol. Raises InputError if there is none."""
    found, log = TrainingRows(), ReadLog()
    omissions: Counter[str] = Counter()
    n_examples = 0
    end = scorer.tokenizer.end_of_response(scorer.template.turn_end())
    for block in blocks(dataset, log):
        passes = scorer.align(block.examples)
        found.dropped["rejected"] += len(block.rejects)
        n_examples += len(passes)
        omissions.update(kind for one in passes for kind in one.omitted)
        contexts = [one.ids for one in scorer.contexts(block.examples)]
        for example, one, context in zip(block.examples, passes, contexts, strict=True):
            _add(found, example, one, context, end, scorer.max_length)
    found.dropped += Counter()  # drops zeros
    note_reading(dataset, log, progress)
    for note in omission_notes(scorer.template.name, omissions, n_examples):
        progress.note(note)
    for note in _notes(dataset.name, found, end):
        progress.note(note)
    if not found.rows:
        why = ", ".join(f"{n:,} {reason}" for reason, n in found.dropped.most_common())
        raise InputError(f"{dataset.name} has no row to train on: {why or 'no examples'}")
    return found


def _add(
    found: TrainingRows,
    example: Example,
    passes: Passes,
    context: tuple[int, ...] | None,
    end: Sequence[int],
    max_length: int,
) -> None:
    scored = passes.response_conditional
    if scored is None and passes.status == Status.EMPTY_INSTRUCTION:
        scored = passes.response_direct
    if scored is None:
        # Fully masked rows, such as a prompt that fills the maximum length, would be dropped
        # silently by TRL.
        found.dropped[passes.status] += 1
        return
    request, n_end = scored.request, 0
    if passes.truncated_tokens:
        found.truncated += 1
    elif end and request.stop + len(end) <= max_length:
        request, n_end = _ended(request, end), len(end)
    else:
        found.unended += 1
    row = TrainingRow(example.row, request, n_end)
    if not _is_as_scored(row, scored.request):
        raise AssertionError(f"row {example.row}: the loss mask differs from the scoring span")
    is_conditional = scored is passes.response_conditional
    if is_conditional and context is not None and not _continues(request, context, scored.skipped):
        found.merged += 1
    found.rows.append(row)


def _ended(request: Request, end: Sequence[int]) -> Request:
    ids = np.concatenate([request.ids[: request.stop], np.array(end, dtype=np.int32)])
    return Request(ids, request.start, len(ids))


def _is_as_scored(row: TrainingRow, scored: Request) -> bool:
    """Whether the mask is the scoring span and its end, over the same ids."""
    own = row.request
    return (
        own.start == scored.start
        and own.stop - row.n_end == scored.stop
        and np.array_equal(own.ids[: scored.stop], scored.ids[: scored.stop])
    )


def _continues(request: Request, context: tuple[int, ...], skipped: int) -> bool:
    """Whether the ids before the response are those that a model answers from."""
    before = request.ids[: request.start - skipped]
    return bool(np.array_equal(before, context))


def _notes(name: str, found: TrainingRows, end: Sequence[int]) -> Iterator[str]:
    if found.truncated:
        are = "response is" if found.truncated == 1 else "responses are"
        yield (
            f"{name}: {found.truncated:,} {are} cut at the maximum length, and trained without an"
            " end"
        )
    if not end:
        yield f"{name}: the tokenizer has no EOS token, so the model does not learn to stop"
    elif found.unended:
        yield f"{name}: no room for the end of {plural(found.unended, 'response')}"
    if found.merged:
        yield (
            f"{name}: in {plural(found.merged, 'row')} a token straddles the end of the prompt, so"
            " the context in training differs from that in generation; --protocol aligned avoids it"
        )
