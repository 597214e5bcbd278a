"""The first page: the next step of a newcomer, what runs, what finished; only one's own team's."""

from datetime import timedelta

import pytest
from django.utils.timezone import now

from webapp.catalog.models import ModelVersion
from webapp.datasets.models import Dataset, DatasetVersion
from webapp.playground.models import Prediction
from webapp.runs.models import MetricChunk, Run
from webapp.work.models import Worker


@pytest.fixture
def base(db):
    return ModelVersion.objects.create(name="all-MiniLM-L6-v2", kind="starter", folder="/nowhere")


@pytest.fixture
def version(team, alice):
    dataset = Dataset.objects.create(team=team, created_by=alice, name="Reviews", state="ready")
    return DatasetVersion.objects.create(team=team, dataset=dataset, number=1, hash="ab" * 32, task="classification", rows=100)


@pytest.fixture
def run(team, alice, version, base):
    return Run.objects.create(
        team=team,
        created_by=alice,
        name="reviews-7",
        version=version,
        base=base,
        task="classification",
        method="full",
        state="running",
        step=30,
        steps=100,
    )


def text(page):
    return " ".join(page.content.decode().split())


def finished(run, team):
    result = ModelVersion.objects.create(team=team, name="reviews-7", kind="run", folder="x", task="classification")
    Run.objects.filter(pk=run.pk).update(state="succeeded", result=result, finished_at=now(), metrics={"macro_f1": 0.753})
    return result


def test_a_newcomer_is_asked_for_data_and_offered_the_sample(alice, signed_in):
    page = signed_in(alice).get("/")
    assert page.context["next_step"] == 1
    assert "Use the sample reviews" in text(page) and 'action="/datasets/sample/"' in text(page)


def test_with_data_the_next_step_is_to_fine_tune(alice, version, signed_in):
    page = signed_in(alice).get("/")
    assert page.context["next_step"] == 2 and "Start a run" in text(page)


def test_with_a_model_the_next_step_is_to_try_it_and_then_the_steps_are_gone(alice, team, run, signed_in):
    result = finished(run, team)
    page = signed_in(alice).get("/")
    assert page.context["next_step"] == 3 and f'href="/runs/{run.pk}/"' in text(page)
    Prediction.objects.create(team=team, created_by=alice, model=result, state="done")
    page = signed_in(alice).get("/")
    assert page.context["next_step"] == 0 and "three steps" not in text(page) and "New run" in text(page)


def test_a_viewer_is_offered_nothing_that_they_may_not_do(vera, run, signed_in):
    Run.objects.all().delete()
    for _ in range(2):
        page = text(signed_in(vera).get("/"))
        assert "Start a run" not in page and "Add your data" not in page
        Dataset.objects.update(deleted_at=now())


def test_what_runs_stands_there_with_its_progress_and_its_curve(alice, run, signed_in):
    for seq, loss in enumerate([1.1, 0.9, 0.7, 0.4], 1):
        MetricChunk.objects.create(run=run, fence=1, seq=seq, points=[{"step": seq, "epoch": 0, "time": 1, "values": {"loss": loss}}])
    page = signed_in(alice).get("/now/")
    assert "reviews-7" in text(page) and 'max="100" value="30"' in text(page)
    curve = page.context["running"][0].spark.split()
    heights = [float(point.split(",")[1]) for point in curve]
    assert len(curve) == 4 and heights == sorted(heights)  # down the page: the loss falls


def test_the_small_curve_of_a_long_run_reads_few_chunks(alice, run, signed_in, django_assert_max_num_queries):
    point = [{"step": 1, "epoch": 0, "time": 1, "values": {"loss": 1.0}}]
    MetricChunk.objects.bulk_create(MetricChunk(run=run, fence=1, seq=seq, points=point) for seq in range(1000))
    client = signed_in(alice)
    with django_assert_max_num_queries(12):
        page = client.get("/now/")
    assert len(page.context["running"][0].spark.split()) <= 60


def test_what_finished_stands_below_with_its_score(alice, team, run, signed_in):
    finished(run, team)
    page = signed_in(alice).get("/")
    assert "75.3" in text(page) and [standing.run.pk for standing in page.context["finished"]] == [run.pk]
    assert "Nothing is running" in text(page)


def test_nothing_of_another_team_is_shown(charlie, team, run, signed_in):
    finished(run, team)
    for address in ("/", "/now/"):
        page = text(signed_in(charlie).get(address))
        assert "reviews-7" not in page and "Reviews" not in page


def test_what_was_deleted_is_gone(alice, run, signed_in):
    Run.objects.update(deleted_at=now())
    Dataset.objects.update(deleted_at=now())
    page = text(signed_in(alice).get("/"))
    assert "reviews-7" not in page and "No data yet" in page


def test_the_workers_are_counted_and_a_missing_kind_is_said(alice, signed_in):
    Worker.register("train", ["train.cpu"])
    page = text(signed_in(alice).get("/"))
    assert "1 ready" in page and page.count(">none<") == 2


# --- the shell -----------------------------------------------------------------------------------------------------------


def test_the_first_page_is_of_the_team_that_one_works_in(bob, team, run, signed_in):
    finished(run, team)
    client = signed_in(bob)
    assert "Reviews" in text(client.get("/"))
    client.post("/teams/", {"name": "Bob's other team"})
    page = client.get("/")
    assert "Reviews" not in text(page) and "reviews-7" not in text(page) and page.context["next_step"] == 1


def test_the_theme_that_was_chosen_is_written_by_the_server(alice, signed_in):
    client = signed_in(alice)
    assert "data-theme" not in client.get("/").content.decode()
    client.cookies["theme"] = "dark"
    assert '<html lang="en" data-theme="dark">' in client.get("/").content.decode()
    client.cookies["theme"] = 'x" onload="alert(1)'
    assert "data-theme" not in client.get("/").content.decode()


def test_the_rail_says_where_we_are(alice, signed_in):
    page = signed_in(alice).get("/team/").content.decode()
    assert '<a class="more" href="/team/" aria-current="page">' in page and page.count("aria-current") == 1


def test_an_address_that_is_not_there_is_answered_in_our_look(alice, signed_in):
    page = signed_in(alice).get("/nothing/")
    assert page.status_code == 404 and "There is no such page" in text(page) and 'class="rail"' in text(page)


def test_a_time_is_said_roughly_and_kept_exactly():
    from webapp.home.templatetags.shell import when

    moment = now() - timedelta(hours=3, minutes=20)
    assert when(moment) == f'<time datetime="{moment.isoformat()}" data-ago>3\xa0hours ago</time>'
    assert "just now" in when(now()) and when(None) == ""


@pytest.mark.parametrize(
    ("agent", "said"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36", "Chrome on Linux"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605 Version/18.0 Safari/604.1", "Safari on iPhone"),
        ("curl/8.1", "curl"),
        ("", "Unknown"),
    ],
)
def test_a_browser_is_named_as_people_call_it(agent, said):
    from webapp.home.templatetags.shell import device

    assert device(agent) == said
