"""The container does not change the examples, and what it is is recognized or named."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import pickle
import sqlite3
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ifdkit.data import files, survey
from ifdkit.data.atomic import OutputFiles
from ifdkit.data.csv_dialect import Dialect, sniff
from ifdkit.data.dataset import Dataset, open_dataset
from ifdkit.data.plain import plain
from ifdkit.data.row_files import check_rows_output, rows_file
from ifdkit.errors import AmbiguousFormatError, IfdkitError, InputError, UsageError
from ifdkit.records import Example, Reject

Make = Callable[..., Path]
Rows = list[dict[str, Any]]

# The same rows in every container

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
ARGUMENTS = st.dictionaries(st.sampled_from("abc"), TEXT, min_size=1).map(
    lambda members: dict(sorted(members.items()))
)
IDS = st.none() | st.integers(0, 99) | st.text("xyz", min_size=1, max_size=3)


def objects(
    members: dict[str, st.SearchStrategy[Any]], optional: dict[str, st.SearchStrategy[Any]]
) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with their members in this order: Arrow keeps no other."""
    names = [*members, *optional]
    return st.fixed_dictionaries(members, optional=optional).map(
        lambda found: {name: found[name] for name in names if name in found}
    )


CALL = objects({"name": TEXT, "arguments": ARGUMENTS}, {})
TOOL = objects({"name": TEXT, "parameters": ARGUMENTS}, {})
QUESTION = objects({"role": st.just("user"), "content": TEXT}, {})
REPLY = objects(
    {"role": st.just("assistant"), "content": TEXT},
    {"tool_calls": st.lists(CALL, min_size=1, max_size=2)},
)
CONVERSATIONS = st.lists(
    objects(
        {
            "id": st.none() | st.integers(0, 99),
            "messages": st.tuples(QUESTION, REPLY).map(list),
            "tools": st.lists(TOOL, max_size=2),
        },
        {},
    ),
    min_size=1,
    max_size=4,
)
PAIRS = st.lists(
    st.fixed_dictionaries(
        {"instruction": TEXT, "input": st.none() | TEXT, "output": TEXT, "id": IDS.map(str)}
    ),
    min_size=1,
    max_size=4,
)
_MEMBERS = pa.struct([(name, pa.string()) for name in "abc"])
_CALLS = pa.list_(pa.struct([("name", pa.string()), ("arguments", _MEMBERS)]))
_MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string()), ("tool_calls", _CALLS)])
SCHEMAS = {
    "messages": pa.schema(
        [
            ("id", pa.int64()),
            ("messages", pa.list_(_MESSAGE)),
            ("tools", pa.list_(pa.struct([("name", pa.string()), ("parameters", _MEMBERS)]))),
        ]
    ),
    "instruction": pa.schema([(n, pa.string()) for n in ("instruction", "input", "output", "id")]),
}


def arrow(rows: Rows) -> pa.Table:
    """A table in which every struct has every member, most of them null."""
    return pa.Table.from_pylist(
        rows, schema=SCHEMAS[next(key for key in SCHEMAS if key in rows[0])]
    )


def as_csv(rows: Rows) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    for row in rows:
        cells = {key: value for key, value in row.items() if value != []}
        for key, value in cells.items():
            if isinstance(value, list):
                cells[key] = json.dumps(value, ensure_ascii=False)
        writer.writerow(cells)
    return text.getvalue()


