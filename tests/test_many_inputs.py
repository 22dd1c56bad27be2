"""Several inputs as one dataset: naming, order, ids, choices, and inputs that cannot be read."""

from __future__ import annotations

import gzip
import io
import json
import random
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from ifdkit.data.dataset import Dataset, open_dataset
from ifdkit.data.many_inputs import ManyInputs, expand
from ifdkit.data.options import ReadOptions
from ifdkit.data.where import expression_of
from ifdkit.errors import InputError, UsageError
from ifdkit.records import Example, Reject

pytestmark = pytest.mark.long

Row = dict[str, Any]


def rows(n: int, begin: int = 0) -> list[Row]:
    return [{"instruction": f"Ask {i}?", "output": f"Answer {i}."} for i in range(begin, begin + n)]


def shard(path: Path, content: Sequence[Row]) -> Path:
    """A file of rows in the format of its ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in content)
    if path.name.endswith(".parquet"):
        pd.DataFrame(content).to_parquet(path)
    elif path.name.endswith(".csv"):
        pd.DataFrame(content).to_csv(path, index=False)
    elif path.name.endswith(".gz"):
        path.write_bytes(gzip.compress(lines.encode()))
    else:
        path.write_text(lines, encoding="utf-8")
    return path


def examples(dataset: Dataset) -> list[Example]:
    return [one for found in dataset if not isinstance(found, Reject) for one in found]


def rejects(dataset: Dataset) -> list[Reject]:
    return [found for found in dataset if isinstance(found, Reject)]


def sources(dataset: Dataset) -> list[str | None]:
    return [part.source for part in dataset.parts]


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# Naming


def test_a_folder_is_read_recursively_and_sorted() -> None:
    for name in ("b/2.jsonl", "b/1.parquet", "a ü.jsonl.gz", "c.csv"):
        shard(Path("shards", name), rows(2))
    for name in (
        *(".hidden.jsonl", ".git/x.jsonl", "x.manifest.json", "x.rejects.jsonl", "notes.md"),
        *("x.scores.jsonl", "x.scores.parquet", "x.scored.jsonl.gz", "x.rows.jsonl", "README.txt"),
        *("x.provenance.jsonl", "x.dropped.jsonl", "dataset_info.json"),
    ):
        Path("shards", name).parent.mkdir(exist_ok=True)
        Path("shards", name).write_text("{}")
    dataset = open_dataset("shards")
    assert sources(dataset) == ["a ü.jsonl.gz", "b/1.parquet", "b/2.jsonl", "c.csv"]
    assert [part.first_row for part in dataset.parts] == [0, 2, 4, 6]
    assert [one.row for one in examples(dataset)] == list(range(8))
    assert "skipped 10 files beside the data: shards/README.txt" in dataset.describe()


def test_globs_are_expanded_and_sorted() -> None:
    for name in ("b/2.jsonl", "b/1.jsonl", "a/3.jsonl", "a/x.scores.jsonl", "a/b/4.jsonl"):
        shard(Path(name), rows(1))
    assert sources(open_dataset("b/*.jsonl")) == ["1.jsonl", "2.jsonl"]
    assert sources(open_dataset("*/*.jsonl")) == ["a/3.jsonl", "b/1.jsonl", "b/2.jsonl"]
    assert sources(open_dataset("**/*.jsonl")) == ["a/3.jsonl", "a/b/4.jsonl", "b/1.jsonl",
                                                   "b/2.jsonl"]  # fmt: skip
    assert sources(open_dataset("[ab]")) == ["a/3.jsonl", "a/b/4.jsonl", "b/1.jsonl", "b/2.jsonl"]
    assert expand("a/*.scores.jsonl") == "a/x.scores.jsonl", "asked for by name"


def test_a_file_whose_name_has_brackets_is_that_file() -> None:
    shard(Path("a[1].jsonl"), rows(1))
    shard(Path("a1.jsonl"), rows(2))
    assert open_dataset("a[1].jsonl").n_rows == 1


def test_one_input_is_as_before() -> None:
    """A glob or a folder with one file, and a list of one path, are that file."""
    path = shard(Path("shards/a.jsonl"), rows(3))
    for data in ("shards", "shards/*", ["shards/a.jsonl"], [path], (path,)):
        dataset = open_dataset(data)
        assert (dataset.name, dataset.path) == ("shards/a.jsonl", path)
        assert sources(dataset) == [None]
    assert expand(path) is path
    assert expand(rows(2)) == rows(2), "a list of dictionaries is rows"


def test_sources_are_relative_to_the_deepest_common_folder(tmp_path: Path) -> None:
    for name in ("x/en/a.jsonl", "x/de/a.jsonl", "y/a.jsonl"):
        shard(Path(name), rows(1))
    assert sources(open_dataset(["x/en/a.jsonl", "x/de/a.jsonl"])) == ["en/a.jsonl", "de/a.jsonl"]
    every = ["x", str(tmp_path / "y" / "a.jsonl")]
    assert sources(open_dataset(every)) == ["x/de/a.jsonl", "x/en/a.jsonl", "y/a.jsonl"]


def test_standard_input_and_files_together(monkeypatch: pytest.MonkeyPatch) -> None:
    path = shard(Path("a.jsonl"), rows(2))
    content = io.BytesIO(json.dumps(rows(1, 5)[0]).encode())
    stdin = SimpleNamespace(buffer=content, closed=False, isatty=lambda: False)
    monkeypatch.setattr("sys.stdin", stdin)
    dataset = open_dataset([path, "-"])
    assert sources(dataset) == ["a.jsonl", "-"]
    assert [one.response for one in examples(dataset)] == ["Answer 0.", "Answer 1.", "Answer 5."]


def test_hub_ids_have_a_prefix_and_a_split(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def load(name: str, split: str) -> list[Row]:
        asked.append((name, split))
        return rows(2, 7)

    monkeypatch.setitem(__import__("sys").modules, "datasets", SimpleNamespace(load_dataset=load))
    path = shard(Path("a.jsonl"), rows(1))
    dataset = open_dataset([path, "hf://owner/name:validation"])
    assert sources(dataset) == ["a.jsonl", "hf://owner/name:validation"]
    assert asked == [("owner/name", "validation")]
    assert dataset.n_rows == 3


# Refused


def test_what_is_not_there_is_named() -> None:
    shard(Path("a.jsonl"), rows(1))
    with pytest.raises(InputError, match=r"^no file matches 'shards/\*\.jsonl'$"):
        open_dataset("shards/*.jsonl")
    with pytest.raises(InputError, match=r"^no such file: b\.jsonl"):
        open_dataset(["a.jsonl", "b.jsonl"])
    Path("empty").mkdir()
    Path("empty/notes.md").write_text("x")
    with pytest.raises(InputError, match=r"empty is a folder, .* contains no data files"):
        open_dataset("empty")


def test_the_same_file_twice_is_refused() -> None:
    path = shard(Path("shards/a.jsonl"), rows(1))
    shard(Path("shards/b.jsonl"), rows(1, 3))
    with pytest.raises(InputError, match=r"^shards/a\.jsonl is given twice: name each input once"):
        open_dataset(["shards", path])
    Path("link.jsonl").symlink_to(path)
    with pytest.raises(InputError, match=r"link\.jsonl is the same file as shards/a\.jsonl"):
        open_dataset([path, "link.jsonl"])


def test_links_are_followed_and_circles_end() -> None:
    shard(Path("elsewhere/a.jsonl"), rows(1))
    shard(Path("elsewhere/b.jsonl"), rows(1))
    Path("shards").mkdir()
    Path("shards/linked.jsonl").symlink_to(Path("elsewhere/a.jsonl").resolve())
    Path("shards/folder").mkdir()
    Path("shards/folder/b.jsonl").symlink_to(Path("elsewhere/b.jsonl").resolve())
    Path("shards/folder/up").symlink_to(Path("shards").resolve())
    assert sources(open_dataset("shards")) == ["folder/b.jsonl", "linked.jsonl"]


def test_given_columns_apply_where_they_exist() -> None:
    shard(Path("a.jsonl"), [{"q": "Ask?", "a": "Answer.", "instruction": "x", "output": "y"}])
    shard(Path("b.jsonl"), rows(1))
    dataset = open_dataset(["a.jsonl", "b.jsonl"], columns={"instruction": "q", "response": "a"})
    assert [one.response for one in examples(dataset)] == ["Answer.", "Answer 0."]
    with pytest.raises(UsageError, match="none of the inputs has a column 'nope'"):
        open_dataset(["a.jsonl", "b.jsonl"], columns={"instruction": "nope"})


# Ids


def mixed() -> list[Path]:
    """Own ids that occur again, in one input and in others, and rows without ids."""
    first = [{"id": i % 3, **row} for i, row in enumerate(rows(5))]
    second = [{"id": 1, **rows(1)[0]}, {"id": "b.jsonl/1", **rows(1)[0]}, *rows(3)]
    third = [*rows(3), {"id": 1, **rows(1)[0]}]
    parts = zip("abc", (first, second, third), strict=True)
    return [shard(Path(f"{name}.jsonl"), content) for name, content in parts]


def test_ids_are_unique_over_the_inputs() -> None:
    found = [one.id for one in examples(open_dataset(mixed()))]
    assert found[:5] == ["0", "1", "2", "0", "1"], "within one input they are kept"
    assert found[5:7] == ["b.jsonl/1", "b.jsonl/b.jsonl/1"]
    hashed = found[7:13]
    assert {one[-2:] for one in hashed[:3]} == {"-0"}
    assert hashed[3:] == [f"{one[:-2]}-1" for one in hashed[:3]], "the count goes on"
    assert found[13] == "c.jsonl/1"
    assert len(set(found[5:])) == len(found[5:])


def test_hashed_ids_avoid_the_ids_of_another_input() -> None:
    shard(Path("b.jsonl"), rows(1))
    made = examples(open_dataset("b.jsonl"))[0].id
    shard(Path("a.jsonl"), [{"id": made, **rows(1, 1)[0]}])
    found = [one.id for one in examples(open_dataset(["a.jsonl", "b.jsonl"]))]
    assert found == [made, f"{made[:-2]}-1"]


def test_ids_do_not_depend_on_the_choice() -> None:
    dataset = open_dataset(mixed())
    known = {one.row: one.id for one in examples(dataset)}
    generator = random.Random(0)
    for _ in range(30):
        chosen = generator.sample(range(dataset.n_rows), generator.randint(1, 9))
        found = {one.row: one.id for one in examples(dataset.choose(chosen))}
        assert found == {row: known[row] for row in chosen}


# Choices


def test_choices_are_over_the_whole() -> None:
    paths = [shard(Path(f"{name}.jsonl"), rows(4, 4 * k)) for k, name in enumerate("abc")]
    dataset = open_dataset(paths)
    assert ReadOptions(limit=6).narrow(dataset).rows_per_source() == {
        "a.jsonl": 4,
        "b.jsonl": 2,
        "c.jsonl": 0,
    }
    drawn = ReadOptions(sample=5, seed=1).narrow(dataset)
    one = open_dataset(shard(Path("one.jsonl"), rows(12)))
    assert drawn.rows == ReadOptions(sample=5, seed=1).narrow(one).rows
    where = expression_of("source == 'b.jsonl' and row > 4")
    assert ReadOptions(where=where).narrow(dataset).rows == [5, 6, 7]
    assert [raw.row for raw in dataset.choose([11, 2]).raw_rows()] == [2, 11]


def test_a_column_named_source_needs_backticks_if_there_are_several_inputs() -> None:
    def choose(data: Any, text: str) -> list[int]:
        return ReadOptions(where=expression_of(text)).narrow(open_dataset(data)).rows

    for name in "ab":
        content = [{"source": s, **row} for s, row in zip("xy", rows(2), strict=True)]
        shard(Path(f"{name}.jsonl"), content)
    assert choose("a.jsonl", "source == 'x'") == [0]
    both = ["a.jsonl", "b.jsonl"]
    assert choose(both, "source == 'b.jsonl'") == [2, 3]
    assert choose(both, "`source` == 'x'") == [0, 2]


def test_labels_count_in_every_input() -> None:
    shard(Path("a.jsonl"), [{"label": i > 0, **row} for i, row in enumerate(rows(3))])
    shard(Path("b.jsonl"), [{"label": False, **row} for row in rows(2)])
    shard(Path("c.jsonl"), rows(2))
    dataset = open_dataset(["a.jsonl", "b.jsonl", "c.jsonl"])
    assert dataset.rows == [1, 2, 5, 6]
    assert dataset.n_false == 3


def test_layouts_may_differ() -> None:
    chat = [{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}]
    shard(Path("a.json"), chat)
    shard(Path("b.parquet"), rows(1))
    dataset = open_dataset(["a.json", "b.parquet"])
    assert [one.response for one in examples(dataset)] == ["b", "Answer 0."]
    assert "2 inputs, 2 rows; 1 × " in dataset.describe()
    assert dataset.filled_columns == {}, "they have none in common"


# Inputs that cannot be read


def broken_inputs() -> dict[str, bytes]:
    packed = gzip.compress(b"".join(json.dumps(row).encode() + b"\n" for row in rows(50)))
    table = io.BytesIO()
    pd.DataFrame(rows(5)).to_parquet(table)
    return {
        "truncated.jsonl.gz": packed[: len(packed) // 2],
        "footer.parquet": table.getvalue()[:-20],
        "empty.jsonl": b"",
        "words.jsonl": b"not\ndata\n",
        "list.json": b"[1, 2]",
        "strange.csv": b"x,y\n1,2\n",
    }


@pytest.mark.parametrize("name", broken_inputs())
def test_an_unreadable_input_is_one_reject(name: str) -> None:
    shard(Path("a.jsonl"), rows(2))
    shard(Path("z.jsonl"), rows(2, 2))
    Path(name).write_bytes(broken_inputs()[name])
    dataset = open_dataset(["a.jsonl", name, "z.jsonl"])
    (reject,) = rejects(dataset)
    assert (reject.row, reject.source) == (2, name)
    assert [one.row for one in examples(dataset)] == [0, 1, 3, 4]
    assert dataset.n_rows == 5
    assert [line.split(":")[0] for line in dataset.problems()] == [name]
    assert dataset.problems()[0].endswith("; counted as one rejected row")
    with pytest.raises(InputError):
        open_dataset(name)  # alone, it is an error as before


def test_rows_before_a_break_are_kept() -> None:
    generator = random.Random(0)
    content = [
        {"instruction": f"Ask {i}?", "output": f"{generator.getrandbits(4000):x}"}
        for i in range(3000)
    ]
    shard(Path("a.jsonl.gz"), content)
    whole = Path("a.jsonl.gz").read_bytes()
    Path("a.jsonl.gz").write_bytes(whole[: len(whole) * 3 // 4])
    shard(Path("b.jsonl"), rows(2))
    dataset = open_dataset(["a.jsonl.gz", "b.jsonl"])
    (reject,) = rejects(dataset)
    assert 1000 < reject.row < 3000
    assert [one.row for one in examples(dataset)][-2:] == [reject.row + 1, reject.row + 2]
    assert f"only its first {reject.row:,} rows could be read" in dataset.problems()[0]
    assert rejects(dataset.choose([reject.row])) == [reject]
    assert list(dataset) == list(dataset), "the same again"


def test_nothing_readable_is_an_error() -> None:
    for name in ("a.jsonl", "b.jsonl"):
        Path(name).write_bytes(b"")
    with pytest.raises(InputError, match=r"none of the 2 inputs can be read; the first: a\.jsonl "):
        open_dataset(["a.jsonl", "b.jsonl"])


def test_a_thousand_shards_leave_no_file_open_and_need_little_memory() -> None:
    for i in range(1000):
        shard(Path(f"shards/{i:04}.jsonl"), rows(2, 2 * i))
    many = expand("shards")
    assert isinstance(many, ManyInputs)
    tracemalloc.start()
    dataset = open_dataset(many)
    before = set(Path("/proc/self/fd").iterdir())
    assert sum(1 for _ in examples(dataset)) == 2000
    assert set(Path("/proc/self/fd").iterdir()) <= before
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40 * 2**20
