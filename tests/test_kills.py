"""Kills at random moments, of which `make nightly` makes ten times as many.

100 of score, reflect and compare each; 100 of the workers, the driver and the nodes of a
distributed run, divided as in SHARES.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.killing import Kills, commands, kill_many, write_data
from tests.killing_replicas import KILLERS, SHARES, share, write_rows
from tests.oracle_server import OracleServer
from tests.zygote import Zygote

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="starts commands by forking"),
]
pytest.importorskip("openai")
KILLS_IN_CI, KILLS_BY_NIGHT = 100, 1000
KILLS = int(os.environ.get("KILLS", KILLS_IN_CI))
ROOT = Path(__file__).parents[1]


def test_how_often_a_run_is_killed() -> None:
    assert f"KILLS={KILLS_BY_NIGHT} " in (ROOT / "Makefile").read_text()
    assert "KILLS" not in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("command", ["score", "reflect", "compare"])
def test_a_killed_run_ends_with_the_same_bytes(
    command: str, tmp_path: Path, tiny_model: Path
) -> None:
    write_data(tmp_path)
    with OracleServer(keep=False) as server, Zygote(tmp_path) as zygote:
        done = kill_many(
            zygote, tmp_path, commands(tiny_model, server.base_url)[command], KILLS, seed=KILLS
        )
    assert done.killed >= KILLS


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
