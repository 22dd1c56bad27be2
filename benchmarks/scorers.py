"""Scorers of the same Requests: ifdkit, the published recipe, and peers.

Each is a function that loads a model and returns another function, which scores all Requests once
and returns the mean NLL of each span (Data-Juicer: the ratio of each pair).  The peers that take
texts instead of ids, minicons and Data-Juicer, get the decoded ids.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ifdkit.records import Request

Means = list[float]
Score = Callable[[], Means]
MINICONS_BATCH = 8
LM_EVAL_BATCHES = (1, 4, 16)


@dataclass(frozen=True)
class Task:
    """The input of every scorer."""

    folder: Path
    """Weights and tokenizer in the format of transformers."""
    requests: list[Request]
    device: str
    dtype: str


def engine(task: Task) -> Score:
    """The engine of ifdkit, with the batches that a run would make."""
    from ifdkit.engine.batching import plan
    from ifdkit.engine.huggingface import HuggingFaceBackend
    from ifdkit.engine.models import Weights

    weights = Weights(task.folder.name, task.folder, "benchmark")
    backend = HuggingFaceBackend(weights, device=task.device, dtype=task.dtype)

    def score() -> Means:
        means = [0.0] * len(task.requests)
        batches = plan(task.requests, backend.budget)
        found = backend.stream(
            ([task.requests[i] for i in batch] for batch in batches), n_planned=len(batches)
        )
        for batch, nlls in zip(batches, found, strict=True):
            for i, nll in zip(batch, nlls, strict=True):
                means[i] = float(nll.mean(dtype=np.float64))
        return means

    return score


def barriers(task: Task) -> Score:
    """The engine with one batch at a time, every product split between all threads."""
    from ifdkit.engine.batching import plan
    from ifdkit.engine.huggingface import HuggingFaceBackend
    from ifdkit.engine.models import Weights

    weights = Weights(task.folder.name, task.folder, "benchmark")
    backend = HuggingFaceBackend(weights, device=task.device, dtype=task.dtype)

    def score() -> Means:
        means = [0.0] * len(task.requests)
        for batch in plan(task.requests, backend.budget):
            for i, nll in zip(batch, backend.nll([task.requests[i] for i in batch]), strict=True):
                means[i] = float(nll.mean(dtype=np.float64))
        return means

    return score


def recipe(task: Task) -> Score:
    """The baseline: what the published scripts do, in a few lines.

    One span at a time, each in a forward pass of its own, with logits for every position and the
    loss that the model computes from `labels`.
    """
    import torch

    model, _ = _load(task)

    def score() -> Means:
        means = []
        for request in task.requests:
            ids = torch.tensor(request.ids[None, : request.stop].astype(int)).to(task.device)
            labels = ids.clone()
            labels[:, : request.start] = -100
            with torch.no_grad():
                means.append(float(model(ids, labels=labels).loss))
        return means

    return score


def lm_eval(task: Task) -> Score:
    """EleutherAI's evaluation harness, on ids, at the fastest of three batch sizes."""
    from lm_eval.models.huggingface import HFLM

    model, tokenizer = _load(task)
    inputs = [
        (("", ""), r.ids[: r.start].tolist(), r.ids[r.start : r.stop].tolist())
        for r in task.requests
    ]

    def with_batches_of(size: int) -> Score:
        harness = HFLM(pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=size)

        def score() -> Means:
            answers = harness._loglikelihood_tokens(inputs, disable_tqdm=True)
            return [-a[0] / r.n_scored for a, r in zip(answers, task.requests, strict=True)]

        return score

    return min((with_batches_of(size) for size in LM_EVAL_BATCHES), key=_seconds)


def minicons(task: Task) -> Score:
    """The incremental scorer of minicons, on texts, in batches of similar length."""
    from minicons.scorer import IncrementalLMScorer

    model, tokenizer = _load(task)
    scorer = IncrementalLMScorer(model, device=task.device, tokenizer=tokenizer)
    halves = [
        (tokenizer.decode(r.ids[: r.start]), tokenizer.decode(r.ids[r.start : r.stop]))
        for r in task.requests
    ]
    order = sorted(range(len(halves)), key=lambda i: -task.requests[i].stop)

    def score() -> Means:
        means = [0.0] * len(halves)
        for begin in range(0, len(order), MINICONS_BATCH):
            batch = order[begin : begin + MINICONS_BATCH]
            contexts, targets = zip(*(halves[i] for i in batch), strict=True)
            scores = scorer.conditional_score(list(contexts), list(targets), separator="")
            for i, mean in zip(batch, scores, strict=True):
                means[i] = -mean
        return means

    return score


def data_juicer(task: Task) -> Score:
    """The IFD filter of Data-Juicer, on texts, which returns the ratio of two losses.

    The requests must come in pairs: response direct, response conditional.
    """
    from data_juicer.ops.filter.instruction_following_difficulty_filter import (
        InstructionFollowingDifficultyFilter,
    )
    from data_juicer.utils.constant import Fields, StatsKeys
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(task.folder)
    operator = InstructionFollowingDifficultyFilter(
        hf_model=str(task.folder), query_template="{query}", response_template="{response}"
    )
    pairs = [
        {
            "query": tokenizer.decode(conditional.ids[: conditional.start]),
            "response": tokenizer.decode(conditional.ids[conditional.start : conditional.stop]),
        }
        for conditional in task.requests[1::2]
    ]

    def score() -> Means:
        ratios = []
        for pair in pairs:
            sample = {**pair, Fields.stats: {}}
            ratios.append(operator.compute_stats_single(sample)[Fields.stats][StatsKeys.ifd_score])
        return ratios

    return score


SCORERS: dict[str, Callable[[Task], Score]] = {
    "recipe": recipe,
    "ifdkit": engine,
    "barriers": barriers,
    "lm-eval": lm_eval,
    "minicons": minicons,
    "data-juicer": data_juicer,
}


def _load(task: Task) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(task.folder, dtype=getattr(torch, task.dtype))
    return model.to(task.device).eval(), AutoTokenizer.from_pretrained(task.folder)


def _seconds(score: Score) -> float:
    begin = time.perf_counter()
    score()
    return time.perf_counter() - begin


def ratios(means: Sequence[float]) -> list[float]:
    """IFD of each pair of a direct and a conditional mean."""
    return [float(np.exp(c - d)) for d, c in zip(means[::2], means[1::2], strict=True)]
