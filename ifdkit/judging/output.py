"""Judged pairs as annotations, in AlpacaEval's format with the judge's words beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import IO, Any

from ifdkit.data.atomic import dumps, encoded_json
from ifdkit.judging.asking import Asked
from ifdkit.judging.pairs import ResponsePair
from ifdkit.judging.questions import Judged


def write_annotations(
    file: IO[bytes],
    pairs: Iterable[ResponsePair],
    asked: Iterable[Asked],
    names: Sequence[str],
    annotator: str,
) -> None:
    """Write a JSON array with one row per pair, which `predict` and `judge --from` read."""
    separator = "[\n"
    for pair, one in zip(pairs, asked, strict=True):
        row = {
            "id": pair.example.id,
            "instruction": pair.example.instruction,
            "output_1": pair.first,
            "generator_1": names[0],
            "output_2": pair.second,
            "generator_2": names[1],
            "annotator": annotator,
            "preference": 1 + one.preference,
            "outcome": str(one.outcome),
            "games": [_game(game, shown) for game, shown in zip(one.games, (1, 2), strict=True)],
        }
        text = dumps(row, indent=2).replace("\n", "\n  ")  # inside a text a line feed is escaped
        file.write(encoded_json(f"{separator}  {text}"))
        separator = ",\n"
    file.write(b"\n]\n")


def _game(game: Judged, shown_first: int) -> dict[str, Any]:
    return {
        "shown_first": shown_first,
        "answer": str(game.answer),
        "words": game.words,
        "reason": game.reason,
    }
