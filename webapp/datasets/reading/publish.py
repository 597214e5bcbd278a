"""The verb "publish": staged rows to the Parquet file of a version, the same bytes for the same rows and choices."""

from __future__ import annotations

import csv
import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from webapp.datasets.reading import GROUP_BYTES, MOST_PROBLEMS, PARTS, SPLIT, Limits, Problem, Published, ReadingError, templates
from webapp.datasets.reading import findings as findings_of
from webapp.datasets.reading import roles as roles_of
from webapp.datasets.reading import split as splits_of
from webapp.datasets.reading.several import Several
from webapp.datasets.reading.staging import SAMPLED, Progress, rows_in, shared_columns, write
from webapp.spreadsheet import Sheet
from worker.nlp import KINDS, Task
from worker.nlp.languages import LOOKED_AT, languages_of

SLICES = 10  # row groups in memory at a time
Staged = tuple[dict[str, str], pl.LazyFrame]  # {"part", "path", "file"} and its rows


def publish(job: dict[str, Any], limits: Limits, progress: Progress) -> dict[str, Any]:
    task, mapping = KINDS[job["task"]], dict(job["mapping"])
    out = Path(job["out"])
    out.mkdir(parents=True, exist_ok=True)
    staged = [(item, pl.scan_parquet(item["path"], glob=False)) for item in job["staged"]]
    shared = shared_columns([rows for _, rows in staged])
    staged = [(item, rows.select(shared)) for item, rows in staged]
    columns = [name for name in shared if name != "_row"]
    check_mapping(mapping, columns, task)
    staged = [(item, templates.with_made(rows, mapping)) for item, rows in staged]
    label, several, how = roles_of.label_of(task, mapping), None, job.get("several_labels") or ""
    if label and (several := Several.find(pl.concat([rows for _, rows in staged]), mapping[label.name])):
        several.refuse(how)
        staged = [(part, several.applied(rows, how)) for part, rows in staged]
    known = [
        p if isinstance(p, Problem) else Problem(**p)
        for p in job.get("problems") or []
        if (p["level"] if isinstance(p, dict) else p.level) == "error"
    ]
    judge = Judge(task, mapping, job.get("labels") or {}, job.get("kept") or [], out / "rejected.csv", known, progress)
    group = rows_in(GROUP_BYTES, staged[0][1].head(SAMPLED).collect(engine="streaming"))
    judged = judge.all(staged, [Path(item["path"]) for item in job["staged"]], group)
    good = judged.filter("good")
    if judge.rejected and not job.get("accept_rejected"):
        first = judge.problems[0]
        rows = "1 row" if judge.rejected == 1 else f"{judge.rejected:,} rows"
        text = f"{rows} cannot be used and would be left out. Confirm that first. The first problem: {first.message}"
        raise ReadingError("rejected_rows", text, file=first.file or None, row=first.row, column=first.column or None)
    labels = dict(good.group_by("label").len().sort("label").iter_rows()) if judge.label else {}
    refuse(task.dataset_problems(good.height, labels, {}), mapping)
    good, about_key = splits_of.by_question(good, judge.key_label)
    part, findings = splits_of.assign(good, int(job.get("seed", 13)), list(job.get("shares") or (0.8, 0.1, 0.1)))
    sizes = dict(part.value_counts().iter_rows())
    splits = {name: sizes.get(name, 0) for name in PARTS}
    found = task.dataset_problems(good.height, labels, splits)
    refuse(found, mapping)
    findings += about_key + [findings_of.named(p, mapping) for p in found]
    placed = judged.with_row_index("at").join(good_places(judged, part), on="at", how="left", maintain_order="left")["part"]
    path = out / "version.parquet"
    names = {name: f"x_{name}" for name in columns if name not in mapping.values()}
    roles = {mapping[role.name]: role.name for role in roles_of.mapped(task, mapping)}
    write_version(staged, placed, judge, roles, names, path, progress, group)
    progress("looking", 0, 1)
    looked = findings_of.look(pl.scan_parquet(path, glob=False), {role: role for role in roles.values()}, task, progress)
    noticed = several.without_conflicts(looked.findings, how) if several and several.rows else looked.findings
    return Published(
        path=str(path),
        sha256=sha256(path),
        rows=good.height,
        rejected=judge.rejected,
        rejected_path=str(judge.path) if judge.rejected else "",
        splits=splits,
        labels=[{"name": name, "rows": labels[name]} for name in sorted(labels, key=class_order)],
        statistics=looked.statistics | {"languages": languages_in(pl.scan_parquet(path, glob=False), judge.key)},
        problems=judge.problems,
        findings=list({f.code: f for f in (*(f for f in noticed if not f.asks), *findings)}.values()),
    ).to_json()


