"""The journal: what it stores, who may open it, what it imports, and when a reply is on disk."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import pytest

from ifdkit.errors import OutputError
from ifdkit.oracle import journal as journal_module
from ifdkit.oracle.calls import Form, Reply
from ifdkit.oracle.journal import AsyncJournal, Journal

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[1]


def key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def reply(number: int) -> Reply:
    texts = ["plain", 'quo"te\n', "Überraschung 🙂\u2028", "\x00\x1f", "half \ud83d a pair", ""]
    return Reply(texts[number % len(texts)] + str(number), "stop", None, number, None)


def replies(count: int, start: int = 0) -> dict[str, Reply]:
    return {key(number): reply(number) for number in range(start, start + count)}


def found(journal: Journal, count: int) -> list[int]:
    """Which of the first `count` replies the journal has; none of them may differ."""
    got = {number: journal.reply(key(number)) for number in range(count)}
    assert all(one in (None, reply(number)) for number, one in got.items())
    return [number for number, one in got.items() if one is not None]


def do_not_sync(patch: pytest.MonkeyPatch, page_size: int = 16384) -> None:
    """Make thousands of journals quickly, in tests that do not depend on fsync."""
    setup = [one.replace("FULL", "OFF").replace("16384", str(page_size))
             for one in journal_module._SETUP]  # fmt: skip
    patch.setattr(journal_module, "_SETUP", setup)


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "j.sqlite"
    with Journal(path) as journal:
        journal.record(replies(30))
    with Journal(path) as journal:
        assert len(found(journal, 31)) == 30
        assert journal.form(key(3)) is None, "a form is not a reply"
        journal.record_form(key(3), Form.PLAIN, "max_tokens")
        journal.record({key(3): reply(4)})
    with Journal(path) as journal:
        assert journal.form(key(3)) == (Form.PLAIN, "max_tokens")
        assert journal.reply(key(3)) == reply(4), "the last one recorded counts"
    assert [one.name for one in path.parent.iterdir()] == ["j.sqlite"]


def test_failure_is_not_recorded(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.sqlite") as journal:
        with pytest.raises(ValueError, match="asked again"):
            journal.record({**replies(1), key(1): Reply("", failure="reset")})
        assert found(journal, 2) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX permissions")
def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    """The replies contain people's texts; the WAL does too."""
    mask = os.umask(0)
    try:
        with Journal(tmp_path / "j.sqlite") as journal:
            journal.record(replies(1))
            modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in tmp_path.iterdir()}
    finally:
        os.umask(mask)
    assert modes == {"j.sqlite": 0o600, "j.sqlite-wal": 0o600}


OPEN = """
import sys
from ifdkit.errors import OutputError
from ifdkit.oracle.journal import Journal
try:
    with Journal(sys.argv[1]):
        print("open", flush=True)
        sys.stdin.read()
except OutputError as error:
    sys.exit(str(error))
"""


def test_another_process_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OPEN, str(tmp_path / "j.sqlite")]
    with Journal(tmp_path / "j.sqlite"):
        refused = subprocess.run(command, capture_output=True, text=True, input="")
        with pytest.raises(OutputError, match="in use by another run"):
            Journal(tmp_path / "j.sqlite")
        # The attempt in this process must not have released the lock.
        again = subprocess.run(command, capture_output=True, text=True, input="")
    for one in (refused, again):
        assert one.returncode == 1
        assert "in use by another run" in one.stderr
        assert one.stderr.count("\n") == 1
    assert subprocess.run(command, input="", text=True).returncode == 0, "unlocked on closing"


@pytest.mark.long
def test_of_many_processes_that_create_a_journal_at_once_one_gets_it(tmp_path: Path) -> None:
    for attempt in range(3):
        command = [sys.executable, "-c", OPEN, str(tmp_path / f"{attempt}.sqlite")]
        processes = [
            subprocess.Popen(
                command,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
            for _ in range(4)
        ]  # fmt: skip
        losers = [process for process in processes if not _said(process)]
        assert len(losers) == 3
        for process in processes:
            _, error = process.communicate("")
            assert (process.returncode, "in use" in error) == ((1, True) if process in losers
                                                               else (0, False))  # fmt: skip


def _said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_path_that_is_not_a_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="cannot be opened"):
        Journal(tmp_path / "folder")


def test_file_that_is_not_a_journal_is_set_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "j.sqlite"
    path.write_bytes(b"not a database" * 100)
    with Journal(path) as journal:
        journal.record(replies(2))
    assert (tmp_path / "j.sqlite.damaged").read_bytes() == b"not a database" * 100
    assert "j.sqlite is damaged: renamed it to j.sqlite.damaged" in caplog.text
    with Journal(path) as journal:
        assert len(found(journal, 2)) == 2


