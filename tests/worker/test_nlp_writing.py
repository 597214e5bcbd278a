"""Written answers: loss on the answer alone, the same text from the same seed, stops, languages, and honest measures."""

import json
from pathlib import Path

import polars as pl
import pytest
import torch
from sacrebleu import corpus_bleu

from tests.worker import toys
from tests.worker.test_nlp_contract import gathered
from worker.nlp import TASKS, language, overlap
from worker.nlp.chats import messages_of
from worker.nlp.decoding import decode
from worker.nlp.languages import foreign, language_of, sentences
from worker.nlp.recipe import read_settings
from worker.nlp.summarization import _laid, _oracle

GENERATION, TRANSLATION, SUMMARIZATION = (TASKS[slug] for slug in ("generation", "translation", "summarization"))


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    settings = read_settings(GENERATION.settings, {"window": 32}, "full")
    model, tokenizer = GENERATION.load(str(toys.base_model(tmp_path_factory.mktemp("base"), "llama")), (), settings, "full", {})
    model.config.tunebench = {"instruct": True}
    return model.eval(), tokenizer, settings


def encoded(decoder, rows):
    model, tokenizer, settings = decoder
    return GENERATION.encode(pl.DataFrame(rows), model, tokenizer, (), settings)


def learnt_words(decoder, example):
    return decoder[1].decode([token for token in example["labels"] if token != language.LEFT_OUT])


# --- what is learnt ---------------------------------------------------------------------------------------------------------
def test_of_a_prompt_nothing_is_learnt_and_of_its_completion_everything(decoder):
    (example,) = encoded(decoder, [{"prompt": "was it good", "completion": "it was a very good film"}])
    assert learnt_words(decoder, example) == "it was a very good film [SEP]"
    assert decoder[1].decode(example["input_ids"]).startswith("[SEP] was it good")
    assert example["weight"] == 7 == sum(label != language.LEFT_OUT for label in example["labels"])


def test_of_a_conversation_only_the_assistant_is_learnt(decoder):
    messages = [("system", "very"), ("user", "was it good"), ("assistant", "it was"), ("user", "and the soup"), ("assistant", "bad")]
    text = json.dumps([{"role": role, "content": content} for role, content in messages])
    (example,) = encoded(decoder, [{"text": text}])
    assert learnt_words(decoder, example) == "it was [SEP] bad [SEP]"


def test_a_chat_template_of_the_model_is_used(decoder):
    _model, tokenizer, _settings = decoder
    tokenizer.chat_template = "{% for m in messages %}{{ m.role == 'user' and 'we' or 'they' }} {{ m.content }} [SEP] {% endfor %}{% if add_generation_prompt %}they {% endif %}"
    try:
        (example,) = encoded(
            decoder, [{"text": json.dumps([{"role": "user", "content": "good"}, {"role": "assistant", "content": "bad film"}])}]
        )
        assert tokenizer.decode(example["input_ids"]).split() == ["we", "good", "[SEP]", "they", "bad", "film", "[SEP]"]
        assert learnt_words(decoder, example).split() == ["bad", "film", "[SEP]"]
        ids, _cut = language.prompt_ids(tokenizer, "good", 32)
        assert tokenizer.decode(ids).split() == ["we", "good", "[SEP]", "they"]
    finally:
        tokenizer.chat_template = None


WE = ("we", "good", "[SEP]")
THOUGHTFUL = (
    "{% for m in messages %}{% if m.role == 'user' %}we {{ m.content }} [SEP] {% else %}they {% if loop.last %}very very {% endif %}"
    "{{ m.content }} [SEP] {% endif %}{% endfor %}{% if add_generation_prompt %}they {% endif %}"
)


