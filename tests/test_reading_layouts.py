"""Layouts of public datasets: what each is read as, and that it can be rewritten."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from ifdkit.data.columns import Columns
from ifdkit.data.dataset import open_dataset
from ifdkit.data.examples import examples_of
from ifdkit.data.layouts import LAYOUTS as LAYOUT_TABLE
from ifdkit.data.layouts import PAIR, describe_columns
from ifdkit.data.marks import mask_trains, training_marks, yes_or_no
from ifdkit.data.messages import ROLES, role_of
from ifdkit.data.rewriting import NotRewritableError, instruction_problem, with_texts
from ifdkit.data.transcripts import is_transcript
from ifdkit.errors import AmbiguousFormatError, InputError, UsageError
from ifdkit.records import Example, Reject, Turn
from tests.test_reading import A2, A3, ONE, OPENAI, OPENAI_USER, U2, A, S, T, U, example, turn

ANSWER = {"role": "assistant", "content": "a"}
TWO = [*OPENAI, {"role": "user", "content": "u2"}]
TWO_TURNS = [example(U, A), example(U, A, U2, A2, number=1)]
THOUGHT = Turn.of_assistant("a", reasoning="why")
CALLS = [{"name": "f", "arguments": {"x": 1}}]
HUMAN = "\n\nHuman: u\n\nAssistant: a\n\nHuman: u2\n\nAssistant:"


def answer(**fields: Any) -> dict[str, Any]:
    return {"messages": [OPENAI_USER, {**ANSWER, **fields}]}


def parts(*content: Any) -> dict[str, Any]:
    return {"messages": [OPENAI_USER, {"role": "assistant", "content": list(content)}]}


def result(content: Any) -> dict[str, Any]:
    return {"messages": [OPENAI_USER, {"role": "tool", "content": content}, ANSWER]}


WILD: dict[str, tuple[dict[str, Any], list[Example]]] = {
    # Columns
    "problem and solution": ({"problem": "u", "solution": "a"}, ONE),
    "inputs and targets": ({"inputs": "u", "targets": "a"}, ONE),
    "input and target": ({"input": "u", "target": "a"}, ONE),
    "instruction, input and target": (
        {"instruction": "u", "input": "i", "target": "a"},
        [example(turn("user", "u", "i"), A)],
    ),
    "user and assistant": ({"user": "u", "assistant": "a"}, ONE),
    "input_text and target_text": ({"input_text": "u", "target_text": "a"}, ONE),
    "capitals": (
        {"Instruction": "u", "INPUT": "i", "Output": "a", "System Prompt": "s"},
        [example(S, turn("user", "u", "i"), A)],
    ),
    "spaces round names": ({" instruction": "u", "output ": "a"}, ONE),
    "a problem with an answer": ({"problem": "u", "answer": "a"}, ONE),
    "system_message": (
        {"system_message": "s", "prompt": "u", "completion": "a"},
        [example(S, U, A)],
    ),
    "functions": (
        {"functions": [{"name": "f"}], "instruction": "u", "output": "a"},
        [example(U, A, tools='[{"name": "f"}]')],
    ),
    "thinking column": ({"question": "u", "thinking": "why", "answer": "a"}, [example(U, THOUGHT)]),
    # Lists of texts
    "UltraChat": ({"data": ["u", "a", "u2", "a2"]}, TWO_TURNS),
    "LIMA": ({"conversations": ["u", "a", "u2", "a2"]}, TWO_TURNS),
    "pairs of texts": ({"conversation": [["u", "a"], ["u2", "a2"]]}, TWO_TURNS),
    "pairs of role and text": ({"messages": [["user", "u"], ["assistant", "a"]]}, ONE),
    "dialogue": ({"dialog": ["u", "a"]}, ONE),
    # Objects
    "speaker and text": (
        {"conversation": [{"speaker": "user", "text": "u"}, {"speaker": "assistant", "text": "a"}]},
        ONE,
    ),
    "role and text": (
        {"turns": [{"role": "user", "text": "u"}, {"role": "bot", "text": "a"}]},
        ONE,
    ),
    "role as key": ({"messages": [{"user": "u"}, {"assistant": "a"}]}, ONE),
    "rounds with other names": ({"conversation": [{"question": "u", "answer": "a"}]}, ONE),
    "rounds with a system prompt": (
        {"conversation": [{"system": "s", "input": "u", "output": "a"}]},
        [example(S, U, A)],
    ),
    "roles with spaces and capitals": (
        {"messages": [{"role": "User ", "content": "u"}, {"role": " ASSISTANT", "content": "a"}]},
        ONE,
    ),
    "segments": (
        {
            "segments": [
                {"label": False, "text": "<s>"},
                {"label": False, "text": "u\n"},
                {"label": True, "text": "a"},
                {"label": True, "text": "</s>"},
            ]
        },
        [example(turn("user", "<s>u\n"), turn("assistant", "a</s>"))],
    ),
    "one segment each": (
        {"segments": [{"label": 0, "text": "u"}, {"label": 1, "text": "a"}]},
        ONE,
    ),
    # Parts and fields of messages
    "input_text and output_text parts": (
        {
            "messages": [
                {"role": "user", "content": [{"type": "input_text", "text": "u"}]},
                {"role": "assistant", "content": [{"type": "output_text", "text": "a"}]},
            ]
        },
        ONE,
    ),
    "value of a text part": (parts({"type": "text", "value": "a"}), ONE),
    "a part without a type": (parts({"text": "a"}), ONE),
    "one part in place of a list": (answer(content={"type": "text", "text": "a"}), ONE),
    "thinking part": (
        parts(
            {"type": "thinking", "thinking": "why", "signature": ""}, {"type": "text", "text": "a"}
        ),
        [example(U, THOUGHT)],
    ),
    "thinking of several parts": (
        parts({"type": "thinking", "thinking": [{"type": "text", "text": "why"}]}, "a"),
        [example(U, THOUGHT)],
    ),
    "reasoning_content": (answer(reasoning_content="why\n"), [example(U, THOUGHT)]),
    "reasoning": (answer(reasoning="why"), [example(U, THOUGHT)]),
    "thinking": (answer(thinking="why"), [example(U, THOUGHT)]),
    "reasoning in the text too": (
        answer(reasoning_content="why", content="<think>why</think>a"),
        [example(U, turn("assistant", "<think>why</think>a"))],
    ),
    "reasoning alone": (
        answer(reasoning_content="why", content=""),
        [example(U, turn("assistant", "<think>\nwhy\n</think>"))],
    ),
    "reasoning and a call": (
        answer(reasoning_content="why", content=None, tool_calls=CALLS),
        [example(U, turn("assistant", f"<think>\nwhy\n</think>\n\n{json.dumps(CALLS)}"))],
    ),
    "function_calls": (
        answer(content="a", function_calls="f(x=1)"),
        [example(U, turn("assistant", "a\nf(x=1)"))],
    ),
    "functions of the system message": (
        {"messages": [{"role": "system", "content": "s", "functions": "[f]"}, *OPENAI]},
        [example(S, U, A, tools="[f]")],
    ),
    "environment": (
        {"messages": [OPENAI_USER, {"role": "environment", "content": "t"}, ANSWER]},
        [example(U, T, A)],
    ),
    "tool result: an object": (result({"x": 3}), [example(U, turn("tool", '{"x": 3}'), A)]),
    "tool result: a list": (result([{"x": 3}]), [example(U, turn("tool", '[{"x": 3}]'), A)]),
    "tool result: a number": (result(3), [example(U, turn("tool", "3"), A)]),
    "tool result: parts": (result([{"type": "text", "text": "t"}]), [example(U, T, A)]),
    "tool result: nothing": (result(None), [example(U, turn("tool", ""), A)]),
    "an image": (
        {
            "messages": [
                {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "u"}]},
                ANSWER,
            ]
        },
        ONE,
    ),
    # Training marks
    "weight 0": (
        {"messages": [OPENAI_USER, {**ANSWER, "weight": 0}, TWO[2], {**ANSWER, "content": "a2"}]},
        [example(U, A, U2, A2, number=1)],
    ),
    "train false": (
        {"messages": [OPENAI_USER, ANSWER, TWO[2], {**ANSWER, "train": False}]},
        [example(U, A)],
    ),
    # Prompts and completions
    "completion that begins with its prompt": (
        {"prompt": [OPENAI_USER], "completion": OPENAI},
        ONE,
    ),
    "completion that goes on": (
        {"prompt": [OPENAI_USER], "completion": [ANSWER, TWO[2], {**ANSWER, "content": "a2"}]},
        TWO_TURNS,
    ),
    "system prompt in one of both": (
        {"prompt": [{"role": "system", "content": "s"}, OPENAI_USER], "completion": OPENAI},
        [example(S, U, A)],
    ),
    "completion with another question": (
        {"prompt": "u2", "completion": OPENAI},
        [example(U2, U, A)],
    ),
    "prompt of messages as JSON text": (
        {"prompt": json.dumps([OPENAI_USER]), "completion": json.dumps([ANSWER])},
        ONE,
    ),
    # Preference pairs
    "shared earlier turns": (
        {
            "chosen": [*TWO, {**ANSWER, "content": "a2"}],
            "rejected": [*TWO, {**ANSWER, "content": "a3"}],
        },
        [example(U, A, U2, A2)],
    ),
    "sides that differ earlier": (
        {
            "chosen": [*TWO, {**ANSWER, "content": "a2"}],
            "rejected": [OPENAI_USER, {**ANSWER, "content": "a3"}],
        },
        TWO_TURNS,
    ),
    "equal sides": ({"chosen": OPENAI, "rejected": OPENAI}, ONE),
    "shared turns after a prompt": (
        {
            "prompt": "u",
            "chosen": [*TWO, {**ANSWER, "content": "a2"}],
            "rejected": [*TWO, {**ANSWER, "content": "a3"}],
        },
        [example(U, A, U2, A2)],
    ),
    "HH-RLHF": (
        {"chosen": f"{HUMAN} a2", "rejected": f"{HUMAN} a3"},
        [example(U, A, U2, A2)],
    ),
    "HH-RLHF, all turns different": (
        {"chosen": "\n\nHuman: u\n\nAssistant: a", "rejected": "\n\nHuman: u2\n\nAssistant: a"},
        ONE,
    ),
}
NOT_REWRITABLE = {
    # Texts that are put together from several fields.
    "thinking column": {"response of turn 0"},
    "segments": {"instruction of turn 0", "response of turn 0"},
    "thinking part": {"response of turn 0"},
    "thinking of several parts": {"response of turn 0"},
    "reasoning_content": {"response of turn 0"},
    "reasoning": {"response of turn 0"},
    "thinking": {"response of turn 0"},
    "reasoning in the text too": {"response of turn 0"},
    "reasoning alone": {"response of turn 0"},
    "reasoning and a call": {"response of turn 0"},
    "function_calls": {"response of turn 0"},
}


@pytest.mark.parametrize("name", WILD)
def test_layout(name: str) -> None:
    row, expected = WILD[name]
    (found,) = open_dataset([{**row, "id": "x"}])
    assert found == expected
    (found,) = open_dataset([{**row, "id": "x"}], turns="last")
    assert found == expected[-1:]


@pytest.mark.parametrize("name", WILD)
def test_layout_can_be_rewritten(name: str) -> None:
    """Every text that has one place can be replaced, and the row then gives what was meant."""
    row, _ = WILD[name]
    columns = open_dataset([row]).columns
    refused = set()
    for one in examples_of(0, row, columns):
        wanted = {"response": replace(one, response="New")}
        if instruction_problem(one) is None:
            last = replace(one.context[-1], text="New")
            wanted["instruction"] = replace(one, context=(*one.context[:-1], last))
        for part, meant in wanted.items():
            try:
                rewritten = with_texts(row, columns, one, **{part: "New"})
            except NotRewritableError:
                refused.add(f"{part} of turn {one.turn}")
            else:
                found = examples_of(0, rewritten, columns)
                assert next(other for other in found if other.turn == one.turn) == meant
    assert refused == NOT_REWRITABLE.get(name, set())


def test_every_layout_of_the_table_is_tested() -> None:
    from tests.test_reading import LAYOUTS

    rows = [row for row, _ in (*WILD.values(), *LAYOUTS.values())]
    described = {describe_columns(open_dataset([row]).columns).split(":")[0] for row in rows}
    names = {layout.name for layout in LAYOUT_TABLE if layout.shape is PAIR}
    without = {"human and assistant", "inputs and outputs", "input and output texts",
               "instruction and target"}  # fmt: skip
    # A pair of columns may be that of an earlier layout, and conversations are not named.
    assert names - described <= without | {"conversations with preference pairs, the chosen side"}
    for layout in LAYOUT_TABLE:
        if layout.name in without:
            row = {
                names[0]: text for names, text in zip(layout.columns.values(), "ua", strict=True)
            }
            assert list(open_dataset([{**row, "id": "x"}])) == [ONE]


def test_both_texts_of_a_transcript_can_be_replaced_at_once() -> None:
    row = {"chosen": f"{HUMAN} a2", "rejected": f"{HUMAN} a3"}
    columns = open_dataset([row]).columns
    (one,) = examples_of(0, row, columns)
    new = with_texts(row, columns, one, instruction="A longer question", response="R")
    assert new == {
        "chosen": HUMAN.replace("u2", "A longer question") + " R",
        "rejected": HUMAN.replace("u2", "A longer question") + " a3",
    }
    with pytest.raises(NotRewritableError, match="another example"):
        with_texts(row, columns, one, response="R\n\nHuman: more")


SECOND_CHOICES: list[tuple[dict[str, Any], str]] = [
    ({"question": "u", "answer": "a", "solution": "x"}, "question and answer: question → answer"),
    ({"problem": "x", "solution": "x", "messages": OPENAI}, "conversations in 'messages'"),
    ({"prompt": "u", "response": "a", "user": "me", "data": ["x"]}, "prompt → response"),
    ({"instruction": "u", "output": "a", "turns": 3, "target": 1}, "Alpaca: instruction → output"),
]


@pytest.mark.parametrize(("row", "described"), SECOND_CHOICES)
def test_words_with_other_meanings_are_a_second_choice(row: dict[str, Any], described: str) -> None:
    assert describe_columns(open_dataset([row]).columns) == described


def test_a_solution_beside_an_answer_is_a_question_to_the_user() -> None:
    with pytest.raises(
        AmbiguousFormatError, match=r"'answer'\} or columns=\{'response': 'solution'"
    ):
        open_dataset([{"problem": "u", "solution": "s", "answer": "a"}])


def test_lists_are_recognized_in_any_row() -> None:
    rows: list[Mapping[str, Any]] = [{"data": None}] * 3 + [{"data": ["u", "a"], "id": "x"}]
    assert open_dataset(rows).columns == Columns(messages="data", id="id")
    with pytest.raises(InputError, match="no known pair of columns among 'data'"):
        open_dataset([{"data": "text"}, {"data": 1}])


@pytest.mark.parametrize("name", ["tool-result", "Function Response", " ENVIRONMENT\n", "tools"])
def test_names_of_tools(name: str) -> None:
    assert role_of(name) == "tool"


def test_every_role_name_is_normal() -> None:
    assert all(role_of(name.upper().replace("_", " ")) == role for name, role in ROLES.items())
    assert role_of("judge") is None
    assert role_of(1) is None


def test_texts_are_no_messages_in_a_response() -> None:
    """A list of texts may be several answers."""
    for row in ({"instruction": "u", "output": ["a", "b"]}, {"instruction": ["u"], "output": "a"}):
        (found,) = open_dataset([row])
        assert not isinstance(found, list)
        assert found.reason == "message 0 is text, not an object"


MARKS: list[tuple[dict[str, Any], bool, set[str]]] = [
    ({"weight": 0}, False, {"weight"}),
    ({"weight": 0.5}, True, {"weight"}),
    ({"weight": -1, "train": "false"}, False, {"weight", "train"}),
    ({"training": True, "loss": 1}, True, {"training", "loss"}),
    ({"loss_weight": 0.0}, False, {"loss_weight"}),
    ({"loss": "no"}, False, {"loss"}),
    ({"loss_mask": [0, 1], "trainable": None}, True, set()),
    ({"weight": float("nan")}, True, set()),
]


@pytest.mark.parametrize(("message", "is_trained", "used"), MARKS)
def test_training_marks(message: dict[str, Any], is_trained: bool, used: set[str]) -> None:
    found, keys = training_marks(message)
    assert (found, set(keys)) == (is_trained, used)


def masked(*masks: Any) -> list[str]:
    """The responses of a conversation of two answers, with these masks of its four messages."""
    texts = [OPENAI_USER, ANSWER, TWO[2], {**ANSWER, "content": "a2"}]
    messages = [
        message if mask is None else {**message, "mask": mask}
        for message, mask in zip(texts, masks, strict=True)
    ]
    (found,) = open_dataset([{"messages": messages}])
    return [one.response for one in found] if isinstance(found, list) else [found.reason]


def test_masks() -> None:
    assert masked(None, True, None, False) == ["a2"], "a mask masks"
    assert masked(1, 1, 1, 0) == ["a2"], "users are masked"
    assert masked(0, 1, 0, 0) == ["a"], "users are not marked for training"
    assert masked(0, 0, 0, 0) == ["a", "a2"]
    assert masked(None, "yes", None, "maybe") == ["a2"]
    assert masked(1, 1, 1, 1) == ["no assistant turn is trained on"]
    assert mask_trains([]) is False


def test_yes_or_no() -> None:
    assert [yes_or_no(one) for one in (True, 1, 1.0, " TRUE", "1", "yes")] == [True] * 6
    assert [yes_or_no(one) for one in (False, 0, 0.0, "False ", "0", "no")] == [False] * 6
    others: list[Any] = [2, "good", None, [], float("nan")]
    assert [yes_or_no(one) for one in others] == [None] * 5


LABELS: list[tuple[str, Any, Any]] = [
    ("label", True, False),
    ("label", 1, 0),
    ("label", 1.0, 0.0),
    ("Label", "true", "False"),
    ("kto_tag", "1", "0"),
]


@pytest.mark.parametrize(("column", "good", "bad"), LABELS)
def test_labels(column: str, good: Any, bad: Any) -> None:
    rows = [{"prompt": "u", "completion": "a", "id": n, column: label}
            for n, label in enumerate([good, bad, bad, None, good, bad])]  # fmt: skip
    dataset = open_dataset(rows)
    found = [one[0].id for one in dataset if isinstance(one, list)]
    assert found == ["0", "3", "4"]
    assert (dataset.n_rows, dataset.n_rows_in_all, dataset.rows) == (3, 6, [0, 3, 4])
    assert [raw.row for raw in dataset.raw_rows()] == [0, 3, 4]
    assert dataset.choose([1, 4]).rows == [4]
    assert open_dataset(rows, columns={"label": ""}).n_rows == 6
    assert open_dataset(rows[:5], columns={"label": column}).rows == [0, 3, 4]


def test_a_column_of_other_values_is_no_label() -> None:
    rows = [{"prompt": "u", "completion": "a", "label": label} for label in (True, False, "maybe")]
    assert open_dataset(rows).n_rows == 3
    with pytest.raises(InputError, match="'label' is false in every row"):
        open_dataset(rows[1:2])
    with pytest.raises(UsageError, match="column 'label' is not true or false in every row"):
        open_dataset(rows, columns={"label": "label"})


def test_what_is_a_transcript() -> None:
    assert is_transcript("Human: u\n\nAssistant: a")
    assert not is_transcript("I am Human: u\n\nAssistant: a")
    assert not is_transcript("Human: u")
    assert not is_transcript(5)
    blank = "Human: u" + "\n" * 300_000 + "x"  # quadratic time would take hours
    assert not is_transcript(blank)


def test_reasoning_can_be_dropped() -> None:
    row = answer(reasoning_content="why")
    (found,) = open_dataset([{**row, "id": "x"}], reasoning="drop")
    assert found == ONE
    columns = open_dataset([row], reasoning="drop").columns
    new = with_texts(row, columns, ONE[0], response="R")
    assert new == answer(reasoning_content="why", content="R")


@pytest.mark.parametrize("content", ["", "a", "\n\na"])
@pytest.mark.parametrize("thinking", ["", "why"])
@pytest.mark.parametrize("calls", [[], CALLS])
def test_parts_of_an_earlier_turn_stay_apart(
    content: str, thinking: str, calls: list[dict[str, Any]]
) -> None:
    """Chat templates get reasoning and calls as fields of their own; other templates one text."""
    message = {**ANSWER, "content": content, "reasoning_content": thinking, "tool_calls": calls}
    (found,) = open_dataset([{"messages": [OPENAI_USER, message, OPENAI_USER, ANSWER]}])
    assert not isinstance(found, Reject)
    earlier = found[-1].context[1]
    assert (earlier.content, earlier.reasoning) == (content, thinking)
    assert earlier.tool_calls == (json.dumps(calls) if calls else "")
    assert earlier.text == found[0].response


def test_calls_of_a_role_are_calls() -> None:
    text = json.dumps(CALLS[0])
    said = [("human", "u"), ("function_call", text), ("tool", "t"), ("gpt", "a")]
    turns = [{"from": role, "value": value} for role, value in said]
    (found,) = open_dataset([{"conversations": turns}])
    assert not isinstance(found, Reject)
    assert found[-1].context[1] == Turn.of_assistant("", tool_calls=text)
    (found,) = open_dataset([{"conversations": turns}], reasoning="drop")
    assert not isinstance(found, Reject)
    assert found[-1].context[1].tool_calls == text


def test_earlier_reasoning_is_context() -> None:
    row = {"messages": [*answer(thinking="why")["messages"], TWO[2], {**ANSWER, "content": "a2"}]}
    (found,) = open_dataset([{**row, "id": "x"}])
    assert found == [example(U, THOUGHT), example(U, THOUGHT, U2, A2, number=1)]


def test_numbers_of_turns_do_not_depend_on_marks() -> None:
    marked = [OPENAI_USER, {**ANSWER, "weight": 0}, TWO[2], {**ANSWER, "content": "a2"},
              OPENAI_USER, {**ANSWER, "content": "a3"}]  # fmt: skip
    (found,) = open_dataset([{"messages": marked, "id": "x"}])
    assert found == [example(U, A, U2, A2, number=1), example(U, A, U2, A2, U, A3, number=2)]
