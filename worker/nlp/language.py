"""What the tasks share whose answers are written word by word: loss over tokens, prompts, and answers in batches."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from worker.nlp import Example, Task, certainty, families, folders, templates, texts
from worker.nlp.decoding import ends_of, takes
from worker.spec import Metric, Setting
from worker.spec import gettext_noop as _

LEFT_OUT = -100  # a label that is not learnt
SHOWN = 60  # held-out rows on the Evaluation tab
AT_ONCE = 32  # rows in one batch of answers
MOST_LOGITS = 2**25  # numbers that are held at a time while written answers are read once more

PROBE = "Good day, how are you?"
# How a decoder without a form of its own is asked, as a chat template; what begins a row and what ends an answer are put in.
FORM = (
    "{%%- set asked = messages | rejectattr('role', 'equalto', 'assistant') | list -%%}{{- %s -}}"
    "{%%- for message in messages -%%}{%%- if message['role'] == 'assistant' -%%}{{- message['content'] -}}{{- %s -}}"
    "{%%- else -%%}{%%- if asked | length > 1 -%%}{{- message['role'] | capitalize -}}{{- ': ' -}}{%%- endif -%%}"
    "{{- message['content'].rstrip() -}}{{- '\\n' -}}{%%- endif -%%}{%%- endfor -%%}"
)

pause: ContextVar[Callable[[], None]] = ContextVar("pause", default=lambda: None)  # called between two words; what it raises ends the work

PERPLEXITY = Metric(
    "perplexity",
    _("Perplexity"),
    _("How surprised the model is by the text: as if choosing among this many equally likely tokens. Lower is better."),
    unit="number",
    less_is_better=True,
)
TOKEN_ACCURACY = Metric("token_accuracy", _("Token accuracy"), _("Share of tokens that were the model's first choice."))

SMOOTHING = Setting(
    "label_smoothing", _("Label smoothing"), 0.0, _("Trusts every token a little less; helps when the texts are noisy."), least=0, most=0.5
)
TARGET_WINDOW = Setting(
    "target_window", _("Longest answer"), 128, _("Answers to learn from are cut after this many tokens."), _("tokens"), "int", 4, 4096
)
TRIED_ROWS = Setting(
    "tried_rows",
    _("Rows to answer at the end"),
    500,
    _("How many held-out rows are answered for the scores. Fewer make the run shorter; 0 answers none."),
    _("rows"),
    "int",
    0,
    100_000,
)

BEAMS = Setting(
    "beams", _("Beams"), 4, _("How many candidate texts are kept while writing. More is slower and usually better."), "", "int", 1, 8
)
N_BEST = Setting(
    "n_best",
    _("Alternatives"),
    1,
    _("How many alternatives to show, best first; at most the number of beams."),
    "",
    "int",
    1,
    8,
    needs=("beams", 2),
    within="beams",
)
LENGTH_PENALTY = Setting(
    "length_penalty",
    _("Length penalty"),
    1.0,
    _("Above 1 favours longer answers, below 1 shorter ones. Needs at least two beams."),
    least=0,
    most=3,
    needs=("beams", 2),
)
MAX_TOKENS = Setting("max_tokens", _("Longest answer"), 128, _("The answer ends after this many tokens."), _("tokens"), "int", 1, 1024)
MIN_TOKENS = Setting("min_tokens", _("Shortest answer"), 0, _("The answer has at least this many tokens."), _("tokens"), "int", 0, 512)
NO_REPEAT = Setting(
    "no_repeat_ngram",
    _("No-repeat n-gram size"),
    0,
    _("No sequence of this many tokens appears twice; 0 turns this off."),
    "",
    "int",
    0,
    10,
)


@dataclass
class Text:
    """One written version: its text, the mean probability of its tokens (0 where nobody asked for it), how many tokens it has."""

    text: str
    score: float
    tokens: int


def fitted(model: Any, tokenizer: Any, settings: dict[str, Any]) -> None:
    """Let the tokenizer know how much a text may have: the setting, within what the model allows."""
    tokenizer.model_max_length = min(int(settings["window"]), texts.longest(model, tokenizer))


def open_writer(folder: str, **options: Any) -> tuple[Any, Any]:
    """(model, tokenizer) of an encoder-decoder or a decoder."""
    config = folders.check_folder(folder)
    kind = "AutoModelForSeq2SeqLM" if families.shape_of(config) == families.ENCODER_DECODER else "AutoModelForCausalLM"
    tokenizer = folders.open_tokenizer(folder)
    model = folders.open_model(folder, kind, **options).eval()
    if model.config.is_encoder_decoder and model.config.decoder_start_token_id is None:
        model.config.decoder_start_token_id = model.generation_config.decoder_start_token_id
    model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer


def is_pairs(model: Any) -> bool:
    return bool(model.config.is_encoder_decoder)


def facts_of(model: Any, otherwise: dict[str, Any]) -> dict[str, Any]:
    """What the model's training rows said, as far as the task that asks knows it; a model may have learnt another task before."""
    known = getattr(model.config, "tunebench", None) or {}
    return {name: known.get(name, value) for name, value in otherwise.items()}


