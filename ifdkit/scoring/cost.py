"""`ifdkit score --plan`: what a run would cost, without scoring it.

Every row is read and tokenized, and the batches are planned as a run plans them, so tokens and
operations are exact.  The time is an estimate: a random sample of the planned batches is timed, and
the rest is taken to go at the same rate of operations.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ifdkit.data.options import ReadOptions
from ifdkit.engine.backends import stream
from ifdkit.engine.batching import plan
from ifdkit.engine.flops import GPUS, UTILISATION, BatchCost, ModelSize, batch_cost, gpu_seconds
from ifdkit.records import Request
from ifdkit.scoring.documents import settings_for
from ifdkit.scoring.embeddings import text_pairs
from ifdkit.scoring.inputs import note_dataset, open_data
from ifdkit.scoring.progress import Progress
from ifdkit.scoring.run import blocks
from ifdkit.scoring.scorer import Scorer
from ifdkit.scoring.settings import Settings

if TYPE_CHECKING:
    from ifdkit.scoring.inputs import Data

PROBE_S = 20.0
"""Time for timing batches, and again for timing the embedder."""
MIN_PROBES, MAX_PROBES = 8, 64
_PAGE_BYTES, _ROW_OVERHEAD_BYTES, _INDEX_BYTES = 4096, 72, 60
"""Of SQLite: a row has its key, checksum, batch and origin beside the value; the index has the key
once more, and is two thirds full."""
_EMBEDDING_DIMENSIONS = 384
_MAX_TEXT_CHARS = 1200
"""Characters of a text after which an embedder of 256 tokens does no more work."""
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedTime:
    """Seconds on this machine."""

    loading_s: float
    """Of the language model, as measured."""
    reading_s: float
    """Reading and tokenizing, as measured."""
    scoring_s: float
    """Passes of the language model, from the probe."""
    embedding_s: float
    probed_batches: int
    probe_s: float

    @property
    def total_s(self) -> float:
        """Of the whole run."""
        return self.loading_s + self.reading_s + self.scoring_s + self.embedding_s


@dataclass(frozen=True, slots=True, kw_only=True)
class CostPlan:
    """What a run would do, and how long it would take."""

    rows: int
    examples: int
    rejects: int
    passes: int
    """Of all examples."""
    requests: int
    """Distinct ones."""
    requests_in_store: int
    tokens: int
    """Tokens of the Requests that the store lacks, each by itself."""
    computed_tokens: int
    """Tokens that go through the model for them, padding included."""
    shared_tokens: int
    """Tokens that need not be computed, because several Requests have them in common."""
    scored_tokens: int
    flops: float
    texts: int
    """Distinct texts to embed that the store lacks."""
    store_bytes: int
    """What the store grows by."""
    time: PredictedTime
    gpus: dict[str, float]
    """GPU → seconds of its passes, computed from its peak rate, not measured."""
    utilisation: float = UTILISATION

    def as_json(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        found = asdict(self)
        found["time"]["total_s"] = self.time.total_s
        found["gpus"] = [
            {"name": name, "peak_tflops": GPUS[name], "seconds": s, "is_computed": True}
            for name, s in self.gpus.items()
        ]
        return found


class Reservoir(Generic[_Item]):
    """A random sample of a stream (Vitter 1985, algorithm R)."""

    def __init__(self, size: int) -> None:
        self._size, self._draw, self._seen = size, random.Random(0), 0
        self.kept: list[_Item] = []

    def add(self, item: _Item) -> None:
        """Consider one item."""
        self._seen += 1
        if len(self.kept) < self._size:
            self.kept.append(item)
        elif (slot := self._draw.randrange(self._seen)) < self._size:
            self.kept[slot] = item


@dataclass(slots=True)
class _Totals:
    """What was counted so far."""

    rows: int = 0
    examples: int = 0
    rejects: int = 0
    passes: int = 0
    requests: int = 0
    known: int = 0
    tokens: int = 0
    cost: BatchCost = field(default_factory=BatchCost)
    store_bytes: int = 0
    n_batches: int = 0
    texts: int = 0
    text_chars: int = 0
    batches: Reservoir[tuple[list[Request], BatchCost]] = field(
        default_factory=lambda: Reservoir(MAX_PROBES)
    )
    sample: Reservoir[str] = field(default_factory=lambda: Reservoir(256))


def cost_plan(
    data: Data, settings: Settings, read_options: ReadOptions, progress: Progress | None = None
) -> CostPlan:
    """What scoring a dataset would cost. Stores nothing. Raises IfdkitError."""
    from ifdkit.engine.loading import model_size

    progress = progress or Progress()
    dataset = open_data(data, read_options)
    note_dataset(dataset, progress)
    settings = settings_for(dataset, settings, progress)
    totals = _Totals()
    with Scorer(settings, progress) as scorer:
        backend = scorer.backend
        begin = time.perf_counter()
        progress.start(dataset.n_rows)
        for block in blocks(dataset):
            progress.begin_block(block.n_rows, len(block.examples))
            totals.rows += block.n_rows
            totals.rejects += len(block.rejects)
            totals.examples += len(block.examples)
            passes = scorer.align(block.examples)
            totals.passes += sum(len(one.present()) + 2 * len(one.noisy) for one in passes)
            requests, known = scorer.known_requests(passes)
            _count_requests(totals, requests, known, backend.budget)
            if scorer.embeddings is not None:
                pairs = text_pairs(block.examples, passes)
                distinct = dict.fromkeys(text for pair in pairs if pair for text in pair)
                stored = scorer.embeddings.stored(distinct)
                texts = [text for text in distinct if text not in stored]
                totals.texts += len(texts)
                totals.store_bytes += len(texts) * _stored_bytes(4 * _EMBEDDING_DIMENSIONS)
                for text in texts:
                    totals.text_chars += min(len(text), _MAX_TEXT_CHARS)
                    totals.sample.add(text)
            progress.end_block()
        reading_s = time.perf_counter() - begin
        size = model_size(scorer.weights, trust_remote_code=settings.trust_remote_code)
        flops = size.flops(totals.cost.computed, totals.cost.scored, totals.cost.pairs)
        progress.note("timing some of the batches")
        scoring_s, n_probed, probe_s = _probe(scorer, size, totals, flops)
        embedding_s = _probe_embedder(scorer, totals)
        loading_s = scorer.work.model_load_s
    shared = totals.tokens - totals.cost.computed
    return CostPlan(
        rows=totals.rows,
        examples=totals.examples,
        rejects=totals.rejects,
        passes=totals.passes,
        requests=totals.requests,
        requests_in_store=totals.known,
        tokens=totals.tokens,
        computed_tokens=totals.cost.computed,
        shared_tokens=max(0, shared),
        scored_tokens=totals.cost.scored,
        flops=flops,
        texts=totals.texts,
        store_bytes=totals.store_bytes,
        time=PredictedTime(
            loading_s=loading_s,
            reading_s=reading_s,
            scoring_s=scoring_s,
            embedding_s=embedding_s,
            probed_batches=n_probed,
            probe_s=probe_s,
        ),
        gpus=gpu_seconds(flops),
    )


def _count_requests(
    totals: _Totals, requests: Sequence[Request], known: set[int], budget: Any
) -> None:
    """Count the Requests of a block, and the batches that a run would make of them."""
    totals.requests += len(requests)
    totals.known += len(known)
    for batch in plan(requests, budget):
        missing = [i for i in batch if i not in known]
        if not missing:
            continue
        cost = batch_cost(requests, missing, budget)
        totals.cost += cost
        totals.n_batches += 1
        totals.tokens += sum(requests[i].stop for i in missing)
        totals.store_bytes += sum(_stored_bytes(4 * requests[i].n_scored) for i in missing)
        totals.batches.add(([requests[i] for i in missing], cost))


def _stored_bytes(value_bytes: int) -> int:
    """What the store grows by for one value: rows do not cross pages, unless they are longer."""
    row = value_bytes + _ROW_OVERHEAD_BYTES
    per_page = _PAGE_BYTES // row
    pages = 1 / per_page if per_page else -(-row // _PAGE_BYTES)
    return round(pages * _PAGE_BYTES) + _INDEX_BYTES


def _probe(
    scorer: Scorer, size: ModelSize, totals: _Totals, flops: float
) -> tuple[float, int, float]:
    """Predicted seconds of all passes, from a random sample of batches; how many, how long."""
    sample = totals.batches.kept
    if not sample:
        return 0.0, 0, 0.0
    random.Random(1).shuffle(sample)
    batches, planned = (requests for requests, _ in sample), totals.n_batches
    outcomes = stream(scorer.backend, batches, n_planned=planned)
    scorer.backend.nll(sample[0][0])  # the first pass of a process takes longer
    begin, done_flops, n_done = time.perf_counter(), 0.0, 0
    for (_, cost), _ in zip(sample, outcomes, strict=False):
        done_flops += size.flops(cost.computed, cost.scored, cost.pairs)
        n_done += 1
        if n_done >= MIN_PROBES and time.perf_counter() - begin > PROBE_S:
            break
    elapsed_s = time.perf_counter() - begin
    return elapsed_s * flops / done_flops, n_done, elapsed_s


def _probe_embedder(scorer: Scorer, totals: _Totals) -> float:
    """Predicted seconds of the embedder, loading included."""
    texts = totals.sample.kept
    if scorer.embeddings is None or not texts:
        return 0.0
    elapsed_s, load_s, n_done = scorer.embeddings.time(texts, PROBE_S)
    chars = sum(min(len(text), _MAX_TEXT_CHARS) for text in texts[:n_done])
    return load_s + elapsed_s * totals.text_chars / max(1, chars)
