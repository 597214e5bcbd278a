"""The pages of runs and workers, for everybody of the cast."""

import pytest
from django.urls import reverse

from tests.runs import made
from webapp.people.models import Membership, Team
from webapp.runs.cursor import merge
from webapp.runs.models import Run

pytestmark = pytest.mark.django_db


def page_of(run, name="page"):
    return reverse(f"runs:{name}", args=[run.pk])


def said(answer):
    """What the page says, without its markup."""
    return " ".join(answer.content.decode().split())


@pytest.fixture
def running(team, alice):
    made.worker()
    return made.run(team, alice, state="running", step=412, steps=1000, tokens_per_s=2310, eta_s=300)


# --- who may see and touch -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["page", "standing"])
def test_charlie_does_not_find_a_run_of_alices_team(signed_in, charlie, running, name):
    assert signed_in(charlie).get(page_of(running, name)).status_code == 404


@pytest.mark.parametrize("name", ["cancellation", "completion", "pause", "resumption", "name", "deletion"])
def test_charlie_cannot_touch_what_he_cannot_see(signed_in, charlie, running, name):
    assert signed_in(charlie).post(page_of(running, name)).status_code == 404


@pytest.mark.parametrize("name", ["cancellation", "completion", "pause", "resumption", "name", "deletion"])
def test_vera_may_look_but_not_touch_and_is_told_who_can_help(signed_in, vera, running, name):
    client = signed_in(vera)
    assert client.get(page_of(running)).status_code == 200
    answer = client.post(page_of(running, name))
    assert answer.status_code == 403
    assert "An owner of the team can change your role" in said(answer)
    running.refresh_from_db()
    assert running.desired == "run" and running.name == "reviews-1"


def test_vera_sees_no_buttons_that_she_may_not_press(signed_in, vera, running):
    text = said(signed_in(vera).get(page_of(running)))
    assert "cancellation" not in text and "Clone" not in text


def test_vera_cannot_start_a_run(signed_in, vera, team):
    made.version(team), made.base()
    assert signed_in(vera).get("/runs/new/").status_code == 403


def test_whoever_is_not_signed_in_is_sent_to_sign_in(client, running):
    for address in ("/runs/", "/runs/new/", page_of(running), "/workers/"):
        answer = client.get(address)
        assert answer.status_code == 302 and "login" in answer.url


def test_verbs_answer_to_post_only(signed_in, alice, running):
    for name in ("cancellation", "completion", "pause", "resumption", "name", "deletion", "restoration"):
        assert signed_in(alice).get(page_of(running, name)).status_code == 405


# --- what people do --------------------------------------------------------------------------------------------------


def test_bob_cancels_a_run_and_the_wish_is_kept(signed_in, bob, running):
    assert signed_in(bob).post(page_of(running, "cancellation")).url == page_of(running)
    running.refresh_from_db()
    assert running.desired == "cancel"
    assert "Cancelling" in said(signed_in(bob).get(page_of(running)))


def test_finishing_now_keeps_what_was_learned(signed_in, bob, running):
    signed_in(bob).post(page_of(running, "completion"))
    running.refresh_from_db()
    assert running.desired == "finish"


def test_a_run_can_be_paused_and_goes_on(signed_in, bob, team):
    run = made.run(team, bob)
    signed_in(bob).post(page_of(run, "pause"))
    run.refresh_from_db()
    assert run.state == "paused"
    assert "Resume" in said(signed_in(bob).get(page_of(run)))
    signed_in(bob).post(page_of(run, "resumption"))
    run.refresh_from_db()
    assert run.state == "queued"


def test_a_run_is_renamed_in_place(signed_in, bob, running):
    signed_in(bob).post(page_of(running, "name"), {"name": "  the good one "})
    running.refresh_from_db()
    assert running.name == "the good one"


@pytest.mark.parametrize("name", ["", "   ", "x" * 201])
def test_a_name_that_does_not_fit_is_refused_with_a_sentence(signed_in, bob, running, name):
    answer = signed_in(bob).post(page_of(running, "name"), {"name": name}, follow=True)
    assert "name" in said(answer)
    running.refresh_from_db()
    assert running.name == "reviews-1"
    assert any("name" in str(message) for message in answer.context["messages"])


