"""Programs of this package in processes of their own, each at the other end of a connection.

A program is a module that is run as `python -m MODULE FD`, where FD is the file descriptor of its
end.  Objects are sent pickled, which is safe because both ends are this package.  When one process
ends, even by SIGKILL, the other one gets an EOFError.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path


def can_start_programs() -> bool:
    """Whether this system has the means, those of POSIX, and this process a Python to start."""
    is_python = bool(sys.executable) and not getattr(sys, "frozen", False)
    return is_python and hasattr(socket, "AF_UNIX") and hasattr(os, "fork")


def program_environment() -> dict[str, str]:
    """The variables of this process; a program imports what this process imports."""
    paths = os.pathsep.join(one or str(Path.cwd()) for one in sys.path)
    return {**os.environ, "PYTHONPATH": paths}


def start_program(
    module: str, environment: Mapping[str, str], *, is_silent: bool = False
) -> tuple[subprocess.Popen[bytes], Connection]:
    """Start a module as a program; its process, and this end of the connection.

    Its errors are printed, unless it `is_silent`.  Raises OSError if it cannot be started.
    """
    own, theirs = socket.socketpair()
    with own, theirs:
        descriptor = theirs.fileno()
        process = subprocess.Popen(
            # -P: a folder's own `torch.py` is not what the program should import
            [sys.executable, "-P", "-m", module, str(descriptor)],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL if is_silent else None,
            pass_fds=(descriptor,),
            env=dict(environment),
            process_group=0,  # Ctrl-C interrupts the driver alone, which then ends them
        )
        return process, Connection(own.detach())


def own_connection() -> Connection:
    """In a program: its end of the connection. What it prints no longer goes to stdout."""
    connection = Connection(int(sys.argv[1]))
    os.dup2(2, 1)  # stdout belongs to the results of the process that started it
    return connection
