"""What was recorded is found again, wherever the process died and wherever the file was cut."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path
from typing import IO

import pytest

from ifdkit.errors import OutputError
from ifdkit.reflection import journal as journal_module
from ifdkit.reflection.journal import Journal, Recorder
from ifdkit.reflection.outcomes import Form, Reply
from tests.oracle_server import OracleServer


def key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def reply(number: int) -> Reply:
    texts = ["plain", 'quo"te\n', "Überraschung 🙂\u2028", "\x00\x1f", "half \ud83d a pair", ""]
    return Reply(texts[number % len(texts)] + str(number), "stop", None, number, None)


def filled(path: Path, count: int) -> None:
    with Journal(path) as journal:
        for number in range(count):
            journal.record(key(number), reply(number))


def holds(path: Path, count: int) -> bool:
    with Journal(path) as journal:
        found = [journal.reply(key(number)) for number in range(count)]
        assert all(one in (None, reply(number)) for number, one in enumerate(found))
        assert len(journal) == sum(one is not None for one in found)
        return None not in found


def test_round_trip(tmp_path: Path) -> None:
    filled(tmp_path / "deep" / "j", 30)
    assert holds(tmp_path / "deep" / "j", 30)
    with Journal(tmp_path / "deep" / "j") as journal:
        assert key(3) in journal
        assert key(31) not in journal
        assert journal.reply(key(31)) is None
        assert journal.form(key(3)) is None, "a form is no reply"
        journal.record_form(key(3), Form.PLAIN, "max_tokens")
        journal.record(key(3), reply(4))
    with Journal(tmp_path / "deep" / "j") as journal:
        assert journal.form(key(3)) == (Form.PLAIN, "max_tokens")
        assert journal.reply(key(3)) == reply(4), "the later one counts"
        assert len(journal) == 30


def test_a_failure_is_not_recorded(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as journal, pytest.raises(ValueError, match="asked again"):
        journal.record(key(0), Reply("", failure="reset"))
    assert (tmp_path / "j").read_bytes() == b""


def test_truncated_at_every_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every whole line is found, and recording goes on, to be found in its turn."""
    monkeypatch.setattr(os, "fsync", int)  # does nothing: a thousand waits would prove no more
    filled(tmp_path / "whole", 5)
    content = (tmp_path / "whole").read_bytes()
    ends = [at + 1 for at, byte in enumerate(content) if byte == ord("\n")]
    assert len(ends) == 5
    path = tmp_path / "cut"
    for size in range(len(content) + 1):
        path.write_bytes(content[:size])
        whole = sum(end - 1 <= size for end in ends)
        with Journal(path) as journal:
            assert len(journal) == whole
            assert [journal.reply(key(n)) for n in range(whole)] == [reply(n) for n in range(whole)]
            assert journal.ignored_lines == (size not in {0, *ends, *(end - 1 for end in ends)})
            journal.record(key(9), reply(9))
            assert journal.reply(key(9)) == reply(9)
        assert path.read_bytes().startswith(content[:size]), "nothing that stands is changed"
        with Journal(path) as journal:
            assert len(journal) == whole + 1
            assert journal.reply(key(9)) == reply(9)


def test_a_flipped_bit_loses_one_line_and_no_more(tmp_path: Path) -> None:
    filled(tmp_path / "whole", 3)
    content = (tmp_path / "whole").read_bytes()
    path = tmp_path / "flipped"
    for at in range(0, len(content), 3):
        flipped = bytearray(content)
        flipped[at] ^= 1 << at % 8
        path.write_bytes(flipped)
        # A newline flipped joins two lines; a byte flipped to one makes two of one.
        lost = 2 if content[at] == ord("\n") and at < len(content) - 1 else 1
        with Journal(path) as journal:
            assert len(journal) >= 3 - lost
            for number in range(3):
                assert journal.reply(key(number)) in (None, reply(number))


@pytest.mark.parametrize(
    "junk",
    [b"{}\n", b"null\n", b"\xff\xfe\n", b'{"sum":"0123456789abcdef","kind":"reply"}\n', b"\n"],
)
def test_foreign_lines_are_left_aside(tmp_path: Path, junk: bytes) -> None:
    filled(tmp_path / "j", 2)
    content = (tmp_path / "j").read_bytes()
    (tmp_path / "j").write_bytes(junk + content + junk)
    assert holds(tmp_path / "j", 2)


def test_two_processes_refuse_each_other(tmp_path: Path) -> None:
    script = (
        "import sys; from ifdkit.reflection.journal import Journal\n"
        "from ifdkit.errors import OutputError\n"
        "try: Journal(sys.argv[1])\n"
        "except OutputError as error: sys.exit(str(error))"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "j")]
    with Journal(tmp_path / "j"):
        held = subprocess.run(command, capture_output=True, text=True)
        with pytest.raises(OutputError, match="held by another run"):
            Journal(tmp_path / "j")
    assert held.returncode == 1
    assert "held by another run" in held.stderr
    assert subprocess.run(command).returncode == 0, "free again"


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="cannot be opened"):
        Journal(tmp_path / "folder")