def room_of(model: Any) -> int:
    """How many tokens a row of this model may have in all."""
    return int(getattr(model.config.get_text_config(), "max_position_embeddings", None) or texts.UNLIMITED)


# --- examples -------------------------------------------------------------------------------------------------------------
def paired(tokenizer: Any, sources: Sequence[str], targets: Sequence[str], target_window: int) -> list[Example]:
    """Examples for an encoder-decoder."""
    ids, cut = within(tokenizer, sources, tokenizer.model_max_length)
    labels, cut_too = within(tokenizer, targets, target_window, is_target=True)
    return [
        {"input_ids": i, "labels": t, "weight": len(t), "cut": sum(c)}
        for i, t, *c in zip(ids, labels, cut, cut_too, strict=True)
        if t != [tokenizer.pad_token_id]
    ]


def within(tokenizer: Any, some: Sequence[str], most: int, is_target: bool = False) -> tuple[list[list[int]], list[int]]:
    """(token rows of at most `most` tokens, how many of each text were left out). A text without a token is one of padding."""

    def tokens(numbers: Sequence[int], **options: Any) -> list[list[int]]:
        given = {"text_target" if is_target else "text": [some[i] for i in numbers]}
        return [
            row or [tokenizer.pad_token_id]
            for row in tokenizer(**given, return_attention_mask=False, verbose=False, **options)["input_ids"]
        ]

    return texts.cut_to(most, len(some), tokens, len)


def prompt_ids(tokenizer: Any, prompt: str, most: int) -> tuple[list[int], int]:
    """(token row, how many tokens were left out) of what a decoder should answer. Of a long prompt the last part is kept.

    A model that was trained to chat is asked in its own form; any other reads the prompt and a line break.
    """
    if getattr(tokenizer, "chat_template", None):
        asked = [{"role": "user", "content": prompt}]
        ids = templates.ids(tokenizer, asked, asks=True)
    else:
        ids = tokenizer(prompt.rstrip() + "\n", add_special_tokens=False, verbose=False)["input_ids"]
        ids = opening(tokenizer) + ids
    return ids[-most:], max(0, len(ids) - most)


