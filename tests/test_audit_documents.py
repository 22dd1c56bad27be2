"""The rules about text documents: each finds what is planted, and none reports clean prose."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ifdkit.auditing.checking import AuditedDataset
from ifdkit.auditing.document_rules import DOCUMENT_RULES, OfDocuments
from ifdkit.auditing.result import RuleResult
from ifdkit.auditing.rules import RULES
from ifdkit.auditing.run import apply_rules
from ifdkit.findings.documents import MAX_CHARS, measured
from ifdkit.findings.near import near_duplicates
from ifdkit.findings.overlap import overlap
from tests import planted_documents
from tests.planted_documents import EVALUATION, GERMAN, MAKERS, clean_documents, plant_documents
from tests.test_audit import dataset_of

pytestmark = pytest.mark.long

N_PLANTED = 12
AGAINST = {"evaluation.jsonl": list(EVALUATION)}
MISSED = {("web_boilerplate", 4)}
"""Rule and number of a wording that it never finds."""


def corpus(texts: Sequence[str], against: dict[str, Any] = AGAINST) -> AuditedDataset:
    """Texts as a dataset of documents."""
    data = dataset_of([{"instruction": "", "output": text} for text in texts])
    return replace(data, against=against, is_documents=True)


def results(texts: Sequence[str]) -> dict[str, RuleResult]:
    return {rule.name: rule for rule in apply_rules(corpus(texts), RULES)}


def shows(name: str, text: str) -> bool:
    return results([text])[name].count == 1


@pytest.fixture(scope="module")
def documents() -> tuple[str, ...]:
    found = clean_documents()
    if len(found) < 300:
        pytest.skip(f"the installed packages contain only {len(found)} documents of prose")
    return found


def test_clean_documents_are_clean(documents: tuple[str, ...]) -> None:
    assert sum(len(text.split()) for text in documents) > 40_000
    found = results(documents)
    assert {name: rule.count for name, rule in found.items() if rule.count} == {}
    skipped = {name for name, rule in found.items() if rule.skipped}
    assert skipped == {"invalid", "truncated_response", "low_perplexity", "high_perplexity"}
    assert all(found[rule.name].checked == len(documents) for rule in DOCUMENT_RULES
               if rule.name not in ("other_language", "few_stop_words"))  # fmt: skip
    assert found["other_language"].checked > 0.9 * len(documents)


def test_every_document_rule_can_be_planted() -> None:
    assert list(MAKERS) == [rule.name for rule in DOCUMENT_RULES]


@pytest.mark.parametrize("kind", MAKERS)
def test_what_is_planted_is_found_and_nothing_else(kind: str, documents: tuple[str, ...]) -> None:
    texts, places = plant_documents(documents, kind, N_PLANTED)
    rule = next(rule for rule in RULES if rule.name == kind)
    (found,) = (one for one in apply_rules(corpus(texts), [rule]))
    ways = len(MAKERS[kind])
    expected = [p for number, p in enumerate(places) if (kind, number % ways) not in MISSED]
    assert [place.row for place in found.places] == expected
    assert not found.passed
    assert found.fails == (rule.severity == "error")
    assert all(place.quote for place in found.places)


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("exact_duplicate", str.upper),
        ("near_duplicate", lambda text: text.replace("the", "one", 1) + " Indeed."),
        ("empty_response", lambda _: "\u200b \ufeff"),
        ("special_token", lambda text: f"{text}<|endoftext|>"),
        ("mojibake", lambda text: f"{text} Itâ€™s so."),
        ("html_remains", lambda text: f"{text}<br>So they say."),
        ("personal_data", lambda text: f"{text} Write to berta.kessler77@gmail.com."),
        ("secret", lambda text: f"{text} The key is ghp_{'aB3dE6gH9j' * 3}{'Kl2M4n'}."),
    ],
)
def test_rules_for_both_find_defects_of_documents(
    name: str, changed: Any, documents: tuple[str, ...]
) -> None:
    source = documents[0 if name.endswith("duplicate") else 60]
    texts = [*documents[:50], changed(source)]
    found = results(texts)[name]
    assert [place.row for place in found.places] == [50]
    assert "response" not in found.title + found.found + found.fix


def test_rules_about_instructions_do_not_apply_to_documents() -> None:
    names = {rule.name for rule in apply_rules(corpus(["A text."]), RULES)}
    assert not names & {"empty_instruction", "language_mismatch", "ifd_above_one", "contamination"}
    assert names == {rule.name for rule in RULES if rule.applies_to != "pairs"}


# Numbers by hand


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("n_words", "One two - three, 4.", 4),
        ("n_words", "早上船停在港口里", 1 + 8 / 2),
        ("mean_word_length", "a bb cccc", 7 / 3),
        ("symbols_per_word", "a #b #c d", 2 / 4),
        ("symbols_per_word", "a... b c… d", 2 / 4),
        ("bullet_lines", "- a\n• b\nc\n\n* d", 3 / 4),
        ("ellipsis_lines", "a...\nb…\nc", 2 / 3),
        ("words_with_letters", "a 1 2 b3", 2 / 4),
        ("stop_words", "The cat and THE dog of to-day", 3),
        ("repeated_lines", "a\nb\na\n\na", 2 / 4),
        ("repeated_line_characters", "aaaa\nbb\naaaa", 4 / 10),
        ("repeated_paragraphs", "a\n\nb\n\na", 1 / 3),
        ("repeated_paragraph_characters", "aaa\n\nb\n\naaa", 3 / 7),
        ("top_ngrams", "ab cd ab cd ef gh ij kl", 2 * 4 / 16 / 0.20),
        ("top_ngrams", "every word here is new", 0),
        ("n_sentences", "One two three. Four! Five\nA b.\nSo it is.", 1),
        ("n_sentences", "One is two. Two is three! And so on?\nSo it is.", 4),
        ("lorem_ipsum", "Lorem Ipsum dolor", 1),
        ("curly_brackets", "{a} {b}", 2),
        ("boilerplate_lines", "We use cookies.\nJavascript is a language.", 1),
        ("navigation_words", "HOME PAGE\n12 likes\nThis is a line of text", 4 / 10),
        ("punctuated_lines", "a.\nb\n“c.”\nd,", 2 / 4),
        ("short_lines", f"{'a' * 30}\n{'b' * 31}", 1 / 2),
    ],
)
def test_a_measure_by_hand(name: str, text: str, value: float) -> None:
    assert measured([text])[name] == pytest.approx([value])


def repeated_ngrams_slowly(text: str) -> float:
    """Marks the words of each n-gram that occurred before, one by one."""
    limits = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}
    words = text.split()
    shares = []
    for n, limit in limits.items():
        seen: set[tuple[str, ...]] = set()
        marked: set[int] = set()
        for at in range(len(words) - n + 1):
            gram = tuple(words[at : at + n])
            if gram in seen:
                marked.update(range(at, at + n))
            seen.add(gram)
        shares.append(sum(len(words[i]) for i in marked) / sum(map(len, words)) / limit)
    return max(shares)


def test_repeated_ngrams_against_a_slow_count() -> None:
    rng = random.Random(0)
    texts = [" ".join(rng.choices(["a", "bcd", "ef"], k=rng.randint(1, 60))) for _ in range(200)]
    found = measured(texts)["repeated_ngrams"]
    assert found == pytest.approx([repeated_ngrams_slowly(text) for text in texts])
    assert (found > 0).any()


@pytest.mark.parametrize(
    "text", ["", " \n\n ", "\u200b", "...", "\n" * 1000, "a", "船", "\ud800", "#" * 5000]
)
def test_odd_texts_have_numbers_or_nan(text: str) -> None:
    for column in measured([text, "A text."]).values():
        assert column.shape == (2,)
        assert not np.isinf(column).any()
        assert math.isfinite(column[1])


def test_scripts_without_spaces_are_not_judged_by_words() -> None:
    text = "早上船停在港口里，渔民们在起风之前修补渔网。晚上他们带着满满的篮子回来。" * 4
    found = results([text] * 3)
    for name in ("short_words", "long_words", "top_ngram", "navigation", "short_lines"):
        assert found[name].count == 0
        assert found[name].skipped == "nothing to check"
    assert found["too_few_words"].count == 0
    assert found["unpunctuated_lines"].count == 0
    assert found["few_stop_words"].skipped == "nothing to check"


def test_only_the_first_characters_of_a_document_are_measured() -> None:
    text = "word " * (MAX_CHARS // 4)
    assert measured([text])["n_words"] == [MAX_CHARS / 5]


# Languages


def test_a_corpus_of_several_languages_has_no_wrong_one(documents: tuple[str, ...]) -> None:
    mixed = [*documents[:10], *[f"{GERMAN} {i}" for i in range(10)]]
    assert "no language has 80 %" in str(results(mixed)["other_language"].skipped)
    (found,) = (results([*documents[:20], GERMAN])[name] for name in ["other_language"])
    assert [place.row for place in found.places] == [20]
    assert [(one.text, one.count) for one in found.details] == [("de", 1)]
    assert "which is en" in found.found


# Evaluation sets


def test_coverage_of_an_evaluation_set(documents: tuple[str, ...]) -> None:
    half = " ".join(EVALUATION[0].split()[:14])
    found = overlap([f"{documents[0]} {half}", documents[1]], EVALUATION)
    assert [hit.index for hit in found.hits] == [0]
    assert (found.n_texts, found.n_found) == (2, 1)
    n_words = len(EVALUATION[0].split())
    assert found.coverage == pytest.approx(2 / (n_words - 12))
    assert found.hits[0].quote.startswith("How many barrels")


def test_eight_words_are_found_by_8_grams_only(documents: tuple[str, ...]) -> None:
    part = " ".join(EVALUATION[0].split()[2:11])
    texts = [f"{documents[0]} {part} {documents[1]}"]
    assert overlap(texts, EVALUATION).hits == ()
    assert [hit.index for hit in overlap(texts, EVALUATION, 8).hits] == [0]


def test_a_common_phrase_is_no_contamination(documents: tuple[str, ...]) -> None:
    licence = "Permission is hereby granted free of charge to any person obtaining a copy of this"
    texts = [f"{text} {licence}" for text in documents[:11]]
    asked = f"{licence} software. Which licence is this?"
    assert overlap(texts, [asked]).hits == ()
    assert len(overlap(texts[:10], [asked]).hits) == 10
    assert len(overlap(texts, [licence]).hits) == 11  # the whole text


def test_short_texts_are_searched_whole() -> None:
    text = "How many hives stand in the old orchard?"
    assert len(overlap([f"So it was. {text} Nobody knew."], [text]).hits) == 1
    assert overlap([f"So it was. {text[4:]} Nobody knew."], [text]).hits == ()
    assert overlap(["Why is that?"], ["Why is that?"]).n_texts == 0
    assert overlap([], []).coverage == 0


# Near duplicates of long documents


def jaccard_slowly(one: str, other: str) -> float:
    a, b = (
        {tuple(words[i : i + 3]) for i in range(len(words) - 2)}
        for words in (one.split(), other.split())
    )
    return len(a & b) / len(a | b)


def test_sketches_compare_whole_documents() -> None:
    rng = random.Random(1)
    words = [f"w{i}" for i in range(5_000)]
    base = rng.choices(words, k=2_000)

    def changed(share: float) -> str:
        return " ".join(rng.choice(words) if rng.random() < share else word for word in base)

    near, far = [changed(0.01) for _ in range(20)], [changed(0.15) for _ in range(20)]
    text = " ".join(base)
    assert all(jaccard_slowly(text, one) > 0.9 for one in near)
    assert all(jaccard_slowly(text, one) < 0.6 for one in far)
    assert near_duplicates([text, *near], whole=True) == [tuple(range(21))]
    assert near_duplicates([text, *far], whole=True) == []
    # The same beginning and another continuation are no duplicates.
    head = " ".join(base[:200])
    texts = [f"{head} {' '.join(rng.choices(words, k=800))}" for _ in range(5)]
    assert near_duplicates(texts, whole=True) == []
    assert near_duplicates(texts) == [(0, 1, 2, 3, 4)]


def test_every_measure_has_a_rule() -> None:
    used = {rule.check.measure.__name__ for rule in DOCUMENT_RULES
            if isinstance(rule.check, OfDocuments)}  # fmt: skip
    assert used == set(measured([]))
    assert planted_documents.N_CLEAN >= 300
