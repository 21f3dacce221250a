import json
import struct
from base64 import b64decode

from hypothesis import given
from hypothesis import strategies as st

from roost.sim import text


def _answer(key: str, *, garbage: bool = False) -> str:
    return "".join(text.word(key, index, garbage=garbage) for index in range(16))


def test_an_answer_follows_from_its_key_alone() -> None:
    assert _answer("a") == _answer("a")
    assert _answer("a") != _answer("b")
    assert len(_answer("a").split()) == 16


def test_garbage_is_told_from_sense() -> None:
    assert not text.is_garbage(_answer("a"))
    assert text.is_garbage(_answer("a", garbage=True))


@given(st.text())
def test_tokens_turn_back_into_their_text(whole: str) -> None:
    assert text.decode(text.encode(whole)) == whole.encode("utf-8", "replace").decode()


@given(st.lists(st.integers(-5, 2**30), max_size=20))
def test_foreign_tokens_do_no_harm(tokens: list[int]) -> None:
    assert isinstance(text.decode(tokens), str)


@given(st.text(), st.integers(1, 300))
def test_vectors_have_the_size_asked_for_and_length_one(key: str, size: int) -> None:
    numbers = text.vector(key, size)
    assert len(numbers) == size
    assert abs(sum(number * number for number in numbers) - 1) < 1e-3


def test_base64_holds_the_same_numbers() -> None:
    numbers = text.vector("a")
    assert list(struct.unpack(f"<{len(numbers)}f", b64decode(text.as_base64(numbers)))) == numbers


def test_shared_words_rank_first() -> None:
    good = text.score("m", "red apple", "an apple that is red")
    assert 1 >= good > text.score("m", "red apple", "a blue pear") >= 0


def test_json_fits_its_schema() -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "age": {"type": "integer", "minimum": 18},
            "tags": {"type": "array", "items": {"enum": ["x", "y"]}, "minItems": 2},
            "home": {"$ref": "#/$defs/Home"},
            "maybe": {"anyOf": [{"type": "null"}, {"type": "string"}]},
        },
        "$defs": {"Home": {"properties": {"owned": {"type": "boolean"}, "size": {"type": "number"}}}},
    }
    made = json.loads(text.fitting(schema, "k"))
    assert made.pop("name") in text.WORDS
    assert made == {"age": 18, "tags": ["x", "x"], "home": {"owned": True, "size": 0.5}, "maybe": None}


def test_a_schema_that_refers_to_itself_ends() -> None:
    schema = {"properties": {"next": {"$ref": "#"}}}
    assert text.fitting(schema, "k").startswith('{"next": {"next"')
