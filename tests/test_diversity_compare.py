"""Diversity in `compare`: of both sides as sets, in the summary and in every form of the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ifdkit
from ifdkit.comparison.gate import parse_condition, value_of
from ifdkit.comparison.overview import paired_overview
from ifdkit.comparison.result import Comparison
from ifdkit.diversity.measures import DIVERSITY
from ifdkit.format import signed
from ifdkit.report.terminal.comparison import print_comparison
from ifdkit.report.terminal.screen import Screen

pytestmark = pytest.mark.long

WORDS = ("the", "sea", "is", "wide", "and", "blue", "cats", "sing", "of", "old", "walls", "at")


def some_rows(n: int = 40) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    return [
        {
            "id": str(i),
            "instruction": f"Write {i} about {' '.join(rng.choice(WORDS, 3))}",
            "output": " ".join(rng.choice(WORDS, int(rng.integers(8, 16)))),
        }
        for i in range(n)
    ]


@pytest.fixture(scope="module")
def settings(
    tiny_model: Path, tiny_embedder: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    store = tmp_path_factory.mktemp("store") / "store.sqlite"
    return {"model": str(tiny_model), "embedder": str(tiny_embedder), "store": str(store)}


@pytest.fixture(scope="module")
def narrowed(settings: dict[str, Any]) -> Comparison:
    """Every row becomes one of two: less diverse by every measure."""
    rows = some_rows()
    same = [{**row, "instruction": rows[i % 2]["instruction"], "output": rows[i % 2]["output"]}
            for i, row in enumerate(rows)]  # fmt: skip
    return ifdkit.compare(rows, same, pair_by="id", metrics="ifd,coherence", **settings)


def test_a_loss_of_diversity_is_found_by_every_measure(narrowed: Comparison) -> None:
    found = narrowed.summary.diversity
    assert list(found) == list(DIVERSITY)
    for name, one in found.items():
        assert one.n_pairs == 40
        assert one.change == pytest.approx(one.after - one.before)
        assert one.change_ci95 is not None
        is_less = one.change < 0 if DIVERSITY[name].higher_is_more_diverse else one.change > 0
        assert is_less, name
        if name != "cluster_inertia":  # two points have none, but nor have tight clusters much
            low, high = one.change_ci95
            assert high < 0 or low > 0, name
        assert one.sampling_error == 0
    assert found["vendi"].after <= 2 + 1e-6
    covered = narrowed.summary.coverage
    assert covered is not None
    assert covered.after_by_before == 1
    assert covered.before_by_after < 1


def test_the_same_rows_are_as_diverse(settings: dict[str, Any]) -> None:
    """Negative control."""
    rows = some_rows()
    made = ifdkit.compare(rows, rows, metrics="ifd,coherence", **settings).summary
    assert {(one.change, one.change_ci95) for one in made.diversity.values()} == {(0, (0, 0))}
    assert made.coverage is not None
    assert made.coverage.before_by_after == made.coverage.after_by_before == 1


def test_without_embeddings_or_with_few_pairs_there_is_none(settings: dict[str, Any]) -> None:
    rows = some_rows()
    for few, metrics in ((rows, "ifd"), (rows[:29], "ifd,coherence")):
        made = ifdkit.compare(few, few, metrics=metrics, **settings).summary
        assert (made.diversity, made.coverage) == ({}, None)


def test_the_terminal_and_the_gate_have_it_under_one_name(
    narrowed: Comparison, capsys: pytest.CaptureFixture[str]
) -> None:
    print_comparison(narrowed.summary, console=Screen(width=120))
    shown = capsys.readouterr().out
    assert "Coverage: The rows after cover" in shown
    overview = paired_overview([narrowed], seed=0).overview.others[0]
    for name, one in narrowed.summary.diversity.items():
        line = next(line for line in shown.splitlines() if line.startswith(f" {name} "))
        assert line.split()[3] == signed(one.change)
        for compared in (narrowed.summary, overview):
            assert value_of(f"diversity.{name}.change", compared) == one.change
    assert parse_condition("diversity.vendi.change < 0").check(overview) is not None
    assert parse_condition("coverage.after_by_before < 1").check(overview) is None


def test_without_it_the_terminal_shows_nothing_and_the_gate_fails(
    settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = some_rows(29)
    made = ifdkit.compare(rows, rows, metrics="ifd", **settings).summary
    print_comparison(made, console=Screen(width=120))
    shown = capsys.readouterr().out
    assert "vendi" not in shown
    assert "Coverage" not in shown
    why = parse_condition("diversity.vendi.change < 0").check(made)
    assert why is not None
    assert "diversity.vendi.change is undefined here" in why


def test_every_form_of_the_report_shows_it(narrowed: Comparison, tmp_path: Path) -> None:
    folder = narrowed.save(tmp_path / "report", text=False)
    page, markdown = ((folder / name).read_text() for name in ("index.html", "report.md"))
    for one in DIVERSITY.values():
        assert one.label in page
        assert one.label in markdown
    assert 'id="diversity"' in page
    assert "### Diversity" in markdown
    assert "The rows after cover" in page
    summary = json.loads((folder / "summary.json").read_text())
    assert set(summary["diversity"]) == set(DIVERSITY)
    assert set(summary["coverage"]) >= {"before_by_after", "after_by_before"}


def test_the_map_of_the_topics_has_the_layout_that_was_asked_for(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    rows = some_rows()
    new = [{**row, "output": f"{row['output']} by the sea"} for row in rows]
    kept = {"metrics": "ifd,coherence", **settings}
    plane = ifdkit.compare(rows, new, **kept)
    places = [name for name in map(str, plane.rows) if name.startswith("map_")]
    assert places == ["map_x_before", "map_y_before", "map_x_after", "map_y_after"]
    assert "map_layout" not in plane.as_json()
    assert "the first two principal components" in page_of(plane, tmp_path / "plane")
    pytest.importorskip("umap", reason="needs the extra `umap`")
    first, second = (ifdkit.compare(rows, new, map_layout="umap", **kept) for _ in range(2))
    assert first.rows[places].equals(second.rows[places])
    assert not np.allclose(first.rows[places], plane.rows[places])
    assert first.rows["topic"].equals(plane.rows["topic"])
    assert first.as_json()["map_layout"] == "umap"
    assert "on a UMAP of the embeddings" in page_of(first, tmp_path / "umap")


def page_of(result: Comparison, folder: Path) -> str:
    return (result.save(folder) / "index.html").read_text()
