"""What this machine has, found once at start, and the bounds it sets on us. Called by `app` and `cli`."""

import importlib.util
import resource
import shutil
import sys
from pathlib import Path

from roost.engines.base import MODULES, PROGRAMS, Machine
from roost.logs import log

_GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd")


def find_machine() -> Machine:
    """Programs on the PATH, importable modules, whether there is a GPU."""
    programs = {name: path for name in PROGRAMS if (path := shutil.which(name)) is not None}
    modules = frozenset(name for name in MODULES if importlib.util.find_spec(name) is not None)
    has_gpu = any(Path(device).exists() for device in _GPU_DEVICES)
    return Machine(python=sys.executable, programs=programs, modules=modules, has_gpu=has_gpu)


def raise_open_files_limit() -> int:
    """Soft limit of open files up to the hard one: each request may hold two sockets. Returns the new limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            return hard
        except (OSError, ValueError) as error:
            log.warning("open files stay limited to %d: %s", soft, error)
    return soft
