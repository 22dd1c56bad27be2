"""The process that :mod:`patterns` starts: it matches untrusted patterns, and may be killed.

It reads a line of JSON with patterns and names, matches each pattern with each name in all the ways
of the libraries, and ends.  It imports the standard library only.
"""

from __future__ import annotations

import json
import re
import sys

_FORMS = (
    "{}",
    r"(.*\.)?({})$",
    r".*\.{}$",
    r"(^|.*\.){}($|\..*)",
    r"(?:^|.*?\.){}\.(?P<idx>\d+)\.",
    r"(?:{})(?:(?<=\.)|(?=\.|$))",
)
"""How peft and transformers put a pattern of a config into their own."""


def main() -> None:
    """Match all of them; a pattern that does not compile is for the library to report."""
    job = json.loads(sys.stdin.buffer.readline())
    for pattern in job["patterns"]:
        for form in _FORMS:
            try:
                compiled = re.compile(form.replace("{}", pattern))
            except (re.error, RecursionError, OverflowError):
                continue
            for name in job["names"]:
                for match in (compiled.fullmatch, compiled.match, compiled.search):
                    match(name)


if __name__ == "__main__":
    main()
