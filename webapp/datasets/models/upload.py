"""One file on its way in."""

from __future__ import annotations

import hashlib
import unicodedata
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import models
from django.utils.timezone import now
from django.utils.translation import gettext as _

from webapp import disk, quota
from webapp.datasets import blobs
from webapp.disk import DiskFull
from webapp.people.access import WRITE, Actor
from webapp.people.models import TeamScoped

LIFE = timedelta(days=2)  # of an upload that nobody goes on with


class TooLarge(Exception):
    """More bytes than an upload may have."""


class WrongOffset(Exception):
    """The bytes do not begin where the file ends."""


class ChecksumMismatch(Exception):
    """The bytes are not those that were sent."""


class Upload(TeamScoped):
    """One file on its way in, by the tus 1.0 protocol. `offset` counts bytes that are safely on disk."""

    name = models.CharField(max_length=500)  # as the person calls it; never part of a path
    length = models.BigIntegerField()  # bytes
    offset = models.BigIntegerField(default=0)  # bytes
    sha256 = models.CharField(max_length=64, blank=True)  # set when whole
    dataset = models.ForeignKey("datasets.Dataset", models.CASCADE, null=True, related_name="uploads")
    part = models.CharField(max_length=12, default="file")  # file | train | validation | test
    expires_at = models.DateTimeField()

    @property
    def path(self) -> Path:
        """Where its bytes are: under their hash when whole, else where they arrive."""
        return blobs.path_of(self.sha256) if self.sha256 else blobs.part_path(self.pk)

    @property
    def is_whole(self) -> bool:
        return bool(self.sha256)

    @classmethod
    def begin(cls, actor: Actor, name: str, length: int) -> Upload:
        """Raises TooLarge or DiskFull before the first byte travels."""
        actor.require(WRITE, actor.team_id)
        cls.sweep()
        if length > settings.UPLOAD_LIMIT:
            raise TooLarge(
                _("The file has %(size)s MB; the limit is %(limit)s MB. Split it, or leave out columns that you do not need.")
                % {"size": f"{length / 1024**2:,.0f}", "limit": f"{settings.UPLOAD_LIMIT / 1024**2:,.0f}"}
            )
        if not blobs.has_room(length + cls.announced()):
            raise DiskFull(_("The server's disk has no room for this file. Ask whoever runs the server to free some space."))
        try:
            with quota.one_at_a_time(actor.team_id):
                quota.check(actor.team_id, length)
                upload: Upload = cls.objects.create(
                    team_id=actor.team_id,  # type: ignore[misc]  # require() has seen that there is one
                    created_by=actor.user,
                    name=clean_name(name),
                    length=length,
                    expires_at=now() + LIFE,
                )
        except quota.OverQuota as full:
            raise TooLarge(str(full)) from None
        if length == 0:
            upload.receive(0, _Nothing())
        return upload

    @classmethod
    def held_by(cls, team_id: Any) -> int:
        """Bytes of a team's files, those that it has announced included."""
        return int(cls.objects.filter(team=team_id).aggregate(bytes=models.Sum("length"))["bytes"] or 0)

    @classmethod
    def announced(cls) -> int:
        """Bytes of everybody's files that are still to come: room that is as good as taken."""
        coming = cls.objects.filter(sha256="", expires_at__gt=now())
        return int(coming.aggregate(bytes=models.Sum(models.F("length") - models.F("offset")))["bytes"] or 0)

    @classmethod
    def take(cls, actor: Actor, name: str, stream: blobs.Readable, length: int) -> Upload:
        """A whole file at once."""
        upload = cls.begin(actor, name, length)
        if length:
            upload.receive(0, stream)
        return upload

    def receive(self, offset: int, stream: blobs.Readable, digest: str = "", algorithm: str = "") -> None:
        """Append what `stream` holds at `offset`: on disk first, then in the row. Raises WrongOffset, TooLarge,
        ChecksumMismatch (`digest` of `algorithm` in hexadecimal) or DiskFull, and then nothing has changed."""
        if self.is_whole:
            raise WrongOffset
        with blobs.locked(blobs.part_path(self.pk)) as file:
            self.refresh_from_db(fields=["offset", "sha256"])
            if offset != self.offset or self.is_whole:
                raise WrongOffset
            file.truncate(offset)  # what a crash left behind the last safe byte
            file.seek(offset)
            checksum = hashlib.new(algorithm or "sha256", usedforsecurity=False)
            try:
                for piece in blobs.pieces(stream):
                    if file.tell() + len(piece) > self.length:
                        raise TooLarge(_("More bytes arrived than were announced."))
                    checksum.update(piece)
                    file.write(piece)
                if digest and checksum.hexdigest() != digest:
                    raise ChecksumMismatch
                blobs.sync(file)
            except OSError as error:
                file.truncate(offset)
                if disk.remedy(error):
                    raise DiskFull(_("The server's disk is full. Ask whoever runs the server to free some space, then go on.")) from error
                raise
            except Exception:
                file.truncate(offset)
                raise
            arrived = file.tell()
            # The lock can fail to hold on some network disks; the row decides.
            if not Upload.objects.filter(pk=self.pk, offset=offset, sha256="").update(offset=arrived, expires_at=now() + LIFE):
                raise WrongOffset
            self.offset = arrived
            if arrived == self.length:
                self._settle()

    def settle(self) -> None:
        """Go on where a crash stopped between the last byte and the name under its hash."""
        if self.offset == self.length and not (self.is_whole and self.path.exists()):
            with blobs.locked(blobs.part_path(self.pk)):
                self.refresh_from_db(fields=["sha256"])
                self._settle()

    def _settle(self) -> None:
        part = blobs.part_path(self.pk)
        if not self.is_whole:
            sha256 = blobs.hash_of(part)
            Upload.objects.filter(pk=self.pk).update(sha256=sha256)
            self.sha256 = sha256
        blobs.keep(part, blobs.path_of(self.sha256))

    def discard(self) -> None:
        """The person no longer wants it. A whole file stays while something may use it."""
        row = Upload.objects.filter(pk=self.pk, dataset=None)
        sha256 = row.values_list("sha256", flat=True).first()
        if not row.delete()[0]:
            return
        blobs.part_path(self.pk).unlink(missing_ok=True)
        if sha256:
            blobs.forget(blobs.path_of(sha256), lambda _lies: Upload.objects.filter(sha256=sha256).exists())

    @classmethod
    def sweep(cls) -> int:
        """Forget what nobody went on with in time."""
        stale = cls.objects.filter(expires_at__lt=now(), dataset=None)
        for upload in stale:
            upload.discard()
        return len(stale)


quota.holders.append(Upload.held_by)


class _Nothing:
    def read(self, size: int = -1, /) -> bytes:
        return b""


def clean_name(name: str) -> str:
    """The last part of the path, without characters that cannot be seen: they hide endings and break headers."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    seen = "".join(c for c in last if unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Co", "Cn"})
    return seen.strip()[:500] or _("file")
