"""Answers of the serving process against the transformers pipeline, on the same texts, interleaved in one run.

Sixteen clients ask a classifier of MiniLM's size through the serving process's own pipe, each one text at a time; the
pipeline is called with one text after the other. One thread computes on each side. int8 is held against fp32, too: how
often its labels are the same, and what that costs in accuracy. Last, a small decoder: how long its first piece takes.
"""

from __future__ import annotations

import csv
import json
import os
import queue
import random
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.latency import limited
from benchmarks.training import LABELS, SAMPLES, SHARED, base_folder

CLIENTS, TEXTS, ROUNDS, LEARNT, WRITTEN = 16, 320, 3, 1600, 7


def rows(most: int, skip: int = 0) -> tuple[list[str], list[str]]:
    source = SHARED if SHARED.is_file() else SAMPLES
    with source.open(encoding="utf-8", newline="") as file:
        found = [row for row in csv.DictReader(file) if row["label"] in LABELS][skip : skip + most]
    return [row["text"] for row in found], [row["label"] for row in found]


def classifier(folder: Path) -> Path:
    """MiniLM after one look at 1,600 comments: answers that mean something, in half a minute of work."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(13)
    texts, labels = rows(LEARNT)
    tokenizer = AutoTokenizer.from_pretrained(base_folder(), model_max_length=256)
    names = {"id2label": dict(enumerate(LABELS)), "label2id": {name: number for number, name in enumerate(LABELS)}}
    model = AutoModelForSequenceClassification.from_pretrained(base_folder(), num_labels=len(LABELS), **names)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-4)
    order = sorted(range(LEARNT), key=lambda number: len(texts[number]))  # alike in length: little padding
    batches = [order[at : at + 16] for at in range(0, LEARNT, 16)]
    for batch in random.Random(13).sample(batches, len(batches)):
        encoded = tokenizer([texts[n] for n in batch], padding=True, truncation=True, max_length=48, return_tensors="pt")
        model(**encoded, labels=torch.tensor([LABELS.index(labels[n]) for n in batch])).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    examples = [{"text": text, "label": label} for text, label in zip(texts[:3], labels[:3], strict=True)]
    (folder / "tunebench.json").write_text(json.dumps({"task": "classification", "labels": LABELS, "examples": examples}))
    return folder


def decoder(folder: Path) -> Path:
    """A Llama of 4.8 million weights that learnt nothing: its tokens take as long as those of one that did."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(13)
    tokenizer = AutoTokenizer.from_pretrained(base_folder())
    sizes = {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 384}
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=1024, tie_word_embeddings=True, **sizes)
    config.bos_token_id = config.eos_token_id = config.pad_token_id = None
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


class Clients:
    """A serving process, and people who ask it."""

    def __init__(self, engine: str) -> None:
        from worker.serving.process import Serving

        self.heard: dict[str, queue.Queue[dict[str, Any]]] = {}
        self.serving = Serving(self.hear, 2 * 1024**3, "cpu", engine)

    def hear(self, message: dict[str, Any]) -> None:
        """What is said to nobody (which models are loaded) is passed over."""
        if message["id"]:
            self.heard[message["id"]].put(message)

    def ask(self, task: str, folder: Path, inputs: dict[str, str], **more: Any) -> tuple[dict[str, Any], float]:
        """(the answer's message, seconds until anything came)."""
        name, first = str(uuid4()), 0.0
        self.heard[name] = queue.Queue()
        began = time.perf_counter()
        self.serving.tell({"id": name, "model": str(folder), "task": task, "inputs": inputs, **more})
        while True:
            message = self.heard[name].get(timeout=120)
            first = first or time.perf_counter() - began
            if message["type"] in ("answer", "failed"):
                del self.heard[name]
                assert message["type"] == "answer", message
                return message, first

    def warm_up(self, folder: Path, wanted: str) -> None:
        """Until the model is on its engine."""
        deadline = time.monotonic() + 120
        while (engine := self.ask("classification", folder, {"text": "Fine."})[0]["engine"]) != wanted:
            assert time.monotonic() < deadline, f"the engine is {engine}, not {wanted}"
            time.sleep(0.2)

    def labels(self, folder: Path, texts: list[str]) -> list[str]:
        with ThreadPoolExecutor(CLIENTS) as clients:
            return [m["answer"]["label"] for m, _ in clients.map(lambda text: self.ask("classification", folder, {"text": text}), texts)]


