"""Everything that decides the numbers, and where they are stored."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from types import NoneType, UnionType
from typing import Any, Literal, TypedDict, Union, get_args, get_origin, get_type_hints

from ifdkit.engine.backends import BACKENDS, DEFAULT_BACKEND
from ifdkit.engine.embedder import EmbedFunction
from ifdkit.engine.models import DEFAULT_EMBEDDER, DEFAULT_MODEL
from ifdkit.errors import UsageError, unknown
from ifdkit.prompting.protocols import PROTOCOLS, choose_template
from ifdkit.prompting.templates import PromptFunction
from ifdkit.scoring.metric import INFORMATIVE_NATS
from ifdkit.scoring.metrics import (
    default_groups,
    groups,
    needs_embedder,
    needs_noise,
    needs_reference,
    optional_of,
    parse_metrics,
    passes_of,
    statistics_of,
)
from ifdkit.scoring.noise import MAX_NOISE_COPIES, NOISE_COPIES

DTYPES = ("auto", "float32", "bfloat16", "float16")
_MAX_WORKERS, _MAX_THREADS = 16, 256
"""Or the cores of the machine, if they are more; torch crashes if it cannot start its threads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Model, protocol and precision of a run."""

    model: str = DEFAULT_MODEL
    """A name on the hub, a folder, or a GGUF file."""
    embedder: str | EmbedFunction = field(default=DEFAULT_EMBEDDER, hash=False)
    """A name, a folder, or a function: a list of texts → an array of shape (texts, dimensions)."""
    protocol: str = "aligned"
    """How text becomes tokens, and which are scored: `aligned`, `superfiltering`, `reflection` or
    `cherry`."""
    template: str | PromptFunction | None = field(default=None, hash=False)
    """The template of the prompt: a name, the path of a Jinja file, or a function of messages with
    `role` and `content` that returns the text before the response; None: the protocol's own."""
    template_date: str | None = None
    """The day, as YYYY-MM-DD, that a template takes for today; None: 2024-07-26."""
    metrics: tuple[str, ...] = field(default_factory=default_groups)
    """Groups (`ppl`, `ifd`, `rifd`, `coherence`, `tokens`, …) or single metrics."""
    reference_model: str | None = None
    """The second model of metrics of two models."""
    informative_nats: float = INFORMATIVE_NATS
    """Tokens whose NLL the instruction changes by more are those of `s_ifd`."""
    noise_copies: int = NOISE_COPIES
    """Noisy copies of each pass over the response, for the metrics of noise."""
    noise_seed: int = 0
    """Of the noise. The noise of a row depends on it and on the row alone."""
    dtype: str = "auto"
    """Of the weights: `float32`, `bfloat16`, `float16`, or what suits the device."""
    device: str = "auto"
    """`cpu`, `cuda`, `cuda:N`, `mps`, or the best there is."""
    threads: int | None = None
    """Threads on a CPU; None: the cores that this process may use. Numbers depend on it by rounding
    only."""
    max_length: int | None = None
    """Tokens of the longest pass, and of a window over a document; None: the protocol's, or the
    model's context if shorter."""
    stride: int | None = None
    """Tokens from one window over a long document to the next; None: half a window."""
    window: int = 64
    """Response tokens of `ifd_window`."""
    token_nll: bool = False
    """Whether rows have the NLL of every response token."""
    drift: int | None = None
    """Examples of the precision check, if `dtype` is less than float32; None: 1 %, at
    most 64, and none of fewer than 800."""
    store: str | None = None
    """Path of the score store; None: in the user's cache; `off`: a temporary one."""
    store_limit: str | int | None = None
    """Bytes, also as in `10G`, to which the score store is cut at the end of a run; None: it is
    not."""
    trust_remote_code: bool = False
    """Run code that comes with a model."""
    allow_pickle: bool = False
    """Open pickled weights, which can run code."""
    backend: str = DEFAULT_BACKEND
    """What computes: see `BACKENDS`. The numbers do not depend on it, but for rounding."""
    workers: int | None = None
    """Processes with a replica of the model each; None: one, the same process; on a Ray cluster one
    per GPU, or per core if it has no GPU."""
    device_map: str | None = None
    """`auto`: one replica over all devices of this machine; None: on `device` alone."""
    ray_address: str | None = None
    """Address of a Ray cluster; None: RAY_ADDRESS, else a cluster of this machine alone."""

    def __post_init__(self) -> None:
        """Raise UsageError for invalid values."""
        if self.protocol not in PROTOCOLS:
            raise UsageError(unknown("protocol", self.protocol, PROTOCOLS))
        if not self.metrics:
            raise UsageError(f"no metric given: choose from {', '.join(groups())}, or all")
        if self.dtype not in DTYPES:
            raise UsageError(unknown("dtype", self.dtype, DTYPES))
        self._check_place()
        if self.window < 1:
            raise UsageError(f"--window {self.window}: must be at least one token")
        if self.max_length is not None and self.max_length < 2:
            raise UsageError(f"--max-length {self.max_length}: must be at least two tokens")
        if self.stride is not None and self.stride < 1:
            raise UsageError(f"--stride {self.stride}: must be at least one token")
        if self.drift is not None and self.drift < 0:
            raise UsageError(f"--drift {self.drift}: must not be negative")
        if self.template_date is not None and not _is_date(self.template_date):
            raise UsageError(f"--template-date {self.template_date}: write it as YYYY-MM-DD")
        _ = self.max_store_bytes  # which raises if it is no size
        choose_template(PROTOCOLS[self.protocol], self.template)
        _ = self.passes  # which raises for an unknown metric
        self._check_optional()

    def _check_optional(self) -> None:
        if not 0 <= self.informative_nats < float("inf"):
            raise UsageError(f"--informative-nats {self.informative_nats}: must be 0 or more")
        if not 1 <= self.noise_copies <= MAX_NOISE_COPIES:
            raise UsageError(
                f"--noise-copies {self.noise_copies}: must be from 1 to {MAX_NOISE_COPIES}"
            )
        if not 0 <= self.noise_seed < 2**63:
            raise UsageError(f"--noise-seed {self.noise_seed}: must be from 0 to 2⁶³ − 1")
        alone = [name for name in self.metrics if needs_reference(name)]
        if alone and self.reference_model is None:
            raise UsageError(f"--metrics {alone[0]} compares two models: give --reference-model")
        if self.reference_model is not None and not alone:
            raise UsageError("--reference-model is for metrics of two models: add reference to"
                             " --metrics")  # fmt: skip

    def _check_place(self) -> None:
        """Raise UsageError for a wrong backend, number of workers or device map."""
        if self.backend not in BACKENDS:
            raise UsageError(unknown("backend", self.backend, BACKENDS))
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"--workers {self.workers}: must be at least one")
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"--threads {self.threads}: must be at least one")
        # The settings file of a folder of unknown origin may set both.
        n_cores = os.cpu_count() or 1
        most = max(_MAX_WORKERS, n_cores)
        if (self.workers or 1) > most and self.backend == DEFAULT_BACKEND:
            raise UsageError(f"--workers {self.workers}: at most {most} on this machine")
        most = max(_MAX_THREADS, n_cores)
        if (self.threads or 1) > most:
            raise UsageError(f"--threads {self.threads}: at most {most} on this machine")
        if self.device_map not in (None, "auto"):
            raise UsageError(f"--device-map {self.device_map}: must be auto")
        if self.device_map and (self.backend != DEFAULT_BACKEND or (self.workers or 1) > 1):
            raise UsageError("--device-map is for one replica: without --workers and --backend")

    @property
    def max_store_bytes(self) -> int | None:
        """`store_limit` in bytes."""
        if self.store_limit is None:
            return None
        from ifdkit.scoring.store_management import parse_size

        return parse_size(str(self.store_limit), "--store-limit")

    @property
    def passes(self) -> frozenset[str]:
        """The passes that the metrics need."""
        return frozenset(one for name in self.metrics for one in passes_of(name))

    @property
    def statistics(self) -> frozenset[str]:
        """The passes whose tokens' statistics the metrics need."""
        return frozenset(one for name in self.metrics for one in statistics_of(name))

    @property
    def optional(self) -> frozenset[str]:
        """The metrics that were asked for of those that are computed only then."""
        return frozenset(one for name in self.metrics for one in optional_of(name))

    @property
    def copies(self) -> int:
        """Noisy copies of the passes over the response that the metrics need."""
        return self.noise_copies if any(map(needs_noise, self.metrics)) else 0

    @property
    def needs_embedder(self) -> bool:
        """Whether the metrics compare embeddings."""
        return any(map(needs_embedder, self.metrics))


