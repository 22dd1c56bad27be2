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

from ifdkit.data.options import ReadOptions
from ifdkit.scoring.run import score_to_file
from ifdkit.scoring.settings import Settings
from ifdkit.viewing.marks import Marks
from ifdkit.viewing.run import serving
from ifdkit.viewing.session import Session
from ifdkit.viewing.sources import open_source
from tests.browsing import DESK, PHONE, browser, grave_violations
from tests.test_view import embedded
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


def count_becomes(page: Any, expected: float, *, within: float = 0.1) -> bool:
    """Whether the number of rows becomes this one, within a share of it."""
    return any(count_of(page) == pytest.approx(expected, rel=within) for _ in range(40))


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


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Session, str]]:
    """60 rows in two clusters that the first axis of the map tells apart, and their address."""
    session = embedded(tmp_path_factory.mktemp("mapped"), is_started=False)
    with serving(session) as address:
        session.wait()
        yield session, address


def show_map(page: Any) -> None:
    page.click("#show-map")
    page.wait_for_selector("#map[data-ready]")


def test_the_map_draws_filters_and_opens(mapped: tuple[Session, str], visit: Visit) -> None:
    page = visit(mapped[1])
    show_map(page)
    coloured = page.evaluate(
        "(() => { const c = document.getElementById('map'); const d = c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data; let n = 0;"
        " for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n; })()"
    )
    assert coloured >= 60, "every row is drawn"
    page.locator("#topics button").first.click()
    page.locator("#count", has_text=" of ").wait_for()
    page.locator("#clear").click()
    page.keyboard.down("Shift")
    brush(page, "map", (0.01, 0.01), (0.5, 0.99))
    page.keyboard.up("Shift")
    assert count_becomes(page, 30), "one of the two clusters"
    assert page.locator("#ranges .chip").count() == 1, "the other axis is covered whole"
    page.locator("#ranges .chip").click()
    assert count_becomes(page, 60)


def becomes(page: Any, chosen: Any) -> bool:
    """Whether these rows become those shown, by their number."""
    return count_becomes(page, int(chosen.sum()), within=0)


def places(session: Session) -> tuple[Any, Any]:
    """Shares 0…1 of each axis of the map, one for each row."""
    shares = []
    for name in ("map_x", "map_y"):
        at = session.queries.numbers(name, session.table.n)
        shares.append((at - at.min()) / (at.max() - at.min()))
    return shares[0], shares[1]


def test_the_arrow_keys_are_a_brush_of_the_map(mapped: tuple[Session, str], visit: Visit) -> None:
    session, address = mapped
    x, y = places(session)
    page = visit(address)
    show_map(page)
    canvas, told = page.locator("#map"), page.locator("#brush-status")
    assert canvas.get_attribute("role") == "application"
    described = canvas.get_attribute("aria-describedby")
    assert "arrow keys" in page.locator(f"#{described}").inner_text()
    canvas.focus()
    page.keyboard.press("ArrowRight")
    assert becomes(page, x <= 0.1)
    assert re.fullmatch(r"Map x: up to [−\d.]+, Map y: any", told.inner_text())
    assert page.locator("#ranges .chip").count() == 1
    for _ in range(16):
        page.keyboard.press("Shift+ArrowRight")
    assert count_becomes(page, 30), "0 to 0.5: one of the two clusters"
    page.keyboard.press("ArrowUp")
    for _ in range(12):
        page.keyboard.press("Shift+ArrowUp")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    inside = (x <= 0.5) & (y >= 0.05) & (y <= 0.45)
    assert 0 < inside.sum() < 30
    assert becomes(page, inside)
    assert re.fullmatch(r"Map x: up to [−\d.]+, Map y: [−\d.]+ to [−\d.]+", told.inner_text())
    assert page.locator("#ranges .chip").count() == 2
    assert page.locator("#detail .empty").count() == 1, "the keys open no row"
    page.locator("#ranges .chip").first.click()
    assert becomes(page, (y >= 0.05) & (y <= 0.45))
    canvas.focus()
    page.keyboard.press("Escape")
    assert count_becomes(page, 60)
    assert told.inner_text() == "No range"
    page.keyboard.press("j")
    page.wait_for_selector("#detail h2")


def test_keys_on_a_map_that_is_zoomed_in_begin_at_what_is_shown(
    mapped: tuple[Session, str], visit: Visit
) -> None:
    session, address = mapped
    x, _ = places(session)
    page = visit(address)
    show_map(page)
    page.locator("#map-in").click()
    width = page.locator("#map").evaluate("one => one.clientWidth")
    zoom = 1.5  # around the middle
    first = (width / 2 * (zoom - 1) - 12 * zoom) / (zoom * (width - 24))
    shown = width / (zoom * (width - 24))
    page.locator("#map").focus()
    page.keyboard.press("ArrowRight")
    inside = (x >= first) & (x <= first + 0.1 * shown)
    assert 0 < inside.sum() < 30
    assert becomes(page, inside)
    page.locator("#map-reset").click()
    page.locator("#map").focus()
    page.keyboard.press("Shift+ArrowRight")
    inside = (x >= first) & (x <= first + 0.1 * shown + 0.025)
    assert becomes(page, inside), "the range stays with the points"


