"""What is seen in a folder of models: which files, by what they are known again, and which still grow."""

import os
from pathlib import Path

import pytest

from roost import clock
from roost.host.models_dir import MAX_DEPTH, REST_S, resting, see


def put(folder: Path, name: str, text: str = "GGUF", age_s: float = 60.0) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    moment = clock.wall() - age_s
    os.utime(path, (moment, moment))
    return path


def test_models_below_the_folder(tmp_path: Path) -> None:
    for name in ("a.gguf", "x/y/b.gguf", "s-00001-of-00002.gguf", "s-00002-of-00002.gguf", "mmproj.gguf", "c.txt"):
        put(tmp_path, name)
    put(tmp_path, ".hidden/d.gguf")
    put(tmp_path, "half-00002-of-00002.gguf")
    assert sorted(see(str(tmp_path)).models) == ["a.gguf", "s-00001-of-00002.gguf", "x/y/b.gguf"]
    assert sorted(resting(str(tmp_path))) == ["a.gguf", "s-00001-of-00002.gguf", "x/y/b.gguf"]


def test_a_file_written_to_just_now_still_grows(tmp_path: Path) -> None:
    put(tmp_path, "old.gguf", age_s=REST_S + 1)
    put(tmp_path, "new.gguf", age_s=0)
    put(tmp_path, "s-00001-of-00002.gguf")
    put(tmp_path, "s-00002-of-00002.gguf", age_s=0)
    assert see(str(tmp_path)).growing == {"new.gguf", "s-00001-of-00002.gguf"}
    assert resting(str(tmp_path)) == ["old.gguf"]


def test_another_file_of_the_name_is_known_as_such(tmp_path: Path) -> None:
    path = put(tmp_path, "a.gguf")
    before = see(str(tmp_path)).models["a.gguf"]
    assert see(str(tmp_path)).models["a.gguf"] == before
    put(tmp_path, "a.gguf", "GGUF+")
    changed = see(str(tmp_path)).models["a.gguf"]
    moved = put(tmp_path, "b.tmp", "GGUF+")
    moved.replace(path)
    assert len({before, changed, see(str(tmp_path)).models["a.gguf"]}) == 3


def test_links_are_followed_and_circles_end(tmp_path: Path) -> None:
    put(tmp_path, "blobs/one")
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "a.gguf").symlink_to(tmp_path / "blobs" / "one")
    (folder / "again").symlink_to(folder)
    (folder / "broken.gguf").symlink_to(tmp_path / "nowhere")
    assert sorted(see(str(folder)).models) == ["a.gguf"]


def test_what_lies_too_deep_is_not_looked_for(tmp_path: Path) -> None:
    put(tmp_path, "d/" * MAX_DEPTH + "a.gguf")
    put(tmp_path, "d/" * (MAX_DEPTH + 1) + "b.gguf")
    assert [path.rpartition("/")[2] for path in see(str(tmp_path)).models] == ["a.gguf"]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        see(str(tmp_path / "no"))
