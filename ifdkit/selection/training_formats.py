"""`select --to`: the kept rows in the form that a trainer reads.

alpaca, llamafactory   instruction, input, output; of conversations also history and system
trl                    messages, each with a role and a content

`llamafactory` also adds the file to `dataset_info.json` in its folder, which LLaMA-Factory reads.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ifdkit.data.atomic import OutputFiles, dumps, encoded_json, json_file
from ifdkit.data.dataset import Dataset
from ifdkit.data.report_folder import write_file
from ifdkit.errors import OutputError, UsageError
from ifdkit.records import Example, Reject
from ifdkit.regular import read_regular

FORMATS = ("alpaca", "trl", "llamafactory")
INFO = "dataset_info.json"
_COLUMNS = {"prompt": "instruction", "query": "input", "response": "output"}
_MAX_INFO_BYTES = 2**24


def check_format(to: str, output: Path) -> None:
    """Raise UsageError for an unknown form, or an output that is not JSON."""
    if to not in FORMATS:
        raise UsageError(f"--to {to}: choose {', '.join(FORMATS)}")
    if output.suffix not in (".json", ".jsonl"):
        raise UsageError(f"-o {output}: --to {to} writes JSON; end it in .json or .jsonl")


def write_converted(dataset: Dataset, kept: Collection[int], files: OutputFiles, to: str) -> None:
    """Write the kept rows, given by their positions in the input, in their order."""
    is_lines, file, n = files.output.suffix == ".jsonl", files.open(), 0
    for raw, found in dataset.read_with_raw():
        if isinstance(found, Reject) or raw.row not in kept or not found:
            continue
        lead = "" if is_lines else ("[\n" if not n else ",\n")
        end = "\n" if is_lines else ""
        file.write(encoded_json(lead + dumps(converted(found[-1], to)) + end))
        n += 1
    if not is_lines:
        file.write(b"\n]\n" if n else b"[]\n")


def converted(example: Example, to: str) -> dict[str, Any]:
    """One row; its conversation ends with the response of the example. Raises UsageError."""
    if example.is_document:
        raise UsageError(f"--to {to}: {example.id} is a text document, not a conversation")
    if to == "trl":
        turns = [{"role": turn.role, "content": _text(turn.text, turn.input)}
                 for turn in example.context]  # fmt: skip
        return {"messages": [*turns, {"role": "assistant", "content": example.response}]}
    user = example.last_user_turn
    row: dict[str, Any] = {
        "instruction": user.text if user else "",
        "input": user.input if user else "",
        "output": example.response,
    }
    system = "\n\n".join(turn.text for turn in example.context if turn.role == "system")
    if system:
        row["system"] = system
    if history := _history(example):
        row["history"] = history
    return row


def _history(example: Example) -> list[list[str]]:
    """The exchanges before the last instruction, as pairs of instruction and response."""
    pairs: list[list[str]] = []
    asked: str | None = None
    for turn in example.context:
        if turn.role == "user":
            asked = _text(turn.text, turn.input)
        elif turn.role == "assistant" and asked is not None:
            pairs.append([asked, turn.text])
            asked = None
    return pairs


def _text(text: str, more: str) -> str:
    return f"{text}\n{more}" if more else text


def add_to_info(output: Path) -> Path:
    """Add the output to `dataset_info.json` beside it, and keep its other entries.

    Raises OutputError if the file there is not such a list.
    """
    path = output.with_name(INFO)
    known: Any = {}
    if path.exists():
        try:
            known = json.loads(read_regular(path, _MAX_INFO_BYTES))
        except (OSError, ValueError, RecursionError) as error:
            raise OutputError(f"{path} cannot be read as JSON: {error}") from error
        if not isinstance(known, dict):
            raise OutputError(f"{path} is not a JSON object: move it, or choose another folder")
    columns = {**_COLUMNS, "system": "system", "history": "history"}
    entry = {"file_name": output.name, "formatting": "alpaca", "columns": columns}
    write_file(path, json_file({**known, output.stem: entry}))
    return path