def test_a_nearest_row_opens(mapped: tuple[Session, str], visit: Visit) -> None:
    page = visit(mapped[1])
    page.keyboard.press("j")
    near = page.locator(".near button").first
    near.wait_for()
    name = near.inner_text().split(" · ")[1]
    near.click()
    page.locator("#detail h2", has_text=re.compile(f"^{name}$")).wait_for()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a viewer of rows without scores, with columns of their own and findings."""
    folder = tmp_path_factory.mktemp("plain")
    refusal = "I am sorry, but as an AI language model I cannot."
    rows = [
        {
            "instruction": f"Say {i}.",
            "output": refusal if i < 5 else f"It is {i}.",
            "source": "web" if i % 2 else "books",
            "quality": i / 40,
        }
        for i in range(40)
    ]
    session = opened(folder, write_rows(folder / "data.jsonl", rows))
    with serving(session) as address:
        session.wait()
        yield address


def show_filters(page: Any) -> None:
    if page.locator("#toggle-filters").is_visible():
        page.locator("#toggle-filters").click()


def check_axe(page: Any, size: tuple[int, int], where: str) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0], where
    assert grave_violations(page) == [], where


LOOKS = [(PHONE, "light"), (DESK, "light"), (DESK, "dark")]


@pytest.mark.parametrize(("size", "theme"), LOOKS)
def test_axe_finds_no_serious_violation_in_any_state(
    plain: str, visit: Visit, size: tuple[int, int], theme: str
) -> None:
    page = visit(plain, size, theme)
    page.wait_for_selector("#finding", state="attached")
    check_axe(page, size, "rows")
    if page.locator("#help").is_visible():
        page.locator("#help").click()
        check_axe(page, size, "keys")
    show_filters(page)
    page.locator("#histogram-column").select_option("quality")
    page.locator("#histogram").focus()
    page.keyboard.press("ArrowRight")
    page.locator("#ranges .chip").wait_for()
    check_axe(page, size, "a range")
    page.locator("#clear").click()
    page.locator("#finding").select_option(index=1)
    page.locator("#where").fill("nowhere = 1")
    page.locator("#where-error:not(:empty)").wait_for()
    check_axe(page, size, "an invalid filter")
    page.locator("#where").fill("quality > 7")
    page.locator("#list[data-empty]").wait_for(state="attached")
    check_axe(page, size, "no row")
    page.locator("#clear").click()
    assert count_of(page) == 40
    show_filters(page)
    page.locator("#list .scroller").focus()
    for key in "jxs":
        page.keyboard.press(key)
        page.wait_for_selector("#detail h2")
        page.wait_for_timeout(200)
        check_axe(page, size, f"a row, after {key}")


@pytest.mark.parametrize(("size", "theme"), LOOKS)
def test_axe_finds_no_serious_violation_on_the_map(
    mapped: tuple[Session, str], visit: Visit, size: tuple[int, int], theme: str
) -> None:
    page = visit(mapped[1], size, theme)
    show_map(page)
    check_axe(page, size, "the map")
    page.locator("#map").focus()
    page.keyboard.press("ArrowRight")
    page.locator("#ranges .chip").wait_for(state="attached")
    check_axe(page, size, "a range")
    page.locator("#map-colour").select_option("topic")
    page.locator("#topics button").first.click()
    page.wait_for_timeout(400)
    check_axe(page, size, "a topic")
    page.locator("#topics button").first.click()
    page.locator("#map").focus()
    page.keyboard.press("Escape")
    assert count_becomes(page, 60)
    page.locator("#show-rows").click()
    page.keyboard.press("j")
    page.locator(".near button").first.wait_for()
    check_axe(page, size, "nearest rows")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("view", ["Text", "Given", "Alone", "Saved"])
def test_axe_finds_no_serious_violation_in_shaded_tokens(
    view: str, theme: str, scored: str, visit: Visit
) -> None:
    page = visit(scored, DESK, theme)
    page.keyboard.press("j")
    page.locator(".switch button", has_text=view).click()
    n_tokens = page.locator(".tokens span").count()
    assert n_tokens == 0 if view == "Text" else n_tokens > 5
    check_axe(page, DESK, view)


@pytest.fixture(scope="module")
def scored(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a viewer of a scores file with the NLLs of its tokens."""
    folder = tmp_path_factory.mktemp("scored")
    rows = [{"instruction": f"Say {i}.", "output": f"The {i} is the answer to it: {i * i}, or so."}
            for i in range(10)]  # fmt: skip
    data, scores = write_rows(folder / "data.jsonl", rows), folder / "scores.jsonl"
    store = str(folder / "store.sqlite")
    settings = Settings(model=str(tiny_model), metrics=("ifd",), store=store, token_nll=True)
    score_to_file(str(data), scores, settings, ReadOptions())
    source = open_source([scores], ReadOptions())
    session = Session(source, Marks(folder / "marks.jsonl"), {"store": store})
    with serving(session) as address:
        session.wait()
        yield address


def test_axe_finds_what_is_broken(plain: str, visit: Visit) -> None:
    """Negative control: the checks above would see a button without a name and a pale text."""
    page = visit(plain)
    page.evaluate("document.getElementById('count').style.color = '#ddd'")
    page.evaluate("document.getElementById('theme').textContent = ''")
    assert {rule for rule, _ in grave_violations(page)} == {"button-name", "color-contrast"}
