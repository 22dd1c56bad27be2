"""Figures do not depend on a `matplotlibrc` in the working folder, which is not trusted."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ifdkit

DRAW = {
    "loss": "from ifdkit.report.loss_figure import loss_png; draw = lambda: loss_png([], 'Loss')",
    "panel": "from ifdkit.report.comparison.figures import empty_panel\n"
    "from ifdkit.report.comparison.svg import inline_svg\n"
    "draw = lambda: inline_svg(empty_panel()[0], key='k', title='t', description='d').encode()",
    "notebook": "from ifdkit.report.plotting import new_panels\n"
    "def draw():\n    import io; out = io.BytesIO()\n"
    "    new_panels(1)[0].savefig(out, format='png', metadata={'Software': None})\n"
    "    return out.getvalue()",
}
SHOW = "\nimport hashlib, sys; sys.stdout.write(hashlib.sha256(draw()).hexdigest())"


def drawn(name: str, folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(Path(ifdkit.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", DRAW[name] + SHOW], cwd=folder, text=True,
                          capture_output=True, timeout=60, env=environment)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.mark.long
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="makes a pipe")
@pytest.mark.parametrize("name", DRAW)
def test_a_matplotlibrc_of_the_working_folder_is_not_read(name: str, tmp_path: Path) -> None:
    expected = drawn(name, tmp_path)
    (tmp_path / "matplotlibrc").write_text(
        "axes.facecolor: red\nsavefig.dpi: 20\nfont.size: 40\nnonsense\n"
        "figure.facecolor: blue\nsvg.hashsalt: x\n"
    )
    assert drawn(name, tmp_path) == expected
    (tmp_path / "matplotlibrc").unlink()
    os.mkfifo(tmp_path / "matplotlibrc")
    assert drawn(name, tmp_path) == expected


def test_figures_are_made_in_one_module() -> None:
    root = Path(ifdkit.__file__).parent
    makes = re.compile(r"pyplot|(?<![\w.])Figure\(|^\s*import matplotlib", re.MULTILINE)
    found = {str(one.relative_to(root)) for one in root.rglob("*.py")
             if makes.search(one.read_text())}  # fmt: skip
    assert found == {"report/plotting.py"}


def test_an_unknown_backend_in_the_environment_is_no_error() -> None:
    """As of a notebook whose inline backend is not installed here."""
    script = (
        "import os; from ifdkit.report.plotting import new_figure; new_figure().subplots();"
        " print(os.environ['MPLBACKEND'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "MPLBACKEND": "nope"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == "nope\n", done.stderr
