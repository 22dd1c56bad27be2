"""What reading a dataset left out: every field that is not empty is used, harmless, or counted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Any

from ifdkit.data.columns import Columns, normal_name
from ifdkit.data.turns import Conversation, unused_keys
from ifdkit.visible import one_line

HARMLESS = frozenset(
    (
        # What a row is called.
        *("id", "ids", "uuid", "guid", "uid", "index", "idx", "row", "hash", "md5", "sha256"),
        # Where it comes from.
        *("source", "sources", "src", "origin", "dataset", "subset", "split", "file", "path"),
        *("url", "urls", "uri", "link", "domain", "host", "repo", "license", "licence", "dump"),
        *("author", "authors", "creator", "annotator", "provenance", "citation", "doi"),
        *("filename", "file_name", "dataset_name", "task_name", "model_name", "repo_name"),
        # When.
        *("date", "time", "datetime", "timestamp", "created", "updated", "modified"),
        # In which language.
        *("language", "languages", "lang", "locale"),
        # How good it is.
        *("score", "scores", "rating", "ratings", "quality", "reward", "rank", "votes"),
        *("upvotes", "downvotes", "likes", "confidence", "perplexity", "difficulty"),
        *("helpfulness", "correctness", "coherence", "complexity", "verbosity", "toxicity"),
        # What kind of row it is, and what made it.
        *("metadata", "meta", "tag", "tags", "category", "categories", "type", "kind", "version"),
        *("model", "generator", "engine", "temperature", "turn", "length", "tokens", "redacted"),
        *("toxic",),
    )
)
"""Fields that say something about a text but are no part of it, by `normal_name`."""
_HARMLESS_BESIDE_DOCUMENTS = frozenset(
    (
        # Of Dolma, FineWeb, C4, RedPajama, SlimPajama, DCLM, OSCAR, mC4 and The Stack.
        *("added", "attributes", "file_path", "filepath", "offset", "digest", "bucket"),
        *("cc_segment", "warc_filename", "warcinfo", "segment", "shard", "page", "nlines"),
        *("original_nlines", "original_length", "quality_signals", "partition", "snapshot_id"),
        *("label", "labels", "class", "topic", "genre", "size", "ext", "hexsha", "content_type"),
        *("avg_line_length", "max_line_length", "alphanum_fraction", "encoding", "format"),
    )
)
"""Fields that are harmless beside a document; beside a pair, such as `label`, they may not be."""
_HARMLESS_ENDING = re.compile(
    r"_(ids?|uuid|hash|urls?|uri|date|time|timestamp|at|scores?|rating|counts?|tokens|length|len"
    r"|language|lang|source|index|idx|license|metadata|model|type|version)$"
)
_HARMLESS_BEGINNING = re.compile(r"^(score|num|n)_")
_PLACEHOLDER = re.compile(r"<\|?image(?:_?\d+)?\|?>")
_MEDIA_PLACEHOLDER = re.compile(r"<\|?(?:audio|video)(?:_?\d+)?\|?>")
"""Also tags of HTML, so they count only in rows that have such media."""
_MEDIA_COLUMNS = frozenset({"audio", "audios", "video", "videos"})
_MAX_FIELDS = 1000
"""Fields that are counted one by one; the others count together."""
_OTHERS = "other fields"
_MAX_NOTES = 12


class Fact(StrEnum):
    """Something that reading noticed in a row, beside fields that are not used."""

    LABEL_FALSE = "label_false"
    NOT_TRAINED = "not_trained"
    ENDS_WITHOUT_ANSWER = "ends_without_answer"
    REASONING_DROPPED = "reasoning_dropped"
    PLACEHOLDER = "placeholder"
    ID_TAKEN = "id_taken"


_IN_WORDS = {
    Fact.LABEL_FALSE: "skipped, because the label is false (--columns label= reads all rows)",
    Fact.NOT_TRAINED: "turns that are marked as not trained on are context only",
    Fact.ENDS_WITHOUT_ANSWER: "the conversation ends in a user or tool turn, which has no answer",
    Fact.REASONING_DROPPED: "reasoning is left out (--reasoning keep uses it)",
    Fact.PLACEHOLDER: "a placeholder such as <image> is scored as text",
    Fact.ID_TAKEN: "an earlier input has the same id, so the id is SOURCE/ID",
}


class ReadLog:
    """Counts, over the rows of a dataset, what was not used and what was noticed.

    Every field that is not empty and not `HARMLESS` is either read or counted. Fields inside a row
    are named by their path: `functions`, `messages[].name`, `messages[].content[].cache_control`;
    parts that are not text by their kind: `image parts`.
    """

    def __init__(self) -> None:
        self.n_rows = 0
        """Rows of the dataset, including those that were not read."""
        self.unread: Counter[str] = Counter()
        """Field → the number of rows in which it has a value that was not used."""
        self.facts: Counter[Fact] = Counter()
        """Fact → the number of rows that it is true of."""

    def add(self, row: Mapping[str, Any], conversation: Conversation, columns: Columns) -> None:
        """Count what was not used of a row."""
        # Dictionaries in place of sets: their order, that of the notes, is the same in every run.
        fields = unread_fields(row, conversation.used)
        if columns.text is not None:
            fields = [one for one in fields if normal_name(one) not in _HARMLESS_BESIDE_DOCUMENTS]
        unread: dict[str, None] = dict.fromkeys(fields)
        facts: dict[Fact, None] = {}
        for turn in conversation.turns:
            for one in turn.objects:
                inside = unread_fields(one.value, frozenset(one.used))
                unread.update((f"{one.place.name}.{field}", None) for field in inside)
            if turn.media:
                unread.update((f"{kind} parts", None) for kind in turn.media)
            if turn.is_numbered and not turn.is_trained:
                facts[Fact.NOT_TRAINED] = None
            if turn.reasoning and columns.drops_reasoning:
                facts[Fact.REASONING_DROPPED] = None
            if "<" in turn.text and _has_placeholder(turn.text, unread):
                facts[Fact.PLACEHOLDER] = None
        if conversation.turns[-1].role in ("user", "tool"):
            facts[Fact.ENDS_WITHOUT_ANSWER] = None
        if facts:
            self.facts.update(facts.keys())
        if unread:
            self._add_fields(unread)

    def _add_fields(self, unread: Collection[str]) -> None:
        known = [one for one in unread if one in self.unread]
        new = [one for one in unread if one not in self.unread]
        n_free = max(0, _MAX_FIELDS - len(self.unread))
        self.unread.update([*known, *new[:n_free], *([_OTHERS] if new[n_free:] else [])])

    def notes(self) -> list[str]:
        """One line for each field and fact, such as "2 of 40 rows: `functions` not used"."""
        found = [
            (n, _OTHERS if field == _OTHERS else f"`{one_line(field, 80)}`")
            for field, n in self.unread.most_common()
        ]
        lines = [f"{self._rows(n)}: {field} not used" for n, field in found[:_MAX_NOTES]]
        if len(found) > _MAX_NOTES:
            lines.append(f"{len(found) - _MAX_NOTES:,} more fields are not used")
        return lines + [f"{self._rows(n)}: {_IN_WORDS[fact]}" for fact, n in self.facts.items()]

    def _rows(self, n: int) -> str:
        return f"{n:,} of {self.n_rows:,} {'row' if self.n_rows == 1 else 'rows'}"


def unread_fields(value: Mapping[str, Any], used: frozenset[str]) -> list[str]:
    """The fields of an object that are neither used nor harmless nor empty."""
    if value.keys() <= used:
        return []
    return [str(key) for key in unused_keys(value, used) if not is_harmless(str(key))]


@lru_cache(maxsize=4096)
def is_harmless(field: str) -> bool:
    """Whether a field says something about a text but is no part of it."""
    name = normal_name(field)
    return (
        name in HARMLESS
        or _HARMLESS_ENDING.search(name) is not None
        or _HARMLESS_BEGINNING.match(name) is not None
    )


def _has_placeholder(text: str, unread: Iterable[str]) -> bool:
    if _PLACEHOLDER.search(text):
        return True
    has_media = any(normal_name(field) in _MEDIA_COLUMNS for field in unread)
    return has_media and _MEDIA_PLACEHOLDER.search(text) is not None
