"""The page of several comparisons in a real browser without network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ifdkit.cli.main import main
from tests.browsing import DESK, PHONE, Visit, grave_violations
from tests.test_comparison import longer, some_rows
from tests.test_several import scores
from tests.viewing_fixtures import write_rows

pytestmark = [pytest.mark.browser, pytest.mark.long]

KINDS = ("paired", "unpaired")


@pytest.fixture(scope="module")
def pages(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Page of `ifdkit compare a b c`, with findings and caveats, and of unpaired scores."""
    folder = tmp_path_factory.mktemp("overview")
    rows = some_rows(40)
    leaked = [
        {**row, "output": f"Here is the rewritten response: {row['output']}" if i < 9 else ""}
        for i, row in enumerate(rows)
    ]
    data = [
        str(write_rows(folder / f"{name}.jsonl", content))
        for name, content in (("a", rows), ("b", longer(rows)), ("c", leaked))
    ]
    files = []
    for i in range(3):
        files.append(str(folder / f"s{i}.csv"))
        scores(40 + 20 * i, shift=0.1 * i, seed=i).to_csv(files[-1], index=False)
    model = ["--model", str(tiny_model), "--dtype", "float32", "--metrics", "ppl,ifd"]
    store = ["--store", str(folder / "store.sqlite"), "-q"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("signal.signal", lambda *_: None)
        paired = ["compare", *data, *model, *store, "-o", str(folder / "paired")]
        assert main(paired) == 0
        unpaired = ["compare", *files, "--unpaired", "--force", *store]
        assert main([*unpaired, "-o", str(folder / "unpaired")]) == 0
    return {kind: folder / kind / "index.html" for kind in KINDS}


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("kind", KINDS)
def test_it_fits_the_screen_and_is_accessible(
    kind: str, theme: str, size: tuple[int, int], pages: dict[str, Path], visit: Visit
) -> None:
    opened = visit(pages[kind], size, theme)
    opened.unfold()
    sections = {"paired": {"Metrics", "Issues found in the text", "Methods"},
                "unpaired": {"Metrics", "IFD with length held fixed", "Methods"}}  # fmt: skip
    assert set(opened.texts("h2")) >= sections[kind]
    assert opened.page.locator("details.warnings").count() > 0
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= size[0]
    assert grave_violations(opened.page) == []


def test_axe_finds_what_is_broken(pages: dict[str, Path], visit: Visit) -> None:
    """Negative control."""
    opened = visit(pages["paired"])
    opened.page.evaluate("document.querySelector('.lead').style.color = '#ddd'")
    assert {rule for rule, _ in grave_violations(opened.page)} == {"color-contrast"}


def test_the_links_lead_to_the_comparisons(pages: dict[str, Path], browser: Any) -> None:
    tab = browser.new_context(offline=True).new_page()
    tab.goto(pages["paired"].as_uri())
    names = tab.locator(".findings a").all_inner_texts()
    assert len(names) == 2
    for i, name in enumerate(names):
        tab.locator(".findings a").nth(i).click()
        tab.wait_for_url(re.compile(r"/paired/.+/index\.html$"))
        assert name.split("/")[-1] in tab.locator("h1").inner_text()
        tab.go_back()
    tab.context.close()