def pipeline(folder: Path) -> Any:
    from transformers import pipeline as made

    ask = made("text-classification", model=str(folder), device="cpu")
    return lambda texts: [ask(text, truncation=True)[0]["label"] for text in texts]


def first_pieces(clients: Clients, folder: Path) -> list[dict[str, Any]]:
    ask = lambda: clients.ask("generation", folder, {"prompt": "The weather today"}, parameters={"max_tokens": 32}, stream=True)  # noqa: E731
    ask()
    found = [ask() for _ in range(WRITTEN)]
    speed = statistics.median(message["answer"]["tokens_per_s"] for message, _ in found)
    print(f"  a decoder of 5 million weights writes {speed:.0f} tokens/s", flush=True)
    return [limited("first piece of a written answer, warm, median", 1000 * statistics.median(s for _, s in found), 300, "ms")]


def run() -> list[dict[str, Any]]:
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
    fp32, int8 = Clients("fp32"), Clients("int8")
    try:
        with tempfile.TemporaryDirectory(prefix="tb-serving-") as home:
            return measured(fp32, int8, Path(home))
    finally:
        fp32.serving.end(5)
        int8.serving.end(5)


def measured(fp32: Clients, int8: Clients, home: Path) -> list[dict[str, Any]]:
    import torch

    torch.set_num_threads(1)
    folder = classifier(home / "classifier")
    fp32.warm_up(folder, "ctranslate2")
    int8.warm_up(folder, "ctranslate2 int8")
    theirs = pipeline(folder)
    texts, right = rows(TEXTS * ROUNDS, LEARNT)
    theirs(texts[:20])
    ways = {
        "pipeline": theirs,
        "fp32": lambda some: fp32.labels(folder, some),
        "int8": lambda some: int8.labels(folder, some),
    }
    speeds: dict[str, list[float]] = {way: [] for way in ways}
    said: dict[str, list[str]] = {way: [] for way in ways}
    for at in range(0, len(texts), TEXTS):
        for way, labels in ways.items():  # interleaved: a noisy minute hits all of them
            some = texts[at : at + TEXTS]
            began = time.perf_counter()
            said[way] += labels(some)
            speeds[way].append(len(some) / (time.perf_counter() - began))
    same = {way: sum(map(str.__eq__, said[way], said["pipeline"])) / len(texts) for way in ways}
    accuracy = {way: sum(map(str.__eq__, said[way], right)) / len(texts) for way in ways}
    found = []
    for way in ("fp32", "int8"):
        ratio = statistics.median(mine / other for mine, other in zip(speeds[way], speeds["pipeline"], strict=True))
        name = f"{CLIENTS} clients of a classifier, {way}, against the pipeline one at a time"
        mine, other = statistics.median(speeds[way]), statistics.median(speeds["pipeline"])
        found.append({"name": name, "ours": round(mine, 1), "theirs": round(other, 1), "unit": "requests/s", "ratio": round(ratio, 2)})
        print(f"  {way}: {same[way]:.2%} of {len(texts)} labels are the pipeline's, accuracy {accuracy[way]:.4f}", flush=True)
    print(f"  pipeline: accuracy {accuracy['pipeline']:.4f}", flush=True)
    found.append({"name": "labels as the pipeline's, fp32", "ours": same["fp32"], "theirs": 1.0, "unit": "share", "ratio": same["fp32"]})
    found.append(
        {
            "name": "labels as the pipeline's, int8 (98 % wanted)",
            "ours": same["int8"],
            "theirs": 0.98,
            "unit": "share",
            "ratio": same["int8"] / 0.98,
        }
    )
    lost = accuracy["pipeline"] - accuracy["int8"]
    found.append({"name": "accuracy of int8", "ours": accuracy["int8"], "theirs": accuracy["pipeline"], "unit": "share", "ratio": 1 - lost})
    return found + first_pieces(fp32, decoder(home / "decoder"))