# Two lines as ifdkit 0.1 wrote them.
LINES_0_1 = (
    b'{"sum":"af59281b92fd84b6","kind":"reply","key":"5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e9'
    b'1b46729d73a27fb57e9","value":{"text":"\\u00dcberraschung \\ud83d\\n","finish_reason":"stop","'
    b'refusal":null,"prompt_tokens":7,"completion_tokens":null}}\n',
    b'{"sum":"d49f0c0395c12d67","kind":"form","key":"6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d4'
    b'9c01e52ddb7875b4b","value":{"form":"plain_json","limit":"max_tokens"}}\n',
)


def lines(count: int) -> list[bytes]:
    """Replies in that format, by another way of writing it than the journal's."""
    made = []
    for number in range(count):
        value = asdict(reply(number))
        del value["failure"]
        event = {"kind": "reply", "key": key(number), "value": value}
        rest = '",' + json.dumps(event, separators=(",", ":"))[1:]
        made.append(f'{{"sum":"{hashlib.sha256(rest.encode()).hexdigest()[:16]}{rest}\n'.encode())
    return made


def test_lines_are_those_of_0_1(tmp_path: Path) -> None:
    (tmp_path / "j.jsonl").write_bytes(b"".join(LINES_0_1))
    with Journal(tmp_path / "j.sqlite") as journal:
        journal.record(replies(4))
        journal.record_form(key(1), Form.PLAIN, "max_tokens")
        stored = journal._database.execute("SELECT line FROM event").fetchall()
    assert {line for (line,) in stored} == {*lines(4), LINES_0_1[1]}


def test_journal_of_0_1_is_imported(tmp_path: Path) -> None:
    old = tmp_path / "j.jsonl"
    old.write_bytes(b"".join(LINES_0_1))
    with Journal(tmp_path / "j.sqlite") as journal:
        assert journal.imported == 1
        assert journal.reply(key(0)) == Reply("Überraschung \ud83d\n", "stop", None, 7, None)
        assert journal.form(key(1)) == (Form.PLAIN, "max_tokens")
    assert old.read_bytes() == b"".join(LINES_0_1), "the old file stays as it is"


def test_import_happens_once_and_again_if_the_old_journal_has_grown(tmp_path: Path) -> None:
    old, path = tmp_path / "j.jsonl", tmp_path / "j.sqlite"
    old.write_bytes(b"".join(lines(3)))
    for imported in (3, 0):
        with Journal(path) as journal:
            assert journal.imported == imported
            assert len(found(journal, 5)) == 3
    with old.open("ab") as file:
        file.writelines(lines(5)[3:])
    with Journal(path) as journal:
        assert journal.imported == 2
        assert len(found(journal, 5)) == 5


@pytest.mark.parametrize(
    "junk",
    [b"{}\n", b"null\n", b"\xff\xfe\n", b'{"sum":"0123456789abcdef","kind":"reply"}\n', b"\n",
     b'{"sum":"' + b"x" * 5000 + b"\n"],
)  # fmt: skip
def test_import_skips_other_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, junk: bytes
) -> None:
    """The last is longer than the reader takes at once, which bounds its memory."""
    monkeypatch.setattr(journal_module, "_MAX_LINE_BYTES", 1000)
    (tmp_path / "j.jsonl").write_bytes(junk + lines(1)[0] + junk + lines(2)[1] + junk[:-1])
    with Journal(tmp_path / "j.sqlite") as journal:
        assert len(found(journal, 2)) == journal.imported == 2


def test_import_of_a_journal_cut_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a crash of ifdkit 0.1 may have left it: every whole line is imported."""
    do_not_sync(monkeypatch)
    content = b"".join(lines(4))
    ends = [at for at, byte in enumerate(content) if byte == ord("\n")]
    for size in range(0, len(content) + 1, 5):
        (tmp_path / f"{size}.jsonl").write_bytes(content[:size])
        with Journal(tmp_path / f"{size}.sqlite") as journal:
            assert len(found(journal, 4)) == sum(end <= size for end in ends)


def test_interrupted_import_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "j.jsonl").write_bytes(b"".join(lines(5)))
    rows_in = journal_module._rows_in

    def interrupted(path: Path) -> Iterator[tuple[str, bytes, bytes]]:
        rows = rows_in(path)
        yield next(rows)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(journal_module, "_rows_in", interrupted)
        with pytest.raises(KeyboardInterrupt):
            Journal(tmp_path / "j.sqlite")
    with Journal(tmp_path / "j.sqlite") as journal:
        assert len(found(journal, 5)) == journal.imported == 5


def test_a_commit_is_synced_before_it_returns(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.sqlite") as journal:
        settings = [journal._database.execute(f"PRAGMA {name}").fetchone()[0]
                    for name in ("journal_mode", "synchronous", "locking_mode")]  # fmt: skip
    assert settings == ["wal", 2, "exclusive"]  # 2 is FULL


RECORD = """
import os, sys
from ifdkit.oracle.journal import Journal
from tests.test_reflection_journal import replies
with Journal(sys.argv[1]) as journal:
    for number in range(3):
        journal.record(replies(1, start=number))
        os.write(1, b"told")
