"""Sentiment and any other text classification: one text, one of 2 to 1,000 labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from worker.nlp import folders, measures
from worker.nlp.recipe import TRAINING
from worker.spec import Field, Role, Setting, Trouble
from worker.spec import gettext_noop as _

MOST_CLASSES = 1_000
FEWEST_ROWS = 10
LONGEST_TEXT = 1_000_000  # characters
LONGEST_LABEL = 200
SHOWN_SCORES = 20
MISSING = {"na", "n/a", "nan", "null", "?", "-", "--", "#n/a"}  # what people write where they have no label


class Classification:
    slug = "classification"
    title = _("Text classification")
    about = _("Sort texts into labels: sentiment, topic, intent, anything with 2 to 1,000 classes.")
    roles: tuple[Role, ...] = (
        Role(
            "text",
            _("Text"),
            hints=("text", "review", "sentence", "comment", "content", "message", "body", "title", "标题", "评论", "文本", "内容"),
        ),
        Role(
            "label",
            _("Label"),
            is_label=True,
            hints=(
                *("label", "sentiment", "class", "category", "target", "topic", "intent", "标签", "学科", "类别", "情感"),
                *("polarity", "emotion", "mood", "stars", "rating", "overall", "评分", "星级"),
            ),
        ),
    )
    inputs: tuple[Field, ...] = (Field("text", _("Text"), long=True, most_chars=20_000),)
    settings: tuple[Setting, ...] = (
        *TRAINING,
        Setting(
            "class_weights",
            _("Class weights"),
            "none",
            _("Balanced: a row of a rare class counts for more, so that the model does not simply say the commonest label."),
            kind="choice",
            choices=(("none", _("All rows count the same")), ("balanced", _("Balanced"))),
        ),
        Setting(
            "label_smoothing",
            _("Label smoothing"),
            0.0,
            _("Doubts every label by this much; helps when labels are noisy."),
            least=0,
            most=0.5,
        ),
    )
    methods: tuple[tuple[str, str, str], ...] = (
        ("full", _("Full"), _("Every weight learns. Best scores; takes the longest.")),
        (
            "quick",
            _("Quick"),
            _("The lower layers stay as they are and are computed once. Nearly the same scores in a fraction of the time."),
        ),
        ("lora", _("LoRA"), _("Small adapters learn beside frozen weights. Small downloads; for large base models.")),
    )
    primary_metric = "macro_f1"
    metrics: tuple[tuple[str, str, str], ...] = (
        ("macro_f1", _("Macro-F1"), _("Mean of the F1 of each class: every class counts the same.")),
        ("accuracy", _("Accuracy"), _("Share of rows labelled right.")),
        ("macro_precision", _("Macro precision"), _("Of the rows given a label, the share that is right; mean over the classes.")),
        ("macro_recall", _("Macro recall"), _("Of the rows of a class, the share that was found; mean over the classes.")),
        ("calibration_error", _("Calibration error"), _("How far stated probabilities lie from how often they are right. Less is better.")),
    )

    # --- data ---
    def problems(self, row: dict[str, Any]) -> list[tuple[str, str]]:
        text, label = str(row.get("text") or "").strip(), str(row.get("label") or "").strip()
        found: list[tuple[str, str]] = []
        if not text:
            found.append(("text", _("The text is empty.")))
        elif len(text) > LONGEST_TEXT:
            found.append(("text", _("The text is longer than 1,000,000 characters.")))
        if not label:
            found.append(("label", _("The label is empty.")))
        elif label.lower() in MISSING:
            found.append(("label", _("The label only says that there is none.")))
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
            found.append(
                say("no_held_out", "error", "No row is held out to measure the model. Give some rows the split “validation”.", "split")
            )
        rare = [name for name, count in labels.items() if count < 5]
        if rare:
            names = ", ".join(f"“{name}” ({labels[name]})" for name in rare[:5]) + (" …" if len(rare) > 5 else "")
            found.append(
                say("rare_class", "warning", f"Too few rows to learn or measure: {names}. Add rows, or join these labels with others.")
            )
        common, least = max(labels, key=lambda n: labels[n]), min(labels.values())
        if labels[common] >= 10 * max(least, 1):
            text = (
                f"The labels are unbalanced: {labels[common] / rows:.0%} of the rows are “{common}”. Look at macro-F1, use class weights."
            )
            found.append(say("imbalance", "warning", text))
        return found

    def advice(self, labels: dict[str, int]) -> dict[str, tuple[Any, str]]:
        most, least = max(labels.values(), default=0), min(labels.values(), default=0)
        rows, found = sum(labels.values()), dict[str, tuple[Any, str]]()
        if least and most >= 5 * least:
            reason = f"The commonest label has {most / least:.0f} times as many rows as the rarest."
            found["class_weights"] = ("balanced", reason)
        if 0 < rows < 2000:
            found["epochs"] = (min(20, 6000 // rows), f"There are only {rows:,} rows: the model must see them more often.")
        return found

    def baselines(self, train: Any, held_out: Any) -> dict[str, dict[str, float]]:
        def columns(frame: Any) -> tuple[list[str], list[str]]:
            return frame["text"].to_list(), frame["label"].to_list()

        return measures.text_baselines(columns(train), columns(held_out))

    # --- training ---
    def load(self, base: str, labels: Sequence[str], settings: dict[str, Any], method: str) -> tuple[Any, Any]:
        tokenizer = folders.open_tokenizer(base)
        model = folders.open_model(
            base,
            "AutoModelForSequenceClassification",
            num_labels=len(labels),
            id2label=dict(enumerate(labels)),
            label2id={label: i for i, label in enumerate(labels)},
            problem_type="single_label_classification",
            ignore_mismatched_sizes=True,  # a base that already was a classifier gets a new head
        )
        model.config.pad_token_id = tokenizer.pad_token_id
        tokenizer.model_max_length = min(int(settings["window"]), _longest(model, tokenizer))
        return model, tokenizer

    def encode(self, rows: Any, tokenizer: Any, labels: Sequence[str], settings: dict[str, Any]) -> list[dict[str, Any]]:
        number = {label: i for i, label in enumerate(labels)}
        texts = rows["text"].to_list()
        ids = tokenizer(texts, truncation=True, padding=False, max_length=tokenizer.model_max_length, return_attention_mask=False)[
            "input_ids"
        ]
        names = rows["label"].to_list()
        if set(names) - number.keys():
            raise Trouble("unknown_label", _("The rows have labels that the run does not know."), _("Import the dataset again."))
        return [{"input_ids": i, "label": number[n], "text": t} for i, n, t in zip(ids, names, texts, strict=True)]

    def criterion(self, train: list[dict[str, Any]], labels: Sequence[str], settings: dict[str, Any]) -> Callable[[Any, Any], Any]:
        import torch

        weights = None
        if settings["class_weights"] == "balanced":
            counts = torch.bincount(torch.tensor([e["label"] for e in train]), minlength=len(labels)).clamp(min=1)
            weights = len(train) / (len(labels) * counts.float())

        def loss(logits: Any, targets: Any) -> Any:
            scale = None if weights is None else weights.to(logits.device)
            return torch.nn.functional.cross_entropy(logits.float(), targets, weight=scale, label_smoothing=settings["label_smoothing"])

        return loss

    def score(self, outputs: Any, examples: list[dict[str, Any]], labels: Sequence[str]) -> tuple[dict[str, float], dict[str, Any]]:
        import numpy as np
        import torch

        probabilities = torch.as_tensor(outputs).float().softmax(-1).cpu().numpy()
        true = np.array([e["label"] for e in examples])
        metrics, evaluation = measures.evaluate_labels(probabilities, true, labels)
        return metrics, {**evaluation, "examples": _three(examples, labels)}

    # --- answering ---
    def open(self, folder: str) -> tuple[Any, Any, tuple[str, ...]]:
        model = folders.open_model(folder, "AutoModelForSequenceClassification").eval()
        names = model.config.id2label
        return model, folders.open_tokenizer(folder), tuple(names[i] for i in range(len(names)))

    def open_base(self, folder: str) -> tuple[Any, Any]:
        model, tokenizer = folders.open_model(folder, "AutoModel").eval(), folders.open_tokenizer(folder)
        tokenizer.model_max_length = _longest(model, tokenizer)
        return model, tokenizer

    def answer(
        self, model: Any, tokenizer: Any, labels: Sequence[str], inputs: list[dict[str, str]], parameters: dict[str, Any]
    ) -> list[dict[str, Any]]:
        import torch

        ids, cut = _tokens([i["text"] for i in inputs], tokenizer)
        answers: list[dict[str, Any]] = [{} for _row in inputs]
        for group in _alike(ids):
            with torch.inference_mode():
                logits = model(**_padded([ids[i] for i in group], tokenizer, model.device)).logits
            for i, shares in zip(group, logits.float().softmax(-1).tolist(), strict=True):
                answers[i] = _answer(labels, shares, cut[i])
        return answers

    def answer_untuned(self, model: Any, tokenizer: Any, labels: Sequence[str], inputs: list[dict[str, str]]) -> list[dict[str, Any]]:
        """The label whose name means most nearly what the text means: cosine of the mean of the last states."""
        import torch

        ids, cut = _tokens([*labels, *(i["text"] for i in inputs)], tokenizer)
        means: list[Any] = [None] * len(ids)
        for group in _alike(ids):
            x = _padded([ids[i] for i in group], tokenizer, model.device)
            with torch.inference_mode():
                states = model(**x).last_hidden_state.float()
            real = x["attention_mask"].unsqueeze(-1)
            mean = torch.nn.functional.normalize((states * real).sum(1) / real.sum(1), dim=-1)
            for i, row in zip(group, mean, strict=True):
                means[i] = row
        names, texts = torch.stack(means[: len(labels)]), torch.stack(means[len(labels) :])
        shares = (20 * texts @ names.T).softmax(-1).tolist()  # 20: the sharpness that sentence encoders are trained with
        return [_answer(labels, row, c) for row, c in zip(shares, cut[len(labels) :], strict=True)]


def _longest(model: Any, tokenizer: Any) -> int:
    """The most tokens of a row that model and tokenizer allow."""
    table = int(getattr(model.config, "max_position_embeddings", None) or 1_000_000)
    return min(table - folders.first_position(model), int(tokenizer.model_max_length))


def _tokens(texts: list[str], tokenizer: Any) -> tuple[list[list[int]], list[bool]]:
    """Token ids within the window, and which texts were longer."""
    longest = tokenizer.model_max_length
    probe = tokenizer(texts, truncation=True, padding=False, max_length=longest + 1, return_attention_mask=False)["input_ids"]
    cut = [len(row) > longest for row in probe]
    if any(cut):
        probe = tokenizer(texts, truncation=True, padding=False, max_length=longest, return_attention_mask=False)["input_ids"]
    return [row or [tokenizer.pad_token_id] for row in probe], cut


def _alike(ids: list[list[int]]) -> list[list[int]]:
    """Numbers of rows, in groups of like length: on a processor, padding costs more than a second call."""
    groups: list[list[int]] = []
    for i in sorted(range(len(ids)), key=lambda i: len(ids[i])):
        if groups and len(groups[-1]) < 16 and len(ids[i]) <= 1.2 * len(ids[groups[-1][0]]):
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def _padded(ids: list[list[int]], tokenizer: Any, device: Any) -> dict[str, Any]:
    import torch

    longest = max(map(len, ids))
    pad = tokenizer.pad_token_id or 0
    return {
        "input_ids": torch.tensor([row + [pad] * (longest - len(row)) for row in ids], device=device),
        "attention_mask": torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids], device=device),
    }


def _answer(labels: Sequence[str], shares: list[float], cut: bool) -> dict[str, Any]:
    best = sorted(zip(labels, shares, strict=True), key=lambda pair: -pair[1])[:SHOWN_SCORES]
    return {"label": best[0][0], "scores": dict(best), "cut": cut}


def _three(examples: list[dict[str, Any]], labels: Sequence[str]) -> list[dict[str, str]]:
    """Three held-out rows to try: of different labels where possible, neither a word nor an essay."""
    handy = [e for e in examples if 20 <= len(e["text"]) <= 280] or examples
    first = {e["label"]: e for e in reversed(handy)}
    chosen = list(first.values())[:3]
    chosen += [e for e in handy if e not in chosen][: 3 - len(chosen)]
    return [{"text": e["text"][:1000], "label": labels[e["label"]]} for e in chosen]