def arrow_folder(folder: Path, rows: Rows) -> Path:
    """The files of `datasets.Dataset.save_to_disk`."""
    folder.mkdir(exist_ok=True)
    table = arrow(rows)
    with (
        pa.OSFile(str(folder / "data.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, table.schema) as writer,
    ):
        writer.write_table(table)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data.arrow"}]}))
    return folder


def text_file(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def lines(rows: Rows) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def parquet(folder: Path, rows: Rows) -> Path:
    pq.write_table(arrow(rows), folder / "x.parquet")
    return folder / "x.parquet"


CONTAINERS: dict[str, Callable[[Path, Rows], Any]] = {
    "JSON array": lambda folder, rows: text_file(folder / "x.json", json.dumps(rows)),
    "array in JSON Lines": lambda folder, rows: text_file(folder / "a.jsonl", json.dumps(rows)),
    "objects over lines": lambda folder, rows: text_file(
        folder / "p.jsonl", "\n".join(json.dumps(row, indent=1) for row in rows)
    ),
    "comma-ended lines": lambda folder, rows: text_file(
        folder / "c.jsonl", lines(rows).replace("}\n", "},\n")
    ),
    "UTF-16": lambda folder, rows: text_file(folder / "w.jsonl", lines(rows), "utf-16"),
    "UTF-16 CSV": lambda folder, rows: text_file(folder / "w.csv", as_csv(rows), "utf-16"),
    "CSV": lambda folder, rows: text_file(folder / "x.csv", as_csv(rows)),
    "Parquet": parquet,
    "datasets": lambda folder, rows: arrow_folder(folder / "saved", rows),
    "list": lambda _, rows: rows,
    "generator": lambda _, rows: (row for row in rows),
    "DataFrame": lambda _, rows: pd.DataFrame(rows),
    "DataFrame from Parquet": lambda folder, rows: pd.read_parquet(parquet(folder, rows)),
    "Arrow table": lambda _, rows: arrow(rows),
    "array of objects": lambda _, rows: np.array(rows, dtype=object),
    "dictionary of lists": lambda _, rows: {key: [row[key] for row in rows] for key in rows[0]},
    "one object": lambda folder, rows: text_file(
        folder / "o.json", json.dumps({"data": rows, "version": 1})
    ),
    "pandas columns": lambda folder, rows: text_file(
        folder / "pandas.json",
        json.dumps({k: {str(n): row[k] for n, row in enumerate(rows)} for k in rows[0]}),
    ),
}


@pytest.mark.long
@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(CONVERSATIONS | PAIRS)
def test_the_container_changes_nothing(tmp_path: Path, rows: Rows) -> None:
    """Equal ids, texts and tools from every container; JSON Lines are the reference."""
    expected = list(open_dataset(text_file(tmp_path / "x.jsonl", lines(rows))))
    for name, make in CONTAINERS.items():
        assert list(open_dataset(make(tmp_path, rows))) == expected, name


def test_the_container_changes_no_score(tmp_path: Path, tiny_model: Path) -> None:
    """Nor tokens, nor statuses."""
    import ifdkit

    calls = [{"name": "tide", "arguments": {"a": "Oban"}}, {"name": "sea", "arguments": {"b": "x"}}]
    rows: Rows = [
        {"id": n, "tools": [{"name": "tide", "parameters": {"c": "port"}}], "messages": [
            {"role": "user", "content": "High tide?"},
            {"role": "assistant", "content": text, "tool_calls": calls[:n]},
        ]}
        for n, text in enumerate(["", "Let me look.", "And now?"])
    ]  # fmt: skip
    frames = [
        ifdkit.score(make(tmp_path, rows), model=str(tiny_model), metrics="ppl,ifd", store="off")
        for name, make in CONTAINERS.items()
        if name in ("JSON array", "CSV", "Parquet", "datasets", "DataFrame from Parquet", "UTF-16")
    ]
    assert frames[0]["status"].tolist() == ["empty_response", "ok", "ok"]
    for frame in frames[1:]:
        pd.testing.assert_frame_equal(frame, frames[0])


def test_ids_that_pandas_made_floats() -> None:
    frame = pd.DataFrame({"id": [3, None, 1], "instruction": "u", "output": ["a", "b", "c"]})
    ids = [found[0].id for found in open_dataset(frame) if isinstance(found, list)]
    assert [ids[0], ids[2]] == ["3", "1"]
    assert ids[1].endswith("-0")


PLAIN: list[tuple[Any, Any]] = [
    (np.float32(0.5), 0.5),
    (np.array([[1, 2]]), [[1, 2]]),
    (np.str_("x"), "x"),
    (np.bool_(True), True),
    (float("nan"), None),
    (float("inf"), None),
    (pd.NA, None),
    (pd.NaT, None),
    (pd.Timestamp("2024-01-02T03:04:05Z"), "2024-01-02T03:04:05+00:00"),
    (np.datetime64("2024-01-02"), "2024-01-02"),
    (datetime(2024, 1, 2, tzinfo=UTC), "2024-01-02T00:00:00+00:00"),
    (date(2024, 1, 2), "2024-01-02"),
    (Decimal("2.50"), 2.5),
    (Decimal("3"), 3),
    (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (("a", {"b": None, "c": [None]}), ["a", {"c": [None]}]),
]


@pytest.mark.parametrize(("value", "expected"), PLAIN)
def test_values_as_json_has_them(value: Any, expected: Any) -> None:
    found = plain(value, drop_nulls=True)
    assert (found, type(found)) == (expected, type(expected))
    kept = {"a": {"b": None}}
    assert plain(kept, drop_nulls=False) == kept


def test_endless_rows_in_memory_are_rejected() -> None:
    endless: dict[str, Any] = {"instruction": "u", "output": "a"}
    endless["self"] = endless
    good, bad = open_dataset([{"instruction": "u", "output": "a", "id": "x"}, endless])
    assert isinstance(good, list)
    assert isinstance(bad, Reject)
    assert bad.reason == "nested deeper than 100 levels"


# All rows decide


def test_a_key_of_the_last_row_counts(tmp_path: Path) -> None:
    rows: Rows = [{"instruction": "u", "input": None, "output": "a"} for _ in range(2500)]
    rows[-1] |= {"input": "i", "system": "s"}
    table = [{**row, "system": row.get("system")} for row in rows]
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "x.parquet")
    for data in (
        rows,
        text_file(tmp_path / "x.jsonl", lines(rows)),
        text_file(tmp_path / "x.json", json.dumps(rows)),
        text_file(tmp_path / "x.csv", as_csv(table)),
        tmp_path / "x.parquet",
        pd.DataFrame(rows),
        (row for row in rows),
    ):
        *_, last = open_dataset(data)
        assert isinstance(last, list)
        assert [turn.text for turn in last[0].context] == ["s", "u"]
        assert last[0].instruction == "u\ni"


def test_keys_are_remembered_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "_MAX_KEYS", 100)
    rows: Rows = [{f"key {n}": 1, "k" * 1000 + str(n): 1, "instruction": "u"} for n in range(300)]
    rows.append({"output": "a", "mine": "b"})
    one = survey.Survey(["mine"])
    for raw in open_dataset(rows).raw_rows():
        one.add(raw)
    assert {"instruction", "output", "mine"} <= one.keys.keys()
    assert len(one.keys) == 102
    assert open_dataset(rows, columns={"response": "mine"}).columns.response == "mine"


# Encodings


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_other_encodings(encoding: str, compress: Callable[[bytes], bytes], tmp_path: Path) -> None:
    rows: Rows = [{"instruction": f"é\U0001f600{n}", "output": "a", "id": "x"} for n in range(99)]
    path = tmp_path / "x.jsonl"
    path.write_bytes(compress(lines(rows).encode(encoding)))
    dataset = open_dataset(path)
    assert [raw.value for raw in dataset.raw_rows()] == rows
    text = lines(rows).encode()
    mark = 3 if encoding == "utf-8-sig" else 0
    for raw in dataset.raw_rows():
        assert raw.byte_offset is not None
        assert json.loads(text[raw.byte_offset - mark :].split(b"\n")[0]) == raw.value


def test_a_broken_character_loses_one_row(tmp_path: Path) -> None:
    good = '{"instruction": "u", "output": "a"}\n'
    broken = '{"instruction": "\ud800", "output": "a"}\n'
    data = (good + broken + good).encode("utf-16-le", "surrogatepass")
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"\xff\xfe" + data + b"\0")
    found = list(open_dataset(path))
    assert [isinstance(one, list) for one in found] == [True, False, True, False]
    assert isinstance(found[1], Reject)
    assert found[1].reason.startswith("not UTF-8: byte 0xed at 17")


# CSV

DIALECTS: list[tuple[str, str, Dialect]] = [
    ("instruction,output\n", ",", Dialect(",")),
    ("instruction;output\nu, v;a\n", ",", Dialect(";")),
    ("instruction\toutput\n", ",", Dialect("\t")),
    ("instruction,output\n", "\t", Dialect(",")),
    ("instruction|output\n", ",", Dialect("|")),
    ('"a;b",c\n', ",", Dialect(",")),
    ("text\n", ",", Dialect(",")),
    ("sep=;\ninstruction;output\n", ",", Dialect(";", has_separator_line=True)),
    ("\ufeffsep=\t\r\na\tb\r\n", ",", Dialect("\t", has_separator_line=True)),
    ("", ",", Dialect(",")),
    ('"', ",", Dialect(",")),
]


@pytest.mark.parametrize(("text", "expected", "dialect"), DIALECTS)
def test_the_separator_is_found_in_the_header(text: str, expected: str, dialect: Dialect) -> None:
    assert sniff(text.encode(), expected) == dialect


@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x", "x.csv.gz"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_with_any_separator(name: str, delimiter: str, tmp_path: Path) -> None:
    text = (
        f'instruction{delimiter} output {delimiter}id\n"u{delimiter}\n"{delimiter}a{delimiter}x\n'
    )
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    dataset = open_dataset(path)
    assert list(dataset) == [[Example("x", 0, 0, (turn_of(f"u{delimiter}\n"),), "a")]]
    expected = "\t" if name == "x.tsv" else ","
    assert bool(dataset.notes) is (delimiter != expected)


def turn_of(text: str) -> Any:
    from ifdkit.records import Turn

    return Turn("user", text)


def test_a_line_that_names_the_separator(tmp_path: Path) -> None:
    path = text_file(tmp_path / "x.csv", "sep=;\r\ninstruction;output\r\nu;a\r\n")
    dataset = open_dataset(path)
    (raw,) = dataset.raw_rows()
    assert (raw.value, raw.line) == ({"instruction": "u", "output": "a"}, 3)
    assert raw.byte_offset == path.read_bytes().index(b"u;a")
    output = tmp_path / "out.csv"
    copy(dataset, output)
    assert output.read_bytes() == path.read_bytes()


def copy(dataset: Dataset, to: Path, **changes: Any) -> None:
    check_rows_output(to, dataset.path)
    with OutputFiles(to) as files, rows_file(files, dataset.path) as writer:
        for raw in dataset.raw_rows():
            writer.write(raw, {**raw.value, **changes} if changes else raw.value)


def test_csv_is_written_with_its_separator(tmp_path: Path) -> None:
    path = text_file(tmp_path / "x.csv", "instruction;output\nu;a\n")
    copy(open_dataset(path), tmp_path / "out.csv", output="b;c")
    assert (tmp_path / "out.csv").read_text() == 'instruction;output\nu;"b;c"\n'
    copy(open_dataset(path), tmp_path / "out.tsv")
    assert (tmp_path / "out.tsv").read_text() == "instruction\toutput\nu\ta\n"


# JSON in unexpected styles

ROW = {"instruction": "u", "output": "a", "id": "x"}
STYLES: dict[str, tuple[str, str | None]] = {
    "lines.jsonl": (lines([ROW] * 3), None),
    "blank.jsonl": ("\n \n" + lines([ROW] * 3), None),
    "several.jsonl": (json.dumps(ROW) * 2 + "\n" + json.dumps(ROW), None),
    "commas.jsonl": (",\n".join([json.dumps(ROW)] * 3) + ",", None),
    "array.jsonl": (json.dumps([ROW] * 3), "it contains a JSON array, not one object per line"),
    "pretty array.jsonl": (
        json.dumps([ROW] * 3, indent=2),
        "it contains a JSON array, not one object per line",
    ),
    "pretty.jsonl": (
        "\n".join([json.dumps(ROW, indent=2)] * 3),
        "it contains JSON objects over several lines, not one object per line",
    ),
    "half pretty.ndjson": (
        "\n".join([json.dumps(ROW).replace('"output"', '\n"output"')] * 3),
        "it contains JSON objects over several lines, not one object per line",
    ),
    "json.csv": (lines([ROW] * 3), "it is JSON, not CSV"),
    "array.csv": (json.dumps([ROW] * 3), "it is JSON, not CSV"),
}


@pytest.mark.parametrize("name", STYLES)
def test_json_in_another_style(name: str, tmp_path: Path) -> None:
    text, note = STYLES[name]
    path = text_file(tmp_path / name, text)
    dataset = open_dataset(path)
    assert [raw.value for raw in dataset.raw_rows()] == [ROW] * 3
    assert dataset.notes == (() if note is None else (note,))
    output = tmp_path / "out.jsonl"
    copy(dataset, output)
    assert [json.loads(line) for line in output.read_text().splitlines()] == [ROW] * 3
    with pytest.raises(UsageError, match="only a CSV dataset can be written as CSV"):
        check_rows_output(tmp_path / "out.csv", path)


@pytest.mark.parametrize("first", ['{"torn', '{"instruction": "x", "out', '{"a": 1} x', "[1]"])
def test_a_broken_first_line_does_not_change_the_style(first: str, tmp_path: Path) -> None:
    dataset = open_dataset(text_file(tmp_path / "x.jsonl", first + "\n" + lines([ROW] * 3)))
    found = list(dataset)
    assert len(found) == 4
    assert isinstance(found[0], Reject)
    assert all(isinstance(one, list) for one in found[1:])


def test_lines_are_copied_without_what_does_not_belong_to_them(tmp_path: Path) -> None:
    """Byte for byte, also spaces and unusual escapes."""
    first, second = (
        b'{"id": "\\u0078",  "instruction": "u", "output": "a"}',
        b'{"instruction":"v","output":"b"}',
    )
    path = tmp_path / "x.jsonl"
    path.write_bytes(first + b", " + second + b",\n" + second + b"\r\n")
    copy(open_dataset(path), tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_bytes().splitlines() == [first, second, second]


# One object around all rows

PAIR = [{"instruction": "u", "output": "a"}, {"instruction": "v", "output": "b"}]
WRAPPED: dict[str, tuple[Any, str]] = {
    "data": (
        {"data": PAIR, "version": 1, "about": {}},
        "the rows in 'data'; not used: 'version', 'about'",
    ),
    "rows alone": ({"rows": PAIR}, "the rows in 'rows'"),
    "train alone": ({"train": PAIR}, "the rows in 'train'"),
    "beside a list of others": (
        {"authors": [{"name": "x"}], "examples": PAIR},
        "the rows in 'examples'; not used: 'authors'",
    ),
    "lists": (
        {"instruction": ["u", "v"], "output": ["a", "b"]},
        "one object with a list per column",
    ),
    "a list with a name": (
        {"train": {"instruction": ["u", "v"], "output": ["a", "b"]}},
        "the rows in 'train'",
    ),
    "pandas columns": (
        json.loads(pd.DataFrame(PAIR).to_json()),
        "one object with an object per column",
    ),
    "pandas split": (
        json.loads(pd.DataFrame(PAIR).to_json(orient="split")),
        "one object with a list of cells per row",
    ),
    "pandas table": (json.loads(pd.DataFrame(PAIR).to_json(orient="table")), "the rows in 'data'"),
}


@pytest.mark.parametrize("name", WRAPPED)
@pytest.mark.parametrize("ending", ["x.json", "x.jsonl"])
def test_one_object_around_its_rows(name: str, ending: str, tmp_path: Path) -> None:
    value, note = WRAPPED[name]
    dataset = open_dataset(text_file(tmp_path / ending, json.dumps(value)))
    found = [found[0] for found in dataset if isinstance(found, list)]
    assert [(one.instruction, one.response) for one in found] == [("u", "a"), ("v", "b")]
    assert dataset.notes[0].startswith(note)
    copy(dataset, tmp_path / "out.json")
    again = [one[0] for one in open_dataset(tmp_path / "out.json") if isinstance(one, list)]
    assert again == found


def test_rows_by_id(tmp_path: Path) -> None:
    value = {"x1": PAIR[0], "x2": {**PAIR[1], "id": "own"}}
    dataset = open_dataset(text_file(tmp_path / "x.json", json.dumps(value)))
    assert [one[0].id for one in dataset if isinstance(one, list)] == ["x1", "own"]
    assert dataset.notes == ("one object with an object per row",)
    by_name = json.loads(pd.DataFrame(PAIR, index=["p", "q"]).to_json())
    dataset = open_dataset(text_file(tmp_path / "x.json", json.dumps(by_name)))
    assert [one[0].id for one in dataset if isinstance(one, list)] == ["p", "q"]


SINGLE_ROWS = [
    {"instruction": "u", "output": "a", "tools": [{"name": "f"}]},
    {"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]},
    {"prompt": [{"role": "user", "content": "u"}],
     "completion": [{"role": "assistant", "content": "a"}]},
    {"prompt": {"role": "user", "content": "u"}, "completion": {"role": "bot", "content": "a"}},
    {"data": ["u", "a"]},
    {"conversations": [["u", "a"]], "tools": ["f"]},
    {"segments": [{"label": False, "text": "u"}, {"label": True, "text": "a"}]},
]  # fmt: skip


@pytest.mark.parametrize("row", SINGLE_ROWS)
def test_a_single_row_is_no_wrapper(row: dict[str, Any], tmp_path: Path) -> None:
    for name in ("x.json", "x.jsonl"):
        dataset = open_dataset(text_file(tmp_path / name, json.dumps(row)))
        (raw,) = dataset.raw_rows()
        assert raw.value == row
        assert dataset.notes == ()


def test_several_datasets_in_one_file(tmp_path: Path) -> None:
    path = text_file(tmp_path / "x.json", json.dumps({"train": PAIR, "test": PAIR[:1]}))
    with pytest.raises(AmbiguousFormatError) as caught:
        open_dataset(path)
    assert (
        str(caught.value) == f"{path} contains several datasets: choose {path}:train or {path}:test"
    )
    dataset = open_dataset(f"{path}:test")
    assert (dataset.n_rows, dataset.name, dataset.path) == (1, f"{path}:test", path)
    with pytest.raises(InputError, match=r"no part 'tset': did you mean 'test'\?"):
        open_dataset(f"{path}:tset")
    with pytest.raises(InputError, match="has no parts, so 'x' is not one of them"):
        open_dataset(f"{text_file(tmp_path / 'y.csv', 'instruction,output')}:x")
    with pytest.raises(InputError, match="has no parts, so not 'x'"):
        open_dataset(f"{text_file(tmp_path / 'y.jsonl', lines(PAIR))}:x")
    named = text_file(tmp_path / "odd:name.jsonl", lines(PAIR))
    assert open_dataset(named).n_rows == 2


def test_a_part_is_found_again_from_its_scores(tmp_path: Path, tiny_model: Path) -> None:
    from ifdkit.cli.main import main

    path = text_file(tmp_path / "x.json", json.dumps({"train": PAIR, "test": PAIR[:1]}))
    options = ["-m", str(tiny_model), "--metrics", "ppl", "--store", "off", "-q"]
    out = tmp_path / "scores.jsonl"
    assert main(["score", f"{path}:train", "-o", str(out), *options]) == 0
    assert main(["audit", str(out), "-q"]) in (0, 1)
    assert main(["select", str(out), "-o", str(tmp_path / "best.json"), "--by", "ppl", "--top", "1",
                 "-q"]) in (0, 2)  # fmt: skip


def test_a_split_of_a_saved_folder(tmp_path: Path) -> None:
    rows: Rows = [{"instruction": "u", "input": "", "output": "a", "id": "x"}]
    arrow_folder(tmp_path / "train", rows)
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    assert open_dataset(f"{tmp_path}:train").n_rows == 1


def test_a_large_object_around_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ifdkit.data import json_lines, json_rows

    path = text_file(tmp_path / "x.json", json.dumps({"data": PAIR * 20}))
    for module in (json_rows, json_lines, files):
        monkeypatch.setattr(module, "MAX_ROW_BYTES", 400)
    assert open_dataset(path).n_rows == 40
    monkeypatch.setattr(files, "_MAX_OBJECT_BYTES", 500)
    with pytest.raises(InputError, match="one object of more than 500 bytes: write its rows as"):
        open_dataset(path)


# What is not read


def zipped(**members: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, text in members.items():
            archive.writestr(name.replace("__", "/"), text)
    return data.getvalue()


def tarred() -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("x.json"))
    return data.getvalue()


def database() -> bytes:
    with sqlite3.connect(":memory:") as connection:
        connection.execute("CREATE TABLE t (x)")
        return connection.serialize()


def feather_file() -> bytes:
    data = io.BytesIO()
    feather.write_feather(pd.DataFrame(PAIR), data, compression="uncompressed")
    return data.getvalue()


FOREIGN: dict[str, tuple[bytes, str]] = {
    "x.zip": (zipped(x="y"), "is a zip archive: unpack it"),
    "empty.zip": (zipped(), "is an empty zip archive"),
    "x.xlsx": (zipped(xl__workbook="y"), "is an Excel workbook: save the sheet as CSV"),
    "x.ods": (
        zipped(mimetype="application/vnd.oasis.opendocument.spreadsheet"),
        "is an OpenDocument file: save the sheet as CSV",
    ),
    "x.jsonl.xz": (lzma.compress(b"{}"), "is compressed with xz: unpack it"),
    "x.jsonl.bz2": (bz2.compress(b"{}"), "is compressed with bzip2: unpack it"),
    "x.7z": (b"7z\xbc\xaf\x27\x1c\0\4", "is a 7z archive: unpack it"),
    "x.tar": (tarred(), "is a tar archive: unpack it"),
    "x.tar.gz": (gzip.compress(tarred()), "is a tar archive: unpack it"),
    "x.xls": (b"\xd0\xcf\x11\xe0\xa1\xb1", "is an old Excel or Word file: save the sheet as CSV"),
    "x.pkl": (pickle.dumps(PAIR), "is a Python pickle, which can run code"),
    "x.npy": (b"\x93NUMPY\x01\0", "is a NumPy array: write the rows as JSON Lines"),
    "x.db": (database(), "is an SQLite database: export the table"),
    "x.feather": (feather_file(), "is an Arrow IPC (Feather) file: write it as Parquet"),
    "lfs.parquet": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 1\n",
        "is a Git LFS pointer, not the file itself: fetch the file with `git lfs pull`",
    ),
    "page.json": (b"<!DOCTYPE html>\n<html>", "is a web page, not data"),
    "page.jsonl": (b"\n  <HTML lang=en>", "is a web page, not data"),
    "x.xml": (b'<?xml version="1.0"?>', "is XML: write the rows as JSON Lines or CSV"),
    "python.json": (str(PAIR).encode(), "it contains Python objects, not JSON (single quotes)"),
    "python.jsonl": (
        "\n".join(map(str, PAIR)).encode(),
        "it contains Python objects, not JSON (single quotes): write it with json.dumps",
    ),
    "x.yaml": (b"- instruction: u\n  output: a\n", "is not JSON: it looks like YAML: convert it"),
    "yaml.json": (b"---\n- instruction: u\n", "is not JSON: it looks like YAML: convert it"),
    "yaml.jsonl": (b"instruction: u\noutput: a\n", "it looks like YAML: convert it to JSON"),
    "odd.yml": (b"&anchor x", "it is YAML: convert it to JSON"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_other_formats_are_named(name: str, tmp_path: Path) -> None:
    data, message = FOREIGN[name]
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        open_dataset(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_name_of_a_file(tmp_path: Path) -> None:
    path = text_file(tmp_path / "train.jsonl", lines(PAIR))
    for wrong in ("trian.jsonl", "train.json", "Train.jsonl"):
        with pytest.raises(InputError) as caught:
            open_dataset(tmp_path / wrong)
        assert str(caught.value) == f"no such file: {tmp_path / wrong} (did you mean {path}?)"
    with pytest.raises(InputError, match=r"other\.parquet$"):
        open_dataset(tmp_path / "other.parquet")


def test_a_wrong_name_without_an_ending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)  # as without the extra `hf`
    monkeypatch.chdir(tmp_path)
    text_file(tmp_path / "data", lines(PAIR))
    with pytest.raises(InputError, match=r"no such file: dta \(did you mean data\?\)"):
        open_dataset("dta")


# Columns that are named by the user


def test_a_lacking_column_is_named(tmp_path: Path) -> None:
    path = text_file(tmp_path / "x.json", json.dumps([{"text": "a", "topic": "u"}] * 2))
    with pytest.raises(InputError) as caught:
        open_dataset(path, columns={"response": "text"})
    assert str(caught.value) == (
        f"{path}: no column is known to be the instruction among 'text', 'topic'; name it too:"
        " --columns response=text,instruction=…"
    )
    assert open_dataset(path, columns={"response": "text", "instruction": "topic"}).n_rows == 2


def test_misspelt_columns_and_slots(tmp_path: Path) -> None:
    path = text_file(tmp_path / "x.json", json.dumps(PAIR))
    with pytest.raises(
        UsageError, match=r"has no column 'instructions': did you mean 'instruction'"
    ):
        open_dataset(path, columns={"instruction": "instructions"})
    with pytest.raises(UsageError, match=r"no name 'respnse': did you mean 'response'\?"):
        open_dataset(path, columns={"respnse": "output"})
    from ifdkit.data.columns import parse_columns

    with pytest.raises(UsageError, match=r"no name 'respnse': did you mean 'response'\?"):
        parse_columns("respnse=output")


# Python objects


class Split:
    """What `datasets.Dataset` looks like to its reader."""

    column_names = ("instruction", "output")
    features = SimpleNamespace()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter([{**row, "extra": {"a": None}} for row in PAIR])


OBJECTS: dict[str, Any] = {
    "datasets.Dataset": Split(),
    "a DatasetDict of one split": {"train": Split()},
    "structured array": np.array(
        [("u", "a"), ("v", "b")], dtype=[("instruction", "U9"), ("output", "U9")]
    ),
    "tuple": tuple(PAIR),
    "Series of dictionaries": pd.Series(PAIR),
    "map": {"data": PAIR},
    "dictionary of arrays": {"instruction": np.array(["u", "v"]), "output": np.array(["a", "b"])},
}


@pytest.mark.parametrize("name", OBJECTS)
def test_python_objects(name: str) -> None:
    found = [one[0] for one in open_dataset(OBJECTS[name]) if isinstance(one, list)]
    assert [(one.instruction, one.response) for one in found] == [("u", "a"), ("v", "b")]


def not_python() -> dict[str, tuple[Any, str]]:
    return {
        "None": (None, "data is None: pass a path, a DataFrame or rows, such as [{'instruction'"),
        "number": (5, "data is of type int: pass a path"),
        "bytes": (b"x.json", "data is bytes: pass the path of a file"),
        "row": (PAIR[0], "data is a single dictionary: pass a list of rows, such as [row]"),
        "DatasetDict": (
            {"train": Split(), "test": Split()},
            "data is a dictionary of several datasets: pass data['train'] or data['test']",
        ),
        "splits": ({"train": PAIR, "test": PAIR}, "pass data['train'] or data['test']"),
        "texts": (["u.json", "a.json"], "no such file: u.json"),
        "array of texts": (np.array([["u", "a"]]), "its rows must be dictionaries; the first is"),
        "array of nothing": (np.array(5), "data is an array with a single value: pass rows"),
        "Series of texts": (pd.Series(["u"]), "its rows must be dictionaries; the first is text"),
        "nothing": ([], "data in memory contains no rows"),
        "other columns": ([{"x": "u"}], "name them with columns={'instruction': '…', 'resp"),
        "empty file": (io.StringIO(""), "data is an open file: pass its path"),
    }


@pytest.mark.parametrize("name", not_python())
def test_mistakes_are_explained_in_python(name: str) -> None:
    data, message = not_python()[name]
    with pytest.raises(IfdkitError) as caught:
        open_dataset(data)
    assert message in str(caught.value)
    assert "--" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_open_file_is_named(tmp_path: Path) -> None:
    path = text_file(tmp_path / "x.json", json.dumps(PAIR))
    with path.open() as file, pytest.raises(InputError, match=r"is an open file: pass '.*x\.json'"):
        open_dataset(file)
