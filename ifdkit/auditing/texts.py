"""What a single row's texts show by themselves: the checks, by the name of their rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from ifdkit.findings import signs
from ifdkit.findings.languages import language_mismatch
from ifdkit.findings.markup import html_remains, mojibake
from ifdkit.findings.personal import personal_data
from ifdkit.findings.secrets import secrets
from ifdkit.findings.texts import Corpus, Hit

Check = Callable[[Corpus], list[Hit]]
"""Each place at most once, ascending."""

_SIGNS = {sign.kind: sign for sign in (*signs.SIGNS, signs.REPEATED)}


def _of_sign(kind: str) -> Check:
    return partial(signs.hits, _SIGNS[kind])


TEXT_CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        "prompt_leak": _of_sign("prompt_leak"),
        "refusal": _of_sign("refusal"),
        "ai_disclaimer": _of_sign("ai_disclaimer"),
        "cut_off": signs.cut_off,
        "unbalanced_code_fence": _of_sign("unbalanced_code_fence"),
        "html_remains": html_remains,
        "mojibake": mojibake,
        "language_mismatch": language_mismatch,
        "personal_data": personal_data,
        "secret": secrets,
        "repeated_instruction": _of_sign("repeated_instruction"),
    }
)
