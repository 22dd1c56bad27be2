"""What alignment needs to know of a tokenizer, kept in the cache so that it loads without torch.

transformers imports torch to load a tokenizer, which takes seconds.  What it loads is a tokenizer
of the Rust library and a few settings.  Both are kept under the digest of everything that they are
made from: the files of the tokenizer, and the versions of both libraries.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ifdkit.engine.kept_files import keep_file
from ifdkit.engine.models import cache_folder

log = logging.getLogger(__name__)

_FORMAT = 1
"""Changes with the fields of TokenizerFacts, and with how they are found."""
_MAX_KEPT = 16
"""Files in the cache; the oldest are removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerFacts:
    """A tokenizer as loaded, in strings and numbers."""

    backend: str | None
    """The tokenizer of the Rust library as JSON; None if a call does more than that one does."""
    bos_id: int | None
    eos_id: int | None
    special_ids: tuple[int, ...]
    """Ascending."""
    vocabulary: int
    """Number of tokens, added ones included."""
    chat_templates: dict[str, str]
    special_tokens: dict[str, str]

    @classmethod
    def of(cls, tokenizer: Any, backend: Any) -> TokenizerFacts:
        """The facts of a tokenizer of transformers; `backend` is its Rust tokenizer, or None."""
        special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
        special.update(tokenizer.all_special_ids)
        template = tokenizer.chat_template
        templates = {"default": template} if isinstance(template, str) else template
        return cls(
            backend=_as_json(backend),
            bos_id=tokenizer.bos_token_id,
            eos_id=tokenizer.eos_token_id,
            special_ids=tuple(sorted(special)),
            vocabulary=len(tokenizer),
            chat_templates={str(k): str(v) for k, v in templates.items()}
            if isinstance(templates, dict)
            else {},
            special_tokens={str(k): str(v) for k, v in tokenizer.special_tokens_map.items()},
        )

    def open_backend(self) -> Any:
        """The tokenizer of the Rust library. Raises ValueError if there is none."""
        from tokenizers import Tokenizer

        if self.backend is None:
            raise ValueError("no tokenizer of the Rust library does all of it")
        try:
            return Tokenizer.from_str(self.backend)
        except Exception as error:  # the library raises nothing more special
            raise ValueError(str(error)) from error


def _as_json(backend: Any) -> str | None:
    """The Rust tokenizer as JSON; None if that is not all of it."""
    from tokenizers import Tokenizer

    if backend is None or backend.encode_special_tokens:  # which its JSON does not contain
        return None
    try:
        written = str(backend.to_str())
        again = Tokenizer.from_str(written).to_str()
    except Exception as error:  # a part written in Python has no JSON
        log.info("the tokenizer is not kept: %s", error)
        return None
    return written if again == written else None


def recall(digest: str) -> TokenizerFacts | None:
    """The facts kept under this digest; None if there are none that can be read."""
    try:
        found = json.loads(_file(digest).read_bytes())
        return TokenizerFacts(**{**found, "special_ids": tuple(found["special_ids"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def keep(digest: str, facts: TokenizerFacts) -> None:
    """Keep facts that are enough to load the tokenizer from, if the cache can be written."""
    if facts.backend is None:
        return
    file = _file(digest)
    try:
        keep_file(file, json.dumps(asdict(facts)).encode())
        kept = sorted(file.parent.glob("*.json"), key=lambda one: one.stat().st_mtime)
        for one in kept[:-_MAX_KEPT]:
            one.unlink(missing_ok=True)
    except OSError as error:
        log.info("the tokenizer is not kept: %s", error)


def _file(digest: str) -> Path:
    return cache_folder() / "tokenizers" / f"{digest}-{_FORMAT}.json"
