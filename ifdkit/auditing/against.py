"""The instructions of an evaluation set, in whatever format it comes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from os import PathLike

from ifdkit.data.dataset import Dataset, open_dataset
from ifdkit.errors import InputError, UsageError
from ifdkit.records import Reject
from ifdkit.scoring.progress import Progress

_WITHOUT_RESPONSE = ("instruction", "prompt", "question", "query")
"""Columns that are enough: an evaluation set need not hold answers, nor answers that are text."""


def read_against(
    files: Iterable[str | PathLike[str]], progress: Progress
) -> dict[str, Sequence[str]]:
    """File → its instructions, each once. Raises InputError where a file shows none."""
    found: dict[str, Sequence[str]] = {}
    for file in files:
        found[str(file)] = texts = _instructions(str(file))
        progress.note(f"against {file}: {len(texts):,} instructions")
    return found


def _instructions(file: str) -> list[str]:
    problem: InputError | None = None
    try:
        texts = _texts(open_dataset(file))
    except InputError as error:
        texts, problem = [], error
    for column in _WITHOUT_RESPONSE if not texts else ():
        try:
            # The column stands for the response too, which nobody looks at.
            texts = _texts(open_dataset(file, columns={"instruction": column, "response": column}))
        except (InputError, UsageError):
            continue
        if texts:
            break
    if texts:
        return texts
    raise InputError(f"--against {file}: {problem or 'not one instruction can be read there'}")


def _texts(dataset: Dataset) -> list[str]:
    """Its instructions in the order of the file, each once."""
    examples = (one for found in dataset if not isinstance(found, Reject) for one in found)
    return list(dict.fromkeys(one.instruction for one in examples if one.instruction.strip()))
