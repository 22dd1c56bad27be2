"""A function of the user's as the embedder, and a model of sentence-transformers in memory."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ifdkit
from ifdkit.errors import InputError, ModelError, UsageError
from ifdkit.scoring.store import Store, text_key

pytestmark = pytest.mark.long

ROWS = [
    {"instruction": f"Write {word} about the sea", "output": f"The {word} sea is {word}."}
    for word in ("one", "two", "three", "four", "five", "six")
]


def letters(texts: list[str]) -> Any:
    """How often each letter occurs: float64 (texts, 26)."""
    return np.array([[text.lower().count(chr(97 + i)) for i in range(26)] for text in texts])


def expected(row: dict[str, str]) -> float:
    a, b = letters([row["instruction"], row["output"]])
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.fixture(scope="module")
def settings(tiny_model: Path) -> dict[str, Any]:
    return {"model": str(tiny_model), "dtype": "float32", "device": "cpu"}


def test_a_function_embeds(settings: dict[str, Any], tmp_path: Path) -> None:
    calls: list[list[str]] = []

    def embed(texts: list[str]) -> Any:
        assert type(texts) is list
        calls.append(texts)
        return letters(texts)

    store = tmp_path / "store.sqlite"
    scores = ifdkit.score(ROWS, embedder=embed, store=store, **settings)
    assert scores["coherence"].tolist() == pytest.approx([expected(row) for row in ROWS], abs=1e-6)
    made = scores.attrs["manifest"]
    assert made["embedder"].startswith("function ")
    assert made["embedder"].endswith("embed")
    assert made["embedder_source"] == "a function in memory"
    assert made["texts_embedded"] == 2 * len(ROWS)
    # NLLs are in the store, and vectors are not: the function is called again.
    n_calls = len(calls)
    again = ifdkit.score(ROWS, embedder=embed, store=store, **settings)
    assert again.attrs["manifest"]["requests_scored"] == 0
    assert len(calls) == 2 * n_calls
    assert again["coherence"].tolist() == scores["coherence"].tolist()
    with Store(store) as kept:
        keys = [text_key(made["embedder_hash"], row["output"]) for row in ROWS]
        assert kept.get_embeddings(keys) == {}


def test_the_hash_tells_functions_apart(settings: dict[str, Any]) -> None:
    def other(texts: list[str]) -> Any:
        return letters(texts) + 1

    found = [
        ifdkit.score(ROWS, embedder=one, metrics="coherence,ifd", store="off", **settings)
        for one in (letters, letters, other)
    ]
    first, second, third = (one.attrs["manifest"]["embedder_hash"] for one in found)
    assert first == second != third
    same = ifdkit.compare(found[0], found[1], store="off")
    assert same.summary.metrics["coherence"].change.mean == 0
    with pytest.raises(InputError, match="not comparable: embedder function letters"):
        ifdkit.compare(found[0], found[2], store="off")
    with pytest.raises(ModelError, match="was a function in memory: give it again"):
        ifdkit.compare(found[0], ROWS, store="off", device="cpu")


def test_compare_select_and_audit_take_it(settings: dict[str, Any], tmp_path: Path) -> None:
    after = [{**row, "output": row["output"] + " Blue."} for row in ROWS]
    result = ifdkit.compare(ROWS, after, embedder=letters, store="off", **settings)
    change = np.mean([expected(b) - expected(a) for a, b in zip(ROWS, after, strict=True)])
    assert result.summary.metrics["coherence"].change.mean == pytest.approx(change, abs=1e-6)
    kept = ifdkit.select(ROWS, by="coherence", top=2, embedder=letters, store="off", **settings)
    best = sorted(ROWS, key=expected)[-2:]
    assert sorted(kept["output"]) == sorted(row["output"] for row in best)
    diverse = ifdkit.select(ROWS, method="diverse", top=2, embedder=letters, store="off")
    assert len(diverse) == 2
    least = float(np.mean([expected(row) for row in ROWS]))
    audit = ifdkit.audit(
        ROWS, embedder=letters, where=f"coherence > {least}", store="off", **settings
    )
    assert audit.examples == sum(expected(row) > least for row in ROWS)


def test_tensors_and_lists_are_arrays(settings: dict[str, Any]) -> None:
    import torch

    def as_tensor(found: Any) -> Any:
        return torch.tensor(found, dtype=torch.bfloat16, requires_grad=True)

    for convert in (np.ndarray.tolist, list, as_tensor):

        def embed(texts: list[str], convert: Callable[[Any], Any] = convert) -> Any:
            return convert(letters(texts))

        scores = ifdkit.score(ROWS, embedder=embed, store="off", **settings)
        assert scores["coherence"].tolist() == pytest.approx([expected(row) for row in ROWS])


def fails(_: list[str]) -> Any:
    raise RuntimeError("no connection\nsecond line")


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (fails, "fails on 5 texts: RuntimeError: no connection"),
        (lambda texts: np.zeros(len(texts)), "shape (5,) for 5 texts: return (5, dimensions)"),
        (lambda texts: letters(texts)[1:], "shape (4, 26) for 5 texts"),
        (lambda texts: np.zeros((len(texts), 0)), "shape (5, 0)"),
        (lambda texts: letters(texts)[None], "shape (1, 5, 26)"),
        (lambda texts: letters(texts) * np.nan, "NaN or infinity for the text 'The sea is wide"),
        (lambda texts: letters(texts) * 1e300, "NaN or infinity"),
        (lambda _: [[1.0], [1.0, 2.0]], "returns list, which is no array of numbers"),
        (lambda _: None, "returns NoneType, which is no array"),
        (lambda texts: [["a"] for _ in texts], "returns list, which is no array"),
        (lambda texts: letters(texts) * 1j, "returns ndarray, which is no array of numbers"),
    ],
)
def test_a_wrong_result_is_named(
    function: Callable[[list[str]], Any], problem: str, settings: dict[str, Any]
) -> None:
    with pytest.raises(ModelError, match=re.escape(problem)) as caught:
        ifdkit.score(ROWS, embedder=function, store="off", **settings)
    assert "\n" not in str(caught.value)


def test_a_result_that_goes_wrong_later_is_named(settings: dict[str, Any]) -> None:
    def narrow(texts: list[str]) -> Any:
        return letters(texts)[:, : 26 if len(texts) < 6 else 25]

    with pytest.raises(ModelError, match="25 dimensions, and 26 before"):
        ifdkit.score(ROWS, embedder=narrow, store="off", **settings)


def test_what_is_no_embedder_is_refused(settings: dict[str, Any]) -> None:
    wrong: Any = 3
    with pytest.raises(UsageError, match="embedder=int must be a name, a folder"):
        ifdkit.score(ROWS, embedder=wrong, **settings)


def test_a_sentence_transformer_in_memory_is_known_by_its_content(
    settings: dict[str, Any], tiny_embedder: Path, tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(tiny_embedder), device="cpu")
    store = tmp_path / "store.sqlite"
    from_folder = ifdkit.score(ROWS, embedder=tiny_embedder, store=store, **settings)
    found = [ifdkit.score(ROWS, embedder=model, store=store, **settings) for _ in range(2)]
    for one in found:
        assert one["coherence"].tolist() == pytest.approx(from_folder["coherence"].tolist())
    assert found[1].attrs["manifest"]["texts_embedded"] == 0
