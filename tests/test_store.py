"""What the score store keeps, under which keys, and what survives a kill."""

from __future__ import annotations

import os
import subprocess
import sys
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
