"""The flags of commands that ask an oracle."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import click

from ifdkit.cli.options import Flag, option, together

oracle_address_options = together(
    option("--base-url", trusted=True, help="URL of an OpenAI-compatible server, such as"
           " http://localhost:8000/v1."),
    option("--api-key-env", trusted=True, help="Environment variable that contains the key of"
           " --base-url, or off.  [default: OPENAI_API_KEY for api.openai.com, none for others]"),
)  # fmt: skip
"""Where the oracle is, and the key for it."""


def oracle_limit_options(max_tokens: str) -> Flag:
    """How the oracle samples, and the limits on calls and cost; `max_tokens` is the default."""
    return together(
        option("--temperature", type=float, help="Sampling temperature of the oracle."
               "  [default: 0]"),
        option("--max-tokens", type=int, help="Maximum completion tokens per call."
               f"  [default: {max_tokens}]"),
        option("--timeout", type=float, help="Seconds per attempt.  [default: 120]"),
        option("--retries", type=int, help="Attempts after the first.  [default: 4]"),
        option("--concurrency", type=int, help="Maximum calls in flight; 1 with the local oracle."
               "  [default: 8]"),
        option("--requests-per-minute", type=int, help="Maximum requests in any minute."),
        option("--tokens-per-minute", type=int, help="Maximum tokens in any minute."),
        option("--max-tokens-total", type=int, help="Stop cleanly before exceeding this many tokens"
               " in this run."),
        option("--max-cost", type=float, help="Stop cleanly before exceeding this cost in this run;"
               " needs both prices."),
        option("--price-in", type=float, help="Price per million prompt tokens."),
        option("--price-out", type=float, help="Price per million completion tokens."),
    )  # fmt: skip


def check_key(context: click.Context, flags: Mapping[str, Any]) -> None:
    """Refuse a key that was named in one place for a server that is named in a stronger one.

    A user's file may name a server and its key.  With another --base-url, that key must not follow.
    """
    from ifdkit.oracle.options import BASE_URL_VARIABLE

    if flags["api_key_env"] in (None, "off"):
        return
    weakest_first = ("DEFAULT_MAP", "ENVIRONMENT", "COMMANDLINE")
    names = ("api_key_env", "base_url")
    key, server = (getattr(context.get_parameter_source(name), "name", "") for name in names)
    if flags["base_url"] is None:
        server = "ENVIRONMENT" if os.environ.get(BASE_URL_VARIABLE) else key
    if weakest_first.index(key) < weakest_first.index(server):
        raise click.UsageError(
            f"--api-key-env {flags['api_key_env']} was set for another server: give it together"
            " with --base-url, or --api-key-env off",
            context,
        )
