"""`ifdkit merge`: the scores files of all shards of a run as one, with the bytes of one run.

A shard is complete if its manifest is beside it, because both appear at once.
"""

from __future__ import annotations

import csv
import heapq
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from itertools import islice
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import IO, Any, Generic, TypeVar

from ifdkit.data.atomic import OutputFiles, json_file
from ifdkit.data.parquet_files import row_groups
from ifdkit.data.places import check_different
from ifdkit.errors import InputError, OutputError
from ifdkit.scoring.formats import arrow_type, check_output
from ifdkit.scoring.manifest import MANIFEST, Manifest, PrecisionCheck, ShardRecord, manifest_beside
from ifdkit.scoring.output_names import REJECTS
from ifdkit.scoring.run import command_line
from ifdkit.version import VERSION

_COUNTS = (
    *("rows_in", "rows_scored", "rows_rejected", "examples"),
    *("requests", "requests_from_store", "requests_scored", "texts_embedded", "tokens_scored"),
)
_MAX_SHARDS = 1_000_000
_TIMES = ("elapsed_s", "model_load_s", "scoring_s", "embedding_s")
_PER_SHARD = {
    *_COUNTS, *_TIMES, "created", "command", "shard", "status_counts", "output", "output_sha256",
    "drift", "template_omissions", "tokens_per_s", "model_source", "embedder_source", "device",
    "threads", "merged_from", "unread", "reading", "inputs", "input",
}  # fmt: skip
"""Fields that may differ between the shards of a run; all others must be equal."""


_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ShardFile:
    """A shard's scores file with its manifest."""

    path: Path
    manifest: Manifest
    record: ShardRecord


