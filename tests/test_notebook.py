"""Results in a notebook: a figure, and a table in which no text is markup."""

from __future__ import annotations

import io
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import ifdkit
from ifdkit.data.views import NotebookView
from tests.oracle_server import OracleServer

pytestmark = pytest.mark.long
HOSTILE = "<script>alert(1)</script>"


class Tags(HTMLParser):
    """The tags of some HTML, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, _attrs: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def judgement(_: Path, model: Path) -> ifdkit.Judgement:
    rows = [
        {"instruction": f"Do {i}", "output_1": "No.", "output_2": "Yes.", "preference": 1 + i % 2,
         "generator_2": HOSTILE}
        for i in range(12)
    ]  # fmt: skip
    return ifdkit.judge(annotations=rows, model=str(model))


def prediction(_: Path, model: Path) -> ifdkit.Prediction:
    rows = [
        {"instruction": f"Say {i}", "output_1": "No.", "output_2": "Yes, yes.",
         "preference": 1 + i % 2}
        for i in range(20)
    ]  # fmt: skip
    return ifdkit.predict(rows, model=str(model), metrics="ppl", store="off")


def trained(folder: Path, model: Path) -> ifdkit.Trained:
    pytest.importorskip("trl")
    rows = [{"instruction": f"Do {i}", "output": f"Done {i}."} for i in range(6)]
    held_out = folder / "<b>held out.jsonl"
    held_out.write_text('{"instruction": "Do it", "output": "Done."}\n')
    return ifdkit.train(
        rows, folder / "out", model=model, eval=held_out, steps=2, batch_size=2, store="off",
        device="cpu",
    )  # fmt: skip


def generated(folder: Path, model: Path) -> ifdkit.Generated:
    rows = [{"instruction": HOSTILE, "output": "Done."}, {"instruction": "", "output": "x"}]
    return ifdkit.generate(rows, folder / "out.jsonl", model=str(model), max_new_tokens=2)


def recycled(folder: Path, _: Path) -> ifdkit.Recycled:
    rows = [{"instruction": HOSTILE, "output": "Done."}]
    with OracleServer() as server:
        return ifdkit.reflect(
            rows, folder / "out.jsonl", oracle="scripted", base_url=server.base_url
        )


@pytest.mark.parametrize("make", [judgement, prediction, trained, generated, recycled])
def test_a_result_has_a_figure_and_a_table(
    make: Callable[[Path, Path], Any], tmp_path: Path, tiny_model: Path
) -> None:
    result = make(tmp_path, tiny_model)
    assert isinstance(result, NotebookView)
    out = io.BytesIO()
    result.plot().savefig(out, format="png")
    assert out.getvalue().startswith(b"\x89PNG")
    shown = Tags(result._repr_html_())
    assert "table" in shown.tags
    assert shown.tags <= {"div", "p", "strong", "table", "thead", "tbody", "tr", "th", "td"}
    if hasattr(result, "verdict"):
        assert " ".join(result.verdict.split())[:60] in shown.text
    if make is judgement:
        assert HOSTILE in shown.text
