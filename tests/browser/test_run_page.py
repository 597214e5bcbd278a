"""The run page in Chromium: the real template and elements, fed by a server that says what a test wants said."""

import csv
import statistics
import time
from urllib.parse import parse_qs, urlsplit

import pytest
from django.urls import reverse

from tests.browser.chromium import chromium
from tests.browser.stage import Stage, points
from tests.runs import made
from tests.runs.toy import EVALUATION, METRICS, Toy
from worker.nlp import TASKS

pytestmark = [pytest.mark.browser, pytest.mark.django_db]


@pytest.fixture(autouse=True, scope="module")
def browser():
    """One for all, before any row is made: Playwright's event loop stands in this thread from then on, and Django keeps
    its connections by loop."""
    with pytest.MonkeyPatch.context() as patch, chromium() as found:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        yield found


@pytest.fixture
def stage():
    with Stage() as found:
        yield found


@pytest.fixture
def follow(stage, signed_in, alice, team, browser):
    """A function that opens the page of a run as it stands now, and gives the tab."""
    contexts = []

    def open_page(run, wait=True):
        client = signed_in(alice)
        for name in ("page", "standing"):
            address = reverse(f"runs:{name}", args=[run.pk])
            answer = client.get(address)
            stage.pages[address] = (answer.content, answer.headers["Content-Security-Policy"])
        context = browser.new_context(base_url=stage.base, viewport={"width": 1280, "height": 900}, accept_downloads=True)
        context.set_default_timeout(10_000)
        contexts.append(context)
        tab = context.new_page()
        tab.errors = []
        tab.on("pageerror", lambda error: tab.errors.append(str(error)))
        tab.on("console", lambda m: m.type == "error" and "Content Security" in m.text and tab.errors.append(m.text))
        tab.goto(reverse("runs:page", args=[run.pk]))
        if wait:
            tab.wait_for_selector('[data-connection="live"]')
        return tab

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def running(team, alice):
    return made.run(team, alice, state="running", step=1, steps=1000)


def curve(tab, series="loss"):
    """The steps that the page holds of one series."""
    return tab.evaluate("name => document.querySelector('run-live').curve.of(name).steps", series)


def drawn(tab, step, timeout=5000):
    tab.wait_for_function("step => Number(document.querySelector('loss-chart').dataset.drawnStep) >= step", arg=step, timeout=timeout)


def window(tab):
    return tab.evaluate("(({min, max}) => [min, max])(document.querySelector('loss-chart').plot.scales.x)")


def test_points_are_drawn_as_they_come_within_half_a_second(stage, follow, running):
    tab = follow(running)
    stage.say(points(1, 5))
    drawn(tab, 5)
    taken = []
    for step in range(6, 26):
        said = time.time() * 1000
        stage.say(points(step, step, seq=step))
        drawn(tab, step)
        taken.append(tab.evaluate("Number(document.querySelector('loss-chart').dataset.drawnAt)") - said)
    assert curve(tab) == list(range(1, 26))
    assert statistics.median(taken) < 500
    assert tab.errors == []


def test_a_frame_that_comes_twice_counts_once(stage, follow, running):
    tab = follow(running)
    frame = points(1, 10)
    stage.say(frame, frame, points(5, 12, seq=2))
    drawn(tab, 12)
    assert curve(tab) == list(range(1, 13))


def test_a_new_attempt_replaces_the_steps_it_goes_back_over(stage, follow, running):
    tab = follow(running)
    cut = {"type": "cut", "fence": 2, "step": 20}
    stage.say(points(1, 30))
    drawn(tab, 30)
    stage.say(cut, points(21, 25, fence=2, loss=lambda step: 7.0), cut, points(26, 40, fence=2, seq=2))
    drawn(tab, 40)
    assert curve(tab) == list(range(1, 41))
    values = tab.evaluate("document.querySelector('run-live').curve.of('loss').values")
    assert values[20:25] == [7.0] * 5


def test_after_a_lost_connection_the_curve_has_neither_gap_nor_double(stage, follow, running):
    tab = follow(running)
    stage.say(points(1, 10), points(11, 20, seq=2))
    drawn(tab, 20)
    stage.record(points(21, 30, seq=3))
    stage.hang_up()
    drawn(tab, 30, timeout=15_000)
    stage.say(points(31, 35, seq=4))
    drawn(tab, 35)
    assert curve(tab) == list(range(1, 36))
    assert stage.afters[0] == "0.0" and "1.2" in stage.afters


