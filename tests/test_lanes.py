"""Several batches at a time, how many threads, and how idle ones wait."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ifdkit.engine import Backend, lanes
from ifdkit.engine.backends import stream
from ifdkit.engine.batching import Budget, plan
from ifdkit.engine.huggingface import HuggingFaceBackend
from ifdkit.engine.models import Weights
from ifdkit.engine.threads import available_threads, cgroup_cores, use_threads
from ifdkit.errors import UsageError
from ifdkit.records import NLL, Request
from ifdkit.scoring.settings import Settings
from tests import tiny
from tests.reference import ReferenceModel

TOLERANCE_NATS = 3e-5


def some_requests(n: int) -> list[Request]:
    generator = np.random.default_rng(n)
    lengths = generator.integers(5, 60, size=n)
    ids = [generator.integers(tiny.VOCABULARY, size=k).astype(np.int32) for k in lengths]
    return [Request(one, len(one) // 2, len(one)) for one in ids]


def batches_of(requests: list[Request]) -> list[list[int]]:
    return plan(requests, Budget(tokens=64, packs=True))


@pytest.fixture
def two_threads(threads: None) -> Iterator[None]:
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.mark.long
@pytest.mark.parametrize("architecture", sorted(tiny.ARCHITECTURES))
@pytest.mark.usefixtures("two_threads")
def test_lanes_agree_with_the_reference(architecture: str, tmp_path: Path) -> None:
    folder = tiny.save_model(tmp_path / architecture, architecture)
    backend = HuggingFaceBackend(Weights("m", folder, "test"), device="cpu", dtype="float32")
    requests = some_requests(17)
    planned = batches_of(requests)
    assert len(planned) > 5
    found = list(backend.stream(([requests[i] for i in b] for b in planned), n_planned=9))
    assert len(backend._replicas) == 2, "it ran in two lanes"
    assert torch.get_num_threads() == 2, "the setting is restored"
    torch.set_num_threads(1)  # as in a lane: with another number the last bits can differ
    reference = ReferenceModel(folder)
    for batch, nlls in zip(planned, found, strict=True):
        alone = backend.nll([requests[i] for i in batch])
        for i, nll, same in zip(batch, nlls, alone, strict=True):
            np.testing.assert_array_equal(nll, same)
            ids, start = requests[i].ids.tolist(), requests[i].start
            np.testing.assert_allclose(nll, reference.token_nll(ids, start), atol=TOLERANCE_NATS)


class Watched:
    """Scorers that record how many run at once, and in how many threads of torch."""

    def __init__(self) -> None:
        self.at_once = self.most = 0
        self.threads: set[int] = set()
        self._lock = threading.Lock()

    def __call__(self, requests: Sequence[Request]) -> list[NLL]:
        with self._lock:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        self.threads.add(torch.get_num_threads())
        # The first batches take longest, so that later ones overtake them.
        time.sleep(0.002 * (20 - requests[0].start))
        with self._lock:
            self.at_once -= 1
        return [np.array([request.start], np.float32) for request in requests]


def numbered(n: int) -> Iterator[list[Request]]:
    for i in range(n):
        yield [Request(np.zeros(30, np.int32), i + 1, i + 2)]


@pytest.mark.usefixtures("two_threads")
def test_results_come_in_order_from_lanes_that_run_at_once() -> None:
    watched = Watched()
    found = lanes.stream([watched] * 3, numbered(12), threads=1, stop=threading.Event())
    assert [int(batch[0][0]) for batch in found] == list(range(1, 13))
    assert watched.most == 3
    assert watched.threads == {1}
    assert torch.get_num_threads() == 2


def test_few_batches_are_read_ahead() -> None:
    """A stream of a large dataset is not read into memory."""
    seen: list[int] = []

    def watched() -> Iterator[list[Request]]:
        for i, batch in enumerate(numbered(18)):
            seen.append(i)
            yield batch

    found = lanes.stream([Watched()] * 2, watched(), threads=1, stop=threading.Event())
    next(found)
    assert len(seen) == lanes.BATCHES_AHEAD * 2
    found.close()  # type: ignore[attr-defined]  # a generator


def test_an_error_of_one_batch_is_raised_and_stops_the_others() -> None:
    def fails(requests: Sequence[Request]) -> list[NLL]:
        if requests[0].start == 4:
            raise UsageError("the fourth")
        return [np.zeros(1, np.float32)]

    stop = threading.Event()
    with pytest.raises(UsageError, match="the fourth"):
        list(lanes.stream([fails] * 2, numbered(12), threads=1, stop=stop))
    assert stop.is_set()
    assert not [one for one in threading.enumerate() if one.name.startswith("lane")]


@pytest.mark.usefixtures("two_threads")
def test_a_forward_pass_under_way_ends_when_the_caller_stops(tiny_model: Path) -> None:
    """After Ctrl-C nothing waits for a batch of a large model, which can take minutes."""
    backend = HuggingFaceBackend(Weights("m", tiny_model, "t"), device="cpu", dtype="float32")
    (replica, _) = backend._lanes(2)
    requests = some_requests(3)
    backend._stop.set()
    with pytest.raises(lanes._StoppedError):
        replica.nll(requests)
    backend._stop.clear()
    assert len(replica.nll(requests)) == 3


def test_copies_share_weights_and_nothing_that_the_head_replaces(tiny_model: Path) -> None:
    backend = HuggingFaceBackend(Weights("m", tiny_model, "t"), device="cpu", dtype="float32")
    (one, other) = backend._lanes(2)
    for replica in (one, other):
        pairs = zip(replica.model.parameters(), backend.model.parameters(), strict=True)
        assert all(a is b for a, b in pairs)
    bodies = {id(getattr(b.model, b.model.base_model_prefix)) for b in (one, other, backend)}
    assert len(bodies) == 3


def test_a_model_that_cannot_be_copied_runs_one_batch_at_a_time(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, two_threads: None
) -> None:
    backend = HuggingFaceBackend(Weights("m", tiny_model, "t"), device="cpu", dtype="float32")

    def refuse(*_: object) -> None:
        raise TypeError("cannot pickle a lock")

    monkeypatch.setattr(lanes, "shared_copy", refuse)
    requests = some_requests(4)
    found = list(backend.stream(iter([requests[:2], requests[2:]]), n_planned=2))
    assert [len(one) for one in found] == [2, 2]


@given(threads=st.integers(1, 300), n_batches=st.integers(0, 1000))
def test_lanes_never_exceed_threads_or_batches(threads: int, n_batches: int) -> None:
    n = lanes.lanes_of(threads, n_batches)
    assert 1 <= n <= min(threads, max(1, n_batches), lanes.MAX_LANES)
    if n_batches == 1:
        assert n == 1, "a single batch gets all threads"


def test_a_backend_that_takes_one_batch_at_a_time_streams_too() -> None:
    class One:
        budget = Budget(64, packs=False)

        def nll(self, requests: Sequence[Request]) -> list[NLL]:
            return [np.array([one.start], np.float32) for one in requests]

        def float32_problem(self) -> None:
            return None

    backend: Backend = One()
    found = stream(backend, numbered(3), n_planned=3)
    assert [np.asarray(batch[0]).tolist() for batch in found] == [[1], [2], [3]]


# A line of /proc/self/cgroup and files below the mount → the quota in cores.
CGROUPS = {
    "none": ("0::/\n", {}, None),
    "unlimited": ("0::/\n", {"cpu.max": "max 100000\n"}, None),
    "version 2": ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
    "own group": ("0::/a/b\n", {"a/b/cpu.max": "200000 100000\n", "cpu.max": "max 1"}, 2.0),
    "group above": (
        "0::/a/b\n",
        {"a/b/cpu.max": "400000 100000", "a/cpu.max": "50000 100000"},
        0.5,
    ),
    "version 1": (
        "3:memory:/x\n4:cpu,cpuacct:/x\n",
        {"cpu/x/cpu.cfs_quota_us": "300000\n", "cpu/x/cpu.cfs_period_us": "100000\n"},
        3.0,
    ),
    "version 1, unlimited": (
        "4:cpu:/x\n",
        {"cpu/x/cpu.cfs_quota_us": "-1\n", "cpu/x/cpu.cfs_period_us": "100000\n"},
        None,
    ),
    "another group's": ("0::/a\n", {"b/cpu.max": "50000 100000"}, None),
    "broken": ("nonsense\n0::/a\n", {"a/cpu.max": "many 100000"}, None),
}  # fmt: skip


@pytest.mark.parametrize("name", CGROUPS)
def test_the_quota_of_a_cgroup(name: str, tmp_path: Path) -> None:
    membership, files, cores = CGROUPS[name]
    root, listed = tmp_path / "cgroup", tmp_path / "membership"
    listed.write_text(membership, encoding="utf-8")
    for file, text in files.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(text, encoding="utf-8")
    assert cgroup_cores(root, listed) == cores


def test_threads_follow_affinity_and_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    for quota, expected in ((None, 6), (2.5, 3), (0.1, 1), (40.0, 6)):
        monkeypatch.setattr("ifdkit.engine.threads.cgroup_cores", lambda *_, q=quota: q)
        assert available_threads() == expected


def test_threads_are_lowered_to_the_quota_but_not_against_the_user(
    monkeypatch: pytest.MonkeyPatch, two_threads: None
) -> None:
    monkeypatch.setattr("ifdkit.engine.threads.available_threads", lambda: 1)
    assert use_threads(None) == 2
    assert torch.get_num_threads() == 2, "OMP_NUM_THREADS is set, which the user chose"
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert use_threads(None) == 2
    assert torch.get_num_threads() == 1
    use_threads(3)
    assert torch.get_num_threads() == 3


def test_threads_below_one_are_refused() -> None:
    with pytest.raises(UsageError, match="--threads 0: must be at least one"):
        Settings(threads=0)


def test_a_run_uses_the_threads_asked_for_and_restores_the_setting(
    tiny_model: Path, tmp_path: Path, two_threads: None
) -> None:
    import ifdkit

    words = ["the", "sea", "is", "wide", "and", "so", "sky", "is", "blue"]
    rows = [{"instruction": f"say {i}", "output": " ".join(words[i % 5 :] * 9)} for i in range(60)]

    def frame(threads: int | None) -> object:
        store = str(tmp_path / f"{threads}.sqlite")
        return ifdkit.score(
            rows, model=str(tiny_model), metrics="ifd", threads=threads, store=store
        )

    one, three, default = frame(1), frame(3), frame(None)
    assert [f.attrs["manifest"]["threads"] for f in (one, three, default)] == [1, 3, 2]  # type: ignore[attr-defined]
    np.testing.assert_allclose(one["ifd"], three["ifd"], rtol=1e-5)  # type: ignore[index]
    assert torch.get_num_threads() == 2


@pytest.mark.long
def test_idle_threads_sleep_unless_the_user_says_otherwise() -> None:
    code = (
        "import ifdkit.engine.huggingface, os; print(os.environ['OMP_WAIT_POLICY'],"
        " os.environ['KMP_BLOCKTIME'])"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "KMP_"))}
    for chosen, expected in ({}, "PASSIVE 0"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE 0"):
        printed = subprocess.run(
            [sys.executable, "-c", code],
            env={**environment, **chosen},
            capture_output=True,
            text=True,
            check=True,
        )
        assert printed.stdout.strip() == expected


def test_nothing_imports_torch_before_the_wait_policy_is_set() -> None:
    """OpenMP reads it when it is loaded, so only the package that sets it may import torch."""
    root = Path(__file__).parents[1] / "ifdkit"
    heavy = ("import torch", "from torch")
    found = {
        file.relative_to(root).parts[0]
        for file in root.rglob("*.py")
        if any(line.strip().startswith(heavy) for line in file.read_text("utf-8").splitlines())
    }
    assert found == {"engine"}
