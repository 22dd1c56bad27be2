"""Finished rows of the store give back what scoring gave, and nothing in any other case."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ifdkit.cli.main import main
from ifdkit.data.atomic import json_line
from ifdkit.data.options import ReadOptions
from ifdkit.errors import StoreError
from ifdkit.prompting.alignment import Aligner
from ifdkit.records import Example, Status, Turn
from ifdkit.scoring import finished, run
from ifdkit.scoring.finished import FinishedRows, scope_of
from ifdkit.scoring.formats import JsonLinesWriter
from ifdkit.scoring.metrics import METRICS, register_metric
from ifdkit.scoring.progress import Progress
from ifdkit.scoring.rows import ScoreRow, score_columns
from ifdkit.scoring.run import score_to_file
from ifdkit.scoring.scorer import Scorer
from ifdkit.scoring.settings import Settings
from ifdkit.scoring.store import Store

pytestmark = pytest.mark.long

PAIRS: list[dict[str, Any]] = [
    {"instruction": "Name a colour.", "output": "Blue, or green."},
    {"instruction": "Add these.", "input": "2 and 2", "output": "4"},
    {"instruction": "Name a colour.", "output": "Blue, or green."},
    {"instruction": "Nothing follows.", "output": ""},
    {"instruction": "", "output": "Nobody asked."},
    {"instruction": "Write a story.", "output": "Once upon a time there was a sea. " * 12},
    {"instruction": "Read this. " * 60, "output": "I have."},
    {"instruction": "Übersetze «世界»", "output": "the world 🙂"},
    {"output": 7, "instruction": "a number is no text"},
]
CHATS = [
    {"messages": [{"role": "user", "content": f"Hello {i}"}, {"role": role, "content": "a call"},
                  {"role": "user", "content": "And?"}, {"role": "assistant", "content": "Well."},
                  {"role": "user", "content": "So?"}, {"role": "assistant", "content": "Bye."}]}
    for i, role in enumerate(("assistant", "tool", "assistant"))
]  # fmt: skip
DOCUMENTS = [{"text": "The sea is wide. " * n} for n in (0, 1, 5, 60)]
DATASETS: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "pairs": (PAIRS, {"max_length": 64, "metrics": ("ppl", "ifd", "rifd", "coherence")}),
    "published": (PAIRS, {"protocol": "superfiltering", "metrics": ("ppl", "ifd")}),
    "on request": (PAIRS, {"max_length": 64, "metrics": ("ppl", "ifd", "tokens", "text")}),
    "conversations": (CHATS, {"template": "chat", "metrics": ("ppl", "ifd")}),
    "documents": (DOCUMENTS, {"max_length": 40, "metrics": ("ppl",)}),
}
OF_THE_RUN = {"created", "command", "requests_from_store", "requests_scored", "texts_embedded",
              "tokens_scored", "elapsed_s", "model_load_s", "scoring_s", "embedding_s",
              "tokens_per_s", "threads", "output", "input", "input_sha256"}  # fmt: skip


class Notes(Progress):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        if not text.startswith("loading "):
            self.notes.append(text)


class Scored:
    """A file of scores with everything beside it."""

    def __init__(self, folder: Path, rows: list[dict[str, Any]], chosen: Settings) -> None:
        data, output = folder / "data.jsonl", folder / "out.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        progress = Notes()
        summary = score_to_file(data, output, chosen, ReadOptions(), progress)
        self.content = output.read_bytes()
        self.notes = progress.notes
        self.made = summary.manifest
        whole = summary.as_json()
        manifest = {k: v for k, v in whole.pop("manifest").items() if k not in OF_THE_RUN}
        self.told = whole | {"output": None, "manifest": manifest}

    @property
    def seen(self) -> tuple[Any, ...]:
        return self.content, self.notes, self.told


@pytest.fixture(params=DATASETS)
def case(
    request: pytest.FixtureRequest, tmp_path: Path, tiny_model: Path, tiny_embedder: Path
) -> tuple[list[dict[str, Any]], Callable[..., Scored]]:
    rows, given_settings = DATASETS[request.param]

    def run(chosen: list[dict[str, Any]], store: str = "store", **more: Any) -> Scored:
        of_all = {"model": str(tiny_model), "embedder": str(tiny_embedder),
                  "store": str(tmp_path / store)}  # fmt: skip
        return Scored(tmp_path, chosen, Settings(**{**of_all, **given_settings, **more}))

    return rows, run


def forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("tokenised again")

    monkeypatch.setattr(Aligner, "align", refuse)


def test_only_blocks_that_may_wait_for_a_model_are_prepared_beside_another(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[bool] = []
    is_slow = finished.BlockScorer.is_slow

    def recorded(self: finished.BlockScorer, prepared: finished.Prepared) -> bool:
        found.append(is_slow(self, prepared))
        return found[-1]

    def seen(**more: Any) -> list[bool]:
        chosen = Settings(model=str(tiny_model), store=str(tmp_path / "store"), metrics=("ifd",))
        found.clear()
        Scored(tmp_path, PAIRS, dataclasses.replace(chosen, **more))
        return found.copy()

    monkeypatch.setattr(finished.BlockScorer, "is_slow", recorded)
    monkeypatch.setattr(run, "EXAMPLES_PER_BLOCK", 3)
    assert seen() == [True] * 3
    assert seen() == [False] * 3, "nothing is left to score"
    assert seen(window=32) == [True, False, False], "the first block shows that NLLs are known"


def test_a_row_that_cannot_be_kept_ends_the_run(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(Store, "put_finished", full)
    with pytest.raises(StoreError, match="full"):
        Scored(tmp_path, PAIRS, Settings(model=str(tiny_model), store=str(tmp_path / "store")))
    assert not (tmp_path / "out.jsonl").exists()


def test_rows_seen_before_come_back_alike(
    case: tuple[list[dict[str, Any]], Callable[..., Scored]], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, run = case
    cold = run(rows)
    warm = run(rows)
    assert warm.seen == cold.seen
    assert warm.made.requests_from_store == warm.made.requests == cold.made.requests > 0
    assert run(rows, "other").seen == cold.seen
    # Negative control: an invalid row is not kept, so where there is one, it is aligned again.
    forbid(monkeypatch)
    if Status.INVALID in cold.made.status_counts:
        with pytest.raises(AssertionError, match="tokenised again"):
            run(rows)
    else:
        assert run(rows).seen == cold.seen


@pytest.mark.parametrize("known", [(0,), (1, 2)])
def test_a_store_that_has_finished_some_rows_gives_what_one_without_rows_gives(
    case: tuple[list[dict[str, Any]], Callable[..., Scored]],
    known: tuple[int, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The reference is the same store of NLLs: they depend on their batches by rounding."""
    rows, run = case
    run([rows[i] for i in known])
    part, again = run(rows), run(rows)
    monkeypatch.setattr(finished, "scope_of", lambda _: None)
    run([rows[i] for i in known], "reference")
    expected = run(rows, "reference")
    assert part.seen == expected.seen
    assert again.seen == run(rows, "reference").seen
    counts = ("requests", "requests_from_store", "requests_scored", "tokens_scored")
    assert [getattr(part.made, n) for n in counts] == [getattr(expected.made, n) for n in counts]


