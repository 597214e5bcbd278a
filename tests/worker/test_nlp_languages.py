"""Words and sentences of every script: marks belong to their letters, each script has its own full stops."""

import unicodedata
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from worker.nlp import TASKS, overlap
from worker.nlp.languages import sentences, together, words
from worker.nlp.summarization import _oracle

ALIKE_BUT_FOR_VOWELS = {  # pairs of texts with the same consonants
    "Hindi": ("दिल की बात", "दाल का बीता"),
    "Tamil": ("மணி கலை", "மாணா கூலே"),
    "Bengali": ("দিন কালি", "দানে কূলা"),
    "pointed Hebrew": ("שָׁלוֹם סֵפֶר", "שֻׁלֵוִם סֹפִר"),
    "pointed Arabic": ("كِتَابٌ عَلِمَ", "كُتُّبَ عِلْمٌ"),
    "Latin with its marks apart": ("re\u0301sume\u0301", "re\u0300sume\u0302"),
}


@pytest.mark.parametrize("script", ALIKE_BUT_FOR_VOWELS)
def test_texts_that_differ_in_every_vowel_share_no_word(script):
    one, other = ALIKE_BUT_FOR_VOWELS[script]
    assert overlap.rouge(one, [other]) == {"rouge1": 0.0, "rouge2": 0.0, "rouge_l": 0.0}
    assert overlap.rouge(one, [one])["rouge_l"] == overlap.span_scores(one, [one])["f1"] == 1.0
    assert overlap.span_scores(one, [other]) == {"exact_match": 0.0, "f1": 0.0}
    assert not set(words(one)) & set(words(other)) and len(words(one)) == len(one.split())


def test_the_first_sentences_of_hindi_documents_are_no_perfect_summary():
    rows = pl.DataFrame({"document": [f"दिल की बात {n}." for n in range(4)], "summary": [f"दाल का बीता {n}." for n in range(4)]})
    lead = TASKS["summarization"].baselines(rows, rows)["lead_3"]
    assert lead.pop("intervals").keys() == lead.keys()
    assert lead == {"rouge1": 0.25, "rouge2": 0.0, "rouge_l": 0.25}  # the number alone is the same


def test_the_oracle_does_not_take_hindi_sentences_for_others():
    assert _oracle(["दिल की बात।", "दाल का बीता।"], "दाल का बीता") == [1]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("สวัสดีครับผมชื่อสมชาย", ["สวัสดี", "ครับ", "ผม", "ชื่อ", "สมชาย"]),
        ("ខ្ញុំស្រលាញ់ភាសាខ្មែរ", ["ខ្ញុំ", "ស្រលាញ់", "ភាសាខ្មែរ"]),
        ("ພາສາລາວ ງາມ", ["ພາສາ", "ລາວ", "ງາມ"]),
        ("စကားသည် လှသည်။", ["စကား", "သည်", "လှ", "သည်"]),
        ("한국어는 좋다.", ["한국어는", "좋다"]),
        ("我喜欢か\u3099 ﾊﾟ", ["我", "喜", "欢", "が", "ﾊ", "ﾟ"]),
        ("می\u200cخواهم \u200fالبيت", ["میخواهم", "البيت"]),
        ("ཡིག་ཆ", ["ཡིག", "ཆ"]),
        ("क्ष १२ 3.14 foo_bar don't", ["क्ष", "१२", "3", "14", "foo", "bar", "don", "t"]),
        ("😀 … — !", []),
    ],
)
def test_words_of_every_script(text, found):
    assert words(text) == found


def test_korean_letters_may_come_in_parts():
    apart = unicodedata.normalize("NFD", "한국어는 좋다")
    assert words(apart) == ["한국어는", "좋다"] and overlap.span_scores(apart, ["한국어는 좋다"])["exact_match"] == 1.0


@given(st.text(st.characters(max_codepoint=127), max_size=200), st.text(st.characters(max_codepoint=127), max_size=200))
def test_english_is_counted_as_rouge_score_counts_it(said, right):
    wanted = RougeScorer(["rouge1", "rouge2", "rougeL"]).score(right, said)
    assert overlap.rouge(said, [right]) == {ours: wanted[theirs].fmeasure for ours, theirs in overlap.ROUGE.items()}


@given(st.text(max_size=200))
def test_sentences_cover_all_that_is_no_blank(text):
    bounds = sentences(text)
    assert all(a < b for a, b in bounds) and all(one[1] <= other[0] for one, other in pairwise(bounds))
    left = text
    for a, b in bounds:
        assert text[a:b] == text[a:b].strip()
        left = left[:a] + " " * (b - a) + left[b:]
    assert not left.strip()


@pytest.mark.parametrize(
    "parts",
    [
        ["दिल की बात।", "यह क्या है?", "हाँ॥"],
        ["یہ کتاب ہے۔", "اچھی ہے؟", "ہاں!"],
        ["هذا كتاب؟", "نعم.", "لا"],
        ["שלום עולם.", "מה שלומך?", "טוב!"],
        ["한국어는 좋다.", "그렇다."],
        ["မြန်မာ၊ စကားသည်။", "လှသည်။"],
        ["ខ្ញុំស្រលាញ់។", "ភាសា។"],
        ["በጣም ጥሩ።", "ሰላም።"],
        ["Հայերեն։", "Այո։"],
        ["Τι είναι;", "Καλό.", "Ναι"],
        ["สวัสดีครับ", "ผมชื่อ 12 คน ok"],
        ["ཡིག་ཆ།", "བོད་སྐད།"],
        ["А. С. Пушкин, т. е. поэт, родился.", "Да."],
        ["¿Qué?", "¡Sí!", "«Bien.»", "Bueno"],
        ["Er trank z. B. öfter Tee.", "Über ihm war es still."],
    ],
)
def test_every_script_has_its_own_full_stops(parts):
    text = " ".join(parts)
    assert [text[a:b] for a, b in sentences(text)] == parts and together(parts) == text


def test_a_full_stop_that_is_no_latin_one_needs_no_blank_behind_it():
    assert [len(sentences(text)) for text in ("ठीक है।सही है।", "سچ ہے۔ٹھیک ہے۔", "これは本です。「はい。」と言った。", "見よ｡次。")] == [
        2,
        2,
        3,
        2,
    ]


@pytest.mark.parametrize(
    ("said", "right", "f1"),
    [
        ("लखनऊ।", "लखनऊ", 1.0),
        ("الرياض،", "الرياض", 1.0),
        ("ในกรุงเทพ", "กรุงเทพ", pytest.approx(2 / 3)),
        ("the Eiffel Tower!", "Eiffel tower", 1.0),
        ("l'été", "L’e\u0301te\u0301", 1.0),
        ("北京市。", "北京", pytest.approx(0.8)),
    ],
)
def test_spans_are_compared_without_punctuation_of_any_script(said, right, f1):
    assert overlap.span_scores(said, [right])["f1"] == f1
