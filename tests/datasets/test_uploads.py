"""Files arrive whole or not at all, whatever happens on the way (reliability rows 98 to 101, 24)."""

import base64
import hashlib
import io
import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.utils.timezone import now
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.datasets.cast import take
from webapp import quota
from webapp.catalog.models import ModelVersion
from webapp.datasets import blobs
from webapp.datasets.models import Upload
from webapp.datasets.models.upload import TooLarge, clean_name
from webapp.disk import DiskFull
from webapp.people.access import actor_of
from worker.spec import SpecError

HEAD = {"HTTP_TUS_RESUMABLE": "1.0.0"}
BYTES = random.Random(7).randbytes(200_000)


def begin(client, length, name="reviews.csv", **more):
    meta = "filename " + base64.b64encode(name.encode()).decode()
    return client.post("/datasets/uploads/", HTTP_UPLOAD_LENGTH=str(length), HTTP_UPLOAD_METADATA=meta, **{**HEAD, **more})


def patch(client, url, offset, data, **more):
    kind = "application/offset+octet-stream"
    return client.patch(url, data, content_type=kind, HTTP_UPLOAD_OFFSET=str(offset), **{**HEAD, **more})


def offset_of(client, url):
    return int(client.head(url, **HEAD)["Upload-Offset"])


def upload_at(url):
    return Upload.objects.get(pk=url.rsplit("/", 1)[-1])


def test_the_server_says_what_it_speaks(client, db):
    answer = client.options("/datasets/uploads/")
    assert answer.status_code == 204
    assert answer["Tus-Version"] == "1.0.0"
    assert set(answer["Tus-Extension"].split(",")) == {"creation", "checksum", "expiration", "termination"}
    assert answer["Tus-Checksum-Algorithm"] == "sha1,sha256"


def test_a_file_that_arrives_in_pieces_lies_under_its_hash(signed_in, bob):
    client = signed_in(bob)
    url = begin(client, len(BYTES))["Location"]
    for start in range(0, len(BYTES), 60_000):
        answer = patch(client, url, start, BYTES[start : start + 60_000])
        assert answer.status_code == 204
        assert int(answer["Upload-Offset"]) == min(start + 60_000, len(BYTES))
    upload = upload_at(url)
    assert upload.sha256 == hashlib.sha256(BYTES).hexdigest()
    assert upload.path.read_bytes() == BYTES
    assert not blobs.part_path(upload.pk).exists()
    assert upload.name == "reviews.csv"


def test_cuts_doubles_and_disorder_do_not_change_a_byte(signed_in, bob):
    """A hundred connections cut at random places, each PATCH sometimes sent twice or out of order."""
    client, chance = signed_in(bob), random.Random(1)
    url = begin(client, len(BYTES))["Location"]
    for _ in range(100):
        at = offset_of(client, url)
        if at == len(BYTES):
            break
        size = chance.randint(1, 5_000)
        patch(client, url, at, BYTES[at : at + size])
        if chance.random() < 0.4:
            assert patch(client, url, at, BYTES[at : at + size]).status_code == 409
        if chance.random() < 0.4:
            early = chance.randint(0, at)
            assert patch(client, url, early, BYTES[early : early + size]).status_code == 409
        if chance.random() < 0.4:
            assert patch(client, url, at + size + 1, b"too early").status_code == 409
    patch(client, url, offset_of(client, url), BYTES[offset_of(client, url) :])
    assert upload_at(url).sha256 == hashlib.sha256(BYTES).hexdigest()


@pytest.mark.django_db(transaction=True)
def test_of_two_windows_sending_the_same_piece_one_wins(bob):
    def window(data):
        client = Client()
        client.force_login(bob)
        try:
            return patch(client, url, 0, data).status_code
        finally:
            connection.close()

    client = Client()
    client.force_login(bob)
    for _ in range(5):
        url = begin(client, len(BYTES))["Location"]
        with ThreadPoolExecutor(2) as pool:
            statuses = sorted(pool.map(window, [BYTES[:120_000], BYTES[:120_000]]))
        assert statuses == [204, 409]
        assert patch(client, url, 120_000, BYTES[120_000:]).status_code == 204
        assert upload_at(url).path.read_bytes() == BYTES


