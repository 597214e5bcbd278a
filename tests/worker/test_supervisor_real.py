"""The supervisor with the real trainer, on a base of one layer: from the queue to a model that answers."""

import os
import signal
import threading
import time

import pytest
from django.db import connection

from tests.worker.tiny import tiny_base
from webapp.catalog.models import ModelVersion
from webapp.datasets.models import DatasetVersion
from webapp.runs import cursor
from webapp.runs.models import Run
from worker.process import Spares
from worker.supervisor import attend

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(400)]


@pytest.fixture
def real(version, base, tmp_path, settings):
    """Rows in a Parquet file as internals.md says, and a base that trains in seconds."""
    import hashlib

    import polars

    texts = [("good great works well", "good"), ("bad awful died never again", "bad")] * 40
    split = ["train"] * 60 + ["validation"] * 10 + ["test"] * 10
    rows = polars.DataFrame({"_row": range(80), "_split": split, "text": [t for t, _ in texts], "label": [label for _, label in texts]})
    rows.sort("_split", "_row").write_parquet(tmp_path / "rows.parquet")
    digest = hashlib.sha256((tmp_path / "rows.parquet").read_bytes()).hexdigest()
    DatasetVersion.objects.filter(pk=version.pk).update(hash=digest)
    version.refresh_from_db()
    version.path.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "rows.parquet").rename(version.path)
    ModelVersion.objects.filter(pk=base.pk).update(folder=str(tiny_base(tmp_path / "base")))
    base.refresh_from_db()


def test_a_real_run_survives_the_death_of_its_trainer_and_becomes_a_model(real, submit, worker):
    run = submit("full", {"epochs": 5, "batch_rows": 8})  # 40 steps, a checkpoint after each evaluation
    spares = Spares()

    def kill_it():
        while not run.checkpoints.exists():
            time.sleep(0.05)
        os.kill(run.attempts.get(ended_at=None).pid, signal.SIGKILL)
        connection.close()

    killer = threading.Thread(target=kill_it)
    killer.start()
    attend(Run.claim(worker), spares, threading.Event())
    killer.join()
    run.refresh_from_db()
    if run.state == "retry_wait":
        assert run.reason_code == "crash"
        Run.objects.update(not_before=None)
        attend(Run.claim(worker), spares, threading.Event())
        run.refresh_from_db()
    spares.close()
    assert (run.state, run.reason) == ("succeeded", "")
    assert run.attempts.count() == 2
    points = cursor.read(run).points
    trained = [p["step"] for p in points if "loss" in p["values"]]
    assert trained == list(range(1, run.steps + 1))
    assert {"macro_f1", "accuracy"} <= set(run.metrics)
    assert (run.folder / "model" / "model.safetensors").is_file()
    assert run.result.manifest_sha256


def test_a_run_that_memory_does_not_suffice_for_says_so_and_is_not_tried_again(real, submit, worker, settings, base):
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 64}
    BertModel(BertConfig(vocab_size=1_200_000, **sizes)).save_pretrained(base.path)  # 300 MB
    settings.TRAIN_MEMORY = 600 * 2**20  # of which a trainer that waits has taken 400
    run, spares = submit("full", {"epochs": 1}), Spares()
    attend(Run.claim(worker), spares, threading.Event())
    spares.close()
    run.refresh_from_db()
    assert (run.state, run.reason_code, run.attempts_total) == ("failed", "out_of_memory", 1)
    assert run.why.startswith("Ran out of memory.") and "TRAIN_MEMORY" in run.why
