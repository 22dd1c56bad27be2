"""The flags of `ifdkit select`, and what becomes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ifdkit.cli.options import option, together

if TYPE_CHECKING:
    from ifdkit.selection.options import SelectOptions


select_options = together(
    option("--by", metavar="FIELD", help="Rank by a field of a row of scores: ifd, rifd,"
           " coherence, response_tokens, …"),
    option("--method", metavar="NAME", help="cherry, superfiltering, selective,"
           " length-controlled or random."),
    option("--top", metavar="N|N%", help="Rows to keep: a number, or a share of all rows of"
           " DATA, rounded down."),
    option("--min", type=float, help="Drop rows whose number is less."),
    option("--max", type=float, help="Drop rows whose number is more."),
    option("--lowest", is_flag=True, help="With --by: the smallest in place of the largest."),
    option("--keep-misaligned", is_flag=True, help="Keep rows whose IFD, or r-IFD, is 1 or"
           " more, where that is what is ranked by."),
    option("--diversity", is_flag=True, help="With superfiltering: of the best rows those that"
           " stand for the others."),
    option("--pool", metavar="N|N%", help="The best rows, of which --diversity chooses."
           "  [default: 20%]"),
    option("--bands", type=int, help="With length-controlled: bands of response length."
           "  [default: 10]"),
    option("--provenance", type=click.Path(path_type=Path), help="With selective: what"
           " `ifdkit reflect --select` chose.  [default: DATA.provenance.jsonl]"),
    option("--embedder", help="Folder or hub id of a sentence-embedding model."),
    option("--window", type=int, help="Response tokens that ifd_window looks at."
           "  [default: 64]"),
)  # fmt: skip
"""The flags of `ifdkit select`."""


def selection_options(flags: Mapping[str, Any]) -> SelectOptions:
    """Flags → Options; what was not given keeps its default."""
    from ifdkit.selection.options import SelectOptions

    given = {f.name: flags[f.name] for f in fields(SelectOptions) if flags.get(f.name) is not None}
    return SelectOptions(**given)
