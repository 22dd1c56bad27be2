"""Scores files and manifests that somebody edited: an answer or one line, in every command."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import ifdkit.viewing.run as viewing
from ifdkit.cli.main import main
from ifdkit.scoring import run
from tests.limits import time_limit

pytestmark = pytest.mark.long

ROWS = [{"id": f"r{i}", "instruction": f"Add {i} and 3", "output": f"It is {i + 3} of course."}
        for i in range(6)]  # fmt: skip
COMMANDS: dict[str, list[str]] = {
    "compare": ["compare", "SCORES", "other.jsonl", "-o", "report"],
    "compare scores": ["compare", "other.scores.jsonl", "SCORES", "-o", "report"],
    "unpaired": ["compare", "SCORES", "other.scores.jsonl", "--unpaired", "-o", "report"],
    "select": ["select", "SCORES", "-o", "kept.jsonl", "--by", "ifd", "--top", "50%"],
    "where": ["select", "SCORES", "-o", "kept.jsonl", "--where", "ifd < 1 and response_tokens > 1"],
    "audit": ["audit", "SCORES", "--fail-if", "ifd > 0.5"],
    "card": ["card", "SCORES"],
    "show": ["show", "SCORES", "0"],
    "view": ["view", "SCORES", "--no-open", "--port", "0", "--marks", "marks.jsonl"],
    "merge": ["merge", "SCORES", "shard-2.jsonl", "-o", "merged.jsonl"],
    "score": ["score", "SCORES", "-o", "again.jsonl", "--metrics", "ifd"],
    "ids": ["select", "data.jsonl", "-o", "kept.jsonl", "--ids", "SCORES"],
    "train": ["train", "SCORES", "-o", "tuned", "--steps", "1", "--batch-size", "1"],
    "generate": ["generate", "SCORES", "-o", "answers.jsonl", "--max-new-tokens", "2"],
    "predict": ["predict", "SCORES", "-o", "prediction"],
}


@pytest.fixture(scope="module")
def scored(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with scores that ifdkit has made, whole and in two shards."""
    folder = tmp_path_factory.mktemp("scored")
    with contextlib.chdir(folder):
        for name, suffix in (("data", ""), ("other", " Yes.")):
            rows = [row | {"output": row["output"] + suffix} for row in ROWS]
            Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        call = ["-m", str(tiny_model), "--metrics", "ifd", "-q"]
        for ending in ("jsonl", "csv", "parquet"):
            assert (
                main(["score", "data.jsonl", "-o", f"data.scores.{ending}", "--token-nll", *call])
                == 0
            )
        assert main(["score", "other.jsonl", "-o", "other.scores.jsonl", "--token-nll", *call]) == 0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(run, "EXAMPLES_PER_BLOCK", 2)
            for i in (1, 2):
                shard = ["-o", f"shard-{i}.jsonl", "--shard", f"{i}/2"]
                assert main(["score", "data.jsonl", *shard, *call]) == 0
    return folder


