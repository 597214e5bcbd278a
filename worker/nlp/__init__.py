"""The tasks: one module each behind one protocol. The sixth task is one new file here and one line in TASKS.

Torch, transformers, polars and scikit-learn are imported inside functions only, so that the web may read `roles`,
`inputs` and `settings` from the module that the worker trains with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from worker.spec import Field, Role, Setting


class Task(Protocol):
    """What a task says about itself, and the few things that only it can do."""

    slug: str
    title: str
    about: str  # one sentence for people
    roles: tuple[Role, ...]
    inputs: tuple[Field, ...]
    settings: tuple[Setting, ...]
    methods: tuple[tuple[str, str, str], ...]  # (method, title, when to take it)
    primary_metric: str  # the metric that picks the best checkpoint and stands beside the baselines
    metrics: tuple[tuple[str, str, str], ...]  # (name, title, one-line meaning)

    # --- data (no torch) ---
    def problems(self, row: dict[str, Any]) -> list[tuple[str, str]]:
        """What is wrong with one mapped row, as (role, sentence); empty when it can be trained on."""

    def dataset_problems(self, rows: int, labels: dict[str, int], splits: dict[str, int]) -> list[dict[str, str]]:
        """What is wrong with the whole: [{"code", "level": "error"|"warning", "message", "role"?}]; errors forbid a version."""

    def advice(self, labels: dict[str, int]) -> dict[str, tuple[Any, str]]:
        """Settings that this label histogram asks for: {setting name: (value, the reason as a sentence)}."""

    def baselines(self, train: Any, held_out: Any) -> dict[str, dict[str, float]]:
        """Free baselines on two polars frames of mapped rows: {name: {metric: value}}, names are translatable keys."""

    # --- training (torch inside) ---
    def load(self, base: str, labels: Sequence[str], settings: dict[str, Any], method: str) -> tuple[Any, Any]:
        """(model, tokenizer) with this task's output layer on the base in folder `base`."""

    def encode(self, rows: Any, tokenizer: Any, labels: Sequence[str], settings: dict[str, Any]) -> list[dict[str, Any]]:
        """A polars frame as examples: input_ids (list of int) and label (int), one dict a row, in the frame's order."""

    def criterion(self, train: list[dict[str, Any]], labels: Sequence[str], settings: dict[str, Any]) -> Callable[[Any, Any], Any]:
        """The loss: a function of (rows, labels) logits and the rows' label numbers, as tensors on one device."""

    def score(self, outputs: Any, examples: list[dict[str, Any]], labels: Sequence[str]) -> tuple[dict[str, float], dict[str, Any]]:
        """(metrics, evaluation) of outputs (rows, labels) float logits: the numbers, and what the Evaluation tab draws."""

    # --- answering (torch inside) ---
    def open(self, folder: str) -> tuple[Any, Any, tuple[str, ...]]:
        """(model, tokenizer, labels) of a folder that a training run left, ready for `answer`."""

    def open_base(self, folder: str) -> tuple[Any, Any]:
        """(model, tokenizer) of a base model as it came, ready for `answer_untuned`."""

    def answer(
        self, model: Any, tokenizer: Any, labels: Sequence[str], inputs: list[dict[str, str]], parameters: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """One answer for each of `inputs`, a batch: classification gives {"label", "scores": {label: p}, "cut": bool}."""

    def answer_untuned(self, model: Any, tokenizer: Any, labels: Sequence[str], inputs: list[dict[str, str]]) -> list[dict[str, Any]]:
        """The same from the base model without any training, for the comparison beside the answer."""


def _tasks() -> dict[str, Task]:
    from worker.nlp.classification import Classification

    return {task.slug: task for task in (Classification(),)}


TASKS: dict[str, Task] = _tasks()
