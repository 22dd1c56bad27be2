"""An expression and columns → true, false or unknown for every row.

The logic has three values (Kleene): a comparison with a null or undefined value is unknown, `not`
of unknown is unknown, `and` is false if a term is false, and `or` is true if a term is true.

The constant decides how a value is compared, so that the rows of a CSV file, which are all text,
give the same result as those of a JSON or Parquet file:

    with a number    numbers, and text that spells one
    with a text      text, and numbers, booleans and dates as they are spelled in JSON
    with a boolean   booleans, and text that spells one

Any other value is not equal to the constant, and neither less nor greater (unknown).  Two named
values are compared as numbers if both are, else as text if both can be, else they are unknown.
"""

from __future__ import annotations

import datetime as dt
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property, reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifdkit.expressions.nodes import (
    And,
    Expression,
    IsNull,
    Literal,
    Membership,
    Name,
    Not,
    Operator,
    Or,
    Relation,
)

Mask = NDArray[np.bool_]
Number = int | float | Decimal

_COMPARE: Mapping[Operator, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_MIRRORED: Mapping[Operator, Operator] = {
    "<": ">",
    "<=": ">=",
    ">": "<",
    ">=": "<=",
    "==": "==",
    "!=": "!=",
}
"""The operator with its operands exchanged."""
_EXACT = 2.0**53
"""From here on different integers can be the same float."""
_NUMERAL = re.compile(r"\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*", re.ASCII)
_MAX_NUMERAL_CHARACTERS = 1_000
_BOOLEANS = {"true": 1, "false": 0}


@dataclass(frozen=True, slots=True)
class Truth:
    """Which rows are true and which are false, shape (rows,); the others are unknown."""

    is_true: Mask
    is_false: Mask

    def __invert__(self) -> Truth:
        return Truth(self.is_false, self.is_true)

    def __and__(self, other: Truth) -> Truth:
        return Truth(self.is_true & other.is_true, self.is_false | other.is_false)

    def __or__(self, other: Truth) -> Truth:
        return Truth(self.is_true | other.is_true, self.is_false & other.is_false)


class Column:
    """One value of any type for every row, and the same values as each type of constant."""

    def __init__(self, values: Sequence[Any]) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    @property
    def values(self) -> Sequence[Any]:
        """The values as they are."""
        return self._values

    @cached_property
    def is_null(self) -> Mask:
        """Which values are null, or numbers that are undefined (NaN)."""
        # The test for text is there for speed: most columns are text.
        return np.array([type(v) is not str and _is_null(v) for v in self.values], dtype=bool)

    @cached_property
    def numbers(self) -> NDArray[np.float64]:
        """The values as numbers; NaN for those that are none."""
        # The test for floats is there for speed.
        floats = (v if type(v) is float else _as_float(number_of(v)) for v in self.values)
        return np.fromiter(floats, np.float64, len(self))

    @cached_property
    def texts(self) -> NDArray[np.object_]:
        """The values as text; None for null, lists and objects."""
        found = np.empty(len(self), dtype=object)
        found[:] = [v if type(v) is str else text_of(v) for v in self.values]
        return found

    @cached_property
    def is_text(self) -> Mask:
        """Which values have a text."""
        return np.array([one is not None for one in self.texts.tolist()], dtype=bool)

    @cached_property
    def booleans(self) -> NDArray[np.int8]:
        """1 for true, 0 for false, −1 for anything else."""
        return np.fromiter(map(_boolean_of, self.values), np.int8, len(self))


class NumberColumn(Column):
    """One number for every row, NaN if undefined."""

    def __init__(self, numbers: NDArray[np.float64]) -> None:
        super().__init__(())
        self.numbers = numbers
        self.is_null = np.isnan(numbers)

    def __len__(self) -> int:
        return len(self.numbers)

    @cached_property
    def values(self) -> Sequence[Any]:
        """The numbers as Python floats."""
        found: list[float] = self.numbers.tolist()
        return found


def _is_null(value: Any) -> bool:
    if isinstance(value, (float, np.floating)):
        return math.isnan(value)
    return value is None or (isinstance(value, Decimal) and value.is_nan())


def number_of(value: Any) -> Number | None:
    """A value as a number; None if it is no number and does not spell one. True is not a number."""
    match value:
        case str():
            return _number_spelled(value)
        case bool():
            return None
        case int():
            return value
        case float():
            return None if math.isnan(value) else value
        case Decimal():
            return value if value.is_finite() else None
        case np.generic():
            return number_of(value.item())
        case _:
            return None


def _number_spelled(text: str) -> Number | None:
    # The first test is fast, and most texts end with it.
    if not (text and (text[0] in "+-.0123456789" or text[0].isspace())):
        return None
    if len(text) > _MAX_NUMERAL_CHARACTERS or not _NUMERAL.fullmatch(text):
        return None
    return float(text) if any(one in text for one in ".eE") else int(text)


def _as_float(number: Number | None) -> float:
    if number is None:
        return math.nan
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def text_of(value: Any) -> str | None:
    """A value as JSON spells it, without quotes; None for null, NaN, lists and objects."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            try:
                return str(value)
            except ValueError:  # Python limits the digits
                return None
        case float():
            return None if math.isnan(value) else repr(value)
        case Decimal():
            return None if value.is_nan() else str(value)
        case dt.date() | dt.time():  # a datetime is a date too
            return value.isoformat()
        case np.generic():
            return text_of(value.item())
        case _:
            return None


def _boolean_of(value: Any) -> int:
    if isinstance(value, (bool, np.bool_)):
        return int(value)
    return _BOOLEANS.get(value.strip().lower(), -1) if isinstance(value, str) else -1


def evaluate(expression: Expression, columns: Mapping[Name, Column]) -> Truth:
    """The truth of an expression for every row; `columns` has every name in it."""
    match expression:
        case And():
            return reduce(operator.and_, (evaluate(one, columns) for one in expression.terms))
        case Or():
            return reduce(operator.or_, (evaluate(one, columns) for one in expression.terms))
        case Not():
            return ~evaluate(expression.term, columns)
        case IsNull():
            is_null = columns[expression.name].is_null
            return Truth(is_null, ~is_null)
        case Membership():
            return _member(columns[expression.name], expression.values)
        case Relation():
            return _compare(expression, columns)


def _compare(comparison: Relation, columns: Mapping[Name, Column]) -> Truth:
    left, right, how = comparison.left, comparison.right, comparison.operator
    if isinstance(left, Name) and isinstance(right, Name):
        return _compare_columns(columns[left], how, columns[right])
    if isinstance(left, Name) and isinstance(right, Literal):
        return _compare_constant(columns[left], how, right.value)
    assert isinstance(left, Literal), "the parser refuses other operands"
    assert isinstance(right, Name), "the parser refuses two constants"
    return _compare_constant(columns[right], _MIRRORED[how], left.value)


def _compare_constant(column: Column, how: Operator, constant: str | float | bool) -> Truth:
    result: Mask
    if isinstance(constant, bool):
        is_known = column.booleans >= 0
        result = _COMPARE[how](column.booleans, int(constant))
    elif isinstance(constant, str):
        is_known = column.is_text
        result = _compare_texts(column.texts, how, constant, is_known)
    else:
        is_known = ~np.isnan(column.numbers)
        limit = _as_float(constant)
        result = _COMPARE[how](column.numbers, limit)
        if abs(limit) >= _EXACT:
            for row in np.flatnonzero(column.numbers == limit).tolist():
                result[row] = _COMPARE[how](number_of(column.values[row]), constant)
    if how in ("==", "!="):  # a value of another type is not equal
        result = np.where(is_known, result, how == "!=")
        is_known = ~column.is_null
    return Truth(is_known & result, is_known & ~result)


def _compare_columns(left: Column, how: Operator, right: Column) -> Truth:
    are_numbers = ~(np.isnan(left.numbers) | np.isnan(right.numbers))
    result: Mask = _COMPARE[how](left.numbers, right.numbers)
    is_tie = (left.numbers == right.numbers) & (np.abs(left.numbers) >= _EXACT)
    for row in np.flatnonzero(is_tie).tolist():
        result[row] = _COMPARE[how](number_of(left.values[row]), number_of(right.values[row]))
    is_known = are_numbers
    if not are_numbers.all():
        are_texts = ~are_numbers & left.is_text & right.is_text
        by_text = _compare_texts(left.texts, how, right.texts, are_texts)
        result, is_known = np.where(are_texts, by_text, result), are_numbers | are_texts
    return Truth(is_known & result, is_known & ~result)


def _compare_texts(
    texts: NDArray[np.object_], how: Operator, other: str | NDArray[np.object_], rows: Mask
) -> Mask:
    """Compare texts, by code points, in some of the rows; False in the others."""
    found: Mask = np.zeros(len(texts), dtype=bool)
    right = other if isinstance(other, str) else other[rows]
    found[rows] = _COMPARE[how](texts[rows], right).astype(bool)
    return found


def _member(column: Column, constants: Iterable[Literal]) -> Truth:
    """`in`: the same as equality to one constant after the other, but in one pass for texts."""
    values = [one.value for one in constants]
    texts = {one for one in values if isinstance(one, str)}
    is_equal: Mask = np.zeros(len(column), dtype=bool)
    if texts:
        is_equal = np.array([one in texts for one in column.texts.tolist()], dtype=bool)
    numbers = [one for one in values if not isinstance(one, (str, bool))]
    small = [one for one in numbers if abs(_as_float(one)) < _EXACT]
    if small:
        is_equal |= np.isin(column.numbers, np.array(small, dtype=np.float64))
    large = [one for one in numbers if abs(_as_float(one)) >= _EXACT]
    for constant in (*large, *(one for one in values if isinstance(one, bool))):
        is_equal |= _compare_constant(column, "==", constant).is_true
    is_known = ~column.is_null
    return Truth(is_known & is_equal, is_known & ~is_equal)
