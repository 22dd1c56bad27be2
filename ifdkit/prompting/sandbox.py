"""Where untrusted templates are rendered: in a process of its own, within limits.

A chat template comes with a model, and a template file or the prompts of `reflect` often with a
dataset.  Jinja's sandbox keeps
both from Python's internals, but not from looping or growing without end, in the template and even
while it compiles (`{{ 10**10**10 }}`).  So they are compiled and rendered in a process that the
operating system ends at a limit, whatever it is doing.  It has no environment variables and cannot
write files.  This process reads nothing from it but text.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ifdkit.errors import UsageError
from ifdkit.prompting import sandbox_worker as worker
from ifdkit.visible import one_line

DEFAULT_DATE = "2024-07-26"
"""The day that templates take for today.  It is what the templates of Llama 3 print if they are
given no clock."""


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """What the templates of one sandbox may use."""

    cpu_s: float = 2.0
    """CPU time for one prompt, fifty times what the slowest of real templates takes for a
    conversation of 2,000 turns."""
    wall_s: float = 30.0
    """Time for one prompt by the clock, for systems without a limit on CPU time."""
    memory_bytes: int = 2**30
    """Address space of the process: twice what a row of the largest admitted size takes."""
    extra_chars: int = 1_000_000
    """Characters that a prompt may have, besides ten for each one of its conversation."""
    max_exceeded: int = 30
    """Prompts that may exceed the time or the memory before the run ends."""


LIMITS = SandboxLimits()
_JOBS_PER_FRAME = 512
_CHARS_PER_FRAME = 4_000_000
_MAX_MESSAGE_BYTES = 8 * worker.MAX_MESSAGE
_ENDED = b""
"""Kind of an answer that does not come, because the process has ended."""


@dataclass(frozen=True, slots=True)
class Job:
    """One prompt to render."""

    template: str
    """A key of the sandbox's sources."""
    variables: Mapping[str, Any]
    """Plain data."""
    n_chars: int
    """Characters of the conversation."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """The prompt of a job, or why there is none."""

    text: str | None
    problem: str = ""
    """One line: the template's own words if it refuses the conversation."""
    is_limit: bool = False
    """Whether the problem is a limit that the template exceeded."""


class Sandbox:
    """Renders the templates of a model, or one of a user. Several threads may use it."""

    def __init__(
        self,
        name: str,
        sources: Mapping[str, str],
        *,
        style: Literal["chat", "file"],
        date: str | None = None,
        variables: Mapping[str, Any] | None = None,
        limits: SandboxLimits = LIMITS,
    ) -> None:
        """Compile the templates. Raises UsageError if one does not compile within the limits.

        `name` is for messages; every prompt gets the `variables`.
        """
        self.name, self.date, self.limits = name, date or DEFAULT_DATE, limits
        self.used_clock = False
        """Whether a prompt contains the date."""
        self._setup: dict[str, Any] = {
            "templates": dict(sources),
            "style": style,
            "date": self.date,
            "variables": dict(variables or {}),
            "cpu_s": limits.cpu_s,
            "memory_bytes": limits.memory_bytes,
        }
        self.n_exceeded = 0
        """Prompts so far that exceeded the time or the memory."""
        self._lock = threading.Lock()
        self._process = self._start()

    def render(self, jobs: Sequence[Job]) -> list[Rendered]:
        """The prompt of each job, in order.

        Raises UsageError after `max_exceeded` prompts that exceeded the time or the memory.
        """
        found: list[Rendered] = []
        with self._lock:
            while len(found) < len(jobs):
                found += self._render_frame(_next_frame(jobs, len(found)))
        return found

    def _start(self) -> _Process:
        """A process that has compiled the templates."""
        try:
            process = _Process(self.limits)
        except OSError as error:
            raise UsageError(
                f"template {self.name!r}: no process to render it can be started: {error}"
            ) from error
        with process.watched():
            process.send(self._setup)
            for _ in self._setup["templates"]:
                kind, text = process.receive(_MAX_MESSAGE_BYTES)
                if kind != worker.TEXT:
                    raise UsageError(
                        f"{self._problem(kind, text)}; docs/protocols.md lists the variables"
                    )
        return process

    def _render_frame(self, jobs: Sequence[Job]) -> list[Rendered]:
        """The prompts of the jobs, up to the first that ends the process."""
        max_chars = [self.limits.extra_chars + 10 * job.n_chars for job in jobs]
        frame = [(one.template, one.variables, n) for one, n in zip(jobs, max_chars, strict=True)]
        found: list[Rendered] = []
        kind = _ENDED
        with self._process.watched():
            self._process.send(frame)
            for n in max_chars:
                kind, text = self._process.receive(4 * n + _MAX_MESSAGE_BYTES)
                if kind in (worker.TEXT, worker.CLOCK):
                    self.used_clock |= kind == worker.CLOCK
                    found.append(Rendered(text))
                    continue
                is_limit = kind in (worker.TOO_LONG, worker.NO_MEMORY, _ENDED)
                found.append(Rendered(None, self._problem(kind, text, n), is_limit))
                if kind in (worker.NO_MEMORY, _ENDED):
                    self._count_exceeded(found[-1].problem)
                if kind == _ENDED:
                    break
        if kind == _ENDED:
            self._process = self._start()
        return found

    def _count_exceeded(self, problem: str) -> None:
        """Each costs seconds: a run over many rows would not end."""
        self.n_exceeded += 1
        if self.n_exceeded >= self.limits.max_exceeded:
            raise UsageError(
                f"{problem}, like {self.n_exceeded - 1} prompts before: choose another --template"
            )

    def _problem(self, kind: bytes, text: str, max_chars: int = 0) -> str:
        """Why there is no prompt, in one line."""
        text = one_line(text, 200)
        match kind:
            case worker.REFUSED if text:
                return text
            case worker.REFUSED:
                what = "refuses this conversation"
            case worker.TOO_LONG:
                what = f"renders more than {max_chars:,} characters"
            case worker.NO_MEMORY:
                what = f"takes more than {self.limits.memory_bytes // 2**20:,} MiB of memory"
            case _:
                what = text if kind == _ENDED else f"fails: {text}"
        return f"template {self.name!r} {what}"


