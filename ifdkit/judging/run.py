"""The verb *judge*: which of two files of answers does an oracle prefer?

    two files ─ pairs ─ each in both orders ─ oracle ─ answers ─▶ preferences ─▶ win rates
    annotations ─────────────────────────────────────────────────▶ preferences ─▶ win rates

A side wins a pair only if it wins in both orders.  Everything else, failures included, counts half
for each side and is shown.  Next to OUT is `OUT.journal.sqlite`, with which a second run asks
nothing twice, and `OUT.manifest.json`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from ifdkit.data.annotations import part_of, preferences_of, read_annotations
from ifdkit.data.atomic import OutputFiles, json_file
from ifdkit.data.chosen_part import ChosenPart, chosen_part
from ifdkit.data.dataset import Reasoning, Turns
from ifdkit.data.options import ReadOptions
from ifdkit.data.pairing import fingerprint
from ifdkit.data.spilling import RecordColumn
from ifdkit.engine.models import DEFAULT_MODEL
from ifdkit.errors import InputError, UsageError
from ifdkit.format import plural
from ifdkit.judging.asking import Asked, judged_pairs
from ifdkit.judging.options import JudgeKeywords, JudgeOptions
from ifdkit.judging.output import write_annotations
from ifdkit.judging.pairs import MatchedPairs, match
from ifdkit.judging.questions import JudgingProbe, prompt_version
from ifdkit.judging.rates import PairLengths, position_bias, token_counts, win_rates
from ifdkit.judging.result import Judgement
from ifdkit.judging.verdict import verdict
from ifdkit.oracle.client import Oracle
from ifdkit.oracle.journal import Journal
from ifdkit.oracle.limits import Usage
from ifdkit.oracle.session import check_packages, run_to_end, running_server
from ifdkit.scoring.documents import check_no_documents
from ifdkit.scoring.inputs import check_not_input, note_dataset, open_data
from ifdkit.scoring.manifest import MANIFEST
from ifdkit.scoring.output_names import output_stem
from ifdkit.scoring.progress import Progress, default_progress
from ifdkit.scoring.run import command_line
from ifdkit.scoring.settings import split_keywords
from ifdkit.stats.discrimination import cluster_codes
from ifdkit.stats.win_rates import published_win_rate
from ifdkit.version import VERSION

if TYPE_CHECKING:
    from ifdkit.scoring.inputs import Data

_PAIRS_PER_CALL = 2
"""Pairs in memory per call in flight, so that a slow pair does not block the others."""


def judge(
    first: Data | None = None,
    second: Data | None = None,
    output: str | Path | None = None,
    *,
    annotations: str | PathLike[str] | Iterable[Mapping[str, Any]] | None = None,
    columns: Mapping[str, str] | None = None,
    turns: Turns = "last",
    reasoning: Reasoning = "keep",
    limit: int | None = None,
    sample: int | None = None,
    model: str = DEFAULT_MODEL,
    progress: Progress | None = None,
    **options: Unpack[JudgeKeywords],
) -> Judgement:
    """Ask an oracle which of two files' answers it prefers, or take the preferences of annotations.

    `first` and `second` are datasets with the same instructions; `output` gets the judged pairs as
    annotations.  With `annotations` (AlpacaEval's format) nothing is asked.  `limit` and `sample`
    choose rows, the same positions of both.  `model` names the tokenizer of the length in tokens.
    `options` are those of
    :class:`ifdkit.judging.options.JudgeOptions` (`oracle`, `base_url`, …).  Raises IfdkitError.
    """
    own, _ = split_keywords("judge", options, JudgeKeywords)
    seed = options.get("seed", 0)
    read_options = ReadOptions(
        columns=columns, turns=turns, reasoning=reasoning, limit=limit, sample=sample, seed=seed
    )
    if annotations is not None:
        if first is not None or second is not None or "oracle" in options:
            raise UsageError("judge() takes two datasets with an oracle, or annotations alone")
        return judge_annotations(annotations, read_options, model=model)
    if first is None or second is None or output is None or "oracle" not in options:
        raise UsageError("judge() needs two datasets, an output and an oracle, or annotations")
    return judge_files(
        first, second, Path(output), JudgeOptions(**own), read_options, model, progress
    )


def default_output(first: str, second: str) -> Path:
    """`a-vs-b.judged.json` in the working folder for `x/a.json` and `y/b.json.gz`."""
    return Path(f"{output_stem(first)}-vs-{output_stem(second)}.judged.json")


def judge_annotations(
    data: str | PathLike[str] | Iterable[Mapping[str, Any]],
    read_options: ReadOptions,
    *,
    model: str = DEFAULT_MODEL,
) -> Judgement:
    """Win rates of published annotations. Raises InputError, or ModelError for the tokenizer.

    Of `read_options` the limit, the sample and the seed are used, which the bootstrap has too.
    """
    begin = time.perf_counter()
    annotations, part = part_of(read_annotations(data), read_options)
    rows = annotations.known
    if not len(rows):
        raise InputError(f"{annotations.name} has no preference")
    preferences = preferences_of(rows)
    names = [
        (authors[0] if len(authors) == 1 else f"{len(authors)} models")
        if authors
        else f"the {which} model"
        for which, authors in zip(("first", "second"), annotations.generators, strict=True)
    ]
    rates = win_rates(
        preferences,
        PairLengths.of((row.outputs for row in rows), token_counts(model)),
        cluster_codes(np.fromiter((fingerprint(row.instruction) for row in rows), np.uint64)),
        seed=read_options.seed,
    )
    return Judgement(
        **_header(),
        first=names[0],
        second=names[1],
        annotations=annotations.name,
        win_rates=rates,
        published=published_win_rate(preferences),
        n_missing=len(annotations) - len(rows),
        outcomes={"first": rates.losses, "second": rates.wins, "tie": rates.ties},
        answers={},
        position_bias=None,
        pairing=None,
        n_different=0,
        n_rejected=0,
        oracle=None,
        endpoint=None,
        prompt_version=None,
        sampling=None,
        prompt_tokens=0,
        completion_tokens=0,
        cost=None,
        stopped=None,
        tokenizer=model,
        seed=read_options.seed,
        output=None,
        journal=None,
        verdict=verdict(names[0], names[1], rates, None),
        elapsed_s=round(time.perf_counter() - begin, 3),
        **_chosen(part, ""),
    )


def judge_files(
    first: Data,
    second: Data,
    output: Path,
    options: JudgeOptions,
    read_options: ReadOptions | None = None,
    model: str = DEFAULT_MODEL,
    progress: Progress | None = None,
) -> Judgement:
    """Ask the oracle about every pair in both orders, and write the annotations to `output`.

    A limit and a sample choose the same positions of both files.  The output appears whole or not
    at all; after an interruption the same call resumes.  Raises IfdkitError.
    """
    begin = time.perf_counter()
    check_packages(options)
    progress = progress or default_progress()
    read_options = read_options or ReadOptions(turns="last")
    with OutputFiles(output, MANIFEST) as files:
        for data in (first, second):
            check_not_input(data, files)
        whole = replace(read_options, limit=None, sample=None)
        datasets = [open_data(data, whole) for data in (first, second)]
        part = chosen_part([dataset.n_rows for dataset in datasets], read_options)
        datasets = [read_options.narrow(dataset) for dataset in datasets]
        for dataset in datasets:
            check_no_documents(dataset, "judge")
            note_dataset(dataset, progress)
        matched = match(datasets[0], datasets[1], options.pair_by)
        progress.note(
            f"{plural(len(matched.pairs), 'pair')} by {matched.pairing.by}: {matched.pairing.note}"
        )
        journal = Path(f"{output}.journal.sqlite")
        lengths = PairLengths.of(
            ((one.first, one.second) for one in matched.pairs), token_counts(model)
        )
        session = run_to_end(_ask(matched, journal, options, progress))
        names = [_name(data, dataset.name) for data, dataset in zip((first, second), datasets,
                                                                    strict=True)]  # fmt: skip
        write_annotations(files.open(), matched.pairs, session.asked, names, session.annotator)
        clusters = matched.instructions
        preferences = np.fromiter((one.preference for one in session.asked), np.float64)
        rates = win_rates(preferences, lengths, clusters, seed=options.seed)
        bias = position_bias(session.asked, clusters, seed=options.seed)
        result = Judgement(
            **_header(),
            first=names[0],
            second=names[1],
            annotations=None,
            win_rates=rates,
            published=None,
            n_missing=0,
            outcomes=_counted(one.outcome for one in session.asked),
            answers=_counted(game.answer for one in session.asked for game in one.games),
            position_bias=bias,
            pairing=matched.pairing,
            n_different=matched.n_different,
            n_rejected=matched.n_rejected,
            oracle=session.annotator,
            endpoint=session.endpoint,
            prompt_version=prompt_version(),
            sampling=asdict(options.sampling),
            prompt_tokens=session.usage.prompt_tokens,
            completion_tokens=session.usage.completion_tokens,
            cost=options.bounds.cost(session.usage),
            stopped=session.stopped,
            tokenizer=model,
            seed=options.seed,
            output=str(output),
            journal=str(journal),
            verdict=verdict(names[0], names[1], rates, bias),
            elapsed_s=round(time.perf_counter() - begin, 3),
            **_chosen(part),
        )
        files.write(MANIFEST, json_file(result.as_json()))
    return result


def _header() -> dict[str, Any]:
    return {
        "version": VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command_line("judge"),
    }


def _chosen(part: ChosenPart, of_each: str = " of each side") -> dict[str, Any]:
    warnings = tuple(part.caveats(of_each))
    return {"limit": part.limit, "sample": part.sample, "warnings": warnings}


def _name(data: Data, name: str) -> str:
    return fspath(data) if isinstance(data, (str, PathLike)) else name


def _counted(values: Iterable[str]) -> dict[str, int]:
    return {str(value): n for value, n in Counter(values).most_common()}


@dataclass(frozen=True, slots=True)
class _Session:
    """What the oracle answered, and what that cost."""

    asked: Sequence[Asked]
    annotator: str
    endpoint: str
    usage: Usage
    stopped: str | None


async def _ask(
    matched: MatchedPairs, journal_path: Path, options: JudgeOptions, progress: Progress
) -> _Session:
    bounds = options.bounds
    with (
        running_server(options, progress.note) as (server, origin),
        Journal(journal_path) as journal,
    ):
        progress.start(len(matched.pairs))
        asked: RecordColumn[Asked] = RecordColumn()
        async with Oracle(server, journal, bounds, probe=JudgingProbe()) as oracle:
            reported = 0
            window = _PAIRS_PER_CALL * bounds.in_flight
            found = judged_pairs(
                oracle, matched.pairs, window, model=server.model, endpoint=origin,
                sampling=options.sampling,
            )  # fmt: skip
            async with aclosing(found):
                async for one in found:
                    asked.append(one)
                    progress.begin_block(1, 1)
                    progress.missing(oracle.usage.total - reported)
                    progress.scored(oracle.usage.total - reported)
                    reported = oracle.usage.total
                    progress.end_block()
            return _Session(asked, server.model, origin, oracle.usage, oracle.stopped)
