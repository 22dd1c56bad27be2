"""Kills of score, reflect and compare at random moments: 100 of each, 1,000 by `make nightly`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.killing import KILLS, commands, kill_many, write_data
from tests.oracle_server import OracleServer
from tests.zygote import Zygote

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="starts commands by forking"),
]
pytest.importorskip("openai")
KILLS_BY_NIGHT = 1000
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
