"""The condition of `--fail-if`, such as `ifd.median_change < 0 and ifd.p_holm < 0.05`.

condition   comparison and comparison and …
comparison  NAME OP NUMBER                       OP: < <= > >= == !=
NAME        METRIC.STATISTIC                     ifd.median_change
            length_control.METRIC.ESTIMATE       length_control.ifd.common_length_change
            findings.KIND.count, .share          the largest of that kind that is not of the old
                                                 file alone, 0 where none;
                                                 undefined where no texts were compared
            pairing.COUNT                        pairing.n_pairs
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields

from ifdkit.comparison.result import LengthControl, Pairing, Summary
from ifdkit.errors import UsageError
from ifdkit.findings import KINDS
from ifdkit.scoring.metrics import METRICS
from ifdkit.stats.paired import MetricChange

Number = float | None

_STATISTICS: Mapping[str, Callable[[MetricChange], Number]] = {
    "mean_change": lambda m: m.change.mean,
    "median_change": lambda m: m.change.median,
    "mean_before": lambda m: m.before.mean,
    "mean_after": lambda m: m.after.mean,
    "median_before": lambda m: m.before.median,
    "median_after": lambda m: m.after.median,
    "geometric_mean_before": lambda m: m.before.geometric_mean,
    "geometric_mean_after": lambda m: m.after.geometric_mean,
    "p": lambda m: m.change.p,
    "p_holm": lambda m: m.change.p_holm,
    "effect": lambda m: m.change.effect,
    "share_up": lambda m: m.change.share_up,
    "share_unchanged": lambda m: m.change.share_unchanged,
    "ks": lambda m: m.distance.ks,
    "wasserstein": lambda m: m.distance.wasserstein,
    "n": lambda m: m.before.n,
}
_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}
_EXAMPLE = "ifd.median_change < 0"
_COMPARISON = re.compile(
    rf"\s*([\w.-]+)\s*({'|'.join(_OPERATORS)})\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*",
    re.ASCII | re.IGNORECASE,
)


def _numeric(record: type) -> tuple[str, ...]:
    """Fields of a record that hold one number."""
    numbers = {"int", "float", "int | None", "float | None"}
    return tuple(f.name for f in fields(record) if f.type in numbers)


_ESTIMATES = _numeric(LengthControl)
_COUNTS = _numeric(Pairing)
_OF_FINDINGS = ("count", "share")


@dataclass(frozen=True, slots=True)
class Comparison:
    """One comparison of a named number of the summary with a constant."""

    name: str
    operator: str
    number: float

    def __str__(self) -> str:
        return f"{self.name} {self.operator} {self.number:g}"

    def holds(self, summary: Summary) -> bool | None:
        """Whether it is true; None where the number is undefined.  Raises UsageError."""
        value = value_of(self.name, summary)
        return None if value is None else _OPERATORS[self.operator](value, self.number)


@dataclass(frozen=True, slots=True)
class Condition:
    """Comparisons that must all hold for the gate to fail."""

    text: str
    comparisons: tuple[Comparison, ...]

    def check(self, summary: Summary) -> str | None:
        """Why the gate fails, with the actual numbers; None where it passes.

        It fails where every comparison holds or might: an undefined number never lets a dataset
        pass by itself, only a comparison that is false does.  Raises UsageError for a name that
        this summary does not have.
        """
        outcomes = [(one, one.holds(summary)) for one in self.comparisons]
        if any(outcome is False for _, outcome in outcomes):
            return None
        reasons = [_reason(one, outcome, summary) for one, outcome in outcomes]
        return f"--fail-if {self.text!r}: {' and '.join(reasons)}"


def _reason(comparison: Comparison, outcome: bool | None, summary: Summary) -> str:
    if outcome is None:
        return f"{comparison.name} is undefined here, so {comparison} cannot be ruled out"
    return f"{comparison.name} is {value_of(comparison.name, summary):.6g}"


def parse_condition(text: str) -> Condition:
    """The condition in a text.  Raises UsageError for what no summary can have.

    Whether a metric was measured is known only to `check`.
    """
    parts = re.split(r"\s+and\s+", text.strip(), flags=re.IGNORECASE)
    return Condition(text.strip(), tuple(_parse_comparison(part) for part in parts))


def _parse_comparison(text: str) -> Comparison:
    found = _COMPARISON.fullmatch(text)
    if found is None:
        raise UsageError(
            f"--fail-if: {text!r} is not a comparison such as {_EXAMPLE!r}: a name, one of"
            f" {' '.join(_OPERATORS)}, and a number, joined to others by 'and'"
        )
    name, operator_, number = found.groups()
    _check_name(name)
    return Comparison(name, operator_, float(number))


def _check_name(name: str) -> None:
    """Raise UsageError unless some summary could have the name."""
    match name.split("."):
        case ["length_control", metric, estimate]:
            _one_of(metric, METRICS, name, "metric")
            _one_of(estimate, _ESTIMATES, name, "estimate")
        case ["findings", kind, statistic]:
            _one_of(kind, KINDS, name, "kind of finding")
            _one_of(statistic, _OF_FINDINGS, name, "number of a finding")
        case ["pairing", count]:
            _one_of(count, _COUNTS, name, "count of pairs")
        case [metric, statistic]:
            _one_of(metric, METRICS, name, "metric")
            _one_of(statistic, _STATISTICS, name, "statistic")
        case _:
            raise UsageError(
                f"--fail-if: {name!r} names no number: write METRIC.STATISTIC (ifd.median_change),"
                " length_control.METRIC.ESTIMATE, findings.KIND.count or pairing.COUNT"
            )


def value_of(name: str, summary: Summary) -> Number:
    """The number of that name, None where it is undefined.  Raises UsageError for no such name."""
    _check_name(name)
    match name.split("."):
        case ["length_control", metric, estimate]:
            _one_of(metric, summary.length_control, name, "metric with length control")
            return _as_number(getattr(summary.length_control[metric], estimate))
        case ["findings", _, _] if not summary.texts_compared:
            return None  # nobody looked, which is not the same as nothing there
        case ["findings", kind, statistic]:
            # What stands in the old file alone is no reason to refuse the new one.
            now = [f for f in summary.findings if f.kind == kind and f.side != "before"]
            found = [getattr(f, statistic) for f in now]
            return _as_number(max(found, default=0))
        case ["pairing", count]:
            return _as_number(getattr(summary.pairing, count))
        case [metric, statistic]:
            _one_of(metric, summary.metrics, name, "compared metric")
            return _as_number(_STATISTICS[statistic](summary.metrics[metric]))
    raise AssertionError(name)  # `_check_name` lets nothing else through


def _as_number(value: float | None) -> Number:
    """A number that can be compared: NaN would make every comparison false, and the gate pass."""
    return float(value) if value is not None and math.isfinite(value) else None


def _one_of(word: str, known: Iterable[str], name: str, what: str) -> None:
    if word not in known:
        raise UsageError(
            f"--fail-if: {word!r} in {name!r} is no {what}; there are {', '.join(known) or 'none'}"
        )
