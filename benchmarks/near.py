"""Near duplicates: our exact search compared with MinHash and LSH of `datasketch`.

    OMP_NUM_THREADS=1 .venv-peers/bin/python -m benchmarks.near

Every pair that LSH proposes is checked by the exact similarity, so neither side reports a false
one.  Each case runs in a process of its own.  Writes `reports/near.md`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import resource
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import machine
from ifdkit.findings import near
from ifdkit.findings.ngrams import Vocabulary

BANDS, ROWS = 25, 5
SEED = 0


@dataclass(frozen=True)
class Cost:
    """One search."""

    cpu_s: float
    bytes_peak: int
    """Peak memory of the process minus its memory before."""
    found: frozenset[int]
    """Indices of texts with a near duplicate."""


def vocabulary(rng: random.Random) -> tuple[list[str], list[float]]:
    """20,000 invented words, and the frequency of each."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    return (
        ["".join(rng.choices(letters, k=rng.randrange(2, 9))) for _ in range(20_000)],
        [1 / (rank + 10) for rank in range(20_000)],
    )


def prose(n: int) -> list[str]:
    """Texts of 100 words; one in six is an earlier one with 1 to 8 words changed."""
    rng = random.Random(SEED)
    known, weights = vocabulary(rng)
    texts: list[str] = []
    while len(texts) < n:
        words = rng.choices(known, weights, k=100)
        texts.append(" ".join(words))
        if rng.random() < 0.2:
            texts.append(_edited(rng, words, rng.randrange(1, 9), known))
    return texts[:n]


def template(n: int) -> list[str]:
    """100 words that all texts share and 24 of their own; 200 have a copy with one word changed."""
    rng = random.Random(SEED)
    known, weights = vocabulary(rng)
    head = " ".join(rng.choices(known, weights, k=100))
    own = [rng.choices(known, k=24) for _ in range(n - 200)]
    copies = [_edited(rng, words, 1, known) for words in own[:200]]
    texts = [f"{head} {end}" for end in (*map(" ".join, own), *copies)]
    rng.shuffle(texts)
    return texts


def _edited(rng: random.Random, words: list[str], n_changed: int, known: list[str]) -> str:
    changed = list(words)
    for at in rng.sample(range(len(words)), n_changed):
        changed[at] = rng.choice(known)
    return " ".join(changed)


def exact(texts: list[str]) -> frozenset[int]:
    """The exact search of `ifdkit.findings.near`."""
    return frozenset(index for group in near.near_duplicates(texts) for index in group)


def sketched(texts: list[str], max_candidates: int | None = None) -> frozenset[int]:
    """MinHash and LSH; a text with `max_candidates` or more is not added to the index."""
    from datasketch import MinHash, MinHashLSH

    words = Vocabulary()
    sets = [near.shingles(words.ids(text, near.MAX_WORDS)) for text in texts]
    sketches: Iterator[MinHash] = MinHash.generator(
        (one.tolist() for one in sets),
        num_perm=BANDS * ROWS,
        seed=SEED + 1,
        hashfunc=lambda shingle: (shingle * 0x9E3779B97F4A7C15 >> 32) & 0xFFFFFFFF,
    )
    lsh = MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS))
    found: set[int] = set()
    for index, sketch in enumerate(sketches):
        candidates = sorted(lsh.query(sketch))
        for other in candidates[:max_candidates]:
            pair = {index, other}
            if pair <= found or near.jaccard(sets[index], sets[other]) < near.SIMILARITY:
                continue
            found |= pair
        if max_candidates is None or len(candidates) < max_candidates:
            lsh.insert(index, sketch, check_duplication=False)
    return frozenset(found)


def sketched_bounded(texts: list[str]) -> frozenset[int]:
    """MinHash and LSH with the limit of comparisons per text of the exact search."""
    return sketched(texts, near.MAX_CANDIDATES)


def measure(
    make: Callable[[int], list[str]], n: int, search: Callable[[list[str]], frozenset[int]]
) -> Cost:
    """Time and peak memory of one search."""
    texts = make(n)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.process_time()
    found = search(texts)
    cpu_s = time.process_time() - begin
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Cost(cpu_s, (after - before) * 1024, found)


METHODS = {
    "exact prefix filter (ours)": exact,
    f"datasketch, {BANDS} bands of {ROWS}": sketched,
    f"datasketch, at most {near.MAX_CANDIDATES} comparisons per text": sketched_bounded,
}


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--prose", type=int, default=20_000, help="texts")
    parser.add_argument("--template", type=int, default=2_000, help="texts")
    parser.add_argument("--output", type=Path, default=Path("reports"), help="folder")
    arguments = parser.parse_args()
    lines = [
        "| texts | method | seconds | memory | texts found | missed |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for make, n in ((prose, arguments.prose), (template, arguments.template)):
        all_found: frozenset[int] = frozenset()
        for name, search in METHODS.items():
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                cost = pool.submit(measure, make, n, search).result()
            all_found = all_found or cost.found
            lines.append(
                f"| {n:,}, {make.__name__} | {name} | {cost.cpu_s:.1f}"
                f" | {cost.bytes_peak / 2**20:,.0f} MiB | {len(cost.found):,}"
                f" | {len(all_found - cost.found):,} |"
            )
            print(lines[-1], file=sys.stderr)
    chance = 1 - (1 - near.SIMILARITY**ROWS) ** BANDS
    about = "\n".join(f"- **{make.__name__}**: {make.__doc__}" for make in (prose, template))
    text = [
        "# Near duplicates: exact search or sketches",
        f"Made by `{' '.join(['python -m benchmarks.near', *sys.argv[1:]])}`"
        f" on one core of {machine()}. Synthetic texts, seed {SEED}; similarity"
        f" {near.SIMILARITY:g} of word 3-grams. {BANDS} bands of {ROWS} propose a pair of exactly"
        f" that similarity with probability {chance:.4f}.",
        about,
        "\n".join(lines),
    ]
    path = arguments.output / "near.md"
    path.write_text("\n\n".join(text) + "\n", encoding="utf-8")
    print(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
