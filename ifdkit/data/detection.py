"""Which columns of a dataset fill which slots, found from the names of its columns."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from ifdkit.data.columns import SLOTS, Columns, normal_name
from ifdkit.data.layouts import (
    LAYOUTS,
    OPTIONAL_COLUMNS,
    OTHER_SIDE,
    SHAPES,
    Candidates,
    Layout,
    Shape,
    shape_of,
)
from ifdkit.data.messages import ROLE_KEYS
from ifdkit.errors import AmbiguousFormatError, InputError, UsageError, unknown


@dataclass(frozen=True, slots=True)
class Found:
    """The columns of a dataset, and what is known of their values."""

    keys: Collection[str]
    where: str
    """The name of the dataset in messages."""
    lists: Collection[str] | None = None
    """The columns that contain lists; None if that is not known."""
    labels: Collection[str] | None = None
    """The columns that say yes or no in every row; None if that is not known."""
    is_python: bool = False
    """Whether messages name arguments of Python rather than flags."""


def detect(found: Found, given: Mapping[str, str] | None = None) -> Columns:
    """Find the column of each slot; columns in `given` take precedence, "" leaves a slot empty.

    Raises AmbiguousFormatError with what to type if there are two readings, InputError if there is
    none, UsageError if a given column is missing.
    """
    given = given or {}
    _check_given(found, given)
    if {"row", "turn", "status", "nll_response_direct"} <= set(found.keys):
        raise InputError(f"{found.where} is a scores file, without the texts that scoring needs")
    for choice in sorted({one.choice for one in LAYOUTS}):
        candidates = _candidates(found, given, [one for one in LAYOUTS if one.choice <= choice])
        if _complete(candidates, _asked(candidates, given) or SHAPES):
            break
    _keep_one_shape(candidates, found, given)
    for slot, names in candidates.items():
        if len(names) > 1:
            raise _ambiguous(found, [{slot: name} for name in names])
    chosen = {slot: names[0] for slot, names in candidates.items() if names}
    chosen |= _other_side(chosen, found, given)
    columns = replace(Columns(), **chosen)  # type: ignore[arg-type]  # slots only
    if shape_of(columns) is None:
        raise InputError(_nothing_known(found, given))
    return columns


def _check_given(found: Found, given: Mapping[str, str]) -> None:
    for slot, key in given.items():
        if slot not in SLOTS:
            raise UsageError(f"columns: {unknown('name', slot, SLOTS)}")
        if key and found.keys and key not in found.keys:
            problem = unknown("column", key, found.keys)
            if "did you mean" not in problem:
                problem = f"no column {key!r}; it has {_listed(found.keys)}"
            raise UsageError(f"{found.where} has {problem}")
    label = given.get("label")
    if label and found.labels is not None and label not in found.labels:
        raise UsageError(
            f"{found.where}: column {label!r} is not true or false in every row, so it is no label"
        )


def _candidates(found: Found, given: Mapping[str, str], layouts: Iterable[Layout]) -> Candidates:
    """The columns that may fill each slot: the given one, else all that have a known name."""
    names: dict[str, list[str]] = {slot: [] for shape in SHAPES for slot in shape.slots}
    only_lists: set[str] = set()
    layouts = tuple(layouts)
    for layout in layouts:
        for slot, known in layout.columns.items():
            names[slot] += known if layout.reassign is None else ()
            only_lists.update(known if layout.contains_lists else ())
    names |= {slot: list(known) for slot, known in OPTIONAL_COLUMNS.items()}
    by_name: dict[str, list[str]] = {}
    for key in found.keys:
        name = normal_name(key)
        is_usable = name not in only_lists or found.lists is None or key in found.lists
        if is_usable and key not in given.values():
            by_name.setdefault(name, []).append(key)
    candidates = {
        slot: [given[slot]]
        if given.get(slot)
        else [
            key
            for name in dict.fromkeys(known)
            for key in by_name.get(name, ())
            if slot not in given
        ]
        for slot, known in names.items()
    }
    if "label" not in given:
        candidates["label"] = [
            key for key in candidates["label"] if found.labels is None or key in found.labels
        ]
    for layout in layouts:
        if layout.reassign:
            layout.reassign(candidates)
    if "text" not in given and any(normal_name(key) in ROLE_KEYS for key in found.keys):
        candidates["text"] = []  # the rows are messages, which someone said
    return candidates


def _asked(candidates: Candidates, given: Mapping[str, str]) -> list[Shape]:
    """The shapes that have a given column."""
    return [
        shape
        for shape in SHAPES
        if any(key in given.values() for slot in shape.slots for key in candidates[slot])
    ]


def _complete(candidates: Candidates, shapes: Iterable[Shape]) -> list[Shape]:
    """The shapes that can be filled."""
    return [shape for shape in shapes if all(candidates[slot] for slot in shape.slots)]


def _keep_one_shape(candidates: Candidates, found: Found, given: Mapping[str, str]) -> None:
    """Empty the slots of every shape but one: a given one, else the only one that can be filled.

    Raises AmbiguousFormatError if several can be filled and none is given.
    """
    asked = _asked(candidates, given)
    complete = _complete(candidates, asked or SHAPES)
    if not asked and len(complete) > 1:
        readings = [{slot: candidates[slot][0] for slot in shape.slots} for shape in complete]
        raise _ambiguous(found, readings)
    kept = complete[:1] or asked or SHAPES
    slots = {slot for shape in kept for slot in (*shape.slots, *shape.optional)}
    slots |= {"label"} if given.get("label") else set()
    for shape in SHAPES:
        for slot in (*shape.slots, *shape.optional):
            if slot not in slots:
                candidates[slot] = []


def _other_side(
    chosen: Mapping[str, str], found: Found, given: Mapping[str, str]
) -> dict[str, str]:
    """The other side of a preference pair, if one side is read."""
    if "other_side" in given:
        return {"other_side": given["other_side"]} if given["other_side"] else {}
    side = chosen.get("messages") or chosen.get("response") or ""
    wanted = OTHER_SIDE.get(normal_name(side))
    key = next((key for key in found.keys if normal_name(key) == wanted), None)
    return {"other_side": key} if key else {}


def _nothing_known(found: Found, given: Mapping[str, str]) -> str:
    """Why no shape can be filled, and what to type."""
    filled = [slot for slot, key in given.items() if key]
    lacking = next((s for shape in SHAPES for s in shape.slots
                    if s not in filled and set(shape.slots) & set(filled)), None)  # fmt: skip
    if lacking is not None:
        columns = {**{slot: given[slot] for slot in filled}, lacking: "…"}
        return (
            f"{found.where}: no column is known to be the {lacking} among {_listed(found.keys)};"
            f" name it too: {_typed(found, columns)}"
        )
    return (
        f"{found.where}: no known pair of columns among {_listed(found.keys)}; name them with"
        f" {_typed(found, {'instruction': '…', 'response': '…'})}, or a column of documents with"
        f" {_typed(found, {'text': '…'})}"
    )


def _typed(found: Found, columns: Mapping[str, str]) -> str:
    """What to type to name these columns."""
    if found.is_python:
        return f"columns={dict(columns)!r}"
    return f"--columns {','.join(f'{slot}={key}' for slot, key in columns.items())}"


def _ambiguous(found: Found, readings: list[dict[str, str]]) -> AmbiguousFormatError:
    choices = " or ".join(_typed(found, reading) for reading in readings)
    return AmbiguousFormatError(
        f"{found.where} can be read in {len(readings)} ways: choose {choices}"
    )


def _listed(keys: Iterable[str]) -> str:
    names = [repr(key) for key in keys]
    return ", ".join(names[:12]) + (", …" if len(names) > 12 else "") if names else "none"