def test_a_template_that_shows_the_thoughts_of_the_last_answer_alone_gives_each_answer_its_own_row(decoder):
    """Qwen3's does: what was said before is laid otherwise once more is said."""
    _model, tokenizer, _settings = decoder
    said = [("user", "good"), ("assistant", "bad film"), ("user", "soup"), ("assistant", "awful")]
    tokenizer.chat_template = THOUGHTFUL
    try:
        one, two = encoded(decoder, [{"text": json.dumps([{"role": role, "content": text} for role, text in said])}])
    finally:
        tokenizer.chat_template = None
    assert tokenizer.decode(one["input_ids"]).split() == [*WE, "they", "very", "very", "bad", "film", "[SEP]"]
    assert tokenizer.decode(two["input_ids"]).split() == [
        *WE,
        "they",
        "bad",
        "film",
        "[SEP]",
        "we",
        "soup",
        "[SEP]",
        "they",
        "very",
        "very",
        "awful",
        "[SEP]",
    ]
    assert learnt_words(decoder, one).split() == ["very", "very", "bad", "film", "[SEP]"]
    assert learnt_words(decoder, two).split() == ["very", "very", "awful", "[SEP]"]


def test_an_answer_that_is_cut_does_not_learn_that_it_ends_there(decoder):
    model, tokenizer, settings = decoder
    rows = [{"prompt": "was it good", "completion": "very " * 50}, {"prompt": "film", "completion": "bad soup"}]
    long, short = GENERATION.encode(pl.DataFrame(rows), model, tokenizer, (), {**settings, "target_window": 10})
    assert learnt_words(decoder, long) == " ".join(["very"] * 10) and learnt_words(decoder, short) == "bad soup [SEP]"
    assert (long["cut"], short["cut"]) == (50 + 1 - 10, 0)


def test_a_decoder_that_translates_reads_the_question_however_long_the_text_and_its_translation_are(decoder):
    model, tokenizer, _settings = decoder
    settings = read_settings(TRANSLATION.settings, {"window": 32}, "full")
    facts, model.config.tunebench = model.config.tunebench, {"source_lang": "en", "target_lang": "zh", "both_ways": False, "told": False}
    try:
        (example,) = TRANSLATION.encode(
            pl.DataFrame({"source": ["good film " + "was bad " * 40], "target": ["very " * 90]}), model, tokenizer, (), settings
        )
        ids, cut = asked_of_a_decoder(model, tokenizer, "good film " + "was bad " * 40)
    finally:
        model.config.tunebench = facts
    read = tokenizer.decode([token for token, label in zip(example["input_ids"], example["labels"], strict=True) if label == -100])
    opening = tokenizer.decode(language.prompt_ids(tokenizer, "Translate into Chinese:\ngood film was bad", 99)[0])
    assert read.startswith(opening) and len(example["input_ids"]) == 32 and example["weight"] == 16 and example["cut"]
    assert tokenizer.decode(ids).startswith(opening) and len(ids) <= 32 and cut


def asked_of_a_decoder(model, tokenizer, text):
    from worker.nlp.translation import _asked

    (ids,), (cut,) = _asked(model, tokenizer, [text], model.config.tunebench, False, 1024)
    return ids, cut


def test_a_long_text_becomes_windows_and_only_the_last_learns_that_it_ends(decoder):
    examples = encoded(decoder, [{"text": "good film was bad and the soup again " * 12}, {"text": "very good"}])
    *whole, last, short = examples
    assert len(whole) >= 2 and all(len(e["input_ids"]) == 32 and e["labels"][-1] != 3 for e in whole)
    assert last["labels"][-1] == short["labels"][-1] == 3 and all(e["input_ids"][0] == 3 for e in examples)
    assert sum(e["weight"] for e in examples) == 8 * 12 + 2 + 2


def test_a_cell_that_is_no_conversation_is_a_text():
    assert messages_of("[1] a footnote") is None and messages_of("[Verse] la la") is None
    assert messages_of('[{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}]')[1] == {"role": "assistant", "content": "ho"}


def test_generation_needs_a_completion_or_a_text():
    assert [role.name for role in GENERATION.lacking({"prompt": "q"})] == ["text"]
    assert GENERATION.lacking({"text": "t"}) == [] == GENERATION.lacking({"prompt": "q", "completion": "a"})


# --- token by token ---------------------------------------------------------------------------------------------------------
def asked(**more):
    return GENERATION.read_parameters({"max_tokens": 12, "temperature": 1.0, **more})


