"""Recurring openings, closings and phrases: planted ones are found, ordinary ones are not."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ifdkit.findings import shared_ngrams
from ifdkit.findings.recurring import PhraseKind, Recurring, recurring
from ifdkit.findings.texts import MAX_QUOTE_CHARS, words

pytestmark = pytest.mark.long

SharedFile = Callable[..., Path]
KINDS: tuple[PhraseKind, ...] = ("opening", "closing", "phrase")
_SYLLABLES = ["".join(parts) for parts in product("bdfgklmnprstvz", "aeiou", "lmnrst")]


def prose(rng: random.Random, n_words: int) -> str:
    """Invented words, so that two texts share something only by chance."""
    made = [rng.choice(_SYLLABLES) + rng.choice(_SYLLABLES) for _ in range(n_words)]
    sentences = [" ".join(made[at : at + 10]).capitalize() for at in range(0, n_words, 10)]
    return ". ".join(sentences) + "."


def clean(n: int = 300, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [prose(rng, 60) for _ in range(n)]


ROWS = (3, 17, 40, 41, 77, 120, 121, 150, 188, 199)
OPENING = "Here is a new and more detailed answer:"
CLOSING = "I hope that this helps you!"
PHRASE = "it is important to note that, above all,"


def plant(kind: PhraseKind, texts: Sequence[str], rows: Sequence[int] = ROWS) -> list[str]:
    made = list(texts)
    for row in rows:
        if kind == "opening":
            made[row] = f"{OPENING} {made[row]}"
        elif kind == "closing":
            made[row] = f"{made[row]} {CLOSING}"
        else:
            cut = made[row].split()
            at = 5 + row % 40
            made[row] = " ".join([*cut[:at], PHRASE, *cut[at:]])
    return made


PLANTED = {"opening": OPENING, "closing": CLOSING, "phrase": PHRASE.rstrip(",")}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_clean_texts_share_nothing(kind: PhraseKind, seed: int) -> None:
    assert recurring(clean(seed=seed), kind=kind) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("planted", KINDS)
def test_what_is_planted_is_found_with_its_rows_and_under_its_kind(
    planted: PhraseKind, kind: PhraseKind
) -> None:
    found = recurring(plant(planted, clean()), kind=kind)
    expected = [Recurring(PLANTED[planted], ROWS)] if kind == planted else []
    assert found == expected


@pytest.mark.parametrize("kind", KINDS)
def test_a_phrase_in_too_few_rows_is_not_reported(kind: PhraseKind) -> None:
    """Negative control: four rows, and five of six hundred."""
    assert recurring(plant(kind, clean(), ROWS[:4]), kind=kind) == []
    assert recurring(plant(kind, clean(600), ROWS[:5]), kind=kind) == []
    (found,) = recurring(plant(kind, clean(600), ROWS[:5]), kind=kind, min_share=0.005)
    assert found.indices == ROWS[:5]


@pytest.mark.parametrize("kind", KINDS)
def test_one_text_in_many_rows_is_a_duplicate_and_not_a_phrase(kind: PhraseKind) -> None:
    """Negative control."""
    copied = plant(kind, clean())[ROWS[0]]
    assert recurring([*clean(), *[copied] * 50], kind=kind) == []


@pytest.mark.parametrize("kind", KINDS)
def test_copies_of_a_text_with_the_phrase_are_listed_too(kind: PhraseKind) -> None:
    texts = plant(kind, clean())
    (found,) = recurring([*texts, texts[ROWS[0]].upper()], kind=kind)
    assert found.indices == (*ROWS, len(texts))


@pytest.mark.parametrize(
    ("opening", "share", "is_found"),
    [
        ("It was a", 0.025, False),
        ("It was a", 0.035, True),
        ("There are a number", 0.015, False),
        ("There are a number", 0.025, True),
        ("Here is one more of", 0.0125, True),
        ("The best", 0.5, False),
    ],
)
def test_short_openings_need_more_rows(opening: str, share: float, is_found: bool) -> None:
    texts = clean(400)
    for row in range(int(share * len(texts))):
        texts[row] = f"{opening} {texts[row]}"
    assert [one.text for one in recurring(texts, kind="opening")] == [opening] * is_found


def test_a_row_has_one_opening() -> None:
    texts = clean()
    for row in range(40):
        more = "a wholly new answer:" if row < 25 else prose(random.Random(row), 5)
        texts[row] = f"Here you have {more} {texts[row]}"
    longer, shorter = recurring(texts, kind="opening")
    assert (longer.text, longer.indices) == ("Here you have a wholly new answer:", tuple(range(25)))
    assert (shorter.text, shorter.indices) == ("Here you have", tuple(range(25, 40)))


# Phrases inside


def put_inside(texts: Sequence[str], phrases: dict[int, list[str]]) -> list[str]:
    made = list(texts)
    for row, some in phrases.items():
        cut = made[row].split()
        for number, phrase in enumerate(some):
            cut.insert(8 + 14 * number, phrase)
        made[row] = " ".join(cut)
    return made


LONG = "one two three four five six seven eight nine ten"
SHORT = "three four five six seven eight"


def test_the_longest_phrase_is_reported_and_its_parts_only_for_other_rows() -> None:
    rows = {row: [LONG if row < 12 else SHORT] for row in range(20)}
    longer, shorter = recurring(put_inside(clean(), rows), kind="phrase")
    assert (longer.text, longer.indices) == (LONG, tuple(range(12)))
    assert (shorter.text, shorter.indices) == (SHORT, tuple(range(12, 20)))


def test_parts_with_the_same_rows_are_dropped() -> None:
    (found,) = recurring(put_inside(clean(), {row: [LONG] for row in range(12)}), kind="phrase")
    assert found.text == LONG


def test_a_text_with_two_phrases_counts_once_for_each() -> None:
    other = "a b c d e f g"
    made = put_inside(clean(), {row: [LONG, other, LONG] for row in range(12)})
    found = recurring(made, kind="phrase")
    assert [(one.text, one.indices) for one in found] == [
        (LONG, tuple(range(12))),
        (other, tuple(range(12))),
    ]


def test_a_phrase_that_one_text_repeats_is_not_shared() -> None:
    """Negative control."""
    assert recurring(put_inside(clean(), {0: [LONG] * 3, 1: [LONG]}), kind="phrase") == []


def test_very_long_passages_are_reported_in_parts_without_overlap() -> None:
    passage = prose(random.Random(9), 100)
    found = recurring(put_inside(clean(), {row: [passage] for row in range(12)}), kind="phrase")
    lengths = [len(words(one.text, 100)) for one in found]
    assert all(one.indices == tuple(range(12)) for one in found)
    assert sum(lengths) <= 102
    assert found[0].text.startswith(passage[:60])
    assert all(len(one.text) <= MAX_QUOTE_CHARS for one in found)


def slow_phrases(texts: Sequence[str], fewest: int, most_words: int) -> dict[str, set[int]]:
    """Every n-gram of every length, counted by brute force; closed ones only."""
    rows: dict[tuple[str, ...], set[int]] = {}
    for row, text in enumerate(texts):
        cut = words(text, 1_000)
        for n in range(shared_ngrams.MIN_WORDS, most_words + 1):
            for at in range(len(cut) - n + 1):
                rows.setdefault(tuple(cut[at : at + n]), set()).add(row)
    frequent = {ngram: some for ngram, some in rows.items() if len(some) >= fewest}
    replaced = {
        part
        for ngram, some in frequent.items()
        for part in (ngram[1:], ngram[:-1])
        if part in frequent and frequent[part] == some
    }
    return {" ".join(ngram): some for ngram, some in frequent.items() if ngram not in replaced}


@pytest.mark.parametrize("seed", range(4))
def test_closed_ngrams_match_a_brute_force_count(seed: int) -> None:
    rng = random.Random(seed)
    texts = []
    for row in range(60):  # few words, so that n-grams recur; unique ones keep the ends apart
        middle = " ".join(rng.choices("ab", weights=[5, 1], k=25))
        texts.append(f"begin{row} {middle} end{row}")
    stream = shared_ngrams._Stream.of(texts)
    seeds = shared_ngrams._seeds(stream, shared_ngrams._count(stream), 8)
    found = {}
    for one in shared_ngrams._closed(stream, seeds, 8):
        row = int(stream.rows(np.array([one.start]))[0])
        offset = one.start - int(stream.borders[row])
        found[" ".join(words(texts[row], 1_000)[offset : offset + one.n_words])] = one.n_rows
    expected = slow_phrases(texts, 8, 27)
    assert len(expected) > 20
    assert found == {ngram: len(rows) for ngram, rows in expected.items()}


def test_if_nearly_every_ngram_is_frequent_a_part_of_the_texts_is_searched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = random.Random(5)
    head = prose(rng, 40).split()
    texts = []
    for row in range(400):
        cut = list(head)
        cut[rng.randrange(len(cut))] = "changed"
        texts.append(f"begin{row} {' '.join(cut)} {prose(rng, 10)}")
    monkeypatch.setattr(shared_ngrams, "MAX_OCCURRENCES", 2_000)
    searched = []
    plain = shared_ngrams._closed

    def spied(stream: Any, seeds: Any, fewest: int) -> Any:
        searched.append(len(seeds.starts))
        return plain(stream, seeds, fewest)

    monkeypatch.setattr(shared_ngrams, "_closed", spied)
    found = recurring(texts, kind="phrase")
    assert found
    assert max(searched) <= 2_000
    for one in found[:1]:  # with its rows in all texts
        wanted = words(one.text, 99)
        containing = [
            row
            for row, text in enumerate(texts)
            if any(words(text, 99)[at : at + len(wanted)] == wanted for at in range(60))
        ]
        assert list(one.indices) == containing


def test_openings_and_closings_are_not_phrases_too() -> None:
    passage = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
    texts = [f"{passage} {text}" if row < 20 else text for row, text in enumerate(clean())]
    assert recurring(texts, kind="phrase") == []
    (found,) = recurring(texts, kind="opening")
    assert found.text == " ".join(passage.split()[:12])
    (found,) = recurring([f"Row{row} {text}" for row, text in enumerate(texts)], kind="phrase")
    assert found.text == passage


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_texts_does_not_matter(kind: PhraseKind) -> None:
    texts = plant(kind, plant("phrase", clean(), range(200, 215)))
    order = random.Random(1).sample(range(len(texts)), len(texts))
    plain = recurring(texts, kind=kind)
    shuffled = recurring([texts[row] for row in order], kind=kind)
    assert plain
    assert [(one.text, set(one.indices)) for one in plain] == [
        (one.text, {order[index] for index in one.indices}) for one in shuffled
    ]


HOSTILE = [
    "",
    " \n\t",
    "!!!",
    "x",
    "word " * 60_000,
    "漢" * 3_000,
    "a\u0345\u0345 b",
    "x" * 100_000,
]


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_texts(kind: PhraseKind) -> None:
    assert recurring([], kind=kind) == []
    assert recurring(["", "", "!"] * 20, kind=kind) == []
    for one in recurring(
        [f"{row} {text} {row}" for row in range(8) for text in HOSTILE], kind=kind
    ):
        assert 0 < len(one.text) <= MAX_QUOTE_CHARS


# Real data


def responses(path: Path) -> list[str]:
    return [str(row["output"]) for row in json.loads(path.read_text(encoding="utf-8"))]


def test_the_shared_opening_of_the_recycled_file_is_found(shared_file: SharedFile) -> None:
    texts = responses(shared_file("data", "alpacaeval400_recycled-wizardlm-7b-v1.json"))
    found = recurring(texts, kind="opening")
    by_start = [one for one in found if one.text.startswith("Here is a new and")]
    rows = {index for one in by_start for index in one.indices}
    starts = [text.strip().startswith("Here is a new and") for text in texts]
    expected = set(np.flatnonzero(starts).tolist())
    assert rows == expected
    assert len(expected) == 9


@pytest.mark.parametrize("name", ["alpaca_1k.json", "alpacaeval400_alpaca-7b.json"])
def test_ordinary_openings_of_real_files_are_not_reported(
    name: str, shared_file: SharedFile
) -> None:
    """Negative control: of Alpaca only the fairy tales remain, 37 of 1,000 responses."""
    found = recurring(responses(shared_file("data", name)), kind="opening")
    assert all(one.text.startswith("Once upon a time") for one in found)


@pytest.mark.parametrize("kind", ["closing", "phrase"])
@pytest.mark.parametrize("name", ["alpaca_1k.json", "alpacaeval400_alpaca-7b.json"])
def test_real_files_share_no_closing_and_no_phrase(
    name: str, kind: PhraseKind, shared_file: SharedFile
) -> None:
    """Negative control."""
    assert recurring(responses(shared_file("data", name)), kind=kind) == []
