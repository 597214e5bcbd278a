"""Health that means work: each part that breaks is named, and nothing else is told."""

import pytest
from django.utils.timezone import now

from webapp.work.models import Worker


def test_a_living_process_says_so_even_without_a_database(client, django_db_blocker):
    assert client.get("/healthz/live").json() == {"status": "ok"}


def test_ready_means_database_redis_files_and_migrations(db, client, settings, tmp_path):
    settings.FILES = tmp_path / "files"
    answer = client.get("/healthz/ready")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ok", "checks": {"database": True, "migrations": True, "redis": True, "files": True}}
    assert "no-store" in answer["Cache-Control"]


def test_files_that_cannot_be_written_are_named(db, client, settings, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    settings.FILES = tmp_path / "file"
    answer = client.get("/healthz/ready")
    assert answer.status_code == 503 and answer.json()["checks"]["files"] is False and str(tmp_path) not in answer.content.decode()


def test_a_redis_that_is_away_is_named(db, client, settings):
    settings.REDIS_URL = "unix:///nowhere/redis.sock"
    answer = client.get("/healthz/ready")
    assert answer.status_code == 503 and answer.json()["checks"]["redis"] is False and answer.json()["checks"]["database"] is True


def test_a_migration_that_is_missing_is_named(db, client):
    from django.db import connection
    from django.db.migrations.recorder import MigrationRecorder

    MigrationRecorder(connection).record_unapplied("usersessions", "0001_initial")
    assert client.get("/healthz/ready").json()["checks"]["migrations"] is False


@pytest.mark.parametrize("missing", ["train", "data", "serve", ""])
def test_deep_means_that_each_kind_of_worker_was_heard_of(missing, db, client):
    for kind in ("train", "data", "serve"):
        worker = Worker.register(kind, [])
        if kind == missing:
            Worker.objects.filter(pk=worker.pk).update(last_seen=now().replace(year=2020))
    answer = client.get("/healthz/deep")
    assert answer.status_code == (503 if missing else 200)
    assert {kind for kind, listens in answer.json()["checks"].items() if not listens} == ({missing} if missing else set())
