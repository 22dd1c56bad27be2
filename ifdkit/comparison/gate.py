"""The condition of `--fail-if`, such as `ifd.median_change < 0 and ifd.p_holm < 0.05`.

condition   clause and clause and …
clause      NAME OP NUMBER                       OP: < <= > >= == !=
NAME        METRIC.STATISTIC                     ifd.median_change
            length_control.METRIC.ESTIMATE       length_control.ifd.common_length_change
            findings.KIND.count, .share          the largest finding of that kind that is not about
                                                 the before side alone; 0 if there is none,
                                                 undefined if no texts were compared
            pairing.COUNT                        pairing.n_pairs
            diversity.MEASURE.NUMBER             diversity.vendi.change
            coverage.NUMBER                      coverage.before_by_after
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields

from ifdkit.comparison.overview import Compared
from ifdkit.comparison.result import DiversityChange, LengthControl, SetCoverage, Summary
from ifdkit.data.pairing import Pairing
from ifdkit.diversity.measures import DIVERSITY
from ifdkit.errors import UsageError, unknown
from ifdkit.findings import KINDS
from ifdkit.scoring.metrics import METRICS
from ifdkit.stats.paired import MetricChange

Number = float | None
Gated = Summary | Compared
"""What a condition is about: a comparison, alone or one of several."""

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
_CLAUSE = re.compile(
    rf"\s*([\w.-]+)\s*({'|'.join(_OPERATORS)})\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*",
    re.ASCII | re.IGNORECASE,
)


def _numeric(record: type) -> tuple[str, ...]:
    """Fields of a record that are a single number."""
    numbers = {"int", "float", "int | None", "float | None"}
    return tuple(f.name for f in fields(record) if f.type in numbers)


_ESTIMATES = _numeric(LengthControl)
_COUNTS = _numeric(Pairing)
_OF_DIVERSITY = _numeric(DiversityChange)
_OF_COVERAGE = _numeric(SetCoverage)
_OF_FINDINGS = ("count", "share")
_LENGTH_CONTROLLED = ("ifd",)


@dataclass(frozen=True, slots=True)
class Clause:
    """A named number of the summary compared with a constant."""

    name: str
    operator: str
    number: float

    def __str__(self) -> str:
        return f"{self.name} {self.operator} {self.number:g}"

    def is_true(self, summary: Gated) -> bool | None:
        """Whether it is true; None if the number is undefined."""
        value = value_of(self.name, summary)
        return None if value is None else _OPERATORS[self.operator](value, self.number)

    def reason(self, summary: Gated) -> str:
        """Why the gate does not pass, with the actual number."""
        value = value_of(self.name, summary)
        if value is None:
            return f"{self.name} is undefined here, so {self} cannot be ruled out"
        return f"{self.name} is {value:.6g}"


@dataclass(frozen=True, slots=True)
class Condition:
    """Clauses that must all be true for the gate to fail."""

    text: str
    clauses: tuple[Clause, ...]

    @property
    def metrics(self) -> list[str]:
        """The metrics it needs; diversity is that of the embeddings that coherence stores."""
        parts = (
            clause.name.removeprefix("length_control.").split(".")[0] for clause in self.clauses
        )
        stored = {"diversity": "coherence", "coverage": "coherence"}
        return [name for part in parts if (name := stored.get(part, part)) in METRICS]

    def check(self, summary: Gated) -> str | None:
        """Why the gate fails, with the actual numbers; None if it passes.

        It fails if every clause is true or may be true.  An undefined number alone never lets a
        dataset pass; only a false clause does.
        """
        if any(clause.is_true(summary) is False for clause in self.clauses):
            return None
        reasons = " and ".join(clause.reason(summary) for clause in self.clauses)
        return f"--fail-if {self.text!r}: {reasons}"


def parse_condition(text: str) -> Condition:
    """The condition in a text. Raises UsageError for a name that no summary can have."""
    parts = re.split(r"\s+and\s+", text.strip(), flags=re.IGNORECASE)
    return Condition(text.strip(), tuple(_parse_clause(part) for part in parts))


def _parse_clause(text: str) -> Clause:
    found = _CLAUSE.fullmatch(text)
    if found is None:
        raise UsageError(
            f"--fail-if: {text!r} is not a comparison such as {_EXAMPLE!r}: a name, one of"
            f" {' '.join(_OPERATORS)}, and a number, joined to others by 'and'"
        )
    name, operator_, number = found.groups()
    _check_name(name)
    return Clause(name, operator_, float(number))


def _check_name(name: str) -> None:
    """Raise UsageError unless a summary can have the name."""
    match name.split("."):
        case ["length_control", metric, estimate]:
            _one_of(metric, _LENGTH_CONTROLLED, name, "metric with length control")
            _one_of(estimate, _ESTIMATES, name, "estimate")
        case ["findings", kind, statistic]:
            _one_of(kind, KINDS, name, "kind of finding")
            _one_of(statistic, _OF_FINDINGS, name, "number of a finding")
        case ["pairing", count]:
            _one_of(count, _COUNTS, name, "count of pairs")
        case ["diversity", measure, statistic]:
            _one_of(measure, DIVERSITY, name, "measure of diversity")
            _one_of(statistic, _OF_DIVERSITY, name, "number of a measure")
        case ["coverage", statistic]:
            _one_of(statistic, _OF_COVERAGE, name, "number of the coverage")
        case [metric, statistic]:
            _one_of(metric, METRICS, name, "metric")
            _one_of(statistic, _STATISTICS, name, "statistic")
        case _:
            raise UsageError(
                f"--fail-if: {name!r} is not the name of a number: write METRIC.STATISTIC"
                " (ifd.median_change), length_control.METRIC.ESTIMATE, findings.KIND.count,"
                " pairing.COUNT, diversity.MEASURE.change or coverage.NUMBER"
            )


def value_of(name: str, summary: Gated) -> Number:
    """The number of that name; None if it is undefined. Raises UsageError for an unknown name."""
    _check_name(name)
    match name.split("."):
        case ["length_control", metric, estimate]:
            control = summary.length_control.get(metric)
            return _as_number(getattr(control, estimate)) if control else None
        case ["findings", _, _] if not summary.texts_compared:
            return None  # not looked for, which differs from not found
        case ["findings", kind, statistic]:
            # A finding about the before side alone is no reason to refuse the other one.
            found = [f for f in summary.findings if f.kind == kind and f.side != "before"]
            return _as_number(max((getattr(f, statistic) for f in found), default=0))
        case ["pairing", count]:
            pairing = summary.pairing  # None if the datasets are not paired
            return None if pairing is None else _as_number(getattr(pairing, count))
        case ["diversity", measure, statistic]:
            measured = summary.diversity.get(measure)
            return _as_number(getattr(measured, statistic)) if measured else None
        case ["coverage", statistic]:
            covered = summary.coverage
            return None if covered is None else _as_number(getattr(covered, statistic))
        case [metric, statistic]:
            change = summary.metrics.get(metric)
            return _as_number(_STATISTICS[statistic](change)) if change else None
    raise AssertionError(name)  # `_check_name` accepts nothing else


def _as_number(value: float | None) -> Number:
    """A finite number or None: NaN would make every clause false, so that the gate passes."""
    return float(value) if value is not None and math.isfinite(value) else None


def _one_of(word: str, known: Iterable[str], name: str, what: str) -> None:
    if word not in known:
        raise UsageError(f"--fail-if: {unknown(what, word, known)} (in {name!r})")
