"""Every hostile input in every command: a code of the contract, one line, bounded memory and time.

One process per command runs it on all inputs, so that its peak memory bounds that of each.
"""

from __future__ import annotations

import gzip
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

import ifdkit.cli.main as cli
from tests.limits import PEAK_BYTES, needs_proc
from tests.oracle_server import OracleServer

pytestmark = pytest.mark.long

GOOD = {"id": "good", "instruction": "Add 2 and 3", "output": "It is 5, as 2 and 3 are 5."}
MAX_BYTES = 2 * 2**30
"""Python, torch and the tiny model take 0.5 GiB of it."""
MAX_SECONDS = 60
RUN = f"""{PEAK_BYTES}
import contextlib, io, json, signal, sys, time
import ifdkit.cli.main as cli
import ifdkit.viewing.run as viewing

viewing.serve = lambda session, *_: session.wait()  # all rows are read, and nothing is served

def expire(*_):
    raise BaseException("too long")

found = {{}}
inputs, flags = json.loads(sys.argv[1]), json.loads(sys.argv[2])
for name in inputs:
    out, err, begin, code = io.StringIO(), io.StringIO(), time.monotonic(), "too long"
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        signal.signal(signal.SIGALRM, expire)
        signal.alarm({MAX_SECONDS})
        try:
            code = cli.main([one.replace("INPUT", name) for one in flags])
        except BaseException as error:
            code = repr(error)
        signal.alarm(0)
    seconds = round(time.monotonic() - begin, 1)
    found[name] = [code, out.getvalue()[-2000:], err.getvalue()[-4000:], seconds, peak_bytes()]
print(json.dumps(found))
"""
COMMANDS: dict[str, list[str]] = {
    "score": ["score", "INPUT", "-o", "out.jsonl"],
    "join": ["score", "INPUT", "--join", "-o", "joined.jsonl"],
    "audit": ["audit", "INPUT", "--no-model"],
    "against": ["audit", "good.jsonl", "--no-model", "--against", "INPUT"],
    "clean": ["audit", "INPUT", "--no-model", "--clean", "clean.jsonl"],
    "compare": ["compare", "INPUT", "good.jsonl", "-o", "report"],
    "select": ["select", "INPUT", "-o", "kept.jsonl", "--by", "ifd", "--top", "50%"],
    "random": ["select", "INPUT", "-o", "kept.jsonl", "--method", "random", "--top", "50%"],
    "show": ["show", "INPUT", "0"],
    "template": ["score", "good.jsonl", "-o", "out.jsonl", "--template", "./INPUT"],
    "model": ["score", "good.jsonl", "-o", "out.jsonl", "-m", "./INPUT"],
    "provenance": ["select", "good.jsonl", "-o", "kept.jsonl", "--method", "selective",
                   "--provenance", "./INPUT"],
    "reflect": ["reflect", "INPUT", "-o", "new.jsonl", "--oracle", "m", "--retries", "0"],
    "ids": ["select", "good.jsonl", "-o", "kept.jsonl", "--ids", "INPUT"],
    "view": ["view", "INPUT", "--no-open", "--port", "0", "--marks", "marks.jsonl"],
    "marks": ["view", "good.jsonl", "--no-open", "--port", "0", "--marks", "INPUT"],
    "train": ["train", "INPUT", "-o", "tuned-INPUT", "--steps", "1", "--batch-size", "2"],
    "eval": ["train", "good.jsonl", "-o", "tuned-on-INPUT", "--steps", "1", "--batch-size", "2",
             "--eval", "INPUT"],
    "generate": ["generate", "INPUT", "-o", "answers-INPUT", "--max-new-tokens", "2"],
    "judge": ["judge", "INPUT", "good.jsonl", "-o", "judged.json", "--oracle", "m", "--retries",
              "0"],
    "from": ["judge", "--from", "INPUT"],
    "predict": ["predict", "INPUT", "-o", "prediction"],
    "store": ["store", "verify", "--store", "INPUT"],
    "merge": ["merge", "INPUT", "-o", "merged.jsonl"],
    "card": ["card", "INPUT"],
}  # fmt: skip
WITHOUT_MODEL = {"model", "reflect", "store", "marks", "merge", "card"}
WITHOUT_METRICS = {*WITHOUT_MODEL, "random", "provenance", "select", "ids", "view", "train", "eval",
                   "generate", "judge", "from"}  # fmt: skip
