"""Text documents: layouts, windows over long texts, what is not applicable, and every command."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ifdkit
from ifdkit.data.dataset import Dataset, open_dataset
from ifdkit.data.options import ReadOptions
from ifdkit.data.read_log import ReadLog
from ifdkit.errors import InputError, UsageError
from ifdkit.prompting.windows import sliding_windows
from ifdkit.records import Example, Reject
from ifdkit.scoring.documents import NOT_COMPUTED
from ifdkit.scoring.profile import JUMP_TOKENS, PROFILE_TOKENS, largest_jump, perplexity_profile
from ifdkit.scoring.progress import Progress
from ifdkit.scoring.run import blocks, score_to_file
from ifdkit.scoring.settings import Settings
from tests import tiny
from tests.limits import PEAK_BYTES, needs_proc
from tests.reference import ReferenceModel

pytestmark = pytest.mark.long

Write = Callable[..., Path]
WORDS = ["the", "sea", "is", "a", "cat", "mat:", "Übersetze", "你好", "世界", "42", "🙂", "add(1)"]


def text_of(n_words: int, seed: int = 0) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=n_words))


def jsonl(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def examples_of(dataset: Dataset) -> list[Example]:
    found = list(dataset)
    assert not any(isinstance(one, Reject) for one in found)
    return [example for one in found if not isinstance(one, Reject) for example in one]


def notes_of(dataset: Dataset) -> list[str]:
    log = ReadLog()
    list(dataset.read(log))
    return log.notes()


class Notes(Progress):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


# Layouts

CORPORA: dict[str, dict[str, Any]] = {
    "Dolma": {
        "id": "d1", "text": "A text.", "source": "common-crawl", "added": "2024-01-01",
        "created": "2020-01-01", "attributes": {"toxic": [[0, 7, 0.1]]}, "metadata": {"url": "u"},
        "version": "v1",
    },
    "FineWeb": {
        "text": "A text.", "id": "d1", "dump": "CC-MAIN-2024-10", "url": "u", "date": "2024",
        "file_path": "s3://x", "language": "en", "language_score": 0.9, "token_count": 3,
        "score": 2.5, "int_score": 3,
    },
    "C4": {"text": "A text.", "timestamp": "2019-04-25T12:57:54Z", "url": "u", "id": "d1"},
    "RedPajama": {"raw_content": "A text.", "id": "d1", "meta": "{}", "quality_signals": "{}"},
    "code": {"content": "A text.", "id": "d1", "lang": "Python", "hexsha": "x", "size": 7},
    "classes": {"text": "A text.", "id": "d1", "label": 0},
    "document": {"Document": "A text.", "id": "d1"},
}  # fmt: skip


@pytest.mark.parametrize("name", CORPORA)
def test_a_corpus_is_read_without_a_note(name: str, write: Write) -> None:
    row = CORPORA[name]
    dataset = open_dataset(write("corpus.jsonl", jsonl([row, row | {"id": "d2"}])))
    assert dataset.has_documents
    assert "documents in" in dataset.describe()
    one, other = examples_of(dataset)
    assert (one.id, one.context, one.response, one.is_document) == ("d1", (), "A text.", True)
    assert one.instruction == ""
    assert other.id == "d2"
    assert notes_of(dataset) == []


def test_a_field_of_text_beside_a_document_is_named(write: Write) -> None:
    dataset = open_dataset(write("corpus.jsonl", jsonl([{"text": "A.", "title": "T"}])))
    assert notes_of(dataset) == ["1 of 1 row: `title` not used"]


def test_a_named_column_of_documents() -> None:
    dataset = open_dataset([{"body": "A."}], columns={"text": "body"})
    assert [one.response for one in examples_of(dataset)] == ["A."]


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "i", "input": "", "output": "o", "text": "### Instruction: i o"},
        {"instruction": "i", "output": None, "text": "t"},
        {"prompt": "i", "completion": "o", "content": "t"},
        {"problem": "i", "solution": "o", "text": "t"},
        {"messages": [{"role": "user", "content": "i"}, {"role": "assistant", "content": "o"}],
         "text": "t"},
    ],
)  # fmt: skip
def test_a_pair_with_a_text_column_stays_a_pair(row: dict[str, Any]) -> None:
    dataset = open_dataset([row])
    assert not dataset.has_documents
    (example,) = examples_of(dataset)
    assert (example.instruction, example.is_document) == ("i", False)


def test_messages_one_per_row_are_no_documents() -> None:
    with pytest.raises(InputError, match="no known pair of columns"):
        open_dataset([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}])


def test_two_columns_of_text_must_be_chosen() -> None:
    with pytest.raises(InputError, match="can be read in 2 ways"):
        open_dataset([{"text": "a", "raw_content": "b"}])
    assert open_dataset([{"text": "a", "content": None}]).columns.text == "text"


def test_ids_of_documents_differ_by_content() -> None:
    texts = ["a", "b", "a", ""]
    ids = [one.id for one in examples_of(open_dataset([{"text": text} for text in texts]))]
    assert len(set(ids)) == 4
    assert ids[0].split("-")[0] == ids[2].split("-")[0] != ids[1].split("-")[0]


# Text files


def test_a_text_file_is_one_document(write: Write, tmp_path: Path) -> None:
    text = "[Music]\n\nÜber die See.\r\n\r\nThe end.\n"
    packed = tmp_path / "b.txt.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    plain = tmp_path / "a.txt"
    plain.write_bytes(b"\xef\xbb\xbf" + text.encode())
    for path in (plain, packed):
        assert [one.response for one in examples_of(open_dataset(path))] == [text]


@pytest.mark.parametrize("begin", ['{"a": broken', "ORCHIDS", "<html><p>", "- a: b", "a, b\n1, 2"])
def test_a_text_file_may_begin_with_anything(begin: str, write: Write) -> None:
    dataset = open_dataset(write("a.txt", f"{begin}\nmore"))
    assert [one.response for one in examples_of(dataset)] == [f"{begin}\nmore"]


def test_json_lines_in_a_text_file_stay_rows(write: Write) -> None:
    dataset = open_dataset(write("a.txt", jsonl([{"instruction": "i", "output": "o"}] * 2)))
    assert not dataset.has_documents
    assert dataset.n_rows == 2


def test_lines_of_a_text_file(write: Write) -> None:
    path = write("a.txt", b'one\r\n\r\n  two\n \t\n{"text": 3}\nlast')
    dataset = open_dataset(path, lines=True)
    found = [one.response for one in examples_of(dataset)]
    assert found == ["one", "  two", '{"text": 3}', "last"]
    assert [raw.line for raw in dataset.raw_rows()] == [1, 3, 5, 6]


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))))
def test_lines_are_those_of_the_bytes(tmp_path_factory: Any, texts: list[str]) -> None:
    path = tmp_path_factory.mktemp("lines") / "a.txt"
    content = "\n".join(texts)
    path.write_bytes(content.encode())
    expected = [line.removesuffix(b"\r").decode() for line in content.encode().split(b"\n")
                if line.removeprefix(b"\xef\xbb\xbf").strip()]  # fmt: skip
    if not expected:
        with pytest.raises(InputError, match="contains no rows"):
            open_dataset(path, lines=True)
        return
    found = [one.response for one in examples_of(open_dataset(path, lines=True))]
    assert found == [text.removeprefix("\ufeff") if i == 0 else text
                     for i, text in enumerate(expected)]  # fmt: skip


def test_odd_bytes_of_a_text_file(write: Write) -> None:
    with pytest.raises(InputError, match="row 0: is not UTF-8: byte 0xFF at 4"):
        open_dataset(write("a.txt", b"ok\nb\xffd\n"))
    first, second = open_dataset(write("b.txt", b"ok\nb\xffd\n"), lines=True)
    assert not isinstance(first, Reject)
    assert isinstance(second, Reject)
    assert second.line == 2


def test_lines_are_for_text_files_only(write: Write) -> None:
    with pytest.raises(UsageError, match="--lines is for text files"):
        open_dataset(write("a.jsonl", jsonl([{"text": "a"}])), lines=True)
    with pytest.raises(UsageError, match="not for data in memory"):
        open_dataset([{"text": "a"}], lines=True)


# Windows


def guide_spans(n: int, max_length: int, stride: int) -> list[tuple[int, int, int]]:
    """(begin, first scored, end) of each window, as the loop of Hugging Face's guide has them."""
    spans, previous_end = [], 0
    for begin in range(0, n, stride):
        end = min(begin + max_length, n)
        spans.append((begin, previous_end, end))
        previous_end = end
        if end == n:
            break
    return spans


