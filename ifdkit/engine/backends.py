"""The table of backends, what a replica is made from, and how batches are streamed through one.

A replica is one copy of a model behind a Backend: in this process, in a worker process of this
machine (`workers`), or in an actor of a Ray cluster (`ray_cluster`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

from ifdkit.engine import Backend
from ifdkit.engine.devices import resolve_device_and_dtype
from ifdkit.engine.models import Weights
from ifdkit.engine.schedule import Outcome
from ifdkit.records import Request

DEFAULT_BACKEND = "torch"
RAY = "ray"
REPLICAS = {DEFAULT_BACKEND: "ifdkit.engine.huggingface:HuggingFaceBackend"}
"""Name → module and class of a Backend, called with the weights and the fields of ModelSpec."""
BACKENDS = (*REPLICAS, RAY)
"""What `--backend` takes. The replicas of a Ray cluster are those of DEFAULT_BACKEND."""


class Loadable(Protocol):
    """What makes a replica. It is pickled, and loads in another process."""

    def load(self) -> Backend:
        """Load the model. Raises ModelError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A model, where it runs and with which backend."""

    weights: Weights
    device: str
    dtype: str
    trust_remote_code: bool = False
    backend: str = DEFAULT_BACKEND
    """A key of REPLICAS."""
    device_map: str | None = None
    """`auto`: the weights are spread over all devices of the machine."""

    def load(self) -> Backend:
        """Load the model. Raises ModelError."""
        module, _, name = REPLICAS[self.backend].partition(":")
        kind: Any = getattr(import_module(module), name)
        loaded: Backend = kind(
            self.weights,
            device=self.device,
            dtype=self.dtype,
            trust_remote_code=self.trust_remote_code,
            **({} if self.device_map is None else {"device_map": self.device_map}),
        )
        return loaded


@runtime_checkable
class ManyReplicas(Backend, Protocol):
    """A Backend of several replicas, or of several lanes, which are at work at the same time."""

    def stream(
        self, batches: Iterator[Sequence[Request]], *, n_planned: int
    ) -> Iterator[Sequence[Outcome]]:
        """The outcomes of each batch, in order; a bounded number of batches is read ahead.

        `n_planned`: batches of the whole plan, with those that the store has.
        """
        ...

    def close(self) -> None:
        """End the replicas."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """How many replicas there are, and where."""

    workers: int | None = None
    """None: one in this process, or as many as a cluster has devices."""
    ray_address: str | None = None
    """None: RAY_ADDRESS, else a cluster of this machine alone."""


def open_backend(
    spec: ModelSpec, how: Distribution, *, fingerprint: str, allow_pickle: bool = False
) -> Backend:
    """Load a model in this process, in several, or on a cluster. Raises ModelError.

    `fingerprint` is that of its weights, which every machine must have.
    """
    from ifdkit.engine.replicas import Replicas

    if spec.backend == RAY:
        from ifdkit.engine.ray_cluster import NodeModel, RayActors

        model = NodeModel(replace(spec, backend=DEFAULT_BACKEND), fingerprint, allow_pickle)
        gpus = int(spec.device.startswith("cuda"))
        address = how.ray_address
        return Replicas(RayActors(model, replicas=how.workers, address=address, gpus=gpus))
    if how.workers is None or how.workers == 1:
        return spec.load()
    from ifdkit.engine.workers import WorkerProcesses, threads_per_worker

    specs = [replace(spec, device=device) for device in _devices(spec.device, how.workers)]
    return Replicas(WorkerProcesses(specs, threads=threads_per_worker(how.workers)))


def resolve_place(
    backend: str, device: str, dtype: str, ray_address: str | None
) -> tuple[str, str]:
    """What `--device` and `--dtype` stand for, on this machine or on a cluster.

    Raises UsageError for a device that is not there.
    """
    if backend != RAY:
        return resolve_device_and_dtype(device, dtype)
    from ifdkit.engine.ray_cluster import cluster_device, cluster_dtype

    found = cluster_device(device, ray_address)
    return found, cluster_dtype(dtype, found)


def _devices(device: str, workers: int) -> list[str]:
    """The device of each worker: `cuda` without a number is every GPU in turn."""
    if device != "cuda":
        return [device] * workers
    import torch

    return [f"cuda:{i % torch.cuda.device_count()}" for i in range(workers)]


def stream(
    backend: Backend, batches: Iterable[Sequence[Request]], *, n_planned: int
) -> Iterator[Sequence[Outcome]]:
    """The outcomes of each batch, in order, computed by one replica or by several.

    `n_planned`: batches of the whole plan, with those that the store has.
    """
    if isinstance(backend, ManyReplicas):
        return backend.stream(iter(batches), n_planned=n_planned)
    return map(backend.nll, batches)


def close(backend: Backend | None) -> None:
    """End the replicas of a backend, if it has any."""
    if isinstance(backend, ManyReplicas):
        backend.close()
