"""`--backend ray` when the network between the driver and a node is cut for a minute."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests import network
from tests.killing_replicas import write_rows

pytest.importorskip("ray")
pytestmark = pytest.mark.slow
CUT_S = float(os.environ.get("CUT_S", "60"))


def test_the_network_to_a_node_is_cut_for_a_minute(tmp_path: Path, tiny_model: Path) -> None:
    if (problem := network.why_not()) is not None:
        pytest.skip(problem)
    write_rows(tmp_path)
    told = network.score_across_cut(tmp_path, tiny_model, CUT_S)
    assert told in ([], ["ifdkit: a node of the Ray cluster was lost: its work is done again"])
