"""What waits to be done, and who does it: the lease and the fence are here, once, for runs and for short work."""

from __future__ import annotations

import logging
import os
import socket
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Self

import psutil
from django.conf import settings
from django.db import connection, models, transaction
from django.db.models import DateTimeField, Exists, ExpressionWrapper, F, OuterRef, Q, Value
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from webapp import queue
from webapp.ids import uuid7

log = logging.getLogger(__name__)

CLAIMING = 0x74756E65  # names the lock of PostgreSQL under which work is claimed
FORGOTTEN_S = 24 * 3600  # a worker that was silent for so long is struck from the list


@cache
def boot_id() -> str:
    """Names this boot of this machine, so that a process number means something."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def hence(seconds: float) -> ExpressionWrapper:
    """A moment by the database's clock: it is the only clock that all machines share."""
    return ExpressionWrapper(Now() + Value(timedelta(seconds=seconds)), output_field=DateTimeField())


class Worker(models.Model):
    """One worker process: what it listens to and when it was last seen."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    kind = models.CharField(max_length=10)  # train | data | serve
    host = models.CharField(max_length=255)
    boot_id = models.CharField(max_length=64)
    pid = models.IntegerField()
    pid_started = models.FloatField(default=0)  # with the pid, names a process even after the number is used again
    queues = models.JSONField(default=list)
    device = models.JSONField(default=dict)  # {"kind": "cpu"|"cuda", "name", "threads", "memory_mb"}; serve: "warm", folders
    version = models.CharField(max_length=32)
    draining = models.BooleanField(default=False)
    started_at = models.DateTimeField(auto_now_add=True)
    last_seen = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.kind} on {self.host} ({self.pid})"

    @classmethod
    def register(cls, kind: str, queues: list[str], device: dict[str, Any] | None = None) -> Worker:
        """The row of this process."""
        process = psutil.Process()
        worker = cls.objects.create(
            kind=kind,
            host=socket.gethostname(),
            boot_id=boot_id(),
            pid=process.pid,
            pid_started=process.create_time(),
            queues=queues,
            device=device or {},
            version=settings.VERSION,
            last_seen=Now(),
        )
        worker.refresh_from_db()
        return worker

    def beat(self, **news: Any) -> bool:
        """Still here, and what has changed. False if the row is gone (a database restored from a copy, say): register again."""
        return bool(Worker.objects.filter(pk=self.pk).update(last_seen=Now(), **news))

    def drain(self) -> None:
        """Take nothing new."""
        Worker.objects.filter(pk=self.pk).update(draining=True)

    def leave(self) -> None:
        Worker.objects.filter(pk=self.pk).delete()

    @classmethod
    def listening(cls, *queues: str) -> models.QuerySet[Worker]:
        """Workers heard of lately that take from one of `queues` (from any, if none is named)."""
        alive = cls.objects.filter(last_seen__gt=hence(-silence_s()), draining=False)
        if not queues:
            return alive
        # JSON containment is not known to SQLite; the list of workers is short
        return alive.filter(pk__in=[w.pk for w in alive if set(w.queues) & set(queues)])

    @classmethod
    def warm_folders(cls) -> set[str]:
        """Folders of the models that some serve worker holds in memory."""
        return {folder for worker in cls.listening().filter(kind="serve") for folder in worker.device.get("warm", ())}

    @property
    def is_gone(self) -> bool:
        """Whether this process of this machine and boot has ended. Knows nothing of other machines."""
        if (self.host, self.boot_id) != (socket.gethostname(), boot_id()):
            return False
        if self.pid == os.getpid():
            return bool(abs(psutil.Process().create_time() - self.pid_started) > 1)
        try:
            process = psutil.Process(self.pid)
            return bool(abs(process.create_time() - self.pid_started) > 1 or process.status() == psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return True
        except psutil.AccessDenied:
            return False


def silence_s() -> float:
    """A worker unheard of for longer is taken for dead in lists; leases, not this, decide what is done about it."""
    return max(3 * float(settings.AGENT_POLL), 5.0)


class Claimable(models.Model):
    """Work that exactly one worker may do at a time. Each claim raises the fence; every later write must carry it."""

    fence = models.BigIntegerField(default=0)
    lease_owner = models.ForeignKey(Worker, models.SET_NULL, null=True, related_name="+")
    lease_until = models.DateTimeField(null=True)
    not_before = models.DateTimeField(null=True)
    attempts_total = models.IntegerField(default=0)
    attempts_fruitless = models.IntegerField(default=0)
    reason_code = models.CharField(max_length=40, blank=True)
    reason = models.TextField(blank=True)  # for people: the cause and the remedy

    CLAIMED: ClassVar[str]  # the state that a claim leads to
    LEASED: ClassVar[frozenset[str]]  # states in which somebody holds it
    WAITING: ClassVar[frozenset[str]]  # states in which it may be taken

    class Meta:
        abstract = True

    @classmethod
    def rows(cls) -> Any:
        """All of a kind; `state` belongs to the concrete model, so the type checker cannot know it here."""
        return cls._default_manager

    @classmethod
    def open_to(cls, worker: Worker) -> Any:
        """What this worker could take now, oldest first."""
        due = Q(not_before=None) | Q(not_before__lte=Now())
        return cls.rows().filter(due, state__in=cls.WAITING).order_by("created_at", "pk")

    @classmethod
    def claim(cls, worker: Worker, among: Q = Q()) -> Self | None:
        """Take the next one `among` those for `worker`, or None. The new fence stands on what is returned."""
        if not cls.open_to(worker).filter(among).exists():  # an idle poll takes no write lock
            return None
        with transaction.atomic():
            if connection.vendor == "postgresql":  # else two see at once that it is nobody's turn; SQLite has one writer anyway
                connection.cursor().execute("SELECT pg_advisory_xact_lock(%s)", [CLAIMING])
            if not Worker.objects.filter(pk=worker.pk, draining=False).exists():
                return None
            found = cls.open_to(worker).filter(among).select_for_update(skip_locked=True).first()
            if found is None:
                return None
            won = (
                cls.rows()
                .filter(pk=found.pk, fence=found.fence, state=found.state)
                .update(
                    state=cls.CLAIMED,
                    fence=F("fence") + 1,
                    attempts_total=F("attempts_total") + 1,
                    lease_owner=worker,
                    lease_until=hence(settings.LEASE_TTL),
                    not_before=None,
                )
            )
            if not won:
                return None
            found.refresh_from_db()
            found.was_claimed(worker)
            claimed: Self = found
            return claimed

    def was_claimed(self, worker: Worker) -> None:
        """Called inside the claim's transaction."""

    def held(self) -> Any:
        """This row, if we still hold it: every write of a worker goes through here, and 0 rows mean: you are dead."""
        return self.rows().filter(pk=self.pk, fence=self.fence, state__in=self.LEASED)

    def renew(self) -> bool:
        """Hold it for another LEASE_TTL. False: somebody else may have it now; stop without another write."""
        return bool(self.held().update(lease_until=hence(settings.LEASE_TTL)))

    def bury(self, still: Q) -> bool:
        """Its holder is dead, if `still` holds at the moment of writing: put it back or give it up."""
        raise NotImplementedError

    @classmethod
    def sweep(cls) -> int:
        """Put back what dead workers held: leases run out, and at once those of processes of this machine that ended."""
        overdue = Q(lease_until__lt=hence(-settings.LEASE_GRACE))
        buried = 0
        for thing in cls.rows().filter(overdue, state__in=cls.LEASED):
            buried += thing.bury(overdue)
        here = Q(lease_owner__host=socket.gethostname(), lease_owner__boot_id=boot_id())
        for thing in cls.rows().filter(here, state__in=cls.LEASED).select_related("lease_owner"):
            if thing.lease_owner.is_gone:
                buried += thing.bury(Q(lease_owner=thing.lease_owner_id))
        return buried


