"""Debian's Chromium, driven by Playwright."""

import shutil
from contextlib import contextmanager

ARGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


def program():
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def chromium():
    import pytest
    from playwright.sync_api import sync_playwright

    if not program():
        pytest.skip("Chromium is not installed (apt-get install chromium)")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program(), args=ARGS)
        yield browser
        browser.close()
