"""Summarization: the sentences of a document that say most of it (extractive), or a few new ones (abstractive).

Which of the two follows from the base model: an encoder chooses sentences, an encoder-decoder or a decoder writes.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

from worker.nlp import Example, certainty, families, folders, language, overlap, texts
from worker.nlp import rows as rows_of
from worker.nlp.language import Written
from worker.nlp.languages import sentences, together, words
from worker.nlp.recipe import FULL, LORA, QUICK, training
from worker.spec import Field, Metric, Role, Setting
from worker.spec import gettext_noop as _

MOST_CHOSEN = 10  # sentences
CHOOSER = "AutoModelForTokenClassification"
WRITERS = (families.ENCODER_DECODER, families.DECODER)

SENTENCES = Setting(
    "sentences",
    _("Sentences"),
    0,
    _("How many sentences to choose; 0 means as many as in the training rows."),
    "",
    "int",
    0,
    MOST_CHOSEN,
    shapes=(families.ENCODER,),
    advanced=False,
)
MARGIN = Setting(
    "variety",
    _("Variety"),
    0.3,
    _("How much repeating an already chosen sentence is penalized."),
    least=0,
    most=1,
    shapes=(families.ENCODER,),
)


class Summarization(Written):
    slug = "summarization"
    aliases = ("summarize", "summary", "tldr", "extractive_summarization")
    title = _("Summarization")
    about = _("Shorten a document to a few sentences, chosen from it or newly written.")
    verb = _("Summarize")
    roles: tuple[Role, ...] = (
        Role(
            "document",
            _("Document"),
            is_key=True,
            hints=("document", "article", "source", "dialogue", "abstract", "body", "content", "text", "context", "正文", "原文", "文章"),
            help=_("The long text."),
        ),
        Role(
            "summary",
            _("Summary"),
            hints=("summary", "highlights", "target", "tldr", "headline", "title", "abstract_short", "摘要", "标题", "总结"),
            shorter=True,
            help=_("The short one."),
        ),
    )
    inputs: tuple[Field, ...] = (Field("document", _("Document"), long=True, most_chars=100_000, hint=_("Paste the text to summarize")),)
    parameters = (
        SENTENCES,
        MARGIN,
        *(replace(each, shapes=WRITERS) for each in (language.MAX_TOKENS, language.MIN_TOKENS, language.BEAMS, language.LENGTH_PENALTY)),
        replace(language.NO_REPEAT, default=3, shapes=WRITERS),
    )
    settings: tuple[Setting, ...] = (
        *training(window=512, learning_rate={"": 2e-4, "quick": 5e-4, "lora": 1e-3}, batch_rows=16),
        replace(language.TARGET_WINDOW, shapes=WRITERS),
        replace(language.SMOOTHING, shapes=WRITERS),
        language.TRIED_ROWS,
    )
    methods = (FULL, QUICK, LORA)
    shapes = (families.ENCODER, *WRITERS)
    primary_metric = "rouge_l"
    metrics: tuple[Metric, ...] = (
        Metric("rouge_l", _("ROUGE-L"), _("Longest common sequence of words with the reference summary.")),
        Metric("rouge1", _("ROUGE-1"), _("Words shared with the reference summary.")),
        Metric("rouge2", _("ROUGE-2"), _("Pairs of words shared with the reference summary.")),
        language.PERPLEXITY,
        language.TOKEN_ACCURACY,
    )
    answer_view = "summary"
    example_file = "document,summary\nThe river rose by two metres on Monday. Three villages were cut off.,Flood cuts off three villages.\n"

    # --- data ---
    def problems(self, row: dict[str, Any]) -> list[tuple[str, str]]:
        return rows_of.text_problems(row, ("document", _("The document is empty.")), ("summary", _("The summary is empty.")))

    def baselines(self, train: Any, held_out: Any) -> dict[str, dict[str, Any]]:
        scores = []
        for row in held_out.head(language.TRIED_ROWS.default).iter_rows(named=True):
            lead = [row["document"][a:b] for a, b in sentences(row["document"])[:3]]
            scores.append(overlap.rouge(together(lead), [row["summary"]]))
        return {"lead_3": overlap.mean_and_intervals(scores)} if scores else {}

    def comes_with(self, config: dict[str, Any]) -> tuple[str, ...] | None:
        """Pegasus, T5, and a BART that was tuned: that one also says how short a summary may be."""
        kind, is_named = config.get("model_type"), "summarization" in (config.get("task_specific_params") or {})
        return () if kind == "pegasus" or (is_named and (kind == "t5" or (kind == "bart" and config.get("min_length")))) else None

    # --- training ---
    def facts(self, rows: Any, settings: dict[str, Any]) -> dict[str, Any]:
        """How many sentences a summary of these rows has: the median of the best choices, on the first 200 rows."""
        few = rows.head(200)
        counts = [len(_oracle([d[a:b] for a, b in sentences(d)][:60], s)) for d, s in few.select("document", "summary").iter_rows()]
        return {"sentences": max(1, round(statistics.median(counts or [3])))}

    def load(self, base: str, labels: Sequence[str], settings: dict[str, Any], method: str, facts: dict[str, Any]) -> tuple[Any, Any]:
        if families.shape_of(folders.check_folder(base)) in WRITERS:
            model, tokenizer = language.open_writer(base)
        else:
            model = folders.open_model(base, CHOOSER, num_labels=1, new_head=True)
            tokenizer = folders.open_tokenizer(base)
        language.fitted(model, tokenizer, settings)
        return model, tokenizer

    def encode(
        self, rows: Any, model: Any, tokenizer: Any, labels: Sequence[str], settings: dict[str, Any], learning: bool = True
    ) -> list[Example]:
        documents, summaries = rows["document"].to_list(), rows["summary"].to_list()
        if _chooses(model):
            return [e for at, pair in enumerate(zip(documents, summaries, strict=True)) for e in _choices(tokenizer, at, *pair)]
        if language.is_pairs(model):
            return language.paired(tokenizer, [_prefix(model) + document for document in documents], summaries, settings["target_window"])
        window = settings["target_window"]
        asked, cut = language.fitting(tokenizer, documents, window, _prompt)
        return [language.prompted(tokenizer, ids, s, window, left_out) for ids, s, left_out in zip(asked, summaries, cut, strict=True)]

    def criterion(self, train: list[Example], labels: Sequence[str], settings: dict[str, Any]) -> Callable[[Any, list[Example]], Any]:
        import torch

        if "spans" not in train[0]:
            return super().criterion(train, labels, settings)

        def loss(outputs: Any, examples: list[Example]) -> Any:
            scores = torch.cat([_means(each, e["spans"]) for each, e in zip(outputs, examples, strict=True)])
            chosen = torch.tensor([float(c) for e in examples for c in e["chosen"]], device=scores.device)
            return torch.nn.functional.binary_cross_entropy_with_logits(scores, chosen)

        return loss

    def read(self, outputs: Any, examples: list[Example], criterion: Callable[[Any, list[Example]], Any]) -> list[Any]:
        if "spans" not in examples[0]:
            return super().read(outputs, examples, criterion)
        return [_means(each, e["spans"]).sigmoid().cpu().tolist() for each, e in zip(outputs, examples, strict=True)]

    def score(self, found: list[Any], examples: list[Example], labels: Sequence[str]) -> tuple[dict[str, float], dict[str, Any]]:
        """For models that choose: how often the surest sentence of a window is one of the best choices. Others: see Written."""
        if not examples or "spans" not in examples[0]:
            return super().score(found, examples, labels)
        hits = _hits(found, examples)
        return {"rows": len({e["row"] for e in examples}), "top_sentence": sum(hits) / len(hits)}, {}

    def intervals(self, found: list[Any], examples: list[Example], labels: Sequence[str]) -> dict[str, list[float]]:
        if not examples or "spans" not in examples[0]:
            return super().intervals(found, examples, labels)
        return certainty.of_means([{"top_sentence": hit} for hit in _hits(found, examples)])

    def trial(
        self, model: Any, tokenizer: Any, labels: Sequence[str], rows: Any, settings: dict[str, Any]
    ) -> Generator[tuple[int, int], None, tuple[dict[str, float], dict[str, Any]]] | None:
        parameters = self.read_parameters({"beams": 1, "max_tokens": settings.get("target_window", language.MAX_TOKENS.default)})
        return self._trial(model, tokenizer, rows.head(settings["tried_rows"]), parameters)

    def _trial(
        self, model: Any, tokenizer: Any, rows: Any, parameters: dict[str, Any]
    ) -> Generator[tuple[int, int], None, tuple[dict[str, float], dict[str, Any]]]:
        documents, summaries = rows["document"].to_list(), rows["summary"].to_list()
        inputs = [{"document": document} for document in documents]
        found = yield from language.answered(lambda some: self.answer(model, tokenizer, (), some, parameters), inputs)
        samples = [
            {"inputs": {"document": d[:4_000]}, "reference": s[:4_000], "answer": a["text"], "scores": overlap.rouge(a["text"], [s])}
            for d, s, a in zip(documents, summaries, found, strict=True)
        ]
        handy = sorted(samples, key=lambda sample: (not 300 <= len(sample["inputs"]["document"]) <= 2_000, -sample["scores"]["rouge_l"]))[
            :3
        ]
        drawn = {
            "samples": language.worst_first(samples, "rouge_l"),
            "signatures": dict.fromkeys(overlap.ROUGE, "rouge-score F-measure, words in lower case, Chinese by character, no stemming"),
            "tried": len(samples),
            "examples": [{"document": each["inputs"]["document"], "summary": each["reference"]} for each in handy],
        }
        scores = [sample["scores"] for sample in samples]
        return overlap.mean_of(scores), drawn | {"intervals": certainty.of_means(scores)}

    def leave(self, model: Any, tokenizer: Any, facts: dict[str, Any]) -> None:
        if not _chooses(model):
            super().leave(model, tokenizer, facts)

    def compares_untuned(self, model: Any) -> bool:
        return not _chooses(model)

    # --- answering ---
    def open(self, folder: str) -> tuple[Any, Any, tuple[str, ...]]:
        if families.shape_of(folders.check_folder(folder)) in WRITERS:
            return super().open(folder)
        return *texts.open_reader(folder, CHOOSER), ()

    def open_base(self, folder: str) -> tuple[Any, Any]:
        config = folders.check_folder(folder)
        if families.shape_of(config) in WRITERS:
            return super().open_base(folder)
        return texts.open_reader(folder, CHOOSER if _is_chooser(config) else "AutoModel")

    def answer(
        self, model: Any, tokenizer: Any, labels: Sequence[str], inputs: list[dict[str, str]], parameters: dict[str, Any]
    ) -> list[dict[str, Any]]:
        documents = [row["document"] for row in inputs]
        if _chooses(model):
            return _chosen(model, tokenizer, documents, parameters)
        most = int(parameters["max_tokens"])
        if language.is_pairs(model):
            rows, cut = language.within(tokenizer, [_prefix(model) + document for document in documents], tokenizer.model_max_length)
        else:
            rows, cut = language.fitting(tokenizer, documents, most, _prompt)
        found = language.written(model, tokenizer, rows, most=most, parameters=parameters)
        return [
            {
                "text": versions[0].text,
                "sentences": [],
                "ratio": round(len(versions[0].text) / max(len(document), 1), 4),
                "tokens_in": len(row),
                "tokens_out": versions[0].tokens,
                "cut": left_out,
            }
            for versions, document, row, left_out in zip(found, documents, rows, cut, strict=True)
        ]

    def answer_untuned(
        self, model: Any, tokenizer: Any, labels: Sequence[str], inputs: list[dict[str, str]], parameters: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """An encoder that has not learnt to choose takes the sentences nearest to the whole and unlike each other (maximal
        marginal relevance, Carbonell and Goldstein 1998)."""
        if _chooses(model) or model.can_generate():
            return self.answer(model, tokenizer, labels, inputs, parameters)
        answers = []
        for row in inputs:
            document = row["document"]
            bounds = sentences(document) or [(0, len(document))]
            vectors, _cut = texts.means(model, tokenizer, [document[a:b] for a, b in bounds])
            relevance = (vectors @ vectors.mean(0)).tolist()
            likeness = partial(_cosines, vectors)
            picked = _varied(relevance, likeness, int(parameters["sentences"]) or 3, float(parameters["variety"]))
            answers.append(_summary(document, bounds, relevance, picked, 0))
        return answers


# --- choosing -------------------------------------------------------------------------------------------------------------
def _hits(found: list[Any], examples: list[Example]) -> list[float]:
    """Whether the surest sentence of each window is one of the best choices."""
    return [float(e["chosen"][max(range(len(scores)), key=scores.__getitem__)]) for scores, e in zip(found, examples, strict=True)]


def _chooses(model: Any) -> bool:
    return type(model).__name__.endswith("ForTokenClassification")


def _is_chooser(config: dict[str, Any]) -> bool:
    """Whether a folder has learnt to choose already: one output a token, other than a model that finds names."""
    return families.has_head(config, "ForTokenClassification") and len(config.get("id2label") or ()) == 1


def _bigrams(tokens: list[str]) -> Counter[tuple[str, ...]]:
    """Words and pairs of neighbours, counted."""
    return Counter(pairwise(tokens)) + Counter((token,) for token in tokens)


def _oracle(parts: list[str], summary: str, most: int = 3) -> list[int]:
    """The sentences that, taken one by one, add most to ROUGE-1 plus ROUGE-2 with the summary (Nallapati et al. 2017)."""
    wanted = _bigrams(words(summary))
    have = [_bigrams(words(part)) for part in parts]
    chosen: list[int] = []
    sofar: Counter[tuple[str, ...]] = Counter()
    best = 0.0
    while len(chosen) < min(most, len(parts)):
        scored = []
        for number, counts in enumerate(have):
            if number not in chosen:
                both = sofar + counts
                scored.append((2 * sum((both & wanted).values()) / max(both.total() + wanted.total(), 1), -number))
        top, number = max(scored)
        if top <= best:
            break
        best, sofar = top, sofar + have[-number]
        chosen.append(-number)
    return sorted(chosen)


def _laid(tokenizer: Any, parts: list[str]) -> list[dict[str, Any]]:
    """Token rows that hold as many whole sentences as fit, and `spans`: where each sentence's tokens stand in them."""
    mark = tokenizer.cls_token_id if tokenizer.cls_token_id is not None else tokenizer.bos_token_id
    end = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
    opening, ending = [[token] if token is not None else [] for token in (mark, end)]
    most = tokenizer.model_max_length
    windows: list[dict[str, Any]] = []
    for number, ids in enumerate(tokenizer(parts, add_special_tokens=False, verbose=False)["input_ids"] if parts else []):
        row = ids[: most - len(opening) - len(ending)] or [tokenizer.unk_token_id or 0]
        if not windows or len(windows[-1]["input_ids"]) + len(row) + len(ending) > most:
            windows.append({"input_ids": opening[:], "spans": [], "numbers": []})
        last = windows[-1]
        start = len(last["input_ids"])
        last["spans"].append((start, start + len(row)))
        last["numbers"].append(number)
        last["input_ids"] += row + ending
    return windows


