"""Ids that are looked up word by word are those that the Rust library gives."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

from ifdkit.engine import words
from ifdkit.engine.tokenizer import _encoded
from ifdkit.engine.words import Words

CORPUS = [
    "It's the first line of the text.\nThe second line isn't, they'll say; we've 123 of 4567.",
    "def f(x):\n    return [x_1, 'two',  3.14]\n\n\n\t# ---- été “Ça va” – naïve… £5 ’s\r\n",
]
WORDS = ["the", "It", "'s", "'LL", "'", "été", "12", "345", "x", "?!", "--", " ", "  ", "\n", "\r",
         "\t", "…", "’", "Ω", "\x1f", "\xa0", "\u2028", "²", "🙂", "<end>", "ſ",
         "e\u0301"]  # fmt: skip
TEXTS = st.lists(st.sampled_from(WORDS), max_size=12).map("".join) | st.text(max_size=20)


def trained(
    splitter: dict[str, Any], normalizer: str | None = None, *, has_all_bytes: bool = True
) -> Tokenizer:
    """A byte-level tokenizer that splits texts in this way."""
    whole = json.loads(Tokenizer(BPE()).to_str())
    whole["pre_tokenizer"] = splitter
    whole["normalizer"] = normalizer and {"type": normalizer}
    whole["post_processor"] = {**words._GPT2, "add_prefix_space": True}
    tokenizer = Tokenizer.from_str(json.dumps(whole))
    never_in_text = {"À", "Á"}  # these bytes, which vocabularies may lack
    alphabet = sorted(set(ByteLevel.alphabet()) - never_in_text) if has_all_bytes else []
    tokenizer.train_from_iterator(
        CORPUS * 3, BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False)
    )
    tokenizer.add_special_tokens([AddedToken("<end>", lstrip=True)])
    return tokenizer


@pytest.fixture(scope="module", params=range(4), ids=["GPT-2", "SmolLM2", "Llama 3", "Qwen"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return trained(words._SPLITS[request.param][0], "NFC" if request.param == 3 else None)


@pytest.fixture(scope="module")
def table(tokenizer: Tokenizer) -> Words:
    found = Words.of(tokenizer)
    assert found is not None
    return found


@given(text=TEXTS)
@settings(deadline=None, max_examples=300)
def test_ids_and_places_are_those_of_the_library(
    tokenizer: Tokenizer, table: Words, text: str
) -> None:
    exact = tokenizer.encode(text, add_special_tokens=False)
    (ids,) = table.encode([text])
    assert ids is None or ids == exact.ids
    for first in (0, 1, 2):
        (found,) = table.encode_from([text], first)
        assert found is None or found == _encoded(exact, first)


def test_which_texts_are_looked_up(table: Words) -> None:
    taken = ["", "a", *CORPUS, "x" * 500, " \n ", "1" * 9]
    assert None not in table.encode(taken)
    assert None not in table.encode_from(["a bc", "the line.\n", "a été"], 1)
    left = ["Ω", "a\xa0b", "a\x1fb", "x²", "a <end> b", "e\u0301", "ſ"]
    assert table.encode(left) == [None] * len(left)
    assert table.encode_from(["a ", " "], 1) == [None] * 2  # a space at the end
    assert not any(len(word) > words.MAX_WORD_CHARS for word in table._ids)


def test_a_full_table_is_emptied(
    tokenizer: Tokenizer, table: Words, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(words, "MAX_WORDS", 3)
    text = "one two three four five"
    exact = tokenizer.encode(text, add_special_tokens=False).ids
    assert table.encode([text]) == [exact]
    assert table.encode(["six", text]) == [tokenizer.encode("six").ids, exact]
    assert len(table._ids) == 6


@pytest.mark.parametrize(
    "splitter",
    [
        {**words._GPT2, "add_prefix_space": True},
        words._BYTES,
        {"type": "Whitespace"},
        words._sequence(words._GPT2, words._DIGITS),
        words._sequence(words._split(r"\d+|\D+"), words._BYTES),
    ],
)
def test_other_ways_of_splitting_are_left_to_the_library(splitter: dict[str, Any]) -> None:
    assert Words.of(trained(splitter)) is None


def test_a_tokenizer_that_does_more_is_left_to_the_library() -> None:
    assert Words.of(trained(words._GPT2, "Lowercase")) is None
    assert Words.of(trained(words._GPT2, "NFKC")) is None
    assert Words.of(trained(words._GPT2, has_all_bytes=False)) is None
    random = trained(words._GPT2)
    random.model.dropout = 0.5
    assert Words.of(random) is None


def test_a_split_that_gives_other_ids_is_found_when_a_tokenizer_is_loaded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(words, "_SPLITS", ((words._GPT2, r"\S+|\s+"),))
    assert Words.of(trained(words._GPT2)) is None
    assert "word by word gives other ids" in caplog.text
