"""What a command prints when it refuses something."""

from __future__ import annotations

import pytest

from ifdkit.cli.main import main


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line with which a command ends."""
    assert main(list(arguments)) == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("ifdkit: ")
    assert "internal error" not in last
    return last