def _next_frame(jobs: Sequence[Job], begin: int) -> Sequence[Job]:
    """The jobs from `begin` on that are sent together: one, or as many as memory allows."""
    n_chars = 0
    end = begin
    while end < min(len(jobs), begin + _JOBS_PER_FRAME):
        n_chars += jobs[end].n_chars
        if n_chars > _CHARS_PER_FRAME and end > begin:
            break
        end += 1
    return jobs[begin:end]


class _Process:
    """A process of `sandbox_worker`, which ends with this object. Raises OSError on no start."""

    def __init__(self, limits: SandboxLimits) -> None:
        environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        if "SYSTEMROOT" in os.environ:  # without it Python does not start on Windows
            environment["SYSTEMROOT"] = os.environ["SYSTEMROOT"]
        self._popen = subprocess.Popen(
            # -P keeps modules of the working folder out, -S the code in .pth files.
            [sys.executable, "-S", "-P", worker.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the parent
        )
        self._limits = limits
        self._stop = weakref.finalize(self, _stop, self._popen)
        self._deadline = float("inf")
        self._killed_for = ""

    def send(self, value: Any) -> None:
        """Send a setup or jobs; the answers show if the process has ended."""
        payload = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
        assert self._popen.stdin, "a pipe"
        self._deadline = time.monotonic() + self._limits.wall_s
        with contextlib.suppress(BrokenPipeError):
            self._popen.stdin.write(worker.LENGTH.pack(len(payload)))
            self._popen.stdin.write(payload)
            self._popen.stdin.flush()

    def receive(self, max_bytes: int) -> tuple[bytes, str]:
        """Kind and text of the next answer; _ENDED and why, if none comes."""
        assert self._popen.stdout, "a pipe"
        self._deadline = time.monotonic() + self._limits.wall_s
        head = self._popen.stdout.read(worker.LENGTH.size)
        n_bytes = worker.LENGTH.unpack(head)[0] if len(head) == worker.LENGTH.size else 0
        answer = self._popen.stdout.read(n_bytes) if 0 < n_bytes <= max_bytes else b""
        if answer and len(answer) == n_bytes:
            return answer[:1], answer[1:].decode("utf-8", "replace")
        if n_bytes > max_bytes:
            self._popen.kill()
        code = self._popen.wait()
        self._stop()
        if self._killed_for:
            return _ENDED, self._killed_for
        if code == -getattr(signal, "SIGPROF", 0):
            return _ENDED, f"takes more than {self._limits.cpu_s:g} s"
        return _ENDED, f"ended its process with code {code}"

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Kill the process if it takes too long for an answer, or too much memory.

        The process limits itself where the system can; this is for the others.
        """
        done = threading.Event()
        thread = threading.Thread(target=self._watch, args=(done,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _watch(self, done: threading.Event) -> None:
        while not done.wait(0.1):
            if time.monotonic() > self._deadline:
                self._killed_for = f"takes more than {self._limits.wall_s:g} s"
            elif _resident_bytes(self._popen.pid) > self._limits.memory_bytes:
                n_mib = self._limits.memory_bytes // 2**20
                self._killed_for = f"takes more than {n_mib:,} MiB of memory"
            if self._killed_for:
                self._popen.kill()
                return


def _resident_bytes(pid: int) -> int:
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:  # it has ended
        return 0


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):  # a frame that was not sent
            if stream:
                stream.close()
