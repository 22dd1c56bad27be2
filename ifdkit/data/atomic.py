"""The one place that writes output files, and strict JSON.

Files that belong together appear together.  Each is written under a temporary name in its folder
and synced; only when all are complete are they renamed, in phases:

    1. what describes the old output, such as its manifest, is removed
    2. the output is replaced
    3. what describes the new output appears, the manifest last

So whenever the process is killed, no manifest stands beside an output of another run.  If a phase
fails, what it and the phases before it changed is restored from hard links.

Everything here goes through `os`, so that tests can make any single step fail.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import io
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ifdkit.data.locks import output_lock
from ifdkit.data.places import check_place
from ifdkit.errors import OutputError

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from _typeshed import ReadableBuffer

_UNFINISHED = ".inprogress"
INCOMPLETE = "INCOMPLETE"
"""A file in the folder of a report while its files are being replaced."""
_INCOMPLETE_TEXT = b"The files of this report were being replaced: save it again.\n"
_BUFFER_BYTES = 2**16

Phase = Mapping[Path, bool]
"""Path → whether the file staged for it takes its place, or else it is removed."""


class OutputFiles:
    """The files of one run, locked against other runs: the output, and companions named after it.

        with OutputFiles(output, ".rejects.jsonl", ".manifest.json") as files:
            files.open().write(rows)
            files.write(".manifest.json", json_file({"output_sha256": files.sha256()}))

    They appear when the block ends.  If it raises, nothing has changed.  A companion that the run
    did not write is removed, as it describes an earlier output.
    """

    def __init__(self, output: Path, *companions: str) -> None:
        """`companions` are what is appended to the name of the output; the manifest comes last."""
        self.output = output
        self._companions = [Path(f"{output}{one}") for one in companions]
        self._group = _FileGroup()
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        """Raise OutputError if the files could not be written, or another run writes them."""
        check_place(self.output, self._companions)
        self._exits.enter_context(output_lock(self.output))
        for path in self.paths:
            _remove_leftovers(path)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._exits, self._group:
            if kind is None:
                self._commit()

    @property
    def paths(self) -> list[Path]:
        """The output and its companions, whether they exist or not."""
        return [self.output, *self._companions]

    def open(self, companion: str = "", *, mode: int = 0o666) -> IO[bytes]:
        """A binary file that becomes the output or a companion; `mode` is masked by the umask.

        Raises OutputError, also later while writing.
        """
        path = Path(f"{self.output}{companion}")
        assert path == self.output or path in self._companions, "companions are declared"
        return self._group.open(path, mode)

    def write(self, companion: str, content: bytes) -> None:
        """Write a companion in one go. Raises OutputError."""
        self.open(companion).write(content)

    def write_lines(self, companion: str, values: Iterable[Any]) -> None:
        """Write a companion as JSON Lines. Without values it will not exist."""
        file: IO[bytes] | None = None
        for value in values:
            file = file or self.open(companion)
            file.write(json_line(value))

    def sha256(self) -> str:
        """Hex digest of what this run wrote as its output, which must be complete."""
        return self._group.sha256(self.output)

    def _commit(self) -> None:
        present = [path for path in self._companions if os.path.lexists(path)]
        staged = [path for path in self._companions if path in self._group]
        output = {self.output: True} if self.output in self._group else {}
        phases = (dict.fromkeys(present, False), output, dict.fromkeys(staged, True))
        self._group.commit([one for one in phases if one], str(self.output))


class _FileGroup:
    """Temporary files, and the steps by which they take the place of others."""

    def __init__(self) -> None:
        self._files: dict[Path, IO[bytes]] = {}
        self._temporary: dict[Path, str] = {}
        self._links: dict[Path, str] = {}
        """Path → a hard link to the file that was there before the commit."""
        self._touched: dict[Path, bool] = {}
        """Path that a step may have changed → whether there was a file before."""

    def __contains__(self, path: Path) -> bool:
        return path in self._files

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Remove what is left of the temporary files."""
        for file in self._files.values():
            with suppress(OSError, OutputError):
                file.close()
        for name in (*self._temporary.values(), *self._links.values()):
            with suppress(OSError):
                os.unlink(name)

    def open(self, path: Path, mode: int = 0o666) -> IO[bytes]:
        assert path not in self._files, f"{path} is written once"
        self._temporary[path] = _temporary_name(path)
        raw = _RawFile(path, self._temporary[path], mode)
        file = self._files[path] = io.BufferedWriter(raw, _BUFFER_BYTES)
        return file

    def sha256(self, path: Path) -> str:
        self._files[path].flush()
        try:
            with Path(self._temporary[path]).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise _output_error(path, error) from error

    def commit(self, phases: Sequence[Phase], name: str) -> None:
        """Make the files durable, then apply the phases, each of which is synced.

        All is applied or nothing; `name` is what the files are called in the message if restoring
        the old ones fails.  Raises OutputError.
        """
        for path, file in self._files.items():
            try:
                file.flush()
                os.fsync(file.fileno())
                file.close()
            except OSError as error:
                raise _output_error(path, error) from error
        try:
            self._keep_links([path for phase in phases for path in phase])
            for number, phase in enumerate(phases):
                self._apply(phase)
                try:
                    _sync_folders(phase)
                except OSError as error:
                    if number < len(phases) - 1:
                        raise _output_error(next(iter(phase)), error) from error
                    raise _not_durable(name, error) from error
        except BaseException as error:
            if self._is_complete(phases):
                raise
            what = f"{error}; " if isinstance(error, OutputError) else ""
            if not self._restore():
                raise OutputError(
                    f"{what}the earlier files could not be restored, so {name} is incomplete: run"
                    " the command again"
                ) from error
            if what:
                raise OutputError(f"{what}the files are as they were before") from error
            raise

    def _keep_links(self, paths: Iterable[Path]) -> None:
        """Link what is there under temporary names.

        A file system without hard links, such as exFAT, has no links to restore from.
        """
        for path in dict.fromkeys(paths):
            if not os.path.lexists(path) or path in self._links:
                continue
            link = _temporary_name(path)
            self._links[path] = link
            try:
                os.link(path, link, follow_symlinks=False)
            except (OSError, NotImplementedError) as error:
                del self._links[path]
                if isinstance(error, OSError) and error.errno not in _NO_LINKS:
                    raise _output_error(path, error) from error

    def _apply(self, phase: Phase) -> None:
        for path, is_placed in phase.items():
            # Noted before the step, which may be done when an interrupt arrives.
            self._touched.setdefault(path, os.path.lexists(path))
            try:
                if is_placed:
                    os.replace(self._temporary[path], path)
                else:
                    os.unlink(path)
            except OSError as error:
                raise _output_error(path, error) from error

    def _is_complete(self, phases: Sequence[Phase]) -> bool:
        """Whether all steps are done, so that only the last sync can have failed."""
        final = {path: is_placed for phase in phases for path, is_placed in phase.items()}
        return not any(
            os.path.lexists(self._temporary[path] if is_placed else path)
            for path, is_placed in final.items()
        )

    def _restore(self) -> bool:
        """Undo the steps, the last one first; whether everything is as it was."""
        try:
            for path, was_there in reversed(self._touched.items()):
                if path in self._links:
                    os.replace(self._links[path], path)  # nothing happens if it is the same file
                elif not was_there:
                    with suppress(FileNotFoundError):
                        os.unlink(path)
                elif not os.path.lexists(self._temporary.get(path, path)):
                    return False  # replaced or removed, and there was no link to it
        except OSError:
            return False
        with suppress(OSError):
            _sync_folders(self._touched)
        return True


