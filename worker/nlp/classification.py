"""Sentiment and any other text classification: one text, one of 2 to 1,000 labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from worker.nlp import Example, Task, families, folders, measures, texts
from worker.nlp import rows as rows_of
from worker.nlp.recipe import FULL, LORA, QUICK, TRAINING
from worker.nlp.rows import LEADS
from worker.spec import Field, Metric, Role, Setting, Trouble
from worker.spec import gettext_noop as _

HEAD = "ForSequenceClassification"
MOST_CLASSES = 1_000
FEWEST_ROWS = 10
LONGEST_TEXT = 1_000_000  # characters
LONGEST_LABEL = 200
SHOWN_SCORES = 20
MISSING = {  # what people and programs write where they have no label
    *("na", "n/a", "nan", "null", "?", "-", "--", "<na>", "(null)", "\\n", "undefined", "<null>", "nat", "missing value"),
    *("#n/a", "#ref!", "#name?", "#value!", "#div/0!", "#null!", "#num!"),
}


class Classification(Task):
    slug = "classification"
    aliases = ("sentiment", "text_classification", "sentiment_analysis", "sentence_pairs")
    title = _("Text classification")
    about = _("Assign labels to texts: sentiment, topic, intent, anything with 2 to 1,000 classes.")
    verb = _("Classify")
    roles: tuple[Role, ...] = (
        Role(
            "text",
            _("Text"),
            is_key=True,
            hints=("text", "review", "sentence", "comment", "content", "message", "body", "title", "标题", "评论", "文本", "内容"),
            leads=LEADS,
        ),
        Role(
            "pair",
            _("Second text"),
            required=False,
            help=_("Only where the label is about two texts, such as whether one follows from the other."),
            hints=("pair", "text_b", "sentence2", "hypothesis", "text2", "second", "sentence_b", "句子2"),
        ),
        Role(
            "label",
            _("Label"),
            kind="label",
            hints=(
                *("label", "sentiment", "class", "category", "target", "topic", "intent", "标签", "学科", "类别", "情感"),
                *("polarity", "emotion", "mood", "stars", "rating", "overall", "评分", "星级"),
            ),
        ),
    )
    inputs: tuple[Field, ...] = (
        Field("text", _("Text"), long=True, most_chars=20_000, hint=_("Enter a sentence, or choose an example")),
        Field("pair", _("Second text"), long=True, most_chars=20_000, required=False),
    )
    settings: tuple[Setting, ...] = (
        *TRAINING,
        Setting(
            "class_weights",
            _("Class weights"),
            "none",
            _("Balanced gives rows of rare classes more weight, so that the model does not just predict the most common label."),
            kind="choice",
            choices=(("none", _("Equal for all rows")), ("balanced", _("Balanced"))),
        ),
        Setting(
            "label_smoothing",
            _("Label smoothing"),
            0.0,
            _("Trusts every label a little less; helps when labels are noisy."),
            least=0,
            most=0.5,
        ),
    )
    methods = (FULL, QUICK, LORA)
    shapes = (families.ENCODER, families.DECODER)
    primary_metric = "macro_f1"
    metrics: tuple[Metric, ...] = (
        Metric("macro_f1", _("Macro-F1"), _("Mean of the F1 of each class: every class counts the same.")),
        Metric("accuracy", _("Accuracy"), _("Share of rows with the right label.")),
        Metric("macro_precision", _("Macro precision"), _("Of the rows given a label, the share that is right; mean over the classes.")),
        Metric("macro_recall", _("Macro recall"), _("Of the rows of a class, the share that was found; mean over the classes.")),
        Metric("matthews", _("Matthews correlation"), _("From -1 to 1; 0 is no better than chance, however unequal the classes.")),
        Metric(
            "calibration_error",
            _("Calibration error"),
            _("Gap between confidence and accuracy. Lower is better."),
            less_is_better=True,
        ),
    )
    answer_view = "labels"
    evaluation_view = "labels"
    example_file = "text,label\nThe battery died after a week.,negative\nWorks well.,positive\n"

    # --- data ---
    def problems(self, row: dict[str, Any]) -> list[tuple[str, str]]:
        text, label = str(row.get("text") or "").strip(), str(row.get("label") or "").strip()
        found: list[tuple[str, str]] = []
        if not text:
            found.append(("text", _("The text is empty.")))
        elif "pair" in row and not str(row["pair"] or "").strip():
            found.append(("pair", _("The second text is empty.")))
        elif len(text) > LONGEST_TEXT:
            found.append(("text", _("The text is longer than 1,000,000 characters.")))
        if not label:
            found.append(("label", _("The label is empty.")))
        elif label.lower() in MISSING:
            found.append(("label", _("The label is a placeholder for a missing value.")))
        elif len(label) > LONGEST_LABEL:
            found.append(("label", _("The label is longer than 200 characters. Is this the right column?")))
        return found

    def dataset_problems(self, rows: int, labels: dict[str, int], splits: dict[str, int]) -> list[dict[str, str]]:
        def say(code: str, level: str, message: str, role: str = "label") -> dict[str, str]:
            return {"code": code, "level": level, "message": message, "role": role}

        if rows < FEWEST_ROWS:
            there = {0: "There is no usable row.", 1: "There is only 1 usable row."}.get(rows, f"There are only {rows} usable rows.")
            return [say("too_few_rows", "error", f"{there} Add rows: at least 10 are needed, 100 are a start.", "")]
        if len(labels) < 2:
            only = next(iter(labels), "")
            return [say("one_class", "error", f"Every row has the label “{only}”. Add rows with another label, or choose another column.")]
        if len(labels) > MOST_CLASSES:
            text = f"The label column has {len(labels):,} different labels; 1,000 are the most. Choose another column, or join labels."
            return [say("too_many_classes", "error", text)]
        if len(labels) > rows * 0.8:
            text = f"There are {len(labels):,} labels in {rows:,} rows: this looks like an id, not a label. Choose another column."
            return [say("label_is_id", "error", text)]
        found: list[dict[str, str]] = []
        if splits and not splits.get("train"):
            found.append(say("no_train", "error", "No row is left for training. Give some rows the split “train”.", "split"))
        if splits and not splits.get("validation") and not splits.get("test"):
            found.append(say("no_held_out", "error", rows_of.none_held_out("Text"), "split"))
        rare = [name for name, count in labels.items() if count < 5]
        if rare:
            names = ", ".join(f"“{name}” ({labels[name]})" for name in rare[:5]) + (" …" if len(rare) > 5 else "")
            found.append(
                say("rare_class", "warning", f"Too few rows to learn or evaluate: {names}. Add rows, or merge these labels with others.")
            )
        common, least = max(labels, key=lambda n: labels[n]), min(labels.values())
        if labels[common] >= 10 * max(least, 1):
            text = f"The labels are unbalanced: {labels[common] / rows:.0%} of the rows are “{common}”. Judge by macro-F1 and turn on class weights."
            found.append(say("imbalance", "warning", text))
        return found

    def advice(self, rows: int, labels: dict[str, int]) -> dict[str, tuple[Any, str]]:
        most, least = max(labels.values(), default=0), min(labels.values(), default=0)
        found = dict[str, tuple[Any, str]]()
        if least and most >= 5 * least:
            reason = f"The most common label has {most / least:.0f} times as many rows as the rarest."
            found["class_weights"] = ("balanced", reason)
        if 0 < rows < 2000:
            found["epochs"] = (min(20, 6000 // rows), f"There are only {rows:,} rows, so the model needs to see them more often.")
        return found

    def baselines(self, train: Any, held_out: Any) -> dict[str, dict[str, Any]]:
        def columns(frame: Any) -> tuple[list[str], list[str]]:
            texts = frame["text"] if "pair" not in frame.columns else frame["text"] + " ||| " + frame["pair"]
            return texts.to_list(), frame["label"].to_list()

        return measures.text_baselines(columns(train), columns(held_out))

    def comes_with(self, config: dict[str, Any]) -> tuple[str, ...] | None:
        """A classifier whose labels have names, and of which one applies."""
        named = config.get("id2label")
        if not families.has_head(config, HEAD) or config.get("problem_type") == "multi_label_classification" or not isinstance(named, dict):
            return None
        names = tuple(str(named.get(str(number), "")) for number in range(len(named)))
        return names if len(names) > 1 and all(names) and not all(name.startswith("LABEL_") for name in names) else None

    # --- training ---
    def facts(self, rows: Any, settings: dict[str, Any]) -> dict[str, Any]:
        return {"inputs": ["text", "pair"] if "pair" in rows.columns else ["text"]}

    def load(self, base: str, labels: Sequence[str], settings: dict[str, Any], method: str, facts: dict[str, Any]) -> tuple[Any, Any]:
        tokenizer = folders.open_tokenizer(base)
        model = folders.open_model(
            base,
            "AutoModelForSequenceClassification",
            num_labels=len(labels),
            id2label=dict(enumerate(labels)),
            label2id={label: i for i, label in enumerate(labels)},
            problem_type="single_label_classification",
            new_head=True,
        )
        model.config.pad_token_id = tokenizer.pad_token_id
        tokenizer.model_max_length = min(int(settings["window"]), texts.longest(model, tokenizer))
        return model, tokenizer

    def encode(
        self, rows: Any, model: Any, tokenizer: Any, labels: Sequence[str], settings: dict[str, Any], learning: bool = True
    ) -> list[Example]:
        number = {label: i for i, label in enumerate(labels)}
        names = rows["label"].to_list()
        if set(names) - number.keys():
            raise Trouble("unknown_label", _("The rows have labels that the run does not know."), _("Import the dataset again."))
        firsts = rows["text"].to_list()
        seconds = rows["pair"].to_list() if "pair" in rows.columns else None
        found, cut = texts.within_window(tokenizer, firsts, seconds)
        inputs = (
            [{"text": t} for t in firsts] if seconds is None else [{"text": t, "pair": p} for t, p in zip(firsts, seconds, strict=True)]
        )
        return [{**f, "label": number[n], "inputs": i, "cut": c} for f, n, i, c in zip(found, names, inputs, cut, strict=True)]

    def criterion(self, train: list[Example], labels: Sequence[str], settings: dict[str, Any]) -> Callable[[Any, list[Example]], Any]:
        import torch

        weights = None
        if settings["class_weights"] == "balanced":
            counts = torch.bincount(torch.tensor([e["label"] for e in train]), minlength=len(labels)).clamp(min=1)
            weights = len(train) / (len(labels) * counts.float())

        def loss(logits: Any, examples: list[Example]) -> Any:
            targets = torch.tensor([e["label"] for e in examples], device=logits.device)
            scale = None if weights is None else weights.to(logits.device)
            smoothing = settings["label_smoothing"]
            whole = torch.nn.functional.cross_entropy(logits.float(), targets, weight=scale, label_smoothing=smoothing, reduction="sum")
            return whole / len(examples)  # not by the sum of the weights, so that a batch in parts gives the same

        return loss

    def score(self, found: list[Any], examples: list[Example], labels: Sequence[str]) -> tuple[dict[str, float], dict[str, Any]]:
        import numpy as np
        import torch

        probabilities = torch.stack(found).softmax(-1).numpy()
        true = np.array([e["label"] for e in examples])
        metrics, evaluation = measures.evaluate_labels(probabilities, true, labels)
        return metrics, {**evaluation, "examples": _three(examples, labels)}

    def intervals(self, found: list[Any], examples: list[Example], labels: Sequence[str]) -> dict[str, list[float]]:
        import numpy as np

        predicted = np.array([int(each.argmax()) for each in found])
        return measures.label_intervals(predicted, np.array([e["label"] for e in examples]), len(labels))

    # --- answering ---
    def open(self, folder: str) -> tuple[Any, Any, tuple[str, ...]]:
        model, tokenizer = texts.open_reader(folder, "AutoModelForSequenceClassification")
        names = model.config.id2label
        return model, tokenizer, tuple(names[i] for i in range(len(names)))

    def open_base(self, folder: str) -> tuple[Any, Any]:
        has_head = families.has_head(folders.check_folder(folder), HEAD)
        return texts.open_reader(folder, "AutoModelForSequenceClassification" if has_head else "AutoModel")

    def answer(
        self, model: Any, tokenizer: Any, labels: Sequence[str], inputs: list[dict[str, str]], parameters: dict[str, Any]
    ) -> list[dict[str, Any]]:
        import torch

        pairs = [i.get("pair", "") for i in inputs]
        if any(pairs) and not all(pairs):  # a text alone is laid otherwise than a text with an empty second one
            there = [bool(pair) for pair in pairs]
            kinds = {
                kind: iter(self.answer(model, tokenizer, labels, [i for i, t in zip(inputs, there, strict=True) if t is kind], parameters))
                for kind in (True, False)
            }
            return [next(kinds[kind]) for kind in there]
        rows, cut = texts.within_window(tokenizer, [i["text"] for i in inputs], pairs if any(pairs) else None)
        answers: list[dict[str, Any]] = [{} for _row in inputs]
        for group in texts.groups_of(rows, model):
            with torch.inference_mode():
                logits = model(**texts.padded([rows[i] for i in group], tokenizer, model.device)).logits
            for i, shares in zip(group, logits.float().softmax(-1).tolist(), strict=True):
                answers[i] = _answer(labels, shares, cut[i])
        return answers

    def answer_untuned(
        self, model: Any, tokenizer: Any, labels: Sequence[str], inputs: list[dict[str, str]], parameters: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """Of a base that tells these labels apart already, its answer; else the label whose name means most nearly what the
        text means: cosine of the mean of the last states."""
        if type(model).__name__.endswith(HEAD):
            names = tuple(model.config.id2label[i] for i in range(model.config.num_labels))
            if set(labels) <= set(names):
                return self.answer(model, tokenizer, names, inputs, parameters)
            model = model.base_model
        asked = [" ".join(filter(None, (i["text"], i.get("pair", "")))) for i in inputs]
        means, cut = texts.means(model, tokenizer, [*labels, *asked])
        sharpness = 20  # that sentence encoders are trained with
        shares = (sharpness * means[len(labels) :] @ means[: len(labels)].T).softmax(-1).tolist()
        return [_answer(labels, row, c) for row, c in zip(shares, cut[len(labels) :], strict=True)]


def _answer(labels: Sequence[str], shares: list[float], cut: int) -> dict[str, Any]:
    best = sorted(zip(labels, shares, strict=True), key=lambda pair: -pair[1])[:SHOWN_SCORES]
    return {"label": best[0][0], "scores": dict(best), "cut": cut}


def _three(examples: list[Example], labels: Sequence[str]) -> list[dict[str, str]]:
    """Three held-out rows to try: of different labels where possible, neither a word nor an essay."""
    handy = [e for e in examples if 20 <= len(e["inputs"]["text"]) <= 280] or examples
    first = {e["label"]: e for e in reversed(handy)}
    chosen = list(first.values())[:3]
    chosen += [e for e in handy if e not in chosen][: 3 - len(chosen)]
    return [{**{name: text[:1000] for name, text in e["inputs"].items()}, "label": labels[e["label"]]} for e in chosen]
