"""The held-out NLLs of every run, by what the run depends on: a file beside the output.

A run is on the disk before its numbers are used.  Trials are deterministic, so a repetition makes
the same ones, takes from here what is known, and goes on where the first one ended.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ifdkit.data.atomic import json_line
from ifdkit.data.report_folder import write_file
from ifdkit.errors import OutputError
from ifdkit.regular import read_regular

SCHEMA = "ifdkit.tuning-runs/1"
_HEADER = json_line({"schema": SCHEMA})
_MAX_BYTES = 2**30


class RunJournal:
    """NLLs by key. The output that it belongs to is locked while it is open."""

    def __init__(self, path: Path) -> None:
        """Open or create it. Raises OutputError if it is something else or cannot be written."""
        self.path = path
        self._known: dict[str, NDArray[np.float64]] = {}
        try:
            path.parent.mkdir(exist_ok=True)
            content = read_regular(path, _MAX_BYTES) if path.exists() else None
        except OSError as error:
            raise self._error(error) from error
        if content is None:
            write_file(path, _HEADER)
        elif not content.startswith(_HEADER):
            raise OutputError(
                f"{path} is no journal of `select --tune`: move it, or choose another output"
            )
        else:
            self._read(content)

    def __len__(self) -> int:
        return len(self._known)

    def _read(self, content: bytes) -> None:
        """Take every whole line; what a killed run has left of one is cut off."""
        end = len(_HEADER)
        for line in content[end:].splitlines(keepends=True):
            try:
                found = json.loads(line)
                nlls = np.array(found["nlls"], dtype=np.float64)  # null is NaN
                key = str(found["key"])
            except (ValueError, KeyError, TypeError, RecursionError):
                break
            if not line.endswith(b"\n") or nlls.ndim != 1:
                break
            self._known[key] = nlls
            end += len(line)
        if end < len(content):
            try:
                os.truncate(self.path, end)
            except OSError as error:
                raise self._error(error) from error

    def get(self, key: str) -> NDArray[np.float64] | None:
        """The NLLs under this key, shape (held-out rows,); None if there are none."""
        return self._known.get(key)

    def put(self, key: str, run: str, nlls: NDArray[np.float64]) -> None:
        """Add a run, called `run`; it is on the disk when this returns. Raises OutputError."""
        values = [float(nll) if np.isfinite(nll) else None for nll in nlls]
        try:
            with self.path.open("ab") as file:
                file.write(json_line({"key": key, "run": run, "nlls": values}))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise self._error(error) from error
        self._known[key] = nlls

    def _error(self, error: OSError) -> OutputError:
        return OutputError(f"cannot write {self.path}: {error.strerror or error}")
