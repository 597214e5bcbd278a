from tests.runs.conftest import base, submit, version, worker  # noqa: F401
