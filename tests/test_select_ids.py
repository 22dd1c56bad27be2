"""`select --ids`: a list of ids, or the marks of `ifdkit view`, chooses the rows."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from ifdkit.cli.main import main
from ifdkit.errors import InputError
from ifdkit.selection.ids import read_ids
from tests.select_fixtures import rows_like, scored


@pytest.fixture(autouse=True)
def fresh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run in an empty folder; signal handlers stay pytest's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda *_: None)


def selected(tmp_path: Path, content: str, *flags: str) -> list[str]:
    source = scored(tmp_path, rows_like(6), ifd=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    Path("marks.jsonl").write_text(content, encoding="utf-8")
    command = ["select", source.name, "-o", "out.json", "--ids", "marks.jsonl", *flags]
    assert main(command) == 0
    return [row["id"] for row in json.loads(Path("out.json").read_text())]


def line(name: str, mark: str | None) -> str:
    return json.dumps({"id": name, "mark": mark}) + "\n"


def test_listed_ids_are_kept(tmp_path: Path) -> None:
    assert selected(tmp_path, 'r4\n\n{"id": "r1"}\n') == ["r1", "r4"]


def test_starred_rows_are_kept(tmp_path: Path) -> None:
    marks = line("r3", "star") + line("r1", "drop") + line("r5", "star")
    assert selected(tmp_path, marks) == ["r3", "r5"]


def test_drops_alone_keep_the_others(tmp_path: Path) -> None:
    assert selected(tmp_path, line("r0", "drop") + line("r5", "drop")) == ["r1", "r2", "r3", "r4"]


def test_the_last_mark_of_an_id_counts(tmp_path: Path) -> None:
    marks = line("r0", "drop") + line("r5", "drop") + line("r0", None)
    assert selected(tmp_path, marks) == ["r0", "r1", "r2", "r3", "r4"]


def test_with_a_ranking_and_an_expression(tmp_path: Path) -> None:
    flags = ("--by", "ifd", "--top", "1", "--where", "ifd < 0.45")
    assert selected(tmp_path, line("r5", "drop") + line("r3", "drop"), *flags) == ["r2"]


def test_the_manifest_names_the_file_and_other_rows_are_accounted_for(tmp_path: Path) -> None:
    selected(tmp_path, "r4\n")
    manifest = json.loads(Path("out.json.manifest.json").read_text())
    assert manifest["parameters"]["ids"] == "marks.jsonl"
    assert (manifest["rows_in"], manifest["kept"]) == (6, 1)


def test_absent_ids_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    selected(tmp_path, "r4\nr9\n")
    assert "marks.jsonl: 1 id of 2 not in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "has no id"),
        ('{"id": "r1", "mark": null}', "has no id"),
        ('{"mark": "star"}', "line 1 has no id"),
        ('{"id": "r1", "mark": "best"}', "mark 'best' is not star, drop or null"),
        ("{", "line 1 is not JSON"),
    ],
)
def test_a_wrong_file_is_one_error(tmp_path: Path, content: str, problem: str) -> None:
    (tmp_path / "x").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=problem):
        read_ids(tmp_path / "x")


def test_no_row_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = scored(tmp_path, rows_like(3), ifd=[0.1, 0.2, 0.3])
    Path("ids.txt").write_text("other\n")
    assert main(["select", source.name, "-o", "out.json", "--ids", "ids.txt"]) == 2
    assert "it keeps no row of" in capsys.readouterr().err
    assert main(["select", source.name, "-o", "out.json", "--ids", "absent.txt"]) == 2
    assert "not a readable text file" in capsys.readouterr().err
