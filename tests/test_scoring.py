"""`ifdkit.score` from a dataset to a scores file, with tiny models."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import ifdkit
from ifdkit.data.options import ReadOptions
from ifdkit.errors import InputError, OutputError, StoreError, UsageError
from ifdkit.scoring import run as scoring
from ifdkit.scoring.inputs import open_data
from ifdkit.scoring.metrics import METRICS, groups
from ifdkit.scoring.output_names import default_output
from ifdkit.scoring.prefetching import prefetched
from ifdkit.scoring.rows import score_columns
from ifdkit.scoring.run import score_to_file
from ifdkit.scoring.scorer import Scorer
from ifdkit.scoring.settings import Settings
from ifdkit.scoring.store import Store
from ifdkit.scoring.summary import ScoreSummary
from tests import tiny
from tests.reference import ReferenceModel

Make = Callable[..., Path]

ROWS: list[dict[str, Any]] = [
    {"instruction": "Write a poem", "input": "", "output": "The sea is wide and the sky is blue."},
    {"instruction": "Add", "input": "2 and 3", "output": "5"},
    {"instruction": "Say nothing", "input": "", "output": ""},
    {"instruction": "", "input": "", "output": "An answer to nobody"},
    {"instruction": "Count", "input": "", "output": " ".join(str(i) for i in range(300))},
    {"instruction": "word " * 300, "input": "", "output": "Too late"},
    {"instruction": "Write a poem", "input": "", "output": "The sea is wide and the sky is blue."},
    {"instruction": "Wrong", "input": "", "output": 42},
    {"instruction": "Translate 你好", "input": "", "output": "Hello — 🎉 done"},
]

FLOATS = tuple(
    name
    for name, metric in METRICS.items()
    if not (metric.is_integer or metric.is_optional) and metric.applies_to != "documents"
)


@pytest.fixture
def settings(tiny_model: Path, tiny_embedder: Path, tmp_path: Path) -> Settings:
    return Settings(
        model=str(tiny_model),
        embedder=str(tiny_embedder),
        dtype="float32",
        store=str(tmp_path / "store.sqlite"),
        metrics=groups(),
        window=4,
    )


def run(data: Path, output: Path, settings: Settings, **read_options: Any) -> ScoreSummary:
    return score_to_file(data, output, settings, ReadOptions(**read_options))


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_row_is_scored_or_rejected_and_has_every_field(
    write: Make, settings: Settings, tmp_path: Path
) -> None:
    output = tmp_path / "out.jsonl"
    summary = run(write("data.json", ROWS), output, settings)
    rows = read_rows(output)
    rejects = read_rows(Path(f"{output}.rejects.jsonl"))
    manifest = json.loads(Path(f"{output}.manifest.json").read_text())
    assert [row["row"] for row in rows] == [0, 1, 2, 3, 4, 5, 6, 8]
    assert [row["status"] for row in rows] == [
        *("ok", "ok", "empty_response", "empty_instruction"),
        *("truncated", "prompt_too_long", "ok", "ok"),
    ]
    assert [(r["row"], r["reason"]) for r in rejects] == [(7, "'output' is a number, not text")]
    assert manifest["rows_in"] == len(ROWS)
    assert manifest["rows_scored"] + manifest["rows_rejected"] == manifest["rows_in"]
    assert sum(manifest["status_counts"].values()) == manifest["examples"] == len(rows)
    assert summary.manifest.as_json() == manifest
    for row in rows:
        assert tuple(row) == score_columns()
        undefined = [name for name in FLOATS if row[name] is None]
        assert row["reason"] if row["status"] != "ok" else not row["reason"]
        assert set(undefined) <= {"ifd_window"} or row["status"] != "ok", undefined


def test_scores_equal_those_of_the_reference_model(
    write: Make, settings: Settings, tmp_path: Path, tiny_model: Path
) -> None:
    output = tmp_path / "out.jsonl"
    run(write("data.json", ROWS), output, settings)
    reference = ReferenceModel(tiny_model)
    rows = read_rows(output)
    for i, instruction, response in (
        (0, "Write a poem", ROWS[0]["output"]),
        (1, "Add\n2 and 3", "5"),
        (7, "Translate 你好", ROWS[8]["output"]),
    ):
        assert rows[i]["ifd"] == pytest.approx(
            reference.aligned_ifd(instruction, response), rel=1e-5
        )
    assert rows[0]["ifd"] == rows[6]["ifd"]
    assert rows[0]["id"].removesuffix("-0") == rows[6]["id"].removesuffix("-1")


def test_batches_blocks_and_order_change_nothing(
    write: Make, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within 1e-5, because float32 sums depend on the order."""
    data = [row for row in ROWS if isinstance(row["output"], str)]
    reference = {
        row["id"]: row for row in ifdkit.score(data, **asdict(settings)).to_dict("records")
    }
    changed = asdict(settings) | {"store": "off"}
    monkeypatch.setattr(scoring, "EXAMPLES_PER_BLOCK", 2)
    monkeypatch.setattr("ifdkit.engine.huggingface.PACKED_TOKENS_PER_BATCH", {"cpu": 40})
    order = np.random.default_rng(0).permutation(len(data))
    frame = ifdkit.score([data[i] for i in order], **changed)
    assert set(frame["id"]) == set(reference)
    for row in frame.to_dict("records"):
        for name in FLOATS:
            a, b = row[name], reference[row["id"]][name]
            assert a == pytest.approx(b, rel=1e-5, nan_ok=True), name


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
def test_every_output_format_has_the_same_content(
    write: Make, settings: Settings, tmp_path: Path, ending: str
) -> None:
    output = tmp_path / f"out{ending}"
    chosen = Settings(**asdict(settings) | {"token_nll": True})
    run(write("data.json", ROWS), output, chosen)
    frame = {
        ".jsonl": lambda: pd.DataFrame(read_rows(output)),
        ".csv": lambda: pd.read_csv(output, keep_default_na=True),
        ".parquet": lambda: pd.read_parquet(output),
    }[ending]()
    assert tuple(frame.columns) == score_columns(token_nll=True)
    direct = ifdkit.score(tmp_path / "data.json", **asdict(chosen))
    for name in FLOATS:
        np.testing.assert_array_equal(frame[name].astype(float), direct[name], err_msg=name)
    tokens = frame["token_nll_response_direct"][0]
    tokens = json.loads(tokens) if isinstance(tokens, str) else list(tokens)
    assert np.mean(tokens) == pytest.approx(frame["nll_response_direct"][0], rel=1e-6)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("a/data.json", "data.scores.jsonl"),
        ("alpaca.v2.jsonl.gz", "alpaca.v2.scores.jsonl"),
        ("Qwen2.5-mix.parquet", "Qwen2.5-mix.scores.jsonl"),
        ("someone/dataset", "dataset.scores.jsonl"),
        ("folder/", "folder.scores.jsonl"),
        ("-", "stdin.scores.jsonl"),
    ],
)
def test_the_default_output_is_named_after_the_data(data: str, name: str) -> None:
    assert default_output(data) == Path(name)


