"""Every layout and every container, read into Examples."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from ifdkit.data import detection, layouts, messages, table_rows
from ifdkit.data.columns import Columns, parse_columns
from ifdkit.data.dataset import Dataset, open_dataset
from ifdkit.data.examples import OccurrenceIds
from ifdkit.data.layouts import LAYOUTS as LAYOUT_TABLE
from ifdkit.data.layouts import PAIR, Layout, describe_columns, walk_row
from ifdkit.data.messages import MessageForm
from ifdkit.data.raw import MAX_TURNS
from ifdkit.data.rewriting import with_texts
from ifdkit.data.turns import RowTurn, TextPlace, unused_keys
from ifdkit.errors import AmbiguousFormatError, IfdkitError, InputError, UsageError
from ifdkit.records import Example, Reject, Role, Turn

DATA = Path(__file__).parents[2] / "shared" / "data"

Found = list[list[Example] | Reject]


def read(data: Any, **options: Any) -> Found:
    dataset = open_dataset(data, **options)
    found = list(dataset)
    assert len(found) == dataset.n_rows
    return found


def one_row(row: Mapping[str, Any], **options: Any) -> list[Example]:
    (found,) = read([row], **options)
    assert isinstance(found, list), found
    return found


def reason(row: Mapping[str, Any], **options: Any) -> str:
    """Why a row is rejected."""
    (found,) = read([row], **options)
    assert isinstance(found, Reject), found
    return found.reason


def turn(role: Role, text: str, data: str = "") -> Turn:
    return Turn(role, text, data)


def example(*turns: Turn, number: int = 0, row: int = 0, tools: str = "") -> Example:
    """All turns but the last are context."""
    return Example("x", row, number, turns[:-1], turns[-1].text, tools)


S, U, A, T = turn("system", "s"), turn("user", "u"), turn("assistant", "a"), turn("tool", "t")
U2, A2, A3 = turn("user", "u2"), turn("assistant", "a2"), turn("assistant", "a3")
ONE = [example(U, A)]

SHAREGPT = [
    {"from": "system", "value": "s"},
    {"from": "human", "value": "u"},
    {"from": "gpt", "value": "a"},
    {"from": "human", "value": "u2"},
    {"from": "function_call", "value": "a2"},
    {"from": "observation", "value": "t"},
    {"from": "gpt", "value": "a3"},
]
OPENAI_USER = {"role": "user", "content": "u"}
OPENAI = [OPENAI_USER, {"role": "assistant", "content": "a"}]
CALL = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
CALL_TEXT = '[{"type": "function", "function": {"name": "f", "arguments": "{}"}}]'

LAYOUTS: dict[str, tuple[dict[str, Any], list[Example]]] = {
    "Alpaca": (
        {"instruction": "u", "input": "i", "output": "a"},
        [example(turn("user", "u", "i"), A)],
    ),
    "Alpaca, no input": ({"instruction": "u", "input": "", "output": "a"}, ONE),
    "Alpaca, null input": ({"instruction": "u", "input": None, "output": "a"}, ONE),
    "Alpaca, null output": (
        {"instruction": "u", "output": None, "text": ""},
        [example(U, turn("assistant", ""))],
    ),
    "Alpaca, history": (
        {
            "instruction": "u2",
            "output": "a2",
            "history": [["u", "a"]],
            "system": "s",
        },
        [example(S, U, A), example(S, U, A, U2, A2, number=1)],
    ),
    "Alpaca, no history": ({"instruction": "u", "output": "a", "history": None}, ONE),
    "Alpaca, history as text": (
        {"instruction": "u2", "output": "a2", "history": '[["u", "a"]]'},
        [example(U, A), example(U, A, U2, A2, number=1)],
    ),
    "Dolly": (
        {"instruction": "u", "context": "c", "response": "a", "category": "qa"},
        [example(turn("user", "u", "c"), A)],
    ),
    "OpenOrca": (
        {"system_prompt": "s", "question": "u", "response": "a"},
        [example(S, U, A)],
    ),
    "prompt and completion": ({"prompt": "u", "completion": "a"}, ONE),
    "messages and a completion": (
        {"prompt": [{"role": "system", "content": "s"}, *OPENAI, OPENAI_USER], "completion": "a2"},
        [example(S, U, A, U, A2)],
    ),
    "prompt and completion as messages": (
        {"prompt": [OPENAI_USER], "completion": [{"role": "assistant", "content": "a"}]},
        ONE,
    ),
    "question and answer": ({"question": "u", "answer": "a"}, ONE),
    "query and response": ({"query": "u", "response": "a"}, ONE),
    "input and output": ({"input": "u", "output": "a"}, ONE),
    "preference pair": ({"prompt": "u", "chosen": "a", "rejected": "no"}, ONE),
    "preference pair of messages": (
        {"prompt": "u", "chosen": OPENAI, "rejected": [OPENAI_USER]},
        ONE,
    ),
    "preference pair without prompt": ({"chosen": OPENAI, "rejected": [OPENAI_USER]}, ONE),
    "ShareGPT": (
        {"conversations": SHAREGPT, "tools": "[f]"},
        [
            example(S, U, A, tools="[f]"),
            example(S, U, A, U2, A2, number=1, tools="[f]"),
            example(S, U, A, U2, A2, T, A3, number=2, tools="[f]"),
        ],
    ),
    "ShareGPT, system apart": (
        {"conversations": SHAREGPT[1:3], "system": "s", "tools": [{"name": "é"}]},
        [example(S, U, A, tools='[{"name": "é"}]')],
    ),
    "ShareGPT, system twice": (
        {"conversations": SHAREGPT[:3], "system": "another", "tools": []},
        [example(S, U, A)],
    ),
    "ShareGPT, the answer first": (
        {"conversations": [SHAREGPT[2], SHAREGPT[1]]},
        [example(A)],
    ),
    "conversation of rounds": (
        {"conversation": [{"human": "u", "assistant": "a"}, {"human": "u2", "assistant": "a2"}]},
        [example(U, A), example(U, A, U2, A2, number=1)],
    ),
    "OpenAI": ({"messages": OPENAI}, ONE),
    "OpenAI, as text": ({"messages": json.dumps(OPENAI)}, ONE),
    "OpenAI, a tuple": ({"messages": tuple(OPENAI)}, ONE),
    "OpenAI, content parts": (
        {
            "messages": [
                {"role": "developer", "content": [{"type": "text", "text": "s"}]},
                {"role": "user", "content": ["u", {"type": "text", "text": "2"}]},
                {"role": "assistant", "content": [{"type": "text", "text": "a2"}]},
            ]
        },
        [example(S, U2, A2)],
    ),
    "OpenAI, tool calls": (
        {
            "messages": [
                OPENAI_USER,
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "content": "t", "tool_call_id": "1"},
                {"role": "assistant", "content": "a", "tool_calls": [CALL]},
            ],
            "tools": [{"name": "f"}],
        },
        [
            example(U, turn("assistant", CALL_TEXT), tools='[{"name": "f"}]'),
            example(
                U,
                Turn.of_assistant("", tool_calls=CALL_TEXT),
                T,
                turn("assistant", "a\n" + CALL_TEXT),
                number=1,
                tools='[{"name": "f"}]',
            ),
        ],
    ),
    "OpenAI, the older function call": (
        {"messages": [OPENAI_USER, {"role": "assistant", "function_call": {"name": "f"}}]},
        [example(U, turn("assistant", '{"name": "f"}'))],
    ),
    "OpenAI, an empty list beside the older function call": (
        {
            "messages": [
                OPENAI_USER,
                {"role": "assistant", "tool_calls": [], "function_call": {"name": "f"}},
            ]
        },
        [example(U, turn("assistant", '{"name": "f"}'))],
    ),
    "OpenAI, fields of another layout null": (
        {"messages": [message | {"from": None, "value": None} for message in OPENAI]},
        ONE,
    ),
    "ShareGPT, fields of another layout null": (
        {"conversations": [turn | {"role": None, "content": None} for turn in SHAREGPT[:3]]},
        [example(S, U, A)],
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layout(name: str) -> None:
    row, expected = LAYOUTS[name]
    assert one_row(row | {"id": "x"}) == expected
    assert one_row(row | {"id": "x"}, turns="last") == expected[-1:]


# The ids that version 0.1.0 gave to these rows: scores files and stores refer to them.
IDS = {
    "Alpaca": "1a22a7ed74a4bef2-0",
    "Alpaca, no input": "69bfdb73a732337f-0",
    "Alpaca, null input": "69bfdb73a732337f-0",
    "Alpaca, null output": "a701f5e4d308d0a1-0",
    "Alpaca, history": "51d2a1a3d2e08a55-0 15cfef8526e6e60e-0",
    "Alpaca, no history": "69bfdb73a732337f-0",
    "Alpaca, history as text": "69bfdb73a732337f-0 cf40b5deb2af5c91-0",
    "Dolly": "3a1ec0d713550563-0",
    "OpenOrca": "51d2a1a3d2e08a55-0",
    "prompt and completion": "69bfdb73a732337f-0",
    "messages and a completion": "5a6f6315abcc5698-0",
    "prompt and completion as messages": "69bfdb73a732337f-0",
    "question and answer": "69bfdb73a732337f-0",
    "query and response": "69bfdb73a732337f-0",
    "input and output": "69bfdb73a732337f-0",
    "preference pair": "69bfdb73a732337f-0",
    "preference pair of messages": "69bfdb73a732337f-0",
    "preference pair without prompt": "69bfdb73a732337f-0",
    "ShareGPT": "df9a4d4dc09cfef1-0 50bbebc8bab147b6-0 ae647c4ac0301d35-0",
    "ShareGPT, system apart": "2aaf97f76109d503-0",
    "ShareGPT, system twice": "51d2a1a3d2e08a55-0",
    "ShareGPT, the answer first": "cdeef0129a5a2750-0",
    "conversation of rounds": "69bfdb73a732337f-0 cf40b5deb2af5c91-0",
    "OpenAI": "69bfdb73a732337f-0",
    "OpenAI, as text": "69bfdb73a732337f-0",
    "OpenAI, a tuple": "69bfdb73a732337f-0",
    "OpenAI, content parts": "466154a56f08a54e-0",
    "OpenAI, tool calls": "b9303146bd76401d-0 654415e6205faf82-0",
    "OpenAI, the older function call": "a560e6d6792c8eb4-0",
    "OpenAI, fields of another layout null": "69bfdb73a732337f-0",
    "ShareGPT, fields of another layout null": "51d2a1a3d2e08a55-0",
}


@pytest.mark.parametrize("name", IDS)
def test_ids_stay_the_same_across_versions(name: str) -> None:
    row, _ = LAYOUTS[name]
    assert " ".join(example.id for example in one_row(row)) == IDS[name]


ROLE_NAMES: dict[Role, str] = {
    "system": "system developer context SYSTEM",
    "user": "user human prompter Human",
    "assistant": "assistant gpt model bot ai chatgpt bing bard claude function_call tool_call "
    "function-call GPT",
    "tool": "tool function observation tool_response function_response ipython",
}


@pytest.mark.parametrize("role", ROLE_NAMES)
def test_role_names(role: Role) -> None:
    for name in ROLE_NAMES[role].split():
        messages = [SHAREGPT[1], {"from": name, "value": "it"}, SHAREGPT[2]]
        examples = one_row({"conversations": messages})
        assert examples[-1].context[-1] == turn(role, "it")
        targets = ["it", "a"] if role == "assistant" else ["a"]
        assert [one.response for one in examples] == targets


def test_unread_fields_are_recorded() -> None:
    """Every non-empty field of a row or message is read, or can be named."""
    call = {"role": "assistant", "content": "a", "tool_calls": [CALL], "name": "x", "weight": 0}
    result = {"role": "tool", "content": "t", "tool_call_id": "1", "value": None, "name": ""}
    row = {"id": 1, "system": "s", "source": "web", "empty": [], "zero": 0, "messages": [
        {"role": "system", "content": "first"}, OPENAI_USER, call, result]}  # fmt: skip
    conversation = walk_row(row, Columns(messages="messages", system="system", id="id"))
    unused = [[key for one in turn.objects for key in one.unused] for turn in conversation.turns]
    assert unused == [[], [], ["name"], ["tool_call_id"]]
    assert [turn.is_trained for turn in conversation.turns if turn.is_numbered] == [False]
    # The system column gives way to the system message, so it is not read.
    assert unused_keys(row, conversation.used) == ["system", "source", "zero"]

    columns = Columns(instruction="prompt", input="input", response="chosen", history="history")
    pair: dict[str, Any] = {
        "prompt": "p",
        "input": "i",
        "history": [],
        "chosen": "c",
        "rejected": "r",
    }
    assert unused_keys(pair, walk_row(pair, columns).used) == ["rejected"]
    pair |= {"prompt": [OPENAI_USER]}
    assert unused_keys(pair, walk_row(pair, columns).used) == ["input", "rejected"]
    pair |= {"chosen": OPENAI}
    assert unused_keys(pair, walk_row(pair, columns).used) == ["input", "rejected"]


def test_a_new_layout_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """As CONTRIBUTING.md describes it: detected, described, read and rewritten."""
    row = {"riddle": "u", "guess": "a", "id": "x"}
    entry = Layout("riddles", PAIR, {"instruction": ("riddle",), "response": ("guess",)})
    for module in (layouts, detection):
        monkeypatch.setattr(module, "LAYOUTS", (*LAYOUT_TABLE, entry))
    dataset = open_dataset([row])
    assert list(dataset) == [ONE]
    assert describe_columns(dataset.columns) == "riddles: riddle → guess"
    new = with_texts(row, dataset.columns, ONE[0], instruction="I", response="R")
    assert new == {"riddle": "I", "guess": "R", "id": "x"}
    mixed = open_dataset([{"riddle": "u", "answer": "a"}]).columns
    assert mixed == Columns(instruction="riddle", response="answer")


def test_a_new_form_of_message_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects with the text of one side, without a name of its role."""

    def walk(entry: Mapping[str, str], number: int, place: TextPlace) -> Iterator[RowTurn]:
        role: Role = "assistant" if number % 2 else "user"
        yield RowTurn(role, entry["said"], place=place.inside("said"))

    form = MessageForm("said", lambda entry: isinstance(entry, dict) and "said" in entry, walk)
    monkeypatch.setattr(messages, "MESSAGE_FORMS", (*messages.MESSAGE_FORMS, form))
    texts = [{"said": text} for text in ("u", "a", "u2", "a2")]
    row = {"conversations": texts, "id": "x"}
    dataset = open_dataset([row])
    first, last = one_row(row)
    assert [first, last] == [*ONE, example(U, A, U2, A2, number=1)]
    new = with_texts(row, dataset.columns, last, response="R")
    assert new == {"conversations": [*texts[:3], {"said": "R"}], "id": "x"}


