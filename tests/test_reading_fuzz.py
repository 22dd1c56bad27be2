"""Reading fails only with InputError, never hangs, and loses no row but the malformed one."""

from __future__ import annotations

import gzip
import io
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ifdkit.data import json_lines, json_rows, table_rows
from ifdkit.data.columns import Columns
from ifdkit.data.dataset import open_dataset
from ifdkit.data.examples import examples_of
from ifdkit.data.layouts import walk_row
from ifdkit.data.raw import Raw
from ifdkit.data.rewriting import NotRewritableError, with_texts
from ifdkit.data.turns import BadContentError, TextPlace
from ifdkit.errors import IfdkitError
from ifdkit.records import Example, Reject

pytestmark = pytest.mark.long

READERS: dict[str, Callable[[bytes], list[Raw]]] = {
    "array": lambda data: list(json_rows.json_values(io.BytesIO(data), in_array=True)),
    "values": lambda data: list(json_rows.json_values(io.BytesIO(data), in_array=False)),
    "lines": lambda data: list(json_lines.json_lines(io.BytesIO(data))),
    "csv": lambda data: list(table_rows.csv_rows(io.BytesIO(data), "x.csv")),
}
PIECES = [*'[]{},:"\\ \n\r', "\ufeff", '{"a":', '"a"', "}, {", '"},{"', "\\u00", "1e9", "null", "é"]
SOUP = st.lists(st.sampled_from(PIECES), max_size=40).map(lambda parts: "".join(parts).encode())
BYTES = st.binary(max_size=60) | SOUP | st.tuples(SOUP, st.binary(max_size=4), SOUP).map(b"".join)


@settings(deadline=None, max_examples=300)
@given(BYTES, st.sampled_from(sorted(READERS)), st.sampled_from([1, 2, 3, 7, 60]))
def test_readers_accept_any_bytes_in_any_chunks(data: bytes, reader: str, chunk: int) -> None:
    """Rows are in file order and do not depend on the size of chunks."""
    try:
        rows = READERS[reader](data)
    except IfdkitError:
        assert reader == "csv", "only a CSV file has a header that can be refused"
        return
    assert len(rows) <= len(data) + 1
    assert [raw.row for raw in rows] == list(range(len(rows)))
    places = [(raw.byte_offset or 0, raw.line or 0) for raw in rows]
    assert places == sorted(places)
    assert all(line == data.count(b"\n", 0, offset) + 1 for offset, line in places)
    with pytest.MonkeyPatch.context() as patch:
        for module in (json_rows, json_lines, table_rows):
            patch.setattr(module, "_CHUNK", chunk)
        assert READERS[reader](data) == rows


