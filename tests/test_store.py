"""What the score store keeps, under which keys, and what survives a kill."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ifdkit.errors import StoreError
from ifdkit.records import Request
from ifdkit.scoring.store import Store, request_key, text_key


def request(*ids: int, start: int = 1, stop: int | None = None) -> Request:
    return Request(np.array(ids, dtype=np.int32), start, stop or len(ids))


def test_round_trip_is_bit_exact(tmp_path: Path) -> None:
    values = {bytes([i]) * 32: np.random.default_rng(i).random(i + 1, np.float32) for i in range(9)}
    with Store(tmp_path / "s.sqlite") as store:
        store.put_nlls(values)
        store.put_embeddings(values)
    with Store(tmp_path / "s.sqlite") as store:
        for got in (store.get_nlls([*values, b"absent"]), store.get_embeddings([*values])):
            assert got.keys() == values.keys()
            for key, value in values.items():
                np.testing.assert_array_equal(got[key], value)


def test_more_keys_than_fit_into_one_query() -> None:
    values = {i.to_bytes(32): np.array([i], np.float32) for i in range(1203)}
    with Store(None) as store:
        store.put_nlls(values)
        assert len(store.get_nlls(list(values))) == 1203


def test_keys_differ_for_everything_that_changes_a_score() -> None:
    base = request(1, 2, 3, 4)
    different = [
        request_key("a/float32", base),
        request_key("b/float32", base),
        request_key("a/bfloat16", base),
        request_key("a/float32", request(1, 2, 3, 5)),
        request_key("a/float32", request(1, 2, 3, 4, start=2)),
        request_key("a/float32", request(1, 2, 3, 4, stop=3)),
        text_key("a", "text"),
        text_key("b", "text"),
    ]
    assert len(set(different)) == len(different)
    assert request_key("a/float32", request(1, 2, 3, 4)) == different[0]


def test_a_failed_batch_stores_nothing(tmp_path: Path) -> None:
    class Bomb:
        def astype(self, _: str) -> NDArray[np.float32]:
            raise KeyboardInterrupt

    with Store(tmp_path / "s.sqlite") as store:
        batch = {b"a": np.ones(1, np.float32), b"b": Bomb()}
        with pytest.raises(KeyboardInterrupt):
            store.put_nlls(batch)  # type: ignore[arg-type]
        assert store.get_nlls([b"a", b"b"]) == {}
        store.put_nlls({b"a": np.ones(1, np.float32)})
        assert len(store.get_nlls([b"a"])) == 1


def test_a_file_that_is_not_a_store_is_a_one_line_error(tmp_path: Path) -> None:
    (tmp_path / "s.sqlite").write_bytes(b"this is not a database, whatever its name says" * 50)
    with pytest.raises(StoreError, match=r"s\.sqlite cannot be opened.*--store off"):
        Store(tmp_path / "s.sqlite")
    with pytest.raises(StoreError, match="cannot be opened"):
        Store(tmp_path)


def test_a_changed_file_gets_a_new_digest(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"one")
    with Store(tmp_path / "s.sqlite") as store:
        first = store.file_digest(file)
        assert store.file_digest(file) == first
        before = file.stat()
        file.write_bytes(b"two")
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert store.file_digest(file) != first, "same size and mtime, different content"


def test_a_digest_is_not_computed_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"one")
    with Store(tmp_path / "s.sqlite") as store:
        first = store.file_digest(file)
        monkeypatch.setattr(Path, "open", None)
        assert store.file_digest(file) == first


_WRITER = """
import sys, numpy as np
from ifdkit.scoring.store import Store
with Store(sys.argv[1]) as store:
    for batch in range(10_000):
        n = 16
        store.put_nlls({
            f"{batch:05d}-{i:02d}".encode(): np.full(50, batch, np.float32) for i in range(n)
        })
        print(batch, flush=True)
