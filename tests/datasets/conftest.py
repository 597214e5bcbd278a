import pytest

from tests.conftest import DATA
from tests.datasets.files import reading

CASES = DATA.parent / "cases"


@pytest.fixture(scope="session")
def shared_cases():
    """Inputs that went wrong elsewhere, with their right values."""
    if not CASES.is_dir():
        pytest.skip("the inputs that went wrong elsewhere (../shared/cases) are not on this machine")
    return CASES


@pytest.fixture
def read(tmp_path):
    """A function that reads content under a name."""

    def of(data, name="rows.csv", **options):
        path = tmp_path / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return reading(path, tmp_path / "out", **options)

    return of


@pytest.fixture
def case(shared_cases, tmp_path):
    """A function that reads one of the shared cases."""
    return lambda name, **options: reading(shared_cases / name, tmp_path / "out", **options)
