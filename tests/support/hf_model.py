"""The tiny model as a Hugging Face folder, for engines that read those: same words, same weights for the same seed.

Written by hand (JSON and the safetensors layout), so that neither torch nor tokenizers is needed here.
"""

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from roost.host.tiny_model import BOS, END_OF_TURN, EOS, SPECIALS, TEMPLATE, Matrix, Shape, vocabulary, weights

_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def write_hf_model(folder: Path, *, seed: int, shape: Shape | None = None) -> Path:
    """The folder, made anew with all that an engine asks for."""
    shape = shape or Shape()
    folder.mkdir(parents=True, exist_ok=True)
    words = vocabulary()
    tensors = {_hf_name(name): values for name, values in weights(seed, shape, words).items()}
    _safetensors(folder / "model.safetensors", tensors)
    for name, content in {
        "config.json": _config(shape, len(words.tokens)),
        "generation_config.json": {"bos_token_id": BOS, "eos_token_id": [EOS, END_OF_TURN], "pad_token_id": 0},
        "tokenizer.json": _tokenizer(words.tokens, words.merges),
        "tokenizer_config.json": _tokenizer_config(shape),
    }.items():
        (folder / name).write_text(json.dumps(content))
    return folder


def write_lora(folder: Path, *, seed: int, shape: Shape | None = None, rank: int = 8) -> Path:
    """A LoRA adapter of the tiny model in the form of PEFT: random, and strong enough to change every answer."""
    shape = shape or Shape()
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    sizes = {"q_proj": shape.heads * shape.head_size, "v_proj": shape.heads // 2 * shape.head_size}
    tensors: dict[str, Matrix] = {}
    for layer in range(shape.layers):
        for part, size in sizes.items():
            name = f"base_model.model.model.layers.{layer}.self_attn.{part}"
            tensors[f"{name}.lora_A.weight"] = rng.normal(size=(rank, shape.hidden)).astype(np.float32)
            tensors[f"{name}.lora_B.weight"] = rng.normal(size=(size, rank)).astype(np.float32)
    _safetensors(folder / "adapter_model.safetensors", tensors)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": 2 * rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted(sizes),
        "base_model_name_or_path": "tiny",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def _hf_name(name: str) -> str:
    parts = name.split(".")
    if parts[0] != "blk":
        return f"{_OUTER[parts[0]]}.weight"
    return f"model.layers.{parts[1]}.{_LAYER[parts[2]]}.weight"


def _safetensors(path: Path, tensors: Mapping[str, Matrix]) -> None:
    """Length of the header, the header, the data: https://github.com/huggingface/safetensors#format."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, values in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [at, at + values.nbytes]}
        at += values.nbytes
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    with path.open("wb") as out:
        out.write(struct.pack("<Q", len(head)) + head)
        for values in tensors.values():
            out.write(values.tobytes())


def _config(shape: Shape, rows: int) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.feed_forward,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads // 2,
        "head_dim": shape.head_size,
        "vocab_size": rows,
        "max_position_embeddings": shape.context,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": BOS,
        "eos_token_id": [EOS, END_OF_TURN],
        "pad_token_id": 0,
        "torch_dtype": "float32",
    }


def _tokenizer(tokens: tuple[str, ...], merges: tuple[str, ...]) -> dict[str, object]:
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": at, "content": text, **special} for at, text in enumerate(SPECIALS)],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {text: at for at, text in enumerate(tokens)},
            "merges": [merge.split(" ") for merge in merges],
        },
    }


def _tokenizer_config(shape: Shape) -> dict[str, object]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": SPECIALS[BOS],
        "eos_token": SPECIALS[EOS],
        "pad_token": SPECIALS[0],
        "model_max_length": shape.context,
        "clean_up_tokenization_spaces": False,
        "chat_template": TEMPLATE,
    }
