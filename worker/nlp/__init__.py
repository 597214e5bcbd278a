"""The tasks: one module each behind one protocol. The sixth task is one new file here and one line in `_tasks`.

Torch, transformers, polars, scikit-learn and sacrebleu are imported inside functions only, so that the web may read
`roles`, `inputs`, `settings` and `parameters` from the module that the worker trains with.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from worker.nlp import families
from worker.nlp import rows as rows_of
from worker.spec import Field, Metric, Recipe, Role, Setting, SpecError

Example = dict[str, Any]  # one row (or one window of it) as token numbers, with what it should become
Answer = dict[str, Any]  # docs/internals.md, "Answers"


class Task:
    """What a task says about itself, and the few things that only it can do. A verb without a body below is the task's to write."""

    # --- words ---
    slug: str
    aliases: tuple[str, ...] = ()  # other names under which the API knows it
    title: str
    about: str  # one sentence for people
    verb: str = "Ask the model"  # what the button says that asks
    roles: tuple[Role, ...]  # the columns that a file may have; exactly one is_key, first the texts
    inputs: tuple[Field, ...]  # what the playground asks for
    parameters: tuple[Setting, ...] = ()  # of an answer, each with hard bounds; the playground's drawer
    settings: tuple[Setting, ...]  # of a run
    methods: tuple[Recipe, ...]
    shapes: tuple[str, ...] = (families.ENCODER,)  # kinds of base model that can learn it, the usual one first
    metrics: tuple[Metric, ...]
    primary_metric: str  # stands beside the baselines
    picked_by: str = ""  # the metric that picks the best checkpoint where it is not the primary one; may be "loss"
    answer_view: str = "text"  # templates/playground/answers/<view>.html and the element that draws it
    evaluation_view: str = "texts"  # templates/runs/evaluations/<view>.html
    streams: bool = False  # whether `stream` gives an answer piece by piece
    example_file: str = ""  # a few lines of a file that would do, for the empty state

    # --- data (no torch) ---
    def lacking(self, mapping: Mapping[str, str]) -> list[Role]:
        """The roles for which a column must still be chosen; `mapping` is {role: column}."""
        return [role for role in self.roles if role.required and role.name not in mapping]

    def problems(self, row: dict[str, Any]) -> list[tuple[str, str]]:
        """What is wrong with one mapped row, as (role, sentence); empty when it can be trained on.

        `row` has a key for each mapped role; a role of kind number comes as text too.
        """
        raise NotImplementedError

    def doubts(self, row: dict[str, Any]) -> list[tuple[str, str]]:
        """What of a mapped row without problems a person should see before it is learnt, as (role, sentence)."""
        return []

    def kept(self, row: dict[str, Any]) -> dict[str, Any]:
        """A mapped row without problems as a version keeps it."""
        return row

    def dataset_problems(self, rows: int, labels: dict[str, int], splits: dict[str, int]) -> list[dict[str, str]]:
        """What is wrong with the whole: [{"code", "level": "error"|"warning", "message", "role"?}]; errors forbid a version."""
        return rows_of.dataset_problems(rows, splits, next((role.label for role in self.roles if role.is_key), "Text"))

    def advice(self, rows: int, labels: dict[str, int]) -> dict[str, tuple[Any, str]]:
        """Settings that so many rows and this label histogram ask for: {setting name: (value, the reason as a sentence)}."""
        return rows_of.advice(rows)

    def baselines(self, train: Any, held_out: Any) -> dict[str, dict[str, Any]]:
        """Baselines on two polars frames of mapped rows: {name: {metric: value}}; names are keys of BASELINES. Beside the metrics
        of each may stand "intervals": {metric: [low, high]}."""
        return {}

    # --- models of others (no torch) ---
    def comes_with(self, config: dict[str, Any]) -> tuple[str, ...] | None:
        """The labels (often none) that a model which was not made here already answers with; None where it must learn this task
        first. `config` is what config.json says."""
        return None

    # --- training (torch inside) ---
    def facts(self, rows: Any, settings: dict[str, Any]) -> dict[str, Any]:
        """What answers will need to know of the training rows, a polars frame: kept as `config.tunebench` of the model."""
        return {}

    def load(self, base: str, labels: Sequence[str], settings: dict[str, Any], method: str, facts: dict[str, Any]) -> tuple[Any, Any]:
        """(model, tokenizer) with this task's output layer on the base in folder `base`."""
        raise NotImplementedError

    def encode(
        self, rows: Any, model: Any, tokenizer: Any, labels: Sequence[str], settings: dict[str, Any], learning: bool = True
    ) -> list[Example]:
        """A polars frame as examples in the frame's order: `input_ids`, perhaps `token_type_ids`, and what `criterion` and
        `score` need. `row` says which row of the frame an example belongs to where a row makes several, `cut` that a part
        of it did not fit.

        Encoder-decoders and decoders: `labels` (token numbers; -100 where a decoder's input is not to be learnt) and
        `weight` (how many of them count). `learning` is False for held-out rows, of which nothing may be left out.
        """
        raise NotImplementedError

    def criterion(self, train: list[Example], labels: Sequence[str], settings: dict[str, Any]) -> Callable[[Any, list[Example]], Any]:
        """The loss: a function of a pass's outputs and the examples they belong to; the mean by `weight` (1 where there is none)."""
        raise NotImplementedError

    def read(self, outputs: Any, examples: list[Example], criterion: Callable[[Any, list[Example]], Any]) -> list[Any]:
        """What scoring needs of each example's outputs, small and on the processor, while a group's outputs are in memory."""
        return [each.float().cpu() for each in outputs]

    def score(self, found: list[Any], examples: list[Example], labels: Sequence[str]) -> tuple[dict[str, float], dict[str, Any]]:
        """(metrics, evaluation) of what `read` found: the numbers, and what the Evaluation tab draws."""
        raise NotImplementedError

    def intervals(self, found: list[Any], examples: list[Example], labels: Sequence[str]) -> dict[str, list[float]]:
        """How sure the metrics of `score` are, by so many rows: {metric: [low, high]} (worker/nlp/certainty.py). Asked once, of the
        last scoring."""
        return {}

    def trial(
        self, model: Any, tokenizer: Any, labels: Sequence[str], rows: Any, settings: dict[str, Any]
    ) -> Generator[tuple[int, int], None, tuple[dict[str, float], dict[str, Any]]] | None:
        """For tasks whose answers are written: the model used on held-out rows (a polars frame) as people will use it.

        Yields (rows done, of how many); returns (metrics, evaluation), which are added to those of `score`; its evaluation has the
        `intervals` of its metrics. None: scoring says it all.
        """
        return None

    def compares_untuned(self, model: Any) -> bool:
        """Whether the base of this model can be scored without any training, as the rival that costs nothing."""
        return False

    def leave(self, model: Any, tokenizer: Any, facts: dict[str, Any]) -> None:
        """Let the files of a model that is about to be saved say all that its answers depend on (languages, ends, lengths, the form of
        a chat), so that transformers alone answers as the playground does."""

    # --- answering (torch inside) ---
    def open(self, folder: str) -> tuple[Any, Any, tuple[str, ...]]:
        """(model, tokenizer, labels) of a folder that a training run left, ready for `answer`."""
        raise NotImplementedError

    def open_base(self, folder: str) -> tuple[Any, Any]:
        """(model, tokenizer) of a base model as it came, ready for `answer_untuned`."""
        raise NotImplementedError

    def answer(
        self, model: Any, tokenizer: Any, labels: Sequence[str], inputs: list[dict[str, str]], parameters: dict[str, Any]
    ) -> list[Answer]:
        """One answer for each of `inputs`, a batch (docs/internals.md, "Answers"). `parameters` were read by `read_parameters`."""
        raise NotImplementedError

    def answer_untuned(
        self, model: Any, tokenizer: Any, labels: Sequence[str], inputs: list[dict[str, str]], parameters: dict[str, Any]
    ) -> list[Answer]:
        """The same from the base model without any training, for the comparison beside the answer."""
        raise NotImplementedError

    def stream(
        self, model: Any, tokenizer: Any, labels: Sequence[str], inputs: dict[str, str], parameters: dict[str, Any]
    ) -> Generator[dict[str, Any], None, Answer]:
        """The answer piece by piece: yields {"text": what was added, ...} after each token, returns the whole answer.
        The model is one that `open` or `open_base` gave: a task that `streams` is answered by this alone.

        Between two pieces the caller may do other work, or close the generator: then nothing more is computed.
        """
        raise NotImplementedError
        yield

    # --- derived ---
    def recipes(self, shape: str) -> tuple[Recipe, ...]:
        """The methods that work for a base model of this shape."""
        return tuple(recipe for recipe in self.methods if not recipe.shapes or shape in recipe.shapes)

    def known_settings(self, method: str, shape: str = "") -> tuple[Setting, ...]:
        """The settings that this method knows, for a base model of this shape (empty: of any)."""
        return tuple(
            s for s in self.settings if (not s.methods or method in s.methods) and (not s.shapes or not shape or shape in s.shapes)
        )

    def metric(self, name: str) -> Metric | None:
        return next((metric for metric in self.metrics if metric.name == name), None)

    def read_parameters(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Every parameter, those of `given` checked against their bounds. Raises SpecError that names the field."""
        known = {parameter.name: parameter for parameter in self.parameters}
        for name in given:
            if name not in known:
                raise SpecError(name, f"There is no parameter called “{name}”. There are: {', '.join(known) or 'none'}.")
        return {name: parameter.read(given.get(name, parameter.default)) for name, parameter in known.items()}

    def check_effects(self, given: Mapping[str, Any], shape: str) -> None:
        """Refuses what was asked for and would do nothing: for a model of this shape, or beside the other parameters. What is
        given as it is by default is no wish. Raises SpecError that names the field and why."""
        values = self.read_parameters(given)
        known = {parameter.name: parameter for parameter in self.parameters}
        for each in (known[name] for name in given if values[name] != known[name].default):
            if each.shapes and shape not in each.shapes:
                kinds = " or ".join(each.shapes)
                raise SpecError(each.name, f"{each.label} has no effect here: it needs a model of the kind {kinds}, this is {shape}.")
            if each.needs and values[each.needs[0]] < each.needs[1]:
                other, least = known[each.needs[0]], each.needs[1]
                reason = f"{each.label} has no effect while {other.name} is {values[other.name]:g}: it needs {least:g} or more."
                raise SpecError(each.name, f"{reason} Raise {other.name}, or leave {each.name} out.")
            if each.within and values[each.name] > values[each.within]:
                limit = f"{known[each.within].name} ({values[each.within]:g})"
                raise SpecError(each.name, f"{each.label} cannot be more than {limit}. Raise that, or lower {each.name}.")


def _tasks() -> dict[str, Task]:
    from worker.nlp.classification import Classification
    from worker.nlp.generation import Generation
    from worker.nlp.question_answering import QuestionAnswering
    from worker.nlp.summarization import Summarization
    from worker.nlp.translation import Translation

    return {task.slug: task for task in (Classification(), Translation(), Summarization(), QuestionAnswering(), Generation())}


def _kept_for_later() -> dict[str, Task]:
    from worker.nlp.preferences import Preferences

    return {kind.slug: kind for kind in (Preferences(),)}


TASKS: dict[str, Task] = _tasks()
KINDS: Mapping[str, Task] = ChainMap(TASKS, _kept_for_later())  # what a dataset may hold; a run knows those of TASKS alone


def slug_of(name: str) -> str:
    """The slug of a task, or of another kind of dataset, by any of its names ("sentiment", "text-generation"); the name itself when there is none."""
    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    return next((slug for slug, task in KINDS.items() if plain in (slug, *task.aliases)), name)
