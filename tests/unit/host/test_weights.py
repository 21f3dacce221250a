"""Sizes of weights on disk, and the head of a GGUF file."""

from pathlib import Path

from roost.host.tiny_model import Shape, write_tiny_model
from roost.host.weights import gguf_facts, size_of


def put(path: Path, size: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return path


def test_a_file_and_the_other_parts_of_a_split_one(tmp_path: Path) -> None:
    one = put(tmp_path / "a.gguf", 10)
    for number in (1, 2, 3):
        put(tmp_path / f"b[1]-0000{number}-of-00003.gguf", 5)
    put(tmp_path / "b[1]-00001-of-00004.gguf", 100)
    assert size_of(str(one)) == 10
    assert size_of(str(tmp_path / "b[1]-00001-of-00003.gguf")) == 15


def test_a_folder_counts_one_format_only(tmp_path: Path) -> None:
    put(tmp_path / "m/model-1.safetensors", 7)
    put(tmp_path / "m/model-2.safetensors", 7)
    put(tmp_path / "m/pytorch_model.bin", 15)
    put(tmp_path / "m/tokenizer.json", 1000)
    assert size_of(str(tmp_path / "m")) == 14
    put(tmp_path / "n/pytorch_model.bin", 15)
    assert size_of(str(tmp_path / "n")) == 15


def test_what_is_not_here_is_not_known(tmp_path: Path) -> None:
    put(tmp_path / "empty/readme.txt", 3)
    for weights in (None, "org/model", str(tmp_path / "gone.gguf"), str(tmp_path / "empty")):
        assert size_of(weights) is None
        assert gguf_facts(weights) is None


def test_head_of_a_real_gguf_file(tmp_path: Path) -> None:
    path, shape = tmp_path / "tiny.gguf", Shape(hidden=128, layers=3, context=512)
    write_tiny_model(path, seed=1, shape=shape)
    facts = gguf_facts(str(path))
    assert facts is not None
    assert (facts.layers, facts.context) == (3, 512)
    assert facts.kv_numbers_per_token == 3 * 1 * shape.head_size  # one head of keys in each layer


def test_files_that_are_cut_or_lie_are_not_believed(tmp_path: Path) -> None:
    whole = tmp_path / "tiny.gguf"
    write_tiny_model(whole, seed=1)
    head = whole.read_bytes()[:400]
    lies = {"cut": head[:60], "other": b"NOPE" + head[4:], "huge": head[:24] + b"\xff" * 8 + head[32:], "none": b""}
    for name, data in lies.items():
        path = tmp_path / f"{name}.gguf"
        path.write_bytes(data)
        assert gguf_facts(str(path)) is None, name
