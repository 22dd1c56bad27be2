"""The viewer in a real browser that can reach nothing but the server.

The fixtures `browser` and `grave_violations` are those of `browsing`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("starlette", reason="needs the extra `view`")
pytest.importorskip("uvicorn", reason="needs the extra `view`")

from ifdkit.viewing.run import serving
from tests.browsing import DESK, PHONE, browser, grave_violations
from tests.viewing_fixtures import HOSTILE, opened, synthetic, write_rows

__all__ = ["browser"]
pytestmark = [pytest.mark.browser, pytest.mark.long]

ROOT = Path(__file__).parents[1]
N = 100_000
Visit = Callable[..., Any]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a viewer of many rows."""
    folder = tmp_path_factory.mktemp("many")
    session = opened(folder, synthetic(folder / "rows.parquet", N))
    with serving(session) as address:
        session.wait()
        yield address


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a viewer of the comparison of `examples/`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        session = opened(tmp_path_factory.mktemp("compared"), "reports/before-vs-after")
        with serving(session) as address:
            session.wait()
            yield address


@pytest.fixture
def visit(browser: Any) -> Iterator[Visit]:
    """Open an address; complaints of the console and requests to anywhere else fail the test."""
    complaints: list[str] = []
    asked: list[str] = []
    servers: set[str] = set()
    contexts = []

    def open_page(address: str, size: tuple[int, int] = DESK, theme: str = "light") -> Any:
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=theme
        )
        contexts.append(context)
        servers.add(urlsplit(address).netloc)
        page = context.new_page()
        page.on("console", lambda one: complaints.append(one.text)
                if one.type in {"error", "warning"} else None)  # fmt: skip
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        page.wait_for_selector("body[data-ready]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert {urlsplit(url).netloc for url in asked if url != "data:,"} <= servers
    assert [one for one in complaints if "status of 400" not in one] == []


def count_of(page: Any) -> int:
    """The number of rows shown, once it is that of the latest request."""
    page.wait_for_timeout(500)
    return int(re.findall(r"[\d,]+", page.locator("#count").inner_text())[0].replace(",", ""))


def count_becomes(page: Any, expected: float) -> bool:
    """Whether the number of rows becomes this one, within a tenth."""
    return any(count_of(page) == pytest.approx(expected, rel=0.1) for _ in range(40))


def first_row(page: Any) -> str:
    text: str = page.locator(".window .row .one").first.inner_text()
    return text


def brush(page: Any, name: str, begin: tuple[float, float], end: tuple[float, float]) -> None:
    box = page.locator(f"#{name}").bounding_box()
    page.mouse.move(box["x"] + begin[0] * box["width"], box["y"] + begin[1] * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + end[0] * box["width"], box["y"] + end[1] * box["height"], steps=5)
    page.mouse.up()


def test_the_token_leaves_the_address(many: str, visit: Visit) -> None:
    page = visit(many)
    assert urlsplit(page.url).query == ""
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert page.evaluate("document.cookie") == "", "scripts cannot read the cookie"


def test_search_filter_and_sort_of_many_rows(many: str, visit: Visit) -> None:
    page = visit(many)
    assert count_of(page) == N
    assert page.locator(".window .row").count() < 40, "only rows on the screen are elements"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    word = first_row(page).split()[0]
    page.keyboard.type(word)
    n_found = count_of(page)
    assert 0 < n_found < N
    page.keyboard.press("Escape")
    page.locator("#where").fill("source == 'web' and quality > 0.6")
    n_filtered = count_of(page)
    assert 0 < n_filtered < n_found
    page.locator("#where").fill("source = 'web'")
    page.wait_for_timeout(500)
    error = page.locator("#where-error").inner_text()
    assert error == "filter: '=' is not an operator: write '==' at character 8"
    page.locator("#clear").click()
    assert count_of(page) == N
    page.locator("#sort").select_option("quality")
    page.locator("#direction").click()
    page.wait_for_timeout(400)
    shown = page.locator(".window .row").evaluate_all(
        "rows => rows.map(row => row.querySelector('.cell').textContent)"
    )
    values = [float(text) for text in shown if text]
    assert values == sorted(values, reverse=True)
    assert page.locator("[aria-sort=descending]").count() == 1


def test_scrolling_reaches_the_last_row(many: str, visit: Visit) -> None:
    page = visit(many)
    page.evaluate("document.querySelector('.scroller').scrollTop = 1e9")
    page.wait_for_timeout(400)
    last = page.locator(".window .row").last
    assert last.get_attribute("aria-rowindex") == str(N + 1)
    box, list_box = last.bounding_box(), page.locator("#list").bounding_box()
    assert abs(box["y"] + box["height"] - list_box["y"] - list_box["height"]) < 4
    page.mouse.move(list_box["x"] + 50, list_box["y"] + 200)
    page.mouse.wheel(0, -580)
    page.wait_for_timeout(400)
    again = int(page.locator(".window .row").last.get_attribute("aria-rowindex"))
    assert N - 20 < again <= N + 1


def test_brushes_filter_everything(many: str, visit: Visit) -> None:
    page = visit(many)
    page.locator("#histogram-column").select_option("quality")
    page.wait_for_timeout(400)
    brush(page, "histogram", (0.5, 0.5), (1.0, 0.5))
    upper = count_of(page)
    assert 0.3 * N < upper < 0.7 * N
    assert page.locator("#ranges .chip").count() == 1
    page.locator("#y-column").select_option("quality")
    page.locator("#x-column").select_option("response_words")
    page.wait_for_timeout(400)
    brush(page, "scatter", (0.1, 0.1), (0.6, 0.7))
    assert 0 < count_of(page) < N
    assert page.locator("#ranges .chip").count() == 2
    for _ in range(2):
        page.locator("#ranges .chip").first.click()
        page.wait_for_timeout(300)
    assert count_of(page) == N


def test_the_arrow_keys_are_brushes(many: str, visit: Visit) -> None:
    page = visit(many)
    page.locator("#histogram-column").select_option("year")
    page.wait_for_timeout(400)
    told = page.locator("#brush-status")
    page.locator("#histogram").focus()
    page.keyboard.press("ArrowRight")
    # The axis is 16 years long, 2009.5 to 2025.5; a step is 0.4 years.
    assert count_becomes(page, N / 8), "2009.5 to 2011.1"
    assert re.fullmatch(r"year: up to [\d,.]+", told.inner_text())
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert re.fullmatch(r"year: [\d,.]+ to [\d,.]+", told.inner_text())
    assert count_becomes(page, N / 16), "2010.3 to 2011.9"
    for _ in range(8):
        page.keyboard.press("Shift+ArrowRight")
    assert count_becomes(page, N * 5 / 16), "2010.3 to 2015.1"
    assert page.locator("#ranges .chip").count() == 1
    page.keyboard.press("ArrowDown")
    page.wait_for_timeout(200)
    assert page.locator("#detail .empty").count() == 0, "a histogram has one axis: the list moves"
    page.locator("#histogram").focus()
    page.keyboard.press("Escape")
    assert count_becomes(page, N)
    assert told.inner_text() == "No range"
    page.locator("#y-column").select_option("year")
    page.locator("#x-column").select_option("response_words")
    page.wait_for_timeout(400)
    page.locator("#scatter").focus()
    page.keyboard.press("ArrowUp")
    assert count_becomes(page, N / 8)
    assert page.locator("#ranges .chip").count() == 1, "the other axis is covered whole"
    page.keyboard.press("Shift+ArrowLeft")
    page.locator("#ranges .chip").nth(1).wait_for()
    assert re.fullmatch(r"Response words: up to [\d,.]+, year: up to [\d,.]+",
                        told.inner_text())  # fmt: skip
    page.keyboard.press("Escape")
    assert count_becomes(page, N)
    assert page.locator("#scatter").get_attribute("role") == "application"


def test_the_keyboard_walks_and_marks(tmp_path: Path, visit: Visit) -> None:
    rows = [{"id": f"r{i}", "instruction": f"Say {i}", "output": f"It is {i}"} for i in range(30)]
    path = write_rows(tmp_path / "data.jsonl", rows)
    before = path.read_bytes()
    session = opened(tmp_path, path)
    with serving(session) as address:
        page = visit(address)
        title = page.locator("#detail h2").first
        for keys, name in (("j", "r0"), ("jj", "r2"), ("k", "r1")):
            for key in keys:
                page.keyboard.press(key)
            page.wait_for_timeout(250)
            assert title.inner_text() == name
        page.keyboard.press("x")
        page.wait_for_timeout(250)
        assert page.locator(".row.current").get_attribute("data-mark") == "drop"
        assert page.locator(".mark-drop").get_attribute("aria-pressed") == "true"
        page.keyboard.press("j")
        page.wait_for_timeout(250)
        page.keyboard.press("s")
        page.wait_for_timeout(250)
        page.locator("#mark").select_option("star")
        assert count_of(page) == 1
        page.keyboard.press("Escape")
        assert page.locator("#detail .empty").is_visible()
    lines = [json.loads(line) for line in (tmp_path / "marks.jsonl").read_text().splitlines()]
    assert lines == [{"id": "r1", "mark": "drop"}, {"id": "r2", "mark": "star"}]
    assert path.read_bytes() == before, "the data are only read"


def test_a_pair_shows_both_sides_and_their_changes(compared: str, visit: Visit) -> None:
    page = visit(compared)
    page.wait_for_selector("#finding")
    page.locator("#finding").select_option("prompt_leak:after")
    assert count_of(page) == 3
    page.locator(".scroller").focus()
    page.keyboard.press("j")
    page.wait_for_selector(".switch button")
    assert [one.strip() for one in page.locator(".side > h2").all_inner_texts()] == [
        "Before",
        "After",
    ]
    tops = page.locator(".side").evaluate_all("all => all.map(one => one.offsetTop)")
    assert tops[0] == tops[1], "side by side"
    page.locator(".switch button", has_text="Changes").click()
    assert page.locator("ins").count() > 0
    assert page.locator("#detail .chips .chip", has_text="Leaked prompts").count() == 1
    assert "Change" in page.locator(".numbers thead").inner_text()


def test_hostile_text_stays_text(tmp_path: Path, visit: Visit) -> None:
    rows = [{"id": HOSTILE, "instruction": HOSTILE, "output": HOSTILE, HOSTILE[:20]: HOSTILE}]
    with serving(opened(tmp_path, write_rows(tmp_path / "<b>x.jsonl", rows))) as address:
        page = visit(address)
        page.keyboard.press("j")
        page.wait_for_selector("#detail h2")
        assert page.locator("img, b").count() == 0
        assert "owned" not in page.title()
        response = page.locator(".response .text").inner_text()
        assert response == HOSTILE.replace("\u202e", "\\u202e")


def test_the_policy_refuses_scripts_styles_and_requests(many: str, browser: Any) -> None:
    """Negative control: what an injection would try does nothing."""
    page = browser.new_context().new_page()
    said: list[str] = []
    page.on("console", lambda one: said.append(one.text))
    page.goto(many)
    page.wait_for_selector("body[data-ready]")
    tries = """async () => {
        const found = [];
        try { document.body.innerHTML = '<b>x</b>'; found.push('innerHTML'); } catch {}
        const script = document.createElement('script');
        try { script.text = "document.title = 'owned'"; document.body.append(script); } catch {}
        try { await fetch('http://127.0.0.1:9/'); found.push('fetch'); } catch {}
        const image = new Image(); image.src = 'http://127.0.0.1:9/x.png';
        return [...found, document.title];
    }"""
    found = page.evaluate(tries)
    assert "innerHTML" not in found
    assert "fetch" not in found
    assert "owned" not in found[-1]
    assert sum("Content Security Policy" in text for text in said) >= 2
    page.context.close()


@pytest.mark.parametrize("size", [PHONE, DESK, (1920, 1080)], ids=["phone", "desk", "wide"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_serious_violation(
    compared: str, visit: Visit, size: tuple[int, int], theme: str
) -> None:
    page = visit(compared, size, theme)
    page.wait_for_selector(".window .row .two")
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    assert grave_violations(page) == []
    page.keyboard.press("j")
    page.wait_for_selector(".switch button")
    page.locator(".switch button", has_text="Changes").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    assert grave_violations(page) == []


def test_the_map_draws_filters_and_opens(browser: Any, tmp_path: Path) -> None:
    from tests.test_view import embedded

    session = embedded(tmp_path, is_started=False)
    with serving(session) as address:
        session.wait()
        page = browser.new_page(viewport={"width": DESK[0], "height": DESK[1]})
        said: list[str] = []
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(address)
        page.wait_for_selector("body[data-ready]")
        page.click("#show-map")
        page.wait_for_selector("#map[data-ready]")
        coloured = page.evaluate(
            "(() => { const c = document.getElementById('map'); const d = c.getContext('2d')"
            ".getImageData(0, 0, c.width, c.height).data; let n = 0;"
            " for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n; })()"
        )
        assert coloured >= 60, "every row is drawn"
        page.locator("#topics button").first.click()
        page.locator("#count", has_text=" of ").wait_for()
        box = page.locator("#map").bounding_box()
        page.keyboard.down("Shift")
        page.mouse.move(box["x"] + 2, box["y"] + 2)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] - 2, box["y"] + box["height"] - 2, steps=4)
        page.mouse.up()
        page.keyboard.up("Shift")
        page.wait_for_selector("#ranges .chip")
        assert page.locator("#ranges .chip").count() == 2
        assert grave_violations(page) == []
        assert said == []
        page.close()