@dataclass(frozen=True, slots=True)
class MergedScores:
    """What `ifdkit merge` has written."""

    output: Path
    manifest: Manifest

    def as_json(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return {"output": str(self.output), "manifest": self.manifest.as_json()}


def merge(paths: Sequence[Path], output: Path) -> MergedScores:
    """Put the shards of a run together. Raises InputError if they are not all of it, once each."""
    check_output(output)
    outputs = OutputFiles(output, REJECTS, MANIFEST)
    check_different(outputs.paths, paths)
    shards = _checked([_opened(path) for path in paths])
    for one in shards:
        if one.path.suffix.lower() != output.suffix.lower():
            raise OutputError(f"-o {output}: end it in {one.path.suffix}, as the shards do")
    with outputs as files:
        _FORMATS[output.suffix.lower()](shards, files.open())
        files.write_lines(REJECTS, _rejects(shards))
        manifest = _merged(shards, files)
        files.write(MANIFEST, json_file(manifest.as_json()))
    return MergedScores(output, manifest)


def _opened(path: Path) -> ShardFile:
    if not path.is_file():
        raise InputError(f"{path} does not exist")
    manifest = manifest_beside(path)
    if manifest is None:
        raise InputError(
            f"{path} is not a complete shard: no manifest describes it, or it was changed; run its"
            " `ifdkit score --shard` again"
        )
    if manifest.shard is None:
        raise InputError(f"{path} is not a shard: it was made without --shard")
    _check_record(path, manifest, manifest.shard)
    return ShardFile(path, manifest, manifest.shard)


def _check_record(path: Path, manifest: Manifest, record: ShardRecord) -> None:
    """Raise InputError if a manifest contradicts itself: it may have been edited."""
    is_whole = (
        1 <= record.number <= record.count <= _MAX_SHARDS
        and len(record.blocks) == len(record.examples) <= record.n_blocks
        and min(record.examples, default=0) >= 0
        and sum(record.examples) == manifest.examples
    )
    if not is_whole:
        raise InputError(f"{path}{MANIFEST} contradicts itself: run its `ifdkit score --shard`"
                         " again")  # fmt: skip


def _checked(shards: Sequence[ShardFile]) -> list[ShardFile]:
    """The shards by number. Raises InputError if one is foreign, there twice, or missing."""
    first, *others = sorted(shards, key=lambda one: one.record.number)
    for one in others:
        for name in (each.name for each in fields(Manifest) if each.name not in _PER_SHARD):
            if getattr(one.manifest, name) != getattr(first.manifest, name):
                raise InputError(f"{one.path} is of another run than {first.path}: its {name} is"
                                 f" {_short(getattr(one.manifest, name))}, not"
                                 f" {_short(getattr(first.manifest, name))}")  # fmt: skip
        run, other = (first.record, one.record)
        if (run.count, run.n_blocks) != (other.count, other.n_blocks):
            raise InputError(
                f"{one.path} is of another run than {first.path}: it is one of {other.count} shards"
                f" of {other.n_blocks} blocks, not of {run.count} of {run.n_blocks}"
            )
    by_number: dict[int, ShardFile] = {}
    for one in (first, *others):
        twin = by_number.setdefault(one.record.number, one)
        if twin is not one:
            raise InputError(f"{twin.path} and {one.path} are both shard"
                             f" {one.record.number}/{one.record.count}: name one")  # fmt: skip
    missing = sorted(set(range(1, first.record.count + 1)) - set(by_number))
    if missing:
        raise InputError(
            f"of {first.record.count} shards, these are missing: {_ranges(missing)}; run them"
            f" again, with Slurm by --array={_ranges(missing)}"
        )
    owners = Counter(block for one in by_number.values() for block in one.record.blocks)
    if owners.total() != first.record.n_blocks or owners != Counter(range(first.record.n_blocks)):
        doubled = [str(one.path) for one in by_number.values()
                   if any(owners[block] > 1 for block in one.record.blocks)]  # fmt: skip
        raise InputError(f"the shards {', '.join(doubled)} overlap, or blocks are missing: run"
                         " them again, all with one version of ifdkit")  # fmt: skip
    return list(by_number.values())


def _short(value: object) -> str:
    return repr(value)[:60]


def _ranges(numbers: Sequence[int]) -> str:
    """`2,5-7`, as Slurm takes it."""
    found: list[list[int]] = []
    for one in numbers:
        if found and found[-1][-1] == one - 1:
            found[-1][1:] = [one]
        else:
            found.append([one])
    return ",".join("-".join(map(str, one)) for one in found)


def _in_order(shards: Sequence[ShardFile]) -> Iterator[tuple[int, int]]:
    """Of each block of the dataset, its shard's position and its examples."""
    blocks = sorted(
        (block, position, n)
        for position, one in enumerate(shards)
        for block, n in zip(one.record.blocks, one.record.examples, strict=True)
    )
    return ((position, n) for _, position, n in blocks)


def _rejects(shards: Sequence[ShardFile]) -> Iterator[Any]:
    """The rejects of all shards, in the order of their rows."""
    with ExitStack() as stack:
        # A shard without rejects has no such file.
        paths = [Path(f"{one.path}{REJECTS}") for one in shards if one.manifest.rows_rejected]
        if missing := [str(path) for path in paths if not path.is_file()]:
            raise InputError(f"{missing[0]} is missing, which belongs to a shard: copy it too")
        rows = (_read_rejects(path, stack.enter_context(path.open("rb"))) for path in paths)
        yield from heapq.merge(*rows, key=itemgetter("row"))


def _read_rejects(path: Path, lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict) or type(value.get("row")) is not int:
            raise InputError(f"{path} is damaged: run its `ifdkit score --shard` again")
        yield value


class _Rows(Generic[_T]):
    """The rows of a shard, of which there must be as many as its manifest says."""

    def __init__(self, shard: ShardFile, rows: Iterator[_T]) -> None:
        self._shard, self._rows = shard, rows

    def take(self, n: int) -> Iterator[_T]:
        """The next rows. Raises InputError if there are fewer."""
        n_taken = 0
        for row in islice(self._rows, n):
            n_taken += 1
            yield row
        if n_taken < n:
            raise self.error()

    def check_ended(self) -> None:
        """Raise InputError if there are more."""
        if next(self._rows, None) is not None:
            raise self.error()

    def error(self) -> InputError:
        """The error of a shard with another number of rows."""
        return InputError(f"{self._shard.path} does not have the {self._shard.manifest.examples:,}"
                          " rows that its manifest names: run it again")  # fmt: skip


def _merge_lines(shards: Sequence[ShardFile], output: IO[bytes]) -> None:
    with ExitStack() as stack:
        files = [_Rows(one, stack.enter_context(one.path.open("rb"))) for one in shards]
        for position, n in _in_order(shards):
            output.writelines(files[position].take(n))
        for one in files:
            one.check_ended()


def _merge_csv(shards: Sequence[ShardFile], output: IO[bytes]) -> None:
    with ExitStack() as stack:
        files = [stack.enter_context(one.path.open(encoding="utf-8", newline="")) for one in shards]
        records = [_Rows(*one) for one in zip(shards, map(_csv_records, files), strict=True)]
        headers = [next(one.take(1)) for one in records]
        output.write(headers[0].encode())
        for position, n in _in_order(shards):
            output.writelines(one.encode() for one in records[position].take(n))
        for record in records:
            record.check_ended()


def _csv_records(file: IO[str]) -> Iterator[str]:
    """The text of each record. A cell may have line ends in it."""
    lines: list[str] = []

    def reading() -> Iterator[str]:
        for line in file:
            lines.append(line)
            yield line

    csv.field_size_limit(2**31 - 1)
    for _ in csv.reader(reading()):
        yield "".join(lines)
        lines.clear()


def _merge_parquet(shards: Sequence[ShardFile], output: IO[bytes]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Each block was written by itself, so none shares a row group with another.
    groups = [row_groups(one.path) for one in shards]
    tables = [_Rows(*one) for one in zip(shards, groups, strict=True)]
    # As the shards were written: read back, the items of a list have another name.
    names = pq.read_schema(shards[0].path).names
    schema = pa.schema([(name, arrow_type(name)) for name in names])
    with ExitStack() as stack:
        for one in groups:
            stack.callback(one.close)
        writer = pq.ParquetWriter(output, schema, compression="zstd")
        for position, n in _in_order(shards):
            while n > 0:
                (table,) = tables[position].take(1)
                writer.write_table(table.cast(schema))
                n -= len(table)
            if n < 0:
                raise tables[position].error()
        for rest in tables:
            rest.check_ended()
        writer.close()


_FORMATS = {".jsonl": _merge_lines, ".csv": _merge_csv, ".parquet": _merge_parquet}


def _merged(shards: Sequence[ShardFile], files: OutputFiles) -> Manifest:
    """The manifest of the whole: counts and times are sums, what is equal is kept."""
    manifests = [one.manifest for one in shards]

    def total(name: str) -> Any:
        return sum(map(attrgetter(name), manifests))

    def counts(name: str) -> dict[str, int]:
        whole: Counter[str] = Counter()
        for one in manifests:
            whole.update(getattr(one, name))
        return dict(whole.most_common())

    tokens, scoring_s = total("tokens_scored"), total("scoring_s") - total("embedding_s")
    is_checked = any(one.drift for one in manifests)
    return replace(
        manifests[0],
        **{name: total(name) for name in _COUNTS},
        **{name: round(total(name), 3) for name in _TIMES},
        version=VERSION,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command_line("merge"),
        status_counts=counts("status_counts"),
        template_omissions=counts("template_omissions"),
        tokens_per_s=round(tokens / scoring_s, 1) if tokens and scoring_s > 0 else None,
        drift=PrecisionCheck(n=0, reason="it was made for each shard") if is_checked else None,
        shard=None,
        merged_from=[str(one.path) for one in shards],
        output=str(files.output),
        output_sha256=files.sha256(),
    )
