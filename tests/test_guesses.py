"""What ifdkit does not guess: which option counts, which row is meant, what may be replaced."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ifdkit.cli.main import main

pytestmark = pytest.mark.long


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for language, word in (("en", "sea"), ("de", "Meer")):
        Path(language).mkdir()
        row = {"instruction": "Name it.", "output": f"The {word} is wide."}
        Path(language, "train.jsonl").write_text(json.dumps(row) + "\n")
    return tmp_path


@pytest.fixture
def flags(tiny_model: Path) -> list[str]:
    return ["-m", str(tiny_model), "--metrics", "ppl", "--store", "store.sqlite", "-q"]


def test_scores_of_another_dataset_are_not_overwritten(
    files: Path, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", "en/train.jsonl", *flags]) == 0
    first = (files / "train.scores.jsonl").read_bytes()
    assert main(["score", "de/train.jsonl", *flags]) == 2
    message = "train.scores.jsonl holds the scores of en/train.jsonl: choose another name with -o"
    assert message in capsys.readouterr().err
    assert (files / "train.scores.jsonl").read_bytes() == first
    assert main(["score", "de/train.jsonl", *flags, "-o", "train.scores.jsonl"]) == 0
    assert (files / "train.scores.jsonl").read_bytes() != first


def test_scores_of_the_same_dataset_are_replaced(files: Path, flags: list[str]) -> None:
    assert main(["score", "en/train.jsonl", *flags]) == 0
    with Path("en/train.jsonl").open("a") as file:
        file.write(json.dumps({"instruction": "Again.", "output": "The sea."}) + "\n")
    assert main(["score", str(files / "en" / "train.jsonl"), *flags]) == 0
    assert len((files / "train.scores.jsonl").read_text().splitlines()) == 2


def test_the_comparison_of_other_datasets_is_not_overwritten(
    files: Path, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "en/train.jsonl", "de/train.jsonl", "--pair-by", "row", *flags]) == 0
    Path("en/train.jsonl").rename("train.jsonl")
    assert main(["compare", "train.jsonl", "de/train.jsonl", "--pair-by", "row", *flags]) == 2
    message = "holds the comparison of de/train.jsonl and en/train.jsonl: choose another name"
    assert message in capsys.readouterr().err
    Path("train.jsonl").rename("en/train.jsonl")
    assert main(["compare", "en/train.jsonl", "de/train.jsonl", "--pair-by", "row", *flags]) == 0


@pytest.mark.parametrize(
    ("ids", "which", "row"),
    [
        ([1, 2, 3], "1", 0),  # an id
        ([1, 2, 3], "3", 2),
        ([1, 2, 3], "0", 0),  # no such id: the position
        (["a", "b", "c"], "1", 1),
        (["a", "b", "c"], "b", 1),
        (["2", "1", "0"], "0", 2),
        ([None, None, "0"], "0", 2),
    ],
)
def test_show_looks_for_an_id_before_a_position(
    files: Path,
    flags: list[str],
    capsys: pytest.CaptureFixture[str],
    ids: list[object],
    which: str,
    row: int,
) -> None:
    rows = [{"id": one, "instruction": f"Say {one}.", "output": "The sea."} for one in ids]
    Path("rows.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    assert main(["show", "rows.jsonl", which, *flags, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["example"]["row"] == row


@pytest.mark.parametrize(
    "repeated",
    [
        ["--model", "gpt2"],
        ["-m", "gpt2"],
        ["--metrics", "ifd"],
        ["--limit", "3"],
        ["-o", "other.jsonl"],
        ["--template=alpaca"],
    ],
)
def test_an_option_given_twice_is_refused(
    files: Path, flags: list[str], capsys: pytest.CaptureFixture[str], repeated: list[str]
) -> None:
    command = ["score", "en/train.jsonl", *flags, "--limit", "1", "-o", "a.jsonl"]
    command += ["--template", "plain"]
    assert main([*command, *repeated]) == 2
    assert "is given twice" in capsys.readouterr().err
    assert not (files / "a.jsonl").exists()
    assert main([*command, "-q"]) == 0  # a switch has no value that could be lost
