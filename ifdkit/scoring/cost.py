"""`ifdkit score --plan`: what a run would cost, without scoring it.

Every row is read and tokenized, and what it needs of models and the batches of that are those of a
run, so tokens and operations are exact.  The exception are demonstrations that need an embedder to
be found: others stand in for them.  The time is an estimate: a random sample of the planned batches
is timed, and the rest is taken to go at the same rate of operations.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ifdkit.data.options import ReadOptions
from ifdkit.engine.backends import stream
from ifdkit.engine.batching import plan
from ifdkit.engine.flops import GPUS, UTILISATION, BatchCost, ModelSize, batch_cost, gpu_seconds
from ifdkit.records import Passes, Request
from ifdkit.scoring.aligning import BlockAligner
from ifdkit.scoring.documents import settings_for
from ifdkit.scoring.embeddings import Embeddings, text_pairs, texts_of
from ifdkit.scoring.inputs import note_dataset, open_data
from ifdkit.scoring.measuring import Measurement, Needed
from ifdkit.scoring.prefetching import in_order
from ifdkit.scoring.progress import Progress
from ifdkit.scoring.run import blocks, is_cut_from
from ifdkit.scoring.scorer import Scorer
from ifdkit.scoring.settings import Settings
from ifdkit.scoring.shards import Block
from ifdkit.scoring.store import text_key
from ifdkit.scoring.token_arrays import PER_TOKEN

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
    """Of all examples, by all models."""
    requests: int
    """Distinct ones of each block."""
    requests_in_store: int
    """By the time they are needed: an earlier block may have them too."""
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
    demonstrations_are_stand_ins: bool = False
    """Whether the tokens of demonstrations are those of random other examples."""

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
class _Planned:
    """The batches of one model so far."""

    cost: BatchCost = field(default_factory=BatchCost)
    n_batches: int = 0
    sample: Reservoir[tuple[list[Request], BatchCost]] = field(
        default_factory=lambda: Reservoir(MAX_PROBES)
    )


class _Seen:
    """Keys of what a run would have stored by now, in 60 bytes each."""

    def __init__(self) -> None:
        self._starts: set[int] = set()

    def __contains__(self, key: bytes) -> bool:
        return self._start(key) in self._starts

    def add(self, key: bytes) -> None:
        """Remember a key."""
        self._starts.add(self._start(key))

    def _start(self, key: bytes) -> int:
        # Of 3 million keys two begin alike with a probability of 6 in 100,000.
        return int.from_bytes(key[:7])


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
    store_bytes: int = 0
    texts: int = 0
    text_chars: int = 0
    planned: dict[Scorer, _Planned] = field(default_factory=dict)
    seen: _Seen = field(default_factory=_Seen)
    sample: Reservoir[str] = field(default_factory=lambda: Reservoir(256))


def cost_plan(
    data: Data, settings: Settings, read_options: ReadOptions, progress: Progress | None = None
) -> CostPlan:
    """What scoring a dataset would cost. Stores nothing. Raises IfdkitError."""
    progress = progress or Progress()
    dataset = open_data(data, read_options)
    note_dataset(dataset, progress)
    settings = settings_for(dataset, settings, progress)
    totals = _Totals()
    with Scorer(settings, progress) as scorer:
        begin = time.perf_counter()
        scorer.further.read(scorer, blocks(dataset), may_embed=False)
        progress.start(dataset.n_rows)
        with closing(BlockAligner(scorer, dataset.n_rows)) as aligner:
            begun = ((one, aligner.begin(one.examples, one.n_rows)) for one in blocks(dataset))
            for block, passes in in_order(begun, lambda: aligner.ahead):
                progress.begin_block(block.n_rows, len(block.examples))
                _count_block(totals, scorer, block, passes, is_cut=is_cut_from(dataset, block))
                progress.end_block()
        loading_s = scorer.work.model_load_s
        reading_s = time.perf_counter() - begin - loading_s
        progress.note("timing some of the batches")
        probes = [_probe(model, one) for model, one in totals.planned.items()]
        embedding_s = _probe_embedder(scorer, totals)
    flops = sum(one.flops for one in probes)
    cost = sum((one.cost for one in totals.planned.values()), BatchCost())
    demonstrations = scorer.further.demonstrations
    return CostPlan(
        rows=totals.rows,
        examples=totals.examples,
        rejects=totals.rejects,
        passes=totals.passes,
        requests=totals.requests,
        requests_in_store=totals.known,
        tokens=totals.tokens,
        computed_tokens=cost.computed,
        shared_tokens=max(0, totals.tokens - cost.computed),
        scored_tokens=cost.scored,
        flops=flops,
        texts=totals.texts,
        store_bytes=totals.store_bytes,
        time=PredictedTime(
            loading_s=loading_s,
            reading_s=reading_s,
            scoring_s=sum(one.predicted_s for one in probes),
            embedding_s=embedding_s,
            probed_batches=sum(one.n_batches for one in probes),
            probe_s=sum(one.elapsed_s for one in probes),
        ),
        gpus=gpu_seconds(flops),
        demonstrations_are_stand_ins=demonstrations is not None and demonstrations.are_stand_ins,
    )


def _count_block(
    totals: _Totals, scorer: Scorer, block: Block, passes: list[Passes], *, is_cut: bool
) -> None:
    """Count what a block needs of all models."""
    totals.rows += block.n_rows
    totals.rejects += len(block.rejects)
    totals.examples += len(block.examples)
    passes = scorer.with_noise(passes)
    for one in scorer.measurements(block.examples, passes):
        _count(totals, one, one.needed(provisional=is_cut))
    if scorer.embeddings is not None:
        _count_texts(totals, scorer.embeddings, texts_of(text_pairs(block.examples, passes)))


def _count(totals: _Totals, measurement: Measurement, needed: Needed) -> None:
    """Count what a block needs of one model, and the batches that a run would make of it."""
    budget = measurement.scorer.backend.budget
    requests, known, seen = needed.requests, needed.known, totals.seen
    planned = totals.planned.setdefault(measurement.scorer, _Planned())
    lacking: dict[int, list[int]] = {}  # position → bytes of each value to store
    for i, (one, key) in enumerate(zip(requests, needed.keys, strict=True)):
        values = [(key, 4 * one.n_scored)]
        if one.with_statistics:
            values.append((needed.statistics[one.content], 4 * PER_TOKEN * one.n_scored))
        new = [size for name, size in values if name not in known and name not in seen]
        if new:
            lacking[i] = new
            for name, _ in values:
                seen.add(name)
    totals.passes += sum(len(one.present()) + 2 * len(one.noisy) for one in measurement.passes)
    totals.requests += len(requests)
    totals.known += len(requests) - len(lacking)
    for batch in plan(requests, budget):
        missing = [i for i in batch if i in lacking]
        if not missing:
            continue
        cost = batch_cost(requests, missing, budget)
        planned.cost += cost
        planned.n_batches += 1
        planned.sample.add(([requests[i] for i in missing], cost))
        totals.tokens += sum(requests[i].stop for i in missing)
        totals.store_bytes += sum(_stored_bytes(size) for i in missing for size in lacking[i])


def _count_texts(totals: _Totals, embeddings: Embeddings, texts: Iterable[str]) -> None:
    """Count the texts that a run would embed."""
    distinct = dict.fromkeys(texts)
    stored = embeddings.stored(distinct)
    for text in distinct:
        key = text_key(embeddings.hash, text)
        if text in stored or key in totals.seen:
            continue
        totals.seen.add(key)
        totals.texts += 1
        totals.store_bytes += _stored_bytes(4 * _EMBEDDING_DIMENSIONS)
        totals.text_chars += min(len(text), _MAX_TEXT_CHARS)
        totals.sample.add(text)


def _stored_bytes(value_bytes: int) -> int:
    """What the store grows by for one value: rows do not cross pages, unless they are longer."""
    row = value_bytes + _ROW_OVERHEAD_BYTES
    per_page = _PAGE_BYTES // row
    pages = 1 / per_page if per_page else -(-row // _PAGE_BYTES)
    return round(pages * _PAGE_BYTES) + _INDEX_BYTES


@dataclass(frozen=True, slots=True)
class _Probe:
    """What the planned batches of one model take."""

    flops: float
    """Of all of them."""
    predicted_s: float = 0.0
    """Of all of them."""
    n_batches: int = 0
    """Those that were timed."""
    elapsed_s: float = 0.0


def _probe(scorer: Scorer, planned: _Planned) -> _Probe:
    """Time a random sample of the batches."""
    from ifdkit.engine.loading import model_size

    trusted = scorer.settings.trust_remote_code
    size = model_size(scorer.weights, trust_remote_code=trusted)
    flops = _flops(size, planned.cost)
    sample = planned.sample.kept
    if not sample:
        return _Probe(flops)
    random.Random(1).shuffle(sample)
    outcomes = stream(
        scorer.backend, (requests for requests, _ in sample), n_planned=planned.n_batches
    )
    scorer.backend.nll(sample[0][0])  # the first pass of a process takes longer
    begin, done_flops, n_done = time.perf_counter(), 0.0, 0
    for (_, cost), _ in zip(sample, outcomes, strict=False):
        done_flops += _flops(size, cost)
        n_done += 1
        if n_done >= MIN_PROBES and time.perf_counter() - begin > PROBE_S:
            break
    elapsed_s = time.perf_counter() - begin
    return _Probe(flops, elapsed_s * flops / done_flops, n_done, elapsed_s)


def _flops(size: ModelSize, cost: BatchCost) -> float:
    return size.flops(cost.computed, cost.scored, cost.pairs)


def _probe_embedder(scorer: Scorer, totals: _Totals) -> float:
    """Predicted seconds of the embedder, loading included."""
    texts = totals.sample.kept
    if scorer.embeddings is None or not texts:
        return 0.0
    elapsed_s, load_s, n_done = scorer.embeddings.time(texts, PROBE_S)
    chars = sum(min(len(text), _MAX_TEXT_CHARS) for text in texts[:n_done])
    return load_s + elapsed_s * totals.text_chars / max(1, chars)
