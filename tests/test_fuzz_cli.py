"""For any file: exit code 0 or 2, one line, no traceback, no hang, and no lost row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ifdkit.cli.main import main
from tests.limits import time_limit

pytestmark = pytest.mark.long

TEXT = st.text(max_size=30) | st.sampled_from(["<s>", "</s>", "{{ 1 }}", "\u202e", "a\u0301", "🎉"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
MESSAGE = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(["user", "assistant", "system", "tool", "narrator"]) | JSON,
        "content": TEXT | JSON,
    },
)
ROW = (
    st.fixed_dictionaries({"instruction": TEXT | JSON, "output": TEXT | JSON},
                          optional={"input": TEXT | JSON, "id": JSON, "history": JSON})
    | st.fixed_dictionaries({"messages": st.lists(MESSAGE, max_size=4) | JSON})
    | JSON
)  # fmt: skip


def check(
    path: Path, tiny_model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> dict[str, Any] | None:
    """Score a file. Returns its manifest, or None if it is refused properly."""
    output = folder / "out.jsonl"
    output.unlink(missing_ok=True)
    with time_limit(60):
        code = main(
            ["score", str(path), "-o", str(output), "--model", str(tiny_model), "--metrics",
             "ifd,rifd", "--store", str(folder / "store.sqlite"), "-q", "--json"]
        )  # fmt: skip
    out, err = capsys.readouterr()
    assert code in (0, 2), err
    assert "Traceback" not in err
    assert "internal error" not in err
    if code == 2:
        assert err.count("\n") == 1, err
        assert output.exists() == ("could be scored" in err)
        if not output.exists():
            return None
    manifest: dict[str, Any] = json.loads(out)["manifest"]
    assert manifest["rows_in"] == manifest["rows_scored"] + manifest["rows_rejected"]
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").split("\n") if line]
    assert len(rows) == manifest["examples"]
    for row in rows:
        assert row["ifd"] is not None or row["status"] != "ok"
    return manifest


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


FUZZ = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@FUZZ
@given(rows=st.lists(ROW, max_size=5), lines=st.booleans())
def test_any_rows(
    rows: list[Any],
    lines: bool,
    folder: Path,
    tiny_model: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = folder / ("data.jsonl" if lines else "data.json")
    text = "\n".join(json.dumps(row) for row in rows) if lines else json.dumps(rows)
    path.write_text(text, encoding="utf-8")
    manifest = check(path, tiny_model, folder, capsys)
    if manifest:
        assert manifest["rows_in"] == len(rows)


@FUZZ
@given(data=st.binary(max_size=200), ending=st.sampled_from([".json", ".jsonl", ".csv", ""]))
def test_any_bytes(
    data: bytes, ending: str, folder: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / f"bytes{ending}"
    path.write_bytes(data)
    check(path, tiny_model, folder, capsys)


GOOD = b'{"instruction": "Say hello", "output": "Hello there"}'
NASTY = {
    "five_thousand_digits.json": b'[{"instruction": "a", "output": ' + b"9" * 5001 + b"}, %s]",
    "deep.json": b'[{"instruction": "a", "output": ' + b"[" * 100_000 + b"]" * 100_000 + b"}, %s]",
    "deep.jsonl": b"[" * 100_000 + b"\n%s\n",
    "number.jsonl": b'{"instruction": "a", "output": 1e999}\n%s\n',
    "surrogate.jsonl": b'{"instruction": "a", "output": "\\ud800"}\n%s\n',
    "nul.jsonl": b'{"instruction": "a", "output": "x\\u0000y"}\n%s\n',
    "raw_nul.jsonl": b'{"instruction": "a", "output": "x\x00y"}\n%s\n',
    "latin1.jsonl": b'{"instruction": "a", "output": "caf\xe9"}\n%s\n',
    "lost_quote.json": b'[{"instruction": "a, "output": "b"}, %s]',
    "lost_brace.json": b'[{"instruction": "a", "output": "b", %s, %s]',
    "truncated.json": b'[%s, {"instruction": "a", "out',
    "bom.json": b"\xef\xbb\xbf[%s, 1]",
    "list_of_lists.json": b"[[1, 2], %s]",
    "million_commas.json": b"[" + b"," * 1_000_000 + b"%s, 1]",
    "million_brackets.json": b"[%s, " + b"[" * 1_000_000,
    "million_quotes.json": b"[%s, " + b'"' * 1_000_001 + b"]",
    "million_backslashes.json": b'[%s, "' + b"\\" * 1_000_001,
    "ragged.csv": b"instruction,output\nSay hello,Hello there\nonly one cell\n",
}


@pytest.mark.parametrize("name", NASTY)
def test_nasty_files_lose_only_their_bad_rows(
    name: str, folder: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / name
    path.write_bytes(NASTY[name].replace(b"%s", GOOD))
    manifest = check(path, tiny_model, folder, capsys)
    assert manifest is not None
    assert manifest["rows_scored"] >= 1, "the good row is scored"
    assert manifest["rows_rejected"] >= 1, "the bad row is rejected"
    rejects = (folder / "out.jsonl.rejects.jsonl").read_text(encoding="utf-8")
    for line in rejects.splitlines():
        reject = json.loads(line)
        assert reject["reason"]
        assert 0 <= reject["byte_offset"] <= path.stat().st_size
