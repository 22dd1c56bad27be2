"""The tokens of the examples that the report shows, each with its NLLs.

They are those of the scores file, or in the store: nothing is scored for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ifdkit.errors import IfdkitError
from ifdkit.findings.masking import masked_pieces
from ifdkit.records import NLL, Example, Reject
from ifdkit.scoring.comparability import (
    SETTINGS_IN_MANIFEST,
    gives_same_requests,
    lookup_settings,
)
from ifdkit.scoring.dataset import ScoredDataset
from ifdkit.scoring.explored import ShadedToken
from ifdkit.scoring.scorer import Scorer
from ifdkit.scoring.settings import Settings
from ifdkit.scoring.shading import shaded_tokens

MAX_ROWS = 200_000
"""Of more rows none are read again, which takes longer than the rest of the page."""
_MAX_CHARS = 20_000
"""Of the tokens of a response; a page shows fewer."""
_PASSES = ("response_conditional", "response_direct")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shading:
    """Finds the NLLs of tokens of a scored dataset."""

    scored: ScoredDataset
    settings: Mapping[str, Any]
    """Arguments of :class:`Settings` for the scorer whose tokenizer and store are used."""

    @classmethod
    def of(
        cls, scored: ScoredDataset, is_file: bool, asked: Mapping[str, Any], settings: Settings
    ) -> Shading | None:
        """None if no model has scored the dataset.

        `asked` are the settings that the caller has set; `settings` those that scored the dataset,
        unless its scores are those of a file.
        """
        if scored.manifest is None:
            return None
        if is_file:
            own = {name: one for name, one in asked.items() if name not in SETTINGS_IN_MANIFEST}
        else:
            own = {name: getattr(settings, name) for name in Settings.__dataclass_fields__}
        return cls(scored=scored, settings=lookup_settings(scored.manifest, own))

    def tokens(self, indices: Sequence[int]) -> dict[int, tuple[ShadedToken, ...]]:
        """Position of an example → its tokens, with secrets and personal data masked.

        Examples without NLLs are left out: all of them if the model or the store is not available.
        """
        made = self.scored.manifest
        assert made is not None, "a model has scored it"
        try:
            with Scorer(Settings(**self.settings)) as scorer:
                if not gives_same_requests(scorer.setup, made.setup):
                    return {}
                return dict(self._shaded(indices, scorer))
        except (IfdkitError, TypeError):
            return {}

    def _shaded(
        self, indices: Sequence[int], scorer: Scorer
    ) -> Iterator[tuple[int, tuple[ShadedToken, ...]]]:
        table, responses = self.scored.scores, self.scored.texts.responses
        if "response_tokens" not in table.numbers:
            return
        n_scored = table.scored_tokens
        for i, nlls in self._nlls(indices, scorer):
            conditional, direct = map(nlls.get, _PASSES)
            if conditional is None and direct is None:
                continue
            response = responses[i]
            tokens = shaded_tokens(
                response,
                scorer.tokenizer,
                int(n_scored[i]),
                conditional=conditional,
                direct=direct,
            )
            yield i, _masked(response, tokens)

    def _nlls(
        self, indices: Sequence[int], scorer: Scorer
    ) -> Iterator[tuple[int, Mapping[str, NLL | None]]]:
        """NLLs by pass: those of the file if it has any, else those in the store."""
        table = self.scored.scores
        columns = table.token_nll_conditional, table.token_nll_direct
        if any(column is not None for column in columns):
            for i in indices:
                own = (None if column is None else column[i] for column in columns)
                yield i, dict(zip(_PASSES, own, strict=True))
            return
        examples = self._examples(indices)
        yield from zip(examples, scorer.stored_token_nlls([*examples.values()]), strict=True)

    def _examples(self, indices: Sequence[int]) -> dict[int, Example]:
        """The examples at these positions, read again."""
        dataset, table = self.scored.dataset, self.scored.scores
        if dataset.n_rows_in_all > MAX_ROWS:
            return {}
        wanted = {(int(table.rows[i]), int(table.turns[i])): i for i in indices}
        found = dataset.choose(row for row, _ in wanted)
        return {
            wanted[example.row, example.turn]: example
            for examples in found
            if not isinstance(examples, Reject)
            for example in examples
            if (example.row, example.turn) in wanted
        }


def _masked(response: str, tokens: Sequence[ShadedToken]) -> tuple[ShadedToken, ...]:
    """The first tokens; what must not be shown is a piece without NLLs."""
    found, n_chars = [], 0
    for i, shown in masked_pieces(response, [token.text for token in tokens]):
        found.append(ShadedToken(shown, None) if i is None else replace(tokens[i], text=shown))
        n_chars += len(shown)
        if n_chars >= _MAX_CHARS:
            break
    return tuple(found)
