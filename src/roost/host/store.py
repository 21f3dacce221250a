"""The state directory of one instance: lock, records of engines, log files, the admin socket's place.

Everything here survives a kill -9: records are replaced atomically, the lock goes with its process. A record that
cannot be read counts as absent, with a word in the log. Nothing is synced to the disk: after a power cut no engine
is alive to be adopted.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TextIO

from roost.core.errors import StateDirInUse
from roost.core.ids import slug
from roost.logs import log

_READABLE = 32
"""Characters of an instance's name before its hash."""
MAX_SOCKET_PATH = 100  # sun_path holds 108 bytes


def state_home(env: Mapping[str, str]) -> Path:
    """Where all instances live: $XDG_STATE_HOME/roost, by default ~/.local/state/roost."""
    base = env.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "roost"


def instance_name(name: str | None, config_path: str) -> str:
    """The configured name, or the end of the config's path in whole words, with a hash of all of it."""
    if name:
        return name
    words = re.findall("[a-z0-9]+", config_path.removesuffix(".yaml").lower()) or ["x"]
    short = slug(config_path).rpartition("-")[2]
    while len(words) > 1 and len("-".join(words)) > _READABLE:
        words.pop(0)
    return f"{'-'.join(words)[-_READABLE:]}-{short}"


class Records(Protocol):
    """What a replica remembers of its engine for the roost after this one."""

    def write(self, replica: str, record: Mapping[str, Any]) -> None: ...
    def forget(self, replica: str) -> None: ...
    def read(self, replica: str) -> dict[str, Any] | None: ...


class NoRecords:
    """Implements `Records` for engines that run elsewhere: no later roost takes them up, so no disk is needed."""

    def write(self, replica: str, record: Mapping[str, Any]) -> None:
        """Nothing is remembered."""

    def forget(self, replica: str) -> None:
        """Nothing was remembered."""

    def read(self, replica: str) -> dict[str, Any] | None:
        return None


class Store:
    """Implements `Records`. The directory, locked from `lock` to the end of the process or `close`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock: TextIO | None = None

    def lock(self) -> None:
        """Make the directory ours. Raises StateDirInUse."""
        for folder in (self.root, self.root / "logs", self.root / "replicas"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = (self.root / "lock").open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            pid = file.read().strip() or "unknown"
            file.close()
            raise StateDirInUse(
                f"Another roost (pid {pid}) uses {self.root}. Stop it with `roost down`, or give this one its own "
                "server.name or --state-dir."
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        self._lock = file

    def close(self) -> None:
        """Give the directory up."""
        with contextlib.suppress(FileNotFoundError):
            (self.root / "server.json").unlink()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def log_path(self, replica: str) -> Path:
        return self.root / "logs" / f"{slug(replica)}.log"

    def admin_socket(self) -> Path:
        """Path for the admin socket, in a directory that only we can enter."""
        path = self.root / "admin.sock"
        if len(str(path)) <= MAX_SOCKET_PATH:
            return path
        digest = hashlib.sha256(str(self.root).encode()).hexdigest()[:12]
        folder = Path(tempfile.gettempdir()) / f"roost-{os.getuid()}-{digest}"
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_uid != os.getuid():
            raise StateDirInUse(f"{folder} belongs to another user; remove it or set --state-dir to a shorter path.")
        folder.chmod(0o700)
        return folder / "admin.sock"

    def write_server(self, facts: Mapping[str, Any]) -> None:
        """What the command line needs to find us."""
        _replace(self.root / "server.json", facts)

    def write_holds(self, holds: list[dict[str, Any]]) -> None:
        """Remember what is held for its owner. Raises OSError."""
        _replace(self.root / "holds.json", {"holds": holds})

    def read_holds(self) -> list[dict[str, Any]]:
        """What was remembered, as far as it can be read."""
        found = (_read(self.root / "holds.json") or {}).get("holds")
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []

    def write(self, replica: str, record: Mapping[str, Any]) -> None:
        """Remember a running engine."""
        _replace(self.root / "replicas" / f"{slug(replica)}.json", {**record, "replica": replica})

    def forget(self, replica: str) -> None:
        """The engine is gone."""
        with contextlib.suppress(FileNotFoundError):
            (self.root / "replicas" / f"{slug(replica)}.json").unlink()

    def read(self, replica: str) -> dict[str, Any] | None:
        """The record of a replica, if there is a readable one."""
        return _read(self.root / "replicas" / f"{slug(replica)}.json")

    def records(self) -> list[dict[str, Any]]:
        """All readable records: also of models that the config no longer has."""
        found = [_read(path) for path in sorted((self.root / "replicas").glob("*.json"))]
        return [record for record in found if record is not None]


def _read(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        log.warning("the record %s cannot be read and is ignored: %s", path, error)
        return None
    return value if isinstance(value, dict) else None


def _replace(path: Path, value: Mapping[str, Any]) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value, indent=1))
    temporary.chmod(0o600)
    temporary.replace(path)


def digest(value: Any) -> str:
    """A short fingerprint of anything JSON can hold; environments may hold secrets, a hash does not show them."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:24]