@pytest.fixture
def folder(scored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(scored, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(viewing, "serve", lambda session, *_: session.wait())
    return tmp_path


def all_rows(**values: Any) -> Callable[[list[dict[str, Any]]], None]:
    def edit(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            row.update(values)

    return edit


def first_row(**values: Any) -> Callable[[list[dict[str, Any]]], None]:
    def edit(rows: list[dict[str, Any]]) -> None:
        rows[0].update(values)

    return edit


def without(*names: str) -> Callable[[list[dict[str, Any]]], None]:
    def edit(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            for name in names:
                row.pop(name, None)

    return edit


ODD: tuple[Any, ...] = (None, True, "x", "", 0, -1, 1e308, -1e308, 1e-320, 10**30, 2**63, [], [1],
                        {"a": 1}, "nan", "1e999", "=1+1", "\x1b[2J")  # fmt: skip
FIELDS = ("id", "row", "turn", "status", "reason", "response_tokens", "truncated_tokens", "ifd",
          "nll_response_direct", "ppl_response_direct", "coherence",
          "token_nll_response_direct", "source")  # fmt: skip
EDITS: dict[str, Callable[[list[dict[str, Any]]], None]] = {
    "every number is infinite": all_rows(ifd=1e999, nll_response_direct=1e999),
    "every number is no number": all_rows(ifd=float("nan"), nll_response_direct=float("nan")),
    "all ids are equal": all_rows(id="r"),
    "all rows are the first": all_rows(row=0, turn=0),
    "rows that do not exist": all_rows(row=10**12),
    "lists of other lengths": all_rows(token_nll_response_direct=[1.0] * 1000),
    "lists of lists": all_rows(token_nll_response_direct=[[1.0], [2.0]]),
    "lists with gaps": all_rows(token_nll_response_direct=[1.0, None, "x"]),
    "empty lists": all_rows(token_nll_response_direct=[], token_nll_response_conditional=[]),
    "negative lengths": all_rows(response_tokens=-5, truncated_tokens=10),
    "an unknown status": all_rows(status="excellent"),
    "no rows": lambda rows: rows.clear(),
    "one row": lambda rows: rows.__delitem__(slice(1, None)),
    "rows twice": lambda rows: rows.extend(list(rows)),
    "rows backwards": lambda rows: rows.reverse(),
    "more columns": all_rows(**{f"c{i}": i for i in range(2000)}),
    **{f"without {name}": without(name) for name in FIELDS},
    **{f"{name} is {value!r}"[:60] + f" {i}": all_rows(**{name: value})
       for name in FIELDS for i, value in enumerate(ODD)},
    **{f"the first {name} is {value!r}"[:60] + f" {i}": first_row(**{name: value})
       for name in FIELDS for i, value in enumerate(ODD)},
}  # fmt: skip


def edit_lines(path: Path, edit: Callable[[list[dict[str, Any]]], None]) -> None:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    edit(rows)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def edit_csv(path: Path, edit: Callable[[list[dict[str, Any]]], None]) -> None:
    rows: list[dict[str, Any]] = list(csv.DictReader(io.StringIO(path.read_text(), newline="")))
    edit(rows)
    names = list(dict.fromkeys(name for row in rows for name in row)) or ["id"]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def edit_parquet(path: Path, edit: Callable[[list[dict[str, Any]]], None]) -> None:
    rows = pq.read_table(path).to_pylist()
    edit(rows)
    with contextlib.suppress(pa.ArrowException, OverflowError):  # a column of several types
        pq.write_table(pa.Table.from_pylist(rows), path)


EDITORS = {"jsonl": edit_lines, "csv": edit_csv, "parquet": edit_parquet}


def remove_outputs() -> None:
    """What an earlier run of a command may have left."""
    for output in ("report", "kept.jsonl", "merged.jsonl", "again.jsonl", "tuned", "prediction"):
        shutil.rmtree(output, ignore_errors=True)
        Path(f"{output}.manifest.json").unlink(missing_ok=True)


def problem_of(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str | None:
    """What a command did wrong."""
    try:
        with time_limit(60):
            code = main(argv)
    except BaseException as error:  # noqa: BLE001  an exit of the parser, too
        return f"raised {error!r}"
    out, err = capsys.readouterr()
    errors = [line for line in err.splitlines() if line.startswith("ifdkit: ")]
    if code not in (0, 1, 2):
        return f"code {code}"
    if "internal error" in err or "Traceback" in err:
        return err[-400:]
    if code == 2 and len(errors) != 1:
        return f"{len(errors)} lines of errors: {err[-400:]}"
    if any(not char.isprintable() for char in (out + err) if char != "\n"):
        return "a control character"
    return None


def flags_of(command: str, model: Path) -> list[str]:
    wants_model = command not in ("card", "merge", "ids")
    return [*(["-m", str(model)] if wants_model else []), *(["-q"] if command != "card" else [])]


IN_CI = {("card", "csv"), ("select", "jsonl"), ("merge", "parquet")}
"""Each takes seconds; the others are for `make test-slow`."""


@pytest.mark.parametrize(
    ("command", "ending"),
    [
        pytest.param(*one, marks=[] if one in IN_CI else pytest.mark.slow)
        for one in product(COMMANDS, EDITORS)
    ],
)
def test_edited_scores(
    command: str,
    ending: str,
    folder: Path,
    tiny_model: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = folder / f"data.scores.{ending}"
    original = path.read_bytes()
    argv = [path.name if one == "SCORES" else one for one in COMMANDS[command]]
    argv += flags_of(command, tiny_model)
    problems = {}
    for name, edit in EDITS.items():
        path.write_bytes(original)
        EDITORS[ending](path, edit)
        remove_outputs()
        if problem := problem_of(argv, capsys):
            problems[name] = problem
    assert not problems, json.dumps(problems, indent=1)


MANIFEST_ODD: tuple[Any, ...] = (None, True, "x", 0, -1, 10**30, 1e308, [], [1], {}, {"a": []},
                                 "..", ["a"], [{}])  # fmt: skip


@pytest.mark.parametrize(
    "command",
    [name if name == "merge" else pytest.param(name, marks=pytest.mark.slow) for name in COMMANDS],
)
def test_lying_manifests(
    command: str, folder: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "shard-1.jsonl" if command == "merge" else "data.scores.jsonl"
    path = folder / f"{name}.manifest.json"
    content = json.loads(path.read_bytes())
    argv = [name if one == "SCORES" else one for one in COMMANDS[command]]
    argv += flags_of(command, tiny_model)
    lies: dict[str, Any] = {f"{key}: {value!r}": content | {key: value}
                            for key in content for value in MANIFEST_ODD}  # fmt: skip
    lies |= {f"without {key}": {k: v for k, v in content.items() if k != key} for key in content}
    if content.get("shard"):
        lies |= {f"shard {key}: {value!r}": content | {"shard": content["shard"] | {key: value}}
                 for key in content["shard"]
                 for value in (*MANIFEST_ODD, [0], [5], [0, 0], [10**9], 3, [-1])}  # fmt: skip
    texts = {key: json.dumps(value) for key, value in lies.items()}
    texts |= {"deep": "[" * 100_000, "nothing": "", "a list": "[]", "a text": '"x"',
              "cut": json.dumps(content)[:200], "no text": "\xff\xfe"}  # fmt: skip
    problems = {}
    for key, text in texts.items():
        path.write_bytes(text.encode("latin-1" if key == "no text" else "utf-8"))
        remove_outputs()
        if problem := problem_of(argv, capsys):
            problems[key] = problem
    assert not problems, json.dumps(problems, indent=1)


def shard_lies(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Manifests that name other rows than the shard has, and agree with themselves."""
    examples = content["shard"]["examples"]
    fewer, more = [n - 1 for n in examples], [n + 1 for n in examples]
    return {
        name: content | {"examples": sum(counts), "shard": content["shard"] | {"examples": counts}}
        for name, counts in (("fewer", fewer), ("more", more))
    }


@pytest.mark.parametrize("name", ["fewer", "more"])
def test_merge_loses_no_row_of_a_shard_whose_manifest_lies(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "shard-1.jsonl.manifest.json"
    path.write_text(json.dumps(shard_lies(json.loads(path.read_bytes()))[name]))
    assert main(["merge", "shard-1.jsonl", "shard-2.jsonl", "-o", "merged.jsonl", "-q"]) == 2
    assert "rows that its manifest names" in capsys.readouterr().err
    assert not Path("merged.jsonl").exists()


@pytest.mark.parametrize("line", ["", "[]", "{}", '{"row": "x"}', '{"row": 1', "[" * 10_000])
def test_merge_refuses_damaged_rejects(
    line: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "shard-1.jsonl.manifest.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"rows_rejected": 1}))
    (folder / "shard-1.jsonl.rejects.jsonl").write_text(line + "\n")
    assert main(["merge", "shard-1.jsonl", "shard-2.jsonl", "-o", "merged.jsonl", "-q"]) == 2
    assert "rejects.jsonl is damaged" in capsys.readouterr().err
