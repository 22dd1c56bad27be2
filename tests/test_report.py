"""The report of a comparison: what it must show, what it must not, and how large it can get."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from ifdkit.comparison.result import Comparison, ExploredPair, LengthControl, Summary
from ifdkit.errors import OutputError
from ifdkit.findings.finding import Finding
from ifdkit.format import interval, number, percent, signed
from ifdkit.records import plain
from ifdkit.report.comparison import figures
from ifdkit.report.comparison.explorer import pairs_data
from ifdkit.report.comparison.html import render_html
from ifdkit.report.comparison.latex import render_latex
from ifdkit.report.comparison.markdown import MAX_CHARACTERS, prose, render_markdown
from ifdkit.report.comparison.scales import axis_of
from ifdkit.report.comparison.wording import metric_of, paper_metrics
from ifdkit.report.explorer import MAX_BYTES
from ifdkit.report.terminal.comparison import print_comparison
from ifdkit.stats.paired import Change, MetricChange
from tests.report_fixtures import (
    FIELDS,
    make_explored,
    make_summary,
    rows_frame,
    with_text_everywhere,
)

pytestmark = pytest.mark.long

FILES = {"index.html", "summary.json", "report.md", "table.tex", "rows.parquet"}
MB = 1_000_000


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return rows_frame(200)


@pytest.fixture(scope="module")
def summary(rows: pd.DataFrame) -> Summary:
    return make_summary(rows)


@pytest.fixture(scope="module")
def explored(rows: pd.DataFrame) -> tuple[ExploredPair, ...]:
    return make_explored(rows, 30)


@pytest.fixture(scope="module")
def page(summary: Summary, rows: pd.DataFrame, explored: tuple[ExploredPair, ...]) -> str:
    return render_html(summary, rows, explored)


def data_of(page: str) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found
    return json.loads(found[1])


def terminal(summary: Summary, width: int = 80, folder: Path | None = None) -> str:
    console = Console(width=width, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        print_comparison(summary, folder, console=console)
    return captured.get()


# ---- the page


def test_the_page_shows_the_headline_first(page: str, summary: Summary) -> None:
    sentence = summary.length_control["ifd"].sentence
    places = [page.index(part) for part in ("<main", escape(summary.headline), sentence, "<table")]
    assert places == sorted(places)
    assert summary.warnings[0] in page


def test_every_metric_has_a_row_two_distributions_and_a_paired_change(
    page: str, summary: Summary
) -> None:
    for field in summary.metrics:
        assert f'aria-controls="figures-{field}">{metric_of(field).label}</button>' in page
        assert f'id="dist-{field}-title"' in page
        assert f'id="change-{field}-title"' in page
    table = page[page.index('<section id="table"') : page.index('<section id="length"')]
    change = summary.metrics["ifd"].change
    for text in (signed(change.median), interval(change.mean_ci95), percent(change.share_rose)):
        assert text in table
    assert "another model’s numbers" in table
    assert "49.2" in table
    assert "377.2" in table, "with the digits it was published with"


def test_paper_fields_come_in_the_order_of_the_paper() -> None:
    assert list(FIELDS[:8]) == paper_metrics()


def test_undefined_numbers_are_dashes_and_never_nan(rows: pd.DataFrame, summary: Summary) -> None:
    nothing = replace(summary.metrics["ifd"], change=Change())
    summary = replace(
        summary,
        metrics={**summary.metrics, "ifd": nothing},
        length_control={"ifd": LengthControl(min_tokens=5, n_pairs=0)},
    )
    for text in (
        render_html(summary, rows),
        render_markdown(summary),
        render_latex(summary),
        terminal(summary),
    ):
        shown = re.sub(r"<head>.*</head>", "", text, flags=re.S)
        assert not re.search(r"\b(nan|None|NaN|inf)\b", shown.replace("null", ""))


def test_a_metric_without_any_pair_has_a_note(rows: pd.DataFrame, summary: Summary) -> None:
    empty = rows.assign(coherence_before=np.nan)
    page = render_html(summary, empty)
    assert "No pair has this number on both sides." in page
    assert 'id="dist-coherence-title"' not in page
    assert "No pair has this number on both sides." not in render_html(summary, rows)


def test_the_page_says_if_texts_were_not_checked(rows: pd.DataFrame, summary: Summary) -> None:
    looked = render_html(replace(summary, findings=()), rows)
    assert "were found" in looked
    blind = render_html(replace(summary, findings=(), texts_compared=False), rows)
    assert "were found" not in blind
    assert "Not checked: the texts of both sides were not available." in blind


def test_an_almost_empty_page(rows: pd.DataFrame, summary: Summary) -> None:
    """No metric, finding, warning, explored pair or length control."""
    bare = replace(
        summary,
        metrics={},
        length_control={},
        findings=(),
        reference=(),
        warnings=(),
        statuses={},
    )
    page = render_html(bare, rows.iloc[:0])
    assert escape(summary.headline) in page
    assert "No rows were selected" in page
    assert render_markdown(bare)
    assert render_latex(bare)
    assert terminal(bare)


@pytest.mark.parametrize("n", [1, 31])
def test_figures_of_few_and_of_equal_pairs(n: int) -> None:
    rows = rows_frame(n)
    for field in FIELDS:
        rows[f"{field}_after"] = rows[f"{field}_before"]
    metric = make_summary(rows_frame(20)).metrics["ifd"]
    for field in FIELDS:
        drawn = figures.distributions(rows, field, metric)
        assert (drawn is None) == (not len(rows[f"{field}_before"].dropna()))
        figures.paired_change(rows, field, metric)
    assert figures.against_length(rows)


def test_many_pairs_become_hexagons(rows: pd.DataFrame) -> None:
    few, many = figures.against_length(rows), figures.against_length(rows_frame(4000))
    assert few
    assert many
    assert "<use" in few[0].svg
    assert f"{len(rows) - 4:,} pairs" in few[0].svg  # four have no IFD
    assert len(many[0].svg) < 250_000


def test_an_axis_counts_the_values_outside_it() -> None:
    column = np.concatenate([np.linspace(0, 1, 1000), [1e6, -1e6]])
    axis = axis_of((column,), is_log=False)
    assert axis.high < 2
    assert axis.n_outside(column) == int(((column < axis.low) | (column > axis.high)).sum()) >= 2
    assert axis.n_outside(column[1:1000]) < 12


def test_figures_are_deterministic(summary: Summary, rows: pd.DataFrame) -> None:
    first, second = (figures.distributions(rows, "ifd", summary.metrics["ifd"]) for _ in range(2))
    assert first == second


def test_figures_take_their_colours_from_the_page(page: str) -> None:
    """They have no colour, style or font of their own; text stays text."""
    sparks = re.findall(r'<svg class="sparkline".*?</svg>', page, re.S)
    assert len(sparks) == len(FIELDS)
    assert all('aria-hidden="true"' in one and "#" not in one for one in sparks)
    for svg in re.findall(r"<svg (?!class=.sparkline).*?</svg>", page, re.S):
        assert not re.search(r'(fill|stroke)="#', svg)
        assert not re.search(r"style=|<style|font-family|<image|xmlns", svg)
        assert "<text" in svg
        assert 'role="img"' in svg
        assert re.search(r"<title.*</title><desc.*</desc>", svg)


def test_ids_are_unique(page: str) -> None:
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_references_within_figures_resolve(page: str) -> None:
    ids = set(re.findall(r'\sid="([^"]+)"', page))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= ids
    assert set(re.findall(r"url\(#([^)]+)\)", page)) <= ids


# ---- nothing is fetched


def test_the_policy_names_the_hashes_of_script_and_style(page: str) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy
    text = policy[1].replace("&#39;", "'")
    assert text.startswith("default-src 'none'; ")
    for tag in ("script", "style"):
        inline = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.S)
        assert len(inline) == 1
        digest = base64.b64encode(hashlib.sha256(inline[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}';" in text
    assert "unsafe" not in text
    assert not re.search(r"<[^>]+\sstyle=", page), "the policy would refuse it"
    assert not re.search(r"<[^>]+\son\w+=", page)


def test_the_page_contains_no_url(page: str) -> None:
    assert "http" not in page.replace("http-equiv", "")
    assert not re.search(r'(src|href|action)="(?!#|data:,")', page)
    assert not re.search(r"@import|url\((?!#)", page)


# ---- the explorer's data


def test_the_explorer_contains_the_pairs(page: str, explored: tuple[ExploredPair, ...]) -> None:
    data = data_of(page)
    assert [pair["before"]["id"] for pair in data["rows"]] == [one.before.id for one in explored]
    first, side = data["rows"][0]["after"], explored[0].after
    assert "".join(first["tokens"]) == side.response
    assert first["given"][0] is None
    assert first["given"][1] == pytest.approx(side.tokens[1].nll, abs=0.05)
    assert first["alone"][1] == pytest.approx(side.tokens[1].nll_direct, abs=0.05)
    assert data["rows"][0]["findings"] == ["shared_opening"]
    assert data["findings"] == [{"kind": "shared_opening", "title": "Shared openings"}]
    assert first["numbers"][6] == side.numbers["ifd"]  # None here: undefined
    assert data["rows"][0]["before"]["numbers"][6] == pytest.approx(
        explored[0].before.numbers["ifd"], rel=1e-4
    )


def test_text_after_the_scored_tokens_is_shown_unshaded(
    explored: tuple[ExploredPair, ...],
) -> None:
    side = explored[0].before
    short = replace(explored[0], before=replace(side, tokens=side.tokens[:3]))
    data = json.loads(pairs_data([short], FIELDS, has_text=True).json)
    shown = data["rows"][0]["before"]
    assert "".join(shown["tokens"]) == side.response
    assert shown["given"][3:] == [None]


def test_long_texts_are_cut_at_a_stated_length(explored: tuple[ExploredPair, ...]) -> None:
    long = replace(explored[0].before, response="x" * 10_000, tokens=())
    found = pairs_data([replace(explored[0], before=long)], FIELDS, has_text=True)
    shown = json.loads(found.json)["rows"][0]["before"]["response"]
    assert shown == "x" * found.characters + "…"


@pytest.mark.parametrize("letter", ["\U0001f600", "\0", "<"])
def test_the_size_of_the_explorer_is_bounded(
    letter: str, summary: Summary, explored: tuple[ExploredPair, ...]
) -> None:
    _, pairs = with_text_everywhere(summary, explored * 11, lambda _: letter * 10_000)
    found = pairs_data(pairs, FIELDS, has_text=True)
    assert len(found.json.encode()) <= MAX_BYTES
    assert found.n_rows == 300


@pytest.mark.long
def test_the_size_of_the_page_is_bounded(
    summary: Summary, rows: pd.DataFrame, explored: tuple[ExploredPair, ...]
) -> None:
    hostile, pairs = with_text_everywhere(summary, explored, lambda _: "<" * 20_000)
    crowded = replace(hostile, findings=hostile.findings * 200, warnings=hostile.warnings * 500)
    page = render_html(crowded, rows, pairs * 11)
    assert MB < len(page.encode()) < 3 * MB


@pytest.mark.long
def test_a_page_of_a_million_pairs(explored: tuple[ExploredPair, ...]) -> None:
    rows = rows_frame(1_000_000)
    summary = make_summary(rows)
    page = render_html(summary, rows, (explored * 10)[:300])
    assert len(page.encode()) < 3 * MB


@pytest.mark.long
def test_the_size_does_not_grow_with_the_rows(summary: Summary, rows: pd.DataFrame) -> None:
    """Figures are bins, hexagons and at most MAX_POINTS points."""
    sizes = [len(render_html(summary, rows_frame(n))) for n in (1400, 20_000, 60_000)]
    assert max(sizes) < 0.9 * MB
    assert sizes[2] < 1.2 * sizes[1]


# ---- files


def test_saving_writes_every_form(
    tmp_path: Path, summary: Summary, rows: pd.DataFrame, explored: tuple[ExploredPair, ...]
) -> None:
    result = Comparison(summary, rows, explored)
    folder = result.save(tmp_path / "a" / "b")
    assert {path.name for path in folder.iterdir()} == FILES
    assert pd.read_parquet(folder / "rows.parquet").equals(rows)
    saved = json.loads((folder / "summary.json").read_text(), parse_constant=pytest.fail)
    assert saved == json.loads(json.dumps(plain(summary)))
    assert saved["metrics"]["ifd"]["change"]["median_ci95"] == list(
        summary.metrics["ifd"].change.median_ci95 or ()
    )
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    result.save(folder)
    assert first == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_folder_that_cannot_be_made_is_named(
    tmp_path: Path, summary: Summary, rows: pd.DataFrame
) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(OutputError, match=r"cannot write .*taken"):
        Comparison(summary, rows).save(tmp_path / "taken")


def test_an_id_with_a_lone_surrogate_is_escaped(
    tmp_path: Path, summary: Summary, rows: pd.DataFrame
) -> None:
    odd = rows.assign(id=pd.Series(["\udc80", *rows["id"][1:]], dtype=object))
    folder = Comparison(summary, odd).save(tmp_path)
    assert pd.read_parquet(folder / "rows.parquet")["id"][0] == "\\udc80"


def test_no_text_omits_all_text(
    tmp_path: Path, summary: Summary, rows: pd.DataFrame, explored: tuple[ExploredPair, ...]
) -> None:
    secret = "SENTINEL-" + "7f3a"
    places = ("instruction", "response", "token", "example", "finding.text")

    def text(place: str) -> str:
        return secret if place.endswith(places) else "plain"

    planted = with_text_everywhere(summary, explored, text)
    result = Comparison(planted[0], rows, planted[1])
    bare = result.save(tmp_path / "bare", text=False)
    for path in bare.iterdir():
        assert secret.encode() not in path.read_bytes(), path.name
    page = (bare / "index.html").read_text()
    assert "dataset text was omitted" in page
    assert data_of(page)["has_text"] is False
    assert data_of(page)["rows"][0]["before"]["numbers"][6] is not None
    # Negative control: with text the sentinel is there.
    full = result.save(tmp_path / "full")
    shown = {path.name for path in full.iterdir() if secret.encode() in path.read_bytes()}
    assert shown == {"index.html", "summary.json", "report.md"}


def test_texts_of_one_side_alone_are_omitted(
    tmp_path: Path, summary: Summary, rows: pd.DataFrame, explored: tuple[ExploredPair, ...]
) -> None:
    """The page then says that text was omitted, as with `--no-text`."""
    text = explored[0].before.instruction
    result = Comparison(summary, rows, explored, has_text=False)
    page = (result.save(tmp_path / "one-sided") / "index.html").read_text()
    assert "dataset text was omitted" in page
    assert {pair["before"]["instruction"] for pair in data_of(page)["rows"]} == {""}
    assert text  # negative control


def test_no_text_covers_every_string_of_a_pair(explored: tuple[ExploredPair, ...]) -> None:
    """A string field added later must be added to `--no-text` too: only these are known."""
    side = explored[0].before
    strings = {name for name in side.__slots__ if isinstance(getattr(side, name), str)}
    assert strings == {"id", "status", "instruction", "response"}
    finding = Finding(kind="", side="both", count=0, share=0.0, text="")
    names = {name for name in finding.__slots__ if isinstance(getattr(finding, name), str | tuple)}
    assert names == {"kind", "side", "text", "row_ids", "examples"}


# ---- Markdown, LaTeX, terminal


def test_markdown_is_short_and_says_the_same(summary: Summary) -> None:
    text = render_markdown(summary)
    assert len(text) < 6000
    assert prose(summary.headline) in text
    assert summary.length_control["ifd"].sentence in text
    assert "Here is a new and more detailed answer:" in text
    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert len({line.count("|") for line in table[: len(FIELDS) + 1]}) == 1
    assert len([line for line in table if line.startswith("| IFD |")]) == 1


def test_markdown_always_fits_a_comment(summary: Summary) -> None:
    finding = replace(summary.findings[0], text="`|" * 5000, row_ids=("*" * 500,) * 50)
    crowded = replace(
        summary,
        findings=(finding,) * 500,
        warnings=("[" * 9000,) * 100,
        headline="_" * 9000,
        name_before="`" * 9000,
        command="`" * 9000,
        reference=summary.reference * 50,
    )
    text = render_markdown(crowded)
    assert len(text) <= MAX_CHARACTERS
    assert "more in summary.json" in text


def test_latex_is_a_complete_booktabs_table(summary: Summary) -> None:
    text = render_latex(summary)
    body = text[text.index("\\midrule") : text.index("\\bottomrule")].splitlines()[1:-1]
    assert len(body) == len(summary.metrics)
    assert {re.sub(r"\\[&%]", "", line).count("&") for line in body} == {9}
    assert all(line.endswith("\\\\") for line in body)
    assert "$-$" in text
    assert "−" not in text
    for opened, closed in (("{", "}"), ("\\begin", "\\end")):
        assert text.count(opened) == text.count(closed)


@pytest.mark.parametrize("width", [50, 80, 120])
def test_the_terminal_keeps_to_its_width(width: int, summary: Summary, tmp_path: Path) -> None:
    text = terminal(summary, width)
    assert max(map(len, text.splitlines())) <= width
    for field in summary.metrics:
        assert metric_of(field).short in text, "in one line"
    joined = " ".join(text.split())
    assert summary.headline in joined
    assert summary.length_control["ifd"].sentence in joined
    assert "Here is a new and more detailed answer:" in joined
    mean = f"({number(summary.metrics['ifd'].before.mean)})"
    assert (mean in text) == (width >= 110), "means where there is room"
    assert str(tmp_path) in terminal(summary, width, tmp_path).replace("\n", "")


def test_an_unknown_metric_is_labelled_with_its_own_name() -> None:
    new = metric_of("a_metric_with_a_long_name")
    assert new.label == new.short == "a_metric_with_a_long_name"
    assert max(len(metric_of(field).short) for field in FIELDS) <= 18


def test_an_unknown_metric_is_drawn_under_its_own_name(
    summary: Summary, rows: pd.DataFrame
) -> None:
    metric: MetricChange = summary.metrics["ifd"]
    wide = rows.assign(novel_before=rows["ifd_before"], novel_after=rows["ifd_after"])
    page = render_html(replace(summary, metrics={"novel": metric}), wide)
    assert '<tbody class="metric" id="m-novel">' in page
    assert 'id="dist-novel-title"' in page
