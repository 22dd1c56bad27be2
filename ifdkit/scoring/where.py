"""`--where` on scores and columns: what can be chosen before scoring, and what after it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ifdkit.data.where import FLAG, suggestion
from ifdkit.expressions.nodes import (
    Expression,
    Literal,
    Membership,
    Name,
    Relation,
    leaves_of,
    names_of,
    split,
)
from ifdkit.expressions.syntax import fail, parse
from ifdkit.records import Status
from ifdkit.scoring.metrics import METRICS

_TEXT_FIELDS = ("id", "status")


def score_fields() -> tuple[str, ...]:
    """The names of an expression that mean a score; in backticks they mean a column."""
    return (*_TEXT_FIELDS, *METRICS)


@dataclass(frozen=True, slots=True)
class Where:
    """An expression in two parts, which are both true exactly if it is."""

    text: str
    """As it was given."""
    columns: Expression | None
    """The part about columns of the rows: it is decided before any row is scored."""
    scores: Expression | None
    """The rest."""

    @property
    def scored_fields(self) -> tuple[str, ...]:
        """The metrics that it needs, and `status`."""
        names = dict.fromkeys(names_of(self.scores)) if self.scores else ()
        return tuple(name.path[0] for name in names if _is_score(name) and name.path[0] != "id")

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that it needs."""
        return tuple(name for name in self.scored_fields if name in METRICS)

    @property
    def needs_status(self) -> bool:
        """Whether it needs the status of the examples, which scoring decides."""
        return "status" in self.scored_fields


def parse_where(text: str) -> Where:
    """The expression of `--where`.

    Raises UsageError for anything that is not an expression, and for a score compared with a
    constant that it cannot be equal to. Other names must be columns, which is checked later.
    """
    expression = parse(text, FLAG)
    for name, constant in _constants_of(expression):
        _check_type(name, constant)
    columns, scores = split(expression, lambda part: not any(map(_is_score, names_of(part))))
    return Where(text, columns, scores)


def _is_score(name: Name) -> bool:
    return not name.is_quoted and len(name.path) == 1 and name.path[0] in score_fields()


def _constants_of(expression: Expression) -> Iterator[tuple[Name, Literal]]:
    """Every score with the constant that it is compared with."""
    for leaf in leaves_of(expression):
        pairs: list[tuple[object, object]] = []
        if isinstance(leaf, Membership):
            pairs = [(leaf.name, value) for value in leaf.values]
        elif isinstance(leaf, Relation):
            pairs = [(leaf.left, leaf.right), (leaf.right, leaf.left)]
        for name, constant in pairs:
            if isinstance(name, Name) and isinstance(constant, Literal) and _is_score(name):
                yield name, constant


def _check_type(name: Name, constant: Literal) -> None:
    field, value = name.path[0], constant.value
    is_text = isinstance(value, str)
    if field in METRICS and (is_text or isinstance(value, bool)):
        fail(FLAG, f"{field} is a number and cannot be compared with {constant}",
             constant.position)  # fmt: skip
    if field == "status" and not is_text:
        fail(FLAG, f"status is a text and cannot be compared with {constant}", constant.position)
    if field == "status" and value not in list(Status):
        hint = suggestion(str(value), list(map(str, Status)))
        fail(FLAG, f"unknown status {constant} ({hint})", constant.position)