def test_everything_that_decides_a_row_is_in_its_key(
    tmp_path: Path, tiny_model: Path, tiny_embedder: Path
) -> None:
    base: dict[str, Any] = {
        "model": str(tiny_model),
        "embedder": str(tiny_embedder),
        "store": str(tmp_path / "store"),
        "metrics": ("ppl",),
    }
    wording = tmp_path / "template.jinja"
    wording.write_text("{{ instruction }}\n")
    changes: list[dict[str, Any]] = [
        {},
        {"window": 8},
        {"max_length": 64},
        {"stride": 16},
        {"dtype": "bfloat16"},
        {"protocol": "superfiltering"},
        {"template": "vicuna"},
        {"template": str(wording)},
        {"template": str(wording), "template_date": "2020-01-01"},
        {"metrics": ("ppl", "rifd")},
        {"metrics": ("ppl", "coherence")},
    ]
    scopes = []
    for change in changes:
        with Scorer(Settings(**{**base, **change})) as scorer:
            scopes.append(scope_of(scorer))
    assert None not in scopes
    assert len(set(scopes)) == len(changes)
    with Scorer(Settings(**base)) as scorer:
        assert scope_of(scorer) == scopes[0]


def test_rows_are_not_kept_if_not_all_is_known_that_they_depend_on(
    tmp_path: Path, tiny_model: Path
) -> None:
    base: dict[str, Any] = {"model": str(tiny_model), "metrics": ("ppl",)}
    kept = {**base, "store": str(tmp_path / "store")}
    dated = tmp_path / "dated.jinja"
    dated.write_text("{% if tools %}{{ strftime_now('%d') }}{% endif %}{{ instruction }}")
    for given_settings in (
        {**base, "store": "off"},
        {**kept, "token_nll": True},
        {**kept, "template": str(dated)},
    ):
        with Scorer(Settings(**given_settings)) as scorer:
            assert scope_of(scorer) is None
    register_metric("mine", lambda _: 1.0)
    try:
        with Scorer(Settings(**kept)) as scorer:
            assert scope_of(scorer) is None
    finally:
        del METRICS["mine"]
    with Scorer(Settings(**kept)) as scorer:
        assert scope_of(scorer) is not None