def test_the_page_says_honestly_that_it_is_reconnecting(stage, follow, running):
    tab = follow(running)
    stage.say(points(1, 3))
    drawn(tab, 3)
    stage.blocked = True
    stage.hang_up()
    tab.get_by_text("Reconnecting; no point will be missed").wait_for(timeout=5000)
    stage.blocked = False
    tab.wait_for_selector('[data-connection="live"]', timeout=20_000)


def test_a_reload_shows_the_same_curve(stage, follow, running):
    tab = follow(running)
    stage.say(points(1, 50, every=10))
    drawn(tab, 50)
    before = tab.evaluate("document.querySelector('run-live').curve.toCsv()")
    tab.reload()
    drawn(tab, 50)
    assert tab.evaluate("document.querySelector('run-live').curve.toCsv()") == before


def test_where_sockets_are_blocked_the_page_polls(stage, follow, running):
    stage.blocked = True
    tab = follow(running, wait=False)
    stage.record(points(1, 10))
    drawn(tab, 10, timeout=20_000)
    stage.record(points(11, 20, seq=2))
    drawn(tab, 20, timeout=10_000)
    assert curve(tab) == list(range(1, 21))
    assert tab.get_attribute("[data-connection]", "data-connection") == "polling"


def test_a_zoom_stays_while_points_arrive_and_goes_with_a_double_click(stage, follow, running):
    tab = follow(running)
    stage.say(points(1, 400))
    drawn(tab, 400)
    assert window(tab) == [0, 1000]
    box = tab.locator("loss-chart .u-over").bounding_box()
    tab.mouse.move(box["x"] + box["width"] * 0.1, box["y"] + 50)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 60, steps=4)
    tab.mouse.up()
    tab.wait_for_function("() => document.querySelector('loss-chart').plot.scales.x.min > 0")  # drawn at the next frame
    zoomed = window(tab)
    assert zoomed == pytest.approx([100, 300], abs=15)
    stage.say(points(401, 600, seq=2))
    drawn(tab, 600)
    assert window(tab) == zoomed
    tab.locator("loss-chart .u-over").dblclick()
    tab.wait_for_function("() => document.querySelector('loss-chart').plot.scales.x.max === 1000")
    assert tab.locator("[data-act=wide]").is_hidden()


def test_the_keyboard_zooms_too(stage, follow, running):
    tab = follow(running)
    stage.say(points(1, 400))
    drawn(tab, 400)
    tab.focus("loss-chart [data-canvas]")
    tab.keyboard.press("+")
    tab.wait_for_function("() => document.querySelector('loss-chart').plot.scales.x.max === 750")
    tab.keyboard.press("0")
    tab.wait_for_function("() => document.querySelector('loss-chart').plot.scales.x.max === 1000")


def test_twenty_thousand_points_are_held_but_thinned_for_drawing_and_no_spike_is_lost(stage, follow, running):
    tab = follow(running)
    frames = [points(i * 1000 + 1, (i + 1) * 1000, seq=i + 1, loss=lambda s: 99.0 if s == 12_345 else 1 / s) for i in range(20)]
    stage.say(*frames)
    drawn(tab, 20_000, timeout=15_000)
    chart = tab.evaluate(
        "(c => ({points: c.points, drawn: c.drawn, most: Math.max(...c.plot.data[1])}))(document.querySelector('loss-chart'))"
    )
    assert chart["points"] == 20_000
    assert chart["drawn"] <= 2_100
    assert chart["most"] == 99.0
    added_ms = tab.evaluate(
        """() => { const c = document.querySelector('run-live').curve; const t = performance.now();
        for (let s = 20001; s <= 21000; s++) c.add([{step: s, epoch: 1, time: s, values: {loss: 1}}]);
        return performance.now() - t }"""
    )
    assert added_ms < 200  # a thousand appends to a long curve: what is there costs nothing


