"""`ifdkit.select`: which rows are kept, why the others are dropped, and what the files contain."""

from __future__ import annotations

import csv
import gzip
import io
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard

import ifdkit
from ifdkit.errors import InputError, UsageError
from ifdkit.scoring.metrics import METRICS
from ifdkit.scoring.scorer import Scorer
from ifdkit.selection.effect import DRAWS
from ifdkit.selection.methods import METHODS, Method, Task
from ifdkit.selection.options import SelectOptions
from ifdkit.selection.result import Selected
from ifdkit.selection.verdict import KEPT, Verdict, fill_reasons
from ifdkit.stats.columns import distance
from tests.select_fixtures import Numbers, rows_like, scored

pytestmark = pytest.mark.long

Make = Callable[..., Path]


def pick(source: Path, **options: Any) -> Selected:
    return ifdkit.select(source, source.with_name("best.jsonl"), **options)


def row_log(done: Selected) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(done.rows).read_text().splitlines()]


def ids(done: Selected) -> list[str]:
    return [json.loads(line)["id"] for line in Path(done.output).read_text().splitlines()]


IFD: Numbers = [0.5, 0.9, 0.9, 1.0, None, 0.9, 0.2]
STATUSES = ["ok", "ok", "truncated", "ok", "empty_response", "ok", "ok"]


@pytest.mark.parametrize(
    ("options", "kept", "dropped"),
    [
        ({"top": 2}, [1, 2], {"below_top": 3, "ifd_above_one": 1}),
        ({"top": "43%"}, [1, 2, 5], {"below_top": 2, "ifd_above_one": 1}),
        ({"top": 2, "lowest": True}, [0, 6], {"below_top": 3, "ifd_above_one": 1}),
        ({"top": 2, "keep_misaligned": True}, [1, 3], {"below_top": 4}),
        ({"top": 100}, [0, 1, 2, 5, 6], {"ifd_above_one": 1}),
        ({"min": 0.5, "max": 0.9}, [0, 1, 2, 5], {"below_min": 1, "ifd_above_one": 1}),
        ({"max": 0.5}, [0, 6], {"above_max": 3, "ifd_above_one": 1}),
        ({"min": 0.5, "top": 1}, [1], {"below_top": 3, "below_min": 1, "ifd_above_one": 1}),
    ],
)
def test_kept_rows_by_hand(
    tmp_path: Path, options: dict[str, Any], kept: list[int], dropped: dict[str, int]
) -> None:
    source = scored(tmp_path, rows_like(7), ifd=IFD, statuses=STATUSES)
    done = pick(source, by="ifd", **options)
    assert list(done.kept_rows) == kept
    assert ids(done) == [f"r{i}" for i in kept], "in file order"
    assert done.dropped == {**dropped, "undefined": 1}
    assert done.undefined == {"empty_response": 1}
    assert done.kept + sum(done.dropped.values()) == done.rows_in == 7


def test_the_row_log_has_one_line_per_row(tmp_path: Path) -> None:
    source = scored(tmp_path, rows_like(7), ifd=IFD, statuses=STATUSES)
    done = pick(source, by="ifd", top=2)
    lines = row_log(done)
    assert [one["row"] for one in lines] == list(range(7))
    assert [one["value"] for one in lines] == list(IFD)
    low, misaligned = "below_top", "ifd_above_one"
    assert [one["reason"] for one in lines] == [
        *(low, None, None, misaligned, "undefined", low, low)
    ]
    assert [one["kept"] for one in lines] == [one["reason"] is None for one in lines]
    assert lines[4]["status"] == "empty_response"
    assert json.loads(Path(f"{done.output}.manifest.json").read_text()) == json.loads(
        json.dumps(done.as_json())
    )
    assert done.scores is not None
    assert done.scores.protocol == "aligned"


