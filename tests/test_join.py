"""`score --join`: the rows of a dataset with their scores, and nothing else changed."""

from __future__ import annotations

import csv
import gzip
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ifdkit
from ifdkit.cli.main import main
from ifdkit.data.atomic import OutputFiles
from ifdkit.data.dataset import Dataset, open_dataset
from ifdkit.data.json_texts import with_keys
from ifdkit.data.options import ReadOptions
from ifdkit.data.row_files import rows_file
from ifdkit.data.rows_writer import Appended
from ifdkit.errors import InputError, OutputError, UsageError
from ifdkit.records import Example, Passes, Reject
from ifdkit.scoring.joining import column_names, score_into_rows
from ifdkit.scoring.metrics import METRICS
from ifdkit.scoring.output_names import default_joined_output
from ifdkit.scoring.rows import ScoreRow, score_row
from ifdkit.scoring.run import score_to_file
from ifdkit.scoring.settings import Settings

pytestmark = pytest.mark.long

Make = Callable[..., Path]
FIXED = ("status", "reason", "ifd", "response_words", "instruction_tokens")


@pytest.fixture(autouse=True)
def fresh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run in an empty folder; signal handlers stay pytest's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda *_: None)


@pytest.fixture(scope="module")
def quick(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """IFD of the tiny model, from one store for the module."""
    store = tmp_path_factory.mktemp("join") / "store.sqlite"
    return Settings(model=str(tiny_model), metrics=("ifd",), store=str(store))


LAST = ReadOptions(turns="last")
ALL = ReadOptions(turns="all")


def joined(source: Path, quick: Settings, name: str = "out", options: ReadOptions = LAST) -> Path:
    output = source.with_name(f"{name}{''.join(source.suffixes)}")
    score_into_rows(source, output, quick, options)
    return output


def scores_of(source: Path, quick: Settings, options: ReadOptions = LAST) -> list[dict[str, Any]]:
    """The lines of the scores file of the same run."""
    output = source.with_name("reference.jsonl")
    score_to_file(source, output, quick, options)
    return [json.loads(line) for line in output.read_text(encoding="utf-8").split("\n") if line]


def found_in(dataset: Dataset) -> list[list[Example] | str]:
    """The examples of each row, or the reason of its rejection."""
    return [one.reason if isinstance(one, Reject) else one for one in dataset]


# --- the text of a JSON object


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("{}", '{"x": 1, "y": null}'),
        ("{ }", '{"x": 1, "y": null }'),
        ('{"a": 1}', '{"a": 1, "x": 1, "y": null}'),
        ('{"a":1 }', '{"a":1, "x": 1, "y": null }'),
        ('{\n  "a": 1\n}', '{\n  "a": 1,\n  "x": 1,\n  "y": null\n}'),
        ('{"a": "}"}', '{"a": "}", "x": 1, "y": null}'),
        ('{"a": {"b": []}}', '{"a": {"b": []}, "x": 1, "y": null}'),
    ],
)
def test_keys_are_appended_to_the_text(text: str, wanted: str) -> None:
    assert with_keys(text, {"x": 1, "y": None}) == wanted


ODD = (
    r'{"instruction": "Say \u00e4 \ud83d\ude00 \/", "output": "x", "n": 1e400, "m": 1.0, "k": 1e2,'
    r' "big": 123456789012345678901234567890, "n": -0, "twice": 1, "twice": 2}'
)


@pytest.mark.parametrize("ending", [".jsonl", ".json"])
def test_what_was_written_stays_as_it_is_spelled(write: Make, quick: Settings, ending: str) -> None:
    """Also what a parser does not tell: escapes, repeated keys, 1.0 and 1e400."""
    texts = [ODD, '{ "instruction":"b" ,"output":"c"}']
    is_array = ending == ".json"
    source = write(f"in{ending}", f"[{', '.join(texts)}]" if is_array else "\n".join(texts))
    got = joined(source, quick).read_text().rstrip("\n").split("\n")
    lines = [line.rstrip(",") for line in got[1:-1]] if is_array else got
    assert lines[0].startswith(ODD[:-1] + ', "status": "ok", "reason": null, ')
    assert lines[1].startswith('{ "instruction":"b" ,"output":"c", "status": "ok", ')
    if is_array:
        assert (got[0], got[-1]) == ("[", "]")


