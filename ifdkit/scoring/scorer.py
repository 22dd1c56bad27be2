"""A model under a protocol, behind a store: examples in, rows of numbers out.

    block of examples ─ Aligner ─▶ Requests ─ store: known? ─▶ plan ─▶ backend ─ store ─▶ rows

The plan is made from everything in a block; of each planned batch, what the store lacks is
computed and stored in one transaction, while the next batch is under way.  An interrupted run
therefore resumes with the very batches it would have made, and ends with the same bits.  A run over
part of a dataset makes batches that no run over all of it makes: their numbers are provisional.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from ifdkit.data.dataset import Dataset
from ifdkit.engine import Backend, Upcastable
from ifdkit.engine.backends import Distribution, ModelSpec, close, open_backend, resolve_place
from ifdkit.engine.models import Weights, resolve
from ifdkit.engine.threads import ThreadLimit
from ifdkit.errors import StoreError
from ifdkit.format import plural
from ifdkit.prompting.alignment import Aligner, Context
from ifdkit.prompting.chat import ChatTemplate
from ifdkit.prompting.protocols import PROTOCOLS, choose_template
from ifdkit.prompting.templates import FunctionTemplate, Template, is_chat, load_template
from ifdkit.records import NLL, PASSES, Example, Passes
from ifdkit.scoring.embeddings import (
    Embeddings,
    check_available,
    coherences,
    text_pairs,
    texts_of,
)
from ifdkit.scoring.further import (
    FurtherPasses,
    further_nlls,
    reference_settings,
    same_tokens,
    setup_of_optional,
)
from ifdkit.scoring.lengths import max_length_of, stride_of
from ifdkit.scoring.manifest import ScoringSetup
from ifdkit.scoring.measuring import Measurement, Measuring
from ifdkit.scoring.noise import noisy_nlls, with_noise
from ifdkit.scoring.progress import Progress
from ifdkit.scoring.rows import MetricChoice, ScoreRow, score_row
from ifdkit.scoring.settings import Settings
from ifdkit.scoring.store import Store, open_store
from ifdkit.scoring.token_arrays import arrays_by_pass, statistics_by_pass, wanted_of
from ifdkit.scoring.work import Work

if TYPE_CHECKING:
    from ifdkit.engine.embedder import EmbedFunction
    from ifdkit.engine.tokenizer import HuggingFaceTokenizer

log = logging.getLogger(__name__)

RESPONSE_PASSES = frozenset({"response_direct", "response_conditional"})


class Scorer:
    """A model under a protocol, behind a store. Loads the weights when they are first needed."""

    def __init__(
        self,
        settings: Settings,
        progress: Progress | None = None,
        *,
        store: Store | None = None,
        before: Upcastable | None = None,
    ) -> None:
        """Resolve names and open the store, without loading any weights.

        A `store` that is passed in stays open.  `before`: a backend of the same model, whose
        weights a scorer in float32 takes over.  Raises ModelError, StoreError or UsageError.
        """
        self.settings = settings
        self.work = Work()
        self._progress = progress or Progress()
        self.device, self.dtype = resolve_place(
            settings.backend, settings.device, settings.dtype, settings.ray_address
        )
        self._owns_store = store is None
        self.store = store or open_store(settings.store, settings.max_store_bytes)
        self.weights = self._resolve(settings.model)
        self.weights_hash = self.weights.fingerprint(self.store.file_digest)
        self.tokenizer_files = self.weights.tokenizer_fingerprint(self.store.file_digest)
        self.tokenizer_hash = self._tokenizer_hash()
        self.protocol = PROTOCOLS[settings.protocol]
        self.template = self._template()
        self.max_length = max_length_of(settings, self.weights, self.protocol)
        self.stride = stride_of(settings, self.max_length)
        self.further = FurtherPasses(self._reference())
        self.embeddings: Embeddings | None = None
        if settings.needs_embedder:
            self.embeddings = Embeddings(
                self._embedder(settings.embedder),
                self.store,
                device=self.device,
                trust_remote_code=settings.trust_remote_code,
            )
        weights = self.weights
        log.info("model %s: %s, weights %s", weights.name, weights.source, self.weights_hash[:16])
        log.info("%s on %s, at most %d tokens", self.dtype, self.device, self.max_length)
        log.info("store %s", self.store.path or "in a temporary file")
        self._backend: Backend | None = None
        self._before = before
        self.thread_limit = ThreadLimit(settings.threads)
        self.measuring = Measuring(self, self._progress)

    @cached_property
    def tokenizer(self) -> HuggingFaceTokenizer:
        """The model's tokenizer, loaded at first use. Raises ModelError."""
        from ifdkit.engine.tokenizer import HuggingFaceTokenizer

        return HuggingFaceTokenizer(
            self.weights,
            trust_remote_code=self.settings.trust_remote_code,
            digest=self.tokenizer_files,
        )

    def _tokenizer_hash(self) -> str:
        """The tokenizer's fingerprint, without loading it if that was done before."""
        name = f"tokenizer {self.tokenizer_files} {self.settings.trust_remote_code}"
        if (known := self.store.recall(name)) is not None:
            return known
        self.store.remember(name, self.tokenizer.fingerprint)
        return self.tokenizer.fingerprint

    @cached_property
    def aligner(self) -> Aligner:
        """Makes the passes of its metrics, without noisy copies."""
        return Aligner(
            self.tokenizer,
            self.protocol,
            self.template,
            self.max_length,
            self.settings.passes & frozenset(PASSES),
            self.stride,
        )

    def _resolve(self, name: str) -> Weights:
        return resolve(
            name,
            allow_pickle=self.settings.allow_pickle,
            trust_remote_code=self.settings.trust_remote_code,
        )

    def _embedder(self, embedder: str | EmbedFunction) -> Weights | EmbedFunction:
        if not isinstance(embedder, str):
            return embedder
        check_available(embedder)
        return self._resolve(embedder)

    def _reference(self) -> Scorer | None:
        """The second model, over the same store; None if no metric needs it."""
        if self.settings.reference_model is None:
            return None
        settings = reference_settings(self.settings)
        return same_tokens(Scorer(settings, self._progress, store=self.store), self)

    def _template(self) -> Template:
        name = choose_template(self.protocol, self.settings.template)
        date = self.settings.template_date
        if not isinstance(name, str):
            return FunctionTemplate(name)
        if not is_chat(name):
            return load_template(name, date=date)
        tokenizer = self.tokenizer
        return ChatTemplate(
            name,
            tokenizer.chat_templates,
            tokenizer.special_tokens,
            model=self.weights.name,
            date=date,
        )

    def __enter__(self) -> Scorer:
        return self

    def __exit__(self, kind: type[BaseException] | None = None, *_: object) -> None:
        close(self._backend)
        if self.further.reference is not None:
            self.further.reference.__exit__()
        self.thread_limit.restore()
        self.measuring.close()
        if self.embeddings is not None:
            self.embeddings.close()
        if self.store.damaged:
            n = plural(self.store.damaged, "row")
            self._progress.note(f"the score store was damaged: {n} not used, and scored again")
        if self._owns_store:
            if kind is None:
                self._end_run()
            self.store.close()

    def _end_run(self) -> None:
        """Cut the store to its limit. What fails there does not fail the run."""
        try:
            done = self.store.end_run()
        except StoreError as error:
            done = f"the score store was not cut to its limit: {error}"
        if done is not None:
            self._progress.note(done)

    @property
    def setup(self) -> ScoringSetup:
        """All that this scorer's numbers depend on, as its manifest will say."""
        embedder = self.embeddings
        return ScoringSetup(
            model=self.weights.name,
            weights_hash=self.weights_hash,
            tokenizer_hash=self.tokenizer_hash,
            protocol=self.protocol.name,
            template=self.template.name,
            template_text=self.template.source,
            template_date=self.template.date,
            dtype=self.dtype,
            window=self.settings.window,
            max_length=self.max_length,
            stride=self.stride,
            embedder=embedder.name if embedder else None,
            embedder_hash=embedder.hash if embedder else None,
            **setup_of_optional(self.settings, self.further.reference),
        )

    def setup_of(self, dataset: Dataset) -> ScoringSetup:
        """What the numbers of this dataset depend on."""
        setup = self.setup
        return setup if dataset.has_documents else replace(setup, stride=None)

    @property
    def backend(self) -> Backend:
        """The model, loaded at first use."""
        if self._backend is None:
            workers = self.settings.workers
            copies = f", in {workers} processes" if workers and workers > 1 else ""
            what = f"{self.weights.name} ({self.dtype} on {self.device}{copies})"
            self._progress.note(f"loading {what}")
            self.thread_limit.use()
            begin = time.perf_counter()
            self._backend = self._taken_over() or open_backend(
                self.spec,
                Distribution(workers=workers, ray_address=self.settings.ray_address),
                fingerprint=self.weights_hash,
                allow_pickle=self.settings.allow_pickle,
            )
            self.work.model_load_s += time.perf_counter() - begin
        return self._backend

    def _taken_over(self) -> Backend | None:
        before, self._before = self._before, None  # free before the weights are loaded again
        return None if before is None else before.in_float32()

    @property
    def spec(self) -> ModelSpec:
        """What each replica of the model is made from."""
        return ModelSpec(
            weights=self.weights,
            device=self.device,
            dtype=self.dtype,
            trust_remote_code=self.settings.trust_remote_code,
            backend=self.settings.backend,
            device_map=self.settings.device_map,
        )

    @property
    def model_name(self) -> str:
        """What the store calls the model."""
        return f"{self.weights.name} {self.dtype}"

    def release(self) -> Upcastable | None:
        """Free the memory of the models, and give the main one away if it may become float32."""
        backend = self._backend
        self.unload()
        return backend if isinstance(backend, Upcastable) else None

    def unload(self) -> None:
        """Free the memory of the models; they load again when needed."""
        close(self._backend)
        self._backend = None
        if self.further.reference is not None:
            self.further.reference.unload()
        if self.embeddings is not None:
            self.embeddings.unload()

    def float32_problem(self) -> str | None:
        """Why a float32 copy of the loaded model would not fit in memory; None if it would."""
        return self._backend.float32_problem() if self._backend else None

    def align(self, examples: Sequence[Example]) -> list[Passes]:
        """The passes of each example, in order: tokenises, scores nothing."""
        return self.with_noise(self.aligner.align(examples))

    def with_noise(self, passes: Sequence[Passes]) -> list[Passes]:
        """The passes with the noisy copies that its metrics need."""
        copies, seed = self.settings.copies, self.settings.noise_seed
        return [with_noise(one, copies, seed) for one in passes]

    def contexts(self, examples: Sequence[Example]) -> list[Context]:
        """What a model would answer each example from, in order."""
        return self.aligner.contexts(examples)

    def score(
        self,
        examples: Sequence[Example],
        passes: Sequence[Passes] | None = None,
        *,
        provisional: bool = False,
    ) -> list[ScoreRow]:
        """Rows of one block of examples, in order; `passes` are those that `align` gave.

        The store gives `provisional` numbers to provisional blocks only.
        """
        begin, load_s = time.perf_counter(), self.work.model_load_s
        passes = self.align(examples) if passes is None else passes
        own, *others = self.measurements(examples, passes)
        nlls, statistics = own.measure(provisional=provisional)
        further = further_nlls(others, len(examples), provisional=provisional)
        coherences = self.coherences(examples, passes)
        settings, vocabulary = self.settings, self.tokenizer.vocabulary
        choice, wanted = MetricChoice(settings.optional), settings.statistics
        found = zip(examples, passes, coherences, further, strict=True)
        rows = [
            score_row(
                example,
                each,
                {**arrays_by_pass(each, nlls), **noisy_nlls(each, nlls), **more},
                coherence=coherence,
                window=settings.window,
                token_nll=settings.token_nll,
                problem=self.measuring.problem(each),
                statistics=statistics_by_pass(each, statistics, wanted),
                informative_nats=settings.informative_nats,
                vocabulary=vocabulary,
                choice=choice,
            )
            for example, each, coherence, more in found
        ]
        self.work.scoring_s += time.perf_counter() - begin - (self.work.model_load_s - load_s)
        return rows

    def measurements(
        self, examples: Sequence[Example], passes: Sequence[Passes]
    ) -> Iterator[Measurement]:
        """All that the rows of these examples need of models, in the order of measuring.

        The first is that of the examples' own `passes`.
        """
        yield Measurement(self, passes, wanted_of(passes, self.settings.statistics))
        yield from self.further.measurements(self, examples)

    def conditional(self, examples: Sequence[Example]) -> list[Passes]:
        """The passes over each response given its prompt, in order."""
        return replace(self.aligner, wanted=frozenset({"response_conditional"})).align(examples)

    def token_nlls(self, example: Example) -> tuple[Passes, dict[str, NLL]]:
        """The passes of one example and the per-token NLLs of each."""
        (passes,) = self.aligner.align([example])
        nlls = self.measuring.nlls(passes.requests, provisional=True)
        return passes, arrays_by_pass(passes, nlls)

    def stored_token_nlls(self, examples: Sequence[Example]) -> list[dict[str, NLL]]:
        """Per-token NLLs of both response passes by pass, if the store has them.

        Loads no weights: the tokenizer alone makes the Requests again.
        """
        passes = replace(self.aligner, wanted=RESPONSE_PASSES).align(examples)
        requests = {request.content: request for each in passes for request in each.requests}
        known, keys = self.measuring.from_store(list(requests.values()))
        nlls = {content: known[key] for content, key in zip(requests, keys, strict=True)
                if key in known}  # fmt: skip
        return [arrays_by_pass(each, nlls) for each in passes]

    def coherences(
        self, examples: Sequence[Example], passes: Sequence[Passes]
    ) -> list[float | None]:
        """Cosine of each example's halves; None if one is empty or coherence is not asked for."""
        if self.embeddings is None:
            return [None] * len(examples)
        pairs = text_pairs(examples, passes)
        if self.thread_limit.in_use is None and not self.embeddings.has_all(texts_of(pairs)):
            self.thread_limit.use()
        return coherences(self.embeddings, pairs, self.work)

    def has_all(
        self, examples: Sequence[Example], passes: Sequence[Passes], *, provisional: bool
    ) -> bool:
        """Whether the store has everything that the rows of these examples need."""
        for one in self.measurements(examples, passes):
            needed = one.needed(provisional=provisional)
            if not needed.complete.issuperset(needed.keys):
                return False
        pairs = text_pairs(examples, passes)
        return self.embeddings is None or self.embeddings.has_all(texts_of(pairs))
