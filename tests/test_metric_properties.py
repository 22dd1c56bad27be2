"""What holds for every metric of the registry, optional or not, through a model.

Each number is finite or null; a null has a status or a definition that says when it is undefined;
numbers have the declared range, and depend neither on the batches nor on the order of the rows.
"""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import ifdkit
from ifdkit.scoring.metrics import METRICS, OPTIONAL_GROUPS, all_groups
from tests import tiny

pytestmark = pytest.mark.long

EVERYTHING = ",".join([*all_groups(), "noise", "reference"])
ONE_TOKEN, LONG = "one", "long"
LONG_TOKENS = 2048
ROWS = [
    {"id": f"{verb} {thing}", "instruction": f"{verb} {thing}",
     "output": f"{thing} and {thing}, {verb.lower()} it: 1, 2. 你好 " * 3}
    for verb in ("Name", "Draw", "Sing")
    for thing in ("a cat", "the blue sea")
]  # fmt: skip
EDGES = [
    {"id": ONE_TOKEN, "instruction": "Say one letter", "output": "x"},
    {"id": LONG, "instruction": "Write", "output": " ".join(f"x{i % 89}" for i in range(3000))},
    {"id": "no response", "instruction": "Say nothing", "output": ""},
    {"id": "blank", "instruction": "Say nothing", "output": " \n"},
    {"id": "no instruction", "instruction": "", "output": "An answer to nothing, and no more."},
    {"id": "equal", "instruction": "Repeat", "output": "a a a a a a a a a a a a a a a a a a a a"},
]
DOCUMENTS = [
    {"id": ONE_TOKEN, "text": "x"},
    {"id": LONG, "text": " ".join(f"x{i % 89}" for i in range(3000))},
    {"id": "some", "text": "The sea is wide and the old walls are at the sea. " * 12},
    {"id": "empty", "text": ""},
]
NAMES = list(METRICS)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two models with room for 2,048 tokens: the one that scores, and a reference."""
    found = []
    for seed in (0, 1):
        folder = tiny.save_model(tmp_path_factory.mktemp("long") / f"model{seed}", seed=seed)
        config = json.loads((folder / "config.json").read_text())
        config["max_position_embeddings"] = 4096
        (folder / "config.json").write_text(json.dumps(config))
        found.append(folder)
    shutil.copy(found[0] / "tokenizer.json", found[1] / "tokenizer.json")
    return found[0], found[1]


def score(rows: Any, models: tuple[Path, Path], embedder: Path, **more: Any) -> pd.DataFrame:
    frame: pd.DataFrame = ifdkit.score(
        rows, metrics=EVERYTHING, model=str(models[0]), reference_model=str(models[1]),
        embedder=str(embedder), store="off", noise_copies=2, **more,
    )  # fmt: skip
    return frame.set_index("id")


@pytest.fixture(scope="module")
def pairs(models: tuple[Path, Path], tiny_embedder: Path) -> pd.DataFrame:
    return score([*ROWS, *EDGES], models, tiny_embedder)


@pytest.fixture(scope="module")
def documents(models: tuple[Path, Path], tiny_embedder: Path) -> pd.DataFrame:
    return score(DOCUMENTS, models, tiny_embedder)


def of_pairs() -> list[str]:
    return [name for name in NAMES if METRICS[name].applies_to != "documents"]


def of_documents() -> list[str]:
    return [name for name in NAMES if METRICS[name].is_for_documents]


def may_be_undefined(name: str) -> bool:
    """Whether its definition says when a row without any problem does not have it."""
    return "undefined" in METRICS[name].definition.lower()


@pytest.mark.parametrize("name", NAMES)
def test_the_registry_declares_it(name: str) -> None:
    metric = METRICS[name]
    assert metric.unit
    assert metric.label
    assert len(metric.short) <= 18
    assert metric.definition.endswith(".")
    assert metric.low is None or metric.high is None or metric.low < metric.high
    assert metric.low is not None or not metric.is_multiplicative
    if metric.is_optional:
        assert metric.formula
        assert metric.group in OPTIONAL_GROUPS
        assert metric.higher_means or metric.higher_is_harder is not None
        assert metric.table_order is not None


@pytest.mark.parametrize("name", NAMES)
def test_values_are_finite_and_in_the_declared_range(
    name: str, pairs: pd.DataFrame, documents: pd.DataFrame
) -> None:
    metric, seen = METRICS[name], 0
    for frame, names in ((pairs, of_pairs()), (documents, of_documents())):
        if name not in names:
            assert name not in frame.columns or frame[name].isna().all()
            continue
        values = frame[name].dropna().to_numpy(dtype=np.float64)
        seen += len(values)
        assert np.isfinite(values).all()
        assert metric.low is None or values.min() >= metric.low - 1e-9
        assert metric.high is None or values.max() <= metric.high + 1e-9
        assert not metric.is_integer or (values == np.round(values)).all()
        assert not metric.is_multiplicative or (values > 0).all()
    assert seen


@pytest.mark.parametrize("name", NAMES)
def test_a_null_has_a_status_or_is_explained(
    name: str, pairs: pd.DataFrame, documents: pd.DataFrame
) -> None:
    for frame, names in ((pairs, of_pairs()), (documents, of_documents())):
        if name in names:
            nulls = frame[frame[name].isna()]
            fine = nulls[nulls["status"].isin(["ok", "truncated"])]
            assert not len(fine) or may_be_undefined(name), list(fine.index)
            assert nulls.drop(fine.index)["reason"].notna().all()


@pytest.mark.parametrize("name", NAMES)
def test_long_responses_have_it(name: str, pairs: pd.DataFrame, documents: pd.DataFrame) -> None:
    assert pairs["response_tokens"][LONG] > LONG_TOKENS
    if name in of_pairs():
        assert math.isfinite(pairs[name][LONG])
    if name in of_documents():
        assert math.isfinite(documents[name][LONG])


@pytest.mark.parametrize("name", NAMES)
def test_one_token_has_it_unless_it_needs_more(
    name: str, pairs: pd.DataFrame, documents: pd.DataFrame
) -> None:
    assert pairs["response_tokens"][ONE_TOKEN] == documents["response_tokens"][ONE_TOKEN] == 1
    for frame, names in ((pairs, of_pairs()), (documents, of_documents())):
        if name in names and not may_be_undefined(name):
            assert math.isfinite(frame[name][ONE_TOKEN])


@pytest.mark.parametrize("tokens", [64, 8192])
def test_neither_batches_nor_the_order_of_rows_matter(
    pairs: pd.DataFrame,
    documents: pd.DataFrame,
    models: tuple[Path, Path],
    tiny_embedder: Path,
    monkeypatch: pytest.MonkeyPatch,
    tokens: int,
) -> None:
    monkeypatch.setattr("ifdkit.engine.huggingface.PACKED_TOKENS_PER_BATCH", {"cpu": tokens})
    for rows, expected, names in (
        ([*ROWS, *EDGES], pairs, of_pairs()),
        (DOCUMENTS, documents, of_documents()),
    ):
        again = score(rows[::-1], models, tiny_embedder)
        left, right = (frame[names].astype(float).sort_index() for frame in (again, expected))
        pd.testing.assert_frame_equal(left, right, rtol=5e-4, atol=5e-5)
        assert (again["status"].sort_index() == expected["status"].sort_index()).all()
