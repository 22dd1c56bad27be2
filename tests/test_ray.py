"""`--backend ray` on a real cluster of two nodes, one of which is killed in the middle."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ifdkit.data.options import ReadOptions
from ifdkit.engine.replicas import Died, Replicas
from ifdkit.engine.schedule import Unit, Unscored
from ifdkit.errors import ModelError, UsageError
from ifdkit.records import Request
from ifdkit.scoring.run import score_to_file
from ifdkit.scoring.settings import Settings
from tests.killing import state
from tests.killing_replicas import NODE_MEMORY, local_cluster
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


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head with one CPU; further nodes are added by tests."""
    with local_cluster() as found:
        yield found


@pytest.fixture
def second_node(cluster: Any) -> Iterator[Any]:
    node = cluster.add_node(num_cpus=1, object_store_memory=NODE_MEMORY)
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
        fleet: Any = replicas._fleet
        while not all(one.node for one in fleet._actors):
            replicas._handle(fleet.wait(), None)
        nodes = {one.node for one in fleet._actors}
        assert len(nodes) == 2

        def one_is_lost() -> bool:
            return nodes > {one.node for one in fleet._actors if one.node}

        batches: list[list[Request]] = []

        def work() -> Iterator[list[Request]]:
            """Batches until the driver has noticed: on a busy machine that takes a while."""
            while len(batches) < 300 or (len(batches) < 100_000 and not one_is_lost()):
                token = 2 + len(batches) % 1_000
                batches.append([request(token, 1), request(token, 2)])
                yield batches[-1]

        found = []
        for number, outcomes in enumerate(replicas.stream(work(), n_planned=9)):
            found.append(outcomes)
            if number == 20:
                cluster.remove_node(second_node, allow_graceful=False)
        assert one_is_lost()
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


def test_without_an_address_ray_starts_on_this_machine_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ray itself would join whichever cluster was started last, such as another user's."""
    from ifdkit.engine.ray_cluster import connect

    given: list[str | None] = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda address=None, **_: given.append(address))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    connect(None)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.5:6379")
    connect(None)
    connect("10.0.0.6:6379")
    assert given == ["local", "10.0.0.5:6379", "10.0.0.6:6379"]


def test_an_actor_that_cannot_be_reached_does_not_count_against_its_batch(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the network was cut for so short a time that its node is not gone."""
    replicas = open_actors(1)
    try:
        fleet: Any = replicas._fleet
        (actor,) = fleet._actors
        unit = Unit(0, 0, 0, [request(2)])
        fleet.start(unit)
        fleet.wait()
        unavailable = ray.exceptions.ActorUnavailableError("timeout", None)
        actor.tasks.append((None, unit))
        died = fleet._replace(actor, unavailable)
        assert died == Died(None, (unit,), "with its node")
    finally:
        replicas.close()


def test_a_device_that_ray_does_not_place() -> None:
    from ifdkit.engine.ray_cluster import cluster_device, cluster_dtype

    with pytest.raises(UsageError, match="with --backend ray, auto, cpu or cuda"):
        cluster_device("cuda:1", None)
    assert cluster_device("cuda", None) == "cuda"
    assert [cluster_dtype("auto", one) for one in ("cpu", "cuda")] == ["float32", "bfloat16"]
