""" "Try it" in Chromium: the real page, the real API, the real models behind it."""

import os
import socket
import subprocess
import sys

import httpx2
import pytest
from django.conf import settings

from tests.playground.conftest import actor, eventually, folders, model, one_relay, relay  # noqa: F401  (fixtures)
from tests.worker.tiny import tiny_classifier
from webapp.catalog.models import ModelVersion

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
PAYLOADS = ["<img src=x onerror='window.pwned=1'>", "<script>window.pwned=1</script>", "{{7*7}}", "__proto__"]


@pytest.fixture(autouse=True, scope="module")
def rows_beside_playwright():
    """Playwright's event loop stands in this thread; Django would refuse it the database."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        yield


@pytest.fixture(scope="module")
def web(django_db_setup):
    """The web process on the database and the Redis of the tests."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    database = settings.DATABASES["default"]["NAME"]
    environment = os.environ | {"DATABASE_URL": f"sqlite:///{database}", "DJANGO_SETTINGS_MODULE": "webapp.settings", "DEBUG": "1"}
    command = [sys.executable, "-m", "uvicorn", "webapp.asgi:application", "--port", str(port), "--log-level", "warning"]
    process = subprocess.Popen(command, env=environment, cwd=settings.ROOT)
    eventually(lambda: answers(f"http://127.0.0.1:{port}/healthz/live"), 60)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait()


def answers(address):
    try:
        return httpx2.get(address).status_code == 200
    except httpx2.HTTPError:
        return False


@pytest.fixture
def open_page(web, browser, signed_in):
    """A function that opens a page as somebody; nothing may appear in the console."""
    tabs = []

    def open_page(user, path, **context):
        context = browser.new_context(base_url=web, viewport={"width": 1280, "height": 900}, **context)
        context.add_cookies([{"name": "sessionid", "value": signed_in(user).cookies["sessionid"].value, "url": web}])
        tab = context.new_page()
        tab.errors = []
        tab.on("pageerror", lambda error: tab.errors.append(str(error)))
        tab.on("console", lambda m: m.type == "error" and "Failed to load resource" not in m.text and tab.errors.append(m.text))
        tab.goto(path)
        tab.locator("try-it textarea").wait_for()
        tabs.append(tab)
        return tab

    yield open_page
    for tab in tabs:
        assert not tab.errors, tab.errors


def bars(tab):
    tab.locator("try-it .bar").first.wait_for(timeout=40_000)
    return tab.locator("try-it .bar")


def test_ctrl_enter_draws_the_bars_and_what_the_base_says(relay, open_page, vera, model, accessible):  # noqa: F811
    tab = open_page(vera, f"/models/{model.pk}/")
    tab.locator("try-it textarea").fill("the battery died after a week")
    tab.keyboard.press("Control+Enter")
    assert bars(tab).count() == 3 and tab.locator("try-it .bar.best").count() == 1
    assert sum(float(number) for number in tab.locator("try-it .bar b").all_inner_texts()) == pytest.approx(1, abs=0.02)
    assert tab.locator("[data-latency]").inner_text().split()[1] in ("ms", "s")
    tab.locator("[data-base-line]").wait_for(timeout=40_000)
    assert tab.locator("[data-base-line]").inner_text().startswith("For comparison")
    accessible(tab)


def test_an_example_is_one_click_and_history_brings_it_back(relay, open_page, vera, model):  # noqa: F811
    tab = open_page(vera, f"/playground/?model={model.pk}")
    tab.get_by_role("button", name="never again").click()
    bars(tab)
    assert tab.locator("try-it textarea").input_value() == "never again"
    tab.locator("try-it textarea").fill("")
    eventually(lambda: model.predictions.filter(state="done").exists())
    tab.get_by_role("button", name="History").click()
    tab.locator(".past [data-again]").first.click()
    assert tab.locator("try-it textarea").input_value() == "never again"


def test_the_link_of_an_answer_shows_it_as_it_was(relay, open_page, vera, bob, model):  # noqa: F811
    tab = open_page(vera, f"/playground/?model={model.pk}&with=base")
    tab.locator("try-it textarea").fill("great")
    tab.keyboard.press("Control+Enter")
    for reply in tab.locator("model-reply").all():
        reply.locator(".bar").first.wait_for(timeout=40_000)
    assert bars(tab).count() == 6
    numbers = tab.locator("model-reply").first.locator(".bar b").all_inner_texts()
    link = tab.locator("model-reply").first.get_by_role("link", name="Link").get_attribute("href")
    eventually(lambda: model.predictions.filter(state="done").count() == 2)
    other = open_page(bob, link)
    bars(other)
    assert other.locator("try-it textarea").input_value() == "great" and other.locator(".bar b").all_inner_texts() == numbers


def test_the_code_holds_what_is_in_the_box_quoted_for_the_shell(relay, web, open_page, vera, model):  # noqa: F811
    tab = open_page(vera, f"/playground/?model={model.pk}")
    tab.locator("try-it textarea").fill('it\'s $(touch /tmp/canary) "good"')
    tab.get_by_role("button", name="View code").click()
    curl, python, _script = tab.locator("[data-code]").all_inner_texts()
    body = subprocess.run(
        ["bash", "-c", curl.replace("curl ", "printf '%s\\n' ", 1)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert body[0] == f"{web}/api/v1/models/{model.pk}/predictions"
    assert body[-1] == '{"inputs":{"text":"it\'s $(touch /tmp/canary) \\"good\\""}}'
    compile(python, "shown", "exec")
    assert "YOUR_TOKEN" in curl and "YOUR_TOKEN" in python


def test_limits_and_refusals_are_plain(relay, open_page, vera, model):  # noqa: F811
    tab = open_page(vera, f"/playground/?model={model.pk}")
    tab.locator("[data-ask]").click()
    assert tab.locator("[data-reason]").inner_text() == "Enter some text first."
    tab.locator("try-it textarea").fill("x" * 20_001)
    assert "20,000" in tab.locator("[data-count-of]").inner_text()
    tab.locator("[data-ask]").click()
    tab.get_by_text("at most 20,000").wait_for()
    tab.context.set_offline(True)
    tab.locator("try-it textarea").fill("good")
    tab.keyboard.press("Control+Enter")
    tab.get_by_role("button", name="Try again").wait_for()
    tab.context.set_offline(False)
    tab.get_by_role("button", name="Try again").click()
    assert bars(tab).count() == 3


def test_hostile_labels_and_examples_stay_text(relay, open_page, alice, team, tmp_path):  # noqa: F811
    folder = tiny_classifier(tmp_path / "hostile", PAYLOADS)
    base = ModelVersion.objects.get(kind="starter")
    hostile = ModelVersion.trained(team, alice, PAYLOADS[0], folder, "classification", PAYLOADS, base, {"macro_f1": 0.5}, 1, "")
    tab = open_page(alice, f"/models/{hostile.pk}/")
    tab.locator("try-it textarea").fill(PAYLOADS[1])
    tab.keyboard.press("Control+Enter")
    assert bars(tab).count() == 4
    assert set(tab.locator("try-it .bar span").all_inner_texts()) == set(PAYLOADS)
    assert tab.evaluate("window.pwned") is None


def test_on_a_phone_nothing_stands_out_of_the_page(relay, open_page, vera, model, accessible):  # noqa: F811
    tab = open_page(vera, f"/models/{model.pk}/", color_scheme="dark")
    tab.set_viewport_size({"width": 390, "height": 844})
    tab.locator("try-it textarea").fill("good")
    tab.keyboard.press("Control+Enter")
    bars(tab)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    accessible(tab)
