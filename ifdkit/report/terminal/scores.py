"""Results on a terminal: the summary of a run, one example with its tokens, the models here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ifdkit.engine.models import Available
from ifdkit.report.format import duration, number, plural, size
from ifdkit.report.terminal.screen import Screen
from ifdkit.scoring.inspect import Inspection, Token
from ifdkit.scoring.manifest import PrecisionCheck
from ifdkit.scoring.metrics import METRICS
from ifdkit.scoring.run import ScoreSummary

# Surprise in nats → background. One hue, dark enough on light and light enough on dark grounds
# with the text colour set alongside; the scale ends where a token had one chance in 3,000.
_STEPS = (
    (1.0, None),
    (2.0, "on #fde3c8"),
    (4.0, "on #f9b46a"),
    (6.0, "on #ee7a2e"),
    (8.0, "on #c44a10"),
    (float("inf"), "on #7d2606"),
)
_LIGHT_TEXT_FROM = 6.0
_NO_PASS = "dim underline"


def _stdout() -> Console:
    return Screen()


def _table(*headers: str, first: str = "") -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for header in headers:
        table.add_column(header, justify="right", no_wrap=True)
    return table


def print_summary(summary: ScoreSummary) -> None:
    """What `ifdkit score` ends with."""
    console, made = _stdout(), summary.manifest
    table = _table("n", "mean", "median", "sd", "5 %", "95 %")
    for name, d in summary.metrics.items():
        cells = [number(value) for value in (d.mean, d.median, d.sd, d.p5, d.p95)]
        table.add_row(name, f"{d.n:,}", *cells)
    console.print(table)
    for line in _summary_lines(summary):
        console.print(line, soft_wrap=True)
    speed = f", {number(made.tokens_per_s)} tokens/s" if made.tokens_scored else ""
    console.print(
        f"{plural(made.requests, 'request')}: {made.requests_from_store:,} from the store,"
        f" {made.requests_scored:,} scored · {duration(made.elapsed_s)}{speed}",
        soft_wrap=True,
    )
    if summary.output:
        console.print(f"→ {summary.output}  (and {summary.output}.manifest.json)", soft_wrap=True)


def _summary_lines(summary: ScoreSummary) -> Iterable[str]:
    made = summary.manifest
    counts = ", ".join(f"{n:,} {status}" for status, n in summary.status_counts.items())
    rejected = f"; {plural(made.rows_rejected, 'row')} rejected" if made.rows_rejected else ""
    yield f"{plural(made.examples, 'example')}: {counts or 'none'}{rejected}"
    if made.rows_rejected:
        yield f"  why: {summary.output}.rejects.jsonl"
    if summary.ifd_length_spearman is not None:
        yield (
            f"Spearman(IFD, response length) = {summary.ifd_length_spearman:+.2f}:"
            " read IFD beside length, or take ifd_window"
        )
    yield (
        f"{made.model} · {made.protocol} protocol, {made.template} template · {made.dtype} on"
        f" {made.device} · at most {made.max_length:,} tokens"
    )
    if made.drift is not None:
        yield _drift_line(made.dtype, made.drift)


def _drift_line(dtype: str, drift: PrecisionCheck) -> str:
    if drift.reason:
        return f"{dtype} against float32: not measured, {drift.reason}"
    rank = "" if drift.spearman is None else f", Spearman {drift.spearman:.3f}"
    return (
        f"{dtype} against float32, IFD of {plural(drift.n, 'example')}: median |Δ|"
        f" {number(drift.median_abs_ifd)}, 95 % within {number(drift.p95_abs_ifd)}{rank}"
    )


def print_inspection(inspection: Inspection) -> None:
    """What `ifdkit show` prints."""
    console = _stdout()
    example, row = inspection.example, inspection.row
    console.print(f"row {row.row}, turn {row.turn} · id {row.id} · {row.status}", style="bold")
    if row.reason:
        console.print(row.reason, soft_wrap=True)
    console.print()
    console.print("instruction", style="bold")
    # Words stay whole on a terminal; in a pipe lines stay as they are.
    console.print(example.instruction or "(none)", soft_wrap=not console.is_terminal)
    table = _table("value")
    for name, metric in METRICS.items():
        value = row[name]
        if value is not None and (metric.in_summary or not metric.is_integer):
            table.add_row(name, str(value) if isinstance(value, int) else number(value, 4))
    console.print(table)
    if not inspection.direct and not inspection.conditional:
        return
    if console.is_terminal and not console.no_color:
        _print_coloured(console, inspection)
    elif inspection.is_parallel:
        _print_side_by_side(console, inspection)
    else:
        _print_each(console, inspection)


def _passes(inspection: Inspection) -> tuple[tuple[str, list[Token]], ...]:
    return (
        ("response, given the instruction", inspection.conditional),
        ("response, direct", inspection.direct),
    )


def _print_coloured(console: Console, inspection: Inspection) -> None:
    legend = Text("nats a token  ")
    for low, (high, style) in zip((0.0, 1.0, 2.0, 4.0, 6.0, 8.0), _STEPS, strict=True):
        legend.append(f" {low:g}–{high:g} " if high < 100 else f" {low:g}+ ", _style(low, style))
    legend.append("  ")
    legend.append("not scored", _NO_PASS)
    console.print(legend)
    for title, tokens in _passes(inspection):
        console.print()
        console.print(title, style="bold")
        text = Text()
        for token in tokens:
            text.append(token.text, _surprise(token.nats))
        console.print(text)


def _surprise(nats: float | None) -> str:
    if nats is None:
        return _NO_PASS
    return next(_style(nats, style) for limit, style in _STEPS if nats < limit)


def _style(nats: float, background: str | None) -> str:
    if background is None:
        return ""
    return f"{'#ffffff' if nats >= _LIGHT_TEXT_FROM else '#1a1a1a'} {background}"


def _print_side_by_side(console: Console, inspection: Inspection) -> None:
    """Without colours, numbers."""
    table = _table("direct", "conditional", "saved", first="token")
    for direct, conditional in zip(inspection.direct, inspection.conditional, strict=True):
        both = direct.nats is not None and conditional.nats is not None
        saved = f"{(direct.nats or 0) - (conditional.nats or 0):+.2f}" if both else "–"
        table.add_row(_visible(direct.text), _nats(direct.nats), _nats(conditional.nats), saved)
    console.print(table)


def _print_each(console: Console, inspection: Inspection) -> None:
    """The passes cut the response differently, so that no token stands beside another."""
    for title, tokens in _passes(inspection):
        table = _table("nats", first=title)
        for token in tokens:
            table.add_row(_visible(token.text), _nats(token.nats))
        console.print(table)


def _visible(text: str) -> str:
    return repr(text)[1:-1]


def _nats(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def print_models(models: Sequence[Available]) -> None:
    """What `ifdkit models` prints."""
    console = _stdout()
    for model in models:
        mark = "  (default)" if model.is_default else ""
        console.print(f"{model.name}{mark}", style="bold")
        console.print(f"  {model.source}, {size(model.size_bytes)}", soft_wrap=True)
        console.print(f"  {model.path}", soft_wrap=True)
    if not models:
        console.print("No model is installed or cached here.")
    console.print("Any folder with a saved model, GGUF file or name on the hub serves as well.")


def models_as_json(models: Sequence[Available]) -> list[dict[str, object]]:
    """The same as plain data."""
    return [{**asdict(model), "path": str(model.path)} for model in models]
