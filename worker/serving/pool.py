"""The warm models: the least recently used goes when a new one needs its place."""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker import machine
from worker.nlp import TASKS, Answer, Task, texts
from worker.serving.questions import Key
from worker.spec import Trouble
from worker.weights import Unusable, look

log = logging.getLogger(__name__)
IMPORTS_S = 8.0  # seconds from the start of the process until torch and transformers stand, before it was measured
SECONDS_PER_BYTE = 0.5 / 90e6  # of weights, before a load was measured
OPENING_S = 0.5  # seconds that every load takes, however small the model
PART_S = 2.0  # a part of a group takes about so long at most: then others have their turn
ENGINES = ("auto", "torch", "fp32", "int8")


@dataclass
class Warm:
    task: Task
    model: Any
    tokenizer: Any
    labels: tuple[str, ...]
    bytes: int
    engine: str = "torch"
    is_settled: bool = False  # on its engine
    seconds_per_text: float = 0.1  # lately

    def __post_init__(self) -> None:
        self.own = getattr(self.model.config, "tunebench", None)

    @property
    def part(self) -> int:
        """How many texts to answer together."""
        return max(1, int(PART_S / self.seconds_per_text))

    def answer(
        self,
        inputs: list[dict[str, str]],
        labels: Sequence[str],
        parameters: dict[str, Any],
        untuned: bool,
        facts: dict[str, Any] | None = None,
    ) -> list[Answer]:
        ask = self.task.answer_untuned if untuned else self.task.answer
        if untuned:
            self.know(facts)
        began = time.monotonic()
        try:
            answers = ask(self.model, self.tokenizer, self.labels or labels, inputs, parameters)
            return [self.weighed(row, answer) for row, answer in zip(inputs, answers, strict=True)]
        finally:
            self.seconds_per_text += 0.5 * ((time.monotonic() - began) / len(inputs) - self.seconds_per_text)

    def know(self, facts: dict[str, Any] | None) -> None:
        """A base is asked as the model that was made of it: in the same languages, in the same form."""
        self.model.config.tunebench = facts or self.own

    def stream(
        self,
        row: dict[str, str],
        labels: Sequence[str],
        parameters: dict[str, Any],
        untuned: bool,
        facts: dict[str, Any] | None = None,
    ) -> Generator[dict[str, Any], None, Answer]:
        if untuned:  # within the first step, in which the task reads them: others may be asked of the same base in between
            self.know(facts)
        answer = yield from self.task.stream(self.model, self.tokenizer, self.labels or labels, row, parameters)
        return self.weighed(row, answer)

    def weighed(self, row: dict[str, str], answer: Answer) -> Answer:
        """The answer with how much of the question the model did not know."""
        return {**answer, "unknown": texts.unknown_share(self.tokenizer, list(row.values()))}


