"""Contamination: every way to copy an evaluation instruction is found, templates are not."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import pytest

from ifdkit.findings import contamination
from ifdkit.findings.checks import Hit
from ifdkit.findings.contamination import contaminated
from ifdkit.findings.texts import MAX_QUOTE_CHARS, Corpus, words

pytestmark = pytest.mark.long

SharedFile = Callable[..., Path]
_SYLLABLES = ["".join(parts) for parts in product("bdfgklmnprstvz", "aeiou", "lmnrst")]


def prose(rng: random.Random, n_words: int) -> str:
    return " ".join(rng.choice(_SYLLABLES) + rng.choice(_SYLLABLES) for _ in range(n_words))


def corpus(instructions: Sequence[str]) -> Corpus:
    return Corpus(
        ids=tuple(f"row-{row}" for row in range(len(instructions))),
        instructions=tuple(instructions),
        responses=("Well.",) * len(instructions),
    )


def made(n: int, seed: int, n_words: int = 40) -> list[str]:
    rng = random.Random(seed)
    return [prose(rng, n_words) for _ in range(n)]


DATA = made(200, seed=1)
EVALUATION = made(60, seed=2)


def with_rows(rows: dict[int, str], data: Sequence[str] = DATA) -> Corpus:
    instructions = list(data)
    for row, text in rows.items():
        instructions[row] = text
    return corpus(instructions)


def indices(hits: Sequence[Hit]) -> list[int]:
    return [hit.index for hit in hits]


@pytest.mark.parametrize("seed", range(3))
def test_different_instructions_are_clean(seed: int) -> None:
    """Negative control."""
    assert contaminated(corpus(made(200, seed=seed + 10)), EVALUATION) == []


def test_nothing_against_nothing() -> None:
    assert contaminated(corpus([]), EVALUATION) == []
    assert contaminated(corpus(DATA), []) == []
    assert contaminated(corpus(["", " ", "!"]), ["", "\n", "!?"]) == []


def changed(text: str, *at: int) -> str:
    return " ".join("other" if index in at else word for index, word in enumerate(text.split()))


COPIES: dict[str, str] = {
    "equal": EVALUATION[7],
    "except for case and whitespace": f"  {EVALUATION[7].upper()}\n",
    "inside of another": f"{DATA[5]} {EVALUATION[7]} {DATA[6]}",
    "except for punctuation": EVALUATION[7].replace(" ", ", ") + "?!",
    "thirteen words of it": f"{DATA[5]} {' '.join(EVALUATION[7].split()[20:33])} {DATA[6]}",
    "nearly, word by word": changed(EVALUATION[7], 12, 25),
}


@pytest.mark.parametrize("text", COPIES.values(), ids=COPIES)
def test_each_way_to_copy_is_found(text: str) -> None:
    (hit,) = contaminated(with_rows({30: text}), EVALUATION)
    assert hit.index == 30
    shared = set(words(hit.quote, 99)) & set(EVALUATION[7].split())
    assert len(shared) >= 11
    assert len(hit.quote) <= MAX_QUOTE_CHARS


def test_a_word_changed_in_every_thirteen_hides_a_copy() -> None:
    """A known limit of the convention."""
    long = made(1, seed=3, n_words=120)[0]
    near = changed(long, *range(12, 120, 24))
    assert indices(contaminated(with_rows({30: near}), [*EVALUATION, long])) == [30]
    short_runs = changed(long, *range(12, 120, 13))
    assert not indices(contaminated(with_rows({30: short_runs}), [*EVALUATION, long]))


def test_a_near_duplicate_without_a_shared_ngram_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty-four words with one changed in the middle share no 20-gram."""
    text = made(1, seed=4, n_words=34)[0]
    near = changed(text, 17)
    monkeypatch.setattr(contamination, "NGRAM_WORDS", 20)
    (hit,) = contaminated(with_rows({30: near}), [*EVALUATION, text])
    assert hit.quote == " ".join(text.split()[:17])
    monkeypatch.setattr(contamination, "SIMILARITY", 0.99)
    assert contaminated(with_rows({30: near}), [*EVALUATION, text]) == []


def test_the_quotation_shows_what_is_shared() -> None:
    (hit,) = contaminated(with_rows({30: COPIES["thirteen words of it"]}), EVALUATION)
    assert hit.quote == " ".join(EVALUATION[7].split()[20:33])


def test_twelve_words_of_a_long_one_are_chance() -> None:
    """Negative control."""
    part = " ".join(EVALUATION[7].split()[20:32])
    assert contaminated(with_rows({30: f"{DATA[5]} {part} {DATA[6]}"}), EVALUATION) == []


@pytest.mark.parametrize(("n_words", "is_found"), [(12, True), (8, True), (7, False), (3, False)])
def test_short_ones_must_be_contained_whole(n_words: int, is_found: bool) -> None:
    short = made(1, seed=5, n_words=n_words)[0]
    whole = contaminated(with_rows({30: f"{DATA[5]} {short} {DATA[6]}"}), [*EVALUATION, short])
    assert indices(whole) == [30] * is_found
    part = " ".join(short.split()[:-1])
    assert not contaminated(with_rows({30: f"{DATA[5]} {part} {DATA[6]}"}), [*EVALUATION, short])
    assert indices(contaminated(with_rows({30: short}), [*EVALUATION, short])) == [30]


