"""An audit on a terminal: the result, the checks that found something, and where to look."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ifdkit.auditing.result import Audit, Place, RuleResult
from ifdkit.format import number
from ifdkit.report.audit.wording import (
    LABELS,
    State,
    advice,
    allowed,
    basis,
    by_input,
    cleaned_sentence,
    headline,
    in_state,
    rate,
    rate_interval,
    state,
    status_sentence,
    template_sentence,
    title,
    where,
)
from ifdkit.report.terminal.screen import Screen, number_table
from ifdkit.visible import one_line

_COLOURS: dict[State, str] = {"failed": "red", "warns": "yellow", "passed": "green"}
_MARKS: dict[State, str] = {"failed": "✗", "warns": "!", "passed": "✓"}
_WIDE, _MEDIUM = 100, 76
"""Columns from which there is room for the rows checked of a sample, and for allowed shares."""
_MAX_PLACES = 3
_MAX_DETAILS = 3
_MAX_RULES = 60


def print_audit(
    audit: Audit,
    folder: Path | None = None,
    *,
    text: bool = True,
    console: Console | None = None,
) -> None:
    """Print what `ifdkit audit` ends with; `folder` has the report.

    With `text=False` no text of the dataset is quoted.
    """
    console = console or Screen()
    audit = audit if text else audit.without_text()
    console.print(Text(one_line(audit.input, 60), "bold"))
    style = "bold green" if audit.passed else "bold red"
    console.print(Text(one_line(headline(audit), 800), style))
    console.print(Text(one_line(f"{basis(audit)} {advice(audit)}", 800)))
    if audit.statuses:
        console.print(Text(status_sentence(audit)))
    shown = [rule for rule in in_state(audit, "failed", "warns", "passed") if not _is_clean(rule)]
    if shown:
        console.print(_table(shown[:_MAX_RULES], console.width, is_sample=audit.sample is not None))
    for rule in in_state(audit, "failed", "warns")[:_MAX_RULES]:
        _print_rule(console, rule)
    if audit.template_check:
        console.print(Text(template_sentence(audit.template_check)))
    for line in _other_rules(audit):
        console.print(Text(line, "dim"))
    if audit.cleaned:
        console.print(Text(one_line(cleaned_sentence(audit.cleaned), 4096)), soft_wrap=True)
    if folder:
        console.print(Text(f"→ {one_line(str(folder / 'index.html'), 4096)}"), soft_wrap=True)


def _is_clean(rule: RuleResult) -> bool:
    return rule.passed and rule.count == 0


def _table(rules: Sequence[RuleResult], width: int, *, is_sample: bool) -> Table:
    """One row for each rule, with as many columns as `width` has room for."""
    headers = _headers(width, is_sample)
    rows: list[tuple[str | Text, ...]] = [
        (_marked(rule, LABELS[state(rule)]), title(rule), *(_cell(rule, one) for one in headers))
        for rule in rules
    ]
    return number_table(("", "check", *headers), rows, width, n_labels=2)


def _marked(rule: RuleResult, text: str) -> Text:
    return Text(f"{_MARKS[state(rule)]} {text}", _COLOURS[state(rule)])


def _headers(width: int, is_sample: bool) -> Sequence[str]:
    if width < _MEDIUM:
        return ("count", "share")
    if not is_sample:
        return ("count", "of", "share", "allowed")
    counts = ("count", "of") if width >= _WIDE else ("count",)
    return (*counts, "share", "95 % CI", "allowed")


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
            return rate_interval(rule.share_ci95) if rule.share_ci95 else ""


def _print_rule(console: Console, rule: RuleResult) -> None:
    head = _marked(rule, title(rule))
    head.stylize("bold")
    console.print(head.append(f"  {one_line(rule.name, 60)}", "dim"))
    lines = [Text(one_line(rule.found, 600))] if rule.found else []
    if rule.fix:
        lines.append(Text.assemble(("→ ", "bold"), one_line(rule.fix, 600)))
    lines += [Text(one) for one in (by_input(rule),) if one]
    lines += [*_details(rule), *map(_place, rule.places[:_MAX_PLACES])]
    left = rule.count - min(len(rule.places), _MAX_PLACES)
    if rule.places and left > 0:
        lines.append(Text(f"… and {left:,} more", "dim"))
    for line in lines:
        _print_indented(console, line)
    console.print()


def _print_indented(console: Console, text: Text) -> None:
    """Indent every line by two columns; the padding of `rich` would leave trailing spaces."""
    for line in text.wrap(console, max(1, console.width - 2)):
        line.rstrip()
        console.print(Text("  ").append_text(line))


def _details(rule: RuleResult) -> Iterator[Text]:
    for one in rule.details[:_MAX_DETAILS]:
        text = one_line(one.text, 160)
        yield Text(f"{one.count:,} × {f'“{text}”' if rule.quotes_text else text}")
    left = len(rule.details) - _MAX_DETAILS
    if left > 0:
        yield Text(f"… and {left:,} more", "dim")


def _place(place: Place) -> Text:
    text = Text(where(place), "dim")
    if place.id:
        text.append(f" · {one_line(place.id, 60)}")
    if place.value is not None:
        text.append(f" · {number(place.value)}", "not dim")
    if place.quote:
        text.append(f" “{one_line(place.quote, 120)}”", "not dim")
    return text


def _other_rules(audit: Audit) -> Iterator[str]:
    """The rules that found nothing, and those that were not applied, by reason."""
    clean = [rule for rule in in_state(audit, "passed") if _is_clean(rule)]
    if clean:
        yield f"✓ nothing found: {_titles(clean)}"
    by_reason: dict[str, list[RuleResult]] = {}
    for rule in in_state(audit, "skipped")[:_MAX_RULES]:
        by_reason.setdefault(one_line(rule.skipped or "", 200), []).append(rule)
    for reason, rules in by_reason.items():
        yield f"– not applied ({reason}): {_titles(rules)}"
    off = in_state(audit, "off")
    if off:
        yield f"– switched off: {_titles(off)}"


def _titles(rules: Sequence[RuleResult]) -> str:
    """Joined by semicolons, since a title may contain commas."""
    return "; ".join(one_line(rule.title or rule.name, 60) for rule in rules[:_MAX_RULES])
