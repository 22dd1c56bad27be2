"""The NLLs of the tokens of one response: from the scores file, the store, or a model on demand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

from ifdkit.errors import IfdkitError
from ifdkit.records import NLL, Example
from ifdkit.scoring.comparability import gives_same_requests, lookup_settings
from ifdkit.scoring.inspect import Token, response_tokens
from ifdkit.scoring.scorer import Scorer
from ifdkit.scoring.settings import Settings
from ifdkit.viewing.sources import ViewedSide

MAX_TOKENS = 20_000


@dataclass(frozen=True, slots=True)
class TokenText:
    """The tokens of both passes of a response, or the reason why there are none."""

    direct: tuple[Token, ...] = ()
    conditional: tuple[Token, ...] = ()
    reason: str | None = None

    @property
    def is_parallel(self) -> bool:
        """Whether both passes cut the response into the same tokens."""
        return bool(self.direct) and [t.text for t in self.direct] == [
            t.text for t in self.conditional
        ]


class TokenReader:
    """Finds the NLLs of one side. Opens the tokenizer and the store when they are first needed."""

    def __init__(self, side: ViewedSide, given: Mapping[str, Any], *, on_demand: bool) -> None:
        """`given` are the fields of `Settings` that the user set.

        `on_demand` loads the model for what is not stored.
        """
        self._side, self._given, self._on_demand = side, given, on_demand
        self._scorer: Scorer | None = None
        self._problem: str | None = None
        self._lock = Lock()

    def close(self) -> None:
        """Close the store."""
        with self._lock:
            if self._scorer is not None:
                self._scorer.__exit__()
                self._scorer = None

    def read(self, example: Example, position: int) -> TokenText:
        """The tokens of a response. Errors of models and stores become reasons."""
        if self._side.manifest is None and not self._on_demand:
            return TokenText(reason="These rows have no scores with a manifest, so there are no"
                             " NLLs of tokens. Score them with `ifdkit score`, or start `ifdkit"
                             " view` with --model-on-demand.")  # fmt: skip
        with self._lock:
            try:
                return self._read(example, position)
            except IfdkitError as error:
                return TokenText(reason=f"The NLLs of tokens cannot be read: {error}")

    def _read(self, example: Example, position: int) -> TokenText:
        scorer = self._opened()
        if scorer is None:
            return TokenText(reason=self._problem)
        (passes,) = scorer.align([example])
        nlls = self._own(position)
        if len(nlls) < 2:
            (stored,) = scorer.stored_token_nlls([example])
            nlls = {**stored, **nlls}
        direct, conditional = response_tokens(example, passes, nlls, scorer.tokenizer)
        if self._on_demand and not (direct and conditional):
            passes, nlls = scorer.token_nlls(example)
            direct, conditional = response_tokens(example, passes, nlls, scorer.tokenizer)
        if not (direct or conditional):
            return TokenText(reason="The NLLs of this row's tokens are not stored. Score the"
                             " dataset again, or start `ifdkit view` with --model-on-demand."
                             )  # fmt: skip
        return TokenText(tuple(direct[:MAX_TOKENS]), tuple(conditional[:MAX_TOKENS]))

    def _own(self, position: int) -> dict[str, NLL]:
        """The NLLs that the scores file has itself."""
        named = {"response_direct": self._side.direct, "response_conditional":
                 self._side.conditional}  # fmt: skip
        found = {name: column[position] for name, column in named.items() if column is not None}
        return {name: nll for name, nll in found.items() if nll is not None}

    def _opened(self) -> Scorer | None:
        """The scorer that made the scores; None, with a problem, if it is not available."""
        if self._scorer is not None or self._problem is not None:
            return self._scorer
        manifest = self._side.manifest
        found = {**self._given, "metrics": ("ifd",)}
        try:
            scorer = Scorer(Settings(**lookup_settings(manifest, found) if manifest else found))
        except (IfdkitError, TypeError) as error:
            self._problem = f"The model of these scores is not available: {error}"
            return None
        if manifest and not gives_same_requests(scorer.setup, manifest.setup):
            scorer.__exit__()
            self._problem = (
                f"The model {manifest.model} that is found here is not the one of these scores."
            )
            return None
        self._scorer = scorer
        return scorer
