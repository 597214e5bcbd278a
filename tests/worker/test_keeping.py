"""A checkpoint of a real run becomes a model: it stays when the checkpoint goes, and answers as the run did at that step."""

import json
import os
import shutil
import sys

import pytest
from django.http import Http404
from django.urls import reverse

from tests.worker.toys import base_model, reviews, spec_for
from webapp.catalog.fetching import tidy
from webapp.catalog.models import ModelVersion
from webapp.people.access import Denied, actor_of
from webapp.runs.models import Checkpoint
from webapp.work.models import WorkItem
from worker.keeping import keep_checkpoint
from worker.nlp import TASKS
from worker.spec import SpecError
from worker.tasks import do_item

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]


@pytest.fixture
def learning(submit, version, base, tmp_path):
    """learning(method): a run with the checkpoints of a real training, which goes on; and the trainer's last model."""

    def learning(method="full"):
        from worker.trainer.checkpoints import sha256
        from worker.trainer.loop import train

        version.hash = sha256(reviews(tmp_path / "reviews.parquet"))
        version.path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tmp_path / "reviews.parquet", version.path)
        version.labels = [{"name": "negative", "rows": 45}, {"name": "positive", "rows": 45}]
        version.save()
        ModelVersion.objects.filter(pk=base.pk).update(folder=str(base_model(tmp_path / "base")), licence="mit")
        base.refresh_from_db()
        run = submit(method, {"epochs": 2, "batch_rows": 8, "learning_rate": 5e-3})
        spec = spec_for(tmp_path, base.path, version.path, method, settings={"checkpoint_s": 0})
        written = [message for message in train(spec) if message["kind"] == "checkpoint"]
        for message in written:
            if message["best"]:
                run.checkpoints.update(is_best=False)
            told = {name: message[name] for name in ("step", "path", "manifest_sha256", "bytes", "metric")}
            run.checkpoints.create(fence=1, is_best=message["best"], **told)
        run.last_checkpoint = run.checkpoints.order_by("-step").first()
        run.state = "running"
        run.save()
        return run

    return learning


def kept(checkpoint, actor):
    model = checkpoint.keep(actor)
    keep_checkpoint(WorkItem.objects.get(kind="keep_checkpoint", subject=model.pk))
    model.refresh_from_db()
    return model


def answers(folder):
    task = TASKS["classification"]
    model, tokenizer, labels = task.open(str(folder))
    return [a["scores"] for a in task.answer(model.eval(), tokenizer, labels, [{"text": "good day"}, {"text": "awful"}], {})]


@pytest.mark.parametrize("method", ["full", "quick", "lora"])
def test_a_checkpoint_becomes_a_model_that_outlives_it(learning, alice, method, tmp_path):
    run = learning(method)
    last = run.last_checkpoint
    model = last.keep(actor_of(alice))
    assert (model.state, model.name, model.licence) == ("fetching", f"{run.name}, step {last.step}", "mit")
    shutil.rmtree(last.path)  # the run goes on and clears up
    keep_checkpoint(WorkItem.objects.get(subject=model.pk))
    model.refresh_from_db()
    assert (model.state, model.reason) == ("ready", "")
    assert not model.draft.exists()
    assert model.is_answering and model.maker == run and model.parent == run.base
    assert model.bytes > 0 and len(model.manifest_sha256) == 64
    assert model.examples and set(model.examples[0]) == {"text", "label"}


@pytest.mark.parametrize("method", ["full", "quick", "lora"])
def test_the_best_state_answers_as_the_model_that_the_run_made(learning, alice, method, tmp_path):
    model = kept(learning(method).checkpoints.get(is_best=True), actor_of(alice))
    assert answers(model.path) == answers(tmp_path / "run" / "model")


def test_two_states_of_a_run_answer_differently(learning, alice):
    run = learning()
    first, *_others, last = run.checkpoints.order_by("step")
    one, other = kept(first, actor_of(alice)), kept(last, actor_of(alice))
    assert answers(one.path) != answers(other.path)


def test_asked_twice_it_is_made_once(learning, alice, settings):
    checkpoint = learning().last_checkpoint
    other = Checkpoint.objects.get(pk=checkpoint.pk)  # somebody else's look at it, from before
    model = checkpoint.keep(actor_of(alice))
    drafts = sorted(settings.FILES.glob("models/*.part"))
    assert checkpoint.keep(actor_of(alice)) == model == other.keep(actor_of(alice))
    assert WorkItem.objects.filter(kind="keep_checkpoint").count() == 1
    assert sorted(settings.FILES.glob("models/*.part")) == drafts, "who was overtaken leaves nothing"


def test_a_deleted_model_comes_back_and_one_that_was_never_written_is_made_anew(learning, alice):
    checkpoint = learning().last_checkpoint
    unwritten = checkpoint.keep(actor_of(alice))
    unwritten.delete_softly()
    checkpoint.refresh_from_db()
    model = kept(checkpoint, actor_of(alice))
    assert model != unwritten
    keep_checkpoint(WorkItem.objects.get(subject=unwritten.pk))  # the first one's turn comes: nothing is written for it
    assert not unwritten.path.exists()
    model.delete_softly()
    checkpoint.refresh_from_db()
    again = checkpoint.keep(actor_of(alice))
    assert again == model and again.deleted_at is None and again.state == "ready"


