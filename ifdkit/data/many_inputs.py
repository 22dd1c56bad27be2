"""What the arguments of a command name: paths, globs, folders of shards, hub ids and `-`.

    argument          inputs
    file, `-`, hub id  itself
    glob              the files that match, sorted; folders that match are read as folders
    folder            its data files, recursively, sorted; itself if `datasets` saved it

Hidden files and the files that ifdkit writes beside an output are skipped in folders and globs.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ifdkit.data.containers import HUB_PREFIX, check_exists, locate
from ifdkit.data.sources import COMPRESSED, DATA_ENDINGS, suffix
from ifdkit.errors import InputError
from ifdkit.format import plural

_COMPANIONS = (".manifest", ".rejects", ".scores", ".scored", ".rows", ".provenance", ".dropped")
"""The last but one ending of files that ifdkit writes beside an output, and of scores files."""
_NO_ROWS = frozenset(
    ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "config.json")
)
"""Files with a data ending that describe a dataset."""
_SAVED = ("state.json", "dataset_dict.json")
"""One of them is in every folder that `datasets` saved."""
_MAX_LISTED = 3


@dataclass(frozen=True, slots=True)
class NamedInput:
    """One of several inputs of a dataset."""

    data: str
    """A path, a hub id or `-`."""
    source: str
    """What rows from it carry as `source`; unique in the dataset."""
    path: Path | None = None
    """The file or folder; None for a hub id and `-`."""
    columns: Mapping[str, str] | None = None
    """The column of every slot, if it is known from an earlier run; None to detect them."""


@dataclass(frozen=True, slots=True)
class ManyInputs:
    """Several inputs that make one dataset, in the order of its rows."""

    name: str
    """How messages refer to them."""
    inputs: tuple[NamedInput, ...]
    folder: Path | None = None
    """The folder whose name stands for them; None if they have none."""
    notes: tuple[str, ...] = ()
    """What was skipped, for the user."""

    @property
    def paths(self) -> list[Path]:
        """The files and folders among the inputs."""
        return [one.path for one in self.inputs if one.path is not None]


def expand(data: Any) -> Any:
    """The inputs that a path, a hub id, `-`, or a list of these stands for.

    What stands for one input is returned as that input, and anything else, such as rows, as it is.
    Raises InputError if a glob or a folder has no data file, or if a file is named twice.
    """
    if isinstance(data, (str, os.PathLike)):
        names = [os.fspath(data)]
    elif isinstance(data, (list, tuple)) and data and all(map(_is_name, data)):
        names = [os.fspath(one) for one in data]
    else:
        return data
    skipped: list[str] = []
    found = [one for name in names for one in _expanded(name, skipped)]
    if len(found) == 1:
        return data if isinstance(data, os.PathLike) and found == names else found[0]
    for one in found:
        check_exists(one)
    _check_different(found)
    folder = _common_folder([path for name in found if (path := _path(name)) is not None])
    inputs = tuple(NamedInput(one, _source(one, folder), _path(one)) for one in found)
    notes: tuple[str, ...] = ()
    if skipped:
        listed = ", ".join(skipped[:_MAX_LISTED]) + (", …" if len(skipped) > _MAX_LISTED else "")
        notes = (f"skipped {plural(len(skipped), 'file')} beside the data: {listed}",)
    return ManyInputs(_name(names), inputs, _naming_folder(names, found, folder), notes)


def _is_name(one: Any) -> bool:
    return isinstance(one, (str, os.PathLike))


def _name(names: Sequence[str]) -> str:
    if len(names) <= _MAX_LISTED:
        return ", ".join(names)
    return f"{', '.join(names[:2])} and {len(names) - 2:,} more"


def _expanded(name: str, skipped: list[str]) -> list[str]:
    """The inputs of one argument; adds what it skips."""
    try:
        path, part = locate(name)
        exists = path.exists()
    except OSError:
        return [name]  # reported when it is opened
    if part is None and exists and path.is_dir() and not _is_saved(path):
        return _of_folder(name, skipped)
    if exists or name == "-" or name.startswith(HUB_PREFIX) or not glob.has_magic(name):
        return [name]
    return _of_glob(name, skipped)


def _is_saved(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _SAVED)


def _of_glob(pattern: str, skipped: list[str]) -> list[str]:
    matches = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207  absolute patterns too
    if not matches:
        raise InputError(f"no file matches {pattern!r}")
    files = [one for one in matches if not os.path.isdir(one)]  # noqa: PTH112  keeps the spelling
    # A pattern such as *.scores.jsonl asks for companions.
    wanted = [one for one in files if not _is_companion(os.path.basename(one))] or files  # noqa: PTH119
    skipped += [one for one in files if one not in set(wanted)]
    # With `**` a folder matches beside its files.
    for folder in (one for one in matches if os.path.isdir(one)):  # noqa: PTH112
        if _is_saved(Path(folder)):
            wanted.append(folder)
        elif "**" not in pattern:
            wanted += _of_folder(folder, skipped)
    if not wanted:
        raise InputError(f"{pattern!r} matches folders, and none of them contains data files")
    return sorted(dict.fromkeys(wanted))


def _of_folder(name: str, skipped: list[str]) -> list[str]:
    """The data files of a folder, recursively. Raises InputError if there is none."""
    found = list(_walk(name, set()))
    left = [one for one in found if not _has_rows(one)]
    files = [one for one in found if one not in set(left)]
    # Among shards of another format, a text file is a README rather than a document.
    if any(suffix(Path(one)) != ".txt" for one in files):
        texts = [one for one in files if suffix(Path(one)) == ".txt"]
        files, left = [one for one in files if one not in set(texts)], [*left, *texts]
    if not files:
        raise InputError(
            f"{name} is a folder, but not one saved by `datasets`, and contains no data files"
            f" ({', '.join(DATA_ENDINGS)})"
        )
    skipped += sorted(left)
    return sorted(files)


def _walk(folder: str, seen: set[str]) -> Iterator[str]:
    """Every file with a data ending, and every folder saved by `datasets`; no hidden ones."""
    real = os.path.realpath(folder)
    if real in seen:
        return  # a link to a folder above
    seen.add(real)
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if not Path(entry.path).is_dir():  # `entry.is_dir` raises for a link to itself
                if entry.name.lower().endswith(DATA_ENDINGS):
                    yield entry.path
            elif _is_saved(Path(entry.path)):
                yield entry.path
            else:
                yield from _walk(entry.path, seen)


def _has_rows(path: str) -> bool:
    name = Path(path).name
    return name not in _NO_ROWS and not _is_companion(name)


def _is_companion(name: str) -> bool:
    endings = [one.lower() for one in Path(name).suffixes if one.lower() not in COMPRESSED]
    return len(endings) > 1 and endings[-2] in _COMPANIONS


def _path(name: str) -> Path | None:
    """The file or folder of an input; None for a hub id, `-`, and what does not exist."""
    if name == "-" or name.startswith(HUB_PREFIX):
        return None
    try:
        path, part = locate(name)
        path = path / part if part and path.is_dir() else path
        return path if path.exists() else None
    except OSError:
        return None


def _check_different(names: Iterable[str]) -> None:
    """Raise InputError if two inputs are the same file, by name or by a link."""
    known: dict[str, str] = {}
    for name in names:
        path = _path(name)
        key = name
        if path is not None:
            _, part = locate(name)
            key = f"{os.path.realpath(path)}:{part or ''}"
        if key in known:
            same = "is given twice" if known[key] == name else f"is the same file as {known[key]}"
            raise InputError(f"{name} {same}: name each input once")
        known[key] = name


def _common_folder(paths: Sequence[Path]) -> str | None:
    """The deepest folder that contains all files."""
    folders = [os.path.dirname(os.path.abspath(path)) for path in paths]  # noqa: PTH100, PTH120  links stay
    return os.path.commonpath(folders) if folders else None


def _source(name: str, folder: str | None) -> str:
    """How rows name an input: its path in the common folder, or the name itself."""
    path, found = _path(name), name
    if path is not None and folder is not None:
        _, part = locate(name)
        found = Path(os.path.relpath(os.path.abspath(path), folder)).as_posix()  # noqa: PTH100
        found = f"{found}:{part}" if part and not path.is_dir() else found
    return os.fsencode(found).decode(errors="backslashreplace")  # a name may be no Unicode


def _naming_folder(names: Sequence[str], found: Sequence[str], folder: str | None) -> Path | None:
    """The folder after which outputs are named.

    It is the one that the user gave, else the common folder of all files. The working folder and
    those above it do not name an output, and neither does a folder that lacks some of the inputs.
    """
    if folder is None or any(_path(one) is None for one in found):
        return None
    path, here = Path(folder), Path.cwd()
    if len(names) == 1 and Path(names[0]).is_dir():
        path = Path(names[0]).absolute()
    return None if here.resolve().is_relative_to(path.resolve()) else path
