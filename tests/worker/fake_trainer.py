"""A small real trainer process: speaks the protocol of worker/spec.py, learns nothing. Its settings under "fake" say how
it behaves; standard library only, so that it starts in no time.

steps, step_s, every (steps between checkpoints), crash_at (and crash_by: signal or exit status), once (crash only in the
first attempt), hang_at, deaf (ignores wishes), caching (progress messages first), noise (a line that is no message),
nan_at (a value that is no number).
"""

import ctypes
import hashlib
import json
import os
import pathlib
import shutil
import signal
import struct
import sys
import threading
import time

EXIT_STOPPED = 75
wish = "run"
renewed = 0


def say(**message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def listen(deaf):
    global wish, renewed
    for line in sys.stdin:
        said = json.loads(line)
        renewed += "renew" in said
        if not deaf:
            wish = said.get("wish", wish)
    os._exit(EXIT_STOPPED)


def checkpoint(spec, step):
    folder = pathlib.Path(spec["out"]) / str(spec["fence"]) / "checkpoints" / str(step)
    folder.mkdir(parents=True, exist_ok=True)
    manifest = json.dumps({"step": step})
    (folder / "manifest.json").write_text(manifest)
    digest = hashlib.sha256(manifest.encode()).hexdigest()
    say(kind="checkpoint", step=step, path=str(folder), manifest_sha256=digest, bytes=len(manifest), best=False, metric=None)


def result(spec):
    """A folder that looks like a model: a config, a tokenizer and one tensor."""
    folder = pathlib.Path(spec["out"]) / "model"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    header = json.dumps({"weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + struct.pack("<f", 1.0))
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (folder / "tokenizer.json").write_text("{}")
    return str(folder)


def main():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    say(kind="spare")
    line = sys.stdin.readline()
    if not line.strip():
        return EXIT_STOPPED
    spec = json.loads(line)
    fake = {"steps": 20, "step_s": 0.01, "every": 5, **spec["settings"].get("fake", {})}
    threading.Thread(target=listen, args=(fake.get("deaf"),), daemon=True).start()
    first = spec["fence"] == 1
    try:
        step = json.loads((pathlib.Path(spec["resume"]) / "manifest.json").read_text())["step"] if spec["resume"] else 0
    except FileNotFoundError:
        say(kind="failed", code="checkpoint_damaged", text="A checkpoint is damaged.", remedy="The run resumes from the previous one.")
        return 46
    print("warming up", file=sys.stderr, flush=True)
    for done in range(fake.get("caching", 0)):
        say(kind="progress", what="caching", done=done + 1, total=fake["caching"])
    if fake.get("noise"):
        sys.stdout.write("this is no message\n")
    if dump := fake.get("dump"):
        pathlib.Path(dump).write_text(json.dumps({"environ": dict(os.environ), "spec": spec, "pid": os.getpid()}))
    say(kind="ready", device="cpu", steps=fake["steps"], resumed_step=step or None, pid=os.getpid(), notes=["A small one."])
    while step < fake["steps"] and wish not in ("finish",):
        if wish in ("cancel", "pause"):
            if wish == "pause":
                checkpoint(spec, step)
            say(kind="stopped", step=step, wish=wish)
            return EXIT_STOPPED
        step += 1
        time.sleep(fake["step_s"])
        values = {"loss": 1 / step, "tokens_per_s": 100.0} | ({"eval_loss": float("nan")} if step == fake.get("nan_at") else {})
        say(kind="point", step=step, epoch=step / fake["steps"], time=step * 0.1, values=values)
        if step % fake["every"] == 0:
            checkpoint(spec, step)
        if step == fake.get("crash_at") and (first or not fake.get("once")):
            how = fake.get("crash_by", -9)
            if how < 0:
                os.kill(os.getpid(), -how)
                time.sleep(5)
            say(kind="failed", code="x", text="It went wrong.", remedy="Do it better.")
            return how
        if step == fake.get("hang_at") and (first or not fake.get("once")):
            time.sleep(600)
    metrics = {"macro_f1": 0.9, "accuracy": 0.91}
    folder = result(spec)
    say(kind="done", step=step, metrics=metrics, evaluation={"labels": []}, model=folder, model_sha256="cd" * 32, bytes=100)
    return 0


if __name__ == "__main__":
    sys.exit(main())