"""


@pytest.mark.parametrize("attempt", range(5))
def test_a_killed_writer_leaves_whole_batches(tmp_path: Path, attempt: int) -> None:
    path = tmp_path / "s.sqlite"
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    for _ in range(3 + attempt):
        writer.stdout.readline()
    time.sleep(0.003 * attempt)
    writer.kill()
    reported = [int(line) for line in writer.stdout] or [2 + attempt]
    writer.wait()
    writer.stdout.close()
    with Store(path) as store:
        complete = 0
        for batch in range(reported[-1] + 3):
            keys = [f"{batch:05d}-{i:02d}".encode() for i in range(16)]
            found = store.get_nlls(keys)
            assert len(found) in (0, 16)
            complete += len(found) == 16
        assert complete >= reported[-1] + 1, "every reported batch is in the store"


def test_two_processes_write_one_store(tmp_path: Path) -> None:
    script = _WRITER.replace("10_000", "40")
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", script.replace('f"', f'f"{name}'), str(tmp_path / "s.sqlite")],
            stdout=subprocess.DEVNULL,
        )
        for name in "ab"
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    with Store(tmp_path / "s.sqlite") as store:
        keys = [
            f"{name}{b:05d}-{i:02d}".encode() for name in "ab" for b in range(40) for i in range(16)
        ]
        assert len(store.get_nlls(keys)) == len(keys)


ROWS = {
    bytes([i]) * 32: np.random.default_rng(i).random(200 + i).astype(np.float32) for i in range(24)
}


def saved(path: Path) -> Path:
    """A store with ROWS as NLLs and as embeddings, and the digest of a file."""
    with Store(path) as store:
        store.put_nlls(ROWS)
        store.put_embeddings(ROWS)
        store.file_digest(Path(__file__))
    return path


def what_is_read(path: Path) -> int | None:
    """How many rows a store still has; None if it is refused. Whatever it returns must be right."""
    try:
        with Store(path) as store:
            found = [store.get_nlls(list(ROWS)), store.get_embeddings(list(ROWS))]
            digest = store.file_digest(Path(__file__))
    except StoreError:
        return None
    for rows in found:
        for key, values in rows.items():
            assert values.tobytes() == ROWS[key].tobytes()
    assert digest == hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    return sum(map(len, found))


def test_a_flipped_bit_gives_a_miss_and_never_another_number(tmp_path: Path) -> None:
    intact = saved(tmp_path / "intact.sqlite").read_bytes()
    rng, path = random.Random(0), tmp_path / "flipped.sqlite"
    seen = set()
    for _ in range(400):
        data = bytearray(intact)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        seen.add(what_is_read(path))
    assert {None, 2 * len(ROWS), 2 * len(ROWS) - 1} <= seen


def test_a_store_cut_anywhere_gives_no_wrong_number(tmp_path: Path) -> None:
    intact = saved(tmp_path / "intact.sqlite").read_bytes()
    path = tmp_path / "cut.sqlite"
    seen = set()
    for size in range(0, len(intact), 512):
        path.write_bytes(intact[:size])
        seen.add(what_is_read(path))
    assert {None, 0} <= seen


@pytest.mark.parametrize("value", ["text", 7, 1.5, b"abc", b"", b"x" * 8])
def test_a_value_of_another_type_or_length_is_a_miss(tmp_path: Path, value: object) -> None:
    path = saved(tmp_path / "store.sqlite")
    database = sqlite3.connect(path)
    with database:
        database.execute("UPDATE nll SET nats = ? WHERE key = ?", (value, next(iter(ROWS))))
        database.execute("UPDATE digest SET sha256 = ?", (value,))
    database.close()
    with Store(path) as store:
        assert len(store.get_nlls(list(ROWS))) == len(ROWS) - 1
        assert store.damaged == 1
        store.put_nlls(ROWS)
        assert len(store.get_nlls(list(ROWS))) == len(ROWS)
    assert what_is_read(path) == 2 * len(ROWS)


@pytest.mark.parametrize(
    ("version", "columns"), [(2, ("batch", "provisional", "model", "day")), (3, ("model", "day"))]
)
def test_a_store_of_an_earlier_version_is_migrated_with_its_rows(
    tmp_path: Path, version: int, columns: tuple[str, ...]
) -> None:
    path = saved(tmp_path / "store.sqlite")
    database = sqlite3.connect(path)
    with database:
        for column in columns:
            database.execute(f"ALTER TABLE nll DROP COLUMN {column}")
        for column in ("model", "day"):
            database.execute(f"ALTER TABLE embedding DROP COLUMN {column}")
        database.execute("DROP TABLE model")
        database.execute(f"PRAGMA user_version = {version}")
    database.close()
    assert what_is_read(path) == 2 * len(ROWS)
    with Store(path) as store:
        assert store.batches_of(list(ROWS)) == {}
        store.put_nlls(ROWS, b"batch", model="a model")
        assert store.batches_of(list(ROWS)) == dict.fromkeys(ROWS, b"batch")
        assert store.verify().damaged == 0
    assert what_is_read(path) == 2 * len(ROWS)


def test_long_rows_do_not_take_a_page_each(tmp_path: Path) -> None:
    rows = {i.to_bytes(32): np.full(250, i, np.float32) for i in range(400)}
    with Store(tmp_path / "store.sqlite") as store:
        store.put_nlls(rows)
        store._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert (tmp_path / "store.sqlite").stat().st_size < 1.5 * 400 * 1040


def test_provisional_rows_are_read_by_those_who_ask(tmp_path: Path) -> None:
    first, *others = ROWS
    with Store(tmp_path / "store.sqlite") as store:
        store.put_nlls({first: ROWS[first]}, provisional=True)
        store.put_nlls({key: ROWS[key] for key in others})
        assert set(store.get_nlls(list(ROWS))) == set(ROWS)
        assert set(store.get_nlls(list(ROWS), provisional=False)) == set(others)
        store.put_nlls({first: ROWS[first]})
        assert set(store.get_nlls(list(ROWS), provisional=False)) == set(ROWS)


def save_as_version_1(path: Path) -> None:
    """A store as ifdkit 0.1 made it."""
    database = sqlite3.connect(path)
    database.executescript(
        "CREATE TABLE nll (key BLOB PRIMARY KEY, nats BLOB NOT NULL) WITHOUT ROWID;"
        "CREATE TABLE embedding (key BLOB PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID;"
        "CREATE TABLE digest (file TEXT PRIMARY KEY, sha256 TEXT NOT NULL) WITHOUT ROWID;"
    )
    with database:
        for table in ("nll", "embedding"):
            rows = [(key, values.tobytes()) for key, values in ROWS.items()]
            database.executemany(f"INSERT INTO {table} VALUES (?, ?)", rows)
        database.execute("INSERT INTO digest VALUES ('a 1 2', 'b')")
    database.close()


def test_a_store_of_version_1_is_migrated_with_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    save_as_version_1(path)
    assert what_is_read(path) == 2 * len(ROWS)
    with Store(path) as store:
        found = store.verify()
    assert (found.rows, found.damaged) == (2 * len(ROWS) + 2, 0)


def test_a_killed_migration_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store.sqlite"
    save_as_version_1(path)
    before = path.read_bytes()
    program = (
        "import os, sys; from ifdkit.scoring import store\n"
        "store.TABLES = 'SELECT stop()'\n"
        "connect = store.sqlite3.connect\n"
        "def connected(*a, **k):\n"
        "    database = connect(*a, **k)\n"
        "    database.create_function('stop', 0, lambda: os._exit(9))\n"
        "    return database\n"
        "store.sqlite3.connect = connected\n"
        "store.Store(sys.argv[1])"
    )
    assert subprocess.run([sys.executable, "-c", program, str(path)]).returncode == 9
    assert len(before) > 0
    assert what_is_read(path) == 2 * len(ROWS)


def test_two_processes_migrate_one_store(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    save_as_version_1(path)
    program = "import sys; from ifdkit.scoring.store import Store; Store(sys.argv[1]).close()"
    processes = [subprocess.Popen([sys.executable, "-c", program, str(path)]) for _ in range(4)]
    assert [process.wait(timeout=60) for process in processes] == [0] * 4
    assert what_is_read(path) == 2 * len(ROWS)


def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "store.sqlite")
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 5")
    database.close()
    with pytest.raises(StoreError, match="newer version of ifdkit"):
        Store(path)


def test_verify_deletes_damaged_rows_and_counts_them(tmp_path: Path) -> None:
    path = saved(tmp_path / "store.sqlite")
    database = sqlite3.connect(path)
    with database:
        database.execute("UPDATE nll SET nats = x'00' WHERE key < ?", (bytes([3]),))
        database.execute("UPDATE embedding SET vector = 'é'  WHERE key < ?", (bytes([2]),))
    database.close()
    with Store(path) as store:
        found = store.verify()
        assert (found.rows, found.damaged) == (2 * len(ROWS) + 1 - 5, 5)
        assert store.verify().damaged == 0
    assert what_is_read(path) == 2 * len(ROWS) - 5


def test_a_new_store_is_private(tmp_path: Path) -> None:
    path = saved(tmp_path / "store.sqlite")
    assert path.stat().st_mode & 0o777 == 0o600


def test_ctrl_c_ends_the_wait_for_a_locked_store_at_once(tmp_path: Path) -> None:
    path = saved(tmp_path / "store.sqlite")
    locked = sqlite3.connect(path, isolation_level=None)
    locked.execute("BEGIN IMMEDIATE")
    with Store(path) as store:
        main = threading.main_thread().ident
        assert main is not None
        timer = threading.Timer(0.3, signal.pthread_kill, (main, signal.SIGINT))
        timer.start()
        begin = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            store.put_nlls(ROWS)
        assert time.monotonic() - begin < 10
        timer.join()
        locked.execute("ROLLBACK")
        store.put_nlls(ROWS)
    locked.close()