@pytest.mark.parametrize("lowest", [False, True])
@pytest.mark.parametrize("field", ["ifd", "rifd", "coherence", "ppl_response_direct", "ifd_window"])
def test_an_undefined_number_is_never_kept(tmp_path: Path, field: str, lowest: bool) -> None:
    values: list[float | None] = [None, 0.3, None, 0.2, 0.1, None]
    source = scored(tmp_path, rows_like(6), numbers={field: values})
    done = pick(source, by=field, top="100%", lowest=lowest)
    assert list(done.kept_rows) == [1, 3, 4]
    assert done.dropped == {"undefined": 3}
    assert done.undefined == {f"no_{field}": 3}


def test_an_empty_text_is_not_the_shortest_text(write: Make) -> None:
    rows = rows_like(4)
    rows[1]["output"], rows[2]["output"] = "", "One"
    source = write("data.json", rows)
    done = pick(source, by="response_words", top=1, lowest=True)
    assert list(done.kept_rows) == [2]
    assert done.undefined == {"empty_response": 1}


def test_only_ratios_of_1_or_more_are_misaligned(tmp_path: Path) -> None:
    values: Numbers = [0.9, 1.1, 2.0]
    for field, n in (("ifd", 1), ("ifd_loss", 1), ("ifd_window", 1), ("rifd", 1), ("rifd_loss", 1),
                     ("ppl_response_direct", 3), ("bits_per_byte_response", 3)):  # fmt: skip
        done = pick(scored(tmp_path, rows_like(3), numbers={field: values}), by=field, top=3)
        assert done.kept == n, field
        name = "rifd_above_one" if field.startswith("rifd") else "ifd_above_one"
        assert done.dropped == ({name: 2} if n == 1 else {})


def reference(scores: Sequence[float | None], share: float) -> list[int]:
    """The published selection: select_data.py of Superfiltering, data_by_IFD.py of Cherry LLM."""
    aligned = [i for i, one in enumerate(scores) if one is not None and one < 1]
    aligned.sort(key=lambda i: scores[i] or 0, reverse=True)
    return sorted(aligned[: int(len(scores) * share)])


METHOD_FIELDS = {"superfiltering": "ifd", "cherry": "ifd_loss"}