def test_a_deleted_run_is_gone_until_somebody_takes_it_back(signed_in, bob, team):
    run = made.done(team, bob)
    client = signed_in(bob)
    answer = client.post(page_of(run, "deletion"), follow=True)
    assert "Deleted reviews-1." in said(answer) and "Undo" in said(answer)
    assert client.get(page_of(run)).status_code == 404
    assert client.post(page_of(run, "restoration")).url == page_of(run)
    assert client.get(page_of(run)).status_code == 200


def test_a_run_that_goes_on_is_not_deleted(signed_in, bob, running):
    answer = signed_in(bob).post(page_of(running, "deletion"), follow=True)
    assert "Stop the run first" in said(answer)
    assert Run.objects.present().filter(pk=running.pk).exists()


def test_a_run_whose_base_could_not_read_the_rows_says_so(signed_in, alice, team):
    run = made.done(team, alice)
    client = signed_in(alice)
    assert "means nothing to it" not in said(client.get(page_of(run)))
    Run.objects.filter(pk=run.pk).update(evaluation={**run.evaluation, "unknown": 0.82})
    assert "82 % of their text means nothing to it" in said(client.get(page_of(run)))


# --- the list --------------------------------------------------------------------------------------------------------


def test_the_list_of_a_newcomer_offers_the_sample_reviews(signed_in, alice):
    text = said(signed_in(alice).get("/runs/"))
    assert "No runs yet" in text and "Use the sample reviews" in text


def test_with_data_and_no_run_the_list_offers_a_new_run(signed_in, alice, team):
    made.version(team)
    assert "New run" in said(signed_in(alice).get("/runs/"))


def test_the_list_shows_progress_scores_and_who(signed_in, alice, team, running):
    made.done(team, alice, name="finished-1", version=running.version, base=running.base)
    text = said(signed_in(alice).get("/runs/"))
    for words in ("reviews-1", "Step 412 of 1,000", "finished-1", "75.3", "11.1 above the best baseline", "alice", "small-base", "Full"):
        assert words in text


def test_the_list_can_be_narrowed_to_a_state(signed_in, alice, team, running):
    made.done(team, alice, name="finished-1", version=running.version, base=running.base)
    client = signed_in(alice)
    assert "reviews-1" not in said(client.get("/runs/?state=done"))
    assert "finished-1" not in said(client.get("/runs/?state=active"))
    assert "No run matches" in said(client.get("/runs/?state=failed"))


def test_thirty_runs_stand_on_a_page_and_each_run_on_exactly_one(signed_in, alice, team):
    version, base = made.version(team), made.base()
    names = {made.run(team, alice, name=f"run-{number:02}", version=version, base=base, state="cancelled").name for number in range(35)}
    newest = signed_in(alice).get("/runs/?state=failed")
    older = signed_in(alice).get(f"/runs/{newest.context['listing'].after}")
    first, second = ([standing.run.name for standing in page.context["runs"]] for page in (newest, older))
    assert (len(first), len(second), older.context["listing"].after) == (30, 5, "")
    assert "31–35 of 35" in said(older) and "1–30 of 35" in said(signed_in(alice).get(f"/runs/{older.context['listing'].before}"))
    assert {*first, *second} == names


def test_charlie_sees_only_his_own_list(signed_in, charlie, running):
    assert "reviews-1" not in said(signed_in(charlie).get("/runs/"))


def test_a_run_in_line_without_a_worker_is_told_on_list_and_page(signed_in, alice, team):
    run = made.run(team, alice)
    assert "No worker is running" in said(signed_in(alice).get("/runs/"))
    assert "No worker is running" in said(signed_in(alice).get(page_of(run)))
    made.worker()
    assert "No worker is running" not in said(signed_in(alice).get("/runs/"))


# --- the page --------------------------------------------------------------------------------------------------------


def test_the_page_of_a_running_run_says_how_far_it_is(signed_in, alice, running):
    text = said(signed_in(alice).get(page_of(running)))
    for words in (
        "Running",
        "Step 412 of 1,000",
        "about 5 min left",
        "2,310 tokens/s",
        "reviews</bdi> v1",
        "1,000 rows",
        "small-base",
        "1e-4",
    ):
        assert words in text


def test_the_page_of_a_run_in_line_says_its_place(signed_in, alice, team):
    made.worker()
    first = made.run(team, alice)
    second = made.run(team, alice, version=first.version, base=first.base)
    assert "Next in the queue" in said(signed_in(alice).get(page_of(first)))
    text = said(signed_in(alice).get(page_of(second)))
    assert "2nd in the queue" in text and "Starts after reviews-1" in text.replace("</a>", "").replace(f'<a href="{page_of(first)}">', "")


