"""The folder of a report: its default name, and which folders are refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from ifdkit.data.many_inputs import ManyInputs, expand
from ifdkit.data.report_folder import check_report_folder, read_report
from ifdkit.errors import OutputError
from ifdkit.scoring.output_names import default_output

if TYPE_CHECKING:
    from ifdkit.scoring.inputs import Data

_MAX_NAMED = 4
_MAX_CHARACTERS = 60


def default_folder(before: Data, *others: Data, unpaired: bool = False) -> Path:
    """`reports/old-vs-new` for `data/old.json` and `new.scores.jsonl`.

    Of more than four datasets the others are counted; an unpaired comparison has a folder of its
    own.
    """
    outputs = (default_output(expand(data)).name for data in (before, *others))
    short = [name.removesuffix(".scores.jsonl").removesuffix(".scores") for name in outputs]
    if len(short) > _MAX_NAMED:
        short = [short[0], f"{len(short) - 1}-others"]
    return Path("reports", "-vs-".join(short) + ("-unpaired" if unpaired else ""))


def check_default_folder(folder: Path, *datasets: Data) -> None:
    """Refuse a default folder that has the comparison of other datasets. Raises OutputError.

    `en/old.json` and `de/old.json` have the same default name.
    """
    found = read_report(folder / "summary.json")
    names = {str(found[key]) for key in ("name_before", "name_after", "baseline") if key in found}
    others = found.get("others")
    if isinstance(others, list):
        names |= {str(one["name"]) for one in others if isinstance(one, dict) and "name" in one}
    given = (expand(data) for data in datasets)
    typed = (one.name if isinstance(one, ManyInputs) else str(one) for one in given)
    asked = {Path("stdin" if name == "-" else name).resolve() for name in typed}
    if not {Path(name).resolve() for name in names} <= asked:
        raise OutputError(
            f"{folder} holds the comparison of {' and '.join(sorted(names))}: choose another name"
            " with -o, or delete it"
        )


def check_folder(folder: Path, *, is_overview: bool = False) -> None:
    """Refuse, before any work is done, a folder with anything but an earlier comparison.

    `is_overview`: one of several datasets, or unpaired.  Raises OutputError.
    """
    schema = "ifdkit.comparisons/" if is_overview else "ifdkit.comparison/"
    check_report_folder(folder, "earlier comparison", file="summary.json", schema=schema)


def part_folder(number: int, name: str) -> str:
    """`2-new` for the second of the others, `data/new.json`: letters, digits, dots and hyphens."""
    stem = Path(name).name.split(".")[0]
    safe = re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-")[:_MAX_CHARACTERS]
    return f"{number}-{safe}" if safe else str(number)
