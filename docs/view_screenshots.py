"""The screenshots of `docs/view.md`, and of a review at three widths in both themes.

    python docs/view_screenshots.py            writes docs/images/view-*.png
    python docs/view_screenshots.py --review DIR [PAGE.html …]

A review has the viewer's rows, an opened row, its map and a brushed figure, and each page as a
whole.
Needs `make browser-tools` and the comparison in `reports/before-vs-after`.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

from ifdkit.data.options import ReadOptions
from ifdkit.viewing.marks import Marks
from ifdkit.viewing.run import serving
from ifdkit.viewing.session import Session
from ifdkit.viewing.sources import open_source

COMPARISON = "reports/before-vs-after"
SIZES = ((390, 844), (1280, 800), (1920, 1080))


def opened(browser: Any, address: str, size: tuple[int, int], theme: str) -> Any:
    """A page with all rows loaded."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=theme, device_scale_factor=1
    )
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("body[data-ready]")
    page.wait_for_selector("#progress", state="hidden")
    return page


def open_row(page: Any, view: str | None = None) -> None:
    """Open the first row, and wait for its tokens."""
    page.keyboard.press("j")
    page.wait_for_selector(".switch button:has-text('Given')", timeout=60_000)
    if view:
        page.locator(f".switch button:has-text('{view}')").click()


def brush(page: Any, name: str, begin: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag over a figure, from and to shares of its width and height."""
    box = page.locator(f"#{name}").bounding_box()
    x, y, width, height = (box[key] for key in ("x", "y", "width", "height"))
    page.mouse.move(x + begin[0] * width, y + begin[1] * height)
    page.mouse.down()
    page.mouse.move(x + end[0] * width, y + end[1] * height, steps=6)
    page.mouse.up()
    page.wait_for_timeout(300)


def review(
    browser: Any, address: str, asked: argparse.Namespace, size: tuple[int, int], theme: str
) -> None:
    """Every view at one size in one theme."""
    name, folder = f"{size[0]}-{theme}.png", asked.review
    page = opened(browser, address, size, theme)
    page.screenshot(path=folder / f"rows-{name}")
    page.keyboard.press("j")
    page.wait_for_selector("#detail .text")
    page.wait_for_timeout(500)
    page.screenshot(path=folder / f"row-{name}")
    page.keyboard.press("Escape")
    if page.locator("#toggle-filters").is_visible():
        page.locator("#toggle-filters").click()
    page.locator("#histogram").focus()
    for _ in range(8):
        page.keyboard.press("ArrowRight")
    page.wait_for_timeout(800)
    page.screenshot(path=folder / f"charts-{name}")
    page.locator("#clear").click()
    if page.locator("#toggle-filters").is_visible():
        page.locator("#toggle-filters").click()
    if page.locator("#show-map").is_visible():
        page.locator("#show-map").click()
        page.wait_for_selector("#map[data-ready]")
        page.screenshot(path=folder / f"map-{name}")
    for path in asked.pages:
        page.goto(path.absolute().as_uri())
        if page.locator("#pairs .opener").count():
            page.locator("#pairs .opener").first.click()
        page.screenshot(path=folder / f"{path.parent.name}-{name}", full_page=True)
    page.context.close()


def main() -> None:
    """Take the pictures."""
    from playwright.sync_api import sync_playwright

    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--review", type=Path)
    arguments.add_argument("pages", nargs="*", type=Path)
    asked = arguments.parse_args()
    folder = Path(tempfile.mkdtemp())
    session = Session(
        open_source([COMPARISON], ReadOptions()),
        Marks(folder / "m.jsonl"),
        {},
        on_demand=asked.review is None,
    )
    images = Path(__file__).parent / "images"
    with serving(session) as address, sync_playwright() as playwright:
        session.wait()
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        if asked.review is not None:
            for size in SIZES:
                for theme in ("light", "dark"):
                    review(browser, address, asked, size, theme)
        else:
            page = opened(browser, address, (1280, 800), "light")
            open_row(page)
            page.screenshot(path=images / "view-given.png")
            page.locator(".switch button:has-text('Saved')").click()
            page.locator(".tokens span").nth(6).hover()
            page.screenshot(path=images / "view-saved.png")
            page.locator(".switch button:has-text('Changes')").click()
            brush(page, "histogram", (0.55, 0.5), (1.0, 0.5))
            page.screenshot(path=images / "view-brush.png")
            page.context.close()
            page = opened(browser, address, (1280, 800), "dark")
            open_row(page, "Saved")
            page.screenshot(path=images / "view-dark.png")
        browser.close()
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
