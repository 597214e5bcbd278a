"""What a folder of weights is, read before any library opens it: standard library only, nothing is executed.

Used by the web (facts of a model), by the data worker (a fetched model) and by the serving process (before each load).
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.nlp.families import shape_of

HEADER_LIMIT = 25 * 1024**2  # bytes of a safetensors header
CONFIG_LIMIT = 4 * 1024**2  # bytes of a config.json (a thousand labels take 40 kB)
DTYPE_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8, "C64": 8,
}  # fmt: skip
TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
SIZES = {  # what families call the same thing
    "hidden": ("hidden_size", "n_embd", "d_model", "dim"),
    "narrow": ("embedding_size",),  # ALBERT and ELECTRA embed into a smaller space
    "layers": ("num_hidden_layers", "n_layer", "n_layers", "encoder_layers", "decoder_layers", "num_layers", "num_decoder_layers"),
    "wide": (
        "intermediate_size",
        "n_inner",
        "hidden_dim",
        "d_ff",
        "ffn_dim",
        "encoder_ffn_dim",
        "decoder_ffn_dim",
        "moe_intermediate_size",
    ),
    "heads": ("num_attention_heads", "n_head", "n_heads", "num_heads", "encoder_attention_heads", "decoder_attention_heads"),
    "head": ("head_dim", "d_kv"),
    "experts": ("num_experts", "num_local_experts", "n_routed_experts"),
    "words": ("vocab_size", "decoder_vocab_size", "encoder_vocab_size"),
    "types": ("type_vocab_size",),
    "positions": ("max_position_embeddings", "n_positions", "n_ctx", "max_encoder_position_embeddings", "max_decoder_position_embeddings"),
    "labels": ("num_labels",),
}
TABLES = (  # (what its rows are, how its tensor is called, what counts them)
    ("positions", ("position_embeddings.weight", "embed_positions.weight", "wpe.weight"), "positions"),
    ("token types", ("token_type_embeddings.weight",), "types"),
    ("words", ("word_embeddings.weight", "embed_tokens.weight", "wte.weight", "shared.weight"), "words"),
)
LAYER = re.compile(r"(?:^|\.)(?:layers?|h|blocks?)\.(\d+)\.", re.ASCII)
FREE_POSITIONS = 2**26  # values: rotary positions take no weights, and small models may read far
MOST_LABELS = 100_000
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack", ".onnx", ".gguf")


class Unusable(ValueError):
    """The folder cannot be used as a model; the message is for people and names the cause and the remedy."""


@dataclass(frozen=True)
class Weights:
    family: str  # config.model_type
    parameters: int
    bytes: int  # of all safetensors files
    shape: str  # worker.nlp.families


def look(folder: Path) -> Weights:
    """The facts of a model folder. Raises Unusable when it is incomplete, torn or asks for more than safetensors."""
    if not folder.is_dir():
        raise Unusable("The model's folder is gone. Train or fetch the model again.")
    config = read_config(folder / "config.json")
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        if any(any(folder.glob(f"*{end}")) for end in PICKLES):
            raise Unusable("The weights are not in the safetensors format. Pickle files can run code, so they are never opened.")
        raise Unusable("There is no .safetensors file in the folder. Save the model with safetensors and try again.")
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise Unusable("There is no tokenizer in the folder. Put tokenizer.json beside the weights.")
    shapes: dict[str, tuple[int, ...]] = {}
    data = 0
    for file in files:
        found, size = read_header(file)
        shapes |= found
        data += size
    parameters = sum(math.prod(shape) for shape in shapes.values())
    check_proportions(config, data)
    check_tables(config, shapes)
    return Weights(str(config.get("model_type", "")), parameters, data, shape_of(config))


def read_config(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > CONFIG_LIMIT:
            raise Unusable("config.json is far too large to be a configuration.")
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Unusable("config.json is missing, so nobody can know what these weights are.") from None
    except (OSError, ValueError, RecursionError):
        raise Unusable("config.json cannot be read. Copy the model again.") from None
    if not isinstance(config, dict) or not config.get("model_type"):
        raise Unusable("config.json does not name a model type. Only models in the transformers format can be used.")
    if config.get("auto_map"):
        raise Unusable("The model brings its own program code, which Tunebench never runs. Choose a model that transformers knows.")
    return config


def read_header(path: Path) -> tuple[dict[str, tuple[int, ...]], int]:
    """({tensor: shape}, bytes of data) of one safetensors file. Raises Unusable unless header and file agree to the byte."""
    torn = Unusable(f"The weights file {path.name} is damaged or incomplete. Copy or train the model again.")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(HEADER_LIMIT, size - 8):
                raise torn
            header = json.loads(file.read(length))
        tensors = {name: tensor for name, tensor in header.items() if name != "__metadata__"}
        spans = [tensor_span(tensor) for tensor in tensors.values()]
    except Unusable:
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise torn from None
    end = 0
    for start, stop in sorted(spans):  # every byte belongs to exactly one tensor
        if start != end:
            raise torn
        end = stop
    if not spans or 8 + length + end != size:
        raise torn
    return {name: tuple(tensor["shape"]) for name, tensor in tensors.items()}, end


def tensor_span(tensor: dict[str, Any]) -> tuple[int, int]:
    """(first byte, one past the last); raises ValueError when shape, type and span disagree."""
    start, stop = tensor["data_offsets"]
    shape = tensor["shape"]
    if not all(type(n) is int and n >= 0 for n in (*shape, start, stop)):
        raise ValueError("not a size")
    count = math.prod(shape)
    if stop - start != count * DTYPE_BYTES[tensor["dtype"]]:
        raise ValueError("shape and span disagree")
    return start, stop


def check_proportions(config: dict[str, Any], data: int) -> None:
    """A configuration that describes far more than the file holds would allocate the difference: refuse it unread.
    Half a byte a value is the densest packing there is, hence the factor of two."""
    for part in config.values():  # a model of several parts configures each of them
        if isinstance(part, dict):
            check_proportions(part, data)
    sizes = {name: [config[key] for key in keys if config.get(key) is not None] for name, keys in SIZES.items()}
    if not all(type(size) is int and size >= 0 for found in sizes.values() for size in found):
        raise Unusable("config.json gives a size that is not a whole number. Copy the model again.")
    most = {name: max(found, default=0) for name, found in sizes.items()}
    hidden, heads = most["hidden"], most["heads"]
    narrow = most["narrow"] or hidden
    described = (
        *(hidden * hidden, hidden * most["wide"], hidden * most["layers"], hidden * heads * most["head"], hidden * most["experts"]),
        *(narrow * most["words"], narrow * most["types"]),
    )
    if max(described) > 2 * data or narrow * most["positions"] > max(2 * data, FREE_POSITIONS) or most["labels"] > MOST_LABELS:
        raise Unusable("config.json describes a much larger model than the weights file holds. Copy the model again.")


def check_tables(config: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> None:
    """What a configuration counts by the row must be there: transformers would fill the rest at random, without a word."""
    for what, ends, name in TABLES:
        rows = [shape[0] for tensor, shape in shapes.items() if tensor.endswith(ends) and len(shape) == 2]
        wanted = next((config[key] for key in SIZES[name] if config.get(key) is not None), 0)
        if rows and max(rows) < wanted:
            raise Unusable(f"config.json names {wanted:,} {what} and the weights hold {max(rows):,}. Copy the model again.")
    numbers = [int(found[1]) for tensor in shapes if (found := LAYER.search(tensor))]
    wanted = next((config[key] for key in SIZES["layers"] if config.get(key) is not None), 0)
    if numbers and max(numbers) + 1 < wanted:
        raise Unusable(f"config.json names {wanted:,} layers and the weights hold {max(numbers) + 1:,}. Copy the model again.")