def test_the_same_seed_gives_the_same_text_whatever_is_written_beside_it(decoder):
    model, tokenizer, _settings = decoder
    alone = gathered(decode(model, tokenizer, [2, 5, 6], asked(), 12))[1]["text"]
    one, other = (decode(model, tokenizer, [2, 5, 6], asked(seed=seed), 12) for seed in (13, 14))
    texts = {13: "", 14: ""}
    for _step in range(12):  # side by side, as the serving process does it
        for seed, work in ((13, one), (14, other)):
            texts[seed] += next(work, {"text": ""})["text"]
    assert texts[13] == alone != texts[14]


def test_temperature_zero_takes_the_likeliest_token_and_says_how_likely_it_was(decoder):
    model, tokenizer, _settings = decoder
    pieces, answer = gathered(decode(model, tokenizer, [2, 5, 6], asked(temperature=0, repetition_penalty=1), 5))
    row = [2, 5, 6]
    for token in answer["tokens"]:
        with torch.no_grad():
            chances = model(torch.tensor([row])).logits[0, -1].softmax(-1)
        best = int(chances.argmax())
        assert token["p"] == pytest.approx(float(chances[best]), abs=1e-4) and token["top"][0][1] == token["p"]
        row.append(best)
    assert answer["text"] == "".join(piece["text"] for piece in pieces) == "".join(token["text"] for token in answer["tokens"])
    assert answer["finish"] in ("length", "end") and answer["tokens_in"] == 3


def test_an_answer_ends_before_the_characters_to_stop_at_and_they_are_never_shown(decoder):
    model, tokenizer, _settings = decoder
    whole = gathered(decode(model, tokenizer, [2, 5, 6], asked(), 12))[1]["text"]
    stop = whole[6:9]
    pieces, answer = gathered(decode(model, tokenizer, [2, 5, 6], asked(stop=stop), 12))
    assert answer["finish"] == "stop" and answer["text"] == whole[: whole.index(stop)]
    assert "".join(piece["text"] for piece in pieces) == answer["text"] == "".join(token["text"] for token in answer["tokens"])


def test_a_character_of_several_tokens_comes_whole():
    from worker.nlp.decoding import _Unfolding

    class Bytes:
        def decode(self, ids, **_options):
            return bytes(ids).decode("utf-8", errors="replace")

    unfolding = _Unfolding(Bytes())
    assert [unfolding.add(byte) for byte in "a你😀b".encode()] == ["a", "", "", "你", "", "", "", "😀", "b"]


# --- translation ------------------------------------------------------------------------------------------------------------
def test_a_text_is_translated_sentence_by_sentence_and_versions_are_kept(tmp_path):
    settings = read_settings(TRANSLATION.settings, {}, "full")
    model, tokenizer = TRANSLATION.load(str(toys.base_model(tmp_path, "marian")), (), settings, "full", {})
    model.config.tunebench = {"source_lang": "en", "target_lang": "zh", "both_ways": True, "told": True}
    parameters = TRANSLATION.read_parameters({"beams": 3, "n_best": 3, "max_tokens": 6})
    one, two = TRANSLATION.answer(model.eval(), tokenizer, (), [{"source": "good film"}, {"source": "Good. It was bad."}], parameters)
    assert len(one["n_best"]) == 3 and one["n_best"][0]["text"] == one["text"]
    assert [v["score"] for v in one["n_best"]] == sorted((v["score"] for v in one["n_best"]), reverse=True) and one["n_best"][0][
        "score"
    ] <= 1
    assert len(two["n_best"]) == 3 and (one["source_lang"], one["target_lang"]) == ("en", "zh")
    back = TRANSLATION.answer(model, tokenizer, (), [{"source": "good film"}], {**parameters, "direction": "back"})[0]
    assert (back["source_lang"], back["target_lang"]) == ("zh", "en")
    cut = TRANSLATION.answer(model, tokenizer, (), [{"source": "bad " * 300}], parameters)[0]
    assert cut["cut"] == 300 + 3 + 1 - 64  # the word before it has three tokens


