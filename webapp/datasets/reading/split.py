"""Which row teaches and which one examines: as the file says, else by lot, the same lot for the same rows and seed."""

from __future__ import annotations

import hashlib
import unicodedata

import polars as pl

from webapp.datasets.reading import PARTS, Finding
from webapp.datasets.reading.columns import part_of


def assign(rows: pl.DataFrame, seed: int, shares: list[float]) -> tuple[pl.Series, list[Finding]]:
    """One of PARTS for each row. `rows` has key (of what must stay together, see `keyed`), label (empty for a task without), brought (what the file says, or "")."""
    brought = rows["brought"].replace_strict({value: part_of(value) for value in rows["brought"].unique()}, return_dtype=pl.String)
    given = set(brought.unique()) - {""}
    unknown = int((brought == "").sum())
    rows = rows.with_columns(brought.alias("part"))
    findings: list[Finding] = []
    if len(given) < 2:
        part, findings = drawn(rows, seed, shares)
    elif "validation" not in given and shares[1]:
        part, findings = carved(rows, seed, shares)
        text = "The file brings no validation rows, so a part of its training rows was set aside for validation."
        findings.insert(0, Finding("validation_drawn", text, "info"))
    else:
        part = pl.Series("part", rows.select(pl.when(pl.col("part") == "").then(pl.lit("train")).otherwise("part")).to_series())
    if len(given) >= 2:
        if unknown:
            text = f"{unknown:,} rows do not say which part they belong to; they are used for training."
            one = "1 row does not say which part it belongs to; it is used for training."
            findings.append(Finding("split_unknown", one if unknown == 1 else text, "warning", unknown))
        findings += leaks(rows.with_columns(part.alias("part")))
    return part, findings


def alike(text: str | None) -> int:
    """The same number for texts that differ only in capitals, blanks or Unicode form."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text or "").casefold())
    return int.from_bytes(hashlib.blake2b(" ".join(folded.split()).encode("utf-8", "surrogatepass"), digest_size=8).digest())


def keyed(rows: pl.DataFrame) -> pl.DataFrame:
    """One key for all that is `alike`: the least hash of these texts, so that a text with no likeness keeps the lot of its own hash."""
    return rows.with_columns(pl.col("key").min().over("alike")).drop("alike")


def by_question(rows: pl.DataFrame, key: str) -> tuple[pl.DataFrame, list[Finding]]:
    """Where all rows without a label share one or two keys, as an instruction for all of them, each row is drawn for itself."""
    if (rows["label"] != "").any() or rows["key"].n_unique() > 2:
        return rows, []
    text = f"Nearly all rows have the same {key}, so they were drawn one by one: held-out rows ask what training rows ask too."
    return rows.with_columns(pl.col("whole").alias("key")), [Finding("one_question", text, "warning", rows.height)]


def drawn(rows: pl.DataFrame, seed: int, shares: list[float]) -> tuple[pl.Series, list[Finding]]:
    """A stratified draw. Copies of a text stay together, and so do its other spellings (`alike`); a class with two texts is on two sides, with three on all."""
    groups = rows.group_by("key").agg(pl.col("label").min(), pl.len().alias("n"))
    groups = groups.with_columns(pl.struct("key", pl.lit(seed)).hash(seed).alias("lot")).sort("label", "lot", "key")
    groups = groups.with_columns(
        (pl.int_range(pl.len()).over("label")).alias("rank"),
        pl.len().over("label").alias("of"),
    )
    test, validation = (wanted(share, fewest) for share, fewest in ((shares[2], 2), (shares[1], 3 if shares[2] else 2)))
    groups = groups.with_columns(
        pl.when(pl.col("rank") < test)
        .then(pl.lit("test"))
        .when(pl.col("rank") < test + validation)
        .then(pl.lit("validation"))
        .otherwise(pl.lit("train"))
        .alias("drawn")
    )
    part = rows.select("key").join(groups.select("key", "drawn"), on="key", how="left", maintain_order="left")["drawn"]
    return part, lonely(rows.with_columns(part.alias("part")))


def wanted(share: float, fewest: int) -> pl.Expr:
    """How many of a class's texts a part gets: its share, at least one as soon as the class has `fewest`."""
    if not share:
        return pl.lit(0)
    rounded = (pl.col("of") * share).round().cast(pl.Int64)
    return pl.when(pl.col("of") >= fewest).then(pl.max_horizontal(rounded, pl.lit(1))).otherwise(0)


def carved(rows: pl.DataFrame, seed: int, shares: list[float]) -> tuple[pl.Series, list[Finding]]:
    """Validation rows out of the training rows; the test rows stay untouched."""
    numbered = rows.with_row_index("at")
    teaching = numbered.filter(pl.col("part") != "test")
    share = shares[1] / (shares[0] + shares[1])
    part, _ = drawn(teaching, seed, [1 - share, share, 0.0])
    chosen = pl.concat(
        [
            teaching.select("at").with_columns(part.alias("drawn")),
            numbered.filter(pl.col("part") == "test").select("at", pl.col("part").alias("drawn")),
        ]
    )
    return chosen.sort("at")["drawn"], []


def lonely(rows: pl.DataFrame) -> list[Finding]:
    """Classes that could not be put on both sides, because all their rows are one text."""
    sides = (
        rows.filter(pl.col("label") != "")
        .group_by("label")
        .agg((pl.col("part") == "train").any().alias("taught"), (pl.col("part") != "train").any().alias("held"))
    )
    alone = sides.filter(~(pl.col("taught") & pl.col("held")))["label"].sort().to_list()
    if not alone:
        return []
    names = ", ".join(f"“{name}”" for name in alone[:5]) + (" …" if len(alone) > 5 else "")
    text = f"These labels have too few different texts to be both taught and measured: {names}. Add rows or join the labels."
    return [Finding("one_sided_class", text, "warning", len(alone))]


def leaks(rows: pl.DataFrame) -> list[Finding]:
    rows = rows.with_columns(
        pl.col("part").replace_strict({part: place for place, part in enumerate(PARTS)}, return_dtype=pl.Int8).alias("place")
    )
    shared = rows.filter(pl.col("place") > pl.col("place").min().over("key")).height
    if not shared:
        return []
    held_out = "1 held-out row has" if shared == 1 else f"{shared:,} held-out rows have"
    text = f"{held_out} a text that also stands in an earlier part. Scores on {'it' if shared == 1 else 'them'} say little."
    return [Finding("leak", text, "warning", shared)]