def test_indentation_of_an_array_is_kept(write: Make, quick: Settings) -> None:
    rows = [{"instruction": f"q{i}", "output": "a", "more": {"k": [1]}} for i in range(2)]
    source = write("in.json", json.dumps(rows, indent=2))
    output = joined(source, quick)
    found = json.loads(output.read_text())
    assert output.read_text() == json.dumps(found, indent=2) + "\n"
    assert [{k: row[k] for k in rows[0]} for row in found] == rows


# --- the formats


def expected(row: dict[str, Any], scores: dict[str, Any], names: list[str]) -> dict[str, Any]:
    return {**row, **{name: scores[name] for name in names}}


ROWS: list[dict[str, Any]] = [
    {"instruction": f"Say {i}", "output": "word " * i or "one", "lang": ["de", "en"][i % 2]}
    for i in range(6)
]


def manifest_of(output: Path) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(Path(f"{output}.manifest.json").read_text())
    return made


def test_json_lines_and_arrays(write: Make, quick: Settings) -> None:
    lines = write("in.jsonl", "\n".join(map(json.dumps, ROWS)))
    array = write("in.json", ROWS)
    scores = scores_of(lines, quick)
    output = joined(lines, quick)
    names = list(manifest_of(output)["score_columns"])
    assert names[:2] == ["status", "reason"]
    assert {"ifd", "ifd_loss", "nll_response_direct", "response_tokens"} <= set(names)
    assert not {"id", "row", "turn", "rifd", "coherence"} & set(names), "what was not measured"
    wanted = [expected(row, one, names) for row, one in zip(ROWS, scores, strict=True)]
    assert [json.loads(line) for line in output.read_text().splitlines()] == wanted
    assert json.loads(joined(array, quick).read_text()) == wanted


def test_compressed_files_stay_compressed(write: Make, quick: Settings) -> None:
    source = write("in.jsonl.gz", gzip.compress("\n".join(map(json.dumps, ROWS)).encode()))
    output = joined(source, quick)
    assert output.name == "out.jsonl.gz"
    found = [json.loads(line) for line in gzip.decompress(output.read_bytes()).splitlines()]
    assert [row["ifd"] for row in found] == [row["ifd"] for row in scores_of(source, quick)]


def test_csv_gets_more_columns(write: Make, quick: Settings) -> None:
    text = 'instruction,output,n\r\n"Say ""a"", b","x\ny",007\r\nAdd,=1+1, 2 \r\n'
    source = write("in.csv", text.encode())
    scores = scores_of(source, quick)
    output = joined(source, quick)
    with output.open(newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file))
    assert header[:5] == ["instruction", "output", "n", "status", "reason"]
    assert [row[:3] for row in rows] == [['Say "a", b', "x\ny", "007"], ["Add", "=1+1", " 2 "]]
    at = header.index("ifd")
    assert [float(row[at]) for row in rows] == [one["ifd"] for one in scores]
    assert all(row[4] == "" for row in rows), "null"
    assert output.read_bytes().count(b"\r\n") == 3


def test_a_carriage_return_in_a_cell_survives_other_line_ends(write: Make, quick: Settings) -> None:
    """Python's writer does not quote it where lines end with a line feed."""
    source = write("in.csv", b'instruction,output\n"a\rb",c\n')
    output = joined(source, quick)
    (examples,) = found_in(open_dataset(output))
    assert isinstance(examples, list)
    assert examples[0].instruction == "a\rb"


