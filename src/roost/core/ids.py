"""Names of things, and the file-safe forms of them. Pure."""

import hashlib
import re

_SESSION = re.compile(r"[A-Za-z0-9_-]{1,100}")
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


def session_name(prefix: str, name: str) -> str:
    """A tmux session's name: as written where tmux leaves it alone, else made safe with a short hash.

    `kvcached-llama`; `org/Llama-3.2` -> `kvcached-org-llama-3-2-1b2c3d`, for a dot or colon would end a target.
    """
    return f"{_safe(prefix)}{_safe(name)}"


def _safe(text: str) -> str:
    return text if not text or _SESSION.fullmatch(text) else slug(text)
