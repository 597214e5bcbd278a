"""Rows in another language than English: the base that reads them is proposed and taken, and it is said why."""

import pytest

from tests.api.test_runs import caller
from tests.datasets.files import csv_text, publishing, reading
from tests.runs import made
from tests.runs.test_pages import said
from worker.nlp.languages import languages_of

pytestmark = pytest.mark.django_db

CHINESE = {"languages": {"zh": 0.9, "ja": 0.1}}
GOOD = ("味道很好，送餐也很快，下次还会再来", "服务态度非常好，菜的分量很足", "这家店的面条又香又热，推荐大家尝一尝")
BAD = ("等了两个小时才送到，菜都凉了", "味道太咸，完全不能吃，再也不点了", "老板态度很差，电话打了三次都不接")
ENGLISH = ("The food was warm and came in half an hour", "I waited for two hours and nobody called me back")


@pytest.fixture
def english(db):
    return made.base(name="small-english", source="small", languages=["en"], parameters=1_000_000)


@pytest.fixture
def multilingual(db):
    return made.base(name="many-languages", source="many", languages=["de", "en", "zh"], parameters=90_000_000)


def published(tmp_path, rows):
    (tmp_path / "rows.csv").write_text(csv_text(rows))
    return publishing(reading(tmp_path / "rows.csv", tmp_path / "out"), tmp_path / "out")


def test_a_version_knows_its_languages_wherever_in_the_file_they_stand(tmp_path, team):
    chinese = [(f"{text}，第{n}次", "good" if text in GOOD else "bad") for n in range(40) for text in GOOD + BAD]
    english = [(f"{text}, time {n}", ("good", "bad")[n % 2]) for n in range(200) for text in ENGLISH]
    found = published(tmp_path, english + chinese)["statistics"]["languages"]
    assert set(found) >= {"en", "zh"} and found["zh"] > 0.2
    assert made.version(team, statistics={"languages": found}).languages == ["en", "zh"]
    assert made.version(team, "others", statistics=CHINESE).languages == ["zh"]
    assert made.version(team, "of before").languages == []


def test_cantonese_and_wu_are_chinese():
    assert set(languages_of(["佢哋喺邊度食飯呀，我都唔知喎", "今晚去邊度食飯好呢"])) == {"zh"}


def test_the_form_proposes_the_base_that_reads_the_rows_and_says_so(signed_in, alice, team, english, multilingual):
    client = signed_in(alice)
    rows = made.version(team, statistics=CHINESE)
    text = said(client.get(f"/runs/new/?version={rows.pk}"))
    assert f'<option value="{multilingual.pk}" selected>' in text or f'value="{multilingual.pk}" selected' in text
    assert "The texts are in Chinese, which this base model reads." in text
    text = said(client.get(f"/runs/new/?version={rows.pk}&base={english.pk}"))
    assert "this base model reads only English: expect weak results" in text and "the next start" not in text
    rows = made.version(team, "in English", statistics={"languages": {"en": 1.0}})
    assert f'value="{english.pk}" selected' in said(client.get(f"/runs/new/?version={rows.pk}"))


def test_where_no_base_reads_the_rows_the_form_says_how_one_comes(signed_in, alice, team, english):
    text = said(signed_in(alice).get(f"/runs/new/?version={made.version(team, statistics=CHINESE).pk}&base={english.pk}"))
    assert "multilingual-e5-small reads about 100 languages: the next start with a network connection fetches it." in text


@pytest.mark.parametrize(
    ("languages", "name"), [({"zh": 1.0}, "many-languages"), ({"en": 0.7, "zh": 0.3}, "many-languages"), ({}, "small-english")]
)
def test_a_program_that_names_no_base_gets_the_one_that_fits_and_is_told_why(alice, team, english, multilingual, languages, name):
    rows = made.version(team, statistics={"languages": languages})
    english.__class__.objects.exclude(pk__in=[english.pk, multilingual.pk]).update(is_trainable=False)
    status, run = caller(alice)("POST", "/runs", {"version": str(rows.pk), "method": "full"})
    assert (status, run["base_model"]["name"]) == (201, name)
    assert ("which this base model reads" in run["base_reason"]) == bool(languages)


def test_a_run_on_a_base_of_another_language_says_what_to_expect(signed_in, alice, team, english):
    run = made.run(team, alice, version=made.version(team, statistics=CHINESE), base=english)
    assert "The texts are in Chinese, and this base model reads only English: expect weak results." in said(
        signed_in(alice).get(f"/runs/{run.pk}/")
    )
    run.base.languages = []
    assert "not known whether this base model reads that" in run.base_reason
    run.base.languages = ["multilingual"]
    assert "which this base model reads" in run.base_reason