def test_paragraphs_stay_paragraphs(tmp_path):
    settings = read_settings(TRANSLATION.settings, {}, "full")
    model, tokenizer = TRANSLATION.load(str(toys.base_model(tmp_path, "marian")), (), settings, "full", {})
    model.eval().config.tunebench = {"source_lang": "zh", "target_lang": "en", "both_ways": False, "told": False}
    parameters = TRANSLATION.read_parameters({"beams": 2, "n_best": 2, "max_tokens": 6})
    (answer,) = TRANSLATION.answer(model, tokenizer, (), [{"source": "Good film.\n\nIt was bad. Very bad."}], parameters)
    alone = TRANSLATION.answer(model, tokenizer, (), [{"source": each} for each in ("Good film.", "It was bad.", "Very bad.")], parameters)
    for rank in (0, 1):
        one, two, three = (each["n_best"][rank]["text"] for each in alone)
        assert answer["n_best"][rank]["text"] == f"{one}\n\n{two} {three}"


@pytest.mark.parametrize("family", ["marian", "llama", "gpt2"])
def test_a_version_is_as_sure_as_its_tokens_are_likely_whatever_it_is_padded_with(tmp_path, family):
    model, tokenizer = TRANSLATION.open_base(str(toys.base_model(tmp_path, family)))
    rows, pairs = [[5, 6, 7, 3], [5, 3]], language.is_pairs(model)
    x = language._left_padded(rows, tokenizer, model.device, on_left=not pairs)
    start = 1 if pairs else 4
    with torch.no_grad():
        out = model.generate(**x, max_new_tokens=7, max_length=None, return_dict_in_generate=True, output_scores=True, do_sample=False)
        likely = model.compute_transition_scores(out.sequences, out.scores, normalize_logits=True)
    real = language._real(out.sequences[:, start:], torch.tensor([3]), tokenizer.pad_token_id)
    wanted = ((likely.nan_to_num(neginf=0) * real).sum(1) / real.sum(1)).exp()
    assert language._sureness(model, x, out.sequences, start, real) == pytest.approx(wanted.tolist(), abs=2e-4)


def test_a_version_is_as_sure_alone_as_beside_longer_ones():
    """Beams fill what is shorter with the token that ends, where padding has the number 0, as in our translator."""
    model, tokenizer, _labels = TRANSLATION.open(str(Path(__file__).parents[2] / "starters/translator-en-zh"))
    parameters = TRANSLATION.read_parameters({"beams": 4})
    inputs = [{"source": text} for text in ("Thank you.", "Where is the station?", "I would like to go home now, but it is raining.")]
    alone = [TRANSLATION.answer(model, tokenizer, (), [row], parameters)[0] for row in inputs]
    together = TRANSLATION.answer(model, tokenizer, (), inputs, parameters)
    for one, other in zip(alone, together, strict=True):
        assert (one["text"], one["tokens_out"]) == (other["text"], other["tokens_out"])
        assert one["n_best"][0]["score"] == pytest.approx(other["n_best"][0]["score"], abs=2e-4)
    assert len({a["tokens_out"] for a in together}) > 1 and all(0 < a["n_best"][0]["score"] < 1 for a in together)


def test_what_was_written_ends_with_its_first_end():
    said = torch.tensor([[5, 6, 3, 3, 3], [5, 3, 0, 0, 0], [5, 6, 7, 8, 9], [0, 0, 0, 0, 0]])
    assert language._real(said, torch.tensor([3]), 0).sum(1).tolist() == [3, 2, 5, 0]
    assert language._real(said, torch.tensor([0, 3]), 0).sum(1).tolist() == [3, 2, 5, 1], "a model that pads with its end"


def test_what_a_decoder_reads_it_may_say_once_more_and_what_it_said_it_may_not(decoder):
    model, tokenizer, _settings = decoder
    tokens = torch.tensor([[7, 8, 9, 7, 8, 5, 7]])  # 7 8 9 were read; then 7 8 5 7 was written
    banned = language._unrepeated(2, 3)(tokens, torch.zeros(1, 40))[0]
    assert [token for token in range(40) if banned[token] == -torch.inf] == [8]
    assert (language._unrepeated(2, 4)(tokens, torch.zeros(1, 40)) == 0).all()
    (text,) = language.written(model, tokenizer, [[3, 5, 6]], most=12, parameters={"no_repeat_ngram": 1})[0]
    assert len({*text.text.split()}) == len(text.text.split())


