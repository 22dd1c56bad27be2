"""`--backend ray` on a real cluster of two nodes, one of which is killed in the middle."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ifdkit.data.options import ReadOptions
from ifdkit.engine.replicas import Replicas
from ifdkit.engine.schedule import Unscored
from ifdkit.errors import ModelError, UsageError
from ifdkit.scoring.run import score_to_file
from ifdkit.scoring.settings import Settings
from tests.killing import state
from tests.replica_fakes import DEADLY, WRONG, FakeModel, request
from tests.test_workers import assert_same

ray = pytest.importorskip("ray")
pytestmark = [
    pytest.mark.long,
    # Ray leaves sockets and processes to the end of the interpreter.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head with one CPU; further nodes are added by tests."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        memory = {"object_store_memory": 80 * 2**20, "include_dashboard": False}
        found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **memory})
        patch.setenv("RAY_ADDRESS", found.address)
        ray.init(address=found.address, configure_logging=False, log_to_driver=False)
        yield found
        ray.shutdown()
        found.shutdown()


@pytest.fixture
def second_node(cluster: Any) -> Iterator[Any]:
    node = cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
    yield node
    if node in cluster.worker_nodes:
        cluster.remove_node(node, allow_graceful=False)


def open_actors(replicas: int, model: FakeModel | None = None) -> Replicas:
    from ifdkit.engine.ray_cluster import RayActors

    return Replicas(RayActors(model or FakeModel(), replicas=replicas))


def test_a_node_that_is_killed_in_the_middle_changes_nothing(
    cluster: Any, second_node: Any
) -> None:
    replicas = open_actors(2)
    try:
        batches = [[request(b + 2, 1), request(b + 2, 2)] for b in range(300)]
        fleet: Any = replicas._fleet
        while not all(one.node for one in fleet._actors):
            replicas._handle(fleet.wait(), None)
        nodes = {one.node for one in fleet._actors}
        assert len(nodes) == 2
        found = []
        for number, outcomes in enumerate(replicas.stream(iter(batches), n_planned=9)):
            found.append(outcomes)
            if number == 20:
                cluster.remove_node(second_node, allow_graceful=False)
        assert nodes > {one.node for one in fleet._actors if one.node}, "one was lost"
        assert_same(found, batches)
    finally:
        replicas.close()


def test_actors_that_die_and_requests_that_kill_them(cluster: Any) -> None:
    replicas = open_actors(1)
    try:
        batches = [[request(DEADLY)], [request(4)]]
        first, second = replicas.stream(iter(batches), n_planned=9)
        assert [isinstance(one, Unscored) for one in first] == [True]
        assert_same([second], batches[1:])
        with pytest.raises(ModelError, match="token 9003 is wrong"):
            list(replicas.stream(iter([[request(WRONG)]]), n_planned=9))
    finally:
        replicas.close()
    with pytest.raises(ModelError, match="fake does not load: no such thing"):
        open_actors(1, FakeModel(fails=True))


def test_ray_writes_the_bytes_of_one_process(
    cluster: Any, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"instruction": f"Name colour {i}.", "output": "Green " * (1 + i % 23) + str(i)}
            for i in range(60)]  # fmt: skip
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    one = Settings(model=str(tiny_model), metrics=("ifd",), store="one.sqlite")
    score_to_file("data.jsonl", Path("out.jsonl"), one, ReadOptions())
    expected = state(tmp_path)
    on_ray = replace(one, backend="ray", workers=1, store="two.sqlite")
    score_to_file("data.jsonl", Path("out.jsonl"), on_ray, ReadOptions())
    assert state(tmp_path) == expected


@pytest.mark.parametrize(
    ("flag", "variable", "expected"),
    [
        (None, None, "local"),
        (None, "10.0.0.5:6379", "10.0.0.5:6379"),
        ("10.0.0.6:6379", "10.0.0.5:6379", "10.0.0.6:6379"),
    ],
)
def test_the_cluster_of_another_program_is_not_joined_without_an_address(
    flag: str | None, variable: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`None` would join it, wait for its cores for ever, or take them."""
    from ifdkit.engine.ray_cluster import connect

    joined: list[str] = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda address, **_: joined.append(address))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if variable:
        monkeypatch.setenv("RAY_ADDRESS", variable)
    assert connect(flag)
    assert joined == [expected]


def test_a_device_that_ray_does_not_place() -> None:
    from ifdkit.engine.ray_cluster import cluster_device, cluster_dtype

    with pytest.raises(UsageError, match="with --backend ray, auto, cpu or cuda"):
        cluster_device("cuda:1", None)
    assert cluster_device("cuda", None) == "cuda"
    assert [cluster_dtype("auto", one) for one in ("cpu", "cuda")] == ["float32", "bfloat16"]
