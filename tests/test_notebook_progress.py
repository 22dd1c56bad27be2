"""Progress in a notebook: shown without asking, and only in the kernel of one."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import ifdkit
from ifdkit.scoring.progress import Progress, default_progress

ROWS = [{"instruction": f"Write {i}", "output": f"the sea is {i} times blue"} for i in range(6)]


class Display:
    """What IPython displays: the HTML of each cell output, and how often it was drawn."""

    def __init__(self) -> None:
        self.outputs: list[str] = []
        self.n_updates = 0

    def display(self, html: str, *, display_id: bool) -> Any:
        assert display_id
        place = len(self.outputs)
        self.outputs.append(html)

        def update(new: str) -> None:
            self.n_updates += 1
            self.outputs[place] = new

        return SimpleNamespace(update=update)


def pretend(monkeypatch: pytest.MonkeyPatch, shell: object) -> Display:
    shown = Display()
    module = SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", module)
    of_display = SimpleNamespace(HTML=str, display=shown.display)
    monkeypatch.setitem(sys.modules, "IPython.display", of_display)
    return shown


def score(model: Path, **more: Any) -> Any:
    return ifdkit.score(ROWS, model=str(model), metrics="ifd", store="off", device="cpu", **more)


def test_a_kernel_shows_a_bar(monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> None:
    shown = pretend(monkeypatch, SimpleNamespace(kernel=object()))
    score(tiny_model)
    (html,) = shown.outputs
    assert shown.n_updates > 0
    assert '<progress max="6" value="6"' in html
    assert "6 of 6 rows" in html
    assert "loading" in html
    score(tiny_model, progress=Progress())
    assert len(shown.outputs) == 1


@pytest.mark.parametrize("shell", [None, SimpleNamespace()])  # none, and that of a terminal
def test_nothing_else_does(
    shell: object, monkeypatch: pytest.MonkeyPatch, tiny_model: Path
) -> None:
    shown = pretend(monkeypatch, shell)
    score(tiny_model)
    assert shown.outputs == []
    assert type(default_progress()) is Progress


def test_text_of_a_note_is_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = pretend(monkeypatch, SimpleNamespace(kernel=object()))
    _ = ifdkit.score  # registers what shows progress
    progress = default_progress()
    progress.note("<script>alert(1)</script>")
    assert "<script" not in shown.outputs[0]
    assert "&lt;script&gt;" in shown.outputs[0]
