"""One run of the viewer: reads the files in the background and answers what the page asks."""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ifdkit.errors import IfdkitError, UsageError
from ifdkit.report.comparison.wording import definition, metric_of
from ifdkit.topics.layouts import LayoutName
from ifdkit.viewing.checks import add_summarized, check_texts
from ifdkit.viewing.details import Details
from ifdkit.viewing.embedded import NO_TEXTS, RowVectors
from ifdkit.viewing.maps import places_of
from ifdkit.viewing.marks import Marks
from ifdkit.viewing.query import Findings, Queries, Query, Range
from ifdkit.viewing.sources import ViewedData
from ifdkit.viewing.table import ColumnTable
from ifdkit.viewing.texts import TextStore
from ifdkit.viewing.tokens import TokenReader
from ifdkit.visible import one_line

log = logging.getLogger(__name__)

MAX_ROWS_PER_PAGE = 200
MAX_FACET_VALUES = 40
"""Columns with more different values have no menu."""
MAX_FACETS = 4
PREVIEW_CHARACTERS = 240
N_NEAREST = 8
_SUFFIXES = {"_before": ", before", "_after": ", after", "_change": ", change"}


class Session:
    """The rows of a source. Requests may come from any thread."""

    def __init__(
        self,
        source: ViewedData,
        marks: Marks,
        given: Mapping[str, Any],
        *,
        on_demand: bool = False,
        map_layout: LayoutName = "pca",
    ) -> None:
        """`given` are the settings for the tokens of a row; see :class:`TokenReader`."""
        self.source, self.marks = source, marks
        self.table, self.findings = ColumnTable(), Findings()
        self.stage = "reading"
        """`reading`, `checking` (everything but the findings is there), `mapping` (everything but
        the asked layout of the map), `done` or `failed`."""
        self.problem: str | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="ifdkit-view-"))
        self.texts: list[TextStore] = []
        for side in source.sides:
            folder = self._folder / (side.name or "texts")
            folder.mkdir()
            self.texts.append(TextStore(folder))
        self.embedded, self._given = RowVectors(), given
        self.map_layout: LayoutName = "pca"
        """Of the map that is shown."""
        self._map_layout = map_layout
        self.queries = Queries(self.table, self.texts, self.findings, marks)
        readers = [TokenReader(side, given, on_demand=on_demand) for side in source.sides]
        self.details = Details(source, self.table, self.texts, self.queries, self.findings, marks,
                               readers)  # fmt: skip
        self._readers = readers
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._load, name="reading", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def wait(self) -> None:
        """Wait until everything is read and checked."""
        self._thread.join()

    def close(self) -> None:
        """Stop reading and delete the temporary files."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=1)
        for reader in self._readers:
            reader.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _load(self) -> None:
        try:
            self._read()
            self.stage = "checking"
            self._check()
            self._embed()
            self._lay_out()
            self.stage = "done"
        except IfdkitError as error:
            self.problem, self.stage = str(error), "failed"
        except Exception as error:  # the page must say what ended the thread
            log.debug("reading failed", exc_info=True)
            self.problem = one_line(f"internal error: {type(error).__name__}: {error}")
            self.stage = "failed"

    def _read(self) -> None:
        for chunk in self.source.chunks():
            if self._stop.is_set():
                return
            for texts, examples in zip(self.texts, chunk.examples, strict=False):
                texts.append(examples)
            self.table.append(chunk)

    def _check(self) -> None:
        if self.source.kind != "comparison":
            check_texts(self.texts[0], self.findings, self._stop.is_set)
            return
        ids: dict[str, dict[str, list[int]]] = {"before": {}, "after": {}}
        for position, name in enumerate(self.table.ids):
            ids["before"].setdefault(name, []).append(position)
        after = self.texts[1]
        for position in range(self.table.n):
            name = after.example(position).id if after.n else self.table.ids[position]
            ids["after"].setdefault(name, []).append(position)
        add_summarized(self.findings, self.source.summary, ids)

    def _embed(self) -> None:
        """The map, the topics and the vectors of the nearest rows, as far as they are stored."""
        if not self.has_texts or self._stop.is_set():
            self.embedded.note = NO_TEXTS
            return
        self.embedded.load(self.source.sides[-1], self.texts[-1], self._given, self._stop.is_set)
        if len(self.embedded.vectors) and not places_of(self.table):
            self.embedded.add_topics(self.table, self.texts[-1])

    def _lay_out(self) -> None:
        """Replace the map's principal components, which are shown until then, if asked for."""
        is_own = self.source.kind != "comparison" and bool(places_of(self.table))
        if is_own and self._map_layout != self.map_layout and not self._stop.is_set():
            self.stage = "mapping"
            self.embedded.lay_out(self.table, self._map_layout)
            self.queries.forget()
            self.map_layout = self._map_layout

    def near(self, position: int) -> list[dict[str, Any]]:
        """The rows nearest to one. Raises UsageError."""
        if not 0 <= position < self.table.n:
            raise UsageError(f"there is no row {position}")
        return [
            {
                "position": at,
                "id": one_line(self.table.ids[at], 80),
                "cosine": round(cosine, 3),
                "texts": self._previews(at),
            }
            for at, cosine in self.embedded.nearest(position, N_NEAREST)
        ]

    @property
    def has_texts(self) -> bool:
        """Whether the texts of all sides are there."""
        return all(texts.n >= self.table.n for texts in self.texts)

    def state(self) -> dict[str, Any]:
        """What the page needs to draw its frame."""
        n = self.table.n
        summary = self.source.summary
        return {
            "title": one_line(self.source.title, 200),
            "kind": self.source.kind,
            "sides": [side.name for side in self.source.sides],
            "stage": self.stage,
            "problem": self.problem,
            "loaded": n,
            "expected": max(n, self.source.n_rows),
            "has_texts": self.has_texts,
            "columns": [self._described(name) for name in self.table.names],
            "facets": self._facets(n),
            "findings": self.findings.described(),
            "has_map": bool(places_of(self.table)) and self.stage != "reading",
            "map_layout": self.map_layout,
            "map_note": one_line(self.embedded.note, 300),
            "has_neighbors": len(self.embedded.vectors) > 0,
            "marks": self.marks.counts(),
            "marks_file": str(self.marks.path),
            "notes": [one_line(note, 400) for note in self.source.notes],
            "headline": one_line(str(summary.get("headline", "")), 1000),
        }

    def _described(self, name: str) -> dict[str, Any]:
        base, suffix = name, ""
        if self.source.kind == "comparison":
            suffix = next((one for one in _SUFFIXES if name.endswith(one)), "")
            base = name.removesuffix(suffix)
        metric = metric_of(base)
        is_known = metric.label != base
        return {
            "name": name,
            "label": metric.label + _SUFFIXES.get(suffix, "") if is_known else name,
            "short": (metric.short if is_known else base) + _SUFFIXES.get(suffix, ""),
            "definition": definition(base) if is_known else "",
            "is_number": self.table.is_number(name),
        }

    def _facets(self, n: int) -> list[dict[str, Any]]:
        found = []
        names = [name for name in self.table.names if self.table.has_values(name)]
        names = [name for name in names if self.table.n_values(name) <= MAX_FACET_VALUES + 1]
        for name in sorted(
            names, key=lambda name: not name.startswith(("status", "source", "topic"))
        ):
            column = self.table.coded(name, n)
            texts = [one for one in column.dictionary.texts.tolist() if one is not None]
            if name != "reason" and len(texts) > 1:
                found.append({"name": name, "values": sorted(map(str, set(texts)))})
        return found[:MAX_FACETS]

    def rows(
        self, query: Query, sort: str, begin: int, count: int, *, descending: bool,
        columns: Sequence[str],
    ) -> dict[str, Any]:  # fmt: skip
        """A page of rows in order. Raises UsageError."""
        n = self.table.n
        order = self.queries.order(query, sort, n, descending=descending)
        part = order[begin : begin + min(count, MAX_ROWS_PER_PAGE)].tolist()
        shown = {name: self._cells(name, n) for name in columns}
        return {
            "n": len(order),
            "total": n,
            "begin": begin,
            "rows": [
                {
                    "position": at,
                    "id": one_line(self.table.ids[at], 80),
                    "mark": self.marks.get(self.table.ids[at]),
                    "texts": self._previews(at),
                    "cells": [cells(at) for cells in shown.values()],
                    "findings": len(self.findings.of(at)),
                }
                for at in part
            ],
        }

    def _cells(self, name: str, n: int) -> Any:
        if self.queries.is_number(name):
            numbers = self.queries.numbers(name, n)
            return lambda at: None if numbers[at] != numbers[at] else float(numbers[at])
        column = self.queries.coded(name, n)
        entries = column.dictionary.texts.tolist()
        codes = column.codes
        return lambda at: None if (text := entries[codes[at]]) is None else one_line(text, 80)

    def _previews(self, at: int) -> list[str]:
        """The instruction and the response of the last side, each on one line."""
        texts = self.texts[-1]
        if at >= texts.n:
            return []
        return [one_line(one, PREVIEW_CHARACTERS)
                for one in texts.beginnings(at, 2 * PREVIEW_CHARACTERS)]  # fmt: skip

    def mark(self, position: int, mark: str | None) -> dict[str, Any]:
        """Mark a row; None takes its mark back. Raises UsageError, or OutputError."""
        if not 0 <= position < self.table.n:
            raise UsageError(f"there is no row {position}")
        self.marks.set(self.table.ids[position], mark)
        return {"marks": self.marks.counts()}


def query_of(value: Any) -> Query:
    """The query in a request. Raises UsageError for anything of another form."""
    try:
        return Query(
            where=str(value.get("where", "")),
            search=str(value.get("search", ""))[:1000],
            finding=str(value.get("finding", "")),
            mark=str(value.get("mark", "")),
            facets=tuple((str(name), str(one)) for name, one in value.get("facets", [])),
            ranges=tuple(Range(str(name), float(low), float(high))
                         for name, low, high in value.get("ranges", [])),
        )  # fmt: skip
    except (AttributeError, TypeError, ValueError) as error:
        raise UsageError("the query of the request is not valid") from error