def test_a_damaged_row_is_scored_again(tmp_path: Path, tiny_model: Path) -> None:
    path = tmp_path / "store"
    chosen = Settings(model=str(tiny_model), metrics=("ppl",), store=str(path))
    cold = Scored(tmp_path, PAIRS, chosen)
    database = sqlite3.connect(path)
    with database:
        (n,) = database.execute("SELECT count(*) FROM finished").fetchone()
        database.execute("UPDATE finished SET record = zeroblob(length(record))")
    database.close()
    assert n == len({json.dumps(row) for row in PAIRS}) - 1, "all but the rejected row"
    warm = Scored(tmp_path, PAIRS, chosen)
    assert warm.content == cold.content
    assert any("the score store was damaged" in note for note in warm.notes)
    database = sqlite3.connect(path)
    with database:
        database.execute("UPDATE finished SET record = 'x' WHERE key = (SELECT max(key) FROM"
                         " finished)")  # fmt: skip
    database.close()
    with Store(path) as store:
        assert store.verify().damaged == 1
        assert store.verify().damaged == 0
    assert Scored(tmp_path, PAIRS, chosen).seen == cold.seen


def test_a_store_without_the_table_gets_it(tmp_path: Path) -> None:
    """As one has that ifdkit made before there were finished rows."""
    path = tmp_path / "store"
    with Store(path) as store:
        store.put_finished({b"key": b"value"})
    database = sqlite3.connect(path)
    database.execute("DROP TABLE finished")
    database.execute("PRAGMA user_version = 2")
    database.close()
    with Store(path) as store:
        assert store.get_finished([b"key"]) == {}
        store.put_finished({b"key": b"value"})
        assert store.get_finished([b"key"]) == {b"key": b"value"}


ROLES = st.sampled_from(["system", "user", "assistant", "tool"])
TEXT = st.text(alphabet="ab1 \n", max_size=4)
TURNS = st.builds(Turn, ROLES, TEXT, TEXT, TEXT, TEXT)
EXAMPLES = st.builds(
    Example,
    id=TEXT,
    row=st.integers(0, 9),
    turn=st.integers(0, 9),
    context=st.lists(TURNS, max_size=2).map(tuple),
    response=TEXT,
    tools=TEXT,
    is_document=st.booleans(),
)


@given(EXAMPLES, EXAMPLES)
@settings(max_examples=200)
def test_keys_are_equal_if_and_only_if_the_content_is(one: Example, other: Example) -> None:
    def content(example: Example) -> Example:
        return dataclasses.replace(example, id="", row=0, turn=0)

    with Store(None) as store:
        rows = FinishedRows(store, "scope")
        assert (rows._key(one) == rows._key(other)) == (content(one) == content(other))
        assert rows._key(one) == rows._key(dataclasses.replace(one, id="x", row=11, turn=12))
        assert FinishedRows(store, "other scope")._key(one) != rows._key(one)


