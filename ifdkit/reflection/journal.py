"""Replies kept for ever: an append-only file of JSON lines, keyed by the content of the call.

Each line is one event, and is on the disk before anyone is told of it:

    {"sum":"<16 hex>","kind":"reply","key":"<64 hex>","value":{"text":"…", …}}

`sum` begins the SHA-256 of all that follows it, so that half a line, or a line with one wrong bit,
is no event.  A crash can tear the last line alone; whoever opens the file next starts on a fresh
line and never changes what stands there.  Memory holds a digest and an offset an event, no text.

A `Recorder` lets many tasks share one wait for the disk.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import IO, Any

from ifdkit.errors import OutputError
from ifdkit.reflection.outcomes import Form, Reply

log = logging.getLogger(__name__)

_HEAD = b'{"sum":"'
_SUM_HEX = 16
_BODY_AT = len(_HEAD) + _SUM_HEX
_KINDS = ("reply", "form")
_REPLY_FIELDS = tuple(one.name for one in fields(Reply) if one.name != "failure")


class Journal:
    """Replies, and the form that a server honours, under the keys of what was asked."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open or create the journal at `path`, and hold it against every other process.

        Raises OutputError where another run holds it, or it cannot be read or written.
        """
        self.path = Path(path)
        self.ignored_lines = 0
        """Lines that are no event: torn by a crash, or damaged."""
        self._offsets: dict[str, dict[bytes, int]] = {kind: {} for kind in _KINDS}
        self._end = 0
        self._ends_with_newline = True
        self._writing = threading.Lock()
        with self._errors("opened"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            is_new = not self.path.exists()
            # Unbuffered: what `write` has returned from is with the system, for `fsync` to push.
            self._file: IO[bytes] = self.path.open("a+b", buffering=0)
            self._reader: IO[bytes] = self.path.open("rb", buffering=0)
            try:
                _lock(self._file, self.path)
                self._read()
                if is_new:
                    _sync_folder(self.path.parent)
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Close the file and let others have it, once a thread that writes is done."""
        with self._writing:
            self._reader.close()
            self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        """How many replies it holds."""
        return len(self._offsets["reply"])

    def __contains__(self, key: str) -> bool:
        """Whether there is a reply to the call with this key."""
        return bytes.fromhex(key) in self._offsets["reply"]

    def reply(self, key: str) -> Reply | None:
        """The reply to the call with this key, None where there is none."""
        value = self._value("reply", key)
        return None if value is None else Reply(**{name: value[name] for name in _REPLY_FIELDS})

    def record(self, key: str, reply: Reply) -> None:
        """Keep a reply; it is on the disk when this returns.

        A failure is no reply: ValueError.
        """
        self.record_all([(key, reply)])

    def record_all(self, replies: Sequence[tuple[str, Reply]]) -> None:
        """Keep several replies with one wait for the disk. From any one thread at a time."""
        if any(reply.failure is not None for _, reply in replies):
            raise ValueError("a failure is asked again, not recorded")
        self._append("reply", [(key, _value_of(reply)) for key, reply in replies])

    def form(self, key: str) -> tuple[Form, str] | None:
        """The form that a server honours, and its name for the limit on completion tokens."""
        value = self._value("form", key)
        return None if value is None else (Form(value["form"]), value["limit"])

    def record_form(self, key: str, form: Form, limit: str) -> None:
        """Keep what probing a server has shown."""
        self._append("form", [(key, {"form": form, "limit": limit})])

    def _append(self, kind: str, events: Sequence[tuple[str, dict[str, Any]]]) -> None:
        lines = [_line(kind, key, value) for key, value in events]
        with self._writing, self._errors("written"):
            # A fresh line where a crash, or a full disk a moment ago, has left half of one.
            start = b"" if self._ends_with_newline else b"\n"
            self._ends_with_newline = False
            _write(self._file, start + b"".join(lines))
            os.fsync(self._file.fileno())
            self._ends_with_newline = True
            self._end += len(start)
            for (key, _), line in zip(events, lines, strict=True):
                self._offsets[kind][bytes.fromhex(key)] = self._end
                self._end += len(line)

    def _value(self, kind: str, key: str) -> dict[str, Any] | None:
        offset = self._offsets[kind].get(bytes.fromhex(key))
        if offset is None:
            return None
        with self._errors("read"):
            self._reader.seek(offset)
            event = _event(b"".join(_line_from(self._reader)))
        if event is None:
            raise OutputError(
                f"the journal {self.path} has changed at byte {offset} since it was opened; let"
                " nothing else write to it"
            )
        value: dict[str, Any] = event["value"]
        return value

    def _read(self) -> None:
        """Find every event; a later one on the same key counts."""
        offset = 0
        line = b"\n"
        with self.path.open("rb") as stream:
            for line in stream:
                event = _event(line)
                if event is not None:
                    self._offsets[event["kind"]][bytes.fromhex(event["key"])] = offset
                elif line.strip():
                    self.ignored_lines += 1
                offset += len(line)
        self._end = offset
        self._ends_with_newline = line.endswith(b"\n")
        if self.ignored_lines:
            log.warning(
                "%s: %d torn or damaged lines are left aside", self.path, self.ignored_lines
            )

    @contextmanager
    def _errors(self, done: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if done == "written":
                self._end = os.fstat(self._file.fileno()).st_size
            raise OutputError(
                f"the journal {self.path} cannot be {done}: {error}; what it holds is kept, and"
                " the same command goes on from there"
            ) from error


@dataclass
class _Batch:
    replies: list[tuple[str, Reply]] = field(default_factory=list)
    is_kept: bool = False


class Recorder:
    """Records the replies of many tasks: those that come during one wait share the next."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._batch = _Batch()
        self._turn = asyncio.Lock()

    async def record(self, key: str, reply: Reply) -> None:
        """Keep a reply; it is on the disk when this returns."""
        batch = self._batch
        batch.replies.append((key, reply))
        async with self._turn:
            if batch.is_kept:
                return
            if batch is self._batch:
                self._batch = _Batch()
            # In a thread: the disk takes milliseconds, in which others can talk to the oracle.
            await asyncio.to_thread(self._journal.record_all, batch.replies)
            batch.is_kept = True

    def flush(self) -> None:
        """Keep what tasks that were cancelled had in hand: it came, and may have to be paid."""
        batch, self._batch = self._batch, _Batch()
        if batch.replies:
            self._journal.record_all(batch.replies)


def _value_of(reply: Reply) -> dict[str, Any]:
    return {name: getattr(reply, name) for name in _REPLY_FIELDS}


def _line(kind: str, key: str, value: dict[str, Any]) -> bytes:
    body = json.dumps(
        {"kind": kind, "key": key, "value": value}, separators=(",", ":"), allow_nan=False
    ).encode()
    rest = b'",' + body[1:]
    return _HEAD + _sum(rest) + rest + b"\n"


def _sum(rest: bytes) -> bytes:
    return hashlib.sha256(rest).hexdigest()[:_SUM_HEX].encode()


def _event(line: bytes) -> dict[str, Any] | None:
    """The event on a line, None where the line is torn, damaged or of another kind."""
    line = line.removesuffix(b"\n")
    rest = line[_BODY_AT:]
    if not line.startswith(_HEAD) or line[len(_HEAD) : _BODY_AT] != _sum(rest):
        return None
    event: dict[str, Any] = json.loads(line)
    return event if event["kind"] in _KINDS else None


def _line_from(stream: IO[bytes]) -> Iterator[bytes]:
    """One line from where an unbuffered stream stands, in blocks."""
    while block := stream.read(1 << 16):
        head, newline, _ = block.partition(b"\n")
        yield head
        if newline:
            return


def _write(stream: IO[bytes], data: bytes) -> None:
    """Write all of it: an unbuffered stream may take less at a time."""
    while data:
        data = data[stream.write(data) :]


def _sync_folder(folder: Path) -> None:
    """Make a new file's name as lasting as its content."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lock(stream: IO[bytes], path: Path) -> None:
    """Hold the file until it is closed or the process ends, however it ends."""
    try:
        if sys.platform == "win32":
            import msvcrt

            # A byte far beyond the end, since a locked one cannot be read by others.
            stream.seek(1 << 40)
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        raise OutputError(
            f"the journal {path} is held by another run; wait for it to end, or name another output"
        ) from None
