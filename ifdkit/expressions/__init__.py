"""The expressions of `--where`: comparisons of named values, as in `ifd < 1 and lang == 'de'`.

    nodes          what an expression is made of
    syntax         text → expression
    evaluation     expression and columns → true, false or unknown for every row

An expression is parsed into dataclasses and never run as code.
"""
