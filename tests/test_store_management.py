"""`ifdkit store`: what is counted, what is deleted, and who may read meanwhile."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from ifdkit.cli.main import main
from ifdkit.errors import StoreError, UsageError
from ifdkit.scoring.store import DAY_S, Store
from ifdkit.scoring.store_management import ManagedStore, parse_days, parse_size


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
    assert "  org/one float32: 500 rows (nll), 0.4 MiB, 20" in run("info")
    assert json.loads(run("info", "--json"))["models"][2]["model"] == "mini"
    assert "300 rows deleted" in run("prune", "--older-than", "90d")
    assert json.loads(run("prune", "-m", "mini", "--json"))["rows"] == 50
    assert run("export", "-o", str(path.with_suffix(".parquet"))).startswith("300 rows → ")
    assert main(["store", "prune", "--store", str(path)]) == 2
