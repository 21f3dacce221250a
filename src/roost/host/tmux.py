"""Sessions of tmux, through libtmux: made, looked at, taken away; always by exact name, never by prefix.

Blocking: each call runs tmux once, some milliseconds. Never touches the user's global options nor a session without
our mark. Called by `keepers/tmux.py` (in threads), and by the command line for roost's own session and for status.
"""

import json
import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roost.core.errors import StartError
from roost.core.ids import slug

SIZE = ("-x", "120", "-y", "30")
HISTORY = "999999"
_MARK = "@roost"
_FORMAT = "\t".join(
    f"#{{{name}}}"
    for name in ("session_name", "pane_id", "pane_pid", "pane_dead", "pane_dead_status", "pane_dead_signal", _MARK)
)
_PANE = Path(__file__).with_name("pane.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pane:
    """What runs in a session of one window. `mark` is what we wrote on it, empty for a session that is not ours."""

    session: str
    id: str
    pid: int
    dead: bool
    exit_status: int | None
    exit_signal: int | None
    mark: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to run in a session. Environment and arguments go by a file that only we can read."""

    session: str
    mark: str
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str | None
    folder: Path
    """Where that file may lie for a moment."""
    log: Path | None = None
    """What is printed is appended here, too."""


def tmux_available() -> bool:
    """Whether tmux is on the PATH."""
    return shutil.which("tmux") is not None


def attach_hint(session: str) -> str:
    """What to type to see it."""
    return f"tmux attach -t {session}"


def find(session: str) -> Pane | None:
    """The session of exactly this name; None if there is none. Its first pane stands for it."""
    return next((pane for pane in _list("-s", "-t", f"={session}:") if pane.session == session), None)


def panes() -> list[Pane]:
    """All panes of this user's server; none without tmux or a server."""
    return _list("-a") if tmux_available() else []


def run(job: Job) -> Pane:
    """Run the job in its session: a new one, or a dead one of ours. Raises StartError, also if a live one is in
    its place."""
    if not tmux_available():
        raise StartError(
            f"Session {job.session!r} needs tmux, which is not on the PATH. Install it (apt install tmux), or write "
            "launcher: process."
        )
    there = find(job.session)
    if there is not None and not (there.dead and there.mark):
        raise taken(there)
    gate = f"roost-{slug(f'{job.session} {os.getpid()}')}"
    command = _command(job, gate)
    try:
        pane = _new(job, command) if there is None else _again(there, command)
        _do("set-option", "-t", f"={job.session}:", _MARK, job.mark)
        if job.log is not None:
            _do("pipe-pane", "-t", pane, f"exec cat >> {shlex.quote(str(job.log))}")
        _do("wait-for", "-S", gate)
    except StartError:
        _do("kill-session", "-t", f"={job.session}", quiet=True)  # what waits there would wait for ever
        raise
    made = find(job.session)
    if made is None:
        raise StartError(f"The tmux session {job.session!r} ended at once. Try `tmux new-session` by hand.")
    return made


def taken(pane: Pane) -> StartError:
    """Somebody else's session has the name."""
    state = "holds a pane that has ended" if pane.dead else f"runs something else (pid {pane.pid})"
    return StartError(
        f"The tmux session {pane.session!r} exists already and {state}. Look at it ({attach_hint(pane.session)}), "
        f"end it (tmux kill-session -t ={pane.session}), or choose another name."
    )


def nudge() -> None:
    """Have tmux look after its children: tmux 3.3 misses the end of one now and then, until another one ends."""
    _do("run-shell", "true", quiet=True)


def remove(session: str, mark: str) -> None:
    """Take a dead session of ours away."""
    pane = find(session)
    if pane is not None and pane.dead and pane.mark == mark:
        _do("kill-session", "-t", f"={session}", quiet=True)


def remove_dead(mark: str) -> None:
    """Take away every dead session with this mark."""
    for pane in panes():
        if pane.dead and pane.mark == mark:
            remove(pane.session, mark)


def _new(job: Job, command: Sequence[str]) -> str:
    """History counts from a window's birth: the options are set before the one that matters is made."""
    target = f"={job.session}:"
    _do("new-session", "-d", "-s", job.session, *SIZE, "-n", "roost-begin", "sleep 60")
    _do("set-option", "-t", target, "history-limit", HISTORY)
    _do("set-option", "-t", target, "mouse", "on")
    (pane,) = _do("new-window", "-d", "-t", target, "-n", "engine", "-P", "-F", "#{pane_id}", *command)
    _do("set-option", "-w", "-t", pane, "remain-on-exit", "on")
    _do("kill-window", "-t", f"{target}roost-begin")
    return pane


def _again(there: Pane, command: Sequence[str]) -> str:
    _do("respawn-pane", "-t", there.id, *command)
    return there.id


def _command(job: Job, gate: str) -> tuple[str, ...]:
    """A small program that waits for the gate, reads the job and becomes it."""
    job.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = job.folder / f"{slug(job.session)}.json"
    file.unlink(missing_ok=True)
    wanted = {"argv": list(job.argv), "env": dict(job.env), "cwd": job.cwd, "gate": [shutil.which("tmux"), gate]}
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        json.dump(wanted, out)
    return (sys.executable, "-I", str(_PANE), str(file))


def _list(*where: str) -> list[Pane]:
    found = _tmux("list-panes", *where, "-F", _FORMAT)
    return [] if found.returncode else [_pane(line) for line in found.stdout]


def _pane(line: str) -> Pane:
    session, pane, pid, dead, status, number, mark = line.split("\t", 6)
    return Pane(
        session=session,
        id=pane,
        pid=int(pid),
        dead=dead == "1",
        exit_status=int(status) if status else None,
        exit_signal=int(number) if number else None,
        mark=mark,
    )


def _do(*words: str, quiet: bool = False) -> list[str]:
    done = _tmux(*words)
    if done.returncode and not quiet:
        said = " ".join(done.stderr) or f"status {done.returncode}"
        raise StartError(f"tmux {words[0]} failed: {said}")
    return list(done.stdout)


def _tmux(*words: str) -> Any:
    from libtmux.common import tmux_cmd  # here: most commands of the command line need no tmux

    return tmux_cmd(*words)
