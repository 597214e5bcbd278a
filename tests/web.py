"""The web process as `make up` starts it, with a home and a Redis of its own, for what only a real server shows."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time

import httpx2
from django.conf import settings

from tests.conftest import redis_binary
from webapp import stack
from webapp.home.management.commands.demo import NOT_INHERITED, free_port

PASSWORD = "correct horse battery"
PEOPLE = f"""
from webapp.people.models import *
for name in ("alice", "bob"):
    user = User.objects.create_user(name, password={PASSWORD!r})
    Team.objects.found(name, user)
print(ApiToken.make(User.objects.get(username="alice"), "test", ["read", "write"])[1])
"""


class Web:
    """Alice and Bob have a team each; `token` is Alice's."""

    def __init__(self, home: pathlib.Path) -> None:
        self.home, self.port, self.log, self.processes = home, free_port(), home / "web.log", {}
        inherited = {k: v for k, v in os.environ.items() if k not in (*NOT_INHERITED, "FORWARDED_ALLOW_IPS")}
        self.environment = inherited | {
            "DJANGO_SETTINGS_MODULE": "tests.settings",  # the product's, but for static files that nobody has collected
            "TUNEBENCH_HOME": str(home),
            "TEST_HOME_OF": os.environ.get("PYTEST_XDIST_WORKER", ""),
            "REDIS_URL": f"unix://{home}/r.sock",
        }

    @property
    def base(self):
        return f"http://127.0.0.1:{self.port}"

    def manage(self, *words, **more):
        command = [sys.executable, str(settings.ROOT / "manage.py"), *words]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=180, **more)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def prepare(self):
        self.manage("migrate", "--verbosity", "0")
        self.token = self.manage("shell", "--verbosity", "0", "-c", PEOPLE).strip().splitlines()[-1]

    def start(self, **environment):
        words = [a.format(host="127.0.0.1", port=self.port) for a in stack.COMMANDS["web"]]
        redis = [redis_binary(), "--port", "0", "--unixsocket", f"{self.home}/r.sock", "--save", "", "--dir", str(self.home)]
        self.processes["redis"] = subprocess.Popen(redis, stdout=subprocess.DEVNULL)
        with self.log.open("ab") as log:
            self.processes["web"] = subprocess.Popen(
                [sys.executable, *words], cwd=settings.ROOT, env=self.environment | environment, stdout=log, stderr=log
            )
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(httpx2.TransportError):
                if httpx2.get(f"{self.base}/healthz/ready", timeout=10).status_code == 200:
                    return
            assert time.monotonic() < deadline and self.processes["web"].poll() is None, self.log.read_text()
            time.sleep(0.2)

    def stop(self):
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self.processes.values():
            process.wait(20)

    @contextlib.contextmanager
    def frozen_redis(self):
        self.processes["redis"].send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.processes["redis"].send_signal(signal.SIGCONT)

    def browser(self, **headers):
        return httpx2.Client(base_url=self.base, timeout=30, headers=headers)

    def sign_in(self, browser, name, password=PASSWORD, **headers):
        """What a person does; gives the answer to the form."""
        browser.get("/accounts/login/")
        form = {"login": name, "password": password, "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
        return browser.post("/accounts/login/", data=form, headers=headers)

    def api(self, verb, path, **more):
        return httpx2.request(verb, f"{self.base}/api/v1{path}", headers={"Authorization": f"Bearer {self.token}"}, timeout=60, **more)


@contextlib.contextmanager
def running(home, **environment):
    web = Web(home)
    web.prepare()
    try:
        web.start(**environment)
        yield web
    finally:
        web.stop()
