"""The texts of the rows, in Arrow files of a temporary folder that are mapped into memory."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ifdkit.data.atomic import valid_text
from ifdkit.expressions.evaluation import Mask
from ifdkit.records import Example, Turn
from ifdkit.viewing.words import TextSegment

if TYPE_CHECKING:
    import pyarrow as pa

_TURN_FIELDS = ("role", "text", "input", "tool_calls", "reasoning")


class TextStore:
    """The examples of one side, by position. One thread appends while others read."""

    def __init__(self, folder: Path) -> None:
        """Files are written into `folder`, which is deleted by whoever made it."""
        self._folder = folder
        self._starts: list[int] = []
        self._batches: list[pa.RecordBatch] = []
        self._segments: list[TextSegment] = []
        self.n = 0

    def append(self, examples: Sequence[Example]) -> None:
        """Add examples behind those that are there."""
        import pyarrow as pa
        import pyarrow.compute as pc

        text = pa.large_string()
        columns = {
            "id": [valid_text(one.id) for one in examples],
            "row": [one.row for one in examples],
            "turn": [one.turn for one in examples],
            "instruction": pa.array([one.instruction for one in examples], text),
            "response": pa.array([one.response for one in examples], text),
            "context": pa.array([_context_of(one) for one in examples], text),
            "tools": pa.array([one.tools or None for one in examples], text),
        }
        batch = pa.RecordBatch.from_pydict(columns)
        path = self._folder / f"{len(self._batches)}.arrow"
        with pa.ipc.new_file(str(path), batch.schema) as file:
            file.write_batch(batch)
        line_end = pa.scalar("\n", text)
        both = (batch["instruction"], batch["response"])
        searched = pc.binary_join_element_wise(*both, line_end)
        self._segments.append(TextSegment(self.n, searched, path.with_suffix(".npy")))
        with pa.memory_map(str(path)) as mapped:
            self._batches.append(pa.ipc.open_file(mapped).get_batch(0))
        self._starts.append(self.n)
        self.n += len(examples)

    def example(self, position: int) -> Example:
        """The example at a position."""
        at = bisect_right(self._starts, position) - 1
        row = self._batches[at].slice(position - self._starts[at], 1).to_pylist()[0]
        context = tuple(Turn(**turn) for turn in json.loads(row["context"] or "[]"))
        if row["context"] is None:
            context = (Turn("user", row["instruction"]),)
        return Example(
            row["id"], row["row"], row["turn"], context, row["response"], row["tools"] or ""
        )

    def beginnings(self, position: int, limit: int) -> tuple[str, str]:
        """Instruction and response of a position, both cut after `limit` characters."""
        import pyarrow.compute as pc

        at = bisect_right(self._starts, position) - 1
        row = self._batches[at].slice(position - self._starts[at], 1)
        instruction, response = (
            str(pc.utf8_slice_codeunits(row[name], 0, limit)[0].as_py())
            for name in ("instruction", "response")
        )
        return instruction, response

    def texts(self) -> Iterator[tuple[int, list[str], list[str]]]:
        """Blocks of the first position, the instructions and the responses."""
        for start, batch in zip(list(self._starts), list(self._batches), strict=True):
            for begin in range(0, len(batch), 4096):
                part = batch.slice(begin, 4096)
                yield start + begin, part["instruction"].to_pylist(), part["response"].to_pylist()

    def find(self, term: str, n: int) -> Mask:
        """Which of the first `n` texts have a word that contains a term in lower case."""
        masks = [one.find(term) for one in list(self._segments) if one.first < n]
        return np.concatenate([*masks, np.zeros(0, dtype=bool)])[:n]


def _context_of(example: Example) -> str | None:
    """The turns before the response as JSON; None if there is only a plain instruction."""
    if example.context == (Turn("user", example.instruction),):
        return None
    turns = [{name: getattr(turn, name) for name in _TURN_FIELDS} for turn in example.context]
    return json.dumps(turns, ensure_ascii=False)
