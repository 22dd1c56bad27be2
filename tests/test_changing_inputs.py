"""A dataset that changes while it is read is refused, in every command and however it changes."""

from __future__ import annotations

import gzip
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest

from ifdkit.cli.main import main
from ifdkit.data.dataset import open_dataset
from ifdkit.data.raw import Raw
from ifdkit.data.unchanged import Unchanged
from ifdkit.errors import InputError
from tests.oracle_server import OracleServer

ROW = {"instruction": "Name a colour.", "output": "Green is the colour of grass."}
CHANGED = "data.jsonl changed while it was read"


def lines(n: int) -> str:
    return "".join(json.dumps({**ROW, "id": f"r{i}"}) + "\n" for i in range(n))


def append(path: Path) -> None:
    with path.open("a") as file:
        file.write(lines(3))


def replace(path: Path) -> None:
    """By a file of the same size and age."""
    stat = path.stat()
    other = path.with_name("other")
    other.write_bytes(path.read_bytes().replace(b"Green", b"Brown"))
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.replace(path)


CHANGES: dict[str, Callable[[Path], object]] = {
    "append": append,
    "replace": replace,
    "truncate": lambda path: os.truncate(path, 100),
    "overwrite": lambda path: path.write_text(lines(9).replace("Green", "Brown")),
    "break": lambda path: path.write_bytes(b"\xff\x00" * 200),
    "remove": Path.unlink,
}


@pytest.fixture
def changes_in_pass(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Changes the file for real when the third row of a pass is read; counts the passes."""

    def arrange(path: Path, change: Callable[[Path], object], at: int) -> list[int]:
        passes: list[int] = []
        before = Unchanged.watched

        def watched(self: Unchanged, rows: Callable[[], Iterator[Raw]]) -> Any:
            def changing() -> Iterator[Raw]:
                passes.append(1)
                number = len(passes)
                for raw in rows():
                    if raw.row == 2 and number == at:
                        change(path)
                    yield raw

            return before(self, changing)

        monkeypatch.setattr(Unchanged, "watched", watched)
        return passes

    return arrange


@pytest.fixture
def oracle() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


COMMANDS = {
    "score": ["score", "data.jsonl", "-o", "out.jsonl"],
    "join": ["score", "data.jsonl", "--join", "-o", "out.jsonl"],
    "limit": ["score", "data.jsonl", "--limit", "5", "-o", "out.jsonl"],
    "select": ["select", "data.jsonl", "-o", "out.jsonl", "--by", "ifd", "--top", "3"],
    "random": ["select", "data.jsonl", "-o", "out.jsonl", "--method", "random", "--top", "3"],
    "audit": ["audit", "data.jsonl", "-o", "out.jsonl", "--no-model"],
    "clean": ["audit", "data.jsonl", "--clean", "out.jsonl", "--no-model"],
    "compare": ["compare", "data.jsonl", "same.jsonl", "-o", "out.jsonl"],
    "reflect": ["reflect", "data.jsonl", "-o", "out.jsonl", "--oracle", "m", "--retries", "0"],
    "judge": ["judge", "data.jsonl", "same.jsonl", "-o", "out.jsonl", "--oracle", "m",
              "--retries", "0"],
    "generate": ["generate", "data.jsonl", "-o", "out.jsonl", "--max-new-tokens", "2"],
    "train": ["train", "data.jsonl", "-o", "out.jsonl", "--steps", "1", "--batch-size", "1"],
}  # fmt: skip
MEASURES = {"score", "join", "limit", "compare"}
"""Commands that take --metrics."""


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_change_during_a_run_is_an_error(
    command: str,
    change: str,
    tmp_path: Path,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changes_in_pass: Callable[..., list[int]],
    oracle: ExitStack,
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "data.jsonl"
    arguments = [*COMMANDS[command], "-q"]
    if command != "judge":  # which scores nothing
        arguments += ["-m", str(tiny_model), "--store", "store.sqlite"]
    if command in MEASURES:
        arguments += ["--metrics", "ifd"]
    if "--oracle" in arguments:
        server = oracle.enter_context(OracleServer())
        arguments += ["--base-url", server.base_url]
    (tmp_path / "same.jsonl").write_text(lines(9))
    path.write_text(lines(9))
    for at in (1, 2):  # while it is opened, and while it is scored
        path.write_text(lines(9))
        with monkeypatch.context():
            changes_in_pass(path, CHANGES[change], at)
            assert main(arguments) == 2
        err = capsys.readouterr().err
        assert CHANGED in err, at
        assert err.count("\n") == 1
        assert not (tmp_path / "out.jsonl").exists()
        monkeypatch.undo()
        monkeypatch.chdir(tmp_path)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("name", ["data.jsonl.gz", "data.parquet", "data.csv"])
def test_other_containers(
    tmp_path: Path, name: str, changes_in_pass: Callable[..., list[int]]
) -> None:
    import pandas as pd

    frame = pd.DataFrame([ROW] * 9)
    path = tmp_path / name
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(lines(9).encode()))
    elif name.endswith(".csv"):
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    changes_in_pass(path, lambda one: os.utime(one, ns=(1, 1)), 2)
    dataset = open_dataset(path)
    with pytest.raises(InputError, match="changed while it was read"):
        list(dataset)


def test_a_file_of_a_saved_dataset(
    tmp_path: Path, changes_in_pass: Callable[..., list[int]]
) -> None:
    import pyarrow as pa

    (tmp_path / "state.json").write_text('{"_data_files": [{"filename": "a.arrow"}]}')
    table = pa.Table.from_pylist([ROW] * 9)
    with pa.ipc.new_stream(str(tmp_path / "a.arrow"), table.schema) as writer:
        writer.write_table(table)
    assert len(list(open_dataset(tmp_path))) == 9
    changes_in_pass(tmp_path, lambda one: os.utime(one / "state.json", ns=(1, 1)), 2)
    dataset = open_dataset(tmp_path)
    with pytest.raises(InputError, match="changed while it was read"):
        list(dataset)


def test_standard_input_and_unchanged_files_are_not_affected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stdin(TextIOWrapper):
        def isatty(self) -> bool:
            return False

    monkeypatch.setattr(sys, "stdin", Stdin(BytesIO(lines(9).encode())))
    assert len(list(open_dataset("-"))) == 9
    path = tmp_path / "data.jsonl"
    path.write_text(lines(9))
    dataset = open_dataset(path)
    assert len(list(dataset)) == len(list(dataset)) == 9
    path.chmod(0o600)
    assert len(list(dataset)) == 9, "its mode may change"


def test_scores_that_change_while_they_are_read(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from ifdkit.scoring import dataset as module
    from ifdkit.scoring.table import read_scores

    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.jsonl").write_text(lines(9))
    arguments = ["-q", "-m", str(tiny_model), "--store", "off"]
    assert main(["score", "data.jsonl", "--metrics", "ifd", *arguments]) == 0
    real = read_scores

    def read(path: Path) -> Any:
        found = real(path)
        append(path)
        return found

    monkeypatch.setattr(module, "read_scores", read)
    capsys.readouterr()
    assert main(["audit", "data.scores.jsonl", "-q"]) == 2
    assert "data.scores.jsonl changed while it was read" in capsys.readouterr().err
