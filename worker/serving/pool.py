"""The warm models: the least recently used goes when a new one needs its place."""

from __future__ import annotations

import gc
import logging
import os
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.nlp import TASKS, Task
from worker.serving.questions import Key
from worker.weights import Unusable, look

log = logging.getLogger(__name__)
IMPORTS_S = 8.0  # seconds from the start of the process until torch and transformers stand, before it was measured
SECONDS_PER_BYTE = 0.5 / 90e6  # of weights, before a load was measured
OPENING_S = 0.5  # seconds that every load takes, however small the model


@dataclass
class Warm:
    task: Task
    model: Any
    tokenizer: Any
    labels: tuple[str, ...]
    bytes: int

    def answer(
        self, inputs: list[dict[str, str]], labels: Sequence[str], parameters: dict[str, Any], untuned: bool
    ) -> list[dict[str, Any]]:
        if untuned:
            return self.task.answer_untuned(self.model, self.tokenizer, labels, inputs, parameters)
        return self.task.answer(self.model, self.tokenizer, self.labels or labels, inputs, parameters)


class Pool:
    def __init__(self, budget: int, device: str = "cpu") -> None:
        self.budget = budget  # bytes of weights in memory
        self.device = device
        self.warm: OrderedDict[Key, Warm] = OrderedDict()
        self.seconds_per_byte = SECONDS_PER_BYTE
        self.began = time.monotonic()
        self.is_imported = False

    def imports(self) -> None:
        """The slow imports, once, before the first question is taken up."""
        import torch
        import transformers.models.bert.modeling_bert  # noqa: F401  (three seconds that the first load need not wait for)

        if self.device == "auto":
            self.device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        self.is_imported = True

    def expected_s(self, key: Key) -> float:
        """Seconds until `key` can answer, judged by the loads so far; 0 when it is warm."""
        if key in self.warm:
            return 0.0
        starting = 0.0 if self.is_imported else max(1.0, IMPORTS_S - (time.monotonic() - self.began))
        size = sum(file.stat().st_size for file in Path(key.folder).glob("*.safetensors"))
        return round(starting + OPENING_S + size * self.seconds_per_byte, 1)

    def get(self, key: Key) -> Warm:
        """The warm model, opened when it is not. Raises Unusable with a sentence."""
        if key not in self.warm:
            self.warm[key] = self.open(key)
        self.warm.move_to_end(key)
        return self.warm[key]

    def open(self, key: Key) -> Warm:
        needed = look(Path(key.folder)).bytes
        if needed > self.budget:
            raise Unusable(
                f"The model needs {needed / 1e9:.1f} GB of memory and the serve worker may use {self.budget / 1e9:.1f} GB. "
                "Raise SERVE_MEMORY or choose a smaller model."
            )
        self.make_room(needed)
        began = time.monotonic()
        warm = self.load(key)
        took = time.monotonic() - began
        self.seconds_per_byte += 0.5 * (max(0.0, took - OPENING_S) / max(needed, 1) - self.seconds_per_byte)
        log.info("opened %s in %.2f s, %d MB", key.folder, took, warm.bytes // 10**6)
        return warm

    def load(self, key: Key) -> Warm:
        task = TASKS[key.task]
        try:
            if key.untuned:
                model, tokenizer = task.open_base(key.folder)
                labels: tuple[str, ...] = ()
            else:
                model, tokenizer, labels = task.open(key.folder)
            model = model.eval().to(self.device)
            size = sum(tensor.numel() * tensor.element_size() for tensor in (*model.parameters(), *model.buffers()))
        except MemoryError:
            raise Unusable("There is not enough memory to open the model. Stop something else or choose a smaller model.") from None
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a tokenizer may panic in Rust, and that is no Exception
            log.exception("could not open %s", key.folder)
            raise Unusable("The model cannot be opened: its files do not fit together. Copy it again or train it anew.") from error
        return Warm(task, model, tokenizer, tuple(labels), size)

    def make_room(self, needed: int) -> None:
        while self.warm and sum(warm.bytes for warm in self.warm.values()) + needed > self.budget:
            key, _ = self.warm.popitem(last=False)
            log.info("let %s go", key.folder)
            gc.collect()