def test_an_answer_that_is_written_in_one_go_can_be_ended_between_two_words(decoder):
    model, tokenizer, _settings = decoder
    words = []

    def enough():
        words.append(1)
        if len(words) == 3:
            raise TimeoutError

    before = language.pause.set(enough)
    try:
        with pytest.raises(TimeoutError):
            language.written(model, tokenizer, [[3, 5, 6]], most=24)
    finally:
        language.pause.reset(before)
    assert len(words) == 3


def test_both_directions_double_what_is_learnt_but_not_what_is_measured(tmp_path):
    settings = read_settings(TRANSLATION.settings, {"both_ways": True}, "full")
    rows = pl.DataFrame({"source": ["good film"], "target": ["bad soup"]})
    model, tokenizer = TRANSLATION.load(str(toys.base_model(tmp_path, "marian")), (), settings, "full", {})
    model.config.tunebench = {"source_lang": "en", "target_lang": "zh", "both_ways": True, "told": True}
    there, back = TRANSLATION.encode(rows, model, tokenizer, (), settings)
    assert len(TRANSLATION.encode(rows, model, tokenizer, (), settings, learning=False)) == 1
    assert tokenizer.decode(there["labels"]) == "bad soup [SEP]" and tokenizer.decode(back["labels"]) == "good film [SEP]"


def test_the_languages_are_read_off_the_rows_unless_they_are_given():
    rows = pl.DataFrame({"source": ["Where is the station?", "I like the film."], "target": ["车站在哪里？", "我喜欢这部电影。"]})
    auto = read_settings(TRANSLATION.settings, {}, "full")
    assert TRANSLATION.facts(rows, auto) == {"source_lang": "en", "target_lang": "zh", "both_ways": False, "told": False}
    given = read_settings(TRANSLATION.settings, {"target_lang": "zho_Hans"}, "full")
    assert TRANSLATION.facts(rows, given)["target_lang"] == "zho_Hans"


def test_bleu_is_sacrebleus_with_the_tokenizer_of_the_language_and_its_signature():
    said, right = ["我喜欢这部电影", "车站在哪里"], ["我很喜欢这部电影。", "车站在哪儿？"]
    metrics, signatures = overlap.translation_metrics(said, right, "zh")
    assert metrics["bleu"] == pytest.approx(corpus_bleu(said, [right], tokenize="zh").score / 100) and "tok:zh" in signatures["bleu"]
    assert overlap.translation_metrics(["a b c d"], ["a b c d"], "en")[0]["bleu"] == pytest.approx(1)


# --- summaries --------------------------------------------------------------------------------------------------------------
def test_rouge_works_for_chinese_and_agrees_with_rouge_score_for_english():
    from rouge_score.rouge_scorer import RougeScorer

    assert overlap.rouge("今天天气很好", ["今天天气好"])["rouge1"] > 0.8
    said, right = "The cat's mat was red, on Monday.", "the mat of the cat is red"
    wanted = RougeScorer(["rouge1", "rouge2", "rougeL"]).score(right, said)
    found = overlap.rouge(said, [right])
    assert found == {"rouge1": wanted["rouge1"].fmeasure, "rouge2": wanted["rouge2"].fmeasure, "rouge_l": wanted["rougeL"].fmeasure}
    assert overlap.rouge(said, ["nothing", right])["rouge1"] == found["rouge1"]


def test_the_oracle_takes_the_sentences_that_add_most():
    parts = ["We like soup.", "The river rose by two metres.", "It was Monday.", "Three villages were cut off."]
    assert _oracle(parts, "River rose, villages cut off") == [1, 3]
    assert _oracle(parts, "nothing of this kind") == []