def test_parquet_keeps_its_schema(tmp_path: Path, quick: Settings) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    n = 5000  # more than one batch
    schema = pa.schema(
        [
            pa.field("instruction", pa.large_string(), metadata={"a": "b"}),
            pa.field("output", pa.string(), nullable=False),
            pa.field("when", pa.timestamp("ns", "UTC")),
            pa.field("kind", pa.dictionary(pa.int8(), pa.string())),
            pa.field("blob", pa.binary()),
        ],
        metadata={"huggingface": "{}"},
    )
    table = pa.table(
        {
            "instruction": [f"q{i % 3}" for i in range(n)],
            "output": [None if i == 7 else "a" * (1 + i % 2) for i in range(n)],
            "when": pa.array(range(n), pa.timestamp("ns", "UTC")),
            "kind": pa.array(["x"] * n).dictionary_encode().cast(schema.field("kind").type),
            "blob": [b"\xff"] * n,
        }
    )
    table = table.set_column(1, "output", table["output"].fill_null("")).cast(schema)
    source = tmp_path / "in.parquet"
    pq.write_table(table, source, compression="gzip")
    scores = scores_of(source, quick)
    output = joined(source, quick)
    got, names = pq.read_table(output), list(manifest_of(output)["score_columns"])
    assert got.schema.names == [*schema.names, *names]
    assert pa.schema(list(got.schema)[:5], got.schema.metadata).equals(schema, check_metadata=True)
    for name in schema.names:
        assert got[name].combine_chunks().equals(pq.read_table(source)[name].combine_chunks())
    for name in names:
        assert got[name].to_pylist() == [one[name] for one in scores], name
    assert got.schema.field("ifd").type == pa.float64()
    assert got.schema.field("response_tokens").type == pa.int64()
    assert got["status"][7].as_py() == "empty_response"
    assert got["ifd"][7].as_py() is None
    assert pq.ParquetFile(output).metadata.row_group(0).column(0).compression == "GZIP"


def talk(*answers: str) -> dict[str, Any]:
    pairs = [({"role": "user", "content": f"q{i}"}, {"role": "assistant", "content": one})
             for i, one in enumerate(answers)]  # fmt: skip
    return {"messages": [turn for pair in pairs for turn in pair]}


def test_conversations_have_the_last_turns_scores_or_lists(tmp_path: Path, quick: Settings) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [talk("a", "b", "c d"), talk("e"), {"messages": []}]
    source = tmp_path / "in.jsonl"
    source.write_text("\n".join(map(json.dumps, rows)))
    pq.write_table(pa.Table.from_pylist(rows[:2]), tmp_path / "in.parquet")
    every = scores_of(source, quick, ALL)
    lines = [json.loads(line) for line in joined(source, quick).read_text().splitlines()]
    assert [line["ifd"] for line in lines] == [every[2]["ifd"], every[3]["ifd"], None]
    assert [line["status"] for line in lines] == ["ok", "ok", "rejected"]
    assert lines[2]["reason"] == "'messages' is an empty conversation"
    output = joined(source, quick, options=ALL)
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    by_row = [[one["ifd"] for one in every if one["row"] == row] for row in (0, 1)]
    assert [line["ifd"] for line in lines] == [*by_row, None]
    assert [line["status"] for line in lines] == [["ok"] * 3, ["ok"], ["rejected"]]
    table = pq.read_table(joined(tmp_path / "in.parquet", quick, options=ALL))
    assert table["ifd"].to_pylist() == by_row
    assert table.schema.field("status").type == pa.list_(pa.string())


def test_lists_are_json_text_in_csv(write: Make, quick: Settings) -> None:
    history = json.dumps([["q", "a b"]])
    source = write("in.csv", f'instruction,output,history\nx,y z,"{history.replace(chr(34), chr(34) * 2)}"\n')  # noqa: E501  # fmt: skip
    every = scores_of(source, quick, ALL)
    with joined(source, quick, options=ALL).open(newline="", encoding="utf-8") as file:
        (row,) = list(csv.DictReader(file))
    assert json.loads(row["ifd"]) == [one["ifd"] for one in every]
    assert len(every) == 2


# --- names, rejects, errors


def test_a_name_that_is_taken_gets_a_prefix(write: Make, quick: Settings) -> None:
    rows = [{"instruction": "a", "output": "b"} for _ in range(1500)]
    rows[1400] |= {"status": "mine", "ifd": "own"}
    source = write("in.jsonl", "\n".join(map(json.dumps, rows)))
    output = joined(source, quick)
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert (lines[1400]["status"], lines[1400]["ifd"]) == ("mine", "own")
    assert {line["ifdkit_status"] for line in lines} == {"ok"}
    assert "ifd" not in lines[0], "every row has the same columns"
    assert lines[0]["ifdkit_ifd"] > 0
    columns = manifest_of(output)["score_columns"]
    assert (columns["ifd"], columns["ifd_loss"]) == ("ifdkit_ifd", "ifd_loss")
    with pytest.raises(InputError, match="scores were joined to it before"):
        joined(output, quick, name="again")


