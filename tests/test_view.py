"""The viewer without a browser: what is read, found, sorted, binned, opened and marked."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette", reason="needs the extra `view`")
pytest.importorskip("uvicorn", reason="needs the extra `view`")

from hypothesis import given
from hypothesis import strategies as st

import ifdkit
from ifdkit.cli.main import main
from ifdkit.data.options import ReadOptions
from ifdkit.errors import IfdkitError, InputError, OutputError, UsageError
from ifdkit.scoring.run import score_to_file
from ifdkit.scoring.settings import Settings
from ifdkit.selection.ids import read_ids
from ifdkit.topics import layouts
from ifdkit.topics.layouts import LayoutName
from ifdkit.training.result import TRAINING_SCHEMA
from ifdkit.training.trained_model import MODEL_SCHEMA
from ifdkit.viewing import run
from ifdkit.viewing.diff import word_diff
from ifdkit.viewing.marks import Marks
from ifdkit.viewing.query import Query, Range
from ifdkit.viewing.session import Session
from ifdkit.viewing.sources import open_source
from tests.audit_fixtures import make_audit
from tests.select_fixtures import rows_like, scored
from tests.test_several import scores, several
from tests.viewing_fixtures import opened, read, synthetic, write_rows

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[1]
ROWS: list[dict[str, Any]] = [
    {"id": "a", "instruction": "Name a river.", "output": "The unsurprising Rhine,", "lang": "en",
     "meta": {"year": 2020}, "n": 3},
    {"id": "b", "instruction": "Nenne einen Fluss.", "output": "Die Donau fließt.", "lang": "de",
     "meta": {"year": 2021}, "n": None},
    {"id": "c", "instruction": "Name a sea.", "output": "I'm sorry, but I cannot help with that.",
     "lang": "en", "meta": {}, "n": 1},
    {"id": "d", "instruction": "海の名前は?", "output": "日本海です。", "lang": None, "n": 2},
]  # fmt: skip


@pytest.fixture
def rows(tmp_path: Path) -> Session:
    return read(tmp_path, write_rows(tmp_path / "data.jsonl", ROWS))


def chosen(session: Session, **query: Any) -> str:
    """The ids of the rows of a query, in the order of the file."""
    mask = session.queries.mask(Query(**query), session.table.n)
    return "".join(name for name, one in zip(session.table.ids, mask, strict=True) if one)


@pytest.mark.parametrize(
    ("search", "ids"),
    [
        ("", "abcd"),
        ("rhine", "a"),
        ("SURPRIS", "a"),  # inside a word
        ("name a", "ac"),  # every term
        ("a name name", "ac"),
        ("fliesst", ""),
        ("FLIEßT", "b"),
        ("本海", ""),  # two characters: only at the beginning of a word
        ("日本", "d"),
        ("本海で", "d"),
        ("no-such-word", ""),
        ("%", ""),
    ],
)
def test_search(rows: Session, search: str, ids: str) -> None:
    assert chosen(rows, search=search) == ids


@given(st.lists(st.text("ab \n", max_size=12), min_size=1, max_size=20), st.text("ab", min_size=3))
def test_search_agrees_with_a_scan(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], term: str
) -> None:
    import pyarrow as pa

    from ifdkit.viewing.words import TextSegment

    file = tmp_path_factory.mktemp("words") / "x.npy"
    segment = TextSegment(0, pa.array(texts, pa.large_string()), file)
    assert segment.find(term).tolist() == [term in text for text in texts]
    short = term[:2]
    starts = [any(word.startswith(short) for word in text.split()) for text in texts]
    assert segment.find(short).tolist() == starts


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ("lang == 'en' and n < 3", "c"),
        ("not lang == 'en'", "b"),
        ("lang is null", "d"),
        ("meta.year >= 2021", "b"),
        ("id in ('a', 'd')", "ad"),
        ("response_words > 3", "c"),
        ("row == 1 or n == 2", "bd"),
    ],
)
def test_where(rows: Session, where: str, ids: str) -> None:
    assert chosen(rows, where=where) == ids


def test_a_wrong_expression_is_one_line(rows: Session) -> None:
    with pytest.raises(UsageError, match=r"filter: unknown name 'lnag' \(did you mean 'lang'\?\)"):
        chosen(rows, where="lnag == 'en'")
    with pytest.raises(UsageError, match="no column"):
        chosen(rows, ranges=(Range("no_such", 0, 1),))


def test_findings_facets_ranges_and_marks(rows: Session) -> None:
    assert chosen(rows, finding="refusal") == "c"
    assert chosen(rows, facets=(("lang", "en"),)) == "ac"
    assert chosen(rows, ranges=(Range("n", 2, math.inf),)) == "ad"
    rows.mark(0, "star")
    rows.mark(1, "drop")
    assert [chosen(rows, mark=mark) for mark in ("star", "drop", "none")] == ["a", "b", "cd"]
    rows.mark(0, None)
    assert chosen(rows, mark="star") == ""


def test_sorting_puts_undefined_rows_last(rows: Session) -> None:
    def order(sort: str, *, descending: bool) -> str:
        found = rows.queries.order(Query(), sort, 4, descending=descending)
        return "".join(rows.table.ids[i] for i in found)

    assert (order("n", descending=False), order("n", descending=True)) == ("cdab", "adcb")
    assert (order("lang", descending=False), order("lang", descending=True)) == ("bacd", "acbd")
    assert (order("", descending=True), order("id", descending=True)) == ("dcba", "dcba")


def test_an_opened_row(rows: Session) -> None:
    row = rows.details.of(2)
    assert row["sides"][0]["turns"] == [{"role": "user", "text": "Name a sea.", "input": ""}]
    assert [one["title"] for one in row["findings"]] == ["Refusals"]
    numbers = {one["name"]: one for one in row["numbers"]}
    assert numbers["response_words"]["percentile"] == 87.5  # three are shorter
    assert numbers["n"] == {"name": "n", "value": 1.0, "percentile": pytest.approx(100 / 6)}
    assert ["lang", "en"] in row["values"]
    assert "no scores with a manifest" in rows.details.tokens(2)[0]["reason"]
    with pytest.raises(UsageError, match="no row 4"):
        rows.details.of(4)


def test_conversations_keep_their_turns(tmp_path: Path) -> None:
    talk = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "Bye"},
            {"role": "assistant", "content": "Goodbye"}]  # fmt: skip
    session = read(tmp_path, write_rows(tmp_path / "x.jsonl", [{"messages": talk}]))
    assert session.table.n == 2
    turns = session.details.of(1)["sides"][0]["turns"]
    assert [one["role"] for one in turns] == ["system", "user", "assistant", "user"]
    assert session.queries.numbers("turn", 2).tolist() == [0, 1]


def test_scores_come_with_the_texts_behind_them(tmp_path: Path) -> None:
    path = scored(tmp_path, rows_like(5, lang=list("xyxyx")), ifd=[0.1, None, 0.3, 0.4, 1.2])
    session = read(tmp_path, path)
    assert session.source.kind == "scores"
    assert chosen(session, where="ifd < 1 and lang == 'x'") == "r0r2"
    assert session.details.of(1)["sides"][0]["response"] == "It is 1."
    (tmp_path / "data.jsonl").unlink()
    alone = read(tmp_path, path)
    assert chosen(alone, where="ifd > 0.35") == "r3r4"
    assert alone.details.of(1)["sides"] == []
    assert "Numbers only" in alone.state()["notes"][0]


def test_several_files_have_a_source(tmp_path: Path) -> None:
    one = write_rows(tmp_path / "x.jsonl", ROWS[:2])
    other = write_rows(tmp_path / "y.jsonl", ROWS[2:])
    session = read(tmp_path, one, other)
    assert chosen(session, where=f"source == '{other}'") == "cd"


def test_a_comparison_has_both_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    session = read(tmp_path, ROOT / "reports/before-vs-after")
    assert session.table.n == 41
    assert session.has_texts
    rising = session.queries.mask(Query(where="ifd_change > 0"), 41)
    after, before = (session.queries.numbers(f"ifd_{name}", 41) for name in ("after", "before"))
    assert rising.tolist() == (after > before).tolist()
    leaked = np.flatnonzero(session.queries.mask(Query(finding="prompt_leak:after"), 41))
    assert len(leaked) == 3
    sides = session.details.of(int(leaked[0]))["sides"]
    for field in ("instruction", "response"):
        for side in sides:
            assert "".join(text for text, _ in side[f"{field}_diff"]) == side[field]
    found = np.flatnonzero(session.queries.mask(Query(search="litres"), 41)).tolist()
    assert any("litres" in session.details.of(found[0])["sides"][i]["response"] for i in (0, 1))


def test_bins_count_every_row_once(tmp_path: Path) -> None:
    session = read(tmp_path, synthetic(tmp_path / "x.parquet", 3000))
    query = Query(ranges=(Range("quality", 0.4, 0.6),), facets=(("source", "web"),))
    quality = session.queries.numbers("quality", 3000)
    is_web = session.queries.mask(Query(facets=(("source", "web"),)), 3000)
    expected = int((is_web & (quality >= 0.4) & (quality <= 0.6)).sum())
    for name in ("quality", "year", "response_words", "row"):
        found = session.queries.histogram(query, name, 3000)
        assert sum(found["all"]) == 3000
        assert sum(found["chosen"]) == expected
        assert len(found["edges"]) == len(found["all"]) + 1
        assert found["edges"] == sorted(found["edges"])
    grid = session.queries.grid(query, "quality", "response_words", 3000)
    assert (sum(grid["all"]), sum(grid["chosen"])) == (3000, expected)


def test_columns_of_one_value_or_none_have_bins(rows: Session, tmp_path: Path) -> None:
    lines = [{"instruction": f"{i}", "output": "x", "same": 4, "none": None} for i in range(3)]
    session = read(tmp_path, write_rows(tmp_path / "same.jsonl", lines))
    assert sum(session.queries.histogram(Query(), "same", 3)["all"]) == 3
    assert rows.queries.histogram(Query(), "n", 4)["undefined"] == 1


def test_marks_survive_and_are_what_select_takes(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    marks = Marks(path)
    assert not path.exists(), "created with the first mark"
    marks.set("a", "drop")
    marks.set("b", "star")
    marks.set("b", None)
    marks.set("ü\u2028\n", "drop")
    assert Marks(path).ids("drop") == {"a", "ü\u2028\n"}
    assert Marks(path).counts() == {"star": 0, "drop": 2}
    assert read_ids(path).dropped == {"a", "ü\u2028\n"}
    with pytest.raises(OutputError):
        Marks(tmp_path / "no" / "folder").set("a", "star")
    (tmp_path / "other.jsonl").write_text("{}")
    with pytest.raises(InputError, match="line 1 has no id"):
        Marks(tmp_path / "other.jsonl")


@given(st.text("ab ,\n", max_size=40), st.text("ab ,\n", max_size=40))
def test_a_word_diff_keeps_both_texts(before: str, after: str) -> None:
    old, new = word_diff(before, after)
    assert "".join(text for text, _ in old) == before
    assert "".join(text for text, _ in new) == after
    assert "".join(t for t, common in old if common) == "".join(t for t, common in new if common)


def test_a_word_diff_of_long_texts_is_fast() -> None:
    begin = time.perf_counter()
    old, _ = word_diff("a " * 200_000 + "x " * 9000 + "end", "a " * 200_000 + "y " * 9000 + "end")
    assert [common for _, common in old] == [True, False, True]
    assert time.perf_counter() - begin < 20


# The command


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: [folder / "absent.jsonl"], "absent.jsonl"),
        (lambda folder: [folder], "is a folder|no|not"),
        (lambda folder: [ROOT / "reports/before-vs-after", folder / "x"], "view it alone"),
    ],
)
def test_wrong_files_are_one_line(
    make: Callable[[Path], list[Path]], message: str, tmp_path: Path
) -> None:
    with pytest.raises(IfdkitError, match=message) as found:
        opened(tmp_path, *make(tmp_path))
    assert "\n" not in str(found.value)


def test_a_missing_extra_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["view", "x.jsonl"]) == 2
    assert "pip install 'ifdkit[view]'" in capsys.readouterr().err


def test_a_busy_port_picks_another() -> None:
    with socket.socket() as busy:
        busy.bind((run.HOST, 0))
        busy.listen()
        port = busy.getsockname()[1]
        listener, is_other = run.listen(port)
        with listener:
            assert is_other
            assert listener.getsockname() != (run.HOST, port)
            assert listener.getsockname()[0] == "127.0.0.1"


def an_overview(folder: Path) -> Path:
    return several(scores(20), scores(20, seed=1)).save(folder)


def an_unpaired_overview(folder: Path) -> Path:
    return several(scores(20), unpaired=True).save(folder)


def an_audit(folder: Path) -> Path:
    return make_audit().save(folder)


def a_prediction(folder: Path) -> Path:
    return Path(shutil.copytree(ROOT / "reports" / "which-score-predicts", folder))


def a_training(folder: Path) -> Path:
    folder.mkdir()
    return write_json(folder / "training.json", TRAINING_SCHEMA)


def a_trained_model(folder: Path) -> Path:
    folder.mkdir()
    return write_json(folder / "manifest.json", MODEL_SCHEMA)


def write_json(path: Path, schema: str) -> Path:
    path.write_text(json.dumps({"schema": schema}))
    return path.parent


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (an_overview, r"is an overview of several comparisons: view \S+/report/1-\S+ or another"),
        (an_unpaired_overview, "is an unpaired overview: view one of its datasets"),
        (an_audit, r"is an audit: view data/recycled.jsonl, or open \S+/index.html in a browser"),
        (a_prediction, r"is a prediction, which has no rows: open \S+/index.html in a browser"),
        (a_training, "is a trained model, which has no rows: view the data that it was trained on"),
        (a_trained_model, "is a trained model, which has no rows"),
    ],
)
def test_a_folder_without_rows_is_refused_in_a_line(
    make: Callable[[Path], Path],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    folder = make(tmp_path / "report")
    assert main(["view", str(folder), "--no-open"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert re.search(message, err), err
    with pytest.raises(UsageError, match=message):
        open_source(["reports/before-vs-after", str(folder)], ReadOptions())


def test_folders_with_rows_are_viewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comparison, one of an overview, what `select` writes, and a folder of shards."""
    monkeypatch.chdir(ROOT)
    assert open_source(["reports/before-vs-after"], ReadOptions()).kind == "comparison"
    overview = an_overview(tmp_path / "overview")
    (part, *_) = [one for one in sorted(overview.iterdir()) if one.is_dir()]
    assert open_source([part], ReadOptions()).n_rows == 20
    made = scored(tmp_path, rows_like(8), ifd=[i / 10 for i in range(8)])
    ifdkit.select(made, tmp_path / "best.jsonl", by="ifd", top=3)
    assert open_source([tmp_path / "best.jsonl"], ReadOptions()).n_rows == 3
    shards = tmp_path / "shards"
    shards.mkdir()
    for i in range(2):
        write_rows(shards / f"part-{i}.jsonl", rows_like(4))
    assert open_source([shards], ReadOptions()).n_rows == 8


