"""Results in notebooks and in memory: views, figures, models and frames as objects."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import ifdkit
from ifdkit.comparison.result import Comparison
from ifdkit.errors import InputError, UsageError
from tests.report_fixtures import make_explored, make_summary, rows_frame, with_text_everywhere

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[1]
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def settings(tiny_model: Path, tiny_embedder: Path) -> dict[str, Any]:
    return {"model": str(tiny_model), "embedder": str(tiny_embedder), "dtype": "float32",
            "store": "off", "window": 8}  # fmt: skip


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    words = ["the", "sea", "is", "wide", "and", "blue", "and", "old", "walls", "sing", "of", "cats"]
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "instruction": [f"Write {i} about {rng.choice(words)}" for i in range(16)],
            "output": [" ".join(rng.choice(words, 12)) for _ in range(16)],
        },
        index=[f"row {i}" for i in range(16)],
    )


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def test_a_comparison_has_a_short_repr_a_view_and_a_figure() -> None:
    import ifdkit.report  # noqa: F401

    rows = rows_frame(80)
    result = Comparison(make_summary(rows), rows, make_explored(rows, 5))
    assert len(repr(result)) < 200
    assert repr(result).startswith("<Comparison before.json → after.json, 80 pairs")
    view = result._repr_html_()
    assert "<td" in view
    assert "IFD" in view
    assert len(view) < 10_000
    assert result.plot().axes[0].get_xlabel().startswith("IFD")
    assert result.plot("coherence").axes[0].get_xlabel().startswith("Coherence")
    with pytest.raises(UsageError, match="no field 'nothing'"):
        result.plot("nothing")


def test_text_of_a_dataset_stays_text_in_a_view() -> None:
    import ifdkit.report  # noqa: F401

    rows = rows_frame(40)
    summary, pairs = with_text_everywhere(
        make_summary(rows), make_explored(rows, 3), lambda _: HOSTILE
    )
    view = Comparison(summary, rows, pairs)._repr_html_()
    assert "<script" not in view
    assert "&lt;script" in view


def test_scores_keep_the_index_and_have_a_summary(
    frame: pd.DataFrame, settings: dict[str, Any]
) -> None:
    scores = ifdkit.score(frame, **settings)
    assert scores.index.tolist() == frame.index.tolist()
    assert ifdkit.score(rows_of(frame), **settings).index.tolist() == list(range(16))
    found = ifdkit.summary(scores)
    assert repr(found).startswith("<Scores of 16 examples: ")
    assert f"{16:,}</td>" in found._repr_html_()
    assert found.metrics["ifd"].median == pytest.approx(scores["ifd"].median())
    assert found.plot().axes
    with pytest.raises(InputError, match="has no scores"):
        ifdkit.summary(frame)


def test_an_audit_and_a_selection_have_views(
    frame: pd.DataFrame, settings: dict[str, Any], tmp_path: Path
) -> None:
    audit = ifdkit.audit(frame, scores=False)
    assert len(repr(audit)) < 200
    assert "<table" in audit._repr_html_()
    assert audit.plot().axes
    assert {path.name for path in audit.save(tmp_path / "audit").iterdir()} > {"index.html"}
    done = ifdkit.select(frame, tmp_path / "best.jsonl", by="ifd", top=4, lowest=True, **settings)
    assert repr(done).startswith("<Selected 4 of 16 rows of ")
    assert "Random choice" in done._repr_html_()
    assert done.plot().axes


def test_a_selection_without_a_file_is_a_frame(
    frame: pd.DataFrame, settings: dict[str, Any], tmp_path: Path
) -> None:
    kept = ifdkit.select(frame, by="response_words", top=4, **settings)
    assert isinstance(kept, pd.DataFrame)
    assert set(kept.index) <= set(frame.index)
    assert kept.equals(frame.loc[kept.index])
    assert kept.attrs["selection"]["kept"] == len(kept) == 4
    rows = rows_of(frame)
    again = ifdkit.select(rows, by="response_words", top=4, **settings)
    assert again["output"].tolist() == kept["output"].tolist()


def test_a_model_in_memory_gives_the_numbers_of_its_folder(
    frame: pd.DataFrame, settings: dict[str, Any], tiny_model: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    rows = {**settings, "metrics": "ppl,ifd"}
    from_folder = ifdkit.score(frame, **rows)
    for given in ({"model": model, "tokenizer": tokenizer}, {"model": (model, tokenizer)}):
        found = ifdkit.score(frame, **{**rows, **given})
        assert found["ifd"].to_numpy() == pytest.approx(from_folder["ifd"].to_numpy(), abs=1e-5)
    with pytest.raises(UsageError, match="with tokenizer="):
        ifdkit.score(frame, model=model)
    with pytest.raises(UsageError, match="tokenizer is for a model in memory"):
        ifdkit.score(frame, model=str(tiny_model), tokenizer=tokenizer)


def test_a_trained_model_in_memory_gives_other_numbers(
    frame: pd.DataFrame, settings: dict[str, Any], tiny_model: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    rows = {**settings, "metrics": "ppl,ifd", "model": (model, tokenizer)}
    first = ifdkit.score(frame, **rows)
    with torch.no_grad():
        for one in model.parameters():
            one.mul_(1.1)
    second = ifdkit.score(frame, **rows)
    assert (first["ifd"] - second["ifd"]).abs().max() > 1e-4
    assert first.attrs["manifest"]["weights_hash"] != second.attrs["manifest"]["weights_hash"]


@pytest.mark.real_model
def test_the_example_notebook_runs(tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(ROOT / "examples" / "notebook.ipynb", as_version=4)
    os.environ.setdefault("PYTHONPATH", str(ROOT))
    nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    shown = [one for cell in notebook.cells if cell.cell_type == "code" for one in cell.outputs]
    html = [one["data"]["text/html"] for one in shown if "text/html" in one.get("data", {})]
    assert len(html) >= 4
    assert any("Longer" in one or "length" in one for one in html)
    assert any("<progress" in one and "12 of 12 rows" in one for one in html)
    assert any("image/png" in one.get("data", {}) for one in shown)
