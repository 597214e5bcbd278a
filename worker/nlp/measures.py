"""How good are answers that are labels: the same numbers for models and for the free baselines. Numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from worker.nlp import certainty
from worker.spec import gettext_noop as _

BINS = 15
# What a model is measured against, by the names under which scores are kept: free baselines, and its own base.
BASELINES: dict[str, str] = {
    "majority": _("Majority class"),
    "tfidf_word": _("TF-IDF words + logistic regression"),
    "tfidf_char": _("TF-IDF characters + logistic regression"),
    "copy": _("The source itself"),
    "lead_3": _("The first three sentences"),
    "nearest_sentence": _("The sentence nearest to the question"),
    "no_answer": _("Always “no answer”"),
    "untuned": _("The base model, untuned"),
}


def label_metrics(confusion: Any) -> tuple[dict[str, float], dict[str, Any]]:
    """(macro numbers, numbers per class) of a confusion matrix with true classes as rows.

    Classes that were neither there nor predicted do not count, as in scikit-learn; a division by zero gives 0.
    """
    import numpy as np

    hits, true, predicted = np.diag(confusion).astype(float), confusion.sum(1), confusion.sum(0)
    return _numbers(hits, true, predicted)


def _numbers(hits: Any, true: Any, predicted: Any) -> tuple[dict[str, float], dict[str, Any]]:
    """The same of how many rows of each class are right, are there, and were predicted."""
    import numpy as np

    precision = hits / np.maximum(predicted, 1)
    recall = hits / np.maximum(true, 1)
    f1 = 2 * hits / np.maximum(true + predicted, 1)
    seen = (true + predicted) > 0
    rows = int(true.sum())
    numbers = {
        "macro_f1": float(f1[seen].mean()) if rows else 0.0,
        "accuracy": float(hits.sum() / max(rows, 1)),
        "macro_precision": float(precision[seen].mean()) if rows else 0.0,
        "macro_recall": float(recall[seen].mean()) if rows else 0.0,
        "matthews": matthews(hits, true, predicted),
    }
    return numbers, {"precision": precision, "recall": recall, "f1": f1, "rows": true}


def matthews(hits: Any, true: Any, predicted: Any) -> float:
    """Matthews correlation of any number of classes (Gorodkin 2004), 0 where it is not defined."""
    import numpy as np

    true, said, rows = true.astype(float), predicted.astype(float), float(true.sum())
    spread = (rows**2 - said @ said) * (rows**2 - true @ true)
    return float((hits.sum() * rows - said @ true) / np.sqrt(spread)) if spread > 0 else 0.0


def label_intervals(predicted: Any, true: Any, classes: int) -> dict[str, list[float]]:
    """How sure the numbers of `label_metrics` are, by so many rows; `predicted` and `true` are numbers of classes."""
    import numpy as np

    def scored(rows: Any) -> dict[str, float]:
        said, right = predicted[rows], true[rows]
        return _numbers(*(np.bincount(each, minlength=classes) for each in (right[said == right], right, said)))[0]

    found = certainty.bootstrap(len(true), scored)
    return found | {"accuracy": certainty.wilson(float((predicted == true).sum()), len(true))}


def confusion_matrix(true: Any, predicted: Any, classes: int) -> Any:
    import numpy as np

    return np.bincount(true * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def reliability(confidence: Any, right: Any) -> tuple[float, list[dict[str, float]]]:
    """Expected calibration error over 15 equal bins (Guo et al. 2017), and the bins."""
    import numpy as np

    which = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    error, bins = 0.0, []
    for i in range(BINS):
        inside = which == i
        rows = int(inside.sum())
        mean, accuracy = (float(confidence[inside].mean()), float(right[inside].mean())) if rows else (0.0, 0.0)
        error += rows / max(len(right), 1) * abs(mean - accuracy)
        bins.append({"low": i / BINS, "high": (i + 1) / BINS, "confidence": mean, "accuracy": accuracy, "rows": rows})
    return error, bins


def evaluate_labels(probabilities: Any, true: Any, labels: Sequence[str]) -> tuple[dict[str, float], dict[str, Any]]:
    """(metrics, evaluation) as docs/internals.md describes them, of (rows, labels) probabilities and true numbers."""
    predicted, confidence = probabilities.argmax(1), probabilities.max(1)
    confusion = confusion_matrix(true, predicted, len(labels))
    numbers, each = label_metrics(confusion)
    error, bins = reliability(confidence, predicted == true)
    per_class = [
        {"label": label, "rows": int(each["rows"][i]), **{k: float(each[k][i]) for k in ("precision", "recall", "f1")}}
        for i, label in enumerate(labels)
    ]
    metrics = {**numbers, "calibration_error": error, "rows": len(true)}
    return metrics, {"labels": list(labels), "confusion": confusion.tolist(), "per_class": per_class, "reliability": bins}


# Beyond so many weights a linear baseline would take longer than the model that it should be compared with.
MOST_WEIGHTS = 30_000_000
MOST_ROWS = 100_000


def text_baselines(train: tuple[list[str], list[str]], held_out: tuple[list[str], list[str]]) -> dict[str, dict[str, Any]]:
    """What costs nothing: always the commonest label, and logistic regression on TF-IDF of words and of letters.

    Trained on the first 100,000 rows at most; left out where labels times words pass 30 million.
    """
    from collections import Counter

    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    (texts, train_labels), (held_texts, held_labels) = train, held_out
    names = sorted({*train_labels, *held_labels})
    number = {name: i for i, name in enumerate(names)}
    true = np.array([number[name] for name in held_labels])

    def scored(answers: Sequence[str]) -> dict[str, Any]:
        said = np.array([number[a] for a in answers])
        numbers = label_metrics(confusion_matrix(true, said, len(names)))[0]
        return {**numbers, "intervals": label_intervals(said, true, len(names))}

    if not texts or not held_texts:
        return {}
    common = min(Counter(train_labels).items(), key=lambda pair: (-pair[1], pair[0]))[0]
    scores = {"majority": scored([common] * len(held_texts))}
    texts, train_labels = texts[:MOST_ROWS], train_labels[:MOST_ROWS]
    if len(set(train_labels)) < 2:
        return scores
    vectorizers = {
        "tfidf_word": TfidfVectorizer(sublinear_tf=True),
        "tfidf_char": TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 5), sublinear_tf=True),  # one Chinese character is a word
    }
    for name, vectorizer in vectorizers.items():
        try:
            features = vectorizer.fit_transform(texts)
        except ValueError:  # no word at all in any text: nothing to count
            continue
        if features.shape[1] * len(names) <= MOST_WEIGHTS:
            model = LogisticRegression(C=10, max_iter=2000).fit(features, train_labels)
            scores[name] = scored(model.predict(vectorizer.transform(held_texts)))
    return scores