@pytest.mark.parametrize("is_known", [True, False])
def test_umap_is_refused_before_anything_is_read(
    is_known: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without its package, and for a comparison, whose map is made by `compare`."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=None) if is_known else None)
    monkeypatch.chdir(ROOT)
    assert main(["view", "reports/before-vs-after", "--map", "umap", "--no-open"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    expected = "ifdkit compare --map umap" if is_known else "pip install 'ifdkit[umap]'"
    assert expected in err
    if not is_known:
        path = str(write_rows(tmp_path / "rows.jsonl", ROWS))
        assert main(["compare", path, path, "--map", "umap", "-o", str(tmp_path / "out")]) == 2
        assert "pip install 'ifdkit[umap]'" in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_the_server_at_once(tmp_path: Path, number: signal.Signals) -> None:
    path = write_rows(tmp_path / "data.jsonl", ROWS)
    command = [sys.executable, "-m", "ifdkit", "view", str(path), "--no-open", "--port", "0"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    address = next(line.strip() for line in lines if "http://127.0.0.1:" in line)
    port = int(address.split(":")[2].split("/")[0])
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    time.sleep(1)
    begin = time.perf_counter()
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert err == ""
    assert time.perf_counter() - begin < 5
    assert list(tmp_path.glob("ifdkit-view-*")) == [], "temporary files are deleted"
    assert json.loads(path.read_text().splitlines()[0]) == ROWS[0]


def embedded(
    folder: Path, n: int = 60, *, is_started: bool = True, layout: LayoutName = "pca"
) -> Session:
    """A session with vectors around two centres; rows before n // 2 are near each other."""
    rows = [{"id": f"r{i}", "instruction": f"Write about {'bread' if i < n // 2 else 'moons'}.",
             "output": f"Text {i}.", "n": i} for i in range(n)]  # fmt: skip
    session = opened(folder, write_rows(folder / "data.jsonl", rows))
    rng = np.random.default_rng(0)
    centres = np.repeat(np.eye(2, 8), [n // 2, n - n // 2], axis=0)
    vectors = centres + rng.normal(0, 0.1, (n, 8))
    session.embedded.vectors = (vectors / np.linalg.norm(vectors, axis=1)[:, None]).astype("f2")

    def embed() -> None:
        session.embedded.add_topics(session.table, session.texts[-1])

    session._map_layout = layout
    session._embed = embed  # type: ignore[method-assign]  # no store is needed
    if is_started:
        session.start()
        session.wait()
        assert session.problem is None
    return session


def test_topics_are_columns_to_filter_sort_and_colour_by(tmp_path: Path) -> None:
    from ifdkit.viewing.maps import map_bytes, topic_table

    session = embedded(tmp_path)
    table, queries = session.table, session.queries
    assert session.state()["has_map"]
    assert [one["name"] for one in session.state()["facets"]] == ["topic"]
    topics = topic_table(table, queries, Query(), table.n, ())
    assert {one["title"] for one in topics} == {"bread", "moons"} or all(
        one["title"].split(" ·")[0] in {"bread", "moons", "write"} for one in topics
    )
    assert sum(one["n"] for one in topics) == 60
    some = topic_table(table, queries, Query(where="n < 10"), table.n, ())
    assert sorted(one["chosen"] for one in some) == [0, 10]
    data = map_bytes(table, queries, Query(where="n < 10"), "n", table.n)
    length = int.from_bytes(data[:4], "little")
    assert json.loads(data[4 : 4 + length]) == {"n": 60, "places": 2, "classes": None}
    arrays = np.frombuffer(data[4 + length : 4 + length + 3 * 60 * 4], "<f4").reshape(3, 60)
    assert np.array_equal(arrays[0], queries.numbers("map_x", 60).astype("f4"))
    assert arrays[2] == pytest.approx(np.arange(60) / 59)
    assert np.frombuffer(data[-60:], np.uint8).sum() == 10
    with pytest.raises(UsageError, match="no column"):
        map_bytes(table, queries, Query(), "nothing", table.n)
    session.close()


def test_nearest_rows_of_the_viewer(tmp_path: Path) -> None:
    session = embedded(tmp_path)
    near = session.near(3)
    assert len(near) == 8
    assert all(one["position"] < 30 and one["position"] != 3 for one in near)
    assert [one["cosine"] for one in near] == sorted((one["cosine"] for one in near), reverse=True)
    with pytest.raises(UsageError, match="there is no row 60"):
        session.near(60)
    session.close()


def test_umap_takes_the_place_of_principal_components(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are shown until it is ready.  `test_topics` has the real one."""
    is_ready = threading.Event()

    class Slow:
        def __init__(self, **_: Any) -> None:
            pass

        def fit(self, _: Any) -> Slow:
            assert is_ready.wait(30)
            return self

        def transform(self, rows: Any) -> Any:
            return rows[:, 2:4]

    monkeypatch.setattr(layouts, "_umap", lambda: Slow)
    session = embedded(tmp_path, is_started=False, layout="umap")
    session.start()
    for _ in range(300):
        if session.stage == "mapping":
            break
        time.sleep(0.1)
    state = session.state()
    assert (state["stage"], state["has_map"], state["map_layout"]) == ("mapping", True, "pca")
    names, n = ("map_x", "map_y"), session.table.n
    first = np.stack([session.queries.numbers(name, n) for name in names])
    is_ready.set()
    session.wait()
    assert (session.problem, session.state()["map_layout"]) == (None, "umap")
    second = np.stack([session.queries.numbers(name, n) for name in names])
    assert np.allclose(second.T, session.embedded.vectors[:, 2:4], atol=1e-3)
    assert not np.allclose(first, second)
    session.close()


def test_rows_without_scores_have_no_map(rows: Session) -> None:
    state = rows.state()
    assert (state["has_map"], state["has_neighbors"]) == (False, False)
    assert state["map_note"].startswith("no map: ")
    assert rows.near(0) == []


def test_the_export_is_what_embedding_atlas_reads(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    from ifdkit.viewing.export import export_atlas

    session = embedded(tmp_path)
    command = export_atlas(session, tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet")
    names = dict(zip(command[2::2], command[3::2], strict=True))
    assert set(names) == {"--x", "--y", "--neighbors", "--text"}
    assert set(names.values()) <= set(table.column_names)
    neighbors = table["neighbors"].to_pylist()
    assert all(len(one["ids"]) == len(one["distances"]) == 15 for one in neighbors)
    assert all(i not in one["ids"] for i, one in enumerate(neighbors))
    assert table["text"][0].as_py() == "Write about bread.\n\nText 0."
    session.close()


@pytest.mark.parametrize(
    ("case", "why", "advice"),
    [
        ("dataset", "have no scores", "run ifdkit score --metrics ppl,ifd,coherence"),
        ("without coherence", "scored without coherence", "run ifdkit score --metrics ppl,ifd,coh"),
        ("another store", "the store has no embeddings", "run ifdkit score --metrics ppl,ifd,coh"),
        ("few rows", "3 rows with stored embeddings, and it takes 30", "on more rows"),
        ("documents", "documents have no instruction", ""),
        ("comparison", "scored without coherence", "coherence and ifdkit compare, and view"),
        ("texts gone", "the texts are not here", "put the dataset back"),
    ],
)
def test_an_export_without_a_map_says_why_and_what_to_run(
    case: str,
    why: str,
    advice: str,
    tmp_path: Path,
    tiny_model: Path,
    tiny_embedder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [{"text": "A text of its own."}] if case == "documents" else ROWS[:3]
    path = data = write_rows(tmp_path / "data.jsonl", rows)
    embedder = str(tiny_embedder)
    has_coherence = case not in {"documents", "comparison", "without coherence"}
    settings = Settings(
        model=str(tiny_model),
        embedder=embedder,
        metrics=("coherence",) if has_coherence else ("ppl",),
        store=str(tmp_path / "store.sqlite"),
    )
    if case != "dataset":
        path = tmp_path / "scores.jsonl"
        score_to_file(str(data), path, settings, ReadOptions())
    if case == "comparison":
        path = tmp_path / "compared"
        ifdkit.compare(tmp_path / "scores.jsonl", data, model=str(tiny_model), metrics="ppl",
                       store=settings.store).save(path)  # fmt: skip
    if case == "texts gone":
        data.unlink()
    store = tmp_path / ("another.sqlite" if case == "another store" else "store.sqlite")
    assert main(["view", str(path), "--export", "atlas", "--store", str(store)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no map: " in line
    assert why in line
    assert advice in line
    assert not Path(f"{path}.atlas.parquet").exists()
