"""Results on a terminal: the summary of a run, one example with its tokens, installed models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ifdkit.engine.models import Available
from ifdkit.format import (
    correlation,
    duration,
    fixed,
    interval,
    number,
    percent,
    plural,
    signed,
    size,
)
from ifdkit.report.terminal.screen import Screen, number_table
from ifdkit.scoring.inspect import Inspection, Token
from ifdkit.scoring.manifest import PrecisionCheck
from ifdkit.scoring.metrics import METRICS
from ifdkit.scoring.sampled import SampleSummary, UntilSummary
from ifdkit.scoring.sources import SourceSummary, most_notable
from ifdkit.scoring.summary import FOLLOWS_LENGTH, ScoreSummary
from ifdkit.stats.columns import Description
from ifdkit.visible import one_line

# Surprise in nats → background.  One hue, readable with the text colours below on light and dark
# terminals; the scale ends at a probability of 1 in 3,000.
_STEPS = (
    (1.0, None),
    (2.0, "on #fde3c8"),
    (4.0, "on #f9b46a"),
    (6.0, "on #ee7a2e"),
    (8.0, "on #c44a10"),
    (float("inf"), "on #7d2606"),
)
_LIGHT_TEXT_FROM = 6.0
_MAX_REASONS = 5
_MAX_SOURCES = 20
_SOURCE_FIELDS = {
    "response_tokens": "tokens",
    "ppl_response_direct": "ppl",
    "ifd": "ifd",
    "coherence": "coherence",
}
"""Metrics whose medians are shown by input, and their headers."""
_NOT_SCORED = "dim underline"


def print_summary(summary: ScoreSummary) -> None:
    """Print what `ifdkit score` ends with."""
    console, made = Screen(), summary.manifest
    console.print(summary_table(summary.metrics, console.width))
    if summary.sample is not None:
        console.print(_sample_table(summary.sample, console.width))
    if summary.sources:
        console.print(_sources_table(summary.sources, console.width))
        left = len(summary.sources) - _MAX_SOURCES
        if left > 0:
            console.print(f"{plural(left, 'more input')} not shown: --json has all")
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


def summary_table(metrics: Mapping[str, Description], width: int) -> Table:
    """One row for each metric, in `width` columns."""
    rows = [
        (name, f"{d.n:,}", *map(number, (d.mean, d.median, d.sd, d.p5, d.p95)))
        for name, d in metrics.items()
    ]
    return number_table(("", "n", "mean", "median", "sd", "5 %", "95 %"), rows, width)


def _sample_table(sample: SampleSummary, width: int) -> Table:
    """The 95 % intervals of all rows, one row for each metric; `--json` has more of them."""
    rows = [
        (name, interval(one.mean, number), interval(one.median, number))
        for name, one in sample.metrics.items()
    ]
    return number_table(("95 % intervals, all rows", "mean", "median"), rows, width)


def _sources_table(sources: Sequence[SourceSummary], width: int) -> Table:
    """One row for each input: those with rejected rows first if there are too many."""
    fields = [name for name in _SOURCE_FIELDS if any(name in one.medians for one in sources)]
    rows = [
        (
            one_line(one.name, 60),
            f"{one.rows:,}",
            f"{one.ok:,}",
            f"{one.rejected:,}",
            *(number(one.medians.get(name)) for name in fields),
        )
        for one in most_notable(sources, _MAX_SOURCES)
    ]
    labels = (_SOURCE_FIELDS[name] for name in fields)
    return number_table(("median by input", "rows", "ok", "rejected", *labels), rows, width)


def _summary_lines(summary: ScoreSummary) -> Iterable[str]:
    made = summary.manifest
    counts = ", ".join(f"{n:,} {status}" for status, n in summary.status_counts.items())
    rejected = f"; {plural(made.rows_rejected, 'row')} rejected" if made.rows_rejected else ""
    yield f"{plural(made.examples, 'example')}: {counts or 'none'}{rejected}"
    if summary.sample is not None:
        yield _sample_line(summary.sample)
    if summary.until is not None:
        yield _until_line(summary.until)
    for one in summary.reasons[:_MAX_REASONS]:
        yield f"  {one.count:,} {one.status}: {one.reason}"
    if n_more := sum(one.count for one in summary.reasons[_MAX_REASONS:]):
        yield f"  {n_more:,} for other reasons"
    if made.rows_rejected:
        yield f"  reasons: {summary.output}.rejects.jsonl"
    if summary.ifd_length_spearman is not None:
        follows = abs(summary.ifd_length_spearman) >= FOLLOWS_LENGTH
        advice = ": compare IFD at similar lengths only, or use ifd_window" if follows else ""
        found = correlation(summary.ifd_length_spearman)
        yield f"Spearman(IFD, response length) = {found}{advice}"
    if summary.rank_surprisal is not None:
        yield f"rank-surprisal ratio of the dataset: {number(summary.rank_surprisal)} ranks per nat"
    yield (
        f"{made.model} · {made.protocol} protocol, {made.template} template · {made.dtype} on"
        f" {made.device} · at most {made.max_length:,} tokens"
    )
    if made.drift is not None:
        yield _drift_line(made.dtype, made.drift, made.elapsed_s)


def _sample_line(sample: SampleSummary) -> str:
    shares = (f"{one} {interval(ends, percent)}" for one, ends in sample.statuses.items())
    return (
        f"A sample: {sample.rows:,} of {plural(sample.of_rows, 'row')}, drawn at random with seed"
        f" {sample.seed}; of all examples {', '.join(shares)} (95 % intervals)"
    )


def _until_line(until: UntilSummary) -> str:
    ending = "stopped" if until.reached else "not reached"
    return (
        f"Until {until.rule}: {ending} at {plural(until.rows, 'row')} after"
        f" {plural(until.looks, 'look')}, mean {until.metric} {number(until.mean, 4)} ±"
        f" {number(until.half_width)} (95 % interval, valid at every look)"
    )


def _drift_line(dtype: str, drift: PrecisionCheck, elapsed_s: float) -> str:
    """What 16 bits cost in precision; `elapsed_s` is that of the run, the check included."""
    if drift.reason:
        return f"{dtype} against float32: not measured, {drift.reason}"
    # Three decimals: two would hide how close to 1 it is.
    rank = "" if drift.spearman is None else f", Spearman {signed(drift.spearman, 3)}"
    cost = ""
    if drift.elapsed_s is not None and elapsed_s:
        cost = f" ({percent(drift.elapsed_s / elapsed_s)} of the time)"
    return (
        f"{dtype} against float32, IFD of {plural(drift.n, 'example')}: median |Δ|"
        f" {number(drift.median_abs_ifd)}, 95 % within {number(drift.p95_abs_ifd)}{rank}{cost}"
    )


def print_inspection(inspection: Inspection) -> None:
    """Print what `ifdkit show` ends with."""
    console = Screen()
    example, row = inspection.example, inspection.row
    console.print(f"row {row.row}, turn {row.turn} · id {row.id} · {row.status}", style="bold")
    if row.reason:
        console.print(row.reason, soft_wrap=True)
    console.print()
    if not example.is_document:
        console.print("instruction", style="bold")
        # Words stay whole on a terminal; in a pipe lines stay as they are.
        console.print(example.instruction or "(none)", soft_wrap=not console.is_terminal)
    rows = [
        (name, number(row[name], 4))
        for name, metric in METRICS.items()
        if row[name] is not None and (metric.in_summary or not metric.is_integer)
    ]
    console.print(number_table(("", "value"), rows, console.width))
    if not inspection.direct and not inspection.conditional:
        return
    if console.is_terminal and not console.no_color:
        _print_coloured(console, inspection)
    elif inspection.is_parallel:
        _print_side_by_side(console, inspection)
    else:
        _print_each(console, inspection)


def _passes(inspection: Inspection) -> tuple[tuple[str, list[Token]], ...]:
    if inspection.example.is_document:
        return (("document", inspection.direct),)
    return (
        ("response, conditional", inspection.conditional),
        ("response, direct", inspection.direct),
    )


def _print_coloured(console: Console, inspection: Inspection) -> None:
    legend = Text("nats per token  ")
    for low, (high, style) in zip((0.0, 1.0, 2.0, 4.0, 6.0, 8.0), _STEPS, strict=True):
        legend.append(f" {low:g}–{high:g} " if high < 100 else f" {low:g}+ ", _style(low, style))
    legend.append("  ")
    legend.append("not scored", _NOT_SCORED)
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
        return _NOT_SCORED
    return next(_style(nats, style) for limit, style in _STEPS if nats < limit)


def _style(nats: float, background: str | None) -> str:
    if background is None:
        return ""
    return f"{'#ffffff' if nats >= _LIGHT_TEXT_FROM else '#1a1a1a'} {background}"


def _print_side_by_side(console: Console, inspection: Inspection) -> None:
    """Tokens with their NLLs as numbers, where there are no colours."""
    rows = []
    for direct, conditional in zip(inspection.direct, inspection.conditional, strict=True):
        a, b = direct.nats, conditional.nats
        saved = None if a is None or b is None else a - b
        rows.append((_escaped(direct.text), fixed(a, 2), fixed(b, 2), signed(saved, 2)))
    console.print(number_table(("token", "direct", "conditional", "saved"), rows, console.width))


def _print_each(console: Console, inspection: Inspection) -> None:
    """One table for each pass, where the two passes split the response differently."""
    for title, tokens in _passes(inspection):
        rows = [(_escaped(token.text), fixed(token.nats, 2)) for token in tokens]
        console.print(number_table((title, "nats"), rows, console.width))


def _escaped(text: str) -> str:
    return repr(text)[1:-1]


def print_models(models: Sequence[Available]) -> None:
    """Print what `ifdkit models` ends with."""
    console = Screen()
    for model in models:
        mark = "  (default)" if model.is_default else ""
        console.print(f"{model.name}{mark}", style="bold")
        console.print(f"  {model.source}, {size(model.size_bytes)}", soft_wrap=True)
        console.print(f"  {model.path}", soft_wrap=True)
    if not models:
        console.print("No model is installed or cached.")
    console.print("Also accepted: a folder with a saved model, a GGUF file, a name on the hub.")


def models_as_json(models: Sequence[Available]) -> list[dict[str, object]]:
    """The models as plain data."""
    return [{**asdict(model), "path": str(model.path)} for model in models]