class _RawFile(io.FileIO):
    """A new file whose errors are those of the output that it will become."""

    def __init__(self, path: Path, temporary: str, mode: int) -> None:
        self._path = path
        try:
            super().__init__(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode))
        except OSError as error:
            raise _output_error(path, error) from error

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return os.write(self.fileno(), data)
        except OSError as error:
            raise _output_error(self._path, error) from error


_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
"""Errors of a file system that has no hard links."""


def replace_in_folder(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Replace files of a folder; while some are old and some new, it has a file `INCOMPLETE`.

    Raises OutputError; then nothing has changed.
    """
    marker, paths = folder / INCOMPLETE, [folder / name for name in contents]
    for path in (marker, *paths):
        _remove_leftovers(path)
    with _FileGroup() as group:
        for path, content in zip(paths, contents.values(), strict=True):
            group.open(path).write(content)
        group.open(marker).write(_INCOMPLETE_TEXT)
        group.commit(({marker: True}, dict.fromkeys(paths, True), {marker: False}), str(folder))


def create_folder(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Create a folder with these files; it appears when they are complete. Raises OutputError."""
    _remove_leftovers(folder)
    staged = Path(_temporary_name(folder))
    try:
        os.mkdir(staged)
        for name, content in contents.items():
            with io.BufferedWriter(_RawFile(folder / name, str(staged / name), 0o666)) as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        _sync_folders([staged / "any"])
        os.rename(staged, folder)
    except BaseException as error:
        shutil.rmtree(staged, ignore_errors=True)
        if isinstance(error, OSError):
            raise _output_error(folder, error) from error
        raise
    try:
        _sync_folders([folder])
    except OSError as error:
        raise _not_durable(str(folder), error) from error


def _temporary_name(path: Path) -> str:
    """A new name in the same folder, with the process id by which a later run finds leftovers."""
    return str(path.parent / f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}{_UNFINISHED}")


def _remove_leftovers(path: Path) -> None:
    """Remove temporary files that earlier runs left for this path.

    The caller has the path locked.  Files of other live processes are kept: an earlier version of
    ifdkit did not lock.
    """
    if os.name != "posix":
        return
    for left in path.parent.glob(f".{glob.escape(path.name)}.*{_UNFINISHED}"):
        owner = left.name.removeprefix(f".{path.name}.").split(".")[0]
        if owner.isdecimal() and (int(owner) == os.getpid() or not _is_running(int(owner))):
            with suppress(OSError):
                shutil.rmtree(left) if left.is_dir() else os.unlink(left)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)  # signal 0 only checks that the process exists
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _output_error(path: Path, error: OSError) -> OutputError:
    return OutputError(f"cannot write {path}: {error.strerror or error}")


