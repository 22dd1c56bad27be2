"""Any number of distinct rows with the lengths, words and phrases of a real file.

Responses are sentences of the file in random order, of which a part of the words is replaced by
others of the file or by numbers, so that word 3-grams repeat about as often as in real text.  Three
in a hundred rows repeat the response of an earlier row, with a few words changed in a third of
them, so that there are duplicates to find.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

Row = dict[str, str]
_REPLACED = 0.15
_REPEATED = 0.03
_SENTENCE = re.compile(r"(?<=[.!?\n])\s+")
_MAX_REMEMBERED = 5_000


def many_rows(source: list[Row], n: int, seed: int = 0) -> Iterator[Row]:
    """`n` rows made from those of `source`, a function of the arguments."""
    draw = np.random.default_rng(seed)
    sentences = [
        np.array(one.split(" "), dtype=object)
        for row in source
        for one in _SENTENCE.split(row["output"])
        if one
    ]
    vocabulary = np.concatenate(sentences)
    n_sentences = [len(_SENTENCE.split(row["output"])) for row in source]
    recent: list[str] = []
    for number in range(n):
        like = int(draw.integers(len(source)))
        if recent and draw.random() < _REPEATED:
            words = np.array(recent[int(draw.integers(len(recent)))].split(" "), dtype=object)
            is_replaced = draw.random(len(words)) < (0.02 if draw.random() < 1 / 3 else 0)
        else:
            chosen = draw.integers(len(sentences), size=n_sentences[like])
            words = np.concatenate([sentences[i] for i in chosen])
            is_replaced = draw.random(len(words)) < _REPLACED
        n_replaced = int(is_replaced.sum())
        words[is_replaced] = vocabulary[draw.integers(len(vocabulary), size=n_replaced)]
        if n_replaced:
            words[np.flatnonzero(is_replaced)[0]] = str(draw.integers(100_000))
        response = " ".join(words)
        if len(recent) < _MAX_REMEMBERED:
            recent.append(response)
        row = source[like]
        yield {
            "instruction": f"{row['instruction']} ({number})",
            "input": row.get("input", ""),
            "output": response,
        }


def write_rows(path: Path, source: list[Row], n: int, seed: int = 0) -> None:
    """The rows as JSON Lines."""
    with path.open("w", encoding="utf-8") as file:
        for row in many_rows(source, n, seed):
            file.write(json.dumps(row) + "\n")