class ModelKeywords(TypedDict, total=False):
    """Keywords of the public functions: the fields of :class:`Settings`, and what they take.

    Those of functions that choose the metrics themselves; a test compares the two.
    """

    model: Any
    """A name, a folder, or a transformers model: with `tokenizer`, or as a pair with it."""
    tokenizer: Any
    """The tokenizer of a model in memory."""
    embedder: str | os.PathLike[str] | EmbedFunction
    """A name, a folder, a model of sentence-transformers, or a function of texts."""
    protocol: str
    template: str | PromptFunction | None
    template_date: str | None
    reference_model: str | os.PathLike[str] | None
    informative_nats: float
    noise_copies: int
    noise_seed: int
    dtype: str
    device: str
    max_length: int | None
    stride: int | None
    window: int
    token_nll: bool
    drift: int | None
    store: str | os.PathLike[str] | None
    store_limit: str | int | None
    threads: int | None
    backend: str
    workers: int | None
    device_map: str | None
    ray_address: str | None
    trust_remote_code: bool
    allow_pickle: bool


class SettingsKeywords(ModelKeywords, total=False):
    """Those of functions whose result is scores."""

    metrics: str | Iterable[str]


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def given_settings(function: str, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords of a public function as arguments of :class:`Settings`.

    Metrics may be text, as in `"ifd,rifd"` or `"all"`, or any iterable of names; paths may be Path
    objects.  A model in memory is saved into a temporary folder, so that its weights are known by
    their content as those of any other; a function that embeds is used as it is.  Raises UsageError
    for an unknown keyword or a value of the wrong type.
    """
    known = get_type_hints(Settings)
    keywords, found = _with_saved_models(function, keywords), {}
    for name, value in keywords.items():
        if name not in known:
            raise UsageError(f"{function}(): {unknown('keyword', name, known)}")
        if name == "metrics" and isinstance(value, str):
            value = parse_metrics(value)
        elif name == "metrics" and isinstance(value, Iterable):
            value = tuple(value)
        elif isinstance(value, os.PathLike):
            value = os.fspath(value)
        if not _is_of(value, known[name]):
            raise UsageError(f"{function}(): {name}={value!r} has the wrong type")
        found[name] = value
    return found


def _with_saved_models(function: str, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords with the folders of models that were given as objects."""
    left = dict(keywords)
    if not isinstance(embedder := left.get("embedder"), (str, os.PathLike, NoneType)):
        from ifdkit.engine.in_memory import is_sentence_transformer, saved_embedder

        if is_sentence_transformer(embedder):
            left["embedder"] = saved_embedder(embedder)
        elif not callable(embedder):
            raise UsageError(
                f"{function}(): embedder={type(embedder).__name__} must be a name, a folder, a"
                " model of sentence-transformers, or a function of a list of texts"
            )
    model, tokenizer = left.get("model"), left.pop("tokenizer", None)
    if isinstance(model, tuple) and len(model) == 2 and tokenizer is None:
        model, tokenizer = model
    if model is None or isinstance(model, (str, os.PathLike)):
        if tokenizer is not None:
            raise UsageError(f"{function}(): tokenizer is for a model in memory; leave it out")
        return left
    if not (hasattr(model, "save_pretrained") and hasattr(tokenizer, "save_pretrained")):
        raise UsageError(
            f"{function}(): model={type(model).__name__} must be a name, a folder, or a model of"
            " transformers with tokenizer=…"
        )
    from ifdkit.engine.in_memory import saved_model

    return {**left, "model": saved_model(model, tokenizer)}


def split_keywords(
    function: str, keywords: Mapping[str, Any], kind: type
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keywords of a public function: its own, and those of Settings as `given_settings` has them.

    `kind` is the TypedDict of all of them.  Raises UsageError for an unknown keyword or a value of
    the wrong type; values out of range are for the classes of options.
    """
    known = get_type_hints(kind)
    for name in keywords:
        if name not in known:
            raise UsageError(f"{function}(): {unknown('keyword', name, known)}")
    of_settings = get_type_hints(SettingsKeywords)
    own = {name: value for name, value in keywords.items() if name not in of_settings}
    for name, value in own.items():
        if not _is_of(value, known[name]):
            raise UsageError(f"{function}(): {name}={value!r} has the wrong type")
    others = {name: value for name, value in keywords.items() if name in of_settings}
    return own, given_settings(function, others)


def _is_of(value: object, annotation: Any) -> bool:
    """Whether a value has the type of a field."""
    origin, members = get_origin(annotation), get_args(annotation)
    if origin is tuple:
        return isinstance(value, tuple) and all(isinstance(one, str) for one in value)
    if origin is Literal:
        return isinstance(value, type(members[0]))
    if members and origin in (Union, UnionType):
        return any(_is_of(value, one) for one in members)
    # A bool is an int to Python, but not a number of tokens.
    if isinstance(value, bool):
        return annotation is bool
    return isinstance(value, int | float if annotation is float else origin or annotation)