def _not_durable(name: str, error: OSError) -> OutputError:
    return OutputError(
        f"{name} is complete, but a power failure may undo it: its folder cannot be synced:"
        f" {error.strerror or error}"
    )


def _sync_folders(paths: Iterable[Path]) -> None:
    """Make renames durable, on systems where a folder can be opened."""
    if os.name != "posix":
        return
    for folder in {path.parent for path in paths}:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def dumps(value: Any, **options: Any) -> str:
    """Strict JSON with non-ASCII text unescaped. Raises ValueError for NaN and infinity."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, **options)


quoted = json.encoder.encode_basestring
"""`dumps` of a text, many times faster."""


def encoded_json(text: str) -> bytes:
    r"""JSON text in UTF-8; a lone surrogate, which UTF-8 lacks, becomes its JSON escape \uXXXX."""
    return text.encode(errors="backslashreplace")


def valid_text(value: Any) -> Any:
    """Text that UTF-8 can encode: a lone surrogate becomes its escape. Other values as they are."""
    is_text = isinstance(value, str) and not value.isascii()
    return value.encode(errors="backslashreplace").decode() if is_text else value


def json_file(value: Any) -> bytes:
    """The content of an indented JSON file."""
    return encoded_json(dumps(value, indent=2)) + b"\n"


def json_line(value: Any) -> bytes:
    """One line of a JSON Lines file."""
    return encoded_json(dumps(value)) + b"\n"
