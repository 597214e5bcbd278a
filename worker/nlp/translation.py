"""Translation: a text in one language, the same in another."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from itertools import pairwise
from typing import Any

from worker.nlp import Example, families, language, overlap
from worker.nlp import rows as rows_of
from worker.nlp.language import Written
from worker.nlp.languages import NAMES, foreign, language_of, sentences
from worker.nlp.recipe import FULL, LORA, training
from worker.spec import Field, Metric, Role, Setting, Trouble
from worker.spec import gettext_noop as _

AUTO = "auto"
# How NLLB calls the languages; mBART ("de_DE") and M2M-100 ("__de__") are found by their two letters.
CODES = {
    "ar": "arb_Arab", "cs": "ces_Latn", "da": "dan_Latn", "de": "deu_Latn", "el": "ell_Grek", "en": "eng_Latn", "es": "spa_Latn",
    "fa": "pes_Arab", "fi": "fin_Latn", "fr": "fra_Latn", "he": "heb_Hebr", "hi": "hin_Deva", "hu": "hun_Latn", "id": "ind_Latn",
    "it": "ita_Latn", "ja": "jpn_Jpan", "ko": "kor_Hang", "nl": "nld_Latn", "no": "nob_Latn", "pl": "pol_Latn", "pt": "por_Latn",
    "ro": "ron_Latn", "ru": "rus_Cyrl", "sv": "swe_Latn", "th": "tha_Thai", "tr": "tur_Latn", "uk": "ukr_Cyrl", "vi": "vie_Latn",
    "zh": "zho_Hans",
}  # fmt: skip
LETTERS = {code: letters for letters, code in CODES.items()} | {"zho_Hant": "zh"}
UNSPACED_LANGUAGES = {"zh", "ja"}  # sentences follow each other without a blank
NO_FACTS: dict[str, Any] = {"source_lang": "", "target_lang": "", "both_ways": False, "told": False}
SOURCE_HINTS = ("source", "src", "en", "english", "from", "original", "sentence_en", "text_en", "原文", "英文")
TARGET_HINTS = ("target", "tgt", "translation", "zh", "chinese", "de", "fr", "es", "to", "german", "french", "译文", "中文", "翻译")


class Translation(Written):
    slug = "translation"
    aliases = ("translate", "machine_translation")
    title = _("Translation")
    about = _("Translate from one language into another, learnt from pairs of texts.")
    verb = _("Translate")
    roles: tuple[Role, ...] = (
        Role("source", _("Source"), hints=SOURCE_HINTS, language=True, is_key=True, help=_("The text to translate.")),
        Role("target", _("Translation"), hints=TARGET_HINTS, language=True, help=_("The same text in the other language.")),
    )
    inputs: tuple[Field, ...] = (Field("source", _("Text"), long=True, most_chars=5_000, hint=_("Enter the text to translate")),)
    parameters = (
        language.BEAMS,
        language.N_BEST,
        language.LENGTH_PENALTY,
        language.MAX_TOKENS,
        language.NO_REPEAT,
        Setting(
            "direction",
            _("Direction"),
            "forward",
            _("Reversed translates from the target language into the source language, if the model was trained on both."),
            kind="choice",
            choices=(("forward", _("As trained")), ("back", _("Reversed"))),
        ),
    )
    settings: tuple[Setting, ...] = (
        *training(window=128, learning_rate={"": 3e-4, "lora": 1e-3}, batch_rows=64),
        language.TARGET_WINDOW,
        Setting(
            "source_lang",
            _("Source language"),
            AUTO,
            _("Two letters, or the model's own code; auto detects it from the rows."),
            kind="text",
            most=20,
        ),
        Setting(
            "target_lang",
            _("Target language"),
            AUTO,
            _("Two letters, or the model's own code; auto detects it from the rows."),
            kind="text",
            most=20,
        ),
        Setting(
            "both_ways",
            _("Both directions"),
            False,
            _("Trains on each pair in both directions, so that the model can also translate back. Takes twice as long."),
            kind="bool",
        ),
        language.SMOOTHING,
        language.TRIED_ROWS,
    )
    methods = (FULL, LORA)
    shapes = (families.ENCODER_DECODER, families.DECODER)
    primary_metric = "bleu"
    metrics: tuple[Metric, ...] = (
        Metric("bleu", _("BLEU"), _("Overlap with the reference in sequences of one to four words, by sacrebleu.")),
        Metric("chrf", _("chrF"), _("The same for sequences of characters; more forgiving of inflected forms.")),
        language.PERPLEXITY,
        language.TOKEN_ACCURACY,
    )
    answer_view = "translation"
    example_file = "source,target\nGood morning.,早上好。\nWhere is the station?,车站在哪里？\n"

    # --- data ---
    def problems(self, row: dict[str, Any]) -> list[tuple[str, str]]:
        return rows_of.text_problems(row, ("source", _("The source is empty.")), ("target", _("The translation is empty.")))

    def baselines(self, train: Any, held_out: Any) -> dict[str, dict[str, Any]]:
        few = held_out.head(language.TRIED_ROWS.default)  # what a run answers too
        sources, targets = few["source"].to_list(), few["target"].to_list()
        spoken = language_of(targets)
        intervals = overlap.translation_intervals(sources, targets, spoken)
        return {"copy": {**overlap.translation_metrics(sources, targets, spoken)[0], "intervals": intervals}}

    def comes_with(self, config: dict[str, Any]) -> tuple[str, ...] | None:
        """Marian knows one direction; the models of many languages must be told theirs."""
        return () if config.get("model_type") == "marian" else None

    # --- training ---
    def facts(self, rows: Any, settings: dict[str, Any]) -> dict[str, Any]:
        def named(setting: str, column: str) -> str:
            given = str(settings[setting] or AUTO).strip()
            return language_of(rows[column].to_list()) if given == AUTO else given

        return {
            "source_lang": named("source_lang", "source"),
            "target_lang": named("target_lang", "target"),
            "both_ways": bool(settings["both_ways"]),
            "told": bool(settings["both_ways"]),  # the direction, by a word before the text
        }

    def load(self, base: str, labels: Sequence[str], settings: dict[str, Any], method: str, facts: dict[str, Any]) -> tuple[Any, Any]:
        model, tokenizer = super().load(base, labels, settings, method, facts)
        facts["told"] = facts.get("told", False) or language.facts_of(model, NO_FACTS)["told"]  # a base that was told goes on being told
        if model.config.is_encoder_decoder and model.config.decoder_start_token_id is None:  # mBART-25, which has two targets to begin with
            model.config.decoder_start_token_id = tokenizer.eos_token_id
        return model, tokenizer

    def encode(
        self, rows: Any, model: Any, tokenizer: Any, labels: Sequence[str], settings: dict[str, Any], learning: bool = True
    ) -> list[Example]:
        facts, sources, targets = model.config.tunebench, rows["source"].to_list(), rows["target"].to_list()
        examples = _examples(model, tokenizer, sources, targets, facts, settings, back=False)
        if learning and facts["both_ways"]:
            examples += _examples(model, tokenizer, targets, sources, facts, settings, back=True)
        return examples

    def trial(
        self, model: Any, tokenizer: Any, labels: Sequence[str], rows: Any, settings: dict[str, Any]
    ) -> Generator[tuple[int, int], None, tuple[dict[str, float], dict[str, Any]]] | None:
        return self._trial(model, tokenizer, rows.head(settings["tried_rows"]))

    def _trial(self, model: Any, tokenizer: Any, rows: Any) -> Generator[tuple[int, int], None, tuple[dict[str, float], dict[str, Any]]]:
        sources, targets = rows["source"].to_list(), rows["target"].to_list()
        parameters = self.read_parameters({"beams": 1})
        found = yield from language.answered(
            lambda some: self._answers(model, tokenizer, some, parameters, is_scored=False), [{"source": s} for s in sources]
        )
        said = [answer["text"] for answer in found]
        letters = letters_of(model.config.tunebench["target_lang"])
        metrics, signatures = overlap.translation_metrics(said, targets, letters)
        samples = [
            {"inputs": {"source": s}, "reference": t, "answer": a, "scores": {"chrf": overlap.sentence_chrf(a, t)}}
            for s, t, a in zip(sources, targets, said, strict=True)
        ]
        handy = sorted(samples, key=lambda sample: (not 12 <= len(sample["inputs"]["source"]) <= 80, -sample["scores"]["chrf"]))[:3]
        examples = [{"source": each["inputs"]["source"], "target": each["reference"]} for each in handy]
        drawn = {"samples": language.worst_first(samples, "chrf"), "signatures": signatures, "tried": len(said), "examples": examples}
        return metrics, drawn | {"intervals": overlap.translation_intervals(said, targets, letters)}

    def leave(self, model: Any, tokenizer: Any, facts: dict[str, Any]) -> None:
        super().leave(model, tokenizer, facts)
        if language.is_pairs(model):
            _turned(tokenizer, facts, back=False)
            tokenizer.init_kwargs |= {name: getattr(tokenizer, name) for name in ("src_lang", "tgt_lang") if hasattr(tokenizer, name)}
            model.generation_config.forced_bos_token_id = _first(model, tokenizer, facts, back=False)

    # --- answering ---
    def answer(
        self, model: Any, tokenizer: Any, labels: Sequence[str], inputs: list[dict[str, str]], parameters: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """Sentence by sentence, so that a long text needs no long window. The second version has the second one of each sentence."""
        return self._answers(model, tokenizer, inputs, parameters, is_scored=True)

    def _answers(
        self, model: Any, tokenizer: Any, inputs: list[dict[str, str]], parameters: dict[str, Any], is_scored: bool
    ) -> list[dict[str, Any]]:
        facts = language.facts_of(model, NO_FACTS)
        back = parameters["direction"] == "back" and facts["both_ways"]
        bounds = [sentences(row["source"]) or [(0, len(row["source"]))] for row in inputs]
        parts = [row["source"][a:b] for row, each in zip(inputs, bounds, strict=True) for a, b in each]
        most, forced = int(parameters["max_tokens"]), _first(model, tokenizer, facts, back)
        rows, cut = _asked(model, tokenizer, parts, facts, back, most)
        found = language.written(model, tokenizer, rows, most=most, forced=forced, parameters=parameters, is_scored=is_scored)
        versions = iter(zip(found, rows, cut, strict=True))
        blank = "" if letters_of(facts["source_lang" if back else "target_lang"]) in UNSPACED_LANGUAGES else " "
        answers = []
        for row, each in zip(inputs, bounds, strict=True):
            mine = [next(versions) for _sentence in each]
            between = [row["source"][a:b].count("\n") * "\n" or blank for (_, a), (b, _) in pairwise(each)]
            n_best = []
            for rank in range(max(len(found) for found, _row, _cut in mine)):
                picked = [found[min(rank, len(found) - 1)] for found, _row, _cut in mine]
                text = "".join(version.text + joint for version, joint in zip(picked, [*between, ""], strict=True))
                n_best.append({"text": text, "score": min(version.score for version in picked)})
            answers.append(
                {
                    "text": n_best[0]["text"],
                    "n_best": n_best,
                    "source_lang": facts["target_lang" if back else "source_lang"],
                    "seen_lang": foreign(row["source"], letters_of(facts["target_lang" if back else "source_lang"])),
                    "target_lang": facts["source_lang" if back else "target_lang"],
                    "tokens_in": sum(len(row) for _found, row, _cut in mine),
                    "tokens_out": sum(found[0].tokens for found, _row, _cut in mine),
                    "cut": sum(left_out for _found, _row, left_out in mine),
                }
            )
        return answers


# --- how a model is asked for a language ----------------------------------------------------------------------------------
def _code(tokenizer: Any, name: str) -> str:
    """What a model of many languages calls this one; empty when it names none."""
    known = {*tokenizer.get_added_vocab(), *getattr(tokenizer, "lang_token_to_id", ())}
    wanted = (name, f"__{name}__", CODES.get(name, ""))
    return next((w for w in wanted if w in known), next((k for k in sorted(known) if k.startswith(f"{name}_")), "")) if name else ""


def _target_code(tokenizer: Any, facts: dict[str, Any], back: bool) -> str:
    return _code(tokenizer, facts["source_lang" if back else "target_lang"])


def _first(model: Any, tokenizer: Any, facts: dict[str, Any], back: bool) -> int | None:
    """The token with which such a model begins its answer; none where it starts from it anyway."""
    code = _target_code(tokenizer, facts, back)
    token = int(tokenizer.convert_tokens_to_ids(code)) if code else None
    return None if token == getattr(model.config, "decoder_start_token_id", None) else token


def letters_of(name: str) -> str:
    """The two letters of a language that may be called as some model calls it: zho_Hans, zh_CN, __zh__."""
    bare = name.strip("_")
    return LETTERS.get(name) or (bare[:2].lower() if bare[2:3] in ("", "_", "-") else "")


def _prefix(model: Any, facts: dict[str, Any], back: bool) -> str:
    """What is put before a source, where a model is told its direction in words."""
    source, target = (NAMES.get(letters_of(facts[key]), facts[key]) for key in ("source_lang", "target_lang"))
    source, target = (target, source) if back else (source, target)
    if model.config.model_type in {"t5", "mt5", "umt5", "longt5", "switch_transformers"}:
        return f"translate {source} to {target}: "
    return f">>{facts['source_lang' if back else 'target_lang']}<< " if facts["told"] else ""


def _questions(
    tokenizer: Any, sources: list[str], answer_tokens: int, facts: dict[str, Any], back: bool
) -> tuple[list[list[int]], list[int]]:
    """(token rows that ask a decoder, how many tokens of each text were left out)."""
    target = facts["source_lang" if back else "target_lang"]
    named = NAMES.get(letters_of(target), target or "the other language")
    return language.fitting(tokenizer, sources, answer_tokens, lambda text: f"Translate into {named}:\n{text}")


def _turned(tokenizer: Any, facts: dict[str, Any], back: bool) -> None:
    """Set the languages of a tokenizer that knows them."""
    source, target = (_code(tokenizer, facts[key]) for key in ("source_lang", "target_lang"))
    if not hasattr(tokenizer, "src_lang"):
        return
    if unknown := next((facts[key] for key, code in (("source_lang", source), ("target_lang", target)) if facts[key] and not code), ""):
        raise Trouble(
            "unknown_language",
            f"The base model does not know the language “{unknown}”.",
            _("Give the languages as the model calls them, or choose another base model."),
        )
    if source and target:
        source, target = source.strip("_"), target.strip("_")  # M2M-100 calls "en" what it writes as "__en__"
        tokenizer.src_lang, tokenizer.tgt_lang = (target, source) if back else (source, target)


def _examples(
    model: Any, tokenizer: Any, sources: list[str], targets: list[str], facts: dict[str, Any], settings: dict[str, Any], back: bool
) -> list[Example]:
    if not language.is_pairs(model):
        window = settings["target_window"]
        asked, cut = _questions(tokenizer, sources, window, facts, back)
        return [language.prompted(tokenizer, ids, t, window, left_out) for ids, t, left_out in zip(asked, targets, cut, strict=True)]
    _turned(tokenizer, facts, back)
    code = _target_code(tokenizer, facts, back)
    before = "" if code else _prefix(model, facts, back)
    examples = language.paired(tokenizer, [before + s for s in sources], targets, settings["target_window"])
    token, first = tokenizer.convert_tokens_to_ids(code) if code else None, _first(model, tokenizer, facts, back)
    for example in examples if code else ():  # an answer begins with the code of its language; mBART-25 puts it behind
        example["labels"] = [*([] if first is None else [first]), *(each for each in example["labels"] if each != token)]
        example["weight"] = len(example["labels"])
    return examples


def _asked(
    model: Any, tokenizer: Any, sources: list[str], facts: dict[str, Any], back: bool, answer_tokens: int
) -> tuple[list[list[int]], list[int]]:
    """(token rows, how many tokens of each were left out)."""
    if not language.is_pairs(model):
        return _questions(tokenizer, sources, answer_tokens, facts, back)
    _turned(tokenizer, facts, back)
    before = "" if _target_code(tokenizer, facts, back) else _prefix(model, facts, back)
    return language.within(tokenizer, [before + source for source in sources], tokenizer.model_max_length)
