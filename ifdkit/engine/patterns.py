"""Regular expressions in the settings of a model, which peft and transformers match with names.

One that backtracks without end, such as `(\\w+)+!`, stops the process that matches it.  So each is
first matched with the names of the model's modules in a process that is ended at a limit.  The
libraries then do the same, with the same module of Python.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ifdkit.engine import pattern_worker as worker
from ifdkit.errors import ModelError
from ifdkit.visible import one_line

MAX_SECONDS = 20
"""A real pattern takes a microsecond for each name, and a model has up to some 10,000."""
_REPEATS = re.compile(r"[*+?{]")
"""What a pattern must contain to match in more ways than its length allows."""


def check_patterns(name: str, file: str, settings: Any, names: Callable[[], Iterable[str]]) -> None:
    """Raise ModelError if a text in the settings takes too long to match as a pattern.

    `file` is where they are from, `names` those of the modules of the model `name`, asked for if
    there are patterns.  All texts count, keys too: which of them are patterns differs between
    versions of the libraries.
    """
    patterns = patterns_in(settings)
    if not patterns:
        return
    job = json.dumps({"patterns": patterns, "names": list(names())}) + "\n"
    try:
        done = subprocess.run(
            # -I keeps modules of the working folder out, -S the code in .pth files.
            [sys.executable, "-I", "-S", worker.__file__],
            input=job.encode(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            timeout=MAX_SECONDS, check=False, start_new_session=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        shown = one_line(repr(max(patterns, key=len)), 100)
        raise ModelError(
            f"model {name}: {file} has a pattern that takes more than {MAX_SECONDS} s to match with"
            f" the names of its modules, such as {shown}"
        ) from error
    if done.returncode:
        raise ModelError(f"model {name}: {file} has a pattern that cannot be matched")


def patterns_in(settings: Any) -> list[str]:
    """The texts in the settings that may be patterns, and that may take long to match."""
    return list(dict.fromkeys(one for one in _texts(settings) if _REPEATS.search(one)))


def _texts(value: Any) -> Iterator[str]:
    """Every text at any depth, keys included."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            waiting += [*one.keys(), *one.values()]
        elif isinstance(one, list):
            waiting += one
