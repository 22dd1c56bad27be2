"""A warm process that starts commands by forking, so that hundreds can be killed in a minute.

with Zygote(folder) as zygote:
    zygote.run(["score", "data.jsonl"])                # exit code
    zygote.run(["score", "data.jsonl"], kill_s=0.05)   # -9 if it was killed before its end
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[1]
_CHILD_S = 120
_SERVE = """
import json, os, resource, signal, sys, time
import torch
import matplotlib.figure, openai, scipy.stats
import transformers.models.llama.modeling_llama
import ifdkit.report.comparison.html, ifdkit.comparison.run, ifdkit.scoring.joining
import ifdkit.reflection.run, ifdkit.engine.huggingface, ifdkit.selection.run, ifdkit.auditing.run
import filelock, pandas
from {program} import main

torch.set_num_threads(1)
for line in sys.stdin:
    order = json.loads(line)
    begin = time.perf_counter()
    child = os.fork()
    if not child:
        signal.alarm({child_s})
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1), os.dup2(log, 2)
        os._exit(main(order["arguments"]))
    if order["kill_s"] is not None:
        time.sleep(order["kill_s"])
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    print(json.dumps([code, time.perf_counter() - begin]), flush=True)
"""


class Zygote:
    """Runs commands in `folder`."""

    def __init__(
        self,
        folder: Path,
        hidden: Sequence[str] = ("OPENAI_API_KEY", "OPENAI_BASE_URL"),
        *,
        program: str = "ifdkit.cli.main",
    ) -> None:
        """Its processes have no variables of the `hidden` names, and run `main` of the program."""
        self._folder, self._hidden, self._program = folder, hidden, program
        self.elapsed_s = 0.0
        """Of the last command."""
        self.log = ""
        """What the last command printed."""

    def __enter__(self) -> Self:
        kept = {name: value for name, value in os.environ.items() if name not in self._hidden}
        serve = _SERVE.replace("{child_s}", str(_CHILD_S)).replace("{program}", self._program)
        self._process: Any = subprocess.Popen(
            [sys.executable, "-P", "-c", serve], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, cwd=self._folder,
            env={**kept, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1",
                 "TOKENIZERS_PARALLELISM": "false"},
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def run(self, arguments: Sequence[str], kill_s: float | None = None) -> int:
        """Run a command to its end, or kill it after some seconds. Its exit code."""
        log = self._folder / "log.txt"
        order = {"arguments": list(arguments), "kill_s": kill_s, "log": str(log)}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        code, self.elapsed_s = json.loads(self._process.stdout.readline())
        self.log = log.read_text(errors="replace")
        return int(code)