WITHOUT_LENGTH = {"store", "from", "judge", "merge", "card"}
ASKS = {"reflect", "judge"}
"""Commands that ask an oracle."""
WITHOUT_INPUT = {"models", "completion"}
"""Commands that read no file of the user."""
IN_CI = ("score", "audit", "select", "compare", "reflect")
"""Commands that read inputs in different ways; the others are for `make test-slow`."""
WITHOUT_ROWS = {"bomb.parquet", "fifo", "socket", "device", "linked.jsonl", "folder"}
"""Inputs that are refused as a whole; of the others the good row is read."""


def lines(*rows: Any) -> bytes:
    return b"".join(
        (one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in rows
    )


def make_inputs(folder: Path) -> list[str]:
    """Write one file for each way to take a reader down; their names."""
    deep = b"[" * 100_000 + b"]" * 100_000
    files: dict[str, bytes] = {
        "deep_first.jsonl": lines(b'{"instruction": ' + deep + b"}", GOOD, GOOD),
        "deep_last.jsonl": lines(GOOD, GOOD, deep),
        "deep_first.json": b"[" + deep + b"," + json.dumps(GOOD).encode() + b"]",
        "bad_byte.csv": b"id,instruction,output\n1,caf\xe9,x y\n2,Add 2 and 3,It is 5 of course\n",
        "nul.csv": b"id,instruction,output\n1,a\x00b,x\n2,Add 2 and 3,It is 5 of course\n",
        "big_field.csv": b"id,instruction,output\n1," + b"x" * 100_000_000
        + b",y\n2,Add 2 and 3,It is 5 of course\n",
        "big_key.jsonl": lines(b'{"' + b"k" * 10_000_000 + b'": 1}', GOOD, GOOD),
        "many_columns.csv": b"id,instruction,output," + b",".join(b"c%d" % i for i in range(50_000))
        + b"\n1,Add 2 and 3,It is 5 of course" + b"," * 50_000 + b"\n",
        "many_keys.jsonl": lines(GOOD | {f"k{i}": i for i in range(200_000)}, GOOD),
        "many_lists.jsonl": lines(b'{"instruction": [' + b"[]," * 2_000_000 + b"[]]}", GOOD, GOOD),
        "gzip_bomb.jsonl.gz": gzip.compress(b'{"instruction": "' + b"x" * 300_000_000 + b'"}\n'
                                            + lines(GOOD, GOOD), 6),
        "zstd_bomb.jsonl.zst": zstandard.compress(b'{"instruction": "' + b"x" * 300_000_000
                                                  + b'"}\n' + lines(GOOD, GOOD)),
        "number.jsonl": lines(b'{"id": ' + b"9" * 100_000 + b"}", GOOD, GOOD),
        "escapes.jsonl": lines(GOOD | {"id": "\x1b]0;owned\x07\u202e=1+1"}, GOOD),
    }  # fmt: skip
    for name, content in files.items():
        (folder / name).write_bytes(content)
    references = pa.DictionaryArray.from_arrays([0] * 256, pa.array(["x" * 20_000_000]))
    table = pa.table({"instruction": ["Add 2 and 3"] * 256, "output": references})
    pq.write_table(table, folder / "bomb.parquet", dictionary_pagesize_limit=2**30,
                   compression="zstd", store_schema=False)  # fmt: skip
    assert (folder / "bomb.parquet").stat().st_size < 10_000
    one = [{"instruction": "Add 2 and 3", "output": "It is 5 of course"}]
    nested = {"messages": [[{"role": "user", "content": "y" * 1_000_000},
                            {"role": "assistant", "content": "y" * 1_000_000}] * 40, None]
              } | {"output": ["y", "z"]}  # fmt: skip
    pq.write_table(pa.table(nested), folder / "nested.parquet", dictionary_pagesize_limit=2**30)
    pq.write_table(pa.Table.from_pylist(one), folder / "fine.parquet")
    os.mkfifo(folder / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
    (folder / "device").symlink_to("/dev/zero")
    (folder / "linked.jsonl").symlink_to("/dev/zero")
    (folder / "folder").mkdir()
    return [*files, "nested.parquet", "fine.parquet", *sorted(WITHOUT_ROWS)]


def test_every_command_is_in_the_matrix() -> None:
    assert {one[0] for one in COMMANDS.values()} | WITHOUT_INPUT == {
        one.name for one in cli.COMMANDS
    }


@needs_proc
@pytest.mark.long
@pytest.mark.parametrize(
    "command",
    [name if name in IN_CI else pytest.param(name, marks=pytest.mark.slow) for name in COMMANDS],
)
def test_hostile_inputs(
    command: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    inputs = make_inputs(tmp_path)
    (tmp_path / "good.jsonl").write_bytes(lines(GOOD, GOOD, GOOD))
    flags = [*COMMANDS[command], *(["--quiet"] if command != "card" else [])]
    if command not in WITHOUT_MODEL:
        flags += ["-m", str(tiny_model)]
    if command not in WITHOUT_METRICS:
        flags += ["--metrics", "ifd"]
    if command not in WITHOUT_LENGTH:
        flags += ["--max-length", "64"]
    with OracleServer() as server:
        if command in ASKS:
            flags += ["--base-url", server.base_url]
        done = subprocess.run(
            [sys.executable, "-c", RUN, json.dumps(inputs), json.dumps(flags)],
            capture_output=True, text=True, timeout=len(inputs) * MAX_SECONDS,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    problems = {name: one for name, one in found.items() if problem_of(command, name, *one)}
    assert not problems, json.dumps(problems, indent=1)


def problem_of(
    command: str, name: str, code: Any, out: str, err: str, seconds: float, peak: int
) -> bool:
    """Whether a command broke the contract on an input."""
    reads_data = "INPUT" in COMMANDS[command][1]
    # Any text is a template: one that leaves the conversation out.
    is_refused = name in WITHOUT_ROWS - {"bomb.parquet"} or command in (
        "model",
        "provenance",
        "card",
        "merge",
    )
    is_refused = is_refused or (name == "bomb.parquet" and reads_data)
    if reads_data and not is_refused and command != "show":
        # A file of which no row can be scored ends with 2.
        allowed = {0, 1} if command in ("audit", "clean") else {0, 1, 2}
    else:
        allowed = {0, 1, 2} if not is_refused else {2}
    errors = [line for line in err.splitlines() if line.startswith("ifdkit: ")]
    return (
        code not in allowed
        or (code == 2 and len(errors) != 1)
        or "Traceback" in err
        or "internal error" in err
        or any(not char.isprintable() for char in (out + err) if char != "\n")
        or peak > MAX_BYTES
        or seconds > MAX_SECONDS
    )


def stdin_of(make: Callable[[], int], *flags: str) -> subprocess.CompletedProcess[str]:
    descriptor = make()
    try:
        return subprocess.run(
            [sys.executable, "-m", "ifdkit", "audit", *flags, "--no-model", "--quiet"],
            stdin=descriptor, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    finally:
        os.close(descriptor)


def piped() -> int:
    reading, writing = os.pipe()
    os.write(writing, lines(GOOD, GOOD))
    os.close(writing)
    return reading


@pytest.mark.parametrize("name", ["-", "/dev/stdin", "/dev/fd/0"])
def test_a_pipe_on_standard_input_is_read(name: str) -> None:
    done = stdin_of(piped, name)
    assert done.returncode in (0, 1), done.stderr
    assert "2 " in done.stdout


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_a_device_on_standard_input_is_refused(name: str) -> None:
    done = stdin_of(lambda: os.open("/dev/zero", os.O_RDONLY), name)
    assert done.returncode == 2
    assert "device" in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_endless_stream_is_refused_at_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    from ifdkit.data import sources
    from ifdkit.errors import InputError

    monkeypatch.setattr(sources, "MAX_STREAM_BYTES", 2**20)
    with Path("/dev/zero").open("rb") as stream, pytest.raises(InputError, match="more than"):
        sources._spool(stream, "stdin")
