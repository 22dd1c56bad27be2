"""Answers of tiny random models: what is asked and written, and that nothing is asked twice."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ifdkit
from ifdkit.cli.main import main
from ifdkit.engine import generation
from ifdkit.engine.generation import Continuation, Decoding, Generator
from ifdkit.engine.models import resolve
from ifdkit.errors import InputError, OutputError, UsageError
from tests.training_fixtures import FAMILIES, ROWS, save_family

pytestmark = pytest.mark.long

FAST: dict[str, Any] = {"max_new_tokens": 8, "store": "off", "device": "cpu"}


@pytest.fixture
def readable(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Replaces what the model writes with words; a list of the prompts of each batch."""
    asked: list[list[int]] = []

    def continue_(
        self: Generator, prompts: Any, decoding: Decoding, *, max_new: int, seed: int
    ) -> list[Continuation]:
        asked.append([len(prompt) for prompt in prompts])
        return [
            Continuation(tuple(prompt[-4:]), is_ended=len(prompt) % 2 == 0) for prompt in prompts
        ]

    monkeypatch.setattr(Generator, "continue_", continue_)
    return asked


def greedy(folder: Path, prompt: list[int], n: int) -> list[int]:
    """The most probable tokens one by one, without a cache, a batch or padding."""
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = list(prompt)
    with torch.no_grad():
        for _ in range(n):
            ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(prompt) :]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_batch_continues_as_each_prompt_alone(name: str, tmp_path: Path) -> None:
    """Left padding, the cache and the batch change nothing."""
    model = save_family(tmp_path / "model", name)
    generator = Generator(resolve(str(model)), device="cpu", dtype="float32", stop_ids=[])
    prompts = [[0, 9, 30, 41, 52, 63], [0, 77], [0, 12, 13, 14]]
    found = generator.continue_(prompts, Decoding(), max_new=6, seed=0)
    assert [list(one.ids) for one in found] == [greedy(model, one, 6) for one in prompts]
    assert not any(one.is_ended for one in found)


def test_a_stop_token_ends_an_answer(tiny_model: Path) -> None:
    prompt = [0, 9, 30, 41]
    ids = greedy(tiny_model, prompt, 6)
    stop = ids[3]
    generator = Generator(resolve(str(tiny_model)), device="cpu", dtype="float32", stop_ids=[stop])
    (found,) = generator.continue_([prompt], Decoding(), max_new=6, seed=0)
    assert list(found.ids) == ids[: ids.index(stop)]
    assert found.is_ended


def test_samples_depend_on_the_seed_alone(tiny_model: Path) -> None:
    generator = Generator(resolve(str(tiny_model)), device="cpu", dtype="float32", stop_ids=[])
    decoding = Decoding(temperature=5.0)

    def sample(seed: int) -> list[Continuation]:
        return generator.continue_([[0, 9, 30]], decoding, max_new=12, seed=seed)

    assert sample(1) == sample(1) != sample(2)


def test_answers_replace_the_responses_and_nothing_else(
    tiny_model: Path, tmp_path: Path, write: Callable[..., Path], readable: list[list[int]]
) -> None:
    rows = [{**row, "note": [1, 2.50]} for row in ROWS]
    data = write("data.json", rows)
    done = ifdkit.generate(data, tmp_path / "answers.json", model=tiny_model, **FAST)
    answers = json.loads((tmp_path / "answers.json").read_text())
    assert [{**row, "output": ""} for row in answers] == [{**row, "output": ""} for row in rows]
    # The stand-in answers with the last four tokens of the prompt, which ends with a line break.
    assert answers[1]["output"]
    assert answers[1]["output"] in "What is 6 × 7?\n"
    assert (done.rows, done.answered, done.generated) == (4, 4, 4)
    manifest = json.loads((tmp_path / "answers.json.manifest.json").read_text())
    assert manifest == json.loads(json.dumps(done.as_json()))
    assert (manifest["schema"], manifest["seed"]) == ("ifdkit.generation/1", None)


