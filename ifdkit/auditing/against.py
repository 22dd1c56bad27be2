"""The instructions or documents of evaluation sets, in any format that datasets have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from os import PathLike

from ifdkit.data.dataset import Dataset, open_dataset
from ifdkit.errors import InputError, UsageError
from ifdkit.format import plural
from ifdkit.records import Reject
from ifdkit.scoring.progress import Progress

_INSTRUCTION_COLUMNS = ("instruction", "prompt", "question", "query")
"""One is enough: an evaluation set may have no answers, or answers that are not text."""


def read_against(
    files: Iterable[str | PathLike[str]], progress: Progress
) -> dict[str, Sequence[str]]:
    """File → its distinct instructions, or documents. Raises InputError if a file has none."""
    found: dict[str, Sequence[str]] = {}
    for file in files:
        found[str(file)] = texts = _texts_of(str(file))
        progress.note(f"against {file}: {plural(len(texts), 'text')}")
    return found


def _texts_of(file: str) -> list[str]:
    problem: InputError | None = None
    texts: list[str] = []
    documents: list[str] = []
    try:
        dataset = open_dataset(file)
        if dataset.has_documents:
            documents = _texts(dataset)
        else:
            texts = _texts(dataset)
    except InputError as error:
        problem = error
    for column in _INSTRUCTION_COLUMNS if not texts else ():
        try:
            # The column serves as the response too, which is not used.
            texts = _texts(open_dataset(file, columns={"instruction": column, "response": column}))
        except (InputError, UsageError):
            continue
        if texts:
            break
    # A question beside a text is the instruction; `documents` are the texts.
    if texts := texts or documents:
        return texts
    raise InputError(f"--against {file}: {problem or 'no instruction can be read from it'}")


def _texts(dataset: Dataset) -> list[str]:
    """The distinct instructions or documents, in the order of the file."""
    examples = (one for found in dataset if not isinstance(found, Reject) for one in found)
    texts = (one.response if one.is_document else one.instruction for one in examples)
    return list(dict.fromkeys(text for text in texts if text.strip()))