def test_smoothing_is_an_exponential_mean_without_the_pull_of_its_start(stage, follow, running):
    tab = follow(running)
    values = {step: float(step % 7) for step in range(1, 101)}
    stage.say(points(1, 60, loss=values.get))
    tab.locator("loss-chart input[type=range]").fill("0.9")
    stage.say(points(61, 100, seq=2, loss=values.get))
    drawn(tab, 100)
    mean, expected = 0.0, []
    for number, value in enumerate(values.values(), start=1):
        mean = mean * 0.9 + 0.1 * value
        expected.append(mean / (1 - 0.9**number))
    assert tab.evaluate("document.querySelector('loss-chart').train.smooth") == pytest.approx(expected)


def test_axis_log_and_legend_change_the_drawing(stage, follow, running):
    tab = follow(running)
    stage.say(points(1, 100, every=20))
    drawn(tab, 100)
    tab.get_by_role("button", name="Epoch").click()
    tab.wait_for_function("() => document.querySelector('loss-chart').plot?.scales.x.max === 3")
    tab.get_by_role("button", name="Time").click()
    tab.wait_for_function("() => document.querySelector('loss-chart').plot?.scales.x.max === 25")
    tab.get_by_role("button", name="Log", exact=True).click()
    tab.wait_for_function("() => document.querySelector('loss-chart').plot?.scales.y.distr === 3")
    tab.get_by_role("button", name="validation").click()
    tab.wait_for_function("() => document.querySelector('loss-chart').plot?.series[3].show === false")
    assert tab.errors == []


def test_the_crosshair_tells_the_values_of_a_step(stage, follow, running):
    tab = follow(running)
    stage.say(points(1, 1000, every=100, loss=lambda step: 0.5))
    drawn(tab, 1000)
    box = tab.locator("loss-chart .u-over").bounding_box()
    tab.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 80)
    tab.locator("loss-chart [data-tip]").wait_for()
    assert tab.locator("[data-is=step]").inner_text() in {"499", "500", "501"}
    assert tab.locator("[data-is=raw]").inner_text() == "0.500"
    assert tab.locator("[data-is=valid]").inner_text() == "0.600"


def test_the_curve_can_be_saved_as_csv_and_png(stage, follow, running, tmp_path):
    tab = follow(running)
    stage.say(points(1, 40, every=20))
    drawn(tab, 40)
    with tab.expect_download() as saved:
        tab.get_by_role("button", name="CSV").click()
    rows = list(csv.DictReader(saved.value.path().read_text().splitlines()))
    assert [int(row["step"]) for row in rows] == list(range(1, 41))
    assert float(rows[19]["eval_loss"]) == pytest.approx(0.15)
    with tab.expect_download() as saved:
        tab.get_by_role("button", name="PNG").click()
    assert saved.value.path().read_bytes().startswith(b"\x89PNG")
    assert saved.value.suggested_filename.endswith("-loss.png")


def test_the_curve_has_a_summary_in_words(stage, follow, running):
    tab = follow(running)
    stage.say(points(1, 100, every=50, loss=lambda step: 2.0 if step == 1 else 0.5))
    drawn(tab, 100)
    words = tab.get_attribute("loss-chart [data-canvas]", "aria-label")
    assert "from 2.00 to 0.500 in 100 steps" in words
    assert "Validation loss is 0.600" in words
    assert tab.locator("metric-chart").first.inner_text().startswith("Macro-F1")
    assert "50.0" in tab.locator("metric-chart [data-value]").first.inner_text()


def test_log_lines_enter_as_text_and_can_be_filtered(stage, follow, running):
    tab = follow(running)
    log = [{"at": 1.79e9, "level": "info", "text": "<img src=x onerror=alert(1)>"}, {"at": 1.79e9, "level": "warning", "text": "clipped"}]
    stage.say({**points(1, 2), "log": log})
    tab.get_by_role("tab", name="Log").click()
    assert tab.get_by_text("<img src=x onerror=alert(1)>").is_visible()
    assert tab.locator("log-tail img").count() == 0
    tab.get_by_label("Filter the log").fill("clip")
    assert tab.locator("log-tail li:visible").count() == 1
    tab.get_by_label("Filter the log").fill("")
    tab.get_by_label("Level").select_option("warning")
    assert tab.locator("log-tail li:visible").inner_text().endswith("clipped")
    with tab.expect_download() as saved:
        tab.get_by_role("button", name="Download").click()
    assert "warning clipped" in saved.value.path().read_text()