@given(st.integers(2, 300), st.integers(2, 40), st.data())
def test_windows_are_those_of_the_guide(n: int, max_length: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, max_length - 1))
    ids = np.arange(n, dtype=np.int32)
    windows = sliding_windows(ids, 1, max_length=max_length, stride=stride)
    found = [(int(w.ids[0]), int(w.ids[w.start]), int(w.ids[0]) + w.stop) for w in windows]
    first, *others = guide_spans(n, max_length, stride)
    assert found == [(first[0], 1, first[2]), *others]
    scored = np.concatenate([w.ids[w.start : w.stop] for w in windows])
    assert scored.tolist() == list(range(1, n))  # every token once
    assert all(len(w.ids) <= max_length for w in windows)
    assert all(w.start >= max_length - stride for w in windows[1:])


@given(st.integers(1, 60), st.integers(1, 70), st.integers(2, 20), st.data())
def test_windows_after_a_long_prefix(
    n: int, first: int, max_length: int, data: st.DataObject
) -> None:
    stride = data.draw(st.integers(1, max_length - 1))
    ids = np.arange(n, dtype=np.int32)
    windows = sliding_windows(ids, first, max_length=max_length, stride=stride)
    scored = [int(i) for w in windows for i in w.ids[w.start : w.stop]]
    assert scored == list(range(first, n))


