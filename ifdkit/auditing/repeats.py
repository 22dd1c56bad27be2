"""Rules that hold examples against each other, or against an evaluation set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Literal

from ifdkit.auditing.outcomes import Check, Outcome, Subject
from ifdkit.auditing.result import Detail
from ifdkit.auditing.rules import Rule
from ifdkit.findings.contamination import contaminated
from ifdkit.findings.near import FEWEST_WORDS, near_duplicates
from ifdkit.findings.recurring import recurring
from ifdkit.findings.secrets import masked
from ifdkit.findings.texts import EMPTY, MOST_IDS, quote, words

MOST_PHRASES = 10
"""Phrases of one kind that a rule names, the most frequent first."""


def exact_duplicate(subject: Subject, rule: Rule) -> Outcome:
    """Examples that repeat an earlier one, whitespace and case aside: those to be taken out.

    Of a conversation all turns so far must be the same: "You're welcome!" is said in many.
    """
    del rule
    repeated, _ = _repeats(subject)
    return subject.outcome(repeated, _n_filled(subject.corpus.response_keys))


def duplicate_instruction(subject: Subject, rule: Rule) -> Outcome:
    """Examples whose instruction, after the same turns, an earlier one answers otherwise."""
    del rule
    _, asked_again = _repeats(subject)
    return subject.outcome(asked_again, _n_filled(subject.corpus.instruction_keys))


def _repeats(subject: Subject) -> tuple[list[int], list[int]]:
    """Places that repeat an earlier example, and those that answer its instruction otherwise."""
    seen: set[bytes] = set()
    asked_before: set[bytes] = set()
    repeated, asked_again = [], []
    for place, asked, whole in _keys(subject):
        if whole in seen:
            repeated.append(place)
        elif asked in asked_before:
            asked_again.append(place)
        seen.add(whole)
        asked_before.add(asked)
    return repeated, asked_again


def _keys(subject: Subject) -> Iterator[tuple[int, bytes, bytes]]:
    """Place, key of all up to its instruction, key of all up to its response; empty ones aside."""
    corpus, rows = subject.corpus, subject.scored.scores.rows.tolist()
    before, last_row = b"", None
    for place, row in enumerate(rows):
        before = before if row == last_row else b""
        last_row = row
        instruction, response = corpus.instruction_keys[place], corpus.response_keys[place]
        asked = blake2b(before + instruction, digest_size=16).digest()
        before = blake2b(asked + response, digest_size=16).digest()
        if EMPTY not in (instruction, response):  # rules of their own tell of these
            yield place, asked, before


def near_duplicate(subject: Subject, rule: Rule) -> Outcome:
    """Responses with nearly the words of an earlier one; rows that are the same are not counted.

    The same response to another instruction is, unless it is short: many a question is answered
    by "Yes".
    """
    del rule
    corpus = subject.corpus
    repeated, _ = _repeats(subject)
    near = {place for group in near_duplicates(corpus.responses) for place in group[1:]}
    return subject.outcome(
        sorted(place for place in near.difference(repeated) if _is_long(corpus.responses[place])),
        _n_filled(corpus.response_keys),
        quoted=lambda place: quote(corpus.responses[place]),
    )


def _is_long(text: str) -> bool:
    return len(words(text, FEWEST_WORDS)) == FEWEST_WORDS


def contamination(subject: Subject, rule: Rule) -> Outcome:
    """Examples whose instruction stands in a file of `--against`."""
    del rule
    if not subject.against:
        return Outcome(skipped="needs --against: a file whose rows must not be in the dataset")
    quotes: dict[int, str] = {}
    details = []
    for name, instructions in subject.against.items():
        hits = contaminated(subject.corpus, instructions)
        quotes |= {hit.place: hit.quote for hit in hits}
        ids = tuple(subject.corpus.ids[hit.place] for hit in hits[:MOST_IDS])
        details += [Detail(text=name, count=len(hits), row_ids=ids)] if hits else []
    return subject.outcome(
        sorted(quotes),
        _n_filled(subject.corpus.instruction_keys),
        quoted=quotes.__getitem__,
        details=tuple(details),
    )


def _recurring(kind: Literal["opening", "closing", "phrase"]) -> Check:
    """The check for what recurs at one end of the responses, or anywhere in them."""

    def check(subject: Subject, rule: Rule) -> Outcome:
        corpus, smallest = subject.corpus, rule.threshold
        assert smallest is not None, rule.name
        found = recurring(corpus.responses, kind=kind, smallest_share=smallest)
        found = sorted(found, key=lambda one: (-len(one.places), one.text))
        phrase_of = {place: one.text for one in reversed(found) for place in one.places}

        def shown(place: int) -> str:
            if kind == "phrase":
                return phrase_of[place]
            return quote(corpus.responses[place], "tail" if kind == "closing" else "head")

        details = tuple(
            Detail(
                text=masked(one.text),
                count=len(one.places),
                row_ids=tuple(corpus.ids[place] for place in one.places[:MOST_IDS]),
            )
            for one in found[:MOST_PHRASES]
        )
        return subject.outcome(
            sorted(phrase_of),
            _n_filled(corpus.response_keys),
            quoted=shown,
            details=details,
            quotes_text=bool(details),
        )

    return check


def _n_filled(keys: list[bytes]) -> int:
    """How many texts hold anything."""
    return sum(key != EMPTY for key in keys)


REPEAT_CHECKS: Mapping[str, Check] = {
    "exact_duplicate": exact_duplicate,
    "near_duplicate": near_duplicate,
    "duplicate_instruction": duplicate_instruction,
    "contamination": contamination,
    "recurring_opening": _recurring("opening"),
    "recurring_closing": _recurring("closing"),
    "recurring_phrase": _recurring("phrase"),
}
"""Rule → its check."""