def test_bytes_written_before_a_crash_but_never_counted_are_cut_off(signed_in, bob):
    client = signed_in(bob)
    url = begin(client, len(BYTES))["Location"]
    patch(client, url, 0, BYTES[:1000])
    with blobs.part_path(upload_at(url).pk).open("ab") as part:
        part.write(b"what a dying process wrote")
    assert offset_of(client, url) == 1000
    assert patch(client, url, 1000, BYTES[1000:]).status_code == 204
    assert upload_at(url).sha256 == hashlib.sha256(BYTES).hexdigest()


def test_bytes_that_cannot_be_counted_are_not_there(signed_in, bob, monkeypatch):
    """Killed between the write and the row: simulated by a row that does not answer."""
    client = signed_in(bob)
    url = begin(client, len(BYTES))["Location"]
    monkeypatch.setattr(blobs, "sync", lambda file: (_ for _ in ()).throw(SystemError("killed")))
    with pytest.raises(SystemError):
        patch(client, url, 0, BYTES[:5000])
    monkeypatch.undo()
    assert offset_of(client, url) == 0
    assert patch(client, url, 0, BYTES).status_code == 204
    assert upload_at(url).path.read_bytes() == BYTES


@pytest.mark.parametrize("moment", ["before the hash", "before the move"])
def test_a_crash_after_the_last_byte_is_made_good_by_the_next_look(signed_in, bob, monkeypatch, moment):
    client = signed_in(bob)
    url = begin(client, len(BYTES))["Location"]
    blobs.path_of(hashlib.sha256(BYTES).hexdigest()).unlink(missing_ok=True)
    what = "hash_of" if moment == "before the hash" else "keep"
    monkeypatch.setattr(blobs, what, lambda *paths: (_ for _ in ()).throw(SystemError("killed")))
    with pytest.raises(SystemError):
        patch(client, url, 0, BYTES)
    monkeypatch.undo()
    assert offset_of(client, url) == len(BYTES)
    assert upload_at(url).path.read_bytes() == BYTES


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_a_piece_that_changed_on_the_way_is_refused(signed_in, bob, algorithm):
    client = signed_in(bob)
    url = begin(client, len(BYTES))["Location"]
    digest = base64.b64encode(hashlib.new(algorithm, BYTES[:100]).digest()).decode()
    assert patch(client, url, 0, b"x" * 100, HTTP_UPLOAD_CHECKSUM=f"{algorithm} {digest}").status_code == 460
    assert offset_of(client, url) == 0
    assert patch(client, url, 0, BYTES[:100], HTTP_UPLOAD_CHECKSUM=f"{algorithm} {digest}").status_code == 204
    assert patch(client, url, 100, BYTES[100:200], HTTP_UPLOAD_CHECKSUM="crc32 abcd").status_code == 400


def test_a_file_above_the_limit_is_refused_before_it_travels(signed_in, bob, settings):
    settings.UPLOAD_LIMIT = 1000
    answer = begin(signed_in(bob), 1001)
    assert answer.status_code == 413
    assert "limit" in answer.content.decode()
    assert not Upload.objects.exists()


def test_more_bytes_than_announced_are_refused_and_nothing_stays(signed_in, bob):
    client = signed_in(bob)
    url = begin(client, 10)["Location"]
    assert patch(client, url, 0, b"x" * 11).status_code == 413
    assert offset_of(client, url) == 0
    assert blobs.part_path(upload_at(url).pk).stat().st_size == 0


def test_a_full_disk_is_said_before_the_upload_begins(signed_in, bob, monkeypatch):
    monkeypatch.setattr(blobs, "RESERVE", 2**62)
    answer = begin(signed_in(bob), 1000)
    assert answer.status_code == 507
    assert "disk" in answer.content.decode()


