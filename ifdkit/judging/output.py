"""Judged pairs as annotations, in AlpacaEval's format with the judge's words beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ifdkit.data.atomic import json_file
from ifdkit.judging.asking import Asked
from ifdkit.judging.pairs import ResponsePair
from ifdkit.judging.questions import Judged


def annotation_file(
    pairs: Sequence[ResponsePair],
    asked: Sequence[Asked],
    names: Sequence[str],
    annotator: str,
) -> bytes:
    """A file with one row per pair, which `predict` and `judge --from` read."""
    return json_file([
        {
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
        for pair, one in zip(pairs, asked, strict=True)
    ])  # fmt: skip


def _game(game: Judged, shown_first: int) -> dict[str, Any]:
    return {
        "shown_first": shown_first,
        "answer": str(game.answer),
        "words": game.words,
        "reason": game.reason,
    }
