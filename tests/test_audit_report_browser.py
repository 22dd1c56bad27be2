"""The page of an audit in a real browser without network."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ifdkit.scoring.explored import ShadedToken
from tests.audit_fixtures import make_audit, with_text_everywhere
from tests.browsing import DESK, PHONE, Opened, Visit, grave_violations

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
    opened.page.locator("#pairs .opener").nth(1).click()
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= size[0]
    assert grave_violations(opened.page) == []


@pytest.fixture(scope="module")
def shaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page whose rows have the NLLs of their tokens."""
    audit = make_audit()
    nats = [(None, None), (0.5, 0.4), (1.5, 3.75), (3.0, 1.5), (5.0, 9.5), (7.0, 6.6), (9.0, 9.0)]
    explored = []
    for one in audit.explored:
        pieces = re.findall(r"\S+\s*", one.side.response)
        tokens = tuple(ShadedToken(piece, *nats[i % len(nats)]) for i, piece in enumerate(pieces))
        explored.append(replace(one, side=replace(one.side, tokens=tokens)))
    folder = tmp_path_factory.mktemp("shaded")
    replace(audit, explored=tuple(explored)).save(folder)
    return folder / "index.html"


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_row_shows_the_surprise_of_its_tokens(
    theme: str, size: tuple[int, int], shaded: Path, visit: Visit
) -> None:
    opened = visit(shaded, size, theme)
    opened.page.locator("#pairs .opener").first.click()
    assert opened.texts("#heat button") == ["Given", "Alone", "Saved"]
    spans = opened.page.locator("#pairs .side .text span")
    for view, shade in (("Given", "s1"), ("Alone", "s2"), ("Saved", "b3")):
        opened.page.locator("#heat button", has_text=view).click()
        classes = spans.evaluate_all("all => all.map((one) => one.className)")
        assert (classes[0], classes[2]) == ("unscored", shade)
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= size[0]
        assert grave_violations(opened.page) == []
    spans.nth(2).hover()
    assert opened.page.locator("#tip").inner_text() == "given 1.5 · alone 3.8 · saved +2.30 nats"
    text = opened.page.locator("#pairs .side .text").last.inner_text()
    assert text.startswith("The moon does not change.")


def test_without_tokens_there_is_no_switch(report: Path, visit: Visit) -> None:
    """Negative control."""
    opened = visit(report)
    opened.page.locator("#pairs .opener").first.click()
    assert opened.page.locator("#heat").count() == 0
    assert opened.page.locator("#pairs .side .text span").count() == 0


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
    assert fold.locator("li").count() == 47
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
    opened.page.locator("#pairs .opener").first.click()
    assert opened.page.locator("img").count() == 0
    shown = opened.page.locator("#pairs .side .text").first.inner_text()
    assert shown == attack.replace("\u202e", "\\u202e")
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


def rows_of(opened: Opened) -> list[str]:
    return opened.texts("#pairs .opener")


def test_search_chips_and_an_open_row(report: Path, visit: Visit) -> None:
    opened = visit(report)
    page = opened.page
    assert page.locator("#count").inner_text().startswith("12 of 51 matching rows shown")
    page.locator("#search").fill("MOON part 411")
    assert rows_of(opened) == ["411"]
    page.locator("#search").fill("nowhere ends")
    assert rows_of(opened) == []
    page.locator("#search").fill("row ends")
    assert rows_of(opened) == ["411"], "words of the finding"
    page.locator("article .chip").nth(2).click()
    assert page.locator("#search").input_value() == ""
    assert page.locator("#chips [aria-pressed=true]").inner_text() == "Recurring openings 12"
    assert len(rows_of(opened)) == 12
    page.locator("#heads button", has_text="Tokens").last.click()
    assert rows_of(opened)[0] == str(11 * 37)
    opener = page.locator("#pairs .opener").first
    opener.press("Enter")
    detail = page.locator("#pairs .detail")
    assert detail.locator(".evidence li").count() == 2
    assert "part 407" in detail.locator(".text").first.inner_text()
    cells = [text.strip() for text in detail.locator("tbody tr").last.all_inner_texts()]
    assert cells == ["IFD\t0.602\t20.4"]
    opener.press("Enter")
    assert detail.count() == 0


def test_figures_tell_their_numbers(report: Path, visit: Visit) -> None:
    opened = visit(report)
    opened.page.locator("svg[aria-labelledby^=dist-ifd] .tips rect").nth(6).hover()
    told = opened.page.locator("#tip").inner_text()
    assert re.fullmatch(r"[\d.]+ to [\d.]+: all examples \d+ .+, with a finding \d+ .+", told)


def test_without_text_rows_have_numbers_alone(tmp_path: Path, visit: Visit) -> None:
    make_audit().save(tmp_path, text=False)
    opened = visit(tmp_path / "index.html")
    assert "Instruction" not in opened.texts("#heads button")
    opened.page.locator("#pairs .opener").first.click()
    assert opened.page.locator("#pairs .detail .text").count() == 0
    assert opened.page.locator("#pairs .detail tbody tr").count() == 2
