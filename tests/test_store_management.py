"""`ifdkit store`: what is counted, what is deleted, and who may read meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import ifdkit
from ifdkit.cli.main import main
from ifdkit.errors import StoreError, UsageError
from ifdkit.scoring.progress import Progress
from ifdkit.scoring.store import DAY_S, Store
from ifdkit.scoring.store_management import LimitedStore, ManagedStore, parse_days, parse_size


def rows(name: str, n: int, length: int = 200) -> dict[bytes, np.ndarray]:
    draw = np.random.default_rng(n)
    return {f"{name}{i:04d}".ljust(32).encode(): draw.random(length, np.float32) for i in range(n)}


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """300 rows of an old day, 200 of today, 100 of another model, 50 embeddings."""
    path, now = tmp_path / "store.sqlite", time.time()
    with Store(path) as store:
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda: now - 100 * DAY_S)
            store.put_nlls(rows("old", 300), model="org/one float32")
        store.put_nlls(rows("new", 200), model="org/one float32")
        store.put_nlls(rows("two", 100), model="a folder/two bfloat16")
        store.put_embeddings(rows("emb", 50), model="mini")
    return path


def kept(path: Path) -> dict[str, int]:
    with Store(path) as store:
        found = {name: len(store.get_nlls(list(rows(name, n))))
                 for name, n in (("old", 300), ("new", 200), ("two", 100))}  # fmt: skip
        return {**found, "emb": len(store.get_embeddings(list(rows("emb", 50))))}


ALL = {"old": 300, "new": 200, "two": 100, "emb": 50}


def test_info_counts_rows_by_model(path: Path) -> None:
    with ManagedStore(path) as store:
        found = store.info()
    assert [(one.model, one.kind, one.rows) for one in found.models] == [
        ("org/one float32", "nll", 500),
        ("a folder/two bfloat16", "nll", 100),
        ("mini", "embedding", 50),
    ]
    assert [one.size_bytes for one in found.models] == [n * 840 for n in (500, 100, 50)]
    assert found.size_bytes >= sum(one.size_bytes for one in found.models)
    first = found.models[0]
    assert first.oldest_day is not None
    assert first.newest_day is not None
    assert first.oldest_day < first.newest_day


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        ({"model": "a folder/two"}, {**ALL, "two": 0}),
        ({"model": "a folder/two bfloat16"}, {**ALL, "two": 0}),
        ({"older_than_days": 90}, {**ALL, "old": 0}),
        ({"older_than_days": 101}, ALL),
        ({"model": "org/one", "older_than_days": 90}, {**ALL, "old": 0}),
        ({"model": "mini", "older_than_days": 90}, ALL),
        ({"max_bytes": 10**9}, ALL),
    ],
)
def test_what_prune_deletes(path: Path, arguments: dict[str, object], left: dict[str, int]) -> None:
    with ManagedStore(path) as store:
        done = store.prune(**arguments)  # type: ignore[arg-type]
    assert kept(path) == left
    assert done.rows == sum(ALL.values()) - sum(left.values())
    assert done.rows == 0 or done.size_bytes < done.size_before_bytes


@pytest.mark.parametrize("share", [0.9, 0.5, 0.2])
def test_prune_to_a_size_deletes_the_oldest(path: Path, share: float) -> None:
    with ManagedStore(path) as store:
        wanted = int(store.info().size_bytes * share)
        done = store.prune(max_bytes=wanted)
    assert done.size_bytes <= wanted + 8 * 4096, "to some pages"
    assert done.size_bytes >= wanted * 0.8, "and not much more than was asked for"
    left = kept(path)
    assert left["old"] == 0 or all(left[name] == n for name, n in ALL.items() if name != "old")


def test_a_limit_deletes_what_was_not_used_for_longest(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the rows of the old day those that are read again are the newest."""
    again = list(rows("old", 300))[:50]
    with ManagedStore(path) as store:
        used = store._used()
        content = store.get_nlls(again)
    with LimitedStore(path, 2 * used) as store:
        assert store.get_nlls(again).keys() == content.keys()
        assert store.end_run() is None, "it fits"
    with LimitedStore(path, int(used * 0.72)) as store:
        said = store.end_run()
        assert said is not None
        assert "rows deleted that were not used for longest" in said
        assert 0.5 * used < store._used() <= 0.72 * used
    left = kept(path)
    assert (left["new"], left["two"], left["emb"]) == (200, 100, 50)
    assert 50 <= left["old"] < 250
    with Store(path) as store:
        found = store.get_nlls(again)
        assert found.keys() == content.keys()
        for key, nats in content.items():
            np.testing.assert_array_equal(found[key], nats)
    with ManagedStore(path) as store:
        assert store.info().models[0].newest_day is not None
        assert store._pragma("freelist_count") == 0, "the file has become smaller"
        assert store._size() <= used


def test_two_runs_with_a_limit_share_a_store(tmp_path: Path) -> None:
    """Each writes and reads while the other deletes, and none of them fails."""
    path, limit = tmp_path / "store.sqlite", 400_000
    run = f"""
import sys, numpy as np
from pathlib import Path
from ifdkit.scoring.store_management import LimitedStore
for turn in range(6):
    with LimitedStore(Path({str(path)!r}), {limit}) as store:
        for batch in range(20):
            names = [f"{{sys.argv[1]}} {{turn}} {{batch}} {{i}}" for i in range(10)]
            keys = [name.ljust(32).encode() for name in names]
            store.put_nlls({{key: np.full(200, turn, np.float32) for key in keys}})
            assert all((one == turn).all() for one in store.get_nlls(keys).values())
        store.end_run()
"""
    both = [subprocess.Popen([sys.executable, "-c", run, name]) for name in "ab"]
    assert [one.wait(timeout=120) for one in both] == [0, 0]
    with ManagedStore(path) as store:
        assert 0 < store._used() <= limit
        assert store.verify().damaged == 0


