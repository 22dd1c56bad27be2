"""The process that :mod:`text_hits` starts: a line of JSON with texts in, a line with hits out."""

from __future__ import annotations

import json
import sys
from functools import cache

from ifdkit.auditing.checking import OfTexts
from ifdkit.auditing.rules import RULES
from ifdkit.auditing.text_hits import hits_of_examples
from ifdkit.findings.checks import TextCheck


@cache
def checks_by_rule() -> dict[str, TextCheck]:
    """Rule → its check, of the rules about single texts."""
    return {rule.name: rule.check.text_check for rule in RULES if isinstance(rule.check, OfTexts)}


def main() -> None:
    """Answer until the parent closes the stream."""
    for line in sys.stdin.buffer:
        job = json.loads(line)
        checks = {name: checks_by_rule()[name] for name in job["rules"]}
        found = hits_of_examples(checks, job["instructions"], job["responses"])
        answer = {
            name: (hits.indices.tolist(), list(hits.quotes.values()))
            for name, hits in found.items()
        }
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
