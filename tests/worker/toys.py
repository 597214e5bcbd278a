"""Tiny models, tokenizers and data sets, made on the spot: no network, random weights, a second of work."""

import hashlib
import random
from pathlib import Path

import polars as pl
import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from worker.spec import RunSpec

torch.set_num_threads(1)  # two threads that wait for each other cost more than these models do

WORDS = [
    "good",
    "great",
    "fine",
    "bad",
    "awful",
    "poor",
    "film",
    "soup",
    "phone",
    "was",
    "is",
    "the",
    "a",
    "very",
    "not",
    "and",
    "it",
    "we",
    "they",
    "again",
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
VOCABULARY = 40
ENCODER = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "initializer_range": 0.15,
}
DECODER = {**ENCODER, "max_position_embeddings": 128, "bos_token_id": 2, "eos_token_id": 3}
FAMILIES = {
    "bert": ("BertConfig", ENCODER),
    "roberta": ("RobertaConfig", ENCODER),
    "xlm-roberta": ("XLMRobertaConfig", ENCODER),
    "electra": ("ElectraConfig", {**ENCODER, "embedding_size": 8}),
    "albert": ("AlbertConfig", {**ENCODER, "embedding_size": 8}),
    "distilbert": (
        "DistilBertConfig",
        {
            "vocab_size": VOCABULARY,
            "dim": 16,
            "n_layers": 3,
            "n_heads": 2,
            "hidden_dim": 32,
            "max_position_embeddings": 64,
            "initializer_range": 0.15,
        },
    ),
    "modernbert": (
        "ModernBertConfig",
        {
            **ENCODER,
            "local_attention": 8,
            "global_attn_every_n_layers": 2,
            "bos_token_id": 2,
            "eos_token_id": 3,
            "cls_token_id": 2,
            "sep_token_id": 3,
        },
    ),
    "gpt2": (
        "GPT2Config",
        {
            "vocab_size": VOCABULARY,
            "n_embd": 16,
            "n_layer": 3,
            "n_head": 2,
            "n_positions": 64,
            "bos_token_id": 2,
            "eos_token_id": 3,
            "initializer_range": 0.15,
        },
    ),
    "llama": ("LlamaConfig", {**DECODER, "num_key_value_heads": 1}),
    "qwen3": ("Qwen3Config", {**DECODER, "num_key_value_heads": 1, "head_dim": 8}),
    "deberta-v2": ("DebertaV2Config", {**ENCODER, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]}),
    "mpnet": ("MPNetConfig", ENCODER),
}
PADDED = {"deberta-v2", "mpnet"}
CLASSIFIERS = tuple(FAMILIES)
WRITER = {"vocab_size": VOCABULARY, "d_model": 16, "pad_token_id": 0, "eos_token_id": 3, "decoder_start_token_id": 0}
FAMILIES |= {
    "marian": (
        "MarianConfig",
        {
            **WRITER,
            "encoder_layers": 1,
            "decoder_layers": 1,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 32,
            "decoder_ffn_dim": 32,
            "max_position_embeddings": 64,
            "forced_eos_token_id": None,
            "bos_token_id": 2,
        },
    ),
    "t5": ("T5Config", {**WRITER, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}),
}


def config(family, **more):
    name, values = FAMILIES[family]
    return getattr(transformers, name)(**{**values, **more})


def seeded(make):
    torch.manual_seed(3)
    return make()


def classifier(family, **more):
    torch.manual_seed(3)
    return transformers.AutoModelForSequenceClassification.from_config(config(family, num_labels=3, pad_token_id=0, **more)).eval()


def base_model(folder, family="bert"):
    """A folder as the hub would give it: weights, config, tokenizer."""
    torch.manual_seed(5)
    writes = {
        "gpt2": "AutoModelForCausalLM",
        "llama": "AutoModelForCausalLM",
        "marian": "AutoModelForSeq2SeqLM",
        "t5": "AutoModelForSeq2SeqLM",
    }
    model = getattr(transformers, writes.get(family, "AutoModel")).from_config(config(family))
    model.save_pretrained(folder)
    tokenizer = Tokenizer(WordLevel({w: i for i, w in enumerate([*SPECIAL, *WORDS])}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    if hasattr(model, "pooler") or family in {"electra", "distilbert", "modernbert"}:
        tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    if family in {"marian", "t5"}:
        tokenizer.post_processor = TemplateProcessing(single="$A [SEP]", special_tokens=[("[SEP]", 3)])
    special = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"} | ({} if family == "gpt2" else {"pad_token": "[PAD]"})
    special |= {"eos_token": "[SEP]"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **special).save_pretrained(folder)
    return Path(folder)


def reviews(file, rows=90, seed=1, splits=("train", "train", "train", "validation", "test")):
    """Rows whose label follows from one word in them."""
    pick = random.Random(seed)
    labels = {"negative": WORDS[3:6], "positive": WORDS[0:3]}
    table = []
    for i in range(rows):
        label = pick.choice(sorted(labels))
        words = [*pick.choices(WORDS[6:], k=pick.randint(1, 12)), pick.choice(labels[label])]
        pick.shuffle(words)
        table.append({"_row": i, "_split": splits[i % len(splits)], "text": " ".join(words), "label": label})
    pl.DataFrame(table).write_parquet(file)
    return Path(file)


def spec_for(tmp_path, base, data, method="full", name="run", **more):
    settings = {
        "epochs": 2,
        "batch_rows": 8,
        "learning_rate": 5e-3,
        "deterministic": True,
        "checkpoint_s": 1000,
        **more.pop("settings", {}),
    }
    values = {"fence": 1, "labels": ("negative", "positive"), "threads": 1, "device": "cpu", "lease_s": 600, **more}
    return RunSpec(
        run=name,
        task="classification",
        method=method,
        base=str(base),
        data=str(data),
        data_sha256=hashlib.sha256(Path(data).read_bytes()).hexdigest(),
        out=str(tmp_path / name),
        settings=settings,
        **values,
    )


def of_kind(messages, kind):
    return [m for m in messages if m["kind"] == kind]