def sweep_workers() -> None:
    """Strike workers that ended: of this machine at once, of others after a day."""
    Worker.objects.filter(last_seen__lt=hence(-FORGOTTEN_S)).delete()
    for worker in Worker.objects.filter(host=socket.gethostname(), boot_id=boot_id()):
        if worker.is_gone:
            worker.leave()


class Hopeless(Exception):
    """Raised by short work that no further attempt can mend; the message is for people."""


class WorkItem(Claimable):
    """Short work for a data worker: `kind` names a verb in worker/tasks.py, `subject` the row it is about."""

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        RETRY_WAIT = "retry_wait"
        SUCCEEDED = "succeeded"
        FAILED = "failed"

    CLAIMED = State.RUNNING
    LEASED = frozenset({State.RUNNING})
    WAITING = frozenset({State.QUEUED, State.RETRY_WAIT})
    MOST_ATTEMPTS = 3

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    kind = models.CharField(max_length=40)  # one of worker.tasks.KINDS
    subject = models.UUIDField()
    team = models.UUIDField(null=True)  # for whom; one that waits for nobody's turn has none
    payload: Any = models.JSONField(default=dict)
    state = models.CharField(max_length=12, choices=State.choices, default=State.QUEUED)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["state", "created_at"])]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}"

    @classmethod
    def add(cls, kind: str, subject: Any, payload: dict[str, Any] | None = None, team: Any = None) -> WorkItem:
        """Queue it, and ring once the transaction is through."""
        item = cls.objects.create(kind=kind, subject=subject, payload=payload or {}, team=team)
        queue.ring_on_commit(queue.DATA)
        return item

    @classmethod
    def open_to(cls, worker: Worker) -> Any:
        """One of a kind at a time for each team: however slow its files are, those of the next team have their turn."""
        if queue.DATA not in worker.queues:
            return cls.objects.none()
        going_on = cls.objects.filter(kind=OuterRef("kind"), team=OuterRef("team"), state__in=cls.LEASED)
        return super().open_to(worker).filter(~Exists(going_on))

    def succeed(self) -> bool:
        return bool(self.held().update(state=self.State.SUCCEEDED, finished_at=Now(), lease_until=None, reason_code="", reason=""))

    def fail(self, reason: str, code: str = "failed") -> bool:
        """Over, with a reason for people."""
        return bool(self.held().update(state=self.State.FAILED, finished_at=Now(), lease_until=None, reason_code=code, reason=reason))

    def put_back(self) -> bool:
        """The worker leaves before it was done: back to the queue, uncounted."""
        return bool(self.held().update(state=self.State.QUEUED, lease_until=None, attempts_total=F("attempts_total") - 1))

    def try_again(self, reason: str, code: str = "crash", still: Q = Q()) -> bool:
        """It broke for a reason that may pass: wait and try again, three times in all."""
        if self.attempts_total >= self.MOST_ATTEMPTS:
            values: dict[str, Any] = {"state": self.State.FAILED, "finished_at": Now(), "lease_until": None}
        else:
            delay_s = settings.RETRY_BASE * 2 ** (self.attempts_total - 1)
            values = {"state": self.State.RETRY_WAIT, "not_before": hence(delay_s), "lease_until": None}
        return bool(self.held().filter(still).update(reason_code=code, reason=reason, **values))

    def bury(self, still: Q) -> bool:
        return self.try_again(_("The worker was lost while it worked on this."), "lost", still)