def test_a_csv_cell_is_not_a_formula(write: Make, settings: Settings, tmp_path: Path) -> None:
    rows = [{"id": "=cmd()", "instruction": "Say", "output": "yes or no"}]
    run(write("data.json", rows), tmp_path / "out.csv", settings)
    with (tmp_path / "out.csv").open() as file:
        assert next(csv.DictReader(file))["id"] == "'=cmd()"


def test_json_output_is_strict(write: Make, settings: Settings, tmp_path: Path) -> None:
    def refuse(constant: str) -> float:
        raise AssertionError(constant)

    run(write("data.json", ROWS), tmp_path / "out.jsonl", settings)
    for name in ("out.jsonl", "out.jsonl.rejects.jsonl"):
        for line in (tmp_path / name).read_text().splitlines():
            json.loads(line, parse_constant=refuse)


def test_a_second_run_loads_no_model_and_gives_the_same_bytes(
    write: Make, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write("data.json", ROWS)
    run(data, tmp_path / "one.jsonl", settings)

    def explode(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("ifdkit.engine.huggingface.HuggingFaceBackend", explode)
    monkeypatch.setattr("ifdkit.engine.embedder.SentenceEmbedder", explode)
    summary = run(data, tmp_path / "two.jsonl", settings)
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "two.jsonl").read_bytes()
    assert summary.manifest.requests_scored == 0
    assert summary.manifest.requests_from_store == summary.manifest.requests


def test_only_what_changed_is_scored_again(write: Make, settings: Settings, tmp_path: Path) -> None:
    run(write("data.json", ROWS), tmp_path / "one.jsonl", settings)
    changed = [*ROWS[:-1], {"instruction": "Translate 你好", "input": "", "output": "Bye now"}]
    summary = run(write("changed.json", changed), tmp_path / "two.jsonl", settings)
    # The response changed, so its two passes did, and the instruction's given it.
    assert summary.manifest.requests_scored == 3


def test_equal_texts_are_scored_once(write: Make, settings: Settings, tmp_path: Path) -> None:
    one = run(write("one.json", ROWS[:1]), tmp_path / "1.jsonl", settings)
    off = Settings(**asdict(settings) | {"store": "off"})
    many = run(write("many.json", ROWS[:1] * 50), tmp_path / "50.jsonl", off)
    assert many.manifest.requests_scored == one.manifest.requests_scored == 4


def test_scores_of_one_model_are_not_reused_for_another(
    write: Make, settings: Settings, tmp_path: Path
) -> None:
    data = write("data.json", ROWS[:2])
    folder = tiny.save_model(tmp_path / "model", seed=1)
    chosen = Settings(**asdict(settings) | {"model": str(folder)})
    run(data, tmp_path / "a.jsonl", chosen)
    tiny.save_model(folder, seed=2)  # other weights under the same name
    summary = run(data, tmp_path / "b.jsonl", chosen)
    assert summary.manifest.requests_from_store == 0
    assert read_rows(tmp_path / "a.jsonl")[0]["ifd"] != read_rows(tmp_path / "b.jsonl")[0]["ifd"]


def test_the_metrics_determine_the_passes(write: Make, settings: Settings, tmp_path: Path) -> None:
    data = write("data.json", ROWS[:1])
    passes = {("ifd",): 2, ("rifd",): 2, ("ppl",): 3, ("coherence",): 0, ("ifd", "rifd"): 4}
    for metrics, n in passes.items():
        chosen = Settings(**asdict(settings) | {"metrics": metrics, "store": "off"})
        summary = run(data, tmp_path / "out.jsonl", chosen)
        (row,) = read_rows(tmp_path / "out.jsonl")
        assert summary.manifest.requests_scored == n, metrics
        assert (row["ifd"] is not None) == bool({"ifd", "ppl"} & set(metrics))
        assert (row["rifd"] is not None) == ("rifd" in metrics)
        assert (row["coherence"] is not None) == ("coherence" in metrics)
        assert row["status"] == "ok"


def test_coherence_is_the_cosine_of_the_embeddings(
    write: Make, settings: Settings, tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    run(write("data.json", ROWS), tmp_path / "out.jsonl", settings)
    a, b = SentenceTransformer(settings.embedder).encode(["Add\n2 and 3", "5"])
    cosine = float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    rows = read_rows(tmp_path / "out.jsonl")
    assert rows[1]["coherence"] == pytest.approx(cosine, abs=1e-5)
    assert -1 <= rows[0]["coherence"] <= 1
    assert rows[2]["coherence"] is None


def test_limit_and_sample(write: Make, settings: Settings, tmp_path: Path) -> None:
    data = write("data.json", ROWS)

    def chosen_rows(**read_options: Any) -> list[int]:
        run(data, tmp_path / "out.jsonl", settings, **read_options)
        return [row["row"] for row in read_rows(tmp_path / "out.jsonl")]

    assert chosen_rows(limit=2) == [0, 1]
    # Row 7 is rejected, so that a sample with it has one row of scores fewer.
    drawn = sorted(np.random.default_rng(1).choice(9, 3, replace=False).tolist())
    assert chosen_rows(sample=3, seed=1) == [row for row in drawn if row != 7]
    assert len({tuple(chosen_rows(sample=3, seed=seed)) for seed in range(5)}) > 2
    assert chosen_rows(limit=4, sample=99) == [0, 1, 2, 3]
    for bad in ({"limit": 0}, {"sample": 0}, {"seed": -1}):
        with pytest.raises(UsageError, match=r"at least one row|not negative"):
            chosen_rows(**bad)


def test_the_chat_template_comes_from_the_tokenizer(
    write: Make, settings: Settings, tmp_path: Path
) -> None:
    tool = {"role": "tool", "content": "3"}
    user, assistant = ({"role": r, "content": "Hello"} for r in ("user", "assistant"))
    data = write("chat.json", [{"messages": [user, assistant]},
                               {"messages": [user, tool, assistant]}])  # fmt: skip
    chosen = Settings(**asdict(settings) | {"template": "chat"})
    summary = run(data, tmp_path / "out.jsonl", chosen)
    assert summary.manifest.template_text == tiny.CHAT_TEMPLATE
    plain, refused = read_rows(tmp_path / "out.jsonl")
    assert plain["status"] == "ok"
    assert refused["status"] == "invalid"
    assert refused["reason"] == "no tools"


def test_a_conversation_gives_one_row_per_assistant_turn(
    write: Make, settings: Settings, tmp_path: Path
) -> None:
    turns = [("human", "Hi"), ("gpt", "Hello!"), ("human", "And?"), ("gpt", "And what?")]
    data = write(
        "talk.json", [{"conversations": [{"from": who, "value": what} for who, what in turns]}]
    )
    run(data, tmp_path / "all.jsonl", settings)
    rows = read_rows(tmp_path / "all.jsonl")
    assert [(row["row"], row["turn"]) for row in rows] == [(0, 0), (0, 1)]
    run(data, tmp_path / "last.jsonl", settings, turns="last")
    (last,) = read_rows(tmp_path / "last.jsonl")
    assert last["turn"] == 1
    assert last["ifd"] == pytest.approx(rows[1]["ifd"], rel=1e-5)


def test_the_summary_correlates_ifd_with_length(
    write: Make, settings: Settings, tmp_path: Path
) -> None:
    rows = [{"instruction": "Go", "output": "one two three " * (i + 1)} for i in range(12)]
    summary = run(write("data.json", rows), tmp_path / "out.jsonl", settings)
    frame = pd.DataFrame(read_rows(tmp_path / "out.jsonl"))
    expected = frame["ifd"].corr(frame["response_tokens"], method="spearman")
    assert summary.ifd_length_spearman == pytest.approx(expected)
    assert summary.metrics["ifd"].median == pytest.approx(frame["ifd"].median())
    assert summary.metrics["ifd"].p95 == pytest.approx(frame["ifd"].quantile(0.95))
    few = run(write("few.json", rows[:3]), tmp_path / "few.jsonl", settings)
    assert few.ifd_length_spearman is None


@pytest.mark.parametrize(
    ("output", "error", "message"),
    [
        ("out.xlsx", UsageError, r"end it in \.jsonl"),
        ("missing/out.jsonl", OutputError, "the folder .*missing does not exist"),
        ("data.json.jsonl", OutputError, "is the input itself"),
    ],
)
def test_an_unusable_output_is_refused_before_any_work(
    write: Make,
    settings: Settings,
    tmp_path: Path,
    output: str,
    error: type[Exception],
    message: str,
) -> None:
    data = write("data.json.jsonl", "\n".join(json.dumps(row) for row in ROWS))
    with pytest.raises(error, match=message):
        run(data, tmp_path / output, settings)
    assert not (tmp_path / "store.sqlite").exists()


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
def test_an_interrupted_run_leaves_no_half_written_file(
    write: Make,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ending: str,
) -> None:
    data, output = write("data.json", ROWS), tmp_path / f"out{ending}"
    run(write("old.json", ROWS[:1]), output, settings)
    before = output.read_bytes()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Scorer, "coherences", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(data, output, settings)
    assert output.read_bytes() == before
    assert not list(tmp_path.glob(".*inprogress"))
    monkeypatch.undo()
    assert run(data, output, settings).manifest.requests_scored == 0, "NLLs were kept"


def test_the_unfinished_file_of_another_run_is_kept(
    write: Make, settings: Settings, tmp_path: Path
) -> None:
    live = tmp_path / f".out.jsonl.{os.getppid()}.x.inprogress"
    other = tmp_path / ".out.jsonl.notes.inprogress"
    dead = tmp_path / f".out.jsonl.{2**22 + 1}.x.inprogress"  # above Linux's largest process id
    for path in (live, other, dead):
        path.touch()
    run(write("data.json", ROWS[:1]), tmp_path / "out.jsonl", settings)
    assert [path.exists() for path in (live, other, dead)] == [True, True, False]


def test_a_run_without_rejects_deletes_those_of_an_earlier_run(
    write: Make, settings: Settings, tmp_path: Path
) -> None:
    output = tmp_path / "out.jsonl"
    run(write("data.json", ROWS), output, settings)
    assert Path(f"{output}.rejects.jsonl").exists()
    run(write("clean.json", ROWS[:2]), output, settings)
    assert not Path(f"{output}.rejects.jsonl").exists()


@pytest.mark.parametrize("setting", ["protocol", "metrics", "dtype", "window", "max_length"])
def test_invalid_settings_are_refused(setting: str) -> None:
    bad: dict[str, Any] = {"metrics": ("ifd", "bleu"), "window": 0, "max_length": 1}
    with pytest.raises(UsageError):
        Settings(**{setting: bad.get(setting, "nonsense")})


def test_a_maximum_length_beyond_the_context_is_refused(
    write: Make, settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="more than the 256 tokens"):
        run(write("data.json", ROWS), tmp_path / "out.jsonl",
            Settings(**asdict(settings) | {"max_length": 257}))  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [
        {"window": "64"},
        {"window": True},
        {"max_length": 2.0},
        {"model": None},
        {"metrics": 3},
        {"metrics": [1, 2]},
        {"allow_pickle": "no"},
        {"store": 1},
    ],
)
def test_a_keyword_of_the_wrong_type_is_named(wrong: dict[str, Any]) -> None:
    ((name, value),) = wrong.items()
    value = tuple(value) if isinstance(value, list) else value
    expected = re.escape(f"score(): {name}={value!r} has the wrong type")
    with pytest.raises(UsageError, match=expected):
        ifdkit.score([{"instruction": "a", "output": "b"}], **wrong)


def test_metrics_are_any_iterable_and_paths_are_paths(tiny_model: Path, tmp_path: Path) -> None:
    rows = [{"instruction": "Add.", "output": "the sea"}]
    store = tmp_path / "store.sqlite"
    columns = [
        tuple(ifdkit.score(rows, model=model, store=store, metrics=metrics).columns)
        for model in (tiny_model, str(tiny_model))
        for metrics in (["ppl"], ("ppl",), "ppl", (name for name in ["ppl"]))
    ]
    assert len(set(columns)) == 1


def test_score_accepts_dicts_and_frames(tiny_model: Path) -> None:
    rows = [{"q": "Why", "a": "Because of it"}]
    options: dict[str, Any] = {
        "model": str(tiny_model),
        "metrics": ("ifd",),
        "columns": {"instruction": "q", "response": "a"},
    }
    frame = ifdkit.score(rows, **options)
    assert math.isfinite(frame["ifd"][0])
    assert frame.attrs["manifest"]["rows_in"] == 1
    pd.testing.assert_frame_equal(frame, ifdkit.score(pd.DataFrame(rows), **options))
    with pytest.raises(UsageError, match="no keyword 'modell'"):
        ifdkit.score(rows, modell="gpt2")  # type: ignore[call-overload]


def test_a_scores_file_can_replace_its_dataset(
    write: Make, settings: Settings, tmp_path: Path
) -> None:
    data, scores = write("data.json", ROWS), tmp_path / "scores.jsonl"
    run(data, scores, settings, sample=4, seed=3)
    run(scores, tmp_path / "again.jsonl", settings)
    assert (tmp_path / "again.jsonl").read_bytes() == scores.read_bytes()
    run(scores, tmp_path / "fewer.jsonl", settings, limit=2)
    assert read_rows(tmp_path / "fewer.jsonl") == read_rows(scores)[:2]
    data.write_text(json.dumps(ROWS[:1]))
    with pytest.raises(InputError, match="their source, has changed since"):
        run(scores, tmp_path / "again.jsonl", settings)
    data.unlink()
    with pytest.raises(InputError, match="their source, is not here"):
        run(scores, tmp_path / "again.jsonl", settings)
    Path(f"{scores}.manifest.json").write_text("{}")
    with pytest.raises(InputError, match="is a scores file, without the texts"):
        run(scores, tmp_path / "again.jsonl", settings)


# --- four real files with a tiny model -------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "rows", "examples"),
    [
        ("alpaca_1k.json", 1000, 1000),
        ("alpacaeval400_alpaca-7b.json", 400, 400),
        ("alpacaeval400_recycled-wizardlm-7b-v1.json", 400, 400),
        ("sharegpt_tools_150.json", 150, 505),
    ],
)
def test_real_files_are_scored_completely(
    shared_file: Make, settings: Settings, tmp_path: Path, name: str, rows: int, examples: int
) -> None:
    chosen = Settings(**asdict(settings) | {"metrics": ("ifd",), "store": "off"})
    summary = run(shared_file("data", name), tmp_path / "out.jsonl", chosen)
    made = summary.manifest
    assert (made.rows_in, made.rows_scored, made.rows_rejected) == (rows, rows, 0)
    assert made.examples == examples == len(read_rows(tmp_path / "out.jsonl"))
    assert set(made.status_counts) <= {"ok", "truncated", "prompt_too_long", "empty_response"}


