"""Checks that compare examples with each other, or with an evaluation set."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

from ifdkit.auditing.checking import AuditedDataset, CheckResult, Rule
from ifdkit.auditing.result import Detail
from ifdkit.findings.contamination import contaminated
from ifdkit.findings.masking import masked
from ifdkit.findings.near import MIN_WORDS, near_duplicates
from ifdkit.findings.pairs import MAX_IDS
from ifdkit.findings.recurring import PhraseKind, recurring
from ifdkit.findings.texts import EMPTY_KEY, has_words, quote

MAX_PHRASES = 10
"""Phrases in the details of a rule, the most frequent first."""


def exact_duplicate(data: AuditedDataset, rule: Rule) -> CheckResult:
    """Examples that equal an earlier one except for whitespace and case: those to be removed.

    In a conversation all turns so far must be equal, because "You're welcome!" occurs in many.
    """
    del rule
    repeated, _ = _repeats(data)
    return data.result(repeated, _n_filled(data.corpus.response_keys))


def duplicate_instruction(data: AuditedDataset, rule: Rule) -> CheckResult:
    """Examples whose instruction, after the same turns, an earlier one answers differently."""
    del rule
    _, asked_again = _repeats(data)
    return data.result(asked_again, _n_filled(data.corpus.instruction_keys))


def _repeats(data: AuditedDataset) -> tuple[list[int], list[int]]:
    """Examples that equal an earlier one, and those that answer its instruction differently."""
    seen: set[bytes] = set()
    asked_before: set[bytes] = set()
    repeated, asked_again = [], []
    for index, asked, whole in _conversation_keys(data):
        if whole in seen:
            repeated.append(index)
        elif asked in asked_before:
            asked_again.append(index)
        seen.add(whole)
        asked_before.add(asked)
    return repeated, asked_again


def _conversation_keys(data: AuditedDataset) -> Iterator[tuple[int, bytes, bytes]]:
    """Index of each example, key of its row up to the instruction, and up to the response."""
    corpus, rows = data.corpus, data.scored.scores.rows.tolist()
    before, last_row = b"", None
    for index, row in enumerate(rows):
        before = before if row == last_row else b""
        last_row = row
        instruction, response = corpus.instruction_keys[index], corpus.response_keys[index]
        asked = blake2b(before + instruction, digest_size=16).digest()
        before = blake2b(asked + response, digest_size=16).digest()
        # Empty texts have rules of their own; a document has no instruction.
        if response != EMPTY_KEY and (instruction != EMPTY_KEY or data.is_documents):
            yield index, asked, before


def near_duplicate(data: AuditedDataset, rule: Rule) -> CheckResult:
    """Responses with almost the words of an earlier one; exact duplicates are not counted.

    An equal response to another instruction counts, unless it is short: "Yes" answers many.
    """
    del rule
    responses = data.corpus.responses
    repeated, _ = _repeats(data)
    groups = near_duplicates(
        responses, whole=data.is_documents, distinct=data.corpus.distinct_responses
    )
    near = {index for group in groups for index in group[1:]}
    indices = near.difference(repeated)
    return data.result(
        sorted(index for index in indices if has_words(responses[index], MIN_WORDS)),
        _n_filled(data.corpus.response_keys),
        quoted=lambda index: quote(responses[index]),
    )


def contamination(data: AuditedDataset, rule: Rule) -> CheckResult:
    """Examples whose instruction is in a file of `--against`."""
    del rule
    if not data.against:
        return CheckResult(skipped="needs --against: a file whose rows must not be in the dataset")
    quotes: dict[int, str] = {}
    details = []
    for name, instructions in data.against.items():
        hits = contaminated(data.corpus, instructions)
        quotes |= {hit.index: hit.quote for hit in hits}
        ids = tuple(data.corpus.ids[hit.index] for hit in hits[:MAX_IDS])
        details += [Detail(text=name, count=len(hits), row_ids=ids)] if hits else []
    return data.result(
        sorted(quotes),
        _n_filled(data.corpus.instruction_keys),
        quoted=quotes.__getitem__,
        details=tuple(details),
    )


def duplicate_id(data: AuditedDataset, rule: Rule) -> CheckResult:
    """Examples whose id an earlier row has; the turns of one conversation share theirs."""
    del rule
    row_of: dict[str, int] = {}
    rows = data.scored.scores.rows.tolist()
    indices = [
        index
        for index, one in enumerate(data.corpus.ids)
        if row_of.setdefault(one, rows[index]) != rows[index]
    ]
    return data.result(indices, len(data), quoted=lambda index: quote(data.corpus.ids[index]))


def recurring_opening(data: AuditedDataset, rule: Rule) -> CheckResult:
    """Responses that start with words that at least the threshold of the responses start with."""
    return _recurring(data, rule, "opening")


def recurring_closing(data: AuditedDataset, rule: Rule) -> CheckResult:
    """Responses that end with words that at least the threshold of the responses end with."""
    return _recurring(data, rule, "closing")


def recurring_phrase(data: AuditedDataset, rule: Rule) -> CheckResult:
    """Responses with a phrase inside that at least the threshold of the responses contain."""
    return _recurring(data, rule, "phrase")


def _recurring(data: AuditedDataset, rule: Rule, kind: PhraseKind) -> CheckResult:
    corpus = data.corpus
    found = recurring(
        corpus.responses, kind=kind, min_share=rule.limit, distinct=corpus.distinct_responses
    )
    found = sorted(found, key=lambda one: (-len(one.indices), one.text))
    phrase_of = {index: one.text for one in reversed(found) for index in one.indices}

    def quoted(index: int) -> str:
        if kind == "phrase":
            return phrase_of[index]
        return quote(corpus.responses[index], "tail" if kind == "closing" else "head")

    details = tuple(
        Detail(
            text=masked(one.text),
            count=len(one.indices),
            row_ids=tuple(corpus.ids[index] for index in one.indices[:MAX_IDS]),
        )
        for one in found[:MAX_PHRASES]
    )
    return data.result(
        sorted(phrase_of),
        _n_filled(corpus.response_keys),
        quoted=quoted,
        details=details,
        quotes_text=bool(details),
    )


def _n_filled(keys: list[bytes]) -> int:
    """How many texts are not empty."""
    return sum(key != EMPTY_KEY for key in keys)