def test_an_empty_file_is_whole_at_once(signed_in, bob):
    assert upload_at(begin(signed_in(bob), 0)["Location"]).is_whole


def test_other_versions_of_the_protocol_are_told_ours(signed_in, bob):
    answer = begin(signed_in(bob), 10, HTTP_TUS_RESUMABLE="0.2.2")
    assert (answer.status_code, answer["Tus-Version"]) == (412, "1.0.0")


@pytest.mark.parametrize("length", ["-1", "ten", "", "1e3", "9" * 30])
def test_a_length_that_is_no_number_is_a_bad_request(signed_in, bob, length):
    assert signed_in(bob).post("/datasets/uploads/", HTTP_UPLOAD_LENGTH=length, **HEAD).status_code == 400


def test_bytes_of_another_type_are_not_taken(signed_in, bob):
    client = signed_in(bob)
    url = begin(client, 10)["Location"]
    assert client.patch(url, b"x", content_type="text/csv", HTTP_UPLOAD_OFFSET="0", **HEAD).status_code == 415


def test_an_upload_can_be_given_up(signed_in, bob):
    client = signed_in(bob)
    url = begin(client, len(BYTES))["Location"]
    patch(client, url, 0, BYTES[:1000])
    part = blobs.part_path(upload_at(url).pk)
    assert client.delete(url, **HEAD).status_code == 204
    assert not part.exists()
    assert client.head(url, **HEAD).status_code == 404


def test_what_nobody_goes_on_with_is_swept_away(signed_in, bob):
    client = signed_in(bob)
    url = begin(client, len(BYTES))["Location"]
    patch(client, url, 0, BYTES[:1000])
    stale = upload_at(url)
    assert Upload.sweep() == 0
    Upload.objects.filter(pk=stale.pk).update(expires_at=now() - timedelta(seconds=1))
    assert Upload.sweep() == 1
    assert not blobs.part_path(stale.pk).exists()


def test_a_whole_file_that_no_dataset_took_is_swept_with_the_next_upload_unless_another_has_the_same_bytes(alice, bob):
    first, twin, lonely = take(alice, b"a,b"), take(bob, b"a,b"), take(bob, b"c,d")
    Upload.objects.filter(pk__in=[first.pk, lonely.pk]).update(expires_at=now() - timedelta(seconds=1))
    take(bob, b"e,f")
    assert not Upload.objects.filter(pk__in=[first.pk, lonely.pk]).exists()
    assert twin.path.read_bytes() == b"a,b"
    assert not lonely.path.exists() and list(lonely.path.parent.iterdir()) == []


def test_charlie_sees_nothing_of_bobs_upload_and_vera_may_not_send(client, bob, vera, charlie):
    client.force_login(bob)
    url = begin(client, 10)["Location"]
    client.force_login(charlie)
    assert [client.head(url, **HEAD).status_code, patch(client, url, 0, b"x").status_code, client.delete(url, **HEAD).status_code] == [
        404
    ] * 3
    client.force_login(vera)
    assert patch(client, url, 0, b"x").status_code == 403
    assert begin(client, 10).status_code == 403
    client.logout()
    assert begin(client, 10).status_code == 401
    assert Upload.objects.count() == 1


def test_another_site_cannot_upload_in_bobs_name(bob):
    client = Client(enforce_csrf_checks=True)
    client.force_login(bob)
    assert begin(client, 10).status_code == 403


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(name=st.text(max_size=300))
def test_no_name_becomes_a_path_or_hides_its_ending(name):
    clean = clean_name(name)
    assert clean
    assert "/" not in clean and "\\" not in clean and "\0" not in clean and "‮" not in clean and "\r" not in clean


@pytest.mark.parametrize("name", ["../../etc/passwd", "CON", "a" * 4000, "x‮gpj.csv", "a\r\nSet-Cookie: b", "\0.csv"])
def test_hostile_names_are_kept_as_words_only(alice, name):
    upload = Upload.take(actor_of(alice), name, io.BytesIO(b"abc"), 3)
    root = os.path.realpath(blobs.settings.FILES)
    assert os.path.realpath(upload.path).startswith(root)
    assert upload.path.name == hashlib.sha256(b"abc").hexdigest()