def test_a_process_that_breaks_is_tried_again_and_then_the_model_has_failed(learning, alice, worker, monkeypatch, settings):
    settings.RETRY_BASE = 0
    monkeypatch.setattr("worker.keeping.COMMAND", [sys.executable, "-c", "import sys; sys.exit('torn')"])
    worker.queues = ["data"]
    worker.save()
    checkpoint = learning().last_checkpoint
    model = checkpoint.keep(actor_of(alice))
    for _attempt in range(3):
        tidy()
        model.refresh_from_db()
        assert model.state == "fetching", "it will be tried again"
        do_item(WorkItem.claim(worker))
    tidy()
    model.refresh_from_db()
    assert model.state == "failed" and "Ask for it again" in model.reason
    checkpoint.refresh_from_db()
    assert not checkpoint.is_kept


def test_a_draft_that_nobody_finishes_is_cleared_away(learning, alice, settings):
    model = learning().last_checkpoint.keep(actor_of(alice))
    left = settings.FILES / "models" / "0190a000-0000-7000-8000-000000000000.part"
    left.mkdir()
    for draft in (left, model.draft):
        os.utime(draft, (1, 1))
    tidy()
    assert model.draft.exists() and not left.exists()


def test_a_checkpoint_that_is_gone_is_refused_with_a_sentence(learning, alice, settings):
    checkpoint = learning().last_checkpoint
    shutil.rmtree(checkpoint.path)
    before = list(settings.FILES.glob("models/*"))
    with pytest.raises(SpecError, match="gone"):
        checkpoint.keep(actor_of(alice))
    assert not ModelVersion.objects.filter(kind="run").exists() and not WorkItem.objects.exists()
    assert list(settings.FILES.glob("models/*")) == before, "nothing half-done stays"


def test_a_damaged_checkpoint_fails_with_a_sentence_and_can_be_asked_for_again(learning, alice):
    checkpoint = learning().last_checkpoint
    weights = f"{checkpoint.path}/model.safetensors"
    with open(weights, "r+b") as file:
        file.seek(-1, 2)
        file.write(b"x")
    model = kept(checkpoint, actor_of(alice))
    assert model.state == "failed" and "damaged" in model.reason and not model.draft.exists()
    assert checkpoint.keep(actor_of(alice)) != model


def test_a_viewer_may_look_but_not_keep(learning, vera, signed_in):
    run = learning()
    with pytest.raises(Denied):
        run.last_checkpoint.keep(actor_of(vera))
    text = signed_in(vera).get(reverse("runs:page", args=[run.pk])).content.decode()
    assert "Save as model" not in text and 'class="badge good">best' in text


def test_the_page_and_the_api_say_what_became_of_it(learning, alice, signed_in):
    run, client = learning(), signed_in(alice)
    step = run.last_checkpoint.step
    assert "Save as model" in client.get(reverse("runs:checkpoints", args=[run.pk])).content.decode()
    assert "none is running" in client.post(reverse("runs:keeping", args=[run.pk, step])).content.decode()
    keep_checkpoint(WorkItem.objects.get())
    model = ModelVersion.objects.get(checkpoint__step=step)
    text = client.get(reverse("runs:checkpoints", args=[run.pk])).content.decode()
    assert f"/playground/?model={model.pk}&amp;with=base" in text
    assert f"checkpoint at step {step}" in client.get(reverse("catalog:page", args=[model.pk])).content.decode()
    items = client.get(f"/api/v1/runs/{run.pk}/checkpoints").json()["items"]
    assert items[0] | {"created_at": ""} == {
        "step": step,
        "metric": run.last_checkpoint.metric,
        "bytes": run.last_checkpoint.bytes,
        "best": run.last_checkpoint.is_best,
        "there": True,
        "model": str(model.pk),
        "created_at": "",
    }
    again = client.post(f"/api/v1/runs/{run.pk}/checkpoints/{step}/model", content_type="application/json")
    assert (again.status_code, json.loads(again.content)["id"]) == (201, str(model.pk))
    with pytest.raises(Http404):
        run.checkpoint_at(999)


def test_a_refusal_stands_on_the_page_and_in_the_api(learning, alice, signed_in):
    run, client = learning(), signed_in(alice)
    shutil.rmtree(run.last_checkpoint.path)
    step = run.last_checkpoint.step
    assert "This checkpoint is gone" in client.post(reverse("runs:keeping", args=[run.pk, step])).content.decode()
    answer = client.post(f"/api/v1/runs/{run.pk}/checkpoints/{step}/model", content_type="application/json")
    assert answer.status_code == 422 and "This checkpoint is gone" in answer.content.decode()


def test_it_is_compared_with_the_base_where_the_runs_own_model_is_gone(learning, alice, signed_in):
    run, client = learning(), signed_in(alice)
    kept(run.last_checkpoint, actor_of(alice))
    run.result = ModelVersion.objects.create(team=run.team, name="mine", kind="run", folder="x", task=run.task)
    run.save()
    page = reverse("runs:checkpoints", args=[run.pk])
    assert f"with={run.result.pk}" in client.get(page).content.decode()
    run.result.delete_softly()
    assert "with=base" in client.get(page).content.decode()
