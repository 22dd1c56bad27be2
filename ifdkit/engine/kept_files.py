"""Small files in the user's cache, and how the file that one is about is recognised."""

from __future__ import annotations

import secrets
from contextlib import suppress
from pathlib import Path


def file_state(path: Path) -> str:
    """The place of a file, its inode, size and times: a file with the same is unchanged.

    Users cannot set the last time.
    """
    found = path.stat()
    numbers = found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
    return f"{path.resolve()} {' '.join(map(str, numbers))}"


def keep_file(file: Path, content: bytes) -> None:
    """Write a file under another name, then give it its own: it is complete or not there.

    Raises OSError; then nothing is left.
    """
    # Without an ending, by which others would take it for one of theirs.
    unfinished = file.with_name(f".{secrets.token_hex(8)}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(content)
        unfinished.replace(file)
    except OSError:
        with suppress(OSError):
            unfinished.unlink()
        raise
