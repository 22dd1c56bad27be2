"""JSON arrays, lines and concatenated values: every row, complete and with its place."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ifdkit.data import json_lines, json_rows
from ifdkit.data.raw import Raw
from tests.limits import PEAK_BYTES, needs_proc, time_limit

CHUNKS = [1, 2, 3, 7, 64, 2**20]
GOOD = [{"instruction": f"q{i}", "output": "a"} for i in range(4)]


def in_array(data: bytes) -> list[Raw]:
    return list(json_rows.json_values(io.BytesIO(data), in_array=True))


def concatenated(data: bytes) -> list[Raw]:
    return list(json_rows.json_values(io.BytesIO(data), in_array=False))


def in_lines(data: bytes) -> list[Raw]:
    return list(json_lines.json_lines(io.BytesIO(data)))


def outcome(rows: list[Raw]) -> list[Any]:
    """The value of each row, or the reason why there is none."""
    assert [raw.row for raw in rows] == list(range(len(rows)))
    return [raw.value if raw.error is None else raw.error for raw in rows]


def dump(value: Any) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize(
    "data",
    [
        dump(GOOD),
        json.dumps(GOOD, indent=2).encode(),
        json.dumps(GOOD, indent="\t", ensure_ascii=False).replace("\n", "\r\n").encode(),
        b"\xef\xbb\xbf" + dump(GOOD),
        b" \n\t[" + b" , ".join(map(dump, GOOD)) + b"\r\n]\n\n",
        b"[" + b"\n".join(map(dump, GOOD)) + b"]",  # missing commas are accepted …
        b"[" + b",,".join(map(dump, GOOD)) + b",]",  # … and so are repeated ones
    ],
)
def test_array_in_any_style(data: bytes, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_rows, "_CHUNK", chunk)
    assert outcome(in_array(data)) == GOOD


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("indent", [None, 4])
@pytest.mark.parametrize("between", [b"", b"\n", b"\r\n\r\n", b" ", b",\n"])
def test_values_that_follow_each_other(
    between: bytes, indent: int | None, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_rows, "_CHUNK", chunk)
    data = between.join(json.dumps(row, indent=indent).encode() for row in GOOD)
    assert outcome(concatenated(data)) == GOOD
    assert outcome(concatenated(b"\xef\xbb\xbf" + data + b"\n")) == GOOD


@pytest.mark.parametrize("chunk", CHUNKS)
def test_strings_that_look_like_structure(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_rows, "_CHUNK", chunk)
    texts = ['"', "\\", '\\"', "\\\\", '"}', "]}]", "{[", '},{"instruction":', "\n", "é\U0001f600"]
    texts += ["\\" * n + '"' * n for n in range(2, 6)] + [dump(GOOD).decode()]
    rows = [{"instruction": text * n, "output": text} for text in texts for n in (1, 40)]
    for ensure_ascii in (True, False):
        pieces = [json.dumps(row, ensure_ascii=ensure_ascii).encode() for row in rows]
        assert outcome(in_array(b"[" + b",".join(pieces) + b"]")) == rows
        assert outcome(concatenated(b"\n".join(pieces))) == rows
        assert outcome(in_lines(b"\r\n".join(pieces))) == rows


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda child: st.lists(child, max_size=4) | st.dictionaries(st.text(), child, max_size=4),
    max_leaves=8,
)
ROWS = st.lists(st.dictionaries(st.text(), VALUES, max_size=4), max_size=5)
STYLES = st.fixed_dictionaries(
    {
        "indent": st.sampled_from([None, 0, 1, 4, "\t"]),
        "ensure_ascii": st.booleans(),
        "separators": st.sampled_from([None, (",", ":"), (" ,\t", " :\r\n ")]),
    }
)
SPACE = st.text(" \t\r\n", max_size=4)


def without_infinity(rows: list[Any]) -> bool:
    return "Infinity" not in json.dumps(rows)


@pytest.mark.long
@settings(deadline=None, max_examples=120)
@given(ROWS.filter(without_infinity), STYLES, SPACE, st.integers(1, 40))
def test_any_rows_in_any_style_by_any_chunk(
    rows: list[Any], style: dict[str, Any], space: str, chunk: int
) -> None:
    pieces = [json.dumps(row, **style) for row in rows]
    comma, apart = f"{space},{space}", space or ""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_rows, "_CHUNK", chunk)
        assert outcome(in_array(f"{space}[{comma.join(pieces)}{space}]{space}".encode())) == rows
        assert outcome(concatenated((space + apart.join(pieces) + space).encode())) == rows
        lines = [json.dumps(row, ensure_ascii=style["ensure_ascii"]) for row in rows]
        assert outcome(in_lines("\r\n\n".join(lines).encode())) == rows


MALFORMED = {
    "a lost quote": (b'{"instruction": "x, "output": "y"}', "not JSON: Expecting ',' delimiter"),
    "a lost last quote": (b'{"instruction": "x", "output": "y}', "not JSON: Unterminated string"),
    "a lost first quote": (b'{"instruction": x", "output": "y"}', "not JSON: Expecting value"),
    "a lost quote of a key": (b'{"instruction: "x", "output": "y"}', "not JSON: Expecting ':'"),
    "a lost quote before it": (b'{instruction": "x", "output": "y"}', "not JSON: Expecting prop"),
    "a quote too many": (b'{"instruction": "x"", "output": "y"}', "not JSON: Expecting ',' del"),
    "a lost brace": (b'{"instruction": "x", "output": "y"', "not JSON: Expecting ',' delimiter"),
    "a lost bracket": (b'{"instruction": "x", "l": [1, 2}', "not JSON: Expecting ',' delimiter"),
    "a lost inner brace": (b'{"instruction": "x", "d": {"e": 1}', "not JSON: Expecting ',' delim"),
    "a brace for a bracket": (b'{"instruction": "x", "l": [1}}', "not JSON: Expecting ',' delim"),
    "a lost comma": (b'{"instruction": "x" "output": "y"}', "not JSON: Expecting ',' delimiter"),
    "a lost colon": (b'{"instruction" "x", "output": "y"}', "not JSON: Expecting ':' delimiter"),
    "a comma too many": (b'{"instruction": "x", "output": "y",}', "not JSON: Expecting property"),
    "nothing but a brace": (b"{", "not JSON: Expecting property name"),
    "a bare word": (b"oops", "not JSON: Expecting value"),
    "a bare word inside": (b'{"instruction": oops, "output": "y"}', "not JSON: Expecting value"),
    "single quotes": (b"{'instruction': 'x', 'output': 'y'}", "not JSON: Expecting property"),
    "a comment": (b'{"instruction": "x" /* y */}', "not JSON: Expecting ',' delimiter"),
    "almost a number": (b'{"instruction": "x", "output": nan}', "not JSON: Expecting value"),
    "digits": (b'{"n": ' + b"1" * 5001 + b"}", "not JSON: a number has too many digits"),
    "too deep": (b'{"n": ' + b"[" * 100 + b"]" * 100 + b"}", "nested deeper than 100 levels"),
    "far too deep": (b'{"n":' * 100_000 + b"0" + b"}" * 100_000, "nested deeper than 100 levels"),
    "open and deep": (b'{"instruction":' + b"[" * 100_000, "nested deeper than 100 levels"),
    "an unknown escape": (rb'{"instruction": "\x41"}', r"not JSON: Invalid \escape"),
    "a broken escape": (rb'{"instruction": "\u00g0"}', "not JSON: Invalid \\uXXXX escape"),
    "bad bytes": (b'{"instruction": "\xff", "output": "y"}', "not UTF-8: byte 0xff at 17"),
    "an overlong NUL": (b'{"instruction": "\xc0\x80"}', "not UTF-8: byte 0xc0 at 17"),
    "Latin-1": ('{"instruction": "né"}'.encode("latin-1"), "not UTF-8: byte 0xe9 at 18"),
}
JOINED = {"array": (in_array, b", "), "pretty array": (in_array, b",\n  ")}
JOINED |= {"values": (concatenated, b"\n"), "lines": (in_lines, b"\n")}


@pytest.mark.parametrize("joined", JOINED)
@pytest.mark.parametrize("name", MALFORMED)
def test_only_the_malformed_row_is_rejected(name: str, joined: str) -> None:
    bad, reason = MALFORMED[name]
    read, between = JOINED[joined]
    pieces = [dump(GOOD[0]), bad, dump(GOOD[1]), dump(GOOD[2])]
    body = between.join(pieces)
    data = b"[" + body + b"]\n" if read is in_array else body + b"\n"
    rows = read(data)
    found = outcome(rows)
    assert [found[0], *found[2:]] == [GOOD[0], GOOD[1], GOOD[2]]
    assert found[1].startswith(reason)
    for raw, piece in zip(rows, pieces, strict=True):
        check_place(raw, data, piece)


@pytest.mark.parametrize("joined", JOINED)
@pytest.mark.parametrize("name", MALFORMED)
def test_only_the_malformed_first_row_is_rejected(name: str, joined: str) -> None:
    """The key with which rows start is not known yet."""
    bad, reason = MALFORMED[name]
    read, between = JOINED[joined]
    body = between.join([bad, dump(GOOD[0]), dump(GOOD[1])])
    found = outcome(read(b"[" + body + b"]" if read is in_array else body))
    assert found[1:] == GOOD[:2]
    assert found[0].startswith(reason)


def check_place(raw: Raw, data: bytes, piece: bytes) -> None:
    """Check line and byte offset against the bytes of the file."""
    assert raw.byte_offset is not None
    assert data[raw.byte_offset :].startswith(piece)
    assert raw.line == data[: raw.byte_offset].count(b"\n") + 1


@pytest.mark.parametrize("read", [in_array, concatenated])
def test_raw_newline_inside_a_string(read: Any) -> None:
    bad = b'{"instruction": "one\ntwo", "output": "}, {"}'
    body = b",\n".join([bad, dump(GOOD[0])])
    rows = read(b"[" + body + b"]" if read is in_array else body)
    assert outcome(rows)[1:] == [GOOD[0]]
    assert rows[0].error == "not JSON: Invalid control character at (character 20)"
    assert rows[1].line == 3


@pytest.mark.parametrize("lost", ['"human",', '"from": ', '"}, {"', '"value": "q2"', "}], "])
def test_broken_conversation_does_not_end_the_array(lost: str) -> None:
    """Its inner brackets and objects look like rows and like the end of the array."""
    turns = [{"from": "human", "value": "q2"}, {"from": "gpt", "value": "a"}]
    rows = [{"conversations": turns * 3, "tools": f"[{{{i}}}]"} for i in range(6)]
    pieces = [json.dumps(row) for row in rows]
    pieces[2] = pieces[2].replace(lost, lost[1:], 1)
    found = outcome(in_array(f"[{', '.join(pieces)}]".encode()))
    assert [row for row in found if isinstance(row, dict) and "tools" in row] == rows[:2] + rows[3:]
    assert str(found[2]).startswith("not JSON")


EDGES: list[tuple[bytes, list[Any]]] = [
    (b"[]", []),
    (b"[ \n]  ", []),
    (b"[", ["the array is not closed"]),
    (b'[{"a": 1}', [{"a": 1}, "the array is not closed"]),
    (b'[{"a": 1},', [{"a": 1}, "the array is not closed"]),
    (b'[{"a": 1}, {"a": 2', [{"a": 1}, "the file ends inside this row"]),
    (b'[{"a": 1}, {"a": "2', [{"a": 1}, "the file ends inside this row"]),
    (b'[{"a": 1}, {"a": "2\\', [{"a": 1}, "the file ends inside this row"]),
    (b'[{"a": 1}] the end', [{"a": 1}, "the array ends here, but text follows"]),
    (b'[{"a": 1}]\n[{"a": 2}]', [{"a": 1}, "the array ends here, but text follows"]),
    (b'[{"a":1}], {"a":2}]', [{"a": 1}, "the array ends here, but text follows", {"a": 2}]),
    (b'[{"a": 1}}, {"a": 2}]', [{"a": 1}, "not JSON: Expecting value (character 0)", {"a": 2}]),
    (b'[null, true, 1.5, "t", [1], {}]', [None, True, 1.5, "t", [1], {}]),
    (b'[""a":1},{"a":2},{"a":3}]', ["", "not JSON: Expecting value (character 0)"]),
    (b'["},{"a":2},{"a":3}]', ["not JSON: Unterminated string starting at (character 0)"]),
]


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize(("data", "expected"), EDGES)
def test_edges_of_arrays(
    data: bytes, expected: list[Any], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_rows, "_CHUNK", chunk)
    found = outcome(in_array(data))
    assert found[: len(expected)] == expected
    follows = [{"a": 2}, {"a": 3}] if b'"a":3' in data else []
    assert found[len(expected) :] == follows


@pytest.mark.parametrize("chunk", CHUNKS)
def test_place_of_a_wrong_end(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_rows, "_CHUNK", chunk)
    data = b'[\n{"a": 1}\n]\nend'
    check_place(in_array(data)[-1], data, b"]\nend")
    data = b'[\n{"a": 1}\n'
    check_place(in_array(data)[-1], data, b"")


OVER_LONG = {
    "object": rb'{"instruction": "%s"}' % (rb"{\\]\"x\\" * 99),
    "lists": b'{"l": [%s0]}' % (b'{"m": "]"}, [{}], ' * 99),
    "string": rb'"%s"' % (rb"{\\]\"x\\" * 99),
    "backslashes": rb'{"instruction": "%s"}' % (b"\\" * 1000),
    "digits": b"7" * 999,
}


@pytest.mark.parametrize("joined", JOINED)
@pytest.mark.parametrize("name", OVER_LONG)
@pytest.mark.parametrize("chunk", [1, 7, 2**20])
def test_only_the_over_long_row_is_rejected(
    chunk: int, name: str, joined: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (json_rows, json_lines):
        monkeypatch.setattr(module, "MAX_ROW_BYTES", 400)
        monkeypatch.setattr(module, "_CHUNK", chunk)
    read, between = JOINED[joined]
    pieces = [dump(GOOD[0]), OVER_LONG[name], dump(GOOD[1]), dump(GOOD[2])]
    body = between.join(pieces)
    data = b"[" + body + b"]" if read is in_array else body
    rows = read(data)
    assert outcome(rows) == [GOOD[0], "longer than 400 bytes", GOOD[1], GOOD[2]]
    for raw, piece in zip(rows, pieces, strict=True):
        check_place(raw, data, piece)


@pytest.mark.parametrize("chunk", [1, 7, 2**20])
def test_longest_row_that_is_read(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"instruction": "x" * 300}, GOOD[0]]
    monkeypatch.setattr(json_rows, "_CHUNK", chunk)
    monkeypatch.setattr(json_rows, "MAX_ROW_BYTES", len(dump(rows[0])))
    assert outcome(in_array(dump(rows))) == rows
    monkeypatch.setattr(json_rows, "MAX_ROW_BYTES", len(dump(rows[0])) - 1)
    assert outcome(in_array(dump(rows)))[0].startswith("longer than")


@pytest.mark.parametrize("first", [b"", b'"n": [NaN, %s], ' % (b"1" * 4400), b'"n": "\n\xff", '])
def test_long_row_with_a_lost_quote_is_detected_early(
    first: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it swallows all rows up to the maximum length, and is too long itself."""
    monkeypatch.setattr(json_rows, "MAX_ROW_BYTES", 9000)
    bad = b'{"instruction": 1, ' + first + b'"output": "' + b"x" * 3000 + b', "more": "y"}'
    rows = GOOD * 100
    data = b"[" + b",\n".join([bad, *map(dump, rows)]) + b"]"
    assert outcome(in_array(data))[1:] == rows


