"""A clean file, and defects planted in it, several wordings of each kind.

What the rules of `ifdkit audit` are measured with (`benchmarks/audit_rules.py`).  Some wordings of
every kind are hard on purpose, so that no rule reaches a recall of 1 by construction.

    rows = clean_rows()
    rows, places = plant(rows, "refusal", 20)
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from ifdkit.findings.texts import Corpus
from tests import planted_clean, planted_things
from tests.planted_wordings import (
    CUTS,
    ECHOES,
    EVALUATION,
    INSTRUCTIONS,
    OTHER_LANGUAGES,
    RESPONSES,
)

Row = dict[str, Any]
Maker = Callable[[random.Random, Row], Row]

__all__ = ["EVALUATION", "KINDS", "clean_rows", "corpus", "plant", "wording", "wordings"]


def clean_rows(n: int = 300, seed: int = 0) -> list[Row]:
    """Alpaca rows in which no rule has anything to find; the same for the same seed.

    The hard ones, which only look like defects, have ids that begin with "hard".
    """
    rng = random.Random(seed)
    hard = planted_clean.hard_rows()
    hard = rng.sample(hard, min(len(hard), n))
    rows = hard + [planted_clean.plain_row(rng, at) for at in range(n - len(hard))]
    rng.shuffle(rows)
    return [dict(row) for row in rows]


def corpus(rows: Sequence[Row]) -> Corpus:
    """The rows as the rules see them, `input` on a line of its own below the instruction."""
    return Corpus(
        ids=tuple(row["id"] for row in rows),
        instructions=tuple(
            f"{row['instruction']}\n{row['input']}" if row["input"] else row["instruction"]
            for row in rows
        ),
        responses=tuple(row["output"] for row in rows),
    )


def plant(rows: Sequence[Row], kind: str, n: int, seed: int = 0) -> tuple[list[Row], list[int]]:
    """New rows, `n` of them with the defect, and the 0-based places that show it, ascending.

    Plain rows are spoiled, their ids naming kind and number of the wording.  Of a row and its copy
    the later one shows it.
    """
    rng = random.Random(f"{kind} {seed}")
    rows = [dict(row) for row in rows]
    plain = [at for at, row in enumerate(rows) if str(row["id"]).startswith("plain")]
    if kind in _COPIES:
        chosen = rng.sample(plain, 2 * n)
        pairs = [sorted(pair) for pair in zip(chosen[:n], chosen[n:], strict=True)]
        for number, (first, later) in enumerate(pairs):
            spoiled = _COPIES[kind](rows[first], rows[later])
            rows[later] = spoiled | {"id": f"{kind}.0-{number}"}
        return rows, sorted(later for _, later in pairs)
    makers, chosen = _MAKERS[kind], rng.sample(plain, n)
    for number, place in enumerate(chosen):
        which = number % len(makers)
        rows[place] = makers[which](rng, rows[place]) | {"id": f"{kind}.{which}-{number}"}
    return rows, sorted(chosen)


def wording(row: Row) -> int:
    """Which wording of its kind was planted in a row."""
    return int(row["id"].partition(".")[2].partition("-")[0])


def _saying(text: str) -> Maker:
    """A response made of a wording, `$said` standing for the response that was there."""
    return lambda _, row: row | {"output": text.replace("$said", row["output"])}


def _asking(text: str) -> Maker:
    return lambda _, row: row | {"instruction": text.replace("$asked", row["instruction"])}


def _echoing(text: str) -> Maker:
    return lambda _, row: row | {"output": text.replace("$asked", row["instruction"])}


def _cut(tail: str) -> Maker:
    """The response ends with a sentence that is cut."""
    return lambda _, row: row | {"output": f"{row['output']} {tail}"}


def _foreign(asked: str, said: str) -> Maker:
    return lambda _, row: row | {"instruction": asked or row["instruction"], "output": said}


def _holding(thing: planted_things.Thing) -> Maker:
    """The response, and after its first sentence a carrier that holds the thing."""

    def make(rng: random.Random, row: Row) -> Row:
        first, _, rest = row["output"].partition(". ")
        return row | {"output": f"{first}. {thing(rng)} {rest}".strip()}

    return make


def _amid(phrase: str) -> Maker:
    def make(rng: random.Random, row: Row) -> Row:
        first, _, rest = row["output"].partition(". ")
        return row | {"output": f"{first}, {phrase} {rest[:1].lower()}{rest[1:]}"}

    return make


def _with(field: str, value: Any) -> Maker:
    return lambda _, row: row | {field: value}


def _long(rng: random.Random, row: Row) -> Row:
    said = (sentence for _ in range(60) for sentence in planted_clean.sentences(rng, 8))
    return row | {"instruction": f"{row['instruction']} {' '.join(said)}"}


_MAKERS: dict[str, list[Maker]] = {
    **{kind: [_saying(text) for text in texts] for kind, texts in RESPONSES.items()},
    "cut_off": [_cut(tail) for tail in CUTS],
    "language_mismatch": [_foreign(asked, said) for asked, said in OTHER_LANGUAGES],
    "personal_data": [_holding(thing) for thing in planted_things.PERSONAL.values()],
    "secret": [_holding(thing) for thing in planted_things.SECRETS.values()],
    "repeated_instruction": [_echoing(text) for text in ECHOES],
    "empty_response": [_with("output", text) for text in ("", " \n\t ")],
    "empty_instruction": [_with("instruction", text) for text in ("", " \n\t ")],
    "unreadable_row": [_with("output", value) for value in (7, True, {"text": "Yes."})],
    "over_long_prompt": [_long],
    "contamination": [
        *(_with("instruction", text) for text in EVALUATION),
        *(_with("instruction", f"  {text.upper()} ") for text in EVALUATION),
    ],
    "recurring_opening": [_saying("Here is what the old almanac has to say: $said")],
    "recurring_closing": [_saying("$said May that be of some use on the long way home!")],
    "recurring_phrase": [_amid("and it is well worth bearing in mind that")],
}
for _kind, _texts in INSTRUCTIONS.items():
    _MAKERS[_kind] += [_asking(text) for text in _texts]


def _copied(source: Row, _: Row) -> Row:
    return dict(source)


def _nearly_copied(source: Row, _: Row) -> Row:
    """The same row, but for a word at the end of each text."""
    asked = source["instruction"].rstrip(".?") + " please?"
    return source | {"instruction": asked, "output": f"{source['output']} Indeed."}


def _asked_again(source: Row, copy: Row) -> Row:
    return copy | {"instruction": f" {source['instruction'].lower()}"}


_COPIES = {
    "exact_duplicate": _copied,
    "near_duplicate": _nearly_copied,
    "duplicate_instruction": _asked_again,
}

KINDS = (*_MAKERS, *_COPIES)
"""Every kind of defect that can be planted, by the name of its rule."""


def wordings(kind: str) -> list[str]:
    """What each wording of a kind of text defect is called in a report."""
    names: dict[str, list[str]] = {
        **{kind: [*texts] for kind, texts in RESPONSES.items()},
        "cut_off": [f"… {tail}" for tail in CUTS],
        "language_mismatch": [said for _, said in OTHER_LANGUAGES],
        "personal_data": [*planted_things.PERSONAL],
        "secret": [*planted_things.SECRETS],
        "repeated_instruction": [*ECHOES],
    }
    return names[kind] + [f"instruction: {text}" for text in INSTRUCTIONS.get(kind, ())]
