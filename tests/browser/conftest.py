"""The real stack, once per session, and a page of Chromium that is signed in to it."""

import os
import pathlib
import re
from dataclasses import dataclass

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Error

from tests.browser.chromium import chromium
from webapp.home.management.commands.demo import running

SHOTS = pathlib.Path(os.environ.get("SHOTS", "shots"))
HERE = pathlib.Path(__file__).parent


def pytest_collection_modifyitems(items):
    """All that needs the stack runs in one process of pytest -n: two stacks would only slow each other down."""
    for item in items:
        if HERE in item.path.parents and "site" in item.fixturenames:
            item.add_marker(pytest.mark.xdist_group("browser"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call":
        item.failed_in_call = report.failed
    return report


@dataclass
class Site:
    """A running Tunebench: its address, an API token and a session of the first account."""

    base: str
    token: str
    home: pathlib.Path
    session: dict


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    home = tmp_path_factory.mktemp("site")
    with running(home, print) as (base, token):
        yield Site(base, token, home, sign_in(re.search(r"http\S+/sign-in/\S+", (home / "up.log").read_text()).group()))


def sign_in(link):
    """The cookies that a one-time link gives."""
    with chromium() as browser:
        context = browser.new_context()
        context.new_page().goto(link)
        return context.storage_state()


@pytest.fixture
def browser():
    """One Chromium a test: Playwright's event loop must not outlive it, or asynchronous tests after it cannot run."""
    with chromium() as found:
        yield found


@pytest.fixture
def page(site, browser, request):
    """A page of the first account, 1440 wide; what it shows is kept as a picture when the test fails. `page.errors` must stay empty."""
    context = browser.new_context(base_url=site.base, viewport={"width": 1440, "height": 900}, storage_state=site.session)
    found = context.new_page()
    found.errors = []
    found.on("console", lambda message: message.type == "error" and found.errors.append(message.text))
    found.on("pageerror", lambda error: found.errors.append(str(error)))
    yield found
    if getattr(request.node, "failed_in_call", False):
        SHOTS.mkdir(parents=True, exist_ok=True)
        found.screenshot(path=SHOTS / f"failed-{re.sub('[^a-z0-9]+', '-', request.node.name.lower())}.png", full_page=True)
    context.close()


@pytest.fixture
def accessible():
    """A function that fails with what axe finds serious on a page."""

    def findings(page):
        for _ in range(5):
            page.wait_for_load_state()
            try:
                return Axe().run(page).response["violations"]
            except Error as error:
                if "navigation" not in str(error):
                    raise
                page.wait_for_timeout(500)  # the page brought news by itself; look again
        raise AssertionError(f"{page.url} never stood still")

    def check(page):
        serious = [
            f"{v['id']} ({v['impact']}): {v['nodes'][0]['target']} {v['nodes'][0]['html'][:120]}"
            for v in findings(page)
            if v["impact"] in ("serious", "critical")
        ]
        assert not serious, f"{page.url}: " + "; ".join(serious)

    return check