# --- killed and resumed runs -----------------------------------------------------------------


def _command(data: Path, output: Path, settings: Settings) -> list[str]:
    return [
        *(sys.executable, "-m", "ifdkit", "score", str(data), "-o", str(output), "--quiet"),
        *("--model", settings.model, "--embedder", str(settings.embedder)),
        *("--store", str(settings.store), "--dtype", "float32"),
    ]


@pytest.mark.long
@pytest.mark.parametrize("at", [0.1, 0.4])
def test_a_killed_run_resumes_and_ends_with_the_same_bytes(
    write: Make, settings: Settings, tmp_path: Path, at: float
) -> None:
    generator = np.random.default_rng(0)
    responses = [
        " ".join(map(str, generator.integers(99, size=n))) for n in generator.integers(1, 60, 300)
    ]
    rows = [{"instruction": f"Count from {i}", "output": r} for i, r in enumerate(responses)]
    data = write("data.json", rows)
    fresh = Settings(model=settings.model, embedder=settings.embedder, dtype="float32", store="off")
    whole = run(data, tmp_path / "whole.jsonl", fresh)
    command = _command(data, tmp_path / "killed.jsonl", settings)
    process = subprocess.Popen(command)
    _wait_until_stored(Path(str(settings.store)), int(whole.manifest.requests * at), process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = _stored(Path(str(settings.store)))
    assert 0 < kept < whole.manifest.requests, "killed too early or too late"
    assert not (tmp_path / "killed.jsonl").exists()

    subprocess.run(command, check=True)
    assert not list(tmp_path.glob(".*inprogress")), "unfinished files of the killed run are deleted"
    manifest = json.loads((tmp_path / "killed.jsonl.manifest.json").read_text())
    assert (tmp_path / "killed.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert manifest["requests_from_store"] == kept
    assert manifest["requests_scored"] == whole.manifest.requests - kept


def _stored(path: Path) -> int:
    if not path.exists():
        return 0
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as database:
        try:
            return int(database.execute("SELECT count(*) FROM nll").fetchone()[0])
        except sqlite3.OperationalError:  # its tables do not exist yet
            return 0


def _wait_until_stored(path: Path, n: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 120
    while _stored(path) < n:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < end, "nothing was stored"
        time.sleep(0.005)


def test_an_instruction_is_scored_together_with_its_response(
    write: Make, settings: Settings, tmp_path: Path
) -> None:
    """With `aligned` the direct pass of the instruction is a prefix of the conditional one."""
    data = write("data.json", [{"instruction": "Write a poem", "output": "The sea is wide."}])
    settings = replace(settings, metrics=("ppl", "ifd"))
    with Scorer(replace(settings, store="off")) as scorer:
        passes = scorer.align(list(chain.from_iterable(open_data(data, ReadOptions()))))  # type: ignore[arg-type]
        lengths = sorted(one.requests[0].stop for each in passes for _, one in each.present())
    made = run(data, tmp_path / "out.jsonl", settings).manifest
    assert made.requests_scored == 3
    assert made.tokens_scored == sum(lengths) - lengths[0]


def test_a_failure_to_store_is_an_error(
    write: Make, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores are stored in the background, but a failure is not silent."""

    def full(*_: object, **__: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(Store, "put_nlls", full)
    with pytest.raises(StoreError, match="full"):
        run(write("data.json", ROWS), tmp_path / "out.jsonl", settings)
    assert not (tmp_path / "out.jsonl").exists()


def test_the_next_block_is_made_while_one_is_scored() -> None:
    made = []
    started = threading.Event()

    def items() -> Iterator[int]:
        for i in range(1, 4):
            made.append(i)
            if i == 2:
                started.set()
            yield i
        raise ValueError("broken row")

    stopped: list[bool] = []
    ahead = prefetched(items(), lambda: stopped.append(True), lambda _: True)
    assert next(ahead) == 1
    assert started.wait(10), "the second is made before it is requested"
    assert next(ahead) == 2
    assert next(ahead) == 3
    with pytest.raises(ValueError, match="broken row"):
        next(ahead)
    assert made == [1, 2, 3]
    assert stopped


def test_the_next_block_is_made_later_if_this_one_needs_no_model() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for i in range(1, 4):
            made.append(i)
            yield i

    found = []
    for item in prefetched(items(), lambda: None, lambda _: False):
        time.sleep(0.05)
        found.append((item, len(made)))
    assert found == [(1, 1), (2, 2), (3, 3)]
