"""The nodes of an expression, and how they are written.

`str` of a node is text that `syntax.parse` reads as an equal node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal as OneOf

Operator = OneOf["<", "<=", ">", ">=", "==", "!="]


@dataclass(frozen=True, slots=True)
class Name:
    """A named value: a field, or the path to a field inside an object."""

    path: tuple[str, ...]
    is_quoted: bool = False
    """Whether a part of it is in backticks."""
    position: int = field(default=1, compare=False)
    """1-based character at which it starts."""

    def __str__(self) -> str:
        if not self.is_quoted:
            return ".".join(self.path)
        return ".".join("`" + part.replace("`", "``") + "`" for part in self.path)


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant."""

    value: str | float | int | bool
    position: int = field(default=1, compare=False)

    def __str__(self) -> str:
        if isinstance(self.value, bool):
            return str(self.value).lower()
        if isinstance(self.value, str):
            return "'" + self.value.replace("'", "''") + "'"
        return repr(self.value)


Operand = Name | Literal


@dataclass(frozen=True, slots=True)
class Relation:
    """Two operands compared; at least one of them is a name."""

    left: Operand
    operator: Operator
    right: Operand

    def __str__(self) -> str:
        return f"{self.left} {self.operator} {self.right}"


@dataclass(frozen=True, slots=True)
class Membership:
    """A named value that is one of several constants."""

    name: Name
    values: tuple[Literal, ...]

    def __str__(self) -> str:
        return f"{self.name} in ({', '.join(map(str, self.values))})"


@dataclass(frozen=True, slots=True)
class IsNull:
    """A named value that is null, or absent."""

    name: Name

    def __str__(self) -> str:
        return f"{self.name} is null"


@dataclass(frozen=True, slots=True)
class Not:
    """A negated expression."""

    term: Expression

    def __str__(self) -> str:
        match self.term:
            case IsNull(name):
                return f"{name} is not null"
            case Membership(name, values):
                return f"{name} not in ({', '.join(map(str, values))})"
        return f"not {_inside(self.term)}"


@dataclass(frozen=True, slots=True)
class And:
    """Two or more expressions joined by `and`."""

    terms: tuple[Expression, ...]

    def __str__(self) -> str:
        return " and ".join(_inside(term) for term in self.terms)


@dataclass(frozen=True, slots=True)
class Or:
    """Two or more expressions joined by `or`."""

    terms: tuple[Expression, ...]

    def __str__(self) -> str:
        return " or ".join(_inside(term) for term in self.terms)


Expression = Relation | Membership | IsNull | Not | And | Or


def _inside(term: Expression) -> str:
    return f"({term})" if isinstance(term, (And, Or)) else str(term)


def leaves_of(expression: Expression) -> Iterator[Relation | Membership | IsNull]:
    """The parts of an expression that are neither `and`, `or` nor `not`, in order."""
    match expression:
        case And() | Or():
            for term in expression.terms:
                yield from leaves_of(term)
        case Not():
            yield from leaves_of(expression.term)
        case _:
            yield expression


def names_of(expression: Expression) -> Iterator[Name]:
    """Every name in an expression, in order, each as often as it occurs."""
    for leaf in leaves_of(expression):
        if isinstance(leaf, Relation):
            yield from (one for one in (leaf.left, leaf.right) if isinstance(one, Name))
        else:
            yield leaf.name


def split(
    expression: Expression, belongs: Callable[[Expression], bool]
) -> tuple[Expression | None, Expression | None]:
    """Two expressions that are both true exactly if `expression` is: one that `belongs`, the rest.

    Only terms joined by `and` can be separated.
    """
    terms = expression.terms if isinstance(expression, And) else (expression,)
    parts = [one for one in terms if belongs(one)], [one for one in terms if not belongs(one)]
    first, second = (_joined(part) for part in parts)
    return first, second


def _joined(terms: list[Expression]) -> Expression | None:
    return And(tuple(terms)) if len(terms) > 1 else next(iter(terms), None)