def reference_nlls(
    model: ReferenceModel, ids: list[int], max_length: int, stride: int
) -> list[float]:
    """The guide's loop, one window at a time; the first token of `ids` is context."""
    found: list[float] = []
    for begin, scored, end in guide_spans(len(ids), max_length, stride):
        found += model.token_nll(ids[begin:end], max(1, scored - begin)).tolist()
    return found


MAX_LENGTH, STRIDE = 24, 7
LONG_BYTES = 2**20


def documents_of_lengths(model: ReferenceModel) -> list[str]:
    """Documents of 1 token, of a window less, equal and more than the window, and long ones."""
    texts = ["a", text_of(400, 1), "你好，世界" * 40, "🙂" * 30, "x " * 200, "\n\n a \n\n" * 20]
    # One more character can be two more tokens, so that not every text has such a beginning.
    longs = [text_of(200, seed) for seed in range(2, 40)]
    texts += [
        next(
            long[:n]
            for long in longs
            for n in range(1, 8 * n_tokens)
            if len(model.tokenizer(long[:n])["input_ids"]) == n_tokens
        )
        for n_tokens in (MAX_LENGTH - 2, MAX_LENGTH - 1, MAX_LENGTH, MAX_LENGTH + STRIDE - 1)
    ]
    return texts


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("stride", [None, STRIDE, MAX_LENGTH - 1])
def test_perplexity_against_a_slow_sliding_window(
    architecture: str, stride: int | None, tmp_path: Path
) -> None:
    folder = tiny.save_model(tmp_path / architecture, architecture)
    reference = ReferenceModel(folder)
    texts = documents_of_lengths(reference)
    scores = ifdkit.score(
        [{"text": text} for text in texts], model=folder, max_length=MAX_LENGTH, stride=stride,
        store="off", token_nll=True,
    )  # fmt: skip
    assert scores["status"].tolist() == ["ok"] * len(texts)
    for text, (_, row) in zip(texts, scores.iterrows(), strict=True):
        ids = reference.tokenizer(text, add_special_tokens=False)["input_ids"]
        nlls = reference_nlls(reference, [0, *ids], MAX_LENGTH, stride or MAX_LENGTH // 2)
        assert len(row["token_nll_response_direct"]) == len(ids) == row["response_tokens"]
        assert row["token_nll_response_direct"] == pytest.approx(nlls, abs=1e-4)
        assert row["nll_response_direct"] == pytest.approx(np.mean(nlls), abs=1e-5)
        assert row["ppl_response_direct"] == pytest.approx(np.exp(np.mean(nlls)), rel=1e-5)
        bits = np.sum(nlls) / np.log(2) / len(text.encode())
        assert row["bits_per_byte_response"] == pytest.approx(bits, rel=1e-5)
        parts = [nlls[i : i + PROFILE_TOKENS] for i in range(0, len(nlls), PROFILE_TOKENS)]
        assert row["ppl_windows"] == pytest.approx([np.exp(np.mean(p)) for p in parts], rel=1e-4)
        assert row["words"] == len(text.split())


@pytest.mark.parametrize("protocol", ["superfiltering", "reflection", "cherry"])
@pytest.mark.parametrize("adds_bos", [True, False])
def test_every_token_is_scored_once_under_every_protocol(
    protocol: str, adds_bos: bool, tmp_path: Path
) -> None:
    folder = tiny.save_model(tmp_path / "model", adds_bos=adds_bos)
    reference = ReferenceModel(folder)
    text = text_of(150)
    (row,) = ifdkit.score(
        [{"text": text}], model=folder, protocol=protocol, max_length=MAX_LENGTH, store="off",
        token_nll=True,
    ).to_dict("records")  # fmt: skip
    prefix = "### Response:" if protocol == "cherry" else ""
    ids = reference.tokenizer(prefix + text)["input_ids"]
    n_context = len(reference.tokenizer(prefix)["input_ids"]) if prefix else 1
    nlls = reference_nlls(reference, ids, MAX_LENGTH, MAX_LENGTH // 2)[n_context - 1 :]
    assert row["token_nll_response_direct"] == pytest.approx(nlls, abs=1e-4)


def test_a_short_document_has_the_direct_pass_of_a_response(tiny_model: Path) -> None:
    text = text_of(20)
    given: dict[str, Any] = {"model": tiny_model, "metrics": "ppl", "store": "off"}
    document = ifdkit.score([{"text": text}], **given).iloc[0]
    pair = ifdkit.score([{"instruction": "Say it", "output": text}], **given).iloc[0]
    for name in ("nll_response_direct", "bits_per_byte_response", "response_tokens"):
        assert document[name] == pair[name]


@pytest.mark.real_model
def test_perplexity_of_the_default_model() -> None:
    from ifdkit.engine.models import DEFAULT_MODEL, resolve

    reference = ReferenceModel(resolve(DEFAULT_MODEL).folder)
    text = "The ships lay in the harbour. " * 10 + "A storm came up from the west, 你好. " * 10
    (row,) = ifdkit.score(
        [{"text": text}], max_length=128, stride=48, dtype="float32", device="cpu", store="off"
    ).to_dict("records")
    ids = reference.tokenizer(text, add_special_tokens=False)["input_ids"]
    begin = reference.tokenizer.bos_token_id
    assert len(ids) > 200
    nlls = reference_nlls(reference, [begin, *ids], 128, 48)
    assert row["nll_response_direct"] == pytest.approx(np.mean(nlls), abs=1e-4)


def test_a_stride_without_context_is_refused(tiny_model: Path) -> None:
    for stride in (0, 64, 100):
        with pytest.raises(UsageError, match=f"--stride {stride}"):
            ifdkit.score([{"text": "a"}], model=tiny_model, max_length=64, stride=stride)


# The profile


def test_the_profile_by_hand() -> None:
    nll = np.concatenate([np.full(PROFILE_TOKENS, 1.0), np.full(3, 2.0)]).astype(np.float32)
    assert perplexity_profile(nll) == pytest.approx([np.exp(1), np.exp(2)])
    assert perplexity_profile(None) is None
    assert perplexity_profile(np.full(2, 1000, np.float32)) == [None]


def test_the_jump_is_where_surprise_rises() -> None:
    rng = np.random.default_rng(0)
    nll = rng.normal(3, 0.1, 1000).astype(np.float32)
    nll[700:] += 2
    jump = largest_jump(nll)
    assert jump is not None
    assert jump.position == 700
    assert jump.nats == pytest.approx(2, abs=0.1)
    assert largest_jump(nll[: 2 * JUMP_TOKENS - 1]) is None
    slow = [nll[i : i + JUMP_TOKENS].mean() - nll[i - JUMP_TOKENS : i].mean()
            for i in range(JUMP_TOKENS, 1000 - JUMP_TOKENS + 1)]  # fmt: skip
    assert jump.position == JUMP_TOKENS + int(np.argmax(slow))


# What is not applicable


def test_fields_of_instructions_are_null_and_no_failures(
    tiny_model: Path, write: Write, tmp_path: Path
) -> None:
    rows: list[dict[str, Any]]
    rows = [{"text": text_of(n)} for n in (5, 200)] + [{"text": ""}, {"text": " \n "}, {"x": 1}]
    data, progress = write("corpus.jsonl", jsonl(rows)), Notes()
    # The embedder does not exist: it must not be looked for.
    settings = Settings(model=str(tiny_model), embedder="no/embedder", store="off")
    for ending in ("jsonl", "parquet", "csv"):
        summary = score_to_file(data, tmp_path / f"out.{ending}", settings, ReadOptions(), progress)
    assert progress.notes.count(NOT_COMPUTED) == 3
    assert summary.status_counts == {"ok": 2, "empty_response": 2}
    assert summary.manifest.rows_rejected == 1
    assert list(summary.metrics) == [
        "response_tokens", "ppl_response_direct", "bits_per_byte_response", "words", "jump_nats",
    ]  # fmt: skip
    assert summary.manifest.metrics == ["ppl"]
    assert (summary.manifest.stride, summary.manifest.embedder) == (128, None)
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert {one["ifd"] for one in lines} == {one["instruction_tokens"] for one in lines} == {None}
    assert len(lines[1]["ppl_windows"]) == 1 + (lines[1]["response_tokens"] - 1) // PROFILE_TOKENS
    assert lines[2]["ppl_windows"] is None
    assert lines[2]["reason"] == "the document contains no text"
    import pyarrow.parquet as pq

    assert pq.read_table(tmp_path / "out.parquet").to_pylist() == lines
    import pandas as pd

    cell = pd.read_csv(tmp_path / "out.csv")["ppl_windows"][1]
    assert json.loads(cell) == lines[1]["ppl_windows"]


def test_pairs_have_no_columns_of_documents(tiny_model: Path) -> None:
    frame = ifdkit.score([{"instruction": "i", "output": "o"}], model=tiny_model, metrics="ppl")
    assert not {"words", "ppl_windows", "jump_token"} & set(frame.columns)
    assert frame.attrs["manifest"]["stride"] is None


def test_metrics_that_no_document_has_are_refused(tiny_model: Path) -> None:
    with pytest.raises(UsageError, match="have no instruction; choose ppl"):
        ifdkit.score([{"text": "a"}], model=tiny_model, metrics="ifd,coherence")


# Runs and commands


def test_a_resumed_run_has_the_same_bytes(tiny_model: Path, write: Write, tmp_path: Path) -> None:
    data = write("corpus.jsonl", jsonl([{"text": text_of(100 + 50 * i, i)} for i in range(6)]))
    settings = Settings(model=str(tiny_model), max_length=64, store=str(tmp_path / "a.sqlite"))
    whole, again = tmp_path / "whole.jsonl", tmp_path / "again.jsonl"
    first = score_to_file(data, whole, settings, ReadOptions()).manifest
    second = score_to_file(data, again, settings, ReadOptions()).manifest
    assert whole.read_bytes() == again.read_bytes()
    assert first.requests_scored == first.requests > 6
    assert second.requests_scored == 0

    class Killed(Progress):
        def scored(self, tokens: int) -> None:
            del tokens
            raise KeyboardInterrupt

    part = Settings(model=str(tiny_model), max_length=64, store=str(tmp_path / "b.sqlite"))
    with pytest.raises(KeyboardInterrupt):
        score_to_file(data, again, part, ReadOptions(), Killed())
    score_to_file(data, again, part, ReadOptions())
    assert whole.read_bytes() == again.read_bytes()


def test_another_stride_is_another_score(tiny_model: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {"model": tiny_model, "max_length": 32, "store": tmp_path / "s.sqlite"}
    rows = [{"text": text_of(60)}]
    one, other = (ifdkit.score(rows, **given, stride=stride) for stride in (16, 8))
    assert one.attrs["manifest"]["stride"] == 16
    assert one["nll_response_direct"][0] != other["nll_response_direct"][0]
    with pytest.raises(InputError, match="stride 16 and 8"):
        ifdkit.compare(one, other)


def test_blocks_are_limited_by_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ifdkit.scoring.run.CHARS_PER_BLOCK", 100)
    dataset = open_dataset([{"text": "x" * 40}] * 7)
    assert [len(one.examples) for one in blocks(dataset)] == [3, 3, 1]


def test_lines_are_reopened_as_they_were_scored(
    tiny_model: Path, write: Write, tmp_path: Path
) -> None:
    data = write("corpus.txt", "".join(f"{text_of(20, i)}\n" for i in range(12)))
    settings = Settings(model=str(tiny_model), store=str(tmp_path / "s.sqlite"))
    scores, best = tmp_path / "scores.jsonl", tmp_path / "best.txt"
    made = score_to_file(data, scores, settings, ReadOptions(lines=True)).manifest
    assert (made.lines, made.examples, made.columns) == (True, 12, {"text": "text"})
    ifdkit.select(scores, best, by="ppl_response_direct", top=4, lowest=True)
    kept = best.read_text(encoding="utf-8").splitlines()
    assert len(kept) == 4
    assert [line for line in data.read_text(encoding="utf-8").splitlines() if line in kept] == kept
    audit = ifdkit.audit(scores, clean=tmp_path / "clean.txt")
    assert audit.rows == 12
    assert audit.cleaned is not None
    result = ifdkit.compare(scores, scores)
    assert set(result.summary.metrics) == {
        "response_tokens", "ppl_response_direct", "bits_per_byte_response",
    }  # fmt: skip
    assert result.summary.texts_compared
    assert "instruction" not in " ".join([result.summary.pairing.note, *result.summary.warnings])


def test_a_text_file_is_cleaned_into_a_text_file(write: Write, tmp_path: Path) -> None:
    data = write("corpus.txt", b"A sentence of words.\r\nA sentence of words.\r\nAnother one.\r\n")
    ifdkit.audit(data, lines=True, scores=False, clean=tmp_path / "clean.txt",
                 rules={"exact_duplicate": {"severity": "error", "most": 0}},
                 clean_rules="errors")  # fmt: skip
    assert (tmp_path / "clean.txt").read_bytes() == b"A sentence of words.\r\nAnother one.\r\n"


def test_an_audit_of_documents_has_the_rules_of_documents(tiny_model: Path, write: Write) -> None:
    rows = [{"text": f"Lorem ipsum dolor {i} sit amet.", "id": f"d{i}"} for i in range(30)]
    benchmark = write("benchmark.jsonl", jsonl([{"text": rows[3]["text"] + " So it ends here now"
                                                 " for ever and ever and all."}]))  # fmt: skip
    audit = ifdkit.audit(rows, model=tiny_model, store="off", against=[benchmark])
    names = {rule.name: rule for rule in audit.rules}
    assert names["lorem_ipsum"].count == 30
    assert not {"empty_instruction", "ifd_above_one", "contamination"} & set(names)
    assert names["contaminated_document"].skipped is None
    assert names["high_perplexity"].checked == 30


@pytest.mark.parametrize(
    ("method", "message"),
    [("superfiltering", "have no ifd"), ("cherry", "have no ifd_loss")],
)
def test_methods_that_need_ifd_refuse_documents(method: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        ifdkit.select([{"text": "a"}], tmp_path / "out.jsonl", method=method, top=1)


def test_words_need_no_model(tmp_path: Path) -> None:
    rows = [{"text": text_of(n)} for n in (5, 9, 7)]
    done = ifdkit.select(rows, tmp_path / "out.jsonl", by="words", top=2, model="no/model")
    assert done.kept_rows == (1, 2)
    with pytest.raises(UsageError, match="words is for documents"):
        ifdkit.select(
            [{"instruction": "i", "output": "o"}], tmp_path / "out.jsonl", by="words", top=1
        )


def test_reflect_and_the_template_check_refuse_documents(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="reflect needs instructions"):
        ifdkit.reflect([{"text": "a"}], tmp_path / "out.jsonl", oracle="local")
    with pytest.raises(UsageError, match="--template-check needs instructions"):
        ifdkit.audit([{"text": "a"}], template_check="alpaca")


def test_documents_are_not_compared_with_pairs(tiny_model: Path) -> None:
    with pytest.raises(InputError, match="one contains documents"):
        ifdkit.compare([{"text": "a"}], [{"instruction": "i", "output": "o"}], model=tiny_model)


def test_joined_scores_of_documents(tiny_model: Path, write: Write, tmp_path: Path) -> None:
    from ifdkit.scoring.joining import score_into_rows

    rows: list[dict[str, Any]] = [
        {"id": "a", "text": text_of(30), "meta": 1},
        {"id": "b", "text": ""},
    ]
    output = tmp_path / "joined.jsonl"
    settings = Settings(model=str(tiny_model), store="off")
    data = write("corpus.jsonl", jsonl(rows))
    score_into_rows(data, output, settings, ReadOptions(turns="last"))
    found = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert [{k: one[k] for k in row} for one, row in zip(found, rows, strict=True)] == rows
    assert list(found[0]) == [
        "id", "text", "meta", "status", "reason", "response_tokens", "response_words",
        "truncated_tokens", "nll_response_direct", "ppl_response_direct",
        "bits_per_byte_response", "words", "jump_token", "jump_nats", "ppl_windows",
    ]  # fmt: skip
    lines = write("a.txt", "a\nb\n")
    with pytest.raises(UsageError, match="a text file has no columns"):
        score_into_rows(lines, tmp_path / "b.txt", settings, ReadOptions(lines=True))


def test_show_prints_no_instruction(
    tiny_model: Path, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    from ifdkit.cli.main import cli

    data = write("corpus.jsonl", jsonl([{"id": "a", "text": "the sea is wide"}]))
    args = ["show", str(data), "a", "-m", str(tiny_model), "--store", "off", "-q"]
    cli(args, standalone_mode=False)
    out = capsys.readouterr().out
    assert "instruction" not in out
    assert "conditional" not in out
    assert "document" in out


@needs_proc
def test_memory_of_a_long_document_is_linear(tiny_model: Path) -> None:
    script = f"""
import sys
{PEAK_BYTES}
from ifdkit.records import Example
from ifdkit.scoring.scorer import Scorer
from ifdkit.scoring.settings import Settings
with Scorer(Settings(model={str(tiny_model)!r}, store="off", metrics=("ppl",))) as scorer:
    def n_tokens(n_bytes):
        text = "the sea is wide. "[: n_bytes] * (n_bytes // 17)
        example = Example("a", 0, 0, (), text, is_document=True)
        (passes,) = scorer.align([example])
        assert len([one.content for one in passes.requests]) >= passes.response_tokens // 128
        return passes.response_tokens
    n_tokens(17)
    before = peak_bytes()
    print(n_tokens({LONG_BYTES}), peak_bytes() - before)
"""
    made = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=600
    )
    n_tokens, n_bytes = map(int, made.stdout.split())
    assert n_tokens > LONG_BYTES / 4
    # 5 MB are 1.2 million tokens of the default model: below 1 GB.
    assert n_bytes < 700 * n_tokens
