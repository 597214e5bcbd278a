"""Pages that a browser may not keep: back and forward still lead through them, but not after signing out."""

import os
import subprocess
import sys

from django.conf import settings

from webapp.home.management.commands.demo import NOT_INHERITED


def link_for(site, name):
    environment = {k: v for k, v in os.environ.items() if k not in NOT_INHERITED} | {"TUNEBENCH_HOME": str(site.home)}
    command = [sys.executable, str(settings.ROOT / "manage.py"), "sign_in_link", "--user", name]
    return site.base + subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def test_back_and_forward_lead_through_pages_and_after_signing_out_to_the_door(site, browser):
    page = browser.new_context(base_url=site.base).new_page()
    page.goto(link_for(site, "owner"))
    page.goto("/datasets/")
    page.goto("/runs/new/")
    page.goto("/runs/")
    page.go_back()
    page.wait_for_url("**/runs/new/**")
    page.go_back()
    page.wait_for_url("**/datasets/")
    assert page.get_by_role("heading", level=1).first.is_visible()
    page.go_forward()
    page.wait_for_url("**/runs/new/**")
    assert page.locator("run-form, main").first.is_visible()
    page.goto("/datasets/")
    page.goto("/accounts/logout/")
    page.locator("form[action*=logout] button.primary").click()
    page.wait_for_url("**/accounts/login/**")
    page.go_back()
    page.go_back()
    page.wait_for_url("**/accounts/login/**")
    assert page.locator("input[name=password]").is_visible()
    page.context.close()
