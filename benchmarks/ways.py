"""Ways to score the same Requests: ours, the published recipe's, and the peers'.

Each is a function of a model folder that loads what it needs and returns another, which gives the
mean nats of each span, or None where the way does not tell them.  The peers that work on texts
instead of ids (minicons, Data-Juicer) get the texts behind the ids.
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
_MINICONS_BATCH = 8
_LM_EVAL_BATCHES = (1, 4, 16)


@dataclass(frozen=True)
class Task:
    """What every way is given."""

    folder: Path
    """Weights and tokenizer, as transformers saves them."""
    requests: list[Request]
    device: str
    dtype: str


def ours(task: Task) -> Score:
    """The engine, through the plan that a run would make."""
    from ifdkit.engine.batching import plan
    from ifdkit.engine.huggingface import HuggingFaceBackend
    from ifdkit.engine.models import Weights

    weights = Weights(task.folder.name, task.folder, "benchmark")
    backend = HuggingFaceBackend(weights, device=task.device, dtype=task.dtype)

    def score() -> Means:
        means = [0.0] * len(task.requests)
        for batch in plan(task.requests, backend.budget):
            nlls = backend.nll([task.requests[i] for i in batch])
            for i, nll in zip(batch, nlls, strict=True):
                means[i] = float(nll.mean(dtype=np.float64))
        return means

    return score


def recipe(task: Task) -> Score:
    """The published scripts' way, written plainly: the baseline to beat.

    One example at a time, a full forward pass for each span, logits for every position, the loss
    from the model's own `labels`.
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
    """EleutherAI's harness, from ids, at the best of three batch sizes."""
    from lm_eval.models.huggingface import HFLM

    model, tokenizer = _load(task)
    asked = [
        (("", ""), r.ids[: r.start].tolist(), r.ids[r.start : r.stop].tolist())
        for r in task.requests
    ]

    def at(size: int) -> Score:
        harness = HFLM(pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=size)

        def score() -> Means:
            answers = harness._loglikelihood_tokens(asked, disable_tqdm=True)
            return [-a[0] / r.n_scored for a, r in zip(answers, task.requests, strict=True)]

        return score

    return min((at(size) for size in _LM_EVAL_BATCHES), key=_seconds)


def minicons(task: Task) -> Score:
    """minicons' incremental scorer, from texts, in batches of like length."""
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
        for begin in range(0, len(order), _MINICONS_BATCH):
            batch = order[begin : begin + _MINICONS_BATCH]
            contexts, targets = zip(*(halves[i] for i in batch), strict=True)
            scores = scorer.conditional_score(list(contexts), list(targets), separator="")
            for i, mean in zip(batch, scores, strict=True):
                means[i] = -mean
        return means

    return score


def data_juicer(task: Task) -> Score:
    """Data-Juicer's IFD filter, from texts: it gives one ratio of losses for two passes.

    The requests have to come in pairs, response direct and response conditional.
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


WAYS: dict[str, Callable[[Task], Score]] = {
    "recipe": recipe,
    "ifdkit": ours,
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
    """IFD of pairs of direct and conditional means."""
    return [float(np.exp(c - d)) for d, c in zip(means[::2], means[1::2], strict=True)]
