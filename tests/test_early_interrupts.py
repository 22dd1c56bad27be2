"""Ctrl-C at any moment from the start of the command: one line, 130, no traceback of ours.

What cannot be had: before the first lines of `ifdkit/__init__.py` run, Python itself starts,
imports `site` and looks for the package. There Ctrl-C kills the process or is Python's traceback.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import ifdkit

pytestmark = pytest.mark.long
PACKAGE = Path(ifdkit.__file__).parent
FIRST_FILE = str(PACKAGE / "__init__.py")
N_FIRST_LINES = 1 + next(
    number
    for number, line in enumerate(Path(FIRST_FILE).read_text().splitlines())
    if "_signal.signal(" in line
)
"""Lines up to the one after which Ctrl-C is handled."""
INTERRUPTED = r"ifdkit: Interrupted[^\n]*\n"
SCRIPT = Path(sys.executable).with_name("ifdkit")
STARTS = {"module": [sys.executable, "-m", "ifdkit"], "script": [str(SCRIPT)]}

TRACER = """
import json, os, signal, sys

PACKAGE, RESULTS, LOG, STEP = (os.environ[key] for key in ("PACKAGE", "RESULTS", "LOG", "STEP"))
STEP, results = int(STEP), open(RESULTS, "w")
n_own = n_foreign = 0

def is_chosen(frame):
    global n_own, n_foreign
    if not frame.f_code.co_filename.startswith(PACKAGE):
        n_foreign += bool(n_own)
        return n_foreign % (100 * STEP) == 1
    n_own += 1
    return frame.f_code.co_filename.count("__") or n_own % STEP == 0

def tracer(frame, event, _):
    if event != "line" or not is_chosen(frame):
        return tracer
    sys.settrace(None)
    default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    child = os.fork()
    if not child:
        os.dup2(os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.kill(os.getpid(), signal.SIGINT)
        return None
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    where = [frame.f_code.co_filename, frame.f_lineno]
    results.write(json.dumps([*where, default, code, open(LOG).read()]) + "\\n")
    results.flush()
    sys.settrace(tracer)
    return tracer

sys.settrace(tracer)
"""
"""Loaded by `site`. At many lines, from our first one, a copy of the process is sent SIGINT."""


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(PACKAGE.parent)])}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="interrupts copies of the process")
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize(
    ("arguments", "step"),
    [
        (["--version"], 40),
        pytest.param(["score", "no-such-file", "-q"], 800, marks=pytest.mark.slow),
    ],
)
def test_an_interrupt_at_many_lines(
    start: str, arguments: list[str], step: int, tmp_path: Path
) -> None:
    if not Path(STARTS[start][0]).exists():
        pytest.skip("ifdkit is not installed here")
    (tmp_path / "sitecustomize.py").write_text(TRACER)
    results = tmp_path / "results"
    subprocess.run(
        [*STARTS[start], *arguments], capture_output=True, cwd=tmp_path, timeout=300,
        env={**environment(tmp_path), "PACKAGE": str(PACKAGE), "RESULTS": str(results),
             "LOG": str(tmp_path / "log"), "STEP": str(step)},
    )  # fmt: skip
    found = [json.loads(line) for line in results.read_text().splitlines()]
    assert len(found) > 100
    assert {Path(file).name for file, *_ in found} > {"__init__.py", "__main__.py"}
    n_first = next(number for number, one in enumerate(found) if not one[2])
    first = found[:n_first]
    assert 0 < len(first) < 15
    assert max(line for file, line, *_ in first if file == FIRST_FILE) == N_FIRST_LINES
    assert all("Traceback" in stderr for *_, stderr in first), "the negative control"
    problems = [one for one in found[n_first:] if not is_fine(one[3], one[4])]
    assert not problems, problems[:3]


def is_fine(code: int, stderr: str) -> bool:
    """Whether a run was interrupted in one line, or had its result and ended with it."""
    if code == 130:
        return re.fullmatch(INTERRUPTED, stderr) is not None
    return code in (0, 2) and stderr.count("\n") <= 1 and "Exception ignored" not in stderr


def send(process: subprocess.Popen[str], delay_s: float) -> tuple[int, str]:
    time.sleep(delay_s)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    return process.returncode, stderr


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("arguments", [["--help"], ["models"], ["score", "x.jsonl", "-q"]])
def test_an_interrupt_at_random_moments(start: str, arguments: list[str], tmp_path: Path) -> None:
    if not Path(STARTS[start][0]).exists():
        pytest.skip("ifdkit is not installed here")
    row = {"instruction": "Add 2 and 3", "output": "It is 5"}
    (tmp_path / "x.jsonl").write_text(json.dumps(row) + "\n")
    draw = random.Random(start + arguments[0])
    for _ in range(10):
        delay_s = draw.uniform(0, 0.5)
        process = subprocess.Popen(
            [*STARTS[start], *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, cwd=tmp_path, env=environment(tmp_path),
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        code, stderr = send(process, delay_s)
        if "Traceback" in stderr or code == -signal.SIGINT:  # Python's own start
            frames = re.findall(r'File "(.*?)", line (\d+)', stderr)
            ours = [(file, int(line)) for file, line in frames if file.startswith(str(PACKAGE))]
            assert all(f == FIRST_FILE and n <= N_FIRST_LINES for f, n in ours), (delay_s, stderr)
        else:
            assert is_fine(code, stderr), (delay_s, code, stderr)


def test_an_ignored_interrupt_stays_ignored(tmp_path: Path) -> None:
    """As a shell starts a command in the background."""
    process = subprocess.Popen(
        [*STARTS["module"], "--version"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env=environment(tmp_path),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )  # fmt: skip
    for _ in range(20):
        process.send_signal(signal.SIGINT)
        time.sleep(0.01)
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 0


PROGRAM = """
import signal, sys
import ifdkit
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
"""


@pytest.mark.parametrize("name", ["program.py", "ifdkit.py", "my-ifdkit"])
def test_a_program_keeps_its_handler(name: str, tmp_path: Path) -> None:
    place = tmp_path / "programs" / name
    place.parent.mkdir()
    place.write_text(f"import sys\nsys.path[0] = ''\n{PROGRAM}")
    command = [sys.executable, str(place), "ifdkit", "-m", "ifdkit"]
    done = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_package_of_a_program_keeps_its_handler(tmp_path: Path) -> None:
    """While Python looks for a module of -m, `sys.argv` does not name it."""
    (tmp_path / "analysis").mkdir()
    for name in ("__init__", "__main__"):
        (tmp_path / "analysis" / f"{name}.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "analysis", "ifdkit"]
    done = subprocess.run(
        command, env=environment(tmp_path), cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


INTERRUPTED_IN_EXEC = """
import ifdkit.__main__, ifdkit.cli.main

def main():
    try:
        exec("raise KeyboardInterrupt")  # as where `dataclass` makes a method
    except KeyboardInterrupt:
        return 130

ifdkit.cli.main.main = main
ifdkit.__main__.run()
"""


def test_an_interrupt_inside_exec_ends_with_the_code(tmp_path: Path) -> None:
    (tmp_path / "patched.py").write_text(INTERRUPTED_IN_EXEC)
    command = [sys.executable, "-m", "patched"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(tmp_path))
    assert done.returncode == 130  # not killed by SIGINT, which is Python's own end
