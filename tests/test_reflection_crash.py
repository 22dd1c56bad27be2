"""What the journal still has after a crash at any byte, a full disk, or damage to the file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ifdkit.errors import OutputError
from ifdkit.oracle.calls import Reply
from ifdkit.oracle.journal import Journal
from tests.oracle_server import OracleServer
from tests.test_reflection_journal import ROOT, do_not_sync, fill_disk, found, key, replies

pytest.importorskip("resource", reason="needs POSIX resource limits")
pytestmark = pytest.mark.long

PAGE = 512
"""Small pages keep the files small enough to cut them at every byte."""


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.fspath(ROOT)}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


FILL = """
import json, os, sys
from pathlib import Path
from ifdkit.oracle import journal as module
from ifdkit.oracle.journal import Journal
from tests.test_reflection_journal import replies

module._SETUP = (f"PRAGMA page_size = {sys.argv[2]}", *module._SETUP[1:])
journal = Journal(sys.argv[1])
wal = Path(f"{sys.argv[1]}-wal")
sizes = [wal.stat().st_size]
for number in range(int(sys.argv[3])):
    journal.record(replies(1, start=number))
    sizes.append(wal.stat().st_size)
print(json.dumps(sizes))
sys.stdout.flush()
os._exit(0)
"""


def killed(path: Path, count: int) -> tuple[bytes, bytes, list[int]]:
    """The files of a process that died after `count` replies: database, WAL, and the size of the
    WAL after each commit, that of the empty journal first."""
    done = run(FILL, path, PAGE, count)
    assert done.returncode == 0, done.stderr
    return path.read_bytes(), Path(f"{path}-wal").read_bytes(), json.loads(done.stdout)


def test_wal_cut_at_every_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exactly the complete commits are found, and recording continues."""
    database, wal, sizes = killed(tmp_path / "whole", 4)
    do_not_sync(monkeypatch)
    path, path_wal = tmp_path / "j", tmp_path / "j-wal"
    for size in range(len(wal) + 1):
        path.write_bytes(database)
        path_wal.write_bytes(wal[:size])
        whole = sum(end <= size for end in sizes[1:])
        with Journal(path) as journal:
            assert found(journal, 4) == list(range(whole))
            if size % 8 == 0:
                journal.record(replies(1, start=9))
        if size % 8 == 0:
            with Journal(path) as journal:
                assert found(journal, 10) == [*range(whole), 9]
    assert not (tmp_path / "j.damaged").exists()


def test_database_cut_at_every_byte_while_its_wal_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a crash in a checkpoint may leave it.

    SQLite takes a file of one byte for an empty one, but syncs the first page before any WAL.
    """
    database, wal, _ = killed(tmp_path / "whole", 5)
    do_not_sync(monkeypatch)
    for size in range(2, len(database) + 1):
        (tmp_path / "j").write_bytes(database[:size])
        (tmp_path / "j-wal").write_bytes(wal)
        with Journal(tmp_path / "j") as journal:
            assert len(found(journal, 5)) == 5


@pytest.fixture
def closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A database of eight replies on several pages, closed in order."""
    do_not_sync(monkeypatch, PAGE)
    with Journal(tmp_path / "whole") as journal:
        journal.record(replies(8))
    return (tmp_path / "whole").read_bytes()


def reopened(path: Path, content: bytes) -> list[int]:
    """Which replies are found in a damaged database; what was lost can be recorded again."""
    for one in path.parent.glob(f"{path.name}*"):
        one.unlink()
    path.write_bytes(content)
    with Journal(path) as journal:
        before = found(journal, 8)
        journal.form(key(0))
        journal.record(replies(9))
        assert len(found(journal, 9)) == 9
    with Journal(path) as journal:
        assert len(found(journal, 9)) == 9
    return before


def test_closed_database_cut_at_every_byte(tmp_path: Path, closed: bytes) -> None:
    """As an incomplete copy: every line that is whole in it is found."""
    ends = []
    for number in range(8):
        start = closed.index(f'"key":"{key(number)}'.encode())
        ends.append(closed.index(b"\n", start) + 1)
    for size in range(0, len(closed) + 1, 7):
        whole = {number for number, end in enumerate(ends) if end <= size}
        assert whole <= set(reopened(tmp_path / "j", closed[:size]))


def test_flipped_bit_loses_at_most_one_reply(tmp_path: Path, closed: bytes) -> None:
    lost = []
    for at in range(0, len(closed), 3):
        content = bytearray(closed)
        content[at] ^= 1 << at % 8
        if at == 18:
            # The version of the format that a writer must know: SQLite opens the file read-only.
            with pytest.raises(OutputError, match="cannot be opened: attempt to write a readonly"):
                reopened(tmp_path / "j", bytes(content))
        else:
            lost.append(8 - len(reopened(tmp_path / "j", bytes(content))))
    assert set(lost) == {0, 1}


