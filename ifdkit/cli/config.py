"""Defaults from `ifdkit.toml` or `[tool.ifdkit]` of `pyproject.toml` in the working folder."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ifdkit.errors import UsageError

TABLES = ("audit",)
"""Keys that hold a table of their own, and no option: `[audit.refusal]`."""


def load_config(folder: Path, known: Iterable[str]) -> tuple[Path | None, dict[str, Any]]:
    """The file and its settings, by option name with underscores; (None, {}) where there is none.

    Of TABLES the settings hold what stands in the file.  Raises UsageError for a file that is not
    TOML or holds a key that is no option.
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
            raise UsageError(f"{path.name}: no option is called {unknown[0]!r}")
        for name in TABLES:
            if not isinstance(settings.get(name, {}), dict):
                raise UsageError(f"{path.name}: {name} is no option, but a table: write [{name}]")
        return path, settings
    return None, {}