def test_the_place_of_the_curve_says_why_nothing_is_there_yet(stage, follow, team, alice):
    run = made.run(team, alice, state="queued")
    stage.state |= {"state": "queued", "position": 1, "steps": 0}
    tab = follow(run)
    assert tab.get_by_text("Next in the queue").is_visible()
    assert tab.locator("loss-chart .chart").is_hidden()
    run.state, run.steps = "running", 100
    run.save()
    follow(run)  # the server's drawing from now on
    stage.become(state="running", position=None, steps=100)
    tab.locator("#badge").get_by_text("Running").wait_for()
    stage.say(points(1, 10))
    drawn(tab, 10)
    assert tab.get_by_text("Next in the queue").count() == 0
    assert tab.get_by_text("Step 10 of 100").is_visible()


def test_a_quick_run_shows_its_caching_as_it_goes(stage, follow, team, alice):
    run = made.run(team, alice, state="starting", method="quick")
    stage.state |= {"state": "starting", "steps": 0}
    tab = follow(run)
    run.progress = {"what": "caching", "done": 100, "total": 800}
    run.save()
    follow(run)
    stage.become(progress=run.progress)
    tab.get_by_text("100 of 800 rows").wait_for()
    stage.become(progress={"what": "caching", "done": 640, "total": 800})
    tab.get_by_text("640 of 800 rows").wait_for()
    assert tab.evaluate("document.querySelector('progress[data-bar=caching]').value") == 640


def test_when_the_run_ends_the_score_and_try_it_appear_without_a_reload(stage, follow, team, alice, running):
    tab = follow(running)
    stage.say(points(1, 75))
    drawn(tab, 75)
    tab.evaluate("window.mine = true")
    ended = made.done(team, alice, base=running.base, version=running.version)
    running.state, running.metrics, running.evaluation, running.result = "succeeded", ended.metrics, ended.evaluation, None
    ended.result, result = None, ended.result
    ended.save()
    running.result = result
    running.save()
    stage.pages[f"/playground/models/{result.pk}/try/"] = (b"<p>Ask the model</p>", "")
    follow(running)
    stage.become(state="succeeded", step=75, metrics=running.metrics)
    tab.locator("#progress").get_by_text("75.3").wait_for()
    tab.locator(".cols").get_by_text("Ask the model").wait_for()
    assert tab.evaluate("window.mine") is True
    tab.get_by_role("tab", name="Evaluation").click()
    assert tab.get_by_text("Confusion matrix").first.is_visible()
    assert tab.locator("#evaluation").get_by_text("<b>good</b>").first.is_visible()
    assert tab.errors == []


def test_stopping_asks_first(stage, follow, running):
    tab = follow(running)
    tab.get_by_role("button", name="Stop").click()
    assert tab.get_by_role("dialog").get_by_role("button", name="Finish now").is_visible()
    assert tab.get_by_role("dialog").get_by_role("button", name="Cancel the run").is_visible()
    tab.keyboard.press("Escape")
    assert tab.get_by_role("dialog").count() == 0


@pytest.mark.parametrize("width", [390, 1440])
def test_the_page_fits_its_window_and_is_accessible(stage, follow, running, accessible, width):
    tab = follow(running)
    tab.set_viewport_size({"width": width, "height": 900})
    stage.say(points(1, 100, every=20))
    drawn(tab, 100)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    accessible(tab)


def test_switching_the_recipe_changes_only_what_nobody_touched(stage, signed_in, alice, team, browser):
    made.version(team)
    made.base()
    stage.pages["/runs/new/"] = (signed_in(alice).get("/runs/new/").content, "")
    tab = browser.new_context(base_url=stage.base).new_page()
    tab.goto("/runs/new/")
    rate = tab.locator("[name=learning_rate]")
    full = rate.input_value()
    tab.locator("[name=epochs]").fill("7")
    tab.get_by_text("Quick", exact=True).click()
    assert rate.input_value() != full
    assert tab.locator("[name=epochs]").input_value() == "7"
    tab.get_by_text("Full", exact=True).click()
    assert rate.input_value() == full
    tab.context.close()