def test_when_a_run_starts_is_said_only_if_it_can_be_known(signed_in, alice, charlie, team):
    worker = made.worker()
    before = made.run(team, alice, state="running", step=10, eta_s=240, lease_owner=worker)
    run = made.run(team, alice, version=before.version, base=before.base)
    client = signed_in(alice)
    assert "Starts in about 4 min, after" in said(client.get(f"{page_of(run)}standing/?part=waiting"))
    their_team = Membership.objects.get(user=charlie).team
    theirs = made.run(their_team, charlie, base=before.base, state="starting", name="secret-run")
    text = said(client.get(page_of(run)))
    assert "Next in the queue" in text and "Starts in about" not in text and "secret-run" not in text
    Run.objects.filter(pk=theirs.pk).update(state="cancelled")
    assert "Starts in about 4 min" in said(client.get(page_of(run)))
    made.worker()
    assert "Starts in about" not in said(client.get(page_of(run)))  # nobody knows which one is free first


def test_the_list_draws_the_curve_of_a_run_from_live_and_from_merged_points(signed_in, alice, team):
    run = made.run(team, alice, state="running", fence=1)
    for seq, loss in enumerate([1.1, 0.9, 0.7, 0.4], 1):
        run.chunks.create(fence=1, seq=seq, points=[{"step": seq, "epoch": 0, "time": 1, "values": {"loss": loss}}])
    live = signed_in(alice).get("/runs/").context["runs"][0].spark
    assert len(live.split()) == 4
    merge(run, 1)
    assert run.chunks.count() == 1
    Run.objects.update(state="succeeded")
    assert signed_in(alice).get("/runs/").context["runs"][0].spark == live


def test_the_page_of_a_quick_run_shows_how_far_the_caching_is(signed_in, alice, team):
    run = made.run(team, alice, state="running", method="quick", progress={"what": "caching", "done": 200, "total": 800})
    text = said(signed_in(alice).get(page_of(run)))
    assert "Computing the frozen layers once" in text and "200 of 800 rows" in text


def test_the_page_says_what_a_run_does_before_and_between_its_steps(signed_in, alice, team):
    run = made.run(team, alice, state="starting", progress={"what": "tokenising", "done": 200, "total": 800})
    assert "Tokenizing" in said(signed_in(alice).get(page_of(run)))
    Run.objects.update(state="running", step=5, steps=9, progress={"what": "scoring", "done": 200, "total": 800})
    assert "Evaluating on the held-out rows" in said(signed_in(alice).get(page_of(run)))


def test_the_page_of_a_failed_run_gives_cause_remedy_and_last_words(signed_in, alice, team):
    run = made.run(team, alice, state="failed", reason="The loss is no longer a number. Use a lower learning rate.")
    log = [{"at": 1.0, "level": "error", "text": "nan in <layer> 3"}]
    run.chunks.create(fence=1, seq=1, log=log)
    text = said(signed_in(alice).get(page_of(run)))
    assert "Use a lower learning rate" in text
    assert f"/runs/new/?clone={run.pk}" in text
    assert "nan in &lt;layer&gt; 3" in text


def test_the_page_of_a_finished_run_stands_it_beside_the_baselines(signed_in, alice, team):
    text = said(signed_in(alice).get(page_of(made.done(team, alice))))
    for words in (
        "75.3",
        "11.1 above",
        "64.2 (TF-IDF words",
        "TF-IDF words",
        "Majority class",
        "18.1",
        "Calibration error",
        "Confusion matrix",
    ):
        assert words in text
    assert "&lt;b&gt;good&lt;/b&gt;" in text and "<b>good</b>" not in text


def test_a_baseline_says_how_sure_it_is_where_that_was_measured(signed_in, alice, team):
    run = made.done(team, alice)
    assert "12.1 to 24.9" not in said(signed_in(alice).get(page_of(run)))
    run.version.baselines["intervals"] = {"majority": {"macro_f1": [0.121, 0.249]}}
    run.version.save(update_fields=["baselines"])
    assert "12.1 to 24.9" in said(signed_in(alice).get(page_of(run)))


def test_try_it_is_brought_from_the_playground_once_there_is_a_model(signed_in, alice, team, running):
    run = made.done(team, alice, name="finished", version=running.version, base=running.base)
    assert f'hx-get="/playground/models/{run.result_id}/try/"' in said(signed_in(alice).get(page_of(run)))
    assert "/playground/models/" not in said(signed_in(alice).get(page_of(running)))