def _means(outputs: Any, spans: Sequence[tuple[int, int]]) -> Any:
    """The score of each sentence: the mean of its tokens' outputs, (sentences,)."""
    import torch

    return torch.stack([outputs[a:b, 0].float().mean() for a, b in spans])


def _choices(tokenizer: Any, row: int, document: str, summary: str) -> list[Example]:
    """Examples of a document: its windows, with 1 for each sentence that belongs to the best choice."""
    parts = [document[a:b] for a, b in sentences(document)] or [document]
    best = set(_oracle(parts, summary))
    windows = _laid(tokenizer, parts)
    return [{**w, "row": row, "chosen": [int(n in best) for n in w["numbers"]], "weight": len(w["spans"])} for w in windows]


def _chosen(model: Any, tokenizer: Any, documents: list[str], parameters: dict[str, Any]) -> list[dict[str, Any]]:
    import torch

    facts = language.facts_of(model, {"sentences": 3})
    bounds = [sentences(document) or [(0, len(document))] for document in documents]
    windows = [{**w, "of": at} for at, each in enumerate(bounds) for w in _laid(tokenizer, [documents[at][a:b] for a, b in each])]
    scores: list[list[float]] = [[0.0] * len(each) for each in bounds]
    for group in texts.alike([len(w["input_ids"]) for w in windows], model):
        rows = [windows[i] for i in group]
        with torch.inference_mode():
            logits = model(**texts.padded([{"input_ids": w["input_ids"]} for w in rows], tokenizer, model.device)).logits.cpu()
        for w, each in zip(rows, logits, strict=True):
            for number, score in zip(w["numbers"], _means(each, w["spans"]).sigmoid().tolist(), strict=True):
                scores[w["of"]][number] = score
    answers = []
    for at, document in enumerate(documents):
        likeness = _shared_words([document[a:b] for a, b in bounds[at]])
        picked = _varied(scores[at], likeness, int(parameters["sentences"]) or int(facts["sentences"]), float(parameters["variety"]))
        answers.append(_summary(document, bounds[at], scores[at], picked, sum(len(w["input_ids"]) for w in windows if w["of"] == at)))
    return answers


