"""A tmux server of the test's own: nobody's sessions are seen or touched, and nothing of it is left."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

TMUX = shutil.which("tmux")
needs_tmux = pytest.mark.skipif(
    TMUX is None and not os.environ.get("ROOST_REQUIRE_TMUX"), reason="tmux is not installed (apt install tmux)"
)


@contextmanager
def own_tmux() -> Iterator[dict[str, str]]:
    """The variables that lead to it; its server ends with the block. Its folder has a short name: the socket's path
    is bounded."""
    folder = Path(tempfile.mkdtemp(prefix="roost-tmux-"))
    try:
        yield {"TMUX_TMPDIR": str(folder)}
    finally:
        env = {**os.environ, "TMUX_TMPDIR": str(folder)}
        subprocess.run([str(TMUX), "kill-server"], env=env, check=False, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def tmux(*words: str) -> str:
    """What a tmux command prints, on the server of the present environment."""
    return subprocess.run([str(TMUX), *words], check=True, capture_output=True, text=True).stdout