class Pool:
    def __init__(self, budget: int, device: str = "cpu", engine: str = "torch") -> None:
        self.budget = budget  # bytes of weights in memory
        self.device = device
        self.engine = engine if engine in ENGINES else "auto"
        self.threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
        self.warm: OrderedDict[Key, Warm] = OrderedDict()
        self.changing = threading.Lock()  # of `warm`
        self.seconds_per_byte = SECONDS_PER_BYTE
        self.began = time.monotonic()
        self.is_imported = False

    def imports(self) -> None:
        """The slow imports, once, before the first question is taken up."""
        import torch
        import transformers.models.bert.modeling_bert  # noqa: F401  (three seconds that the first load need not wait for)

        if self.device == "auto":
            self.device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.set_num_threads(self.threads)
        torch.set_grad_enabled(False)  # in this thread, which answers
        self.is_imported = True

    def expected_s(self, key: Key) -> float:
        """Seconds until `key` can answer, judged by the loads so far; 0 when it is warm."""
        if key in self.warm:
            return 0.0
        starting = 0.0 if self.is_imported else max(1.0, IMPORTS_S - (time.monotonic() - self.began))
        size = sum(file.stat().st_size for file in Path(key.folder).glob("*.safetensors"))
        return round(starting + OPENING_S + size * self.seconds_per_byte, 1)

    def get(self, key: Key, busy: Collection[Key] = ()) -> Warm:
        """The warm model, opened when it is not; those of `busy` keep their places. Raises Unusable with a sentence."""
        with self.changing:
            if warm := self.warm.get(key):
                self.warm.move_to_end(key)
        if not warm:
            return self.open(key, busy)
        if not warm.is_settled:  # asked a second time: worth the work
            warm.is_settled = True
            if self.device == "cpu" and not key.untuned and self.engine != "torch":
                threading.Thread(target=self.hasten, args=[key, warm], name=f"hasten {key.folder}", daemon=True).start()
        return warm

    def open(self, key: Key, busy: Collection[Key]) -> Warm:
        found = look(Path(key.folder))
        needed = 4 * found.parameters  # they are opened in fp32
        if needed > self.budget:
            raise Unusable(
                f"The model needs {needed / 1e9:.1f} GB of memory and the serve worker may use {self.budget / 1e9:.1f} GB. "
                "Raise SERVE_MEMORY or choose a smaller model."
            )
        with self.changing:
            self.make_room(needed, busy)
        gc.collect()
        began = time.monotonic()
        warm = self.load(key)
        took = time.monotonic() - began
        self.seconds_per_byte += 0.5 * (max(0.0, took - OPENING_S) / max(found.bytes, 1) - self.seconds_per_byte)
        log.info("opened %s in %.2f s, %d MB", key.folder, took, warm.bytes // 10**6)
        with self.changing:
            self.warm[key] = warm
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
        except Trouble as trouble:
            raise Unusable(f"{trouble.text} {trouble.remedy}") from trouble
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a tokenizer may panic in Rust, and that is no Exception
            log.exception("could not open %s", key.folder)
            if machine.ran_out(error):
                raise Unusable("Ran out of memory while the model was opened. Raise SERVE_MEMORY or choose a smaller model.") from error
            raise Unusable("The model cannot be opened: its files do not fit together. Copy it again or train it anew.") from error
        return Warm(task, model, tokenizer, tuple(labels), bytes_of(model))

    def make_room(self, needed: int, busy: Collection[Key] = ()) -> None:
        kept = sum(warm.bytes for key, warm in self.warm.items() if key in busy)
        for key in list(self.warm) if kept + needed <= self.budget else []:  # the least recently used first
            if self.used + needed <= self.budget:
                return
            if key not in busy:
                del self.warm[key]
                log.info("let %s go", key.folder)
        if self.used + needed > self.budget:
            raise Unusable("The models that are answering now leave no room for this one. Ask again in a moment, or raise SERVE_MEMORY.")

    @property
    def used(self) -> int:
        return sum(warm.bytes for warm in self.warm.values())

    # --- a thread of its own, beside the answers ---
    def hasten(self, key: Key, warm: Warm) -> None:
        """Put `warm` on a faster engine if it gives the same answers there; until then, and otherwise, it goes on as it is."""
        from worker.serving.engine import hastened

        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)  # answers come first
        with self.changing:
            has_room = self.used + 2 * warm.bytes <= self.budget
        if not has_room:
            return log.info("no room to try a faster engine for %s", key.folder)
        try:
            fast = hastened(warm.task, warm.model, warm.tokenizer, warm.labels, key.folder, self.engine, self.threads)
        except Exception:
            return log.exception("no faster engine for %s", key.folder)
        if fast:
            with self.changing:
                if self.warm.get(key) is warm:
                    size = bytes_of(fast.model) + fast.bytes
                    self.warm[key] = Warm(warm.task, fast.model, warm.tokenizer, warm.labels, size, fast.engine, is_settled=True)


def bytes_of(model: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in (*model.parameters(), *model.buffers()))
