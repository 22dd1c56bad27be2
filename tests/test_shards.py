"""`score --shard` and `merge`: the bytes of an undivided run, and what is refused."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifdkit.cli.main import main
from ifdkit.data.options import ReadOptions
from ifdkit.errors import IfdkitError, InputError, OutputError, UsageError
from ifdkit.records import Example, Turn
from ifdkit.scoring import merging, run
from ifdkit.scoring.formats import FORMATS
from ifdkit.scoring.merging import merge
from ifdkit.scoring.run import score_to_file
from ifdkit.scoring.settings import Settings
from ifdkit.scoring.shards import Block, ChosenBlocks, Shard, parse_shard
from tests.killing import without_times

pytestmark = pytest.mark.long

N_SHARDS = 3


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "EXAMPLES_PER_BLOCK", 4)
    draw = random.Random(0)
    rows = [
        {"instruction": f'Say, "{i}"\r\nfor me.', "output": "a word " * draw.randint(1, 40)}
        for i in range(40)
    ]
    lines = [json.dumps(row) for row in rows]
    for place in (3, 17, 30):
        lines.insert(place, "not JSON")
    (tmp_path / "data.jsonl").write_text("\n".join(lines))
    return tmp_path


@pytest.fixture
def score(folder: Path, tiny_model: Path) -> Callable[..., Path]:
    def score(name: str, number: int | None = None, count: int = N_SHARDS, **more: object) -> Path:
        settings = Settings(model=str(tiny_model), metrics=("ifd",), store="store.sqlite")
        settings = replace(settings, **more)  # type: ignore[arg-type]
        shard = Shard(number, count) if number else None
        output = Path(name)
        score_to_file(folder / "data.jsonl", output, settings, ReadOptions(), shard=shard)
        return output

    return score


def files(path: Path) -> dict[str, bytes]:
    names = (path, Path(f"{path}.rejects.jsonl"))
    return {
        str(one).removeprefix(path.stem): one.read_bytes() if one.exists() else b"" for one in names
    }


@pytest.mark.parametrize("ending", FORMATS)
def test_merged_shards_are_the_bytes_of_one_run(ending: str, score: Callable[..., Path]) -> None:
    whole = score(f"whole{ending}", token_nll=True)
    Path("store.sqlite").unlink()
    shards = [score(f"s{i}{ending}", i, token_nll=True) for i in range(1, N_SHARDS + 1)]
    done = merge(shards[::-1], Path(f"merged{ending}"))
    assert files(Path(f"merged{ending}")) == files(whole)
    told = [json.loads(Path(f"{name}{ending}.manifest.json").read_bytes())
            for name in ("whole", "merged")]  # fmt: skip
    assert told[1].pop("merged_from") == [f"s{i}{ending}" for i in range(1, N_SHARDS + 1)]
    for one in told:
        for name in ("command", "output"):
            del one[name]
    assert without_times(told[0]) == without_times(told[1])
    assert done.manifest.rows_rejected == 3
    assert merging._FORMATS.keys() == FORMATS.keys()


def test_a_shard_finds_its_demonstrations_in_the_whole_dataset(
    score: Callable[..., Path], folder: Path, tiny_model: Path, tiny_embedder: Path
) -> None:
    more = {"metrics": ("miwv",), "embedder": str(tiny_embedder)}
    whole = score("whole.jsonl", **more)
    parts = [
        score(f"{i}.jsonl", i, store=f"store-{i}.sqlite", **more) for i in range(1, N_SHARDS + 1)
    ]
    merge(parts, Path("merged.jsonl"))
    assert Path("merged.jsonl").read_bytes() == whole.read_bytes()
    # Negative control: the rows of a part alone have other neighbors.
    settings = Settings(model=str(tiny_model), store="store.sqlite", **more)  # type: ignore[arg-type]
    score_to_file(folder / "data.jsonl", Path("part.jsonl"), settings, ReadOptions(limit=8))
    lines = Path("part.jsonl").read_text().splitlines()
    values = [json.loads(line)["miwv"] for line in lines]
    assert None not in values
    of_whole = [json.loads(line)["miwv"] for line in whole.read_text().splitlines()]
    assert values != of_whole[: len(values)]


@pytest.fixture
def shards(score: Callable[..., Path]) -> list[Path]:
    return [score(f"s{i}.jsonl", i) for i in range(1, N_SHARDS + 1)]


def refused(shards: list[Path], match: str, kind: type[IfdkitError] = InputError) -> None:
    with pytest.raises(kind, match=match):
        merge(shards, Path("out.jsonl"))
    assert not list(Path().glob("out.jsonl*"))


def test_what_merge_refuses_and_names(shards: list[Path], score: Callable[..., Path]) -> None:
    refused(shards[1:], r"of 3 shards, these are missing: 1; .*--array=1$")
    refused(shards[:1], r"these are missing: 2-3; .*--array=2-3$")
    copy = Path(shutil.copy("s2.jsonl", "copy.jsonl"))
    refused([*shards, copy], "copy.jsonl is not a complete shard")
    shutil.copy("s2.jsonl.manifest.json", "copy.jsonl.manifest.json")
    refused(
        [*shards, copy], r"copy.jsonl and s2.jsonl|s2.jsonl and copy.jsonl.* are both shard 2/3"
    )
    refused([*shards[:2], score("other.jsonl", 3, window=8)],
            r"other.jsonl is of another run than s1.jsonl: its window is 8, not 64")  # fmt: skip
    refused([*shards[:2], score("four.jsonl", 3, 4)],
            r"four.jsonl is of another run .* one of 4 shards of \d+ blocks, not of 3")  # fmt: skip
    refused([*shards[:2], score("whole.jsonl")], "whole.jsonl is not a shard")
    refused([*shards[:2], Path("no.jsonl")], "no.jsonl does not exist")
    with Path("s3.jsonl").open("ab") as file:
        file.write(b"\n")
    refused(shards, "s3.jsonl is not a complete shard: .* it was changed")
    with pytest.raises(OutputError, match="is the input itself"):
        merge(shards, shards[0])
    with pytest.raises(OutputError, match=r"end it in \.jsonl, as the shards do"):
        merge([*shards[:2], score("s3.jsonl", 3)], Path("out.csv"))


def test_rejects_that_were_left_behind(shards: list[Path]) -> None:
    (left, *_) = sorted(Path().glob("s?.jsonl.rejects.jsonl"))
    left.unlink()
    refused(shards, f"{left} is missing, which belongs to a shard")


def test_a_changed_dataset_is_another_run(
    shards: list[Path], score: Callable[..., Path], folder: Path
) -> None:
    with (folder / "data.jsonl").open("a") as file:
        file.write('\n{"instruction": "a", "output": "b"}')
    refused([*shards[:2], score("s3.jsonl", 3)], r"s3.jsonl is of another run.*its input_sha256")


def test_shards_that_overlap(shards: list[Path]) -> None:
    """As two versions could make them that divide otherwise."""
    path = Path("s2.jsonl.manifest.json")
    manifest = json.loads(path.read_bytes())
    taken = json.loads(Path("s1.jsonl.manifest.json").read_bytes())["shard"]["blocks"][0]
    manifest["shard"]["blocks"][0] = taken
    path.write_text(json.dumps(manifest))
    refused(shards, "the shards s1.jsonl, s2.jsonl overlap")


def test_more_shards_than_blocks(score: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match=r"--shard 12/12: data|.* at most \d+ shards"):
        score("out.jsonl", 12, 12)
    assert not Path("out.jsonl").exists()


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/", "a/b", "-1/3", "1/3/5", "1 / 3"])
def test_wrong_shards(text: str) -> None:
    with pytest.raises(UsageError, match="write I/N"):
        parse_shard(text)
    assert parse_shard("3/8") == Shard(3, 8)


def block(text_length: int) -> Block:
    example = Example("", 0, 0, (Turn("user", "x" * text_length),), "y" * text_length)
    return Block(1, [example], [], is_full=True)


@given(st.lists(st.integers(0, 500), min_size=1, max_size=60), st.integers(1, 6))
def test_shards_are_disjoint_complete_and_balanced(lengths: list[int], count: int) -> None:
    blocks = [block(length) for length in lengths]

    def own(number: int) -> Iterator[Block]:
        try:
            yield from ChosenBlocks(Shard(number, count), "data").of(blocks)
        except UsageError:
            assert count > 1, "one shard has everything"

    found = [list(own(number)) for number in range(1, count + 1)]
    assert sorted(map(id, (one for part in found for one in part))) == sorted(map(id, blocks))
    weights = [sum(one.weight + 1 for one in part) for part in found]
    assert max(weights) - min(weights) <= max(one.weight + 1 for one in blocks)


def test_the_command_says_what_it_has_merged(
    shards: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["merge", *map(str, shards), "-o", "out.jsonl"]) == 0
    assert capsys.readouterr().out.startswith("3 shards, 40 examples: 40 ok\n")
    assert main(["merge", *map(str, shards[1:]), "-o", "out.jsonl"]) == 2
    assert "these are missing: 1" in capsys.readouterr().err
    assert main(["score", "data.jsonl", "--shard", "1/2", "--join"]) == 2
    assert "merge them, then score again with --join" in capsys.readouterr().err


_PROGRAM = """#!/bin/sh
exec {python} -c '
import sys
from ifdkit.scoring import run
run.EXAMPLES_PER_BLOCK = 4
from ifdkit.cli.main import main
sys.exit(main([*sys.argv[1:], "-m", "{model}", "--metrics", "ifd", "-q"]))
' "$@"
"""


def test_texts_that_are_in_several_blocks_differ_by_rounding_only(
    score: Callable[..., Path],
) -> None:
    """An undivided run takes the second from the store; another shard computes it in its batch."""
    whole = score("whole.jsonl")
    stores = [f"{i}.sqlite" for i in range(1, N_SHARDS + 1)]
    parts = [score(f"s{i}.jsonl", i, store=store) for i, store in enumerate(stores, 1)]
    merge(parts, Path("merged.jsonl"))
    texts = [path.read_text().splitlines() for path in (whole, Path("merged.jsonl"))]
    for one, other in zip(*texts, strict=True):
        first, second = json.loads(one), json.loads(other)
        assert first == {
            name: value if not isinstance(value, float) else pytest.approx(value, rel=1e-5)
            for name, value in second.items()
        }


@pytest.mark.long
def test_the_array_job_of_the_docs_as_an_array_of_processes(
    score: Callable[..., Path], tiny_model: Path, folder: Path
) -> None:
    """The script as it is in the docs, but for the number of parts, with a smaller block."""
    root = Path(__file__).parents[1]
    text = (root / "docs" / "scale.md").read_text(encoding="utf-8")
    script = text.split("<!-- sbatch -->\n```bash\n")[1].split("```")[0]
    assert "parts=8\n" in script
    (folder / "job.sh").write_text(script.replace("parts=8\n", "parts=2\n"))
    program = folder / "bin" / "ifdkit"
    program.parent.mkdir()
    program.write_text(_PROGRAM.format(python=sys.executable, model=tiny_model))
    program.chmod(0o755)
    rows = [
        {"instruction": f"Say {i}.", "output": f"{i} is said. " * (1 + i % 9)} for i in range(24)
    ]
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    whole = score("whole.jsonl")

    def submit(number: int) -> subprocess.Popen[bytes]:
        path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
        more = {"PATH": path, "SLURM_ARRAY_TASK_ID": str(number), "PYTHONPATH": str(root)}
        return subprocess.Popen(["bash", "job.sh"], env={**os.environ, **more})

    array = [submit(1), submit(2)]
    assert [one.wait(120) for one in array] == [0, 0]
    merge([Path(f"scores.{i}-of-2.jsonl") for i in (1, 2)], Path("merged.jsonl"))
    assert files(Path("merged.jsonl")) == files(whole)
    before = Path("scores.1-of-2.jsonl").stat().st_mtime_ns
    assert submit(1).wait(60) == 0, "a part that is complete is left alone"
    assert Path("scores.1-of-2.jsonl").stat().st_mtime_ns == before
