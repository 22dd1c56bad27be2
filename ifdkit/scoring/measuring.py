"""Requests in, NLLs and statistics of tokens out: from the store, else from the model.

The plan is made from all Requests; of each planned batch, what the store lacks is computed and
stored in one transaction, while the next batch is under way.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from ifdkit.engine.backends import stream
from ifdkit.engine.batching import computed_tokens, plan
from ifdkit.engine.schedule import Unscored
from ifdkit.records import NLL, Passes, Request
from ifdkit.scoring.batches import BatchFiller, batch_name, gaps
from ifdkit.scoring.dtype_advice import DtypeAdvice
from ifdkit.scoring.progress import Progress
from ifdkit.scoring.store import request_key
from ifdkit.scoring.token_arrays import Arrays, known_statistics, split_array

if TYPE_CHECKING:
    from ifdkit.scoring.scorer import Scorer


@dataclass(frozen=True, slots=True, eq=False)
class Needed:
    """Distinct Requests, and what the store has of them."""

    requests: list[Request]
    """As a model would be asked: with statistics if those are wanted and lacking."""
    keys: list[bytes]
    """Of their NLLs, in order."""
    known: Arrays
    """NLLs and statistics that the store has, by key."""
    statistics: dict[bytes, bytes]
    """Content of a Request whose statistics are wanted → their key."""

    @property
    def complete(self) -> set[bytes]:
        """Keys of the Requests of which the store lacks nothing."""
        named = zip(self.requests, self.keys, strict=True)
        return {key for one, key in named if key in self.known and not one.with_statistics}


@dataclass(frozen=True, slots=True, eq=False)
class Measurement:
    """Passes of one model that a block of examples needs: measured by a run, counted by a plan."""

    scorer: Scorer
    passes: Sequence[Passes]
    detailed: frozenset[bytes] = frozenset()
    """Contents of the Requests whose statistics of tokens are wanted."""
    name: str | None = None
    """One of `FURTHER_PASSES`; None for those of `PASSES`."""
    places: Sequence[int] = ()
    """Positions in the block of the examples of further passes."""

    @property
    def requests(self) -> Iterator[Request]:
        """Those of all passes."""
        return (request for each in self.passes for request in each.requests)

    def needed(self, *, provisional: bool) -> Needed:
        """What the store has of it, and lacks."""
        return self.scorer.measuring.needed(self.requests, self.detailed, provisional=provisional)

    def measure(self, *, provisional: bool) -> tuple[Arrays, Arrays]:
        """As :meth:`Measuring.measure`."""
        return self.scorer.measuring.measure(self.requests, self.detailed, provisional=provisional)


class Measuring:
    """The store in front of a scorer's model."""

    def __init__(self, scorer: Scorer, progress: Progress) -> None:
        """The scorer's backend is loaded when it is first needed."""
        self._scorer, self._progress = scorer, progress
        self._filler = BatchFiller()
        self._unscored: dict[bytes, str] = {}
        """Content of the Requests that no worker survived, and why. They are not stored."""
        self._advice = DtypeAdvice(dtype=scorer.settings.dtype, device=scorer.device)

    def close(self) -> None:
        """Finish what is being stored."""
        self._filler.close()

    @property
    def _scope(self) -> str:
        """Of the keys in the store."""
        return f"{self._scorer.weights_hash}/{self._scorer.dtype}"

    def from_store(
        self, requests: Sequence[Request], *, provisional: bool = True
    ) -> tuple[dict[bytes, NLL], list[bytes]]:
        """What the store has of these Requests, by key, and the key of each."""
        scope = self._scope
        keys = [request_key(scope, one) for one in requests]
        found = self._scorer.store.get_nlls(keys, provisional=provisional)
        known = {
            key: nll
            for key, request in zip(keys, requests, strict=True)
            if (nll := found.get(key)) is not None and len(nll) == request.n_scored
        }
        return known, keys

    def nlls(self, requests: Iterable[Request], *, provisional: bool) -> dict[bytes, NLL]:
        """NLLs by the Request's content."""
        return self.measure(requests, (), provisional=provisional)[0]

    def needed(
        self, requests: Iterable[Request], detailed: Collection[bytes], *, provisional: bool
    ) -> Needed:
        """What the store has of these Requests, and of the statistics of the `detailed`."""
        distinct = list({request.content: request for request in requests}.values())
        known, keys = self.from_store(distinct, provisional=provisional)
        stored, more = known_statistics(
            self._scorer.store, self._scope, distinct, detailed, provisional=provisional
        )
        if not more:
            return Needed(distinct, keys, known, {})
        asked = [
            replace(one, with_statistics=True)
            if one.content in more and more[one.content] not in stored
            else one
            for one in distinct
        ]
        return Needed(asked, keys, known | stored, more)

    def measure(
        self, requests: Iterable[Request], detailed: Collection[bytes], *, provisional: bool
    ) -> tuple[Arrays, Arrays]:
        """NLLs, and statistics of the tokens of the `detailed` Requests, by their content."""
        needed = self.needed(requests, detailed, provisional=provisional)
        keys, known, complete = needed.keys, needed.known, needed.complete
        self._scorer.work.requests += len(keys)
        self._scorer.work.requests_from_store += len(complete)
        if len(complete) < len(keys):
            self._compute(needed, complete, provisional=provisional)
        named = zip(needed.requests, keys, strict=True)
        nlls = {one.content: known[key] for one, key in named if key in known}
        more = needed.statistics.items()
        return nlls, {content: known[key] for content, key in more if key in known}

    def problem(self, passes: Passes) -> str | None:
        """Why an example has no scores although it can be aligned; None if it has."""
        if not self._unscored:
            return None
        reasons = (self._unscored.get(one.content) for one in passes.requests)
        return next((one for one in reasons if one), None)

    def _compute(self, needed: Needed, complete: Collection[bytes], *, provisional: bool) -> None:
        """Add to what is known what the store lacks, batch by batch of the plan."""
        requests, keys, known = needed.requests, needed.keys, needed.known
        budget, backend = self._scorer.backend.budget, self._scorer.backend
        lengths = [request.stop for request in requests]
        n_missing = sum(n for n, key in zip(lengths, keys, strict=True) if key not in complete)
        self._progress.missing(n_missing)
        self._advice.give(n_missing, self._progress.note)
        batches = plan(requests, budget)
        absent = gaps(batches, keys, complete, self._scorer.store.batches_of)
        to_compute = ([requests[i] for i in whole] for _, whole in absent)
        outcomes = stream(backend, to_compute, n_planned=len(batches))
        for (missing, whole), outcome in zip(absent, outcomes, strict=True):
            self._scorer.work.tokens_scored += computed_tokens(requests, whole, budget)
            made: dict[int, NLL] = {}
            for i, one in zip(whole, outcome, strict=True):
                if isinstance(one, Unscored):
                    self._unscored[requests[i].content] = one.reason
                else:
                    made[i] = one
            name = batch_name([keys[i] for i in made])
            put = partial(
                self._scorer.store.put_nlls,
                batch=name,
                provisional=provisional,
                model=self._scorer.model_name,
            )
            new: Arrays = {}
            for i in (i for i in missing if i in made):
                new |= split_array(requests[i], made[i], keys[i], needed.statistics)
                self._scorer.work.requests_scored += 1
            # What is stored keeps its bits.
            new = {key: array for key, array in new.items() if key not in known}
            self._filler.store(known, new, put)
            self._progress.scored(sum(lengths[i] for i in missing))
        self._filler.wait()