"""


@pytest.mark.long
@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_system_calls_of_a_commit(tmp_path: Path) -> None:
    """Seen from outside: the WAL is written and synced, and only then is anyone told."""
    trace = tmp_path / "trace"
    done = subprocess.run(
        ["strace", "-f", "-y", "-o", trace, "-e", "trace=pwrite64,fsync,fdatasync,write",
         sys.executable, "-c", RECORD, tmp_path / "j.sqlite"],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.fspath(ROOT)},
    )  # fmt: skip
    if "ptrace" in done.stderr:
        pytest.skip("strace is not permitted here")
    assert done.returncode == 0, done.stderr
    calls = ["write" if "pwrite64" in line else "sync" if "sync(" in line else "told"
             for line in trace.read_text().splitlines()
             if "j.sqlite-wal>" in line or '"told"' in line]  # fmt: skip
    told = [at for at, call in enumerate(calls) if call == "told"]
    assert len(told) == 3
    for at, before in zip(told, [0, *told], strict=False):
        assert calls[at - 1] == "sync"
        assert "write" in calls[before:at]


def test_tasks_share_a_transaction(tmp_path: Path) -> None:
    async def run(journal: Journal) -> None:
        shared = AsyncJournal(journal)

        async def one(number: int) -> None:
            assert await shared.reply(key(number)) is None
            await shared.record(key(number), reply(number))
            assert await shared.reply(key(number)) == reply(number)

        await asyncio.gather(*map(one, range(200)))

    statements: list[str] = []
    with Journal(tmp_path / "j.sqlite") as journal:
        journal._database.set_trace_callback(statements.append)
        asyncio.run(run(journal))
        journal._database.set_trace_callback(None)
        assert len(found(journal, 200)) == 200
    assert 1 <= statements.count("COMMIT") <= 10


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Transactions wait until the event is set."""
    go_on, record = threading.Event(), Journal.record

    def slow(self: Journal, batch: Mapping[str, Reply]) -> None:
        go_on.wait(10)
        record(self, batch)

    monkeypatch.setattr(Journal, "record", slow)
    return go_on


def test_event_loop_does_not_wait_for_the_disk(tmp_path: Path, slow_disk: threading.Event) -> None:
    """A look-up waits for the commit in its task; other tasks continue."""

    async def run(journal: Journal) -> None:
        shared = AsyncJournal(journal)
        recording = asyncio.create_task(shared.record(key(0), reply(0)))
        await asyncio.sleep(0.01)
        looking_up = asyncio.create_task(shared.reply(key(0)))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not recording.done()
        assert not looking_up.done()
        slow_disk.set()
        await recording
        assert await looking_up == reply(0)

    with Journal(tmp_path / "j.sqlite") as journal:
        asyncio.run(run(journal))


def test_replies_of_cancelled_tasks_are_recorded(
    tmp_path: Path, slow_disk: threading.Event
) -> None:
    """Ctrl-C comes while one transaction is under way and more replies wait for the next."""

    async def run(journal: Journal) -> None:
        shared = AsyncJournal(journal)
        tasks = []
        for start, stop in ((0, 5), (5, 9)):
            tasks += [asyncio.create_task(shared.record(key(number), reply(number)))
                      for number in range(start, stop)]  # fmt: skip
            await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        slow_disk.set()
        shared.flush()
        shared.flush()  # nothing is left

    with Journal(tmp_path / "j.sqlite") as journal:
        asyncio.run(run(journal))
    with Journal(tmp_path / "j.sqlite") as journal:
        assert len(found(journal, 9)) == 9


def test_every_task_of_a_failed_transaction_fails(tmp_path: Path) -> None:
    async def run(journal: Journal) -> list[BaseException | None]:
        shared = AsyncJournal(journal)
        # The first one needs pages that the full disk does not give.
        batch = {key(4): Reply("x" * 100_000), **replies(4)}
        many = (shared.record(name, one) for name, one in batch.items())
        failed = list(await asyncio.gather(*many, return_exceptions=True))
        with pytest.raises(OutputError, match="disk is full"):
            shared.flush()
        return failed

    with Journal(tmp_path / "j.sqlite") as journal:
        fill_disk(journal)
        assert {type(one) for one in asyncio.run(run(journal))} == {OutputError}
        assert found(journal, 4) == []


def fill_disk(journal: Journal) -> None:
    """SQLite then reports a full disk as soon as the file would have to grow."""
    (pages,) = journal._database.execute("PRAGMA page_count").fetchone()
    journal._database.execute(f"PRAGMA max_page_count = {pages}")


def test_memory_contains_no_replies(tmp_path: Path) -> None:
    """A thousand replies of 10 kB: well under a hundredth of their size, recorded or opened."""
    many = {key(number): Reply("x" * 10_000) for number in range(1000)}
    names = list(many)
    for attempt in range(2):
        tracemalloc.start()
        with Journal(tmp_path / "j.sqlite") as journal:
            for first in range(0, 0 if attempt else 1000, 50):
                journal.record({name: many[name] for name in names[first : first + 50]})
            assert journal.reply(key(7)) == many[key(7)]
            now, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert now < 100_000
