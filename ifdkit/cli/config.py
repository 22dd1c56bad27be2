"""Settings files: the user's own, and the one of the working folder, which is not trusted.

    flag  >  IFDKIT_…  >  ifdkit.toml or [tool.ifdkit] of pyproject.toml  >  the user's config.toml

A working folder may come from anybody, and a command that runs in it reads its file unasked.  So
that file cannot set what runs code, what sends data or keys anywhere, or what is overwritten:
`trust` of an option says which files may set it.
"""

from __future__ import annotations

import math
import os
import stat
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import platformdirs

from ifdkit.cli.options import Trust, trust_of
from ifdkit.errors import UsageError
from ifdkit.visible import one_line

TABLES = ("audit",)
"""Keys that are tables and not options, such as `[audit.refusal]`."""
USER_FILE_VARIABLE = "IFDKIT_CONFIG"
"""Names another user-level file."""
MAX_FILE_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """The settings of one file."""

    path: Path
    values: Mapping[str, Any] = field(default_factory=dict)
    """By option name with underscores, and the tables of TABLES as they are in the file."""
    is_users: bool = False
    """Whether it is the user-level file, which is trusted."""

    @property
    def name(self) -> str:
        """How messages refer to it: a file of the working folder by its name alone."""
        return str(self.path) if self.is_users else self.path.name

    def table(self, name: str) -> Mapping[str, Any]:
        """One of TABLES; empty if the file does not have it."""
        found: Mapping[str, Any] = self.values.get(name, {})
        return found


@dataclass(frozen=True, slots=True)
class Config:
    """All settings files that were found, from the weakest to the strongest."""

    files: tuple[SettingsFile, ...] = ()

    def defaults(self, names: Iterable[str | None]) -> dict[str, Any]:
        """The settings of these options; the stronger file wins."""
        known = set(names)
        return {k: v for one in self.files for k, v in one.values.items() if k in known}

    def source_of(self, name: str) -> str:
        """The file that decides an option, for `--verbose`."""
        return next((str(f.path) for f in reversed(self.files) if name in f.values), "")


def user_file() -> Path:
    """The user-level settings file, whether it exists or not."""
    chosen = os.environ.get(USER_FILE_VARIABLE)
    return Path(chosen) if chosen else Path(platformdirs.user_config_dir("ifdkit")) / "config.toml"


def load_config(folder: Path, options: Iterable[click.Parameter]) -> Config:
    """The settings of the user and of a working folder.

    Raises UsageError if a file is not TOML, has a key that is not an option, or sets an option
    that it may not set.
    """
    trusts: dict[str, Trust] = {}
    repeated: set[str] = set()
    for one in options:
        if isinstance(one, click.Option) and one.name:
            trusts[one.name] = max(trusts.get(one.name, Trust.FOLDER), trust_of(one))
            repeated |= {one.name} if one.multiple else set()
    own = user_file()
    is_chosen = bool(os.environ.get(USER_FILE_VARIABLE))
    if is_chosen and not own.is_file():
        raise UsageError(f"{USER_FILE_VARIABLE}: {own} does not exist")
    found = [_load(own, None, trusts, repeated, is_users=True)]
    in_folder = (("ifdkit.toml", None), ("pyproject.toml", "ifdkit"))
    tried = (_load(folder / name, table, trusts, repeated) for name, table in in_folder)
    found.append(next((one for one in tried if one), None))
    return Config(tuple(one for one in found if one))


def _load(
    path: Path,
    table: str | None,
    trusts: Mapping[str, Trust],
    repeated: Collection[str],
    *,
    is_users: bool = False,
) -> SettingsFile | None:
    """The settings of a file; None if there is no such file or it has none."""
    content = _content(path, str(path) if is_users else path.name)
    name = str(path) if is_users else path.name
    if table is not None:
        tool = content.get("tool", {})
        content = tool.get(table, {}) if isinstance(tool, dict) else {}
    if not isinstance(content, dict):
        raise UsageError(f"{name}: [tool.{table}] must be a table")
    if not content:
        return None
    found = SettingsFile(path, {k.replace("-", "_"): v for k, v in content.items()}, is_users)
    for key in sorted(found.values):
        if key in TABLES:
            if not isinstance(found.values[key], dict):
                raise UsageError(f"{name}: {key} is a table, not an option: write [{key}]")
        elif key not in trusts:
            raise UsageError(f"{name}: {one_line(repr(key))} is not an option")
        elif problem := _refusal(key, trusts[key], is_users=is_users):
            raise UsageError(f"{name}: {problem}")
        elif problem := _wrong_type(found.values[key], is_repeated=key in repeated):
            shown = one_line(repr(found.values[key]), 40)
            raise UsageError(f"{name}: {key.replace('_', '-')} = {shown}: write {problem}")
    return found


def _wrong_type(value: Any, *, is_repeated: bool) -> str | None:
    """What an option can have in place of a value, such as a table or a date; None if it is fine.

    click converts texts and numbers, and takes the letters of a text for the values of an option
    that may be repeated.
    """
    if is_repeated:
        is_fine = isinstance(value, list) and all(isinstance(one, str) for one in value)
        return None if is_fine else "a list of texts"
    is_finite = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    return None if is_finite or isinstance(value, str) else "a text, a number, true or false"


def _refusal(key: str, trust: Trust, *, is_users: bool) -> str | None:
    """Why a file may not set an option; None if it may."""
    key = key.replace("_", "-")
    if trust is Trust.CALL:
        return f"{key!r} belongs to one call and is not read from a file: give --{key}"
    if trust is Trust.USER and not is_users:
        variable = f"IFDKIT_{key.replace('-', '_').upper()}"
        return (
            f"{key!r} is not read from a file of the working folder, which anybody may have"
            f" written: give --{key}, set {variable}, or put it into {user_file()}"
        )
    return None


def _content(path: Path, name: str) -> dict[str, Any]:
    """The TOML of a file; empty if there is none. Raises UsageError."""
    try:
        # Not the file alone: opening a named pipe would wait for somebody to write into it.
        if not stat.S_ISREG(path.stat().st_mode):
            return {}
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror or error}") from error
    if len(data) > MAX_FILE_BYTES:
        raise UsageError(f"{name}: longer than {MAX_FILE_BYTES:,} bytes")
    try:
        return tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, too, is a ValueError
        raise UsageError(f"{name}: {one_line(str(error))}") from error
