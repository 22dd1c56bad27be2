"""Defaults from `ifdkit.toml` or `[tool.ifdkit]` of `pyproject.toml` in the working folder."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ifdkit.errors import UsageError

TABLES = ("audit",)
"""Keys that are tables and not options, such as `[audit.refusal]`."""


def load_config(folder: Path, known: Iterable[str]) -> tuple[Path | None, dict[str, Any]]:
    """The file and its settings, by option name with underscores; (None, {}) if there is none.

    The settings include the tables of TABLES as they are in the file.  Raises UsageError if the
    file is not TOML, or has a key that is not an option.
    """
    for path, table in ((folder / "ifdkit.toml", None), (folder / "pyproject.toml", "ifdkit")):
        if not path.is_file():
            continue
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
            raise UsageError(f"{path.name}: {error}") from error
        if table is not None:
            tool = content.get("tool", {})
            content = tool.get(table, {}) if isinstance(tool, dict) else {}
        if not isinstance(content, dict):
            raise UsageError(f"{path.name}: [tool.{table}] must be a table")
        if not content:
            continue
        settings = {key.replace("-", "_"): value for key, value in content.items()}
        unknown = sorted(settings.keys() - set(known) - set(TABLES))
        if unknown:
            raise UsageError(f"{path.name}: {unknown[0]!r} is not an option")
        for name in TABLES:
            if not isinstance(settings.get(name, {}), dict):
                raise UsageError(f"{path.name}: {name} is a table, not an option: write [{name}]")
        return path, settings
    return None, {}
