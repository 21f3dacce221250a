"""Writes tiny Llama models with random weights as GGUF files: real for an engine, nonsense in plain words to read.

Same arguments, same bytes; different seeds give models that answer the same prompt differently, so an answer tells
which engine gave it. Needs numpy and gguf (the extra `roost[llamacpp]`), no network. Called by `cli demo` and tests.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

_TEXT = """
a again all always and apple at autumn back bank bell bird blue boat book bread bridge bright brings brown but
by calls calm cat clear climbs clock cloud cold comes corn day deep dog door down dry early east empty evening
every fair falls far farm field fire first fish flies follows for forest fox from garden gate gives glass goes
gold good grass green grows hall hears hen high hill holds home honey horse hour house in into island it keeps
kind lake lamp late leaf learns leaves left light like listens little long looks low makes many maple market
meadow milk mill moon morning moss moves near nest never new night no north now oak ocean of often old on once
one open or other over owl paper path peace pine plum pond quiet rain reads red rests rice rises river road
roof room rose round runs salt sand sea season seed seven shade shines ship shore silver sings sits sky sleeps
slow small smoke snow soft some song south sparrow spring star stays stone storm story strong summer sun sure
sweet swims table takes tall ten the then three through tide time to town train tree turns two under up valley
very village waits wakes walks wall warm watch water wave west wheat when white wide wild willow wind window
winter with wolf wood wool word yellow yes young
"""
WORDS = tuple(_TEXT.split())
SPECIALS = ("<|pad|>", "<|bos|>", "<|eos|>", "<|im_start|>", "<|im_end|>")
BOS, EOS, END_OF_TURN = 1, 2, 4
ROWS_MULTIPLE = 64
FORBIDDEN = -100.0
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The model's size. The default is about 1 MB; `hidden=512, layers=8` is about 100 MB, which shows in RSS."""

    hidden: int = 64
    layers: int = 2
    context: int = 2048

    @property
    def heads(self) -> int:
        return max(2, self.hidden // 64)

    @property
    def head_size(self) -> int:
        return self.hidden // self.heads

    @property
    def feed_forward(self) -> int:
        return self.hidden * 11 // 4


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Byte-level BPE without training: the trie of the words, every node a token, every edge a merge.

    All words begin with the space's symbol and all merges extend such a prefix, so no two merges compete: a text's
    tokens are its longest known prefixes, then single bytes.
    """

    tokens: tuple[str, ...]
    merges: tuple[str, ...]
    speakable: frozenset[int]
    """Tokens a model may say: whole words with their leading space."""


def write_tiny_model(path: Path, *, seed: int, name: str = "tiny", shape: Shape | None = None) -> Path:
    """Write the model to `path`, at once or not at all, and return it."""
    shape = shape or Shape()
    known = vocabulary()
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    writer = gguf.GGUFWriter(str(scratch), "llama")
    _describe(writer, name, shape, len(known.tokens))
    _add_tokenizer(writer, known)
    for tensor, values in weights(seed, shape, known).items():
        writer.add_tensor(tensor, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return scratch.replace(path)


def _byte_symbols() -> list[str]:
    """GPT-2's printable stand-in for each byte, in byte order: itself if visible, else the next free character."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    spare = iter(range(0x100, 0x200))
    return [chr(byte if byte in visible else next(spare)) for byte in range(256)]


def vocabulary() -> Vocabulary:
    """The tokens of every tiny model."""
    symbols = _byte_symbols()
    space = symbols[0x20]
    ids: dict[str, int] = {text: at for at, text in enumerate((*SPECIALS, *symbols))}
    merges: dict[str, None] = {}
    for word in WORDS:
        for end in range(1, len(word) + 1):
            merges[f"{space}{word[: end - 1]} {word[end - 1]}"] = None
            ids.setdefault(space + word[:end], len(ids))
    padding = -len(ids) % ROWS_MULTIPLE
    tokens = (*ids, *(f"<|unused{at}|>" for at in range(padding)))
    return Vocabulary(tokens, tuple(merges), frozenset(ids[space + word] for word in WORDS))


def _describe(writer: Any, name: str, shape: Shape, rows: int) -> None:
    writer.add_name(name)
    writer.add_type("model")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads // 2)
    writer.add_key_length(shape.head_size)
    writer.add_value_length(shape.head_size)
    writer.add_rope_dimension_count(shape.head_size)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(rows)


def _add_tokenizer(writer: Any, words: Vocabulary) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(words.tokens)
    writer.add_token_types([_token_type(at, text) for at, text in enumerate(words.tokens)])
    writer.add_token_merges(words.merges)
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(EOS)
    writer.add_eot_token_id(END_OF_TURN)
    writer.add_pad_token_id(0)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_chat_template(TEMPLATE)


def _token_type(at: int, text: str) -> int:
    if at < len(SPECIALS):
        return int(gguf.TokenType.CONTROL)
    return int(gguf.TokenType.UNUSED if text.startswith("<|unused") else gguf.TokenType.NORMAL)


def weights(seed: int, shape: Shape, words: Vocabulary) -> Mapping[str, Matrix]:
    """All tensors by their GGUF name.

    Llama has no output bias, so one is made: hidden dimension 0 is the same constant for every token and no layer
    writes to it, hence column 0 of the output matrix is a bias per token. It forbids all but whole words: whatever the
    sampling, the answer is readable and only `max_tokens` ends it.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    rows = len(words.tokens)
    embedding = rng.standard_normal((rows, shape.hidden), dtype=np.float32)
    embedding[:, 0] = 4.0
    output = _matrix(rng, rows, shape.hidden)
    output[:, 0] = [0.0 if at in words.speakable else FORBIDDEN for at in range(rows)]
    out: dict[str, Matrix] = {"token_embd.weight": embedding}
    for layer in range(shape.layers):
        out.update({f"blk.{layer}.{part}.weight": values for part, values in _layer(rng, shape)})
    out["output_norm.weight"] = np.ones(shape.hidden, np.float32)
    out["output.weight"] = output
    return out


def _layer(rng: np.random.Generator, shape: Shape) -> Iterator[tuple[str, Matrix]]:
    hidden, forward = shape.hidden, shape.feed_forward
    shared = hidden // 2  # half as many key and value heads as query heads
    yield "attn_norm", np.ones(hidden, np.float32)
    yield "attn_q", _matrix(rng, hidden, hidden)
    yield "attn_k", _matrix(rng, shared, hidden)
    yield "attn_v", _matrix(rng, shared, hidden)
    yield "attn_output", _silent_on_bias(_matrix(rng, hidden, hidden))
    yield "ffn_norm", np.ones(hidden, np.float32)
    yield "ffn_gate", _matrix(rng, forward, hidden)
    yield "ffn_up", _matrix(rng, forward, hidden)
    yield "ffn_down", _silent_on_bias(_matrix(rng, hidden, forward))


def _matrix(rng: np.random.Generator, rows: int, columns: int) -> Matrix:
    """Scaled by its width, so that no layer drowns the constant of dimension 0, however large the model."""
    return rng.standard_normal((rows, columns), dtype=np.float32) * np.float32(0.64 / columns**0.5)


def _silent_on_bias(values: Matrix) -> Matrix:
    values[0, :] = 0.0
    return values
