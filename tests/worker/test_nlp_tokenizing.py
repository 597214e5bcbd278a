"""A tokenizer is read as its tokenizer.json says, or not at all: transformers may think otherwise, in silence."""

import json
import shutil
import subprocess
import sys

import pytest
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from tests.worker import toys
from tests.worker.tiny import tiny_base
from worker.nlp import folders, tokenizing
from worker.spec import Trouble

TEXT = "The Quick brown fox, isn't it? Быстрая лиса 敏捷的狐狸"
PIECES = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


def of_pieces(special=PIECES):
    """A Unigram tokenizer that has learnt the probes' letters."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.decoder = normalizers.NFKC(), pre_tokenizers.Metaspace(), decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=400, special_tokens=list(special), unk_token="<unk>")
    tokenizer.train_from_iterator([*tokenizing.PROBES] * 5, trainer)
    marks = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=marks)
    return tokenizer


def model_with(folder, tokenizer, said):
    """A BERT beside a tokenizer of another family; `said` is its tokenizer_config.json."""
    torch_free = transformers.BertConfig(**toys.ENCODER | {"vocab_size": tokenizer.get_vocab_size()})
    transformers.AutoModel.from_config(torch_free).save_pretrained(folder)
    tokenizer.enable_truncation(128)  # as many a sentence encoder's file says; the length is the config's matter
    tokenizer.save(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    if said is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(said))
    return folder


SAID = {
    "nothing": None,
    "its family's class": {"tokenizer_class": "BertTokenizer", "unk_token": "[UNK]", "pad_token": "[PAD]", "model_max_length": 99},
    "its own special tokens": {"tokenizer_class": "BertTokenizerFast", "unk_token": "<unk>", "pad_token": "<pad>", "cls_token": "<s>"},
    "special tokens as objects": {"unk_token": {"content": "<unk>", "__type": "AddedToken"}, "model_max_length": 99},
}


@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
def test_a_bert_beside_a_tokenizer_of_pieces_reads_all_words(tmp_path, said):
    tokenizer = of_pieces()
    found = folders.open_tokenizer(model_with(tmp_path, tokenizer, said))
    assert found(TEXT)["input_ids"] == tokenizer.encode(TEXT).ids
    assert len(found) == tokenizer.get_vocab_size() and found.unk_token == "<unk>" and found.pad_token == "<pad>"
    assert (found.model_max_length == 99) == bool(said and "model_max_length" in said)
    assert found.decode(found("fox")["input_ids"], skip_special_tokens=True) == "fox"


def told(folder):
    done = subprocess.run([sys.executable, "-m", "worker.nlp.tokenizing", str(folder)], capture_output=True, text=True, timeout=120)
    return json.loads(done.stdout)


@pytest.mark.parametrize("said", [None, SAID["its family's class"]])
def test_a_folder_is_mended_for_good(tmp_path, said):
    tokenizer = of_pieces()
    folder = model_with(tmp_path, tokenizer, said)
    written = (folder / "tokenizer.json").read_bytes()
    assert told(folder) == {"kind": "mended"} and told(folder) == {"kind": "same"}
    assert (folder / "tokenizer.json").read_bytes() == written
    assert transformers.AutoTokenizer.from_pretrained(folder)(TEXT)["input_ids"] == tokenizer.encode(TEXT).ids


def test_a_tokenizer_that_fits_stays_as_it_is(tmp_path):
    folder = tiny_base(tmp_path)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert told(folder) == {"kind": "same"} and {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_a_blank_before_the_first_word_is_the_models_own_matter(tmp_path):
    folder = toys.base_model(tmp_path, "roberta")
    tokenizer = Tokenizer(
        models.BPE({sign: at for at, sign in enumerate(["<s>", "<pad>", "</s>", "<unk>", *pre_tokenizers.ByteLevel.alphabet()])}, [])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "RobertaTokenizer", "add_prefix_space": True}))
    assert (
        tokenizing.mend(folder) == "same"
        and folders.open_tokenizer(folder).convert_ids_to_tokens(folders.open_tokenizer(folder)("x")["input_ids"])[1] == "Ġ"
    )


def test_letters_in_lower_case_are_read_as_the_file_says(tmp_path):
    tiny_base(tmp_path)
    file = tmp_path / "tokenizer.json"
    raw = Tokenizer.from_file(str(file))
    raw.normalizer = normalizers.BertNormalizer(lowercase=False)
    raw.save(str(file))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": True}))
    found = folders.open_tokenizer(tmp_path)
    assert found("Good good")["input_ids"] == raw.encode("Good good").ids


def test_a_tokenizer_that_cannot_be_read_is_refused_in_words(tmp_path):
    folder = tiny_base(tmp_path)
    (folder / "tokenizer.json").write_text('{"version": "1.0", "model": {"type": "Sorcery"}}')
    with pytest.raises(Trouble, match=r"tokenizer\.json of this model cannot be read"):
        folders.open_tokenizer(folder)
    assert told(folder)["kind"] == "refused"


@pytest.mark.parametrize("family", sorted(toys.FAMILIES))
def test_the_tokenizers_of_all_families_are_opened_as_they_are_written(tmp_path, family):
    folder = toys.base_model(tmp_path, family)
    shutil.copy(folder / "tokenizer.json", tmp_path / "kept.json")
    assert tokenizing.agree(folders.open_tokenizer(folder), Tokenizer.from_file(str(tmp_path / "kept.json")))
