"""The numbers of a file do not depend on what the store contained before."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from ifdkit.cli.main import main
from ifdkit.engine.embedder import SentenceEmbedder

pytestmark = pytest.mark.long

WORDS = ["the", "sea", "a", "cat", "colour", "green", "name", "write", "list", "three", "facts"]


def write(path: Path, n: int) -> Path:
    draw = random.Random(n)
    with path.open("w") as file:
        for i in range(n):
            words = draw.choices(WORDS, k=draw.randint(1, 40))
            row = {"instruction": " ".join(draw.choices(WORDS, k=draw.randint(1, 9))),
                   "output": f"{i} " + " ".join(words)}  # fmt: skip
            file.write(json.dumps(row) + "\n")
    return path


def test_an_embedding_does_not_depend_on_other_texts(tiny_embedder: Path) -> None:
    embedder = SentenceEmbedder("tiny", tiny_embedder, device="cpu")
    texts = [" ".join(WORDS[:n]) for n in range(1, 14)]
    together = embedder.embed(texts)
    for text, vector in zip(texts, together, strict=True):
        (alone,) = embedder.embed([text])
        np.testing.assert_array_equal(alone, vector)
        np.testing.assert_array_equal(embedder.embed([text, *texts[:5]])[0], vector)


@pytest.mark.parametrize("warmed_by", [["--limit", "10"], ["--sample", "17"], ["--limit", "59"]])
def test_a_warm_store_gives_the_bytes_of_a_cold_one(
    tmp_path: Path, tiny_model: Path, tiny_embedder: Path, warmed_by: list[str]
) -> None:
    data = write(tmp_path / "data.jsonl", 60)

    def score(store: str, *more: str) -> bytes:
        output = tmp_path / "out.jsonl"
        arguments = ["score", str(data), "-o", str(output), "-m", str(tiny_model), "-q"]
        arguments += ["--embedder", str(tiny_embedder), "--metrics", "coherence"]
        assert main([*arguments, "--store", str(tmp_path / store), *more]) == 0
        return output.read_bytes()

    cold = score("cold")
    score("warm", *warmed_by)
    assert score("warm") == cold
    assert score("warm") == cold
