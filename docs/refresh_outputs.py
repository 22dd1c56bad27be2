"""Run the commands that README.md and docs/ show, and put their output in place.

    python docs/refresh_outputs.py                  every page
    python docs/refresh_outputs.py docs/audit.md    one page
    python docs/refresh_outputs.py --slow           also what takes many minutes
    python docs/refresh_outputs.py --check          change nothing; exit code 1 if a page differs

Nobody edits an output by hand.  A block after the comment `<!-- run -->` is made again: its lines
with `$ ` stay, and the output of each follows it.  `<!-- run head=20 tail=4 -->` keeps the first
and last lines of each output, `<!-- run slow -->` is for `--slow`.  A command is shown as it runs:
in a folder with examples/, with the embedded models and an empty cache that the pages share.

The reports that these commands make are copied to reports/ if they are kept there, and Chromium, if
`make browser-tools` has installed it, takes the picture of the first one for README.md.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
WARM_UP = "ifdkit compare examples/before.json examples/after.json --quiet"
"""The command of README.md that puts the scores of the examples into the cache."""
MAX_WIDTH = 100
"""Longest line of an output, in characters; longer ones are wrapped."""
PICTURED = Path("reports/before-vs-after/index.html")
PICTURE = Path("docs/images/report.png")
_BLOCK = re.compile(r"<!-- run(?P<options>[^>]*) -->\n```console\n(?P<text>.*?)```", re.DOTALL)
_PROGRESS = re.compile(r"^[\d,]+ of [\d,]+ rows( ·|$)")
"""A line of progress, which a terminal overwrites."""
_VOLATILE = re.compile(r"[\d.,]+ (ms|s|min|h|tokens/s)\b")
"""Durations and speeds differ between two runs."""


def pages() -> list[Path]:
    """README.md, then the pages of docs/."""
    return [README, *sorted(ROOT.glob("docs/*.md"))]


@dataclass(frozen=True, slots=True)
class Options:
    """What the comment before a block says."""

    head: int | None = None
    tail: int | None = None
    slow: bool = False

    @classmethod
    def parse(cls, text: str) -> Options:
        """`head=20 tail=4 slow` → Options. Raises ValueError for anything else."""
        found: dict[str, int | bool] = {}
        for word in text.split():
            name, equals, number = word.partition("=")
            if name not in ("head", "tail", "slow") or bool(equals) == (name == "slow"):
                raise ValueError(f"<!-- run {text.strip()} -->: unknown option {word!r}")
            found[name] = int(number) if equals else True
        return cls(**found)  # type: ignore[arg-type]

    def shorten(self, lines: Sequence[str]) -> list[str]:
        """The first and last lines, with `…` for those between."""
        head, tail = self.head or 0, self.tail or 0
        if not (head or tail) or len(lines) <= head + tail + 1:
            return list(lines)
        return [*lines[:head], "…", *(lines[-tail:] if tail else ())]


@dataclass(frozen=True, slots=True)
class Shell:
    """Where commands run: a folder with examples/, and a cache of its own."""

    folder: Path
    cache: Path

    @classmethod
    def in_folder(cls, scratch: Path, name: str) -> Shell:
        """A new folder in `scratch`, whose folders share a cache."""
        folder = scratch / name
        folder.mkdir()
        (folder / "examples").symlink_to(ROOT / "examples")
        return cls(folder, scratch / "cache")

    def run(self, command: str) -> list[str]:
        """What a command prints on stdout and stderr, as lines for a page."""
        programs = self.cache / "bin"
        programs.mkdir(parents=True, exist_ok=True)
        program = programs / "ifdkit"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ifdkit "$@"\n')
        program.chmod(0o755)
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("IFDKIT_", "COL"))}
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env={
                **inherited,
                "HF_HUB_OFFLINE": "1",
                "IFDKIT_CACHE": str(self.cache),
                "PATH": f"{programs}:{os.environ['PATH']}",
                "PYTHONPATH": str(ROOT),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode not in (0, 1):  # 1: a gate failed, which a page may show
            raise SystemExit(f"$ {command}\n{done.stdout}exit code {done.returncode}")
        return list(_tidy(done.stdout))


def _tidy(output: str) -> Iterator[str]:
    """The lines of an output without progress, spaces at the end and runs of blank lines."""
    shown = [line.rstrip() for line in output.splitlines() if not _PROGRESS.search(line)]
    last = ""
    for line in "\n".join(shown).strip("\n").splitlines():
        if len(line) > MAX_WIDTH:
            indent = line[: len(line) - len(line.lstrip())]
            yield from textwrap.wrap(
                line, MAX_WIDTH, subsequent_indent=indent, break_on_hyphens=False
            )
        elif line or last:
            yield line
        last = line


def refreshed(text: str, shell: Shell, *, slow: bool) -> str:
    """A page with the output of its commands made again."""

    def block(found: re.Match[str]) -> str:
        options = Options.parse(found["options"])
        if options.slow and not slow:
            return found[0]
        lines = []
        for line in found["text"].splitlines():
            if line.startswith("$ "):
                print(f"  {line}", file=sys.stderr, flush=True)  # noqa: T201
                lines += [line, *options.shorten(shell.run(line[2:]))]
        return found[0].replace(found["text"], "\n".join(lines) + "\n")

    return _BLOCK.sub(block, text)


def without_times(text: str) -> str:
    """A page without durations and speeds."""
    return _VOLATILE.sub(r"N \1", text)


def keep_reports(folder: Path, kept: set[str]) -> None:
    """Copy reports that the repository keeps under the same name; a later page replaces none."""
    for report in folder.glob("reports/*"):
        if (ROOT / "reports" / report.name).is_dir() and report.name not in kept:
            shutil.copytree(report, ROOT / "reports" / report.name, dirs_exist_ok=True)
            kept.add(report.name)


def take_picture() -> None:
    """The first screen of the report at 1280 px, light theme, as PNG; nothing without Chromium."""
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        return
    chromium = shutil.which("chromium")
    if chromium is None:
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(
            viewport={"width": 1280, "height": 800}, color_scheme="light", offline=True
        )
        page.goto((ROOT / PICTURED).as_uri())
        (ROOT / PICTURE).parent.mkdir(exist_ok=True)
        page.screenshot(path=ROOT / PICTURE)
        browser.close()
    _shrink(ROOT / PICTURE)


def _shrink(path: Path) -> None:
    """Store a picture of text with 256 colours: a third of the bytes, no visible difference."""
    from PIL import Image

    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(256)
    small.save(path, optimize=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Refresh the pages, or with --check return 1 if one is out of date."""
    parser = argparse.ArgumentParser(description="Refresh the outputs that the docs show.")
    parser.add_argument("pages", nargs="*", type=Path, help="default: README.md and docs/*.md")
    parser.add_argument("--slow", action="store_true", help="also what takes many minutes")
    parser.add_argument("--check", action="store_true", help="change nothing, compare")
    asked = parser.parse_args(arguments)
    chosen = [path.resolve() for path in asked.pages] or pages()
    outdated: list[str] = []
    kept: set[str] = set()
    with tempfile.TemporaryDirectory() as scratch:
        if README not in chosen:
            Shell.in_folder(Path(scratch), "warm-up").run(WARM_UP)
        for page in chosen:
            shell = Shell.in_folder(Path(scratch), page.stem)
            old = page.read_text(encoding="utf-8")
            new = refreshed(old, shell, slow=asked.slow)
            if without_times(old) != without_times(new):
                outdated.append(page.relative_to(ROOT).as_posix())
            if not asked.check:
                page.write_text(new, encoding="utf-8")
                keep_reports(shell.folder, kept)
    if asked.check:
        for name in outdated:
            print(f"{name} is out of date: run `make docs-outputs`", file=sys.stderr)  # noqa: T201
        return 1 if outdated else 0
    take_picture()
    return 0


if __name__ == "__main__":
    sys.exit(main())
