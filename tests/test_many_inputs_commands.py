"""Commands on several inputs: the same numbers as one file, and results by input."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

import ifdkit
from ifdkit.cli.main import main
from ifdkit.data import spilling
from ifdkit.data.many_inputs import expand
from ifdkit.errors import IfdkitError, InputError, OutputError, UsageError
from ifdkit.report.terminal.progress import LineProgress
from ifdkit.scoring.output_names import default_joined_output, default_output
from ifdkit.scoring.progress import Progress
from tests.test_many_inputs import rows, shard

pytestmark = pytest.mark.long

Row = dict[str, Any]
N_PER_SHARD = 3
NUMBERS = ("status", "ifd", "ppl_response_direct", "nll_response_conditional", "response_tokens")


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("signal.signal", lambda *_: None)


@pytest.fixture(scope="module")
def flags(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A tiny model, with one store for the module."""
    store = tmp_path_factory.mktemp("many") / "store.sqlite"
    return ["-m", str(tiny_model), "--store", str(store), "-q"]


@pytest.fixture
def settings(flags: list[str]) -> dict[str, Any]:
    return {"model": flags[1], "store": flags[3], "metrics": "ifd"}


def run(*words: str | Path, flags: Sequence[str] = ()) -> int:
    return main([*map(str, words), *flags])


def content(n: int) -> list[Row]:
    return [{"id": f"r{i}", **row} for i, row in enumerate(rows(n))]


def twenty_shards() -> list[Row]:
    """20 shards of mixed formats in `shards`, one of them corrupt; all rows that can be read."""
    every = content(19 * N_PER_SHARD)
    for i in range(20):
        k = i if i < 7 else i - 1
        part = every[k * N_PER_SHARD : (k + 1) * N_PER_SHARD]
        if i == 7:
            broken = gzip.compress(json.dumps(content(1)[0]).encode())[:-12]
            Path("shards/07.jsonl.gz").write_bytes(broken)
        else:
            shard(Path(f"shards/{i:02}{'.parquet' if i % 3 else '.jsonl.gz'}"), part)
    return every


