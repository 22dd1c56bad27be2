"""An audit on a terminal: the verdict, the rules that found something, and where to look."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ifdkit.auditing.result import Audit, Place, RuleResult
from ifdkit.report.audit.wording import (
    State,
    advice,
    allowed,
    basis,
    decimal,
    headline,
    in_state,
    rate,
    rate_interval,
    state,
    template_sentence,
    title,
    where,
)
from ifdkit.report.terminal.screen import Screen
from ifdkit.report.visible import one_line

_COLOURS: dict[State, str] = {"failed": "red", "warns": "yellow", "passed": "green"}
_MARKS: dict[State, str] = {"failed": "✗", "warns": "!", "passed": "✓"}
_WIDE, _MEDIUM = 100, 76
"""Columns from which a sample's rows checked, and from which what is allowed, have room."""
_MOST_PLACES = 3
_MOST_DETAILS = 3
_MOST_RULES = 60


def print_audit(
    audit: Audit,
    folder: Path | None = None,
    *,
    text: bool = True,
    console: Console | None = None,
) -> None:
    """What `ifdkit audit` ends with; `folder` is where the report went.

    With `text=False` nothing of the dataset is quoted.
    """
    console = console or Screen()
    audit = audit if text else audit.without_text()
    console.print(Text(one_line(audit.input, 60), "bold"))
    console.print(Text(one_line(headline(audit), 800), _verdict_style(audit)))
    console.print(Text(one_line(f"{basis(audit)} {advice(audit)}", 800)))
    telling = [rule for rule in in_state(audit, "failed", "warns", "passed") if _tells(rule)]
    if telling:
        console.print(
            _table(telling[:_MOST_RULES], console.width, is_sample=audit.sample is not None)
        )
    for rule in in_state(audit, "failed", "warns")[:_MOST_RULES]:
        _print_rule(console, rule)
    if audit.template_check:
        console.print(Text(template_sentence(audit.template_check)))
    for line in _rest(audit):
        console.print(Text(line, "dim"))
    if folder:
        console.print(Text(f"→ {one_line(str(folder / 'index.html'), 4096)}"), soft_wrap=True)


def _verdict_style(audit: Audit) -> str:
    return "bold green" if audit.passed else "bold red"


def _tells(rule: RuleResult) -> bool:
    return rule.count > 0 or not rule.passed


def _table(rules: Sequence[RuleResult], width: int, *, is_sample: bool) -> Table:
    """The rules that found something, with as many columns as `width` has room for."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 0, 0, 1))
    table.add_column("", no_wrap=True)
    table.add_column("rule", overflow="fold")
    headers = _headers(width, is_sample)
    for header in headers:
        table.add_column(header, justify="right", no_wrap=True)
    for rule in rules:
        now = state(rule)
        mark = Text(f"{_MARKS[now]} {now}", _COLOURS[now])
        table.add_row(mark, Text(title(rule)), *(Text(_cell(rule, header)) for header in headers))
    return table


def _headers(width: int, is_sample: bool) -> Sequence[str]:
    if width < _MEDIUM:
        return ("count", "share")
    if not is_sample:
        return ("count", "of", "share", "allowed")
    sampled = ("share", "95 % interval", "allowed")
    return ("count", "of", *sampled) if width >= _WIDE else ("count", *sampled)


def _cell(rule: RuleResult, header: str) -> str:
    match header:
        case "count":
            return f"{rule.count:,}"
        case "of":
            return f"{rule.checked:,}"
        case "share":
            return rate(rule.share)
        case "allowed":
            return allowed(rule)
        case _:
            return rate_interval(rule.share_ci95)


def _print_rule(console: Console, rule: RuleResult) -> None:
    now = state(rule)
    head = Text(f"{_MARKS[now]} {title(rule)}", f"bold {_COLOURS[now]}")
    head.append(f"  {one_line(rule.name, 60)}", "dim not bold")
    console.print(head)
    said = [Text(one_line(text, 600)) for text in (rule.found,) if text]
    if rule.fix:
        said.append(Text.assemble(("→ ", "bold"), one_line(rule.fix, 600)))
    said += [*_details(rule), *map(_place, rule.places[:_MOST_PLACES])]
    left = rule.count - min(len(rule.places), _MOST_PLACES)
    if rule.places and left > 0:
        said.append(Text(f"… and {left:,} more", "dim"))
    for line in said:
        _print_indented(console, line)
    console.print()


def _print_indented(console: Console, text: Text) -> None:
    """Two columns in, also where it wraps; without the padding that `rich` would leave behind."""
    for line in text.wrap(console, max(1, console.width - 2)):
        line.rstrip()
        console.print(Text("  ").append_text(line))


def _details(rule: RuleResult) -> Iterator[Text]:
    for one in rule.details[:_MOST_DETAILS]:
        words = one_line(one.text, 160)
        shown = f"“{words}”" if rule.quotes_text else words
        yield Text(f"{one.count:,} × {shown}")
    left = len(rule.details) - _MOST_DETAILS
    if left > 0:
        yield Text(f"… and {left:,} more", "dim")


def _place(place: Place) -> Text:
    text = Text(where(place), "dim")
    if place.id:
        text.append(f" · {one_line(place.id, 60)}")
    if place.value is not None:
        text.append(f" · {decimal(place.value)}", "not dim")
    if place.quote:
        text.append(f" “{one_line(place.quote, 120)}”", "not dim")
    return text


def _rest(audit: Audit) -> Iterator[str]:
    """The rules that found nothing, and those that were not applied, by reason."""
    clean = [rule for rule in in_state(audit, "passed") if not _tells(rule)]
    if clean:
        yield f"✓ nothing found: {_titles(clean)}"
    by_reason: dict[str, list[RuleResult]] = {}
    for rule in in_state(audit, "skipped")[:_MOST_RULES]:
        by_reason.setdefault(one_line(rule.skipped or "", 200), []).append(rule)
    for reason, rules in by_reason.items():
        yield f"– not applied ({reason}): {_titles(rules)}"
    off = in_state(audit, "off")
    if off:
        yield f"– switched off: {_titles(off)}"


def _titles(rules: Sequence[RuleResult]) -> str:
    """Semicolons, since a title may hold commas."""
    return "; ".join(one_line(rule.title or rule.name, 60) for rule in rules[:_MOST_RULES])
