"""Finished rows in the store, by the content of their examples: they are not even tokenised again.

A finished row has what a row of scores has besides its place in a file, and what a run counts of
it.  Its key covers everything that it depends on: content, weights, tokenizer, template, protocol,
limits, embedder, the code that makes a row of them, and the versions of the libraries below it.

    block of examples ─ finished rows ─▶ all known ─────────────────────────────▶ rows
                                     └─▶ the others ─ aligned: are all NLLs known? ─▶ rows
                                                                               └─▶ the whole block

A block that lacks NLLs is aligned and planned as a whole, because the plan is a function of the
input alone.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, lru_cache, partial
from importlib import metadata
from pathlib import Path
from typing import Any

from ifdkit.records import Example, Passes, Status
from ifdkit.row_type import row_type
from ifdkit.scoring.aligning import BlockAligner
from ifdkit.scoring.batches import BackgroundWriter
from ifdkit.scoring.metric import DEMONSTRATED, Value
from ifdkit.scoring.metrics import METRICS, SHIPPED, computed_metrics
from ifdkit.scoring.rows import ScoreRow
from ifdkit.scoring.scorer import Scorer
from ifdkit.scoring.store import Store
from ifdkit.version import VERSION

_N_REQUESTS = struct.Struct("<H")
"""Requests of a record: after a bit for each number, 1 if it is defined.  Then follow the defined
numbers, as int64 or float64, 8 bytes for each Request, and JSON for what few rows have."""
_DIGEST_BYTES = 8
_MAX_FORMS = 1024
_CODE = ("records.py", "visible.py", "prompting/*.py", "scoring/*.py", "engine/tokenizer*.py",
         "engine/embedder.py")  # fmt: skip
"""The code that makes a row of an example and of the NLLs of its passes."""
_FREE_SETTINGS = {"model", "embedder", "reference_model", "dtype", "device", "store", "drift",
                  "threads", "workers", "backend"}  # fmt: skip
"""Settings that do not change a row, or enter its key as what they stand for. A new one does."""
_OK = str(Status.OK)
_LIBRARIES = ("jinja2", "numpy")
"""And those below it, besides the tokenizer's."""


@row_type(frozen=True, slots=True)
class Finished:
    """A row of scores without its place in a file."""

    row: ScoreRow
    """With the id and the place of the example that it was made for, or is used for."""
    requests: frozenset[bytes]
    """A digest of each of its Requests, to count distinct ones."""


@dataclass(frozen=True, slots=True)
class _Form:
    """What records have in common in which the same numbers are defined, of as many Requests."""

    names: Sequence[str]
    """The defined numbers."""
    layout: struct.Struct
    """Those, and the digests of the Requests, after the head."""


def scope_of(scorer: Scorer) -> str | None:
    """Everything but the example that a finished row depends on; None if rows are not kept.

    They are not if a metric was registered, whose code is not known, if the rows contain the NLLs
    of their tokens, if a metric depends on the other rows, if a function embeds or makes the
    prompts, or if only the prompts can show whether a template names a date.
    """
    settings, template = scorer.settings, scorer.template
    has_own_metrics = [*METRICS.values()] != [*SHIPPED]
    depends_on_others = DEMONSTRATED in settings.passes
    if scorer.store.path is None or settings.token_nll or has_own_metrics:
        return None
    embedder = scorer.embeddings
    if (
        depends_on_others
        or template.may_read_clock
        or callable(settings.template)
        or (embedder is not None and not embedder.are_kept)
    ):
        return None
    parts: dict[str, Any] = {
        "code": _code_digest(),
        "libraries": {name: metadata.version(name) for name in _LIBRARIES},
        "weights": scorer.weights_hash,
        "tokenizer": scorer.tokenizer_files,
        "dtype": scorer.dtype,
        "settings": {k: v for k, v in asdict(settings).items() if k not in _FREE_SETTINGS},
        "template": template.source,
        "limits": [scorer.max_length, scorer.stride],
        "embedder": embedder.hash if embedder else None,
    }
    if (reference := scorer.further.reference) is not None:
        parts["reference"] = reference.weights_hash
    return json.dumps(parts, sort_keys=True)


