"""The tiny models as files: same arguments, same bytes; the trie of words is a sound byte-pair vocabulary."""

from pathlib import Path

import pytest

pytest.importorskip("gguf")

from roost.host.tiny_model import SPECIALS, WORDS, Shape, vocabulary, write_tiny_model


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    one = write_tiny_model(tmp_path / "1.gguf", seed=7, name="x").read_bytes()
    assert write_tiny_model(tmp_path / "2.gguf", seed=7, name="x").read_bytes() == one
    assert write_tiny_model(tmp_path / "3.gguf", seed=8, name="x").read_bytes() != one


def test_nothing_else_is_left_in_the_folder(tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "new" / "m.gguf", seed=1)
    assert list(path.parent.iterdir()) == [path]


def test_the_size_follows_the_shape(tmp_path: Path) -> None:
    small = write_tiny_model(tmp_path / "s.gguf", seed=1).stat().st_size
    wide = write_tiny_model(tmp_path / "w.gguf", seed=1, shape=Shape(hidden=128, layers=3)).stat().st_size
    assert small < 1_000_000 < wide


def test_every_merge_joins_two_tokens_into_a_third() -> None:
    words = vocabulary()
    known = set(words.tokens)
    assert len(known) == len(words.tokens)
    for merge in words.merges:
        left, right = merge.split(" ")
        assert {left, right, left + right} <= known


def test_bytes_are_all_there_and_only_words_are_said() -> None:
    words = vocabulary()
    assert len(words.tokens) % 64 == 0
    assert words.tokens[: len(SPECIALS)] == SPECIALS
    assert all(len(symbol) == 1 for symbol in words.tokens[len(SPECIALS) : len(SPECIALS) + 256])
    assert {words.tokens[at][1:] for at in words.speakable} == set(WORDS)
