"""SQLite under many hands: short immediate transactions wait for each other, they do not fail."""

import threading
import time

import pytest
from django.db import connection, transaction
from django.db.models import F

from webapp.work.models import Worker

WRITERS, READERS, SECONDS = 8, 50, 3.0


@pytest.mark.django_db(transaction=True)
def test_eight_writers_and_fifty_readers_never_meet_a_locked_database():
    counted = Worker.register("data", ["data"], {})
    Worker.objects.filter(pk=counted.pk).update(pid_started=0)
    ends, faults, written = time.monotonic() + SECONDS, [], []

    def hand(act):
        done = 0
        try:
            while time.monotonic() < ends:
                act()
                done += 1
        except Exception as error:
            faults.append(error)
        finally:
            connection.close()
        return done

    def write():
        with transaction.atomic():  # reads, then writes: what deferred transactions lose to "database is locked"
            Worker.objects.get(pk=counted.pk)
            Worker.objects.filter(pk=counted.pk).update(pid_started=F("pid_started") + 1)

    threads = [threading.Thread(target=lambda: written.append(hand(write))) for _ in range(WRITERS)]
    threads += [threading.Thread(target=hand, args=(lambda: Worker.objects.count(),)) for _ in range(READERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert Worker.objects.get(pk=counted.pk).pid_started == sum(written) > WRITERS
