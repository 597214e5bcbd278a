"""The curve by cursor: what a page holds plus what it is sent is what SQL says, whatever happened in between."""

import random

import pytest
from django.db import connection
from django.db.models import Q

from webapp.runs import cursor, states
from webapp.runs.cursor import START, Cursor
from webapp.runs.models import Run

pytestmark = pytest.mark.django_db


def point(step, **values):
    return {"step": step, "epoch": step / 100, "time": step * 0.5, "values": {"loss": 1 / step, **values}}


@pytest.fixture
def recorded(submit, worker):
    """recorded(frames): a run whose first attempt wrote these frames of steps; gives (run, attempt)."""

    def recorded(*frames):
        submit()
        attempt = Run.claim(worker).attempts.get()
        attempt.ready(100, 0)
        write(attempt, *frames)
        return attempt.run, attempt

    return recorded


def write(attempt, *frames):
    for steps in frames:
        attempt.record([point(step) for step in steps], [{"at": "now", "level": "info", "text": f"{steps}"}])


def another_attempt(run, worker, resumed_step):
    """The worker was lost; a new attempt goes on after `resumed_step`."""
    run.refresh_from_db()
    assert run.bury(Q())
    Run.objects.update(not_before=None)
    attempt = Run.claim(worker).attempts.get(ended_at=None)
    attempt.ready(100, resumed_step)
    return attempt


class Page:
    """A browser's side of the protocol, as feed.js has it."""

    def __init__(self):
        self.cursor, self.points = START, []

    def take(self, message):
        if message["type"] == "cut":
            self.points = [p for p in self.points if p["step"] <= message["step"]]
        elif Cursor(message["fence"], message["seq"]) > self.cursor:
            self.cursor = Cursor(message["fence"], message["seq"])
            self.points += message["points"]

    def connect(self, run):
        for message in cursor.messages(run, self.cursor)[0]:
            self.take(message)

    @property
    def steps(self):
        return [p["step"] for p in self.points]


def test_a_page_that_was_away_gets_exactly_what_it_missed(recorded):
    run, attempt = recorded([1, 2], [3], [4, 5])
    page = Page()
    page.connect(run)
    assert page.steps == [1, 2, 3, 4, 5]
    write(attempt, [6], [7])
    found, reached = cursor.messages(run, page.cursor)
    assert [p["step"] for m in found for p in m["points"]] == [6, 7]
    assert reached == Cursor(1, 5)
    assert cursor.messages(run, reached) == ([], reached)


def test_steps_that_a_new_attempt_repeats_stand_once(recorded, worker):
    run, _ = recorded([1, 2, 3], [4, 5, 6, 7])
    page = Page()
    page.connect(run)
    second = another_attempt(run, worker, resumed_step=4)
    write(second, [5, 6])
    page.connect(run)
    assert page.steps == [1, 2, 3, 4, 5, 6]
    late = Page()
    late.connect(run)
    assert late.points == page.points


def test_an_attempt_that_begins_while_a_page_reads_still_cuts_its_curve(recorded, worker):
    run, _ = recorded([1, 2, 3], [4, 5])
    page = Page()
    page.connect(run)
    seen = []

    def in_between(execute, sql, *args):
        if "runs_attempt" in sql or "runs_metricchunk" in sql:
            seen.append(sql)
            if len(seen) == 2:  # one of the two was read
                write(another_attempt(run, worker, 3), [4, 5, 6])
        return execute(sql, *args)

    with connection.execute_wrapper(in_between):
        page.connect(run)
    page.connect(run)
    assert page.steps == [1, 2, 3, 4, 5, 6]


def test_an_attempt_that_never_began_cuts_nothing(recorded, worker):
    run, _ = recorded([1, 2, 3])
    another = another_attempt(run, worker, resumed_step=0)
    type(another).objects.filter(pk=another.pk).update(resumed_step=None)
    assert [p["step"] for p in cursor.read(run).points] == [1, 2, 3]


def test_merging_changes_nothing_for_whoever_reads(recorded):
    run, _ = recorded(*[[n] for n in range(1, 51)])
    before, middle = cursor.read(run), cursor.read(run, Cursor(1, 20))
    assert cursor.merge(run, 1) == 49
    after = cursor.read(run)
    assert run.chunks.count() == 1
    assert run.chunks.get().rollup["loss"][:2] == pytest.approx([1 / 50, 1.0])
    assert after.next == before.next == Cursor(1, 50)
    assert after.log == before.log
    for a, b in zip(after.points, before.points, strict=True):
        assert a["step"] == b["step"] and a["time"] == b["time"]
        assert a["values"]["loss"] == pytest.approx(b["values"]["loss"], rel=1e-6)
    assert [p["step"] for p in cursor.read(run, Cursor(1, 20)).points] == [p["step"] for p in middle.points]
    assert [line["text"] for line in cursor.read(run, Cursor(1, 20)).log] == [line["text"] for line in middle.log]


