"""Expressions: the grammar, and three-valued logic against a slow reference."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ifdkit.errors import UsageError
from ifdkit.expressions.evaluation import Column, NumberColumn, evaluate
from ifdkit.expressions.nodes import (
    And,
    Expression,
    IsNull,
    Literal,
    Membership,
    Name,
    Not,
    Or,
    Relation,
    names_of,
    split,
)
from ifdkit.expressions.syntax import KEYWORDS, MAX_CHARACTERS, MAX_DEPTH, parse

A, B = Name(("a",)), Name(("b",))


# --- the grammar


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("ifd < 1", "ifd < 1"),
        ("ifd<1 AND coherence>=.3", "ifd < 1 and coherence >= 0.3"),
        ("a<1 or b<1 and c<1", "a < 1 or (b < 1 and c < 1)"),
        ("(a<1 or b<1) and c<1", "(a < 1 or b < 1) and c < 1"),
        ("not a<1 and b<1", "not a < 1 and b < 1"),
        ("not (a<1 and b<1)", "not (a < 1 and b < 1)"),
        ("0.5 < ifd <= 1", "0.5 < ifd and ifd <= 1"),
        ("lang in ('de', \"en\", 3, true)", "lang in ('de', 'en', 3, true)"),
        ("lang not in ('de')", "lang not in ('de')"),
        ("x is null or y is not null", "x is null or y is not null"),
        ("x IS NOT NULL", "x is not null"),
        ("meta.lang == 'it''s'", "meta.lang == 'it''s'"),
        ('t == "say ""a"" it\'s"', "t == 'say \"a\" it''s'"),
        ("`my column`.`a``b` != -1e-3", "`my column`.`a``b` != -0.001"),
        ("`and` == 1", "`and` == 1"),
        ("größe > 12345678901234567890", "größe > 12345678901234567890"),
        ("a == b", "a == b"),
        ("1 < a", "1 < a"),
        ("flag == TRUE", "flag == true"),
        ("a == ''", "a == ''"),
    ],
)
def test_expressions_are_read_and_written(text: str, written: str) -> None:
    found = parse(text, "--where")
    assert str(found) == written
    assert parse(written, "--where") == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the expression is empty: write one such as ifd < 1"),
        ("   ", "the expression is empty"),
        ("ifd", "expected a comparison after 'ifd', such as ifd < 1, not the end at character 4"),
        ("ifd <", "expected a name, a number or a text in quotes, not the end at character 6"),
        ("ifd = 1", "'=' is not an operator: write '==' at character 5"),
        ("a <> 1", "'<>' is not an operator: write '!=' at character 3"),
        ("a < 1 && b < 1", "'&&' is not an operator: write 'and' at character 7"),
        ("a < 1 | b < 1", "'|' is not an operator: write 'or' at character 7"),
        ("!a", "'!' is not an operator: write 'not' at character 1"),
        ("a ≤ 1", "'≤' is not an operator: write '<=' at character 3"),
        ("a == null", "null equals nothing: write 'is null' or 'is not null' at character 6"),
        ("a is 1", "expected 'null', not '1' at character 6"),
        ("a < true", "true and false have no order: write == or !=, not '<' at character 3"),
        ("1 < 2", "a comparison of two constants at character 1"),
        ("'a'", "expected a comparison after \"'a'\", not the end at character 4"),
        ("(a < 1", "expected ')' for the '(' at character 1, not the end at character 7"),
        ("a < 1)", "')' without '(' at character 6"),
        ("a < 1 b < 2", "expected 'and' or 'or', not 'b' at character 7"),
        ("a < 'x", "the text that starts with ' is not closed at character 5"),
        ("`a < 1", "the text that starts with ` is not closed at character 1"),
        ("a in 1", "expected '(' after 'in', not '1' at character 6"),
        ("a in ()", "expected a name, a number or a text in quotes, not ')' at character 7"),
        ("a in (1, b)", "expected a number or a text in quotes, not 'b' at character 10"),
        ("a in (1 2)", "expected ',' or ')', not '2' at character 9"),
        ("a. < 1", "expected a name after '.', not '<' at character 4"),
        ("len(a) < 1", "unexpected '(': there are no functions at character 4"),
        ("a < 1e999", "the number is too large at character 5"),
        ("a < " + "9" * 5000, "the number is too large at character 5"),
        ("my-column < 1", "unexpected '-' (write a name with other characters than letters,"),
        ("a < 1; b", "unexpected ';'"),
        ("and < 1", "expected a name, a number or a text in quotes, not 'and' at character 1"),
    ],
)
def test_errors_are_one_line_with_the_position(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text, "--where")
    assert str(caught.value).startswith(f"--where: {message}")
    assert "\n" not in str(caught.value)


def test_depth_and_length_have_limits() -> None:
    for nested in ("(" * MAX_DEPTH + "a < 1" + ")" * MAX_DEPTH, "not " * MAX_DEPTH + "a < 1"):
        with pytest.raises(UsageError, match=f"nested deeper than {MAX_DEPTH} levels"):
            parse(nested, "--where")
    allowed = "not " * (MAX_DEPTH - 1) + "a < 1"
    assert parse(str(parse(allowed, "")), "") == parse(allowed, "")
    with pytest.raises(UsageError, match="nested deeper"):
        parse("not " * (MAX_DEPTH - 1) + "0 < a < 1", "--where")
    many = " or ".join(["a < 1"] * 1000)
    assert len(many) < MAX_CHARACTERS
    assert isinstance(parse(many, ""), Or)
    with pytest.raises(UsageError, match="more than 10,000"):
        parse(many + " " * MAX_CHARACTERS, "--where")
    compact = "a<1" + "or a<1" * 1600
    with pytest.raises(UsageError, match="longer than 10,000 characters"):
        parse(compact[:9999].rsplit("or", 1)[0], "--where")


WORDS = st.one_of(
    st.sampled_from(["a", "b", "meta", "größe", "Not", "is", "a b", "`", "'", "", "a.b", "x\n"]),
    st.text(max_size=4),
)
NAMES = st.builds(
    lambda path: Name(path, not all(one.isidentifier() and one.isascii() for one in path)
                      or any(one.lower() in KEYWORDS for one in path)),
    st.lists(WORDS, min_size=1, max_size=3).map(tuple),
)  # fmt: skip
CONSTANTS = st.builds(
    Literal,
    st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
)
ORDERED = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])


def _comparison(left: Name, operator: Any, right: Any, *, is_mirrored: bool) -> Expression:
    if isinstance(right, Literal) and isinstance(right.value, bool):
        operator = "==" if operator in ("<", "<=", "==") else "!="
    return Relation(right, operator, left) if is_mirrored else Relation(left, operator, right)


def expressions(names: st.SearchStrategy[Name]) -> st.SearchStrategy[Expression]:
    leaves: st.SearchStrategy[Expression] = st.one_of(
        st.builds(_comparison, names, ORDERED, CONSTANTS | names, is_mirrored=st.booleans()),
        st.builds(Membership, names, st.lists(CONSTANTS, min_size=1, max_size=3).map(tuple)),
        st.builds(IsNull, names),
    )

    def joined(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
        terms = st.lists(inner, min_size=2, max_size=3).map(tuple)
        return st.one_of(st.builds(Not, inner), st.builds(And, terms), st.builds(Or, terms))

    return st.recursive(leaves, joined, max_leaves=6)


def flat(expression: Expression) -> Expression:
    """`and` inside `and` as one, as the parser makes it from text without parentheses."""
    match expression:
        case Not(term):
            return Not(flat(term))
        case And(terms) | Or(terms):
            return type(expression)(tuple(map(flat, terms)))
    return expression


@given(expressions(NAMES))
def test_what_is_written_is_read_as_the_same(expression: Expression) -> None:
    assert parse(str(expression), "") == flat(expression)


@given(st.text(max_size=60) | st.lists(st.sampled_from(
    ["a", "<", "==", "1", "'x'", "and", "or", "not", "(", ")", "in", "is", "null", ",", ".", "`b`",
     "true", "-", "=", "\0", "\u202e"]), max_size=12).map(" ".join))  # fmt: skip
def test_any_text_is_read_or_refused_on_one_line(text: str) -> None:
    try:
        found = parse(text, "--where")
    except UsageError as error:
        message = str(error)
    else:
        assert parse(str(found), "") == found
        return
    assert message.startswith("--where: ")
    assert len(message.splitlines()) == 1


# --- three-valued logic, against a reference that shares no code with it


def ref_number(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, (int, float)):
        return None if ref_is_null(value) else value
    if isinstance(value, str):
        stripped = value.strip()
        try:
            number = float(stripped)
        except ValueError:
            return None
        if not stripped.isascii() or any(c in stripped for c in "_nifNIF"):
            return None  # Python also reads 1_000, nan and infinity
        try:
            return int(stripped)
        except ValueError:
            return number
    return None


def ref_text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, (list, dict)):
        return None
    if isinstance(value, float) and math.isnan(value):
        return None
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)


def ref_compare(left: Any, how: str, right: Any) -> bool:
    found: dict[str, bool] = {
        "<": left < right,
        "<=": left <= right,
        ">": left > right,
        ">=": left >= right,
        "==": left == right,
        "!=": left != right,
    }
    return found[how]


def ref_is_null(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def ref_leaf(value: Any, how: str, constant: Any) -> bool | None:
    if ref_is_null(value):
        return None
    if isinstance(constant, bool):
        known: Any = {"true": True, "false": False}
        typed: Any = value if isinstance(value, bool) else None
        if isinstance(value, str):
            typed = known.get(value.strip().lower())
    elif isinstance(constant, str):
        typed = ref_text(value)
    else:
        typed = ref_number(value)
    if typed is None:
        return {"==": False, "!=": True}.get(how)
    return ref_compare(typed, how, constant)


def ref_columns(left: Any, how: str, right: Any) -> bool | None:
    numbers = ref_number(left), ref_number(right)
    if None not in numbers:
        return ref_compare(numbers[0], how, numbers[1])
    texts = ref_text(left), ref_text(right)
    return None if None in texts else ref_compare(texts[0], how, texts[1])


def ref_truth(expression: Expression, row: Mapping[Name, Any]) -> bool | None:
    match expression:
        case And(terms):
            found = [ref_truth(one, row) for one in terms]
            return False if False in found else None if None in found else True
        case Or(terms):
            found = [ref_truth(one, row) for one in terms]
            return True if True in found else None if None in found else False
        case Not(term):
            inner = ref_truth(term, row)
            return None if inner is None else not inner
        case IsNull(name):
            return ref_is_null(row[name])
        case Membership(name, values):
            truths = [ref_leaf(row[name], "==", one.value) for one in values]
            return True if True in truths else None if None in truths else False
        case Relation(Name() as left, how, Name() as right):
            return ref_columns(row[left], how, row[right])
        case Relation(Name() as left, how, Literal(constant)):
            return ref_leaf(row[left], how, constant)
        case Relation(Literal(constant), how, Name() as right):
            mirrored = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}.get(how, how)
            return ref_leaf(row[right], mirrored, constant)
    raise AssertionError(expression)


CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, 1, -1, 2**53, 2**53 + 1, 10**400, -(10**400)]),
    st.floats(),
    st.sampled_from(["", "1", " 1.0 ", "true", "True", "x", "1_0", "nan", "9007199254740993",
                     "١", "\ud83d", "1e400"]),
    st.text(max_size=3),
    st.just([1]),
    st.just({"k": 1}),
)  # fmt: skip
CLOSE = st.builds(Literal, st.sampled_from([0, 1, 1.0, 2**53, 2**53 + 1, 10**400, "1", "x", True]))


@settings(max_examples=300)
@given(expressions(st.sampled_from([A, B])), st.lists(st.tuples(CELLS, CELLS), max_size=5))
def test_the_logic_is_that_of_a_slow_reference(
    expression: Expression, cells: list[tuple[Any, Any]]
) -> None:
    columns = {A: Column([one for one, _ in cells]), B: Column([one for _, one in cells])}
    found = evaluate(expression, columns)
    wanted = [ref_truth(expression, {A: a, B: b}) for a, b in cells]
    assert found.is_true.tolist() == [one is True for one in wanted]
    assert found.is_false.tolist() == [one is False for one in wanted]


@settings(max_examples=300)
@given(ORDERED, CLOSE | st.just(B), st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=5))
def test_comparisons_at_the_limits_of_floats(
    how: Any, right: Any, cells: list[tuple[Any, Any]]
) -> None:
    expression = _comparison(A, how, right, is_mirrored=False)
    columns = {A: Column([one for one, _ in cells]), B: Column([one for _, one in cells])}
    wanted = [ref_truth(expression, {A: a, B: b}) for a, b in cells]
    assert evaluate(expression, columns).is_true.tolist() == [one is True for one in wanted]


def truth(text: str, **columns: Sequence[Any]) -> list[bool | None]:
    found = evaluate(parse(text, ""), {Name((k,)): Column(v) for k, v in columns.items()})
    pairs = zip(found.is_true.tolist(), found.is_false.tolist(), strict=True)
    return [True if is_true else False if is_false else None for is_true, is_false in pairs]


def test_undefined_numbers_are_unknown_and_not_false() -> None:
    ifd = [0.5, 1.5, math.nan, None]
    assert truth("ifd < 1", ifd=ifd) == [True, False, None, None]
    assert truth("not ifd < 1", ifd=ifd) == [False, True, None, None]
    assert truth("ifd < 1 or ifd >= 1", ifd=ifd) == [True, True, None, None]
    assert truth("ifd is null or ifd < 1", ifd=ifd) == [True, False, True, True]
    assert truth("ifd is null and ifd < 1", ifd=ifd) == [False, False, None, None]
    numbers = NumberColumn(np.array([0.5, math.nan]))
    found = evaluate(parse("a < 1", ""), {A: numbers})
    assert (found.is_true.tolist(), found.is_false.tolist()) == ([True, False], [False, False])


def test_the_constant_decides_how_a_value_is_compared() -> None:
    values = [7, "7", "7.0", 7.5, "x", True, None, [7]]
    assert truth("a == 7", a=values) == [True, True, True, False, False, False, None, False]
    assert truth("a > 6", a=values) == [True, True, True, True, None, None, None, None]
    assert truth("a == '7'", a=values) == [True, True, False, False, False, False, None, False]
    assert truth("a in (7, 'x')", a=values) == [True, True, True, False, True, False, None, False]
    flags = [True, False, "True", "false", 1, None]
    assert truth("a == true", a=flags) == [True, False, True, False, False, None]
    assert truth("a != true", a=flags) == [False, True, False, True, True, None]
    assert truth("a in (1, true)", a=flags) == [True, False, True, False, True, None]


def test_numbers_are_compared_exactly() -> None:
    big = [2**53, 2**53 + 1, 10**400, 1e308, math.inf]
    assert truth(f"a == {2**53 + 1}", a=big) == [False, True, False, False, False]
    assert truth(f"a > {2**53}", a=big) == [False, True, True, True, True]
    assert truth(f"a in ({2**53 + 1}, 3)", a=big) == [False, True, False, False, False]
    assert truth("a < b", a=[2**53, 10**400], b=[2**53 + 1, math.inf]) == [True, True]
    assert truth("a == 0.5", a=[Decimal("0.5"), Decimal("NaN"), np.float32(0.5)])[::2] == [True] * 2


def test_only_terms_joined_by_and_are_separated() -> None:
    expression = parse("a < 1 and (b < 1 or a < 2) and b > 3", "")
    first, second = split(expression, lambda one: set(names_of(one)) == {A})
    assert (str(first), str(second)) == ("a < 1", "(b < 1 or a < 2) and b > 3")
    assert split(parse("a < 1 or b < 1", ""), lambda _: False)[0] is None