@settings(deadline=None, max_examples=200)
@given(BYTES, st.sampled_from(["array", "values", "lines", "csv"]), st.integers(1, 30))
def test_over_long_rows_in_any_chunks(data: bytes, reader: str, limit: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for module in (json_rows, json_lines, table_rows):
            patch.setattr(module, "MAX_ROW_BYTES", limit)
        try:
            rows = READERS[reader](data)
        except IfdkitError:
            return
        assert len(rows) <= len(data) + 1
        assert all(len(json.dumps(raw.value)) <= 8 * limit + 20 for raw in rows if not raw.error)
        for module in (json_rows, json_lines, table_rows):
            patch.setattr(module, "_CHUNK", 1)
        assert READERS[reader](data) == rows


def read(path: Path) -> list[list[Example] | Reject] | None:
    """The content of a file, or None if it is refused with one line."""
    message = ""
    try:
        dataset = open_dataset(path)
        found = list(dataset)
    except IfdkitError as error:
        message = str(error)
    if message:
        assert "\n" not in message
        return None
    assert len(found) == dataset.n_rows
    assert all(found), "every row has an example or a reason"
    return found


@settings(
    deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    BYTES
    | st.tuples(st.sampled_from([b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"]), BYTES).map(b"".join),
    st.sampled_from(["x.json", "x.jsonl", "x.csv", "x.tsv", "x", "x.parquet"]),
    st.sampled_from([bytes, gzip.compress, zstandard.compress]),
)
@example(b'{"prompt": "u", "answer": 1}\n\xff', "x.json", bytes)
def test_files_of_any_bytes(tmp_path: Path, data: bytes, name: str, compress: Any) -> None:
    path = tmp_path / name
    path.write_bytes(compress(data))
    read(path)


KEYS = [
    *("instruction", "input", "output", "history", "messages", "system", "tools", "id", "chosen"),
    *("rejected", "reasoning", "label"),
    *("role", "from", "content", "value", "type", "text", "tool_calls", "human", "assistant"),
    *("weight", "mask", "thinking", "functions", "image", "speaker"),
]
N_COLUMNS = 12
TRANSCRIPT = "\n\nHuman: u\n\nAssistant: a"
TEXTS = st.sampled_from(
    (
        *("user", "assistant", "system", "tool", "text", "thinking", "", "[1]", "\0", "\ud800"),
        *(TRANSCRIPT, TRANSCRIPT + "\n\nHuman:", '[{"role": "user", "content": "u"}]'),
    )
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | TEXTS,
    lambda child: (
        st.lists(child, max_size=3)
        | st.tuples(child, child)
        | st.dictionaries(st.sampled_from(KEYS), child, max_size=4)
    ),
    max_leaves=12,
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": TEXTS, "content": st.text() | ANYTHING},
        optional={
            "weight": st.sampled_from([0, 1, 0.5, False, None, "0", [1]]),
            "mask": st.sampled_from([0, 1, True, None, "x"]),
            "reasoning_content": st.text(max_size=3),
            "tool_calls": ANYTHING,
        },
    )
    | TEXTS
    | st.tuples(TEXTS, TEXTS)
    | st.fixed_dictionaries({"label": st.booleans(), "text": TEXTS}),
    min_size=1,
    max_size=4,
)
COLUMNS = [
    Columns(messages="messages", system="system", tools="tools", id="id"),
    Columns(
        instruction="instruction",
        input="input",
        response="output",
        history="history",
        system="system",
        tools="tools",
        id="id",
        reasoning="reasoning",
        label="label",
    ),
    Columns(instruction="instruction", input="input", response="chosen", other_side="rejected"),
    Columns(messages="chosen", other_side="rejected", drops_reasoning=True),
    Columns(instruction="chosen", response="chosen"),
]


@settings(deadline=None, max_examples=300)
@given(
    st.dictionaries(st.sampled_from(KEYS[:N_COLUMNS]), TEXTS | MESSAGES | ANYTHING, max_size=7)
    | ANYTHING,
    st.sampled_from(COLUMNS),
    st.booleans(),
)
def test_layouts_accept_any_row(row: Any, columns: Columns, last: bool) -> None:
    try:
        examples = examples_of(3, row, columns, last_turn_only=last)
    except BadContentError:
        return
    assert examples
    for one in examples:
        for text in (one.id, one.response, one.tools, *(turn.text for turn in one.context)):
            assert "\0" not in text
            assert text.encode("utf-8").decode() == text
        assert one.row == 3


def text_at(row: Any, place: TextPlace) -> Any:
    """Follow a path and cut the span, by code that knows no layouts."""
    value = row[place.path[0]]
    value = json.loads(value) if place.is_json_text else value
    for step in place.path[1:]:
        value = value[step]
    return value if place.span is None else value[slice(*place.span)]


@settings(deadline=None, max_examples=300)
@given(
    st.dictionaries(st.sampled_from(KEYS[:N_COLUMNS]), TEXTS | MESSAGES | ANYTHING, max_size=7),
    st.sampled_from(COLUMNS),
    st.booleans(),
)
def test_every_place_contains_the_text_of_its_turn(
    row: Any, columns: Columns, as_text: bool
) -> None:
    """And rewriting through it changes this text alone, or says why not."""
    if as_text and isinstance(row.get("messages"), list):
        row["messages"] = json.dumps(row["messages"])
    try:
        conversation = walk_row(row, columns)
    except BadContentError:
        return
    for turn in conversation.turns:
        if turn.place is not None:
            assert (text_at(row, turn.place) or "") == turn.text
        for place in turn.copies:
            assert text_at(row, place).strip() == turn.text.strip()
        for fields in turn.objects:
            assert not set(fields.unused) & set(fields.used)
    try:
        examples = examples_of(0, row, columns)
    except BadContentError:
        return
    for one in examples:
        try:
            rewritten = with_texts(row, columns, one, response="R")
        except NotRewritableError:
            turn = conversation.turns[conversation.numbered[one.turn]]
            assert turn.place is None or turn.place.span or columns.instruction == columns.response
            continue
        again = examples_of(0, rewritten, columns)
        assert again[one.turn] == replace(one, response="R")
        assert [o.response for o in again if o.turn != one.turn] == [
            o.response for o in examples if o.turn != one.turn
        ]


# One wrong byte

TEXT = st.text(st.characters(codec="utf-8") | st.sampled_from('{}[]",:\\\n'), max_size=12)
INNER = st.lists(
    st.fixed_dictionaries({"from": st.sampled_from(["human", "gpt"]), "value": TEXT}), max_size=3
)
RECORDS = st.lists(
    st.builds(
        # In this order in all rows: a row is recognized by its first key.
        lambda *values: dict(zip(("instruction", "conversations", "output"), values, strict=True)),
        TEXT,
        INNER,
        TEXT,
    ),
    min_size=3,
    max_size=6,
)
DAMAGE = st.binary(max_size=1) | st.sampled_from([b"{", b"}", b"[", b"]", b'"', b",", b"\\", b"\n"])


def damaged(pieces: list[bytes], victim: int, where: int, instead: bytes) -> list[bytes]:
    """The bytes of the rows, with one byte of one row deleted or replaced."""
    piece = pieces[victim]
    where %= len(piece)
    return [
        *pieces[:victim],
        piece[:where] + instead + piece[where + 1 :],
        *pieces[victim + 1 :],
    ]


def is_subsequence(values: list[Any], of: Iterator[Any]) -> bool:
    return all(any(value == one for one in of) for value in values)


@settings(deadline=None, max_examples=400)
@given(
    RECORDS,
    st.integers(0, 5),
    st.integers(0, 10**6),
    DAMAGE,
    st.sampled_from([(b", ", None), (b",\n", None), (b",\n", 1), (b",", 4)]),
    st.booleans(),
)
def test_one_bad_byte_loses_one_row_of_an_array(
    records: list[Any],
    victim: int,
    where: int,
    instead: bytes,
    style: tuple[bytes, int | None],
    in_array: bool,
) -> None:
    """All other rows are read, in order; the rest of the damaged row is rejected.

    The first row is not damaged: the other rows are recognized by its key.
    """
    between, indent = style
    victim = 1 + victim % (len(records) - 1)
    pieces = [json.dumps(row, indent=indent).encode() for row in records]
    body = between.join(damaged(pieces, victim, where, instead))
    rows = READERS["array"](b"[" + body + b"]") if in_array else READERS["values"](body)
    others = records[:victim] + records[victim + 1 :]
    values = [raw.value for raw in rows if raw.error is None]
    assert is_subsequence(others, iter(values))
    usable = [v for v in values if isinstance(v, dict) and {"instruction", "output"} <= v.keys()]
    assert len(usable) <= len(records), "no row is invented"


@settings(deadline=None, max_examples=200)
@given(RECORDS, st.integers(0, 5), st.integers(0, 10**6), DAMAGE)
def test_one_bad_byte_loses_one_line_or_none(
    records: list[Any], victim: int, where: int, instead: bytes
) -> None:
    victim %= len(records)
    pieces = [json.dumps(row).encode() for row in records]
    rows = READERS["lines"](b"\n".join(damaged(pieces, victim, where, instead)))
    values = [raw.value for raw in rows]
    after = len(records) - victim - 1
    assert values[:victim] == records[:victim]
    assert values[len(values) - after :] == records[victim + 1 :]
    assert 1 <= len(values) - after - victim <= 1 + (instead == b"\n")


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.tuples(st.text("ab ", min_size=1), st.text("ab", min_size=1)), min_size=2),
    st.integers(0, 100),
    st.integers(0, 10**6),
    st.sampled_from([b"", b"c", b"\xff", b",", b'"']),
)
def test_one_bad_byte_loses_one_row_of_a_table(
    records: list[tuple[str, str]], victim: int, where: int, instead: bytes
) -> None:
    """Even by a lost quote, which seems to make one cell of all that follows."""
    victim %= len(records)
    pieces = [f'"{one}","{other}"'.encode() for one, other in records]
    lines = damaged(pieces, victim, where, instead)
    rows = READERS["csv"](b"\n".join([b"i,o", *lines]))
    values = [tuple(raw.value.values()) if raw.value else None for raw in rows]
    assert len(values) == len(records)
    assert values[:victim] + values[victim + 1 :] == records[:victim] + records[victim + 1 :]


# Hostile files


def hostile_files() -> dict[str, tuple[bytes, int | None]]:
    """The bytes of each file, and how many examples it gives (None: it is refused)."""
    row = b'{"instruction": "u", "output": "a"}'
    lines = b"\n".join([row] * 50) + b"\n"
    array = b"[" + b",\n".join([row] * 50) + b"]"
    table = b"instruction,output\n" + b"u,a\n" * 50
    noise = random.Random(0).randbytes(5000)
    files: dict[str, tuple[bytes, int | None]] = {
        "noise.json": (noise, None),
        "noise.jsonl": (noise, None),
        "noise.csv": (noise, None),
        "noise.parquet": (noise, None),
        "zeros.json": (b"\0" * 100_000, None),
        "zeros.jsonl": (b"\0" * 100_000, None),
        "newlines.jsonl": (b"\n" * 100_000 + row, 1),
        "spaces.json": (b" " * 100_000 + array, None),
        "brackets.json": (b"[" * 100_000, None),
        "braces.json": (b"{" * 100_000, None),
        "quotes.json": (b"[" + b'"' * 100_001 + b"]", None),
        "one quote.json": (b'["' + b"x" * 100_000, None),
        "noise within.json": (array[:-1] + b"," + noise + b"," + array[1:], 100),
        "noise within.jsonl": (lines + noise.replace(b"\n", b"") + b"\n" + lines, 100),
        "noise within.csv": (table + noise.hex().encode() + b"\n" + table.split(b"\n", 1)[1], 100),
        "truncated.json": (array[:-20], 49),
        "truncated.jsonl": (lines[:-20], 49),
        "no commas.json": (array.replace(b",\n", b"\n"), 50),
        "twice.json": (array + array, 50),
        "CRLF.json": (array.replace(b"\n", b"\r\n"), 50),
        "CRLF.csv": (table.replace(b"\n", b"\r\n"), 50),
        "CR.csv": (table.replace(b"\n", b"\r"), None),
        "marks.jsonl": (b"\xef\xbb\xbf" + lines.replace(b"\n", b"\n\xef\xbb\xbf"), 1),
        "duplicates.json": (array.replace(b'"u"', b'"v", "instruction": "u"'), 50),
        "half.json": (array + b'\n{"instruction": "u", "output": "a', 50),
        "array.jsonl": (array, 50),
        "comma-ended.jsonl": (array.replace(b"[", b"").replace(b"]", b""), 50),
        "semicolons.csv": (table.replace(b",", b";"), 50),
        "bare.csv": (b"u,a\n" * 9, None),
    }
    return files


@pytest.mark.parametrize("compress", [bytes, gzip.compress, zstandard.compress])
@pytest.mark.parametrize("name", hostile_files())
def test_hostile_file(name: str, compress: Callable[[bytes], bytes], tmp_path: Path) -> None:
    data, n_examples = hostile_files()[name]
    path = tmp_path / name
    path.write_bytes(compress(data))
    found = read(path)
    if n_examples is None:
        assert found is None
    else:
        assert found is not None
        assert sum(isinstance(one, list) for one in found) == n_examples


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
def test_truncated_anywhere(compress: Callable[[bytes], bytes], tmp_path: Path) -> None:
    """A compressed file cut at any byte is refused; it is never read as a shorter dataset."""
    rows = [{"instruction": f"u{i * i}", "output": "a"} for i in range(30)]
    whole = compress("\n".join(map(json.dumps, rows)).encode())
    path = tmp_path / "x.jsonl"
    for length in range(4, len(whole)):
        path.write_bytes(whole[:length])
        assert read(path) is None
    path.write_bytes(whole)
    assert len(read(path) or []) == 30
