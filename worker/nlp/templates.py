"""Chat templates are programs that a model brings along: one may loop, or make gigabytes of text. They are rendered by
transformers as ever, but in a child that has so much time and memory and no more (`python -m worker.nlp.templates`, JSON lines)."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from worker.spec import Exit, Trouble
from worker.spec import gettext_noop as _

CPU_S = 2.0  # of a processor's time that one rendering may take; a common template takes a thousandth of it
WALL_S = 10.0  # the same by the clock, on a machine that has much else to do
START_S = 60.0  # until a new child has imported what it needs
MEMORY = 1024**3  # bytes of address space of the child, which takes 200 MB of it for itself
LEAST_CHARS = 200_000  # characters that a template may write, and four times as many as it was given
FORGIVEN_S = 600.0  # a template that broke its bounds is refused unread for so long
ROOT = Path(__file__).resolve().parent.parent.parent
ENDLESS = _("The chat template of the model does not come to an end.")
ENDLESS_TEXT = _("The chat template of the model makes far more text than it was given, or needs far more memory.")
REMEDY = _("Choose another model, or one with a chat template that lays out the messages and nothing else.")


def ids(tokenizer: Any, messages: Sequence[Mapping[str, Any]], asks: bool, **more: Any) -> list[int]:
    """The token row of a conversation in the model's own form; `asks` begins the assistant's next message. `more` goes to the
    template ("tools", say). Raises jinja2's TemplateError where the template refuses these messages, and Trouble where it
    breaks its bounds."""
    text = _renderer.render(tokenizer.get_chat_template(tools=more.get("tools")), messages, {**tokenizer.special_tokens_map, **more}, asks)
    found: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return found


class Renderer:
    """One child of this process, started when it is first needed and again when it broke its bounds."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.child: subprocess.Popen[bytes] | None = None
        self.refused: dict[str, tuple[float, Trouble]] = {}  # template -> (until when, why)
        atexit.register(self.close)

    def render(self, template: str, messages: Sequence[Mapping[str, Any]], variables: Mapping[str, Any], asks: bool) -> str:
        until, why = self.refused.get(template, (0.0, None))
        if why and time.monotonic() < until:
            raise why
        asked = {"template": template, "messages": list(messages), "variables": dict(variables), "asks": asks}
        try:
            with self.lock:
                answer = self.ask(json.dumps(asked, default=str).encode() + b"\n")
        except Trouble as trouble:
            self.refused = {name: told for name, told in self.refused.items() if told[0] > time.monotonic()}
            self.refused[template] = (time.monotonic() + FORGIVEN_S, trouble)
            raise
        if "refused" in answer:
            from jinja2 import TemplateError

            raise TemplateError(answer["refused"])
        return str(answer["text"])

    def ask(self, line: bytes) -> dict[str, Any]:
        child = self.started()
        assert child.stdin and child.stdout
        try:
            with contextlib.suppress(BrokenPipeError):  # it died of this very line: the status below says how
                child.stdin.write(line)
                child.stdin.flush()
            answer = read_line(child, WALL_S)
        except BaseException:
            self.close()
            raise
        if answer is None:
            self.close()
            raise Trouble("chat_template", ENDLESS, REMEDY)
        found: dict[str, Any] = json.loads(answer)
        if "bound" in found:
            raise Trouble("chat_template", ENDLESS_TEXT, REMEDY)
        return found

    def started(self) -> subprocess.Popen[bytes]:
        if self.child is None or self.child.poll() is not None:
            kept = {
                name: os.environ[name]
                for name in ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
                if name in os.environ
            }
            self.child = subprocess.Popen(
                [sys.executable, "-m", "worker.nlp.templates"],
                cwd=ROOT,
                env=kept | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1", "TRANSFORMERS_VERBOSITY": "error"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                process_group=0,
            )
            if read_line(self.child, START_S) is None:
                self.close()
                raise Trouble(
                    "chat_template", _("The process that lays out chats did not start."), _("Try again; the log says more."), Exit.CRASHED
                )
        return self.child

    def close(self) -> None:
        child, self.child = self.child, None
        if child:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                with contextlib.suppress(OSError):
                    if pipe:
                        pipe.close()


def read_line(child: subprocess.Popen[bytes], limit_s: float) -> bytes | None:
    """One line of the child; None when it left, or said nothing in time."""
    assert child.stdout
    deadline, found = time.monotonic() + limit_s, b""
    while not found.endswith(b"\n"):
        ready, _write, _errors = select.select([child.stdout], [], [], max(0.0, deadline - time.monotonic()))
        piece = os.read(child.stdout.fileno(), 2**20) if ready else b""
        if not piece:
            return None
        found += piece
    return found


_renderer = Renderer()


# --- the child ------------------------------------------------------------------------------------------------------------
def main() -> None:
    import ctypes
    import resource
    import signal

    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: no endless template outlives whoever asked
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    from transformers.utils.chat_template_utils import render_jinja_template

    for what, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(what, (most, most))
    print("{}", file=out, flush=True)
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, CPU_S)  # what is not done by then is ended by the kernel, whatever it is doing
        answer = rendered(render_jinja_template, line)
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(answer), file=out, flush=True)


def rendered(render: Any, line: str) -> dict[str, Any]:
    asked = json.loads(line)
    try:
        found, _indices = render(
            [asked["messages"]], chat_template=asked["template"], add_generation_prompt=asked["asks"], **asked["variables"]
        )
        return {"bound": True} if len(found[0]) > LEAST_CHARS + 4 * len(line) else {"text": found[0]}
    except (MemoryError, RecursionError):
        return {"bound": True}
    except Exception as problem:  # of jinja2, or of whatever the template calls
        return {"refused": f"{type(problem).__name__}: {problem}"[:500]}


if __name__ == "__main__":
    main()
