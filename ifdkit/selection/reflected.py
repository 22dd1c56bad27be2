"""The student's choice among reflected variants, read from the provenance of a dataset.

`ifdkit reflect --select` records beside its output what the student chose for every example.  The
published selection (2402.10110, section 3.3, and its scripts) trains on the rows whose reflected
response was accepted.  All others are dropped, also those of which only the instruction is new.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ifdkit.data.dataset import Dataset
from ifdkit.errors import InputError, UsageError
from ifdkit.regular import open_regular
from ifdkit.selection.rows import Rows
from ifdkit.selection.verdict import KEPT, Reasons, fill_reasons

_VARIANTS_WITH_RESPONSE = ("response", "both")
_NO_NEW, _NOT_ACCEPTED = "no_new_response", "response_not_taken"


@dataclass(frozen=True, slots=True)
class _StudentChoice:
    """What the student chose for one row."""

    row: int
    """Position in the dataset that was reflected on, which may be a larger one."""
    texts: tuple[str, str]
    """Instruction and response, as written to the output."""
    reason: str


def accepted_responses(rows: Rows, provenance: Path) -> Reasons:
    """Keep the rows whose new response the student accepted.

    Raises InputError if the provenance cannot be read, has no choices, or describes other rows.
    """
    choices = _choices(provenance)
    waiting = next(choices, None)
    if waiting is None:
        raise InputError(
            f"{provenance} has no choices of a student: they are made by `ifdkit reflect --select`"
        )
    reasons = fill_reasons(len(rows), _NO_NEW)
    for place in range(len(rows)):
        # Both are in file order, so a choice belongs to the next row with the same texts.
        if waiting is not None and rows.last(place) == waiting.texts:
            reasons[place] = waiting.reason
            waiting = next(choices, None)
    if waiting is not None:
        raise InputError(
            f"{provenance} describes other rows: row {waiting.row}, for which the student made a"
            " choice, is not in this dataset; give the matching file with --provenance"
        )
    return reasons


def provenance_of(given: str | Path | None, dataset: Dataset) -> Path:
    """The file of the student's choices: beside the dataset, unless another one is given."""
    if given is not None:
        return Path(given)
    if dataset.path is None:
        raise UsageError(
            f"{dataset.name} is not a file: give its provenance with --provenance FILE"
        )
    return Path(f"{dataset.path}.provenance.jsonl")


def _choices(provenance: Path) -> Iterator[_StudentChoice]:
    number = 0
    try:
        with open_regular(provenance) as file:
            for text in file:
                number += 1
                line = json.loads(text)
                if line["stage"] == "choice":
                    yield _choice(line)
    except FileNotFoundError:
        raise InputError(
            f"no such file: {provenance}; selective needs the output of `ifdkit reflect --select`"
            " with its provenance beside it, or --provenance FILE"
        ) from None
    except OSError as error:
        raise InputError(f"{provenance}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{provenance}, line {number}, is not from a provenance file of `ifdkit reflect`"
        ) from error


def _choice(line: dict[str, Any]) -> _StudentChoice:
    variant = line["variants"][line["variant"]]
    if line["variant"] in _VARIANTS_WITH_RESPONSE:
        reason = KEPT
    else:
        reason = _NO_NEW if line["why_response"] is None else _NOT_ACCEPTED
    texts = variant["instruction"], variant["response"]
    return _StudentChoice(int(line["row"]), texts, reason)
