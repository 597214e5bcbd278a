"""A tiny real classifier and its base, made on the spot: BERT, one layer, a vocabulary of whole words."""

from pathlib import Path

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] good bad fine awful great the battery died after a week it works well never again negative neutral positive"
LABELS = ["negative", "neutral", "positive"]


def tiny_tokenizer(folder):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate(WORDS.split())}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", vocabulary["[SEP]"]), ("[CLS]", vocabulary["[CLS]"]))
    special = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "mask_token": "[MASK]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **special).save_pretrained(folder)


def tiny_config(**more):
    from transformers import BertConfig

    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 64}
    return BertConfig(vocab_size=len(WORDS.split()), initializer_range=0.5, **sizes, **more)  # wide, so that its answers differ


def tiny_base(folder: Path) -> Path:
    import torch
    from transformers import BertModel

    torch.manual_seed(0)
    BertModel(tiny_config()).save_pretrained(folder)
    tiny_tokenizer(folder)
    return folder


def tiny_classifier(folder: Path, labels=LABELS) -> Path:
    import json

    import torch
    from transformers import BertForSequenceClassification

    torch.manual_seed(1)
    names = dict(enumerate(labels))
    config = tiny_config(num_labels=len(labels), id2label=names, label2id={name: number for number, name in names.items()})
    BertForSequenceClassification(config).save_pretrained(folder)
    tiny_tokenizer(folder)
    examples = [{"text": "it works well", "label": labels[-1]}, {"text": "never again", "label": labels[0]}]
    (folder / "tunebench.json").write_text(json.dumps({"task": "classification", "labels": list(labels), "examples": examples}))
    (folder / "README.md").write_text("# A tiny classifier\n\nMade by a test.\n")
    return folder
