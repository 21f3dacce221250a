"""Where the bench keeps what it builds and installs, and how it gets there.

Owns the folder ROOST_BENCH_HOME (default bench/.build): the two C programs, one virtual environment for each
peer that comes from pip, and the running peers' files. Called by proxies.py and check.py. Never installs unasked.
"""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parent.parent
REPO = BENCH.parent
HOME = Path(os.environ.get("ROOST_BENCH_HOME") or BENCH / ".build").resolve()
RUN = HOME / "run" / str(os.getpid())  # its own, since two runs may share the home

FROM_PIP = {"vllm-router": "vllm-router", "sglang-router": "sglang-router", "litellm": "litellm[proxy]"}
FROM_APT = {"nginx": "nginx-light", "haproxy": "haproxy"}


class Unavailable(Exception):
    """A peer cannot be had here; the text says why and what would help."""


def tidy() -> None:
    """Removes what runs that are over have left; the last one's logs stay until the next run starts."""
    RUN.mkdir(parents=True, exist_ok=True)
    for folder in RUN.parent.iterdir():
        if folder.name.isdigit() and not Path("/proc", folder.name).exists():
            with contextlib.suppress(OSError):
                shutil.rmtree(folder)


def compiled(name: str) -> Path:
    """The program built from NAME.c; its name tells the source, so checkouts that share the home get their own."""
    source = BENCH / f"{name}.c"
    digest = hashlib.sha256(source.read_bytes() + (BENCH / "wire.h").read_bytes()).hexdigest()[:8]
    program = HOME / f"{name}-{digest}"
    if program.exists():
        return program
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise SystemExit("The bench needs a C compiler: install gcc.")
    HOME.mkdir(parents=True, exist_ok=True)
    fresh = program.with_suffix(f".{os.getpid()}")
    subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-o", str(fresh), str(source)], check=True)
    fresh.replace(program)
    return program


def program_of(peer: str) -> str:
    """Path of an installed peer's program; raises Unavailable with the way to get it."""
    if peer in FROM_PIP:
        own = HOME / "peers" / peer / "bin" / peer
        found = str(own) if own.exists() else None
    else:
        found = shutil.which(peer, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if found is None:
        raise Unavailable(f"{peer} is not installed; --install gets it")
    return found


def install(peer: str) -> None:
    """Installs a peer by pip into its own environment, or by apt-get; raises Unavailable when that fails."""
    try:
        program_of(peer)
        return
    except Unavailable:
        print(f"installing {peer} ...", flush=True)
    if peer in FROM_PIP:
        venv = HOME / "peers" / peer
        steps = [
            [sys.executable, "-m", "venv", str(venv)],
            [str(venv / "bin" / "pip"), "install", "-q", "--disable-pip-version-check", FROM_PIP[peer]],
        ]
    elif shutil.which("apt-get") is None:
        raise Unavailable(f"{peer}: no apt-get here; install {peer} by hand")
    else:
        steps = [["apt-get", "update", "-q"], ["apt-get", "install", "-qy", "--no-install-recommends", FROM_APT[peer]]]
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode:
            words = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no message"]
            raise Unavailable(f"{peer}: `{' '.join(step)}` ended with {done.returncode}: {words[0]}")


def version_of(peer: str) -> str:
    """The installed version, as the peer or its package tells it; empty when unknown."""
    if peer in FROM_PIP:
        package = peer.replace("-", "_")
        found = next((HOME / "peers" / peer / "lib").glob(f"*/site-packages/{package}-*.dist-info"), None)
        return found.name.removesuffix(".dist-info").rpartition("-")[2] if found else ""
    done = subprocess.run([program_of(peer), "-v"], capture_output=True, text=True, check=False)
    words = (done.stdout + done.stderr).replace("/", " ").split()
    return next((w for w in words if w[:1].isdigit()), "")


def checkout() -> str:
    """This checkout's commit, with + when files differ from it; `this checkout` without git."""
    git = ["git", "-C", str(REPO), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        done = subprocess.run(git, capture_output=True, text=True, check=False)
    except OSError:
        return "this checkout"
    return done.stdout.strip() or "this checkout"
