"""Runs that stand for a real one: a small model, trained for a few steps on what was selected.

    rows, seed ─ fingerprint ─▶ known? ─ journal ─▶ NLLs of the held-out rows
                                  └─ engine.finetuning ─▶ a model ─ Scorer ─┘

Every run has the same number of steps and of examples per step, whatever was selected.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ifdkit.engine.finetuning import FineTuning, fine_tune
from ifdkit.engine.recipe import LossPoint
from ifdkit.errors import ModelError
from ifdkit.format import duration
from ifdkit.records import Request
from ifdkit.scoring.progress import Progress
from ifdkit.scoring.scorer import Scorer
from ifdkit.training.interrupts import interrupts
from ifdkit.training.model import run_fingerprint
from ifdkit.training.options import TrainOptions
from ifdkit.training.rows import TrainingRow
from ifdkit.training.schedule import Schedule, order_of
from ifdkit.tuning.journal import RunJournal

_FOLDER = "run-"
_KEY_CHARACTERS = 16


class ProxyRuns:
    """Trains on selections, and measures the models on held-out rows."""

    def __init__(
        self,
        scorer: Scorer,
        options: TrainOptions,
        schedule: Schedule,
        trained: Mapping[int, Sequence[TrainingRow]],
        journal: RunJournal,
        n_runs: int,
        progress: Progress,
    ) -> None:
        """`scorer` is the small model before training, and `n_runs` how many there will be."""
        self._scorer, self._options, self._schedule = scorer, options, schedule
        self._trained, self._journal, self._progress = trained, journal, progress
        self._left, self._is_timed, self._is_interrupted = n_runs, False, False
        progress.start(n_runs * schedule.n_examples)

    def nlls(
        self, rows: Sequence[int], seed: int, held_out: Sequence[Request], name: str
    ) -> NDArray[np.float64]:
        """NLL of each held-out response after training on the rows at these positions.

        Shape (held-out,), nats per token, NaN if undefined. `name` is what the journal calls the
        run.  Raises KeyboardInterrupt after a checkpoint is saved, ModelError or OutputError.
        """
        requests = [one.request for row in rows for one in self._trained[row]]
        order = order_of(requests, self._schedule, seed)
        key = self._key(requests, order, seed, held_out)
        known = self._journal.get(key)
        if known is None:
            begin = time.perf_counter()
            known = self._measured(key, requests, order, seed, held_out)
            self._journal.put(key, name, known)
            if self._is_interrupted:  # in the last step, which leaves nothing to resume
                raise KeyboardInterrupt
            self._note_time(time.perf_counter() - begin)
        else:
            n = self._schedule.n_examples
            self._progress.begin_block(n, n)
            self._progress.end_block()
        self._left -= 1
        return known

    def _key(
        self,
        requests: Sequence[Request],
        order: Sequence[int],
        seed: int,
        held_out: Sequence[Request],
    ) -> str:
        trained = run_fingerprint(
            self._scorer,
            self._options.recipe,
            requests,
            order,
            batch_size=self._schedule.batch_size,
            seed=seed,
        )
        digest = hashlib.sha256(trained.encode())
        for request in held_out:
            digest.update(request.content)
        return digest.hexdigest()

    def _measured(
        self,
        key: str,
        requests: Sequence[Request],
        order: Sequence[int],
        seed: int,
        held_out: Sequence[Request],
    ) -> NDArray[np.float64]:
        """Train in a folder of its own, from whose checkpoint a repetition resumes."""
        folder = self._journal.path.parent / f"{_FOLDER}{key[:_KEY_CHARACTERS]}"
        self._remove_others(folder)
        run = FineTuning(
            weights=self._scorer.weights,
            recipe=self._options.recipe,
            batch_size=self._schedule.batch_size,
            seed=seed,
            device=self._scorer.device,
            dtype=self._scorer.dtype,
            folder=folder,
            trust_remote_code=self._scorer.settings.trust_remote_code,
            checkpoint_every_s=self._options.checkpoint_minutes * 60,
        )
        steps = _Steps(requests, order, self._schedule.batch_size, self._progress)
        with interrupts(self._progress) as is_interrupted:
            losses = fine_tune(run, requests, order, on_step=steps, stops=is_interrupted)
            self._is_interrupted = is_interrupted()
        if losses is None:
            raise KeyboardInterrupt
        found = self._scored(folder, held_out)
        shutil.rmtree(folder, ignore_errors=True)
        return found

    def _scored(self, folder: Path, held_out: Sequence[Request]) -> NDArray[np.float64]:
        # Nobody asks for these numbers again, so they are not for the user's store.
        settings = replace(self._scorer.settings, model=str(folder), store="off")
        with Scorer(settings, Progress()) as scorer:
            found = scorer.measuring.nlls(held_out, provisional=True)
        means = [found[one.content].mean() if one.content in found else np.nan for one in held_out]
        nlls = np.array(means, dtype=np.float64)
        if not np.isfinite(nlls).any():
            raise ModelError(
                f"{self._scorer.weights.name}: no held-out row has a finite NLL after training:"
                " lower --tune-learning-rate"
            )
        return nlls

    def _remove_others(self, folder: Path) -> None:
        """Delete what a run with other options has left."""
        pattern = _FOLDER + "[0-9a-f]" * _KEY_CHARACTERS
        for path in folder.parent.glob(pattern):
            if path != folder:
                shutil.rmtree(path, ignore_errors=True)

    def _note_time(self, elapsed_s: float) -> None:
        """Say once what the rest will cost."""
        if not self._is_timed and self._left > 1:
            rest = duration(elapsed_s * (self._left - 1))
            self._progress.note(f"a run takes {duration(elapsed_s)}: at most {rest} more")
        self._is_timed = True


class _Steps:
    """Progress after each step."""

    def __init__(
        self, requests: Sequence[Request], order: Sequence[int], batch_size: int, to: Progress
    ) -> None:
        tokens = [requests[i].stop for i in order]
        begins = range(0, len(order), batch_size)
        self._tokens = [sum(tokens[begin : begin + batch_size]) for begin in begins]
        self._size, self._progress, self._seen = batch_size, to, 0

    def __call__(self, point: LossPoint) -> None:
        # The first point of a resumed run stands for the steps of the run before.
        n, tokens = point.step - self._seen, sum(self._tokens[self._seen : point.step])
        self._seen = point.step
        self._progress.begin_block(n * self._size, n * self._size)
        self._progress.missing(tokens)
        self._progress.scored(tokens)
        self._progress.end_block()
