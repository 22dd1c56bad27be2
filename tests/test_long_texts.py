"""Long texts: tokenised in pieces as they are as a whole, and in memory linear in their length."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from ifdkit.data.raw import MAX_TURNS
from ifdkit.engine import pieces
from ifdkit.engine.pieces import encode_in_pieces
from tests.limits import PEAK_BYTES, needs_proc

WORDS = ["the", "sea", "is", "wide", "é", "你好", "世界", "<s>", "don't", "12", "1234567", "3.5",
         "\n\n", "\t", "##", "", "A", "Z🙂", "f(x)=", "purring"]  # fmt: skip


def byte_level() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return trained(made, trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<s>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))  # fmt: skip


def across_words() -> Tokenizer:
    """Like Llama 2's: nothing is split before the merges, and a space precedes the text."""
    made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=False))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"),
                                            normalizers.Replace(" ", "▁")])  # fmt: skip
    return trained(made, trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<unk>", "<s>"], show_progress=False))  # fmt: skip


def unigram() -> Tokenizer:
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    return trained(made, trainers.UnigramTrainer(
        vocab_size=200, special_tokens=["<unk>", "<s>"], unk_token="<unk>",
        show_progress=False))  # fmt: skip


def trained(tokenizer: Tokenizer, trainer: Any) -> Tokenizer:
    draw = random.Random(0)
    corpus = [" ".join(draw.choices(WORDS, k=20)) for _ in range(200)]
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


TOKENIZERS = {one.__name__: one() for one in (byte_level, across_words, unigram)}


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(300, 1500), st.integers(700, 2000))
def test_pieces_give_the_ids_and_places_of_the_whole(
    name: str, seed: int, size: int, overlap: int
) -> None:
    draw = random.Random(seed)
    text = "".join(draw.choice(WORDS) + draw.choice([" ", " ", "  ", ""]) for _ in range(1500))
    whole = TOKENIZERS[name].encode(text, add_special_tokens=False)
    found = encode_in_pieces(TOKENIZERS[name], text, size, max(overlap, size))
    assert found is not None
    assert found.ids == whole.ids
    assert list(zip(found.starts, found.ends, strict=True)) == whole.offsets


@pytest.mark.parametrize("name", ["byte_level", "across_words"])
def test_a_text_without_an_agreed_place_has_no_result(name: str) -> None:
    """The pieces of one long word depend on where they begin."""
    text = "".join(random.Random(1).choices("the sea", k=9000)).replace(" ", "x")
    found = encode_in_pieces(TOKENIZERS[name], text, 1000, 100)
    assert found is None


@pytest.mark.parametrize("special", [False, True])
def test_long_texts_have_the_same_passes_as_without_pieces(
    special: bool, tiny_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ifdkit.engine import tokenizer as module
    from ifdkit.engine.models import resolve

    made = module.HuggingFaceTokenizer(resolve(str(tiny_model)))
    draw = random.Random(2)
    texts = [" ".join(draw.choices(WORDS, k=n)) for n in (5, 4000, 50, 3000)]

    def results() -> list[Any]:
        return [
            made.encode(texts, special=special),
            *(made.encode_from(texts, special=special, first=n) for n in (0, 1, 2, 500)),
            *(made.offsets(text, special=special) for text in texts),
        ]

    whole = results()
    encode: Callable[..., Any] = pieces.encode_in_pieces
    monkeypatch.setattr(module, "LONG_CHARS", 2000)
    monkeypatch.setattr(module, "encode_in_pieces", lambda *one: encode(*one, 2000, 1500))
    assert results() == whole
    monkeypatch.setattr(module, "encode_in_pieces", lambda *_: None)
    assert results() == whole


TOKENISE = f"""{PEAK_BYTES}
import sys
from tokenizers import Tokenizer
from ifdkit.engine.pieces import encode_in_pieces
tokenizer = Tokenizer.from_file(sys.argv[1])
text = "The sea is wide and green, and the cat purrs. " * (int(sys.argv[2]) // 46)
before = peak_bytes()
assert encode_in_pieces(tokenizer, text) is not None
print(peak_bytes() - before)
"""
SCORE = f"""{PEAK_BYTES}
import sys
from ifdkit.cli.main import main
assert main(sys.argv[1:]) in (0, 1)
print(peak_bytes(), file=sys.stderr)
"""


@needs_proc
@pytest.mark.long
def test_memory_of_tokenising_is_linear_and_small(tiny_model: Path) -> None:
    def peak(n_chars: int) -> int:
        file = str(tiny_model / "tokenizer.json")
        command = [sys.executable, "-c", TOKENISE, file, str(n_chars)]
        return int(subprocess.run(command, capture_output=True, check=True).stdout)

    fixed, small, large = (peak(n) for n in (500_000, 1_000_000, 2_000_000))
    assert large - fixed <= 100 * 1_500_000  # bytes per character; as a whole it takes 200
    assert large - small <= 3 * (small - fixed) + 2**25


SENTENCE = "The sea is wide and green, and the cat purrs. "
MAX_BYTES = 10**9
"""Beside what a run with short texts takes."""


def long_text(field: str) -> dict[str, Any]:
    text = SENTENCE * (5_000_000 // len(SENTENCE) + 1)
    return {"instruction": "Write a story.", "output": "It is wide.", field: text}


def conversation(n_turns: int) -> dict[str, Any]:
    texts = [f"{i} {SENTENCE * 3}" for i in range(n_turns)]
    roles = ["user", "assistant"] * (n_turns // 2)
    return {"messages": [{"role": role, "content": text}
                         for role, text in zip(roles, texts, strict=True)]}  # fmt: skip


ROWS: dict[str, Callable[[], dict[str, Any]]] = {
    "instruction of 5 MB": lambda: long_text("instruction"),
    "output of 5 MB": lambda: long_text("output"),
    "2,000 turns": lambda: conversation(MAX_TURNS),
}
SHORT: dict[str, Callable[[], dict[str, Any]]] = {
    name: lambda: {"instruction": "Write a story.", "output": "It is wide."} for name in ROWS
} | {"2,000 turns": lambda: conversation(2)}
COMMANDS = {
    "score": ["score", "data.jsonl", "-o", "out.jsonl"],
    "compare": ["compare", "data.jsonl", "other.jsonl", "-o", "report"],
    "audit": ["audit", "data.jsonl"],
    "show": ["show", "data.jsonl", "0"],
}


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", ROWS)
def test_a_long_row_takes_less_than_1_gb_beside_the_model(
    name: str, command: str, tiny_model: Path, tmp_path: Path
) -> None:
    def peak(row: dict[str, Any]) -> int:
        for file in ("data", "other"):
            # Of the long instruction nothing can be scored, so another row follows.
            rows = (row, SHORT[name]())
            (tmp_path / f"{file}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
        done = subprocess.run(
            [sys.executable, "-c", SCORE, *COMMANDS[command], "-q", "-m", str(tiny_model),
             "--metrics", "ifd", "--store", "off"],
            cwd=tmp_path, capture_output=True, text=True)  # fmt: skip
        assert done.returncode == 0, done.stderr
        return int(done.stderr.split()[-1])

    taken = peak(ROWS[name]()) - peak(SHORT[name]())
    print(f"{command}, {name}: {taken / 1e6:,.0f} MB")
    assert taken < MAX_BYTES
