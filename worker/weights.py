"""What a folder of weights is, read before any library opens it: standard library only, nothing is executed.

Used by the web (facts of a model), by the data worker (a fetched model) and by the serving process (before each load).
"""

from __future__ import annotations

import json
import math
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
    sizes = [read_header(file) for file in files]
    parameters = sum(count for count, _ in sizes)
    data = sum(size for _, size in sizes)
    check_proportions(config, data)
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


def read_header(path: Path) -> tuple[int, int]:
    """(parameters, bytes of data) of one safetensors file. Raises Unusable unless header and file agree to the byte."""
    torn = Unusable(f"The weights file {path.name} is damaged or incomplete. Copy or train the model again.")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(HEADER_LIMIT, size - 8):
                raise torn
            header = json.loads(file.read(length))
        spans = [tensor_span(tensor) for name, tensor in header.items() if name != "__metadata__"]
    except Unusable:
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise torn from None
    end = 0
    for start, stop, _ in sorted(spans):  # every byte belongs to exactly one tensor
        if start != end:
            raise torn
        end = stop
    if not spans or 8 + length + end != size:
        raise torn
    return sum(count for _, _, count in spans), end


def tensor_span(tensor: dict[str, Any]) -> tuple[int, int, int]:
    """(first byte, one past the last, number of values); raises ValueError when shape, type and span disagree."""
    start, stop = tensor["data_offsets"]
    shape = tensor["shape"]
    if not all(type(n) is int and n >= 0 for n in (*shape, start, stop)):
        raise ValueError("not a size")
    count = math.prod(shape)
    if stop - start != count * DTYPE_BYTES[tensor["dtype"]]:
        raise ValueError("shape and span disagree")
    return start, stop, count


def check_proportions(config: dict[str, Any], data: int) -> None:
    """A configuration that describes far more than the file holds would allocate the difference: refuse it unread.
    Half a byte a value is the densest packing there is, hence the factor of two."""
    hidden = config.get("hidden_size") or config.get("n_embd") or config.get("d_model") or config.get("dim") or 0
    narrow = config.get("embedding_size") or hidden  # ALBERT and ELECTRA embed into a smaller space
    layers = config.get("num_hidden_layers") or config.get("n_layer") or config.get("n_layers") or 0
    wide = config.get("intermediate_size") or 0
    words = config.get("vocab_size") or 0
    sizes = (hidden, narrow, layers, wide, words)
    if not all(type(size) is int and size >= 0 for size in sizes):
        raise Unusable("config.json gives a size that is not a whole number. Copy the model again.")
    if max(hidden * hidden, words * narrow, hidden * wide, layers * hidden) > 2 * data:
        raise Unusable("config.json describes a much larger model than the weights file holds. Copy the model again.")
