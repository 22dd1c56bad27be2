"""What a project makes of the rules: severity, the share that passes, the threshold.

    ifdkit.toml        [audit.refusal]
                       severity = "error"
                       most = 0.02
    command line       --rule refusal.severity=error --rule low_coherence.threshold=0.2
    Python             rules={"refusal": {"severity": "error"}}

Later ones beat earlier ones, key by key: the command line beats the file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, get_args

from ifdkit.auditing.result import Severity
from ifdkit.auditing.rules import RULES, Rule
from ifdkit.errors import UsageError

KEYS = ("severity", "most", "threshold")
"""What can be said of a rule."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of one rule, and where it was said."""

    place: str
    """For an error message: `ifdkit.toml: [audit.refusal]`."""
    rule: str
    key: str
    value: object


def from_tables(tables: Mapping[str, Any], file: str) -> list[Setting]:
    """The settings of a `[audit]` table. Raises UsageError for anything but tables of rules."""
    found = []
    for rule, table in tables.items():
        if not isinstance(table, Mapping):
            raise UsageError(
                f"{file}: [audit] holds a table for each rule, such as [audit.refusal], and no"
                f" {rule!r}; options of the command stand outside it"
            )
        found += _of_rule(f"{file}: [audit.{rule}]", rule, table)
    return found


def from_flags(texts: Iterable[str]) -> list[Setting]:
    """The settings of `--rule` flags. Raises UsageError for what is no RULE.KEY=VALUE."""
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


def from_mapping(rules: Mapping[str, Mapping[str, Any]]) -> list[Setting]:
    """The settings of `ifdkit.audit(rules=…)`. Raises UsageError."""
    found = []
    for rule, table in rules.items():
        if not isinstance(table, Mapping):
            raise UsageError(f"rules[{rule!r}] must be a dictionary such as {{'most': 0.02}}")
        found += _of_rule(f"rules[{rule!r}]", rule, table)
    return found


def _of_rule(place: str, rule: str, table: Mapping[str, Any]) -> list[Setting]:
    name = rule.replace("-", "_")
    return [Setting(place, name, key.replace("-", "_"), value) for key, value in table.items()]


def _number_or_text(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def configured(settings: Iterable[Setting], rules: Iterable[Rule] = RULES) -> tuple[Rule, ...]:
    """The rules with these settings, in their order.

    Raises UsageError for a rule or key that is not there, with the nearest that is, and for a
    value that cannot be meant.
    """
    by_name = {rule.name: rule for rule in rules}
    for one in settings:
        if one.rule not in by_name:
            raise UsageError(
                f"{one.place}: no rule is called {one.rule!r}; did you mean"
                f" {_nearest(one.rule, by_name)}?"
            )
        by_name[one.rule] = _changed(by_name[one.rule], one)
    return tuple(by_name.values())


def _changed(rule: Rule, setting: Setting) -> Rule:
    match setting.key:
        case "severity":
            return replace(rule, severity=_severity(setting))
        case "most":
            return replace(rule, most=_number(setting, (0.0, 1.0), "a share from 0 to 1"))
        case "threshold":
            if rule.threshold is None:
                raise UsageError(f"{setting.place}: {rule.name} has no threshold, only most")
            low, high = rule.bounds
            what = f"a number from {low:g} to {high:g}" if high < math.inf else f"{low:g} or more"
            return replace(rule, threshold=_number(setting, rule.bounds, what))
    raise UsageError(
        f"{setting.place}: a rule has {', '.join(KEYS)} and no {setting.key!r}; did you mean"
        f" {_nearest(setting.key, KEYS)}?"
    )


def _severity(setting: Setting) -> Severity:
    known: tuple[Severity, ...] = get_args(Severity)
    for one in known:
        if setting.value == one:
            return one
    raise UsageError(
        f"{setting.place}: severity {setting.value!r}: choose {', '.join(known)}; did you mean"
        f" {_nearest(str(setting.value), known)}?"
    )


def _number(setting: Setting, bounds: tuple[float, float], what: str) -> float:
    value = setting.value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        low, high = bounds
        if math.isfinite(value) and low <= value <= high:
            return float(value)
    raise UsageError(f"{setting.place}: {setting.key} {value!r}: it must be {what}")


def _nearest(word: str, known: Iterable[str]) -> str:
    return get_close_matches(word, list(known), n=1, cutoff=0.0)[0]
