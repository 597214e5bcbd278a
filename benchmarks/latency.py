"""How long people wait: the real stack, the real Chromium, one machine. Limits stand where another bench has a rival.

- click on Fine-tune to the first point (Quick: to its first caching progress) in the browser, median of 5, a warm spare
  waiting each time;
- a point, from the trainer's write to its drawing in Chromium, 95th percentile. The trainer's writes are read off its
  /proc/<pid>/io every 2 ms and matched to the points by their spacing;
- a prediction of a warm model through the API, median of 200, and the 95th percentile of as many while a run trains;
- memory of the web process after a visit to every page, and whether it ever loaded torch.
"""

from __future__ import annotations

import json
import logging
import os
import re
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx2
import psutil

from benchmarks.training import SAMPLES, SHARED

CLICKS, QUESTIONS, STEPS = 5, 200, 60
PAGES = ("/", "/datasets/", "/runs/", "/runs/new/", "/models/", "/playground/", "/workers/", "/team/", "/account/", "/api/v1/docs")


class Bench:
    def __init__(self, base: str, token: str, browser: Any, link: str) -> None:
        self.base = base
        self.api = httpx2.Client(base_url=f"{base}/api/v1", headers={"Authorization": f"Bearer {token}"}, timeout=120)
        self.context = browser.new_context(base_url=base, viewport={"width": 1440, "height": 900})
        self.page = self.context.new_page()
        self.page.goto(link)

    def get(self, path: str) -> Any:
        return self.api.get(path).raise_for_status().json()

    def until(self, path: str, states: set[str], limit_s: float = 300) -> Any:
        deadline = time.monotonic() + limit_s
        while (found := self.get(path))["state"] not in states:
            assert time.monotonic() < deadline, f"{path} was {found['state']} after {limit_s:.0f} s: {found.get('reason')}"
            time.sleep(0.1)
        return found

    def upload(self) -> Any:
        """800 rows: enough steps to watch, few enough to end."""
        source = SHARED if SHARED.is_file() else SAMPLES
        text = "".join(source.read_text("utf-8").splitlines(keepends=True)[:801])
        begun = self.api.post("/datasets", files={"file": ("rows.csv", text.encode(), "text/csv")}, data={"name": "Rows"})
        return self.until(f"/datasets/{begun.raise_for_status().json()['id']}", {"ready"})["versions"][0]["id"]

    def spare_waits(self) -> None:
        """Until a trainer has imported everything and sleeps."""
        quiet = 0
        while quiet < 5:
            trainers = trainer_processes()
            time.sleep(0.3)
            quiet = quiet + 1 if len(trainers) == 1 and trainers[0].cpu_percent(0.2) < 2 else 0

    def click(self, version: str, method: str, sought: str) -> tuple[float, str]:
        """(seconds from the click to the first message of the sought kind, the run's id)."""
        self.spare_waits()
        self.page.goto(f"/runs/new/?version={version}")
        self.page.check(f"input[name=method][value={method}]")
        heard: list[float] = []

        def frame(data: str | bytes) -> None:
            message = json.loads(data) if isinstance(data, str) else {}
            has_point = message.get("type") == "points" and any("loss" in p["values"] for p in message["points"])
            has_progress = message.get("type") == "state" and bool(message.get("progress"))
            if has_point or (sought == "progress" and has_progress):
                heard.append(time.monotonic())

        def listen(socket: Any) -> None:
            socket.on("framereceived", frame)

        self.page.on("websocket", listen)
        began = time.monotonic()
        self.page.get_by_role("button", name="Fine-tune").click(no_wait_after=True)
        while not heard:
            assert time.monotonic() < began + 60, "no point in 60 s"
            self.page.wait_for_timeout(10)
        self.page.remove_listener("websocket", listen)
        self.page.wait_for_url(re.compile(r"/runs/[0-9a-f-]{36}/"))
        return heard[0] - began, self.page.url.rstrip("/").rsplit("/", 1)[1]

    def cancel(self, run: str) -> None:
        self.api.post(f"/runs/{run}/cancellation")
        self.until(f"/runs/{run}", {"cancelled", "succeeded"})


def trainer_processes() -> list[psutil.Process]:
    return [p for p in psutil.Process().children(recursive=True) if "worker.trainer" in " ".join(p.cmdline())]


def first_points(bench: Bench, version: str) -> list[dict[str, Any]]:
    found = []
    for method, sought, what in (
        ("full", "point", "first point"),
        ("lora", "point", "first point"),
        ("quick", "progress", "caching progress"),
    ):
        seconds = []
        for _ in range(CLICKS):
            took, run = bench.click(version, method, sought)
            seconds.append(took)
            bench.cancel(run)
        print(f"  {method}: {', '.join(f'{s:.2f}' for s in seconds)} s", flush=True)
        found.append(limited(f"click to {what}, {method}", statistics.median(seconds), 3.0, "s"))
    return found


