"""One call of every command, for tests of what no command may do."""

from __future__ import annotations

import json
from pathlib import Path

CALLS: dict[str, list[str]] = {
    "score": ["score", "data.jsonl", "-o", "out.jsonl"],
    "compare": ["compare", "data.jsonl", "other.jsonl", "-o", "report"],
    "show": ["show", "data.jsonl", "0"],
    "reflect": ["reflect", "data.jsonl", "-o", "new.jsonl", "ORACLE"],
    "select": ["select", "data.jsonl", "-o", "kept.jsonl", "--by", "ifd", "--top", "1"],
    "audit": ["audit", "data.jsonl", "-o", "audit.json"],
    "view": ["view", "data.jsonl", "--no-open", "--port", "0"],
    "train": ["train", "data.jsonl", "-o", "tuned", "--steps", "1", "--batch-size", "1"],
    "generate": ["generate", "data.jsonl", "-o", "answers.jsonl", "--max-new-tokens", "2"],
    "judge": ["judge", "data.jsonl", "other.jsonl", "-o", "judged.json", "ORACLE"],
    "predict": ["predict", "annotations.json", "-o", "prediction"],
    "merge": ["merge", "out.jsonl", "-o", "merged.jsonl"],
    "card": ["card", "out.jsonl"],
    "completion": ["completion", "bash"],
    "models": ["models"],
    "store": ["store", "verify", "--store", "store.sqlite"],
}
"""The first word is the command; `ORACLE` stands for the flags of an oracle."""
ENDLESS = {"view"}
"""Commands that end with Ctrl-C only."""


def write_inputs(folder: Path, text: str) -> None:
    """What the calls read; `text` is in every one of their texts."""
    for name, output in (("data", f"It is 5. {text}"), ("other", f"It is five. {text}")):
        rows = [{"id": f"{i} {text}", "instruction": f"Add 2 and 3. {i} {text}", "output": output}
                for i in range(3)]  # fmt: skip
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pairs = [{"instruction": f"Add 2 and {i}. {text}", "output_1": f"It is 5. {text}",
              "output_2": f"No. {text}", "preference": 1 + i % 2} for i in range(4)]  # fmt: skip
    (folder / "annotations.json").write_text(json.dumps(pairs))
