import pytest

from tests.conftest import DATA

CASES = DATA.parent / "cases"


@pytest.fixture(scope="session")
def shared_cases():
    """Inputs that went wrong elsewhere, with their right values."""
    if not CASES.is_dir():
        pytest.skip("the inputs that went wrong elsewhere (../shared/cases) are not on this machine")
    return CASES
