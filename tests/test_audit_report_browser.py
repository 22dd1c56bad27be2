"""The page of an audit in a real browser without network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.audit_fixtures import make_audit, with_text_everywhere
from tests.browsing import DESK, PHONE, Visit, grave_violations

pytestmark = [pytest.mark.browser, pytest.mark.long]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audit")
    make_audit().save(folder)
    return folder / "index.html"


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_the_screen_and_is_accessible(
    theme: str, size: tuple[int, int], report: Path, visit: Visit
) -> None:
    opened = visit(report, size, theme)
    opened.unfold()
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= size[0]
    assert grave_violations(opened.page) == []


def test_axe_finds_what_is_broken(report: Path, visit: Visit) -> None:
    """Negative control."""
    opened = visit(report)
    opened.page.evaluate("document.querySelector('.lead .bar').style.color = '#ddd'")
    assert {rule for rule, _ in grave_violations(opened.page)} == {"color-contrast"}


def test_the_keyboard_reaches_a_rule_and_opens_a_fold(report: Path, visit: Visit) -> None:
    opened = visit(report)
    page = opened.page
    page.locator("#rules tbody a").nth(1).press("Enter")
    assert page.url.endswith("#rule-2")
    fold = page.locator("article", has=page.locator("#rule-2")).locator("details")
    assert not fold.locator("ul").is_visible()
    fold.locator("summary").press("Enter")
    assert fold.locator("li").count() == 42
    assert fold.locator("ul").is_visible()


def test_the_theme_button_works(report: Path, visit: Visit) -> None:
    opened = visit(report)
    ground = "getComputedStyle(document.body).backgroundColor"
    before = opened.page.evaluate(ground)
    opened.page.locator("#theme").click()
    assert opened.page.evaluate(ground) != before


def test_folds_are_open_in_print(report: Path, visit: Visit) -> None:
    opened = visit(report, theme="dark")
    opened.page.emulate_media(media="print", color_scheme="dark")
    assert not opened.page.locator("#theme").is_visible()
    folded = opened.page.locator("#others .findings").first
    assert not folded.is_visible()
    opened.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert folded.is_visible()


def test_hostile_text_stays_text(tmp_path: Path, visit: Visit) -> None:
    attack = "</script><img src=x onerror=\"document.title='owned'\"><script>1</script>\u202e"
    with_text_everywhere(make_audit(), lambda _: attack).save(tmp_path)
    opened = visit(tmp_path / "index.html")
    assert opened.page.title().startswith("</script><img")
    assert opened.page.locator("img").count() == 0
    quoted = opened.page.locator("q bdi").first.inner_text()
    assert quoted == attack.replace("\u202e", "\\u202e")


def test_everything_is_there_without_javascript(browser: Any, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False, offline=True)
    tab = context.new_page()
    tab.goto(report.as_uri())
    assert tab.locator("#rules table").is_visible()
    assert tab.locator("article").count() == 5
    assert not tab.locator("#theme").is_visible()
    context.close()


def test_search_shows_the_listed_rows_that_match(report: Path, visit: Visit) -> None:
    opened = visit(report)
    page = opened.page
    listed = page.locator(".places li, .phrases li")
    texts = [text.lower() for text in listed.all_text_contents()]
    word = max(texts[-1].split(), key=len)
    expected = sum(word in text for text in texts)
    assert 0 < expected < len(texts)
    shown = "all => all.filter(one => one.checkVisibility()).length"
    before = listed.evaluate_all(shown)
    page.locator("#place-search").fill(word.upper())
    assert listed.evaluate_all(shown) == expected
    assert page.locator("#place-count").inner_text() == (
        f"{expected} of {len(texts)} listed rows match"
    )
    page.locator("#place-search").fill("no such word anywhere")
    assert listed.evaluate_all(shown) == 0
    page.locator("#place-search").fill("")
    assert listed.evaluate_all(shown) == before
