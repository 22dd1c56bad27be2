"""Inputs that an earlier version misread, with what is right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ifdkit.auditing.against import read_against
from ifdkit.data.dataset import open_dataset
from ifdkit.data.read_log import Fact, ReadLog
from ifdkit.errors import InputError
from ifdkit.records import Example
from ifdkit.scoring.progress import Progress

CASES = Path(__file__).parent / "cases"


def read(name: str, **options: Any) -> tuple[list[Example], ReadLog]:
    """All examples of a case, none of whose rows is rejected, and what was not read."""
    log = ReadLog()
    found = list(open_dataset(CASES / name, **options).read(log))
    assert all(isinstance(one, list) for one in found), found
    return [example for one in found if isinstance(one, list) for example in one], log


def pairs(name: str) -> list[tuple[str, str]]:
    """Instruction and response of every example."""
    examples, log = read(name)
    assert log.notes() == []
    return [(one.instruction, one.response) for one in examples]


def roles(example: Example) -> list[str]:
    return [turn.role for turn in example.context]


def test_keys_of_all_rows_count() -> None:
    examples, log = read("late_input.jsonl")
    by_row = {example.row: example for example in examples}
    assert by_row[1000].instruction == "Add the numbers.\n6 and 7"
    assert by_row[1000].response == "13"
    system = by_row[1001].context[0]
    assert (system.role, system.text) == ("system", "Speak French.")
    assert log.notes() == []


def test_a_prompt_of_messages_stays_before_a_completion_with_user_turns() -> None:
    examples, _ = read("trl_completion_with_user_turn.jsonl")
    assert [roles(one) for one in examples] == [["user"], ["user", "assistant", "user"]]
    assert all(one.context[0].text == "Plan a picnic for my team." for one in examples)
    assert [one.turn for one in examples] == [0, 1]


def test_reasoning_is_part_of_the_response() -> None:
    first, second = read("reasoning_content.jsonl")[0]
    assert first.response == "<think>\n7 has no divisors but 1 and 7.\n</think>\n\nYes."
    assert second.response == "<think>\n9 is 3 times 3.\n</think>"
    (first, second), log = read("reasoning_content.jsonl", reasoning="drop")
    assert (first.response, second.response) == ("Yes.", "")
    assert log.notes() == ["2 of 2 rows: reasoning is left out (--reasoning keep uses it)"]


def test_an_answer_of_weight_0_is_context() -> None:
    (example,), log = read("weight_zero.jsonl")
    assert (example.turn, example.response) == (1, "Sorry, 4.")
    assert [turn.text for turn in example.context] == ["2+2?", "5", "Wrong."]
    assert log.facts == {Fact.NOT_TRAINED: 1}


def test_rejected_completions_are_not_read() -> None:
    (example,), log = read("kto.jsonl")
    assert example.response == "Hi team, good to see you all today."
    assert log.notes() == [
        "1 of 2 rows: skipped, because the label is false (--columns label= reads all rows)"
    ]
    examples, log = read("kto.jsonl", columns={"label": ""})
    assert [one.row for one in examples] == [0, 1]
    assert log.notes() == ["2 of 2 rows: `label` not used"]


def test_parquet_gives_the_texts_of_json_lines() -> None:
    parquet, lines = read("toolcalls.parquet")[0], read("toolcalls.jsonl")[0]
    assert parquet == lines
    assert "null" not in parquet[0].response


def test_an_id_may_be_a_whole_float() -> None:
    assert [one.id for one in read("ids_int.jsonl")[0]] == ["1", "2", "3", "4"]
    assert [one.id for one in read("ids_float_shuffled.jsonl")[0]] == ["4", "2", "1", "3"]


def test_system_messages_and_functions_are_read() -> None:
    (first, second), log = read("unread_columns.jsonl")
    assert (roles(first), first.context[0].text) == (["system", "user"], "Answer in French.")
    assert second.tools == '[{"name": "tide"}]'
    assert log.notes() == []


LAYOUTS: dict[str, list[tuple[str, str]]] = {
    "layout_problem_solution.jsonl": [("Solve x+1=3.", "x=2")] * 2,
    "layout_ultrachat.jsonl": [
        ("How do bees fly?", "They flap fast."),
        ("How fast?", "About 230 beats a second."),
        ("Hi", "Hello"),
    ],
    "layout_capitals.jsonl": [("Say hi", "Hi")] * 2,
    "layout_segments.jsonl": [("Hello\n", "hi there!")],
    "layout_parts.jsonl": [
        ("tide?", "14:05"),
        ("tide?", "<think>\nlook it up\n</think>\n\n14:05"),
    ],
    "layout_tool_object.jsonl": [
        ("add 1 2", '[{"name": "add", "arguments": {"a": 1, "b": 2}}]'),
        ("add 1 2", "3"),
    ],
    "layout_roles.jsonl": [("q", "a"), ("tide?", "let me look"), ("tide?", "14:05.")],
    "layout_pandas_columns.json": [("Say hi", "Hi"), ("Say bye", "Bye")],
    "layout_dict_of_lists.json": [("Say hi", "Hi"), ("Say bye", "Bye")],
    "nan_literal.jsonl": [("Say hi", "Hi"), ("Say bye", "Bye")],
    "err_array_in.jsonl": [("x", "y"), ("x2", "y2")],
    "err_pretty.jsonl": [("x", "y"), ("x2", "y2")],
    "err_trailing_comma.jsonl": [("x", "y"), ("x2", "y2")],
    "err_semicolon.csv": [("Say hi", "Hi")],
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layout_is_read(name: str) -> None:
    assert pairs(name) == LAYOUTS[name]


def test_the_result_of_a_tool_may_be_an_object() -> None:
    _, last = read("layout_tool_object.jsonl")[0]
    assert (last.context[-1].role, last.context[-1].text) == ("tool", '{"result": 3}')
    last = read("layout_roles.jsonl")[0][-1]
    assert (last.context[-1].role, last.context[-1].text) == ("tool", "14:05")


def test_an_evaluation_set_may_have_prompts_of_messages() -> None:
    found = read_against([CASES / "eval_prompt_messages.jsonl"], Progress())
    assert list(found.values()) == [["Write a short poem about the sea.", "Name a metal."]]


NOTES = {
    "err_array_in.jsonl": "it contains a JSON array, not one object per line",
    "err_pretty.jsonl": "it contains JSON objects over several lines, not one object per line",
    "err_semicolon.csv": "columns are separated by semicolons",
    "layout_dict_of_lists.json": "one object with a list per column",
    "layout_pandas_columns.json": "one object with an object per column",
}


@pytest.mark.parametrize("name", NOTES)
def test_an_unusual_format_is_named(name: str) -> None:
    assert open_dataset(CASES / name).describe().endswith(f"; {NOTES[name]}")


ERRORS = {
    "err_archive.zip": "is a zip archive: unpack it, and give the file inside",
    "err_lfs_pointer.jsonl": "is a Git LFS pointer, not the file itself: fetch the file with `git",
}


@pytest.mark.parametrize("name", ERRORS)
def test_what_is_not_read_is_named(name: str) -> None:
    with pytest.raises(InputError) as caught:
        open_dataset(CASES / name)
    assert ERRORS[name] in str(caught.value)
    assert "\n" not in str(caught.value)
