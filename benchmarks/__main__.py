"""`make bench`: ours beside the alternatives, as ratios measured in one run. `make bench ARGS="live"` takes one part."""

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
    "live": "one reader hub against Channels group_send, 200 viewers",
    "latency": "how long people wait, in Chromium, against the limits",
    "serving": "16 clients of the serving process against the transformers pipeline; the first piece of a written answer",
    "quality": "complete runs on 8,000 rows against the Trainer and the free baselines (20 minutes; only when named)",
}
LONG = {"quality"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"any of {', '.join(PARTS)}; without a name: all but the long one")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"there is no part called {unknown.pop()}")
    home = Path(os.environ.get("TUNEBENCH_HOME", ROOT / "var")).resolve()
    with tempfile.TemporaryDirectory(prefix="tb-bench-") as scratch:
        os.environ["TUNEBENCH_HOME"] = scratch  # never the home that people use
        rows = [row for part in options.parts or (p for p in PARTS if p not in LONG) for row in measure(part)]
    print(table(rows))
    print(f"\nWritten to {write(rows, home / 'benchmarks')}")


def measure(part: str) -> list[dict]:
    print(f"{part}: {PARTS[part]} ...", flush=True)
    return importlib.import_module(f"benchmarks.{part}").run()


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