def _shared_words(parts: list[str]) -> Callable[[int], list[float]]:
    """How much each sentence says the same as sentence i: shared words by all of theirs."""
    sets = [set(words(part)) for part in parts]
    return lambda i: [len(sets[i] & other) / max(len(sets[i] | other), 1) for other in sets]


def _cosines(vectors: Any, i: int) -> list[float]:
    found: list[float] = (vectors @ vectors[i]).tolist()
    return found


def _varied(scores: list[float], likeness: Callable[[int], list[float]], count: int, variety: float) -> list[int]:
    """`count` numbers with high scores that are unlike each other, in the order of the document."""
    left, picked, nearest = list(range(len(scores))), list[int](), list[float]()
    while left and len(picked) < count:
        best = max(left, key=lambda i: (1 - variety) * scores[i] - variety * (nearest[i] if nearest else 0.0))
        picked.append(best)
        left.remove(best)
        nearest = [max(pair) for pair in zip(nearest, likeness(best), strict=True)] if nearest else likeness(best)
    return sorted(picked)


def _summary(document: str, bounds: list[tuple[int, int]], scores: list[float], picked: list[int], tokens: int) -> dict[str, Any]:
    spans: list[dict[str, Any]] = [{"start": bounds[i][0], "end": bounds[i][1], "score": round(float(scores[i]), 4)} for i in picked]
    text = together([document[span["start"] : span["end"]] for span in spans])
    ratio = round(len(text) / max(len(document), 1), 4)
    return {"text": text, "sentences": spans, "ratio": ratio, "tokens_in": tokens, "tokens_out": 0, "cut": 0}


# --- writing --------------------------------------------------------------------------------------------------------------
def _prefix(model: Any) -> str:
    """What T5-likes were taught to expect."""
    return "summarize: " if model.config.model_type in {"t5", "mt5", "umt5", "longt5", "switch_transformers"} else ""


def _prompt(document: str) -> str:
    """The question for a decoder; the document stands first, so that what is asked is read last."""
    return f"{document}\n\nSummary:"
