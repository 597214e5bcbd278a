"""What the pages and verbs of runs ask of a task: its base models, recipes and settings, its metrics, its evaluation."""

import re

import pytest
from django.urls import reverse

from tests.runs import made
from tests.runs.test_pages import page_of, said
from tests.runs.toy import EVALUATION, METRICS, Toy
from webapp.catalog.models import ModelVersion
from webapp.people.access import actor_of
from webapp.runs.models import Run
from worker.nlp import TASKS
from worker.spec import SpecError

pytestmark = pytest.mark.django_db


@pytest.fixture
def toy(monkeypatch):
    task = Toy()
    monkeypatch.setitem(TASKS, "toy", task)
    return task


@pytest.fixture
def rows(toy, team):
    return made.version(team, "toys", task="toy", labels=[], baselines={})


@pytest.fixture
def seq2seq(db):
    return made.base(name="writer", kind="hub", shape="encoder-decoder", parameters=60_000_000)


@pytest.fixture
def decoder(db):
    return made.base(name="talker", kind="hub", shape="decoder", parameters=70_000_000)


def done(team, by, version, base, metrics=METRICS, evaluation=EVALUATION):
    run = made.done(team, by, version=version, base=base)
    run.task, run.metrics, run.evaluation, run.settings = version.task, metrics, evaluation, {}
    run.save()
    return run


# --- what can be learnt from what ------------------------------------------------------------------------------------


def test_the_form_offers_only_bases_that_can_learn_the_task(signed_in, bob, rows, seq2seq, decoder):
    made.base()
    context = signed_in(bob).get(f"/runs/new/?version={rows.pk}").context
    assert context["bases"] == [seq2seq, decoder]
    assert [recipe["method"] for recipe in context["recipes"]] == ["full", "lora"]


def test_another_base_brings_its_own_settings(signed_in, bob, rows, seq2seq, decoder):
    form = signed_in(bob).get(f"/runs/new/?version={rows.pk}").context["form"]
    assert {"target_lang", "rank"} <= form.fields.keys() and "packing" not in form.fields
    form = signed_in(bob).get(f"/runs/new/?version={rows.pk}&base={decoder.pk}&epochs=9&packing=false&method=lora").context["form"]
    assert "packing" in form.fields and "target_lang" not in form.fields
    assert (form["epochs"].value(), form["packing"].value(), form.method_now) == ("9", False, "lora"), "what was touched stays"


def test_a_text_setting_is_drawn_and_kept(signed_in, bob, rows, seq2seq):
    client = signed_in(bob)
    text = said(client.get(f"/runs/new/?version={rows.pk}"))
    assert re.search(r'<input type="text" name="target_lang"[^>]* maxlength="12"', text) and "Written as zh or de." in text
    client.post("/runs/new/", {"version": rows.pk, "base": seq2seq.pk, "method": "full", "target_lang": " zh "})
    assert Run.objects.get().settings == {"epochs": 6, "target_lang": "zh"}  # few rows are seen more often
    answer = client.post("/runs/new/", {"version": rows.pk, "base": seq2seq.pk, "method": "full", "target_lang": "z" * 13})
    assert answer.status_code == 422 and "at most 12 characters" in answer.context["form"]["target_lang"].errors[0]


def test_without_a_fitting_base_the_form_says_what_to_do(signed_in, bob, rows):
    made.base()
    text = said(signed_in(bob).get(f"/runs/new/?version={rows.pk}"))
    for words in (
        "Toy writing needs another kind of base model",
        "google-t5/t5-small",
        "/models/?hub=google-t5%2Ft5-small#add",
        "id_version",
    ):
        assert words in text
    assert ">Fine-tune<" not in text
    assert 'value="google-t5/t5-small"' in said(signed_in(bob).get("/models/?hub=google-t5%2Ft5-small"))


@pytest.mark.parametrize(
    ("base", "method", "settings", "field"),
    [
        ("encoder", "full", {}, "base_model"),
        ("encoder-decoder", "quick", {}, "method"),
        ("encoder-decoder", "full", {"packing": True}, "packing"),
        ("encoder-decoder", "full", {"rank": 4}, "rank"),
        ("encoder-decoder", "full", {"target_lang": 7}, "target_lang"),
    ],
)
def test_what_a_base_does_not_know_is_refused_by_name(alice, rows, base, method, settings, field):
    with pytest.raises(SpecError) as refusal:
        Run.submit(actor_of(alice), rows, made.base(kind="hub", shape=base), method, settings)
    assert refusal.value.field == field and not Run.objects.exists()


def test_the_suggested_base_is_the_starter_of_the_task_but_for_labels(alice, rows, seq2seq, toy):
    mine = made.base(name="own", kind="starter", source="starters/toy", task="toy", shape="encoder-decoder", parameters=10**9)
    assert ModelVersion.objects.trainable("toy").best_first("toy").first() == mine
    plain = made.base(source="plain")
    made.base(name="sentiment", source="starters/sentiment", task="classification", labels=["bad", "good"], parameters=1)
    plain_first = ModelVersion.objects.trainable("classification").filter(folder="/nowhere").best_first("classification")
    assert plain_first.first() == plain


def test_who_comes_from_a_base_model_meets_rows_that_it_can_learn(signed_in, bob, team, rows, decoder):
    made.version(team, "reviews")
    made.version(team, "newest")
    encoder = made.base()
    client = signed_in(bob)
    assert client.get(f"/runs/new/?base={encoder.pk}").context["form"].chosen.task == "classification"
    rows.task = "toy"
    rows.save()
    own = made.base(name="toy-1", kind="hub", shape="decoder", task="toy")
    assert client.get(f"/runs/new/?base={own.pk}").context["form"].chosen == rows


