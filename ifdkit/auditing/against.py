"""The instructions of evaluation sets, in any format that datasets have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from os import PathLike

from ifdkit.data.dataset import Dataset, open_dataset
from ifdkit.errors import InputError, UsageError
from ifdkit.records import Reject
from ifdkit.scoring.progress import Progress

_INSTRUCTION_COLUMNS = ("instruction", "prompt", "question", "query")
"""One is enough: an evaluation set may have no answers, or answers that are not text."""


def read_against(
    files: Iterable[str | PathLike[str]], progress: Progress
) -> dict[str, Sequence[str]]:
    """File → its distinct instructions. Raises InputError if a file has none."""
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
    for column in _INSTRUCTION_COLUMNS if not texts else ():
        try:
            # The column serves as the response too, which is not used.
            texts = _texts(open_dataset(file, columns={"instruction": column, "response": column}))
        except (InputError, UsageError):
            continue
        if texts:
            break
    if texts:
        return texts
    raise InputError(f"--against {file}: {problem or 'no instruction can be read from it'}")


def _texts(dataset: Dataset) -> list[str]:
    """The distinct instructions in the order of the file."""
    examples = (one for found in dataset if not isinstance(found, Reject) for one in found)
    return list(dict.fromkeys(one.instruction for one in examples if one.instruction.strip()))
