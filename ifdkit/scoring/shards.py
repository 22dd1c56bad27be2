"""`--shard I/N`: a part of a dataset, for N jobs that know nothing of each other.

A shard has whole blocks, because what is batched together is what decides the last bits: so the
shards put together are the bytes of an undivided run.  Which blocks it has follows from the texts
alone: each block goes to the shard with the least text so far.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ifdkit.errors import UsageError
from ifdkit.records import Example, Reject
from ifdkit.scoring.manifest import ShardRecord


@dataclass(frozen=True, slots=True)
class Block:
    """Rows of a dataset that are scored together."""

    n_rows: int
    examples: list[Example]
    rejects: list[Reject]
    is_full: bool
    """Whether it ends because of its size, and not because no rows are left."""

    @property
    def weight(self) -> int:
        """What it costs to score, in UTF-8 bytes: a response is scored twice, its context once.

        It stands for tokens, which would take the tokenizer over the whole dataset in every job.
        """
        return sum(
            2 * len(one.response.encode(errors="replace"))
            + sum(len(turn.text.encode(errors="replace")) for turn in one.context)
            for one in self.examples
        )


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `number` of `count`, counted from 1."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def parse_shard(text: str | None, *, join: bool = False) -> Shard | None:
    """`3/8` → Shard(3, 8); None for None. Raises UsageError."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise UsageError(f"--shard {text}: write I/N, a number from 1 to N and N, such as 3/8")
    if join:
        raise UsageError("--shard writes scores files: merge them, then score again with --join")
    return Shard(int(found[1]), int(found[2]))


class ChosenBlocks:
    """The blocks of a shard, or all of them."""

    def __init__(self, shard: Shard | None, name: str) -> None:
        """`name`: of the dataset, for messages."""
        self._shard, self._name = shard, name
        self._n_blocks = 0
        self._own: list[tuple[int, int]] = []
        """Number and examples of each block of the shard."""

    def of(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """Its blocks among all of a dataset. Raises UsageError if it has none."""
        if self._shard is None:
            yield from blocks
            return
        weights = [0] * self._shard.count
        for number, block in enumerate(blocks):
            self._n_blocks += 1
            lightest = weights.index(min(weights))
            # A block without text counts too, so that it is not given to the same shard forever.
            weights[lightest] += block.weight + 1
            if lightest == self._shard.number - 1:
                self._own.append((number, len(block.examples)))
                yield block
        if not self._own:
            raise UsageError(
                f"--shard {self._shard}: {self._name} has {self._n_blocks} blocks of rows that are"
                f" scored together, so it can have at most {self._n_blocks} shards"
            )

    def share(self, n_rows: int) -> int:
        """About how many of a dataset's rows are in them."""
        return n_rows // (self._shard.count if self._shard else 1)

    def record(self) -> ShardRecord | None:
        """For the manifest, once all blocks were seen."""
        if self._shard is None:
            return None
        numbers, examples = zip(*self._own, strict=True) if self._own else ((), ())
        return ShardRecord(
            number=self._shard.number,
            count=self._shard.count,
            n_blocks=self._n_blocks,
            blocks=list(numbers),
            examples=list(examples),
        )
