"""The only logger. Secrets never reach it: callers log key names, never keys."""

import logging
import sys

log = logging.getLogger("roost")


def to_stderr(level: str = "info") -> None:
    """Plain lines on stderr with time and level; called once by the CLI."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    log.handlers[:] = [handler]
    log.setLevel(level.upper())
    log.propagate = False
