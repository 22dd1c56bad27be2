"""Every metric on request by its definition, in plain Python: slow, and no code of the package.

`REFERENCES` maps a metric to a function of a Case.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Case:
    """What was measured of one response, as lists of floats."""

    instruction: str
    response: str
    direct: list[float]
    conditional: list[float]
    demonstrated: list[float]
    reference: list[float]
    direct_statistics: list[tuple[float, float, float]]
    """Rank, entropy and spread of each token."""
    conditional_statistics: list[tuple[float, float, float]]
    limit: float = 0.5
    vocabulary: int = 400
    noisy_direct: list[list[float]] = field(default_factory=list)
    """NLLs of each noisy copy."""
    noisy_conditional: list[list[float]] = field(default_factory=list)


def mean(values: list[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def changes(case: Case) -> list[float]:
    """From the last token back, so that a first token without a direct NLL does not matter."""
    pairs = zip(reversed(case.conditional), reversed(case.direct), strict=False)
    return [c - d for c, d in pairs]


def s_ifd(case: Case) -> float | None:
    average = mean([one for one in changes(case) if abs(one) > case.limit])
    return None if average is None else math.exp(average)


def informative_share(case: Case) -> float | None:
    return mean([float(abs(one) > case.limit) for one in changes(case)])


def noisy_s_ifd(case: Case) -> list[float]:
    """S-IFD of each copy, 1 for one without informative tokens; empty if none has any."""
    copies = []
    for d, c in zip(case.noisy_direct, case.noisy_conditional, strict=True):
        pairs = zip(reversed(c), reversed(d), strict=False)
        copies.append(mean([a - b for a, b in pairs if abs(a - b) > case.limit]))
    if all(one is None for one in copies):
        return []
    return [1.0 if one is None else math.exp(one) for one in copies]


def deviation(values: list[float]) -> float | None:
    middle = mean(values)
    if middle is None:
        return None
    return math.sqrt(math.fsum((one - middle) ** 2 for one in values) / len(values))


def smoothed_ifd(case: Case) -> float | None:
    pairs = zip(case.noisy_direct, case.noisy_conditional, strict=True)
    return mean([math.exp((mean(c) or 0) - (mean(d) or 0)) for d, c in pairs])


def lowest(values: list[float]) -> float | None:
    n = max(1, len(values) * 20 // 100)
    return mean(sorted(values)[:n])


def min_k_plus_plus(case: Case) -> float | None:
    rows = zip(case.direct, case.direct_statistics, strict=True)
    return lowest([(-nll + entropy) / spread for nll, (_, entropy, spread) in rows if spread > 0])


def ranks(case: Case) -> list[float]:
    return [min(rank, 100.0) for rank, _, _ in case.conditional_statistics]


def rank_surprisal(case: Case) -> float | None:
    total = math.fsum(case.conditional)
    return math.fsum(ranks(case)) / total if total > 0 else None


def high_entropy_sum(case: Case) -> float | None:
    bits = sorted(entropy / math.log(2) for _, entropy, _ in case.conditional_statistics)
    if not bits:
        return None
    place = 0.995 * (len(bits) - 1)
    low = int(place)
    high = min(low + 1, len(bits) - 1)
    limit = bits[low] + (place - low) * (bits[high] - bits[low])
    return math.fsum(one for one in bits if one >= limit - 1e-9)


def uncertain_difficulty(case: Case) -> float | None:
    values = []
    for nll, (_, entropy, _) in zip(case.conditional, case.conditional_statistics, strict=True):
        weight = max(0.0, 1 - entropy / math.log(case.vocabulary))
        values.append(weight / (1 + math.exp(-nll)))
    return mean(values)


def miwv(case: Case) -> float | None:
    n = min(len(case.demonstrated), len(case.conditional))
    a, b = mean(case.demonstrated[:n]), mean(case.conditional[:n])
    return None if a is None or b is None else a - b


def learnability(case: Case) -> float | None:
    own, other = mean(case.conditional), mean(case.reference)
    return None if not own or other is None else (own - other) / own


def reducible_loss(case: Case) -> float | None:
    own, other = mean(case.conditional), mean(case.reference)
    return None if own is None or other is None else own - other


def words(text: str) -> list[str]:
    """Runs of letters and digits, which an apostrophe or a hyphen may join."""
    found, word = [], ""
    for i, sign in enumerate(text):
        joins = sign in "'’-" and word and i + 1 < len(text) and text[i + 1].isalnum()
        if sign.isalnum() or joins:
            word += sign
        elif word:
            found.append(word)
            word = ""
    return [*found, word] if word else found


def mtld(case: Case) -> float | None:
    found = [word.lower() for word in words(case.response)]
    if len(found) < 10:
        return None
    values = []
    for order in (found, list(reversed(found))):
        factors, begin = 0.0, 0
        for end in range(1, len(order) + 1):
            part = order[begin:end]
            ratio = len(set(part)) / len(part)
            if ratio <= 0.72:
                factors, begin = factors + 1, end
            elif end == len(order):
                factors += (1 - ratio) / (1 - 0.72)
        if factors == 0:
            return None
        values.append(len(order) / factors)
    return mean(values)


def distinct_2(case: Case) -> float | None:
    found = [word.lower() for word in words(case.response)]
    pairs = [(found[i], found[i + 1]) for i in range(len(found) - 1)]
    return len(set(pairs)) / len(pairs) if pairs else None


def compression_ratio(case: Case) -> float | None:
    data = case.response.encode()
    if not data:
        return None
    compressor = zlib.compressobj(level=9, wbits=-15)
    return len(data) / len(compressor.compress(data) + compressor.flush())


def reading_grade(case: Case) -> float | None:
    found = words(case.response)
    if not found:
        return None
    sentences, rest = 0, case.response
    parts, part = [], ""
    for i, sign in enumerate(rest):
        part += sign
        ends = sign in ".!?…。！？" and (i + 1 == len(rest) or rest[i + 1].isspace())
        if ends or part.endswith("\n\n"):
            parts.append(part)
            part = ""
    sentences = sum(bool(words(one)) for one in [*parts, part])
    letters = sum(len(word) for word in found)
    return 4.71 * letters / len(found) + 0.5 * len(found) / max(1, sentences) - 21.43


def length_ratio(case: Case) -> float | None:
    a, b = len(case.response.split()), len(case.instruction.split())
    return a / b if a and b else None


REFERENCES: dict[str, Callable[[Case], float | None]] = {
    "s_ifd": s_ifd,
    "informative_share": informative_share,
    "ifd_smoothed": smoothed_ifd,
    "s_ifd_smoothed": lambda case: mean(noisy_s_ifd(case)),
    "s_ifd_deviation": lambda case: deviation(noisy_s_ifd(case)),
    "mean_logprob": lambda case: None if not case.conditional else -(mean(case.conditional) or 0),
    "min_k": lambda case: lowest([-one for one in case.direct]),
    "min_k_plus_plus": min_k_plus_plus,
    "mean_rank": lambda case: mean(ranks(case)),
    "rank_surprisal": rank_surprisal,
    "mean_entropy": lambda case: mean([one[1] for one in case.conditional_statistics]),
    "high_entropy_sum": high_entropy_sum,
    "uncertain_difficulty": uncertain_difficulty,
    "miwv": miwv,
    "nll_response_reference": lambda case: mean(case.reference),
    "reducible_loss": reducible_loss,
    "learnability": learnability,
    "mtld": mtld,
    "distinct_2": distinct_2,
    "compression_ratio": compression_ratio,
    "reading_grade": reading_grade,
    "length_ratio": length_ratio,
}
"""The shares of code, formulas, lists and markup have texts with known answers instead."""
