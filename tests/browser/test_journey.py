"""The six clicks: sign in, drop the file, confirm, Fine-tune, watch, try. On real labelled text, with the real stack."""

import json
import os
import re
import time

import pytest

from tests.browser.conftest import SHOTS

FULL = bool(os.environ.get("TUNEBENCH_JOURNEY_FULL"))  # all 8,000 rows instead of 600
ROWS = 600
TRAINING_MS = (3600 if FULL else 150) * 1000
SENTENCES = ("This is the best day of my life, thank you!", "I hate how you treat people.", "The meeting starts at nine.")
DROP = """(place, [name, text]) => {
  const bag = new DataTransfer()
  bag.items.add(new File([text], name, { type: "text/csv" }))
  for (const type of ["dragover", "drop"]) place.dispatchEvent(new DragEvent(type, { bubbles: true, cancelable: true, dataTransfer: bag }))
}"""

pytestmark = [pytest.mark.browser, pytest.mark.timeout(4200 if FULL else 300)]


@pytest.fixture(scope="module")
def reviews(shared_data):
    """The file's text: whole, or its header and first rows (no cell of it holds a line break within them)."""
    text = (shared_data / "sentiment" / "goemotions3" / "train.csv").read_text("utf-8")
    return text if FULL else "".join(text.splitlines(keepends=True)[: ROWS + 1])


def shot(page, name):
    if "SHOTS" in os.environ:
        SHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SHOTS / f"journey-{name}.png", full_page=True)


def points_by_socket(page):
    """A list that grows by the training steps which arrive over the run's websocket."""
    steps = []

    def heard(frame):
        message = json.loads(frame) if isinstance(frame, str) else {}
        if message.get("type") == "points":
            steps.extend(p["step"] for p in message["points"] if "loss" in p["values"])

    page.on("websocket", lambda socket: "/ws/runs/" in socket.url and socket.on("framereceived", heard))
    return steps


def wait_for_points(page, count, timeout_ms):
    """Until the chart holds so many steps. Asked from here: the page's policy allows no evaluated strings inside it."""
    deadline = time.monotonic() + timeout_ms / 1000
    while (held := page.locator("loss-chart").first.evaluate("chart => chart.points ?? 0")) < count:
        assert time.monotonic() < deadline, f"{held} of {count} points after {timeout_ms / 1000:.0f} s"
        page.wait_for_timeout(200)


def test_six_clicks_from_a_dropped_file_to_an_answer(page, reviews, accessible):
    page.goto("/")
    accessible(page)
    shot(page, "1-home")

    page.goto("/datasets/")
    accessible(page)
    page.eval_on_selector("body", DROP, ["goemotions3.csv", reviews])
    page.wait_for_url(re.compile(r"/datasets/[0-9a-f-]{36}/"), timeout=60_000)
    tune, create = page.get_by_role("link", name="Fine-tune"), page.get_by_role("button", name="Create version")
    tune.or_(create).first.wait_for(timeout=90_000)
    accessible(page)
    shot(page, "2-columns")
    if create.is_visible():
        create.click()
        tune.first.wait_for(timeout=90_000)
    accessible(page)
    shot(page, "3-rows")

    tune.first.click()
    page.get_by_role("button", name="Fine-tune").wait_for()
    accessible(page)
    shot(page, "4-new-run")
    steps = points_by_socket(page)
    page.get_by_role("button", name="Fine-tune").click()
    page.wait_for_url(re.compile(r"/runs/[0-9a-f-]{36}/"))
    wait_for_points(page, 20, TRAINING_MS)
    accessible(page)
    shot(page, "5-training")

    page.locator("try-it textarea").wait_for(timeout=TRAINING_MS)  # brought by the run's last message, without a reload
    assert len(steps) >= 20
    assert steps == sorted(set(steps)), "a step arrived twice or out of order"
    for sentence in SENTENCES:
        with page.expect_response(lambda response: "/predictions" in response.url, timeout=60_000) as answered:
            page.locator("try-it textarea").fill(sentence)
            page.locator("try-it textarea").press("Control+Enter")
        assert answered.value.status == 200
        page.locator("try-it [data-answer]").wait_for(timeout=60_000)
        bars = page.locator("try-it [data-bars]").inner_text()
        assert all(label in bars for label in ("negative", "neutral", "positive"))
    accessible(page)
    shot(page, "6-answer")

    page.reload()
    wait_for_points(page, len(steps), 20_000)
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 1
    shot(page, "7-narrow")
    assert page.errors == []


@pytest.mark.parametrize(
    "path", ["/", "/datasets/", "/runs/", "/runs/new/", "/models/", "/playground/", "/workers/", "/team/", "/account/"]
)
def test_every_page_opens_without_complaints_wide_and_narrow_light_and_dark(page, accessible, path):
    for width, scheme in ((1440, "light"), (1440, "dark"), (390, "light"), (390, "dark")):
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        assert page.goto(path).status == 200
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 1
        accessible(page)
    assert page.errors == []


def test_the_sign_in_page_is_accessible_to_somebody_who_is_not_signed_in(site, browser, accessible):
    page = browser.new_page(base_url=site.base)
    assert page.goto("/runs/").status == 200
    assert page.get_by_label("Password").is_visible()
    accessible(page)
