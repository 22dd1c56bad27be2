"""The numbers of a file do not depend on what the store contained before."""

from __future__ import annotations

import hashlib
import json
import random
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ifdkit.cli.main import main
from ifdkit.engine.embedder import SentenceEmbedder
from ifdkit.engine.huggingface import HuggingFaceBackend
from ifdkit.errors import StoreError
from ifdkit.records import NLL, Request
from ifdkit.scoring.batches import batch_name, computed_together
from ifdkit.scoring.store import Store
from ifdkit.scoring.store_schema import COLUMNS

pytestmark = pytest.mark.long

WORDS = ["the", "sea", "a", "cat", "colour", "green", "name", "write", "list", "three", "facts"]


def write(path: Path, n: int) -> Path:
    draw = random.Random(n)
    with path.open("w") as file:
        for i in range(n):
            words = draw.choices(WORDS, k=draw.randint(1, 40))
            row = {"instruction": " ".join(draw.choices(WORDS, k=draw.randint(1, 9))),
                   "output": f"{i} " + " ".join(words)}  # fmt: skip
            file.write(json.dumps(row) + "\n")
    return path


def test_an_embedding_does_not_depend_on_other_texts(tiny_embedder: Path) -> None:
    embedder = SentenceEmbedder("tiny", tiny_embedder, device="cpu")
    texts = [" ".join(WORDS[:n]) for n in range(1, 14)]
    together = embedder.embed(texts)
    for text, vector in zip(texts, together, strict=True):
        (alone,) = embedder.embed([text])
        np.testing.assert_array_equal(alone, vector)
        np.testing.assert_array_equal(embedder.embed([text, *texts[:5]])[0], vector)


@pytest.mark.parametrize("warmed_by", [["--limit", "10"], ["--sample", "17"], ["--limit", "59"]])
def test_a_warm_store_gives_the_bytes_of_a_cold_one(
    tmp_path: Path, tiny_model: Path, tiny_embedder: Path, warmed_by: list[str]
) -> None:
    data = write(tmp_path / "data.jsonl", 60)

    def score(store: str, *more: str) -> bytes:
        output = tmp_path / "out.jsonl"
        arguments = ["score", str(data), "-o", str(output), "-m", str(tiny_model), "-q"]
        arguments += ["--embedder", str(tiny_embedder), "--metrics", "coherence"]
        assert main([*arguments, "--store", str(tmp_path / store), *more]) == 0
        return output.read_bytes()

    cold = score("cold")
    score("warm", *warmed_by)
    assert score("warm") == cold
    assert score("warm") == cold