def test_a_full_disk_loses_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a line is written, then no more; the next record starts afresh."""
    write = journal_module._write

    def half(stream: IO[bytes], data: bytes) -> None:
        write(stream, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    with Journal(tmp_path / "j") as journal:
        journal.record(key(0), reply(0))
        with monkeypatch.context() as patch:
            patch.setattr(journal_module, "_write", half)
            with pytest.raises(OutputError, match="No space left"):
                journal.record(key(1), reply(1))
        assert journal.reply(key(1)) is None
        journal.record(key(2), reply(2))
        assert [journal.reply(key(n)) for n in range(3)] == [reply(0), None, reply(2)]
    with Journal(tmp_path / "j") as journal:
        assert [journal.reply(key(n)) for n in range(3)] == [reply(0), None, reply(2)]


def test_a_record_is_on_the_disk_before_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bytes] = []
    sync = os.fsync

    def watched(descriptor: int) -> None:
        sync(descriptor)
        synced.append((tmp_path / "j").read_bytes())

    monkeypatch.setattr(os, "fsync", watched)
    with Journal(tmp_path / "j") as journal:
        synced.clear()
        for number in range(3):
            journal.record(key(number), reply(number))
            assert len(synced) == number + 1
            assert synced[-1].count(b"\n") == number + 1


def test_tasks_share_a_wait_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = 0
    sync = os.fsync

    def counted(descriptor: int) -> None:
        nonlocal waits
        waits += 1
        sync(descriptor)

    async def run(journal: Journal) -> None:
        recorder = Recorder(journal)

        async def one(number: int) -> None:
            await recorder.record(key(number), reply(number))
            assert journal.reply(key(number)) == reply(number)

        await asyncio.gather(*map(one, range(200)))

    with Journal(tmp_path / "j") as journal:
        monkeypatch.setattr(os, "fsync", counted)
        asyncio.run(run(journal))
    assert 1 <= waits <= 10
    assert holds(tmp_path / "j", 200)


def test_what_cancelled_tasks_had_in_hand_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They wait for the disk, behind one that is writing, when Ctrl-C comes."""
    write, go_on = journal_module._write, threading.Event()

    def slow(stream: IO[bytes], data: bytes) -> None:
        go_on.wait(10)
        write(stream, data)

    async def run(journal: Journal) -> None:
        recorder = Recorder(journal)
        tasks = [asyncio.create_task(recorder.record(key(n), reply(n))) for n in range(5)]
        await asyncio.sleep(0.05)
        tasks += [asyncio.create_task(recorder.record(key(n), reply(n))) for n in range(5, 9)]
        await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        go_on.set()
        recorder.flush()
        recorder.flush()  # which finds nothing more

    monkeypatch.setattr(journal_module, "_write", slow)
    with Journal(tmp_path / "j") as journal:
        asyncio.run(run(journal))
    assert holds(tmp_path / "j", 9)


def test_a_write_that_fails_fails_every_task_that_shared_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(stream: IO[bytes], data: bytes) -> None:
        raise OSError(28, "No space left on device")

    async def run(journal: Journal) -> list[BaseException | None]:
        recorder = Recorder(journal)
        many = (recorder.record(key(number), reply(number)) for number in range(5))
        return list(await asyncio.gather(*many, return_exceptions=True))

    monkeypatch.setattr(journal_module, "_write", full)
    with Journal(tmp_path / "j") as journal:
        assert {type(one) for one in asyncio.run(run(journal))} == {OutputError}
        assert len(journal) == 0


def test_memory_holds_no_texts(tmp_path: Path) -> None:
    """A thousand replies of 10 kB: well under a tenth of their size, opened or recorded."""
    replies = [(key(number), Reply("x" * 10_000)) for number in range(1000)]
    for _ in range(2):
        tracemalloc.start()
        with Journal(tmp_path / "j") as journal:
            if not len(journal):
                for first in range(0, 1000, 50):
                    journal.record_all(replies[first : first + 50])
            now, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert now < 1_000_000


DYING = """
import asyncio, os, sys
from pathlib import Path
from ifdkit.reflection import journal as module
from ifdkit.reflection.journal import Journal
from tests.test_reflection_oracle import Oracle, Server, call

point, url, path = sys.argv[1:]
die = lambda *_: os._exit(9)
write, sync, ask = module._write, os.fsync, Oracle._attempt

def in_the_middle(stream, data):
    write(stream, data[: len(data) // 2])
    die()

def after_it(stream, data):
    write(stream, data)
    die()

def after_the_disk(descriptor):
    sync(descriptor)
    die()

async def replied(*arguments):
    await ask(*arguments)
    die()

async def run():
    with Journal(Path(path)) as journal:
        async with Oracle(Server("m", url, api_key_env=None), journal) as oracle:
            await oracle.ask(call(0))
            if point == "before it is sent": Oracle._attempt = die
            if point == "after the reply": Oracle._attempt = replied
            if point == "in the middle of writing": module._write = in_the_middle
            if point == "after writing": module._write = after_it
            if point == "after the disk has it": os.fsync = after_the_disk
            await oracle.ask(call(1))
            die()

asyncio.run(run())
"""
POINTS = {
    # where it dies: whether the server has answered, and whether the journal holds the reply
    "before it is sent": (False, False),
    "after the reply": (True, False),
    "in the middle of writing": (True, False),
    "after writing": (True, True),  # the system has it: only a power cut could take it away
    "after the disk has it": (True, True),
    "never": (True, True),
}


@pytest.mark.long
@pytest.mark.parametrize("point", POINTS)
def test_killed_at_every_point_of_a_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """What is recorded is not asked again; what was lost is asked once more."""
    from tests.test_reflection_oracle import call

    answered, kept = POINTS[point]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([os.fspath(Path(__file__).parents[1])]))
    with OracleServer() as server:
        command = [sys.executable, "-c", DYING]
        path = os.fspath(tmp_path / "j")
        died = subprocess.run([*command, point, server.base_url, path])
        assert died.returncode == 9
        assert len(server.calls) == 1 + answered
        with Journal(path) as journal:
            assert call(0).key in journal
            assert (call(1).key in journal) == kept
        server.seen.clear()
        again = subprocess.run([*command, "never", server.base_url, path])
        assert again.returncode == 9
        assert len(server.seen) == (not kept)
        with Journal(path) as journal:
            assert len(journal) == 2
            assert journal.ignored_lines == (point == "in the middle of writing")