def test_a_token_uploads_without_cookie_and_a_reading_one_does_not(client, bob):
    from webapp.people.models import ApiToken

    for scopes, status in [(["read", "write"], 201), (["read"], 403)]:
        _token, secret = ApiToken.make(bob, "upload", scopes)
        answer = begin(client, 10, HTTP_AUTHORIZATION=f"Bearer {secret}")
        assert answer.status_code == status
    assert begin(client, 10, HTTP_AUTHORIZATION="Bearer tb_wrong").status_code == 401
    assert Upload.objects.get().created_by == bob


def test_what_was_announced_is_as_good_as_taken(alice, monkeypatch):
    """60 announcements of 1.9 GB were taken with 65 GB free."""
    free = 10_000_000
    monkeypatch.setattr(blobs.shutil, "disk_usage", lambda _path: SimpleNamespace(free=free + blobs.RESERVE))
    for _ in range(3):
        Upload.begin(actor_of(alice), "a.csv", 3_000_000)
    with pytest.raises(DiskFull):
        Upload.begin(actor_of(alice), "a.csv", 3_000_000)
    Upload.objects.first().discard()
    Upload.begin(actor_of(alice), "a.csv", 3_000_000)


def test_a_team_has_a_quota_and_hears_of_it_before_the_first_byte(alice, charlie, settings, signed_in):
    settings.TEAM_QUOTA = 5_000_000
    Upload.begin(actor_of(alice), "a.csv", 3_000_000)
    client = signed_in(alice)
    headers = {"Tus-Resumable": "1.0.0", "Upload-Length": "3000000"}
    refused = client.post("/datasets/uploads/", headers=headers)
    assert refused.status_code == 413 and "TEAM_QUOTA" in refused.content.decode() and "Delete datasets" in refused.content.decode()
    file = SimpleUploadedFile("b.csv", b"x" * 3_000_000)
    answer = client.post("/api/v1/datasets", {"file": file})
    assert answer.status_code == 413 and "TEAM_QUOTA" in answer.content.decode()
    assert Upload.objects.count() == 1
    Upload.begin(actor_of(charlie), "a.csv", 3_000_000)


def test_the_quota_counts_models_with_what_they_have_and_what_they_may_come_to(alice, team, settings):
    settings.TEAM_QUOTA, settings.MODEL_LIMIT = 5_000_000, 4_000_000
    model = ModelVersion.add_hub(actor_of(alice), "a/b")
    assert quota.held_by(team.pk) == 4_000_000
    with pytest.raises(TooLarge, match="purge --days 0") as refused:
        Upload.begin(actor_of(alice), "a.csv", 2_000_000)
    assert "the runs that learnt from them" in str(refused.value)
    model.reserve(1_000_000)
    Upload.begin(actor_of(alice), "a.csv", 2_000_000)
    ModelVersion.objects.update(state="ready", bytes=3_000_000)
    assert quota.held_by(team.pk) == 5_000_000
    with pytest.raises(SpecError, match="TEAM_QUOTA"):
        ModelVersion.add_hub(actor_of(alice), "a/c")


@pytest.mark.django_db(transaction=True)
def test_two_files_at_once_do_not_both_get_the_last_room(alice, team, settings):
    settings.TEAM_QUOTA = 5_000_000
    begun, refused = threading.Event(), []

    def other():
        begun.wait(5)
        try:
            Upload.begin(actor_of(alice), "b.csv", 3_000_000)
        except TooLarge as problem:
            refused.append(problem)
        finally:
            connection.close()

    thread = threading.Thread(target=other)
    thread.start()
    with quota.one_at_a_time(team.pk):
        Upload.begin(actor_of(alice), "a.csv", 3_000_000)
        begun.set()
        thread.join(0.5)
    thread.join(20)
    assert refused and Upload.objects.count() == 1
