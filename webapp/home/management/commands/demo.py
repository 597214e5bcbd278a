"""`make demo`: the main job without a browser, through the public API of a stack of its own."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from django.conf import settings
from django.core.management import BaseCommand, CommandError
from django.core.management.base import CommandParser

from webapp.stack import die_with
from worker.nlp import TASKS

SAMPLE = settings.ROOT / "webapp" / "home" / "sample" / "reviews.csv"
QUESTIONS = (
    "The battery gave up after two days and nobody answered my mail.",
    "It arrived on Tuesday in a brown box.",
    "Best headphones I have ever owned, I wear them all day.",
)
NOT_INHERITED = {"DJANGO_SETTINGS_MODULE", "REDIS_URL", "DATABASE_URL", "TUNEBENCH_FILES", "HTTPS", "DEBUG", "ALLOWED_HOSTS"}
START_S, READING_S, TRAINING_S = 120, 120, 600  # how long each part may take on a slow machine


class Command(BaseCommand):
    help = "Uploads the sample reviews, fine-tunes, shows loss and metrics, asks three questions, stops. Exit 0 only if all of it happened."
    requires_system_checks: tuple[str, ...] = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--method", help="recipe: full, quick or lora; without it the product's default")

    def handle(self, *args: Any, **options: Any) -> None:
        logging.getLogger("httpx2").setLevel(logging.WARNING)  # a line a request would drown the curve
        with tempfile.TemporaryDirectory(prefix="tunebench-demo-") as home, running(Path(home), self.say) as (base, token):
            with httpx2.Client(base_url=f"{base}/api/v1", headers={"Authorization": f"Bearer {token}"}, timeout=120) as client:
                Demo(client, self.say).run(options["method"])
        self.say("Done: a file became a model that answers.")

    def say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


class Demo:
    """The way of the data, one verb after the other."""

    def __init__(self, client: httpx2.Client, say: Callable[[str], None]) -> None:
        self.client = client
        self.say = say

    def run(self, method: str | None) -> None:
        dataset = self.upload(SAMPLE)
        run = self.tune(dataset, method)
        self.compare(run)
        self.ask(run["model"])

    def call(self, verb: str, path: str, **content: Any) -> Any:
        answer = self.client.request(verb, path, **content)
        if answer.status_code >= 400:
            raise CommandError(f"{verb} {path} was answered with {answer.status_code}: {answer.text[:500]}")
        return answer.json()

    def wait_for(self, path: str, ends: set[str], seconds: float) -> Any:
        """What `path` answers once its state is one of `ends`."""
        deadline = time.monotonic() + seconds
        while (thing := self.call("GET", path))["state"] not in ends:
            if time.monotonic() > deadline:
                raise CommandError(f"{path} was still {thing['state']} after {seconds:.0f} s.")
            time.sleep(0.3)
        return thing

    def upload(self, path: Path) -> Any:
        self.say(f"\nUploading {path.name} ({path.stat().st_size / 1000:.0f} kB) ...")
        with open(path, "rb") as file:
            begun = self.call("POST", "/datasets", files={"file": (path.name, file, "text/csv")}, data={"name": "Sample reviews"})
        dataset = self.wait_for(f"/datasets/{begun['id']}", {"ready", "needs_mapping", "failed"}, READING_S)
        if dataset["state"] != "ready":
            raise CommandError(f"The sample reviews are {dataset['state']}: {dataset['reason']} {dataset['problems'][:3]}")
        self.say(f"Version {dataset['versions'][0]['hash'][:12]} is ready: {dataset['rows']} rows, mapped as {dataset['mapping']}.")
        return dataset

    def tune(self, dataset: Any, method: str | None) -> Any:
        wanted = {"version": dataset["versions"][0]["id"], "task": dataset["task"], **({"method": method} if method else {})}
        run = self.call("POST", "/runs", json=wanted, headers={"Idempotency-Key": "demo"})
        self.say("\nFine-tuning ...")
        run = self.follow(run["id"])
        if run["state"] != "succeeded":
            raise CommandError(f"The run ended as {run['state']}: {run['reason']}")
        return run

    def follow(self, run_id: str) -> Any:
        """Print the loss as it comes, by cursor, until the run has ended."""
        cursor, printed, deadline = "", 0, time.monotonic() + TRAINING_S
        while True:
            run = self.call("GET", f"/runs/{run_id}")
            part = self.call("GET", f"/runs/{run_id}/points", params={"after": cursor} if cursor else {})
            cursor = part["next"] or cursor
            for point in part["points"]:
                printed += "loss" in point["values"]
                self.show(point, run["steps"])
            if run["state"] in {"succeeded", "failed", "cancelled"} and not part["points"]:
                break
            if time.monotonic() > deadline:
                raise CommandError(f"The run was still {run['state']} after {TRAINING_S} s.")
            time.sleep(0.5)
        if run["state"] == "succeeded" and not printed:
            raise CommandError("The run succeeded without a single point of the loss.")
        return run

    def show(self, point: Any, steps: int | None) -> None:
        values, step = point["values"], point["step"]
        place = f"  step {step:>4}" + (f" of {steps}" if steps else "")
        if "loss" in values and (step == 1 or step % 5 == 0):
            self.say(f"{place}   loss {values['loss']:.3f}  {'#' * min(60, round(values['loss'] * 30))}")
        if "eval_loss" in values:
            shown = "  ".join(f"{name.removeprefix('eval_')} {value:.3f}" for name, value in values.items() if name.startswith("eval_"))
            self.say(f"{place}   validation: {shown}")

    def compare(self, run: Any) -> None:
        """Held-out metrics beside the free baselines, which a data worker may still be computing."""
        deadline = time.monotonic() + READING_S
        while not (run.get("baselines") or {}).get("scores") and time.monotonic() < deadline:
            time.sleep(1)
            run = self.call("GET", f"/runs/{run['id']}")
        if not (run.get("baselines") or {}).get("scores"):
            raise CommandError("The baselines did not arrive.")
        columns = {**run["baselines"]["scores"], "this model": run["metrics"]}
        metrics = TASKS[run["task"]].metrics[:4]
        self.say(f"\nOn the held-out rows ({run['baselines']['rows']} rows nobody trained on):")
        self.say("  " + " " * 14 + "".join(f"{metric.title:>17}" for metric in metrics))
        for title, scores in columns.items():
            self.say(f"  {title:<14}" + "".join(f"{m.shown(scores[m.name]) if m.name in scores else '-':>17}" for m in metrics))

    def ask(self, model: str) -> None:
        self.say("\nAsking the model:")
        for question in QUESTIONS:
            answer = self.call("POST", f"/models/{model}/predictions", json={"inputs": {"text": question}})
            label = answer["label"]
            self.say(f"  {label:>8} {answer['scores'][label]:4.0%}   {question}")


@contextmanager
def running(home: Path, say: Callable[[str], None], environment: dict[str, str] | None = None) -> Iterator[tuple[str, str]]:
    """A stack of its own in `home` on a free port, as (address, token of the first account); stopped in order at the end."""
    port = free_port()
    manage = [sys.executable, str(settings.ROOT / "manage.py")]
    own = {k: v for k, v in os.environ.items() if k not in NOT_INHERITED}
    own |= {"TUNEBENCH_HOME": str(home), "HOST": "127.0.0.1", "PORT": str(port), **(environment or {})}
    output = home / "up.log"
    with open(output, "wb") as log:
        stack = subprocess.Popen(
            [*manage, "up"],
            env=own,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=die_with(os.getpid()),
        )
    try:
        say(f"Starting a stack of its own on port {port} ...")
        deadline = time.monotonic() + START_S
        while "Sign in once" not in output.read_text():
            if stack.poll() is not None or time.monotonic() > deadline:
                raise CommandError(f"The stack did not start:\n{output.read_text()[-3000:]}")
            time.sleep(0.2)
        done = subprocess.run([*manage, "token", "--user", "owner"], env=own, capture_output=True, text=True, check=True)
        yield f"http://127.0.0.1:{port}", done.stdout.strip().splitlines()[-1]
    except (httpx2.HTTPError, subprocess.CalledProcessError) as error:
        raise CommandError(f"{error}\n{output.read_text()[-3000:]}") from error
    finally:
        stack.send_signal(signal.SIGINT)
        try:
            status = stack.wait(30)
        except subprocess.TimeoutExpired:
            stack.kill()
            status = -signal.SIGKILL
    if status:
        raise CommandError(f"The stack did not stop in order (status {status}):\n{output.read_text()[-3000:]}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
