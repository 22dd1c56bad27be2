"""The oracle's prompts, from Jinja files that a user can copy and change.

The built-in wording is this project's own, after the criteria of Reflection-Tuning (2310.11716):
complexity, level of detail, knowledge, ambiguity and reasoning of an instruction; helpfulness,
relevance, accuracy and level of detail of a response.  Each file may use only the variables that
`_ALLOWED` lists for it.

The dataset's text is untrusted.  Each piece of it is in a block of its own, between lines with a
token that does not occur in the text, so that no text can end its block:

    <<instruction 4f1c09aa52be>>
    …
    <<end instruction 4f1c09aa52be>>

The token is derived from the content, so that the same example makes the same call, and therefore
has the same key in the journal.

The files of a user may come with a dataset, and are rendered in the sandbox of `prompting`, within
limits on time, memory and length.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path

import jinja2
from jinja2 import meta

from ifdkit.errors import UsageError, brief
from ifdkit.oracle.calls import Sampling
from ifdkit.oracle.fencing import fenced, fenced_conversation, make_fence
from ifdkit.prompting.sandbox import Job, Sandbox
from ifdkit.records import Example, Turn
from ifdkit.reflection.outcomes import Call, Stage
from ifdkit.regular import read_regular

_TEXTS = frozenset({"conversation", "instruction", "input", "response"})
_ALLOWED: dict[str, frozenset[str]] = {
    "system.txt": frozenset({"fence"}),
    "instruction.txt": _TEXTS,
    "response.txt": _TEXTS,
    "reply_json.txt": frozenset({"field"}),
    "reply_sections.txt": frozenset({"fence", "field"}),
}
"""File → variables that it may use."""
_REQUIRED: dict[str, frozenset[str]] = {
    "system.txt": frozenset({"fence"}),
    "instruction.txt": frozenset({"conversation", "instruction", "input"}),
    "response.txt": frozenset({"conversation", "instruction", "input", "response"}),
    "reply_json.txt": frozenset({"field"}),
    "reply_sections.txt": frozenset({"fence", "field"}),
}
"""File → variables that it must use: an oracle that does not see the input cannot preserve it."""
_VERSION_FILE = "version.txt"
_MAX_PROMPT_BYTES = 2**20

# The output is not HTML, so nothing is escaped.  The dataset's text is a value, never a template.
_JINJA = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
_Render = Callable[[Mapping[str, str]], str]


class Prompts:
    """The prompts of both stages, and their version, which is part of every call's key."""

    def __init__(self, texts: Mapping[str, str], version: str) -> None:
        """`texts` by file name. Raises UsageError for an unknown or missing variable."""
        self._templates = {name: _renderer(name, texts[name]) for name in _ALLOWED}
        content = json.dumps([[name, texts[name]] for name in _ALLOWED])
        self.version = f"{version}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"
        """The version for people and a hash of all texts, such as `1-3fa9…`."""

    def call(
        self,
        stage: Stage,
        example: Example,
        *,
        model: str,
        endpoint: str = "",
        sampling: Sampling | None = None,
    ) -> Call:
        """The call about one half of an example.

        For the response to a new instruction, replace the last user turn of the example first.
        Raises ValueError if there is no user turn.
        """
        user = example.last_user_turn
        if user is None:
            raise ValueError(f"row {example.row} has no instruction to reflect on")
        fence = make_fence([example.tools, example.response, *_texts(example.context)])
        blocks = {
            "conversation": fenced_conversation(example, user, fence),
            "instruction": fenced("instruction", user.text, fence),
            "input": fenced("input", user.input, fence) if user.input else "",
            "response": fenced("response", example.response, fence) if example.response else "",
        }
        original = user.text if stage is Stage.INSTRUCTION else example.response
        ending = {"fence": fence, "field": f"better_{stage}"}
        return Call(
            stage=stage,
            system=self._rendered("system.txt", {"fence": fence}),
            user=self._rendered(f"{stage}.txt", blocks),
            reply_json=self._rendered("reply_json.txt", ending),
            reply_sections=self._rendered("reply_sections.txt", ending),
            fence=fence,
            original=original,
            prompt_version=self.version,
            model=model,
            endpoint=endpoint,
            sampling=sampling or Sampling(),
        )

    def _rendered(self, name: str, values: Mapping[str, str]) -> str:
        return self._templates[name](values).strip()


def load_prompts(folder: Path | None = None) -> Prompts:
    """The built-in prompts, overridden by files of the same names in `folder`.

    Its `version.txt` may name the version for people; the default is `custom`.  Raises UsageError
    if the folder contains no prompt or an unknown `.txt` file, or if a variable is unknown or
    missing.
    """
    texts = {name: _built_in(name) for name in [*_ALLOWED, _VERSION_FILE]}
    if folder is not None:
        texts |= {_VERSION_FILE: "custom"} | _own_texts(folder)
    return Prompts(texts, texts[_VERSION_FILE].strip() or "custom")


def _own_texts(folder: Path) -> dict[str, str]:
    """The user's files, by name."""
    known = [*_ALLOWED, _VERSION_FILE]
    texts = {}
    try:
        for path in sorted(folder.iterdir()):
            if path.suffix == ".txt" and path.name not in known:
                raise UsageError(
                    f"{path}: not the name of a prompt; the names are {', '.join(known)}"
                )
            if path.name in known:
                texts[path.name] = read_regular(path, _MAX_PROMPT_BYTES).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--prompts {folder} cannot be read: {error}") from error
    if not texts.keys() & _ALLOWED.keys():
        raise UsageError(f"--prompts {folder} contains none of {', '.join(_ALLOWED)}")
    return texts


def _built_in(name: str) -> str:
    folder = resources.files("ifdkit.reflection").joinpath("prompts")
    return folder.joinpath(name).read_text(encoding="utf-8")


def _renderer(name: str, text: str) -> _Render:
    """What renders a prompt. Raises UsageError if it uses other variables than it may and must."""
    if text == _built_in(name):
        return _JINJA.from_string(text).render
    try:
        parsed = _JINJA.parse(text)
    except (jinja2.TemplateError, RecursionError) as error:
        raise UsageError(f"the prompt {name} is not valid Jinja: {brief(error)}") from error
    # Before its variables are looked for, which computes constants as compiling does.
    sandbox = Sandbox(f"--prompts {name}", {name: text}, style="file")
    used = meta.find_undeclared_variables(parsed)
    if unknown := sorted(used - _ALLOWED[name]):
        names = ", ".join(sorted(_ALLOWED[name]))
        raise UsageError(f"the prompt {name} uses {{{{ {unknown[0]} }}}}; it may use {names}")
    if missing := sorted(_REQUIRED[name] - used):
        raise UsageError(f"the prompt {name} must use {{{{ {missing[0]} }}}}")

    def render(values: Mapping[str, str]) -> str:
        (made,) = sandbox.render([Job(name, values, sum(map(len, values.values())))])
        if made.text is None:
            raise UsageError(f"the prompt {name} cannot be rendered: {made.problem}")
        return made.text

    return render


def _texts(turns: Sequence[Turn]) -> list[str]:
    return [text for turn in turns for text in (turn.text, turn.input)]