FLAGS: list[tuple[dict[str, Any], str, Turn, Turn]] = [
    ({"q": "u", "a": "a"}, "instruction=q,response=a", U, A),
    ({"prompt": "u", "chosen": "no", "rejected": "a"}, "response=rejected", U, A),
    ({"chosen": OPENAI[:1], "rejected": OPENAI}, "response=rejected", U, A),
    ({"chosen": [], "rejected": OPENAI}, "messages=rejected", U, A),
    ({"conversations": SHAREGPT[1:2], "chosen": SHAREGPT[2]}, "response=chosen", U, A),
    ({"instruction": "u", "output": "a", "messages": []}, "instruction=instruction", U, A),
    ({"instruction": "u", "output": "", "messages": OPENAI}, "messages=messages", U, A),
    ({"instruction": "u", "input": "i", "output": "a"}, "input=", U, A),
    ({"instruction": "x", "input": "u", "output": "a"}, "instruction=input", U, A),
    ({"prompt": "u", "query": "i", "answer": "a"}, "instruction=prompt,input=query", U, A),
    ({"dialog": OPENAI}, "messages=dialog", U, A),
]


@pytest.mark.parametrize(("row", "flag", "user", "assistant"), FLAGS)
def test_columns_flag(row: dict[str, Any], flag: str, user: Turn, assistant: Turn) -> None:
    user = replace(user, input="i") if flag.endswith("input=query") else user
    row = row | {"id": "x"}
    assert one_row(row, columns=parse_columns(flag)) == [example(user, assistant)]