def test_all_equal_rows_are_listed() -> None:
    rows = {30: EVALUATION[7], 31: EVALUATION[7].title(), 90: f"{EVALUATION[7]} {DATA[3]}"}
    assert indices(contaminated(with_rows(rows), EVALUATION)) == [30, 31, 90]


# Templates prove nothing

TEMPLATE = (
    "Below is an instruction that describes a task, paired with an input that gives further"
    " context. Write a response that appropriately completes the request."
)


@pytest.mark.parametrize("n_words", [3, 12, 40])
def test_rows_that_share_a_template_are_not_reported(n_words: int) -> None:
    """Negative control: opening, question, closing, on both sides."""
    data = [f"{TEMPLATE} {text} Think of it step by step." for text in made(50, 6, n_words)]
    evaluation = [f"{TEMPLATE} {text} Think of it step by step." for text in made(50, 7, n_words)]
    assert contaminated(corpus(data), evaluation) == []
    # A copy among them is still reported.
    data[20] = evaluation[30]
    data[21] = evaluation[31].replace("Think", "Please think")
    assert indices(contaminated(corpus(data), evaluation)) == ([20] if n_words == 3 else [20, 21])


def test_a_word_next_to_a_template_proves_nothing() -> None:
    """Negative control: twelve words of the template and the first of the question are thirteen."""
    data = [f"{TEMPLATE} {word} {text}" for word, text in zip(_SYLLABLES, DATA, strict=False)]
    against = [
        f"{TEMPLATE} {word} {text}" for word, text in zip(_SYLLABLES, EVALUATION, strict=False)
    ]
    assert contaminated(corpus(data), against) == []


def test_a_template_of_the_dataset_alone_proves_nothing() -> None:
    """Many rows begin with words that one evaluation instruction uses."""
    data = [f"{TEMPLATE} {text}" for text in made(50, 6)]
    against = [f"{TEMPLATE} {made(1, 8)[0]}", *EVALUATION]
    assert contaminated(corpus(data), against) == []
    few = [f"{TEMPLATE} {text}" if row < 3 else text for row, text in enumerate(made(50, 6))]
    assert indices(contaminated(corpus(few), against)) == [0, 1, 2]


def test_a_template_of_a_small_evaluation_set_proves_nothing() -> None:
    against = [f"{TEMPLATE} {text}" for text in made(5, 8)]
    rows = {30: f"{TEMPLATE} {DATA[30]}"}
    assert contaminated(with_rows(rows), against) == []
    # Of two that share words, both may have leaked.
    assert indices(contaminated(with_rows(rows), against[:2])) == [30]


def test_many_leaked_copies_are_not_taken_for_a_template() -> None:
    rows = dict.fromkeys(range(20, 60), EVALUATION[7])
    assert indices(contaminated(with_rows(rows), EVALUATION)) == list(range(20, 60))


def test_order_does_not_matter() -> None:
    rows = dict(zip(range(30, 40), COPIES.values(), strict=False))
    plain = contaminated(with_rows(rows), EVALUATION)
    rng = random.Random(1)
    order = rng.sample(range(len(DATA)), len(DATA))
    instructions = with_rows(rows).instructions
    shuffled = contaminated(
        corpus([instructions[row] for row in order]), rng.sample(EVALUATION, len(EVALUATION))
    )
    assert len(plain) == len(COPIES)
    assert {order[hit.index]: hit.quote for hit in shuffled} == {
        hit.index: hit.quote for hit in plain
    }


def slow_ngrams(data: Sequence[str], evaluation: Sequence[str]) -> list[int]:
    """Rows that share 13 words in a row with any; there are no templates in these texts."""

    def cut(text: str) -> set[tuple[str, ...]]:
        some = words(text, 1_000)
        return set(zip(*(some[at:] for at in range(13)), strict=False))

    known = set().union(*map(cut, evaluation))
    return [row for row, text in enumerate(data) if cut(text) & known]


def test_shared_13_grams_match_comparing_sets() -> None:
    rng = random.Random(11)
    data = list(DATA)
    for row in range(120):
        source = rng.choice(EVALUATION).split()
        n, at = rng.randrange(10, 17), rng.randrange(24)
        data[row] = f"{data[row]} {' '.join(source[at : at + n])} {prose(rng, 20)}"
    found = indices(contaminated(corpus(data), EVALUATION))
    assert found == slow_ngrams(data, EVALUATION)
    assert 30 < len(found) < 100


# Real data


def instructions(path: Path) -> list[str]:
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [f"{row['instruction']}\n{row.get('input') or ''}" for row in rows]


def test_real_files(shared_file: SharedFile) -> None:
    """AlpacaEval contains itself; Alpaca does not contain it."""
    evaluation = instructions(shared_file("data", "alpacaeval400_alpaca-7b.json"))
    data = instructions(shared_file("data", "alpaca_1k.json"))
    assert contaminated(corpus(data), evaluation) == []
    assert len(contaminated(corpus(evaluation), evaluation)) == 400
    mixed = with_rows({100: evaluation[3], 200: f"Please answer: {evaluation[5]}"}, data)
    assert indices(contaminated(mixed, evaluation)) == [100, 200]


@pytest.mark.parametrize("text", ["x" * 100_000, "word " * 60_000, "\x00\ud800 a", "漢" * 5_000])
def test_hostile_texts(text: str) -> None:
    for hit in contaminated(corpus([text, f"{text} more", "Yes."]), [text, "No."]):
        assert len(hit.quote) <= MAX_QUOTE_CHARS
        hit.quote.encode()
