"""The browser libraries: fetched once, importable as ES modules, and nothing of others in the repository."""

import functools
import http.server
import subprocess
import threading

import pytest
from django.conf import settings

from webapp.home.management.commands import assets


@pytest.fixture(scope="module", autouse=True)
def fetched():
    assets.fetch()


def test_every_named_file_is_there_with_its_licence():
    for name in assets.FILES:
        assert (assets.VENDOR / name).stat().st_size > 500, name
    libraries = {source.split("/")[0] for source in assets.FILES.values()}
    licensed = {source.split("/")[0] for name, source in assets.FILES.items() if name.endswith("LICENSE")}
    assert licensed == libraries


def test_a_second_fetch_does_nothing():
    before = {name: (assets.VENDOR / name).stat().st_mtime_ns for name in assets.FILES}
    assert assets.fetch() is False
    assert before == {name: (assets.VENDOR / name).stat().st_mtime_ns for name in assets.FILES}


def test_a_missing_file_is_fetched_again():
    (assets.VENDOR / "uPlot.min.css").unlink()
    assert assets.fetch(say=lambda text: None) is True
    assert (assets.VENDOR / "uPlot.min.css").exists()


def test_vendor_files_are_ignored_by_git():
    found = subprocess.run(["git", "ls-files", "static/vendor"], cwd=settings.ROOT, capture_output=True, text=True)
    assert found.stdout == ""


def test_a_bundle_becomes_a_module_without_a_dangling_source_map():
    module = assets.as_module("!function(){module.exports={a:1}}()\n//# sourceMappingURL=a.map", ["a"])
    assert "sourceMappingURL" not in module
    assert module.endswith("export const { a } = module.exports;\n")


@pytest.mark.browser
def test_chromium_imports_both_libraries_as_modules():
    from tests.browser.chromium import chromium

    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(assets.STATIC))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, chromium() as browser:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{server.server_address[1]}/favicon.svg")
        kinds = page.evaluate(
            """async () => {
              const uplot = await import("/vendor/uPlot.esm.js"), tus = await import("/vendor/tus.js")
              return [typeof uplot.default, typeof tus.Upload, tus.isSupported]
            }"""
        )
        server.shutdown()
    assert kinds == ["function", "function", True]
