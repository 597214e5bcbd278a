"""Models of many languages, with their own tokenizers: NLLB, M2M-100, mBART-50 and mBART-25 are told what to read and what to write."""

import json

import polars as pl
import pytest
import torch
import transformers

from worker.nlp import TASKS
from worker.nlp.recipe import read_settings
from worker.spec import Trouble

TRANSLATION = TASKS["translation"]
PAIRS = {"source": ["Good morning.", "Where is the station?"], "target": ["早上好。", "车站在哪里？"]}
TEXTS = [text for side in PAIRS.values() for text in side]
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
PIECES = sorted({character for text in TEXTS for character in text} | {"▁"})
CODES = {
    "nllb": ("eng_Latn", "zho_Hans"),
    "m2m_100": ("__en__", "__zh__"),
    "mbart50": ("en_XX", "zh_CN"),
    "mbart": ("en_XX", "zh_CN"),
}


def tokenizer_of(kind, folder):
    if kind == "nllb":
        return transformers.NllbTokenizer(vocab={piece: number for number, piece in enumerate([*SPECIAL, *PIECES])}, merges=[])
    if kind == "m2m_100":
        import sentencepiece

        (folder / "texts.txt").write_text("\n".join(TEXTS * 20), "utf-8")
        options = {"vocab_size": 60, "hard_vocab_limit": False, "character_coverage": 1.0, "minloglevel": 2}
        sentencepiece.SentencePieceTrainer.train(input=str(folder / "texts.txt"), model_prefix=str(folder / "pieces"), **options)
        learnt = sentencepiece.SentencePieceProcessor(model_file=str(folder / "pieces.model"))
        words = [*SPECIAL, *(learnt.id_to_piece(number) for number in range(3, learnt.get_piece_size()))]
        (folder / "words.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
        return transformers.M2M100Tokenizer(vocab_file=str(folder / "words.json"), spm_file=str(folder / "pieces.model"))
    named = transformers.MBart50Tokenizer if kind == "mbart50" else transformers.MBartTokenizer
    return named(vocab=[(piece, -2.0) for piece in [*SPECIAL, *PIECES]])


@pytest.fixture(scope="module", params=sorted(CODES))
def many(request, tmp_path_factory):
    """(kind, folder of a base model as the hub would give it)."""
    kind, folder = request.param, tmp_path_factory.mktemp(request.param)
    tokenizer = tokenizer_of(kind, folder)
    size = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    size |= {"encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 64, "vocab_size": len(tokenizer) + 120}
    size |= {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": None if kind == "mbart" else 2}
    family = "MBart" if kind.startswith("mbart") else "M2M100"
    torch.manual_seed(1)
    model = getattr(transformers, f"{family}ForConditionalGeneration")(getattr(transformers, f"{family}Config")(**size))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return kind, folder


def loaded(folder, **given):
    settings = read_settings(TRANSLATION.known_settings("full", "encoder-decoder"), given, "full")
    rows = pl.DataFrame(PAIRS)
    facts = TRANSLATION.facts(rows, settings)
    model, tokenizer = TRANSLATION.load(str(folder), (), settings, "full", facts)
    model.config.tunebench = facts
    return model, tokenizer, rows, settings


def test_each_side_of_an_example_carries_the_code_of_its_language(many):
    kind, folder = many
    english, chinese = CODES[kind]
    model, tokenizer, rows, settings = loaded(folder, both_ways=True)
    words = [
        {side: tokenizer.convert_ids_to_tokens(example[side]) for side in ("input_ids", "labels")}
        for example in TRANSLATION.encode(rows, model, tokenizer, (), settings)
    ]
    there, back = words[0], words[-1]
    assert english in there["input_ids"] and chinese in back["input_ids"]
    assert there["labels"][0] == chinese and back["labels"][0] == english, "an answer begins with its language"
    assert there["labels"].count(chinese) == 1 and there["labels"][-1] == "</s>"
    assert "早" in there["labels"] and chinese not in there["input_ids"]
    assert model.config.decoder_start_token_id == 2


def test_an_answer_is_forced_into_its_language_both_ways(many, monkeypatch, tmp_path):
    kind, folder = many
    model, tokenizer, _rows, _settings = loaded(folder, both_ways=True)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model, tokenizer, labels = TRANSLATION.open(str(tmp_path))
    begun, generate = [], model.generate

    def watched(**given):
        out = generate(**given)
        begun.append((tokenizer.convert_ids_to_tokens(given["input_ids"][0].tolist()), tokenizer.convert_ids_to_tokens(int(out[0, 1]))))
        return out

    monkeypatch.setattr(model, "generate", watched)
    for direction, text in (("forward", TEXTS[0]), ("back", TEXTS[2])):
        TRANSLATION.answer(
            model, tokenizer, labels, [{"source": text}], TRANSLATION.read_parameters({"direction": direction, "max_tokens": 4})
        )
    english, chinese = CODES[kind]
    (asked, first), (asked_back, first_back) = begun
    assert english in asked and first == chinese
    assert chinese in asked_back and first_back == english


def test_a_language_that_the_base_does_not_know_is_named(many):
    _kind, folder = many
    model, tokenizer, rows, settings = loaded(folder, target_lang="tlh")
    with pytest.raises(Trouble, match="tlh"):
        TRANSLATION.encode(rows, model, tokenizer, (), settings)
