"""How a number is written: the examples of each rule, and what holds for every number."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifdkit.format import (
    as_written,
    correlation,
    duration,
    fixed,
    interval,
    number,
    p_value,
    percent,
    plural,
    signed,
    size,
)

finite = st.floats(-1e12, 1e12)
shares = st.floats(-1.5, 1.5) | st.sampled_from([0.0, 1.0, 0.995, 0.9999999, 1.0000001, 1e-9])
WRITERS: dict[str, Callable[[float], str]] = {
    "number": number,
    "two digits": lambda x: number(x, 2),
    "fixed": lambda x: fixed(x, 2),
    "signed": signed,
    "signed, fixed": lambda x: signed(x, 3),
    "percent": percent,
    "percent, three digits": lambda x: percent(x, 3),
    "as written": as_written,
}


def value_of(text: str) -> float:
    """The number that a text shows; of a bound, the bound."""
    plain = text.removesuffix(" %").removeprefix("< ").removeprefix("> ")
    return float(plain.replace("−", "-").replace(",", ""))


@pytest.mark.parametrize(
    ("write", "x", "text"),
    [
        (number, None, "–"),
        (number, math.nan, "–"),
        (signed, -math.inf, "–"),
        (percent, math.nan, "–"),
        (number, 0, "0"),
        (number, -0.0, "0"),
        (number, 0.8514, "0.851"),
        (number, 0.9999, "1.00"),
        (number, 12.34, "12.3"),
        (number, 61.0, "61"),
        (number, 61.5, "61.5"),
        (number, 999.6, "1,000"),
        (number, -1234.5, "−1,234"),
        (number, 999_999, "999,999"),
        (number, 1_234_567, "1.23e6"),
        (number, 0.0001, "0.000100"),
        (number, -0.000095, "−9.50e−5"),
        (lambda x: number(x, 4), 0.85137, "0.8514"),
        (lambda x: fixed(x, 2), None, "–"),
        (lambda x: fixed(x, 2), 1.5, "1.50"),
        (lambda x: fixed(x, 0), 1234.4, "1,234"),
        (lambda x: fixed(x, 1), -0.04, "0.0"),
        (signed, None, "–"),
        (signed, 0, "0"),
        (signed, 0.294, "+0.29"),
        (signed, -0.0512, "−0.051"),
        (signed, 0.9, "+0.90"),
        (signed, 0.996, "+0.996"),
        (signed, 12.34, "+12.3"),
        (signed, 312.4, "+312"),
        (signed, -1234.5, "−1,234"),
        (signed, 0.004, "+0.0040"),
        (signed, 0.00054, "+0.0005"),
        (signed, 3e-6, "0.0000"),
        (lambda x: signed(x, 2), 0.004, "0.00"),
        (lambda x: signed(x, 2), -0.014, "−0.01"),
        (percent, None, "–"),
        (percent, 0.0, "0 %"),
        (percent, 0.00001, "< 0.01 %"),
        (percent, -0.00001, "> −0.01 %"),
        (percent, 0.004, "0.4 %"),
        (percent, 0.0751, "7.5 %"),
        (percent, 0.02, "2 %"),
        (percent, 0.625, "62 %"),
        (percent, 0.996, "99.6 %"),
        (percent, 0.99999, "99.9 %"),
        (percent, 1.0, "100 %"),
        (percent, 1.00001, "100.1 %"),
        (percent, 1.17, "117 %"),
        (percent, -0.3, "−30 %"),
        (lambda x: percent(x, 3), 0.1249, "12.5 %"),
        (lambda x: percent(x, 3), 0.0125, "1.25 %"),
        (p_value, None, "–"),
        (p_value, 1e-9, "< 0.001"),
        (p_value, 0.0314, "0.031"),
        (p_value, 1.0, "1.000"),
        (correlation, 0.734, "+0.73"),
        (correlation, -0.001, "0.00"),
        (as_written, None, "–"),
        (as_written, 377.2, "377.2"),
        (as_written, 1000.0, "1,000"),
        (as_written, 0.05, "0.05"),
        (as_written, -2.5, "−2.5"),
        (as_written, 1e6, "1e6"),
        (duration, 4.17, "4.2 s"),
        (duration, 9.96, "10 s"),
        (duration, 59.7, "1 min 0 s"),
        (duration, 200, "3 min 20 s"),
        (duration, 7500, "2 h 5 min"),
        (duration, 172_799, "47 h 59 min"),
        (duration, 273_700, "3 days 4 h"),
        (size, 812, "812 B"),
        (size, 90_900_000, "90.9 MB"),
        (size, 999_960, "1.0 MB"),
        (size, 2e12, "2,000.0 GB"),
    ],
)
def test_examples(write: Callable[[Any], str], x: float | None, text: str) -> None:
    assert write(x) == text


def test_intervals() -> None:
    assert interval(None) == "–"
    assert interval((-0.01, 0.2)) == "−0.010 to +0.20"
    assert interval((0.6, 1.21), percent) == "60 % to 121 %"


def test_plurals() -> None:
    assert [plural(n, "row") for n in (0, 1, 2, 1234)] == [
        "0 rows",
        "1 row",
        "2 rows",
        "1,234 rows",
    ]


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@given(x=finite | shares)
def test_minus_is_no_hyphen_and_zero_has_no_sign(write: Callable[[float], str], x: float) -> None:
    text = write(x)
    assert "-" not in text
    assert not re.match(r"[+−][0.,]*( %)?$", text)


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@given(xs=st.lists(finite | shares, min_size=2, max_size=2))
def test_rounding_keeps_the_order(write: Callable[[float], str], xs: list[float]) -> None:
    low, high = sorted(xs)
    assert value_of(write(low)) <= value_of(write(high))


@pytest.mark.parametrize("digits", [2, 3])
@given(share=shares | st.integers(0, 10**6).map(lambda n: n / 10**6))
def test_only_zero_and_one_read_as_none_and_all(digits: int, share: float) -> None:
    text = percent(share, digits)
    assert (text == "0 %") == (share == 0)
    assert (text == "100 %") == (share == 1)


@given(x=finite)
def test_a_number_is_close_to_what_it_reads(x: float) -> None:
    assert value_of(number(x)) == pytest.approx(x, rel=0.0051)
    assert value_of(signed(x)) == pytest.approx(x, rel=0.051, abs=5e-5)


@given(seconds=st.lists(st.floats(0, 1e7), min_size=2, max_size=2))
def test_a_longer_duration_reads_no_shorter(seconds: list[float]) -> None:
    def read(text: str) -> float:
        units = {"days": 86_400, "h": 3600, "min": 60, "s": 1}
        found = re.findall(r"([\d.,]+) (days|h|min|s)", text)
        return sum(float(n.replace(",", "")) * units[unit] for n, unit in found)

    short, long = sorted(seconds)
    assert read(duration(short)) <= read(duration(long))