def opening(tokenizer: Any) -> list[int]:
    """The tokens with which every row of a decoder begins: one at least, so that the first word can be learnt too."""
    if tokenizer.bos_token_id is not None:
        return [tokenizer.bos_token_id]
    return [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []


def open_rows(tokenizer: Any) -> None:
    """Let the tokenizer by itself begin a text as every row began that a decoder has learnt."""
    from tokenizers.processors import TemplateProcessing

    begins = opening(tokenizer)
    if tokenizer.is_fast and begins and tokenizer(PROBE)["input_ids"] != begins + tokenizer(PROBE, add_special_tokens=False)["input_ids"]:
        (first,) = tokenizer.convert_ids_to_tokens(begins)
        rows = TemplateProcessing(single=f"{first} $A", pair=f"{first} $A $B", special_tokens=[(first, begins[0])])
        tokenizer.backend_tokenizer.post_processor = rows


def say_form(tokenizer: Any) -> None:
    """Put the form in which a decoder was asked into its files, where it has none of its own."""
    if getattr(tokenizer, "chat_template", None):
        return
    wanted = prompt_ids(tokenizer, PROBE, texts.UNLIMITED)[0]
    first = "".join(tokenizer.convert_ids_to_tokens(opening(tokenizer)))
    tokenizer.chat_template = FORM % (json.dumps(first), json.dumps(tokenizer.eos_token or ""))
    if prompt_ids(tokenizer, PROBE, texts.UNLIMITED)[0] != wanted:  # some tokenizers lay a text otherwise behind a mark
        tokenizer.chat_template = None


def fitting(tokenizer: Any, some: Sequence[str], answer_tokens: int, laid: Callable[[str], str]) -> tuple[list[list[int]], list[int]]:
    """(token rows that ask a decoder `laid(text)`, how many tokens of each text's end were left out), with room for an answer."""
    most = tokenizer.model_max_length
    around = len(prompt_ids(tokenizer, laid(""), texts.UNLIMITED)[0])
    room = max(8, most - min(answer_tokens, most // 2) - around)
    rows, cut = list[list[int]](), list[int]()
    for text in some:
        ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        cut.append(max(0, len(ids) - room))
        rows.append(prompt_ids(tokenizer, laid(tokenizer.decode(ids[:room]) if cut[-1] else text), most)[0])
    return rows, cut


def prompted(tokenizer: Any, asked: list[int], completion: str, target_window: int, cut: int = 0) -> Example:
    """An example for a decoder: the token row `asked` is read, the completion is learnt, and that it ends, unless it was cut.

    Of a long question the end is kept; an answer has half of the window at least.
    """
    ending = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    window = tokenizer.model_max_length
    whole = tokenizer(completion, add_special_tokens=False, verbose=False)["input_ids"] + ending
    answer = whole[: min(target_window, max(window // 2, window - len(asked)))]
    read = asked[-(window - len(answer)) :]
    return {**masked(read + answer, len(read)), "cut": cut + len(asked) - len(read) + len(whole) - len(answer)}


def masked(ids: list[int], read: int) -> Example:
    """`ids`, of which the first `read` are not learnt. The very first token follows from nothing, so it never is."""
    read = max(read, 1)
    return {"input_ids": ids, "labels": [LEFT_OUT] * read + ids[read:], "weight": len(ids) - read}


# --- answers --------------------------------------------------------------------------------------------------------------
def written(
    model: Any,
    tokenizer: Any,
    rows: Sequence[list[int]],
    *,
    most: int,
    forced: int | None = None,
    parameters: dict[str, Any] | None = None,
    is_scored: bool = False,
) -> list[list[Text]]:
    """Versions of an answer to each token row, best first, by beam search (or the likeliest token each time)."""
    import torch

    chosen = {"beams": 1, "n_best": 1, "length_penalty": 1.0, "no_repeat_ngram": 0, "min_tokens": 0, **(parameters or {})}
    beams, count = int(chosen["beams"]), min(int(chosen["n_best"]), int(chosen["beams"]))
    options: dict[str, Any] = {
        "num_beams": beams,
        "num_return_sequences": count,
        "do_sample": False,
        "max_length": None,
        "no_repeat_ngram_size": 0,  # this and the next: whatever the model's own defaults say
        "repetition_penalty": 1.0,
        "return_dict_in_generate": False,
        **({"length_penalty": float(chosen["length_penalty"]), "early_stopping": True} if beams > 1 else {}),
        **({"forced_bos_token_id": forced} if forced is not None else {}),
    }
    ends = torch.tensor(sorted(ends_of(model, tokenizer)), dtype=torch.long, device=model.device)
    found: list[list[Text]] = [[] for _row in rows]
    for group in texts.alike([len(row) for row in rows], model, AT_ONCE):
        x = _left_padded([rows[i] for i in group], tokenizer, model.device, on_left=not is_pairs(model))
        start = 1 if is_pairs(model) else x["input_ids"].shape[1]
        room = max(1, min(most, room_of(model) - start))
        with torch.inference_mode():
            sequences = model.generate(
                **x,
                **options,
                max_new_tokens=room,
                min_new_tokens=min(int(chosen["min_tokens"]), room),
                logits_processor=_unrepeated(int(chosen["no_repeat_ngram"]), 0 if is_pairs(model) else start),
                stopping_criteria=_pauses(),
            )
        real = _real(sequences[:, start:], ends, tokenizer.pad_token_id)
        counts = real.sum(1).tolist()
        real[:, 0] &= forced is None  # nobody chose that token
        scores = _sureness(model, x, sequences, start, real) if is_scored else [0.0] * len(sequences)
        for at, (ids, score, tokens) in enumerate(zip(sequences[:, start:].tolist(), scores, counts, strict=True)):
            text = tokenizer.decode(ids, skip_special_tokens=True).strip()
            found[group[at // count]].append(Text(text, score, tokens))
    return found


def _real(said: Any, ends: Any, pad: int) -> Any:
    """Which tokens of (versions, tokens) were written: up to the first that ends, whatever the rest was filled with."""
    import torch

    is_end = torch.isin(said, ends)
    return (is_end.cumsum(1) - is_end.long() == 0) & (is_end | (said != pad))


def _unrepeated(size: int, start: int) -> Any:
    """A run of so many tokens is not written twice; those of the question, before `start`, may be written once more. What a model
    of pairs begins with counts, as it does for transformers: T5's is a token that it could write."""
    from transformers import LogitsProcessor, LogitsProcessorList, NoRepeatNGramLogitsProcessor

    class Unrepeated(LogitsProcessor):
        def __call__(self, input_ids: Any, scores: Any) -> Any:
            return NoRepeatNGramLogitsProcessor(size)(input_ids[:, start:], scores)

    return LogitsProcessorList([Unrepeated()] if size else [])


def _pauses() -> Any:
    """Between two words, whoever asked may end the work."""
    import torch
    from transformers import StoppingCriteria, StoppingCriteriaList

    class Pause(StoppingCriteria):
        def __call__(self, input_ids: Any, scores: Any, **_kwargs: Any) -> Any:
            pause.get()()
            return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)

    return StoppingCriteriaList([Pause()])


def _sureness(model: Any, x: dict[str, Any], sequences: Any, start: int, real: Any) -> list[float]:
    """The geometric mean of the probabilities of each version's `real` tokens. Read once more when they are written: to keep the
    chances of every word of the vocabulary at every step would take gigabytes."""
    import torch

    times, said = len(sequences) // len(x["input_ids"]), sequences[:, start:]
    fewer: dict[str, int] = {}
    mask = x["attention_mask"].repeat_interleave(times, 0)
    if is_pairs(model):
        given = {
            "input_ids": x["input_ids"].repeat_interleave(times, 0),
            "attention_mask": mask,
            "decoder_input_ids": sequences[:, :-1],
        }
    else:
        mask = torch.cat([mask, mask.new_ones(len(sequences), sequences.shape[1] - start - 1)], 1)
        given = {"input_ids": sequences[:, :-1], "attention_mask": mask}
        if takes(model, "position_ids"):
            given["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
        if takes(model, "logits_to_keep"):
            fewer, start = {"logits_to_keep": said.shape[1]}, 1
    vocabulary = model.config.get_text_config().vocab_size
    size = max(1, MOST_LOGITS // (given.get("decoder_input_ids", given["input_ids"]).shape[1] * vocabulary))
    found: list[float] = []
    for at in range(0, len(sequences), size):
        part = slice(at, at + size)
        with torch.inference_mode():
            out = model(**{name: value[part] for name, value in given.items()}, use_cache=False, **fewer)
        chances = out.logits[:, start - 1 :].float().log_softmax(-1).gather(2, said[part, :, None])[..., 0]
        found += ((chances * real[part]).sum(1) / real[part].sum(1).clamp(min=1)).exp().tolist()
    return [round(min(1.0, score), 4) for score in found]


def _left_padded(rows: Sequence[list[int]], tokenizer: Any, device: Any, on_left: bool) -> dict[str, Any]:
    import torch

    longest, pad = max(map(len, rows)), tokenizer.pad_token_id or 0

    def filled(row: list[int], value: int) -> list[int]:
        gap = [value] * (longest - len(row))
        return [*gap, *row] if on_left else [*row, *gap]

    return {
        "input_ids": torch.tensor([filled(row, pad) for row in rows], device=device),
        "attention_mask": torch.tensor([filled([1] * len(row), 0) for row in rows], device=device),
    }


# --- the part of a task that they share -----------------------------------------------------------------------------------
class Written(Task):
    """A task whose answers are written: the loss is over tokens, and held-out rows are answered to be scored."""

    picked_by = "loss"

    def criterion(self, train: list[Example], labels: Sequence[str], settings: dict[str, Any]) -> Callable[[Any, list[Example]], Any]:
        import torch

        def loss(logits: Any, examples: list[Example]) -> Any:
            smoothing = settings["label_smoothing"] if torch.is_grad_enabled() else 0.0
            return torch.nn.functional.cross_entropy(logits.float(), targets_of(examples, logits.device), label_smoothing=smoothing)

        return loss

    def read(self, outputs: Any, examples: list[Example], criterion: Callable[[Any, list[Example]], Any]) -> list[Any]:
        """(sum of the losses, tokens, tokens said right) of each example."""
        import torch

        targets = targets_of(examples, outputs.device)
        losses: Any = torch.nn.functional.cross_entropy(outputs.float(), targets, reduction="none")
        right = outputs.argmax(-1) == targets
        sizes = [e["weight"] for e in examples]
        each = zip(losses.split(sizes), right.split(sizes), sizes, strict=True)
        return [(float(part.sum()), size, int(hits.sum())) for part, hits, size in each]

    def score(self, found: list[Any], examples: list[Example], labels: Sequence[str]) -> tuple[dict[str, float], dict[str, Any]]:
        import math

        tokens = max(sum(count for _loss, count, _right in found), 1)
        loss = sum(loss for loss, _count, _right in found) / tokens
        right = sum(hits for _loss, _count, hits in found)
        rows = len({e.get("row", at) for at, e in enumerate(examples)})  # one may make several examples
        return {"perplexity": math.exp(min(loss, 50.0)), "token_accuracy": right / tokens, "rows": rows}, {}

    def intervals(self, found: list[Any], examples: list[Example], labels: Sequence[str]) -> dict[str, list[float]]:
        import numpy as np

        row = {name: at for at, name in enumerate(dict.fromkeys(e.get("row", at) for at, e in enumerate(examples)))}
        table = np.zeros((len(row), 3))
        for at, (example, each) in enumerate(zip(examples, found, strict=True)):
            table[row[example.get("row", at)]] += each

        def scored(rows: Any) -> dict[str, float]:
            loss, tokens, right = table[rows].sum(0)
            return {"perplexity": float(np.exp(min(loss / max(tokens, 1), 50.0))), "token_accuracy": float(right / max(tokens, 1))}

        return certainty.bootstrap(len(row), scored)

    def load(self, base: str, labels: Sequence[str], settings: dict[str, Any], method: str, facts: dict[str, Any]) -> tuple[Any, Any]:
        model, tokenizer = open_writer(base)
        fitted(model, tokenizer, settings)
        return model, tokenizer

    def leave(self, model: Any, tokenizer: Any, facts: dict[str, Any]) -> None:
        """The playground's defaults become the model's own. Without them transformers ends an answer after 20 tokens."""
        known = {setting.name: setting.default for setting in self.parameters}
        own = model.generation_config
        room = room_of(model) - 1 if is_pairs(model) else room_of(model) // 2  # a question needs its place too
        own.max_length, own.max_new_tokens = None, min(known["max_tokens"], room)
        own.eos_token_id = sorted(ends_of(model, tokenizer)) or None
        own.pad_token_id = tokenizer.pad_token_id
        own.do_sample, own.temperature, own.top_p, own.top_k = False, None, None, None
        own.repetition_penalty = None
        if "beams" in known:
            own.num_beams, own.length_penalty, own.early_stopping = known["beams"], known["length_penalty"], True
            own.no_repeat_ngram_size = known["no_repeat_ngram"] if is_pairs(model) else 0  # a decoder's would count the question too
            if not is_pairs(model):
                say_form(tokenizer)

    def compares_untuned(self, model: Any) -> bool:
        return True

    def open(self, folder: str) -> tuple[Any, Any, tuple[str, ...]]:
        return *self.open_base(folder), ()

    def open_base(self, folder: str) -> tuple[Any, Any]:
        model, tokenizer = open_writer(folder)
        tokenizer.model_max_length = texts.longest(model, tokenizer)
        return model, tokenizer

    def answer_untuned(
        self, model: Any, tokenizer: Any, labels: Sequence[str], inputs: list[dict[str, str]], parameters: dict[str, Any]
    ) -> list[dict[str, Any]]:
        return self.answer(model, tokenizer, labels, inputs, parameters)


def targets_of(examples: Sequence[Example], device: Any) -> Any:
    """The tokens to be learnt, of all examples in order."""
    import torch

    return torch.tensor([token for e in examples for token in e["labels"] if token != LEFT_OUT], device=device)


def worst_first(samples: list[dict[str, Any]], metric: str) -> list[dict[str, Any]]:
    """Up to 60 samples for the page, spread evenly from the worst to the best."""
    ranked = sorted(samples, key=lambda sample: sample["scores"].get(metric, 0.0))
    if len(ranked) <= SHOWN:
        return ranked
    return [ranked[round(at * (len(ranked) - 1) / (SHOWN - 1))] for at in range(SHOWN)]


def answered(
    ask: Callable[[list[dict[str, str]]], list[dict[str, Any]]], inputs: list[dict[str, str]]
) -> Generator[tuple[int, int], None, list[dict[str, Any]]]:
    """The answers to all `inputs`, some at a time; rows of like length go together. Yields (done, of how many)."""
    order = sorted(range(len(inputs)), key=lambda i: sum(map(len, inputs[i].values())))
    found: list[dict[str, Any]] = [{} for _row in inputs]
    for start in range(0, len(order), AT_ONCE):
        numbers = order[start : start + AT_ONCE]
        for i, answer in zip(numbers, ask([inputs[i] for i in numbers]), strict=True):
            found[i] = answer
        yield min(start + AT_ONCE, len(order)), len(order)
    return found