def test_the_last_turn_of_a_conversation_is_answered(
    tiny_model: Path, tmp_path: Path, write: Callable[..., Path], readable: list[list[int]]
) -> None:
    messages = [
        {"role": "user", "content": "A cat?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "A dog?"},
        {"role": "assistant", "content": "No."},
    ]
    data = write("data.jsonl", json.dumps({"messages": messages}) + "\n")
    out = tmp_path / "answers.jsonl"
    ifdkit.generate(data, out, model=tiny_model, template="chat", **FAST)
    (line,) = out.read_text().splitlines()
    answered = json.loads(line)["messages"]
    assert answered[:3] == messages[:3]
    assert answered[3]["content"] not in ("No.", "")


def test_nothing_is_generated_twice(
    tiny_model: Path,
    tmp_path: Path,
    write: Callable[..., Path],
    readable: list[list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data, out = write("data.json", ROWS), tmp_path / "answers.json"
    options: dict[str, Any] = {**FAST, "batch_size": 1}
    ifdkit.generate(data, tmp_path / "whole.json", model=tiny_model, **options)
    expected, asked = (tmp_path / "whole.json").read_bytes(), list(readable)
    readable.clear()
    original = Generator.continue_

    def interrupted(self: Generator, *arguments: Any, **keywords: Any) -> Any:
        if len(readable) == 2:
            raise KeyboardInterrupt
        return original(self, *arguments, **keywords)

    monkeypatch.setattr(Generator, "continue_", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ifdkit.generate(data, out, model=tiny_model, **options)
    assert not out.exists()
    monkeypatch.setattr(Generator, "continue_", original)
    done = ifdkit.generate(data, out, model=tiny_model, **options)
    assert out.read_bytes() == expected
    assert readable == asked
    assert (done.generated, done.from_journal) == (2, 2)
    # Another dataset with the same prompts needs no model at all.
    monkeypatch.setattr(generation, "load_model", None)
    assert ifdkit.generate(data, out, model=tiny_model, **options).generated == 0


def test_equal_prompts_are_asked_once(
    tiny_model: Path, tmp_path: Path, write: Callable[..., Path], readable: list[list[int]]
) -> None:
    data = write("data.json", [ROWS[1], {**ROWS[1], "output": "Forty-two."}])
    done = ifdkit.generate(data, tmp_path / "answers.json", model=tiny_model, **FAST)
    assert (done.answered, done.generated) == (2, 1)
    assert readable == [[readable[0][0]]]


@pytest.mark.parametrize("change", [{"max_new_tokens": 9}, {"temperature": 0.5}])
def test_other_options_ask_again(
    tiny_model: Path,
    tmp_path: Path,
    write: Callable[..., Path],
    readable: list[list[int]],
    change: dict[str, Any],
) -> None:
    data, out = write("data.json", ROWS), tmp_path / "answers.json"
    ifdkit.generate(data, out, model=tiny_model, **FAST)
    assert ifdkit.generate(data, out, model=tiny_model, **{**FAST, **change}).generated == 4


def test_rows_without_an_answer_are_left_out_and_named(
    tiny_model: Path, tmp_path: Path, write: Callable[..., Path], readable: list[list[int]]
) -> None:
    """A row that kept its old response would pass as an answer of the model."""
    rows: list[dict[str, Any]] = [
        ROWS[1],
        {"instruction": "", "input": "", "output": "A text."},
        {"instruction": "Count. " * 200, "input": "", "output": "one"},
        {"instruction": "A number", "input": "", "output": 7},
    ]
    data, out = write("data.json", rows), tmp_path / "answers.json"
    done = ifdkit.generate(data, out, model=tiny_model, **FAST)
    assert len(json.loads(out.read_text())) == done.answered == 1
    assert done.left_out == {"no prompt": 2, "rejected": 1}
    rejects = [json.loads(line) for line in Path(f"{out}.rejects.jsonl").read_text().splitlines()]
    assert [one["row"] for one in rejects] == [1, 2, 3]
    assert "fills the context of 256" in rejects[1]["reason"]
    with pytest.raises(InputError, match="no row that can be answered"):
        ifdkit.generate(rows[1:2], tmp_path / "none.json", model=tiny_model, **FAST)


def test_prompts_near_the_context_get_fewer_tokens(
    tiny_model: Path, tmp_path: Path, write: Callable[..., Path]
) -> None:
    """The model has no positions beyond its context."""
    rows = [{"instruction": "x" * n, "input": "", "output": "y"} for n in (10, 240, 252)]
    data = write("data.json", rows)
    done = ifdkit.generate(
        data, tmp_path / "answers.json", model=tiny_model, **{**FAST, "max_new_tokens": 20}
    )
    with sqlite3.connect(done.journal) as journal:
        (most,) = journal.execute("SELECT max(tokens) FROM answer").fetchone()
    journal.close()
    assert most <= 20
    assert done.generated == 3


def test_a_journal_in_use_is_an_error(
    tiny_model: Path, tmp_path: Path, write: Callable[..., Path], readable: list[list[int]]
) -> None:
    from ifdkit.generation.journal import AnswerJournal

    data, out = write("data.json", ROWS), tmp_path / "answers.json"
    with (
        AnswerJournal(Path(f"{out}.journal.sqlite")),
        pytest.raises(OutputError, match="in use by another run"),
    ):
        ifdkit.generate(data, out, model=tiny_model, **FAST)


def test_the_command(
    tiny_model: Path,
    tmp_path: Path,
    write: Callable[..., Path],
    readable: list[list[int]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    data, out = write("data.json", ROWS), tmp_path / "answers.json"
    command = ["generate", str(data), "-m", str(tiny_model), "-o", str(out), "--store", "off"]
    assert main(command) == 0
    assert "4 of 4 rows answered (greedy)" in capsys.readouterr().out
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["from_journal"] == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--turns", "all"], "use --turns last"),
        (["--top-p", "0.5"], "no effect on greedy answers"),
        (["--temperature", "-1"], "must not be negative"),
        (["--max-new-tokens", "0"], "must be at least 1"),
    ],
)
def test_errors_are_one_line(
    tiny_model: Path,
    tmp_path: Path,
    write: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    data = write("data.json", ROWS)
    out = str(tmp_path / "answers.json")
    assert main(["generate", str(data), "-m", str(tiny_model), "-o", out, *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.strip().count("\n") == 0


def test_an_unknown_keyword_is_named(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean"):
        ifdkit.generate(ROWS, tmp_path / "answers.json", modle=tiny_model)  # type: ignore[call-arg]
