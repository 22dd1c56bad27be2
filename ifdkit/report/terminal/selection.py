"""A selection on a terminal: what stays, why the rest goes, and what that did to the data."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ifdkit.report.comparison.wording import percent
from ifdkit.report.format import duration, number, plural
from ifdkit.report.terminal.screen import Screen, number_table
from ifdkit.report.visible import one_line
from ifdkit.selection.effect import LengthEffect, Measure
from ifdkit.selection.result import Selected

_NAMES = {
    "response_tokens": "response tokens",
    "instruction_tokens": "instruction tokens",
    "response_words": "response words",
    "instruction_words": "instruction words",
    "ifd": "IFD",
    "ifd_loss": "IFD (loss)",
    "rifd": "r-IFD",
    "repeated": "repeated texts",
    "nearly_repeated": "or nearly",
}
_MOST_CHARS = 36


def print_selection(done: Selected, *, console: Console | None = None) -> None:
    """What `ifdkit select` ends with."""
    console = console or Screen()
    for line in _account(done):
        console.print(line, soft_wrap=True)
    console.print(_table(done, console.width))
    if done.bands:
        console.print(_bands(done, console.width))
    for line in _remarks(done):
        console.print(line, soft_wrap=not console.is_terminal)
    output = one_line(done.output, 4096)
    beside = f"(and {output}.manifest.json, {output}.rows.jsonl)"
    console.print(f"→ {output}  {beside} · {duration(done.elapsed_s)}", soft_wrap=True)


def _account(done: Selected) -> Iterator[Text]:
    how = done.method or f"by {done.field}"
    yield Text(f"{plural(done.rows_in, 'row')}, {how}: {done.kept:,} kept", "bold")
    if done.dropped:
        counts = ", ".join(f"{n:,} {reason}" for reason, n in done.dropped.items())
        yield Text(f"dropped: {counts}")
    if done.undefined:
        counts = ", ".join(f"{n:,} {status}" for status, n in done.undefined.items())
        yield Text(f"  undefined: {counts}")
    if done.wanted is not None and done.wanted > done.kept:
        yield Text(f"! {done.wanted:,} were asked for; no more qualify", "yellow")


def _table(done: Selected, width: int) -> Table:
    """Input, selection and chance side by side."""
    effect = done.effect
    rows: list[tuple[str | Text, ...]] = [
        (_NAMES.get(measure.name, measure.name), *_cells(measure)) for measure in effect.measures
    ]
    if effect.sources:
        field = one_line(effect.source_field or "", _MOST_CHARS)
        rows.append((Text(f"share by {field}", "dim"),))
    rows += [
        (Text(f"  {one_line(measure.name, _MOST_CHARS)}"), *_cells(measure))
        for measure in effect.sources
    ]
    headers = ("median", "input", "selection", "random choice", "95 %")
    return number_table(headers, rows, width)


def _cells(measure: Measure) -> tuple[str, ...]:
    show = percent if measure.unit == "share" else number
    ends = measure.random_range95
    return (
        show(measure.input),
        show(measure.selection),
        show(measure.random),
        "–" if ends is None else f"{show(ends[0])} to {show(ends[1])}",
    )


def _bands(done: Selected, width: int) -> Table:
    rows = [
        (
            f"{band.shortest:,.0f} to {band.longest:,.0f}",
            f"{band.rows:,}",
            f"{band.candidates:,}",
            f"{band.taken:,}",
        )
        for band in done.bands
    ]
    return number_table(("response tokens", "rows", "candidates", "kept"), rows, width)


def _remarks(done: Selected) -> Iterator[Text]:
    length = done.effect.length
    if length.sentence:
        yield Text(f"! {length.sentence}", "yellow")
        if done.method != "length-controlled" and (done.field or "").startswith("ifd"):
            yield Text("  --method length-controlled takes the highest IFD at every length.")
    if done.field is not None and done.field != length.field and length.spearman is not None:
        yield Text(_spearman(done.field, length))


def _spearman(field: str, length: LengthEffect) -> str:
    correlation = f"{length.spearman:+.2f}".replace("-", "−")
    what = _NAMES.get(length.field, length.field)
    return f"Spearman({_NAMES.get(field, field)}, {what}) = {correlation} over the input"
