"""Every field that is not empty is used, harmless or counted, and the user is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ifdkit.cli.main import main
from ifdkit.data.dataset import open_dataset
from ifdkit.data.read_log import HARMLESS, Fact, ReadLog, is_harmless
from ifdkit.data.turns import is_empty
from ifdkit.errors import InputError
from ifdkit.scoring.dataset import without_scores
from ifdkit.scoring.manifest import Manifest
from ifdkit.scoring.progress import Progress
from tests.manifests import make_manifest

pytestmark = pytest.mark.long

USER = {"role": "user", "content": "u"}
ANSWER = {"role": "assistant", "content": "a"}
Fields = dict[str, Any]
Make = Callable[..., Path]


def read(*rows: Any, **options: Any) -> ReadLog:
    log = ReadLog()
    list(open_dataset(rows, **options).read(log))
    return log


# A builder of a row of each kind from extra fields, and the path at which it puts each of them.
BUILDERS: dict[str, tuple[Callable[[Fields, Fields], Any], str]] = {
    "pair": (lambda row, _: {"instruction": "u", "output": "a", **row}, ""),
    "messages": (
        lambda row, inner: {**row, "messages": [USER, {**ANSWER, **inner}]},
        "messages[].",
    ),
    "the prompt": (
        lambda row, inner: {"prompt": [{**USER, **inner}], "completion": [ANSWER], **row},
        "prompt[].",
    ),
    "the completion": (
        lambda row, inner: {"prompt": "u", "completion": {**ANSWER, **inner}, **row},
        "completion.",
    ),
    "a prompt that is repeated": (
        lambda row, inner: {"prompt": [{**USER, **inner}], "completion": [USER, ANSWER], **row},
        "prompt[].",
    ),
    "the chosen side": (
        lambda row, inner: {
            "chosen": [USER, {**ANSWER, **inner}],
            "rejected": [USER, ANSWER],
            **row,
        },
        "chosen[].",
    ),
    "rounds": (
        lambda row, inner: {**row, "conversation": [{"human": "u", "assistant": "a", **inner}]},
        "conversation[].",
    ),
    "segments": (
        lambda row, inner: {
            **row,
            "segments": [
                {"label": False, "text": "u"},
                {"label": False, "text": "v", **inner},
                {"label": True, "text": "a"},
            ],
        },
        "segments[].",
    ),
    "parts": (
        lambda row, inner: {
            **row,
            "messages": [USER, {**ANSWER, "content": [{"type": "text", "text": "a", **inner}]}],
        },
        "messages[].content[].",
    ),
    "parts without a type": (
        lambda row, inner: {
            **row,
            "messages": [USER, {**ANSWER, "content": ["a", {"text": "a", **inner}]}],
        },
        "messages[].content[].",
    ),
    "thinking parts": (
        lambda row, inner: {
            **row,
            "messages": [
                USER,
                {**ANSWER, "content": [{"type": "thinking", "thinking": "why", **inner}, "a"]},
            ],
        },
        "messages[].content[].",
    ),
    "tool calls": (
        lambda row, inner: {
            **row,
            "messages": [USER, {**ANSWER, "tool_calls": [{"name": "f"}], **inner}],
        },
        "messages[].",
    ),
}
NAMES = st.sampled_from(
    ["name", "hint", "explanation", "annotations", "cache_control", "refusal_reason", "title"]
) | st.text(min_size=1, max_size=5).map("extra {}".format)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda child: (
        st.lists(child, max_size=2) | st.dictionaries(st.text(max_size=2), child, max_size=2)
    ),
    max_leaves=4,
)
EXTRAS = st.dictionaries(NAMES | st.sampled_from(sorted(HARMLESS - {"id"})), VALUES, max_size=4)


def is_missing(value: Any) -> bool:
    """NaN and infinity in a field are null."""
    return is_empty(value) or (isinstance(value, float) and value - value != 0)


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(sorted(BUILDERS)), EXTRAS, EXTRAS)
def test_no_field_is_unaccounted_for(kind: str, row: Fields, inner: Fields) -> None:
    build, path = BUILDERS[kind]
    inner = {key: value for key, value in inner.items() if key not in ("type", "source")}
    log = read(build(row, inner))
    assert log.n_rows == 1
    levels = [("", row), (path, inner)] if path else [("", row)]
    assert set(log.unread) == {
        prefix + key
        for prefix, fields in levels
        for key, value in fields.items()
        if not is_missing(value) and not is_harmless(key)
    }
    assert set(log.unread.values()) <= {1}


FIELDS: list[tuple[Fields, list[str]]] = [
    ({"instruction": "u", "output": "a", "source": "web", "id": 3, "scores": [1]}, []),
    ({"instruction": "u", "output": "a", "notes": "", "extra": [], "more": None}, []),
    ({"instruction": "u", "output": "a", "is_safe": False, "zero": 0}, ["is_safe", "zero"]),
    ({"messages": [USER, ANSWER], "system": "s", "images": ["a.png"]}, ["images"]),
    ({"messages": [{"role": "system", "content": "s"}, USER, ANSWER], "system": "t"}, ["system"]),
    ({"messages": [{"role": "system", "content": "s"}, USER, ANSWER], "system": "s"}, []),
    ({"messages": [USER, {**ANSWER, "from": "gpt", "value": "a"}]}, []),
    (
        {"messages": [USER, {**ANSWER, "from": "user", "value": "b"}]},
        ["messages[].from", "messages[].value"],
    ),
    (
        {"messages": [USER, {**ANSWER, "reasoning_content": "x", "thinking": "y"}]},
        ["messages[].thinking"],
    ),
    ({"messages": [USER, {**ANSWER, "reasoning_content": "x", "thinking": "x"}]}, []),
    (
        {"messages": [{**USER, "reasoning": "x"}, {**ANSWER, "reasoning": {"steps": 3}}]},
        ["messages[].reasoning"],
    ),
    (
        {"messages": [USER, {**ANSWER, "tool_calls": [{"name": "f"}], "function_call": "g"}]},
        ["messages[].function_call"],
    ),
    ({"messages": [USER, {**ANSWER, "weight": [1, 0]}]}, ["messages[].weight"]),
    ({"prompt": [USER], "completion": [ANSWER], "input": "data"}, ["input"]),
    ({"instruction": "u", "output": "a", "reasoning": "r"}, ["reasoning"]),
    ({"prompt": "u", "chosen": "a", "rejected": "b"}, []),
    (
        {"messages": [{**USER, "content": ["u", {"type": "image_url", "x": 1}]}, ANSWER]},
        ["image parts"],
    ),
    ({"messages": [{**USER, "content": ["u", {"audio": "x.wav"}]}, ANSWER]}, ["audio parts"]),
]


@pytest.mark.parametrize(("row", "unread"), FIELDS)
def test_fields_that_are_not_used(row: Fields, unread: list[str]) -> None:
    assert sorted(read(row).unread) == unread


FACTS: list[tuple[Fields, list[Fact]]] = [
    ({"messages": [USER, ANSWER, USER]}, [Fact.ENDS_WITHOUT_ANSWER]),
    ({"messages": [USER, ANSWER, {"role": "tool", "content": "t"}]}, [Fact.ENDS_WITHOUT_ANSWER]),
    ({"messages": [{**USER, "content": "<image>\nWhat is it?"}, ANSWER]}, [Fact.PLACEHOLDER]),
    ({"messages": [{**USER, "content": "<image_1>"}, ANSWER]}, [Fact.PLACEHOLDER]),
    ({"messages": [{**USER, "content": "a <video> tag"}, ANSWER]}, []),
    ({"messages": [{**USER, "content": "<video>"}, ANSWER], "videos": ["v"]}, [Fact.PLACEHOLDER]),
    ({"messages": [USER, {**ANSWER, "weight": 0}, USER, ANSWER]}, [Fact.NOT_TRAINED]),
    ({"prompt": [USER, ANSWER, USER], "completion": "a"}, []),
]


@pytest.mark.parametrize(("row", "facts"), FACTS)
def test_facts(row: Fields, facts: list[Fact]) -> None:
    assert list(read(row).facts) == facts


def test_rows_are_counted_once_each() -> None:
    rows = [
        {"messages": [{**USER, "name": "x"}, {**ANSWER, "name": "y"}], "hint": "h"},
        {"messages": [USER, ANSWER], "hint": "h"},
        {"messages": [USER, ANSWER], "hint": ""},
        {"messages": "broken", "hint": "h"},
    ]
    log = read(*rows)
    assert log.notes() == [
        "2 of 4 rows: `hint` not used",
        "1 of 4 rows: `messages[].name` not used",
    ]
    dataset = open_dataset(rows).choose([1, 2])
    log = ReadLog()
    list(dataset.read(log))
    assert log.notes() == ["1 of 2 rows: `hint` not used"]


def test_notes_are_few_and_safe_to_print() -> None:
    row = {"instruction": "u", "output": "a", "evil\x1b[2J": 1, **{f"c{n}": 1 for n in range(2000)}}
    log = read(row)
    assert len(log.unread) == 1001
    assert log.unread["other fields"] == 1
    notes = log.notes()
    assert len(notes) == 13
    assert notes[0] == "1 of 1 row: `evil\\x1b[2J` not used"
    assert notes[-1] == "989 more fields are not used"
    assert not any("\x1b" in note for note in notes)


class Notes(Progress):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


UNREAD: list[Fields] = [
    {"id": "a", "instruction": "Say hi", "output": "Hi there", "hint": "h"},
    {"id": "b", "instruction": "Say bye", "output": "Bye now", "hint": None},
]


def test_without_a_model_the_user_is_told_too() -> None:
    notes = Notes()
    without_scores(open_dataset(UNREAD), progress=notes)
    assert notes.texts == ["data in memory: 1 of 2 rows: `hint` not used"]


def test_audit_and_select_say_what_was_not_read(
    write: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write("in.json", UNREAD)
    assert main(["audit", str(path), "--no-model"]) in (0, 1)
    assert capsys.readouterr().err.count("1 of 2 rows: `hint` not used") == 1
    out = path.with_name("out.json")
    assert main(["select", str(path), "-o", str(out), "--method", "random", "--top", "1"]) == 0
    assert capsys.readouterr().err.count("1 of 2 rows: `hint` not used") == 1
    assert main(["audit", str(path), "--no-model", "-q"]) in (0, 1)
    assert "hint" not in capsys.readouterr().err


def test_score_says_and_records_what_was_not_read(
    write: Make, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {**UNREAD[0], "messages": None},
        {"id": "c", "prompt": None, "hint": "h", "instruction": "<image> Say", "output": "x y"},
    ]
    path = write("in.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    out = path.with_name("out.jsonl")
    options = ["-m", str(tiny_model), "--metrics", "ppl", "--store", "off"]
    assert main(["score", str(path), "-o", str(out), *options]) == 0
    error = capsys.readouterr().err
    assert error.count(f"{path}: 2 of 2 rows: `hint` not used") == 1
    assert error.count("a placeholder such as <image> is scored as text") == 1
    manifest = json.loads(Path(f"{out}.manifest.json").read_bytes())
    assert manifest["unread"] == {"hint": 2}
    assert manifest["reading"] == {"placeholder": 1}
    assert manifest["reasoning"] == "keep"


def test_reasoning_option(
    write: Make, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The scores of a file that was read without reasoning belong to those texts."""
    message = {**ANSWER, "content": "Yes, it is.", "reasoning_content": "seven is prime"}
    path = write("in.json", [{"messages": [USER, message], "id": "a"}])
    out = path.with_name("out.jsonl")
    options = ["-m", str(tiny_model), "--metrics", "ppl", "--store", "off"]
    words = {}
    for choice in ("keep", "drop"):
        assert main(["score", str(path), "-o", str(out), "--reasoning", choice, *options]) == 0
        words[choice] = json.loads(out.read_text())["response_words"]
    assert words == {"keep": 8, "drop": 3}
    assert "reasoning is left out" in capsys.readouterr().err
    assert main(["audit", str(out)]) in (0, 1)
    assert "parses differently" not in capsys.readouterr().err


def test_manifests_of_earlier_versions_are_read() -> None:
    value = make_manifest().as_json()
    for name in ("reasoning", "unread", "reading"):
        del value[name]
    found = Manifest.from_json(value, "m")
    assert (found.reasoning, found.unread, found.reading) == ("drop", {}, {})
    with pytest.raises(InputError, match="field 'unread' has the wrong type"):
        Manifest.from_json({**value, "unread": {"x": "y"}}, "m")
    del value["rows_in"]
    with pytest.raises(InputError, match="it has no field 'rows_in'"):
        Manifest.from_json(value, "m")
