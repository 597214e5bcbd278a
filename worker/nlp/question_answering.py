"""Extractive question answering: the span of a given passage that answers a question, or that there is none."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any

from worker.nlp import Example, Task, certainty, families, folders, language, overlap, texts
from worker.nlp import rows as rows_of
from worker.nlp.languages import sentences
from worker.nlp.recipe import FULL, LORA, QUICK, training
from worker.spec import Field, Metric, Role, Setting
from worker.spec import gettext_noop as _

HEAD = "ForQuestionAnswering"
LOOKED_AT = 20  # best starts and best ends of a window that are paired
NOWHERE = -1e4  # a logit outside the passage
WINDOWS_AT_ONCE = 16

MAX_ANSWER = Setting("max_answer_tokens", _("Longest answer"), 30, _("No answer is longer than this."), _("tokens"), "int", 1, 256)
N_BEST = Setting("n_best", _("Candidates"), 5, _("How many candidates to show, most confident first."), "", "int", 1, 20)
THRESHOLD = Setting(
    "no_answer_threshold",
    _("Answer threshold"),
    0.0,
    _("Above 0, it answers even when unsure; below 0, it says “no answer” more often."),
    least=-20,
    most=20,
)


class QuestionAnswering(Task):
    slug = "question_answering"
    aliases = ("qa", "answer", "extractive_qa", "squad")
    title = _("Question answering")
    about = _("Find the words in a passage that answer a question, or say that there are none.")
    verb = _("Find the answer")
    roles: tuple[Role, ...] = (
        Role(
            "context",
            _("Passage"),
            is_key=True,
            hints=("context", "passage", "paragraph", "document", "text", "段落", "文章"),
            help=_("The text that contains the answer."),
        ),
        Role("question", _("Question"), hints=("question", "query", "问题", "q")),
        Role(
            "answer",
            _("Answer"),
            hints=("answer", "answer_text", "span", "答案", "回答"),
            help=_("Word for word as in the passage; an empty cell means that there is no answer."),
        ),
        Role(
            "start",
            _("Start of the answer"),
            required=False,
            kind="number",
            hints=("start", "answer_start", "start_position", "offset"),
            help=_("Where the answer begins, in characters from 0. Without it the first place is taken."),
        ),
        Role(
            "answers",
            _("All right answers"),
            required=False,
            takes_records=True,
            hints=("answers", "gold_answers", "all_answers"),
            help=_("A JSON list of texts; the model's answer is compared with each."),
        ),
    )
    inputs: tuple[Field, ...] = (
        Field("question", _("Question"), most_chars=2_000, hint=_("What do you want to know?")),
        Field("context", _("Passage"), long=True, most_chars=100_000, hint=_("The text that contains the answer")),
    )
    parameters = (N_BEST, MAX_ANSWER, THRESHOLD)
    settings: tuple[Setting, ...] = (
        *(
            replace(s, least=32) if s.name == "window" else s
            for s in training(window=384, learning_rate={"": 2e-4, "quick": 5e-4, "lora": 1e-3}, batch_rows=16)
        ),
        Setting(
            "stride",
            _("Overlap of windows"),
            96,
            _("Long passages are read in windows that overlap by this many tokens, so that no answer is split."),
            _("tokens"),
            "int",
            0,
            1024,
        ),
        Setting(
            "no_answer",
            _("No answer"),
            "auto",
            _("Whether the model may say “no answer”. By default, if some rows have none."),
            kind="choice",
            choices=(("auto", _("As in the rows")), ("yes", _("It may")), ("no", _("Always an answer"))),
        ),
    )
    methods = (FULL, QUICK, LORA)
    shapes = (families.ENCODER,)
    primary_metric = "f1"
    metrics: tuple[Metric, ...] = (
        Metric("f1", _("F1"), _("Words shared with the right answer, counted as in SQuAD; for Chinese, characters.")),
        Metric("exact_match", _("Exact match"), _("Share of answers that are right to the letter, articles and punctuation aside.")),
    )
    answer_view = "span"
    evaluation_view = "spans"
    example_file = "question,context,answer\nWhen was it built?,The mill was built in 1841 by two brothers.,1841\n"

    # --- data ---
    def problems(self, row: dict[str, Any]) -> list[tuple[str, str]]:
        context, answer = str(row.get("context") or ""), str(row.get("answer") or "").strip()
        found = rows_of.text_problems(row, ("context", _("The passage is empty.")), ("question", _("The question is empty.")))
        if answer and context.strip() and answer not in context:
            found.append(("answer", _("The answer does not appear word for word in the passage.")))
        if (start := str(row.get("start") or "").strip()) and not _number(start):
            found.append(("start", _("The start is not a whole number.")))
        return found

    def baselines(self, train: Any, held_out: Any) -> dict[str, dict[str, Any]]:
        """The sentence that shares the rarest runs of letters with the question (cosine of TF-IDF); where rows lack an answer,
        always saying that there is none."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        passages = {context: [context[a:b] for a, b in sentences(context)] or [context] for context in held_out["context"].unique()}
        try:
            vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), sublinear_tf=True)
            vectorizer.fit([sentence for each in passages.values() for sentence in each])
        except ValueError:
            return {}
        gold = [right_answers(row) for row in held_out.iter_rows(named=True)]
        silent = [overlap.span_scores("", right) for right in gold]
        never = {"no_answer": overlap.mean_and_intervals(silent)} if not all(gold) else {}
        scores, vectors = [], {context: vectorizer.transform(each) for context, each in passages.items()}
        for row in held_out.iter_rows(named=True):
            nearest = (vectors[row["context"]] @ vectorizer.transform([row["question"]]).T).toarray().argmax()
            scores.append(overlap.span_scores(passages[row["context"]][nearest], right_answers(row)))
        return {"nearest_sentence": overlap.mean_and_intervals(scores), **never}

    def comes_with(self, config: dict[str, Any]) -> tuple[str, ...] | None:
        return () if families.has_head(config, HEAD) else None

    # --- training ---
    def facts(self, rows: Any, settings: dict[str, Any]) -> dict[str, Any]:
        may = settings["no_answer"]
        none = any(not str(answer or "").strip() for answer in rows["answer"]) if may == "auto" else may == "yes"
        return {"no_answer": none, "stride": int(settings["stride"]), "threshold": 0.0}

    def load(self, base: str, labels: Sequence[str], settings: dict[str, Any], method: str, facts: dict[str, Any]) -> tuple[Any, Any]:
        tokenizer = folders.open_tokenizer(base)
        model = folders.open_model(base, "AutoModelForQuestionAnswering", new_head=True)
        tokenizer.model_max_length = min(int(settings["window"]), texts.longest(model, tokenizer))
        return model, tokenizer

    def encode(
        self, rows: Any, model: Any, tokenizer: Any, labels: Sequence[str], settings: dict[str, Any], learning: bool = True
    ) -> list[Example]:
        """One example for each window of a row. A window without the answer points at its first token."""
        table = rows.to_dicts()
        facts, examples = model.config.tunebench, list[Example]()
        found = _windows(tokenizer, [r["question"] for r in table], [r["context"] for r in table], facts["stride"])
        for window in found:
            row = table[window["row"]]
            start, stop = _place(row)
            target = _tokens_of(window, start, stop) if stop > start else (0, 0)
            if learning and target == (0, 0) and stop > start and not facts["no_answer"]:
                continue  # such a model never says "nothing here", so there is nothing to learn from this window
            if learning:
                examples.append(
                    {"target": target, **{name: window[name] for name in ("input_ids", "token_type_ids", "row", "cut") if name in window}}
                )
            else:
                about = {"question": row["question"], "context": row["context"], "gold": right_answers(row)}
                about |= {"may_be_none": facts["no_answer"], "threshold": facts.get("threshold", 0.0)}
                examples.append({**window, "target": target, **about})
        return examples

    def criterion(self, train: list[Example], labels: Sequence[str], settings: dict[str, Any]) -> Callable[[Any, list[Example]], Any]:
        import torch

        def loss(outputs: Any, examples: list[Example]) -> Any:
            logits = torch.nn.utils.rnn.pad_sequence([each.float() for each in outputs], batch_first=True, padding_value=NOWHERE)
            targets = torch.tensor([e["target"] for e in examples], device=logits.device)
            cross_entropy = torch.nn.functional.cross_entropy
            return (cross_entropy(logits[..., 0], targets[:, 0]) + cross_entropy(logits[..., 1], targets[:, 1])) / 2

        return loss

    def read(self, outputs: Any, examples: list[Example], criterion: Callable[[Any, list[Example]], Any]) -> list[Any]:
        return [_candidates(each.float().cpu(), e, MAX_ANSWER.default) for each, e in zip(outputs, examples, strict=True)]

    def score(self, found: list[Any], examples: list[Example], labels: Sequence[str]) -> tuple[dict[str, float], dict[str, Any]]:
        samples = _answered(found, examples)
        kinds = []
        for kind, chosen in (("answer", [s for s in samples if s["reference"]]), ("no_answer", [s for s in samples if not s["reference"]])):
            if chosen:
                kinds.append({"kind": kind, "rows": len(chosen), **overlap.mean_of([s["scores"] for s in chosen])})
        handy = sorted(samples, key=lambda s: (not s["reference"], len(s["inputs"]["context"]) > 1_200, -s["scores"]["f1"]))[:3]
        shown = [{**s["inputs"], "answer": next(iter(s["reference"]), "")} for s in handy]
        evaluation = {"samples": language.worst_first(samples, "f1"), "kinds": kinds, "tried": len(samples), "examples": shown}
        return {**overlap.mean_of([s["scores"] for s in samples]), "rows": len(samples)}, evaluation

    def intervals(self, found: list[Any], examples: list[Example], labels: Sequence[str]) -> dict[str, list[float]]:
        return certainty.of_means([sample["scores"] for sample in _answered(found, examples)])

    # --- answering ---
    def open(self, folder: str) -> tuple[Any, Any, tuple[str, ...]]:
        return *texts.open_reader(folder, "AutoModelForQuestionAnswering"), ()

    def open_base(self, folder: str) -> tuple[Any, Any]:
        has_head = families.has_head(folders.check_folder(folder), HEAD)
        return texts.open_reader(folder, "AutoModelForQuestionAnswering" if has_head else "AutoModel")

    def answer(
        self, model: Any, tokenizer: Any, labels: Sequence[str], inputs: list[dict[str, str]], parameters: dict[str, Any]
    ) -> list[dict[str, Any]]:
        import torch

        facts = language.facts_of(model, {"no_answer": True, "stride": 96, "threshold": 0.0})
        windows = _windows(tokenizer, [i["question"] for i in inputs], [i["context"] for i in inputs], facts["stride"])
        found: dict[int, list[Any]] = {}
        for group in texts.alike([len(w["input_ids"]) for w in windows], model, WINDOWS_AT_ONCE):
            rows = [windows[i] for i in group]
            features: list[texts.Features] = [{name: row[name] for name in ("input_ids", "token_type_ids") if name in row} for row in rows]
            with torch.inference_mode():
                out = model(**texts.padded(features, tokenizer, model.device))
                logits = torch.stack([out.start_logits, out.end_logits], -1).float().cpu()
            for i, row, each in zip(group, rows, logits, strict=True):
                found.setdefault(row["row"], []).append((i, _candidates(each, row, parameters["max_answer_tokens"])))
        chosen = {**parameters, "no_answer_threshold": parameters["no_answer_threshold"] + facts["threshold"]}
        cut = {window["row"]: window["cut"] for window in windows}
        return [
            {**_best(row["context"], [c for _i, c in sorted(found[at], key=itemgetter(0))], chosen, facts["no_answer"]), "cut": cut[at]}
            for at, row in enumerate(inputs)
        ]

    def answer_untuned(
        self, model: Any, tokenizer: Any, labels: Sequence[str], inputs: list[dict[str, str]], parameters: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """Of a base that answers questions already, its answer; else the sentence that means most nearly what the question
        means: cosine of the mean of the last states."""
        if type(model).__name__.endswith(HEAD):
            return self.answer(model, tokenizer, labels, inputs, parameters)
        answers = []
        for row in inputs:
            bounds = sentences(row["context"]) or [(0, len(row["context"]))]
            means, _cut = texts.means(model, tokenizer, [row["question"], *(row["context"][a:b] for a, b in bounds)])
            shares = (20 * means[1:] @ means[0]).softmax(-1).tolist()
            ranked = sorted(zip(shares, bounds, strict=True), reverse=True)[: int(parameters["n_best"])]
            each = [{"answer": row["context"][a:b], "start": a, "end": b, "score": round(share, 4)} for share, (a, b) in ranked]
            answers.append({**each[0], "no_answer": False, "no_answer_score": 0.0, "n_best": each, "windows": 1, "cut": 0})
        return answers


def _answered(found: list[Any], examples: list[Example]) -> list[dict[str, Any]]:
    """Every held-out question with its answer and its scores: the best of all windows of its passage."""
    windows: dict[int, list[int]] = {}
    for at, example in enumerate(examples):
        windows.setdefault(example["row"], []).append(at)
    samples = []
    for each in windows.values():
        first = examples[each[0]]
        answer = _best(
            first["context"], [found[at] for at in each], {"n_best": 1, "no_answer_threshold": first["threshold"]}, first["may_be_none"]
        )
        samples.append(
            {
                "inputs": {"question": first["question"], "context": first["context"][:4_000]},
                "reference": first["gold"],
                "answer": answer["answer"],
                "no_answer": answer["no_answer"],
                "scores": overlap.span_scores(answer["answer"], first["gold"]),
            }
        )
    return samples


def _number(text: str) -> bool:
    try:
        return float(text) == int(float(text)) >= 0
    except (ValueError, OverflowError):
        return False


def right_answers(row: dict[str, Any]) -> list[str]:
    """All right answers of a row; none where there is no answer."""
    answers: list[str] = []
    if str(row.get("answers") or "").strip():
        try:
            given = json.loads(row["answers"])
            answers = [str(text) for text in given if str(text).strip()] if isinstance(given, list) else []
        except ValueError:
            answers = []
    answer = str(row["answer"] or "")
    return answers or ([answer] if answer.strip() else [])


def _place(row: dict[str, Any]) -> tuple[int, int]:
    """(start, end) of the answer in the passage, in characters; (0, 0) where there is none.

    A start that is given counts if the answer stands there; else the place nearest to it does.
    """
    context, answer = row["context"], str(row["answer"] or "").strip()
    if not answer:
        return 0, 0
    wanted = int(float(row["start"])) if _number(str(row.get("start") or "x").strip()) else 0
    places, at = list[int](), context.find(answer)
    while at >= 0 and len(places) < 1_000:
        places.append(at)
        at = context.find(answer, at + 1)
    start = min(places, key=lambda place: abs(place - wanted), default=-1)
    return (start, start + len(answer)) if start >= 0 else (0, 0)


def _windows(tokenizer: Any, questions: Sequence[str], contexts: Sequence[str], stride: int) -> list[dict[str, Any]]:
    """Token rows of question and passage; a long passage gives several, which overlap by `stride` tokens.

    Each has `row`, `cut` (tokens by which the question was too long: it has a third of the window), and `offsets`: (token, start, end)
    of the passage's tokens in characters of the passage.
    """
    most = tokenizer.model_max_length
    longest = max(8, most // 3)
    asked = tokenizer(list(questions), add_special_tokens=False, verbose=False)["input_ids"]
    short = [q if len(ids) <= longest else tokenizer.decode(ids[:longest]) for q, ids in zip(questions, asked, strict=True)]
    room = most - max((min(len(ids), longest) for ids in asked), default=0) - tokenizer.num_special_tokens_to_add(pair=True)
    types = "token_type_ids" in tokenizer.model_input_names
    found = tokenizer(
        short,
        list(contexts),
        truncation="only_second",
        max_length=most,
        stride=max(0, min(stride, room // 2)),
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_attention_mask=False,
        return_token_type_ids=types,
    )
    windows = []
    for at, row in enumerate(found["overflow_to_sample_mapping"]):
        pairs = zip(found.sequence_ids(at), found["offset_mapping"][at], strict=True)
        context = contexts[row]
        offsets = [
            (token, a + len(context[a:b]) - len(context[a:b].lstrip()), b)  # some tokenizers count the blank before a word to it
            for token, (part, (a, b)) in enumerate(pairs)
            if part == 1 and context[a:b].strip()
        ]
        window = {"input_ids": found["input_ids"][at], "row": row, "offsets": offsets, "cut": max(0, len(asked[row]) - longest)}
        if types:
            window["token_type_ids"] = found["token_type_ids"][at]
        windows.append(window)
    return windows


def _tokens_of(window: dict[str, Any], start: int, stop: int) -> tuple[int, int]:
    """(first token, last token) of the characters start to stop; (0, 0) where the window does not hold them all."""
    offsets = window["offsets"]
    if not offsets or offsets[0][1] > start or offsets[-1][2] < stop:
        return 0, 0
    first = max((token for token, a, _b in offsets if a <= start), default=0)
    last = min((token for token, _a, b in offsets if b >= stop), default=0)
    return (first, last) if first <= last else (0, 0)


def _candidates(logits: Any, window: dict[str, Any], most_tokens: int) -> tuple[float, list[tuple[float, int, int]]]:
    """(score of "no answer", [(score, start, end in characters)], best first) of one window; `logits` (tokens, 2)."""
    import torch

    nothing = float(logits[0, 0] + logits[0, 1])
    offsets = window["offsets"]
    if not offsets:
        return nothing, []
    at = torch.tensor([token for token, _a, _b in offsets])
    starts, ends = logits[at, 0], logits[at, 1]
    few = min(LOOKED_AT, len(offsets))
    best_starts, best_ends = starts.topk(few).indices.tolist(), ends.topk(few).indices.tolist()
    pairs = [
        (float(starts[s] + ends[e]), offsets[s][1], offsets[e][2])
        for s in best_starts
        for e in best_ends
        if s <= e and at[e] - at[s] < most_tokens
    ]
    return nothing, sorted(pairs, reverse=True)[:LOOKED_AT]


def _best(
    context: str, windows: list[tuple[float, list[tuple[float, int, int]]]], parameters: dict[str, Any], may_be_none: bool
) -> dict[str, Any]:
    """The answer of view `span` from the candidates of all windows of a row. Probabilities are over what was considered."""
    import math

    nothing = min((score for score, _pairs in windows), default=0.0)
    spans: dict[tuple[int, int], float] = {}
    for _score, pairs in windows:
        for score, start, end in pairs:
            spans[start, end] = max(score, spans.get((start, end), -math.inf))
    ranked = sorted(((score, *span) for span, score in spans.items()), reverse=True)[:LOOKED_AT]
    considered = [score for score, _start, _end in ranked] + ([nothing] if may_be_none or not ranked else [])
    top = max(considered)
    total = sum(math.exp(score - top) for score in considered)

    def chance(score: float) -> float:
        return round(math.exp(score - top) / total, 4)

    n_best = [{"answer": context[a:b], "start": a, "end": b, "score": chance(score)} for score, a, b in ranked[: int(parameters["n_best"])]]
    is_none = not ranked or (may_be_none and nothing - ranked[0][0] > parameters["no_answer_threshold"])
    best = {"answer": "", "start": 0, "end": 0, "score": chance(nothing)} if is_none else n_best[0]
    none_score = chance(nothing) if may_be_none or not ranked else 0.0
    return {**best, "no_answer": is_none, "no_answer_score": none_score, "n_best": n_best, "windows": len(windows), "cut": 0}