KILL = """
import os, resource, signal, sys
from pathlib import Path
from ifdkit.oracle import journal as module
from ifdkit.oracle.journal import Journal
from tests.test_reflection_journal import found, replies

folder, step = Path(sys.argv[1]), int(sys.argv[2])
# A checkpoint every few commits, so that writes to the database are interrupted as well.
module._SETUP = ("PRAGMA page_size = 512", *module._SETUP[1:], "PRAGMA wal_autocheckpoint = 12")
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
limit, n_killed, alive = 0, 0, False
while not alive:
    path = folder / f"{limit}.sqlite"
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        # The write that passes the limit ends at it, and the next kills the process.
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        with Journal(path) as journal:
            for number in range(20):
                journal.record(replies(1, start=number))
                os.write(writer, b".")
        os._exit(0)
    os.close(writer)
    told = 0
    while os.read(reader, 1):
        told += 1
    os.close(reader)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGXFSZ), status
    alive = status == 0
    n_killed += not alive
    with Journal(path) as journal:
        kept = found(journal, 20)
        assert kept == list(range(len(kept))), (limit, kept)
        assert told <= len(kept) <= told + 1, (limit, told, kept)
        journal.record(replies(20))
    with Journal(path) as journal:
        assert len(found(journal, 20)) == 20
    assert not list(folder.glob("*.damaged"))
    for one in folder.iterdir():
        one.unlink()
    limit += step
print(n_killed)
"""


def test_killed_at_any_byte_of_any_write(tmp_path: Path) -> None:
    """The system kills the process in the middle of a write to the WAL or the database, at one
    byte after the other.  Every reply that was told is found."""
    done = run(KILL, tmp_path, 97)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 80


FULL = """
import resource, sys
from pathlib import Path
from ifdkit.errors import OutputError
from ifdkit.oracle.journal import Journal
from ifdkit.oracle.calls import Reply
from tests.test_reflection_journal import found, key, replies

hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
with Journal(sys.argv[1]) as journal:
    journal.record(replies(2))
    size = Path(f"{sys.argv[1]}-wal").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 5000, hard))  # Python ignores the signal
    for _ in range(2):
        try:
            journal.record({**replies(1, start=2), key(3): Reply("x" * 50_000)})
        except OutputError as error:
            print(error)
        assert found(journal, 4) == [0, 1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    journal.record(replies(1, start=4))
    assert found(journal, 5) == [0, 1, 4]
"""


def test_failed_write_loses_nothing_else(tmp_path: Path) -> None:
    """The system refuses the second half of a write; later the disk has room again."""
    done = run(FULL, tmp_path / "j.sqlite")
    assert done.returncode == 0, done.stderr
    message = f"the journal {tmp_path}/j.sqlite cannot be written: disk I/O error; recorded replies"
    assert done.stdout.count(message) == len(done.stdout.splitlines()) == 2
    with Journal(tmp_path / "j.sqlite") as journal:
        assert found(journal, 5) == [0, 1, 4]


def test_full_disk_loses_nothing_else(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.sqlite") as journal:
        journal.record(replies(1))
        fill_disk(journal)
        with pytest.raises(OutputError, match="cannot be written: database or disk is full"):
            journal.record({**replies(1, start=1), key(2): Reply("x" * 100_000)})
        assert found(journal, 3) == [0]
        journal._database.execute("PRAGMA max_page_count = 1000000")
        journal.record(replies(1, start=2))
    with Journal(tmp_path / "j.sqlite") as journal:
        assert found(journal, 3) == [0, 2]


DYING = """
import asyncio, os, resource, signal, sys
from pathlib import Path
from ifdkit.oracle.journal import Journal
from tests.test_reflection_oracle import Oracle, RewritingProbe, Server, call

point, url, path = sys.argv[1:]
die = lambda *_: os._exit(9)
ask, put = Oracle._attempt, Journal._put

def after_it(self, events):
    put(self, events)
    die()

async def replied(*arguments):
    await ask(*arguments)
    die()

async def run():
    with Journal(path) as journal:
        address = Server("m", url, api_key_env=None)
        async with Oracle(address, journal, probe=RewritingProbe()) as oracle:
            await oracle.ask(call(0))
            if point == "before it is sent":
                Oracle._attempt = die
            if point == "after the reply":
                Oracle._attempt = replied
            if point == "in the middle of writing":
                signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
                limit = Path(f"{path}-wal").stat().st_size + 20_000
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            if point == "after writing":
                journal._database.execute("PRAGMA synchronous = OFF")
            if point in ("after writing", "after the disk has it"):
                Journal._put = after_it
            await oracle.ask(call(1))
            die()

asyncio.run(run())
"""
POINTS = {
    # point of death: whether the server has answered, and whether the journal has the reply
    "before it is sent": (False, False),
    "after the reply": (True, False),
    "in the middle of writing": (True, False),
    "after writing": (True, True),  # the system has it: only a power cut could take it away
    "after the disk has it": (True, True),
    "never": (True, True),
}


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_every_point_of_a_call(tmp_path: Path, point: str) -> None:
    """What is recorded is not asked again; what was lost is asked once more."""
    from tests.test_reflection_oracle import call

    answered, kept = POINTS[point]
    path = tmp_path / "j.sqlite"
    with OracleServer() as server:
        died = run(DYING, point, server.base_url, path)
        is_interrupted = point == "in the middle of writing"
        assert died.returncode == (-signal.SIGXFSZ if is_interrupted else 9), died.stderr
        assert len(server.calls) == 1 + answered
        with Journal(path) as journal:
            assert journal.reply(call(0).key) is not None
            assert (journal.reply(call(1).key) is not None) == kept
        server.seen.clear()
        assert run(DYING, "never", server.base_url, path).returncode == 9
        assert len(server.seen) == (not kept)
        with Journal(path) as journal:
            assert None not in (journal.reply(call(0).key), journal.reply(call(1).key))
