"""The playground on a desk: the pages as Django draws them, and a server that answers in the shape of every view."""

import json
import mimetypes
import pathlib
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from django.contrib.staticfiles import finders
from django.test import Client

from webapp.catalog.models import ModelVersion
from worker.nlp import Task
from worker.spec import Field, Metric, Setting

DOCUMENT = "😀 The harbour was quiet. Boats came in at dawn. Nobody spoke of the storm. By noon the market was full."
PASSAGE = "The bridge was opened in 1932 by the mayor. " * 20 + "It was closed in 1987, after the flood. " + "People still miss it. " * 20
GREETING = "Good morning, everyone."


def toy(view, inputs, parameters=(), streams=False):
    """A task that has only words: enough for a page."""
    words = {
        "slug": f"toy_{view}",
        "title": view.capitalize(),
        "about": "A task of the tests.",
        "roles": (),
        "inputs": inputs,
        "parameters": parameters,
        "settings": (),
        "methods": (),
        "metrics": (Metric("score", "Score", "How good."),),
        "primary_metric": "score",
        "answer_view": view,
        "streams": streams,
        "example_file": "text,label\nA,b\n",
    }
    return type(view.capitalize(), (Task,), words)()


BEAMS = Setting("beams", "Beams", 4, "How many versions are followed at a time.", "", "int", 1, 8)
PENALTY = Setting("length_penalty", "Length penalty", 1.0, "Above 1 favours longer answers.", least=0, most=3, needs=("beams", 2))
DIRECTION = Setting(
    "direction", "Direction", "forward", "Back: the other way.", kind="choice", choices=(("forward", "As trained"), ("back", "Back"))
)
SAMPLING = (
    Setting("temperature", "Temperature", 0.8, "Higher is more surprising; 0 takes the likeliest token each time.", least=0, most=2),
    Setting("top_p", "Top p", 0.95, "Only the likeliest tokens that make up this share.", least=0, most=1),
    Setting("max_tokens", "Longest answer", 128, "The answer ends after this many tokens.", "tokens", "int", 1, 1024),
    Setting("seed", "Seed", 0, "The same seed gives the same text.", "", "int", 0, 2**31 - 1),
    Setting("stop", "Stop at", "", "The text ends before this.", kind="text", most=100),
    Setting("echo", "Say the prompt again", False, "The prompt stands before the text.", kind="bool"),
)
TASKS = {
    task.slug: task
    for task in (
        toy("translation", (Field("source", "Text", True, 10_000),), (BEAMS, PENALTY, DIRECTION)),
        toy(
            "summary",
            (Field("document", "Document", True),),
            (Setting("sentences", "Sentences", 2, "So many are chosen.", "", "int", 1, 20),),
        ),
        toy(
            "span",
            (Field("question", "Question", False, 1000), Field("context", "Passage", True)),
            (Setting("n_best", "Answers", 3, "So many.", "", "int", 1, 20),),
        ),
        toy("stream", (Field("prompt", "Prompt", True, 20_000),), SAMPLING, streams=True),
        toy("text", (Field("text", "Text", True), Field("pair", "Second text", True, required=False))),
    )
}
TOKENS = [("Once", 0.9), (" upon", 0.99), (" a", 0.98), (" time", 0.97), (" a", 0.2), (" fox", 0.05), (".\n", 0.6)]
STORY = "".join(text for text, _p in TOKENS)


def place(text, part):
    return {"start": (start := text.index(part)), "end": start + len(part)}


