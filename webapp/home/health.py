"""Health that means work: the process lives, it can serve, the workers do their part. No secrets, no sign-in."""

import logging
import tempfile
from collections.abc import Callable

from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from webapp.work.models import Worker

log = logging.getLogger(__name__)
KINDS = ("train", "data", "serve")


@never_cache
def live(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"status": "ok"})


@never_cache
def ready(request: HttpRequest) -> HttpResponse:
    return answer({"database": database, "migrations": migrations, "redis": redis, "files": files})


@never_cache
def deep(request: HttpRequest) -> HttpResponse:
    heard: set[str] = set()

    def listens(kind: str) -> Callable[[], bool]:
        return lambda: kind in heard

    try:
        heard = set(Worker.listening().values_list("kind", flat=True))
    except Exception:  # ready says which part is broken
        log.exception("health: workers")
    return answer({kind: listens(kind) for kind in KINDS})


def answer(checks: dict[str, Callable[[], bool]]) -> HttpResponse:
    found = {name: holds(name, check) for name, check in checks.items()}
    is_well = all(found.values())
    return JsonResponse({"status": "ok" if is_well else "failing", "checks": found}, status=200 if is_well else 503)


def holds(name: str, check: Callable[[], bool]) -> bool:
    try:
        return check()
    except Exception:  # whatever breaks here is the answer; the log keeps the cause
        log.exception("health: %s", name)
        return False


def database() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return bool(cursor.fetchone() == (1,))


def migrations() -> bool:
    executor = MigrationExecutor(connection)
    return not executor.migration_plan(executor.loader.graph.leaf_nodes())


def redis() -> bool:
    with Redis.from_url(settings.REDIS_URL, socket_timeout=1.0, socket_connect_timeout=1.0, retry=Retry(NoBackoff(), 0)) as connection:
        return bool(connection.ping())


def files() -> bool:
    settings.FILES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=settings.FILES) as file:
        return file.write(b"ok") == 2
