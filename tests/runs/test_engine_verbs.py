"""What people can do with a run, and what the queue makes of it."""

import pytest
from django.db.models import Q
from django.http import Http404

from webapp.cache import Cache
from webapp.people.access import Denied, actor_of
from webapp.runs import spark, states
from webapp.runs.models import Fenced, IdempotencyConflict, Run
from webapp.work.models import Worker
from worker.spec import SpecError

pytestmark = pytest.mark.django_db


def test_a_submitted_run_waits_with_all_settings_filled_in(submit):
    run = submit()
    assert run.state == "queued"
    assert run.settings["batch_rows"] == 32
    assert run.name == "reviews-sentiment-1"
    assert submit().name == "reviews-sentiment-2"


def test_what_nobody_chose_is_set_as_the_rows_ask_for(submit, version):
    assert submit().settings["epochs"] == 20, "there are only 100 rows"
    assert submit(settings={"epochs": 2}).settings["epochs"] == 2, "what somebody chose stands"
    version.rows, version.labels = 10_000, [{"name": "bad", "rows": 9900}, {"name": "good", "rows": 100}]
    version.save()
    found = submit().settings
    assert (found["class_weights"], found["epochs"]) == ("balanced", 3)


def test_the_second_in_line_says_so(submit):
    first, second = submit(), submit()
    assert (first.position(), second.position()) == (1, 2)
    first.cancel()
    assert second.position() == 1
    assert first.position() is None


@pytest.mark.parametrize(
    ("method", "settings", "field"),
    [
        ("magic", {}, "method"),
        ("full", {"epochs": "many"}, "epochs"),
        ("full", {"epochs": -1}, "epochs"),
        ("full", {"sparkle": 1}, "sparkle"),
    ],
)
def test_a_setting_that_does_not_fit_is_named(submit, method, settings, field):
    with pytest.raises(SpecError) as error:
        submit(method, settings)
    assert error.value.field == field
    assert not Run.objects.exists()


def test_a_viewer_may_not_start_a_run(submit, vera):
    with pytest.raises(Denied):
        submit(actor=actor_of(vera))


def test_a_stranger_finds_no_such_version(submit, charlie):
    with pytest.raises(Http404):
        submit(actor=actor_of(charlie))


def test_the_same_key_gives_the_same_run(submit):
    first = submit(idempotency_key="k", request_hash="h")
    assert submit(idempotency_key="k", request_hash="h") == first
    with pytest.raises(IdempotencyConflict):
        submit(idempotency_key="k", request_hash="other")


def test_a_claim_raises_the_fence_and_opens_one_attempt(submit, worker):
    submit()
    run = Run.claim(worker)
    assert (run.state, run.fence, run.attempts_total) == ("starting", 1, 1)
    assert run.attempts.get().ended_at is None
    assert Run.claim(worker) is None


def test_a_draining_worker_takes_nothing(submit, worker):
    submit()
    worker.drain()
    assert Run.claim(worker) is None


def test_a_worker_takes_only_what_its_queues_say(submit, db):
    run = submit()
    assert Run.claim(Worker.register("data", ["data"])) is None
    Run.objects.filter(pk=run.pk).update(needs_gpu=True)
    assert Run.claim(Worker.register("train", ["train.cpu"])) is None
    assert Run.claim(Worker.register("train", ["train.gpu"])) == run


def test_cancelling_a_waiting_run_is_immediate(submit, worker):
    run = submit()
    assert run.cancel()
    assert run.state == "cancelled"
    assert not run.cancel()
    assert Run.claim(worker) is None


def test_cancelling_a_held_run_leaves_a_wish_for_its_supervisor(submit, worker):
    run = submit()
    attempt = Run.claim(worker).attempts.get()
    run.cancel()
    assert run.state == "starting"
    assert attempt.wish() == "cancel"
    attempt.end(states.ending_of(75))
    run.refresh_from_db()
    assert run.state == "cancelled"
    assert run.attempts.get().outcome == "cancelled"


def test_a_paused_run_waits_until_it_is_resumed(submit, worker):
    run = submit()
    assert run.pause()
    assert Run.claim(worker) is None
    assert run.resume()
    assert Run.claim(worker) == run


def test_a_run_going_on_is_not_deleted_and_a_deleted_one_comes_back(submit, alice):
    run = submit()
    assert not run.delete()
    run.cancel()
    assert run.delete()
    assert not Run.objects.present().visible_to(actor_of(alice)).exists()
    run.restore()
    assert Run.objects.present().get() == run


def test_a_fenced_attempt_writes_nothing_at_all(submit, worker):
    run = submit()
    old = Run.claim(worker).attempts.get()
    old.ready(10, 0)
    lose(run)
    Run.objects.update(not_before=None)
    new = Run.claim(worker).attempts.get(fence=2)
    point = {"step": 5, "epoch": 0.5, "time": 1.0, "values": {"loss": 1.0}}
    for write in (
        lambda: old.record([point], []),
        old.renew,
        old.wish,
        lambda: old.ready(10, 0),
        lambda: old.checkpoint(5, "/x", "m", 1, False, None),
        lambda: old.finalize(),
        lambda: old.succeed(5, {}, {}, 1, "m"),
        lambda: old.end(states.ending_of(1)),
        lambda: old.progress("caching", 1, 2),
    ):
        with pytest.raises(Fenced):
            write()
    run.refresh_from_db()
    assert (run.state, run.fence, run.step) == ("starting", 2, 0)
    assert not run.chunks.exists()
    assert not run.checkpoints.exists()
    new.ready(10, 0)
    new.record([point], [])
    assert run.chunks.get().fence == 2


def lose(run):
    """Nobody renewed its lease, and a sweep found it."""
    run.refresh_from_db()
    assert run.bury(Q())


def test_a_list_of_runs_draws_its_curves_without_redis(submit, monkeypatch):
    run = submit()
    run.state = "failed"
    run.chunks.create(fence=1, seq=1, points=[{"step": n, "epoch": 1, "time": 1, "values": {"loss": 1 / n}} for n in (1, 2, 3)])
    monkeypatch.setattr(spark, "cache", Cache("unix:///nowhere/redis.sock", {}))
    assert len(spark.spark(run).split()) == 3


def test_the_reason_of_a_state_is_told_in_the_readers_language(submit, monkeypatch):
    from webapp.runs.models import run as module

    run = submit()
    run.reason = states.ending_of(44).reason
    assert run.facts()["reason"] == "The disk is full. Free some space; the run resumes by itself."
    monkeypatch.setattr(module, "_", {"The disk is full.": "磁盘已满。", "Free some space; the run resumes by itself.": "请清理空间。"}.get)
    assert run.facts()["reason"] == "磁盘已满。 请清理空间。"


def test_a_run_says_when_no_worker_listens(submit, db):
    run = submit()
    assert not run.worker_listens()
    assert "No training worker" in run.facts()["reason"]
    Worker.register("train", ["train.cpu"])
    assert run.worker_listens()
    assert run.facts()["reason"] == ""