@pytest.mark.parametrize("flag", ["instruction", "q=instruction", "instruction=q,,response=a", ""])
def test_invalid_columns_flag(flag: str) -> None:
    with pytest.raises(UsageError, match="write pairs such as instruction=q,response=a"):
        parse_columns(flag)


def test_missing_column() -> None:
    row = {"instruction": "u", "output": "a"}
    with pytest.raises(UsageError, match=r"has no column 'q'; it has 'instruction', 'output'"):
        open_dataset([row], columns={"instruction": "q"})


def test_wrong_column_of_one_row_with_a_list() -> None:
    with pytest.raises(UsageError, match=r"has no column 'dialogue': did you mean 'dialog'\?"):
        open_dataset([{"dialog": OPENAI}], columns={"messages": "dialogue"})


AMBIGUOUS: list[tuple[str, str]] = [
    *[
        (f"{one} {two} output", f"instruction={one} or instruction={two}")
        for one, two in [
            ("instruction", "prompt"),
            ("instruction", "question"),
            ("instruction", "query"),
            ("prompt", "question"),
            ("prompt", "query"),
            ("question", "query"),
        ]
    ],
    *[
        (f"prompt {one} {two}", f"response={one} or response={two}")
        for one, two in [
            ("output", "response"),
            ("output", "completion"),
            ("output", "answer"),
            ("output", "chosen"),
            ("response", "completion"),
            ("response", "answer"),
            ("response", "chosen"),
            ("completion", "answer"),
            ("completion", "chosen"),
            ("answer", "chosen"),
        ]
    ],
    ("messages conversations", "messages=messages or messages=conversations"),
    ("messages conversation", "messages=messages or messages=conversation"),
    ("conversations conversation", "messages=conversations or messages=conversation"),
    ("instruction input context output", "input=input or input=context"),
    ("prompt answer system system_prompt", "system=system or system=system_prompt"),
    ("messages system system_prompt", "system=system or system=system_prompt"),
    ("messages prompt answer", "messages=messages or instruction=prompt,response=answer"),
    ("conversations input output", "messages=conversations or instruction=input,response=output"),
    (
        "conversations chosen rejected",
        "messages=conversations or instruction=conversations,response=chosen",
    ),
]


