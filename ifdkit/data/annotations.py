"""Annotations: two answers to one instruction, and which of them is preferred.

The format is AlpacaEval's, which `ifdkit judge` writes too: rows with `instruction`, `output_1`,
`output_2` and `preference`, a number from 1 (the first is preferred) to 2 (the second is), 1.5 or 0
for a tie, null if there is none.  Probabilities, such as 1.83, are preferences as well.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifdkit.data.chosen_part import ChosenPart, chosen_part
from ifdkit.data.containers import open_container
from ifdkit.data.options import ReadOptions
from ifdkit.data.raw import Raw
from ifdkit.data.spilling import Chosen, RecordColumn
from ifdkit.errors import InputError

TIE = 0.5
_TEXTS = ("instruction", "output_1", "output_2")


@dataclass(frozen=True, slots=True)
class Annotation:
    """One pair of answers and its preference."""

    instruction: str
    outputs: tuple[str, str]
    generators: tuple[str, str]
    """Who wrote them; empty if the file does not say."""
    preference: float | None
    """0…1: 0 if the first is preferred, 1 if the second is, 0.5 for a tie; None if missing."""


@dataclass(frozen=True, slots=True, eq=False)
class Annotations:
    """All annotations of a file, in its order. Those of a long file are read when asked for."""

    name: str
    """How messages refer to the file."""
    sha256: str | None
    rows: Sequence[Annotation]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def known(self) -> Sequence[Annotation]:
        """Those with a preference."""
        return Chosen(self.rows, np.flatnonzero(np.isfinite(preferences_of(self.rows))))

    @property
    def generators(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The distinct authors of the first and of the second answers, sorted."""
        both = {row.generators for row in self.rows}
        first, second = (sorted({names[i] for names in both} - {""}) for i in (0, 1))
        return tuple(first), tuple(second)


def part_of(annotations: Annotations, options: ReadOptions) -> tuple[Annotations, ChosenPart]:
    """The annotations of the limit and the sample, and what to say about them."""
    n_rows = len(annotations)
    part = chosen_part([n_rows], options)
    if part == ChosenPart():
        return annotations, part
    return replace(annotations, rows=Chosen(annotations.rows, options.positions(n_rows))), part


def preferences_of(rows: Iterable[Annotation]) -> NDArray[np.float64]:
    """Preferences 0…1 of annotations, NaN if missing, shape (n,)."""
    found = (math.nan if row.preference is None else row.preference for row in rows)
    return np.fromiter(found, dtype=np.float64)


def read_annotations(data: str | os.PathLike[str] | Iterable[Any]) -> Annotations:
    """Read annotations from a file (JSON, JSON Lines, CSV, Parquet) or from dictionaries.

    Raises InputError if it cannot be read, or names the first row that is not an annotation.
    """
    container = open_container(data)
    rows = RecordColumn(_annotation(container.name, raw) for raw in container.rows())
    if not len(rows):
        raise InputError(f"{container.name} contains no rows")
    return Annotations(container.name, container.sha256, rows)


def _annotation(name: str, raw: Raw) -> Annotation:
    place = f"{name}: row {raw.row}"
    if raw.error is not None:
        raise InputError(f"{place} cannot be read: {raw.error}")
    value = raw.value
    if not isinstance(value, Mapping):
        raise InputError(f"{place} is not an object with named fields")
    for key in _TEXTS:
        if not isinstance(value.get(key), str):
            raise InputError(
                f"{place} has no text {key!r}: annotations have instruction, output_1, output_2"
                " and preference, as AlpacaEval and `ifdkit judge` write them"
            )
    if "preference" not in value:
        raise InputError(f"{place} has no 'preference': a number from 1 to 2, or null")
    return Annotation(
        instruction=value["instruction"],
        outputs=(value["output_1"], value["output_2"]),
        generators=(_word(value.get("generator_1")), _word(value.get("generator_2"))),
        preference=_preference(place, value["preference"]),
    )


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _preference(place: str, value: Any) -> float | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and value == 0:
        return TIE  # older files of AlpacaEval write a tie as 0
    if not is_number or not 1 <= value <= 2:
        raise InputError(
            f"{place}: the preference is {str(value)[:40]!r}, and must be a number from 1 to 2, 0"
            " or 1.5 for a tie, or null"
        )
    return float(value) - 1