def drawn_points(bench: Bench, version: str) -> list[dict[str, Any]]:
    """Also leaves a finished run behind, whose model is asked afterwards."""
    bench.spare_waits()
    (trainer,) = trainer_processes()
    writes, stop = [], threading.Event()

    def watch() -> None:
        before = trainer.io_counters().write_count
        while not stop.is_set():
            try:
                count = trainer.io_counters().write_count
            except psutil.Error:
                return
            if count != before:
                writes.append(time.time())
                before = count
            time.sleep(0.002)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    _, run = bench.click(version, "full", "point")
    drawn: dict[int, float] = bench.page.evaluate(
        """(count) => new Promise(done => {
          const seen = {}
          document.querySelector("loss-chart").addEventListener("drawn", event => {
            const { step, at } = event.detail
            if (step && !(step in seen)) seen[step] = at / 1000
            if (Object.keys(seen).length >= count) done(seen)
          })
        })""",
        STEPS,
    )
    stop.set()
    bench.until(f"/runs/{run}", {"succeeded"}, 900)
    times = {}
    cursor = ""
    while True:
        part = bench.get(f"/runs/{run}/points?after={cursor}")
        times |= {str(p["step"]): p["time"] for p in part["points"] if "loss" in p["values"]}
        if not part["points"]:
            break
        cursor = part["next"]
    steps = [s for s in drawn if s in times]
    rough = min(drawn[s] - times[s] for s in steps)  # the trainer's clock, known to a frame's length
    nearest = [min(writes, key=lambda w, s=s: abs(w - times[s] - rough)) - times[s] for s in steps]
    offset = statistics.median(nearest)
    delays = sorted(1000 * (drawn[s] - times[s] - offset) for s in steps)
    print(f"  written to drawn, {len(delays)} points: median {statistics.median(delays):.0f} ms, most {delays[-1]:.0f} ms", flush=True)
    return [limited("point written to drawn, 95th percentile", delays[int(0.95 * (len(delays) - 1))], 500, "ms"), {"run": run}]


def answers(bench: Bench, version: str, run: str) -> list[dict[str, Any]]:
    """Alone, and while another run trains on the same machine."""
    model = bench.get(f"/runs/{run}")["model"]
    alone, _late = asked(bench, model, "alone")
    other = bench.api.post("/runs", json={"version": version, "settings": {"epochs": 100}}).raise_for_status().json()["id"]
    bench.until(f"/runs/{other}", {"running"})
    _median, late = asked(bench, model, "while a run trains")
    assert bench.get(f"/runs/{other}")["state"] == "running"
    bench.cancel(other)
    return [
        limited("prediction of a warm model through the API, median", alone, 60, "ms"),
        limited("the same while a run trains, 95th percentile", late, 300, "ms"),
    ]


def asked(bench: Bench, model: str, when: str) -> tuple[float, float]:
    """(median, 95th percentile) in ms of texts asked one after the other."""
    texts = [line.rsplit(",", 2)[0] for line in SAMPLES.read_text("utf-8").splitlines()[1 : QUESTIONS + 1]]
    ask = lambda text: bench.api.post(f"/models/{model}/predictions", json={"inputs": {"text": text}}).raise_for_status()  # noqa: E731
    for text in texts[:10]:
        ask(text)
    took = []
    for text in texts:
        began = time.perf_counter()
        ask(text)
        took.append(1000 * (time.perf_counter() - began))
    late = sorted(took)[int(0.95 * len(took))]
    print(f"  answers {when}: median {statistics.median(took):.0f} ms, 95th percentile {late:.0f} ms", flush=True)
    return statistics.median(took), late


def web_memory(bench: Bench, version: str, run: str) -> list[dict[str, Any]]:
    detail = bench.get(f"/versions/{version}")
    for path in (*PAGES, f"/datasets/{detail.get('dataset', '')}/", f"/runs/{run}/", f"/models/{bench.get(f'/runs/{run}')['model']}/"):
        bench.page.goto(path)
        bench.page.wait_for_load_state()
    (web,) = [p for p in psutil.Process().children(recursive=True) if "uvicorn" in " ".join(p.cmdline())]
    assert "libtorch" not in Path(f"/proc/{web.pid}/maps").read_text(), "the web process loaded torch"
    return [limited("web process after a visit to every page, without torch", web.memory_info().rss / 1e6, 200, "MB")]


def limited(name: str, measured: float, limit: float, unit: str) -> dict[str, Any]:
    """A figure beside its limit, in the columns of the other benches: above 1x is better than asked."""
    return {"name": name, "ours": measured, "theirs": limit, "unit": f"{unit} (limit)", "ratio": limit / measured}


def run() -> list[dict[str, Any]]:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
    import django

    django.setup()
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # a line a request would drown the figures
    from tests.browser.chromium import chromium
    from webapp.home.management.commands.demo import running

    with tempfile.TemporaryDirectory(prefix="tb-latency-") as home:
        with running(Path(home), print) as (base, token), chromium() as browser:
            link = re.search(r"http\S+/sign-in/\S+", (Path(home) / "up.log").read_text())
            assert link
            bench = Bench(base, token, browser, link.group())
            version = bench.upload()
            found = first_points(bench, version)
            drawn, last = drawn_points(bench, version)
            return [*found, drawn, *answers(bench, version, last["run"]), *web_memory(bench, version, last["run"])]