@pytest.mark.parametrize(("keys", "readings"), AMBIGUOUS)
def test_ambiguous_columns(keys: str, readings: str, tmp_path: Path) -> None:
    """The message contains the flags, or keywords, and any of them resolves the ambiguity."""
    rows = [dict.fromkeys(keys.split(), "x")]
    path = tmp_path / "x.json"
    path.write_text(json.dumps(rows))
    with pytest.raises(AmbiguousFormatError) as caught:
        open_dataset(path)
    flags = readings.split(" or ")
    choices = " or ".join(f"--columns {flag}" for flag in flags)
    assert str(caught.value) == f"{path} can be read in 2 ways: choose {choices}"
    for flag in re.findall(r"--columns (\S+)", str(caught.value)):
        given = parse_columns(flag)
        columns = open_dataset(rows, columns=given).columns
        assert {slot: getattr(columns, slot) for slot in given} == given
    with pytest.raises(AmbiguousFormatError) as caught:
        open_dataset(rows)
    keywords = " or ".join(f"columns={parse_columns(flag)}" for flag in flags)
    assert str(caught.value) == f"data in memory can be read in 2 ways: choose {keywords}"


def test_a_column_of_nulls_is_ignored() -> None:
    row = {"instruction": "u", "prompt": None, "output": "a", "messages": None, "id": "x"}
    assert one_row(row) == ONE


NO_FORMAT = [
    ({"words": "u"}, "no known pair of columns among 'words'; name them with columns={'instr"),
    ({"instruction": "u"}, "no known pair of columns among 'instruction'"),
    ({"output": "a"}, "no known pair of columns among 'output'"),
    ({f"c{i}": 1 for i in range(20)}, "'c11', …; name them"),
    (
        {"row": 0, "turn": 0, "status": "ok", "nll_response_direct": 1},
        "is a scores file, without the texts",
    ),
]


