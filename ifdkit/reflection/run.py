"""The verb *reflect*: a dataset in, the same dataset with better texts out, through an oracle.

    rows ─ drafting: prompts ─ oracle ─ answers ─▶ drafts ─ choosing ─▶ variant ─ row_files ─▶ OUT

Reflection-Tuning (2310.11716) rewrites instructions, then responses; Selective Reflection-Tuning
(2402.10110) lets the model that is to be trained choose.  Beside OUT stand `OUT.journal.sqlite`, by
which a second run asks nothing twice, `OUT.provenance.jsonl` and `OUT.manifest.json`.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from ifdkit.data.dataset import Dataset, Turns
from ifdkit.data.row_files import check_rows_output
from ifdkit.data.sources import sha256
from ifdkit.data.writing import write_json, write_rejects
from ifdkit.errors import UsageError
from ifdkit.records import Example
from ifdkit.reflection.drafting import Drafter, Plan, read_drafts, write_drafts
from ifdkit.reflection.estimate import Estimate, estimate
from ifdkit.reflection.finalize import Settler
from ifdkit.reflection.journal import Journal
from ifdkit.reflection.limits import Usage
from ifdkit.reflection.options import Options, parse_stages
from ifdkit.reflection.oracle import Oracle, Server, endpoint
from ifdkit.reflection.outcomes import Call, Stage
from ifdkit.reflection.prompts import Prompts, load_prompts
from ifdkit.reflection.provenance import Source, Tally
from ifdkit.scoring.inputs import Selection
from ifdkit.scoring.run import command_line
from ifdkit.scoring.scorer import Progress, Settings
from ifdkit.version import VERSION

if TYPE_CHECKING:
    from ifdkit.scoring.inputs import Data

_Result = TypeVar("_Result")
SCHEMA = "ifdkit.reflection/1"
_WINDOWS = 4
"""Rows in memory for each call that may be in flight: a slow row must not hold up the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recycled:
    """What a run has done: the manifest beside the output, and what `ifdkit.reflect` returns."""

    schema: str
    version: str
    created: str
    command: str
    input: str
    input_sha256: str | None
    columns: dict[str, str]
    turns: str
    limit: int | None
    sample: int | None
    seed: int | None
    output: str
    output_sha256: str
    provenance: str
    journal: str
    oracle: str
    endpoint: str
    prompt_version: str
    sampling: dict[str, Any]
    stages: list[str]
    student: str | None
    """The model that chose; None where all that was rewritten stands."""
    student_hash: str | None
    rows: int
    rows_changed: int
    rows_rejected: int
    """Passed through as they were, because no example could be read from them."""
    rows_left_out: int
    """Of these, what could not be read at all and is not in the output."""
    examples: int
    outcomes: dict[str, dict[str, int]]
    """Stage → outcome → calls."""
    in_output: dict[str, int]
    """Stage → new texts that stand in the output."""
    variants: dict[str, int]
    """Variant → examples that it stands for."""
    prompt_tokens: int
    """Of this run: what the journal already held cost nothing."""
    completion_tokens: int
    cost: float | None
    stopped: str | None
    """Why the asking ended early, or None."""
    elapsed_s: float

    def as_json(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the asking came to."""

    source: Source
    usage: Usage
    cost: float | None
    stopped: str | None


def reflect_to_file(
    data: Data,
    output: Path,
    options: Options,
    settings: Settings | None = None,
    selection: Selection | None = None,
    progress: Progress | None = None,
) -> Recycled:
    """Recycle a dataset into a file of its own format: same rows, same order, same ids.

    `settings` are the student's, where `options.select`.  The output appears whole or not at all;
    after an interruption the same call goes on where it was.  Raises IfdkitError.
    """
    begin = time.perf_counter()
    progress, settings = progress or Progress(), settings or Settings()
    selection = selection or Selection(turns="last")
    if options.select and selection.turns != "last":
        raise UsageError("--select looks at the last turn of a conversation: use --turns last")
    prompts = load_prompts(options.prompts)
    dataset = selection.open(data)
    check_rows_output(output, dataset.path)
    progress.note(f"{dataset.name}: {dataset.columns.describe()}, {dataset.n_rows:,} rows")
    with tempfile.TemporaryFile() as drafts:
        asked = _run(_ask(dataset, _journal_of(output), options, prompts, drafts, progress))
        settler = Settler(dataset, asked.source, options.plan, progress)
        student = settings if options.select else None
        settler.write(output, _beside(output, "provenance"), read_drafts(drafts), student)
    write_rejects(_beside(output, "rejects"), settler.rejects)
    done = Recycled(
        **selection.account(dataset),
        **_tallied(settler.tally),
        schema=SCHEMA,
        version=VERSION,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command_line("reflect"),
        output=str(output),
        output_sha256=sha256(output),
        provenance=str(_beside(output, "provenance")),
        journal=str(_journal_of(output)),
        **asdict(asked.source),
        sampling=asdict(options.sampling),
        stages=[str(stage) for stage in options.plan],
        student=settler.student,
        student_hash=settler.student_hash,
        prompt_tokens=asked.usage.prompt_tokens,
        completion_tokens=asked.usage.completion_tokens,
        cost=asked.cost,
        stopped=asked.stopped,
        elapsed_s=round(time.perf_counter() - begin, 3),
    )
    write_json(Path(f"{output}.manifest.json"), asdict(done))
    return done


def estimate_run(data: Data, options: Options, selection: Selection | None = None) -> Estimate:
    """What `reflect_to_file` would ask, without a server, a key or an output."""
    selection = selection or Selection(turns="last")
    prompts = load_prompts(options.prompts)
    dataset = selection.open(data)

    def question(stage: Stage, example: Example) -> Call:
        return prompts.call(stage, example, model=options.oracle, sampling=options.sampling)

    plan = Plan(dataset.columns, options.plan, every_variant=options.select)
    return estimate(dataset, question, plan, options.bounds)


def _beside(output: Path, what: str) -> Path:
    return Path(f"{output}.{what}.jsonl")


def _journal_of(output: Path) -> Path:
    return Path(f"{output}.journal.sqlite")


def _tallied(tally: Tally) -> dict[str, Any]:
    counted = {f.name: getattr(tally, f.name) for f in fields(Tally)}
    counted["outcomes"] = {name: dict(one) for name, one in tally.outcomes.items()}
    return {**counted, "in_output": dict(tally.in_output), "variants": dict(tally.variants)}


def _run(coroutine: Coroutine[Any, Any, _Result]) -> _Result:
    """Run a coroutine to its end, also where a loop is running already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1, "reflect") as thread:
        return thread.submit(asyncio.run, coroutine).result()