def languages_in(rows: pl.LazyFrame, role: str) -> dict[str, float]:
    """The share of each language among texts from everywhere in the version."""
    every = max(1, rows.select(pl.len()).collect().item() // LOOKED_AT)
    return languages_of(rows.select(pl.col(role).gather_every(every)).head(LOOKED_AT).collect(engine="streaming")[role])


def check_mapping(mapping: dict[str, str], columns: list[str], task: Task) -> None:
    known = {role.name: role.label for role in task.roles} | {SPLIT: "Split"}
    for name, column in mapping.items():
        if name not in known:
            raise ReadingError("no_such_role", f"{task.title} knows no role called {name}.", column=column)
        if templates.is_template(column, columns):
            if wrong := templates.problem(column, columns):
                raise ReadingError("bad_template", wrong, column=name)
        elif column not in columns:
            raise ReadingError(
                "missing_column", f"There is no column called {column}. There are: {', '.join(columns[:20])}.", column=column
            )
    for name, times in Counter(mapping.values()).items():
        if times > 1:
            raise ReadingError("column_twice", f"The column {name} was chosen for two roles. Choose two different columns.", column=name)
    for role in task.lacking(mapping):
        raise ReadingError("missing_column", f"Choose the column for: {role.label}.", column=role.name)


def refuse(problems: list[dict[str, str]], mapping: dict[str, str]) -> None:
    for finding in (findings_of.named(problem, mapping) for problem in problems):
        if finding.level == "error":
            raise ReadingError(finding.code, finding.message, column=finding.column or None)


def class_order(name: str) -> tuple[int, float, str]:
    """Numbers by size, then words by letter."""
    number = re.fullmatch(r"[-+]?\d+(\.\d+)?", name)
    return (0, float(name), name) if number else (1, 0.0, name)


class Judge:
    """Looks at every staged row once: its label after joining, and whether the task can use it."""

    def __init__(
        self,
        task: Task,
        mapping: dict[str, str],
        joins: dict[str, str],
        kept: list[str],
        path: Path,
        problems: list[Problem],
        progress: Progress,
    ) -> None:
        self.task, self.mapping, self.path, self.progress = task, mapping, path, progress
        self.joins = {key.strip(): value.strip() for key, value in joins.items()}
        self.kept = {*kept, *(label for label, to in self.joins.items() if label == to)}
        self.problems, self.rejected = problems[:MOST_PROBLEMS], 0
        key = roles_of.key_of(task, mapping)
        self.label, self.key, self.key_label = roles_of.label_of(task, mapping), key.name, key.label.lower()

    def all(self, staged: list[Staged], paths: list[Path], group: int) -> pl.DataFrame:
        """key, whole, label, brought, good: one small row for each staged one, in order."""
        with self.path.open("w", newline="", encoding="utf-8") as file:
            writer = Sheet(file)
            writer.writerow(["row", "file", "reason", *staged[0][1].collect_schema().names()[1:]])
            self._earlier(writer, paths)
            frames = [self._slice(item, rows, writer) for item, rows in slices(staged, self.progress, group)]
        if not self.rejected:
            self.path.unlink()
        return splits_of.keyed(pl.concat(frames))

    def _earlier(self, writer: Any, paths: list[Path]) -> None:
        """Rows that the reading could not even take apart come first."""
        for path in paths:
            rejects = path.with_name(path.stem.replace("staged-", "rejected-") + ".csv")
            if rejects.exists():
                with rejects.open(newline="", encoding="utf-8") as before:
                    for row in csv.reader(before):
                        writer.writerow(row)
                        self.rejected += 1
                        if len(self.problems) < self.rejected <= MOST_PROBLEMS:
                            self.problems.append(Problem(int(row[0]), "rejected", row[2], file=row[1]))

    def _slice(self, item: dict[str, str], rows: pl.DataFrame, writer: Any) -> pl.DataFrame:
        roles, part = roles_of.mapped(self.task, self.mapping), item["part"]
        mapped = rows.select("_row", *(pl.col(self.mapping[role.name]).alias(role.name) for role in roles))
        if self.label:
            mapped = mapped.with_columns(self.joined(pl.col(self.label.name)).alias(self.label.name))
        good, alike = [], []
        for at, row in enumerate(mapped.iter_rows(named=True)):
            wrong = findings_of.wrong_with(self.task, row, self.label, self.kept)
            good.append(not wrong)
            alike.append(splits_of.alike(row[self.key]))
            if wrong:
                self._reject(item.get("file") or part, row, wrong, rows.row(at)[1:], writer)
        brought = pl.lit(part) if part in PARTS else pl.col(self.mapping[SPLIT]) if SPLIT in self.mapping else pl.lit("")
        label = mapped[self.label.name] if self.label else pl.Series([""]).new_from_index(0, rows.height)
        return rows.select(
            pl.col(self.mapping[self.key]).hash(13).alias("key"),
            pl.struct(self.mapping[role.name] for role in roles).hash(13).alias("whole"),
            pl.Series("alike", alike, pl.UInt64),
            label.alias("label"),
            brought.alias("brought"),
            pl.Series("good", good, pl.Boolean),
        )

    def joined(self, label: pl.Expr) -> pl.Expr:
        """The label as it is kept: without blanks around it, and joined to another if the person said so."""
        bare = label.str.strip_chars()
        return bare.replace(self.joins) if self.joins else bare

    def _reject(self, file: str, row: dict[str, Any], wrong: list[tuple[str, str]], cells: tuple[str, ...], writer: Any) -> None:
        self.rejected += 1
        writer.writerow([row["_row"], file, " ".join(sentence for _, sentence in wrong), *cells])
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(findings_of.refusal(row, wrong, self.mapping, file, "error"))


def slices(staged: list[Staged], progress: Progress, group: int) -> Iterator[tuple[dict[str, str], pl.DataFrame]]:
    for number, (item, lazy) in enumerate(staged):
        for frame in lazy.collect_batches(chunk_size=SLICES * group, maintain_order=True):
            progress("checking", number, len(staged))
            yield item, frame


def good_places(judged: pl.DataFrame, part: pl.Series) -> pl.DataFrame:
    places = judged.with_row_index("at").filter("good").select("at")
    return places.with_columns(part.alias("part"))


def write_version(
    staged: list[Staged],
    placed: pl.Series,
    judge: Judge,
    roles: dict[str, str],
    others: dict[str, str],
    path: Path,
    progress: Progress,
    group: int,
) -> None:
    """One pass over the staged rows for each part, so that memory holds a slice and the file is sorted by part and row."""
    columns = ["_split", *roles.values(), *others.values()]
    label = judge.label.name if judge.label else ""

    def parts() -> Iterator[pl.DataFrame]:
        for wanted in PARTS:
            at = 0
            for _, frame in slices(staged, lambda *_: None, group):
                here = placed.slice(at, frame.height)
                at += frame.height
                progress("writing", PARTS.index(wanted) * placed.len() + at, len(PARTS) * placed.len())
                chosen = (
                    frame.filter((here == wanted).fill_null(False)).rename({**roles, **others}).with_columns(pl.lit(wanted).alias("_split"))
                )
                if label:
                    chosen = chosen.with_columns(judge.joined(pl.col(label)).alias(label))
                if chosen.height:
                    kept = [judge.task.kept(row) for row in chosen.select(roles.values()).iter_rows(named=True)]
                    yield chosen.with_columns(pl.DataFrame(kept, schema=dict.fromkeys(roles.values(), pl.String)))

    write(whole_groups(parts(), group), columns, path, group)


def whole_groups(frames: Iterator[pl.DataFrame], group: int) -> Iterator[pl.DataFrame]:
    """The same rows in frames of exactly `group`, however they came, so that the file does not depend on slicing."""
    held: list[pl.DataFrame] = []
    height = 0
    for frame in frames:
        held.append(frame)
        height += frame.height
        if height >= group:
            whole = pl.concat(held)
            cut = height - height % group
            for at in range(0, cut, group):
                yield whole.slice(at, group)
            held, height = [whole.slice(cut)], height - cut
    if height:
        yield pl.concat(held)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
