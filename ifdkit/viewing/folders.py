"""Folders that ifdkit writes: all but the comparison of two datasets have no rows to view."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ifdkit.data.report_folder import read_report
from ifdkit.errors import UsageError
from ifdkit.visible import one_line

Report = Mapping[str, Any]
"""The JSON file of the folder."""


def _instead_of_overview(folder: Path, report: Report) -> str:
    others = report.get("others")
    parts = [one.get("folder") for one in others or () if isinstance(one, dict)]
    found = [str(folder / str(part)) for part in parts if part]
    if not found:
        return "an unpaired overview: view one of its datasets"
    more = " or another folder in it" if len(found) > 1 else ""
    return f"an overview of several comparisons: view {one_line(found[0], 200)}{more}"


def _instead_of_audit(folder: Path, report: Report) -> str:
    return f"an audit: view {_input(report)}, or open {folder / 'index.html'} in a browser"


def _instead_of_prediction(folder: Path, report: Report) -> str:
    del report
    return f"a prediction, which has no rows: open {folder / 'index.html'} in a browser"


def _instead_of_model(folder: Path, report: Report) -> str:
    del folder, report
    return "a trained model, which has no rows: view the data that it was trained on"


def _input(report: Report) -> str:
    name = report.get("input")
    return one_line(name, 200) if isinstance(name, str) and name else "its dataset"


_KINDS: tuple[tuple[str, str, Callable[[Path, Report], str]], ...] = (
    ("summary.json", "ifdkit.comparisons/", _instead_of_overview),
    ("audit.json", "ifdkit.audit/", _instead_of_audit),
    ("prediction.json", "ifdkit.prediction", _instead_of_prediction),
    ("training.json", "ifdkit.training/", _instead_of_model),
    ("manifest.json", "ifdkit.trained-model/", _instead_of_model),
)
"""JSON file of a folder, what its schema begins with, what it is and what to do instead."""


def check_viewable(folder: Path) -> None:
    """Raise UsageError for a folder of ifdkit that is no dataset and no comparison."""
    for name, schema, instead in _KINDS:
        if (folder / name).is_file():
            report = read_report(folder / name)
            if str(report.get("schema")).startswith(schema):
                raise UsageError(f"{folder} is {instead(folder, report)}")