def test_objects_that_begin_like_a_row_stay_within_it() -> None:
    """If the row is well-formed. In a malformed row they cannot be told from rows."""
    inner = [{"instruction": "x" * n, "output": "y" * n} for n in (0, 99, 999, 9999)]
    rows = [{"instruction": "u", "inner": inner * 3, "output": "z" * 9999}, *GOOD]
    for indent in (None, 2):
        assert outcome(in_array(json.dumps(rows, indent=indent).encode())) == rows


def test_deepest_row_that_is_read() -> None:
    rows = [{"n": json.loads("[" * 99 + "]" * 99)}, {"n": json.loads("[" * 99 + "0" + "]" * 99)}]
    assert outcome(in_array(dump(rows))) == rows


def test_many_first_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are read even if their keys are more than are remembered."""
    monkeypatch.setattr(json_rows, "_MAX_KEYS", 3)
    rows = [{f"key {i}": i, 'é"\\': ""} for i in range(20)]
    assert outcome(in_array(dump(rows))) == rows


HOSTILE = {
    "spaces behind a boundary": b'[{"a": 1 "b": 2}' + b" " * 300_000 + b"x]",
    "newlines behind braces": b'[{"a": 1 "b": 2 ' + b"{ \n" * 300_000 + b"]",
    "braces that open": b"[" + b"{" * 300_000,
    "rows that never close": b'[{"a":1},' + b'{"a":1,' * 20_000,
    "rows nested in rows": b"[" + b'{"a":1,' * 20_000 + b"}" * 20_000 + b"]",
    "long rows in rows": b"[" + (b'{"a":["' + b"x" * 5000 + b'",') * 900 + b"!" + b"]}" * 900,
    "brackets that close": b'[{"a":1}' + b"] " * 20_000 + b"x]",
    "quotes": b'["' + b'",' * 50_000 + b"]",
    "backslashes": b'[{"a": "' + b"\\" * 1_000_001 + b'"}]',
    "digits": b"[" + b"1" * 1_000_000 + b"]",
}


@pytest.mark.long
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_never_hang(name: str) -> None:
    with time_limit(120):  # about 1 s each; hours if time is quadratic
        rows = in_array(HOSTILE[name])
    assert len(rows) <= len(HOSTILE[name])
    assert any(raw.error for raw in rows)


def peak_growth(script: str) -> int:
    """Bytes by which a new process grows while it runs the script, without imports."""
    head = """
        import io
        from ifdkit.data import json_rows
        from ifdkit.data.dataset import open_dataset
        before = peak_bytes()
    """
    text = PEAK_BYTES + textwrap.dedent(head) + textwrap.dedent(script)
    text += "\nprint(peak_bytes() - before)"
    child = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=True, timeout=300
    )
    return int(child.stdout)


@needs_proc
def test_memory_of_a_string_of_escapes() -> None:
    """A few copies of its 4 MB. A regular expression that backtracks needs a hundred."""
    script = r"""
        data = b'[{"a": "' + b"\\n" * 2_000_000 + b'"}]'
        (row,) = json_rows.json_values(io.BytesIO(data), in_array=True)
        assert row.value == {"a": "\n" * 2_000_000}
    """
    assert peak_growth(script) < 50e6


LINES: list[tuple[bytes, list[Any]]] = [
    (b"", []),
    (b"\n \r\n\t\n", []),
    (b'{"a": 1}\n{"a": 2}', [{"a": 1}, {"a": 2}]),
    (b'\xef\xbb\xbf{"a": 1}\r\n\r\n  {"a": 2}  \r\n', [{"a": 1}, {"a": 2}]),
    (b'{"a": 1}\n{"a": 2}{"a": 3}\n', [{"a": 1}, {"a": 2}, {"a": 3}]),
    (b'{"a": 1},\n{"a": 2} ,\r\n{"a": 3}', [{"a": 1}, {"a": 2}, {"a": 3}]),
    ('{"a": "é"}, {"a": "\u4e2d"}  {"a": 3}'.encode(), [{"a": "é"}, {"a": "\u4e2d"}, {"a": 3}]),
    (b'{"a": 1} 2\n', ["not JSON: Extra data (character 9)"]),
    (b'{"a": 1} {"a": \n', ["not JSON: Extra data (character 9)"]),
    (b'{"a": NaN, "b": [-Infinity]}\n', [{"a": None, "b": [None]}]),
    (b'{"a": "\xe2\x80\xa8\xc2\x85\x0c"}\n', ["not JSON: Invalid control character at (char"]),
    ('{"a": "\u2028\x85"}\n[1]\n'.encode(), [{"a": "\u2028\x85"}, [1]]),
    (b'{"a": 1}\n\x00\n{"a": 2}', [{"a": 1}, "not JSON: Expecting value (character 0)", {"a": 2}]),
]


@pytest.mark.parametrize(("data", "expected"), LINES)
def test_lines(data: bytes, expected: list[Any]) -> None:
    rows = in_lines(data)
    found = [one[:44] if isinstance(one, str) else one for one in outcome(rows)]
    assert found == expected
    for raw in rows:
        assert raw.byte_offset is not None
        assert data[raw.byte_offset :].lstrip(b" ")[:1] in b"{[\0"
        assert raw.line == data[: raw.byte_offset].count(b"\n") + 1


@pytest.mark.slow
@needs_proc
def test_large_array_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.json"
    row = json.dumps({"instruction": "q" * 400, "output": "a\\n" * 200, "id": 1}, indent=2)
    with path.open("w") as file:
        file.write("[" + row)
        for _ in range(60_000_000 // len(row)):
            file.write(",\n" + row)
        file.write("]")
    script = f"""
        dataset = open_dataset({str(path)!r})
        n = sum(isinstance(found, list) for found in dataset)
        assert n == dataset.n_rows > 30_000, n
    """
    assert peak_growth(script) < 60e6
