"""Sessions of the viewer for tests: rows made by hand or in thousands, served on 127.0.0.1."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np

from ifdkit.data.options import ReadOptions
from ifdkit.viewing.marks import Marks
from ifdkit.viewing.run import serving
from ifdkit.viewing.session import Session
from ifdkit.viewing.sources import open_source

HOSTILE = "</script><img src=x onerror=\"document.title='owned'\"><b>bold</b> \u202e"


def opened(folder: Path, *paths: Path | str) -> Session:
    """A session that has not started; its marks are in `folder`."""
    return Session(open_source(list(paths), ReadOptions()), Marks(folder / "marks.jsonl"), {})


def read(folder: Path, *paths: Path | str) -> Session:
    """A session with everything read and checked."""
    session = opened(folder, *paths)
    session.start()
    session.wait()
    assert session.problem is None
    return session


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def synthetic(path: Path, n: int) -> Path:
    """`n` rows of invented words as Parquet, with columns `source`, `quality` and `year`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = np.array(["".join(rng.choice(letters, rng.integers(3, 9))) for _ in range(20_000)])
    weights = 1 / (np.arange(20_000) + 10)
    weights /= weights.sum()
    writer = None
    for begin in range(0, n, 50_000):
        size = min(50_000, n - begin)
        ranks = rng.choice(len(words), (size, 72), p=weights)
        texts = [" ".join(one) for one in words[ranks]]
        table = pa.table(
            {
                "id": [f"row-{i}" for i in range(begin, begin + size)],
                "instruction": [one[: one.index(" ", 60)] for one in texts],
                "output": [one[60 : 60 + length] for one, length in
                           zip(texts, rng.integers(40, 420, size).tolist(), strict=True)],
                "source": rng.choice(["web", "books", "code"], size).tolist(),
                "quality": rng.normal(0.5, 0.15, size),
                "year": rng.integers(2010, 2026, size),
            }
        )  # fmt: skip
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()
    return path


@dataclass
class Client:
    """Requests with any header to a served session."""

    address: str
    cookie: str = ""

    @property
    def port(self) -> int:
        return urlsplit(self.address).port or 0

    def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers in lower case, body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        given = {"Host": f"127.0.0.1:{self.port}", "Cookie": self.cookie, **(headers or {})}
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in given.items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        content = answer.read()
        connection.close()
        return answer.status, found, content

    def get(self, path: str, **values: Any) -> Any:
        """The JSON of an answer that must be 200."""
        status, _, body = self.ask(f"/api/{path}?{urlencode(values)}")
        assert status == 200, body
        return json.loads(body)

    def log_in(self) -> None:
        """Follow the printed address, as a browser does."""
        parts = urlsplit(self.address)
        status, headers, _ = self.ask(f"/?{parts.query}")
        assert status == 200
        self.cookie = headers["set-cookie"].split(";")[0]


@contextmanager
def served(session: Session) -> Iterator[Client]:
    """A client that has the cookie."""
    with serving(session) as address:
        client = Client(address)
        client.log_in()
        yield client
