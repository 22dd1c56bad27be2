"""A text check: one problem that the examples of a dataset can show, and how to find them.

A check is its function plus the words that reports use for it, declared in one place by a
decorator.  `ifdkit compare` applies checks to both datasets and reports the differences; a rule of
`ifdkit audit` applies one to a single dataset.

    @example_check("refusal", "refusals", "The response declines the request.")
    def refusal(instruction: str, response: str) -> str | None:
        return quote(response) if opens_with_refusal(response) else None

    refusal(corpus)       # [Hit(index=3, quote="I'm sorry, but …"), …]
    refusal.description   # "The response declines the request."
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ifdkit.findings.texts import Corpus


@dataclass(frozen=True, slots=True)
class Hit:
    """One example that shows what a check looks for."""

    index: int
    """Its position in the Corpus."""
    quote: str
    """The words that show it, as :func:`texts.quote` makes them."""


CorpusSearch = Callable[[Corpus], list[Hit]]
"""Each index at most once, ascending."""
ExampleSearch = Callable[[str, str], str | None]
"""Instruction and response → the words that show the problem; None if the example is fine."""


@dataclass(frozen=True, slots=True)
class TextCheck:
    """A check of the texts of one dataset, called with its Corpus."""

    kind: str
    """Name in `summary.json`, `audit.json` and settings: `refusal`."""
    title: str
    """A plural noun phrase as it reads inside a sentence: "refusals"."""
    description: str
    """What an example that is hit shows, in one sentence."""
    search: CorpusSearch
    is_of_examples: bool = False
    """Whether an example is hit or not whatever the other examples are."""

    def __call__(self, corpus: Corpus) -> list[Hit]:
        """The examples that show the problem."""
        return self.search(corpus)


def corpus_check(kind: str, title: str, description: str) -> Callable[[CorpusSearch], TextCheck]:
    """Declare a function of a whole Corpus as a check."""
    return partial(TextCheck, kind, title, description)


def example_check(kind: str, title: str, description: str) -> Callable[[ExampleSearch], TextCheck]:
    """Declare a function of one instruction and its response as a check."""

    def declare(search: ExampleSearch) -> TextCheck:
        def search_all(corpus: Corpus) -> list[Hit]:
            texts = zip(corpus.instructions, corpus.responses, strict=True)
            shown = (search(instruction, response) for instruction, response in texts)
            return [Hit(index, quote) for index, quote in enumerate(shown) if quote is not None]

        return TextCheck(kind, title, description, search_all, is_of_examples=True)

    return declare
