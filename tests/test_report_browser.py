"""The report in a real browser without network: it works, makes no request, and is accessible.

The fixtures `browser` and `visit` are those of `browsing`.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ifdkit.comparison.result import Comparison
from ifdkit.format import number, signed
from tests.browsing import DESK, PHONE, Opened, Visit, grave_violations
from tests.report_fixtures import make_explored, make_summary, rows_frame, with_text_everywhere

pytestmark = [pytest.mark.browser, pytest.mark.long]

N_EXPLORED = 40


def cells(opened: Opened, n: int) -> list[str]:
    """The n-th column of the explorer, as shown."""
    return opened.texts(f"#pairs tr.pair > :nth-child({n})")


def count_of(opened: Opened) -> str:
    text: str = opened.page.locator("#count").inner_text()
    return text


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = rows_frame(400)
    result = Comparison(make_summary(rows), rows, make_explored(rows, N_EXPLORED))
    return result.save(tmp_path_factory.mktemp("report")) / "index.html"


def shown_number(text: str) -> float:
    return float(text.replace("−", "-").replace(",", ""))


def test_requests_and_errors_are_recorded(browser: Any, tmp_path: Path) -> None:
    """Negative control: requests and errors reach the listeners that the fixture uses."""
    page = tmp_path / "bad.html"
    page.write_text("<img src='other.png'><script>nowhere()</script>")
    tab = browser.new_context(offline=True).new_page()
    heard: list[str] = []
    tab.on("request", lambda request: heard.append(request.url))
    tab.on("pageerror", lambda error: heard.append(str(error)))
    tab.goto(page.as_uri())
    assert any(url.endswith("other.png") for url in heard)
    assert any("nowhere" in text for text in heard)
    tab.context.close()


def test_the_policy_refuses_injected_elements(browser: Any, report: Path, tmp_path: Path) -> None:
    """A script and an image planted in the file do nothing."""
    bad = tmp_path / "planted.html"
    planted = "<script>document.title = 'owned'</script><img src='other.png'></body>"
    bad.write_text(report.read_text().replace("</body>", planted))
    tab = browser.new_context(offline=True).new_page()
    said: list[str] = []
    tab.on("console", lambda message: said.append(message.text))
    tab.goto(bad.as_uri())
    assert "owned" not in tab.title()
    assert sum("Content Security Policy" in text for text in said) >= 2
    tab.context.close()


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_nothing_is_wider_than_the_screen(
    size: tuple[int, int], report: Path, visit: Visit
) -> None:
    opened = visit(report, size)
    opened.unfold()
    opened.page.locator("#pairs .opener").first.click()
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= size[0]
    small = opened.page.evaluate(
        "[...document.querySelectorAll('svg text')].map(t => t.getBoundingClientRect().height)"
    )
    assert min(small) >= 9, "text of figures stays readable"


def test_sorting(report: Path, visit: Visit) -> None:
    opened = visit(report)
    opened.page.locator("#more").click()
    heads = opened.page.locator("#heads th")
    assert opened.texts("#heads button")[:4] == ["Row", "Before", "After", "Change"]
    assert heads.nth(3).get_attribute("aria-sort") is None
    heads.nth(3).locator("button").click()
    assert heads.nth(3).get_attribute("aria-sort") == "descending"
    column = cells(opened, 4)
    assert len(column) == 12, "sorting starts again from the top"
    defined = [shown_number(text) for text in column if text != "–"]
    assert defined == sorted(defined, reverse=True)
    heads.nth(3).locator("button").press("Enter")
    assert heads.nth(3).get_attribute("aria-sort") == "ascending"
    defined = [shown_number(text) for text in cells(opened, 4) if text != "–"]
    assert defined == sorted(defined)
    for _ in range(3):
        opened.page.locator("#more").click()
    assert cells(opened, 4)[-1] == "–", "undefined comes last in both directions"
    heads.nth(0).locator("button").click()
    assert heads.nth(3).get_attribute("aria-sort") is None
    assert [int(text.split()[-1]) for text in cells(opened, 1)] == list(range(12))


def test_script_and_python_format_numbers_alike(tmp_path: Path, visit: Visit) -> None:
    numbers = [
        *(0.0, 1.0, 61.0, 999_999.0, -3.0, 0.85137, 0.9999, 0.99, 0.995, 12.34, 99.95, 999.6),
        *(
            -1234.6,
            123_457.0,
            0.0512,
            0.0996,
            0.004,
            0.00054,
            3e-6,
            0.0001,
            -0.000095,
            1_234_600.0,
            2e12,
        ),
    ]
    numbers += [-x for x in numbers]
    rows = rows_frame(60)
    pairs = tuple(
        replace(pair, before=replace(pair.before, numbers={"ifd": 0.0}),
                after=replace(pair.after, numbers={"ifd": x}))
        for pair, x in zip(make_explored(rows, len(numbers)), numbers, strict=True)
    )  # fmt: skip
    opened = visit(Comparison(make_summary(rows), rows, pairs).save(tmp_path) / "index.html")
    while opened.page.locator("#more").is_visible():
        opened.page.locator("#more").click()
    assert cells(opened, 3) == [number(x) for x in numbers]
    assert cells(opened, 4) == [signed(x) for x in numbers]


def test_every_column_sorts(report: Path, visit: Visit) -> None:
    opened = visit(report)
    buttons = opened.page.locator("#heads button")
    assert buttons.count() == 9
    for i in range(buttons.count()):
        buttons.nth(i).click()
        sorted_by = opened.page.locator("#heads th[aria-sort]")
        assert sorted_by.count() == 1
        assert sorted_by.inner_text().startswith(buttons.nth(i).inner_text())


def test_filtering(report: Path, visit: Visit) -> None:
    opened = visit(report)
    opened.page.locator("#direction").select_option("up")
    rising = int(re.findall(r"of (\d+)", count_of(opened))[0])
    assert 0 < rising < N_EXPLORED
    assert all(text.startswith("+") for text in cells(opened, 4))
    opened.page.locator("#tag").select_option("random")
    assert all("random" in text for text in cells(opened, 8))
    assert int(re.findall(r"of (\d+)", count_of(opened))[0]) < rising
    opened.page.locator("#direction").select_option("")
    opened.page.locator("#tag").select_option("")
    options = opened.texts("#status option")
    assert options[0] == "any"
    opened.page.locator("#status").select_option(options[-1])
    assert set(cells(opened, 7)) == {options[-1]}
    opened.page.locator("#metric").select_option(label="Coherence")
    assert all(-1 <= shown_number(text) <= 1 for text in cells(opened, 2))


def test_a_chip_opens_the_rows_of_its_finding(report: Path, visit: Visit) -> None:
    opened = visit(report)
    chips = opened.page.locator("#chips button")
    assert chips.all_inner_texts() == ["Shared openings 3"]
    opened.page.locator(".findings .chip").first.click()
    assert chips.first.get_attribute("aria-pressed") == "true"
    assert count_of(opened).startswith("3 of 3")
    assert {text.split("\n")[0] for text in cells(opened, 8)} == {"Shared openings"}
    assert "largest rise in IFD" in cells(opened, 8)[0], "all tags of a row, not one reason"
    assert "IFD of 1 or more after" in cells(opened, 8)[0]
    chips.first.click()
    assert count_of(opened).startswith("12 of 40")


def test_the_heat_map_shows_what_the_instruction_saved(report: Path, visit: Visit) -> None:
    opened = visit(report)
    opened.page.locator("#pairs .opener").first.click()
    assert opened.texts("#heat button") == ["Given", "Alone", "Saved"]
    piece = opened.page.locator("#pairs .side .text span:not(.unscored)").first
    piece.hover()
    told = opened.page.locator("#tip").inner_text()
    given, alone, saved = (shown_number(text.split()[1]) for text in told.split(" · "))
    assert saved == pytest.approx(alone - given, abs=0.011)
    opened.page.locator("#heat button", has_text="Saved").click()
    shades = opened.page.locator("#pairs .side .text span").evaluate_all(
        "all => all.map(one => one.className)"
    )
    assert any(name.startswith("b") for name in shades), "saved"
    assert any(name in {"s1", "s2", "s3", "s4"} for name in shades), "cost"
    opened.page.locator("#heat button", has_text="Given").click()
    shades = opened.page.locator("#pairs .side .text span").evaluate_all(
        "all => all.map(one => one.className)"
    )
    assert not any(name.startswith("b") for name in shades)


def test_a_metric_opens_to_figures_that_tell_their_numbers(report: Path, visit: Visit) -> None:
    opened = visit(report)
    figures = opened.page.locator("#figures-ifd")
    assert not figures.is_visible()
    opened.page.locator("#m-ifd .opener").click()
    assert figures.is_visible()
    figures.locator(".tips rect").nth(4).hover()
    assert re.fullmatch(r"[\d.]+ to [\d.]+: before .+ %\), after .+ %\)",
                        opened.page.locator("#tip").inner_text())  # fmt: skip


def test_searching(report: Path, visit: Visit) -> None:
    opened = visit(report)
    opened.page.locator("#search").fill("MOON shape")
    assert count_of(opened).startswith("8 of 8 matching pairs shown, out of 40")
    opened.page.locator("#search").press("Enter")
    opened.page.locator("#search").fill("no such words")
    assert count_of(opened).startswith("0 of 0")
    opened.page.locator("#search").fill("")
    assert count_of(opened).startswith("12 of 40")
    opened.page.locator(".findings summary").first.click()
    finder = opened.page.locator("button.find", has_text="row-9").first
    finder.click()
    assert count_of(opened).startswith("1 of 1")
    assert cells(opened, 1)[0].endswith("9")
    assert opened.page.evaluate("document.activeElement.id") == "search"


def test_a_pair_opens_side_by_side_by_keyboard(report: Path, visit: Visit) -> None:
    opened = visit(report)
    opener = opened.page.locator("#pairs .opener").nth(1)
    opener.focus()
    opener.press("Enter")
    assert opener.get_attribute("aria-expanded") == "true"
    before, after = (opened.page.locator(".side").nth(i) for i in (0, 1))
    assert "The moon does not change." in before.inner_text()
    assert "Here is a new and more detailed answer:" in after.inner_text()
    tops = opened.page.evaluate(
        "[...document.querySelectorAll('.side')].map(one => one.getBoundingClientRect().top)"
    )
    assert tops[0] == tops[1], "side by side"
    shades = {
        name
        for span in after.locator(".text span").all()
        for name in (span.get_attribute("class") or "").split()
    }
    assert {"s0", "s1", "s2", "unscored"} <= shades <= {*(f"s{i}" for i in range(6)), "unscored"}
    opener.press("Enter")
    assert opened.page.locator(".side").count() == 0


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_theme_follows_the_system_and_the_button(
    theme: str, report: Path, visit: Visit
) -> None:
    opened = visit(report, theme=theme)

    def ground() -> str:
        colour: str = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
        return colour

    def is_dark() -> bool:
        return int(re.findall(r"\d+", ground())[0]) < 128

    assert is_dark() == (theme == "dark")
    opened.page.locator("#theme").click()
    assert is_dark() == (theme == "light")
    opened.page.locator("#theme").click()
    assert is_dark() == (theme == "dark")


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_serious_violation(
    theme: str, size: tuple[int, int], report: Path, visit: Visit
) -> None:
    opened = visit(report, size, theme)
    opened.unfold()
    opened.page.locator("#pairs .opener").nth(1).click()
    assert grave_violations(opened.page) == []


def test_axe_finds_what_is_broken(report: Path, visit: Visit) -> None:
    """Negative control: a missing name and a pale text are both found."""
    opened = visit(report)
    opened.page.evaluate("document.getElementById('theme').textContent = ''")
    opened.page.evaluate("document.querySelector('.lead').style.color = '#ddd'")
    rules = {rule for rule, _ in grave_violations(opened.page)}
    assert rules == {"button-name", "color-contrast"}


def test_hostile_text_stays_text(tmp_path: Path, visit: Visit) -> None:
    attack = "</script><img src=x onerror=\"document.title='owned'\"><script>1</script>\u202e"
    rows = rows_frame(30)
    summary, pairs = with_text_everywhere(
        make_summary(rows), make_explored(rows, 3), lambda _: attack
    )
    opened = visit(Comparison(summary, rows, pairs).save(tmp_path) / "index.html")
    opened.page.locator("#pairs .opener").first.click()
    assert opened.page.title().startswith("</script><img")
    assert opened.page.locator("img").count() == 0
    text = opened.page.locator(".side .text").first.inner_text()
    assert text == attack.replace("\u202e", "\\u202e")


def test_without_text_there_is_no_text_column(tmp_path: Path, visit: Visit) -> None:
    rows = rows_frame(60)
    result = Comparison(make_summary(rows), rows, make_explored(rows, 5))
    opened = visit(result.save(tmp_path, text=False) / "index.html")
    assert "Instruction" not in opened.texts("#heads button")
    opened.page.locator("#pairs .opener").first.click()
    assert opened.page.locator(".side").count() == 2
    assert opened.page.locator(".side .text").count() == 0


def test_it_prints(report: Path, visit: Visit) -> None:
    opened = visit(report, theme="dark")
    opened.page.emulate_media(media="print", color_scheme="dark")
    ink = opened.page.evaluate("getComputedStyle(document.body).color")
    assert int(re.findall(r"\d+", ink)[0]) < 80, "dark ink on paper, whatever the screen's theme"
    assert not opened.page.locator("#theme").is_visible()
    assert opened.page.locator("#table table").first.is_visible()
    published = opened.page.locator("table.published")
    assert not published.is_visible()
    opened.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert published.is_visible(), "folds are open in print"


def test_without_javascript_only_the_explorer_is_missing(browser: Any, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False, offline=True)
    tab = context.new_page()
    tab.goto(report.as_uri())
    assert tab.locator("#table table").first.is_visible()
    assert tab.locator("svg").first.is_visible()
    assert tab.locator("noscript").inner_text().startswith("The rows need JavaScript")
    assert not tab.locator("#explorer").is_visible()
    context.close()


@pytest.mark.parametrize("side", ["before", "after"])
def test_a_rectangle_on_the_plot_chooses_the_rows_inside(
    side: str, report: Path, visit: Visit
) -> None:
    """Against the numbers in the page; a click on the plot, or on the chip, shows all again."""
    opened = visit(report)
    page = opened.page
    everything = count_of(opened)
    plot = page.locator(f"svg[aria-labelledby^='scatter-{side}']")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    corners = [(box["x"] + box["width"] * x, box["y"] + box["height"] * y)
               for x, y in ((0.3, 0.2), (0.75, 0.7))]  # fmt: skip
    page.mouse.move(*corners[0])
    page.mouse.down()
    page.mouse.move(*corners[1], steps=4)
    page.mouse.up()
    chip = page.locator("#brushed").inner_text()
    found = re.match(rf"{side}: (\S+) to (\S+) tokens, IFD (\S+) to (\S+) ×", chip)
    assert found is not None, chip
    low, high, least, most = map(shown_number, found.groups())
    assert low < high
    assert least < most
    data = json.loads(page.locator("#data").text_content())
    names = [field["id"] for field in data["fields"]]
    at = names.index("response_tokens"), names.index("ifd")
    slack = 0.006 * (most - least) + 0.005  # the chip shows three digits
    inside, near = 0, 0
    for pair in data["rows"]:
        length, ifd = (pair[side]["numbers"][i] for i in at)
        if length is None or ifd is None:
            continue
        inside += low + 1 <= length <= high - 1 and least + slack <= ifd <= most - slack
        near += low - 1 <= length <= high + 1 and least - slack <= ifd <= most + slack
    n = int(re.search(r"of (\d+) matching", count_of(opened))[1])  # type: ignore[index]
    assert inside <= n <= near
    assert 0 < n < len(data["rows"])
    page.locator("#brushed").click()
    assert count_of(opened) == everything
    assert page.locator(".brush-area").count() == 0


def test_a_click_on_the_plot_chooses_nothing(report: Path, visit: Visit) -> None:
    """Negative control."""
    opened = visit(report)
    everything = count_of(opened)
    opened.page.locator("svg[data-brush]").first.click()
    assert count_of(opened) == everything
    assert opened.page.locator("#brushed").count() == 0
