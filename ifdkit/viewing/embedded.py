"""The embeddings behind the viewed rows: the map, the topics and the nearest rows.

Only stored embeddings are used, those that `coherence` was measured with: no model is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifdkit.errors import IfdkitError
from ifdkit.format import plural
from ifdkit.scoring.comparability import lookup_settings
from ifdkit.scoring.embeddings import stored_vectors
from ifdkit.scoring.scorer import Scorer
from ifdkit.scoring.settings import Settings
from ifdkit.topics.layouts import LayoutName
from ifdkit.topics.model import MIN_ROWS, fit
from ifdkit.topics.neighbors import all_nearest, nearest
from ifdkit.topics.titles import titles
from ifdkit.viewing.sources import ViewedSide
from ifdkit.viewing.table import ColumnTable
from ifdkit.viewing.texts import TextStore

MAX_ROWS = 200_000
"""Of more rows no embeddings are read: they take 800 bytes a row in memory."""
SEED = 0
_SCORE = "ifdkit score --metrics ppl,ifd,coherence"
NO_TEXTS = "no map: the texts are not here; put the dataset back where it was scored"
NO_SCORES = f"no map: the rows have no scores; run {_SCORE}, and view the scores file"
NO_COHERENCE = (
    "no map: the rows were scored without coherence, whose embeddings it shows; run"
    f" {_SCORE}{{then}}, and view the result"
)
OF_DOCUMENTS = "no map: it is of instructions and responses, and documents have no instruction"
NO_STORE = f"no map: the store has no embeddings of these rows; run {_SCORE} again, with this store"


@dataclass(eq=False)
class RowVectors:
    """One vector per row of the last side, of length 1; zeros where there is none."""

    vectors: NDArray[np.float16] = field(default_factory=lambda: np.zeros((0, 1), np.float16))
    note: str = ""
    """Why there is no map."""

    def load(
        self,
        side: ViewedSide,
        texts: TextStore,
        given: Mapping[str, Any],
        is_stopped: Callable[[], bool],
    ) -> None:
        """Read the vectors of all rows from the store; `note` says why there are none."""
        if side.manifest is None:
            self.note = NO_SCORES
            return
        if "text" in side.manifest.columns:
            self.note = OF_DOCUMENTS
            return
        if side.manifest.embedder is None:
            self.note = NO_COHERENCE.format(then=" and ifdkit compare" if side.name else "")
            return
        if texts.n > MAX_ROWS:
            self.note = (
                f"no map: of more than {MAX_ROWS:,} rows no embeddings are read; view a part, such"
                f" as that of ifdkit select --method random --top {MAX_ROWS}"
            )
            return
        try:
            made = Settings(**lookup_settings(side.manifest, given, ("coherence",)))
            with Scorer(made) as scorer:
                found = _vectors(scorer, side, texts, is_stopped)
        except (IfdkitError, TypeError) as error:
            self.note = (
                f"no map: the embedder of these scores is not available: {error}; install it, or"
                f" run {_SCORE} with another"
            )
            return
        if found is None:
            self.note = NO_STORE
            return
        self.vectors = found

    def add_topics(self, table: ColumnTable, texts: TextStore) -> None:
        """Add the columns `topic`, `map_x` and `map_y`, if there are enough rows for them."""
        vectors = self.vectors.astype(np.float32)
        model = fit(vectors, seed=SEED)
        if model is None:
            n = int(np.any(vectors, axis=1).sum())
            self.note = self.note or (
                f"no map: {plural(n, 'row')} with stored embeddings, and it takes {MIN_ROWS} that"
                f" differ; run {_SCORE} on more rows"
            )
            return
        labels, places = model.labels(vectors), model.positions(vectors)
        words = (asked for _, instructions, _ in texts.texts() for asked in instructions)
        names = [*titles(words, labels, len(model.centres)), None]
        table.add_numbers("map_x", places[:, 0])
        table.add_numbers("map_y", places[:, 1])
        table.add_values("topic", [names[label] for label in labels.tolist()])

    def lay_out(self, table: ColumnTable, layout: LayoutName) -> None:
        """Replace the places of the map by those of another layout. Raises UsageError."""
        model = fit(self.vectors.astype(np.float32), seed=SEED, layout=layout)
        assert model is not None, "there are topics"
        places = model.positions(self.vectors.astype(np.float32))
        table.add_numbers("map_x", places[:, 0])
        table.add_numbers("map_y", places[:, 1])

    def nearest(self, position: int, count: int) -> list[tuple[int, float]]:
        """The nearest rows of one, with their cosines."""
        if position >= len(self.vectors):
            return []
        return nearest(self.vectors, position, count)

    def all_nearest(self, count: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The nearest rows of every row, for an export."""
        return all_nearest(self.vectors.astype(np.float32), count)


def _vectors(
    scorer: Scorer, side: ViewedSide, texts: TextStore, is_stopped: Callable[[], bool]
) -> NDArray[np.float16] | None:
    """None if the store has none of them, or those of another embedder."""
    assert side.manifest is not None
    if scorer.embeddings is None or scorer.embeddings.hash != side.manifest.embedder_hash:
        return None
    found: NDArray[np.float16] | None = None
    for start, instructions, responses in texts.texts():
        if is_stopped():
            return None
        vectors = stored_vectors(scorer.embeddings, instructions, responses)
        if vectors.shape[1] > 1 and found is None:
            found = np.zeros((texts.n, vectors.shape[1]), dtype=np.float16)
        if found is not None and vectors.shape[1] == found.shape[1]:
            found[start : start + len(vectors)] = vectors
    return found