@pytest.fixture
def rounds_by_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose numbers depend on everything in the batch, by up to 5e-5 of each."""
    nll = HuggingFaceBackend.nll

    def changed(self: HuggingFaceBackend, requests: Sequence[Request]) -> list[NLL]:
        together = hashlib.sha256(b"".join(one.content for one in requests)).digest()
        return [one * np.float32(1 + together[0] * 2e-7) for one in nll(self, requests)]

    monkeypatch.setattr(HuggingFaceBackend, "nll", changed)


@pytest.fixture
def score(tmp_path: Path, tiny_model: Path) -> Callable[..., tuple[bytes, dict[str, Any]]]:
    """Score a file with a store: the bytes of the output, and the manifest."""

    def run(data: Path, store: str, *more: str) -> tuple[bytes, dict[str, Any]]:
        output = tmp_path / "scored.jsonl"
        arguments = ["score", str(data), "-o", str(output), "-m", str(tiny_model), "-q"]
        arguments += ["--metrics", "ifd", "--store", str(tmp_path / store), *more]
        assert main(arguments) == 0
        return output.read_bytes(), json.loads(Path(f"{output}.manifest.json").read_bytes())

    return run


def change_store(path: Path, statement: str, *parameters: object) -> int:
    """Change a store behind its back; returns the number of rows changed."""
    with closing(sqlite3.connect(path)) as database, database:
        return database.execute(statement, parameters).rowcount


@pytest.mark.usefixtures("rounds_by_batch")
def test_lost_numbers_are_computed_in_the_batches_that_they_were_in(
    tmp_path: Path,
    score: Callable[..., tuple[bytes, dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A finished row would hide that its NLLs are lost.
    monkeypatch.setattr("ifdkit.scoring.finished.scope_of", lambda _: None)
    data = write(tmp_path / "data.jsonl", 60)
    cold, made = score(data, "store")
    with closing(sqlite3.connect(tmp_path / "store")) as database:
        keys = [key for (key,) in database.execute("SELECT key FROM nll ORDER BY key")]
    assert len(keys) == made["requests"] > 100
    damage = "UPDATE nll SET nats = x'00000000' WHERE key = ?"
    for statement in (damage, "DELETE FROM nll WHERE key = ?"):
        for key in keys[::30]:
            assert change_store(tmp_path / "store", statement, key) == 1
            change_store(tmp_path / "store", "DELETE FROM finished")
            again, manifest = score(data, "store")
            assert again == cold
            assert manifest["requests_scored"] == 1
    for n in (3, 30, len(keys)):
        lost = ",".join(f"x'{key.hex()}'" for key in keys[:n])
        assert change_store(tmp_path / "store", f"DELETE FROM nll WHERE key IN ({lost})") == n
        change_store(tmp_path / "store", "DELETE FROM finished")
        again, manifest = score(data, "store")
        assert again == cold
        assert manifest["requests_scored"] == n


@pytest.mark.parametrize("value", ["CAST(x'ff' AS TEXT)", "NULL", "'é'", "-1.5", "x''"])
@pytest.mark.parametrize(
    ("table", "column"),
    [(table, one) for table, columns in COLUMNS.items() for one in columns]
    + [("model", "name"), ("model", "id")],
)
def test_a_value_of_any_type_in_any_column_changes_no_number(
    tmp_path: Path,
    score: Callable[..., tuple[bytes, dict[str, Any]]],
    table: str,
    column: str,
    value: str,
) -> None:
    data = write(tmp_path / "data.jsonl", 3)
    cold, _ = score(data, "store")
    statement = f"UPDATE OR IGNORE {table} SET {column} = {value}"
    with suppress(sqlite3.IntegrityError):  # NOT NULL
        change_store(tmp_path / "store", statement)
    assert score(data, "store")[0] == cold


@pytest.mark.usefixtures("rounds_by_batch")
@pytest.mark.parametrize(
    "warmed_by",
    [
        ["--limit", "10"],
        ["--limit", "59"],
        ["--sample", "17"],
        ["--where", "instruction > 'g'"],
        ["--where", "instruction > 'g'", "--limit", "16"],
    ],
)
def test_a_run_over_part_of_a_file_does_not_change_the_numbers_of_all(
    tmp_path: Path,
    score: Callable[..., tuple[bytes, dict[str, Any]]],
    warmed_by: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ifdkit.scoring.run.EXAMPLES_PER_BLOCK", 8)
    data = write(tmp_path / "data.jsonl", 60)
    cold, made = score(data, "cold")
    part, _ = score(data, "warm", *warmed_by)
    again, manifest = score(data, "warm", *warmed_by)
    assert (again, manifest["requests_scored"]) == (part, 0)
    whole, manifest = score(data, "warm")
    assert whole == cold
    is_reused = warmed_by == ["--limit", "59"]  # blocks that were complete are used
    assert (manifest["requests_from_store"] > 0.8 * made["requests"]) == is_reused
    assert score(data, "warm")[1]["requests_scored"] == 0


@pytest.mark.usefixtures("rounds_by_batch")
def test_a_run_that_stops_at_any_batch_ends_with_the_bytes_of_a_whole_one(
    tmp_path: Path,
    score: Callable[..., tuple[bytes, dict[str, Any]]],
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = write(tmp_path / "data.jsonl", 60)
    cold, made = score(data, "cold")
    put, left = Store.put_nlls, 0

    def failing(self: Store, *arguments: Any, **named: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise StoreError("stopped")
        put(self, *arguments, **named)

    monkeypatch.setattr(Store, "put_nlls", failing)
    for n_batches in (1, 2, 5):
        left = n_batches
        command = ["score", str(data), "-m", str(tiny_model), "--metrics", "ifd", "-q"]
        command += ["--store", str(tmp_path / f"after-{n_batches}")]
        assert main([*command, "-o", str(tmp_path / "stopped.jsonl")]) == 2
        left = 1000
        again, manifest = score(data, f"after-{n_batches}")
        assert again == cold
        assert 0 < manifest["requests_scored"] < made["requests"]


@pytest.mark.usefixtures("rounds_by_batch")
def test_rows_of_another_dataset_are_used_and_nothing_else_is_computed(
    tmp_path: Path, score: Callable[..., tuple[bytes, dict[str, Any]]]
) -> None:
    data = write(tmp_path / "data.jsonl", 60)
    rows = data.read_text().splitlines()
    changed = [row.replace('"output": "', '"output": "No. ') if i % 2 else row
               for i, row in enumerate(rows)]  # fmt: skip
    other = tmp_path / "other.jsonl"
    other.write_text("\n".join(changed) + "\n")
    first, _ = score(data, "store")
    _, alone = score(other, "alone")
    _, shared = score(other, "store")
    assert shared["requests_from_store"] >= 60
    assert shared["tokens_scored"] < 0.75 * alone["tokens_scored"]
    assert score(data, "store")[0] == first, "its numbers are not replaced"


def test_what_is_computed_together() -> None:
    keys = [bytes([i]) for i in range(6)]
    whole = batch_name(keys[:4])
    planned = [0, 1, 2, 3]
    assert computed_together(planned, [2], keys, {k: whole for k in keys[:4] if k != keys[2]}) == [
        0, 1, 2, 3,
    ]  # fmt: skip
    # Number 0 was in the store already when the others were computed.
    rest = batch_name(keys[1:4])
    batches = {keys[0]: whole, keys[1]: rest, keys[3]: rest}
    assert computed_together(planned, [2], keys, batches) == [1, 2, 3]
    # Computed elsewhere, or by a version that did not keep the batch.
    assert computed_together(planned, [2], keys, {keys[0]: b"other", keys[1]: b"one"}) == [2]
    assert computed_together(planned, [1, 2], keys, {}) == [1, 2]
