"""The screenshot of `docs/python-api.md`: the example notebook, executed and shown as Jupyter does.

    python docs/notebook_screenshot.py            writes docs/images/notebook.png

Needs `make browser-tools`, `pip install nbconvert`, and the embedded model.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "examples" / "notebook.ipynb"
IMAGE = ROOT / "docs" / "images" / "notebook.png"
WIDTH, HEIGHT = 1000, 2600
"""Of the picture: from the scores to the comparison."""


def executed(folder: Path) -> str:
    """The notebook with its outputs, as a page."""
    import nbformat
    from nbclient import NotebookClient
    from nbconvert import HTMLExporter

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    os.environ["PYTHONPATH"] = str(ROOT)
    os.environ["PYTHONWARNINGS"] = "ignore"  # such as that ipywidgets are missing, with a path
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=600, resources=resources).execute()
    page, _ = HTMLExporter().from_notebook_node(notebook)
    return str(page)


def main() -> None:
    """Take the picture."""
    from playwright.sync_api import sync_playwright

    folder = Path(tempfile.mkdtemp())
    path = folder / "notebook.html"
    path.write_text(executed(folder), encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        context = browser.new_context(viewport={"width": WIDTH, "height": 800}, offline=True)
        page = context.new_page()
        page.goto(path.as_uri(), wait_until="load")
        height = min(HEIGHT, page.evaluate("document.documentElement.scrollHeight"))
        page.screenshot(
            path=IMAGE,
            full_page=True,
            clip={"x": 0, "y": 0, "width": WIDTH, "height": height},
        )
        browser.close()
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
