"""What writes the rows of a dataset, in any format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ifdkit.data.raw import Raw

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Appended:
    """Columns that a written file has besides those of its source."""

    names: tuple[str, ...] = ()
    """None of them is a column of the source."""
    arrow_types: Callable[[], Sequence[pa.DataType]] = tuple
    """The type of each, for Parquet."""

    def __bool__(self) -> bool:
        return bool(self.names)


class RowsWriter(Protocol):
    """Writes rows in the order of the file that they come from."""

    def write(self, raw: Raw, value: Any, cells: Sequence[Any] = ()) -> bool:
        """Write a row with this value, which is `raw.value` itself if nothing changed.

        `cells` are those of the appended columns: numbers, text, None, or lists of these. Returns
        False if the row is left out because it is malformed and cannot be copied either.
        """
        ...

    def next_source(self, source: Path | None, first_row: int) -> None:
        """Go on with the rows of another file; `first_row` is the position of its first row."""
        ...

    def finish(self) -> None:
        """Complete the content. The caller closes the file."""
        ...
