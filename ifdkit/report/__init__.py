"""Rendering of results: HTML, Markdown, LaTeX, SARIF and terminal. It computes nothing.

Importing it registers the files of the reports, so that `result.save()` can write them.
"""

from __future__ import annotations

from ifdkit.data.later import registers
from ifdkit.scoring.progress import Progress, shows_in_notebooks

registers("ifdkit.report.renderers")


@shows_in_notebooks
def _notebook_progress() -> Progress:
    from ifdkit.report.notebook_progress import NotebookProgress

    return NotebookProgress()
