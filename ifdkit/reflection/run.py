"""The verb *reflect*: improve the texts of a dataset with the help of an oracle.

    rows ─ drafting: prompts ─ oracle ─ answers ─▶ drafts ─ finalize: choosing ─▶ rows of OUT

Reflection-Tuning (2310.11716) rewrites instructions, then responses; Selective Reflection-Tuning
(2402.10110) lets the model that is to be trained choose.  Next to OUT are `OUT.journal.sqlite`,
with which a second run asks nothing twice, `OUT.provenance.jsonl` and `OUT.manifest.json`.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Unpack

from ifdkit.data.atomic import OutputFiles, json_file
from ifdkit.data.dataset import Dataset, Reasoning, Turns
from ifdkit.data.options import ReadOptions
from ifdkit.data.part_files import check_dataset_output
from ifdkit.data.where import expression_of
from ifdkit.errors import UsageError
from ifdkit.oracle.client import Oracle
from ifdkit.oracle.journal import Journal
from ifdkit.oracle.limits import Usage
from ifdkit.oracle.session import check_packages, run_to_end, running_server
from ifdkit.reflection.drafting import Drafter, Plan, read_drafts, write_drafts
from ifdkit.reflection.estimate import CallEstimate, estimate
from ifdkit.reflection.finalize import Finalizer
from ifdkit.reflection.options import ReflectKeywords, ReflectOptions, parse_stages
from ifdkit.reflection.probe import RewritingProbe
from ifdkit.reflection.prompts import Prompts, load_prompts
from ifdkit.reflection.provenance import PROVENANCE, Source
from ifdkit.reflection.result import Recycled
from ifdkit.scoring.documents import check_no_documents
from ifdkit.scoring.inputs import check_not_input, note_dataset, open_data
from ifdkit.scoring.manifest import MANIFEST
from ifdkit.scoring.output_names import REJECTS
from ifdkit.scoring.progress import Progress, default_progress
from ifdkit.scoring.run import command_line
from ifdkit.scoring.settings import Settings, split_keywords
from ifdkit.version import VERSION

if TYPE_CHECKING:
    from ifdkit.scoring.inputs import Data

_ROWS_PER_CALL = 4
"""Rows in memory per call in flight, so that a slow row does not block the others."""


def reflect(
    data: Data,
    output: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    turns: Turns = "last",
    reasoning: Reasoning = "keep",
    lines: bool = False,
    limit: int | None = None,
    sample: int | None = None,
    seed: int = 0,
    where: str | None = None,
    progress: Progress | None = None,
    **options: Unpack[ReflectKeywords],
) -> Recycled:
    """Rewrite a dataset with an oracle into the file `output`.

    `data` is a path, `-`, or any iterable of dictionaries.  `options` are those of
    :class:`ifdkit.reflection.options.ReflectOptions` (`oracle`, `stages`, `select`, …), and those
    of :class:`ifdkit.Settings` (`model`, …) for the student.  Raises IfdkitError.
    """
    if isinstance(stages := options.get("stages"), str):
        options["stages"] = parse_stages(stages)
    own, student = split_keywords("reflect", options, ReflectKeywords)
    if "oracle" not in own:
        raise UsageError("reflect() needs an oracle: give a model name, or 'local'")
    read_options = ReadOptions(
        columns=columns,
        turns=turns,
        reasoning=reasoning,
        lines=lines,
        limit=limit,
        sample=sample,
        seed=seed,
        where=expression_of(where),
    )
    return reflect_to_file(
        data,
        Path(output),
        ReflectOptions(**own),
        Settings(**student),
        read_options,
        progress,
    )


def reflect_to_file(
    data: Data,
    output: Path,
    options: ReflectOptions,
    settings: Settings | None = None,
    read_options: ReadOptions | None = None,
    progress: Progress | None = None,
) -> Recycled:
    """Rewrite a dataset into a file of the same format, with the same rows, order and ids.

    `settings` are the student's, if `options.select`.  The output appears whole or not at all;
    after an interruption the same call resumes.  Raises IfdkitError.
    """
    begin = time.perf_counter()
    check_packages(options)
    progress, settings = progress or default_progress(), settings or Settings()
    read_options = read_options or ReadOptions(turns="last")
    if options.select and read_options.turns != "last":
        raise UsageError("--select works on the last turn of a conversation: use --turns last")
    prompts = load_prompts(options.prompts)
    with OutputFiles(output, PROVENANCE, REJECTS, MANIFEST) as files:
        check_not_input(data, files)
        dataset = open_data(data, read_options)
        check_no_documents(dataset, "reflect")
        check_dataset_output(output, dataset)
        note_dataset(dataset, progress)
        journal = Path(f"{output}.journal.sqlite")
        with tempfile.TemporaryFile() as drafts:
            asked = _ask(dataset, journal, options, prompts, drafts, progress)
            source, usage, stopped = run_to_end(asked)
            finalizer = Finalizer(dataset, source, options.plan, progress)
            student = settings if options.select else None
            finalizer.write(files, read_drafts(drafts), student)
        files.write_lines(REJECTS, (one.as_json() for one in finalizer.rejects))
        tally = finalizer.tally
        result = Recycled(
            version=VERSION,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            command=command_line("reflect"),
            **read_options.manifest_fields(dataset),
            output=str(output),
            output_sha256=files.sha256(),
            provenance=f"{output}{PROVENANCE}",
            journal=str(journal),
            **asdict(source),
            sampling=asdict(options.sampling),
            stages=[str(stage) for stage in options.plan],
            student=finalizer.student,
            student_hash=finalizer.student_hash,
            rows=tally.rows,
            rows_changed=tally.rows_changed,
            rows_rejected=tally.rows_rejected,
            rows_left_out=tally.rows_left_out,
            examples=tally.examples,
            outcomes={stage: dict(counts) for stage, counts in tally.outcomes.items()},
            in_output=dict(tally.in_output),
            variants=dict(tally.variants),
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            cost=options.bounds.cost(usage),
            stopped=stopped,
            elapsed_s=round(time.perf_counter() - begin, 3),
        )
        files.write(MANIFEST, json_file(result.as_json()))
    return result


def estimate_run(
    data: Data, options: ReflectOptions, read_options: ReadOptions | None = None
) -> CallEstimate:
    """What `reflect_to_file` would ask, without a server, a key or an output."""
    prompts = load_prompts(options.prompts)
    dataset = open_data(data, read_options or ReadOptions(turns="last"))
    check_no_documents(dataset, "reflect")
    make_call = partial(prompts.call, model=options.oracle, sampling=options.sampling)
    plan = Plan(dataset.columns_of, options.plan, every_variant=options.select)
    return estimate(dataset, make_call, plan, options.bounds)


async def _ask(
    dataset: Dataset,
    journal_path: Path,
    options: ReflectOptions,
    prompts: Prompts,
    drafts: IO[bytes],
    progress: Progress,
) -> tuple[Source, Usage, str | None]:
    """Ask about every row, and write the drafts; the usage, and the cap that ended it early."""
    bounds = options.bounds
    with (
        running_server(options, progress.note) as (server, origin),
        Journal(journal_path) as journal,
    ):
        if journal.imported:
            progress.note(f"{journal.imported:,} replies imported into {journal_path}")
        make_call = partial(
            prompts.call, model=server.model, endpoint=origin, sampling=options.sampling
        )
        plan = Plan(dataset.columns_of, options.plan, every_variant=options.select)
        progress.start(dataset.n_rows)
        async with Oracle(server, journal, bounds, probe=RewritingProbe()) as oracle:
            drafter = Drafter(oracle, make_call, plan, _ROWS_PER_CALL * bounds.in_flight + 1)
            rows = zip(dataset.raw_rows(), dataset, strict=True)
            reported = Usage()
            async with aclosing(drafter.drafts(rows)) as drafted:
                async for row in drafted:
                    write_drafts(drafts, row)
                    progress.begin_block(1, len(row))
                    tokens = (oracle.usage - reported).total
                    reported = oracle.usage
                    progress.missing(tokens)
                    progress.scored(tokens)
                    progress.end_block()
            source = Source(server.model, origin, prompts.version)
            return source, oracle.usage, oracle.stopped
