"""How fast the viewer answers: rows in thousands, queries over HTTP, and the page in Chromium.

    python -m benchmarks.view [--rows 1000000] [--page-rows 100000]

The time is that of a whole request.  Every repetition asks something new; the first one also
prepares the columns that later ones use.  Writes `reports/view.md`.  The page needs
`make browser-tools`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import machine
from tests.viewing_fixtures import opened, served, synthetic

REPORT = Path("reports/view.md")
REPEATS = 3


@dataclass(frozen=True)
class Question:
    """A request of the page in words, and how to ask it; `{}` differs with every repetition."""

    name: str
    path: str
    query: str
    values: str = ""


ROWS = "begin=0&count=100&columns=quality,response_words"
QUESTIONS = (
    Question("search, one word", "rows", '{"search": "WORD"}', ROWS),
    Question("search, two words", "rows", '{"search": "WORD WORD"}', ROWS),
    Question("search, part of a word", "rows", '{"search": "PART"}', ROWS),
    Question("filter by numbers", "rows",
             '{"where": "quality > 0.6{} and response_words < 40"}', ROWS),
    Question("filter by a text column", "rows",
             '{"where": "source == \'web\' and year >= 2020 and quality > 0.4{}"}', ROWS),
    Question("filter by an id", "rows", '{"where": "id == \'row-9{}\'"}', ROWS),
    Question("menu and range together", "rows",
             '{"facets": [["source", "code"]], "ranges": [["quality", 0.5{}, 0.9]]}', ROWS),
    Question("sort all rows by a number", "rows", "{}", ROWS + "&sort=SORT"),
    Question("sort all rows by id", "rows", '{"ranges": [["year", 0, 3000.{}]]}',
             ROWS + "&sort=id"),
    Question("page in the middle", "rows", "{}", "begin=BEGIN&count=100&columns=quality"),
    Question("histogram of a range", "histogram", '{"ranges": [["year", 2015, 2020.{}]]}',
             "column=quality"),
    Question("scatter plot of a range", "grid", '{"ranges": [["year", 2015, 2020.{}]]}',
             "x=response_words&y=quality"),
    Question("one row, opened", "row", "{}", "at=BEGIN"),
)  # fmt: skip


def answers(n: int, folder: Path) -> Iterator[tuple[str, list[float]]]:
    """The time of every question in ms, and first those of reading in s."""
    path = synthetic(folder / f"{n}.parquet", n)
    begin = time.perf_counter()
    session = opened(folder, path)
    with served(session) as client:
        while session.table.n == 0:
            time.sleep(0.01)
        yield "first rows shown", [time.perf_counter() - begin]
        while session.stage == "reading":
            time.sleep(0.05)
        yield "all rows read and searchable", [time.perf_counter() - begin]
        session.wait()
        yield "findings done", [time.perf_counter() - begin]
        words = session.texts[0].example(7).response.split()[1:-1]
        words = [one for one in dict.fromkeys(words) if len(one) > 3]
        for question in QUESTIONS:
            times = []
            for i in range(REPEATS):
                pair = iter((words[2 * i % len(words)], words[(2 * i + 1) % len(words)]))
                query = question.query.replace("{}", str(i + 1)) if question.query != "{}" else "{}"
                while "WORD" in query:
                    query = query.replace("WORD", next(pair), 1)
                query = query.replace("PART", words[-1 - i][:3])
                values = question.values.replace("SORT", ("quality", "year", "response_words")[i])
                values = values.replace("BEGIN", str(n // 2 + i))
                given = dict(one.split("=") for one in values.split("&")) | {"q": query}
                start = time.perf_counter()
                client.get(question.path, **given)
                times.append(1000 * (time.perf_counter() - start))
            yield question.name, times


PAINT = """() => new Promise(resolve => {
    const at = () => document.querySelector(".window .row .two")?.textContent
        ? requestAnimationFrame(() => resolve(performance.now())) : setTimeout(at, 2);
    at();
})"""


def page_times(n: int, folder: Path) -> list[float]:
    """From navigation to the first rows on the screen, ms, in fresh browser contexts."""
    from playwright.sync_api import sync_playwright

    from ifdkit.viewing.run import serving

    session = opened(folder, synthetic(folder / f"{n}.parquet", n))
    with serving(session) as address, sync_playwright() as playwright:
        session.wait()
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        times = []
        for _ in range(REPEATS + 1):
            page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
            page.goto(address, wait_until="commit")
            times.append(float(page.evaluate(PAINT)))
            page.context.close()
        browser.close()
    return times[1:]  # the first one starts the browser's processes


def main() -> None:
    """Measure, print and write the report."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rows", type=int, default=1_000_000)
    arguments.add_argument("--page-rows", type=int, default=100_000)
    given = arguments.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        paints = page_times(given.page_rows, folder)
        found = list(answers(given.rows, folder))
    finally:
        shutil.rmtree(folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    load = os.getloadavg()[1]
    lines = [
        "# The viewer",
        "",
        f"`python -m benchmarks.view --rows {given.rows} --page-rows {given.page_rows}` on"
        f" {machine()}; load of the machine during the run: {load:.1f}. Invented words, 72 per"
        " row, in Parquet. Times are those of whole requests. Every repetition asks something"
        " new; the first one also prepares the columns that later ones use, so the largest is the"
        " cold time.",
        "",
        f"First meaningful paint of {given.page_rows:,} rows in Chromium, from navigation to the"
        f" first rows on the screen: {statistics.median(paints):.0f} ms"
        f" (largest of {len(paints)}: {max(paints):.0f} ms).",
        "",
        f"## {given.rows:,} rows",
        "",
        "| what | median, ms | largest, ms |",
        "|---|--:|--:|",
    ]
    for name, times in found[3:]:
        lines.append(f"| {name} | {statistics.median(times):.0f} | {max(times):.0f} |")
    lines += ["", "| reading | s |", "|---|--:|"]
    lines += [f"| {name} | {times[0]:.1f} |" for name, times in found[:3]]
    lines += ["", f"Peak memory, with the memory-mapped files in use: {peak:.1f} GiB.", ""]
    text = "\n".join(lines)
    sys.stdout.write(text + json.dumps([paints]) + "\n")
    REPORT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
