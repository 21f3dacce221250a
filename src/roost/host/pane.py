"""Run inside a tmux pane as a program of its own: waits until roost is ready, reads its job, becomes it.

Standard library only, and no import of roost: it starts in a few milliseconds. The job's file holds the environment,
so it is removed before anything else happens.
"""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

KEPT = ("TMUX", "TMUX_PANE", "TERM")
"""What the pane itself says; all else is as roost has it, whatever the tmux server was started with."""


def main(path: str) -> None:
    file = Path(path)
    job = json.loads(file.read_text())
    file.unlink()
    subprocess.run([job["gate"][0], "wait-for", job["gate"][1]], check=True)
    env = {**job["env"], **{name: os.environ[name] for name in KEPT if name in os.environ}}
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if job["cwd"]:
        os.chdir(job["cwd"])
    os.execve(job["argv"][0], job["argv"], env)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"{error}")