def test_a_joined_file_is_never_read_as_scores(write: Make, quick: Settings) -> None:
    columns = column_names(["status", "nll_response_direct"], {"id", "row", "turn"})
    assert columns["status"] == "ifdkit_status"
    rows = [{"id": f"r{i}", "row": i, "turn": 0, **row} for i, row in enumerate(ROWS)]
    for name, content in (("a.jsonl", ROWS), ("b.jsonl", rows)):
        output = joined(write(name, "\n".join(map(json.dumps, content))), quick, name=f"out-{name}")
        dataset = open_dataset(output)
        assert (dataset.path, dataset.n_rows) == (output, 6)
        done = ifdkit.select(output, output.with_name("s.jsonl"), where="`ifd` > 0"
                             if name == "a.jsonl" else "ifdkit_ifd > 0")  # fmt: skip
        assert done.input == str(output), "the file itself, not the one that was scored"
        assert done.kept == 6
        assert done.scores is None, "its columns are enough"


def test_rejected_rows_stay(write: Make, quick: Settings) -> None:
    good, bad = json.dumps(ROWS[0]), '{"instruction": "x", "output": 5}'
    source = write("in.jsonl", "\n".join([bad, good, "{torn", "42", good, bad, "\xff", bad]))
    output = joined(source, quick)
    lines = output.read_text().split("\n")
    assert [lines[2], lines[3], lines[6]] == ["{torn", "42", "\xff"], "copied"
    rejected = [json.loads(lines[i]) for i in (0, 5, 7)]
    assert [one["status"] for one in rejected] == ["rejected"] * 3
    assert rejected[0]["reason"] == "'output' is a number, not text"
    assert {one["ifd"] for one in rejected} == {None}
    assert json.loads(lines[1])["ifd"] == json.loads(lines[4])["ifd"] > 0
    made = manifest_of(output)
    assert (made["rows_in"], made["rows_scored"], made["rows_rejected"]) == (8, 2, 6)
    assert made["rows_not_written"] == 0
    rejects = Path(f"{output}.rejects.jsonl").read_text().splitlines()
    assert [json.loads(line)["row"] for line in rejects] == [0, 2, 3, 5, 6, 7]


@pytest.mark.parametrize("ending", [".json", ".csv"])
def test_malformed_rows_that_cannot_be_copied_are_counted(
    write: Make, quick: Settings, ending: str
) -> None:
    text = {
        ".json": '[{"instruction": "a", "output": "b"}, {"instruction": "a, "output": "b"},'
        ' {"instruction": "c", "output": "d"}]',
        ".csv": "instruction,output\na,b\nonly one\nc,d\n",
    }[ending]
    output = joined(write(f"in{ending}", text), quick)
    assert open_dataset(output).n_rows == 2
    made = manifest_of(output)
    assert (made["rows_in"], made["rows_rejected"], made["rows_not_written"]) == (3, 1, 1)


def test_json_from_other_formats(tmp_path: Path, quick: Settings) -> None:
    import pandas as pd

    (tmp_path / "in.csv").write_text('instruction,output\n{"a": 1},b\n')
    score_into_rows(tmp_path / "in.csv", tmp_path / "a.json", quick, LAST)
    (row,) = json.loads((tmp_path / "a.json").read_text())
    assert (row["instruction"], row["status"]) == ('{"a": 1}', "ok")
    score_into_rows(pd.DataFrame(ROWS), tmp_path / "b.jsonl", quick, LAST)
    lines = [json.loads(line) for line in (tmp_path / "b.jsonl").read_text().splitlines()]
    assert [{k: line[k] for k in ROWS[0]} for line in lines] == ROWS
    pretty = tmp_path / "in.json"
    pretty.write_text(json.dumps(ROWS, indent=2))
    score_into_rows(pretty, tmp_path / "c.jsonl", quick, LAST)
    lines = [json.loads(line) for line in (tmp_path / "c.jsonl").read_text().splitlines()]
    assert [{k: line[k] for k in ROWS[0]} for line in lines] == ROWS


