"""`ifdkit train`: fine-tune a model on a dataset, and compare held-out responses before and after.

    DATA ─ rows: Requests with their spans ─ schedule: order ─ engine.finetuning ─▶ OUT
                                                       held-out files ─ evaluation ─▶ training.json

With one dataset and one seed, OUT is the model.  With several, OUT has a folder for each, such as
`data-seed0` and `versus-seed0`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from ifdkit.data.dataset import Reasoning, Turns
from ifdkit.data.options import ReadOptions
from ifdkit.data.where import expression_of
from ifdkit.engine.finetuning import check_packages
from ifdkit.errors import OutputError
from ifdkit.format import plural
from ifdkit.scoring.documents import check_no_documents
from ifdkit.scoring.inputs import note_dataset, open_data
from ifdkit.scoring.progress import Progress, default_progress
from ifdkit.scoring.run import command_line
from ifdkit.scoring.scorer import Scorer
from ifdkit.scoring.settings import Settings, split_keywords
from ifdkit.training.evaluation import Contrast, Evaluated, HeldOut, contrasts, evaluated, held_out
from ifdkit.training.model import TrainingSide, check_trainable, train_model
from ifdkit.training.options import TrainKeywords, TrainOptions, train_options
from ifdkit.training.result import TRAINING_SCHEMA, Trained
from ifdkit.training.rows import training_rows
from ifdkit.training.schedule import matched, schedule_of
from ifdkit.training.trained_model import TrainedModel
from ifdkit.version import VERSION

if TYPE_CHECKING:
    from ifdkit.scoring.inputs import Data

DATA, VERSUS = "data", "versus"


def train(
    data: Data,
    output: str | Path,
    *,
    versus: Data | None = None,
    eval: str | Path | Sequence[str | Path] = (),  # noqa: A002  as the flag
    preset: str = "paper",
    columns: Mapping[str, str] | None = None,
    turns: Turns = "all",
    reasoning: Reasoning = "keep",
    limit: int | None = None,
    sample: int | None = None,
    where: str | None = None,
    progress: Progress | None = None,
    **options: Unpack[TrainKeywords],
) -> Trained:
    """Fine-tune a model on a dataset into the folder `output`.

    `data` and `versus` are paths, `-`, or iterables of dictionaries; `eval` is a held-out path or
    several.  `options` are those of :class:`ifdkit.engine.recipe.Recipe` (`lora`,
    `epochs`, `learning_rate`, …), of :class:`ifdkit.training.options.TrainOptions` (`seeds`,
    `budget`, …) and of :class:`ifdkit.Settings` (`model`, `protocol`, …), except `metrics`.  Raises
    IfdkitError.
    """
    own, settings = split_keywords("train", options, TrainKeywords)
    chosen, preset_settings = train_options({**own, **settings, "preset": preset})
    read_options = ReadOptions(
        columns=columns,
        turns=turns,
        reasoning=reasoning,
        limit=limit,
        sample=sample,
        seed=chosen.seed,
        where=expression_of(where),
    )
    return train_to_folder(
        data,
        Path(output),
        chosen,
        Settings(**{**preset_settings, **settings, "metrics": ("ifd",)}),
        read_options,
        versus=versus,
        held_out_data=[eval] if isinstance(eval, (str, Path)) else list(eval),
        progress=progress,
    )


def train_to_folder(
    data: Data,
    output: Path,
    options: TrainOptions,
    settings: Settings,
    read_options: ReadOptions,
    *,
    versus: Data | None = None,
    held_out_data: Sequence[Any] = (),
    progress: Progress | None = None,
) -> Trained:
    """Train one model per dataset and seed, and score held-out files before and after.

    After an interruption the same call resumes.  Raises IfdkitError.
    """
    begin = time.perf_counter()
    progress = progress or default_progress()
    check_packages(options.log)
    if output.exists() and not output.is_dir():
        raise OutputError(f"-o {output} is a file: training needs a folder")
    settings = replace(settings, metrics=("ifd",))
    held_options = replace(read_options, limit=None, sample=None, where=None)
    with Scorer(settings, progress) as scorer:
        check_trainable(scorer, options.recipe)
        sides = list(_sides(data, versus, scorer, options, read_options, progress))
        before = [
            held_out(one, held_options, scorer, progress, notes=True) for one in held_out_data
        ]
        also_trained = _overlap(before, sides, progress)
        scorer.unload()
        scorer.thread_limit.use()
        models: dict[str, list[TrainedModel]] = {side.name: [] for side in sides}
        after: dict[str, list[list[HeldOut]]] = {side.name: [] for side in sides}
        is_single = len(sides) == options.seeds == 1
        for seed in options.all_seeds:
            for side in sides:
                folder = output if is_single else output / f"{side.name}-seed{seed}"
                if not is_single:
                    progress.note(f"training on {side.read_fields['input']}, seed {seed}")
                model = train_model(side, scorer, options, seed, folder, progress)
                models[side.name].append(model)
                after[side.name].append(
                    list(_scored_by(model, settings, held_out_data, held_options, progress))
                )
    result = Trained(
        schema=TRAINING_SCHEMA,
        version=VERSION,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command_line("train"),
        output=str(output),
        budget=options.budget if versus is not None else None,
        models=tuple(model for side in sides for model in models[side.name]),
        evaluated=tuple(_evaluated(before, after, options.seed)),
        contrasts=tuple(_contrasts(before, after, options.seed)),
        also_trained=also_trained,
        elapsed_s=round(time.perf_counter() - begin, 3),
    )
    result.save()
    return result


def _sides(
    data: Data,
    versus: Data | None,
    scorer: Scorer,
    options: TrainOptions,
    read_options: ReadOptions,
    progress: Progress,
) -> Iterator[TrainingSide]:
    """The dataset, and the other one under its budget."""
    first: TrainingSide | None = None
    for name, one in ((DATA, data), (VERSUS, versus)):
        if one is None:
            continue
        dataset = open_data(one, read_options)
        check_no_documents(dataset, "train")
        note_dataset(dataset, progress)
        found = training_rows(dataset, scorer, progress)
        read_fields = read_options.manifest_fields(dataset)
        del read_fields["seed"]  # the manifest has that of the run
        if first is None:
            schedule = schedule_of(len(found.rows), options.recipe)
        else:
            requests = first.found.requests
            schedule = matched(first.schedule, requests, found.requests, options.budget)
        side = TrainingSide(name=name, read_fields=read_fields, found=found, schedule=schedule)
        first = first or side
        progress.note(_described(side))
        yield side


def _described(side: TrainingSide) -> str:
    found, schedule = side.found, side.schedule
    passes = schedule.n_examples / len(found.rows)
    return (
        f"{side.read_fields['input']}: {plural(len(found.rows), 'example')},"
        f" {found.tokens_trained:,} response tokens to train on and {found.tokens_prompt:,} before"
        f" them; {plural(schedule.steps, 'step')} of {plural(schedule.batch_size, 'example')}"
        f" ({passes:.2f} passes)"
    )


def _overlap(
    before: Sequence[HeldOut], sides: Sequence[TrainingSide], progress: Progress
) -> dict[str, int]:
    """Held-out file → examples that are trained on."""
    trained = set()
    for side in sides:
        for row in side.found.rows:
            trained.add(row.request.ids[: row.request.stop - row.n_end].tobytes())
    found = {}
    for one in before:
        n = sum(content in trained for content in one.contents if content)
        if n:
            found[one.name] = n
            progress.note(
                f"{one.name}: {n:,} of {len(one.contents):,} held-out examples are in the training"
                " data"
            )
    return found


def _scored_by(
    model: TrainedModel,
    settings: Settings,
    held_out_data: Sequence[Any],
    read_options: ReadOptions,
    progress: Progress,
) -> Iterator[HeldOut]:
    """The held-out files as the trained model scores them."""
    if not held_out_data:
        return
    # Its template is that of the base: an adapter's folder has no tokenizer of its own.
    with Scorer(replace(settings, model=model.output), progress) as scorer:
        for one in held_out_data:
            yield held_out(one, read_options, scorer, progress, notes=False)


def _evaluated(
    before: Sequence[HeldOut], after: Mapping[str, list[list[HeldOut]]], seed: int
) -> Iterator[Evaluated]:
    for number, old in enumerate(before):
        for side, by_seed in after.items():
            yield from evaluated(side, old, [files[number] for files in by_seed], seed=seed)


def _contrasts(
    before: Sequence[HeldOut], after: Mapping[str, list[list[HeldOut]]], seed: int
) -> Iterator[Contrast]:
    if VERSUS not in after:
        return
    for number in range(len(before)):
        data, versus = ([files[number] for files in after[side]] for side in (DATA, VERSUS))
        yield from contrasts(data, versus, seed=seed)
