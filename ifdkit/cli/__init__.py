"""The command line."""

INTERRUPTED = "ifdkit: Interrupted; progress saved. Re-run the same command to resume.\n"
"""Here, because Ctrl-C must be reported before any other module is imported."""
