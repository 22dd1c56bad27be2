"""Kills of the workers, drivers and Ray nodes of a run: 100 in all, 1,000 by `make nightly`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.killing import KILLS, Kills
from tests.killing_replicas import KILLERS, SHARES, share, write_rows

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="starts commands by forking"),
    # Ray leaves sockets and processes to the end of the interpreter.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def test_what_is_killed_of_a_distributed_run() -> None:
    assert sum(share(name, KILLS) for name in SHARES) == KILLS
    assert len(KILLERS) == len(SHARES)


@pytest.mark.parametrize("kill", KILLERS, ids=SHARES)
def test_a_distributed_run_ends_with_the_bytes_of_one_process(
    kill: Callable[[Path, int], Kills],
    tmp_path: Path,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path)
    done = kill(tiny_model, KILLS)
    assert done.killed >= share(done.command, KILLS)