NUMBERS = {
    name: st.none() | (st.integers(0, 2**40) if one.is_integer else st.floats(allow_nan=False))
    for name, one in METRICS.items()
}


@given(
    st.fixed_dictionaries(NUMBERS),
    st.sampled_from([one for one in Status if one is not Status.INVALID]),
    st.none() | st.text(),
    st.none() | st.lists(st.none() | st.floats(allow_nan=False), max_size=3),
    st.lists(st.sampled_from(["system", "tools"]), max_size=2).map(tuple),
    st.frozensets(st.binary(min_size=8, max_size=8), max_size=5),
)
@settings(max_examples=100)
def test_a_record_reads_back_as_it_was(
    numbers: dict[str, Any],
    status: Status,
    reason: str | None,
    windows: list[float | None] | None,
    omitted: tuple[str, ...],
    requests: frozenset[bytes],
) -> None:
    example = Example("id", 3, 1, (), "response")
    row = ScoreRow(
        id="id",
        row=3,
        turn=1,
        status=str(status),
        reason=reason,
        numbers=numbers,
        ppl_windows=windows,
        omitted=omitted,
    )
    with Store(None) as store:
        rows = FinishedRows(store, "scope", METRICS)  # as if all were asked for
        back = rows._unpacked(rows._packed(row, requests), example)
        plain = FinishedRows(store, "scope")
        some = plain._unpacked(plain._packed(row, requests), example).row.numbers
    assert back.row == row
    assert list(some) == list(METRICS)
    for name, metric in METRICS.items():  # those on request take no space if nobody asks for them
        assert some[name] == (None if metric.is_optional else numbers[name])
    assert all(type(back.row.numbers[name]) is type(value) for name, value in numbers.items())
    assert list(back.row.numbers) == list(METRICS)
    assert back.requests == requests


@given(st.lists(st.tuples(st.fixed_dictionaries(NUMBERS), st.text(max_size=5)), max_size=4))
@settings(max_examples=50, deadline=None)
def test_a_line_of_numbers_is_what_json_makes_of_it(
    found: list[tuple[dict[str, Any], str]],
) -> None:
    rows = [
        ScoreRow(
            id=text,
            row=i,
            turn=0,
            status=str(Status.OK),
            reason=text or None,
            numbers={name: None if _is_infinite(n) else n for name, n in numbers.items()},
        )
        for i, (numbers, text) in enumerate(found)
    ]
    for documents in (False, True):
        file, names = io.BytesIO(), score_columns(documents=documents)
        JsonLinesWriter(file, names).write(rows)
        expected = [json_line({name: row.column(name) for name in names}) for row in rows]
        assert file.getvalue() == b"".join(expected)


def _is_infinite(number: float | None) -> bool:
    return number is not None and math.isinf(number)


_COMMAND = """
import sys
from ifdkit.cli.main import main
code = main(sys.argv[1:])
print(code, *sorted({"torch", "transformers", "tokenizers", "pandas"} & set(sys.modules)))
"""


@pytest.mark.long
def test_a_command_whose_rows_are_known_imports_neither_torch_nor_a_tokenizer(
    tmp_path: Path, tiny_model: Path, tiny_embedder: Path
) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in PAIRS))
    arguments = ["score", str(data), "-o", str(tmp_path / "out.jsonl"), "-q", "--device", "cpu"]
    arguments += ["-m", str(tiny_model), "--embedder", str(tiny_embedder)]
    arguments += ["--store", str(tmp_path / "store")]
    assert main(arguments) == 0

    def imported(*more: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", _COMMAND, *arguments, *more],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.splitlines()[-1].split()

    assert imported() == ["0"]
    # With another window the rows are made again, which takes the tokenizer: the kept one.
    assert imported("--window", "9") == ["0", "tokenizers"]
    # Negative control: what is not in the store takes the model.
    assert {"torch", "transformers"} <= set(imported("--protocol", "superfiltering"))