def test_merged_stretches_hold_about_a_thousand_points(recorded, monkeypatch):
    run, _ = recorded(*[[n, n + 1] for n in range(1, 101, 2)])
    monkeypatch.setattr(cursor, "MERGED_POINTS", 40)
    cursor.merge(run, 1)
    assert [len(list(cursor.chunk_points(chunk))) for chunk in run.chunks.order_by("seq")] == [40, 40, 20]
    assert [p["step"] for p in cursor.read(run).points] == list(range(1, 101))


def test_series_without_a_value_at_a_point_stay_without():
    points = [(1, point(1)), (2, {"step": 1, "epoch": 1.0, "time": 1.0, "values": {"eval_loss": 0.5}})]
    (_, first), (seq, second) = cursor.unpack(cursor.pack(points))
    assert first["values"] == {"loss": 1.0}
    assert (seq, second["values"]) == (2, {"eval_loss": 0.5})


def test_a_long_curve_arrives_thinned_with_its_peaks_and_all_evaluations():
    marked = [(Cursor(1, n), point(n)) for n in range(1, 20_001)]
    marked[7_777][1]["values"]["loss"] = 99.0
    marked[12_345][1]["values"] = {"eval_loss": 1.0}
    thin = [p for _, p in cursor.thin(marked, len(marked))]
    assert len(thin) <= 4_100
    assert marked[7_777][1] in thin and marked[12_345][1] in thin
    assert thin[0]["step"] == 1 and thin[-1]["step"] == 20_000


def test_a_long_curve_can_be_read_page_by_page_across_attempts(recorded, worker):
    run, _ = recorded(*[[n, n + 1] for n in range(1, 21, 2)])
    write(another_attempt(run, worker, 14), *[[n] for n in range(15, 31)])
    steps, after = [], START
    for _turn in range(20):
        stretch = cursor.read(run, after, page=6)
        assert len(stretch.points) <= 7
        if stretch.next == after:
            break
        steps = [step for step in steps if stretch.cut is None or step <= stretch.cut] + [p["step"] for p in stretch.points]
        after = stretch.next
    assert steps == list(range(1, 31))


def test_a_long_absence_is_made_up_for_thinned_out_and_the_curve_goes_on_behind_it(recorded, monkeypatch):
    run, attempt = recorded([1, 2])
    page = Page()
    page.connect(run)
    write(attempt, *[[n] for n in range(3, 403)])
    cursor.merge(run, 1)
    monkeypatch.setattr(cursor, "MOST_POINTS", 60)
    page.connect(run)
    assert page.cursor == Cursor(1, 401) and len(page.steps) <= 65
    assert page.steps == sorted(set(page.steps)) and page.steps[-1] == 402
    write(attempt, [403])
    page.connect(run)
    assert page.steps[-2:] == [402, 403]


def test_large_replays_come_in_messages_whose_cursor_stands_behind_whole_frames(recorded, monkeypatch):
    run, _ = recorded([1, 2, 3], [4, 5, 6], [7, 8, 9])
    monkeypatch.setattr(cursor, "SENT_POINTS", 2)
    found, _ = cursor.messages(run)
    assert [(m["seq"], [p["step"] for p in m["points"]]) for m in found] == [(1, [1, 2, 3]), (2, [4, 5, 6]), (3, [7, 8, 9]), (3, [])]


@pytest.mark.parametrize("text", ["", None, "x", "1", "1.2.3", "-1.5", "a.b"])
def test_a_cursor_that_is_none_means_from_the_beginning(text):
    assert Cursor.read(text).seq in (0, 5) and Cursor.read(text).fence == 0


def test_any_schedule_of_writing_dying_merging_and_reconnecting_gives_the_same_curve(recorded, worker):
    """The promise of the live page, tried at random: each step once, no gap, however often the page looked away."""
    for seed in range(6):
        dice = random.Random(seed)
        run, attempt = recorded()
        step, saved, page = 0, 0, Page()
        for _ in range(60):
            act = dice.choice(["write", "write", "write", "save", "die", "merge", "look"])
            if act == "write":
                frame = list(range(step + 1, step + dice.randint(2, 4)))
                write(attempt, frame)
                step = frame[-1]
            elif act == "save":
                saved = step
            elif act == "die" and attempt.fence < 15:
                Run.objects.filter(pk=run.pk).update(attempts_total=1, attempts_fruitless=0)
                attempt, step = another_attempt(run, worker, saved), saved
            elif act == "merge":
                cursor.merge(run, dice.randint(1, attempt.fence))
            else:
                page.connect(run)
        page.connect(run)
        assert page.steps == [p["step"] for p in cursor.read(run).points] == list(range(1, step + 1)), seed
        run.refresh_from_db()
        run.cancel()
        attempt.end(states.ending_of(75))
