"""Chromium without network, for the tests of the reports marked `browser`.

Needs what `make browser-tools` installs; what asks for it skips without.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

AXE = Path(__file__).parents[1] / ".browser" / "node_modules" / "axe-core" / "axe.min.js"
PHONE, DESK = (390, 844), (1280, 900)
"""Viewports, CSS pixels."""


@dataclass
class Opened:
    """A page, and its console messages and requests."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def texts(self, selector: str) -> list[str]:
        found: list[str] = self.page.locator(selector).all_inner_texts()
        return found

    def unfold(self) -> None:
        """Open all folds, and the figures of all metrics."""
        self.page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true })")
        self.page.locator("tr.detail[hidden]").evaluate_all(
            "all => all.forEach(one => { one.hidden = false })"
        )


Visit = Callable[..., Opened]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="needs `make browser-tools`")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs chromium: `make browser-tools`")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Visit]:
    """Open a file in a fresh context without network; errors and requests fail the test."""
    visited: list[Opened] = []
    contexts = []

    def open_page(path: Path, size: tuple[int, int] = DESK, theme: str = "light") -> Opened:
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=theme, offline=True
        )
        contexts.append(context)
        opened = Opened(context.new_page())
        opened.page.on(
            "console",
            lambda message: (
                opened.complaints.append(message.text)
                if message.type in {"error", "warning"}
                else None
            ),
        )
        opened.page.on("pageerror", lambda error: opened.complaints.append(str(error)))
        opened.page.on("request", lambda request: opened.requests.append(request.url))
        opened.page.goto(path.as_uri())
        visited.append(opened)
        return opened

    yield open_page
    for opened in visited:
        asked = [url for url in opened.requests if url != "data:,"]
        assert len(asked) == 1, "only the file itself"
        assert asked[0].startswith("file:")
        assert opened.complaints == []
    for context in contexts:
        context.close()


def grave_violations(page: Any) -> list[tuple[str, str]]:
    """Rule and first element of each serious or critical violation that axe-core finds."""
    if not AXE.exists():
        pytest.skip("needs axe-core: `make browser-tools`")
    # The policy of the page refuses other scripts, so axe is injected through the debugger.
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document)")
    assert len(found["passes"]) > 20, "axe has run"
    return [
        (one["id"], one["nodes"][0]["html"])
        for one in found["violations"]
        if one["impact"] in {"serious", "critical"}
    ]
