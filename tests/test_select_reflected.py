"""`select --method selective`: the student's choice as `reflect` recorded it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ifdkit
from ifdkit.errors import InputError
from ifdkit.reflection.choosing import Variant, VariantScores
from ifdkit.reflection.finalize import Finalizer
from ifdkit.reflection.result import Recycled
from ifdkit.selection.result import Selected
from tests.oracle_server import OracleServer

pytestmark = pytest.mark.long

Make = Callable[..., Path]
pytest.importorskip("openai")

N = 14
ROWS: list[dict[str, Any]] = [
    {"instruction": f"Write about {i % 9}", "input": "" if i % 3 else f"the number {i}",
     "output": f"Here is {i % 9}. " * (i + 1)}
    for i in range(N)
]  # fmt: skip
CONVERSATIONS = [
    {"messages": [{"role": role, "content": text} for role, text in
                  (("user", "Hi"), ("assistant", "Hello"), ("user", row["instruction"]),
                   ("assistant", row["output"]))]}
    for row in ROWS
]  # fmt: skip


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def refuse_some(text: str, attempt: int) -> str | None:
    """No new response for the rows about 4, no new text at all for those about 5."""
    if "Here is 4." in text and "better_response" in text:
        return "refusal"
    return "empty" if "about 5" in text or "Here is 5." in text else None


@pytest.fixture
def recycle(
    tiny_model: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """`ifdkit.reflect` with random scores: the tiny model alone accepts hardly anything."""
    store = tmp_path_factory.mktemp("store") / "store.sqlite"
    measured = Finalizer._scores
    generator = np.random.default_rng(0)

    def random_scores(*arguments: Any) -> dict[int, dict[Variant, VariantScores]]:
        return {
            row: {name: VariantScores(*generator.uniform(0.2, 0.99, 2).tolist()) for name in scores}
            for row, scores in measured(*arguments).items()
        }

    monkeypatch.setattr(Finalizer, "_scores", random_scores)

    def run(source: Path, name: str, **options: Any) -> Recycled:
        with OracleServer(fault=refuse_some) as server:
            return ifdkit.reflect(
                source, source.with_name(name), oracle="scripted", base_url=server.base_url,
                retries=0, model=str(tiny_model), store=str(store), **options,
            )  # fmt: skip

    return run


def choices(done: Recycled) -> dict[int, Mapping[str, Any]]:
    lines = map(json.loads, Path(done.provenance).read_text().splitlines())
    return {one["row"]: one for one in lines if one["stage"] == "choice"}


def selected(source: Path | str, **options: Any) -> Selected:
    return ifdkit.select(source, Path(source).with_name("kept.jsonl"), method="selective",
                         **options)  # fmt: skip


def published(found: Mapping[int, Mapping[str, Any]]) -> list[int]:
    """Rows whose response is reflected; the published selection drops all others."""
    return [row for row, one in found.items() if one["variant"] in ("response", "both")]


@pytest.mark.parametrize("rows", [ROWS, CONVERSATIONS], ids=["alpaca", "conversations"])
def test_rows_with_an_accepted_response_are_kept(
    write: Make, recycle: Any, rows: list[dict[str, Any]]
) -> None:
    done = recycle(write("data.jsonl", "".join(json.dumps(r) + "\n" for r in rows)), "new.jsonl",
                   select=True)  # fmt: skip
    found = choices(done)
    kept = selected(done.output)
    assert list(kept.kept_rows) == published(found)
    assert 0 < kept.kept < N, "else the test shows nothing"
    lines = Path(done.output).read_bytes().splitlines()
    assert Path(kept.output).read_bytes().splitlines() == [lines[i] for i in kept.kept_rows]
    assert set(kept.dropped) <= {"no_new_response", "response_not_taken"}
    refused = [i for i in range(N) if i % 9 in (4, 5)]
    judged = [json.loads(line) for line in Path(kept.rows).read_text().splitlines()]
    for i in refused:
        assert judged[i]["reason"] == "no_new_response"
    assert kept.parameters["provenance"] == done.provenance
    assert kept.scores is None
    assert (kept.method_source, kept.field) == ("arXiv 2402.10110", None)


def test_choices_of_a_sample_are_matched_by_text(write: Make, recycle: Any) -> None:
    """The provenance has positions in the whole dataset, not in the sample."""
    done = recycle(write("data.json", ROWS), "new.json", select=True, sample=9, seed=2)
    found = choices(done)
    sampled = sorted(np.random.default_rng(2).choice(N, 9, replace=False).tolist())
    assert set(found) <= set(sampled)
    wanted = [sampled.index(row) for row in published(found)]
    assert list(selected(done.output).kept_rows) == wanted
    assert wanted != published(found), "positions alone would mislead"


def test_provenance_of_another_dataset_is_refused(
    write: Make, recycle: Any, tmp_path: Path
) -> None:
    done = recycle(write("data.json", ROWS), "new.json", select=True)
    with pytest.raises(InputError, match="describes other rows"):
        selected(tmp_path / "data.json", provenance=done.provenance)
    shutil.copy(done.output, tmp_path / "moved.json")
    with pytest.raises(InputError, match=r"no such file: .*moved\.json\.provenance\.jsonl"):
        selected(tmp_path / "moved.json")
    assert selected(tmp_path / "moved.json", provenance=done.provenance).kept > 0


def test_provenance_without_choices_is_refused(write: Make, recycle: Any) -> None:
    done = recycle(write("data.json", ROWS[:3]), "new.json")
    with pytest.raises(InputError, match="has no choices of a student"):
        selected(done.output)