def test_what_is_swapped_in_is_what_the_page_draws(signed_in, alice, team):
    run = made.done(team, alice)
    part = said(signed_in(alice).get(page_of(run, "standing")))
    assert "<html" not in part
    for place in ("badge", "actions", "waiting", "baselines", "evaluation", "events", "aside"):
        assert f'id="{place}"' in part


def test_events_tell_each_attempt(signed_in, alice, team, running):
    from django.utils.timezone import now

    running.attempts.create(fence=1, host="gpu-1", resumed_step=0, last_step=200, ended_at=now(), outcome="lost", signal=9)
    running.attempts.create(fence=2, host="gpu-2", resumed_step=180)
    text = said(signed_in(alice).get(page_of(running)))
    for words in (
        "alice started the run",
        "Started on gpu-1",
        "The worker was lost",
        "at step 200",
        "signal 9",
        "Resumed from step 180 on gpu-2",
    ):
        assert words in text


def test_many_labels_give_the_worst_pairs_instead_of_a_carpet(signed_in, alice, team):
    run = made.done(team, alice)
    labels = [f"label-{n}" for n in range(40)]
    matrix = [[9 if i == j else 1 if j == (i + 1) % 40 else 0 for j in range(40)] for i in range(40)]
    run.evaluation = {**run.evaluation, "labels": labels, "confusion": matrix}
    run.save()
    text = said(signed_in(alice).get(page_of(run)))
    assert "Most common mistakes" in text and 'class="confusion' not in text


# --- a new run -------------------------------------------------------------------------------------------------------


def test_one_click_starts_a_run_with_the_defaults(signed_in, bob, team):
    version, base = made.version(team), made.base()
    answer = signed_in(bob).post("/runs/new/", {"version": version.pk, "base": base.pk, "method": "full"})
    run = Run.objects.get()
    assert answer.url == page_of(run)
    assert (run.state, run.method, run.created_by, run.team) == ("queued", "full", bob, team)
    assert run.settings["epochs"] == 6, "800 rows ask for more than the usual 3"


def test_the_form_of_the_first_visit_can_be_sent_as_it_is(signed_in, bob, team):
    made.version(team), made.base()
    form = signed_in(bob).get("/runs/new/").context["form"]
    data = {bound.name: getattr(bound.value(), "pk", bound.value()) for bound in form if bound.value() not in (None, False)}
    assert signed_in(bob).post("/runs/new/", data).status_code == 302


def test_the_form_offers_no_base_of_another_of_ones_teams_since_none_could_be_trained(signed_in, bob, team):
    made.version(team), made.base()
    other = Team.objects.found("Bob's other team", bob)
    foreign, own = made.base(name="theirs", kind="folder", team=other), made.base(name="ours", kind="folder", team=team)
    bases = signed_in(bob).get("/runs/new/").context["bases"]
    assert own in bases and foreign not in bases and any(base.team is None for base in bases)


def test_a_wrong_setting_is_told_at_its_field_and_nothing_starts(signed_in, bob, team):
    version, base = made.version(team), made.base()
    answer = signed_in(bob).post("/runs/new/", {"version": version.pk, "base": base.pk, "method": "full", "learning_rate": "fast"})
    assert answer.status_code == 422
    assert answer.context["form"]["learning_rate"].errors == ["Learning rate must be a number."]
    assert 'value="fast"' in said(answer)
    assert not Run.objects.exists()


def test_a_setting_beyond_its_limits_says_the_limits(signed_in, bob, team):
    version, base = made.version(team), made.base()
    answer = signed_in(bob).post("/runs/new/", {"version": version.pk, "base": base.pk, "method": "full", "epochs": "1000"})
    assert "must lie between" in answer.context["form"]["epochs"].errors[0]


def test_cloning_fills_everything_in(signed_in, bob, team):
    run = made.done(team, bob, method="lora")
    run.settings = {**run.settings, "epochs": 7, "learning_rate": 3e-5}
    run.save()
    form = signed_in(bob).get(f"/runs/new/?clone={run.pk}").context["form"]
    assert (form["epochs"].value(), form["learning_rate"].value(), form.method_now) == ("7", "3e-5", "lora")
    assert (form.chosen, form["base"].value()) == (run.version, run.base.pk)