def test_the_api_lists_bases_by_task_too(signed_in, alice, seq2seq, decoder, toy):
    made.base()
    items = signed_in(alice).get("/api/v1/models?trainable=true&task=toy").json()["items"]
    assert {item["name"] for item in items} == {"writer", "talker"}
    assert all("toy" in item["learns"] for item in items)
    assert signed_in(alice).get("/api/v1/models?trainable=true&task=nothing").json()["items"] == []


# --- what it scored --------------------------------------------------------------------------------------------------


def test_a_plain_number_is_shown_as_it_is_and_lower_is_ahead(signed_in, alice, team, rows, seq2seq):
    run = done(team, alice, rows, seq2seq)
    text = said(signed_in(alice).get(page_of(run)))
    for words in (
        "33.3",
        "27 % lower than",
        "45.6 (The base model, untuned)",
        "Lower is better",
        "BLEU <b>25.0</b>",
        'data-unit="number" data-less',
    ):
        assert words in text, words
    assert "3,330" not in text and "33300" not in text
    assert "27 % lower than the best baseline" in said(signed_in(alice).get("/runs/"))


def test_the_headline_counts_the_rows_that_its_score_is_of(signed_in, alice, team, rows, seq2seq, toy, monkeypatch):
    run = done(team, alice, rows, seq2seq, evaluation={**EVALUATION, "of_answers": ["bleu"]})
    assert "on 100 test rows" in said(signed_in(alice).get(page_of(run)))
    monkeypatch.setattr(toy, "primary_metric", "bleu")
    assert "on 60 of 100 test rows" in said(signed_in(alice).get(page_of(run)))


def test_a_run_behind_its_base_says_so(signed_in, alice, team, rows, seq2seq):
    run = done(team, alice, rows, seq2seq, {**METRICS, "perplexity": 50.0})
    assert '<b class="warn">10 % higher than</b>' in said(signed_in(alice).get(page_of(run)))


def test_the_untuned_base_stands_beside_the_free_baselines(signed_in, alice, team):
    version, base = made.version(team), made.base()
    run = done(team, alice, version, base, made.METRICS, {**made.EVALUATION, "untuned": {"macro_f1": 0.7}})
    text = said(signed_in(alice).get(page_of(run)))
    assert "The base model, untuned" in text and "5.3 above" in text and "TF-IDF words" in text


def test_the_evaluation_of_written_answers_is_a_list_to_read(signed_in, alice, team, rows, seq2seq):
    text = said(signed_in(alice).get(page_of(done(team, alice, rows, seq2seq))))
    for words in (
        "<sample-list",
        "Worst first",
        "&lt;i&gt;soll&lt;/i&gt;",
        "empty answer",
        "nrefs:1|case:mixed",
        "60 of them answered",
        "BLEU <b>12.5</b>",
    ):
        assert words in text, words
    assert text.count("<details><summary><span") == 1, "only the long input is folded"
    assert "Confusion" not in text


def test_the_evaluation_of_spans_tells_no_answer_apart(signed_in, alice, team, rows, seq2seq, toy, monkeypatch):
    monkeypatch.setattr(Toy, "evaluation_view", "spans")
    samples = [
        {"inputs": {"source": "Who?"}, "reference": [], "answer": "Ada", "no_answer": False, "scores": {"bleu": 0}},
        {"inputs": {"source": "When?"}, "reference": ["1843", "in 1843"], "answer": "", "no_answer": True, "scores": {"bleu": 0}},
    ]
    kinds = [{"kind": "answer", "rows": 7, "bleu": 0.5}, {"kind": "no_answer", "rows": 3, "bleu": 0.25}]
    run = done(team, alice, rows, seq2seq, METRICS, {"split": "test", "samples": samples, "kinds": kinds})
    text = said(signed_in(alice).get(page_of(run)))
    for words in (
        "no answer in the text",
        "says “no answer”",
        "in 1843",
        "Answer in the text",
        "No answer in the text",
        "50.0",
        "25.0",
    ):
        assert words in text, words


@pytest.mark.parametrize("view", ["labels", "texts", "spans"])
def test_before_the_end_the_evaluation_says_what_will_stand_there(signed_in, alice, team, rows, seq2seq, monkeypatch, view):
    monkeypatch.setattr(Toy, "evaluation_view", view)
    run = made.run(team, alice, version=rows, base=seq2seq, task="toy", state="running", step=1, steps=9)
    assert "When the run ends" in said(signed_in(alice).get(page_of(run)))


def test_the_page_of_a_model_shows_numbers_as_they_are(signed_in, alice, team, toy, seq2seq):
    model = made.base(
        name="toy-7", kind="run", team=team, task="toy", shape="encoder-decoder", metrics=METRICS, folder="runs/y", parent=seq2seq
    )
    for address in (reverse("catalog:list"), reverse("catalog:page", args=[model.pk])):
        text = said(signed_in(alice).get(address))
        assert "33.3" in text and "3330" not in text
    assert "Encoder-decoder: reads a text and writes another" in said(signed_in(alice).get(reverse("catalog:page", args=[model.pk])))


def test_a_newcomer_meets_every_task_with_a_way_to_try_it(signed_in, alice, toy):
    text = said(signed_in(alice).get("/"))
    for task in TASKS.values():
        assert f'href="/playground/?task={task.slug}"' in text and task.title in text
