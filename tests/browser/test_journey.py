"""The six clicks: sign in, drop the file, confirm, Fine-tune, watch, try. On real labelled text of each task, with the real stack."""

import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.browser.conftest import SHOTS

FULL = bool(os.environ.get("TUNEBENCH_JOURNEY_FULL"))  # all rows of the main sets instead of a few hundred
TRAINING_MS = (3600 if FULL else 240) * 1000
DROP = """(place, [name, text]) => {
  const bag = new DataTransfer()
  bag.items.add(new File([text], name))
  for (const type of ["dragover", "drop"]) place.dispatchEvent(new DragEvent(type, { bubbles: true, cancelable: true, dataTransfer: bag }))
}"""
PASSAGE = "The bridge at Harrow was built in 1871 by the engineer Anna Pryce. It is made of iron and carries a road and two footpaths."


@dataclass(frozen=True)
class Journey:
    """A main set, and what is asked of the model that comes of it."""

    file: str  # below the shared data
    rows: int | None  # lines of it, unless all are taken; None: `some` takes its own part
    asked: tuple[dict[str, str], ...]
    says: str  # a pattern that each answer fits
    some: Callable[[str], str] = lambda text: text
    settings: tuple[tuple[str, str], ...] = (("epochs", "1"),)
    least_points: int = 3

    def text(self, data: Path) -> str:
        whole = (data / self.file).read_text("utf-8")
        if FULL:
            return whole
        return "".join(whole.splitlines(keepends=True)[: self.rows]) if self.rows else self.some(whole)


def few_paragraphs(text):
    """Seven paragraphs of a SQuAD file with what is asked of them, of as many articles."""
    squad = json.loads(text)
    articles = [{"title": each["title"], "paragraphs": each["paragraphs"][:1]} for each in squad["data"][:7]]
    return json.dumps({**squad, "data": articles})


JOURNEYS = {
    "classification": Journey(
        "sentiment/goemotions3/train.csv",
        601,
        ({"text": "This is the best day of my life, thank you!"}, {"text": "I hate how you treat people."}, {"text": "We meet at nine."}),
        "(?s)(?=.*negative)(?=.*neutral)(?=.*positive)",
        settings=() if FULL else (("epochs", "1"),),  # the form would advise ten for so few rows
        least_points=10,
    ),
    "translation": Journey("translation/tatoeba_en_zh/train.tsv", 300, ({"source": "Where is the station?"},), "[\u4e00-\u9fff]"),
    "summarization": Journey(
        "summarization/scitldr_a/train.jsonl",
        60,
        ({"document": f"{PASSAGE} Nobody knows why it was painted red."},),
        "^(The bridge at Harrow was|It is made of iron|Nobody knows)",
    ),
    "question_answering": Journey(
        "qa/squad2_small/train.json",
        None,
        ({"question": "Who built the bridge?", "context": PASSAGE}, {"question": "What did the bridge cost?", "context": PASSAGE}),
        r"No answer|\b0\.\d\d\b",
        few_paragraphs,
    ),
    "generation": Journey("generation/tinyshakespeare/input.txt", None, ({"prompt": "ROMEO:\n"},), "\\w{2}", lambda text: text[:60_000]),
}

pytestmark = [pytest.mark.browser, pytest.mark.timeout(4200 if FULL else 420)]


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


@pytest.mark.parametrize("slug", JOURNEYS)
def test_six_clicks_from_a_dropped_file_to_an_answer(page, shared_data, accessible, slug):
    journey = JOURNEYS[slug]
    page.goto("/datasets/")
    accessible(page)
    page.eval_on_selector("body", DROP, [f"{slug}-{Path(journey.file).name}", journey.text(shared_data)])
    page.wait_for_url(re.compile(r"/datasets/[0-9a-f-]{36}/"), timeout=60_000)
    tune, create = page.get_by_role("link", name="Fine-tune"), page.get_by_role("button", name="Create version")
    tune.or_(create).first.wait_for(timeout=90_000)
    accessible(page)
    shot(page, f"{slug}-1-columns")
    if create.is_visible():
        create.click()
        tune.first.wait_for(timeout=90_000)
    accessible(page)
    shot(page, f"{slug}-2-rows")

    tune.first.click()
    page.get_by_role("button", name="Fine-tune").wait_for()
    for name, value in journey.settings:
        page.locator(f"form [name={name}]").fill(value)
    accessible(page)
    shot(page, f"{slug}-3-new-run")
    steps = points_by_socket(page)
    page.get_by_role("button", name="Fine-tune").click()
    page.wait_for_url(re.compile(r"/runs/[0-9a-f-]{36}/"))
    wait_for_points(page, journey.least_points, TRAINING_MS)
    accessible(page)
    shot(page, f"{slug}-4-training")

    first = page.locator("try-it form [data-most]").first
    first.wait_for(timeout=TRAINING_MS)  # brought by the run's last message, without a reload
    assert len(steps) >= journey.least_points
    assert steps == sorted(set(steps)), "a step arrived twice or out of order"
    answer = page.locator("try-it [data-answer]").first
    for number, inputs in enumerate(journey.asked):
        if number:
            page.get_by_role("button", name="Clear").click()
            answer.wait_for(state="hidden")
        with page.expect_response(lambda response: "/predictions" in response.url, timeout=60_000) as answered:
            for name, text in inputs.items():
                page.locator(f"try-it form [name={name}]").fill(text)
            first.press("Control+Enter")
        assert answered.value.status in (200, 202)
        page.locator("try-it [data-stop]").wait_for(state="hidden", timeout=60_000)
        answer.wait_for(timeout=60_000)
        assert re.search(journey.says, answer.inner_text())
    accessible(page)
    shot(page, f"{slug}-5-answer")

    page.reload()
    wait_for_points(page, len(steps), 20_000)
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 1
    shot(page, f"{slug}-6-narrow")
    assert page.errors == []


def test_a_checkpoint_becomes_a_model_that_is_compared_while_the_run_goes_on(page, shared_data, accessible):
    text = "".join((shared_data / "sentiment/goemotions3/train.csv").read_text("utf-8").splitlines(keepends=True)[:400])
    page.goto("/datasets/")
    page.eval_on_selector("body", DROP, ["kept.csv", text])
    page.get_by_role("link", name="Fine-tune").first.click(timeout=90_000)
    page.locator("form [name=epochs]").fill("100")
    page.get_by_role("button", name="Fine-tune").click()
    page.wait_for_url(re.compile(r"/runs/[0-9a-f-]{36}/"))
    run = page.url
    wait_for_points(page, 3, TRAINING_MS)
    page.get_by_role("tab", name="Checkpoints").click()
    accessible(page)
    page.get_by_role("button", name="Save as model").first.click(timeout=TRAINING_MS)  # brought by the first checkpoint
    compare = page.locator("#checkpoints").get_by_role("link", name="Compare").first
    compare.wait_for(timeout=90_000)
    accessible(page)
    shot(page, "checkpoints")
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 1
    page.set_viewport_size({"width": 1440, "height": 900})
    assert page.locator("run-live").get_attribute("data-state") == "running"
    compare.click()
    page.locator("try-it textarea").fill("What a lovely day")
    page.locator("try-it textarea").press("Control+Enter")
    page.locator("model-reply [data-answer] >> nth=1").wait_for(timeout=60_000)
    assert ", step " in page.locator("model-reply").first.inner_text()
    accessible(page)
    shot(page, "checkpoint-compared")
    page.goto(run)
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="Cancel the run").click()
    page.get_by_text("Cancelled").first.wait_for(timeout=60_000)
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