@pytest.mark.parametrize(("row", "message"), NO_FORMAT)
def test_no_known_format(row: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        open_dataset([row])
    assert "\n" not in str(caught.value)


def test_one_row_with_a_list_is_not_taken_for_a_wrapper() -> None:
    row = {"instruction": "u", "output": "a", "tools": [{"name": "f"}], "id": "x"}
    assert one_row(row) == [example(U, A, tools='[{"name": "f"}]')]


BAD_ROWS: list[tuple[dict[str, Any], str]] = [
    ({"instruction": "u"}, "has no field 'output'"),
    ({"instruction": 5, "output": "a"}, "'instruction' is a number, not text"),
    ({"instruction": {}, "output": "a"}, "'instruction' is an object, not text"),
    ({"instruction": "u", "output": True}, "'output' is a boolean, not text"),
    ({"instruction": "u", "output": []}, "'output' is an empty conversation"),
    ({"instruction": "u", "output": ["a"]}, "message 0 is text, not an object"),
    ({"instruction": "u", "input": [1], "output": "a"}, "'input' is a list, not text"),
    ({"instruction": "u", "output": "a\0b"}, "contains a NUL character at 1"),
    ({"instruction": "u\ud800", "output": "a"}, "is not valid Unicode: lone surrogate"),
    ({"instruction": "u", "input": "\udc80", "output": "a"}, "is not valid Unicode: lone"),
    ({"instruction": "u", "output": "a", "history": 5}, "'history' must be a list, not a number"),
    ({"instruction": "u", "output": "a", "history": ["u"]}, "'history' must be a list of [quest"),
    ({"instruction": "u", "output": "a", "history": [["u"]]}, "'history' must be a list of [q"),
    ({"instruction": "u", "output": "a", "history": [["u", 1]]}, "'history' contains something o"),
    ({"instruction": "u", "output": "a", "history": "[1"}, "'history' is text that cannot be r"),
    ({"instruction": "u", "output": "a", "system": 1}, "'system' is a number, not text"),
    ({"instruction": "u", "output": "a", "tools": ["\0"]}, ""),
    ({"instruction": "u", "output": "a", "tools": "\0"}, "contains a NUL character at 0"),
    ({"instruction": "u", "output": "a", "tools": ["\ud800"]}, "is not valid Unicode: lone"),
    ({"instruction": "u", "output": "a", "id": "\0"}, "contains a NUL character at 0"),
]
BAD_MESSAGES: list[tuple[Any, str]] = [
    (None, "'messages' must be a list of messages, not null"),
    ("hello", "'messages' must be a list of messages, not text"),
    ("[" * 100_000, "'messages' is text that cannot be read: nested deeper than 100 levels"),
    ("[NaN]", "message 0 is null, not an object"),
    ('["\ud800"]', "'messages' is text that cannot be read: not UTF-8: byte 0xed at 2"),
    ([], "'messages' is an empty conversation"),
    ([1], "message 0 is a number, not an object"),
    ([{"content": "u"}], "message 0 has neither 'role' nor 'from'"),
    ([{"role": "judge", "content": "u"}], "message 0 has the unknown role 'judge'"),
    ([{"role": 1, "content": "u"}], "message 0 has the unknown role '1'"),
    ([{"role": "user"}], "message 0 has neither 'content' nor 'value'"),
    ([{"role": "user", "content": 1}], "the content of message 0 is a number, not text"),
    (
        [{"role": "user", "content": [{"type": "quiz"}]}],
        "message 0 contains a part that is not text, of type 'quiz'",
    ),
    (
        [{"role": "user", "content": [{"type": "text"}]}],
        "message 0 contains a part that is",
    ),
    (OPENAI[:1], "the conversation has no assistant turn"),
    (SHAREGPT[5:6], "the conversation has no assistant turn"),
    (OPENAI * MAX_TURNS, "a conversation of 4,000 turns, more than 2,000"),
    (
        [{"role": "assistant", "tool_calls": {1: {1, 2}, (1, 2): 3}}],
        "an object is not valid JSON",
    ),
]


@pytest.mark.parametrize(
    ("row", "why"), BAD_ROWS + [({"messages": bad}, why) for bad, why in BAD_MESSAGES]
)
def test_only_the_bad_row_is_rejected(row: dict[str, Any], why: str) -> None:
    good = {"messages": OPENAI} if "messages" in row else {"instruction": "u", "output": "a"}
    before, found, after = read([good | {"id": "x"}, row, good | {"id": "x"}])
    assert before == ONE
    assert after == [replace(ONE[0], row=2)]
    if why:
        assert isinstance(found, Reject)
        assert found.reason.startswith(why)
        assert (found.row, found.line, found.byte_offset) == (1, None, None)
    else:
        assert isinstance(found, list), "JSON escapes it"


@pytest.mark.parametrize("row", [None, 1, "text", [], ["u", "a"]])
def test_row_that_is_not_an_object(row: Any) -> None:
    good = {"instruction": "u", "output": "a", "id": "x"}
    found = read([good, row])[1]
    assert isinstance(found, Reject)
    assert found.reason.startswith("a row must be an object with named fields, not ")


def test_ids() -> None:
    row = {"instruction": "u", "output": "a"}
    others = [row | {"output": "b"}, row | {"input": "i"}, row | {"system": "s"}]
    own: list[Any] = ["x", 7.0, "", None, True, 1.5]
    rows: list[dict[str, Any]] = [*({"id": one} | row for one in own), row, *others]
    ids = [found[0].id for found in read(rows) if isinstance(found, list)]
    digest = ids[2].removesuffix("-0")
    assert re.fullmatch("[0-9a-f]{16}", digest)
    assert ids[:7] == ["x", "7", *(f"{digest}-{n}" for n in range(5))]
    assert len(set(ids)) == len(rows)


def test_ids_do_not_depend_on_the_reading() -> None:
    rows = [{"instruction": "u", "output": "ab"[i % 2]} for i in range(8)]
    dataset = open_dataset(rows)
    ids = [found[0].id for found in dataset if isinstance(found, list)]
    assert ids == [found[0].id for found in dataset if isinstance(found, list)]
    assert [one[-2:] for one in ids] == ["-0", "-0", "-1", "-1", "-2", "-2", "-3", "-3"]
    chosen = dataset.choose([5, 2])
    assert [found[0].id for found in chosen if isinstance(found, list)] == [ids[2], ids[5]]


def test_choose() -> None:
    rows: list[Any] = [{"instruction": f"u{i}", "output": "a"} for i in range(5)]
    rows[3] = {"instruction": 1}
    dataset = open_dataset(rows)
    chosen = dataset.choose(np.array([3, 1, 1, 99, -1]))
    assert chosen.n_rows == 2
    assert dataset.n_rows == 5
    found = list(chosen)
    assert isinstance(found[0], list)
    assert [found[0][0].row, found[0][0].instruction] == [1, "u1"]
    assert isinstance(found[1], Reject)
    assert found[1].row == 3
    assert [raw.value for raw in chosen.raw_rows()] == [rows[1], rows[3]]
    assert chosen.choose([0, 3]).n_rows == 1
    assert list(dataset.choose([])) == []


def test_choosing_the_first_rows_reads_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[Any] = []

    def counted() -> Iterator[Any]:
        for raw in dataset.raw_rows():
            reads.append(raw)
            yield raw

    dataset = open_dataset({"instruction": f"u{i}", "output": "a"} for i in range(50))
    part = replace(dataset.parts[0], open=counted)
    assert len(list(replace(dataset, parts=(part,)).choose([0, 4]))) == 2
    assert len(reads) == 5


def test_generator_and_data_frame() -> None:
    rows = [{"id": "x", "instruction": "u", "output": "a"}]
    assert read(row for row in rows) == [ONE]
    assert read(pd.DataFrame(rows)) == [ONE]
    dataset = open_dataset(row for row in rows)
    assert [list(dataset), list(dataset)] == [[ONE], [ONE]], "a generator is kept"
    assert (dataset.name, dataset.path, dataset.sha256) == ("data in memory", None, None)


def test_data_frame_with_gaps(tmp_path: Path) -> None:
    """pandas represents missing values as NaN, and lists from Parquet as arrays."""
    frame = pd.DataFrame(
        {
            "id": ["x", "x"],
            "input": [None, "i"],
            "output": ["a", "a"],
            "instruction": ["u", "u"],
            "response": [np.nan, np.nan],
            "history": [None, [["u2", "a2"]]],
        }
    )
    path = tmp_path / "frame.parquet"
    frame.drop(columns="response").to_parquet(path)
    for data in (frame, pd.read_parquet(path)):
        first, second = read(data)
        assert first == ONE
        assert isinstance(second, list)
        assert second[1].context == (U2, A2, turn("user", "u", "i"))


# Containers

ROWS = [
    {"id": "1", "instruction": 'u, é\n"q"', "input": "", "output": "a\r\nb"},
    {"id": "2", "instruction": "\U0001f600", "input": "i", "output": "[{\\n"},
    {"id": "3", "instruction": "u", "input": "", "output": ""},
]
EXAMPLES = [
    [
        Example(
            row["id"],
            number,
            0,
            (turn("user", row["instruction"], row["input"]),),
            row["output"],
        )
    ]
    for number, row in enumerate(ROWS)
]


def as_csv(delimiter: str) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(ROWS[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)
    return text.getvalue().encode()


def as_parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), sink)
    return sink.getvalue()


LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
CONTAINERS = {
    "array.json": json.dumps(ROWS).encode(),
    "pretty.json": json.dumps(ROWS, indent=2, ensure_ascii=False).encode(),
    "windows.json": b"\xef\xbb\xbf" + json.dumps(ROWS, indent=2).replace("\n", "\r\n").encode(),
    "lines.json": LINES,
    "lines.jsonl": LINES,
    "lines.ndjson": b"\xef\xbb\xbf" + LINES.replace(b"\n", b"\r\n\r\n"),
    "objects.json": "\n".join(json.dumps(row, indent=2) for row in ROWS).encode(),
    "run-on.json": b"".join(LINES.splitlines()),
    "two-a-line.json": LINES.replace(b"\n", b"", 1),
    "table.csv": as_csv(","),
    "excel.csv": b"\xef\xbb\xbf" + as_csv(","),
    "table.tsv": as_csv("\t"),
    "table.parquet": as_parquet(),
    "UPPER.JSON": json.dumps(ROWS).encode(),
}
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstandard.compress,
}


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("name", CONTAINERS)
def test_container(name: str, compression: str, tmp_path: Path) -> None:
    path = tmp_path / (name + compression)
    path.write_bytes(COMPRESSIONS[compression](CONTAINERS[name]))
    dataset = open_dataset(path)
    assert list(dataset) == EXAMPLES
    assert list(dataset) == EXAMPLES
    assert (dataset.name, dataset.path) == (str(path), path)
    assert dataset.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("name", [name for name in CONTAINERS if not name.endswith(".tsv")])
