"""`ifdkit select` as a user types it: files, exit codes, one-line errors, interruption."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from ifdkit.cli.main import main
from ifdkit.selection.methods import METHODS
from tests.select_fixtures import rows_like, scored

pytestmark = pytest.mark.long

Make = Callable[..., Path]


@pytest.fixture(autouse=True)
def fresh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run in an empty folder; signal handlers stay pytest's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda *_: None)


def words(out: str) -> str:
    return " ".join(out.split())


def test_the_terminal_shows_what_was_kept_and_how_the_data_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = rows_like(40, source=["web", "forum"] * 20)
    for i in range(40):
        rows[i]["output"] = "word " * (i + 1)
    values = [None, *(i / 38 for i in range(39))]
    source = scored(tmp_path, rows, ifd=values)
    assert main(["select", source.name, "-o", "best.json", "--by", "ifd", "--top", "10%"]) == 0
    out, err = capsys.readouterr()
    said = words(out)
    assert "40 rows, by ifd: 4 kept" in said
    assert "dropped: 34 below_top, 1 undefined, 1 ifd_above_one" in said
    assert "undefined: 1 no_ifd" in said
    assert "response tokens 20.5 37.5" in said
    assert "share by source" in said
    assert "web 50 % 50 %" in said
    assert "! This selection is mostly longer answers: a median of 38 response tokens" in said
    assert "75 % of its rows are among the 4 longest of the input, against 10 % by chance" in said
    assert "--method length-controlled" in said
    assert "Spearman(IFD, response tokens) = +1.00" in said
    assert "best.json.rows.jsonl" in said
    assert "data.scores.jsonl: 40 rows of scores" in err
    assert "\x1b" not in out + err
    assert len(json.loads(Path("best.json").read_text())) == 4


def test_bands_are_shown_and_inputs_are_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = scored(tmp_path, rows_like(10), ifd=[i / 10 for i in range(10)])
    flags = ["--method", "length-controlled", "--top", "3", "-q"]
    assert main(["select", source.name, "-o", "best.json", *flags]) == 0
    assert "response tokens rows candidates kept" in words(capsys.readouterr().out)
    before = source.read_bytes()
    assert main(["select", source.name, "-o", source.name, *flags]) == 2
    assert "is the input itself: choose another name" in capsys.readouterr().err
    assert main(["select", source.name, "-o", "data.jsonl", *flags]) == 2
    assert "is the input itself: choose another name" in capsys.readouterr().err
    assert source.read_bytes() == before


def test_json_is_the_manifest(write: Make, capsys: pytest.CaptureFixture[str]) -> None:
    write("data.json", rows_like(30))
    flags = ["--method", "random", "--top", "20%", "--seed", "4", "--json", "-q"]
    assert main(["select", "data.json", "-o", "best.jsonl", *flags]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    made = json.loads(out)
    assert made == json.loads(Path("best.jsonl.manifest.json").read_text())
    assert (made["schema"], made["seed"]) == ("ifdkit.selection/1", 4)
    assert (made["kept"], made["dropped"]) == (6, {"not_drawn": 24})
    assert made["parameters"]["top"] == "20%"


def test_too_few_qualifying_rows_are_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = scored(tmp_path, rows_like(12), ifd=[1.5, *[0.5] * 11])
    assert main(["select", source.name, "-o", "b.json", "--by", "ifd", "--top", "12", "-q"]) == 0
    assert "! 12 were requested; no more qualify" in words(capsys.readouterr().out)


def test_names_from_the_data_cannot_control_the_terminal(
    write: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    write("data.json", rows_like(20, source=["\x1b[2Jred", "b\u202ee"] * 10))
    assert main(["select", "data.json", "-o", "b.json", "--method", "random", "--top", "9"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert "\\x1b[2Jred" in out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "choose what to keep: --by FIELD, such as --by ifd --top 5%, or --method cherry"),
        (["--by", "ifd", "--method", "random", "--top", "5"], "choose only one of --by FIELD"),
        (["--by", "idf", "--top", "5"], "--by: no metric 'idf': did you mean 'ifd'?"),
        (["--method", "luck", "--top", "5"], "no method 'luck': choose from cherry"),
        (["--by", "ifd"], "choose how many rows: --top 5% or --top 2000, or which: --min X"),
        (["--method", "random"], "choose how many rows: --top 5% or --top 2000"),
        (["--method", "cherry", "--min", "0.1"], "choose how many rows"),
        (["--by", "ifd", "--top", "0"], "--top 0: must be at least one row"),
        (["--by", "ifd", "--top", "x"], "--top x: give a number of rows, or a share such as 5%"),
        (["--method", "random", "--top", "5%"], "--top 5% of 4 rows is less than one row"),
        (["--by", "ifd", "--min", "nan"], "--min nan: must be a finite number"),
        (["--by", "ifd", "--min", "2", "--max", "1"], "--min 2 is above --max 1: swap them"),
        (["--method", "cherry", "--top", "5", "--lowest"], "--lowest does not apply to cherry"),
        (["--method", "random", "--top", "5", "--min", "0"], "--min does not apply to random"),
        (["--by", "ifd", "--top", "5", "--diversity"], "--diversity does not apply to --by: it is"
         " for superfiltering"),
        (["--method", "superfiltering", "--top", "5", "--pool", "9"], "--pool is what --diversity"),
        (["--method", "superfiltering", "--top", "5", "--diversity", "--pool", "z"], "--pool z:"),
        (["--by", "ifd", "--top", "5", "--bands", "3"], "--bands does not apply to --by"),
        (["--method", "length-controlled", "--top", "5", "--bands", "0"], "--bands 0: must be"),
        (["--method", "selective", "--top", "5"], "--top does not apply to selective"),
        (["--method", "selective"], "no such file: data.json.provenance.jsonl"),
        (["--method", "selective", "--provenance", "data.json"], "data.json, line 1, is not from"),
        (["--method", "selective", "--turns", "all"], "give --turns last"),
        (["--method", "random", "--top", "2", "-o", "b.xml"], "end it in .json"),
        (["--method", "random", "--top", "2", "-o", "data.json"], "is the input itself"),
        (["--method", "random", "--top", "2", "--limit", "0"], "--limit 0: at least one row"),
        (["--by", "ifd", "--top", "2", "--protocol", "x"], "no protocol 'x'"),
        (["--by", "ifd", "--top", "2", "--model", "./nowhere"], "nowhere"),
    ],
)  # fmt: skip
def test_errors_are_one_line_and_exit_two(
    write: Make, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    write("data.json", rows_like(4))
    output = [] if "-o" in flags else ["-o", "best.json"]
    assert main(["select", "data.json", *output, *flags, "-q"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.startswith("ifdkit: ")
    assert err.count("\n") == 1
    assert [path.name for path in Path().iterdir()] == ["data.json"]


def test_the_help_lists_every_method(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["select", "--help"]) == 0
    out = capsys.readouterr().out
    assert [name for name in METHODS if f"\n    {name}  " not in out] == []


def test_an_output_is_required(write: Make, capsys: pytest.CaptureFixture[str]) -> None:
    write("data.json", rows_like(4))
    assert main(["select", "data.json", "--method", "random", "--top", "2"]) == 2
    assert "missing option '--output' / '-o'" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["effect_of", "SourceColumns"])
def test_an_interruption_leaves_nothing_half_written(
    write: Make, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    write("data.json", rows_like(20))
    command = ["select", "data.json", "-o", "best.json", "--method", "random", "--top", "5", "-q"]
    assert main(command) == 0
    before = {path.name: path.read_bytes() for path in Path().iterdir()}

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"ifdkit.selection.run.{place}", interrupt)
    assert main([*command, "--seed", "9"]) == 130
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == before
    Path("best.json").unlink()
    assert main(command) == 130
    assert not Path("best.json").exists()


def test_the_settings_file_gives_defaults(write: Make, capsys: pytest.CaptureFixture[str]) -> None:
    write("data.json", rows_like(20))
    write("ifdkit.toml", 'top = 3\nmethod = "random"\n')
    assert main(["select", "data.json", "-o", "best.json", "-q"]) == 0
    assert "3 kept" in capsys.readouterr().out


def test_a_condition_on_scores_is_compared_with_the_whole_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a choice by `--where` alone is a selection like any other."""
    rows = rows_like(24)
    for i, row in enumerate(rows):
        row["output"] = "word " * (i + 1)
    source = scored(tmp_path, rows, ifd=[0.5] * 24)
    for flags, n in ([], 12), (["--by", "ifd", "--top", "3"], 3):
        where = ["--where", "response_tokens > 12", *flags]
        assert main(["select", source.name, "-o", "long.json", *where]) == 0
        assert ("mostly longer answers" in words(capsys.readouterr().out)) == (n == 12)
        done = json.loads(Path("long.json.manifest.json").read_text())
        measure = done["effect"]["measures"][0]
        assert (done["kept"], measure["name"]) == (n, "response_tokens")
        assert measure["input"] == 12.5
        assert done["effect"]["length"]["chance_among_longest"] == n / 24
        log = [json.loads(line) for line in Path("long.json.rows.jsonl").read_text().splitlines()]
        assert [line["reason"] for line in log[:12]] == ["where"] * 12
        assert [line["row"] for line in log] == list(range(24))
    assert main(["select", source.name, "-o", "all.json", "--where", "ifd < 1"]) == 0
    assert "random choice" not in capsys.readouterr().out
