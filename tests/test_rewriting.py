"""New texts put back into rows of every layout, and files written in their own format."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard

from ifdkit.data.atomic import OutputFiles
from ifdkit.data.columns import Columns
from ifdkit.data.dataset import Dataset, open_dataset
from ifdkit.data.examples import examples_of
from ifdkit.data.raw import Raw
from ifdkit.data.rewriting import NotRewritableError, instruction_problem, with_texts
from ifdkit.data.row_files import check_rows_output, rows_file
from ifdkit.errors import InputError, OutputError, UsageError
from tests.test_reading import LAYOUTS as READ_LAYOUTS

Make = Callable[..., Path]


def message(role: str, text: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": text, **more}


TALK = [message("system", "Be kind."), message("user", "Hi"), message("assistant", "Hello"),
        message("user", "Sing"), message("assistant", "La")]  # fmt: skip
SHARE = [{"from": "human", "value": "Sing"}, {"from": "gpt", "value": "La"}]
PAIR = Columns(instruction="q", response="a")
TALKS = Columns(messages="m")

# Columns, a row, and the row with a new instruction "I" and a new response "R" in its last turn.
LAYOUTS: dict[str, tuple[Columns, dict[str, Any], dict[str, Any]]] = {
    "alpaca": (
        Columns(instruction="q", input="i", response="a"),
        {"id": 7, "q": "Add", "i": "2 3", "a": "5", "extra": [1, {"x": None}]},
        {"id": 7, "q": "I", "i": "2 3", "a": "R", "extra": [1, {"x": None}]},
    ),
    "history": (
        Columns(instruction="q", response="a", history="h", system="s"),
        {"q": "Sing", "a": "La", "h": [["Hi", "Hello"]], "s": "Be kind."},
        {"q": "I", "a": "R", "h": [["Hi", "Hello"]], "s": "Be kind."},
    ),
    "openai": (TALKS, {"m": TALK}, {"m": [*TALK[:3], message("user", "I"),
                                          message("assistant", "R")]}),
    "sharegpt": (TALKS, {"m": SHARE, "n": 1}, {"m": [{"from": "human", "value": "I"},
                                                     {"from": "gpt", "value": "R"}], "n": 1}),
    "every field, as Arrow has it": (
        TALKS,
        {"m": [{"role": "user", "content": "Hi", "from": None, "value": None},
               {"role": "assistant", "content": "La", "from": None, "tool_calls": None}]},
        {"m": [{"role": "user", "content": "I", "from": None, "value": None},
               {"role": "assistant", "content": "R", "from": None, "tool_calls": None}]},
    ),
    "rounds": (TALKS, {"m": [{"human": "Hi", "assistant": "Hello"}]},
               {"m": [{"human": "I", "assistant": "R"}]}),
    "parts": (
        TALKS,
        {"m": [message("user", [{"type": "text", "text": "Hi"}]), message("assistant", ["La"])]},
        {"m": [message("user", [{"type": "text", "text": "I"}]), message("assistant", ["R"])]},
    ),
    "JSON in a cell": (
        TALKS,
        {"m": json.dumps(TALK, ensure_ascii=False), "n": "1"},
        {"m": json.dumps([*TALK[:3], message("user", "I"), message("assistant", "R")]), "n": "1"},
    ),
    "prompt of messages, completion of messages": (
        PAIR,
        {"q": [message("user", "Sing")], "a": [message("assistant", "La")]},
        {"q": [message("user", "I")], "a": [message("assistant", "R")]},
    ),
    "prompt of messages, completion of text": (
        PAIR,
        {"q": TALK[:4], "a": "La"},
        {"q": [*TALK[:3], message("user", "I")], "a": "R"},
    ),
    "preference side with its prompt": (
        PAIR,
        {"q": "Sing", "a": SHARE},
        {"q": "I", "a": [{"from": "human", "value": "I"}, {"from": "gpt", "value": "R"}]},
    ),
    "preference side of one round": (
        PAIR,
        {"q": "Sing", "a": {"human": "Hi", "assistant": "La"}},
        {"q": "Sing", "a": {"human": "I", "assistant": "R"}},
    ),
    "preference side of one message": (
        PAIR,
        {"q": "Sing", "a": message("assistant", "La")},
        {"q": "I", "a": message("assistant", "R")},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_new_texts_replace_the_old_ones_in_place(name: str) -> None:
    columns, row, wanted = LAYOUTS[name]
    before = deepcopy(row)
    example = examples_of(0, row, columns)[-1]
    assert with_texts(row, columns, example, instruction="I", response="R") == wanted
    assert row == before, "the row itself does not change"
    only = with_texts(row, columns, example, response="R")
    again = examples_of(0, only, columns)[-1]
    assert again == replace(example, response="R")
    only = with_texts(row, columns, example, instruction="I")
    again = examples_of(0, only, columns)[-1]
    assert (again.response, again.context[-1].text) == (example.response, "I")


# A function call, or several parts of content, have no single field for a text.
NOT_REWRITABLE = {
    "ShareGPT": {"response of turn 1"},
    "OpenAI, content parts": {"instruction of turn 0"},
    "OpenAI, tool calls": {"response of turn 0", "response of turn 1"},
    "OpenAI, the older function call": {"response of turn 0"},
    "OpenAI, an empty list beside the older function call": {"response of turn 0"},
}


@pytest.mark.parametrize("name", READ_LAYOUTS)
def test_every_layout_that_is_read_can_be_rewritten(name: str) -> None:
    """Any text of any example, put back, gives the example that was meant."""
    row, wanted = READ_LAYOUTS[name]
    columns = open_dataset([row]).columns
    examples = examples_of(0, row, columns)
    assert len(examples) == len(wanted)
    refused = set()
    for example in examples:
        new = {"response": replace(example, response="New")}
        if instruction_problem(example) is None:
            last = replace(example.context[-1], text="New")
            new["instruction"] = replace(example, context=(*example.context[:-1], last))
        for part, meant in new.items():
            try:
                rewritten = with_texts(row, columns, example, **{part: "New"})
            except NotRewritableError:
                refused.add(f"{part} of turn {example.turn}")
            else:
                assert examples_of(0, rewritten, columns)[example.turn] == meant
    assert refused == NOT_REWRITABLE.get(name, set())


def test_each_turn_of_a_conversation_can_be_rewritten() -> None:
    first, last = examples_of(0, {"m": TALK}, TALKS)
    row = with_texts({"m": TALK}, TALKS, first, instruction="I", response="R")
    assert [one["content"] for one in row["m"]] == ["Be kind.", "I", "R", "Sing", "La"]
    row = {"q": "Sing", "a": "La", "h": json.dumps([["Hi", "Hello"]])}
    columns = Columns(instruction="q", response="a", history="h")
    first, last = examples_of(0, row, columns)
    assert json.loads(with_texts(row, columns, first, response="R")["h"]) == [["Hi", "R"]]
    assert with_texts(row, columns, last, response="R")["h"] == row["h"]


CALL = {"role": "assistant", "content": "", "tool_calls": [{"name": "f"}]}


@pytest.mark.parametrize(
    ("row", "texts", "reason"),
    [
        ({"m": [message("user", "Hi"), CALL]}, {"response": "R"}, "no field of its own"),
        ({"m": [message("user", "Hi"), {"from": "function_call", "value": "{}"}]},
         {"response": "R"}, "no field of its own"),
        ({"m": [message("user", "Hi"), CALL, message("tool", "3"), message("assistant", "La")]},
         {"instruction": "I"}, "other turns between"),
        ({"m": [message("assistant", "La")]}, {"instruction": "I"}, "no instruction"),
        ({"m": [message("user", "Hi"), message("assistant", ["a", "b"])]}, {"response": "R"},
         "no field of its own"),
        ({"m": SHARE}, {"response": "a\0b"}, "NUL"),
        ({"m": SHARE}, {"instruction": "\ud83d"}, "not valid Unicode"),
    ],
)  # fmt: skip
def test_rows_that_cannot_be_rewritten_say_why(
    row: dict[str, Any], texts: dict[str, str], reason: str
) -> None:
    example = examples_of(0, row, TALKS)[-1]
    with pytest.raises(NotRewritableError, match=reason):
        with_texts(row, TALKS, example, **texts)


def test_real_rows_keep_everything_else(shared_file: Callable[..., Path]) -> None:
    """In two real files only the rewritten response changes."""
    for name in ("alpaca_1k.json", "sharegpt_tools_150.json"):
        dataset = open_dataset(shared_file("data", name), turns="last")
        rewritten = 0
        for raw, found in zip(dataset.raw_rows(), dataset, strict=True):
            assert isinstance(found, list)
            try:
                row = with_texts(raw.value, dataset.columns, found[-1], response="Rewritten")
            except NotRewritableError:
                continue
            rewritten += 1
            text = json.dumps(raw.value)
            old, new = json.dumps(found[-1].response), json.dumps(row)
            assert new in {_with(text, old, at) for at in range(text.count(old))}
        assert rewritten > 0.6 * dataset.n_rows


def _with(text: str, old: str, at: int) -> str:
    """The text with the `at`-th occurrence replaced: a reference that knows no layouts."""
    parts = text.split(old)
    return old.join(parts[: at + 1]) + '"Rewritten"' + old.join(parts[at + 1 :])


def copied(source: Path, output: Path, changes: dict[int, dict[str, Any]] | None = None) -> Dataset:
    """Write the source again, some of its rows with other values."""
    dataset = open_dataset(source)
    check_rows_output(output, source)
    with OutputFiles(output) as files, rows_file(files, source) as writer:
        for raw in dataset.raw_rows():
            change = (changes or {}).get(raw.row)
            writer.write(raw, {**raw.value, **change} if change else raw.value)
    return dataset


ROWS: list[dict[str, Any]] = [
    {"id": "ä", "instruction": "Say 你好", "output": "x\ny", "score": 0.1, "big": 10**30},
    {"id": "b", "instruction": "Add", "output": "=5", "score": None, "big": -1, "odd": "\ud83d"},
    {"id": "c", "instruction": "Wrong", "output": 42, "score": 1e-9, "big": 0},
]


@pytest.mark.parametrize("indent", [None, 1, 2, 4])
def test_a_json_array_comes_back_with_its_indentation(write: Make, indent: int | None) -> None:
    source = write("in.json", json.dumps(ROWS, indent=indent, ensure_ascii=True))
    output = source.with_name("out.json")
    copied(source, output)
    assert json.loads(output.read_text()) == ROWS
    if indent:
        assert output.read_text() == source.read_text() + "\n", "escapes too"
    copied(source, output, {1: {"output": "6"}})
    changed = json.loads(output.read_text())
    assert changed == [ROWS[0], {**ROWS[1], "output": "6"}, ROWS[2]]
    assert list(changed[1]) == list(ROWS[1]), "the order of the fields too"


@pytest.mark.parametrize(("ending", "opened"), [
    ("", lambda path: path.read_bytes()),
    (".gz", lambda path: gzip.decompress(path.read_bytes())),
    (".zst", lambda path: zstandard.ZstdDecompressor().decompressobj().decompress(
        path.read_bytes())),
])  # fmt: skip
def test_json_lines_come_back_broken_ones_byte_for_byte(
    write: Make, ending: str, opened: Callable[[Path], bytes]
) -> None:
    lines = [json.dumps(row).encode() for row in ROWS]
    content = b"\n".join([lines[0], b'{"torn', lines[1], b"\xff\xfe", b"", lines[2]]) + b"\n"
    source = write("in.jsonl", content)
    output = source.with_name(f"out.jsonl{ending}")
    copied(source, output)
    got = opened(output).split(b"\n")
    assert [got[1], got[3]] == [b'{"torn', b"\xff\xfe"]
    assert [json.loads(got[i]) for i in (0, 2, 4)] == ROWS
    assert open_dataset(output).n_rows == 5


def test_csv_comes_back_with_its_delimiter_and_line_ends(write: Make) -> None:
    rows = [["instruction", "output", "n"], ["a\nb", '=1+"2"', ""], ["c", " d, e ", "2"]]
    for name, delimiter, line_end in (("in.csv", ",", "\r\n"), ("in.tsv", "\t", "\n")):
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=delimiter, lineterminator=line_end).writerows(rows)
        source = write(name, text.getvalue().encode())
        output = source.with_name(f"out{source.suffix}")
        copied(source, output)
        assert output.read_bytes() == source.read_bytes()
        copied(source, output, {1: {"output": "new\r\nline"}})
        with output.open(newline="", encoding="utf-8") as file:
            read = list(csv.reader(file, delimiter=delimiter))
        assert read == [rows[0], rows[1], ["c", "new\r\nline", "2"]]


def test_columns_with_equal_names_are_refused(write: Make) -> None:
    source = write("in.csv", "instruction,output,n,n\na,b,1,2\n")
    with pytest.raises(InputError, match="two columns named 'n'"):
        copied(source, source.with_name("out.csv"))
    assert not source.with_name("out.csv").exists()


def test_parquet_keeps_types_metadata_and_untouched_columns(tmp_path: Path) -> None:
    import datetime as dt

    import pyarrow as pa
    import pyarrow.parquet as pq

    n = 10_000  # more than two batches
    schema = pa.schema(
        [
            pa.field("messages", pa.list_(pa.struct([("role", pa.string()),
                                                     ("content", pa.large_string())]))),
            pa.field("when", pa.timestamp("ns", "UTC")),
            pa.field("kind", pa.dictionary(pa.int8(), pa.string()), metadata={"a": "b"}),
            pa.field("blob", pa.binary()),
        ],
        metadata={"huggingface": "{}"},
    )  # fmt: skip
    when = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    table = pa.table(
        {
            "messages": [[message("user", f"q{i}"), message("assistant", f"a{i}")]
                         for i in range(n)],
            "when": pa.array([when] * n, schema.field("when").type),
            "kind": pa.array([["x", "y"][i % 2] for i in range(n)]).dictionary_encode().cast(
                schema.field("kind").type),
            "blob": [b"\xff"] * n,
        },
        schema=schema,
    )  # fmt: skip
    source, output = tmp_path / "in.parquet", tmp_path / "out.parquet"
    pq.write_table(table, source, compression="gzip")
    new = {i: {"messages": [message("user", "I"), message("assistant", f"R{i}")]}
           for i in (0, 4095, 4096, 9999)}  # fmt: skip
    copied(source, output, new)
    got = pq.read_table(output)
    assert got.schema.equals(pq.read_schema(source), check_metadata=True)
    for name in ("when", "kind", "blob"):
        assert got[name].combine_chunks().equals(pq.read_table(source)[name].combine_chunks())
    talks = got["messages"].to_pylist()
    for i in (0, 1, 4095, 4096, 9999):
        wanted = new[i]["messages"] if i in new else table["messages"][i].as_py()
        assert talks[i] == wanted
    assert pq.ParquetFile(output).metadata.row_group(0).column(0).compression == "GZIP"


@pytest.mark.parametrize(
    ("output", "error", "reason"),
    [
        ("out.xml", UsageError, "end it in .json"),
        ("out.parquet", UsageError, "only a Parquet dataset"),
        ("out.csv", UsageError, "only a CSV dataset"),
        ("in.json", OutputError, "is the input itself"),
        ("nowhere/out.json", OutputError, "the folder .*nowhere does not exist"),
    ],
)
def test_invalid_outputs_are_refused_first(
    write: Make, output: str, error: type[Exception], reason: str
) -> None:
    source = write("in.json", ROWS[2:])
    with pytest.raises(error, match=reason):
        check_rows_output(source.parent / output, source)
    check_rows_output(source.with_name("out.jsonl.zst"), source)


def test_values_without_a_json_form_are_an_error_with_the_row(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    for value in (b"bytes", float("inf")):
        with (
            pytest.raises(OutputError, match="row 3 "),
            OutputFiles(output) as files,
            rows_file(files, None) as writer,
        ):
            writer.write(Raw(3, {"x": value}), {"x": value})
    assert list(tmp_path.iterdir()) == []
