"""`ifdkit select --tune`: trials in the first half, then the comparison in the second.

scored rows ─ divide ─▶ half 1 ─ sampler ⇄ selection ─ proxy runs ─▶ weights
                    └─▶ half 2 ─ these weights, each score alone, random ones ─▶ verdict
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from ifdkit.engine.models import resolve
from ifdkit.errors import OutputError
from ifdkit.format import fixed, plural
from ifdkit.scoring.documents import check_no_documents
from ifdkit.scoring.per_row import Places, only_rows
from ifdkit.scoring.scorer import Scorer
from ifdkit.scoring.settings import Settings
from ifdkit.selection.methods import Task
from ifdkit.selection.options import SelectOptions
from ifdkit.selection.rows import rows_of
from ifdkit.selection.tuned import TunedWeights, TuningInput, WeightTrial, weights_text
from ifdkit.training.model import check_trainable
from ifdkit.training.schedule import Schedule
from ifdkit.tuning.journal import RunJournal
from ifdkit.tuning.options import REPEATS, Tuning
from ifdkit.tuning.parts import TuningHalf, TuningParts, divide
from ifdkit.tuning.proxies import ProxyRuns
from ifdkit.tuning.sampler import alone, sampler_name, try_weights
from ifdkit.tuning.verdict import RANDOM, TUNED, Nlls, compared, remarks

FOLDER = ".tuning"
"""Appended to the name of the output: the folder of the journal and of the run in progress."""
RUNS = "runs.jsonl"
_SETTINGS = ("protocol", "template", "template_date", "dtype", "device", "threads", "max_length",
             "store", "store_limit", "trust_remote_code", "allow_pickle")  # fmt: skip
"""Of the selection, for the small model too."""


def find_weights(tuning: Tuning, found: TuningInput) -> tuple[TunedWeights, Places]:
    """The weights, and the positions of the rows that may not be kept.

    Raises IfdkitError, and KeyboardInterrupt, after which the same call resumes.
    """
    check_no_documents(found.task.dataset, "select --tune")
    folder = Path(f"{found.output}{FOLDER}")
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file, and --tune needs a folder there: move it")
    options, preset = tuning.training
    with Scorer(_settings(tuning, found.given, preset), found.progress) as scorer:
        check_trainable(scorer, options.recipe)
        parts = divide(tuning, found, scorer)
        journal = RunJournal(folder / RUNS)
        schedule = Schedule(tuning.steps, min(options.recipe.batch_size, parts.selected))
        n_runs = tuning.trials + REPEATS * (len(tuning.fields) + 1) + tuning.random
        for note in _plan(tuning, parts, schedule, scorer, journal, n_runs):
            found.progress.note(note)
        scorer.thread_limit.use()
        runs = ProxyRuns(scorer, options, schedule, parts.trained, journal, n_runs, found.progress)
        search = _TuningRuns(tuning, found, parts, runs)
        trials, best = search.trials()
        contenders = compared(search.contenders(trials, best), seed=found.task.seed)
        setup = scorer.setup
        result = TunedWeights(
            fields=tuning.fields,
            weights=best.weights,
            best_trial=best.number,
            verdict=next(one.verdict for one in contenders if one.name == TUNED and one.verdict),
            remarks=tuple(remarks(contenders)),
            trials=tuple(trials),
            contenders=contenders,
            seeds=tuple(search.seeds),
            held_out_from=parts.held_out_from,
            held_out_trials=tuple(parts.halves[0].held_out.tolist()),
            held_out_verdict=tuple(parts.halves[1].held_out.tolist()),
            candidates=(len(parts.halves[0].candidates), len(parts.halves[1].candidates)),
            selected=parts.selected,
            sampler=sampler_name(),
            model=setup.model,
            weights_hash=setup.weights_hash,
            protocol=setup.protocol,
            template=setup.template,
            max_length=setup.max_length,
            dtype=scorer.dtype,
            device=scorer.device,
            recipe=asdict(options.recipe),
            steps=schedule.steps,
            batch_size=schedule.batch_size,
            runs=str(journal.path),
        )
    return result, parts.left_out


def _settings(tuning: Tuning, given: Mapping[str, Any], preset: Mapping[str, Any]) -> Settings:
    """Those of the small model."""
    own = {name: given[name] for name in _SETTINGS if name in given}
    model = tuning.model or given.get("model")
    named = {} if model is None else {"model": str(model)}
    settings = Settings(**{**own, **named, "metrics": ("ifd",)})
    if settings.max_length is not None or "max_length" not in preset:
        return settings
    weights = resolve(
        settings.model,
        allow_pickle=settings.allow_pickle,
        trust_remote_code=settings.trust_remote_code,
    )
    # Nobody has asked for the preset's length, so a shorter context is no error.
    length = min(preset["max_length"], weights.context_length or preset["max_length"])
    return replace(settings, max_length=length)


def _plan(
    tuning: Tuning,
    parts: TuningParts,
    schedule: Schedule,
    scorer: Scorer,
    journal: RunJournal,
    n_runs: int,
) -> list[str]:
    """What will be done, and what it costs."""
    candidates, held_out = (
        " and ".join(f"{len(getattr(half, name)):,}" for half in parts.halves)
        for name in ("candidates", "held_out")
    )
    tokens = [one.request.stop for rows in parts.trained.values() for one in rows]
    n_tokens = round(float(np.mean(tokens)) * schedule.n_examples * n_runs)
    recipe = "adapter" if tuning.training[0].recipe.lora else "all weights"
    known = f"; {journal.path} has {plural(len(journal), 'run')}" if len(journal) else ""
    return [
        f"tuning the weights of {', '.join(tuning.fields)}: two halves with {candidates}"
        f" candidates, of which each run selects {parts.selected:,}, and {held_out} held-out rows"
        f" of {parts.held_out_from}",
        f"{plural(tuning.trials, 'trial')} in the first half, then in the second the best weights"
        f" and each score alone with {REPEATS} seeds, and {tuning.random} random selections: at"
        f" most {plural(n_runs, 'run')}{known}",
        f"a run trains {scorer.weights.name} ({recipe}, {scorer.dtype} on {scorer.device}) for"
        f" {plural(schedule.steps, 'step')} of {plural(schedule.batch_size, 'example')}; all of"
        f" them train on about {n_tokens:,} tokens",
    ]


class _TuningRuns:
    """The trials and the comparison."""

    def __init__(
        self, tuning: Tuning, found: TuningInput, parts: TuningParts, runs: ProxyRuns
    ) -> None:
        self._tuning, self._found, self._runs = tuning, found, runs
        self._halves = [_Half(half, found, parts.selected) for half in parts.halves]
        seed = found.task.seed
        self.seeds = range(seed, seed + tuning.random)

    def trials(self) -> tuple[list[WeightTrial], WeightTrial]:
        """All of them, and the first of the best."""
        half, lowest = self._halves[0], float("inf")

        def evaluate(number: int, weights: Mapping[str, float]) -> float:
            nonlocal lowest
            nlls = self._runs.nlls(
                half.by_weights(weights), self.seeds[0], half.requests, f"trial {number}"
            )
            nll = float(np.nanmean(nlls))
            is_lowest, lowest = nll < lowest, min(nll, lowest)
            self._found.progress.note(
                f"trial {number} of {self._tuning.trials}: {weights_text(weights)}: held-out NLL"
                f" {fixed(nll, 4)}{' (the lowest so far)' if is_lowest else ''}"
            )
            return nll

        trials = try_weights(self._tuning.fields, self._tuning.trials, self.seeds[0], evaluate)
        return trials, min(trials, key=lambda one: (one.nll, one.number))

    def contenders(
        self, trials: Sequence[WeightTrial], best: WeightTrial
    ) -> dict[str, tuple[Mapping[str, float], Nlls]]:
        """Weights and NLLs of the tuned weights, of each score in its better order, and random."""
        half = self._halves[1]
        nlls = {weights_text(one.weights): one.nll for one in trials}
        pairs = [
            [one for one in alone(self._tuning.fields) if name in one]
            for name in self._tuning.fields
        ]
        singles = [min(pair, key=lambda one: nlls[weights_text(one)]) for pair in pairs]
        ways = {TUNED: best.weights, **{next(iter(one)): one for one in singles}, RANDOM: {}}
        found: dict[str, tuple[Mapping[str, float], Nlls]] = {}
        for name, weights in ways.items():
            table = []
            for seed in self.seeds[:REPEATS] if weights else self.seeds:
                rows = half.by_weights(weights) if weights else half.random(seed)
                run = f"{name}, seed {seed}"
                table.append(self._runs.nlls(rows, seed, half.requests, run))
            found[name] = weights, np.stack(table)
            self._found.progress.note(
                f"second half, {name}: held-out NLL {fixed(float(np.nanmean(table)), 4)}, mean of"
                f" {plural(len(table), 'seed')}"
            )
        return found


class _Half:
    """One half, and selections from its candidates by the code of `select`."""

    def __init__(self, half: TuningHalf, found: TuningInput, n: int) -> None:
        self.requests = half.requests
        scored = only_rows(found.scored, half.candidates)
        rows = rows_of(scored, found.read_options.turns)
        self._task = replace(found.task, dataset=scored.dataset, rows=rows)
        self._n = n

    def by_weights(self, weights: Mapping[str, float]) -> list[int]:
        """Positions of the rows with the highest combination, ascending."""
        options = replace(self._task.options, weights=weights_text(weights), top=self._n)
        return self._chosen(replace(self._task, options=options))

    def random(self, seed: int) -> list[int]:
        """Positions of as many random rows, ascending."""
        asked = self._task.options
        options = SelectOptions(method="random", top=self._n, per=asked.per, quota=asked.quota)
        return self._chosen(replace(self._task, options=options, seed=seed))

    def _chosen(self, task: Task) -> list[int]:
        verdict = task.options.entry.choose(task)
        positions: list[int] = self._task.rows.positions[verdict.kept].tolist()
        assert len(positions) == self._n, "all candidates can be ranked"
        return positions
