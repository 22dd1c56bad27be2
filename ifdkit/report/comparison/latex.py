"""The main table for a paper: booktabs, ready for `\\input`, whatever characters the names have."""

from __future__ import annotations

from ifdkit.comparison.result import Summary
from ifdkit.format import correlation, interval, number, p_value, percent, plural, signed
from ifdkit.report.comparison.wording import metric_of
from ifdkit.stats.paired import MetricChange
from ifdkit.visible import one_line

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    "−": "$-$",
    "–": "--",
    "—": "---",
    "→": r"$\rightarrow$",
    "÷": r"$\div$",
    "…": r"\ldots{}",
    "↵": r"\textbackslash{}n",
}
# `?` and `!` before a grave accent, and hyphens in a row, are ligatures in TeX fonts.
_LIGATURES = {"--": "-{}-", ",,": ",{},"}


def latex(text: str, limit: int = 300) -> str:
    """`text` escaped for LaTeX with T1 fonts, any engine.

    Letters beyond Latin, on which pdflatex stops, are written as their code point.
    """
    shown = one_line(text, limit)
    for run, apart in _LIGATURES.items():
        shown = shown.replace(run, apart.replace("{}", "\0"))
    return "".join(_letter(c) for c in shown)


def _letter(c: str) -> str:
    if c == "\0":  # set by `latex`: `one_line` leaves none in a text
        return "{}"
    if c in _ESCAPES:
        return _ESCAPES[c]
    return c if ord(c) < 0x180 else f"U+{ord(c):04X}"


def render_latex(summary: Summary) -> str:
    """A `table` environment that needs `\\usepackage{booktabs}`."""
    rows = "\n".join(_row(field, metric) for field, metric in summary.metrics.items())
    before, after = latex(summary.name_before, 80), latex(summary.name_after, 80)
    model = summary.before.model if summary.before else "an unknown model"
    caption = (
        f"{before} (before) and {after} (after): median and mean of each side over"
        f" {latex(plural(summary.pairing.n_pairs, 'pair'))}; median paired change with its"
        " 95\\,\\% confidence interval; $p$ of the Wilcoxon signed-rank test after Holm's"
        " correction; matched-pairs rank-biserial correlation $r$; share of pairs that rose."
        f" Scored with {latex(model, 80)}."
    )
    lengths = " ".join(
        latex(one.sentence, 600) for one in summary.length_control.values() if one.sentence
    )
    return f"""\
% Made by ifdkit {_comment(summary.version)}: {_comment(summary.command)}
% Needs \\usepackage[T1]{{fontenc}}, \\usepackage{{textcomp}} and \\usepackage{{booktabs}}
\\begin{{table}}
  \\centering
  \\small
  \\begin{{tabular}}{{lrrrrrrrrr}}
    \\toprule
    & \\multicolumn{{2}}{{c}}{{Before}} & \\multicolumn{{2}}{{c}}{{After}}
      & \\multicolumn{{2}}{{c}}{{Change}} & & & \\\\
    \\cmidrule(lr){{2-3}} \\cmidrule(lr){{4-5}} \\cmidrule(lr){{6-7}}
    Metric & median & mean & median & mean & median & 95\\,\\% CI & $p$ & $r$ & rose \\\\
    \\midrule
{rows}
    \\bottomrule
  \\end{{tabular}}
  \\caption{{{caption}{" " if lengths else ""}{lengths}}}
\\end{{table}}
"""


def _comment(text: str) -> str:
    """Text after a `%`, which ends with the line."""
    return one_line(text, 300)


def _row(field: str, metric: MetricChange) -> str:
    change = metric.change
    cells = (
        metric_of(field).label,
        number(metric.before.median),
        number(metric.before.mean),
        number(metric.after.median),
        number(metric.after.mean),
        signed(change.median),
        interval(change.median_ci95),
        p_value(change.p_holm),
        correlation(change.effect),
        percent(change.share_rose),
    )
    return f"    {' & '.join(latex(cell) for cell in cells)} \\\\"