def test_another_base_brings_its_settings_and_keeps_what_was_touched(stage, signed_in, alice, team, browser, monkeypatch):
    monkeypatch.setitem(TASKS, "toy", Toy())
    made.version(team, task="toy", labels=[], baselines={})
    made.base(name="writer", shape="encoder-decoder", parameters=1_000_000)
    talker = made.base(name="talker", source="talker", shape="decoder")
    client = signed_in(alice)
    stage.pages["/runs/new/"] = (client.get("/runs/new/").content, "")
    tab = browser.new_context(base_url=stage.base).new_page()
    tab.goto("/runs/new/")
    assert tab.locator("[name=target_lang]").count() == 1
    tab.locator("[name=epochs]").fill("7")
    stage.pages["/runs/new/"] = (client.get(f"/runs/new/?base={talker.pk}&epochs=7").content, "")
    tab.get_by_label("Base model", exact=True).select_option(str(talker.pk))
    tab.locator("[name=packing]").wait_for(state="attached")
    assert tab.locator("[name=target_lang]").count() == 0 and tab.locator("[name=epochs]").input_value() == "7"
    query = parse_qs(urlsplit(tab.url).query)
    assert (query["base"], query["epochs"], query["method"]) == ([str(talker.pk)], ["7"], ["full"])
    tab.get_by_text("LoRA", exact=True).click()
    tab.get_by_text("Advanced").click()
    assert tab.locator("[name=rank]").is_visible()
    tab.context.close()


def test_samples_are_read_worst_first_or_best_first(follow, team, alice, monkeypatch):
    monkeypatch.setitem(TASKS, "toy", Toy())
    run = made.done(team, alice, version=made.version(team, task="toy", labels=[], baselines={}))
    run.task, run.metrics, run.evaluation = "toy", METRICS, EVALUATION
    run.save()
    tab = follow(run)
    tab.get_by_role("tab", name="Evaluation").click()
    rows = tab.locator("sample-list li")
    assert "12.5" in rows.first.inner_text() and "soll" in rows.first.inner_text()
    tab.get_by_role("button", name="Best first").click()
    assert "100.0" in rows.first.inner_text()
    assert not tab.errors


def test_a_metric_that_is_measured_only_at_the_end_has_no_empty_chart(stage, follow, team, alice, monkeypatch):
    monkeypatch.setitem(TASKS, "toy", Toy())
    version = made.version(team, task="toy", labels=[], baselines={})
    tab = follow(made.run(team, alice, version=version, task="toy", state="running", step=1, steps=100))
    frame = points(1, 40)
    for step, value in ((10, 40.0), (20, 30.0), (30, 35.0)):
        frame["points"].append({"step": step, "epoch": 1, "time": 1.0, "values": {"eval_loss": 1.0, "eval_perplexity": value}})
    frame["points"].sort(key=lambda point: point["step"])
    stage.say(frame)
    tab.get_by_text("best 30.0 at step 20").wait_for()
    assert tab.locator("metric-chart [data-value]").first.inner_text() == "35.0"
    assert tab.locator("metric-chart:visible").count() == 1


def test_keys_lead_on_list_themselves_and_can_be_switched_off(follow, running):
    tab = follow(running)
    tab.locator("log-tail input[type=search]").evaluate("field => field.closest('[role=tabpanel]').hidden = false")
    tab.locator("log-tail input[type=search]").press("?")
    dialog = tab.get_by_role("dialog", name="Keyboard shortcuts")
    assert not dialog.is_visible(), "who writes is not interrupted"
    tab.locator("h1").click()
    tab.keyboard.press("?")
    dialog.wait_for()
    tab.get_by_label("Use single-key shortcuts in this browser").uncheck()
    tab.keyboard.press("Escape")
    tab.keyboard.press("?")
    assert not dialog.is_visible() and tab.errors == []


def test_the_address_keeps_how_the_chart_is_looked_at(stage, follow, running):
    tab = follow(running)
    stage.say(points(1, 100, every=20))
    drawn(tab, 100)
    tab.get_by_role("button", name="Clock").click()
    tab.get_by_role("button", name="Log", exact=True).click()
    tab.wait_for_function("() => document.querySelector('loss-chart').plot?.scales.x.min > 1e9")
    tab.get_by_role("tab", name="Settings").click()
    assert tab.url.endswith("?axis=wall&log=1#settings")
