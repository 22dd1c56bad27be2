"""What a first pass over all rows of a dataset shows: their number, their keys and their labels."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from ifdkit.data.columns import normal_name
from ifdkit.data.layouts import LAYOUTS, OPTIONAL_COLUMNS
from ifdkit.data.marks import yes_or_no
from ifdkit.data.raw import Raw
from ifdkit.data.turns import kind_of

_MAX_KEYS = 10_000
"""Different keys that are remembered; beyond it, only those with known names are."""
_MAX_KEY_LENGTH = 200
_LIST_NAMES = frozenset(
    name
    for layout in LAYOUTS
    if layout.contains_lists
    for names in layout.columns.values()
    for name in names
)
_KNOWN_NAMES = frozenset(
    name
    for columns in (OPTIONAL_COLUMNS, *(layout.columns for layout in LAYOUTS))
    for names in columns.values()
    for name in names
)


class Survey:
    """Counts rows and collects the keys of all of them, in bounded memory."""

    def __init__(self, given: Collection[str]) -> None:
        """`given`: the columns that the user names."""
        self.n_rows = 0
        self.n_readable = 0
        self.keys: dict[str, None] = {}
        """The keys of all rows, in the order in which they appear."""
        self.unfilled: set[str] = set()
        """Keys that are null in every row."""
        self.lists: set[str] = set()
        """Of the keys for which it matters, those with a list in at least one row."""
        self.first_error: str | None = None
        self.first_kind: str | None = None
        """The kind of the first row that is not an object, if no row is one."""
        self._given = frozenset(given)
        self._labels: dict[str, _Labels] = {}
        self._checks: list[Callable[[Mapping[str, Any]], None]] = []

    def add(self, raw: Raw) -> None:
        """Look at the next row."""
        row, self.n_rows = self.n_rows, self.n_rows + 1
        if raw.error is not None:
            self.first_error = self.first_error or raw.error
            return
        self.n_readable += 1
        value = raw.value
        if not isinstance(value, Mapping):
            self.first_kind = self.first_kind or kind_of(value)
            return
        if not value.keys() <= self.keys.keys():
            self._add_keys(value)
        if self.unfilled:
            self.unfilled -= {key for key in self.unfilled if value.get(key) is not None}
        for key, labels in self._labels.items():
            labels.add(row, value.get(key))
        for check in self._checks:
            check(value)

    def _add_keys(self, keys: Iterable[Any]) -> None:
        for key in keys:
            name = str(key)
            is_known = key in self._given or normal_name(name[:_MAX_KEY_LENGTH]) in _KNOWN_NAMES
            has_space = len(self.keys) < _MAX_KEYS and len(name) <= _MAX_KEY_LENGTH
            if key in self.keys or not (is_known or has_space):
                continue
            self.keys[key] = None
            self.unfilled.add(key)
            if key in self._given or normal_name(name) in OPTIONAL_COLUMNS["label"]:
                self._labels[key] = _Labels()
            if normal_name(name) in _LIST_NAMES:
                self._checks.append(self._list_check(key))

    def _list_check(self, key: str) -> Callable[[Mapping[str, Any]], None]:
        def check(value: Mapping[str, Any]) -> None:
            one = value.get(key)
            is_text = isinstance(one, str) and one.startswith("[")  # as CSV files store lists
            if is_text or (isinstance(one, (list, tuple)) and one):
                self.lists.add(key)

        return check

    @property
    def filled(self) -> list[str]:
        """The keys that are not null in every row."""
        return [key for key in self.keys if key not in self.unfilled]

    @property
    def labels(self) -> set[str]:
        """The keys that say yes or no in every row that has them."""
        return {key for key, one in self._labels.items() if one.is_label}

    def rows_of_false(self, label: str) -> bytes:
        """A byte for each row up to the last one in which a label is false: 1 if it is, else 0."""
        return bytes(self._labels[label].is_false)


class _Labels:
    """The values of a column that may say which rows are good examples."""

    def __init__(self) -> None:
        self.is_label = True
        self.is_false = bytearray()

    def add(self, row: int, value: Any) -> None:
        if not self.is_label or value is None or value == "":
            return
        label = yes_or_no(value)
        if label is None:
            self.is_label, self.is_false = False, bytearray()
        elif not label:
            self.is_false.extend(bytes(row - len(self.is_false)))
            self.is_false.append(1)
