"""The fast way on a processor: the encoder inside a model computed by CTranslate2, in fp32 or int8, once it has proved itself.

Only the encoder is exchanged; the head on top of it, and so the task, stays what it was. A model is taken over when it
gives the same answers as before on texts like its own examples, short ones and long ones.
"""

from __future__ import annotations

import copy
import json
import logging
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import ctranslate2
import numpy
import torch
from ctranslate2.converters import transformers as converters
from transformers.modeling_outputs import BaseModelOutputWithPooling

from worker.nlp import Answer, Task, folders

log = logging.getLogger(__name__)
CONVERTERS = {"bert": "BertLoader", "distilbert": "DistilBertLoader", "roberta": "RobertaLoader", "xlm-roberta": "RobertaLoader"}
NAMES = {"fp32": "ctranslate2", "int8": "ctranslate2 int8"}
CHECKS = 50  # texts on which both must agree
LENGTHS = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89)  # of a check, in words
NEAR = {"fp32": 0.002, "int8": 0.1}  # so far apart may two probabilities be
SAME = {"fp32": 1.0, "int8": 0.98}  # so many of the answers must be the same where this way was asked for by name
WORDS = ("one", "two", "three", "the", "of", "and", "is", "was", "not", "very", "good", "bad", "day", "work", "yes", "never", "why")


class Encoder(torch.nn.Module):
    """Stands where the encoder stood and is called like it."""

    spread = 2.0  # so far apart may lengths in a batch lie: padding is left out but in attention

    def __init__(self, replaced: Any, kind: str, threads: int) -> None:
        super().__init__()
        self.config, self.dtype, self.device = replaced.config, torch.float32, torch.device("cpu")
        self.pooler = getattr(replaced, "pooler", None)
        with tempfile.TemporaryDirectory(prefix="tb-engine-") as folder:
            convert(replaced, kind, folder)
            self.engine = ctranslate2.Encoder(
                folder, "cpu", compute_type="int8" if kind == "int8" else "float32", inter_threads=1, intra_threads=threads
            )
            self.bytes = (Path(folder) / "model.bin").stat().st_size

    @property
    def base_model(self) -> Encoder:
        return self

    def forward(
        self, input_ids: Any = None, attention_mask: Any = None, token_type_ids: Any = None, **_: Any
    ) -> BaseModelOutputWithPooling:
        lengths = torch.full((len(input_ids),), input_ids.shape[1]) if attention_mask is None else attention_mask.sum(1)
        view = ctranslate2.StorageView.from_array
        found = self.engine.forward_batch(
            view(input_ids.int().numpy()),
            view(lengths.int().numpy()),
            token_type_ids=None if token_type_ids is None else token_type_ids.tolist(),
        )
        states = torch.from_numpy(numpy.array(found.last_hidden_state))
        return BaseModelOutputWithPooling(last_hidden_state=states, pooler_output=self.pooler(states) if self.pooler else None)


def convert(encoder: Any, kind: str, folder: str) -> None:
    """Write `encoder` as CTranslate2 reads it."""
    twin = copy.deepcopy(encoder)  # the converter writes into the weights that it is given
    twin.config.position_embedding_type = "absolute"  # transformers 5 no longer says so
    if getattr(twin, "pooler", None) is None:  # the converter wants one; nobody will look at what it computes
        size = twin.config.hidden_size
        twin.pooler = torch.nn.ModuleDict({"dense": torch.nn.Linear(size, size)})
    spec = getattr(converters, CONVERTERS[twin.config.model_type])().get_model_spec(twin)
    places = twin.embeddings.position_embeddings.weight[folders.first_position(twin) :]
    spec.encoder.position_encodings.encodings = places
    spec.register_vocabulary([str(number) for number in range(twin.config.vocab_size)])  # tokens come as numbers, never as words
    spec.config.layer_norm_epsilon = getattr(twin.config, "layer_norm_eps", 1e-12)
    spec.config.unk_token = "0"  # noqa: S105  (a token, as the others)
    spec.validate()
    spec.optimize(quantization="int8" if kind == "int8" else None)
    spec.save(folder)


