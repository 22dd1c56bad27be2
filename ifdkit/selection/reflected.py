"""The student's choice among reflected variants, read back from where a dataset comes from.

`ifdkit reflect --select` writes beside its output what the student made of every example.  The
published selection (2402.10110, section 3.3, and its scripts) trains on the rows whose response was
reflected and taken; all others are discarded, also those of which the instruction alone is new.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ifdkit.errors import InputError
from ifdkit.selection.methods import KEPT, Reasons, Verdict
from ifdkit.selection.rows import Rows

_TAKES_RESPONSE = ("response", "both")
_NO_NEW, _NOT_TAKEN = "no_new_response", "response_not_taken"


@dataclass(frozen=True, slots=True)
class _Choice:
    """What the student chose for one row."""

    row: int
    """Position in the dataset that was reflected on, which may be a larger one."""
    texts: tuple[str, str]
    """Instruction and response, as they stand in the output."""
    reason: str


def taken(rows: Rows, provenance: Path) -> Verdict:
    """Rows whose new response the student took.

    Raises InputError where the provenance cannot be read, holds no choice, or describes other rows.
    """
    choices = _choices(provenance)
    waiting = next(choices, None)
    if waiting is None:
        raise InputError(
            f"{provenance} tells of no student's choice: it is `ifdkit reflect --select` that asks"
            " one"
        )
    reasons: Reasons = np.full(len(rows), _NO_NEW, dtype="<U32")
    for place in range(len(rows)):
        # Both are in the order of the file, so a choice belongs to the next row that reads so.
        if waiting is not None and rows.last(place) == waiting.texts:
            reasons[place] = waiting.reason
            waiting = next(choices, None)
    if waiting is not None:
        raise InputError(
            f"{provenance} describes other rows: what the student chose for row {waiting.row} is"
            " not in this dataset; name the file that belongs to it with --provenance"
        )
    return Verdict(reasons=reasons)


def _choices(provenance: Path) -> Iterator[_Choice]:
    number = 0
    try:
        with provenance.open("rb") as file:
            for text in file:
                number += 1
                line = json.loads(text)
                if line["stage"] == "choice":
                    yield _choice(line)
    except FileNotFoundError:
        raise InputError(
            f"no such file: {provenance}; selective needs the output of `ifdkit reflect --select`"
            " and the provenance beside it, or --provenance FILE"
        ) from None
    except OSError as error:
        raise InputError(f"{provenance}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{provenance}, line {number}, is no line of a provenance that `ifdkit reflect` wrote"
        ) from error


def _choice(line: dict[str, Any]) -> _Choice:
    variant = line["variants"][line["variant"]]
    if line["variant"] in _TAKES_RESPONSE:
        reason = KEPT
    else:
        reason = _NO_NEW if line["why_response"] is None else _NOT_TAKEN
    return _Choice(int(line["row"]), (variant["instruction"], variant["response"]), reason)