@cache
def _code_digest() -> str:
    """Of the source of `_CODE`, and of the version in case that source is not there."""
    root, whole = Path(__file__).parents[1], hashlib.sha256(VERSION.encode())
    for pattern in _CODE:
        for path in sorted(root.glob(pattern)):
            whole.update(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()


class FinishedRows:
    """The finished rows of a store in one scope."""

    def __init__(
        self,
        store: Store,
        scope: str,
        optional: Collection[str] = (),
        *,
        model: str | None = None,
    ) -> None:
        """`optional` as in `computed_metrics`; `model` is its name for `store info`."""
        self._store, self._model = store, model
        self._writer = BackgroundWriter()
        whole = hashlib.sha256(scope.encode("utf-8", "surrogatepass"))
        self._bases = (whole, hashlib.sha256(whole.digest()))
        """Of the rows of whole blocks, and of provisional rows."""
        self._names = tuple(computed_metrics(optional))
        self._blank: dict[str, Value] = dict.fromkeys(METRICS)
        self._head_bytes = (len(self._names) + 7) // 8 + _N_REQUESTS.size
        self._bits: dict[tuple[bool, ...], bytes] = {}
        """Which numbers are defined → the bits that say so."""
        self._form = lru_cache(_MAX_FORMS)(self._form_of)

    def get(
        self, examples: Sequence[Example], *, provisional: bool = False
    ) -> list[Finished | None]:
        """The finished row of each example, in order; None for one that the store lacks.

        As with NLLs, a row that was kept as `provisional` is for provisional blocks only.
        """
        found = self._get(examples, provisional=False)
        lacking = [i for i, one in enumerate(found) if one is None]
        if provisional and lacking:
            others = self._get([examples[i] for i in lacking], provisional=True)
            for i, one in zip(lacking, others, strict=True):
                found[i] = one
        return found

    def _get(self, examples: Sequence[Example], *, provisional: bool) -> list[Finished | None]:
        keys = [self._key(one, provisional=provisional) for one in examples]
        records = self._store.get_finished(list(dict.fromkeys(keys)))
        return [
            self._unpacked(records[key], example) if key in records else None
            for key, example in zip(keys, examples, strict=True)
        ]

    def put(
        self,
        examples: Sequence[Example],
        rows: Sequence[ScoreRow],
        passes: Sequence[Passes],
        *,
        provisional: bool = False,
    ) -> None:
        """Keep the rows of a block, which are stored in the background. Raises StoreError.

        An invalid row is not kept: a time limit can be its reason.
        """
        triples = zip(examples, rows, passes, strict=True)
        records = {
            self._key(example, provisional=provisional): self._packed(row, request_digests(one))
            for example, row, one in triples
            if row.status != Status.INVALID
        }
        self._writer.begin(partial(self._store.put_finished, records, self._model))

    def wait(self) -> None:
        """Wait until all rows are stored. Raises StoreError."""
        self._writer.wait()

    def close(self) -> None:
        """Wait for the writer, without raising."""
        self._writer.close()

    def _key(self, example: Example, *, provisional: bool = False) -> bytes:
        """Of the scope and everything in an example but its id and its place."""
        texts = [example.response, example.tools]
        for turn in example.context:
            texts += (turn.role, turn.text, turn.input, turn.tool_calls, turn.reasoning)
        # The lengths tell where each text ends, whatever the texts contain.
        head = f"{example.is_document:d} {' '.join([str(len(text)) for text in texts])}\n"
        whole = self._bases[provisional].copy()
        whole.update((head + "".join(texts)).encode("utf-8", "surrogatepass"))
        return whole.digest()

    def _form_of(self, head: bytes) -> _Form:
        """What the head of a record says of the rest."""
        (n_requests,) = _N_REQUESTS.unpack(head[-_N_REQUESTS.size :])
        bits = int.from_bytes(head[: -_N_REQUESTS.size], "little")
        names = [name for i, name in enumerate(self._names) if bits >> i & 1]
        types = "".join("q" if METRICS[name].is_integer else "d" for name in names)
        digests = f"{_DIGEST_BYTES}s" * n_requests
        return _Form(names, struct.Struct(f"<{len(head)}x{types}{digests}"))

    def _packed(self, row: ScoreRow, requests: frozenset[bytes]) -> bytes:
        values = [row.numbers[name] for name in self._names]
        is_defined = tuple([value is not None for value in values])
        if (bits := self._bits.get(is_defined)) is None:
            number = sum(one << i for i, one in enumerate(is_defined))
            bits = number.to_bytes(self._head_bytes - _N_REQUESTS.size, "little")
            self._bits[is_defined] = bits
        head = bits + _N_REQUESTS.pack(len(requests))
        defined = [value for value in values if value is not None]
        body = self._form(head).layout.pack(*defined, *sorted(requests))
        rest = [row.status, row.reason, row.omitted, row.ppl_windows]
        is_plain = rest == [Status.OK, None, (), None]
        return head + body[len(head) :] + (b"" if is_plain else json.dumps(rest).encode())

    def _unpacked(self, record: bytes, example: Example) -> Finished:
        form = self._form(record[: self._head_bytes])
        values = form.layout.unpack_from(record)
        numbers = self._blank.copy()
        numbers.update(zip(form.names, values, strict=False))
        status, reason, omitted, windows = _OK, None, (), None
        if len(record) > form.layout.size:
            status, reason, omitted, windows = json.loads(record[form.layout.size :])
        row = ScoreRow(
            id=example.id,
            row=example.row,
            turn=example.turn,
            status=status,
            reason=reason,
            numbers=numbers,
            ppl_windows=windows,
            omitted=tuple(omitted),
        )
        return Finished(row, frozenset(values[len(form.names) :]))


def request_digests(passes: Passes) -> frozenset[bytes]:
    """A digest of the content of each Request."""
    return frozenset(
        hashlib.blake2b(one.content, digest_size=_DIGEST_BYTES).digest() for one in passes.requests
    )


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is known of a block before it is scored."""

    finished: Mapping[int, Finished]
    """Position in the block → finished row."""
    passes: Sequence[Passes]
    """Those of the other examples, in order."""
    provisional: bool = False
    """Whether a run over the whole dataset would make another block of these examples."""


class BlockScorer:
    """Scores the blocks of a run, with the finished rows of the store."""

    def __init__(self, scorer: Scorer, n_rows: int) -> None:
        """`n_rows`: of the run."""
        self._scorer = scorer
        self._aligner = BlockAligner(scorer, n_rows)
        scope = scope_of(scorer)
        self._rows = (
            FinishedRows(scorer.store, scope, scorer.settings.optional, model=scorer.model_name)
            if scope
            else None
        )
        self._has_used_models = True
        """Whether the latest block that could not be looked up had something to compute."""

    def begin(
        self, examples: Sequence[Example], n_rows: int, *, provisional: bool = False
    ) -> Callable[[], Prepared]:
        """Look up or align the examples of `n_rows` rows, a block; the result waits for it.

        Scores nothing, so it can run ahead: `ahead` says by how many blocks.
        """
        finished: dict[int, Finished] = {}
        if self._rows is not None:
            found = enumerate(self._rows.get(examples, provisional=provisional))
            finished = {i: one for i, one in found if one is not None}
        others = [one for i, one in enumerate(examples) if i not in finished]
        aligned = self._aligner.begin(others, n_rows)

        def prepared() -> Prepared:
            passes = self._scorer.with_noise(aligned())
            if (
                not finished
                or not others
                or self._scorer.has_all(others, passes, provisional=provisional)
            ):
                return Prepared(finished, passes, provisional)
            return Prepared({}, self._scorer.align(examples), provisional)

        return prepared

    def wait(self) -> None:
        """Wait until all rows are stored. Raises StoreError."""
        if self._rows is not None:
            self._rows.wait()

    @property
    def ahead(self) -> int:
        """Blocks to begin before the result of the first one is waited for."""
        return self._aligner.ahead

    def close(self) -> None:
        """End what it started."""
        self._aligner.close()
        if self._rows is not None:
            self._rows.close()

    def is_slow(self, prepared: Prepared) -> bool:
        """Whether scoring a block is likely to wait for a model."""
        return bool(prepared.passes) and self._has_used_models

    def score(self, examples: Sequence[Example], prepared: Prepared) -> list[ScoreRow]:
        """The rows of a block, in order."""
        finished, passes = prepared.finished, prepared.passes
        others = [one for i, one in enumerate(examples) if i not in finished]
        scored: list[ScoreRow] = []
        if others:
            work = self._scorer.work
            before = work.requests_scored, work.texts_embedded
            scored = self._scorer.score(others, passes, provisional=prepared.provisional)
            self._has_used_models = before != (work.requests_scored, work.texts_embedded)
        if finished:
            known = frozenset().union(*(one.requests for one in finished.values()))
            own = frozenset().union(*map(request_digests, passes))
            self._scorer.work.add_known(len(known - own))
        if self._rows is not None and others:
            self._rows.put(others, scored, passes, provisional=prepared.provisional)
        if not finished:
            return scored
        rest = iter(scored)
        return [finished[i].row if i in finished else next(rest) for i in range(len(examples))]
