"""What is scored is what is trained: label masks against the scoring spans, token by token."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ifdkit.data.dataset import open_dataset
from ifdkit.engine.finetuning import IGNORED, labels_of
from ifdkit.errors import InputError
from ifdkit.records import Request
from ifdkit.scoring.progress import Progress
from ifdkit.scoring.scorer import Scorer
from ifdkit.scoring.settings import Settings
from ifdkit.training.rows import TrainingRows, training_rows
from tests import tiny
from tests.training_fixtures import FAMILIES, ROWS, save_family

pytestmark = pytest.mark.long

CONVENTIONS: dict[str, dict[str, Any]] = {
    "aligned": {},
    "superfiltering": {"protocol": "superfiltering"},
    "reflection": {"protocol": "reflection"},
    "cherry": {"protocol": "cherry"},
    "chat": {"template": "chat"},
}
VICUNA = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives"
    " helpful, detailed, and polite answers to the user's questions. USER: {0} ASSISTANT:"
)
ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately completes"
    " the request.\n\n### Instruction:\n{0}\n\n### Response:"
)
ALPACA_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further"
    " context. Write a response that appropriately completes the request.\n\n### Instruction:\n{0}"
    "\n\n### Input:\n{1}\n\n### Response:"
)


class Notes(Progress):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    name = request.param
    return name, save_family(tmp_path_factory.mktemp("family") / name, name)


def rows_of(
    model: Path, rows: list[dict[str, Any]], notes: Notes | None = None, **settings: Any
) -> tuple[TrainingRows, Scorer]:
    chosen = Settings(model=str(model), metrics=("ifd",), store="off", device="cpu", **settings)
    with Scorer(chosen) as scorer:
        return training_rows(open_dataset(rows), scorer, notes or Notes()), scorer


def prompt_of(convention: str, row: dict[str, str], tokenizer: Any) -> str:
    """The text before the response, written out or by transformers itself."""
    instruction, data = row["instruction"], row["input"]
    if convention in ("aligned", "superfiltering"):
        return f"{instruction}\n{data}\n" if data else f"{instruction}\n"
    if convention == "reflection":
        return VICUNA.format(f"{instruction}\nInput:\n{data}" if data else instruction)
    if convention == "cherry":
        return (ALPACA_INPUT if data else ALPACA).format(instruction, data)
    content = f"{instruction}\n{data}" if data else instruction
    rendered: str = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True,
        date_string="26 Jul 2024",
    )  # fmt: skip
    return rendered


def expected_row(
    convention: str, row: dict[str, str], tokenizer: Any, end: int
) -> tuple[list[int], list[int]]:
    """Ids and labels by the rules of the protocol, with the tokenizer alone."""
    prompt, response = prompt_of(convention, row, tokenizer), row["output"]

    def encode(text: str, *, special: bool) -> list[int]:
        return list(tokenizer(text, add_special_tokens=special)["input_ids"])

    if convention in ("aligned", "chat"):
        before = encode(prompt, special=False)
        if before[:1] != [tokenizer.bos_token_id]:
            before = [tokenizer.bos_token_id, *before]
        ids = before + encode(response, special=False)
    else:
        before = encode(prompt, special=True)
        ids = encode(prompt + response, special=True)
    labels = [IGNORED] * len(before) + ids[len(before) :] + [end]
    return [*ids, end], labels


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_labels_are_the_scoring_span_and_the_end(family: tuple[str, Path], convention: str) -> None:
    name, model = family
    found, scorer = rows_of(model, ROWS, **CONVENTIONS[convention])
    tokenizer: Any = scorer.tokenizer._tokenizer
    stop = FAMILIES[name].end_of_turn if convention == "chat" else "</s>"
    end = tokenizer.convert_tokens_to_ids(stop)
    spans = [
        one.response_conditional.request
        for one in scorer.align([e for es in open_dataset(ROWS) for e in es])  # type: ignore[union-attr]
        if one.response_conditional
    ]
    assert len(found.rows) == len(spans) == len(ROWS)
    for row, span, source in zip(found.rows, spans, ROWS, strict=True):
        labels = labels_of(row.request)
        trained = [place for place, label in enumerate(labels) if label != IGNORED]
        assert trained == [*range(span.start, span.stop), span.stop]
        assert row.request.ids[: span.stop].tolist() == span.ids.tolist()
        assert labels[span.stop] == end
        assert row.n_end == 1
        if (convention, name) != ("chat", "granite"):  # transformers prints today's date in it
            ids, expected = expected_row(convention, source, tokenizer, end)
            assert row.request.ids.tolist() == ids
            assert labels == expected
    assert found.unended == found.truncated == 0
    assert not found.dropped


def test_nothing_but_the_span_has_a_label() -> None:
    request = Request(np.array([5, 6, 7, 8, 9], dtype=np.int32), 2, 4)
    assert labels_of(request) == [IGNORED, IGNORED, 7, 8, IGNORED]


def test_a_truncated_response_has_no_end(family: tuple[str, Path]) -> None:
    """Else the model would learn to stop in the middle of a sentence."""
    _, model = family
    long = {"instruction": "Count.", "input": "", "output": "one two three " * 40}
    notes = Notes()
    found, _ = rows_of(model, [long, ROWS[1]], notes, max_length=64)
    cut, whole = found.rows
    assert (found.truncated, cut.n_end, whole.n_end) == (1, 0, 1)
    assert len(cut.request.ids) == 64
    assert any("1 response is cut at the maximum length" in line for line in notes.lines)


def test_a_response_that_fills_the_maximum_length_has_no_end(family: tuple[str, Path]) -> None:
    _, model = family
    (row,) = rows_of(model, [ROWS[1]])[0].rows
    exact = row.request.stop - row.n_end
    found, _ = rows_of(model, [ROWS[1]], max_length=exact)
    assert (found.rows[0].n_end, found.unended, found.truncated) == (0, 1, 0)


def test_rows_without_a_trained_token_are_counted_by_reason(family: tuple[str, Path]) -> None:
    """TRL would drop them silently."""
    _, model = family
    rows: list[dict[str, Any]] = [
        ROWS[1],
        {"instruction": "Count. " * 60, "input": "", "output": "one"},
        {"instruction": "Say nothing.", "input": "", "output": ""},
        {"instruction": "A number", "input": "", "output": 7},
    ]
    notes = Notes()
    found, _ = rows_of(model, rows, notes, max_length=64)
    assert len(found.rows) == 1
    assert found.dropped == {"prompt_too_long": 1, "empty_response": 1, "rejected": 1}
    # The result of the run says so, once.
    assert not any("not trained on" in line for line in notes.lines)


def test_a_document_is_trained_as_it_is_scored(family: tuple[str, Path]) -> None:
    _, model = family
    found, scorer = rows_of(model, [{"instruction": "", "output": "A text about the sea."}])
    (row,) = found.rows
    tokenizer: Any = scorer.tokenizer._tokenizer
    text = tokenizer("A text about the sea.", add_special_tokens=False)["input_ids"]
    assert labels_of(row.request) == [IGNORED, *text, tokenizer.eos_token_id]


def test_a_dataset_without_a_row_to_train_on_is_an_error(family: tuple[str, Path]) -> None:
    _, model = family
    with pytest.raises(InputError, match="no row to train on: 1 empty_response"):
        rows_of(model, [{"instruction": "Say nothing.", "output": ""}])


def test_a_tokenizer_without_end_is_named(tmp_path: Path) -> None:
    model = tiny.save_model(tmp_path / "model")
    tiny.save_tokenizer(model, has_special=False)
    notes = Notes()
    found, _ = rows_of(model, ROWS, notes)
    assert [row.n_end for row in found.rows] == [0] * len(ROWS)
    assert any("does not learn to stop" in line for line in notes.lines)


def test_every_turn_of_a_conversation_is_a_row(
    family: tuple[str, Path], write: Callable[..., Path]
) -> None:
    _, model = family
    messages = [
        {"role": "user", "content": "A cat?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "A dog?"},
        {"role": "assistant", "content": "No."},
    ]
    found, scorer = rows_of(model, [{"messages": messages}], template="chat")
    texts = [
        scorer.tokenizer.text([label for label in labels_of(row.request) if label != IGNORED])
        for row in found.rows
    ]
    assert texts == ["Yes.", "No."]


def test_a_token_across_the_end_of_the_prompt_is_counted(tmp_path: Path) -> None:
    """Joined as text, a token can straddle the boundary; tokenised apart, none can."""
    from transformers import AutoTokenizer

    model = tiny.save_model(tmp_path / "model")
    tokenizer: Any = AutoTokenizer.from_pretrained(model)
    tokenizer.add_tokens(["\n\n"])
    tokenizer.save_pretrained(model)
    rows = [{"instruction": "Say", "output": "\nthe"}]
    notes = Notes()
    assert rows_of(model, rows, notes, protocol="superfiltering")[0].merged == 1
    assert any("straddles the end of the prompt" in line for line in notes.lines)
    assert rows_of(model, rows)[0].merged == 0
