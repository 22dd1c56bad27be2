"""Memory that does not grow with the data: columns in files, and rules in other processes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ifdkit
from ifdkit.auditing import text_hits
from ifdkit.auditing.text_worker import checks_by_rule
from ifdkit.data import spilling
from ifdkit.data.spilling import Chosen, HashColumn, NumberColumns, RecordColumn, TextColumn
from ifdkit.engine import program_pool
from ifdkit.engine.program_pool import ProgramPool
from ifdkit.engine.programs import start_program
from ifdkit.findings import near, shared_ngrams
from ifdkit.findings.recurring import recurring
from ifdkit.findings.texts import EMPTY_KEY, Corpus, DistinctTexts, indices_by_key, key
from ifdkit.records import Example, Turn

pytestmark = pytest.mark.long

TEXTS = st.lists(st.text(st.characters(exclude_categories=())), max_size=30)
_SYLLABLES = [a + b + c for a in "bdfgklmnprst" for b in "aeiou" for c in "lmnrst"]


@given(TEXTS, st.sampled_from([0, 5, 10_000]), st.data())
def test_a_column_in_a_file_has_the_texts_of_a_list(
    texts: list[str], in_memory: int, data: st.DataObject
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spilling, "BYTES_IN_MEMORY", in_memory)
        patch.setattr(spilling, "_BLOCK_BYTES", 7)
        column = TextColumn(texts)
        assert list(column) == texts
        assert len(column) == len(texts)
        cut = data.draw(st.slices(len(texts)))
        assert column[cut] == texts[cut]
        positions = data.draw(st.lists(st.integers(0, max(len(texts) - 1, 0)), max_size=40))
        positions = positions if texts else []
        chosen = Chosen(column, np.array(positions, dtype=np.int64))
        assert (
            list(chosen) == [texts[i] for i in positions] == [chosen[i] for i in range(len(chosen))]
        )
        for outside in (len(texts), -len(texts) - 1):
            with pytest.raises(IndexError):
                column[outside]


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.lists(st.floats(), max_size=5)), max_size=20),
    st.sampled_from([1, 3, 10_000]),
)
def test_number_columns_that_share_a_file_keep_their_numbers(
    parts: list[tuple[str, list[float]]], in_memory: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spilling, "NUMBERS_IN_MEMORY", in_memory)
        columns = NumberColumns("ab")
        expected: dict[str, list[float]] = {"a": [], "b": []}
        for name, numbers in parts:
            columns.extend(name, numbers)
            expected[name] += numbers
        for _ in range(2):  # reading changes nothing
            for name in columns:
                found = columns.numbers(name)
                assert found.tobytes() == np.array(expected[name], dtype=np.float64).tobytes()


@given(TEXTS, st.booleans())
def test_records_come_back_from_a_file(texts: list[str], spills: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spilling, "BYTES_IN_MEMORY", 0 if spills else 10**9)
        examples = [
            Example(text, i, 0, (Turn("user", text),), text) for i, text in enumerate(texts)
        ]
        assert list(RecordColumn(examples)) == examples


@given(st.lists(st.lists(st.integers(0, 2**64 - 1), max_size=5), max_size=9), st.booleans())
def test_hashes_come_back_from_a_file(lists: list[list[int]], spills: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spilling, "BYTES_IN_MEMORY", 0 if spills else 10_000)
        column = HashColumn(np.array(one, dtype=np.uint64) for one in lists)
        assert [one.tolist() for one in column] == lists


@given(st.lists(st.sampled_from(["a", "A ", "b", "", " ", "c c", "c  c"])))
def test_distinct_texts_are_those_of_a_dictionary(texts: list[str]) -> None:
    keys = [key(text) for text in texts]
    expected = indices_by_key(keys)
    expected.pop(EMPTY_KEY, None)
    distinct = DistinctTexts.of(keys)
    found = [distinct.indices(number) for number in range(len(distinct))]
    assert found == list(expected.values())
    assert distinct.firsts.tolist() == [indices[0] for indices in found]
    assert distinct.repeated.tolist() == [i for i, one in enumerate(found) if len(one) > 1]


def prose(rng: random.Random, n_words: int) -> list[str]:
    return [rng.choice(_SYLLABLES) + rng.choice(_SYLLABLES) for _ in range(n_words)]


def edited(rng: random.Random, words: list[str], n_changed: int) -> str:
    cut = list(words)
    for at in rng.sample(range(len(cut)), n_changed):
        cut[at] = rng.choice(_SYLLABLES)
    return " ".join(cut)


@pytest.mark.parametrize("table_bits", [6, 27])
@pytest.mark.parametrize("whole", [False, True])
def test_near_duplicates_do_not_depend_on_how_shingles_are_counted_and_kept(
    monkeypatch: pytest.MonkeyPatch, table_bits: int, whole: bool
) -> None:
    """Also if nearly all shingles share a cell of the table with others."""
    rng = random.Random(table_bits)
    bases = [prose(rng, rng.choice([26, 60, 150])) for _ in range(30)]
    texts = [edited(rng, base, n) for base in bases for n in (0, 0, 1, 2, 5)]
    rng.shuffle(texts)
    plain = near.near_duplicates(texts, whole=whole)
    assert len(plain) >= 30
    monkeypatch.setattr(spilling, "BYTES_IN_MEMORY", 0)
    monkeypatch.setattr(near, "MAX_COUNTED", 10)
    monkeypatch.setattr(near, "_TABLE_BITS", table_bits)
    monkeypatch.setattr(near, "_TO_CELL", np.uint64(64 - table_bits))
    assert near.near_duplicates(TextColumn(texts), whole=whole) == plain


def test_phrases_of_many_texts_are_searched_in_a_part_and_counted_in_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = random.Random(5)
    phrase = prose(rng, 8)
    planted = sorted(rng.sample(range(600), 60))
    texts = []
    for row in range(600):
        words = prose(rng, 50)
        if row in planted:
            words[20:20] = phrase
        texts.append(" ".join(words))
    plain = recurring(texts, kind="phrase")
    assert [one.indices for one in plain] == [tuple(planted)]
    monkeypatch.setattr(shared_ngrams, "MAX_TEXTS", 150)
    assert recurring(texts, kind="phrase") == plain
    # Negative control: what too few of the texts contain is found in no part.
    monkeypatch.setattr(shared_ngrams, "MAX_TEXTS", 150)
    assert recurring(texts, kind="phrase", min_share=0.2) == []


def rows_with_faults(n: int) -> list[dict[str, str]]:
    rng = random.Random(n)
    responses = ("I'm sorry, but as an AI language model I can't.", "N/A", "",
                 "Write to jane.doe@example.org.", "<div><p>Hi</p></div><br/>")  # fmt: skip
    return [
        {
            "instruction": f"Question {i}: {' '.join(prose(rng, 6))}?",
            "response": rng.choice(responses) if i % 7 == 0 else " ".join(prose(rng, 9)) + ".",
        }
        for i in range(n)
    ]


def audited(rows: Sequence[dict[str, str]], text_workers: int) -> dict[str, Any]:
    found = ifdkit.audit(rows, scores=False, text_workers=text_workers)
    return replace(found, created="", elapsed_s=0).as_json()


@pytest.mark.long
def test_an_audit_in_several_processes_is_that_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_with_faults(200)
    alone = audited(rows, 1)
    monkeypatch.setattr(text_hits, "MIN_EXAMPLES", 10)
    monkeypatch.setattr(text_hits, "EXAMPLES_PER_CHUNK", 30)
    asked: list[str] = []
    plain = ProgramPool._answer

    def counting(self: ProgramPool, request: object) -> Any:
        asked.append("")
        answer = plain(self, request)
        assert answer
        return answer

    monkeypatch.setattr(ProgramPool, "_answer", counting)
    assert audited(rows, 2) == alone
    assert len(asked) == 7
    # A process that does not answer: its examples are checked here.
    monkeypatch.setattr(ProgramPool, "_answer", lambda *_: None)
    assert audited(rows, 2) == alone
    assert any(rule["count"] for rule in alone["rules"])  # there was something to find


def test_a_process_that_dies_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that ends at once answers nothing; the texts are checked here, and none is lost."""
    started = []

    def dead(*args: Any, **more: Any) -> Any:
        found = start_program(*args, **more)
        found[0].kill()
        started.append(found[0])
        return found

    monkeypatch.setattr(program_pool, "start_program", dead)
    monkeypatch.setattr(text_hits, "MIN_EXAMPLES", 10)
    monkeypatch.setattr(text_hits, "EXAMPLES_PER_CHUNK", 20)
    rows = rows_with_faults(60)
    corpus = Corpus(
        [str(i) for i in range(60)],
        [row["instruction"] for row in rows],
        [row["response"] for row in rows],
    )
    checks = checks_by_rule()
    with text_hits.text_workers(corpus, checks, 2) as workers:
        assert workers is not None
        for name in workers.names:
            expected = text_hits.TextHits.of(checks[name], corpus)
            found = workers.hits(name)
            assert found.indices.tolist() == expected.indices.tolist()
            assert found.quotes == expected.quotes
    assert len(started) == 3, "one for each chunk"
    assert all(process.poll() is not None for process in started)


def test_few_examples_are_not_worth_a_process() -> None:
    corpus = Corpus(["a"], ["b"], ["c"])
    with text_hits.text_workers(corpus, checks_by_rule(), 2) as workers:
        assert workers is None
