"""The panel, the playground and the history, as the server draws them."""

import pytest
from django.urls import reverse

from tests.runs import made
from webapp.catalog.models import ModelVersion
from webapp.people.access import actor_of
from webapp.playground.models import Prediction
from webapp.work.models import Worker
from worker.nlp import TASKS


def test_the_panel_has_the_form_the_examples_and_the_code(signed_in, vera, model):
    page = signed_in(vera).get(reverse("playground:try", args=[model.pk])).content.decode()
    assert f'data-url="/api/v1/models/{model.pk}/predictions"' in page
    assert "it works well" in page and "never again" in page and 'data-most="20000"' in page
    assert f"curl http://testserver/api/v1/models/{model.pk}/predictions" in page and "YOUR_TOKEN" in page and "urllib.request" in page


def test_the_panel_of_a_base_says_why_it_is_silent(signed_in, vera, model):
    page = signed_in(vera).get(reverse("playground:try", args=[model.parent.pk])).content.decode()
    assert "Fine-tune it before" in page and "<textarea" not in page


@pytest.mark.parametrize("name", ["try", "history"])
def test_charlie_sees_no_panel_of_alices_model(signed_in, charlie, model, name):
    assert signed_in(charlie).get(reverse(f"playground:{name}", args=[model.pk])).status_code == 404


def test_the_playground_offers_the_models_of_the_team(signed_in, vera, charlie, model):
    page = signed_in(vera).get(reverse("playground:page")).content.decode()
    assert "reviews-1" in page and "Macro-F1 75.0" in page and "Text classification" in page
    page = signed_in(charlie).get(reverse("playground:page")).content.decode()
    assert "reviews-1" not in page and "There is no model for this task yet" in page
    assert signed_in(charlie).get(reverse("playground:page"), {"model": model.pk}).status_code == 404
    assert signed_in(charlie).get(reverse("playground:page"), {"model": "nonsense"}).status_code == 404


def test_the_playground_offers_the_models_of_the_team_that_one_works_in_and_the_one_that_was_asked_for(signed_in, bob, model):
    client = signed_in(bob)
    client.post("/teams/", {"name": "Bob's other team"})
    assert "reviews-1" not in client.get(reverse("playground:page")).content.decode()
    chosen = client.get(reverse("playground:page"), {"model": model.pk})
    assert chosen.context["model"] == model and chosen.context["models"] == [model]
    assert f'href="?model={model.pk}" aria-current="true"' in chosen.content.decode()


def test_the_chosen_model_says_that_it_is_loaded_as_in_the_list(signed_in, vera, model, listening):
    client = signed_in(vera)
    state = f'data-warm="{model.pk}" data-loaded="loaded">'
    assert client.get(reverse("playground:page"), {"model": model.pk}).content.decode().count(f"{state}not loaded<") == 3
    Worker.register("serve", ["asked"], {"warm": [str(model.path)]})
    page = client.get(reverse("playground:page"), {"model": model.pk}).content.decode()
    assert page.count(f"{state}loaded<") == 3 and "not loaded" not in page


def test_history_shows_what_was_asked_as_text(signed_in, vera, model, listening):
    prediction = Prediction.ask(actor_of(vera), model, {"text": "<script>alert(1)</script>"})
    prediction.finish({"label": "<b>good</b>", "scores": {"<b>good</b>": 0.93}}, 12)
    page = signed_in(vera).get(reverse("playground:history", args=[model.pk])).content.decode()
    assert "&lt;script&gt;" in page and "&lt;b&gt;good" in page and "0.93" in page and "<script>" not in page


def test_an_empty_history_says_so(signed_in, vera, model):
    assert "not tried this model" in signed_in(vera).get(reverse("playground:history", args=[model.pk])).content.decode()


# --- beside each other, and shared ----------------------------------------------------------------------------------------


def test_the_address_says_who_is_compared(signed_in, vera, team, model):
    other = ModelVersion.objects.create(team=team, name="reviews-2", kind="run", task="classification", folder="x")
    page = signed_in(vera).get(reverse("playground:page"), {"model": model.pk, "with": ["base", other.pk]})
    assert [(each["name"], each["untuned"]) for each in page.context["columns"]] == [
        ("reviews-1", False),
        ("tiny base", True),
        ("reviews-2", False),
    ]


def test_nobody_compares_with_a_model_of_another_team(signed_in, charlie, vera, model):
    theirs = ModelVersion.objects.create(team=charlie.teams.get(), name="theirs", kind="run", task="classification", folder="x")
    assert signed_in(vera).get(reverse("playground:page"), {"model": model.pk, "with": theirs.pk}).status_code == 404


def test_a_shared_question_is_drawn_for_the_team_and_is_not_there_for_others(signed_in, alice, vera, charlie, team, model):
    asked = Prediction.objects.create(
        team=team, created_by=alice, model=model, inputs={"text": "</script><b>fine"}, state="done", answer={"label": "good"}, latency_ms=7
    )
    page = signed_in(vera).get(reverse("playground:prediction", args=[asked.pk]))
    content = page.content.decode()
    assert page.context["asked"]["answer"] == {"label": "good", "latency_ms": 7, "engine": ""}
    assert "Answered by reviews-1" in content and "by alice" in content and "Ask again" in content and "<b>fine" not in content
    assert signed_in(charlie).get(reverse("playground:prediction", args=[asked.pk])).status_code == 404


def test_of_texts_asked_at_once_the_first_is_shown(signed_in, vera, alice, team, model):
    rows = [{"text": "one"}, {"text": "two"}]
    asked = Prediction.objects.create(team=team, created_by=alice, model=model, inputs=rows, state="failed", reason="Torn.")
    page = signed_in(vera).get(reverse("playground:prediction", args=[asked.pk]))
    assert page.context["asked"] == {
        "inputs": {"text": "one"},
        "parameters": {},
        "answer": {"latency_ms": None, "engine": ""},
        "reason": "Torn.",
    }
    assert "2 texts were sent at once" in page.content.decode()


def test_every_kind_of_answer_has_its_partial_and_its_element(settings):
    partials = sorted((settings.ROOT / "templates/playground/answers").glob("*.html"))
    assert len(partials) >= 6
    for partial in partials:
        module = settings.ROOT / f"static/js/lib/answer-{partial.stem}.js"
        assert f"<answer-{partial.stem} " in partial.read_text() and f'define("answer-{partial.stem}"' in module.read_text()
    for task in TASKS.values():
        assert task.answer_view in {partial.stem for partial in partials}


def test_the_panel_says_by_which_template_a_question_was_asked_in_training(signed_in, vera, team, model):
    template = "{title}\n\n{body}"
    made.run(team, version=made.version(team, mapping={"text": template, "label": "topic"}), result=model)
    page = signed_in(vera).get(reverse("playground:try", args=[model.pk])).content.decode()
    assert f"<code>{template}</code>" in page