def read(path: str) -> list[Row]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_twenty_shards_score_as_one_file(
    flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    shard(Path("one.jsonl"), twenty_shards())
    assert run("score", "one.jsonl", flags=flags) == 0
    capsys.readouterr()
    assert run("score", "shards", "--json", flags=flags) == 0
    summary = json.loads(capsys.readouterr().out)
    one, many = read("one.scores.jsonl"), read("shards.scores.jsonl")
    assert [row["id"] for row in many] == [row["id"] for row in one]
    assert [[row[n] for n in NUMBERS] for row in many] == [[row[n] for n in NUMBERS] for row in one]
    assert "source" not in one[0]
    assert [row["source"] for row in many[:4]] == ["00.jsonl.gz"] * 3 + ["01.parquet"]
    assert [row["row"] for row in many[20:23]] == [20, 22, 23], "the corrupt shard has one row"
    (reject,) = read("shards.scores.jsonl.rejects.jsonl")
    assert (reject["row"], reject["source"]) == (21, "07.jsonl.gz")
    manifest = json.loads(Path("shards.scores.jsonl.manifest.json").read_text())
    assert (manifest["rows_in"], manifest["rows_rejected"]) == (len(one) + 1, 1)
    assert [one["format"] for one in manifest["inputs"][:2]] == ["jsonl.gz", "parquet"]
    assert all(len(one["sha256"]) == 64 for one in manifest["inputs"])
    assert [one["rows"] for one in manifest["inputs"][6:9]] == [3, 1, 3]
    assert "cannot be decompressed" in manifest["inputs"][7]["problem"]
    by_input = summary["sources"]
    assert [(one["rows"], one["ok"], one["rejected"]) for one in by_input[6:9]] == [
        *((3, 3, 0), (1, 0, 1), (3, 3, 0))
    ]
    part = pd.Series([row["ifd"] for row in many[:3]])
    assert by_input[0]["medians"]["ifd"] == pytest.approx(part.median())
    alone = json.loads(Path("one.scores.jsonl.manifest.json").read_text())
    assert "inputs" not in alone


def test_the_corrupt_shard_is_named_on_the_terminal(
    flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    twenty_shards()
    assert run("score", "shards", "--metrics", "ifd", flags=flags[:-1]) == 0
    out, err = capsys.readouterr()
    assert "07.jsonl.gz: shards/07.jsonl.gz: cannot be decompressed" in err
    assert "median by input" in out
    assert "07.jsonl.gz" in out
    assert "1 row rejected" in out


def test_a_summary_does_not_depend_on_where_its_numbers_are_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    twenty_shards()
    summaries = []
    for in_memory in (10**6, 2):
        monkeypatch.setattr(spilling, "NUMBERS_IN_MEMORY", in_memory)
        command = ("score", "shards/*", "-o", f"{in_memory}.jsonl", "--metrics", "ifd", "--json")
        assert run(*command, flags=flags) == 0
        summary = json.loads(capsys.readouterr().out)
        summaries.append({name: summary[name] for name in ("metrics", "sources")})
    assert summaries[0]["sources"][0]["medians"]["ifd"] > 0
    assert summaries[0] == summaries[1]


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_scores_of_several_inputs_are_reopened(ending: str, flags: list[str]) -> None:
    every = twenty_shards()
    scores = f"all.{ending}"
    assert run("score", "shards/*", "-o", scores, "--metrics", "ifd", flags=flags) == 0
    assert run("select", scores, "-o", "best.jsonl", "--by", "ifd", "--top", "5",
               "--keep-misaligned", "--where", "source != '00.jsonl.gz'", "-q") == 0  # fmt: skip
    best = read("best.jsonl")
    assert len(best) == 5
    assert all(row in every[3:] for row in best)
    assert run("compare", scores, "shards/*", "-o", "report", "--metrics", "ifd", flags=flags) == 0
    summary = json.loads(Path("report/summary.json").read_text())
    assert summary["headline"].startswith("Nothing changed: in all 57 pairs")
    assert [one["name"] for one in summary["sources"]][:2] == ["00.jsonl.gz", "01.parquet"]
    assert summary["sources"][0]["n_pairs"] == 3
    assert summary["sources"][0]["medians"]["ifd"][2] == 0.0
    assert "| 00.jsonl.gz | 3 |" in Path("report/report.md").read_text().replace("\\", "")
    assert run("show", scores, "r20", flags=flags) == 0
    with gzip.open("shards/00.jsonl.gz", "at") as file:
        file.write("\n")
    with pytest.raises(InputError, match=r"00\.jsonl\.gz, their source, has changed since"):
        ifdkit.select(scores, "again.jsonl", by="ifd", top=5)


def test_an_audit_says_which_input_a_defect_is_in(capsys: pytest.CaptureFixture[str]) -> None:
    good = content(30)
    shard(Path("shards/1.jsonl"), good[:10])
    shard(Path("shards/2.parquet"), [{**row, "output": ""} for row in good[10:20]])
    shard(Path("shards/3.jsonl"), good[20:])
    Path("shards/4.jsonl").write_text("no data\n")
    assert run("audit", "shards", "--no-model", "-o", "report", "-q") == 1
    out = capsys.readouterr().out
    assert "All are in 2.parquet." in out
    assert "It is in 4.jsonl." in out
    found = json.loads(Path("report/audit.json").read_text())
    rules = {rule["name"]: rule for rule in found["rules"]}
    assert rules["empty_response"]["sources"] == {"2.parquet": 10}
    assert rules["empty_response"]["places"][0]["source"] == "2.parquet"
    assert rules["unreadable_row"]["sources"] == {"4.jsonl": 1}
    assert [(one["name"], one["rows"]) for one in found["inputs"]] == [
        *(("1.jsonl", 10), ("2.parquet", 10), ("3.jsonl", 10), ("4.jsonl", 1))
    ]
    for page in ("index.html", "report.md"):
        assert "All are in 2.parquet." in Path("report", page).read_text().replace("\\", "")
    sarif = json.loads(Path("report/audit.sarif").read_text())
    uris = {
        place["physicalLocation"]["artifactLocation"]["uri"]
        for result in sarif["runs"][0]["results"]
        for place in result["locations"]
    }
    assert {"shards/2.parquet", "shards/4.jsonl"} <= uris


def test_cleaning_keeps_or_drops_every_row_of_every_input() -> None:
    every = twenty_shards()
    shard(Path("shards/99.jsonl"), [{"id": "bad", "instruction": "u", "output": ""}])
    run("audit", "shards", "--no-model", "--clean", "clean.jsonl", "--clean-rules", "errors", "-q")
    dropped = read("clean.jsonl.dropped.jsonl")
    assert read("clean.jsonl") == every
    assert [one["rules"] for one in dropped] == [["unreadable_row"], ["empty_response"]]


def test_scores_are_joined_to_the_rows_of_every_input(flags: list[str]) -> None:
    every = twenty_shards()
    assert run("score", "shards", "--join", "--metrics", "ifd", flags=flags) == 0
    joined = read("shards.scored.jsonl")
    assert [{key: row[key] for key in ("id", "instruction", "output")} for row in joined] == every
    assert all(row["ifd"] for row in joined)
    manifest = json.loads(Path("shards.scored.jsonl.manifest.json").read_text())
    assert manifest["rows_not_written"] == 1


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl", "json", "jsonl.gz"])
def test_inputs_of_one_format_are_written_in_it(ending: str, settings: dict[str, Any]) -> None:
    every = content(12)
    own = ending if ending in ("csv", "parquet") else "jsonl"
    for i in range(3):
        shard(Path(f"in/{i}.{own}"), every[4 * i : 4 * i + 4])
    chosen = ifdkit.select("in", f"out.{ending}", method="random", top=9, model=settings["model"])
    if ending == "csv":
        frame = pd.read_csv("out.csv")
    elif ending == "parquet":
        frame = pd.read_parquet("out.parquet")
    else:
        frame = pd.read_json(f"out.{ending}", lines=ending != "json")
    assert frame["id"].tolist() == [f"r{row}" for row in chosen.kept_rows]
    assert frame["output"].tolist() == [every[row]["output"] for row in chosen.kept_rows]


def test_what_does_not_fit_into_one_file_is_refused(settings: dict[str, Any]) -> None:
    for name in ("a.csv", "a.jsonl", "a.parquet"):
        shard(Path(name), content(2))
    for name in ("b.csv", "b.parquet"):
        shard(Path(name), [{"more": 1, **row} for row in content(2)])

    def refused(data: list[str], output: str) -> str:
        with pytest.raises(UsageError) as error:
            ifdkit.select(data, output, method="random", top=1, model=settings["model"])
        assert not Path(output).exists()
        return str(error.value)

    assert "only a CSV dataset can be written as CSV" in refused(["a.csv", "a.jsonl"], "o.csv")
    assert "(a.jsonl is not)" in refused(["a.parquet", "a.jsonl"], "o.parquet")
    assert "b.csv has other columns than a.csv" in refused(["a.csv", "b.csv"], "o.csv")
    assert "b.parquet has other columns than a.parquet" in refused(
        ["a.parquet", "b.parquet"], "o.parquet"
    )
    with pytest.raises(OutputError, match="is the input itself"):
        ifdkit.select(
            ["a.csv", "a.jsonl"], "a.jsonl", method="random", top=1, model=settings["model"]
        )


def test_parquet_shards_keep_their_schema(settings: dict[str, Any]) -> None:
    for i in range(3):
        shard(Path(f"in/{i}.parquet"), content(6)[2 * i : 2 * i + 2])
    ifdkit.select("in", "out.parquet", method="random", top=5, model=settings["model"])
    assert pq.read_schema("out.parquet").equals(pq.read_schema("in/0.parquet"))


def test_shards_in_any_order_are_paired_by_id(settings: dict[str, Any]) -> None:
    every = content(24)
    shard(Path("old.jsonl"), every)
    for i, k in enumerate((2, 0, 3, 1)):
        shard(Path(f"new/{i}.jsonl.gz"), every[6 * k : 6 * k + 6])
    result = ifdkit.compare("old.jsonl", "new/*.gz", **settings)
    assert result.summary.pairing.by == "id"
    assert result.summary.pairing.n_pairs == 24
    assert result.summary.headline.startswith("Nothing changed")
    assert result.summary.sources == (), "one side has one input"


def test_shards_without_ids_are_paired_by_position(settings: dict[str, Any]) -> None:
    every = rows(12)
    shard(Path("old.jsonl"), every)
    changed = [{**row, "output": row["output"] + " Indeed."} for row in every]
    for i in range(3):
        shard(Path(f"new/{i}.jsonl"), changed[4 * i : 4 * i + 4])
    result = ifdkit.compare("old.jsonl", "new", **settings)
    assert (result.summary.pairing.by, result.summary.pairing.n_pairs) == ("row", 12)


def test_a_data_frame_has_the_source(settings: dict[str, Any]) -> None:
    shard(Path("a.jsonl"), rows(2))
    shard(Path("b.jsonl"), rows(1))
    Path("c.jsonl").write_bytes(b"")
    frame = ifdkit.score([Path("a.jsonl"), Path("b.jsonl"), Path("c.jsonl")], **settings)
    assert frame["source"].tolist() == ["a.jsonl", "a.jsonl", "b.jsonl"]
    assert frame.attrs["rejects"][0]["source"] == "c.jsonl"
    assert "source" not in ifdkit.score("a.jsonl", **settings)


def test_default_names() -> None:
    for name in ("in/x/1.jsonl", "in/x/2.jsonl", "here.jsonl"):
        shard(Path(name), rows(1))

    def names(data: Any) -> tuple[str, str]:
        many = expand(data)
        return str(default_output(many)), str(default_joined_output(many))

    assert names("in") == ("in.scores.jsonl", "in.scored.jsonl")
    assert names("in/*/*.jsonl") == ("x.scores.jsonl", "x.scored.jsonl")
    assert names(["in", "here.jsonl"]) == ("ifdkit.scores.jsonl", "ifdkit.scored.jsonl")
    assert names(["in", "-"]) == ("ifdkit.scores.jsonl", "ifdkit.scored.jsonl")


def test_a_default_name_of_other_inputs_is_refused(
    flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("en/in", "de/in"):
        for i in range(2):
            shard(Path(folder, f"{i}.jsonl"), rows(1, len(folder) + i + ord(folder[0])))
    assert run("score", "en/in", "--metrics", "ifd", flags=flags) == 0
    assert run("score", "en/in", "--metrics", "ifd", flags=flags) == 0
    shard(Path("en/in/2.jsonl"), rows(1))
    assert run("score", "en/in", "--metrics", "ifd", flags=flags) == 0, "a shard more"
    assert run("score", "de/in", "--metrics", "ifd", flags=flags) == 2
    assert "in.scores.jsonl holds the scores of en/in" in capsys.readouterr().err


def test_a_scores_file_is_not_one_of_several_inputs(settings: dict[str, Any]) -> None:
    shard(Path("a.jsonl"), rows(1))
    frame = ifdkit.score("a.jsonl", **settings)
    frame.to_json("s.jsonl", orient="records", lines=True)
    with pytest.raises(InputError, match=r"s\.jsonl is a scores file, which cannot be one of"):
        ifdkit.score(["a.jsonl", "s.jsonl"], **settings)


class _Stop(Exception):  # noqa: N818  stands for the signal
    pass


class _Stopping(Progress):
    """Ends a run in the middle, as Ctrl-C does."""

    def end_block(self) -> None:
        raise _Stop


def test_an_interrupted_run_goes_on_with_the_same_bytes(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ifdkit.data.options import ReadOptions
    from ifdkit.scoring.run import score_to_file
    from ifdkit.scoring.settings import Settings

    monkeypatch.setattr("ifdkit.scoring.run.EXAMPLES_PER_BLOCK", 10)
    twenty_shards()
    made = Settings(model=str(tiny_model), metrics=("ifd",), store="resumed.sqlite")
    with pytest.raises(_Stop):
        score_to_file("shards", Path("out.jsonl"), made, ReadOptions(), _Stopping())
    assert not Path("out.jsonl").exists()
    summary = score_to_file("shards", Path("out.jsonl"), made, ReadOptions())
    assert summary.manifest.requests_from_store > 0
    fresh = Settings(model=str(tiny_model), metrics=("ifd",), store="fresh.sqlite")
    score_to_file("shards", Path("again.jsonl"), fresh, ReadOptions())
    assert Path("out.jsonl").read_bytes() == Path("again.jsonl").read_bytes()


def test_rows_are_rewritten_with_the_columns_of_their_input() -> None:
    from ifdkit.data.dataset import open_dataset
    from ifdkit.data.rewriting import with_texts

    shard(Path("a.jsonl"), rows(1))
    shard(Path("b.jsonl"), [{"prompt": "Ask?", "completion": "Answer."}])
    dataset = open_dataset(["a.jsonl", "b.jsonl"])
    for raw, found in zip(dataset.raw_rows(), dataset, strict=True):
        assert isinstance(found, list)
        new = with_texts(raw.value, dataset.columns_of(raw.row), found[0], response="New")
        assert "New" in new.values()


def test_progress_names_the_input() -> None:
    progress = LineProgress()
    progress.start(30)
    assert progress.source == ""
    progress.sources([10, 20, 30])
    seen = []
    for _ in range(3):
        seen.append(progress.source)
        progress.begin_block(10, 10)
        progress.end_block()
    assert [*seen, progress.source] == [
        *("input 1 of 3", "input 2 of 3", "input 3 of 3", "input 3 of 3")
    ]


def test_errors_of_several_inputs_are_one_line() -> None:
    shard(Path("a.jsonl"), rows(1))
    for data in ("*.x", ["a.jsonl", "a.jsonl"], ["a.jsonl", "missing.jsonl"]):
        with pytest.raises(IfdkitError) as error:
            ifdkit.audit(data, scores=False)
        assert "\n" not in str(error.value)
