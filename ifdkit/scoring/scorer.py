"""A model under a protocol, behind a store: examples in, rows of numbers out.

    block of examples ─ Aligner ─▶ Requests ─ store: known? ─▶ plan ─▶ backend ─ store ─▶ rows

The plan is made from everything in a block; of each planned batch, what the store lacks is
computed and kept in one transaction, while the next is under way.  An interrupted run therefore
goes on with the very batches it would have made, and ends with the very same bits.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ifdkit.engine import Backend
from ifdkit.engine.batching import computed_tokens, plan
from ifdkit.engine.embedder import cosine
from ifdkit.engine.models import DEFAULT_EMBEDDER, DEFAULT_MODEL, Weights, cache_folder, resolve
from ifdkit.errors import UsageError
from ifdkit.prompting.alignment import Aligner
from ifdkit.prompting.protocols import PROTOCOLS, choose_template
from ifdkit.prompting.templates import CHAT, ChatTemplate, Template, load_template
from ifdkit.records import NLL, Example, Passes, Request, ScoreRow, Status
from ifdkit.scoring.metrics import score_row
from ifdkit.scoring.store import Store, Vector, request_key, text_key

if TYPE_CHECKING:
    from ifdkit.engine.embedder import SentenceEmbedder

log = logging.getLogger(__name__)

METRICS = ("ppl", "ifd", "rifd", "coherence")
DEFAULT_METRICS = ("ppl", "ifd", "coherence")
DTYPES = ("auto", "float32", "bfloat16", "float16")
_PASSES_OF = {
    "ppl": ("instruction_direct", "response_direct", "response_conditional"),
    "ifd": ("response_direct", "response_conditional"),
    "rifd": ("instruction_direct", "instruction_conditional"),
    "coherence": (),
}
RESPONSE_PASSES = ("response_direct", "response_conditional")
_TEXTS_A_BATCH = {"cpu": 16, "mps": 64, "cuda": 256}
"""Texts embedded and kept together: on a CPU more are slower, and take more memory."""


def parse_metrics(text: str) -> tuple[str, ...]:
    """`ifd,rifd` or `all`, as names."""
    return METRICS if text == "all" else tuple(name.strip() for name in text.split(","))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that decides the numbers, and where they are kept."""

    model: str = DEFAULT_MODEL
    embedder: str = DEFAULT_EMBEDDER
    protocol: str = "aligned"
    template: str | None = None
    """None: the protocol's own."""
    metrics: tuple[str, ...] = DEFAULT_METRICS
    dtype: str = "auto"
    device: str = "auto"
    max_length: int | None = None
    """Tokens of the longest pass; None: the protocol's, or the model's context if shorter."""
    window: int = 64
    """Response tokens that `ifd_window` looks at."""
    token_nll: bool = False
    drift: int | None = None
    """Examples scored again in float32 where `dtype` is less; None: 2 %, from 12 to 64."""
    store: str | None = None
    """Path of the score store; None: in the user's cache; `off`: a temporary one."""
    trust_remote_code: bool = False
    allow_pickle: bool = False

    def __post_init__(self) -> None:
        """Raise UsageError for values that cannot be meant."""
        if self.protocol not in PROTOCOLS:
            raise UsageError(f"no protocol {self.protocol!r}: choose {', '.join(PROTOCOLS)}")
        unknown = [name for name in self.metrics if name not in METRICS]
        if unknown or not self.metrics:
            raise UsageError(f"no metric {unknown or ''}: choose from {', '.join(METRICS)}, or all")
        if self.dtype not in DTYPES:
            raise UsageError(f"no dtype {self.dtype!r}: choose {', '.join(DTYPES)}")
        if self.window < 1:
            raise UsageError(f"--window {self.window}: at least one token")
        if self.max_length is not None and self.max_length < 2:
            raise UsageError(f"--max-length {self.max_length}: at least two tokens")
        if self.drift is not None and self.drift < 0:
            raise UsageError(f"--drift {self.drift}: not negative")
        choose_template(PROTOCOLS[self.protocol], self.template)

    @property
    def passes(self) -> frozenset[str]:
        """The passes that the metrics need."""
        return frozenset(name for metric in self.metrics for name in _PASSES_OF[metric])