async def _ask(
    dataset: Dataset,
    journal_path: Path,
    options: Options,
    prompts: Prompts,
    drafts: IO[bytes],
    progress: Progress,
) -> _Asked:
    """Ask about every row and lay down what came of it."""
    bounds = options.bounds
    with _server(options, progress) as (server, where), Journal(journal_path) as journal:
        source = Source(server.model, where, prompts.version)
        if journal.imported:
            progress.note(f"{journal.imported:,} replies imported into {journal_path}")

        def question(stage: Stage, example: Example) -> Call:
            return prompts.call(
                stage, example, model=server.model, endpoint=where, sampling=options.sampling
            )

        plan = Plan(dataset.columns, options.plan, every_variant=options.select)
        progress.start(dataset.n_rows)
        async with Oracle(server, journal, bounds) as oracle:
            drafter = Drafter(oracle, question, plan, _WINDOWS * bounds.in_flight + 1)
            rows = zip(dataset.raw_rows(), dataset, strict=True)
            used = Usage()
            async with aclosing(drafter.drafts(rows)) as drafted:
                async for row in drafted:
                    write_drafts(drafts, row)
                    progress.begin_block(1, len(row))
                    tokens = (oracle.usage - used).total
                    used = oracle.usage
                    progress.missing(tokens)
                    progress.scored(tokens)
                    progress.end_block()
            return _Asked(source, oracle.usage, bounds.cost(oracle.usage), oracle.stopped)


@contextmanager
def _server(options: Options, progress: Progress) -> Iterator[tuple[Server, str]]:
    """Where the oracle is, and what tells it from another of the same name."""
    if not options.is_local:
        yield options.server, endpoint(options.server.base_url)
        return
    from ifdkit.reflection.local import local_oracle

    with local_oracle() as served:
        progress.note(f"local oracle: {served.model}, {served.source}")
        where = replace(options.server, model=served.model, base_url=served.base_url)
        yield where, served.source


def reflect(
    data: Data,
    output: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    turns: Turns = "last",
    limit: int | None = None,
    sample: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Recycled:
    """Recycle a dataset through an oracle into `output`, and say what was done.

    `data` is a path, `-`, or any iterable of dictionaries; of the further keywords those of
    :class:`ifdkit.reflection.run.Options` (`oracle`, `stages`, `select`, …) say whom to ask and for
    what, those of :class:`ifdkit.Settings` (`model`, …) which student chooses.  Raises IfdkitError.
    """
    own, student = ({f.name for f in fields(kind)} for kind in (Options, Settings))
    if unknown := options.keys() - own - student:
        raise UsageError(f"reflect() has no option {sorted(unknown)[0]!r}")
    if "oracle" not in options:
        raise UsageError("reflect() needs an oracle: name a model, or 'local'")
    if isinstance(options.get("stages"), str):
        options["stages"] = parse_stages(options["stages"])
    selection = Selection(columns=columns, turns=turns, limit=limit, sample=sample, seed=seed)
    return reflect_to_file(
        data,
        Path(output),
        Options(**{k: v for k, v in options.items() if k in own}),
        Settings(**{k: v for k, v in options.items() if k in student}),
        selection,
        progress,
    )
