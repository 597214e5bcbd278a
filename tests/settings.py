"""The product's settings in a temporary home; one real Redis per test session (tests/conftest.py) stands behind them."""

import os
import tempfile

worker = os.environ.get("PYTEST_XDIST_WORKER", "")  # with pytest -n each worker has a home of its own, its children share it
if "TUNEBENCH_HOME" not in os.environ or os.environ.get("TEST_HOME_OF", "") != worker:
    os.environ |= {"TUNEBENCH_HOME": tempfile.mkdtemp(prefix="tb-"), "TEST_HOME_OF": worker}
os.environ.setdefault("LEASE_TTL", "6")
os.environ.setdefault("LEASE_RENEW", "1")
os.environ.setdefault("LEASE_GRACE", "1")
os.environ.setdefault("AGENT_POLL", "1")
os.environ.setdefault("RETRY_BASE", "0.2")

from webapp.settings import *  # noqa: E402, F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):  # noqa: F405
    # A file, as in the product: SQLite in memory locks whole tables between threads, WAL does not.
    DATABASES["default"]["TEST"] = {"NAME": str(HOME / "test.sqlite3")}  # noqa: F405
STARTERS = HOME / "starters"  # noqa: F405 (none but those that a test makes: the real ones would be unpacked for every session)
WHEELS = HOME / "wheels"  # noqa: F405 (likewise)
