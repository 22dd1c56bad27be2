"""The texts of a comparison, and how they are cut into words, compared and quoted."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from itertools import islice
from typing import Literal

from ifdkit.findings.finding import Finding, SideName

MOST_IDS = 50
"""Row ids that a finding carries."""
MOST_EXAMPLES = 3
MOST_CHARS = 160
"""Characters of a quotation, the ellipsis included."""

_CJK = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
# Where a script has no spaces between words, two characters stand for a word.
_WORD = re.compile(rf"[{_CJK}]{{1,2}}|[^\W{_CJK}](?:[^\s{_CJK}]*[^\W{_CJK}])?")
# Controls, lone surrogates and marks that turn the direction of the text around them.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPair:
    """One example before and after, with what is known of its scores."""

    id_before: str
    id_after: str
    instruction_before: str
    response_before: str
    instruction_after: str
    response_after: str
    ifd_before: float | None = None
    """> 0; None where undefined or not asked for."""
    ifd_after: float | None = None
    status_before: str | None = None
    """`ok`, `truncated`, …; None where the rows were not scored."""
    status_after: str | None = None


@dataclass(frozen=True)
class Corpus:
    """What the examples of a dataset say, in their order."""

    ids: tuple[str, ...]
    instructions: tuple[str, ...]
    responses: tuple[str, ...]

    @cached_property
    def instruction_keys(self) -> list[bytes]:
        """Equal exactly where instructions differ in nothing but whitespace and case."""
        return [key(text) for text in self.instructions]

    @cached_property
    def response_keys(self) -> list[bytes]:
        """The same of the responses."""
        return [key(text) for text in self.responses]


@dataclass(frozen=True, slots=True)
class Hit:
    """One example that shows what a check looks for."""

    place: int
    """Its position in the Corpus."""
    quote: str
    """The words that show it, as :func:`quote` makes them."""


@dataclass(frozen=True)
class Side(Corpus):
    """One side of a comparison, in the order of the pairs."""

    name: SideName


def sides(pairs: Sequence[TextPair]) -> tuple[Side, Side]:
    """The pairs as two columns of texts, before and after."""
    before = Side(
        ids=tuple(pair.id_before for pair in pairs),
        instructions=tuple(pair.instruction_before for pair in pairs),
        responses=tuple(pair.response_before for pair in pairs),
        name="before",
    )
    after = Side(
        ids=tuple(pair.id_after for pair in pairs),
        instructions=tuple(pair.instruction_after for pair in pairs),
        responses=tuple(pair.response_after for pair in pairs),
        name="after",
    )
    return before, after


def key(text: str) -> bytes:
    """Sixteen bytes that stand for a text but for its whitespace and case."""
    plain = " ".join(text.split()).casefold()
    # Keys of 100,000 long texts weigh 5 MB where the texts themselves would weigh hundreds.
    return blake2b(plain.encode("utf-8", "surrogatepass"), digest_size=16).digest()


EMPTY = key("")


def equal_places(keys: Iterable[bytes]) -> dict[bytes, list[int]]:
    """Where each key stands, ascending."""
    places: dict[bytes, list[int]] = {}
    for place, one in enumerate(keys):
        places.setdefault(one, []).append(place)
    return places


def words(text: str, most: int) -> list[str]:
    """The first `most` words, case and the punctuation around them left out."""
    # A word has some ten characters; what is one endless word is cut and stays one.
    return [found.group() for found in islice(_WORD.finditer(text[: most * 50].casefold()), most)]


def spans(text: str, most: int) -> list[tuple[int, int]]:
    """Where the first `most` words lie in the text, half-open."""
    return [found.span() for found in islice(_WORD.finditer(text[: most * 50]), most)]


def quote(text: str, end: Literal["head", "tail"] = "head") -> str:
    """The beginning or the end of a text on one line, at most MOST_CHARS, cut between words.

    Characters that cannot be shown, or would change how their surroundings show, become U+FFFD.
    """
    # Whitespace is cut first, so that a megabyte of it hides nothing and costs nothing.
    text = text.lstrip() if end == "head" else text.rstrip()
    part = text[: 2 * MOST_CHARS] if end == "head" else text[-2 * MOST_CHARS :]
    line = _UNPRINTABLE.sub("\ufffd", " ".join(part.split()))
    if len(line) <= MOST_CHARS and len(part) == len(text):
        return line
    room = MOST_CHARS - 1
    if end == "head":
        return _cut(line, room) + "…"
    return "…" + _cut(line[::-1], room)[::-1]


def quote_at(text: str, place: int) -> str:
    """What stands at a place of a text, with the few words before it, as :func:`quote` gives it."""
    begin = text.find(" ", max(0, place - _BEFORE), place) + 1 or place
    if place <= _BEFORE:
        return quote(text)
    return quote(f"… {text[begin : begin + 3 * MOST_CHARS]}")


_BEFORE = 40
"""Characters shown before the place."""


def _cut(line: str, room: int) -> str:
    """At most `room` characters, ending between words unless that would cost half of them."""
    if len(line) <= room:
        return line
    at = line.rfind(" ", 0, room + 1)
    return line[: at if at > room // 2 else room].rstrip()


def finding(
    kind: str,
    side: Side,
    rows: Sequence[int],
    text: str,
    *,
    quoted: Callable[[int], str],
    other_count: int | None = None,
    quotes_text: bool = False,
    name: SideName | None = None,
) -> Finding:
    """A Finding from row numbers: share of all rows, first ids, first examples."""
    return Finding(
        kind=kind,
        side=name or side.name,
        count=len(rows),
        share=len(rows) / len(side.ids),
        text=text,
        row_ids=tuple(side.ids[row] for row in rows[:MOST_IDS]),
        other_count=other_count,
        examples=tuple(quoted(row) for row in rows[:MOST_EXAMPLES]),
        quotes_text=quotes_text,
    )


def changed(
    kind: str,
    side: Side,
    rows: Sequence[int],
    other_rows: Collection[int],
    text: str,
    *,
    quoted: Callable[[int], str],
) -> Finding | None:
    """A finding about rows of one side, or None where the other side shows it in all of them.

    What both sides of every pair show is no difference between them.  Rows whose other side does
    not show it are named first.
    """
    elsewhere = set(other_rows)
    fresh = [row for row in rows if row not in elsewhere]
    if not fresh:
        return None
    both = [row for row in rows if row in elsewhere]
    if both:
        text += f" {len(fresh):,} of these rows do not show it on the other side."
    return finding(kind, side, fresh + both, text, quoted=quoted, other_count=len(elsewhere))


def changed_sides(
    kind: str,
    both: tuple[Side, Side],
    rows: tuple[Sequence[int], Sequence[int]],
    text: str,
    quoting: tuple[Callable[[int], str], Callable[[int], str]],
) -> list[Finding | None]:
    """:func:`changed` of each side against the other."""
    return [
        changed(kind, both[0], rows[0], rows[1], text, quoted=quoting[0]),
        changed(kind, both[1], rows[1], rows[0], text, quoted=quoting[1]),
    ]