@pytest.fixture(scope="module")
def small(tiny_model: Path, tiny_embedder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Settings for a quick run; the store is shared, so that texts are scored once."""
    store = tmp_path_factory.mktemp("store") / "store.sqlite"
    return {"model": str(tiny_model), "embedder": str(tiny_embedder), "store": str(store)}


def varied(n: int) -> list[dict[str, Any]]:
    """Rows of many lengths, one without a response and one without an instruction."""
    generator = np.random.default_rng(0)
    words = ["the", "cat", "sat", "on", "a", "mat", "and", "it", "was", "42", "def", "add", "sea"]
    rows = [
        {"instruction": " ".join(generator.choice(words, generator.integers(3, 12))),
         "output": " ".join(generator.choice(words, generator.integers(1, 40)))}
        for _ in range(n)
    ]  # fmt: skip
    rows[3]["output"], rows[5]["instruction"] = "", " "
    return rows


@pytest.mark.parametrize("method", METHOD_FIELDS)
def test_published_methods_keep_the_rows_that_the_scripts_keep(
    write: Make, small: dict[str, Any], method: str
) -> None:
    source = write("data.json", varied(60))
    frame = ifdkit.score(source, metrics="ifd", **small)
    column = frame[METHOD_FIELDS[method]]
    scores = [None if value != value else value for value in column]
    done = ifdkit.select(source, source.with_name("b.json"), method=method, top="20%", **small)
    assert list(done.kept_rows) == reference(scores, 0.2)
    assert 0 < done.kept <= 12
    assert done.scores is not None
    assert done.scores.metrics == [METHOD_FIELDS[method]], "nothing else is measured"
    rows = json.loads(source.read_text())
    kept = json.loads(Path(done.output).read_text())
    assert kept == [rows[i] for i in done.kept_rows]


@pytest.mark.real_model
@pytest.mark.parametrize("method", METHOD_FIELDS)
def test_published_methods_keep_the_same_real_rows(
    shared_file: Make, tmp_path: Path, method: str
) -> None:
    source = shared_file("data", "alpaca_1k.json")
    frame = ifdkit.score(source, metrics="ifd", limit=40)
    scores = [None if value != value else value for value in frame[METHOD_FIELDS[method]]]
    done = ifdkit.select(source, tmp_path / "b.json", method=method, top="20%", limit=40)
    assert list(done.kept_rows) == reference(scores, 0.2)
    assert done.kept == 8
    rows = json.loads(source.read_text())
    assert json.loads(Path(done.output).read_text()) == [rows[i] for i in done.kept_rows]


def test_a_scores_file_gives_the_selection_of_its_dataset(
    write: Make, small: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ifdkit.data.options import ReadOptions
    from ifdkit.scoring.run import score_to_file
    from ifdkit.scoring.settings import Settings

    source = write("data.json", varied(40))
    direct = ifdkit.select(source, tmp_path / "a.json", by="ifd", top=6, **small)
    score_to_file(source, tmp_path / "s.parquet", Settings(**small), ReadOptions())
    monkeypatch.setattr("ifdkit.selection.inputs.Scorer", None)  # no model is used
    read = ifdkit.select(tmp_path / "s.parquet", tmp_path / "b.json", by="ifd", top=6)
    assert read.kept_rows == direct.kept_rows
    assert Path(read.output).read_bytes() == Path(direct.output).read_bytes()
    assert read.input == direct.input
    names = [one.name for one in read.effect.measures]
    assert "coherence" in names, "all metrics of the scores file are shown"
    part = ifdkit.select(tmp_path / "s.parquet", tmp_path / "b.json", by="ifd", top=3, limit=20)
    assert (part.rows_in, part.kept) == (20, 3)


def test_token_counts_need_no_model(
    write: Make, small: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write("data.json", varied(30))
    tokens = ifdkit.score(source, metrics="ifd", **small)["response_tokens"].tolist()

    def refuse(self: Scorer) -> None:
        raise AssertionError("a model is used")

    monkeypatch.setattr(Scorer, "backend", property(refuse))
    done = pick(source, by="response_tokens", top=5, **small)
    assert list(done.kept_rows) == sorted(sorted(range(30), key=lambda i: -tokens[i])[:5])
    assert done.scores is None
    assert done.effect.measures[0].name == "response_tokens"


@pytest.mark.parametrize(
    ("field", "metrics"),
    [
        ("ifd", ("ifd",)),
        ("bits_per_byte_response", ("bits_per_byte_response",)),
        ("coherence", ("coherence",)),
        ("response_tokens", ()),
        ("response_words", ()),
        ("truncated_tokens", ()),
    ],
)
def test_only_what_is_needed_is_measured(field: str, metrics: tuple[str, ...]) -> None:
    assert SelectOptions(by=field, top=1).metrics == metrics


@pytest.mark.long
def test_every_field_of_by_is_among_the_measured_metrics(
    write: Make, small: dict[str, Any]
) -> None:
    """For every field that `--by` accepts, the metrics chosen for it have numbers."""
    source = write("data.json", varied(8))
    # Those of two models need the second, and those of texts longer texts than these.
    left_out = {"reference", "text"}
    for field in (
        name
        for name, metric in METRICS.items()
        if metric.applies_to != "documents" and metric.group not in left_out
    ):
        more = {"window": 4, "keep_misaligned": True}
        done = pick(source, by=field, top=1, **more, **small)
        assert done.kept == 1, field


def test_random_draws_from_the_readable_rows_by_its_seed(write: Make) -> None:
    source = write("data.jsonl", "".join(json.dumps(row) + "\n" for row in rows_like(50)) + "{\n")
    kept = [pick(source, method="random", top="20%", seed=seed).kept_rows for seed in (1, 1, 2)]
    assert kept[0] == kept[1] != kept[2]
    assert [len(one) for one in kept] == [10, 10, 10], "20 % of 51 rows"
    done = pick(source, method="random", top=51)
    assert (done.kept, done.dropped) == (50, {"rejected": 1})
    assert row_log(done)[50]["reason"] == "rejected"
    assert done.scores is None
    assert done.effect.measures[0].name == "response_words"


def test_random_loads_no_model_library(write: Make) -> None:
    source = write("data.json", rows_like(20))
    script = (
        "import sys, ifdkit;"
        "done = ifdkit.select(sys.argv[1], sys.argv[2], {how});"
        "print(done.kept, *({{'torch', 'transformers', 'sentence_transformers', 'pandas'}}"
        " & set(sys.modules)))"
    )
    for how in ("method='random', top=5", "by='response_words', top=5"):
        done = subprocess.run(
            [sys.executable, "-c", script.format(how=how), source, source.with_name("b.json")],
            capture_output=True,
            text=True,
        )
        assert (done.stdout, done.stderr) == ("5\n", "")


LINES = [
    b'{"id":"a",  "instruction":"Say \\u00e9", "output":"one two", "n": 1.0e2}',
    b'{"instruction": "x", "output": "\xc3\xa9", "id": "b", "big": 123456789012345678901}',
    b'  {"id": "c", "output": "three four five", "instruction": "y"} \r',
    b'{"id": "d", "instruction": "z", "output": "one", "id": "again"}',
]


@pytest.mark.parametrize(("ending", "packed", "opened"), [
    ("", lambda data: data, lambda data: data),
    (".gz", gzip.compress, gzip.decompress),
    (".zst", lambda data: zstandard.ZstdCompressor().compress(data),
     lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data)),
])  # fmt: skip
def test_json_lines_are_copied_byte_for_byte(
    write: Make, ending: str, packed: Callable[[bytes], bytes], opened: Callable[[bytes], bytes]
) -> None:
    content = b"\xef\xbb\xbf" + b"\n\n".join(LINES) + b"\n{broken\n"
    source = write(f"data.jsonl{ending}", packed(content))
    output = source.with_name(f"best.jsonl{ending}")
    done = ifdkit.select(source, output, by="response_words", top=2)
    assert list(done.kept_rows) == [0, 2]
    assert opened(output.read_bytes()) == LINES[0] + b"\n" + LINES[2] + b"\n"
    assert done.dropped == {"below_top": 2, "rejected": 1}


def test_json_csv_and_parquet_rows_are_copied_unchanged(write: Make) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"id": f"r{i}", "instruction": f"Say\n{i}", "output": "word " * (i % 4 + 1), "n": i,
             "more": [None, {"x": i}]} for i in range(9)]  # fmt: skip
    kept = [i for i in range(9) if i % 4 == 3]
    source = write("data.json", json.dumps(rows, indent=2))
    done = ifdkit.select(source, source.with_name("b.json"), by="response_words", top=2)
    assert list(done.kept_rows) == kept
    wanted = json.dumps([rows[i] for i in kept], indent=2) + "\n"
    assert Path(done.output).read_text() == wanted

    table = pa.Table.from_pylist(rows)
    source = source.with_name("data.parquet")
    pq.write_table(table, source)
    done = ifdkit.select(source, source.with_name("b.parquet"), by="response_words", top=2)
    assert pq.read_table(done.output).equals(table.take(kept))

    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["instruction", "output", "n"])
    lines = [[row["instruction"], row["output"], f" {row['n']}"] for row in rows]
    writer.writerows(lines)
    source = write("data.csv", text.getvalue().encode())
    done = ifdkit.select(source, source.with_name("b.csv"), by="response_words", top=2)
    with Path(done.output).open(newline="") as file:
        assert list(csv.reader(file)) == [["instruction", "output", "n"], *(lines[i] for i in kept)]


def conversation(*turns: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text} for asked in turns
            for role, text in (("user", f"ask {asked}"), ("assistant", asked))]  # fmt: skip


CONVERSATIONS = [
    {"id": "t0", "messages": conversation("a", "b")},
    {"id": "t1", "messages": conversation("c")},
    {"id": "t2", "messages": conversation("d", "e", "f")},
]
TURN_IFD: Numbers = [0.9, 0.1, 0.4, None, 0.2, 0.5]


def test_a_conversation_is_kept_whole_and_ranked_by_its_last_turn(tmp_path: Path) -> None:
    source = scored(tmp_path, CONVERSATIONS, ifd=TURN_IFD)
    done = pick(source, by="ifd", top=1)
    assert [one["value"] for one in row_log(done)] == [0.1, 0.4, 0.5]
    assert json.loads(Path(done.output).read_text()) == CONVERSATIONS[2]
    done = pick(source, by="ifd", top=1, turns="all")
    assert [one["value"] for one in row_log(done)] == pytest.approx([0.5, 0.4, 0.35])
    assert json.loads(Path(done.output).read_text()) == CONVERSATIONS[0]
    assert (done.rows_in, done.dropped) == (3, {"below_top": 2})


def test_a_row_without_a_defined_turn_is_undefined(tmp_path: Path) -> None:
    statuses = ["ok", "empty_response", "ok", "nothing_to_score", "ok", "ok"]
    source = scored(
        tmp_path, CONVERSATIONS, ifd=[None, None, 0.4, None, 0.2, 0.5], statuses=statuses
    )
    done = pick(source, by="ifd", top=3, turns="all")
    assert list(done.kept_rows) == [1, 2]
    assert done.undefined == {"empty_response": 1}


def test_scores_of_last_turns_are_refused_for_all_turns(tmp_path: Path) -> None:
    source = scored(tmp_path, rows_like(3), ifd=[0.1, 0.2, 0.3], manifest={"turns": "last"})
    with pytest.raises(UsageError, match="has no other turns"):
        pick(source, by="ifd", top=1, turns="all")


def test_flags_that_contradict_the_scores_are_refused(tmp_path: Path) -> None:
    source = scored(tmp_path, rows_like(3), ifd=[0.1, 0.2, 0.3])
    assert pick(source, by="ifd", top=1, protocol="aligned").kept == 1
    with pytest.raises(UsageError, match="protocol aligned, not cherry"):
        pick(source, by="ifd", top=1, protocol="cherry")
    with pytest.raises(UsageError, match="has no coherence"):
        pick(source, by="coherence", top=1)


def long_is_hard(folder: Path, n: int = 600) -> Path:
    """Scores like real ones: IFD rises with length, and some rows are above 1."""
    generator = np.random.default_rng(7)
    lengths = np.maximum(2, generator.lognormal(4, 1, n)).astype(int)
    ifd = 1 - 1 / np.log(lengths + 3) + generator.normal(0, 0.1, n)
    rows = rows_like(n)
    for row, length in zip(rows, lengths, strict=True):
        row["output"] = "word " * int(length)
        row["source"] = "long" if length > 60 else "short"
    return scored(folder, rows, ifd=ifd.tolist())


def test_length_controlled_keeps_the_lengths_of_the_input(tmp_path: Path) -> None:
    source = long_is_hard(tmp_path)
    lines = (tmp_path / "data.jsonl").read_text().splitlines()
    lengths = np.array([len(json.loads(line)["output"].split()) for line in lines])
    distances, sentences = {}, {}
    for method in ("length-controlled", "superfiltering", "random"):
        done = pick(source, method=method, top="10%", **({} if method != "random" else {"seed": 5}))
        assert done.kept == 60
        distances[method] = distance(lengths, lengths[list(done.kept_rows)]).ks or 0.0
        sentences[method] = done.effect.length.sentence
    assert distances["length-controlled"] < 0.1
    assert distances["superfiltering"] > 0.4, "negative control"
    assert distances["random"] < 0.2
    assert sentences["length-controlled"] is None
    assert sentences["random"] is None
    assert sentences["superfiltering"] is not None
    assert "mostly longer answers" in sentences["superfiltering"]


def test_the_result_lists_the_bands(tmp_path: Path) -> None:
    done = pick(long_is_hard(tmp_path), method="length-controlled", top=60, bands=4)
    assert len(done.bands) == 4
    assert sum(band.taken for band in done.bands) == 60
    assert sum(band.rows for band in done.bands) == 600
    assert all(abs(band.taken - 15) <= 1 for band in done.bands)
    assert done.parameters["bands"] == 4
    assert done.dropped["ifd_above_one"] > 0


def test_the_effect_equals_direct_computation(tmp_path: Path) -> None:
    source = long_is_hard(tmp_path)
    done = pick(source, by="ifd", top=60)
    rows = [json.loads(line) for line in (tmp_path / "data.jsonl").read_text().splitlines()]
    lengths = np.array([len(row["output"].split()) for row in rows])
    kept = list(done.kept_rows)
    length = done.effect.measures[0]
    assert (length.name, length.unit) == ("response_tokens", "median")
    assert length.input == np.median(lengths)
    assert length.selection == np.median(lengths[kept])
    assert length.random_range95 is not None
    low, high = length.random_range95
    assert low < np.median(lengths) < high < np.median(lengths[kept])
    assert length.random == pytest.approx(length.input, rel=0.1)
    sources = {one.name: one for one in done.effect.sources}
    assert done.effect.source_field == "source"
    share = np.mean([row["source"] == "long" for row in rows])
    assert sources["long"].input == pytest.approx(share)
    assert sources["long"].selection == np.mean([rows[i]["source"] == "long" for i in kept])
    # 200 draws of 60: their mean is within 5 standard errors of the share.
    assert sources["long"].random == pytest.approx(share, abs=5 * 0.5 / np.sqrt(60 * DRAWS))
    longest = np.argsort(-lengths, kind="stable")[:60]
    assert done.effect.length.share_among_longest == len(set(longest) & set(kept)) / 60
    assert done.effect.length.chance_among_longest == pytest.approx(0.1)
    assert done.effect.length.spearman is not None
    assert done.effect.length.spearman > 0.5


def test_repeated_texts_and_sources_by_hand(tmp_path: Path) -> None:
    rows = rows_like(8, category=["x", "x", "y", "y", "y", "y", None, "z"])
    for i in (1, 2):
        rows[i] |= {"instruction": rows[0]["instruction"], "output": "IT  is\n0. "}
    done = pick(
        scored(tmp_path, rows, ifd=[0.9, 0.8, 0.1, 0.7, 0.6, 0.1, 0.1, 0.1]), by="ifd", top=4
    )
    assert list(done.kept_rows) == [0, 1, 3, 4]
    repeated = next(one for one in done.effect.measures if one.name == "repeated")
    assert (repeated.input, repeated.selection) == (2 / 8, 1 / 4)
    near = next(one for one in done.effect.measures if one.name == "nearly_repeated")
    assert (near.input, near.selection) == (2 / 8, 1 / 4)
    shares = {one.name: (one.input, one.selection) for one in done.effect.sources}
    assert shares == {"y": (0.5, 0.5), "x": (0.25, 0.5), "(none)": (0.125, 0), "z": (0.125, 0)}


def test_near_duplicates_by_hand(tmp_path: Path) -> None:
    rows = rows_like(5)
    for i in (1, 3):
        rows[i] |= {
            "instruction": "Tell me",
            "output": " ".join(f"w{k}" for k in range(60)) + f" {i}",
        }
    done = pick(scored(tmp_path, rows, ifd=[0.1, 0.9, 0.1, 0.8, 0.1]), by="ifd", top=2)
    shares = {one.name: (one.input, one.selection) for one in done.effect.measures}
    assert shares == shares | {"repeated": (0, 0), "nearly_repeated": (1 / 5, 1 / 2)}


def test_a_column_with_one_name_or_with_texts_is_not_a_source(write: Make) -> None:
    rows = rows_like(6, source=["web"] * 6, dataset=["long text " * 20] * 6)
    assert pick(write("data.json", rows), method="random", top=2).effect.source_field is None
    rows = rows_like(6, source=["web"] * 6, dataset=list("aabbcc"))
    assert pick(write("data.json", rows), method="random", top=2).effect.source_field == "dataset"


def greedy(vectors: np.ndarray[Any, Any], n: int) -> list[int]:
    """Slow reference: facility location by trying every row at every step."""
    similarity = np.maximum(vectors @ vectors.T, 0).astype(np.float64)
    chosen: list[int] = []
    for _ in range(n):
        totals = [similarity[:, [*chosen, i]].max(axis=1).sum() for i in range(len(vectors))]
        chosen.append(int(np.argmax(totals)))
    return chosen


def test_diversity_keeps_the_rows_that_represent_the_best(
    write: Make, small: dict[str, Any], tiny_embedder: Path
) -> None:
    from ifdkit.engine.embedder import SentenceEmbedder

    rows = varied(60)
    source = write("data.json", rows)
    options: dict[str, Any] = {"keep_misaligned": True, "top": "10%", **small}
    pool = pick(source, method="superfiltering", **{**options, "top": "40%"}).kept_rows
    done = pick(source, method="superfiltering", diversity=True, pool="40%", **options)
    assert done.kept == 6
    assert set(done.kept_rows) < set(pool)
    assert done.dropped["too_similar"] == 24 - 6
    assert done.dropped["below_top"] == 60 - 24 - done.dropped["undefined"]
    value = {one["row"]: one["value"] for one in row_log(done)}
    ranked = sorted(pool, key=lambda row: -value[row])
    texts = [f"{rows[row]['instruction']}\n{rows[row]['output']}" for row in ranked]
    vectors = SentenceEmbedder("tiny", tiny_embedder, device="cpu").embed(texts)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert {ranked[i] for i in greedy(vectors, 6)} == set(done.kept_rows)
    with pytest.raises(UsageError, match=r"--pool 5% is 3 rows, fewer than the 6"):
        pick(source, method="superfiltering", diversity=True, pool="5%", **options)


def test_keeping_nothing_is_an_error_without_a_file(tmp_path: Path) -> None:
    source = scored(tmp_path, rows_like(3), ifd=[1.5, None, 2.0])
    with pytest.raises(
        UsageError, match=r"no row of .* would be kept: 2 ifd_above_one, 1 undefined"
    ):
        pick(source, by="ifd", top=1)
    assert not (tmp_path / "best.jsonl").exists()


def test_the_result_tells_rows_wanted_from_rows_kept(tmp_path: Path) -> None:
    done = pick(scored(tmp_path, rows_like(3), ifd=[0.5, None, 0.7]), by="ifd", top=3)
    assert (done.wanted, done.kept) == (3, 2)


def test_rows_in_memory(tmp_path: Path) -> None:
    done = ifdkit.select(rows_like(9), tmp_path / "b.json", method="random", top=3)
    assert (done.input, done.input_sha256, done.kept) == ("data in memory", None, 3)
    with pytest.raises(UsageError, match=r"select\(\): no keyword 'metrics'"):
        ifdkit.select(rows_like(9), tmp_path / "b.json", by="ifd", top=3, metrics="all")  # type: ignore[call-overload]


def test_a_dataframe_of_scores(write: Make, small: dict[str, Any], tmp_path: Path) -> None:
    source = write("data.json", varied(20))
    frame = ifdkit.score(source, metrics="ifd", **small)
    read = ifdkit.select(frame, tmp_path / "a.json", by="ifd", top=3)
    assert read.kept_rows == ifdkit.select(source, tmp_path / "b.json", by="ifd", top=3,
                                            **small).kept_rows  # fmt: skip


@pytest.mark.parametrize(
    "method", [name for name, one in METHODS.items() if not one.embeds and name != "selective"]
)
def test_each_method_is_deterministic(tmp_path: Path, method: str) -> None:
    values = np.random.default_rng(1).choice([0.2, 0.4, 0.6, 0.8, 1.2], 80).tolist()
    source = scored(tmp_path, rows_like(80), ifd=values, ifd_loss=values)
    first, second = (pick(source, method=method, top=9) for _ in range(2))
    assert first.kept_rows == second.kept_rows
    assert first.effect == second.effect
    assert first.kept == 9


def test_a_new_method_is_one_entry(write: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def choose(task: Task) -> Verdict:
        reasons = fill_reasons(len(task.rows), "odd_position")
        reasons[::2] = KEPT
        return Verdict(reasons=reasons)

    monkeypatch.setitem(METHODS, "every-other", Method(choose=choose, field=None, source="a test",
                                                       options=("lowest",)))  # fmt: skip
    done = pick(write("data.json", rows_like(5)), method="every-other", lowest=True)
    assert list(done.kept_rows) == [0, 2, 4]
    assert done.dropped == {"odd_position": 2}
    assert done.method_source == "a test"
    with pytest.raises(
        UsageError, match="does not apply to cherry: it is for --by, quality-diverse, every-o"
    ):
        SelectOptions(method="cherry", top=1, lowest=True)
    with pytest.raises(UsageError, match="--top does not apply to every-other"):
        SelectOptions(method="every-other", top=1)


def test_missing_provenance_is_an_error(write: Make) -> None:
    source = write("data.json", rows_like(2))
    with pytest.raises(
        InputError, match=r"no such file: .*data\.json\.provenance\.jsonl; selective"
    ):
        pick(source, method="selective")
    with pytest.raises(UsageError, match="give --turns last"):
        pick(source, method="selective", turns="all")


@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv", ".parquet"])
def test_a_selection_is_saved_to_another_place(ending: str, tmp_path: Path) -> None:
    import pandas as pd

    source, frame = tmp_path / f"data{ending}", pd.DataFrame(rows_like(20))
    match ending:
        case ".csv":
            frame.to_csv(source, index=False)
        case ".parquet":
            frame.to_parquet(source)
        case _:
            frame.to_json(source, orient="records", lines=ending == ".jsonl")
    done = ifdkit.select(source, tmp_path / f"kept{ending}", method="random", top=5)
    place = tmp_path / "there" / f"copy{ending}"
    place.parent.mkdir()
    assert done.save(place) == place
    assert place.read_bytes() == Path(done.output).read_bytes()
    assert Path(f"{place}.rows.jsonl").read_text() == Path(done.rows).read_text()
    made = json.loads(Path(f"{place}.manifest.json").read_text())
    first = json.loads(Path(f"{done.output}.manifest.json").read_text())
    assert made == {**first, "output": str(place), "rows": f"{place}.rows.jsonl"}
    # The copy is a selection of its own: the first output may go.
    Path(done.output).unlink()
    with pytest.raises(InputError, match="is gone: select again"):
        done.save(tmp_path / f"again{ending}")
    assert not (tmp_path / f"again{ending}").exists()


def test_only_what_was_selected_is_saved(tmp_path: Path) -> None:
    source = scored(tmp_path, rows_like(9), ifd=[i / 20 for i in range(9)])
    done = ifdkit.select(source, tmp_path / "kept.jsonl", by="ifd", top=5)
    with pytest.raises(UsageError, match=r"end it in \.jsonl"):
        done.save(tmp_path / "kept.csv")
    Path(done.output).write_text("{}\n")
    with pytest.raises(InputError, match="has changed since the selection"):
        done.save(tmp_path / "other.jsonl")
    assert not (tmp_path / "other.jsonl").exists()


def test_a_saved_selection_for_llamafactory_is_in_its_list(tmp_path: Path) -> None:
    source = scored(tmp_path, rows_like(9), ifd=[i / 20 for i in range(9)])
    done = ifdkit.select(source, tmp_path / "kept.json", by="ifd", top=5, to="llamafactory")
    place = tmp_path / "there" / "copy.json"
    place.parent.mkdir()
    done.save(place)
    info = json.loads((place.parent / "dataset_info.json").read_text())
    assert info["copy"]["file_name"] == "copy.json"