def test_the_limit_is_a_setting_of_a_run(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    data = [{"instruction": f"Say {i}", "output": f"{i} words " * 30} for i in range(120)]
    Path("data.json").write_text(json.dumps(data))
    command = ["score", "data.json", "-m", str(tiny_model), "--metrics", "ifd,rifd", "--store",
               "store.sqlite", "-o", "out.jsonl"]  # fmt: skip
    assert main([*command, "--store-limit", "10M"]) == 0
    assert "larger than its limit" not in capsys.readouterr().err
    assert main([*command, "--store-limit", "100K"]) == 0
    assert "larger than its limit" in capsys.readouterr().err
    with ManagedStore(Path("store.sqlite")) as store:
        assert store._used() <= 100 * 1024
    assert main([*command, "--store-limit", "many"]) == 2
    assert "--store-limit many: write a number of bytes" in capsys.readouterr().err
    # A folder's settings file could delete what its reader has stored.
    Path("ifdkit.toml").write_text('store-limit = "1"')
    assert main(command) == 2
    assert "'store-limit' is not read from a file of the working folder" in capsys.readouterr().err


def test_a_store_that_cannot_be_cut_does_not_fail_the_run(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Notes(Progress):
        def note(self, text: str) -> None:
            said.append(text)

    def fail(*_: object) -> str:
        raise StoreError("locked")

    said: list[str] = []
    monkeypatch.setattr(LimitedStore, "end_run", fail)
    rows = [{"instruction": "a", "output": "b c"}]
    found = ifdkit.score(rows, model=str(tiny_model), metrics="ifd", store=str(tmp_path / "s"),
                         store_limit=1, progress=Notes())  # fmt: skip
    assert len(found) == 1
    assert "the score store was not cut to its limit: locked" in said


def test_rows_of_an_earlier_version_are_the_oldest(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with Store(path) as store:
        store.put_nlls(rows("new", 10), model="org/one float32")
        store._database.execute("UPDATE nll SET model = NULL, day = NULL WHERE key < ?",
                                [b"new0004".ljust(32)])  # fmt: skip
    with ManagedStore(path) as store:
        assert [(one.model, one.rows, one.oldest_day is None) for one in store.info().models] == [
            ("org/one float32", 6, False),
            ("unknown", 4, True),
        ]
        assert store.prune(older_than_days=0).rows == 4
        assert [one.rows for one in store.info().models] == [6]


def test_what_prune_refuses(path: Path, tmp_path: Path) -> None:
    with ManagedStore(path) as store:
        with pytest.raises(UsageError, match="say what to delete: --model, --older-than or --max"):
            store.prune()
        with pytest.raises(UsageError, match="no such model; it has a folder/two bfloat16, mini"):
            store.prune(model="three")
    with pytest.raises(StoreError, match="there is no score store"):
        ManagedStore(tmp_path / "none.sqlite")
    assert kept(path) == ALL


def test_readers_see_the_store_as_it_was_while_one_writes(path: Path) -> None:
    reader, writer = Store(path), Store(path)
    with reader, writer, writer._transaction():
        writer._database.execute("DELETE FROM nll")
        assert len(reader.get_nlls(list(rows("old", 300)))) == 300
        assert len(Store(path).get_nlls(list(rows("two", 100)))) == 100
    assert kept(path) == {**ALL, "old": 0, "new": 0, "two": 0}


def test_export_has_every_row_bit_by_bit(path: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.parquet"
    with ManagedStore(path) as store:
        store._database.execute(
            "UPDATE nll SET nats = x'00' WHERE key = ?", [next(iter(rows("old", 1)))]
        )
        assert store.export(output) == 599
    table = pq.read_table(output).to_pydict()
    expected = {**rows("old", 300), **rows("new", 200), **rows("two", 100)}
    for key, nats in zip(table["key"], table["nats"], strict=True):
        np.testing.assert_array_equal(np.array(nats, np.float32), expected[key])
    assert set(table["model"]) == {"org/one float32", "a folder/two bfloat16"}


def test_sizes_and_ages() -> None:
    assert [parse_size(one) for one in ("10", "1K", "1.5M", "2GB", "1 GiB")] == [
        10, 2**10, 3 * 2**19, 2**31, 2**30
    ]  # fmt: skip
    assert [parse_days(one) for one in ("7", "30d", "2w")] == [7, 30, 14]
    for wrong in ("", "x", "-1", "nan", "inf", "1e99", "K", "d", "9" * 80):
        with pytest.raises(UsageError, match="--max-size"):
            parse_size(wrong)
        with pytest.raises(UsageError, match="--older-than"):
            parse_days(wrong)


def test_the_commands(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str) -> str:
        assert main(["store", *arguments, "--store", str(path)]) == 0
        return capsys.readouterr().out

    assert run("path") == f"{path}\n"
    assert "  org/one float32: 500 rows (nll), 4" in run("info")
    assert json.loads(run("info", "--json"))["models"][2]["model"] == "mini"
    assert "300 rows deleted" in run("prune", "--older-than", "90d")
    assert json.loads(run("prune", "-m", "mini", "--json"))["rows"] == 50
    assert run("export", "-o", str(path.with_suffix(".parquet"))).startswith("300 rows → ")
    assert main(["store", "prune", "--store", str(path)]) == 2