def test_limits_and_where_choose_the_rows(write: Make, quick: Settings) -> None:
    from ifdkit.data.where import expression_of

    source = write("in.jsonl", "\n".join(map(json.dumps, ROWS)))
    options = ReadOptions(turns="last", where=expression_of("lang == 'de'"), limit=2)
    lines = [json.loads(line) for line in joined(source, quick, options=options).read_text()
             .splitlines()]  # fmt: skip
    assert [line["instruction"] for line in lines] == ["Say 0", "Say 2"]
    made = manifest_of(source.with_name("out.jsonl"))
    assert (made["where"], made["rows_left_out"], made["rows_in"]) == ("lang == 'de'", 3, 2)


def test_token_nlls_and_registered_metrics(
    write: Make, quick: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    monkeypatch.setattr("ifdkit.scoring.metrics.METRICS", METRICS)
    ifdkit.register_metric("answer_length", lambda one: len(one.example.response))
    try:
        source = write("in.csv", "instruction,output\na,b c\n")
        settings = replace(quick, token_nll=True, metrics=("ifd", "answer_length"))
        with joined(source, settings).open(newline="", encoding="utf-8") as file:
            (row,) = list(csv.DictReader(file))
        assert float(row["answer_length"]) == 3
        assert len(json.loads(row["token_nll_response_conditional"])) >= 1
    finally:
        del METRICS["answer_length"]


@pytest.mark.parametrize(
    ("name", "output", "message"),
    [
        ("in.jsonl", "in.jsonl", "is the input itself"),
        ("in.jsonl", "out.parquet", "only a Parquet dataset can be written as Parquet"),
        ("in.jsonl", "out.xlsx", "end it in .json"),
        ("in.jsonl", "nowhere/out.jsonl", "the folder nowhere does not exist"),
    ],
)
def test_outputs_that_cannot_be_written_are_refused_first(
    write: Make, capsys: pytest.CaptureFixture[str], name: str, output: str, message: str
) -> None:
    source = write(name, "\n".join(map(json.dumps, ROWS)))
    before = source.read_bytes()
    assert main(["score", name, "--join", "-o", output, "-m", "./no-model", "-q"]) == 2
    assert message in capsys.readouterr().err
    assert source.read_bytes() == before


@pytest.mark.parametrize(
    ("data", "output"),
    [
        ("a/data.jsonl", "data.scored.jsonl"),
        ("a/data.json.gz", "data.scored.json.gz"),
        ("data.PARQUET", "data.scored.parquet"),
        ("data.parquet.zst", "data.scored.parquet"),
        ("data.v2.csv", "data.v2.scored.csv"),
        ("data.txt", "data.scored.jsonl"),
        ("org/name", "name.scored.jsonl"),
        ("-", "stdin.scored.jsonl"),
    ],
)
def test_the_default_output_has_the_ending_of_the_dataset(data: str, output: str) -> None:
    assert default_joined_output(data) == Path(output)


@pytest.mark.long
def test_the_command(write: Make, tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("data.json", ROWS)
    write("talks.json", [talk("a", "b")])
    flags = ["-m", str(tiny_model), "--metrics", "ifd", "--store", "off", "-q"]
    assert main(["score", "data.json", "--join", "--json", *flags]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["output"] == "data.scored.json"
    assert found["manifest"]["schema"] == "ifdkit.joined/1"
    assert found["manifest"]["turns"] == "last"
    assert len(json.loads(Path("data.scored.json").read_text())) == 6
    assert main(["score", "talks.json", "--join", "--turns", "all", *flags]) == 0
    assert "data.scored.json" not in capsys.readouterr().out
    assert len(json.loads(Path("talks.scored.json").read_text())[0]["ifd"]) == 2


def test_an_interruption_leaves_nothing_half_written(
    write: Make, quick: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write("in.jsonl", "\n".join(map(json.dumps, ROWS)))
    output = joined(source, quick)
    before = {path.name: path.read_bytes() for path in source.parent.iterdir()}

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ifdkit.data.row_files.with_keys", interrupt)
    with pytest.raises(KeyboardInterrupt):
        joined(source, quick)
    assert {path.name: path.read_bytes() for path in source.parent.iterdir()} == before
    output.unlink()


# --- any rows


KEYS = st.sampled_from(["id", "instruction", "output", "input", "status", "ifd", "x", "a b", "é"])
TEXT = st.text(max_size=8) | st.sampled_from(["a\rb", "a\nb", '"', "=1", "\u2028", "🎉", "{", "\\"])
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | TEXT
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)  # fmt: skip
ROW = st.fixed_dictionaries(
    {"instruction": TEXT | VALUE, "output": TEXT},
    optional={"input": TEXT, "id": TEXT | st.integers(), "status": VALUE, "ifd": VALUE, "é": VALUE},
)


def fake_scores(dataset: Dataset) -> Iterator[ScoreRow | Reject]:
    """Scores as a model would give them: no model is needed to see what becomes of the rows."""
    for found in dataset:
        for one in [found] if isinstance(found, Reject) else found:
            if isinstance(one, Reject):
                yield one
            else:
                yield score_row(one, Passes(3, len(one.response)), {})


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(ROW, min_size=1, max_size=4),
    style=st.sampled_from([None, 2]),
    ending=st.sampled_from([".jsonl", ".json", ".parquet", ".csv"]),
    escapes=st.booleans(),
)
def test_any_rows_give_the_same_examples_and_the_scores(
    tmp_path: Path, rows: list[dict[str, Any]], style: int | None, ending: str, escapes: bool
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    source, output = tmp_path / f"in{ending}", tmp_path / f"out{ending}"
    if ending in (".parquet", ".csv"):  # columns of one type
        rows = [{k: v for k, v in row.items() if isinstance(v, str)} for row in rows]
        rows = [
            {k: row.get(k, "") for k in ("instruction", "output", "input", "é")} for row in rows
        ]
    if ending == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), source)
    elif ending == ".csv":
        with source.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif ending == ".json":
        source.write_text(json.dumps(rows, indent=style, ensure_ascii=escapes), encoding="utf-8")
    else:
        lines = [json.dumps(row, ensure_ascii=escapes) + "\n" for row in rows]
        source.write_text("".join(lines), encoding="utf-8", newline="")
    try:
        dataset = open_dataset(source, turns="last")
    except (InputError, UsageError):
        return
    keys = {key for raw in dataset.raw_rows() if raw.error is None for key in raw.value}
    names = column_names(FIXED, keys)

    def types() -> list[Any]:
        from ifdkit.scoring.formats import arrow_type

        return [arrow_type(name) for name in FIXED]

    scores = list(fake_scores(dataset))
    appended = Appended(tuple(names.values()), types)
    with OutputFiles(output) as files, rows_file(files, source, appended) as writer_:
        for raw, one in zip(dataset.raw_rows(), scores, strict=True):
            cells = ["rejected", one.reason, None, None, None] if isinstance(one, Reject) \
                else [one.column(name) for name in FIXED]  # fmt: skip
            assert writer_.write(raw, raw.value, cells)
    again = open_dataset(output, turns="last")
    assert again.columns == dataset.columns
    assert found_in(again) == found_in(dataset)
    for raw, before, one in zip(again.raw_rows(), dataset.raw_rows(), scores, strict=True):
        own = {key: raw.value[key] for key in before.value}
        assert json.dumps(own) == json.dumps(before.value), "order and spelling of values too"
        cells = [raw.value[name] for name in names.values()]
        if isinstance(one, ScoreRow) and ending != ".csv":
            assert cells == [one.column(name) for name in FIXED]
        elif isinstance(one, ScoreRow):
            assert cells == ["" if (c := one.column(n)) is None else str(c) for n in FIXED]
        else:
            assert cells[0] == "rejected"


@settings(max_examples=60)
@given(st.dictionaries(KEYS, VALUE, max_size=4), st.sampled_from([None, 1, 4]), st.booleans())
def test_appended_keys_read_back(row: dict[str, Any], indent: int | None, escapes: bool) -> None:
    text = json.dumps(row, indent=indent, ensure_ascii=escapes)
    more = {"new": 0.5, "né": None, "list": ["a"]}
    found = with_keys(text, more)
    assert json.loads(found) == {**row, **more}
    assert found.startswith(text[:-1].rstrip())


def test_a_value_that_json_cannot_have_is_an_error_with_its_row(
    tmp_path: Path, quick: Settings
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"instruction": "a", "output": "b", "raw": b"\xff"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "in.parquet")
    with pytest.raises(OutputError, match="row 0 cannot be written as JSON"):
        score_into_rows(tmp_path / "in.parquet", tmp_path / "out.jsonl", quick, LAST)
    assert not (tmp_path / "out.jsonl").exists()
