"""Tables of numbers on a terminal: on a narrow one words wrap, and no number is cut."""

from __future__ import annotations

import pytest
from rich.console import Console
from rich.table import Table

from ifdkit.report.terminal.scores import summary_table
from ifdkit.report.terminal.screen import number_table
from ifdkit.scoring.metrics import METRICS
from ifdkit.stats.columns import Description

HEADERS = ("median", "input", "selection", "random choice", "95 %")
ROWS = [("instruction tokens", "1,234", "0.851", "0.542", "0.385 to 0.725"), ("share by source",)]


def shown(table: Table, width: int) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


@pytest.mark.parametrize("width", [60, 80, 200])
def test_no_number_is_cut(width: int) -> None:
    text = shown(number_table(HEADERS, ROWS, width), width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert any(all(cell in line for cell in ROWS[0][1:]) for line in lines)
    assert "…" not in text


@pytest.mark.parametrize("width", [74, 80, 200])
def test_nothing_wraps_if_there_is_room(width: int) -> None:
    text = shown(number_table(HEADERS, ROWS, width), width)
    assert "random choice" in text
    assert "instruction tokens" in text


def test_columns_are_close_together_before_anything_wraps() -> None:
    assert "random choice" in shown(number_table(HEADERS, ROWS, 69), 69)


def test_labels_before_the_last_stay_whole() -> None:
    rows = [("! warning", "a title of several words", "1,234")]
    text = shown(number_table(("", "check", "count"), rows, 30, n_labels=2), 30)
    assert max(map(len, text.splitlines())) <= 30
    assert "! warning  a title" in text
    assert "1,234" in text


def test_a_word_of_a_header_is_whole_where_there_is_room() -> None:
    """`differenc` and `e`, in the table of two trained models on 80 columns."""
    headers = ("versus − data", "difference", "95 % CI, both", "rows", "seeds")
    rows = [("bits/byte", "−0.0071", "−0.014 to −0.0001", "−0.013 to −0.0020", "−0.032 to +0.017")]
    text = shown(number_table(headers, rows, 80), 80)
    assert "difference" in text
    assert all(cell in text for cell in rows[0][1:])


def test_no_cell_is_cut_by_a_wide_header() -> None:
    """Rich narrowed the column of `−0.0010`, and cut its last digit."""
    headers = ("change by id", "pairs", "response tokens", "ppl instruction", "ppl response",
               "ppl resp. | instr.", "coherence")  # fmt: skip
    rows = [("vaccines-09", "1", "+141", "+4,503", "−10,750", "−16,439", "−0.0010")]
    text = shown(number_table(headers, rows, 60), 60)
    assert max(map(len, text.splitlines())) <= 60
    assert all(cell in text for cell in rows[0][1:])


def test_a_label_wraps_between_its_words() -> None:
    rows = [("ppl_response_conditional", *["12,345"] * 6), ("packing-list of 8", *["1"] * 6)]
    headers = ("", "n", "mean", "median", "sd", "5 %", "95 %")
    lines = [
        line.strip().split("  ")[0]
        for line in shown(number_table(headers, rows, 68), 68).splitlines()
    ]
    assert "ppl_response_" in lines
    assert "conditional" in lines


def test_columns_that_do_not_fit_are_left_out_whole() -> None:
    text = shown(number_table(HEADERS, ROWS, 32), 32)
    assert max(map(len, text.splitlines())) <= 32
    assert " ".join(text.split()).count("1,234 0.851 0.542") == 1
    assert "0.385" not in text
    assert "95 %" not in text


@pytest.mark.parametrize("width", [60, 80])
def test_the_summary_of_a_run_keeps_its_counts(width: int) -> None:
    """At 60 columns the counts were cut to `1…`."""
    metrics = dict.fromkeys(METRICS, Description(12_345, 67_337.0, 2121.0, 93.02, 0.9, 1e7))
    lines = shown(summary_table(metrics, width), width).splitlines()
    assert max(map(len, lines)) <= width
    numbers = ["12,345", "67,337", "2,121", "93.0", "0.900", "1.00e7"]
    assert sum(all(cell in line.split() for cell in numbers) for line in lines) == len(metrics)