def test_standard_input(name: str, compression: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an ending, the first bytes show the format."""
    data = COMPRESSIONS[compression](CONTAINERS[name])
    stdin = SimpleNamespace(closed=False, isatty=lambda: False, buffer=io.BytesIO(data))
    monkeypatch.setattr(sys, "stdin", stdin)
    dataset = open_dataset("-")
    assert list(dataset) == EXAMPLES
    assert list(dataset) == EXAMPLES
    assert (dataset.name, dataset.path) == ("stdin", None)
    assert dataset.sha256 == hashlib.sha256(data).hexdigest()


def test_terminal_is_not_a_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(closed=False, isatty=lambda: True))
    with pytest.raises(InputError, match="pipe a dataset into it"):
        open_dataset("-")


def test_compressed_in_several_frames(tmp_path: Path) -> None:
    lines = LINES.splitlines(keepends=True)
    for compression in (".gz", ".zst"):
        path = tmp_path / f"parts.jsonl{compression}"
        path.write_bytes(b"".join(map(COMPRESSIONS[compression], lines)))
        assert read(path) == EXAMPLES


@pytest.mark.parametrize("compression", [".gz", ".zst"])
@pytest.mark.parametrize("name", ["array.json", "lines.jsonl", "table.csv", "table.parquet"])
def test_damaged_compression(name: str, compression: str, tmp_path: Path) -> None:
    """The file is refused with one line, however many rows precede the damage."""
    data = (b" " if name != "table.parquet" else b"") + CONTAINERS[name]
    data += b"" if "parquet" in name else np.random.default_rng(0).bytes(99_000).hex().encode()
    whole = COMPRESSIONS[compression](data)
    path = tmp_path / (name + compression)
    middle = len(whole) // 2
    for damaged in [whole[:-5], whole[:middle], whole[:20], whole + b"x" * 30, whole[:8]]:
        path.write_bytes(damaged)
        with pytest.raises(InputError) as caught:
            open_dataset(path)
        assert str(caught.value).startswith(f"{path}: cannot be decompressed: ")
        assert "\n" not in str(caught.value)


REFUSED = [
    ("x.json", b"", "contains no rows"),
    ("x.jsonl", b"\n\n", "contains no rows"),
    ("x.csv", b"", "contains no rows"),
    ("x.csv", b"instruction,output\n", "contains no rows"),
    ("x", b" \n", "contains no rows"),
    ("x.json", b"[]", "contains no rows"),
    ("x.jsonl", "{}".encode("utf-16-le").join([b"\xff\xfe", b""]), "no known pair of columns"),
    ("x.csv", b"\xfe\xff\0a", "contains no rows"),
    ("x.json", b"instruction: u", "is not JSON: it looks like YAML: convert it to JSON"),
    ("x.json", b"instruction, u", "is not JSON: it begins with b'instruction, u'"),
    ("x.jsonl", b"{\n}\n", "no known pair of columns among none"),
    ("x.json", b"[1, 2]", "its rows must be objects with named fields; the first is a number"),
    ("x.csv", b'"a"b,c\n1,2\n', r"x.csv: the header is not CSV: ',' expected after '\"'"),
    ("x.csv", b"n\xe9,b\n1,2\n", "x.csv: the header is not UTF-8: byte 0xe9 at 1 of line 1"),
    ("x.parquet", b"PAR1", "not a readable Parquet file: "),
    ("x.parquet", as_parquet()[:-9], "not a readable Parquet file: "),
    ("x.png", b"\x89PNG\r\n\x1a\n\0", "is an image: give a file with rows of text"),
]


@pytest.mark.parametrize(("name", "data", "message"), REFUSED)
def test_refused_file(name: str, data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError, match=message) as caught:
        open_dataset(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["no.json", "no.jsonl.gz", "/no/such", "./no", "a/b/c", "x" * 5000]
)
def test_no_such_file(name: str) -> None:
    with pytest.raises(InputError, match=r"no such file|File name too long") as caught:
        open_dataset(name)
    assert len(str(caught.value)) < 300


def test_hub_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        InputError, match=r"no such file: teknium/x-2.5 .*pip install 'ifdkit\[hf\]"
    ):
        open_dataset("teknium/x-2.5")


def test_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(name: str, split: str) -> list[dict[str, str]]:
        if name == "un/reached":
            raise ConnectionError("Couldn't reach 'un/reached' on the Hub (Offline)")
        if name != "teknium/x-2.5":
            raise FileNotFoundError("not on the hub\nat all")
        return [{"instruction": split, "output": "a", "id": "x"}]

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    for name, split in [("teknium/x-2.5", "train"), ("teknium/x-2.5:test", "test")]:
        assert read(name) == [[example(turn("user", split), A)]]
    with pytest.raises(InputError, match=r"nor a dataset on the hub: not on the hub$"):
        open_dataset("another")
    with pytest.raises(InputError, match=r"^no such file: un/reached; a dataset .*Couldn't reach"):
        open_dataset("un/reached")


# Tables


def csv_file(tmp_path: Path, *lines: bytes) -> Path:
    path = tmp_path / "x.csv"
    path.write_bytes(b"".join(lines))
    return path


def outcome(found: Found) -> list[str]:
    """The response of each row, or the reason that there is none."""
    return [one.reason if isinstance(one, Reject) else one[0].response for one in found]


HEADER, FIRST, LAST = b"instruction,output\n", b"u,first\n", b"u,last\n"
CSV: dict[str, tuple[list[bytes], list[str]]] = {
    "quoted newlines": ([b'u,"a\nb\r\n\nc"\n'], ["a\nb\r\n\nc"]),
    "blank lines": ([b"\n", b"\r\n", b"u,a\r\n"], ["a"]),
    "too few cells": ([b"u\n"], ["has 1 cell, but the header has 2"]),
    "too many cells": ([b"u,a,b\n"], ["has 3 cells, but the header has 2"]),
    "bad bytes": ([b"u,n\xe9e\n"], ["not UTF-8: byte 0xe9 at 3 of line 3"]),
    "bad bytes in a later line": ([b'u,"a\nn\xe9e"\n'], ["not UTF-8: byte 0xe9 at 1 of line 4"]),
    "NUL": ([b"u,a\0b\n"], ["contains a NUL character at 1"]),
    "a stray quote": ([b'u,"a"b\n'], ["not CSV: ',' expected after '\"'"]),
    "a lost quote": ([b'u,"a\n', b'u,"b"\n'], ["not CSV: ',' expected after '\"'", "b"]),
    "a lost quote, none after": ([b'u,"a\n'], ["not CSV: unexpected end of data"]),
    "an over-long line": ([b"u," + b"a" * 500 + b"\n"], ["longer than 400 bytes"]),
    "an over-long cell": ([b'u,"' + b"a" * 500 + b'"\n'], ["longer than 400 bytes"]),
    "an empty answer": ([b"u,\n"], [""]),
}


@pytest.mark.parametrize("name", CSV)
def test_csv(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_rows, "MAX_ROW_BYTES", 400)
    monkeypatch.setattr(table_rows, "_CHUNK", 7)
    lines, expected = CSV[name]
    path = csv_file(tmp_path, HEADER, FIRST, *lines, LAST)
    dataset = open_dataset(path)
    found = list(dataset)
    assert outcome(found) == ["first", *expected, "last"]
    data = path.read_bytes()
    for raw in dataset.raw_rows():
        assert raw.byte_offset is not None
        assert raw.line == data[: raw.byte_offset].count(b"\n") + 1
    begins = [data[raw.byte_offset :].splitlines()[0] for raw in dataset.raw_rows()]
    assert begins[0] + b"\n" == FIRST
    assert begins[-1] + b"\n" == LAST
    if name != "blank lines":
        assert begins[1:-1] == [line.splitlines()[0] for line in lines]


def test_csv_in_which_every_row_has_a_lost_quote(tmp_path: Path) -> None:
    """Each row seems to reach the end of the file; reading all of it again would take hours."""
    row = b'a",""",x\n'
    path = csv_file(tmp_path, HEADER, row * 200_000)
    with pytest.raises(InputError, match="none of its rows can be read"):
        open_dataset(path)


def test_csv_row_of_many_lines(tmp_path: Path) -> None:
    text = "\n" * 300_000
    path = csv_file(tmp_path, HEADER, f'u,"{text}"\n'.encode(), LAST)
    assert outcome(read(path)) == [text, "last"]


def test_csv_with_conversations(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    pd.DataFrame([{"id": "x", "messages": json.dumps(OPENAI)}]).to_csv(path, index=False)
    assert read(path) == [ONE]


def test_parquet_of_conversations(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.Table.from_pylist([{"id": "x", "conversations": SHAREGPT[:3]}] * 600), path)
    found = read(path)
    assert found == [[example(S, U, A, row=row)] for row in range(600)]


def test_parquet_text_that_is_not_utf8(tmp_path: Path) -> None:
    cells = pa.array([b"first", b"\xff", b"last"])
    text = pa.StringArray.from_buffers(3, *cells.buffers()[1:])
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"instruction": ["u"] * 3, "output": text}), path)
    first, bad, last = outcome(read(path))
    assert [first, last] == ["first", "last"]
    assert bad.startswith("cannot be read: 'utf-8' codec")


