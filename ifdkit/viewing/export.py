"""`ifdkit view --export atlas`: a Parquet file that `embedding-atlas` opens as it is.

embedding-atlas FILE --x projection_x --y projection_y --neighbors neighbors --text text
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from ifdkit.data.atomic import OutputFiles, valid_text
from ifdkit.errors import InputError
from ifdkit.viewing.maps import places_of
from ifdkit.viewing.session import Session

N_NEIGHBORS = 15
MAX_WITH_NEIGHBORS = 50_000
"""Of more rows no neighbors are written: finding them takes time with the square of the rows."""


def export_atlas(session: Session, output: Path) -> list[str]:
    """Write the rows of a session that has been read; the words of the command that opens them.

    Raises InputError if the rows have no map, and OutputError.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table, n = session.table, session.table.n
    places = places_of(table)
    if not places:
        raise InputError(f"{session.source.title}: {session.embedded.note}")
    columns: dict[str, Any] = {"id": [valid_text(one) for one in table.ids]}
    texts = session.texts[-1]
    if texts.n >= n:
        both = [
            (asked, answered)
            for _, instructions, responses in texts.texts()
            for asked, answered in zip(instructions, responses, strict=True)
        ]
        columns["text"] = [f"{asked}\n\n{answered}" for asked, answered in both[:n]]
    for name in table.names:
        if table.is_number(name):
            columns[name] = session.queries.numbers(name, n)
        elif name not in columns:
            column = session.queries.coded(name, n)
            entries = column.dictionary.texts.tolist()
            columns[name] = [entries[code] for code in column.codes.tolist()]
    columns["projection_x"], columns["projection_y"] = (
        session.queries.numbers(name, n) for name in places[-2:]
    )
    command = ["embedding-atlas", str(output), "--x", "projection_x", "--y", "projection_y"]
    if len(session.embedded.vectors) == n <= MAX_WITH_NEIGHBORS:
        rows, distances = session.embedded.all_nearest(N_NEIGHBORS)
        columns["neighbors"] = pa.array(
            [
                {"ids": own, "distances": far}
                for own, far in zip(rows.tolist(), np.maximum(distances, 0).tolist(), strict=True)
            ],
            pa.struct([("ids", pa.list_(pa.int64())), ("distances", pa.list_(pa.float64()))]),
        )
        command += ["--neighbors", "neighbors"]
    if "text" in columns:
        command += ["--text", "text"]
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, compression="zstd")
    with OutputFiles(output) as files:
        files.write("", file.getvalue())
    return command
