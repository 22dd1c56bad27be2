"""`ifdkit generate`: a model's answers in place of the responses of a dataset.

    DATA ─ prompts as the protocol makes them ─ batches by length ─ engine.generation
         ─ journal: nothing twice ─ data.rewriting ─▶ OUT, in the format of DATA

The batches are a function of the prompts alone, and each is committed whole: a run that resumes
makes the batches of an uninterrupted one, and ends with the same answers.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from ifdkit.data.atomic import OutputFiles, json_file
from ifdkit.data.dataset import Dataset, Reasoning
from ifdkit.data.many_inputs import expand
from ifdkit.data.options import ReadOptions
from ifdkit.data.part_files import check_dataset_output, dataset_file
from ifdkit.data.rewriting import NotRewritableError, with_texts
from ifdkit.data.where import expression_of
from ifdkit.errors import InputError, UsageError
from ifdkit.generation.journal import AnswerJournal, GeneratedAnswer
from ifdkit.generation.options import GenerateKeywords, GenerateOptions
from ifdkit.generation.result import GENERATION_SCHEMA, Generated
from ifdkit.records import Reject
from ifdkit.scoring.documents import check_no_documents
from ifdkit.scoring.inputs import check_not_input, note_dataset, open_data
from ifdkit.scoring.manifest import MANIFEST
from ifdkit.scoring.output_names import REJECTS
from ifdkit.scoring.progress import Progress, default_progress
from ifdkit.scoring.run import blocks, command_line
from ifdkit.scoring.scorer import Scorer
from ifdkit.scoring.settings import Settings, split_keywords
from ifdkit.version import VERSION
from ifdkit.visible import is_blank

if TYPE_CHECKING:
    from ifdkit.engine.generation import Generator
    from ifdkit.scoring.inputs import Data

MIN_NEW_TOKENS = 1


@dataclass(frozen=True, slots=True)
class Prompted:
    """The prompt of one row."""

    ids: tuple[int, ...]
    opened: str
    """What the prompt has written of the response already, such as `<think>`."""
    key: bytes


@dataclass(slots=True)
class AnswerTally:
    """What happened to the rows."""

    rejects: list[Reject] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    answered: int = 0
    cut: int = 0
    empty: int = 0


@dataclass(slots=True)
class Done:
    """What a call generated."""

    generated: int = 0
    from_journal: int = 0
    tokens: int = 0


def generate(
    data: Data,
    output: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    reasoning: Reasoning = "keep",
    limit: int | None = None,
    sample: int | None = None,
    where: str | None = None,
    progress: Progress | None = None,
    **options: Unpack[GenerateKeywords],
) -> Generated:
    """Write the dataset with a model's answers to `output`, in the format of the dataset.

    `data` is a path, `-`, or any iterable of dictionaries.  `options` are those of
    :class:`ifdkit.generation.options.GenerateOptions` (`max_new_tokens`, `temperature`, …) and of
    :class:`ifdkit.Settings` (`model`, `protocol`, …), except `metrics`.  Raises IfdkitError.
    """
    own, settings = split_keywords("generate", options, GenerateKeywords)
    chosen = GenerateOptions(**own)
    return generate_to_file(
        data,
        Path(output),
        chosen,
        Settings(**{**settings, "metrics": ("ifd",)}),
        ReadOptions(
            columns=columns,
            turns="last",
            reasoning=reasoning,
            limit=limit,
            sample=sample,
            seed=chosen.seed,
            where=expression_of(where),
        ),
        progress,
    )


def generate_to_file(
    data: Data,
    output: Path,
    options: GenerateOptions,
    settings: Settings,
    read_options: ReadOptions,
    progress: Progress | None = None,
) -> Generated:
    """Write the dataset with a model's answers, which replace the last response of each row.

    The output appears whole or not at all; after an interruption the same call resumes.  A row
    without an answer is left out and counted.  Raises IfdkitError.
    """
    begin = time.perf_counter()
    progress = progress or default_progress()
    if read_options.turns != "last":
        raise UsageError("generate answers the last turn of a conversation: use --turns last")
    data = expand(data)
    with OutputFiles(output, REJECTS, MANIFEST) as files:
        check_not_input(data, files)
        dataset = open_data(data, read_options)
        check_no_documents(dataset, "generate")
        check_dataset_output(output, dataset)
        note_dataset(dataset, progress)
        journal_path = Path(f"{output}.journal.sqlite")
        with Scorer(settings, progress) as scorer:
            scorer.thread_limit.use()
            prompts, problems = _prompts(dataset, scorer, options)
            with AnswerJournal(journal_path) as journal:
                done = _answer(list(prompts.values()), journal, scorer, options, progress)
                tally = _write(dataset, files, prompts, problems, journal)
            setup, device, source = scorer.setup, scorer.device, scorer.weights.source
        files.write_lines(REJECTS, (one.as_json() for one in tally.rejects))
        read_fields = read_options.manifest_fields(dataset)
        del read_fields["seed"]
        result = Generated(
            schema=GENERATION_SCHEMA,
            version=VERSION,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            command=command_line("generate"),
            **read_fields,
            output=str(output),
            output_sha256=files.sha256(),
            journal=str(journal_path),
            model=setup.model,
            model_source=source,
            weights_hash=setup.weights_hash,
            tokenizer_hash=setup.tokenizer_hash,
            protocol=setup.protocol,
            template=setup.template,
            template_text=setup.template_text,
            template_date=setup.template_date,
            dtype=setup.dtype,
            device=device,
            max_new_tokens=options.max_new_tokens,
            temperature=options.temperature,
            top_p=options.top_p,
            seed=options.seed if options.temperature else None,
            rows=dataset.n_rows,
            answered=tally.answered,
            left_out=dict(tally.left_out.most_common()),
            cut=tally.cut,
            empty=tally.empty,
            **asdict(done),
            elapsed_s=round(time.perf_counter() - begin, 3),
        )
        files.write(MANIFEST, json_file(result.as_json()))
    return result


def _prompts(
    dataset: Dataset, scorer: Scorer, options: GenerateOptions
) -> tuple[dict[int, Prompted], dict[int, str]]:
    """The prompt of each row, and why other rows have none; both by position of the row."""
    context = scorer.weights.context_length
    base = {
        "weights": scorer.weights_hash,
        "tokenizer": scorer.tokenizer.fingerprint,
        "dtype": scorer.dtype,
        "stop": _stop_ids(scorer),
        "max_new_tokens": options.max_new_tokens,
    }
    if options.temperature:
        base |= {"sampling": [options.temperature, options.top_p, options.seed]}
    prompts: dict[int, Prompted] = {}
    problems: dict[int, str] = {}
    for block in blocks(dataset):
        for example, one in zip(block.examples, scorer.contexts(block.examples), strict=True):
            if one.ids is None:
                problems[example.row] = one.problem
            elif is_blank(example.instruction):
                problems[example.row] = "there is no instruction"
            elif context is not None and len(one.ids) + MIN_NEW_TOKENS > context:
                problems[example.row] = (
                    f"the prompt of {len(one.ids)} tokens fills the context of {context}"
                )
            else:
                content = json.dumps([base, one.ids], sort_keys=True).encode()
                key = hashlib.sha256(content).digest()
                prompts[example.row] = Prompted(one.ids, one.opened, key)
    return prompts, problems


def _stop_ids(scorer: Scorer) -> list[int]:
    """The ids that end an answer: EOS, and the token with which the template ends a response."""
    end = scorer.tokenizer.end_of_response(scorer.template.turn_end())
    eos = scorer.tokenizer.eos_id
    return sorted({*end[-1:], *([] if eos is None else [eos])})


def _answer(
    prompts: Sequence[Prompted],
    journal: AnswerJournal,
    scorer: Scorer,
    options: GenerateOptions,
    progress: Progress,
) -> Done:
    """Generate what the journal lacks, batch by batch."""
    done, generator = Done(), None
    distinct = {one.key: one for one in prompts}
    progress.start(len(distinct))
    for batch, max_new in batches(list(distinct.values()), scorer, options):
        progress.begin_block(len(batch), len(batch))
        missing = [one for one in batch if journal.get(one.key) is None]
        done.from_journal += len(batch) - len(missing)
        if missing:
            generator = generator or _open_generator(scorer, progress)
            found = generator.continue_(
                [one.ids for one in missing],
                _decoding(options),
                max_new=max_new,
                seed=_batch_seed(missing, options.seed),
            )
            answers = {
                one.key: GeneratedAnswer(
                    (one.opened + scorer.tokenizer.text(made.ids)).strip(),
                    len(made.ids),
                    made.is_ended,
                )
                for one, made in zip(missing, found, strict=True)
            }
            journal.put(answers)
            n_tokens = sum(len(made.ids) for made in found)
            done.generated += len(missing)
            done.tokens += n_tokens
            progress.missing(n_tokens)
            progress.scored(n_tokens)
        progress.end_block()
    return done


def batches(
    prompts: Sequence[Prompted], scorer: Scorer, options: GenerateOptions
) -> Iterator[tuple[list[Prompted], int]]:
    """Prompts of similar length, longest first, and how many tokens may follow them."""
    from ifdkit.engine.generation import rows_per_batch

    size = options.batch_size or rows_per_batch(scorer.device)
    context = scorer.weights.context_length or 10**9
    batch: list[Prompted] = []
    limit = 0
    for one in sorted(prompts, key=lambda one: (-len(one.ids), one.key)):
        own = min(options.max_new_tokens, context - len(one.ids))
        if batch and (len(batch) == size or own != limit):
            yield batch, limit
            batch = []
        limit = own
        batch.append(one)
    if batch:
        yield batch, limit


def _open_generator(scorer: Scorer, progress: Progress) -> Generator:
    from ifdkit.engine.generation import Generator

    progress.note(f"loading {scorer.weights.name} ({scorer.dtype} on {scorer.device})")
    return Generator(
        scorer.weights,
        device=scorer.device,
        dtype=scorer.dtype,
        stop_ids=_stop_ids(scorer),
        trust_remote_code=scorer.settings.trust_remote_code,
    )


def _decoding(options: GenerateOptions) -> Any:
    from ifdkit.engine.generation import Decoding

    return Decoding(options.temperature, options.top_p)


def _batch_seed(batch: Sequence[Prompted], seed: int) -> int:
    """A seed of the content: what is sampled does not depend on the batches before."""
    digest = hashlib.sha256(str(seed).encode() + b"".join(one.key for one in batch))
    return int.from_bytes(digest.digest()[:7], "little")


def _write(
    dataset: Dataset,
    files: OutputFiles,
    prompts: Mapping[int, Prompted],
    problems: Mapping[int, str],
    journal: AnswerJournal,
) -> AnswerTally:
    """Write the rows with their answers. Raises InputError if there is none."""
    tally = AnswerTally()
    if not prompts:
        why = next(iter(problems.values()), "no row can be read")
        raise InputError(f"{dataset.name} has no row that can be answered: {why}")
    with dataset_file(files, dataset) as writer:
        for raw, found in zip(dataset.raw_rows(), dataset, strict=True):
            if isinstance(found, Reject):
                _leave_out(tally, "rejected", found)
                continue
            if raw.row not in prompts:
                reason = problems.get(raw.row, "there is no response to replace")
                _leave_out(tally, "no prompt", raw.reject(reason))
                continue
            answer = journal.get(prompts[raw.row].key)
            assert answer is not None, "every prompt was answered"
            try:
                value = with_texts(
                    raw.value, dataset.columns_of(raw.row), found[-1], response=answer.text
                )
            except NotRewritableError as error:
                _leave_out(tally, "not rewritable", raw.reject(str(error)))
                continue
            writer.write(raw, value)
            tally.answered += 1
            tally.cut += not answer.is_ended
            tally.empty += not answer.text
    return tally


def _leave_out(tally: AnswerTally, reason: str, reject: Reject) -> None:
    tally.left_out[reason] += 1
    tally.rejects.append(reject)
