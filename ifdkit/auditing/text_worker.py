"""The program of a process that checks texts: gets names of rules and texts, answers with hits.

`python -m ifdkit.auditing.text_worker FD`, started by `text_hits`.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cache

from ifdkit.auditing.checking import OfTexts
from ifdkit.auditing.rules import RULES
from ifdkit.auditing.text_hits import hits_of_examples
from ifdkit.engine.programs import own_connection
from ifdkit.findings.checks import TextCheck


@cache
def checks_by_rule() -> dict[str, TextCheck]:
    """Rule → its check, of the rules about single texts."""
    return {rule.name: rule.check.text_check for rule in RULES if isinstance(rule.check, OfTexts)}


def main() -> None:
    """Answer until the connection ends."""
    connection = own_connection()
    with suppress(EOFError, OSError):
        while True:
            names, instructions, responses = connection.recv()
            checks = {name: checks_by_rule()[name] for name in names}
            connection.send(hits_of_examples(checks, instructions, responses))


if __name__ == "__main__":
    main()
