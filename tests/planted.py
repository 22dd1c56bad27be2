"""A clean file, and defects planted in it, with several wordings of each kind.

Measures the rules of `ifdkit audit` (`benchmarks/audit_rules.py`).  Some wordings of every kind are
hard on purpose, so that no rule has a recall of 1 by construction.

    rows = clean_rows()
    rows, places = plant(rows, "refusal", 20)
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from ifdkit.auditing.checking import OfTexts
from ifdkit.auditing.rules import RULES
from ifdkit.findings.texts import Corpus
from tests import planted_clean, planted_secrets
from tests.planted_wordings import (
    BLANK,
    CUTS,
    ECHOES,
    EVALUATION,
    INPUTS,
    INSTRUCTIONS,
    OTHER_LANGUAGES,
    RESPONSES,
)

Row = dict[str, Any]
Maker = Callable[[random.Random, Row], Row]

__all__ = [
    "EVALUATION",
    "KINDS",
    "TEXT_CHECKS",
    "clean_rows",
    "corpus",
    "plant",
    "wording",
    "wordings",
]

TEXT_CHECKS = {
    rule.name: rule.check.text_check for rule in RULES if isinstance(rule.check, OfTexts)
}
"""Rule → its check, for the rules that look at the texts of one example at a time."""


def clean_rows(n: int = 300, seed: int = 0) -> list[Row]:
    """Alpaca rows in which no rule finds anything; the same for the same seed.

    The hard ones, which only look like defects, have ids that start with "hard".
    """
    rng = random.Random(seed)
    hard = planted_clean.hard_rows()
    hard = rng.sample(hard, min(len(hard), n))
    rows = hard + [planted_clean.plain_row(rng, at) for at in range(n - len(hard))]
    rng.shuffle(rows)
    return [dict(row) for row in rows]


def corpus(rows: Sequence[Row]) -> Corpus:
    """The rows as the rules see them, with `input` on its own line below the instruction."""
    return Corpus(
        ids=tuple(row["id"] for row in rows),
        instructions=tuple(
            f"{row['instruction']}\n{row['input']}" if row["input"] else row["instruction"]
            for row in rows
        ),
        responses=tuple(row["output"] for row in rows),
        inputs=tuple(row["input"] for row in rows),
    )


def plant(rows: Sequence[Row], kind: str, n: int, seed: int = 0) -> tuple[list[Row], list[int]]:
    """New rows, `n` of them with the defect, and the 0-based positions of these, ascending.

    The defect replaces plain rows; their new ids contain its kind and the number of its wording.
    Of a row and its copy, the later one counts.
    """
    rng = random.Random(f"{kind} {seed}")
    rows = [dict(row) for row in rows]
    plain = [at for at, row in enumerate(rows) if str(row["id"]).startswith("plain")]
    if kind in _COPIES:
        chosen = rng.sample(plain, 2 * n)
        pairs = [sorted(pair) for pair in zip(chosen[:n], chosen[n:], strict=True)]
        for number, (first, later) in enumerate(pairs):
            spoiled = _COPIES[kind](rows[first], rows[later])
            new_id = spoiled["id"] if kind == "duplicate_id" else f"{kind}.0-{number}"
            rows[later] = spoiled | {"id": new_id}
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
    """The response becomes a wording, with the old response in place of `$said`."""
    return lambda _, row: row | {"output": text.replace("$said", row["output"])}


def _asking(text: str) -> Maker:
    return lambda _, row: row | {"instruction": text.replace("$asked", row["instruction"])}


def _echoing(text: str) -> Maker:
    return lambda _, row: row | {"output": text.replace("$asked", row["instruction"])}


def _cut(tail: str) -> Maker:
    """The response ends with a sentence that is cut off."""
    return lambda _, row: row | {"output": f"{row['output']} {tail}"}


def _foreign(asked: str, said: str) -> Maker:
    return lambda _, row: row | {"instruction": asked or row["instruction"], "output": said}


def _containing(planted: planted_secrets.Maker) -> Maker:
    """After its first sentence the response contains what is planted."""

    def make(rng: random.Random, row: Row) -> Row:
        first, _, rest = row["output"].partition(". ")
        return row | {"output": f"{first}. {planted(rng)} {rest}".strip()}

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
    "personal_data": [_containing(planted) for planted in planted_secrets.PERSONAL.values()],
    "secret": [_containing(planted) for planted in planted_secrets.SECRETS.values()],
    "repeated_instruction": [_echoing(text) for text in ECHOES],
    "placeholder_input": [_with("input", text) for text in INPUTS],
    "empty_response": [_with("output", text) for text in BLANK.values()],
    "empty_instruction": [_with("instruction", text) for text in BLANK.values()],
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
    _MAKERS.setdefault(_kind, []).extend(_asking(text) for text in _texts)


def _copied(source: Row, _: Row) -> Row:
    return dict(source)


def _nearly_copied(source: Row, _: Row) -> Row:
    """The same row except for a word at the end of each text."""
    asked = source["instruction"].rstrip(".?") + " please?"
    return source | {"instruction": asked, "output": f"{source['output']} Indeed."}


def _asked_again(source: Row, copy: Row) -> Row:
    return copy | {"instruction": f" {source['instruction'].lower()}"}


def _same_id(source: Row, copy: Row) -> Row:
    return copy | {"id": source["id"]}


_COPIES = {
    "duplicate_id": _same_id,
    "exact_duplicate": _copied,
    "near_duplicate": _nearly_copied,
    "duplicate_instruction": _asked_again,
}

KINDS = (*_MAKERS, *_COPIES)
"""Every kind of defect that can be planted, by the name of its rule."""


def wordings(kind: str) -> list[str]:
    """The name of each wording of a text defect in a report."""
    names: dict[str, list[str]] = {
        **{kind: [*texts] for kind, texts in RESPONSES.items()},
        "cut_off": [f"… {tail}" for tail in CUTS],
        "language_mismatch": [said for _, said in OTHER_LANGUAGES],
        "personal_data": [*planted_secrets.PERSONAL],
        "secret": [*planted_secrets.SECRETS],
        "repeated_instruction": [*ECHOES],
        "placeholder_input": [*INPUTS],
        "template_marker": [],
        "empty_response": [*BLANK],
        "empty_instruction": [*BLANK],
    }
    return names[kind] + [f"instruction: {text}" for text in INSTRUCTIONS.get(kind, ())]
