"""`--backend ray`: replicas in actors of a Ray cluster, of one GPU or some CPU cores each.

Ray places the actors and tells when one is lost; what each computes, and in which order, is decided
by the driver, as for processes of one machine.  Results come back one by one as they are ready, and
at most UNITS_PER_REPLICA are under way for each actor.
"""

from __future__ import annotations

import logging
import os
import socket
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from ifdkit.data.sources import sha256
from ifdkit.engine import Backend
from ifdkit.engine.backends import Loadable, ModelSpec
from ifdkit.engine.batching import Budget
from ifdkit.engine.models import resolve
from ifdkit.engine.replicas import UNITS_PER_REPLICA, Computed, Died, Event, Ready
from ifdkit.engine.schedule import Unit
from ifdkit.errors import IfdkitError, ModelError, UsageError, brief
from ifdkit.records import NLL, Request

log = logging.getLogger(__name__)

MAX_LOSSES_AT_LOAD = 10
"""Actors in a row that may be lost before they have loaded: nodes can go at any moment."""
_LOCAL = "local"
"""Ray's name for a cluster of its own, of this machine."""
PATIENCE_S = 60.0
"""Time without an actor after which the user is told what is being waited for."""


@dataclass(frozen=True, slots=True)
class NodeModel:
    """A model that is loaded on another machine, where its files may be in another place."""

    spec: ModelSpec
    fingerprint: str
    allow_pickle: bool
    host: str = field(default_factory=socket.gethostname)

    def load(self) -> Backend:
        """Load the model. Raises ModelError if this machine has other weights under its name."""
        weights = self.spec.weights
        if socket.gethostname() != self.host:
            weights = resolve(
                weights.name,
                allow_pickle=self.allow_pickle,
                trust_remote_code=self.spec.trust_remote_code,
            )
            if weights.fingerprint(sha256) != self.fingerprint:
                raise ModelError(
                    f"model {weights.name} on {socket.gethostname()} has other weights than on"
                    f" {self.host}: every node needs the same files"
                )
        return replace(self.spec, weights=weights).load()


class ReplicaActor:
    """What runs in an actor."""

    def load(self, loadable: Loadable) -> tuple[str, Budget, str | None]:
        """Load a replica; the id of the node, and what the driver has to know of it."""
        import ray

        self._backend = loadable.load()
        node = ray.get_runtime_context().get_node_id()
        return node, self._backend.budget, self._backend.float32_problem()

    def nll(self, requests: Sequence[Request]) -> list[NLL]:
        """NLL of each token in each span, float32 nats."""
        return self._backend.nll(requests)


@dataclass(eq=False, slots=True)
class _Actor:
    """An actor, and what it was given."""

    replica: int
    handle: Any
    tasks: deque[tuple[Any, Unit | None]] = field(default_factory=deque)
    """Reference of the result and its unit, oldest first; None is the load."""
    node: str | None = None
    """Id of the node; None while it loads."""


def connect(address: str | None) -> bool:
    """Join the cluster of `address` or RAY_ADDRESS, or start one of this machine; whether it did.

    Raises UsageError if Ray is not installed or the cluster cannot be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise UsageError("--backend ray needs Ray: pip install 'ifdkit[ray]'") from error
    if ray.is_initialized():
        return False
    # Without an address, Ray would join whichever cluster was last started on this machine.
    address = address or os.environ.get("RAY_ADDRESS") or _LOCAL
    is_local = address == _LOCAL
    try:
        ray.init(
            address=address,
            configure_logging=False,
            log_to_driver=False,
            **({"include_dashboard": False} if is_local else {}),
        )
    except Exception as error:
        where = "" if is_local else f"at {address} "
        raise UsageError(f"the Ray cluster {where}cannot be used: {brief(error)}") from error
    return True


def cluster_device(device: str, address: str | None) -> str:
    """The device of each actor: `auto` is cuda if the cluster has a GPU, else cpu.

    The driver may have another one.  Raises UsageError for a device that Ray does not place.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device {device}: with --backend ray, auto, cpu or cuda")
    if device != "auto":
        return device
    connect(address)
    import ray

    return "cuda" if ray.cluster_resources().get("GPU", 0) else "cpu"


def cluster_dtype(dtype: str, device: str) -> str:
    """The data type of each actor: `auto` is bfloat16 on GPUs, which the driver cannot ask."""
    if dtype != "auto":
        return dtype
    return "bfloat16" if device == "cuda" else "float32"