def save_to_disk(folder: Path, rows: list[dict[str, str]], n_files: int = 2) -> None:
    """Write the files of `datasets.Dataset.save_to_disk`."""
    folder.mkdir(parents=True)
    names = [f"data-{number:05}-of-{n_files:05}.arrow" for number in range(n_files)]
    for number, name in enumerate(names):
        table = pa.Table.from_pylist(rows[number::n_files], pa.Table.from_pylist(rows).schema)
        with (
            pa.OSFile(str(folder / name), "wb") as sink,
            pa.ipc.new_stream(sink, table.schema) as w,
        ):
            w.write_table(table, max_chunksize=1)
    state = {"_data_files": [{"filename": name} for name in names], "_split": "train"}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text("{}")


def test_saved_dataset(tmp_path: Path) -> None:
    folder = tmp_path / "all" / "train"
    save_to_disk(folder, [ROWS[0], ROWS[2], ROWS[1]])
    dataset = open_dataset(str(folder))
    assert list(dataset) == list(dataset) == EXAMPLES
    assert dataset.path == folder
    (folder.parent / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    with pytest.raises(InputError, match=rf"several splits: choose {folder} or {folder.parent}/te"):
        open_dataset(folder.parent)
    digest = dataset.sha256
    (folder / "data-00001-of-00002.arrow").write_bytes(b"\xff\xff\xff\xff\x08")
    with pytest.raises(InputError, match="not a readable Arrow file"):
        open_dataset(folder)
    (folder / "data-00001-of-00002.arrow").unlink()
    with pytest.raises(InputError, match=r"data-00001-of-00002.arrow: not a readable Arrow file"):
        open_dataset(folder)
    save_to_disk(tmp_path / "another", ROWS)
    assert open_dataset(tmp_path / "another").sha256 != digest


@pytest.mark.parametrize("name", ["state.json", "dataset_dict.json"])
@pytest.mark.parametrize("text", [None, "", "{}", "[]", "3", '{"_data_files": [1]}', "[" * 99_999])
def test_folder_that_is_not_a_dataset(name: str, text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match="is a folder, but not one saved by `datasets`"):
        open_dataset(tmp_path)


# Real data


@pytest.mark.parametrize(
    ("name", "n_rows", "n_examples", "columns"),
    [
        ("alpaca_1k", 1000, 1000, Columns(instruction="instruction", input="input")),
        ("alpacaeval400_alpaca-7b", 400, 400, Columns(instruction="instruction")),
        ("alpacaeval400_recycled-wizardlm-7b-v1", 400, 400, Columns(instruction="instruction")),
        ("sharegpt_tools_150", 150, 505, Columns(messages="conversations", tools="tools")),
    ],
)
def test_real_data(name: str, n_rows: int, n_examples: int, columns: Columns) -> None:
    path = DATA / f"{name}.json"
    if not path.exists():
        pytest.skip(f"{path} does not exist: real data is not part of the repository")
    dataset = open_dataset(path)
    assert dataset.n_rows == n_rows
    assert dataset.columns == (columns if columns.messages else replace(columns, response="output"))
    examples = [one for found in dataset for one in found_list(found)]
    assert len(examples) == n_examples
    assert len({(one.id, one.turn) for one in examples}) == n_examples
    assert len({one.row for one in examples}) == n_rows
    assert all(one.context and one.instruction for one in examples)


def found_list(found: list[Example] | Reject) -> list[Example]:
    assert isinstance(found, list), found
    return found


def test_errors_form_one_tree() -> None:
    assert issubclass(AmbiguousFormatError, InputError)
    assert issubclass(InputError, IfdkitError)
    assert isinstance(open_dataset([{"prompt": "u", "answer": "a"}]), Dataset)


@given(st.lists(st.sampled_from("abcdefgh"), max_size=24), st.integers(1, 5), st.integers(3, 12))
def test_ids_do_not_depend_on_where_their_counts_are(
    responses: list[str], in_memory: int, filter_bits: int
) -> None:
    """Neither if the filter is so small that it knows nothing."""

    def made() -> list[str]:
        with OccurrenceIds() as ids:
            return [ids.identify(Example("", 0, 0, (), one)).id for one in responses]

    expected = made()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ifdkit.data.digest_counts.MAX_COUNTS_IN_MEMORY", in_memory)
        patch.setattr("ifdkit.data.digest_counts._FILTER_BITS", filter_bits)
        assert made() == expected
    counts = Counter[str]()
    for response, found in zip(responses, expected, strict=True):
        assert found.endswith(f"-{counts[response]}")
        counts[response] += 1
