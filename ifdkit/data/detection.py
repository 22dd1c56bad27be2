"""Which columns of a dataset fill which slots, found from the names of its columns."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from ifdkit.data.layouts import (
    LAYOUTS,
    OPTIONAL_COLUMNS,
    SHAPES,
    Candidates,
    Columns,
    shape_of,
)
from ifdkit.errors import AmbiguousFormatError, InputError, UsageError


def detect(keys: Collection[str], where: str, given: Mapping[str, str] | None = None) -> Columns:
    """Find the column of each slot; columns in `given` take precedence, "" leaves a slot empty.

    `where` names the dataset in messages. Raises AmbiguousFormatError with the flag to type if
    there are two readings, InputError if there is none, UsageError if a given column is missing.
    """
    given = given or {}
    unknown = [key for key in given.values() if key and key not in keys]
    if unknown and keys:
        raise UsageError(f"{where} has no column {unknown[0]!r}; it has {_listed(keys)}")
    if {"row", "turn", "status", "nll_response_direct"} <= set(keys):
        raise InputError(f"{where} is a scores file, without the texts that scoring needs")
    found = _candidates(keys, given)
    for layout in LAYOUTS:
        if layout.reassign:
            layout.reassign(found)
    _keep_one_shape(found, given, where)
    for slot, candidates in found.items():
        if len(candidates) > 1:
            raise _ambiguous(where, [f"{slot}={key}" for key in candidates])
    columns = Columns(**{slot: names[0] for slot, names in found.items() if names})
    if shape_of(columns) is None:
        raise InputError(
            f"{where}: no known pair of columns among {_listed(keys)}; name them with --columns"
            " instruction=…,response=…"
        )
    return columns


def _candidates(keys: Collection[str], given: Mapping[str, str]) -> Candidates:
    """The columns that may fill each slot: the given one, else all that have a known name."""
    known: dict[str, list[str]] = {slot: [] for shape in SHAPES for slot in shape.slots}
    for layout in LAYOUTS:
        for slot, names in layout.columns.items():
            known[slot] += names if layout.reassign is None else ()
    known |= {slot: list(names) for slot, names in OPTIONAL_COLUMNS.items()}
    free = [key for key in keys if key not in given.values()]
    return {
        slot: [given[slot]]
        if given.get(slot)
        else [key for key in dict.fromkeys(names) if key in free and slot not in given]
        for slot, names in known.items()
    }


def _keep_one_shape(found: Candidates, given: Mapping[str, str], where: str) -> None:
    """Empty the slots of every shape but one: a given one, else the only one that can be filled.

    Raises AmbiguousFormatError if several can be filled and none is given.
    """
    asked = [
        shape
        for shape in SHAPES
        if any(key in given.values() for slot in shape.slots for key in found[slot])
    ]
    complete = [shape for shape in asked or SHAPES if all(found[slot] for slot in shape.slots)]
    if not asked and len(complete) > 1:
        raise _ambiguous(
            where,
            [",".join(f"{slot}={found[slot][0]}" for slot in shape.slots) for shape in complete],
        )
    kept = complete[:1] or asked or SHAPES
    slots = {slot for shape in kept for slot in (*shape.slots, *shape.optional)}
    for shape in SHAPES:
        for slot in (*shape.slots, *shape.optional):
            if slot not in slots:
                found[slot] = []


def _ambiguous(where: str, readings: list[str]) -> AmbiguousFormatError:
    choices = " or ".join(f"--columns {reading}" for reading in readings)
    return AmbiguousFormatError(f"{where} can be read in {len(readings)} ways: choose {choices}")


def _listed(keys: Iterable[str]) -> str:
    names = [repr(key) for key in keys]
    return ", ".join(names[:12]) + (", …" if len(names) > 12 else "") if names else "none"