class RayActors:
    """A Fleet of actors."""

    def __init__(
        self,
        loadable: Loadable,
        *,
        replicas: int | None = None,
        address: str | None = None,
        gpus: float = 0,
        cpus: float = 1,
    ) -> None:
        """`replicas`: None is one for each GPU of the cluster, or for `cpus` cores if `gpus` is 0.

        `gpus` and `cpus` are those of one replica.  Raises UsageError if there is no cluster.
        """
        self._is_own = connect(address)
        import ray

        self._ray, self._loadable = ray, loadable
        resources = ray.cluster_resources()
        available = resources.get("GPU", 0) / gpus if gpus else resources.get("CPU", 0) / cpus
        self.size = replicas or max(1, int(available))
        """Number of replicas."""
        self._remote = ray.remote(ReplicaActor).options(
            num_gpus=gpus, num_cpus=cpus, max_restarts=0, max_task_retries=0
        )
        self._losses_at_load = 0
        self._actors = [self._begin(replica) for replica in range(self.size)]

    def has_room(self) -> bool:
        """Whether a replica that is ready can take one more unit."""
        return any(one.node and len(one.tasks) < UNITS_PER_REPLICA for one in self._actors)

    def start(self, unit: Unit) -> None:
        """Give a unit to the replica with the least to do."""
        actor = min((one for one in self._actors if one.node), key=lambda one: len(one.tasks))
        actor.tasks.append((actor.handle.nll.remote(list(unit.requests)), unit))

    def wait(self) -> list[Event]:
        """What happened, at least one event. Raises what a replica raised, such as ModelError."""
        by_reference = {one.tasks[0][0]: one for one in self._actors if one.tasks}
        done: list[Any] = []
        while not done:
            done, _ = self._ray.wait(
                list(by_reference), num_returns=1, timeout=PATIENCE_S, fetch_local=True
            )
            if not done and not any(one.node for one in self._actors):
                log.warning("waiting for the Ray cluster to start an actor of ifdkit")
        return [self._finish(by_reference[done[0]])]

    def close(self) -> None:
        """End all actors, and the cluster if it was started for them."""
        for actor in self._actors:
            self._kill(actor)
        self._actors = []
        if self._is_own:
            self._is_own = False
            self._ray.shutdown()

    def _begin(self, replica: int) -> _Actor:
        handle = self._remote.remote()
        actor = _Actor(replica, handle)
        actor.tasks.append((handle.load.remote(self._loadable), None))
        return actor

    def _finish(self, actor: _Actor) -> Event:
        """The event of an actor whose oldest task has ended."""
        exceptions = self._ray.exceptions
        reference, unit = actor.tasks[0]
        try:
            answer = self._ray.get(reference)
        except exceptions.RayTaskError as error:
            cause = error.cause if isinstance(error.cause, IfdkitError) else None
            problem = f"an actor failed: {type(error.cause).__name__}: {brief(error.cause)}"
            raise cause or ModelError(problem) from error
        except exceptions.RayError as error:
            return self._replace(actor, error)
        actor.tasks.popleft()
        if unit is not None:
            return Computed(unit, list(answer))
        self._losses_at_load = 0
        actor.node, budget, problem = answer
        return Ready(actor.replica, budget, problem)

    def _replace(self, actor: _Actor, error: Exception) -> Died:
        """Start another actor in place of one that is lost."""
        units = [unit for _, unit in actor.tasks if unit is not None]
        if actor.node is None:
            self._losses_at_load += 1
            if self._losses_at_load >= MAX_LOSSES_AT_LOAD:
                raise ModelError(
                    f"{self._losses_at_load} Ray actors were lost in a row while they loaded the"
                    f" model: {brief(error)}"
                )
        # What was under way on a node that is gone, or is cut off, is not to blame for it.
        is_cut_off = isinstance(error, self._ray.exceptions.ActorUnavailableError)
        is_blamed = bool(units) and not is_cut_off and self._is_alive(actor.node)
        self._kill(actor)
        self._actors[actor.replica] = self._begin(actor.replica)
        computing = units.pop(0) if is_blamed else None
        cause = "with its actor" if is_blamed else "with its node"
        if not is_blamed:
            log.warning("a node of the Ray cluster was lost: its work is done again")
        return Died(computing, tuple(units), cause)

    def _is_alive(self, node: str | None) -> bool:
        return any(one["NodeID"] == node and one["Alive"] for one in self._ray.nodes())

    def _kill(self, actor: _Actor) -> None:
        with suppress(Exception):  # it is gone
            self._ray.kill(actor.handle)
