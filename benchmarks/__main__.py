"""`make bench`: ours beside the alternatives, as ratios measured in one run. `make bench ARGS="live"` takes one part.

What follows a part is its own: `make bench ARGS="quality translation summarization"`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PARTS = {
    "training": "Full against the transformers Trainer on 512 rows, three interleaved rounds",
    "writing": "translation and generation against Seq2SeqTrainer and Trainer, three interleaved rounds",
    "live": "one reader hub against Channels group_send, 200 viewers",
    "latency": "how long people wait, in Chromium, against the limits",
    "serving": "16 clients of the serving process against the transformers pipeline; the first piece of a written answer",
    "quality": "complete runs of each task against the Trainer and the free baselines (an hour; only when named)",
    "multilingual": "Chinese rows on both packaged bases beside the free baselines (two hours; only when named)",
}
LONG = {"quality", "multilingual"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"any of {', '.join(PARTS)}; without a name: all but the long ones")
    options = parser.parse_args()
    wanted: dict[str, list[str]] = {}
    for word in options.parts or (part for part in PARTS if part not in LONG):
        if word in PARTS:
            wanted[word] = []
        elif wanted and next(reversed(wanted)) in LONG:
            wanted[next(reversed(wanted))].append(word)
        else:
            parser.error(f"there is no part called {word}")
    home = Path(os.environ.get("TUNEBENCH_HOME", ROOT / "var")).resolve()
    with tempfile.TemporaryDirectory(prefix="tb-bench-") as scratch:
        os.environ["TUNEBENCH_HOME"] = scratch  # never the home that people use
        rows = [row for part, names in wanted.items() for row in measure(part, names)]
    print(table(rows))
    print(f"\nWritten to {write(rows, home / 'benchmarks')}")


def measure(part: str, names: list[str]) -> list[dict]:
    print(f"{part}: {PARTS[part]} ...", flush=True)
    return importlib.import_module(f"benchmarks.{part}").run(*names)


def table(rows: list[dict]) -> str:
    width = max((len(r["name"]) for r in rows), default=0)
    lines = [f"{'':<{width}}{'ours':>10}{'theirs':>10}  {'unit':<12}{'ratio':>8}"]
    lines += [f"{r['name']:<{width}}{r['ours']:>10.4g}{r['theirs']:>10.4g}  {r['unit']:<12}{r['ratio']:>7.2f}x" for r in rows]
    return "\n".join(lines)


def write(rows: list[dict], folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{datetime.now(UTC):%Y-%m-%d-%H%M%S}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


if __name__ == "__main__":
    main()
