"""One row, opened: its conversation, its numbers among the others, its tokens, its findings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ifdkit.errors import UsageError
from ifdkit.records import Example
from ifdkit.scoring.inspect import Token
from ifdkit.viewing.diff import Piece, word_diff
from ifdkit.viewing.marks import Marks
from ifdkit.viewing.query import Findings, Queries
from ifdkit.viewing.sources import ViewedData
from ifdkit.viewing.table import ColumnTable
from ifdkit.viewing.texts import TextStore
from ifdkit.viewing.tokens import TokenReader, TokenText
from ifdkit.visible import one_line, visible

MAX_CHARACTERS = 100_000
"""Of one text on the page."""


@dataclass(frozen=True, eq=False)
class Details:
    """Looks up everything about one row."""

    source: ViewedData
    table: ColumnTable
    texts: Sequence[TextStore]
    queries: Queries
    findings: Findings
    marks: Marks
    readers: Sequence[TokenReader]

    def of(self, position: int) -> dict[str, Any]:
        """A row without its tokens, which can take seconds. Raises UsageError."""
        n = self.table.n
        if not 0 <= position < n:
            raise UsageError(f"there is no row {position}")
        name = self.table.ids[position]
        examples = [one.example(position) for one in self.texts if position < one.n]
        sides = [self._side(one) for one in examples]
        if len(examples) == 2:
            for field in ("instruction", "response"):
                pair = word_diff(*(_cut(getattr(one, field)) for one in examples))
                for side, pieces in zip(sides, pair, strict=True):
                    side[f"{field}_diff"] = _shown(pieces)
        return {
            "position": position,
            "id": one_line(name, 200),
            "mark": self.marks.get(name),
            "sides": sides,
            "numbers": self._numbers(position, n),
            "values": self._values(position, n),
            "findings": [{"kind": kind, "title": self.findings.titles[kind]}
                         for kind in self.findings.of(position)],
        }  # fmt: skip

    def _side(self, example: Example) -> dict[str, Any]:
        turns = [
            {
                "role": turn.role,
                "text": visible(_cut(turn.text)),
                "input": visible(_cut(turn.input)),
            }
            for turn in example.context
        ]
        return {
            "turns": turns,
            "instruction": visible(_cut(example.instruction)),
            "response": visible(_cut(example.response)),
            "is_cut": len(example.response) > MAX_CHARACTERS,
        }

    def _numbers(self, position: int, n: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for name in self.table.names:
            if name in ("row", "turn") or name.startswith("map_") or not self.table.is_number(name):
                continue
            value = float(self.queries.numbers(name, n)[position])
            if not math.isfinite(value):
                found.append({"name": name, "value": None, "percentile": None})
                continue
            percentile = self.queries.percentile(name, position, n)
            found.append({"name": name, "value": value, "percentile": percentile})
        return found

    def _values(self, position: int, n: int) -> list[list[str]]:
        found = []
        for name in self.table.names:
            if name in ("row", "turn"):
                number = self.queries.numbers(name, n)[position]
                found.append([name, f"{int(number)}" if math.isfinite(number) else "–"])
            elif not self.table.is_number(name):
                column = self.queries.coded(name, n)
                text = column.dictionary.texts[column.codes[position]]
                if text is not None:
                    found.append([name, one_line(text, 300)])
        return found

    def tokens(self, position: int) -> list[dict[str, Any]]:
        """The tokens of a row, for each side. Raises UsageError."""
        if not 0 <= position < self.table.n:
            raise UsageError(f"there is no row {position}")
        found = []
        for texts, reader in zip(self.texts, self.readers, strict=True):
            if position >= texts.n:
                found.append({"reason": "The text is not available."})
                continue
            example = texts.example(position)
            found.append(_tokens(reader.read(example, position), example.response))
        return found


def _tokens(text: TokenText, response: str) -> dict[str, Any]:
    if text.reason is not None:
        return {"reason": one_line(text.reason, 400)}
    return {
        "direct": _with_rest(text.direct, response),
        "conditional": _with_rest(text.conditional, response),
        "is_parallel": text.is_parallel,
    }


def _with_rest(tokens: Sequence[Token], response: str) -> list[list[Any]]:
    """Text and nats of every token, then the rest of the response, which was not scored."""
    pieces = [[visible(one.text), None if one.nats is None else round(one.nats, 3)]
              for one in tokens]  # fmt: skip
    covered = "".join(one.text for one in tokens)
    if covered and response.startswith(covered) and len(covered) < len(response):
        pieces.append([visible(_cut(response[len(covered) :])), None])
    return pieces


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CHARACTERS else text[:MAX_CHARACTERS] + "…"


def _shown(pieces: Sequence[Piece]) -> list[list[Any]]:
    return [[visible(text), is_common] for text, is_common in pieces]
