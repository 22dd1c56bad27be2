"""Numbers as text: the one place that decides how a number is written for a person.

One rule for each kind of number, so that a figure reads the same on a terminal, on a page, in
Markdown, in LaTeX and inside a sentence:

| kind | function | examples |
|---|---|---|
| a measurement | `number` | `0.851`, `12.3`, `227`, `1,234`, `1.23e6`, `9.50e−5` |
| so many decimals | `fixed` | `0.20`, `−1.50`, `1,234` |
| a change | `signed` | `+0.19`, `−0.051`, `+12.3`, `+1,234`, `0` |
| a share | `percent` | `63 %`, `0.4 %`, `99.6 %`, `< 0.01 %` |
| an interval | `interval` | `+0.18 to +0.20`, `60 % to 97 %` |
| a p-value | `p_value` | `< 0.001`, `0.031` |
| a correlation | `correlation` | `+0.73`, `−0.05`, `0.00` |
| a number that someone typed | `as_written` | `20.7`, `0.05`, `1e6` |
| a count and its noun | `plural` | `1 row`, `1,234 rows` |
| a duration | `duration` | `4.2 s`, `3 min 20 s`, `2 h 5 min`, `3 days 4 h` |
| a number of bytes | `size` | `812 B`, `90.9 MB` |

Minus is `−` (U+2212), never a hyphen.  Zero has no sign.  None, NaN and infinity are `–`.  Rounding
keeps order: of two numbers the smaller never reads as the larger.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

Ends = tuple[float, float]
"""Lower and upper end of an interval."""

NOTHING = "–"
"""A number that is missing, or not finite."""


def number(x: float | None, digits: int = 3) -> str:
    """`x` with so many significant digits; every digit before the point is kept.

    A whole number below a million is written whole.  From a million on and below 0.0001 the
    notation is scientific.
    """
    if x is None or not math.isfinite(x):
        return NOTHING
    if x != 0 and not 1e-4 <= abs(x) < 999_999.5:
        return _scientific(x, digits - 1)
    return fixed(x, 0 if x == int(x) else max(0, digits - 1 - _magnitude(x, digits)))


def fixed(x: float | None, decimals: int) -> str:
    """`x` with so many decimals, thousands separated by commas."""
    if x is None or not math.isfinite(x):
        return NOTHING
    text = f"{x:,.{decimals}f}"
    return text.replace("-", "−") if text.strip("-0.") else text.removeprefix("-")


def signed(x: float | None, decimals: int | None = None) -> str:
    """A change with its sign.

    Below one two significant digits, with two to four decimals; from one on three digits.  What
    rounds to zero at four decimals is `0.0000`: unlike `0`, it is not known to be no change.
    `decimals` fixes them, for numbers of one sentence that a reader adds up.
    """
    if x is None or not math.isfinite(x):
        return NOTHING
    if decimals is None:
        decimals = min(4, max(2, 1 - _magnitude(x, 2))) if 0 < abs(x) < 0.995 else None
    text = number(x) if decimals is None else fixed(x, decimals)
    return f"+{text}" if x > 0 and text.strip("0.") else text


def percent(share: float | None, digits: int = 2) -> str:
    """A share, 0…1, with so many significant digits and at most two decimals.

    Trailing zeros are dropped.  Only what is exactly 0 or 1 reads `0 %` or `100 %`.  Where a share
    is held against a threshold, three digits tell them apart.
    """
    if share is None or not math.isfinite(share):
        return NOTHING
    value = 100 * share + 0  # which turns −0.0 into 0.0
    if 0 < abs(value) < 0.01:
        return "< 0.01 %" if value > 0 else "> −0.01 %"
    decimals = min(2, max(0, digits - 1 - _magnitude(value, digits)))
    text = _without_zeros(f"{value:,.{decimals}f}")
    if text == "100" and share != 1:
        text = f"{min(value, 99.9) if share < 1 else max(value, 100.1):.1f}"
    return f"{text} %".replace("-", "−")


def interval(ends: Ends | None, show: Callable[[float], str] = signed) -> str:
    """Both ends, written by `show`."""
    return NOTHING if ends is None else f"{show(ends[0])} to {show(ends[1])}"


def p_value(p: float | None) -> str:
    """Three decimals, or `< 0.001`."""
    if p is None:
        return NOTHING
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def correlation(r: float | None) -> str:
    """A coefficient, −1…1, with its sign and two decimals."""
    return signed(r, 2)


def as_written(x: float | None) -> str:
    """A published number, a threshold or a tick: up to six digits, no trailing zeros."""
    if x is None or not math.isfinite(x):
        return NOTHING
    if x != 0 and not 1e-4 <= abs(x) < 999_999.5:
        mantissa, _, exponent = _scientific(x, 5).partition("e")
        return f"{_without_zeros(mantissa)}e{exponent}"
    return f"{x + 0:,.6g}".replace("-", "−")  # −0.0 + 0 is 0.0


def plural(n: int, noun: str) -> str:
    """`1 row`, `2 rows`: a noun whose plural ends in s."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def sentences(clauses: Iterable[str]) -> str:
    """Clauses as sentences: each begins with a capital letter and ends with a full stop."""
    return " ".join(f"{one[:1].upper()}{one[1:]}." for one in clauses)


def duration(seconds: float) -> str:
    """Seconds with one decimal below ten, else the two largest units."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 172_800:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400:,} days {whole % 86_400 // 3600} h"


def size(n_bytes: int) -> str:
    """Bytes in units of 1000."""
    if n_bytes < 1000:
        return f"{n_bytes} B"
    value = n_bytes / 1000
    for unit in ("kB", "MB"):
        if value < 999.95:
            return f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} GB"


def _without_zeros(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def _scientific(x: float, decimals: int) -> str:
    mantissa, exponent = f"{x:.{decimals}e}".split("e")
    return f"{mantissa}e{int(exponent)}".replace("-", "−")


def _magnitude(x: float, digits: int) -> int:
    """The power of ten of the first digit once rounded: 0.9999 has the three digits of 1.00."""
    return int(f"{x:.{digits - 1}e}".partition("e")[2]) if x else 0
