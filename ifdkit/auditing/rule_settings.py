"""Changes of the rules by a project: severity, largest share that passes, threshold.

    ifdkit.toml        [audit.refusal]
                       severity = "error"
                       most = 0.02
    command line       --rule refusal.severity=error --rule low_coherence.threshold=0.2
    Python             rules={"refusal": {"severity": "error"}}

Later settings override earlier ones, key by key; those of the command line come after the file's.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, get_args

from ifdkit.auditing.checking import Rule
from ifdkit.auditing.result import Severity
from ifdkit.auditing.rules import RULES
from ifdkit.errors import UsageError

KEYS = ("severity", "most", "threshold")
"""What can be set."""


@dataclass(frozen=True, slots=True)
class RuleSetting:
    """One key of one rule, and where it was set."""

    source: str
    """For an error message: `ifdkit.toml: [audit.refusal]`."""
    rule: str
    key: str
    value: object


def from_tables(tables: Mapping[str, Any], file: str) -> list[RuleSetting]:
    """The settings of a file's `[audit]` table. Raises UsageError if it has other than tables."""
    found = []
    for rule, table in tables.items():
        if not isinstance(table, Mapping):
            raise UsageError(
                f"{file}: [audit] contains one table per rule, such as [audit.refusal], not"
                f" {rule!r}; options of the command go outside it"
            )
        found += _of_rule(f"{file}: [audit.{rule}]", rule, table)
    return found


def from_flags(texts: Iterable[str]) -> list[RuleSetting]:
    """The settings of `--rule` flags. Raises UsageError for anything but RULE.KEY=VALUE."""
    found = []
    for text in texts:
        name, equals, value = text.partition("=")
        rule, dot, key = name.strip().partition(".")
        if not (equals and dot and rule and key):
            raise UsageError(
                f"--rule {text!r}: write RULE.KEY=VALUE, such as refusal.severity=error"
            )
        found += _of_rule(f"--rule {text}", rule, {key: _number_or_text(value.strip())})
    return found


def from_mapping(rules: Mapping[str, Mapping[str, Any]]) -> list[RuleSetting]:
    """The settings of `ifdkit.audit(rules=…)`. Raises UsageError for other than dictionaries."""
    found = []
    for rule, table in rules.items():
        if not isinstance(table, Mapping):
            raise UsageError(f"rules[{rule!r}] must be a dictionary such as {{'most': 0.02}}")
        found += _of_rule(f"rules[{rule!r}]", rule, table)
    return found


def _of_rule(source: str, rule: str, table: Mapping[str, Any]) -> list[RuleSetting]:
    name = rule.replace("-", "_")
    _check_name(source, name, [one.name for one in RULES])  # also if its table is empty
    return [RuleSetting(source, name, key.replace("-", "_"), value) for key, value in table.items()]


def _number_or_text(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def configured(settings: Iterable[RuleSetting], rules: Iterable[Rule] = RULES) -> tuple[Rule, ...]:
    """The rules with these settings, in their order.

    Raises UsageError for an unknown rule or key, naming the nearest, and for an invalid value.
    """
    by_name = {rule.name: rule for rule in rules}
    for one in settings:
        _check_name(one.source, one.rule, by_name)
        by_name[one.rule] = _changed(by_name[one.rule], one)
    return tuple(by_name.values())


def _check_name(source: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        raise UsageError(
            f"{source}: no rule is called {name!r}; did you mean {_nearest(name, known)}?"
        )


def _changed(rule: Rule, setting: RuleSetting) -> Rule:
    match setting.key:
        case "severity":
            return replace(rule, severity=_severity(setting))
        case "most":
            return replace(rule, most=_number(setting, (0.0, 1.0), "a share from 0 to 1"))
        case "threshold":
            if rule.threshold is None:
                raise UsageError(f"{setting.source}: {rule.name} has no threshold, only most")
            low, high = rule.bounds
            what = f"a number from {low:g} to {high:g}" if high < math.inf else f"{low:g} or more"
            return replace(rule, threshold=_number(setting, rule.bounds, what))
    raise UsageError(
        f"{setting.source}: no key of a rule is called {setting.key!r}; there are"
        f" {', '.join(KEYS)}; did you mean {_nearest(setting.key, KEYS)}?"
    )


def _severity(setting: RuleSetting) -> Severity:
    known: tuple[Severity, ...] = get_args(Severity)
    for one in known:
        if setting.value == one:
            return one
    raise UsageError(
        f"{setting.source}: severity {setting.value!r}: choose {', '.join(known)}; did you mean"
        f" {_nearest(str(setting.value), known)}?"
    )


def _number(setting: RuleSetting, bounds: tuple[float, float], what: str) -> float:
    value = setting.value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        low, high = bounds
        if math.isfinite(value) and low <= value <= high:
            return float(value)
    raise UsageError(f"{setting.source}: {setting.key} {value!r}: it must be {what}")


def _nearest(word: str, known: Iterable[str]) -> str:
    return get_close_matches(word, list(known), n=1, cutoff=0.0)[0]
