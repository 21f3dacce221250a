"""Names of things, and the file-safe forms of them. Pure."""

import hashlib
import re

_UNSAFE = re.compile(r"[^a-z0-9]+")


def slug(name: str) -> str:
    """A name for files and sessions: readable part plus a short hash, so that two names never meet.

    `meta-llama/Llama-3.2-1B` -> `meta-llama-llama-3-2-1b-5f1c2a`; no dots, slashes or colons.
    """
    readable = _UNSAFE.sub("-", name.lower()).strip("-")[:48] or "x"
    return f"{readable}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def replica_id(model: str, index: int = 0) -> str:
    """The replica's name in logs, plans and the API: `a/0`."""
    return f"{model}/{index}"
