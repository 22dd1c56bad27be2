"""`ifdkit view`: serve the page until Ctrl-C."""

from __future__ import annotations

import errno
import shlex
import socket
import threading
import webbrowser
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ifdkit.data.options import ReadOptions
from ifdkit.errors import InputError, UsageError, brief
from ifdkit.topics.layouts import LayoutName, check_layout
from ifdkit.viewing.marks import Marks
from ifdkit.viewing.security import new_token
from ifdkit.viewing.session import Session
from ifdkit.viewing.sources import ViewedData, open_source

HOST = "127.0.0.1"
DEFAULT_PORT = 8787


def view(
    paths: Sequence[str],
    *,
    marks: Path | None = None,
    port: int | None = None,
    is_opened: bool = True,
    on_demand: bool = False,
    export: bool = False,
    map_layout: LayoutName = "pca",
    settings: Mapping[str, Any] | None = None,
    read_options: ReadOptions | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Show datasets, scores files or a comparison folder in a browser, until Ctrl-C.

    `settings` are the fields of :class:`ifdkit.Settings` that the caller has set; they are used for
    the tokens of single rows.  With `export` nothing is served, and the rows are written with their
    map for embedding-atlas.  `map_layout` is `pca` or `umap`.  Raises IfdkitError before the server
    starts.
    """
    if export:
        _export(paths, settings or {}, read_options or ReadOptions(), map_layout, say)
        return
    check_extra()
    source = open_viewed(paths, read_options or ReadOptions(), map_layout)
    kept = Marks(marks or marks_beside(paths[0]))
    listener, is_other = listen(DEFAULT_PORT if port is None else port)
    try:
        session = Session(source, kept, settings or {}, on_demand=on_demand, map_layout=map_layout)
        try:
            session.start()
            number = listener.getsockname()[1]
            token = new_token()
            address = f"http://{HOST}:{number}/?token={token}"
            if is_other and port is not None:
                say(f"Port {port} is in use; serving on {number}.")
            say(f"{source.title}\n\n  {address}\n\nMarks are kept in {kept.path}. Ctrl-C to stop.")
            if is_opened:
                with suppress(webbrowser.Error):
                    webbrowser.open(address)
            serve(session, listener, token)
        finally:
            session.close()
    finally:
        listener.close()


def _export(
    paths: Sequence[str],
    settings: Mapping[str, Any],
    read_options: ReadOptions,
    map_layout: LayoutName,
    say: Callable[[str], None],
) -> None:
    from ifdkit.viewing.export import export_atlas

    source = open_viewed(paths, read_options, map_layout)
    session = Session(source, Marks(marks_beside(paths[0])), settings, map_layout=map_layout)
    try:
        session.start()
        session.wait()
        if session.problem is not None:
            raise InputError(session.problem)
        output = Path(f"{paths[0].rstrip('/')}.atlas.parquet")
        command = export_atlas(session, output)
        say(f"→ {output}\n\n  {shlex.join(command)}")
    finally:
        session.close()


def open_viewed(
    paths: Sequence[str], read_options: ReadOptions, map_layout: LayoutName
) -> ViewedData:
    """What is viewed, if its map can have the layout. Raises IfdkitError."""
    check_layout(map_layout)
    source = open_source(list(paths), read_options)
    if source.kind == "comparison" and map_layout not in ("pca", source.summary.get("map_layout")):
        raise UsageError(
            f"--map {map_layout}: the map of a comparison is part of its folder; make it with"
            f" ifdkit compare --map {map_layout}"
        )
    return source


def check_extra() -> None:
    """Raise UsageError if the packages of the extra are not installed."""
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"`ifdkit view` needs packages that are not installed ({brief(error)}): install them"
            " with pip install 'ifdkit[view]'"
        ) from error


def marks_beside(path: str) -> Path:
    """`PATH.marks.jsonl`."""
    return Path(f"{path.rstrip('/')}.marks.jsonl")


def listen(port: int) -> tuple[socket.socket, bool]:
    """A socket on 127.0.0.1, and whether it has another port because this one is in use.

    Raises UsageError if the port is not allowed.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    is_other = False
    try:
        try:
            listener.bind((HOST, port))
            listener.listen()
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            is_other = True
            listener.bind((HOST, 0))
            listener.listen()
    except (OSError, OverflowError) as error:
        listener.close()
        raise UsageError(f"--port {port}: {getattr(error, 'strerror', None) or error}") from error
    return listener, is_other


def serve(session: Session, listener: socket.socket, token: str) -> None:
    """Serve until SIGINT or SIGTERM, which ends the server at once."""
    import uvicorn

    from ifdkit.viewing.server import make_app

    config = _config(make_app(session, token=token, port=listener.getsockname()[1]))
    # uvicorn raises the signal again once it has stopped: stopping is how this command ends.
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])


def _config(app: Any) -> Any:
    import uvicorn

    return uvicorn.Config(
        app,
        log_level="error",
        access_log=False,
        lifespan="off",
        ws="none",
        http="h11",
        server_header=False,
        timeout_graceful_shutdown=1,
    )


@contextmanager
def serving(session: Session) -> Iterator[str]:
    """Serve in a thread while the block runs, and give the address: for tests and measurements."""
    import uvicorn

    from ifdkit.viewing.server import make_app

    listener, _ = listen(0)
    number, token = listener.getsockname()[1], new_token()
    server = uvicorn.Server(_config(make_app(session, token=token, port=number)))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    session.start()
    thread.start()
    try:
        yield f"http://{HOST}:{number}/?token={token}"
    finally:
        server.should_exit = True
        thread.join(timeout=5)
        session.close()
        listener.close()