@dataclass(slots=True)
class Work:
    """What has been done so far, for progress and for the manifest."""

    requests: int = 0
    """Distinct Requests met."""
    requests_from_store: int = 0
    requests_scored: int = 0
    tokens_scored: int = 0
    """Tokens sent through the model, context and padding included, what is shared once."""
    texts_embedded: int = 0
    model_load_s: float = 0.0
    scoring_s: float = 0.0
    """Everything but loading: aligning, the passes, the embedder and the store."""
    embedding_s: float = 0.0
    """The embedder's part of it."""


class Progress:
    """Told of work as it is done; this one stays silent, others draw."""

    def note(self, text: str) -> None:
        """Something a person may want to know while waiting."""

    def start(self, rows: int) -> None:
        """`rows` of input are to come."""

    def begin_block(self, rows: int, examples: int) -> None:
        """A block of examples is next, made from so many rows."""

    def missing(self, tokens: int) -> None:
        """Of the block so many tokens are not in the store."""

    def scored(self, tokens: int) -> None:
        """So many of them are scored and kept."""

    def end_block(self) -> None:
        """The block is finished."""


class Scorer:
    """A model under a protocol, behind a store. Loads the weights when first needed."""

    def __init__(
        self,
        settings: Settings,
        progress: Progress | None = None,
        *,
        store: Store | None = None,
    ) -> None:
        """Resolve names and open the store, without loading any weights.

        `store` is one that is open already and stays so.  Raises ModelError, StoreError or
        UsageError.
        """
        from ifdkit.engine.huggingface import resolve_device, resolve_dtype
        from ifdkit.engine.tokenizer import HuggingFaceTokenizer

        self.settings = settings
        self.work = Work()
        self._progress = progress or Progress()
        self.device = resolve_device(settings.device)
        self.dtype = resolve_dtype(settings.dtype, self.device)
        self._owns_store = store is None
        self.store = store or _open_store(settings.store)
        self.weights = self._resolve(settings.model)
        self.weights_hash = self.weights.fingerprint(self.store.file_digest)
        self.tokenizer = HuggingFaceTokenizer(
            self.weights, trust_remote_code=settings.trust_remote_code
        )
        self.protocol = PROTOCOLS[settings.protocol]
        self.template = self._template()
        self.max_length = self._max_length()
        self._aligner = Aligner(
            self.tokenizer, self.protocol, self.template, self.max_length, settings.passes
        )
        self.embedder_weights: Weights | None = None
        self.embedder_hash: str | None = None
        if "coherence" in settings.metrics:
            self.embedder_weights = self._resolve(settings.embedder)
            self.embedder_hash = self.embedder_weights.fingerprint(
                self.store.file_digest, everything=True
            )
        log.info("model %s: %s, weights %s", self.weights.name, self.weights.source,
                 self.weights_hash[:16])  # fmt: skip
        log.info("%s on %s, at most %d tokens", self.dtype, self.device, self.max_length)
        log.info("store %s", self.store.path or "in a temporary file")
        self._backend: Backend | None = None
        self._embedder: SentenceEmbedder | None = None
        self._storing = ThreadPoolExecutor(1, "store")
        self._stored: Future[None] | None = None

    def _resolve(self, name: str) -> Weights:
        return resolve(
            name,
            allow_pickle=self.settings.allow_pickle,
            trust_remote_code=self.settings.trust_remote_code,
        )

    def _template(self) -> Template:
        name = choose_template(self.protocol, self.settings.template)
        if name == CHAT:
            return ChatTemplate(self.tokenizer.chat_source, self.tokenizer.render_chat)
        return load_template(name)

    def _max_length(self) -> int:
        context, asked = self.weights.context_length, self.settings.max_length
        if asked is not None and context is not None and asked > context:
            raise UsageError(
                f"--max-length {asked} is more than the {context} tokens that"
                f" {self.weights.name} was made for"
            )
        return asked or min(self.protocol.max_length, context or self.protocol.max_length)

    def __enter__(self) -> Scorer:
        return self

    def __exit__(self, *_: object) -> None:
        self._storing.shutdown()
        if self._owns_store:
            self.store.close()

    @property
    def backend(self) -> Backend:
        """The model, loaded at the first use."""
        if self._backend is None:
            from ifdkit.engine.huggingface import HuggingFaceBackend

            self._progress.note(f"loading {self.weights.name} ({self.dtype} on {self.device})")
            begin = time.perf_counter()
            self._backend = HuggingFaceBackend(
                self.weights,
                device=self.device,
                dtype=self.dtype,
                trust_remote_code=self.settings.trust_remote_code,
            )
            self.work.model_load_s += time.perf_counter() - begin
        return self._backend

    @property
    def embedder(self) -> SentenceEmbedder:
        """The embedder, loaded at the first use."""
        if self._embedder is None:
            from ifdkit.engine.embedder import SentenceEmbedder

            assert self.embedder_weights is not None, "coherence is not among the metrics"
            begin = time.perf_counter()
            self._embedder = SentenceEmbedder(
                self.embedder_weights.name,
                self.embedder_weights.folder,
                device=self.device,
                trust_remote_code=self.settings.trust_remote_code,
            )
            self.work.model_load_s += time.perf_counter() - begin
        return self._embedder

    def unload(self) -> None:
        """Give the memory of the models back; they load again when needed."""
        self._backend = self._embedder = None

    def float32_problem(self) -> str | None:
        """Why a float32 copy of the loaded model would not fit; None where it would."""
        return self._backend.float32_problem() if self._backend else None

    def align(self, examples: Sequence[Example]) -> list[Passes]:
        """The passes of each example, in order: tokenises, scores nothing."""
        return self._aligner.align(examples)

    def score(
        self, examples: Sequence[Example], passes: Sequence[Passes] | None = None
    ) -> list[ScoreRow]:
        """Rows of one block of examples, in order; `passes` where `align` has made them already."""
        begin, load_s = time.perf_counter(), self.work.model_load_s
        passes = self.align(examples) if passes is None else passes
        nlls = self._nlls([one.request for each in passes for _, one in each.present()])
        coherences = self._coherences(examples, passes)
        rows = [
            score_row(
                example,
                each,
                {name: nlls[one.request.content] for name, one in each.present()},
                coherence=coherence,
                window=self.settings.window,
                token_nll=self.settings.token_nll,
            )
            for example, each, coherence in zip(examples, passes, coherences, strict=True)
        ]
        loading_s = self.work.model_load_s - load_s
        self.work.scoring_s += time.perf_counter() - begin - loading_s
        return rows

    def token_nlls(self, example: Example) -> tuple[Passes, dict[str, NLL]]:
        """The passes of one example and the per-token NLLs of each."""
        (passes,) = self._aligner.align([example])
        nlls = self._nlls([one.request for _, one in passes.present()])
        return passes, {name: nlls[one.request.content] for name, one in passes.present()}

    def stored_token_nlls(self, examples: Sequence[Example]) -> list[dict[str, NLL]]:
        """Per-token NLLs of both response passes, as far as the store has them, by pass.

        Loads no weights: the tokenizer alone makes the Requests again.
        """
        passes = replace(self._aligner, wanted=frozenset(RESPONSE_PASSES)).align(examples)
        requests = {r.content: r for each in passes for r in (p.request for _, p in each.present())}
        keys = {content: self._key(request) for content, request in requests.items()}
        found = self.store.get_nlls(list(keys.values()))
        known = {
            content: found[key]
            for content, key in keys.items()
            if key in found and len(found[key]) == requests[content].n_scored
        }
        return [
            {name: known[p.request.content]
             for name, p in each.present() if p.request.content in known}
            for each in passes
        ]  # fmt: skip

    def _key(self, request: Request) -> bytes:
        """Where the store keeps a Request's NLLs."""
        return request_key(f"{self.weights_hash}/{self.dtype}", request)

    def requests(self, examples: Sequence[Example]) -> list[Request]:
        """All Requests that these examples make, repeated ones too."""
        return [one.request for each in self._aligner.align(examples) for _, one in each.present()]

    def coherence(self, example: Example, passes: Passes) -> float | None:
        """Cosine of one example's halves."""
        return self._coherences([example], [passes])[0]

    def _nlls(self, requests: Iterable[Request]) -> dict[bytes, NLL]:
        """NLLs by the Request's content."""
        distinct = list({request.content: request for request in requests}.values())
        keys = [self._key(request) for request in distinct]
        found = self.store.get_nlls(keys)
        known = {
            key: found[key]
            for key, request in zip(keys, distinct, strict=True)
            if key in found and len(found[key]) == request.n_scored
        }
        self.work.requests += len(keys)
        self.work.requests_from_store += len(known)
        lengths = [request.stop for request in distinct]
        if len(known) == len(keys):
            return {r.content: known[key] for r, key in zip(distinct, keys, strict=True)}
        budget = self.backend.budget
        missing = sum(n for n, key in zip(lengths, keys, strict=True) if key not in known)
        self._progress.missing(missing)

        def compute(batch: list[int]) -> list[NLL]:
            nlls = self.backend.nll([distinct[i] for i in batch])
            self.work.requests_scored += len(batch)
            self.work.tokens_scored += computed_tokens(distinct, batch, budget)
            return nlls

        for batch in plan(distinct, budget):
            lacking = [i for i in batch if keys[i] not in known]
            self._complete(known, keys, lacking, compute, self.store.put_nlls)
            self._progress.scored(sum(lengths[i] for i in lacking))
        self._await_store()
        return {request.content: known[key] for request, key in zip(distinct, keys, strict=True)}

    def _coherences(
        self, examples: Sequence[Example], passes: Sequence[Passes]
    ) -> list[float | None]:
        """Cosines, None where a half is empty."""
        if self.embedder_hash is None:
            return [None] * len(examples)
        undefined = {Status.EMPTY_INSTRUCTION, Status.EMPTY_RESPONSE}
        pairs = [
            None if each.status in undefined else (example.instruction, example.response)
            for example, each in zip(examples, passes, strict=True)
        ]
        vectors = self.embeddings(text for pair in pairs if pair for text in pair)
        return [pair and cosine(vectors[pair[0]], vectors[pair[1]]) for pair in pairs]

    def embeddings(self, texts: Iterable[str]) -> dict[str, Vector]:
        """Embeddings by text, float32 of shape (dimensions,); out of the store where it has them.

        Only where coherence is among the metrics.
        """
        distinct = list(dict.fromkeys(texts))
        keys = [text_key(f"{self.embedder_hash}", text) for text in distinct]
        known = self.store.get_embeddings(keys)
        order = sorted(range(len(distinct)), key=lambda i: (-len(distinct[i]), i))

        def compute(batch: list[int]) -> list[Vector]:
            embedder, start = self.embedder, time.perf_counter()
            vectors = list(embedder.embed([distinct[i] for i in batch]))
            self.work.texts_embedded += len(batch)
            self.work.embedding_s += time.perf_counter() - start
            return vectors

        size = _TEXTS_A_BATCH[self.device.partition(":")[0]]
        for begin in range(0, len(order), size):
            batch = order[begin : begin + size]
            lacking = [i for i in batch if keys[i] not in known]
            self._complete(known, keys, lacking, compute, self.store.put_embeddings)
        self._await_store()
        return {text: known[key] for text, key in zip(distinct, keys, strict=True)}

    def _complete(
        self,
        known: dict[bytes, NDArray[np.float32]],
        keys: Sequence[bytes],
        lacking: list[int],
        compute: Callable[[list[int]], list[NDArray[np.float32]]],
        put: Callable[[Mapping[bytes, NDArray[np.float32]]], None],
    ) -> None:
        """Compute what one batch lacks and keep it, whole: the batch is the unit of resuming.

        It is kept while the next is computed.
        """
        if not lacking:
            return
        made = dict(zip((keys[i] for i in lacking), compute(lacking), strict=True))
        known.update(made)
        self._await_store()
        self._stored = self._storing.submit(put, made)

    def _await_store(self) -> None:
        """Wait until what was computed is kept. Raises StoreError."""
        if self._stored is not None:
            stored, self._stored = self._stored, None
            stored.result()


def _open_store(path: str | None) -> Store:
    if path == "off":
        return Store(None)
    return Store(path or cache_folder() / "scores.sqlite")