ANSWERS = {
    "toy_translation": {"text": "大家早上好。", "n_best": [{"text": "大家早上好。", "score": 0.81}, {"text": "各位早安。", "score": 0.64}], "source_lang": "en", "target_lang": "zh", "tokens_in": 5, "tokens_out": 6, "cut": 0},
    "toy_summary": {"text": "Boats came in at dawn. By noon the market was full.", "sentences": [place(DOCUMENT, "Boats came in at dawn.") | {"score": 0.9}, place(DOCUMENT, "By noon the market was full.") | {"score": 0.7}], "ratio": 0.5, "tokens_in": 30, "tokens_out": 12, "cut": 120},
    "toy_span": {"answer": "1987", **place(PASSAGE, "1987"), "score": 0.88, "no_answer": False, "no_answer_score": 0.05, "windows": 3, "cut": 0, "n_best": [{"answer": "1987", **place(PASSAGE, "1987"), "score": 0.88}, {"answer": "after the flood", **place(PASSAGE, "after the flood"), "score": 0.07}]},
    "toy_stream": {"text": STORY, "tokens": [{"text": text, "p": p, "top": [[text, p], [" the", (1 - p) / 2]]} for text, p in TOKENS], "finish": "length", "tokens_in": 4, "tokens_out": len(TOKENS), "first_ms": 42.0, "tokens_per_s": 61.5, "cut": 0},
    "toy_text": {"text": "An answer.", "cut": 0},
}  # fmt: skip
NOTHING = {
    "answer": "",
    "start": 0,
    "end": 0,
    "score": 0.1,
    "no_answer": True,
    "no_answer_score": 0.9,
    "n_best": [],
    "windows": 1,
    "cut": 0,
}


class Desk:
    """`answers[model name]`, or the usual one of its task; `pause_s` between the pieces of a stream; `asked` keeps the questions."""

    def __init__(self, user):
        self.client, self.asked, self.answers, self.pause_s, self.left = Client(), [], {}, 0.01, threading.Event()
        self.client.force_login(user)

    def __enter__(self):
        desk = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                desk.page(self)

            def do_POST(self):
                desk.answer(self)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()

    def page(self, request):
        path = request.path.partition("?")[0]
        if path.startswith("/static/"):
            file = finders.find(path.removeprefix("/static/"))
            body, kind, status = (pathlib.Path(file).read_bytes(), mimetypes.guess_type(path)[0], 200) if file else (b"", "text/plain", 404)
            headers = {}
        else:
            answer = self.client.get(request.path, headers={"host": "localhost"})
            body, kind, status = answer.content, answer.headers["Content-Type"], answer.status_code
            headers = {name: answer.headers[name] for name in ("Content-Security-Policy",) if name in answer.headers}
        request.send_response(status)
        for name, value in (headers | {"Content-Type": kind, "Content-Length": str(len(body))}).items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)

    def answer(self, request):
        question = json.loads(request.rfile.read(int(request.headers["Content-Length"])))
        model = ModelVersion.objects.get(pk=request.path.split("/")[-2])
        self.asked.append((model.name, question))
        answer = self.answers.get(model.name) or ANSWERS[model.task]
        request.send_response(200)
        request.send_header("Content-Type", "text/event-stream")
        request.end_headers()
        try:
            self.say(request, "loading", {"expected_s": 3})
            for token in answer.get("tokens", ()):
                time.sleep(self.pause_s)
                self.say(request, "piece", {"text": token["text"], "tokens": [token]})
            self.say(request, "answer", {"id": "x", **answer, "latency_ms": 18.4})
        except OSError:
            self.left.set()  # the page does not listen any more

    def say(self, request, event, data):
        request.wfile.write(f"event: {event}\ndata: {json.dumps(data)}\n\n".encode())
        request.wfile.flush()


def models(team, home):
    """A model of each toy task with its base, and rows to try it with."""
    examples = {
        "toy_translation": {"source": GREETING},
        "toy_summary": {"document": DOCUMENT},
        "toy_span": {"question": "When was it closed?", "context": PASSAGE},
        "toy_stream": {"prompt": "Tell me a story."},
        "toy_text": {"text": "Anything."},
    }
    known = {"toy_translation": {"source_lang": "en", "target_lang": "zh", "both_ways": True}, "toy_text": {"inputs": ["text", "pair"]}}
    made = {}
    for slug in TASKS:
        base = ModelVersion.objects.create(name=f"{slug} base", kind="folder", team=team, folder=str(home / "none"))
        for name in (slug, f"{slug} other"):
            folder = home / name
            folder.mkdir()
            (folder / "tunebench.json").write_text(json.dumps({"examples": [examples[slug]]}))
            (folder / "config.json").write_text(json.dumps({"tunebench": known.get(slug, {})}))
            more = {"parent": base, "bytes": 91_000_000, "metrics": {"score": 0.61}}
            made[name] = ModelVersion.objects.create(name=name, kind="run", team=team, folder=str(folder), task=slug, **more)
    return made
