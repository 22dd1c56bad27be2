"""From text to an expression.

    expression   conjunction { or conjunction }
    conjunction  negation { and negation }
    negation     not negation | ( expression ) | comparison
    comparison   operand { OP operand }             0.5 < ifd <= 1 is two comparisons
                 name [not] in ( literal { , literal } )
                 name is [not] null
    OP           <  <=  >  >=  ==  !=
    operand      name | literal
    name         word { . word }                    meta.lang is a field of an object
    word         letters, digits and _, or anything between backticks
    literal      number | 'text' | "text" | true | false

Keywords are not case-sensitive.  A quote or backtick inside its own kind is written twice.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn, cast

from ifdkit.errors import UsageError
from ifdkit.expressions.nodes import (
    And,
    Expression,
    IsNull,
    Literal,
    Membership,
    Name,
    Not,
    Operand,
    Operator,
    Or,
    Relation,
)

MAX_CHARACTERS = 10_000
"""Longer expressions are refused."""
MAX_DEPTH = 50
"""Expressions with deeper nesting of parentheses and `not` are refused."""

KEYWORDS = frozenset({"and", "or", "not", "in", "is", "null", "true", "false"})

_TOKEN = re.compile(
    r"""
      (?P<number> [+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    | (?P<text>   '[^']*(?:''[^']*)*' | "[^"]*(?:""[^"]*)*")
    | (?P<quoted> `[^`]*(?:``[^`]*)*`)
    | (?P<word>   [^\W\d]\w*)
    | (?P<symbol> <= | >= | == | != | <(?!>) | > | [(),.])
    | (?P<wrong>  <> | && | \|\| | [=&|!≤≥≠])
    """,
    re.VERBOSE,
)
_SPACE = re.compile(r"\s*")
_INSTEAD = {
    "=": "==",
    "<>": "!=",
    "&&": "and",
    "&": "and",
    "||": "or",
    "|": "or",
    "!": "not",
    "≤": "<=",
    "≥": ">=",
    "≠": "!=",
}
"""What users of other languages type → what it is here."""


def parse(text: str, flag: str) -> Expression:
    """The expression in a text; `flag` begins the messages.

    Raises UsageError, on one line and with the position, for anything that is not an expression.
    """
    if not isinstance(text, str):
        raise UsageError(f"{flag}: an expression is text, not {type(text).__name__}")
    if len(text) > MAX_CHARACTERS:
        raise UsageError(
            f"{flag}: the expression has {len(text):,} characters, more than {MAX_CHARACTERS:,}"
        )
    found = _Parser(text, flag).whole()
    if len(str(found)) > MAX_CHARACTERS:  # a manifest has this form, which must be readable too
        raise UsageError(f"{flag}: the expression is longer than {MAX_CHARACTERS:,} characters")
    return found


def fail(flag: str, problem: str, position: int) -> NoReturn:
    """Raise the UsageError of a problem at a 1-based position in an expression."""
    raise UsageError(f"{flag}: {problem} at character {position}")


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    """A group of _TOKEN, a keyword, a symbol, or `end`."""
    text: str
    position: int

    def __str__(self) -> str:
        return "the end" if self.kind == "end" else _shown(self.text)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:39]}…")


def _tokens(text: str, flag: str) -> Iterator[_Token]:
    begin = _end_of_space(text, 0)
    while begin < len(text):
        found = _TOKEN.match(text, begin)
        if found is None:
            _fail_at_character(text, begin, flag)
        kind, content = str(found.lastgroup), found.group()
        if kind == "wrong":
            fail(flag, f"{content!r} is not an operator: write {_INSTEAD[content]!r}", begin + 1)
        if kind == "symbol":
            kind = content
        elif kind == "word" and content.lower() in KEYWORDS:
            kind = content.lower()
        yield _Token(kind, content, begin + 1)
        begin = _end_of_space(text, found.end())
    yield _Token("end", "", len(text) + 1)


def _end_of_space(text: str, begin: int) -> int:
    found = _SPACE.match(text, begin)
    assert found is not None, "it may be empty"
    return found.end()


def _fail_at_character(text: str, begin: int, flag: str) -> NoReturn:
    one = text[begin]
    if one in "'\"`":
        fail(flag, f"the text that starts with {one} is not closed", begin + 1)
    fail(flag, f"unexpected {one!r} (write a name with other characters than letters, digits and _"
         " in backticks)", begin + 1)  # fmt: skip


_OPERATORS = ("<", "<=", ">", ">=", "==", "!=")
_EXAMPLE = "such as ifd < 1"


class _Parser:
    """Recursive descent over the grammar in the docstring of the module."""

    def __init__(self, text: str, flag: str) -> None:
        self._flag = flag
        self._tokens = list(_tokens(text, flag))
        self._at = 0
        self._depth = 0

    def whole(self) -> Expression:
        if self._next.kind == "end":
            raise UsageError(f"{self._flag}: the expression is empty: write one {_EXAMPLE}")
        found = self._or()
        if self._next.kind == ")":
            self._fail("')' without '('")
        if self._next.kind != "end":
            self._fail(f"expected 'and' or 'or', not {self._next}")
        return found

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self, *kinds: str) -> _Token | None:
        """The next token, if it is of one of these kinds; the parser moves on behind it."""
        token = self._next
        if token.kind not in kinds:
            return None
        self._at += 1
        return token

    def _expect(self, kind: str, what: str) -> _Token:
        token = self._take(kind)
        if token is None:
            self._fail(f"expected {what}, not {self._next}")
        return token

    def _fail(self, problem: str, position: int | None = None) -> NoReturn:
        fail(self._flag, problem, self._next.position if position is None else position)

    def _fail_deep(self) -> NoReturn:
        self._fail(f"nested deeper than {MAX_DEPTH} levels")

    def _or(self) -> Expression:
        terms = [self._and()]
        while self._take("or"):
            terms.append(self._and())
        return Or(tuple(terms)) if len(terms) > 1 else terms[0]

    def _and(self) -> Expression:
        terms = [self._not()]
        while self._take("and"):
            terms.append(self._not())
        return And(tuple(terms)) if len(terms) > 1 else terms[0]

    def _not(self) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._fail_deep()
        if self._take("not"):
            found: Expression = Not(self._not())
        elif opening := self._take("("):
            found = self._or()
            if not self._take(")"):
                self._fail(f"expected ')' for the '(' at character {opening.position}, not"
                           f" {self._next}")  # fmt: skip
        else:
            found = self._comparison()
        self._depth -= 1
        return found

    def _comparison(self) -> Expression:
        begin = self._next
        left = self._operand()
        if self._next.kind in _OPERATORS:
            return self._chain(left)
        if not isinstance(left, Name):
            self._fail(f"expected a comparison after {begin}, not {self._next}")
        if self._take("is"):
            is_negated = self._take("not")
            self._expect("null", "'null'")
            return Not(IsNull(left)) if is_negated else IsNull(left)
        is_negated = self._take("not")
        if not self._take("in"):
            if self._next.kind == "(":
                self._fail("unexpected '(': there are no functions")
            self._fail(f"expected a comparison after {_shown(str(left))}, {_EXAMPLE}, not"
                       f" {self._next}")  # fmt: skip
        found = Membership(left, self._values())
        return Not(found) if is_negated else found

    def _chain(self, left: Operand) -> Expression:
        terms: list[Expression] = []
        while operator := self._take(*_OPERATORS):
            right = self._operand()
            if isinstance(left, Literal) and isinstance(right, Literal):
                self._fail("a comparison of two constants", left.position)
            for one in (left, right):
                if isinstance(one, Literal) and isinstance(one.value, bool):
                    self._check_boolean(operator)
            terms.append(Relation(left, cast(Operator, operator.kind), right))
            left = right
        if len(terms) == 1:
            return terms[0]
        if self._depth == MAX_DEPTH:  # `not 0 < a < 1` is written `not (0 < a and a < 1)`
            self._fail_deep()
        return And(tuple(terms))

    def _check_boolean(self, operator: _Token) -> None:
        if operator.kind not in ("==", "!="):
            self._fail(f"true and false have no order: write == or !=, not {operator}",
                       operator.position)  # fmt: skip

    def _values(self) -> tuple[Literal, ...]:
        self._expect("(", "'(' after 'in'")
        values = []
        while True:
            value = self._operand()
            if isinstance(value, Name):
                self._fail(f"expected a number or a text in quotes, not {_shown(str(value))}",
                           value.position)  # fmt: skip
            values.append(value)
            if not self._take(","):
                break
        if not self._take(")"):
            self._fail(f"expected ',' or ')', not {self._next}")
        return tuple(values)

    def _operand(self) -> Operand:
        token = self._next
        if self._take("number"):
            return Literal(self._number(token), token.position)
        if self._take("text"):
            quote = token.text[0]
            return Literal(token.text[1:-1].replace(quote * 2, quote), token.position)
        if self._take("true", "false"):
            return Literal(token.kind == "true", token.position)
        if token.kind in ("word", "quoted"):
            return self._name()
        if token.kind == "null":
            self._fail("null equals nothing: write 'is null' or 'is not null'")
        return self._fail(f"expected a name, a number or a text in quotes, not {token}")

    def _number(self, token: _Token) -> int | float:
        text = token.text
        try:
            value = float(text) if re.search("[.eE]", text) else int(text)
        except ValueError:  # Python limits the digits of an integer
            value = math.inf
        if not isinstance(value, int) and not math.isfinite(value):
            self._fail("the number is too large", token.position)
        return value

    def _name(self) -> Name:
        begin = self._next
        path, is_quoted = [], False
        while True:
            if token := self._take("quoted"):
                path.append(token.text[1:-1].replace("``", "`"))
                is_quoted = True
            else:
                path.append(self._expect("word", "a name after '.'").text)
            if not self._take("."):
                return Name(tuple(path), is_quoted, begin.position)