def test_chosen_sentences_are_spans_of_the_document_in_its_order(tmp_path):
    base = toys.base_model(tmp_path)
    settings = read_settings(SUMMARIZATION.known_settings("full", "encoder"), {"window": 32}, "full")
    model, tokenizer = SUMMARIZATION.load(str(base), (), settings, "full", {"sentences": 2})
    model.config.tunebench = {"sentences": 2}
    document = "Good film 😀 was it. The soup was very bad. We and they again. A phone is poor. It was great."
    for count, wanted in ((0, 2), (3, 3), (10, 5)):
        answer = SUMMARIZATION.answer(
            model.eval(), tokenizer, (), [{"document": document}], SUMMARIZATION.read_parameters({"sentences": count})
        )[0]
        spans = [(s["start"], s["end"]) for s in answer["sentences"]]
        assert len(spans) == wanted and spans == sorted(spans) and set(spans) <= set(sentences(document))
        assert answer["text"] == " ".join(document[a:b] for a, b in spans) and answer["ratio"] == pytest.approx(
            len(answer["text"]) / len(document), abs=1e-4
        )
    untuned, its_tokenizer = SUMMARIZATION.open_base(str(base))
    answer = SUMMARIZATION.answer_untuned(
        untuned, its_tokenizer, (), [{"document": document}], SUMMARIZATION.read_parameters({"sentences": 2})
    )[0]
    assert len(answer["sentences"]) == 2


def test_a_long_document_is_read_in_windows_of_whole_sentences(tmp_path):
    tokenizer = SUMMARIZATION.load(
        str(toys.base_model(tmp_path)),
        (),
        read_settings(SUMMARIZATION.known_settings("full", "encoder"), {"window": 32}, "full"),
        "full",
        {},
    )[1]
    windows = _laid(tokenizer, ["good film was bad"] * 20 + ["very " * 100])
    assert [n for w in windows for n in w["numbers"]] == list(range(21)) and all(len(w["input_ids"]) <= 32 for w in windows)
    first = windows[0]
    assert [tokenizer.decode(first["input_ids"][a:b]) for a, b in first["spans"]] == ["good film was bad"] * len(first["spans"])


# --- languages --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Dr. Smith left. He slept!", ["Dr. Smith left.", "He slept!"]),
        ("今天很好。明天呢？后天", ["今天很好。", "明天呢？", "后天"]),
        ("太好了！！！我很喜欢。真的吗？！", ["太好了！！！", "我很喜欢。", "真的吗？！"]),
        ('他说："很好。"她走了。"再见。"', ['他说："很好。"', "她走了。", '"再见。"']),
        ("one line\nanother line", ["one line", "another line"]),
        ('It cost 3.5 euros. "Really?" she said.', ["It cost 3.5 euros.", '"Really?" she said.']),
        ("", []),
        ("   ", []),
    ],
)
def test_sentences_are_spans_without_blanks_around_them(text, parts):
    assert [text[a:b] for a, b in sentences(text)] == parts


def test_languages_are_told_apart_offline():
    assert [language_of([t]) for t in ("Where is my friend today?", "今天天气很好", "Guten Morgen, wie geht es Ihnen?", "")] == [
        "en",
        "zh",
        "de",
        "",
    ]


@pytest.mark.parametrize(
    ("text", "learnt", "seen"),
    [
        ("Where is the station?", "en", ""),
        ("车站在哪里？", "en", "zh"),
        ("Hello, how are you?", "zh", "en"),
        ("Wo ist der Bahnhof? Ich muss nach Hause.", "en", "de"),
        ("Tom", "fr", ""),
        ("WiFi", "zh", ""),
        ("😀", "en", ""),
        ("anything at all", "", ""),
        ("Благодаря му всичко е наред днес", "bg", ""),
    ],
)
def test_a_text_in_another_language_than_the_model_has_learnt_from_is_told_where_that_is_sure(text, learnt, seen):
    assert foreign(text, learnt) == seen


