"""Datasets with hand-made scores, written as a scores file with its manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ifdkit.data.atomic import OutputFiles, json_file
from ifdkit.data.dataset import open_dataset
from ifdkit.data.sources import sha256
from ifdkit.records import Reject
from ifdkit.scoring.formats import row_writer
from ifdkit.scoring.manifest import MANIFEST
from ifdkit.scoring.metrics import METRICS
from ifdkit.scoring.rows import ScoreRow
from tests.manifests import make_manifest

Numbers = Sequence[float | None]


def rows_like(n: int, **columns: Sequence[Any]) -> list[dict[str, Any]]:
    """`n` rows with different texts, and further columns."""
    return [
        {"id": f"r{i}", "instruction": f"Say {i}", "output": f"It is {i}."}
        | {name: values[i] for name, values in columns.items()}
        for i in range(n)
    ]


def scored(
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    *,
    statuses: Sequence[str] | None = None,
    manifest: Mapping[str, Any] | None = None,
    numbers: Mapping[str, Numbers] | None = None,
    **more: Numbers,
) -> Path:
    """A scores file of `rows`: field → one number per example; a token is a word."""
    columns = {**(numbers or {}), **more}
    data, output = folder / "data.jsonl", folder / "data.scores.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    dataset = open_dataset(data)
    examples = [one for found in dataset if not isinstance(found, Reject) for one in found]
    lines = []
    for i, example in enumerate(examples):
        n_words = {
            "instruction_words": len(example.instruction.split()),
            "response_words": len(example.response.split()),
        }
        lengths = {name.replace("words", "tokens"): n for name, n in n_words.items()}
        values: dict[str, Any] = {name: column[i] for name, column in columns.items()}
        numbers_of_row = {**n_words, **lengths, "truncated_tokens": 0, **values}
        lines.append(
            ScoreRow(
                id=example.id,
                row=example.row,
                turn=example.turn,
                status=statuses[i] if statuses else "ok",
                reason=None,
                numbers={name: numbers_of_row.get(name) for name in METRICS},
            )
        )
    with OutputFiles(output, MANIFEST) as files:
        with row_writer(files, token_nll=False) as writer:
            writer.write(lines)
        made = make_manifest(
            input=str(data),
            input_sha256=sha256(data),
            output_sha256=files.sha256(),
            columns={k: v for k, v in asdict(dataset.columns).items() if v},
            **(manifest or {}),
        )
        files.write(MANIFEST, json_file(made.as_json()))
    return output