class Fast(NamedTuple):
    model: Any
    engine: str
    bytes: int


@torch.no_grad()
def hastened(task: Task, model: Any, tokenizer: Any, labels: tuple[str, ...], folder: str, wish: str, threads: int) -> Fast | None:
    """`model` with the fastest encoder that keeps its answers, as far as `wish` (auto, fp32 or int8) goes; None: it stays."""
    if wish == "torch" or getattr(model.config, "model_type", "") not in CONVERTERS:
        return None
    tokenizer = copy.deepcopy(tokenizer)  # another thread may be using it
    asked = checks(task, folder)
    parameters = task.read_parameters({})

    def answers(model: Any) -> list[Answer]:
        return [task.answer(model, tokenizer, labels, [row], parameters)[0] for row in asked]

    before = answers(model)
    for kind in ("fp32",) if wish == "fp32" else ("int8", "fp32"):
        encoder = Encoder(model.base_model, kind, threads)
        fast = with_encoder(model, encoder)
        same, apart = compare(answers(fast), before)
        verdict = f"{NAMES[kind]}: same answers on {same} of {len(asked)} checks, probabilities at most {apart:.4f} apart"
        if same >= len(asked) * (1.0 if wish == "auto" else SAME[kind]) and apart <= NEAR[kind]:
            log.info("%s takes over %s", verdict, folder)
            return Fast(fast, NAMES[kind], encoder.bytes)
        log.info("%s is not good enough for %s", verdict, folder)
    return None


def with_encoder(model: Any, encoder: Encoder) -> Any:
    """A twin of `model` that shares its head and has another encoder."""
    if model.base_model is model:
        return encoder
    twin = copy.copy(model)
    twin._modules = model._modules.copy()
    setattr(twin, model.base_model_prefix, encoder)
    return twin


def checks(task: Task, folder: str) -> list[dict[str, str]]:
    """Texts like those that the model was made for: its own examples, then stretches of their words of many lengths."""
    try:
        about = json.loads((Path(folder) / "tunebench.json").read_text("utf-8"))
        examples = [example for example in about.get("examples") or [] if isinstance(example, dict)]
    except (OSError, ValueError, AttributeError):
        examples = []
    names = [field.name for field in task.inputs if field.required or any(example.get(field.name) for example in examples)]
    rows = [{name: str(example[name]) for name in names} for example in examples if all(example.get(name) for name in names)]
    pick = random.Random(7)  # noqa: S311
    words = {name: pieces(" ".join(row[name] for row in rows)) or [*WORDS] for name in names}
    for number in range(CHECKS - len(rows)):
        length = LENGTHS[number % len(LENGTHS)]
        rows.append({name: stretch(words[name], length, pick.randrange) for name in names})
    return rows[:CHECKS]


def pieces(text: str) -> list[str]:
    """The words of a text; of one that is written without spaces, its characters."""
    words = text.split()
    return words if len(text) < 12 * max(len(words), 1) else list(text)


def stretch(words: list[str], length: int, start: Callable[[int], int]) -> str:
    """`length` words in a row from somewhere, in a circle."""
    first = start(len(words))
    joint = "" if max(map(len, words)) == 1 else " "
    return joint.join(words[(first + number) % len(words)] for number in range(length))


def compare(ours: list[Answer], theirs: list[Answer]) -> tuple[int, float]:
    """(how many answers say the same, how far apart their numbers are at most)."""
    same = sum(words(one) == words(other) for one, other in zip(ours, theirs, strict=True))
    pairs = zip(map(shares, ours), map(shares, theirs), strict=True)
    return same, max((abs(one[name] - other[name]) for one, other in pairs for name in one.keys() & other.keys()), default=0.0)


def words(answer: Answer) -> dict[str, Any]:
    """What an answer says: its texts, places and yes or no."""
    return {name: value for name, value in answer.items() if isinstance(value, str | int)}


def shares(answer: Answer) -> dict[str, float]:
    """How sure it is."""
    nested = {(name, key): value for name, part in answer.items() if isinstance(part, dict) for key, value in part.items()}
    return {str(name): value for name, value in (answer | nested).items() if isinstance(value, float)}
