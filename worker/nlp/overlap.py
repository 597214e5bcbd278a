"""How near an answer in words comes to the right one: ROUGE, BLEU, chrF, and SQuAD's exact match and F1. All from 0 to 1."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import regex

from worker.nlp.certainty import RESAMPLES, of_means
from worker.nlp.languages import SPAN_WORD, pieces, plain, words

ROUGE = {"rouge1": "rouge1", "rouge2": "rouge2", "rouge_l": "rougeL"}
ARTICLES = regex.compile(r"\b(a|an|the)\b")
PUNCTUATION = regex.compile(rf"[{regex.escape(string.punctuation)}\p{{P}}￥]")
SEPARATORS = str.maketrans("་፡", "  ")  # Tibetan and Ethiopic put a point where others leave a blank


class _Words:
    """rouge-score's own tokenizer knows no Chinese; for English this one gives the same words."""

    def tokenize(self, text: str) -> list[str]:
        return words(text)


@cache
def _scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(list(ROUGE.values()), tokenizer=_Words())


def rouge(answer: str, references: Sequence[str]) -> dict[str, float]:
    """F-measures of ROUGE-1, -2 and -L (Lin 2004) against the reference that fits best by ROUGE-1."""
    if not references:
        return dict.fromkeys(ROUGE, 0.0)
    best = _scorer().score_multi(list(references), answer)
    return {name: float(best[key].fmeasure) for name, key in ROUGE.items()}


def mean_of(scores: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of each number over all rows."""
    return {name: sum(each[name] for each in scores) / len(scores) for name in (scores[0] if scores else ())}


def mean_and_intervals(scores: Sequence[dict[str, float]]) -> dict[str, Any]:
    """The same, and how sure so few rows make them."""
    return {**mean_of(scores), "intervals": of_means(scores)}


def translation_metrics(answers: Sequence[str], references: Sequence[str], language: str) -> tuple[dict[str, float], dict[str, str]]:
    """(BLEU and chrF of the whole, their sacrebleu signatures); Post 2018. BLEU's tokenizer follows the target language."""
    known = _translation_scorers(language)
    if not answers:
        return {}, {}
    metrics = {name: metric.corpus_score(list(answers), [list(references)]).score / 100 for name, metric in known.items()}
    return metrics, {name: str(metric.get_signature()) for name, metric in known.items()}


def translation_intervals(answers: Sequence[str], references: Sequence[str], language: str) -> dict[str, list[float]]:
    """95 % intervals of both by sacrebleu's bootstrap over rows (Koehn 2004)."""
    if not answers:
        return {}
    whole = {}
    for name, metric in _translation_scorers(language).items():
        # sacrebleu cannot take the mean over its resamples where some of them share nothing with the references
        with suppress(TypeError):
            whole[name] = metric.corpus_score(list(answers), [list(references)], n_bootstrap=RESAMPLES)
    return {
        n: [max(0.0, float(s.score - s._ci)) / 100, min(100.0, float(s.score + s._ci)) / 100] for n, s in whole.items()
    }  # it has no public name


def _translation_scorers(language: str) -> dict[str, Any]:
    from sacrebleu.metrics import BLEU, CHRF  # type: ignore[attr-defined]

    tokenizer = {"zh": "zh", **dict.fromkeys(("ja", "ko", "th", "lo", "km", "my"), "char")}.get(language, "13a")
    return {"bleu": BLEU(tokenize=tokenizer), "chrf": CHRF()}


def sentence_chrf(answer: str, reference: str) -> float:
    from sacrebleu.metrics import CHRF  # type: ignore[attr-defined]

    return float(CHRF().sentence_score(answer, [reference]).score / 100)


def _answer_words(text: str) -> list[str]:
    """SQuAD's normalisation (Rajpurkar et al. 2016) with the punctuation of all scripts, as MLQA has it (Lewis et al. 2020); every
    Chinese character is a word, as CMRC 2018 counts (Cui et al. 2019)."""
    bare = PUNCTUATION.sub("", plain(text).translate(SEPARATORS))
    return list(pieces(SPAN_WORD, ARTICLES.sub(" ", bare)))


def span_scores(answer: str, references: Sequence[str]) -> dict[str, float]:
    """Exact match and F1 against the best of several right answers; none at all means that there is no answer."""
    said = _answer_words(answer)
    best_f1 = best_match = 0.0
    for reference in references or [""]:
        right = _answer_words(reference)
        if not said or not right:
            match = f1 = float(said == right)
        else:
            match = float(said == right)
            shared = sum((Counter(said) & Counter(right)).values())
            f1 = 2 * shared / (len(said) + len(right))
        best_match, best_f1 = max(best_match, match), max(best_f1, f1)
    return {"exact_match": best_match, "f1": best_f1}
