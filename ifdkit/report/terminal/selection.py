"""A selection on a terminal: what was kept, why rows were dropped, how the data changed."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ifdkit.diversity.measures import DIVERSITY
from ifdkit.format import correlation, duration, fixed, interval, number, percent, plural
from ifdkit.report.comparison.wording import metric_of
from ifdkit.report.terminal.screen import Screen, number_table
from ifdkit.report.terminal.tuning import print_tuning
from ifdkit.selection.effect import Measure
from ifdkit.selection.result import Selected
from ifdkit.selection.set_diversity import COVERAGE
from ifdkit.visible import one_line

_NAMES = {
    "response_words": "response words",
    "instruction_words": "instruction words",
    "repeated": "repeated texts",
    "nearly_repeated": "repeated or nearly",
    COVERAGE: "input covered",
    **{name: one.short for name, one in DIVERSITY.items()},
}
"""Measures that are not metrics."""
_MAX_CHARACTERS = 36
_MAX_GROUPS = 20


def print_selection(done: Selected, *, console: Console | None = None) -> None:
    """Print what `ifdkit select` ends with."""
    console = console or Screen()
    for line in _counts(done):
        console.print(line, soft_wrap=True)
    if not done.effect.is_none:  # else all columns are equal
        console.print(_table(done, console.width))
    if done.bands:
        console.print(_bands(done, console.width))
    if done.groups:
        console.print(_groups(done, console.width))
        left = len(done.groups) - _MAX_GROUPS
        if left > 0:
            console.print(f"{plural(left, 'more group')} not shown: the manifest has all")
    for line in _remarks(done):
        console.print(line, soft_wrap=not console.is_terminal)
    if done.tuning is not None:
        print_tuning(done.tuning, console)
    output = one_line(done.output, 4096)
    beside = f"(and {output}.manifest.json, {output}.rows.jsonl)"
    console.print(f"→ {output}  {beside} · {duration(done.elapsed_s)}", soft_wrap=True)


def _counts(done: Selected) -> Iterator[Text]:
    ranked = done.field or done.parameters.get("weights")
    is_chosen = done.method is None or done.method == "quality-diverse"
    how = [done.method or "", f"by {one_line(ranked, 200)}" if ranked and is_chosen else ""]
    how += [f"where {one_line(done.where, 200)}"] if done.where else []
    said = " ".join(part for part in how if part)
    yield Text(f"{plural(done.rows_in, 'row')}, {said}: {done.kept:,} kept", "bold")
    if done.dropped:
        counts = ", ".join(f"{n:,} {reason}" for reason, n in done.dropped.items())
        yield Text(f"dropped: {counts}")
    if done.undefined:
        counts = ", ".join(f"{n:,} {status}" for status, n in done.undefined.items())
        yield Text(f"  undefined: {counts}")
    if done.wanted is not None and done.wanted > done.kept:
        yield Text(f"! {done.wanted:,} were requested; no more qualify", "yellow")


def _table(done: Selected, width: int) -> Table:
    """Input, selection and random choices side by side."""
    effect = done.effect
    rows: list[tuple[str | Text, ...]] = [
        (_name(measure.name), *_cells(measure)) for measure in effect.measures
    ]
    if effect.sources:
        field = one_line(effect.source_field or "", _MAX_CHARACTERS)
        rows.append((Text(f"share by {field}", "dim"),))
    rows += [
        (f"  {one_line(measure.name, _MAX_CHARACTERS)}", *_cells(measure))
        for measure in effect.sources
    ]
    if effect.diversity:
        rows.append((Text("diversity of so many rows", "dim"),))
    rows += [(f"  {_name(measure.name)}", *_cells(measure)) for measure in effect.diversity]
    headers = ("median", "input", "selection", "random choice", "95 %")
    return number_table(headers, rows, width)


def _name(measure: str) -> str:
    return _NAMES.get(measure) or metric_of(measure).short


def _cells(measure: Measure) -> tuple[str, ...]:
    show = percent if measure.unit == "share" else number
    return (
        show(measure.input),
        show(measure.selection),
        show(measure.random),
        interval(measure.random_range95, show),
    )


def _bands(done: Selected, width: int) -> Table:
    rows = [
        (
            f"{fixed(band.shortest, 0)} to {fixed(band.longest, 0)}",
            f"{band.rows:,}",
            f"{band.candidates:,}",
            f"{band.taken:,}",
        )
        for band in done.bands
    ]
    return number_table(("response tokens", "rows", "candidates", "kept"), rows, width)


def _groups(done: Selected, width: int) -> Table:
    rows = [
        (
            one_line(group.name, _MAX_CHARACTERS),
            f"{group.rows:,}",
            f"{group.candidates:,}",
            f"{group.taken:,}",
        )
        for group in sorted(done.groups, key=lambda one: -one.rows)[:_MAX_GROUPS]
    ]
    return number_table((str(done.parameters["per"]), "rows", "candidates", "kept"), rows, width)


def _remarks(done: Selected) -> Iterator[Text]:
    length = done.effect.length
    if length.sentence:
        yield Text(f"! {length.sentence}", "yellow")
        if done.method != "length-controlled" and (done.field or "").startswith("ifd"):
            yield Text("  --method length-controlled keeps the highest IFD at every length.")
    if done.field is not None and done.field != length.field and length.spearman is not None:
        names = f"{_name(done.field)}, {_name(length.field)}"
        yield Text(f"Spearman({names}) = {correlation(length.spearman)} over the input")
