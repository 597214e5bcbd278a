"""Long documents by the hundred megabyte, through the real child with its real limits, to a page of their rows.

LONG_MB=512 python -m pytest -n0 -s tests/datasets/test_long_documents.py -k "26000 and csv"        the same at full length, and of other kinds
"""

import os
import random
import resource
import time

import polars as pl
import pytest

from tests.datasets.cast import labour
from tests.datasets.files import WORDS
from webapp.datasets.models import Dataset, Upload
from webapp.datasets.reading import MIB, Limits
from webapp.people.access import actor_of

MB = int(os.environ.get("LONG_MB", "24"))
ENDINGS = ["csv", "jsonl", "parquet"] if "LONG_MB" in os.environ else ["csv"]


def documents(chars, seed=7):
    """Distinct documents of so many characters, with a summary of each, MB megabytes of them together."""
    chance = random.Random(seed)
    common = [f"{word}{end}" for word in WORDS for end in ("", ",", "s", ".", "ing")]
    for number in range(MB * MIB // chars):
        words = [f"Report {number}:", *chance.choices(common, k=chars // 5)]
        yield " ".join(words)[:chars], f"About report {number} and what came of it."


def written(path, chars):
    if path.suffix == ".parquet":
        pl.DataFrame(list(documents(chars)), schema=["document", "summary"], orient="row").write_parquet(path)
        return
    with path.open("w") as file:
        file.write("document,summary\n" if path.suffix == ".csv" else "")
        for document, summary in documents(chars):
            as_json = f'{{"document": "{document}", "summary": "{summary}"}}\n'
            file.write(f'"{document}","{summary}"\n' if path.suffix == ".csv" else as_json)


@pytest.mark.timeout(120 + 4 * MB)
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("chars", [26_000, 900_000])
def test_long_documents_become_a_version_and_a_page_within_the_limits(alice, signed_in, tmp_path, chars, ending):
    path, actor, took = tmp_path / f"long.{ending}", actor_of(alice), {}
    written(path, chars)
    with path.open("rb") as file:
        dataset = Dataset.start(actor, "", "summarization", {"file": Upload.take(actor, path.name, file, path.stat().st_size)})
    size = path.stat().st_size / MIB
    path.unlink()

    def timed(name, act):
        began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        act()
        took[name] = round(time.monotonic() - began, 1), round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before, 1)
        dataset.refresh_from_db()

    timed("read", labour)
    assert dataset.state in ("ready", "needs_mapping"), dataset.reason
    if dataset.state == "needs_mapping":
        reading = dataset.latest_import
        reading.confirm(actor, reading.mapping, accept_rejected=True)
        timed("publish", labour)
    assert dataset.state == "ready", dataset.reason
    timed("baselines", lambda: labour("baselines"))
    version = dataset.latest_version
    assert version.rows == MB * MIB // chars and version.rejected == 0
    page = signed_in(alice).get(f"/datasets/{dataset.pk}/")
    assert page.status_code == 200 and "Report 0:" in page.content.decode()
    rows = signed_in(alice).get(f"/api/v1/versions/{version.pk}/rows?limit=5&q=report+{version.rows - 1}:")
    assert rows.status_code == 200
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024  # of the largest child so far
    print(f"\n{ending}, {version.rows} rows of {chars} characters, {size:.0f} MB: peak {peak:.0f} MB, (seconds, of a processor) {took}")
    assert peak * MIB < Limits().memory / 2