# --- what a strict reading asked for ----------------------------------------------------------------------------------------
def test_an_answer_never_runs_past_the_table_of_positions(tmp_path):
    """GPT-2 with 64 positions, a long prompt and a longer answer asked for."""
    settings = read_settings(GENERATION.settings, {"window": 64, "target_window": 128}, "full")
    model, tokenizer = GENERATION.load(str(toys.base_model(tmp_path, "gpt2")), (), settings, "full", {})
    model.config.tunebench = {"instruct": True, "source_lang": "en", "target_lang": "zh", "both_ways": False, "told": False}
    rows = pl.DataFrame({"prompt": ["good film " * 60, "bad"], "completion": ["it was " * 60, "soup"]})
    _steps, (metrics, evaluation) = gathered(GENERATION.trial(model.eval(), tokenizer, (), rows, settings))
    assert evaluation["tried"] == 2 and 0 <= metrics["rouge_l"] <= 1
    long = "The film was good. " * 40
    summary = SUMMARIZATION.answer(model, tokenizer, (), [{"document": long}], SUMMARIZATION.read_parameters({"max_tokens": 1024}))[0]
    assert summary["tokens_in"] + summary["tokens_out"] <= 64 and summary["cut"]
    TRANSLATION.answer(model, tokenizer, (), [{"source": "good film " * 60}], TRANSLATION.read_parameters({"max_tokens": 1024}))


def test_a_conversation_is_asked_in_the_form_that_was_learnt(decoder):
    from worker.nlp.generation import _asking
    from worker.nlp.generation import _laid as laid

    messages = [
        {"role": role, "content": text} for role, text in (("user", "good"), ("assistant", "bad"), ("user", "soup"), ("assistant", "film"))
    ]
    ((learnt, _labels),) = laid(decoder[1], messages)
    asked = _asking(decoder[1], messages[:-1])
    assert learnt[: len(asked)] == asked and decoder[1].decode(learnt[len(asked) :]) == "film [SEP]"


def test_a_chat_template_that_refuses_a_role_gives_way_to_the_plain_form(decoder):
    tokenizer = decoder[1]
    tokenizer.chat_template = "{{ raise_exception('no') }}"
    try:
        text = json.dumps(
            [{"role": "system", "content": "very"}, {"role": "user", "content": "good"}, {"role": "assistant", "content": "bad film"}]
        )
        (example,) = encoded(decoder, [{"text": text}])
    finally:
        tokenizer.chat_template = None
    assert learnt_words(decoder, example) == "bad film [SEP]"


@pytest.mark.parametrize(
    ("name", "letters"),
    [("zho_Hans", "zh"), ("zh_CN", "zh"), ("__de__", "de"), ("spa", ""), ("German", ""), ("jpn_Jpan", "ja"), ("en", "en"), ("", "")],
)
def test_a_language_called_as_a_model_calls_it_is_known_by_its_letters(name, letters):
    from worker.nlp.translation import letters_of

    assert letters_of(name) == letters


def test_nothing_answered_is_nothing_measured():
    assert overlap.translation_metrics([], [], "zh") == ({}, {})


def test_facts_of_another_task_do_not_break_an_answer(decoder):
    model, tokenizer, _settings = decoder
    answer = TRANSLATION.answer(model, tokenizer, (), [{"source": "good"}], TRANSLATION.read_parameters({"beams": 1, "max_tokens": 4}))[0]
    assert answer["target_lang"] == ""


def test_a_line_break_may_be_where_an_answer_stops():
    assert GENERATION.read_parameters({"stop": "\n"})["stop"] == "\n"


def test_a_base_that_was_told_its_direction_goes_on_being_told(tmp_path):
    base = toys.base_model(tmp_path, "marian")
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(
        json.dumps(config | {"tunebench": {"source_lang": "en", "target_lang": "zh", "both_ways": True, "told": True}})
    )
    settings = read_settings(TRANSLATION.settings, {}, "full")
    facts = TRANSLATION.facts(pl.DataFrame({"source": ["Hello there."], "target": ["你好"]}), settings)
    model, tokenizer = TRANSLATION.load(str(base), (), settings, "full", facts)
    model.config.tunebench = facts
    (example,) = TRANSLATION.encode(pl.DataFrame({"source": ["good"], "target": ["bad"]}), model, tokenizer, (), settings)
    assert not facts["both_ways"] and len(example["input_ids"]) > len(tokenizer("good")["input_ids"])