def test_charlie_cannot_learn_from_alices_rows(signed_in, charlie, team):
    version, base = made.version(team), made.base()
    assert signed_in(charlie).get(f"/runs/new/?version={version.pk}").status_code == 404
    assert signed_in(charlie).post("/runs/new/", {"version": version.pk, "base": base.pk, "method": "full"}).status_code == 404
    assert signed_in(charlie).get(f"/runs/new/?clone={made.run(team, version=version, base=base).pk}").status_code == 404


def test_every_setting_says_what_it_is_and_its_limits(signed_in, bob, team):
    made.version(team), made.base()
    answer = signed_in(bob).get("/runs/new/")
    form = answer.context["form"]
    for one in form.plain_settings + form.advanced_settings:
        assert one["setting"].help in answer.context["form"].task.settings[form.task.settings.index(one["setting"])].help
        assert f'id="help-{one["setting"].name}"' in said(answer)


def test_unbalanced_labels_bring_a_suggestion_with_its_reason(signed_in, bob, team):
    made.version(team, labels=[{"name": "bad", "rows": 990}, {"name": "good", "rows": 10}])
    made.base()
    form = signed_in(bob).get("/runs/new/").context["form"]
    assert form.advice and form.advised
    for name, (value, reason) in form.advice.items():
        assert form[name].value() == str(value) or form[name].value() == value
        assert reason in said(signed_in(bob).get("/runs/new/")).replace("&#x27;", "'")


def test_the_estimate_comes_from_past_runs_where_there_are_some(signed_in, bob, team):
    from datetime import timedelta

    run = made.done(team, bob)
    run.settings, run.started_at = {"epochs": 2}, run.finished_at - timedelta(seconds=160)
    run.save()
    recipes = {r["method"]: r["pace"] for r in signed_in(bob).get("/runs/new/").context["recipes"]}
    assert recipes["full"].is_known and recipes["full"].epoch_s == pytest.approx(80)
    assert not recipes["quick"].is_known


def test_without_rows_the_form_offers_the_sample(signed_in, bob):
    assert "Use the sample reviews" in said(signed_in(bob).get("/runs/new/"))


def test_without_a_worker_the_form_says_so(signed_in, bob, team):
    made.version(team), made.base()
    assert "No worker is running" in said(signed_in(bob).get("/runs/new/"))
    made.worker()
    assert "No worker is running" not in said(signed_in(bob).get("/runs/new/"))


# --- workers ---------------------------------------------------------------------------------------------------------


def test_the_page_of_workers_says_how_to_start_one(signed_in, vera):
    text = said(signed_in(vera).get("/workers/"))
    for words in ("No training worker is running", "-Q train.cpu", "-Q data", "worker.relay"):
        assert words in text


def test_workers_are_listed_with_what_they_do_and_silent_ones_are_marked(signed_in, alice, charlie, team):
    from datetime import timedelta

    from django.utils.timezone import now

    busy = made.worker()
    made.worker("data", ["data"], host="quiet-host", last_seen=now() - timedelta(hours=1))
    run = made.run(team, alice, state="running", lease_owner=busy)
    text = said(signed_in(alice).get("/workers/"))
    for words in ("gpu-1", "Busy", f'href="/runs/{run.pk}/"', "quiet-host", "Silent", "No data worker is running"):
        assert words in text
    other = said(signed_in(charlie).get("/workers/"))
    assert "Work of another team" in other and run.name not in other


def test_bases_stand_apart_from_tuned_models_and_two_of_one_name_are_told_apart(signed_in, bob, team):
    made.version(team)
    plain = made.base(name="zz-base")
    own = [made.base(name="reviews-1", kind="run", team=team, task="classification", created_by=bob, folder=f"runs/{n}") for n in (1, 2)]
    groups = signed_in(bob).get("/runs/new/").context["form"].base_groups
    found = {title: {model.pk: words for model, words in options} for title, options in groups}
    assert plain.pk in found["Base models"] and found["Fine-tuned here"].keys() == {model.pk for model in own}
    assert all("reviews-1 (22.7 M) · bob, " in words for words in found["Fine-tuned here"].values())
    assert "·" not in found["Base models"][plain.pk]


def test_datasets_are_grouped_by_what_they_are_for(signed_in, bob, team):
    made.version(team, "reviews"), made.version(team, "pairs", task="translation"), made.base()
    newest = signed_in(bob).get("/runs/new/").context["form"].version_groups
    assert [title for title, _options in newest] == ["Translation", "Text classification"]
    assert [words for _version, words in newest[0][1]] == ["pairs v1, 1,000 rows"]
